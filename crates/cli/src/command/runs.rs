//! `ringfence runs list` and `ringfence runs show ID`: what past runs wrote and how they ended.
//!
//! What is data goes to `out`, what is said about it to `talk`. Commands and their arguments are escaped
//! before they reach a terminal; the output of a run is given back as it was shown when it ran.

use std::io::{self, Write};

use clap::Subcommand;
use ringfence::Error;
use ringfence::exec::store::{PAGE_MAX, ReplayChunk, RunState, RunSummary, StoredRun};
use ringfence::exec::{RunId, RunStore, Stream};
use ringfence_api::{ErrorCode, RunStatus};
use serde::Serialize;

use crate::size::one_text;
use crate::text::{command_line, printable, size};
use crate::time::utc;

/// What to do with the stored runs.
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List stored runs, the newest first
    #[command(after_help = "Examples:
  ringfence runs list
  ringfence runs list --limit 100 --json

Exit status: 0, also when none is stored; 1 the store cannot be read; 2 usage.")]
    List {
        /// How many to show, 1 to 1000
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Only runs older than this one
        #[arg(long, value_name = "ID", value_parser = parse_id)]
        before: Option<RunId>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show one run: how it ended, and its output again
    #[command(after_help = "Examples:
  ringfence runs show 7
  ringfence runs show 7 --timeline

Exit status: 0 shown; 1 the store cannot be read; 2 usage; 3 no such run.")]
    Show {
        /// The number of the run
        #[arg(value_name = "ID", value_parser = parse_id)]
        id: RunId,
        /// Show each piece of output with its time and stream
        #[arg(long, conflicts_with = "json")]
        timeline: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

fn parse_id(text: &str) -> Result<RunId, String> {
    text.parse().map_err(|error: Error| one_text(&error))
}

/// Does it.
///
/// # Errors
///
/// `not_found` when there is no such run, `io` when the store cannot be read or the output not be written.
pub(crate) fn run(
    command: &RunsCommand,
    store: &RunStore,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<(), Error> {
    match *command {
        RunsCommand::List { limit, before, json } => {
            let page = store.list(before, usize::from(limit).min(PAGE_MAX))?;
            if json {
                return print_json(&page, out);
            }
            list(&page.runs, out).map_err(unwritten)?;
            match (page.runs.is_empty(), page.before) {
                (true, _) => writeln!(talk, "no stored runs"),
                (false, Some(before)) => writeln!(talk, "older: ringfence runs list --before {before}"),
                (false, None) => Ok(()),
            }
            .map_err(unwritten)
        }
        RunsCommand::Show { id, json: true, .. } => show_json(&store.show(id)?, out),
        RunsCommand::Show { id, timeline, .. } => {
            let stored = store.show(id)?;
            headline(&stored, talk).map_err(unwritten)?;
            for chunk in stored.replay()? {
                let chunk = chunk?;
                let shown = if timeline {
                    show_timed(&chunk, out)
                } else if chunk.stream == Some(Stream::Stderr) {
                    talk.write_all(&chunk.bytes)
                } else {
                    out.write_all(&chunk.bytes)
                };
                shown.map_err(unwritten)?;
            }
            out.flush().map_err(unwritten)
        }
    }
}

fn unwritten(error: io::Error) -> Error {
    Error::new(ErrorCode::Io, "cannot write the answer").with_source(error)
}

fn list(runs: &[RunSummary], out: &mut dyn Write) -> io::Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "{:>6}  {:<20}  {:<16}  {:>10}  {:>10}  COMMAND",
        "ID", "STARTED (UTC)", "ENDED", "TOOK", "OUTPUT"
    )?;
    for run in runs {
        let took = run
            .duration_ms
            .map_or_else(|| "-".to_owned(), |ms| format!("{}.{:03} s", ms / 1_000, ms % 1_000));
        let output = size(run.stored_bytes) + if run.stored_truncated { "+" } else { "" };
        let started = utc(run.started_at_ms);
        writeln!(
            out,
            "{:>6}  {started:<20}  {:<16}  {took:>10}  {output:>10}  {}",
            run.id.get(),
            ending(run),
            command_line(&run.command)
        )?;
    }
    Ok(())
}

/// How a run ended, in a word or two.
fn ending(run: &RunSummary) -> String {
    match (run.state, run.status) {
        (RunState::Unfinished, _) if run.running => "running".to_owned(),
        (RunState::Finished, Some(status)) => match status {
            RunStatus::Exited => format!("exit {}", run.exit_code.unwrap_or_default()),
            RunStatus::Signaled => {
                run.signal.map_or_else(|| "unknown".to_owned(), |signal| format!("signal {signal}"))
            }
            RunStatus::Violation => {
                run.violation.map_or("violation", |violation| violation.as_str()).to_owned()
            }
            RunStatus::Cancelled => "cancelled".to_owned(),
            RunStatus::NotStarted => "not started".to_owned(),
        },
        (state, _) => state.as_str().to_owned(),
    }
}

fn headline(stored: &StoredRun, talk: &mut dyn Write) -> io::Result<()> {
    let run = &stored.summary;
    writeln!(talk, "run {}: {}", run.id, command_line(&run.command))?;
    writeln!(talk, "started {} UTC, {}", utc(run.started_at_ms), ending(run))?;
    if !stored.grants.is_empty() {
        let grants: Vec<String> = stored.grants.iter().map(|grant| printable(grant)).collect();
        writeln!(talk, "granted {}", grants.join(", "))?;
    }
    if let Some(report) = &stored.report {
        let peak = size(report.memory_peak_bytes);
        writeln!(
            talk,
            "took {} ms, {} ms of processor time, {peak} of memory",
            report.duration_ms, report.cpu_ms
        )?;
        for line in &report.evidence {
            writeln!(talk, "because {}", printable(line))?;
        }
        if let Some(error) = &report.error {
            writeln!(talk, "error: {}", printable(&error.to_string()))?;
        }
        for denial in &report.denials {
            let grant = denial
                .grant
                .as_ref()
                .map_or_else(String::new, |grant| format!("; {} would allow it", printable(grant)));
            let (operation, object) = (printable(&denial.operation), printable(&denial.object));
            writeln!(
                talk,
                "denied {operation} {object} by {}, {} time(s){grant}",
                printable(&denial.layer),
                denial.count
            )?;
        }
    }
    if run.stored_truncated {
        writeln!(talk, "only the first {} of its output are stored", size(run.stored_bytes))?;
    }
    writeln!(talk)
}

/// One piece of output, each of its lines with time and stream, escaped.
fn show_timed(chunk: &ReplayChunk, out: &mut dyn Write) -> io::Result<()> {
    let stream = chunk.stream.map_or("unknown", Stream::as_str);
    let text = String::from_utf8_lossy(&chunk.bytes);
    for line in text.split_inclusive('\n') {
        writeln!(out, "{:>8} ms  {stream:<7} {}", chunk.t_ms, printable(line))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct ShownRun<'a> {
    #[serde(rename = "run")]
    summary: &'a RunSummary,
    grants: &'a [String],
    report: Option<&'a ringfence_api::RunReport>,
    output: Vec<ShownPiece>,
}

#[derive(Serialize)]
struct ShownPiece {
    t_ms: u64,
    stream: Option<Stream>,
    /// What is not UTF-8 is replaced.
    text: String,
}

fn show_json(stored: &StoredRun, out: &mut dyn Write) -> Result<(), Error> {
    let mut output = Vec::new();
    for chunk in stored.replay()? {
        let ReplayChunk { stream, t_ms, bytes } = chunk?;
        output.push(ShownPiece { t_ms, stream, text: String::from_utf8_lossy(&bytes).into_owned() });
    }
    let (summary, grants, report) = (&stored.summary, &stored.grants, stored.report.as_ref());
    print_json(&ShownRun { summary, grants, report, output }, out)
}

fn print_json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), Error> {
    serde_json::to_writer(&mut *out, value).map_err(|e| unwritten(e.into()))?;
    out.write_all(b"\n").and_then(|()| out.flush()).map_err(unwritten)
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
