//! Starts the programs that the chores use. The one place in this package that may call `Command::new`.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::workspace;

/// How often a wait with a deadline looks at the child.
const POLL: Duration = Duration::from_millis(5);

/// A command for `name`, which runs in the root of the workspace with stdin closed.
#[expect(clippy::disallowed_methods, reason = "chores run cargo, apt and qemu; none of them is a plugin")]
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(workspace::root()).stdin(Stdio::null());
    command
}

/// Cargo, the same one that runs this chore.
pub(crate) fn cargo() -> Command {
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Cargo describes this package to us in variables; a build that sees them would be rebuilt when run by hand.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end with output passed on.
///
/// # Errors
/// When it cannot be started or does not end with status 0; the text has the command to repeat.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| Failure::of(shown(command), error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Failed(format!("`{}` ended with {}", shown(command), ending(status))))
}

/// Runs to the end and hands back what it wrote, whatever its status.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn output(command: &mut Command) -> Result<Output, Failure> {
    command.output().map_err(|error| Failure::of(shown(command), error))
}

/// Runs to the end and hands back its stdout as text.
///
/// # Errors
/// When it cannot be started, or does not end with status 0; the text has the end of its stderr.
pub(crate) fn text(command: &mut Command) -> Result<String, Failure> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Failed(format!(
        "`{}` ended with {}\n{}",
        shown(command),
        ending(output.status),
        said.trim()
    )))
}

/// What became of a child that had a deadline.
#[derive(Debug)]
pub(crate) struct Timed {
    /// Its status, or `None` when it was killed at the deadline.
    pub(crate) status: Option<ExitStatus>,
    /// From start to reaped.
    pub(crate) duration: Duration,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
}

/// Runs with a deadline; its stdout is thrown away, its stderr kept.
///
/// # Errors
/// When it cannot be started or waited for.
pub(crate) fn run_until(command: &mut Command, limit: Duration) -> Result<Timed, Failure> {
    let name = shown(command);
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::of(&name, error))?;
    let reader = child.stderr.take().map(|mut pipe| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // A broken pipe ends the text early, which is all that a reader of it could learn.
            pipe.read_to_end(&mut bytes).map(|_| bytes).unwrap_or_default()
        })
    });
    let status = wait_until(&mut child, start + limit).map_err(|error| Failure::of(&name, error))?;
    let duration = start.elapsed();
    let bytes = reader.and_then(|thread| thread.join().ok()).unwrap_or_default();
    Ok(Timed { status, duration, stderr: String::from_utf8_lossy(&bytes).into_owned() })
}

/// Waits until `deadline`, then kills. `None` says that it was killed.
///
/// # Errors
/// What the system says about waiting or killing.
pub(crate) fn wait_until(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// The command line as a person would type it in the root of the workspace, with the variables set for it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, quoted(value?.to_str()?))))
        .collect();
    let name = Path::new(command.get_program());
    // Cargo sets CARGO to the path inside the toolchain; a person types the short name.
    let is_cargo = name.file_stem().is_some_and(|stem| stem == "cargo");
    words.push(if is_cargo { "cargo".to_owned() } else { quoted(&name.to_string_lossy()) });
    words.extend(command.get_args().map(|word| quoted(&word.to_string_lossy())));
    words.join(" ")
}

/// The word as a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `status 1` or `signal 9`.
pub(crate) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_so_that_a_shell_repeats_it() {
        let mut command = program("/opt/toolchain/bin/cargo");
        command.args(["test", "it's", ""]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), r"RUSTDOCFLAGS='-D warnings' cargo test 'it'\''s' ''");
    }

    #[test]
    fn a_deadline_kills_and_what_was_said_is_kept() {
        let mut late = program("sh");
        late.args(["-c", "echo said >&2; exec sleep 30"]);
        let timed = run_until(&mut late, Duration::from_millis(300)).unwrap();
        assert!(timed.status.is_none());
        assert_eq!(timed.stderr, "said\n");
        let timed = run_until(program("sh").args(["-c", "exit 3"]), Duration::from_secs(30)).unwrap();
        assert_eq!(timed.status.and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn a_failing_program_is_an_error_with_the_command_and_its_words() {
        let failure = text(program("sh").args(["-c", "echo why >&2; exit 4"])).unwrap_err();
        let said = failure.text().unwrap_or_default().to_owned();
        assert!(said.contains("sh -c") && said.contains("status 4") && said.ends_with("why"), "{said}");
    }
}
