//! Stored runs of commands, whoever began them, and their output as it grows.

use std::time::Duration;

use hyper::body::Bytes;
use ringfence::Error;
use ringfence::exec::store::{ReplayChunk, RunSummary, Tail};
use ringfence::exec::{RunId, RunStore};
use ringfence_api::{ErrorCode, RunReport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::answer::{Done, Events, Found};
use super::asked::{Asked, Query};
use super::error::Failure;
use super::plugins::bounded;
use super::stream::{Frame, KEEP_ALIVE};

/// Runs of one answer at most, and unless the query says how many.
const RUNS_MAX: usize = 200;
const RUNS: usize = 50;
/// How often the record of a run that goes on is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// And how seldom, while nothing comes.
const LOOK_SELDOM: Duration = Duration::from_millis(800);

/// Which runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    /// Only runs with a smaller number: what the page before gave as `before`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    before: Option<u64>,
    /// At most so many; 50, at most 200.
    #[serde(default)]
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

/// A page of runs, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct RunsAnswer {
    /// The runs.
    pub runs: Vec<RunSummary>,
    /// What gives the next page as `before`; `null` when this is the last.
    pub before: Option<RunId>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct RunAnswer {
    /// What the list says of it.
    pub summary: RunSummary,
    /// What it was granted.
    pub grants: Vec<String>,
    /// Its report; `null` while it goes on.
    pub report: Option<RunReport>,
}

/// A piece of output, as an event of the stream.
#[derive(Debug, Serialize)]
struct Output<'a> {
    stream: Option<&'static str>,
    t_ms: u64,
    text: &'a str,
}

pub(super) async fn list(asked: Asked<Query<RunsQuery>, ()>) -> Result<Found<RunsAnswer>, Failure> {
    let RunsQuery { before, limit } = asked.query.0;
    let limit = bounded("limit", limit, RUNS, RUNS_MAX)?;
    let before = before.map(|number| run_id(&number.to_string())).transpose()?;
    let store = asked.host.runs();
    let page = blocking(move || store.list(before, limit)).await?;
    Ok(Found(RunsAnswer { runs: page.runs, before: page.before }))
}

pub(super) async fn show(asked: Asked<(), ()>) -> Result<Found<RunAnswer>, Failure> {
    let (id, store) = (run_id(asked.part("id"))?, asked.host.runs());
    let run = blocking(move || store.show(id)).await?;
    Ok(Found(RunAnswer { summary: run.summary, grants: run.grants, report: run.report }))
}

pub(super) async fn cancel(asked: Asked<(), ()>) -> Result<Done, Failure> {
    let (id, store) = (run_id(asked.part("id"))?, asked.host.runs());
    if asked.api.runs.cancel(id) {
        return Ok(Done);
    }
    let run = blocking(move || store.show(id)).await?;
    let message = match run.summary.running {
        true => format!("run {id} was begun by another process, which alone can end it"),
        false => format!("run {id} has ended"),
    };
    Err(Failure::new(ErrorCode::NotActive, message))
}

/// Everything that a run has written and writes, from the beginning or from behind `Last-Event-ID`, then its report.
pub(super) async fn stream(asked: Asked<(), ()>) -> Result<Events, Failure> {
    let (id, store) = (run_id(asked.part("id"))?, asked.host.runs());
    let from = match asked.header("last-event-id")? {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            Failure::new(ErrorCode::Usage, "`Last-Event-ID` is a number that the stream has given")
        })?,
    };
    let slot = asked.stream()?;
    let looked = store.clone();
    let tail = blocking(move || Ok(looked.show(id)?.follow())).await?;
    let mut stop = asked.api.stop.clone();
    let mut ended = asked.ended();
    Ok(Events::from(move |sender| async move {
        let gone = sender.clone();
        let follow = Follow { store, id, sender };
        tokio::select! {
            () = gone.closed() => {}
            () = ended.wait() => {}
            () = follow.run(tail, from) => {}
            () = crate::server::stopped(&mut stop) => {}
        }
        drop(slot);
    }))
}

struct Follow {
    store: RunStore,
    id: RunId,
    sender: mpsc::Sender<Bytes>,
}

impl Follow {
    /// Sends pieces until the run is over or nobody listens. The id of a piece is the place behind it, in bytes.
    async fn run(self, mut tail: Tail, from: u64) {
        let mut decoder = Decoder::default();
        let (mut idle, mut rest) = (Duration::ZERO, LOOK_EVERY);
        loop {
            let (store, id) = (self.store.clone(), self.id);
            let Ok((next, pieces, over)) = blocking(move || read(&store, id, tail)).await else { return };
            tail = next;
            if !pieces.is_empty() {
                (idle, rest) = (Duration::ZERO, LOOK_EVERY);
            }
            for (behind, piece) in pieces {
                if !self.send(&mut decoder, behind, piece, from).await {
                    return;
                }
            }
            if let Some(report) = over {
                // Nobody may be there for it.
                let _gone = self.sender.send(Frame::of("end", None, &report)).await;
                return;
            }
            tokio::time::sleep(rest).await;
            idle += rest;
            rest = (rest * 2).min(LOOK_SELDOM);
            if idle >= KEEP_ALIVE {
                idle = Duration::ZERO;
                if self.sender.send(Frame::keep_alive()).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Sends what of a piece is behind `from`. Gives whether anybody listens.
    async fn send(&self, decoder: &mut Decoder, behind: u64, mut piece: ReplayChunk, from: u64) -> bool {
        let known = from.saturating_sub(behind.saturating_sub(piece.bytes.len() as u64));
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(piece.bytes.len());
        piece.bytes.drain(..known);
        let text = decoder.text(&piece);
        if text.is_empty() {
            return !self.sender.is_closed();
        }
        let stream = piece.stream.map(|stream| stream.as_str());
        let output = Output { stream, t_ms: piece.t_ms, text: &text };
        self.sender.send(Frame::of("output", Some(behind), &output)).await.is_ok()
    }
}

/// Pieces, each with the place behind it, and the report when the run is over and everything was given.
type Read = (Tail, Vec<(u64, ReplayChunk)>, Option<Option<RunReport>>);

/// Pieces that are read before they are sent.
const PIECES_MAX: usize = 64;

fn read(store: &RunStore, id: RunId, mut tail: Tail) -> Result<Read, Error> {
    // Looked at first: what the run writes after this is read below all the same.
    let run = store.show(id)?;
    let is_over = run.report.is_some() || !run.summary.running;
    let mut pieces = Vec::new();
    while pieces.len() < PIECES_MAX
        && let Some(piece) = tail.next()?
    {
        pieces.push((tail.offset(), piece));
    }
    let more = pieces.len() == PIECES_MAX;
    Ok((tail, pieces, (is_over && !more).then_some(run.report)))
}

/// Text from bytes that may be cut inside a letter, for each stream.
#[derive(Debug, Default)]
struct Decoder {
    rest: [Vec<u8>; 2],
}

impl Decoder {
    fn text(&mut self, piece: &ReplayChunk) -> String {
        let index = usize::from(piece.stream.is_some_and(|stream| stream.as_str() == "stderr"));
        let Some(rest) = self.rest.get_mut(index) else { return String::new() };
        rest.extend_from_slice(&piece.bytes);
        let whole = match std::str::from_utf8(rest) {
            Ok(_) => rest.len(),
            // Cut inside a letter: the rest of it comes with the next piece.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => rest.len(),
        };
        let text: Vec<u8> = rest.drain(..whole).collect();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// # Errors
/// `not_found` for what cannot be the number of a run.
pub(crate) fn run_id(text: &str) -> Result<RunId, Failure> {
    // What cannot be a number is no run.
    text.parse().map_err(|_: Error| {
        Failure::new(ErrorCode::NotFound, format!("there is no run '{}'", text.escape_debug()))
    })
}

/// Does what may wait for a disk where that holds nobody up.
///
/// # Errors
/// What it says.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Failure::from),
        Err(_) => Err(Failure::new(ErrorCode::Internal, "the work broke off")),
    }
}

#[cfg(test)]
mod tests {
    use ringfence::exec::Stream;

    use super::*;

    #[test]
    fn a_letter_that_is_cut_is_one_letter_and_what_is_none_is_replaced() {
        let mut decoder = Decoder::default();
        let mut text = |stream, bytes: &[u8]| {
            decoder.text(&ReplayChunk { stream: Some(stream), t_ms: 0, bytes: bytes.to_vec() })
        };
        assert_eq!(text(Stream::Stdout, b"a\xc3"), "a");
        assert_eq!(text(Stream::Stderr, b"b"), "b");
        assert_eq!(text(Stream::Stdout, b"\xa4z"), "\u{e4}z");
        assert_eq!(text(Stream::Stdout, b"\xff!"), "\u{fffd}!");
    }
}
