//! What the hostile plugins try, as data: who does it, what it would do outside, what tells that it worked, which layer
//! holds it, and what would have allowed it.

mod excess;

use std::path::Path;
use std::time::Duration;

use super::judge::Seen;
use super::world::{NEIGHBOUR, World};

/// Enough for any act that ends.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What no layer of the kernel holds, but the host: what it reads, hands over, waits for.
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
/// The key that proves grants; whoever has it could grant itself anything.
const KEY: &str = "home/state.key";

/// Who does it.
#[derive(Debug)]
pub(super) enum Who {
    /// The compiled plugin, with these words.
    Compiled(Vec<String>),
    /// The shell plugin, with this tool: for what a program without unsafe code cannot do.
    Script(&'static str),
}

/// How it is shown that the act would work.
#[derive(Debug)]
pub(super) enum Outside {
    /// Not at all: it would harm this machine, or take its time.
    Never,
    /// By doing the same in this process.
    Here,
    /// By doing it in this process with these words: the place has another name outside.
    Elsewhere(Vec<String>),
    /// By granting this to the plugin for the moment, since this process starts no other.
    Granted(&'static str),
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
    pub(super) timeout: Duration,
    /// Whether the plugin must be gone afterwards, within the time that it has for that.
    pub(super) ends: bool,
    /// Whether it worked, from the canary.
    pub(super) harm: fn(&World, &Seen) -> bool,
    pub(super) harm_text: &'static str,
    /// Who holds it, for the table: a layer, or `host` for what the host itself does.
    pub(super) held_by: &'static str,
    pub(super) allowed_by: Option<String>,
}

/// Every act that this machine has the means for. The last ones end the plugin.
pub(super) fn all(world: &World, script: bool) -> Vec<Case> {
    let mut cases = files(world);
    cases.extend(network(world));
    cases.extend(others(world));
    cases.extend(excess::amounts(world));
    cases.extend(excess::faults());
    if script {
        cases.extend(excess::script_acts());
    }
    cases
}

fn case(name: &'static str, tried: &'static str, words: &[&str], held_by: &'static str) -> Case {
    Case {
        name,
        tried,
        who: Who::Compiled(words.iter().map(|word| (*word).to_owned()).collect()),
        outside: Outside::Here,
        outside_must_work: true,
        timeout: TIMEOUT,
        ends: false,
        harm: |_, _| true,
        harm_text: "",
        held_by,
        allowed_by: None,
    }
}

fn files(world: &World) -> Vec<Case> {
    let path = |name: &str| world.path(name).display().to_string();
    let own = |name: &str| world.own(name).display().to_string();
    let (secret, ledger, package) =
        (path("private/id_ed25519"), path("private/ledger.txt"), path("packages/hostile"));
    // What reads a secret.
    let secret_case = |name, tried, words: &[&str]| Case {
        harm: |world, seen| seen.output.contains(world.secret()),
        harm_text: "the secret stood in its answer",
        ..case(name, tried, words, "mount")
    };
    let allowed_by = Some(format!("file:read={secret}"));
    vec![
        Case {
            allowed_by: allowed_by.clone(),
            ..secret_case("key", "read a private key", &["read", &secret])
        },
        Case {
            allowed_by,
            ..secret_case("link", "follow a link to it in its own directory", &["read", &own("shortcut")])
        },
        secret_case("neighbour", "read the data of another plugin", &["read", &path(NEIGHBOUR)]),
        Case {
            harm: |world, seen| {
                std::fs::read(world.path(KEY))
                    .is_ok_and(|key| seen.output.contains(String::from_utf8_lossy(&key).as_ref()))
            },
            harm_text: "it has the key of all grants",
            ..case("grants", "read the key with which grants are proven", &["read", &path(KEY)], "mount")
        },
        Case {
            harm: |world, _| world.ledger_changed(),
            harm_text: "the file was changed",
            allowed_by: Some(format!("file:write={ledger}")),
            ..case("write", "change a file of yours", &["append", &ledger, "and 900 more\n"], "mount")
        },
        Case {
            outside: Outside::Elsewhere(vec!["plant".to_owned(), package]),
            harm: |world, _| world.planted(),
            harm_text: "its package has a file more",
            ..case("package", "put a file into its own package", &["plant", "."], "mount")
        },
        Case {
            harm: |world, _| World::seen(&world.own("set-id")).is_some_and(|(_, mode)| mode & 0o6000 != 0),
            harm_text: "the file has the set-user-id bit",
            ..case(
                "set-id",
                "make a file that runs as its owner (set-id)",
                &["set-id", &own("set-id")],
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
    cases.push(Case {
        harm: |world, _| world.unix_reached(),
        harm_text: "the socket was reached",
        ..case(
            "socket",
            "reach a socket that has no file (abstract)",
            &["abstract", &world.unix_name()],
            "network",
        )
    });
    cases
}

/// What belongs to the host or to other programs.
fn others(world: &World) -> Vec<Case> {
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
    if let Some((name, _)) = world.variable() {
        cases.push(Case {
            harm: |world, seen| {
                world.variable().is_some_and(|(name, value)| seen.output.contains(&format!("{name}={value}")))
            },
            harm_text: "the value stood in its answer",
            allowed_by: Some(format!("env:read={name}")),
            ..case("variable", "read a variable of your environment", &["variable", name], HOST)
        });
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_more_than_ten_and_no_two_alike() {
        let world = World::make().unwrap();
        let cases = all(&world, true);
        assert!(cases.len() >= 20, "{}", cases.len());
        let mut names: Vec<_> = cases.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        assert!(cases.iter().all(|case| !case.harm_text.is_empty() && case.tried.len() <= 47));
        assert_eq!(all(&world, false).len(), cases.len() - 2);
    }
}
