//! The machine that the figures are of, in one line, and who measures.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Kernel, processors, memory and load: a load near the number of processors makes absolute times useless.
#[must_use]
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu_info = read("/proc/cpuinfo");
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let total_kib = memory_kib("MemTotal:").unwrap_or(0);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let gib = total_kib / (1 << 20);
    format!("Linux {}, {cpus} x {model}, {gib} GiB, load {load} at the end", kernel.trim())
}

/// A line of /proc/meminfo, in KiB.
///
/// # Errors
/// When the line is not there.
pub fn memory_kib(label: &str) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(label))
        .and_then(|rest| rest.split_whitespace().next());
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| io::Error::other(format!("/proc/meminfo has no {label}")))
}

/// The user that this process is.
///
/// # Errors
/// When /proc is not there.
pub fn user_id() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

/// As whom is measured, for titles.
#[must_use]
pub fn user_name() -> String {
    match user_id() {
        Ok(0) => "as root".to_owned(),
        Ok(uid) => format!("as uid {uid}"),
        Err(_) => "as an unknown user".to_owned(),
    }
}
