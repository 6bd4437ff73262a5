//! Looking at the host's processes by the marker that every run carries.

use crate::rig::rig;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

/// The uid of this test process.
#[must_use]
pub fn host_uid() -> u32 {
    std::fs::metadata("/proc/self").map_or(u32::MAX, |meta| meta.uid())
}

/// The processes that carry `marker` in their arguments or environment, zombies left out: (pid, command line).
#[must_use]
pub fn alive_with_marker(marker: &str) -> Vec<(u32, String)> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == own {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let env = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let carries = |bytes: &[u8]| bytes.windows(marker.len()).any(|part| part == marker.as_bytes());
        if carries(&line) || carries(&env) {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).unwrap_or('Z');
            if !matches!(state, 'Z' | 'X') {
                found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
    }
    found
}

/// Sends `signal` to `pid`; false when there is no such process or it may not be signalled.
#[must_use]
pub fn kill(pid: u32, signal: i32) -> bool {
    probe_ok(&["kill", &pid.to_string(), &signal.to_string()])
}

/// Runs an act of the probe on the host, with the rights of this process; true when it succeeded.
#[must_use]
pub fn probe_ok(act: &[&str]) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the harness starts its own tools on the host")]
    std::process::Command::new(rig().probe())
        .args(act)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
