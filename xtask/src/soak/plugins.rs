//! The loop `plugins`: starts, calls and stops a native and a Python plugin again and again, and looks what is left.
//!
//! One cycle is one `ringfence call`: without a daemon it starts the plugin, calls it, and stops it in order before it
//! returns. One in sixteen is killed with -9 at a random moment instead.

use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::account::{Account, Scratch};
use super::census::Census;
use super::random::Random;
use super::{Figure, Held, Setting};
use crate::failure::Failure;
use crate::{process, workspace};

const CYCLES: u64 = 10_000;
const CYCLES_QUICK: u64 = 100;

/// Cycles before the first look, so that what is made once and kept on purpose is there already.
const WARM_UP: u64 = 4;

/// Cycles at a time; two that meet find races that one never does.
const WORKERS: u64 = 2;

/// One in so many is killed ...
const KILLED_ONE_IN: u64 = 16;
/// ... within this time: while the home is opened, the sandbox built, the plugin called or stopped.
const KILLED_WITHIN_US: u64 = 200_000;

/// Longest that one cycle may take.
const CYCLE_MAX: Duration = Duration::from_secs(60);

/// A loop that fails this often ends; the rest would say the same.
const FAILURES_MAX: usize = 10;

/// The status of a call of a tool that is not there: a program that starts nothing would say 0.
const CONTROL_STATUS: i32 = 3;

/// The plugins, each with its tool.
const PLUGINS: [(&str, &str); 2] = [("greet-shell", "greet"), ("soak-python", "ok")];

const PYTHON_MANIFEST: &str =
    "name: soak-python\nversion: 1.0.0\nruntime: python\nentry_point: main.py\ntools: [{name: ok}]\n";
const PYTHON_CODE: &str = "def ok(arguments):\n    return 'ok'\n";

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("plugins", *account)?;
    install(setting, &scratch)?;
    let cycles = if setting.quick { CYCLES_QUICK } else { CYCLES };
    let failures = Mutex::new(Vec::new());
    let words = ["call", "soak-python", "no-such-tool"];
    let control = process::run_until(&mut scratch.ringfence(setting, &words), CYCLE_MAX)?;
    let control = control.status.and_then(|status| status.code());
    repeat(setting, &scratch, WARM_UP, &mut Random::new(setting.seed), &failures);
    let before = Census::take(setting, &scratch);
    let start = Instant::now();
    let killed: u64 = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (scratch, failures) = (&scratch, &failures);
                let mut random = Random::new(setting.seed.wrapping_add(worker + 1));
                scope.spawn(move || repeat(setting, scratch, cycles / WORKERS, &mut random, failures))
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).sum()
    });
    let elapsed = start.elapsed();
    // What a killed one left is swept by the next start.
    repeat(setting, &scratch, 1, &mut Random::new(1), &failures);
    let failures = failures.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let failed = match failures.first() {
        None => "0".to_owned(),
        Some(first) => format!("{} (first: {first})", failures.len()),
    };
    let staged = fs::read_dir(scratch.home().join("staging")).map_or(0, Iterator::count);
    let mut figures = vec![
        Figure::information("starts, calls and stops", cycles),
        Figure::information("of these killed with -9", killed),
        Figure::information("time, all of them, two at a time", format!("{:.1} s", elapsed.as_secs_f64())),
        Figure::promised(
            "status of a call of no tool",
            control.map_or_else(|| "none".to_owned(), |code| code.to_string()),
            "3",
            Held::from(control == Some(CONTROL_STATUS)),
        ),
        Figure::promised("calls that failed", failed, "0", Held::from(failures.is_empty())),
        Figure::promised("copies left in staging", staged, "0", Held::from(staged == 0)),
    ];
    figures.extend(before.leaks(setting, &scratch));
    Ok(figures)
}

/// Writes both packages and installs them, with nothing granted.
fn install(setting: &Setting, scratch: &Scratch) -> Result<(), Failure> {
    let write = |name: &str, bytes: &[u8]| {
        let path = scratch.file(name);
        fs::write(&path, bytes).map_err(|error| Failure::of(path.display(), error))
    };
    for name in ["greet-shell", "soak-python"] {
        let path = scratch.file(name);
        fs::create_dir(&path).map_err(|error| Failure::of(path.display(), error))?;
    }
    write("soak-python/plugin.yaml", PYTHON_MANIFEST.as_bytes())?;
    write("soak-python/main.py", PYTHON_CODE.as_bytes())?;
    for name in ["plugin.yaml", "greet.sh"] {
        let from = workspace::root().join("examples/protocol/shell").join(name);
        // With its mode: one of them is a program.
        fs::copy(&from, scratch.file("greet-shell").join(name))
            .map_err(|error| Failure::of(from.display(), error))?;
    }
    for (name, _) in PLUGINS {
        let path = scratch.file(name).display().to_string();
        done(&mut scratch.ringfence(setting, &["install", &path, "--grant-none"]))?;
        done(&mut scratch.ringfence(setting, &["activate", name]))?;
    }
    Ok(())
}

fn done(command: &mut std::process::Command) -> Result<(), Failure> {
    let shown = process::shown(command);
    let timed = process::run_until(command, CYCLE_MAX)?;
    match why_not(&timed) {
        None => Ok(()),
        Some(why) => Err(Failure::Failed(format!("`{shown}`: {why}"))),
    }
}

/// Why it did not end well.
fn why_not(timed: &process::Timed) -> Option<String> {
    match timed.status {
        Some(status) if status.success() => None,
        Some(status) => Some(format!("{}: {}", process::ending(status), timed.stderr.trim())),
        None => Some(format!("killed at the deadline: {}", timed.stderr.trim())),
    }
}

/// Gives how many were killed.
fn repeat(
    setting: &Setting,
    scratch: &Scratch,
    times: u64,
    random: &mut Random,
    failures: &Mutex<Vec<String>>,
) -> u64 {
    let mut killed = 0;
    for (number, (name, tool)) in (0..times).zip(PLUGINS.iter().cycle()) {
        let mut command = scratch.ringfence(setting, &["call", name, tool]);
        let is_killed = number > 0 && random.below(KILLED_ONE_IN) == 0;
        let why = if is_killed {
            killed += 1;
            let moment = Duration::from_micros(random.below(KILLED_WITHIN_US));
            kill(&mut command, moment).err().map(|failure| failure.text().unwrap_or_default().to_owned())
        } else {
            match process::run_until(&mut command, CYCLE_MAX) {
                Ok(timed) => why_not(&timed),
                Err(failure) => Some(failure.text().unwrap_or_default().to_owned()),
            }
        };
        if let Some(why) = why {
            let mut failures = failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            failures.push(format!("{name}: {why}"));
            if failures.len() >= FAILURES_MAX {
                break;
            }
        }
    }
    killed
}

fn kill(command: &mut std::process::Command, moment: Duration) -> Result<(), Failure> {
    let failed = |error| Failure::of("kill", error);
    let mut child = command.spawn().map_err(failed)?;
    thread::sleep(moment);
    child.kill().and_then(|()| child.wait()).map(|_| ()).map_err(failed)
}
