//! What a test needs of the machine, by name. A missing need is said aloud, and fails where the machine promised it.

use std::io::Write;
use std::path::Path;

/// Tells whether the machine lacks `need`, and if so prints `skipped: needs X`: the test then returns.
///
/// Known names: `root`, `cgroup-v1`, `cgroup-v2`, `cap-sys-resource`, `core-file`, `mqueue`, `chromium` (with its driver), or the absolute path or the bare name
/// of a program that is looked for in `/usr/bin`, `/bin`, `/usr/local/bin` and `/usr/sbin`.
///
/// # Panics
/// When the need is missing but `RINGFENCE_NEEDS` lists it: a machine that promised it must not skip in silence.
#[must_use]
pub fn lacks(need: &str) -> bool {
    if have(need) {
        return false;
    }
    missing(need, "this machine lacks it");
    true
}

/// Says `skipped: needs X` for something that only trying has shown to be missing, such as a registry of packages; the test
/// then returns.
///
/// # Panics
/// When `RINGFENCE_NEEDS` lists it; `why` is in the message.
pub fn missing(need: &str, why: &str) {
    let promised = std::env::var("RINGFENCE_NEEDS").unwrap_or_default();
    assert!(!promised.split(',').any(|word| word.trim() == need), "RINGFENCE_NEEDS promises {need}: {why}");
    say(&format!("skipped: needs {need}"));
}

/// Says it on the real standard error: the test harness would swallow what a passing test prints.
pub fn say(line: &str) {
    // Nobody reads standard error: then nobody can be told.
    writeln!(std::io::stderr(), "{line}").ok();
}

/// Tells whether the machine has `need`; see [`lacks`] for the names.
#[must_use]
pub fn have(need: &str) -> bool {
    match need {
        "root" => crate::host_uid() == 0,
        "cgroup-v1" => mounts()
            .iter()
            .any(|(kind, options)| kind == "cgroup" && options.split(',').any(|option| option == "memory")),
        "cgroup-v2" => crate::world::v2_mount().is_some(),
        "cap-sys-resource" => std::fs::read_to_string("/proc/self/status").is_ok_and(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
            line.and_then(|word| u64::from_str_radix(word.trim(), 16).ok())
                .is_some_and(|set| set & (1 << 24) != 0)
        }),
        "core-file" => std::fs::read_to_string("/proc/sys/kernel/core_pattern")
            .is_ok_and(|pattern| !pattern.starts_with(['|', '/', '@']) && !pattern.trim().is_empty()),
        "mqueue" => Path::new("/proc/sys/fs/mqueue").is_dir(),
        "chromium" => is_installed("chromium") && is_installed("chromedriver"),
        path if path.starts_with('/') => Path::new(path).exists(),
        program => is_installed(program),
    }
}

fn is_installed(program: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).is_file())
}

fn mounts() -> Vec<(String, String)> {
    std::fs::read_to_string("/proc/self/mounts")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(2);
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect()
}
