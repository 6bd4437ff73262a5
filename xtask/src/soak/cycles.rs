//! The loop `cycles`: starts and ends the shortest run again and again, and looks what is left.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::account::{Account, Scratch};
use super::census::Census;
use super::{Figure, Held, Setting};
use crate::failure::Failure;
use crate::process;

const CYCLES: u64 = 10_000;
const CYCLES_QUICK: u64 = 200;

/// Runs before the first look, so that what is made once and kept on purpose is there already.
const WARM_UP: u64 = 20;

/// Runs at a time; two starts that meet find races that one never does.
const WORKERS: u64 = 2;

/// What the control ends with: a program that runs nothing and says that all is well would pass every other row.
const CONTROL_STATUS: i32 = 7;

/// Longest that one run may take.
const RUN_MAX: Duration = Duration::from_secs(30);

/// A loop that fails this often ends; the rest would say the same.
const FAILURES_MAX: usize = 10;

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("cycles", *account)?;
    let cycles = if setting.quick { CYCLES_QUICK } else { CYCLES };
    let failures = Mutex::new(Vec::new());
    let control = process::run_until(&mut scratch.exec(setting, &[], &["/bin/sh", "-c", "exit 7"]), RUN_MAX)?;
    let control = control.status.and_then(|status| status.code());
    repeat(setting, &scratch, WARM_UP, &failures);
    let before = Census::take(setting, &scratch);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| repeat(setting, &scratch, cycles / WORKERS, &failures));
        }
    });
    let elapsed = start.elapsed();
    let failures = failures.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let failed = match failures.first() {
        None => "0".to_owned(),
        Some(first) => format!("{} (first: {first})", failures.len()),
    };
    let mut figures = vec![
        Figure::information("runs of /bin/true", cycles),
        Figure::information(
            "time per run, two at a time",
            format!("{:.2} ms", elapsed.as_secs_f64() * 1e3 / as_f64(cycles)),
        ),
        Figure::promised(
            "status of a command that ends with 7",
            control.map_or_else(|| "none".to_owned(), |code| code.to_string()),
            "7",
            Held::from(control == Some(CONTROL_STATUS)),
        ),
        Figure::promised("runs that failed", failed, "0", Held::from(failures.is_empty())),
    ];
    figures.extend(before.leaks(setting, &scratch));
    Ok(figures)
}

fn repeat(setting: &Setting, scratch: &Scratch, times: u64, failures: &Mutex<Vec<String>>) {
    for _ in 0..times {
        let result = process::run_until(&mut scratch.exec(setting, &[], &["/bin/true"]), RUN_MAX);
        let why = match result {
            Ok(timed) if timed.status.is_some_and(|status| status.success()) => continue,
            Ok(timed) => {
                let end = timed.status.map_or_else(|| "killed at the deadline".to_owned(), process::ending);
                format!("{end}: {}", timed.stderr.trim())
            }
            Err(failure) => failure.text().unwrap_or_default().to_owned(),
        };
        let mut failures = failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        failures.push(why);
        if failures.len() >= FAILURES_MAX {
            return;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of runs is far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
