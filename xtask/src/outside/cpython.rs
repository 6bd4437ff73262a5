//! CPython's own tests, bare and inside: the same tests must pass.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
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

/// Where the modules lie, one file or directory each.
const MODULES: &str = "/usr/lib/python3.11/test";
/// Of a sample, every so many.
const SAMPLE: usize = 40;

/// Many tests wait more than they work.
const WORKERS_A_PROCESSOR: usize = 2;

/// What one module may take, bare or inside.
const TIMEOUT: &str = "600s";
const DEADLINE: Duration = Duration::from_secs(620);

/// Tests that pass bare and not inside, with the reason: what a name begins with, and why.
const EXPLAINED: &[(&str, &str)] = &[
    ("test.test_asynchat.", NETWORK),
    ("test.test_asyncore.", NETWORK),
    ("test.test_docxmlrpc.", NETWORK),
    ("test.test_epoll.", NETWORK),
    ("test.test_ftplib.", NETWORK),
    ("test.test_httplib.", NETWORK),
    ("test.test_imaplib.", NETWORK),
    ("test.test_nntplib.LocalServerTests.", NETWORK),
    ("test.test_poplib.", NETWORK),
    ("test.test_pydoc.PydocServerTest.", NETWORK),
    ("test.test_robotparser.PasswordProtected", NETWORK),
    ("test.test_smtpd.", NETWORK),
    ("test.test_smtplib.", NETWORK),
    ("test.test_socket.", NETWORK),
    ("test.test_ssl.", NETWORK),
    ("test.test_telnetlib.", NETWORK),
    ("test.test_largefile.TestSocketSendfile.", NETWORK),
    ("test.test_os.TestSendfile.", NETWORK),
    ("test.test_support.TestSupport.test_HOST", NETWORK),
    ("test.test_support.TestSupport.test_bind_port", NETWORK),
    ("test.test_support.TestSupport.test_find_unused_port", NETWORK),
    ("test.test_bdb.", FORGET),
    ("test.test_import.", FORGET),
    ("test.test_runpy.", FORGET),
    ("test.test_support.TestSupport.test_forget", FORGET),
    ("test.test_importlib.test_threaded_import.", FORGET),
    ("test.test_openpty.", TERMINAL),
    ("test.test_pty.", TERMINAL),
    ("test.test_builtin.PtyTests.", TERMINAL),
    ("test.test_os.FDInheritanceTests.test_openpty", TERMINAL),
    ("test.test_os.MemfdCreateTests.", "a memory file must be made so that it cannot be executed"),
    ("test.test_os.MakedirTests.test_exist_ok_s_isgid_directory", "no set-id bit can be set"),
];
const NETWORK: &str = "a command has no network, its own loopback neither";
const FORGET: &str =
    "it unlinks a name in /usr that is not there: a read-only mount answers EROFS before ENOENT";
const TERMINAL: &str = "there is no pseudo-terminal inside";

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
    let modules = chosen(setting, modules()?, SAMPLE)?;
    let (next, sums) = (AtomicUsize::new(0), Mutex::new(Sums::default()));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..thread::available_parallelism().map_or(1, usize::from)
            * WORKERS_A_PROCESSOR)
            .map(|worker| {
                let (modules, next, sums) = (&modules, &next, &sums);
                let name = format!("outside-cpython-{worker}");
                scope.spawn(move || work(setting, *account, &name, modules, next, sums))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(Failure::Failed("a worker has panicked".to_owned())))
        })
    })?;
    let sums = sums.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(sums.figures(modules.len()))
}

/// Every module of the suite that is installed.
fn modules() -> Result<Vec<String>, Failure> {
    let entries = fs::read_dir(MODULES).map_err(|error| Failure::of(MODULES, error))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("test_"))
        .filter(|name| name.ends_with(".py") || !name.contains('.'))
        .map(|name| name.trim_end_matches(".py").to_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Takes one module after the other until none is left, in a place of its own.
fn work(
    setting: &Setting,
    account: Account,
    name: &str,
    modules: &[String],
    next: &AtomicUsize,
    sums: &Mutex<Sums>,
) -> Result<(), Failure> {
    let scratch = Scratch::new(name, account)?;
    if crate::workspace::is_root() {
        // The bare run is an ordinary user's; inside, what is made in a grant belongs to the tree's owner.
        let place = scratch.temporary();
        chown(&place, Some(NOBODY), Some(NOBODY)).map_err(|error| Failure::of(place.display(), error))?;
    }
    while let Some(module) = modules.get(next.fetch_add(1, Ordering::Relaxed)) {
        let bare = of_a_run(&mut bare(&scratch, module), &scratch);
        let inside_once = || of_a_run(&mut inside(setting, &scratch, module), &scratch);
        let mut inside = inside_once();
        let mut again = 0;
        if let (Ok(bare), Ok(first)) = (&bare, &mut inside)
            && !only_bare(bare, first).is_empty()
            && let Ok(second) = inside_once()
        {
            // Tests that go by the clock fail on a busy machine, wherever they run: what passes once is not refused.
            again = take_passes(first, &second);
        }
        eprintln!(
            "  {module}: {} pass bare, {} inside{}",
            passed(&bare),
            passed(&inside),
            differ(&bare, &inside)
        );
        let mut sums = sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sums.again += again;
        sums.add(module, bare, inside);
    }
    Ok(())
}

fn passed(results: &Result<Results, String>) -> usize {
    let outcomes = results.iter().flat_map(Results::values);
    outcomes.filter(|outcome| **outcome == Outcome::Passed).count()
}

/// What a watcher of the chore is told at once: a whole run takes long.
fn differ(bare: &Result<Results, String>, inside: &Result<Results, String>) -> String {
    match (bare, inside) {
        (Ok(bare), Ok(inside)) => {
            let names = only_bare(bare, inside);
            if names.is_empty() { String::new() } else { format!("; only bare: {names:?}") }
        }
        (Err(why), _) => format!("; bare: {why}"),
        (_, Err(why)) => format!("; inside: {why}"),
    }
}

/// The tests that pass bare and not inside.
fn only_bare<'a>(bare: &'a Results, inside: &Results) -> Vec<&'a String> {
    let passed = bare.iter().filter(|(_, outcome)| **outcome == Outcome::Passed);
    passed.map(|(name, _)| name).filter(|name| inside.get(*name) != Some(&Outcome::Passed)).collect()
}

/// Counts what passes in `second` only as passed; how many these were.
fn take_passes(first: &mut Results, second: &Results) -> usize {
    let mut taken = 0;
    for (name, outcome) in second.iter().filter(|(_, outcome)| **outcome == Outcome::Passed) {
        if first.insert(name.clone(), *outcome) != Some(Outcome::Passed) {
            taken += 1;
        }
    }
    taken
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
    /// Passed inside only when they were run again.
    again: usize,
    explained: Vec<String>,
    unexplained: Vec<String>,
    /// Modules of which no test passes bare: what they test is not on this machine, or a resource that was not asked for.
    nothing: Vec<String>,
    not_run: Vec<String>,
}

impl Sums {
    fn add(&mut self, module: &str, bare: Result<Results, String>, inside: Result<Results, String>) {
        let (bare, inside) = match (bare, inside) {
            // A module that is skipped as a whole leaves no results.
            (Ok(bare), _) if bare.values().all(|outcome| *outcome != Outcome::Passed) => {
                return self.nothing.push(module.to_owned());
            }
            (Ok(bare), Ok(inside)) => (bare, inside),
            (Err(why), _) => return self.not_run.push(format!("{module} bare: {why}")),
            (_, Err(why)) => return self.not_run.push(format!("{module} inside: {why}")),
        };
        let passed = |results: &Results| results.values().filter(|end| **end == Outcome::Passed).count();
        self.bare += passed(&bare);
        self.inside += passed(&inside);
        for name in only_bare(&bare, &inside) {
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
            Figure::information("of these nothing passes bare", named(&self.nothing)),
            Figure::information("tests that pass bare", self.bare),
            Figure::information("tests that pass inside", self.inside),
            Figure::information("of these only when run again", self.again),
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
        assert_eq!(sums.nothing, ["test_b"]);
        assert_eq!(sums.not_run, ["test_c inside: status 1: no"]);
    }

    #[test]
    fn what_passes_when_it_is_run_again_is_not_a_difference_and_is_counted() {
        let of = |one, two| Results::from([("a".to_owned(), one), ("b".to_owned(), two)]);
        let bare = of(Outcome::Passed, Outcome::Passed);
        let mut inside = of(Outcome::Failed, Outcome::Failed);
        assert_eq!(only_bare(&bare, &inside), ["a", "b"]);
        assert_eq!(take_passes(&mut inside, &of(Outcome::Passed, Outcome::Skipped)), 1);
        assert_eq!(only_bare(&bare, &inside), ["b"]);
    }
}
