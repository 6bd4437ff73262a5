//! Runs the acts, through the library's executor, and decides by the canaries what came of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringfence::exec::{Exec, Listeners, Sink, Stream};
use ringfence::stream::Signals;
use ringfence::{Error, doctor};
use ringfence_api::{ErrorCode, RunReport, RunStatus};
use serde::Serialize;

use super::cases::{Case, HOST, Outside, Who};
use super::guest;
use super::world::{World, failed};

/// Ctrl-C, `kill` and a closed terminal end the demo, and its directory with it.
const CANCELLING: [i32; 3] = [2, 15, 1];
/// Enough of a reason for a table.
const REASON_CHARS: usize = 34;

/// How an act ended.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// The act's short name.
    pub(super) name: &'static str,
    /// What was tried, after "to".
    pub(super) tried: &'static str,
    /// Whether the canary saw it happen without a sandbox; nothing if that would have done harm.
    pub(super) outside: Option<bool>,
    /// Whether it did no harm inside, with the layer in force.
    pub(super) held: bool,
    /// What the program was told, or the limit that it broke.
    pub(super) inside: String,
    /// The layer that holds it, or `host`.
    pub(super) held_by: &'static str,
    /// The grant or flag that would have allowed it.
    pub(super) allowed_by: Option<String>,
    /// What went wrong, if it did not hold.
    pub(super) harm: Option<String>,
}

/// One run inside.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) report: RunReport,
    /// What was written to both streams.
    pub(super) output: String,
    pub(super) elapsed: Duration,
}

impl Seen {
    /// The broken limit, else the first line of what the program said of its failure.
    pub(super) fn said(&self) -> String {
        if let Some(violation) = self.report.violation {
            return format!("stopped: {violation}");
        }
        reason(&self.output)
    }
}

/// The first line, without the error number, cut to the table.
fn reason(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    // A shell puts its own name and the line number first.
    let line = line.rsplit(": ").next().unwrap_or(line);
    let line = line.split(" (os error").next().unwrap_or(line);
    let clean = line.chars().map(|character| if character.is_control() { ' ' } else { character });
    clean.take(REASON_CHARS).collect()
}

/// From here on, signals that would end this process wait to be asked for.
pub(super) fn catch_signals() -> Result<Signals, Error> {
    Signals::catch(&CANCELLING)
        .map_err(|error| Error::new(ErrorCode::Io, "cannot catch signals").with_source(error))
}

/// Who runs things inside.
pub(super) struct Inside<'w> {
    world: &'w World,
    program: PathBuf,
    watch: Watch,
}

impl<'w> Inside<'w> {
    pub(super) fn new(world: &'w World, signals: Signals) -> Result<Self, Error> {
        Ok(Self { world, program: doctor::own_program()?, watch: Watch { signals, output: Vec::new() } })
    }

    /// Runs one act of the guest, with what `change` grants.
    pub(super) fn guest(&mut self, words: &[String], change: impl FnOnce(&mut Exec)) -> Result<Seen, Error> {
        let program = self.program.display().to_string();
        let mut exec =
            Exec::new([program.as_str(), "demo-guest"].into_iter().chain(words.iter().map(String::as_str)));
        // What lies below /usr is shown to every program.
        if !self.program.starts_with("/usr") {
            exec.read_path(&self.program);
        }
        change(&mut exec);
        self.run(&exec)
    }

    fn run(&mut self, exec: &Exec) -> Result<Seen, Error> {
        self.watch.output.clear();
        let begun = Instant::now();
        let outcome = exec.run(&mut self.watch, &Listeners::new());
        if outcome.cancelled_by.is_some() {
            return Err(Error::new(ErrorCode::Cancelled, "the demo was cancelled; its directory is removed"));
        }
        if let (RunStatus::NotStarted, Some(error)) = (outcome.report.status, &outcome.report.error) {
            let made = Error::new(error.code, error.message.clone());
            return Err(
                made.with_hint(error.hint.clone().unwrap_or_else(|| "see `ringfence doctor`".to_owned()))
            );
        }
        let output = String::from_utf8_lossy(&self.watch.output).into_owned();
        Ok(Seen { report: outcome.report, output, elapsed: begun.elapsed() })
    }

    fn start(&mut self, case: &Case, more: impl FnOnce(&mut Exec)) -> Result<Seen, Error> {
        let outbox = self.world.path("outbox");
        let change = |exec: &mut Exec| {
            exec.write_path(&outbox).working_directory(&outbox);
            (case.limits)(exec.limits());
            more(exec);
        };
        match &case.who {
            Who::Guest(words) => self.guest(words, change),
            Who::Shell(script) => {
                let mut exec = Exec::new(["/bin/sh", "-c", script]);
                change(&mut exec);
                self.run(&exec)
            }
        }
    }

    /// Does the act outside where that is harmless, then inside, and looks at the canary each time.
    pub(super) fn judge(&mut self, case: &Case) -> Result<Verdict, Error> {
        let world = self.world;
        let outside = match &case.outside {
            Outside::Never => None,
            Outside::Here => Some(self.happens_here(case)),
            Outside::Granted(permission) => {
                let grant = |exec: &mut Exec| {
                    exec.grant(permission.as_str());
                };
                let seen = self.start(case, grant)?;
                Some((case.harm)(world, &seen))
            }
        };
        world.reset().map_err(|error| failed("put back", &world.path(""), error))?;
        let seen = self.start(case, |_| {})?;
        let mut harm = (case.harm)(world, &seen).then(|| case.harm_text.to_owned());
        world.reset().map_err(|error| failed("put back", &world.path(""), error))?;
        if harm.is_none() && case.held_by != HOST && !seen.report.enforced.contains_key(case.held_by) {
            harm = Some("it did no harm, but the layer that should hold it was not in force".to_owned());
        }
        if harm.is_none() && outside == Some(false) && case.outside_must_work {
            harm = Some("it failed without a sandbox too, so nothing was shown".to_owned());
        }
        Ok(Verdict {
            name: case.name,
            tried: case.tried,
            outside,
            held: harm.is_none(),
            inside: seen.said(),
            held_by: case.held_by,
            allowed_by: case.allowed_by.clone(),
            harm,
        })
    }

    fn happens_here(&self, case: &Case) -> bool {
        let Who::Guest(words) = &case.who else { return false };
        let begun = Instant::now();
        let output = guest::perform(words).unwrap_or_else(|error| error.to_string());
        let seen = Seen { report: RunReport::new(RunStatus::Exited), output, elapsed: begun.elapsed() };
        (case.harm)(self.world, &seen)
    }
}

/// Takes all output, which the output limit bounds, and the signals that end the demo.
struct Watch {
    signals: Signals,
    output: Vec<u8>,
}

impl Sink for Watch {
    fn write(&mut self, _stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn descriptor(&self, _stream: Stream) -> Option<BorrowedFd<'_>> {
        None
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
    use crate::command::demo::cases;

    /// A case that reads what is granted: as if the sandbox did not hold.
    fn open_door(world: &World) -> Case {
        let copy = world.path("outbox/copy");
        std::fs::write(&copy, format!("{}\n", world.secret())).unwrap();
        let mut case = cases::all(world).into_iter().find(|case| case.name == "read").unwrap();
        case.who = Who::Shell(format!("read -r line < '{}'; echo \"$line\"", copy.display()));
        case.outside = Outside::Never;
        case
    }

    #[test]
    fn what_a_sandbox_does_not_hold_is_not_called_held() {
        let world = World::make().unwrap();
        let mut inside = Inside::new(&world, catch_signals().unwrap()).unwrap();
        let mut case = open_door(&world);
        let verdict = inside.judge(&case).unwrap();
        assert!(!verdict.held, "{verdict:?}");
        assert_eq!(verdict.harm.as_deref(), Some("the secret stood in its output"));

        case.harm = |_, _| false;
        assert!(inside.judge(&case).unwrap().held);
        case.held_by = "a layer that is not there";
        assert!(inside.judge(&case).unwrap().harm.unwrap().contains("not in force"));
        case.held_by = "mount";
        case.outside = Outside::Granted("subprocess:execute".to_owned());
        assert!(inside.judge(&case).unwrap().harm.unwrap().contains("nothing was shown"));
    }

    #[test]
    fn a_reason_is_one_short_clean_line() {
        assert_eq!(reason("No such file or directory (os error 2)\nmore"), "No such file or directory");
        assert_eq!(reason("sh: 1: Cannot fork\n"), "Cannot fork");
        assert_eq!(reason("\x1b[31mred"), " [31mred");
        assert_eq!(reason(&"x".repeat(100)).len(), REASON_CHARS);
        assert_eq!(reason(""), "");
    }
}
