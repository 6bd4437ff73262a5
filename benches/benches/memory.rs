//! Memory that the machine really has less of, beside each idle sandboxed process.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use ringfence_benches::machine;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers;
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};
use ringfence_sandbox::{Launcher, Network, Sandbox, Stdio as Descriptors};

const SLEEP: &str = "/bin/sleep";
const SECONDS: &str = "1000";
/// Namespaces and cgroups are put away late: without a rest one row pays for the one before.
const REST: Duration = Duration::from_secs(10);
const QUICK_REST: Duration = Duration::from_secs(2);
const FULL_COUNT: usize = 200;
const QUICK_COUNT: usize = 100;
/// How often a figure that other work has spoilt is measured again.
const TRIES: usize = 3;
/// What the gauge may move by itself, as a share of what the programs take.
const DRIFT_MAX: f64 = 0.1;
/// Each sandbox takes up to six descriptors of this process.
const DESCRIPTORS_EACH: usize = 8;
const BUBBLEWRAP: &str = "bubblewrap";
const SHARED: &str = "library, shared network";

fn main() -> ExitCode {
    match Options::from_process() {
        Ok(options) => measure(&options).unwrap_or_else(|error| {
            output::talk(&format!("memory: {error}"));
            ExitCode::FAILURE
        }),
        Err(refused) => refused.tell(),
    }
}

/// What is read of the machine.
#[derive(Debug, Clone, Copy)]
enum Gauge {
    /// What /proc/meminfo calls available: everything counts, the kernel's own included, and so does what other work
    /// on this machine takes meanwhile.
    Available,
    /// The proportional share of all processes below this one: exact, but blind for the kernel's own memory.
    Processes,
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let launcher = Launcher::start_with_shared_network().map_err(io::Error::other)?;
    let wanted = if options.quick { QUICK_COUNT } else { FULL_COUNT };
    let count = wanted.min(descriptors_max()? / DESCRIPTORS_EACH);
    let rest = if options.quick { QUICK_REST } else { REST };
    let samples = options.samples(1, 3);
    let tables = [Gauge::Available, Gauge::Processes].map(|gauge| {
        let crowd =
            Crowd { count, gauge, rest: if matches!(gauge, Gauge::Available) { rest } else { QUICK_REST } };
        table(&launcher, &crowd, samples)
    });
    Ok(output::finish(options, &tables, &OtherPart::default()))
}

fn table(launcher: &Launcher, crowd: &Crowd, samples: usize) -> Table {
    let rows = vec![
        Row::new(BUBBLEWRAP, || crowd.weigh(|| start(peers::bubblewrap(SLEEP, &[SECONDS])))),
        Row::new("no sandbox", || crowd.weigh(|| start(peers::bare(SLEEP, &[SECONDS])))),
        Row::new(SHARED, || crowd.weigh(|| launch(launcher, Network::Shared))),
        Row::new("library, fresh network", || crowd.weigh(|| launch(launcher, Network::Fresh))),
    ];
    let count = crowd.count;
    let (what, targets) = match crowd.gauge {
        Gauge::Available => (
            "Memory really used beside",
            vec![Target { row: SHARED, base: BUBBLEWRAP, bound: Bound::AtMost(0.55) }],
        ),
        Gauge::Processes => ("Proportional memory of the processes of", Vec::new()),
    };
    Table {
        title: format!("{what} each of {count} idle {SLEEP}, {}", machine::user_name()),
        unit: "KiB",
        rows: take_turns(rows, Turns::of_long_runs(0, samples)),
        targets,
    }
}

struct Crowd {
    count: usize,
    gauge: Gauge,
    rest: Duration,
}

impl Crowd {
    /// KiB for each of `count` programs. They are gone when this returns: their owners end them.
    ///
    /// The same time is first spent with nothing started. If that alone moves the gauge, other work on this machine does,
    /// and a figure would be of that work: it is tried again, and then given up.
    fn weigh<T>(&self, start: impl Fn() -> io::Result<T>) -> io::Result<f64> {
        for _ in 0..TRIES {
            std::thread::sleep(self.rest);
            let idle = self.read()?;
            std::thread::sleep(self.rest);
            let before = self.read()?;
            let mut crowd = Vec::with_capacity(self.count);
            for _ in 0..self.count {
                crowd.push(start()?);
            }
            std::thread::sleep(self.rest);
            let used = self.read()? - before;
            drop(crowd);
            if (before - idle).abs() <= used * DRIFT_MAX {
                return Ok(used / self.count as f64);
            }
        }
        Err(io::Error::other("other work on this machine moves what is available; it must be quiet"))
    }

    /// KiB in use, from any zero.
    fn read(&self) -> io::Result<f64> {
        Ok(match self.gauge {
            Gauge::Available => -(machine::memory_kib("MemAvailable:")? as f64),
            Gauge::Processes => descendants()?.into_iter().map(proportional_kib).sum::<u64>() as f64,
        })
    }
}

/// A process that is killed and reaped with its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(mut command: std::process::Command) -> io::Result<Owned> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    Ok(Owned(child))
}

fn launch(launcher: &Launcher, network: Network) -> io::Result<Sandbox> {
    let plan = peers::plan(SLEEP, &[SECONDS], network)?;
    launcher.launch(&plan, Descriptors::null()?).map_err(io::Error::other)
}

/// All processes whose ancestor is this one.
fn descendants() -> io::Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // The name of a process may contain anything, so the fields are counted from its last parenthesis.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![std::process::id()];
    while let Some(pid) = open.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(&below);
        open.extend(below);
    }
    Ok(found)
}

/// A process that has ended meanwhile weighs nothing.
fn proportional_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The soft limit of open files of this process.
fn descriptors_max() -> io::Result<usize> {
    let text = fs::read_to_string("/proc/self/limits")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|rest| rest.split_whitespace().next());
    Ok(soft.and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX))
}
