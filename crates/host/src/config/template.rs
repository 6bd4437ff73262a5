//! The commented configuration file. Its values are taken from the defaults, so the two cannot differ.

use super::Config;
use crate::units::{format_duration, format_size};

pub(super) fn template() -> String {
    let Config { limits_backend, exec, runs } = Config::default();
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "none".to_owned(), format_size);
    let count = |count: Option<u64>| count.map_or_else(|| "\"none\"".to_owned(), |count| count.to_string());
    format!(
        r#"# Ringfence's configuration: config.toml in its home ($RINGFENCE_HOME, else ~/.local/share/ringfence).
# Every line that begins with a single '#' and a name shows a default; remove the '#' to change it.
# Sizes take B, KB, MB, GB (powers of 1000) and KiB, MiB, GiB (powers of 1024), durations ms, s, m, h.
# A bare number is bytes or seconds. "none" lifts a limit.

# What enforces the limits of memory, processor and processes: "auto" (the strongest that this machine
# offers), "cgroup-v1", "cgroup-v2" or "sampler". RINGFENCE_LIMITS_BACKEND overrides it.
#limits_backend = "{backend}"

# The limits of one command, unless a flag of `ringfence exec` says otherwise.
[exec]
# Wall-clock time.
#timeout = "{timeout}"
# Memory of all processes of the command together.
#memory = "{memory}"
# Processor time, in percent of one core.
#cpu = {cpu}
# Processes and threads.
#processes = {processes}
# Standard output and standard error together.
#max_output = "{output}"
# The size of any one file that it writes.
#max_file_size = "{file_size}"
# Open files of one process.
#max_open_files = {open_files}

# What is kept of past runs (`ringfence runs list`). The oldest go first.
[runs]
# How many.
#keep = {keep}
# All of them together.
#max_total_size = "{total}"
# The stored output of one run; what is beyond is not stored (it was shown all the same).
#max_run_size = "{run}"
"#,
        backend = limits_backend.as_str(),
        timeout = exec.timeout.map_or_else(|| "none".to_owned(), format_duration),
        memory = size(exec.memory_bytes),
        cpu = count(exec.cpu_percent.map(u64::from)),
        processes = count(exec.processes),
        output = size(exec.output_bytes),
        file_size = size(exec.file_size_bytes),
        open_files = count(exec.open_files),
        keep = runs.max_runs,
        total = format_size(runs.max_total_bytes),
        run = format_size(runs.max_run_bytes),
    )
}
