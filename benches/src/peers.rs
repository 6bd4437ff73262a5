//! The ways to start a program that stand beside each other.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ringfence_sandbox::{Ending, Launcher, Network, Plan, Program, Stdio as Descriptors};

/// What an empty job runs.
pub const TRUE: &str = "/bin/true";
/// The interpreter itself, not a shim of a version manager that is a shell script.
pub const PYTHON: &str = "/usr/bin/python3";
/// An interpreter that starts, does nothing and ends: no site packages, no environment.
pub const PYTHON_PASS: [&str; 4] = ["-I", "-S", "-c", "pass"];
/// The settings of bubblewrap that come nearest to the plan: all namespaces, the same mounts.
const BUBBLEWRAP: [&str; 24] = [
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--chdir",
    "/tmp",
    "--",
];

/// Where bubblewrap is.
pub const BWRAP: &str = "/usr/bin/bwrap";
/// Where firejail is.
pub const FIREJAIL: &str = "/usr/bin/firejail";
/// Names the program of sandbox-runtime (`srt`) where it is not installed for all users.
pub const SANDBOX_RUNTIME_VARIABLE: &str = "RINGFENCE_BENCH_SRT";
/// Where `npm install -g` puts it.
const SANDBOX_RUNTIME: [&str; 2] = ["/usr/local/bin/srt", "/usr/bin/srt"];
/// Nothing may be written, no host reached; what may be read cannot be closed as a whole.
pub const SANDBOX_RUNTIME_SETTINGS: &str = r#"{"network":{"allowedDomains":[],"deniedDomains":[]},"filesystem":{"denyRead":[],"allowWrite":[],"denyWrite":[]}}"#;
/// The options of firejail that come nearest to the plan, without one of its profiles, which are made for single programs.
const FIREJAIL_OPTIONS: [&str; 12] = [
    "--quiet",
    "--noprofile",
    "--private",
    "--private-tmp",
    "--private-dev",
    "--net=none",
    "--ipc-namespace",
    "--nodbus",
    "--caps.drop=all",
    "--nonewprivs",
    "--noroot",
    "--seccomp",
];

/// A command without an environment: what is measured must not depend on the caller's.
#[expect(
    clippy::disallowed_methods,
    reason = "peers and the bare process are what the sandbox is measured beside"
)]
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// `program` with its arguments, without a sandbox.
#[must_use]
pub fn bare(program: &str, arguments: &[&str]) -> Command {
    let mut bare = command(program);
    bare.args(arguments).env_clear();
    bare
}

/// `program` with its arguments in bubblewrap.
#[must_use]
pub fn bubblewrap(program: &str, arguments: &[&str]) -> Command {
    let mut wrapped = command(BWRAP);
    wrapped.args(BUBBLEWRAP).arg(program).args(arguments).env_clear();
    wrapped
}

/// `program` with its arguments in firejail.
#[must_use]
pub fn firejail(program: &str, arguments: &[&str]) -> Command {
    let mut jailed = command(FIREJAIL);
    jailed.args(FIREJAIL_OPTIONS).arg(program).args(arguments).env_clear();
    jailed
}

/// The program of sandbox-runtime.
///
/// # Errors
/// What to say where it is not installed.
pub fn sandbox_runtime_program() -> Result<PathBuf, String> {
    let named = std::env::var_os(SANDBOX_RUNTIME_VARIABLE).map(PathBuf::from);
    let found = named.or_else(|| SANDBOX_RUNTIME.map(PathBuf::from).into_iter().find(|path| path.exists()));
    found.ok_or_else(|| {
        format!("skipped: needs sandbox-runtime (npm install -g @anthropic-ai/sandbox-runtime, or {SANDBOX_RUNTIME_VARIABLE})")
    })
}

/// `program` with its arguments in sandbox-runtime, with [`SANDBOX_RUNTIME_SETTINGS`] in the file `settings`. It looks for its
/// own tools in PATH.
#[must_use]
pub fn sandbox_runtime(
    runtime: &Path,
    home: &Path,
    settings: &Path,
    program: &str,
    arguments: &[&str],
) -> Command {
    let mut run = command(runtime);
    run.arg("--settings").arg(settings).arg("--").arg(program).args(arguments);
    run.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", home);
    run
}

/// `program` with its arguments by `ringfence exec` and its defaults.
#[must_use]
pub fn ringfence(binary: &Path, home: &Path, program: &str, arguments: &[&str]) -> Command {
    let mut run = command(binary);
    run.args(["exec", "--", program]).args(arguments);
    run.env_clear().env("RINGFENCE_HOME", home);
    run
}

/// The default plan for `program`: every layer, default limits, nothing granted.
///
/// # Errors
/// When the program is not there.
pub fn plan(program: &str, arguments: &[&str], network: Network) -> io::Result<Plan> {
    let mut plan = Plan::new(Program::find(program.as_ref(), "/".as_ref()).map_err(io::Error::other)?);
    for argument in arguments {
        plan.argument(*argument);
    }
    plan.network(network);
    Ok(plan)
}

/// Milliseconds from the start of `command` until it has been reaped.
///
/// # Errors
/// When it cannot be started, or ends other than with status 0.
pub fn time_command(command: &mut Command) -> io::Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().map_err(|error| named(command, &error))?;
    let taken = begun.elapsed();
    if status.success() {
        return Ok(taken.as_secs_f64() * 1e3);
    }
    // Once more, to hear why.
    let told = command.stderr(Stdio::piped()).output()?.stderr;
    let told = String::from_utf8_lossy(&told);
    let told = told.lines().next().unwrap_or_default();
    Err(io::Error::other(format!("{} ended with {status}: {told}", command.get_program().display())))
}

/// The error with the program's name in it.
fn named(command: &Command, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display()))
}

/// Milliseconds from the launch of `plan` until its program has ended and all that belongs to the sandbox is removed.
///
/// # Errors
/// When it does not start, or ends other than with status 0.
pub fn time_plan(launcher: &Launcher, plan: &Plan) -> io::Result<f64> {
    let stdio = Descriptors::null()?;
    let begun = Instant::now();
    let mut sandbox = launcher.launch(plan, stdio).map_err(io::Error::other)?;
    let ending = sandbox.wait()?;
    sandbox.close()?;
    let taken = begun.elapsed();
    match ending {
        Ending::Exited(0) => Ok(taken.as_secs_f64() * 1e3),
        other => Err(io::Error::other(format!("the sandboxed program ended with {other:?}"))),
    }
}

/// A minimal OCI bundle in `directory`: the namespaces, mounts and limits that crun's own `spec` gives, with the host's
/// /usr shown read-only. The words of the command are given later by [`crun`].
///
/// # Errors
/// When a file cannot be written.
pub fn write_bundle(directory: &Path) -> io::Result<()> {
    let root = directory.join("rootfs");
    for name in ["usr", "proc", "dev", "tmp", "sys"] {
        fs::create_dir_all(root.join(name))?;
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(Path::new("usr").join(name), root.join(name))?;
    }
    fs::write(directory.join("config.json"), OCI_CONFIG)
}

/// Starts the bundle in `directory` under `name`, which no other container may have.
#[must_use]
pub fn crun(directory: &Path, name: &str) -> Command {
    let mut run = command("/usr/bin/crun");
    run.arg("--root").arg(directory.join("state")).arg("run").arg("--bundle").arg(directory).arg(name);
    run
}

/// Removes the cgroups that a failed start of `name` has left behind: crun itself does not know of them (its `delete` finds
/// no state to go by).
pub fn remove_cgroups(name: &str) {
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        // Most are not there, and one that is still busy is not worth the failure of a measurement.
        drop(fs::remove_dir(hierarchy.path().join(name)));
    }
}

const OCI_CONFIG: &str = r#"{
  "ociVersion": "1.0.0",
  "process": {
    "terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "env": ["PATH=/usr/bin"], "cwd": "/",
    "capabilities": {"bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}], "noNewPrivileges": true
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "sandbox",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
    {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro", "nosuid", "nodev"]}
  ],
  "linux": {
    "resources": {"devices": [{"allow": false, "access": "rwm"}]},
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
    "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}
"#;
