//! `ringfence exec`: one command in a sandbox.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use ringfence::exec::{Exec, Headstart, Listeners, Outcome, Sink, Stream, exit_status};
use ringfence::stream::{Signals, write_now};
use ringfence::units::Limit;
use ringfence_api::text::shell_word;
use ringfence_api::{ErrorCode, RunReport, RunStatus};

use crate::command::sandboxed::SandboxedArguments;
use crate::flags;
use crate::print;
use crate::size::parse_size;
use crate::text::one_line;

/// Signals that cancel the run: Ctrl-C, `kill`, a closed terminal, Ctrl-\.
pub(crate) const CANCELLING: [i32; 4] = [2, 15, 1, 3];
/// How many denials are printed; the report has them all.
const DENIALS_SHOWN: usize = 10;
/// What a report says where the kernel's records of Landlock's denials were read, and there is nothing more to say.
const RECORDS_READ: &str = "read";

#[derive(Debug, Args)]
#[command(
    after_help = "Inside, the command sees /usr, a small /etc, its own /proc, and an empty /tmp; no network, no other process, \
no variable of yours. The exit status is the command's own; 124 after the timeout, 122 after any other broken limit, 125 if \
Ringfence itself refused, 126 and 127 if the command cannot be executed or found, 128+n after signal n.

Examples:
  ringfence exec -- ls /
  ringfence exec --ro . --timeout 30s --memory 200MB -- ./build.sh
  ringfence exec --grant 'file:read=/srv/notes/**' --report run.json -- wc -w /srv/notes/today.md
  ringfence exec --explain -- python3 script.py"
)]
pub(crate) struct ExecArguments {
    /// Let it read this file, or this directory with all in it
    #[arg(long, value_name = "PATH")]
    ro: Vec<PathBuf>,
    /// Let it read, write and delete this file, or all in this directory
    #[arg(long, value_name = "PATH")]
    rw: Vec<PathBuf>,
    #[command(flatten)]
    sandboxed: SandboxedArguments,
    /// Output of both streams together [default: 5MB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_output: Option<Limit<u64>>,
    /// Size of one file [default: 100MB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_file_size: Option<Limit<u64>>,
    /// Open files of each process [default: 1024]
    #[arg(long, value_name = "N", value_parser = flags::parse_count)]
    max_open_files: Option<Limit<u64>>,
    /// Hide matches of this pattern in the output too; `none` hides nothing
    #[arg(long, value_name = "REGEX|none")]
    redact: Vec<String>,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the report with all output in it, at the end, and nothing live
    #[arg(long)]
    pub(crate) json: bool,
    /// Watch every path it names, and say which were out of reach
    #[arg(long)]
    explain: bool,
    /// Refuse to start where only a sampler can hold the limits
    #[arg(long)]
    strict: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Runs it.
pub(crate) fn run(arguments: &ExecArguments, headstart: Headstart) -> ExitCode {
    // Opened before anything runs, so that nothing inside can put a link in its place.
    let report_file =
        match arguments.report.as_ref().map(|path| ringfence::exec::create_report(path)).transpose() {
            Ok(file) => file,
            Err(error) => return refused(&error, None, arguments.json),
        };
    let mut console = match Console::new(arguments.json) {
        Ok(console) => console,
        Err(error) => {
            let error = Error::new(ErrorCode::Io, "cannot catch signals").with_source(error);
            return refused(&error, report_file, arguments.json);
        }
    };
    let exec = match prepare(arguments) {
        Ok(exec) => exec,
        Err(error) => return refused(&error, report_file, arguments.json),
    };
    let outcome = exec.run_after(headstart, &mut console, &Listeners::new());
    tell(arguments, &console, &outcome);
    if let Some(file) = report_file {
        write_report(file, &outcome.report);
    }
    ExitCode::from(exit_status(&outcome.report, outcome.cancelled_by))
}

fn prepare(arguments: &ExecArguments) -> Result<Exec, Error> {
    let mut exec = arguments.sandboxed.command(&arguments.command)?;
    for path in &arguments.ro {
        exec.read_path(path);
    }
    for path in &arguments.rw {
        exec.write_path(path);
    }
    exec.redaction(flags::redaction(&arguments.redact)?).strict(arguments.strict).explain(arguments.explain);
    let limits = exec.limits();
    if let Some(limit) = arguments.max_output {
        limits.output_bytes = limit.as_option();
    }
    if let Some(limit) = arguments.max_file_size {
        limits.file_size_bytes = limit.as_option();
    }
    if let Some(limit) = arguments.max_open_files {
        limits.open_files = limit.as_option();
    }
    Ok(exec)
}

/// Nothing was started.
fn refused(error: &Error, report_file: Option<File>, json: bool) -> ExitCode {
    let report = RunReport::not_started(error.to_body());
    if json {
        print::data(&document(&report, &[], &[]));
    } else {
        print::error(error);
    }
    if let Some(file) = report_file {
        write_report(file, &report);
    }
    ExitCode::from(exit_status(&report, None))
}

fn write_report(mut file: File, report: &RunReport) {
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")) {
        print::error(&Error::new(ErrorCode::Io, "cannot write the report").with_source(error));
    }
}

/// The report with the output at its end.
fn document(report: &RunReport, stdout: &[u8], stderr: &[u8]) -> String {
    let mut text = serde_json::to_string(report).unwrap_or_default();
    text.truncate(text.strip_suffix('}').map_or(text.len(), str::len));
    for (name, bytes) in [("stdout", stdout), ("stderr", stderr)] {
        let value = serde_json::to_string(&String::from_utf8_lossy(bytes)).unwrap_or_default();
        text.push_str(&format!(",\"{name}\":{value}"));
    }
    text.push('}');
    text
}

/// What people are told after the command's own output: why it was stopped or not started, and what was refused.
fn tell(arguments: &ExecArguments, console: &Console, outcome: &Outcome) {
    let report = &outcome.report;
    if arguments.json {
        print::data(&document(report, &console.stdout, &console.stderr));
        return;
    }
    if let Some(error) = &report.error {
        let hint = error.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        print::talk(&format!("ringfence: {}{hint}", error.message));
    }
    if let Some(warning) = &outcome.warning {
        print::error(warning);
    }
    let verdict = report.violation.map(|violation| format!("stopped: {violation}"));
    let verdict = verdict.or_else(|| report.suspected.map(|suspected| format!("suspected: {suspected}")));
    if let Some(verdict) = verdict {
        print::talk(&format!("ringfence: {verdict}: {}", report.evidence.join("; ")));
    }
    for hint in &outcome.hints {
        print::talk(&format!("ringfence: hint: {hint}"));
    }
    if report.exit_code != Some(0) || arguments.explain {
        tell_denials(report, arguments.explain);
    }
    if let Some(records) = report.landlock_records.as_deref().filter(|records| *records != RECORDS_READ) {
        print::talk(&format!("ringfence: the kernel's records of Landlock's denials: {records}"));
    }
}

fn tell_denials(report: &RunReport, explained: bool) {
    for denial in report.denials.iter().take(DENIALS_SHOWN) {
        let grant = match &denial.grant {
            Some(grant) if grant.starts_with("network:") => {
                "; a command cannot be given network yet".to_owned()
            }
            Some(grant) => format!("; this would allow it: --grant {}", shell_word(grant)),
            None => "; no grant allows it".to_owned(),
        };
        let object = if denial.object == ringfence_api::UNKNOWN_OBJECT {
            String::new()
        } else {
            format!(" {}", denial.object.escape_debug())
        };
        let times = if denial.count > 1 { format!(" ({} times)", denial.count) } else { String::new() };
        print::talk(&format!(
            "ringfence: refused by {}: {}{object}{times}{grant}",
            denial.layer, denial.operation
        ));
        if let Some(location) = &denial.location {
            print::talk(&format!("ringfence:   asked for at {}", one_line(location)));
        }
        if let Some(warning) = &denial.warning {
            print::talk(&format!("ringfence: warning: {}", one_line(warning)));
        }
    }
    let more = report.denials.len().saturating_sub(DENIALS_SHOWN);
    if more > 0 {
        print::talk(&format!("ringfence: {more} more refusals are in the report"));
    }
    if report.denials.is_empty()
        && !explained
        && report.status == RunStatus::Exited
        && report.stderr_bytes > 0
    {
        print::talk(
            "ringfence: hint: if a file was missing or read-only, --explain says which, and which grant would allow it",
        );
    }
}

/// This process's own stdout and stderr, which are never waited for, and its signals.
struct Console {
    signals: Signals,
    capture: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    out: io::Stdout,
    err: io::Stderr,
}

impl Console {
    fn new(capture: bool) -> io::Result<Self> {
        let signals = Signals::catch(&CANCELLING)?;
        Ok(Self {
            signals,
            capture,
            stdout: Vec::new(),
            stderr: Vec::new(),
            out: io::stdout(),
            err: io::stderr(),
        })
    }
}

impl Sink for Console {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        match (stream, self.capture) {
            (Stream::Stdout, true) => self.stdout.extend_from_slice(bytes),
            (Stream::Stderr, true) => self.stderr.extend_from_slice(bytes),
            (Stream::Stdout, false) => return write_now(self.out.as_fd(), bytes),
            (Stream::Stderr, false) => return write_now(self.err.as_fd(), bytes),
        }
        Ok(bytes.len())
    }

    fn descriptor(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        match (stream, self.capture) {
            (_, true) => None,
            (Stream::Stdout, false) => Some(self.out.as_fd()),
            (Stream::Stderr, false) => Some(self.err.as_fd()),
        }
    }

    fn cancellation(&self) -> Option<BorrowedFd<'_>> {
        Some(self.signals.as_fd())
    }

    fn cancelled(&mut self) -> Option<i32> {
        self.signals.next().ok().flatten()
    }

    fn memory_warning(&mut self, used_bytes: u64, limit_bytes: u64) {
        if !self.capture {
            print::talk(&format!(
                "ringfence: warning: {used_bytes} of {limit_bytes} bytes of memory are used; --memory gives more"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_one_object_with_the_output_last() {
        let text = document(&RunReport::new(RunStatus::Exited), b"a\"b\n", b"\xff");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["stdout"], "a\"b\n");
        assert_eq!(value["stderr"], "\u{fffd}");
        assert_eq!(value["status"], "exited");
        assert!(text.ends_with(",\"stdout\":\"a\\\"b\\n\",\"stderr\":\"\u{fffd}\"}"));
    }
}
