//! What the cases share: processes of their own, the probe, plans, and looking for what was left behind.

use std::any::type_name;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ringfence_sandbox::audit::{KernelDenial, Unavailable};
use ringfence_sandbox::{
    Access, Ending, Launcher, Layer, Layers, Observation, Plan, Processes, Program, Refusal, Report,
    Resolved, Sandbox, Stdio, Usage,
};

/// The ordinary user: `nobody` on every distribution.
pub(crate) const USER: u32 = 65534;
/// Set in the process of a case: where the probe is.
const PROBE: &str = "RINGFENCE_TEST_PROBE";
/// Set in a process that a case starts to be somebody else: what it shall do.
const ROLE: &str = "RINGFENCE_TEST_ROLE";

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Leaves a part of a case out, loudly, and never where the run has promised what it needs.
pub(crate) fn skip(need: &str) {
    let promised = std::env::var("RINGFENCE_NEEDS").unwrap_or_default();
    assert!(!promised.split(',').any(|name| name == need), "{need} was promised and is not there");
    println!("skipped: needs {need}");
}

/// Runs a case in a process of its own as this user and, if this is root, as [`USER`] too.
pub(crate) fn both<F: Fn()>(case: F) {
    in_own_process(case, &[None, Some(USER)]);
}

/// As [`both`], but only as root.
pub(crate) fn root_only<F: Fn()>(case: F) {
    if std::env::var_os(PROBE).is_none() && !is_root() {
        return skip("root");
    }
    in_own_process(case, &[None]);
}

/// As [`root_only`], while no other case runs as [`USER`]: for a case that changes what that user finds.
pub(crate) fn root_without_users<F: Fn()>(case: F) {
    let _nobody_else = USERS.write().unwrap_or_else(PoisonError::into_inner);
    root_only(case);
}

/// Read by cases that run as [`USER`], written by one that changes that user's world.
static USERS: RwLock<()> = RwLock::new(());

fn in_own_process<F: Fn()>(case: F, users: &[Option<u32>]) {
    if std::env::var_os(PROBE).is_some() {
        return case();
    }
    for user in users.iter().filter(|user| is_root() || user.is_none()) {
        let _unchanged = user.map(|_| USERS.read().unwrap_or_else(PoisonError::into_inner));
        let place = directory(0o755);
        let probe = place.path().join("probe");
        fs::copy(built_probe(), &probe).unwrap();
        let output = myself(case_name::<F>(), *user).env(PROBE, &probe).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().filter(|line| line.starts_with("skipped:")).for_each(|line| println!("{line}"));
        let passed = output.status.success() && text.contains("1 passed");
        assert!(
            passed,
            "as {user:?}: {}\n{text}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// `library::layers::case::{{closure}}` is the test `layers::case`.
fn case_name<F>() -> &'static str {
    let whole = type_name::<F>().trim_end_matches("::{{closure}}");
    whole.split_once("::").map_or(whole, |(_, name)| name)
}

/// This test program again, to run one test.
fn myself(test: &str, user: Option<u32>) -> Command {
    // By this name because another user may not walk to the build directory.
    let mut command = command("/proc/self/exe");
    command.args([test, "--exact", "--nocapture"]).current_dir("/");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

/// A process outside of any sandbox.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the test plays hosts and bystanders")]
    Command::new(program)
}

/// A case as another process with a role, which [`role`] tells it.
pub(crate) fn with_role(case: &str, role: &str) -> Command {
    let mut command = myself(case, None);
    command.env(ROLE, role);
    command
}

/// Gives a process of one's own making a role.
pub(crate) fn as_role(command: &mut Command, role: &str) {
    command.env(ROLE, role).env(PROBE, probe());
}

pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// The probe program, compiled once with the compiler that links Rust programs.
fn built_probe() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/probe.c");
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandbox-probe");
        let made = command("cc").args(["-O1", "-pthread", "-o"]).arg(&built).arg(source).status().unwrap();
        assert!(made.success(), "the probe does not compile");
        built
    })
}

pub(crate) fn probe() -> PathBuf {
    PathBuf::from(std::env::var_os(PROBE).expect("a case runs in a process of its own"))
}

/// An empty directory below /tmp with these permissions.
pub(crate) fn directory(mode: u32) -> tempfile::TempDir {
    let made = tempfile::Builder::new().prefix("ringfence-case-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(made.path(), fs::Permissions::from_mode(mode)).unwrap();
    made
}

/// A directory that holds `secret` in a file that anybody may read.
pub(crate) fn canary() -> (tempfile::TempDir, String) {
    let place = directory(0o755);
    let path = place.path().join("canary");
    fs::write(&path, "the secret of the canary").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (place, path)
}

pub(crate) fn has_secret(text: &str) -> bool {
    text.contains("the secret of the canary")
}

pub(crate) fn found(path: impl AsRef<Path>) -> Resolved {
    Resolved::find(path.as_ref()).unwrap()
}

pub(crate) fn launcher() -> &'static Launcher {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    LAUNCHER.get_or_init(|| Launcher::start().unwrap())
}

/// A plan with every layer that runs the probe, which is granted.
pub(crate) fn plan(words: &[&str]) -> Plan {
    let probe = probe();
    let mut plan = Plan::new(Program::find(probe.as_os_str(), Path::new("/")).unwrap());
    plan.mount(found(&probe), Access::READ);
    words.iter().for_each(|word| {
        plan.argument(*word);
    });
    plan
}

/// A plan with these layers only. An ordinary user makes namespaces only in a user namespace, and filters and rules only
/// with no_new_privs.
pub(crate) fn only(layers: &[Layer], words: &[&str]) -> Plan {
    let mut layers = layers.to_vec();
    if !is_root() {
        layers.extend([Layer::User, Layer::NoNewPrivileges]);
        if layers.contains(&Layer::Mount) {
            // /proc is mounted by who owns the pid namespace.
            layers.push(Layer::Pid);
        }
    } else if layers.contains(&Layer::Landlock) || layers.contains(&Layer::Seccomp) {
        layers.push(Layer::NoNewPrivileges);
    }
    let mut plan = plan(words);
    plan.weaken(Layers::ALL.without(Layers::of(&layers))).processes(Processes::Allowed);
    plan
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) ending: Ending,
    pub(crate) text: String,
    #[expect(dead_code, reason = "shown when an assertion fails")]
    pub(crate) errors: String,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) observations: Vec<Observation>,
    /// What the kernel recorded; `None` where nobody asked.
    pub(crate) recorded: Option<Result<Vec<KernelDenial>, Unavailable>>,
    /// How many refusals and observations were not told apart.
    pub(crate) lost: u64,
    pub(crate) usage: Usage,
    pub(crate) report: Report,
}

impl Run {
    /// The errno that the probe told, if it failed.
    pub(crate) fn errno(&self) -> Option<i32> {
        errno(&self.text)
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.text.lines().last().is_some_and(|line| line.starts_with("ok"))
            && self.ending == Ending::Exited(0)
    }
}

pub(crate) fn errno(text: &str) -> Option<i32> {
    text.lines().last()?.strip_prefix("errno ")?.parse().ok()
}

/// The number in the line `name NUMBER`.
pub(crate) fn number(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Standard streams that go to files, so that nobody has to read while the program runs.
pub(crate) fn files() -> (Stdio, File, File) {
    let (out, errors) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let stdin = File::open("/dev/null").unwrap().into();
    let stdio =
        Stdio { stdin, stdout: out.try_clone().unwrap().into(), stderr: errors.try_clone().unwrap().into() };
    (stdio, out, errors)
}

pub(crate) fn text_of(mut file: &File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn run(plan: &Plan) -> Run {
    run_with(launcher(), plan)
}

pub(crate) fn run_with(launcher: &Launcher, plan: &Plan) -> Run {
    let (stdio, out, errors) = files();
    let mut sandbox =
        launcher.launch(plan, stdio).unwrap_or_else(|error| panic!("{error} ({:?})", error.hint()));
    while sandbox.is_sampled() && sandbox.try_wait().unwrap().is_none() {
        if sandbox.tick().over_memory {
            sandbox.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    finish(sandbox, &out, &errors)
}

pub(crate) fn finish(mut sandbox: Sandbox, out: &File, errors: &File) -> Run {
    let ending = sandbox.wait().unwrap();
    sandbox.settle_records();
    let denials = sandbox.kernel_denials().to_vec();
    let recorded = sandbox.kernel_records().map(|records| records.map(|_| denials).map_err(Clone::clone));
    Run {
        ending,
        text: text_of(out),
        errors: text_of(errors),
        refusals: sandbox.refusals().cloned().collect(),
        observations: sandbox.observations().to_vec(),
        recorded,
        lost: sandbox.lost(),
        usage: sandbox.usage(),
        report: sandbox.report().clone(),
    }
}

/// The probe without any sandbox.
pub(crate) fn bare(words: &[&str]) -> String {
    let Output { stdout, .. } = command(probe()).args(words).output().unwrap();
    String::from_utf8(stdout).unwrap()
}

/// Waits until `done`, or fails after `limit`.
pub(crate) fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How many processes of this machine have this word among their arguments.
pub(crate) fn processes_with(word: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())).count()
}

/// A word that no other process has among its arguments.
pub(crate) fn token(name: &str) -> String {
    format!("token-{name}-{}", std::process::id())
}

/// Children of this process, the launcher among them.
pub(crate) fn children() -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>())
        .collect()
}

/// Cgroup leaves that carry the mark of the process `host`.
pub(crate) fn leaves_of(host: u32) -> Vec<PathBuf> {
    let mark = format!("{host}-");
    let mut found = Vec::new();
    for base in ["memory/ringfence", "pids/ringfence", "cpu/ringfence", "ringfence"] {
        for name in [base.to_owned(), format!("{base}-{USER}")] {
            let Ok(entries) = fs::read_dir(Path::new("/sys/fs/cgroup").join(name)) else { continue };
            found.extend(entries.flatten().map(|entry| entry.path()).filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&mark))
            }));
        }
    }
    found
}

/// What this process holds: descriptors, mounts it sees, children, cgroup leaves.
pub(crate) fn holdings() -> [usize; 4] {
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    [descriptors, lines("/proc/self/mountinfo"), children().len(), leaves_of(std::process::id()).len()]
}
