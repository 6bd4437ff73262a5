//! `ringfence logs NAME`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ringfence::Error;
use ringfence::lifecycle::{LogLine, LogSource};
use ringfence_api::ErrorCode;

use crate::answer::Answer;
use crate::daemon;
use crate::host::{self, Opened, Stopped};
use crate::print;
use crate::text::one_line;
use crate::time::utc_of;

/// The most lines that are shown at once.
const LINES_MAX: i64 = 100_000;
/// How often the daemon is asked for new lines, and how many of the last ones are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const WINDOW_LINES: usize = 1_000;

#[derive(Debug, Args)]
#[command(
    after_help = "Shows what the plugin wrote to standard error and logged, and what Ringfence noted about it, oldest first. Secrets were \
taken out before they were stored.

Examples:
  ringfence logs translator
  ringfence logs translator -n 200
  ringfence logs translator --json
  ringfence logs translator -f

-f goes on until Ctrl-C, with --json one document a line; at most the last 1,000 lines are shown first.

Exit status: 0, also when the log is empty; 2 usage; 3 no such plugin; 4 -f: no daemon holds this home; 8 busy; 128+n ended by signal n."
)]
pub(crate) struct LogsArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// How many lines, the last ones
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=LINES_MAX))]
    lines: u32,
    /// Go on as lines come; this needs the daemon
    #[arg(short = 'f', long)]
    follow: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Shows the log.
pub(crate) fn run(arguments: &LogsArguments) -> ExitCode {
    if arguments.follow {
        return host::with_status(arguments.json, |opened| follow(opened, arguments));
    }
    host::with(arguments.json, |opened| {
        let count = usize::try_from(arguments.lines).unwrap_or(usize::MAX);
        let lines = opened.wait("reading the log", |host| host.logs(&arguments.name, count))?;
        Ok(answer(&arguments.name, &lines)?)
    })
}

/// Prints what is there and what comes, until a signal.
fn follow(opened: &Opened, arguments: &LogsArguments) -> Result<ExitCode, Stopped> {
    let Some(daemon) = opened.daemon() else { return Err(daemon::needed("logs -f").into()) };
    let name = arguments.name.as_str();
    let shown = usize::try_from(arguments.lines).unwrap_or(usize::MAX).min(WINDOW_LINES);
    let mut before: Option<Vec<LogLine>> = None;
    loop {
        let now = match opened.wait_for("reading the log", daemon.logs(name, WINDOW_LINES)) {
            Ok(lines) => lines,
            Err(Stopped::Signal(number)) => return Ok(host::signal_status(number)),
            Err(stopped) => return Err(stopped),
        };
        let (fresh, missed) = match &before {
            None => (now.get(now.len().saturating_sub(shown)..).unwrap_or_default(), false),
            Some(before) => fresh(before, &now),
        };
        if missed {
            print::talk("lines were missed: the plugin writes faster than they are read");
        }
        if !fresh.is_empty() {
            let text: Result<Vec<String>, Error> =
                fresh.iter().map(|line| shape(line, arguments.json)).collect();
            print::data(&text?.concat());
        }
        before = Some(now);
        if let Some(number) = opened.pause(LOOK_EVERY) {
            return Ok(host::signal_status(number));
        }
    }
}

/// The lines that came after those of `before`, and whether some in between are in neither: both are the end of one log, so
/// they overlap, unless more came than are looked at.
fn fresh<'a>(before: &[LogLine], now: &'a [LogLine]) -> (&'a [LogLine], bool) {
    for skipped in 0..before.len() {
        let tail = before.get(skipped..).unwrap_or_default();
        if let Some(fresh) = now.strip_prefix(tail) {
            return (fresh, false);
        }
    }
    (now, !before.is_empty())
}

/// One line for people, or one document a line.
fn shape(entry: &LogLine, json: bool) -> Result<String, Error> {
    if !json {
        return Ok(line(entry));
    }
    let document = serde_json::to_string(entry);
    document
        .map(|text| format!("{text}\n"))
        .map_err(|cause| Error::new(ErrorCode::Internal, "cannot write the line as JSON").with_source(cause))
}

fn answer(name: &str, lines: &[LogLine]) -> Result<Answer, Error> {
    let text: String = lines.iter().map(line).collect();
    let answer = Answer::of(&lines)?.text(text);
    Ok(if lines.is_empty() { answer.talk(format!("the log of {name} is empty")) } else { answer })
}

fn line(line: &LogLine) -> String {
    let source = match (line.source, &line.level) {
        (LogSource::Stderr, _) => "stderr".to_owned(),
        (LogSource::Log, Some(level)) => one_line(level),
        (LogSource::Log, None) => "log".to_owned(),
        (LogSource::Host, _) => "host".to_owned(),
    };
    format!("{}  {source:<7}  {}\n", utc_of(line.at_ms), one_line(&line.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(numbers: &[i64]) -> Vec<LogLine> {
        let line = |at_ms: &i64| LogLine {
            at_ms: *at_ms,
            source: LogSource::Host,
            level: None,
            message: "x".to_owned(),
        };
        numbers.iter().map(line).collect()
    }

    #[test]
    fn only_what_is_new_is_shown_and_a_gap_is_told() {
        let check = |before: &[i64], now: &[i64], new: &[i64], missed: bool| {
            let (before, now) = (numbered(before), numbered(now));
            assert_eq!(fresh(&before, &now), (numbered(new).as_slice(), missed), "{before:?} {now:?}");
        };
        check(&[], &[], &[], false);
        check(&[], &[1, 2], &[1, 2], false);
        check(&[1, 2], &[1, 2], &[], false);
        check(&[1, 2], &[1, 2, 3], &[3], false);
        check(&[1, 2, 3], &[2, 3, 4], &[4], false);
        check(&[1, 1], &[1, 1, 1], &[1], false);
        check(&[1, 2, 3], &[7, 8, 9], &[7, 8, 9], true);
    }

    #[test]
    fn a_message_is_one_line_with_its_time_and_source() {
        let entry = |source, level: Option<&str>, message: &str| LogLine {
            at_ms: 0,
            source,
            level: level.map(str::to_owned),
            message: message.to_owned(),
        };
        let lines = [
            entry(LogSource::Stderr, None, "a\u{1b}[2J"),
            entry(LogSource::Log, Some("warning"), "two\nlines"),
            entry(LogSource::Host, None, "started"),
        ];
        assert_eq!(
            answer("p", &lines).unwrap().for_people(),
            "1970-01-01 00:00:00  stderr   a\\u{1b}[2J\n\
             1970-01-01 00:00:00  warning  two\\nlines\n\
             1970-01-01 00:00:00  host     started"
        );
        assert_eq!(answer("p", &[]).unwrap().for_people(), "the log of p is empty");
    }
}
