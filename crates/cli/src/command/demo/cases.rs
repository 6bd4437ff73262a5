//! What the hostile program tries, as data: who does it, what it would do outside, what tells that it worked, which layer
//! holds it, and what would have allowed it.

use std::path::Path;
use std::time::Duration;

use ringfence::config::ExecLimits;

use super::judge::Seen;
use super::world::World;

/// Limits that the acts must break within a second; the guest's amounts are far beyond them.
const MEMORY_BYTES: u64 = 64_000_000;
const TASKS: u64 = 32;
const OUTPUT_BYTES: u64 = 100_000;
const FILE_BYTES: u64 = 1_000_000;
const TIMEOUT: Duration = Duration::from_millis(500);
/// The time limit, 3 s between SIGTERM and SIGKILL, and a slow machine.
const ENDED_WITHIN: Duration = Duration::from_secs(6);
/// What no layer of the kernel holds, but the executor: how much it reads, what it hands over.
pub(super) const HOST: &str = "host";
/// Devices that hold everything: disks, memory, the kernel's log. Whichever of them this machine has is tried.
const DEVICES: [&str; 9] = [
    "/dev/sda",
    "/dev/vda",
    "/dev/xvda",
    "/dev/nvme0n1",
    "/dev/mmcblk0",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/loop0",
    "/dev/fuse",
];
const SETTING: &str = "/proc/sys/kernel/core_pattern";

/// Who does it.
#[derive(Debug)]
pub(super) enum Who {
    /// This binary, with these words.
    Guest(Vec<String>),
    /// The shell, for what a program without unsafe code cannot do: fork, and ignore signals.
    Shell(String),
}

/// How it is shown that the act would work.
#[derive(Debug)]
pub(super) enum Outside {
    /// Not at all: it would harm this machine, or take its time.
    Never,
    /// By doing it in this process.
    Here,
    /// By doing it in a sandbox with this permission, since this process starts no other.
    Granted(String),
}

/// One act.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What is tried, after "to".
    pub(super) tried: &'static str,
    pub(super) who: Who,
    pub(super) outside: Outside,
    /// Whether failing outside means that nothing was shown. Not for what only root may do anyway.
    pub(super) outside_must_work: bool,
    pub(super) limits: fn(&mut ExecLimits),
    /// Whether it worked, from the canary.
    pub(super) harm: fn(&World, &Seen) -> bool,
    pub(super) harm_text: &'static str,
    /// Who holds it, for the table: a layer, or `host` for what the executor itself does.
    pub(super) held_by: &'static str,
    pub(super) allowed_by: Option<String>,
}

/// Every act that this machine has the means for.
pub(super) fn all(world: &World) -> Vec<Case> {
    let mut cases = files(world);
    cases.extend(network(world));
    cases.extend(others());
    cases.extend(amounts(world));
    if Path::new("/bin/sh").exists() {
        cases.push(child(world));
        cases.push(endless());
    }
    cases
}

fn case(name: &'static str, tried: &'static str, words: &[&str], held_by: &'static str) -> Case {
    Case {
        name,
        tried,
        who: Who::Guest(words.iter().map(|word| (*word).to_owned()).collect()),
        outside: Outside::Here,
        outside_must_work: true,
        limits: |_| {},
        harm: |_, _| true,
        harm_text: "",
        held_by,
        allowed_by: None,
    }
}

fn files(world: &World) -> Vec<Case> {
    let path = |name: &str| world.path(name).display().to_string();
    let (secret, ledger) = (path("private/secret.txt"), path("private/ledger.txt"));
    vec![
        Case {
            harm: |world, seen| seen.output.contains(world.secret()),
            harm_text: "the secret stood in its output",
            allowed_by: Some(format!("file:read={secret}")),
            ..case("read", "read a file outside of what was granted", &["read", &secret], "mount")
        },
        Case {
            harm: |world, seen| seen.output.contains(world.secret()),
            harm_text: "the secret stood in its output",
            allowed_by: Some(format!("file:read={secret}")),
            ..case(
                "link",
                "follow a link that lies in its own directory",
                &["read", &path("outbox/shortcut")],
                "mount",
            )
        },
        Case {
            harm: |world, _| world.ledger_changed(),
            harm_text: "the file was changed",
            allowed_by: Some(format!("file:write={ledger}")),
            ..case(
                "write",
                "change a file outside of what was granted",
                &["append", &ledger, "and 900 more\n"],
                "mount",
            )
        },
        Case {
            harm: |world, _| world.outbox("set-id").is_some_and(|(_, mode)| mode & 0o6000 != 0),
            harm_text: "the file has the set-user-id bit",
            ..case(
                "set-id",
                "make a file that runs as its owner (set-id)",
                &["set-id", &path("outbox/set-id")],
                "seccomp",
            )
        },
    ]
}

fn network(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    if let Ok(address) = world.tcp_address() {
        cases.push(Case {
            harm: |world, _| world.tcp_reached(),
            harm_text: "the listener was reached",
            ..case(
                "tcp",
                "send what it found to a TCP server",
                &["connect", &address.to_string(), "found"],
                "network",
            )
        });
    }
    if let Ok(address) = world.udp_address() {
        cases.push(Case {
            harm: |world, _| world.udp_reached(),
            harm_text: "the datagram arrived",
            ..case(
                "udp",
                "send it in a datagram, as a DNS query would",
                &["datagram", &address.to_string(), "found"],
                "network",
            )
        });
    }
    cases
}

/// What belongs to the host or to other programs.
fn others() -> Vec<Case> {
    let cmdline = format!("/proc/{}/cmdline", std::process::id());
    let devices: Vec<&str> = DEVICES.into_iter().filter(|path| Path::new(path).exists()).collect();
    let mut cases = vec![
        Case {
            harm: |_, seen| {
                std::fs::read_to_string("/proc/self/cmdline").is_ok_and(|own| seen.output.contains(&own))
            },
            harm_text: "it saw this process",
            ..case("process", "look at the process that started it", &["read", &cmdline], "pid")
        },
        Case {
            outside_must_work: false,
            harm: |_, seen| seen.output.contains("opened"),
            harm_text: "the setting could be changed",
            ..case("setting", "change a setting of the kernel", &["setting", SETTING], "mount")
        },
    ];
    if !devices.is_empty() {
        let words: Vec<&str> = ["devices"].into_iter().chain(devices).collect();
        cases.push(Case {
            outside_must_work: false,
            harm: |_, seen| seen.output.contains("opened"),
            harm_text: "a device could be opened",
            ..case("device", "open a disk, or the machine's memory", &words, "mount")
        });
    }
    cases
}

/// What takes more than its share. None of it is done outside.
fn amounts(world: &World) -> Vec<Case> {
    let large = world.path("outbox/large").display().to_string();
    let mut cases = vec![
        Case {
            limits: |limits| limits.memory_bytes = Some(MEMORY_BYTES),
            harm: |_, seen| seen.output.contains("took"),
            harm_text: "it took all that it wanted",
            allowed_by: Some("--memory 600MB".to_owned()),
            ..case("memory", "fill 512 MiB of memory, with a limit of 64 MB", &["memory"], "limits")
        },
        Case {
            limits: |limits| limits.processes = Some(TASKS),
            harm: |_, seen| seen.output.contains("started 200"),
            harm_text: "it started as many as it wanted",
            allowed_by: Some("--processes 256".to_owned()),
            ..case("threads", "start 200 threads, with a limit of 32", &["threads"], "limits")
        },
        Case {
            limits: |limits| limits.output_bytes = Some(OUTPUT_BYTES),
            harm: |_, seen| seen.output.len() as u64 > OUTPUT_BYTES,
            harm_text: "more came through than the limit",
            allowed_by: Some("--max-output 20MB".to_owned()),
            ..case("output", "write 16 MiB of output, with a limit of 100 kB", &["flood"], HOST)
        },
        Case {
            limits: |limits| limits.file_size_bytes = Some(FILE_BYTES),
            harm: |world, _| world.outbox("large").is_some_and(|(bytes, _)| bytes > FILE_BYTES),
            harm_text: "the file is larger than the limit",
            allowed_by: Some("--max-file-size 10MB".to_owned()),
            ..case("file", "write a file of 8 MiB, with a limit of 1 MB", &["file", &large], "limits")
        },
    ];
    for case in &mut cases {
        case.outside = Outside::Never;
    }
    if let Some((name, _)) = world.variable() {
        cases.push(Case {
            harm: |world, seen| {
                world.variable().is_some_and(|(name, value)| seen.output.contains(&format!("{name}={value}")))
            },
            harm_text: "the value stood in its output",
            allowed_by: Some(format!("env:read={name}")),
            ..case("variable", "read a variable of the caller's environment", &["variable", name], HOST)
        });
    }
    cases
}

fn child(world: &World) -> Case {
    let born = world.path("outbox/child").display().to_string();
    Case {
        who: Who::Shell(format!("(: > '{born}')")),
        outside: Outside::Granted("subprocess:execute".to_owned()),
        harm: |world, _| world.outbox("child").is_some(),
        harm_text: "the child has left its mark",
        allowed_by: Some("subprocess:execute".to_owned()),
        ..case("child", "start another process", &[], "seccomp")
    }
}

fn endless() -> Case {
    Case {
        who: Who::Shell("trap '' TERM INT HUP; while :; do :; done".to_owned()),
        outside: Outside::Never,
        limits: |limits| limits.timeout = Some(TIMEOUT),
        harm: |_, seen| seen.elapsed > ENDED_WITHIN || seen.report.violation.is_none(),
        harm_text: "it was not ended in time",
        allowed_by: Some("--timeout 10s".to_owned()),
        ..case("endless", "run on, and ignore every polite request to end", &[], "pid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_more_than_ten_and_no_two_alike() {
        let world = World::make().unwrap();
        let cases = all(&world);
        assert!(cases.len() >= 10, "{}", cases.len());
        let mut names: Vec<_> = cases.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        assert!(cases.iter().all(|case| !case.harm_text.is_empty() && case.tried.len() <= 47));
    }
}
