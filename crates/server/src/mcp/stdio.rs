//! MCP on a pair of streams: one message a line, in and out, and nothing else.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::time::Duration;

use ringfence::Error;
use ringfence_api::ErrorCode;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::message::{
    self, INVALID_REQUEST, Id, MESSAGE_MAX_BYTES, Message, ProtocolError, Request, Unreadable,
};
use super::revision::{self, Era};
use super::{CALLS_AT_ONCE_MAX, Management};
use crate::Caller;

/// How many answers wait for a client that does not read; after that nothing more is read from it.
const ANSWERS_MAX: usize = 16;
/// How many requests are under way at most, those included that are being told that the server is busy.
const REQUESTS_MAX: usize = 2 * CALLS_AT_ONCE_MAX;
/// How long the last answers may take to be written after the end of input.
const LAST_WORDS_TIME: Duration = Duration::from_secs(5);
/// How long acts may go on after the client has gone: longer than any of them may take.
const ACTS_TIME: Duration = Duration::from_secs(300);

/// A line of the client.
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// Serves one client until its input ends: what is under way is answered, and acts are finished. A client that does not read
/// any more is the same as one that has gone. Two threads do the reading and writing, as these streams may block; the one that
/// reads is left behind where its stream gives no end.
///
/// # Errors
/// `io` when a thread cannot be started.
///
/// # Cancel safety
/// Dropped, nothing more is answered. Acts go on for as long as the runtime runs.
pub async fn serve_stdio(
    management: Management,
    caller: Caller,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> Result<(), Error> {
    let failed = |cause| Error::new(ErrorCode::Io, "cannot start a thread").with_source(cause);
    let (lines_out, lines) = mpsc::channel(1);
    std::thread::Builder::new()
        .name("mcp-in".to_owned())
        .spawn(move || read_lines(input, &lines_out))
        .map_err(failed)?;
    let (answers, answers_in) = mpsc::channel(ANSWERS_MAX);
    let (written_out, written) = oneshot::channel();
    std::thread::Builder::new()
        .name("mcp-out".to_owned())
        .spawn(move || {
            write_lines(output, answers_in);
            // Nobody waits any more: then nobody needs to know.
            let _nobody_waits = written_out.send(());
        })
        .map_err(failed)?;
    let settled = management.clone();
    Session {
        management,
        caller,
        answers,
        initialized: false,
        tasks: JoinSet::new(),
        running: HashMap::new(),
    }
    .serve(lines)
    .await;
    // The session held the last sender, so the writer ends when it has written everything.
    let _late = tokio::time::timeout(LAST_WORDS_TIME, written).await;
    if !settled.settle(ACTS_TIME).await {
        tracing::error!("an act was still under way when the server ended");
    }
    Ok(())
}

/// What is known of one client.
struct Session {
    management: Management,
    caller: Caller,
    answers: mpsc::Sender<Value>,
    initialized: bool,
    tasks: JoinSet<(Id, Value)>,
    /// Calls that are under way and not given up.
    running: HashMap<Id, AbortHandle>,
}

impl Session {
    async fn serve(mut self, mut lines: mpsc::Receiver<Line>) {
        loop {
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.tell(ended).await,
                () = self.answers.closed() => return self.tasks.shutdown().await,
                line = lines.recv(), if self.tasks.len() < REQUESTS_MAX => match line {
                    Some(line) => self.take(line).await,
                    None => break,
                },
            }
        }
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.tell(ended).await,
                () = self.answers.closed() => return self.tasks.shutdown().await,
            }
        }
    }

    /// Tells what came of a call. Its id is free before the client hears of it. What was given up is not told, and its id may be
    /// another one's already.
    async fn tell(&mut self, ended: Result<(tokio::task::Id, (Id, Value)), JoinError>) {
        let Ok((task, (id, answer))) = ended else { return };
        if self.running.get(&id).is_some_and(|handle| handle.id() == task) {
            self.running.remove(&id);
            self.say(answer).await;
        }
    }

    async fn take(&mut self, line: Line) {
        let read = match line {
            Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => return,
            Line::Whole(line) => message::read(&line),
            Line::TooLong => Err(message::too_long()),
        };
        match read {
            Ok(Message::Request(request)) => self.begin(request).await,
            Ok(Message::Notification { method, params }) if method == "notifications/cancelled" => {
                self.give_up(&params);
            }
            Ok(Message::Notification { .. } | Message::Response) => {}
            Err(Unreadable { id, error }) => self.say(message::refusal(id.as_ref(), error)).await,
        }
    }

    async fn begin(&mut self, request: Request) {
        let id = request.id.clone();
        if self.running.contains_key(&id) {
            let error = ProtocolError::new(INVALID_REQUEST, "a request with this id is under way");
            return self.say(message::refusal(Some(&id), error)).await;
        }
        let era = match self.era(&request) {
            Ok(era) => era,
            Err(error) => return self.say(message::refusal(Some(&id), error)).await,
        };
        if request.method != "tools/call" {
            let begins = request.method == "initialize";
            let outcome = self.management.answer(&self.caller, era, request).await;
            self.initialized |= begins && outcome.is_ok();
            return self.say(message::response(&id, outcome)).await;
        }
        let (management, caller, key) = (self.management.clone(), self.caller.clone(), id.clone());
        let handle = self.tasks.spawn(async move {
            let outcome = management.answer(&caller, era, request).await;
            let answer = message::response(&id, outcome);
            (id, answer)
        });
        self.running.insert(key, handle);
    }

    /// A request says its revision itself, or belongs to what `initialize` began; before that there may be a `ping`.
    fn era(&self, request: &Request) -> Result<Era, ProtocolError> {
        if request.method == "initialize" {
            return Ok(Era::Handshake);
        }
        let begun = self.initialized || request.method == "ping";
        if revision::named(&request.params).is_none() && begun {
            return Ok(Era::Handshake);
        }
        revision::of_meta(&request.params)
    }

    /// What is given up gets no answer. An act goes on: it is a task of its own.
    fn give_up(&mut self, params: &Map<String, Value>) {
        let given_up = params.get("requestId").and_then(Id::read).and_then(|id| self.running.remove(&id));
        if let Some(handle) = given_up {
            handle.abort();
        }
    }

    async fn say(&self, answer: Value) {
        // A client that has gone is noticed by whoever waits for its lines.
        let _gone = self.answers.send(answer).await;
    }
}

/// Reads lines until the end of input, or until nobody wants any more. What is longer than a message may be is read over.
fn read_lines(input: impl Read, out: &mpsc::Sender<Line>) {
    let mut reader = BufReader::new(input);
    let (mut line, mut too_long) = (Vec::new(), false);
    loop {
        let (used, is_end) = match reader.fill_buf() {
            Ok([]) => break,
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
            Ok(block) => {
                let end = block.iter().position(|byte| *byte == b'\n');
                let used = end.map_or(block.len(), |at| at + 1);
                too_long |= line.len() + used > MESSAGE_MAX_BYTES + 1;
                if too_long {
                    line = Vec::new();
                } else {
                    line.extend_from_slice(block.get(..used).unwrap_or_default());
                }
                (used, end.is_some())
            }
        };
        reader.consume(used);
        if is_end && out.blocking_send(whole(&mut line, &mut too_long)).is_err() {
            return;
        }
    }
    if too_long || !line.is_empty() {
        let _nobody_listens = out.blocking_send(whole(&mut line, &mut too_long));
    }
}

fn whole(line: &mut Vec<u8>, too_long: &mut bool) -> Line {
    if std::mem::take(too_long) { Line::TooLong } else { Line::Whole(std::mem::take(line)) }
}

/// Writes answers until there are no more, or nobody reads them.
fn write_lines(mut output: impl Write, mut answers: mpsc::Receiver<Value>) {
    while let Some(answer) = answers.blocking_recv() {
        let mut line = answer.to_string();
        line.push('\n');
        if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}
