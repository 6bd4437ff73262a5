//! PROC-27: what a running program has and is, against a golden list.

use ringfence_testkit::{Who, World, lacks, users};
use std::collections::BTreeMap;

fn file(world: &World, flags: &[&str], path: &str) -> String {
    let run = world.probe(flags, &["read", path]).run();
    let act = run.act();
    assert!(act.ok, "{path}\n{run}");
    act.data
}

fn table(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

#[test]
fn proc_27_privileges() {
    for who in users() {
        for flags in [&[][..], &["--rw", "{grant}", "--grant", "subprocess:execute"][..]] {
            let status = table(&file(&World::new(who), flags, "/proc/self/status"));
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(status[set], "0000000000000000", "{set} as {who:?}");
            }
            assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"), "as {who:?}");
            assert_eq!(status["TracerPid"], "0");
            let uids: Vec<&str> = status["Uid"].split_whitespace().collect();
            assert!(uids.iter().all(|uid| *uid == uids[0] && *uid != "0"), "as {who:?}: {uids:?}");
            let groups = status["Groups"].as_str();
            assert!(
                groups.is_empty() || groups == status["Gid"].split_whitespace().next().unwrap(),
                "as {who:?}: {groups}"
            );
            assert!(
                ["SigBlk", "SigIgn"].iter().all(|set| status[*set] == "0000000000000000"),
                "signals as {who:?}: {status:?}"
            );
        }
    }
}

#[test]
fn proc_27_namespaces() {
    for who in users() {
        let world = World::new(who);
        for name in ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"] {
            let path = format!("/proc/self/ns/{name}");
            let inside = world.probe(&[], &["readlink", &path]).run();
            let outside = world.bare(&["readlink", &path]).run();
            assert!(outside.act().ok && inside.act().ok, "{name} as {who:?}\n{inside}");
            // As root the user namespace may be the host's only if the uid is another one: the uid is checked elsewhere.
            if who != Who::Root || !matches!(name, "user" | "cgroup") {
                assert_ne!(inside.act().data, outside.act().data, "{name} as {who:?}");
            }
        }
        let ids = world.probe(&[], &["ids"]).run();
        let words: BTreeMap<String, i64> = ids
            .act()
            .data
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect();
        assert!(
            words["pid"] > 1 && words["pid"] < 100 && words["ppid"] <= 1,
            "pid 1 is ours, as {who:?}: {words:?}"
        );
        assert!(words["sid"] == words["pid"] || words["sid"] == 1, "an own session, as {who:?}: {words:?}");
    }
}

#[test]
fn proc_27_mounts() {
    for who in users() {
        let world = World::new(who);
        let text = file(&world, &["--ro", "{secret}", "--rw", "{grant}"], "/proc/self/mountinfo");
        let mut writable = 0;
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (target, options) = (words[4], words[5]);
            let has = |option: &str| options.split(',').any(|word| word == option);
            assert!(has("nosuid"), "as {who:?}: {line}");
            let device = target.starts_with("/dev/") && target != "/dev/shm";
            assert!(has("nodev") || device || target == "/dev", "as {who:?}: {line}");
            if has("rw") && !device && target != "/proc" {
                writable += 1;
                assert!(
                    has("noexec") || target == "/" || target == "/dev",
                    "writable and executable, as {who:?}: {line}"
                );
            }
            if target == world.fill("{secret}") {
                assert!(has("ro"), "as {who:?}: {line}");
            }
            assert!(!line.contains("shared:") && !line.contains("master:"), "propagates, as {who:?}: {line}");
        }
        assert!(writable >= 2, "the grant and /tmp: {text}");
    }
}

#[test]
fn proc_27_limits() {
    const GOLDEN: [(&str, &str); 5] = [
        ("Max core file size", "0"),
        ("Max file size", "100000000"),
        ("Max locked memory", "65536"),
        ("Max nice priority", "0"),
        ("Max realtime priority", "0"),
    ];
    for who in users() {
        let text = file(&World::new(who), &[], "/proc/self/limits");
        for (name, value) in GOLDEN {
            let line =
                text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
            let hard = line[name.len()..].split_whitespace().nth(1).unwrap();
            assert_eq!(hard, value, "{name} as {who:?}");
        }
    }
}

#[test]
fn proc_27_devices_and_files() {
    const DEV: [&str; 14] = [
        "null", "zero", "full", "random", "urandom", "shm", "fd", "stdin", "stdout", "stderr", "core",
        "mqueue", "tty", "pts",
    ];
    const ROOT: [&str; 15] = [
        ".ringfence",
        "bin",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "proc",
        "sbin",
        "tmp",
        "usr",
        "var",
        "run",
        "opt",
    ];
    const NOT_IN_ETC: [&str; 8] =
        ["shadow", "gshadow", "sudoers", "ssh", "machine-id", "fstab", "crontab", "subuid"];
    for who in users() {
        let world = World::new(who);
        let list = |path: &str| {
            let run = world.probe(&[], &["list", path]).run();
            assert!(run.act().ok, "{path}\n{run}");
            run.act().data.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let dev = list("/dev");
        assert!(dev.iter().all(|name| DEV.contains(&name.as_str())), "as {who:?}: {dev:?}");
        let etc = list("/etc");
        assert!(NOT_IN_ETC.iter().all(|name| !etc.iter().any(|found| found == name)), "as {who:?}: {etc:?}");
        for name in ["passwd", "group", "hosts", "nsswitch.conf", "ld.so.cache", "localtime"] {
            let there = std::path::Path::new("/etc").join(name).exists();
            assert!(!there || etc.iter().any(|found| found == name), "{name} as {who:?}: {etc:?}");
        }
        let root = list("/");
        let first = world.rig().bin().components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
        assert!(
            root.iter().all(|name| ROOT.contains(&name.as_str()) || *name == first),
            "as {who:?}: {root:?}"
        );
        assert!(!root.contains(&"run".to_owned()) || list("/run").is_empty(), "/run as {who:?}");
        // /dev/shm may be a link into /tmp, so that both share one budget.
        assert!(list("/tmp").iter().all(|name| name == ".shm"), "/tmp as {who:?}");
        let passwd = file(&world, &[], "/etc/passwd");
        assert!(passwd.lines().count() <= 3, "tells nothing of the host's users, as {who:?}: {passwd}");
        let net = file(&world, &[], "/proc/self/net/dev");
        let cards: Vec<&str> =
            net.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
        assert!(cards.iter().all(|card| *card == "lo"), "as {who:?}: {cards:?}");
        let map = file(&world, &[], "/proc/self/uid_map");
        let count: u64 = map.split_whitespace().nth(2).unwrap().parse().unwrap();
        assert!(map.lines().count() == 1 && (count == 1 || who == Who::Root), "as {who:?}: {map}");
    }
}

#[test]
fn proc_27_descriptors() {
    for who in users() {
        let world = World::new(who);
        let run =
            world.probe(&[], &["readlink", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]).run();
        let links: Vec<String> = run.act().data.split_whitespace().map(str::to_owned).collect();
        assert!(
            links.len() == 3 && (links[0] == "/dev/null" || links[0].starts_with("pipe:")),
            "as {who:?}\n{run}"
        );
        assert!(
            links[1].starts_with("pipe:") && links[2].starts_with("pipe:") && links[1] != links[2],
            "as {who:?}\n{run}"
        );
        let adj: i32 = file(&world, &[], "/proc/self/oom_score_adj").trim().parse().unwrap();
        assert!(adj >= 0, "as {who:?}: {adj}");
    }
}

/// systemd makes every mount of the host shared. What is mounted over a granted tree inside must not appear over the host's
/// tree: without private copies, a hidden directory was hidden for everybody.
#[test]
fn proc_27_nothing_is_handed_on_to_a_host_with_shared_mounts() {
    if lacks("root") || lacks("unshare") {
        return;
    }
    // Ends with 99 if a mount appeared, else as the product does.
    const SHARED: &str = "mount --make-rshared / && before=$(wc -l < /proc/self/mountinfo) && \"$@\"; code=$?; \
                          [ \"$(wc -l < /proc/self/mountinfo)\" = \"$before\" ] || exit 99; exit $code";
    let through = ["unshare", "--mount", "sh", "-c", SHARED, "sh"];
    let world = World::new(Who::Root);
    let deny = ["--rw", "{grant}", "--deny", "file:read={grant}/sub/**"];
    let run = world.probe(&deny, &["read", "{grant}/sub/inner.txt"]).through(&through).run();
    assert!(!run.act().ok, "hidden inside\n{run}");
    run.expect_code(1);
    let inside = ["read", "/proc/self/mountinfo"];
    let mounts = world.probe(&deny, &inside).through(&through).run();
    assert!(!mounts.act().data.contains("shared:"), "{mounts}");
}
