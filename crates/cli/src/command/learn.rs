//! `ringfence learn`: one command on copies, and the grants that it needs.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use ringfence::exec::{LearnOptions, Learned, Sink, Stream};
use ringfence::stream::{Signals, write_now};
use ringfence_api::text::shell_word;
use ringfence_api::{Denial, ErrorCode};
use serde::Serialize;

use crate::answer::Answer;
use crate::command::exec::CANCELLING;
use crate::command::sandboxed::SandboxedArguments;
use crate::print;
use crate::text::one_line;

#[derive(Debug, Args)]
#[command(
    after_help = "The command runs in a sandbox that shows nearly everything and lets it change copies, which are thrown away, and once more with exactly the list: \
nothing of yours is changed. The network stays closed, and protected paths stay hidden; both are told as wanted. What it \
prints goes to standard error, the list to standard output. Which environment variables a program reads cannot be seen: grant \
them with --grant env:read=NAME.

Examples:
  ringfence learn -- git status
  ringfence learn --minimise -- make -C project
  ringfence learn --manifest -- python3 plugin.py

Exit status: 0 the list is complete; 1 the command failed or was stopped, and the list is of what it did until then; 2 usage; \
3 no such command; 4 refused; 7 not enforceable here."
)]
pub(crate) struct LearnArguments {
    #[command(flatten)]
    sandboxed: SandboxedArguments,
    /// Run it again without each line, and leave out the lines without which it ends and prints the same
    #[arg(long)]
    minimise: bool,
    /// Print the permissions of a plugin's manifest, in YAML
    #[arg(long)]
    manifest: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    /// For `ringfence exec --grant`.
    grants: &'a [String],
    /// For `ringfence exec --cwd`: relative names mean something in it. Null where it is not there with these grants.
    working_directory: Option<&'a PathBuf>,
    /// For a manifest: the grants and what was wanted of the network.
    permissions: Vec<String>,
    network: &'a [Denial],
    protected: &'a [Denial],
    notes: &'a [String],
    status: ringfence_api::RunStatus,
    exit_code: Option<i32>,
    signal: Option<i32>,
}

/// Learns.
pub(crate) fn run(arguments: &LearnArguments) -> ExitCode {
    let learned = arguments.sandboxed.command(&arguments.command).and_then(|exec| {
        let mut sink = ToStderr::new(arguments.json)
            .map_err(|error| Error::new(ErrorCode::Io, "cannot catch signals").with_source(error))?;
        exec.learn(&mut sink, LearnOptions { minimise: arguments.minimise })
    });
    let learned = match learned {
        Ok(learned) => learned,
        Err(error) => {
            if arguments.json {
                print::error_document(&error);
            } else {
                print::error(&error);
            }
            return ExitCode::from(error.code().exit_status());
        }
    };
    let printed = match answer(arguments, &learned) {
        Ok(answer) => answer.print(arguments.json),
        Err(error) => {
            print::error(&error);
            return ExitCode::from(error.code().exit_status());
        }
    };
    if printed == ExitCode::SUCCESS && learned.report.exit_code != Some(0) {
        ExitCode::from(1)
    } else {
        printed
    }
}

fn answer(arguments: &LearnArguments, learned: &Learned) -> Result<Answer, Error> {
    let document = Document {
        grants: &learned.grants,
        working_directory: learned.working_directory.as_ref(),
        permissions: learned.permissions(),
        network: &learned.network,
        protected: &learned.protected,
        notes: &learned.notes,
        status: learned.report.status,
        exit_code: learned.report.exit_code,
        signal: learned.report.signal,
    };
    let text = if arguments.manifest { manifest(&document.permissions) } else { lines(learned) };
    Ok(Answer::of(&document)?.text(text).talk_all(talk(learned)))
}

/// One flag a line, each quoted for a shell.
fn lines(learned: &Learned) -> String {
    let cwd = learned
        .working_directory
        .iter()
        .map(|path| format!("--cwd {}\n", shell_word(&path.to_string_lossy())));
    let grants = learned.grants.iter().map(|grant| format!("--grant {}\n", shell_word(grant)));
    grants.chain(cwd).collect()
}

/// A JSON text is a YAML text.
fn manifest(permissions: &[String]) -> String {
    if permissions.is_empty() {
        return "permissions: []\n".to_owned();
    }
    let lines = permissions.iter().map(|text| format!("  - {}\n", serde_json::Value::from(text.as_str())));
    format!("permissions:\n{}", lines.collect::<String>())
}

fn talk(learned: &Learned) -> Vec<String> {
    let mut talk = Vec::new();
    if learned.grants.is_empty() {
        talk.push("it needs no grant".to_owned());
    }
    for denial in &learned.protected {
        let object = one_line(&denial.object);
        talk.push(format!("warning: it wanted {} of {object}, which is not proposed", denial.operation));
        if let Some(warning) = &denial.warning {
            talk.push(format!("  {}", one_line(warning)));
        }
        if let Some(grant) = &denial.grant {
            talk.push(format!("  if it must: --grant {}", shell_word(grant)));
        }
    }
    for denial in &learned.network {
        let object = one_line(&denial.object);
        talk.push(format!(
            "it wanted to {} {object}: a command cannot be given network yet",
            denial.operation
        ));
    }
    talk.extend(learned.notes.iter().map(|note| format!("note: {}", one_line(note))));
    talk
}

/// Everything that the command prints, on standard error; nothing of it with `--json`.
struct ToStderr {
    signals: Signals,
    quiet: bool,
    err: io::Stderr,
}

impl ToStderr {
    fn new(quiet: bool) -> io::Result<Self> {
        Ok(Self { signals: Signals::catch(&CANCELLING)?, quiet, err: io::stderr() })
    }
}

impl Sink for ToStderr {
    fn write(&mut self, _stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        if self.quiet { Ok(bytes.len()) } else { write_now(self.err.as_fd(), bytes) }
    }

    fn descriptor(&self, _stream: Stream) -> Option<BorrowedFd<'_>> {
        (!self.quiet).then(|| self.err.as_fd())
    }

    fn cancellation(&self) -> Option<BorrowedFd<'_>> {
        Some(self.signals.as_fd())
    }

    fn cancelled(&mut self) -> Option<i32> {
        self.signals.next().ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_a_yaml_list_whatever_is_in_them() {
        assert_eq!(manifest(&[]), "permissions: []\n");
        let odd = "file:read=/srv/a: \"b\"\n".to_owned();
        assert_eq!(manifest(&[odd]), "permissions:\n  - \"file:read=/srv/a: \\\"b\\\"\\n\"\n");
    }
}
