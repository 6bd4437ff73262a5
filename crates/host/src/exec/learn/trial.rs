//! The list is tried: the command runs again with exactly these grants, and without each of them, always on copies.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use ringfence_api::{PermissionName, RunStatus};
use ringfence_policy::{CanonicalPath, PathPattern};

use super::{LearnOptions, Learned};
use crate::exec::request::{Exec, Stdin};
use crate::exec::run::{Capture, Captured, Sink};
use crate::exec::{Listeners, Stream};

/// How many lines [`LearnOptions::minimise`] tries to do without: each is a run.
const MINIMISE_LINES_MAX: usize = 64;

impl Exec {
    /// Runs the command with exactly the list, so that it is known to be enough, and leaves out what can be.
    pub(super) fn try_out(&self, learned: &mut Learned, sink: &mut dyn Sink, options: LearnOptions) {
        if learned.report.exit_code != Some(0) {
            if options.minimise {
                learned.notes.push("nothing was left out by trying: the command did not succeed".to_owned());
            }
            return;
        }
        if self.stdin == Stdin::Pass {
            learned
                .notes
                .push("the list was not tried out: standard input was read in the first run".to_owned());
            return;
        }
        let mut trials = Trials { sink, cancelled: false };
        match self.enough(learned, &mut trials) {
            _ if trials.cancelled => learned.notes.push(CANCELLED.to_owned()),
            None => learned.notes.push(
                "with exactly these grants the command did not succeed again: something is missing"
                    .to_owned(),
            ),
            Some(whole) if options.minimise => self.minimise(learned, &whole, &mut trials),
            Some(_) => {}
        }
    }

    /// Drops the lines without which the command ends and prints the same.
    fn minimise(&self, learned: &mut Learned, whole: &Captured, trials: &mut Trials<'_>) {
        // A command that prints something else each time is judged by its status alone.
        let second = self.again(&learned.grants, learned.working_directory.as_deref(), trials);
        let prints_the_same = second.stdout == whole.stdout;
        let mut kept = 0;
        for _ in 0..learned.grants.len().min(MINIMISE_LINES_MAX) {
            if trials.cancelled {
                break;
            }
            let mut fewer = learned.grants.clone();
            let line = fewer.remove(kept);
            let tried = self.again(&fewer, learned.working_directory.as_deref(), trials);
            if trials.cancelled {
                break;
            }
            let same_end = tried.report.status == RunStatus::Exited && tried.report.exit_code == Some(0);
            if same_end && (!prints_the_same || tried.stdout == whole.stdout) {
                learned.grants = fewer;
                learned
                    .notes
                    .push(format!("not needed, as a run without it ended and printed the same: {line}"));
            } else {
                kept += 1;
            }
        }
        if trials.cancelled {
            learned.notes.push(CANCELLED.to_owned());
        } else if learned.grants.len() > MINIMISE_LINES_MAX {
            learned.notes.push(format!("only the first {MINIMISE_LINES_MAX} lines were tried"));
        }
    }

    /// A run with exactly these grants that succeeds. Some programs look at who owns the directory that they work in, which is
    /// the sandbox's own where only names in it are granted: then it is granted as a whole.
    fn enough(&self, learned: &mut Learned, trials: &mut Trials<'_>) -> Option<Captured> {
        let succeeded = |run: Captured| (run.report.exit_code == Some(0)).then_some(run);
        let run = self.again(&learned.grants, learned.working_directory.as_deref(), trials);
        if trials.cancelled {
            return None;
        }
        if let Some(run) = succeeded(run) {
            return Some(run);
        }
        let directory =
            CanonicalPath::new(learned.working_directory.as_ref().filter(|_| learned.has_to_be_told)?)
                .ok()?;
        let tree = directory.as_path().to_owned();
        let line = format!("{}={}", PermissionName::FileRead, PathPattern::subtree(&directory));
        let mut wider = vec![line.clone()];
        let read = format!("{}=", PermissionName::FileRead);
        wider.extend(
            learned
                .grants
                .iter()
                .filter(|grant| {
                    !grant.strip_prefix(&read).is_some_and(|scope| Path::new(scope).starts_with(&tree))
                })
                .cloned(),
        );
        let run = succeeded(self.again(&wider, Some(&tree), trials))?;
        learned.grants = wider;
        learned.has_to_be_told = false;
        learned
            .notes
            .push(format!("with the names in it alone the command did not succeed, so all of it: {line}"));
        Some(run)
    }

    /// The command with exactly these grants, on copies. A signal that came since the last run cancels this one.
    fn again(
        &self,
        grants: &[String],
        working_directory: Option<&Path>,
        trials: &mut Trials<'_>,
    ) -> Captured {
        let mut exec = self.clone();
        exec.grants = grants.to_vec();
        (exec.read, exec.read_write) = (Vec::new(), Vec::new());
        (exec.throw_away, exec.store) = (true, None);
        if let Some(directory) = working_directory {
            exec.working_directory = Some(directory.to_owned());
        }
        let mut trial = Trial { sink: &mut *trials.sink, kept: Capture::default() };
        let outcome = exec.run(&mut trial, &Listeners::new());
        trials.cancelled |= outcome.cancelled_by.is_some();
        let Capture { stdout, stderr } = trial.kept;
        Captured { report: outcome.report, stdout, stderr }
    }
}

/// What is said of a list that was not tried to its end.
const CANCELLED: &str = "cancelled: the lines that were not tried yet are kept";

/// Runs that try what can be left out.
struct Trials<'s> {
    /// Who cancels the first run cancels these.
    sink: &'s mut dyn Sink,
    cancelled: bool,
}

/// Keeps the output of one trial, and is cancelled by whoever cancels the whole.
struct Trial<'s> {
    sink: &'s mut dyn Sink,
    kept: Capture,
}

impl Sink for Trial<'_> {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        self.kept.write(stream, bytes)
    }

    fn descriptor(&self, _stream: Stream) -> Option<BorrowedFd<'_>> {
        None
    }

    fn cancellation(&self) -> Option<BorrowedFd<'_>> {
        self.sink.cancellation()
    }

    fn cancelled(&mut self) -> Option<i32> {
        self.sink.cancelled()
    }
}
