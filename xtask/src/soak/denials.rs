//! The loop `denials`: a million refusals in one watched run. All are counted, and who watches does not grow.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::account::{Account, Scratch};
use super::census::Census;
use super::{Figure, Held, Setting};
use crate::failure::Failure;

const DENIALS: u64 = 1_000_000;
const DENIALS_QUICK: u64 = 20_000;
/// Each is a message to PID 1 and back; a busy machine needs ten times as long as a quiet one.
const RUN_MAX: Duration = Duration::from_secs(1800);
/// What the host may take while it watches, in KiB. Without a bound a million names would be some hundred MiB.
const PEAK_MAX_KIB: u64 = 64 * 1024;
/// How often its memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("denials", *account)?;
    let wanted = if setting.quick { DENIALS_QUICK } else { DENIALS };
    let before = Census::take(setting, &scratch);
    // Half of them on one directory, which is there and not granted; half each on another name in it.
    let (place, report) = (scratch.temporary(), scratch.file("report.json"));
    let script = format!(
        "i=0; while [ $i -lt {} ]; do cd {1} || :; echo > {1}/$i || :; i=$((i+1)); done 2>/dev/null",
        wanted / 2,
        place.display()
    );
    let flags = ["--explain", "--cpu", "none", "--timeout", "none", "--report"];
    let mut flags: Vec<&str> = flags.to_vec();
    let shown = report.display().to_string();
    flags.push(&shown);
    let start = Instant::now();
    let (status, peak_kib) = watch(scratch.exec(setting, &flags, &["/bin/sh", "-c", &script]))?;
    let taken = start.elapsed();
    let text = fs::read_to_string(&report).map_err(|error| Failure::of(report.display(), error))?;
    fs::remove_file(&report).map_err(|error| Failure::of(report.display(), error))?;
    let counted = counted(&text);
    let mut figures = vec![
        Figure::information("refusals", wanted),
        Figure::information("time for each", format!("{:.1} µs", taken.as_secs_f64() * 1e6 / as_f64(wanted))),
        Figure::promised(
            "status",
            status.map_or_else(|| "none".to_owned(), |code| code.to_string()),
            "0",
            Held::from(status == Some(0)),
        ),
        Figure::promised("listed or counted", counted, "all", Held::from(counted == wanted)),
        Figure::promised(
            "memory of the host at its peak",
            format!("{} MiB", peak_kib / 1024),
            "at most 64 MiB",
            Held::from(peak_kib > 0 && peak_kib <= PEAK_MAX_KIB),
        ),
    ];
    figures.extend(before.leaks(setting, &scratch));
    Ok(figures)
}

/// Runs to the end, at most for [`RUN_MAX`]: the exit status, and the most memory that the process itself had.
fn watch(mut command: std::process::Command) -> Result<(Option<i32>, u64), Failure> {
    let cannot = |error| Failure::of("ringfence exec", error);
    let mut child = command.spawn().map_err(cannot)?;
    let (deadline, file) = (Instant::now() + RUN_MAX, format!("/proc/{}/status", child.id()));
    let mut peak_kib = 0;
    loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            return Ok((status.code(), peak_kib));
        }
        if Instant::now() > deadline {
            child.kill().map_err(cannot)?;
        }
        peak_kib = peak_kib.max(peak(&fs::read_to_string(&file).unwrap_or_default()));
        thread::sleep(LOOK);
    }
}

/// The line `VmHWM:` of a process, in KiB; 0 where there is none.
fn peak(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// All refusals of a report, listed ones and those that are only counted.
fn counted(report: &str) -> u64 {
    let report: Value = serde_json::from_str(report).unwrap_or_default();
    let denials = report.get("denials").and_then(Value::as_array);
    denials.into_iter().flatten().filter_map(|denial| denial.get("count")?.as_u64()).sum()
}

#[expect(clippy::cast_precision_loss, reason = "a million is far below 2^53")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_summed_and_a_peak_is_read() {
        assert_eq!(counted(r#"{"denials":[{"count":3,"grant":null},{"count":4}]}"#), 7);
        assert_eq!(counted("nothing"), 0);
        assert_eq!(peak("Name:\tringfence\nVmHWM:\t   12345 kB\n"), 12345);
        assert_eq!(peak(""), 0);
    }
}
