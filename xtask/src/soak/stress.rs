//! The loop `stress`: stress-ng's stressors inside, one after the other, while a witness outside asks for short runs.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::account::{Account, Scratch};
use super::census::Census;
use super::{Figure, Held, Setting};
use crate::failure::Failure;
use crate::needs;
use crate::process;

const SECONDS: u64 = 5;
const SECONDS_QUICK: u64 = 1;

/// How much longer than its own time a stressor's run may take, start and clean-up included.
const SLACK: Duration = Duration::from_secs(30);

/// Longest that the witness may wait for `/bin/true`; two cores are shared with the stressor.
const WITNESS_MAX: Duration = Duration::from_secs(5);

/// Between two questions of the witness.
const WITNESS_PAUSE: Duration = Duration::from_millis(50);

/// What must be true of a stressor's own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Ordinary work: it ends with status 0, or the sandbox is too narrow.
    Works,
    /// It asks for what no plugin gets; it may fail, or be stopped, but only by its own limits.
    Any,
}

/// One stressor: its flags, without the time.
struct Stressor {
    flags: &'static [&'static str],
    expect: Expect,
}

const fn works(flags: &'static [&'static str]) -> Stressor {
    Stressor { flags, expect: Expect::Works }
}

const fn any(flags: &'static [&'static str]) -> Stressor {
    Stressor { flags, expect: Expect::Any }
}

const STRESSORS: &[Stressor] = &[
    works(&["--cpu", "2"]),
    works(&["--pipe", "2"]),
    works(&["--malloc", "1", "--malloc-bytes", "64K", "--malloc-max", "1000"]),
    works(&["--mmap", "1", "--mmap-bytes", "64M"]),
    works(&["--futex", "2"]),
    works(&["--switch", "2"]),
    works(&["--fork", "2"]),
    any(&["--vm", "2", "--vm-bytes", "1G"]),
    any(&["--bigheap", "2"]),
    any(&["--brk", "2"]),
    any(&["--stack", "2"]),
    any(&["--clone", "4"]),
    any(&["--pthread", "4"]),
    any(&["--daemon", "4"]),
    any(&["--zombie", "4"]),
    any(&["--session", "2"]),
    any(&["--vfork", "4"]),
    any(&["--kill", "2"]),
    any(&["--sigq", "2"]),
    any(&["--sigsegv", "2"]),
    any(&["--timer", "2"]),
    any(&["--dentry", "2"]),
    any(&["--open", "2"]),
    any(&["--hdd", "1", "--hdd-bytes", "1G"]),
    any(&["--fallocate", "1", "--fallocate-bytes", "1G"]),
    any(&["--dup", "2"]),
    any(&["--epoll", "2"]),
    any(&["--inotify", "2"]),
    any(&["--shm", "2"]),
    any(&["--sem-sysv", "2"]),
    any(&["--msg", "2"]),
    any(&["--memfd", "2"]),
    any(&["--mlock", "2"]),
    any(&["--procfs", "2"]),
    any(&["--ptrace", "2"]),
    any(&["--unshare", "2"]),
    any(&["--chroot", "2"]),
    any(&["--sock", "2"]),
    any(&["--sysinval", "2"]),
    any(&["--enosys", "2"]),
];

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    if needs::locate("stress-ng").is_none() {
        return Err(Failure::Failed("stress-ng is missing: sudo apt-get install stress-ng".to_owned()));
    }
    let scratch = Scratch::new("stress", *account)?;
    let mut endings = Vec::new();
    let watched = beside_a_witness(setting, &scratch, || {
        for stressor in STRESSORS {
            endings.push((stressor, one(setting, &scratch, stressor)));
        }
    })?;
    let mut figures = vec![Figure::information("stressors, one after the other", STRESSORS.len())];
    figures.push(wrong(&endings));
    figures.push(Figure::information("violations that ended them", violations(&endings)));
    figures.extend(watched);
    Ok(figures)
}

/// Does `work` while a witness outside asks for short runs; gives what the witness saw, and what was left behind.
///
/// # Errors
/// When the witness cannot be started.
pub(crate) fn beside_a_witness(
    setting: &Setting,
    scratch: &Scratch,
    work: impl FnOnce(),
) -> Result<Vec<Figure>, Failure> {
    // Makes what is made once, and shows that the witness is answered when nothing else runs.
    let calm = witness(setting, scratch, &AtomicBool::new(true))?;
    let before = Census::take(setting, scratch);
    let over = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let asked = scope.spawn(|| witness(setting, scratch, &over));
        work();
        over.store(true, Ordering::Relaxed);
        asked.join()
    });
    let asked = asked.map_err(|_| Failure::Failed("the witness panicked".to_owned()))??;
    let mut figures = vec![Figure::information("runs of the witness meanwhile", asked.answers)];
    let unanswered = match &asked.first_failure {
        None => "0".to_owned(),
        Some(first) => format!("{} (first: {first})", asked.failures),
    };
    figures.push(Figure::promised("of these not answered", unanswered, "0", Held::from(asked.failures == 0)));
    figures.push(Figure::promised(
        "slowest answer (alone: the second figure)",
        format!("{} ms, {} ms", asked.slowest.as_millis(), calm.slowest.as_millis()),
        "at most 5 s",
        Held::from(asked.slowest <= WITNESS_MAX),
    ));
    figures.extend(before.leaks(setting, scratch));
    Ok(figures)
}

/// How a stressor's run ended.
#[derive(Debug)]
struct Ending {
    /// Why this is not an ending as it should be, if it is not.
    fault: Option<String>,
    violation: Option<String>,
}

fn one(setting: &Setting, scratch: &Scratch, stressor: &Stressor) -> Ending {
    let seconds = if setting.quick { SECONDS_QUICK } else { SECONDS };
    let report = scratch.file("home/report.json");
    let timeout = format!("{seconds}s");
    let mut program = vec!["stress-ng", "--temp-path", "/tmp", "--timeout", &timeout];
    program.extend(stressor.flags);
    let wall = format!("{}s", seconds + SLACK.as_secs());
    let path = report.display().to_string();
    let flags = ["--grant", "subprocess:execute", "--timeout", &wall, "--report", &path];
    let mut command = scratch.exec(setting, &flags, &program);
    let timed = process::run_until(&mut command, Duration::from_secs(seconds) + 2 * SLACK);
    let report = fs::read_to_string(&report).unwrap_or_default();
    // Each run has to write its own.
    if let Err(error) = fs::remove_file(scratch.file("home/report.json")) {
        return Ending { fault: Some(format!("no report: {error}")), violation: None };
    }
    let report: Value = serde_json::from_str(&report).unwrap_or_default();
    let text = |name: &str| report.get(name).and_then(Value::as_str).map(str::to_owned);
    let status = text("status").unwrap_or_default();
    let code = report.get("exit_code").and_then(Value::as_i64);
    let fault = match timed {
        Err(failure) => failure.text().map(str::to_owned),
        Ok(timed) if timed.status.is_none() => Some("did not end and was killed".to_owned()),
        Ok(_) if status == "not_started" || status.is_empty() => Some("was not started".to_owned()),
        Ok(_) if stressor.expect == Expect::Works && code != Some(0) => {
            Some(format!("{status} {code:?}, not status 0"))
        }
        Ok(_) => {
            text("violation").filter(|word| word == "timeout").map(|_| "ran into the timeout".to_owned())
        }
    };
    Ending { fault, violation: text("violation") }
}

fn wrong(endings: &[(&Stressor, Ending)]) -> Figure {
    let faults: Vec<String> = endings
        .iter()
        .filter_map(|(stressor, ending)| {
            Some(format!("{}: {}", stressor.flags.join(" "), ending.fault.as_ref()?))
        })
        .collect();
    let value =
        if faults.is_empty() { "0".to_owned() } else { format!("{} ({})", faults.len(), faults.join("; ")) };
    Figure::promised("stressors that ended as they should not", value, "0", Held::from(faults.is_empty()))
}

fn violations(endings: &[(&Stressor, Ending)]) -> String {
    let found: Vec<String> = endings
        .iter()
        .filter_map(|(stressor, ending)| {
            Some(format!("{} {}", stressor.flags.first()?, ending.violation.as_ref()?))
        })
        .collect();
    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
}

/// What the witness saw.
#[derive(Debug, Default)]
struct Witness {
    answers: u64,
    failures: u64,
    /// How the first failure ended, and what it said.
    first_failure: Option<String>,
    slowest: Duration,
}

/// Asks for `/bin/true` until `over`, at least once.
fn witness(setting: &Setting, scratch: &Scratch, over: &AtomicBool) -> Result<Witness, Failure> {
    let mut seen = Witness::default();
    loop {
        let timed = process::run_until(&mut scratch.exec(setting, &[], &["/bin/true"]), 2 * WITNESS_MAX)?;
        seen.answers += 1;
        if !timed.status.is_some_and(|status| status.success()) {
            seen.failures += 1;
            let end = timed.status.map_or_else(|| "killed at the deadline".to_owned(), process::ending);
            seen.first_failure.get_or_insert_with(|| format!("{end}: {}", timed.stderr.trim()));
        }
        seen.slowest = seen.slowest.max(timed.duration);
        if over.load(Ordering::Relaxed) {
            return Ok(seen);
        }
        thread::sleep(WITNESS_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faulty_ending_names_its_stressor_and_breaks_the_promise() {
        let stressor = works(&["--cpu", "2"]);
        let good = Ending { fault: None, violation: Some("memory".to_owned()) };
        let figure = wrong(&[(&stressor, good)]);
        assert!(figure.held && figure.value == "0");
        let bad = Ending { fault: Some("was not started".to_owned()), violation: None };
        let figure = wrong(&[(&stressor, bad)]);
        assert!(!figure.held && figure.value == "1 (--cpu 2: was not started)", "{figure:?}");
    }
}
