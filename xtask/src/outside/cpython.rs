//! CPython's own tests, bare and inside: the same tests must pass.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{chosen, named};
use crate::failure::Failure;
use crate::process;
use crate::soak::account::{Account, NOBODY, Scratch};
use crate::soak::{Figure, Held, Setting};

/// The interpreter whose tests Debian packages apart.
const PYTHON: &str = "python3.11";

/// Where the package puts the tests; without it Python has only what its programs need.
const SUITE: &str = "/usr/lib/python3.11/test/test_json/__init__.py";

/// The modules that are about the operating system, and a few that every program leans on. Of a sample, every fourth.
const MODULES: &[&str] = &[
    "test_json",
    "test_os",
    "test_pathlib",
    "test_tempfile",
    "test_subprocess",
    "test_threading",
    "test_shutil",
    "test_glob",
    "test_re",
    "test_file",
    "test_fileio",
    "test_io",
    "test_mmap",
    "test_select",
    "test_selectors",
    "test_poll",
    "test_epoll",
    "test_signal",
    "test_fcntl",
    "test_posix",
    "test_posixpath",
    "test_stat",
    "test_pwd",
    "test_grp",
    "test_resource",
    "test_time",
    "test_zipfile",
    "test_tarfile",
    "test_sqlite3",
    "test_pickle",
    "test_struct",
    "test_hashlib",
    "test_socket",
    "test_queue",
    "test_sched",
    "test_unicode",
];
const SAMPLE: usize = 4;

/// What one module may take, bare or inside.
const TIMEOUT: &str = "240s";
const DEADLINE: Duration = Duration::from_secs(260);

/// Tests that pass bare and not inside, with the reason: what a name begins with, and why.
const EXPLAINED: &[(&str, &str)] = &[];

/// How each test of a module ended, by name.
type Results = BTreeMap<String, Outcome>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped,
    Failed,
}

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    if !Path::new(SUITE).is_file() {
        let text = "CPython's tests are missing: sudo apt-get install libpython3.11-testsuite";
        return Err(Failure::Failed(text.to_owned()));
    }
    let modules = chosen(setting, MODULES.iter().map(|name| (*name).to_owned()).collect(), SAMPLE)?;
    let scratch = Scratch::new("outside-cpython", *account)?;
    if crate::workspace::is_root() {
        // The bare run is an ordinary user's; inside, what is made in a grant belongs to the tree's owner.
        let place = scratch.temporary();
        chown(&place, Some(NOBODY), Some(NOBODY)).map_err(|error| Failure::of(place.display(), error))?;
    }
    let mut sums = Sums::default();
    for module in &modules {
        eprintln!("  {module}");
        let bare = of_a_run(&mut bare(&scratch, module), &scratch);
        let inside = of_a_run(&mut inside(setting, &scratch, module), &scratch);
        sums.add(module, bare, inside);
    }
    Ok(sums.figures(modules.len()))
}

/// The words that run one module's tests and leave their results in `directory`.
fn words(module: &str, directory: &Path) -> Vec<String> {
    let results = directory.join("results.xml").display().to_string();
    ["-m", "test", "--junit-xml", &results, "--tempdir", &directory.display().to_string(), module]
        .map(str::to_owned)
        .to_vec()
}

/// The run outside. Root's is an ordinary user's too: as root Python runs other tests and skips others.
fn bare(scratch: &Scratch, module: &str) -> Command {
    let mut command = process::program(PYTHON);
    command.args(words(module, &scratch.temporary())).current_dir(scratch.temporary());
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
    command.env("HOME", scratch.temporary()).env("TMPDIR", scratch.temporary()).stdout(Stdio::null());
    if crate::workspace::is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn inside(setting: &Setting, scratch: &Scratch, module: &str) -> Command {
    let place = scratch.temporary();
    let shown = place.display().to_string();
    let program: Vec<String> = std::iter::once(PYTHON.to_owned()).chain(words(module, &place)).collect();
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let flags = [
        "--grant",
        "subprocess:execute",
        "--grant",
        &format!("subprocess:execute={shown}/**"),
        "--rw",
        &shown,
        "--cwd",
        &shown,
        "--cpu",
        "none",
        "--memory",
        "1GB",
        "--max-file-size",
        "none",
        "--max-output",
        "none",
        "--timeout",
        TIMEOUT,
    ]
    .map(str::to_owned);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    scratch.exec(setting, &flags, &program)
}

/// Runs it and reads what it left. `Err` says why there are no results.
fn of_a_run(command: &mut Command, scratch: &Scratch) -> Result<Results, String> {
    let path = scratch.temporary().join("results.xml");
    let timed = process::run_until(command, DEADLINE)
        .map_err(|failure| failure.text().unwrap_or_default().to_owned())?;
    let text = fs::read_to_string(&path);
    // What a module leaves behind must not be found by the next one.
    for entry in fs::read_dir(scratch.temporary()).into_iter().flatten().flatten() {
        let path = entry.path();
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(error) = gone {
            eprintln!("warning: {} stays: {error}", path.display());
        }
    }
    let end = timed.status.map_or_else(|| "killed at the deadline".to_owned(), process::ending);
    text.map(|text| results(&text)).map_err(|_| format!("{end}: {}", last_line(&timed.stderr)))
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or_default()
}

/// Reads the file that Python's test runner writes with `--junit-xml`.
fn results(text: &str) -> Results {
    let cases = text.split("<testcase ").skip(1);
    cases
        .filter_map(|case| {
            let name = case.split_once("name=\"")?.1.split_once('"')?.0.to_owned();
            let end = case.find("</testcase>").unwrap_or(case.len());
            let body = case.get(..end).unwrap_or(case);
            let outcome = if body.contains("<failure") || body.contains("<error") {
                Outcome::Failed
            } else if body.contains("<skipped") {
                Outcome::Skipped
            } else {
                Outcome::Passed
            };
            Some((name, outcome))
        })
        .collect()
}

#[derive(Debug, Default)]
struct Sums {
    bare: usize,
    inside: usize,
    explained: Vec<String>,
    unexplained: Vec<String>,
    not_run: Vec<String>,
}

impl Sums {
    fn add(&mut self, module: &str, bare: Result<Results, String>, inside: Result<Results, String>) {
        let (bare, inside) = match (bare, inside) {
            (Ok(bare), Ok(inside)) if bare.values().any(|outcome| *outcome == Outcome::Passed) => {
                (bare, inside)
            }
            (Ok(_), Ok(_)) => return self.not_run.push(format!("{module}: no test passes bare")),
            (Err(why), _) => return self.not_run.push(format!("{module} bare: {why}")),
            (_, Err(why)) => return self.not_run.push(format!("{module} inside: {why}")),
        };
        let passed = |results: &Results| results.values().filter(|end| **end == Outcome::Passed).count();
        self.bare += passed(&bare);
        self.inside += passed(&inside);
        for (name, _) in bare.iter().filter(|(_, outcome)| **outcome == Outcome::Passed) {
            if inside.get(name) == Some(&Outcome::Passed) {
                continue;
            }
            let how = inside.get(name).map_or("not run", |outcome| match outcome {
                Outcome::Skipped => "skipped",
                _ => "fails",
            });
            match EXPLAINED.iter().find(|(known, _)| name.starts_with(known)) {
                Some((_, why)) => self.explained.push(format!("{name} {how}: {why}")),
                None => self.unexplained.push(format!("{name} {how}")),
            }
        }
    }

    fn figures(&self, modules: usize) -> Vec<Figure> {
        vec![
            Figure::information("modules", modules),
            Figure::information("tests that pass bare", self.bare),
            Figure::information("tests that pass inside", self.inside),
            Figure::information("pass bare and not inside, with a known reason", named(&self.explained)),
            Figure::promised(
                "pass bare and not inside, unexplained",
                named(&self.unexplained),
                "0",
                Held::from(self.unexplained.is_empty()),
            ),
            Figure::promised(
                "modules without a result",
                named(&self.not_run),
                "0",
                Held::from(self.not_run.is_empty()),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r#"<testsuites><testsuite><testcase name="test.a.A.one" status="run"><system-out>x</system-out>
</testcase><testcase name="test.a.A.two" status="run"><failure type="E">&lt;skipped</failure></testcase>
<testcase name="test.a.A.three" status="run"><skipped>why</skipped></testcase></testsuite></testsuites>"#;

    #[test]
    fn outcomes_are_read_by_name() {
        let found = results(XML);
        assert_eq!(found["test.a.A.one"], Outcome::Passed);
        assert_eq!(found["test.a.A.two"], Outcome::Failed);
        assert_eq!(found["test.a.A.three"], Outcome::Skipped);
        assert!(results("").is_empty());
    }

    #[test]
    fn a_test_that_passes_only_bare_breaks_the_promise_and_is_named() {
        let all = |outcome| Ok(Results::from([("test.a.one".to_owned(), outcome)]));
        let mut sums = Sums::default();
        sums.add("test_a", all(Outcome::Passed), all(Outcome::Passed));
        assert!(sums.figures(1).iter().all(|figure| figure.held));
        sums.add("test_a", all(Outcome::Passed), all(Outcome::Failed));
        assert_eq!(sums.unexplained, ["test.a.one fails"]);
        assert!(sums.figures(1).iter().any(|figure| !figure.held));
        sums.add("test_b", all(Outcome::Failed), all(Outcome::Failed));
        sums.add("test_c", all(Outcome::Passed), Err("status 1: no".to_owned()));
        assert_eq!(sums.not_run, ["test_b: no test passes bare", "test_c inside: status 1: no"]);
    }
}
