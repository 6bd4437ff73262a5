//! `cargo xtask test`: everything that must hold before a change is accepted, in one build directory.
//!
//! The steps are data ([`STEPS`]), run in order, cheap ones first; the first that fails ends the run with its name
//! and the command that repeats it.

mod tally;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use crate::arguments::{Arguments, Grammar};
use crate::failure::Failure;
use crate::needs::{self, AskedBy};
use crate::{layers, process, tidy, vm, workspace};

pub(crate) const HELP: &str = "
cargo xtask test [--allow-missing] [--with-vm]

Checks everything: what the machine must have, formatting, layers, tidiness, the release build, lints, documents,
and all tests (unit, documentation and whole-product tests against the release binary; the sandbox's self-check
against layers that are broken on purpose).
As root, missing programs are installed with apt-get; otherwise they are listed and the exit status is 1.

  --allow-missing  go on without programs that are missing; tests that need them are skipped and counted
  --with-vm        also run the whole-product tests in the virtual machine (see `cargo xtask vm --help`)

For the tests these variables are set:
  RINGFENCE_BIN      the release binary, as an absolute path
  RINGFENCE_NEEDS    needs that are there, joined by commas: a test may not skip for one of them. What is in it
                     already stays, so a machine can promise more, such as cgroup-v2
  RINGFENCE_MISSING  needs that are missing (only with --allow-missing)

The last line is `N passed, N failed, N skipped`; whatever a test leaves out for want of something counts as skipped. Exit status 0: all passed; 1: the named step failed.
";

/// Sources that no crate's module tree holds: they are compiled by a build script, or by another workspace.
const OUTSIDE_MODULE_TREES: &[&str] = &["crates/sandbox/src/stage", "fuzz"];

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
    Step { name: "self-check", run: self_check },
    Step { name: "sdk", run: sdk },
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
    let mut cargo = process::cargo();
    check_format(cargo.args(["fmt", "--all", "--check"]), "cargo fmt --all")?;
    let mut others = Vec::new();
    for directory in OUTSIDE_MODULE_TREES {
        others.extend(workspace::files(directory, "rs")?);
    }
    if others.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = others.iter().map(|path| path.display().to_string()).collect();
    let mut rustfmt = process::program("rustfmt");
    check_format(
        rustfmt.args(["--check", "--edition", "2024"]).args(&names),
        &format!("rustfmt --edition 2024 {}", names.join(" ")),
    )
}

fn check_format(command: &mut Command, mend: &str) -> Result<(), Failure> {
    process::run(command)
        .map_err(|failure| Failure::of(failure.text().unwrap_or_default(), format!("mend with `{mend}`")))
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
    let binary = workspace::target_dir()?.join("release/ringfence");
    let mut command = process::cargo();
    // Output of tests that pass is asked for because a skipped test says so there; it is counted, not shown.
    command.args(["test", "--workspace", "--no-fail-fast"]).env("RINGFENCE_BIN", &binary);
    state_needs(&mut command);
    let repeat = process::shown(&command);
    let status = run.tally.watch(command.args(["--", "--show-output"]))?;
    if status.success() { Ok(()) } else { Err(Failure::Failed(format!("repeat with: {repeat}"))) }
}

/// The sandbox's tests that break one layer on purpose: only a build with that feature can.
fn self_check(run: &mut Run) -> Result<(), Failure> {
    let mut command = process::cargo();
    command.args(["test", "--package", "ringfence-sandbox", "--features", "break-layers"]);
    command.args(["--test", "library", "checks::"]);
    state_needs(&mut command);
    let repeat = process::shown(&command);
    let status = run.tally.watch(command.args(["--", "--show-output"]))?;
    if status.success() { Ok(()) } else { Err(Failure::Failed(format!("repeat with: {repeat}"))) }
}

/// Tells the tests what is there, and so may not be skipped. What the caller promised stays promised.
pub(crate) fn state_needs(command: &mut Command) {
    let promised = std::env::var("RINGFENCE_NEEDS").unwrap_or_default();
    let mut stated: BTreeSet<String> =
        promised.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    for need in needs::NEEDS.iter().filter(|need| need.asked_by == AskedBy::Tests) {
        if let Some(path) = needs::locate(need.program) {
            // A test asks by name, by program, or for the program at its place.
            stated.extend([need.name.to_owned(), need.program.to_owned(), path.display().to_string()]);
        }
    }
    if workspace::is_root() {
        stated.insert("root".to_owned());
    }
    command.env("RINGFENCE_NEEDS", stated.into_iter().collect::<Vec<_>>().join(","));
    let lacking = needs::missing(&[AskedBy::Tests]);
    if !lacking.is_empty() {
        command.env("RINGFENCE_MISSING", needs::names(&lacking));
    }
}

/// The SDKs of plugin authors and the example plugins, with the interpreters of the system: those that a sandbox shows.
fn sdk(run: &mut Run) -> Result<(), Failure> {
    let (Some(python), Some(node)) = (needs::locate("python3"), needs::locate("node")) else {
        run.tally.skip("python3 and node");
        return Ok(());
    };
    let mut command = process::program(&python);
    command.arg("sdk/run_tests.py").arg("--python").arg(&python).arg("--node").arg(node);
    command.env("RINGFENCE_BIN", workspace::target_dir()?.join("release/ringfence"));
    let repeat = process::shown(&command);
    let status = run.tally.watch(&mut command)?;
    if status.success() { Ok(()) } else { Err(Failure::Failed(format!("repeat with: {repeat}"))) }
}

fn in_vm(run: &mut Run) -> Result<(), Failure> {
    if run.arguments.has("--with-vm") { vm::run(&[]) } else { Ok(()) }
}
