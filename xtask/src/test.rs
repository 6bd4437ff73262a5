//! `cargo xtask test`: everything that must hold before a change is accepted, in one build directory.
//!
//! The steps are data ([`STEPS`]), run in order, cheap ones first; the first that fails ends the run with its name
//! and the command that repeats it.

mod tally;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::arguments::{Arguments, Grammar};
use crate::failure::Failure;
use crate::needs::{self, AskedBy};
use crate::{layers, process, tidy, vm, workspace};

pub(crate) const HELP: &str = "
cargo xtask test [--allow-missing] [--with-vm]

Checks everything: what the machine must have, formatting, layers, tidiness, the release build, lints, documents,
and all tests (unit, documentation and whole-product tests against the release binary).
As root, missing programs are installed with apt-get; otherwise they are listed and the exit status is 1.

  --allow-missing  go on without programs that are missing; tests that need them are skipped and counted
  --with-vm        also run the whole-product tests in the virtual machine (see `cargo xtask vm --help`)

For the tests these variables are set:
  RINGFENCE_BIN      the release binary, as an absolute path
  RINGFENCE_NEEDS    needs that are there, joined by commas: a test may not skip for one of them. Kept if already set
  RINGFENCE_MISSING  needs that are missing (only with --allow-missing)

The last line is `N passed, N failed, N skipped`. Exit status 0: all passed; 1: the named step failed.
";

/// Sources that no crate's module tree holds: they are compiled by a build script, or by another workspace.
const OUTSIDE_MODULE_TREES: &[&str] = &["crates/sandbox/src/stage", "fuzz"];

/// Where a binary is copied to that ordinary users cannot reach in the build directory.
const REACHABLE: &str = "/var/tmp";

/// What steps share.
struct Run {
    arguments: Arguments,
    tally: tally::Tally,
}

struct Step {
    name: &'static str,
    run: fn(&mut Run) -> Result<(), Failure>,
}

const STEPS: &[Step] = &[
    Step { name: "needs", run: provide_needs },
    Step { name: "format", run: format },
    Step { name: "layers", run: |_| layers::run(&[]) },
    Step { name: "tidy", run: |_| tidy::run(&[]) },
    Step { name: "release", run: release },
    Step { name: "clippy", run: clippy },
    Step { name: "docs", run: docs },
    Step { name: "tests", run: tests },
    Step { name: "vm", run: in_vm },
];

pub(crate) fn run(given: &[String]) -> Result<(), Failure> {
    let grammar = Grammar { switches: &["--allow-missing", "--with-vm"], ..Grammar::default() };
    let arguments = Arguments::parse(given, grammar)?;
    let mut run = Run { arguments, tally: tally::Tally::default() };
    let start = Instant::now();
    for step in STEPS {
        let since = Instant::now();
        let result = (step.run)(&mut run);
        println!("step {}: {:.1} s", step.name, since.elapsed().as_secs_f64());
        if let Err(failure) = result {
            println!("{}", run.tally);
            let cause = failure.text().unwrap_or("see above");
            return Err(Failure::Failed(format!("step {} failed: {cause}", step.name)));
        }
    }
    println!("all steps: {:.1} s", start.elapsed().as_secs_f64());
    println!("{}", run.tally);
    Ok(())
}

fn provide_needs(run: &mut Run) -> Result<(), Failure> {
    let asked_by: &[AskedBy] =
        if run.arguments.has("--with-vm") { &[AskedBy::Tests, AskedBy::Vm] } else { &[AskedBy::Tests] };
    if run.arguments.has("--allow-missing") {
        let lacking = needs::missing(asked_by);
        if !lacking.is_empty() {
            println!("going on without: {}", needs::names(&lacking));
        }
        return Ok(());
    }
    needs::provide(asked_by)
}

fn format(_: &mut Run) -> Result<(), Failure> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))?;
    let mut others = Vec::new();
    for directory in OUTSIDE_MODULE_TREES {
        others.extend(workspace::files(directory, "rs")?);
    }
    if others.is_empty() {
        return Ok(());
    }
    process::run(process::program("rustfmt").args(["--check", "--edition", "2024"]).args(others))
}

fn release(_: &mut Run) -> Result<(), Failure> {
    process::run(process::cargo().args(["build", "--release", "--package", "ringfence-cli"]))
}

fn clippy(_: &mut Run) -> Result<(), Failure> {
    process::run(process::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn docs(_: &mut Run) -> Result<(), Failure> {
    let mut command = process::cargo();
    command.args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut command)
}

fn tests(run: &mut Run) -> Result<(), Failure> {
    let binary = Reachable::of(&workspace::target_dir()?.join("release/ringfence"))?;
    let mut command = process::cargo();
    // Output of tests that pass is asked for because a skipped test says so there; it is counted, not shown.
    command.args(["test", "--workspace", "--no-fail-fast"]).env("RINGFENCE_BIN", &binary.path);
    state_needs(&mut command);
    let repeat = process::shown(&command);
    let status = run.tally.watch(command.args(["--", "--show-output"]))?;
    if status.success() { Ok(()) } else { Err(Failure::Failed(format!("repeat with: {repeat}"))) }
}

fn state_needs(command: &mut Command) {
    let lacking = needs::missing(&[AskedBy::Tests]);
    if std::env::var_os("RINGFENCE_NEEDS").is_none() {
        let there: Vec<&needs::Need> = needs::NEEDS
            .iter()
            .filter(|need| need.asked_by == AskedBy::Tests && needs::locate(need.program).is_some())
            .collect();
        command.env("RINGFENCE_NEEDS", needs::names(&there));
    }
    if !lacking.is_empty() {
        command.env("RINGFENCE_MISSING", needs::names(&lacking));
    }
}

fn in_vm(run: &mut Run) -> Result<(), Failure> {
    if run.arguments.has("--with-vm") { vm::run(&[]) } else { Ok(()) }
}

/// A program that every user of the machine can execute; a copy is removed at the end.
struct Reachable {
    path: PathBuf,
    copied_to: Option<PathBuf>,
}

impl Reachable {
    /// `path` itself, or a copy when a directory above it is closed to others, such as a checkout in /root.
    fn of(path: &Path) -> Result<Self, Failure> {
        let open = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
        if !workspace::is_root() || path.ancestors().all(open) {
            return Ok(Self { path: path.to_path_buf(), copied_to: None });
        }
        let directory = Path::new(REACHABLE).join(format!("ringfence-test-{}", std::process::id()));
        let cannot = |error| Failure::of(directory.display(), error);
        fs::create_dir(&directory).map_err(cannot)?;
        let copy = Self { path: directory.join("ringfence"), copied_to: Some(directory.clone()) };
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).map_err(cannot)?;
        fs::copy(path, &copy.path).map_err(|error| Failure::of(path.display(), error))?;
        fs::set_permissions(&copy.path, fs::Permissions::from_mode(0o755)).map_err(cannot)?;
        Ok(copy)
    }
}

impl Drop for Reachable {
    fn drop(&mut self) {
        if let Some(directory) = &self.copied_to
            && let Err(error) = fs::remove_dir_all(directory)
        {
            eprintln!("warning: {} was left behind: {error}", directory.display());
        }
    }
}

#[cfg(test)]
mod tests_of_reach {
    use super::*;

    #[test]
    fn a_binary_that_others_can_reach_is_used_where_it_is() {
        let shell = needs::locate("sh").unwrap();
        let found = Reachable::of(&shell).unwrap();
        assert_eq!((found.path.as_path(), found.copied_to.is_none()), (shell.as_path(), true));
    }

    #[test]
    fn a_binary_in_a_closed_directory_is_copied_and_the_copy_removed() {
        if !workspace::is_root() {
            // Only root runs tests as somebody else, so only root ever copies.
            assert!(Reachable::of(Path::new("/proc/1/exe")).unwrap().copied_to.is_none());
            return;
        }
        let closed = std::env::temp_dir().join(format!("ringfence-closed-{}", std::process::id()));
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        fs::copy("/bin/true", closed.join("ringfence")).unwrap();
        let copy = Reachable::of(&closed.join("ringfence")).unwrap();
        let place = copy.path.clone();
        assert!(place.starts_with(REACHABLE) && place.is_file());
        drop(copy);
        assert!(!place.exists() && !place.parent().unwrap().exists());
        fs::remove_dir_all(&closed).unwrap();
    }
}
