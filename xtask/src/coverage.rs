//! `cargo xtask coverage`: which share of the lines of the crates that protect people is run by tests.
//!
//! Measured by cargo-tarpaulin with the compiler's own counters, which need no further toolchain component. The
//! whole-product tests drive a separate program; it is built with the same counters, and what its processes write
//! is read too. Processes that end by `execve`, a signal or `_exit` write nothing, so the figure is a lower bound.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::arguments::{Arguments, Grammar};
use crate::failure::Failure;
use crate::process;
use crate::workspace;

/// Crates that have a floor, with their directory: what decides and what confines.
const MEASURED: &[(&str, &str)] = &[
    ("ringfence-policy", "crates/policy"),
    ("ringfence-sandbox", "crates/sandbox"),
    ("ringfence", "crates/host"),
];

/// Packages whose tests are run for it besides those of the measured crates.
const ALSO_RUN: &[&str] = &["ringfence-cli", "ringfence-tests"];

/// Least share of lines, in per cent.
const FLOOR_PERCENT: f64 = 85.0;

/// Files that a failing floor names.
const NAMED_MAX: usize = 10;

/// Where counters go that nobody reads; without a name they would litter the checkout.
const NOWHERE: &str = "/dev/null";

/// Seconds without an answer after which a test program is given up.
const TIMEOUT_S: &str = "900";

pub(crate) const HELP: &str = "
cargo xtask coverage [--json]

Measures line coverage of policy, sandbox and host with cargo-tarpaulin (installed with cargo if it is missing) and
compares it with the floor of 85 % each. Prints a Markdown table.

  --json  print one JSON document instead:
          [{crate, covered, lines, percent, floor, files: [{path, covered, lines}]}]

Exit status 0: every crate reaches the floor; 1: one does not, or a test failed.
";

pub(crate) fn run(given: &[String]) -> Result<(), Failure> {
    let arguments = Arguments::parse(given, Grammar { switches: &["--json"], ..Grammar::default() })?;
    provide_tool()?;
    let directory = workspace::target_dir()?.join("coverage");
    let report = measure(&directory)?;
    let shares = shares(&report, workspace::root())?;
    if arguments.has("--json") {
        println!("{}", as_json(&shares));
    } else {
        println!("{}", table(&shares));
    }
    let low: Vec<String> = shares.iter().filter(|share| !share.is_enough()).map(Share::complaint).collect();
    if low.is_empty() { Ok(()) } else { Err(Failure::Failed(format!("coverage:\n{}", low.join("\n")))) }
}

fn provide_tool() -> Result<(), Failure> {
    let there = process::output(process::cargo().args(["tarpaulin", "--version"]))?.status.success();
    if there {
        Ok(())
    } else {
        process::run(process::cargo().args(["install", "--locked", "cargo-tarpaulin"]))
    }
}

/// Runs the tests with counters and hands back the tool's report.
fn measure(directory: &Path) -> Result<Value, Failure> {
    let report = directory.join("tarpaulin-report.json");
    fs::create_dir_all(directory).map_err(|error| Failure::of(directory.display(), error))?;
    if report.exists() {
        // A report of an earlier run must never be taken for this one's.
        fs::remove_file(&report).map_err(|error| Failure::of(report.display(), error))?;
    }
    // In a directory of its own: the tool builds with more flags, and each would rebuild what the other built.
    let built = directory.join("binary");
    let mut build = process::cargo();
    build.args(["build", "--package", "ringfence-cli", "--target-dir"]).arg(&built);
    process::run(build.env("RUSTFLAGS", "-C instrument-coverage").env("LLVM_PROFILE_FILE", NOWHERE))?;
    let binary = built.join("debug/ringfence");
    let mut command = process::cargo();
    command.args(["tarpaulin", "--engine", "llvm", "--follow-exec", "--skip-clean", "--no-fail-fast"]);
    command
        .args(["--avoid-cfg-tarpaulin", "--timeout", TIMEOUT_S, "--out", "Json", "--output-dir"])
        .arg(directory);
    command.arg("--target-dir").arg(directory.join("build")).arg("--objects").arg(&binary);
    for package in MEASURED.iter().map(|(package, _)| package).chain(ALSO_RUN) {
        command.args(["--packages", package]);
    }
    // Its progress is talk; stdout is for the result.
    // The tool names a file for the tests; this is for the build scripts, which have counters too.
    crate::test::state_needs(command.env("RINGFENCE_BIN", &binary).env("LLVM_PROFILE_FILE", NOWHERE));
    let output = process::output(&mut command)?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failure::Failed(format!("{said}\n`{}` failed", process::shown(&command))));
    }
    let text = fs::read_to_string(&report).map_err(|error| Failure::of(report.display(), error))?;
    serde_json::from_str(&text).map_err(|error| Failure::of(report.display(), error))
}

/// What runs only in the launcher, a program without libc in which no counters can be kept. Every line of it runs at every
/// start of a sandbox; the library's tests of each layer are what holds it.
const IN_LAUNCHER: &[&str] = &[
    "crates/sandbox/src/stage",
    "crates/sandbox/src/sys/calls.rs",
    "crates/sandbox/src/sys/mounts.rs",
    "crates/sandbox/src/sys/privileges.rs",
    "crates/sandbox/src/sys/raw.rs",
    "crates/sandbox/src/sys/sockets.rs",
];

/// One crate's lines.
#[derive(Debug)]
struct Share {
    package: &'static str,
    /// Path from the root, lines run, lines in all.
    files: Vec<(String, u64, u64)>,
}

impl Share {
    fn covered(&self) -> u64 {
        self.files.iter().map(|(_, covered, _)| covered).sum()
    }

    fn lines(&self) -> u64 {
        self.files.iter().map(|(_, _, lines)| lines).sum()
    }

    fn percent(&self) -> f64 {
        percent(self.covered(), self.lines())
    }

    /// A crate without lines was not measured, and so is not enough.
    fn is_enough(&self) -> bool {
        self.lines() > 0 && self.percent() >= FLOOR_PERCENT
    }

    fn complaint(&self) -> String {
        let mut files: Vec<_> = self.files.iter().filter(|(_, covered, lines)| covered < lines).collect();
        files.sort_by_key(|(_, covered, lines)| std::cmp::Reverse(lines - covered));
        let mut text = format!(
            "{}: {:.1} %, the floor is {FLOOR_PERCENT} %; most lines are missed in",
            self.package,
            self.percent()
        );
        for (path, covered, lines) in files.into_iter().take(NAMED_MAX) {
            text.push_str(&format!("\n  {path}: {covered} of {lines}"));
        }
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of lines is far below 2^52")]
fn percent(covered: u64, lines: u64) -> f64 {
    if lines == 0 { 0.0 } else { covered as f64 * 100.0 / lines as f64 }
}

/// Sums the report by crate; test files do not count.
fn shares(report: &Value, root: &Path) -> Result<Vec<Share>, Failure> {
    let strange =
        || Failure::Failed("the report of cargo-tarpaulin has another form than expected".to_owned());
    let mut shares: Vec<Share> =
        MEASURED.iter().map(|(package, _)| Share { package, files: Vec::new() }).collect();
    for file in report.get("files").and_then(Value::as_array).ok_or_else(strange)? {
        let parts = file.get("path").and_then(Value::as_array).ok_or_else(strange)?;
        let path: std::path::PathBuf = parts.iter().filter_map(Value::as_str).collect();
        let Ok(path) = path.strip_prefix(root) else { continue };
        let number = |name: &str| file.get(name).and_then(Value::as_u64).ok_or_else(strange);
        let entry = (path.display().to_string(), number("covered")?, number("coverable")?);
        for (share, (_, directory)) in shares.iter_mut().zip(MEASURED) {
            let is_source = path.starts_with(Path::new(directory).join("src"));
            let in_launcher = IN_LAUNCHER.iter().any(|part| path.starts_with(part));
            if is_source && !in_launcher && !crate::layers::is_test_file(path) {
                share.files.push(entry.clone());
            }
        }
    }
    Ok(shares)
}

fn table(shares: &[Share]) -> String {
    let mut text = String::from("| crate | lines run | lines | share | floor |\n|---|---|---|---|---|");
    for share in shares {
        text.push_str(&format!(
            "\n| {} | {} | {} | {:.1} % | {FLOOR_PERCENT} % |",
            share.package,
            share.covered(),
            share.lines(),
            share.percent()
        ));
    }
    text
}

fn as_json(shares: &[Share]) -> Value {
    let file = |(path, covered, lines): &(String, u64, u64)| json!({"path": path, "covered": covered, "lines": lines});
    let share = |share: &Share| {
        json!({
            "crate": share.package,
            "covered": share.covered(),
            "lines": share.lines(),
            "percent": share.percent(),
            "floor": FLOOR_PERCENT,
            "files": share.files.iter().map(file).collect::<Vec<_>>(),
        })
    };
    Value::Array(shares.iter().map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(covered: u64) -> Value {
        json!({"files": [
            {"path": ["/", "r", "crates", "policy", "src", "rule.rs"], "covered": covered, "coverable": 100},
            {"path": ["/", "r", "crates", "policy", "src", "rule", "tests.rs"], "covered": 0, "coverable": 900},
            {"path": ["/", "r", "crates", "policy", "build.rs"], "covered": 0, "coverable": 900},
            {"path": ["/", "r", "crates", "host", "src", "lib.rs"], "covered": 50, "coverable": 100},
            {"path": ["/", "elsewhere", "src", "lib.rs"], "covered": 0, "coverable": 100},
        ]})
    }

    #[test]
    fn lines_are_summed_by_crate_without_tests_and_strangers() {
        let shares = shares(&report(85), Path::new("/r")).unwrap();
        let of = |name: &str| shares.iter().find(|share| share.package == name).unwrap();
        assert_eq!((of("ringfence-policy").covered(), of("ringfence-policy").lines()), (85, 100));
        assert!(of("ringfence-policy").is_enough());
        assert!(!of("ringfence").is_enough());
        assert!(!of("ringfence-sandbox").is_enough(), "a crate that was not measured is not covered");
        assert!(table(&shares).contains("| ringfence-policy | 85 | 100 | 85.0 % | 85 % |"));
        assert_eq!(as_json(&shares).pointer("/2/percent"), Some(&json!(50.0)));
    }

    #[test]
    fn below_the_floor_the_worst_files_are_named() {
        let shares = shares(&report(84), Path::new("/r")).unwrap();
        let share = shares.first().unwrap();
        assert!(!share.is_enough());
        assert!(share.complaint().contains("crates/policy/src/rule.rs: 84 of 100"), "{}", share.complaint());
    }
}
