//! `ringfence logs NAME`.

use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use ringfence::lifecycle::{LogLine, LogSource};
use ringfence_api::ErrorCode;

use crate::answer::Answer;
use crate::host;
use crate::text::one_line;
use crate::time::utc_of;

/// The most lines that are shown at once.
const LINES_MAX: i64 = 100_000;

#[derive(Debug, Args)]
#[command(
    after_help = "Shows what the plugin wrote to standard error and logged, and what Ringfence noted about it, oldest first. Secrets were \
taken out before they were stored.

Examples:
  ringfence logs translator
  ringfence logs translator -n 200
  ringfence logs translator --json

Exit status: 0, also when the log is empty; 2 usage; 3 no such plugin; 4 -f: it needs the daemon; 8 busy."
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
        let message = "logs -f needs the daemon, which this version does not have";
        let hint = format!("the lines so far: ringfence logs {}", arguments.name);
        return host::failed(&Error::new(ErrorCode::NotSupported, message).with_hint(hint), arguments.json);
    }
    host::with(arguments.json, |opened| {
        let count = usize::try_from(arguments.lines).unwrap_or(usize::MAX);
        let lines = opened.wait("reading the log", |host| host.logs(&arguments.name, count))?;
        Ok(answer(&arguments.name, &lines)?)
    })
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
