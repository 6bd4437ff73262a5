//! What is shared by sandboxes carries nothing from one to the next, and follows the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence_sandbox::{Access, Launcher, Plan, Processes, Program, Stdio};

use crate::rig::{self, both, found, launcher, root_only, run, run_with, within};

const MEMORY: &str = "/sys/fs/cgroup/memory/ringfence";

fn shell(script: &str) -> Plan {
    let mut plan = Plan::new(Program::find("sh".as_ref(), "/".as_ref()).unwrap());
    plan.argument("-c").argument(script).processes(Processes::Allowed);
    plan
}

#[test]
fn nothing_crosses_to_the_next_sandbox() {
    both(|| {
        let tries =
            "for place in / /etc /dev /var /usr /proc; do mkdir $place/left && echo made in $place; done
            for file in /etc/passwd /etc/hosts /.ringfence /dev/shm; do
                chmod 777 $file && echo mode of $file
                chown 1000 $file && echo owner of $file
                touch $file && echo time of $file
                rm $file && echo removed $file
                mv $file /tmp/ && echo moved $file
                ln -f $file /etc/left && echo linked $file
                echo left >> $file && echo written $file
            done
            echo left > /tmp/left && mkdir /dev/shm/left && echo its own is its own";
        let first = run(&shell(&format!("exec 2> /dev/null; {tries}")));
        // /dev/shm is a link into the private directory; its time and mode are the sandbox's own.
        let shared: Vec<_> = first.text.lines().filter(|line| !line.ends_with("/dev/shm")).collect();
        assert_eq!(shared, ["its own is its own"], "{first:?}");
        let second = run(&shell("ls -A / /etc /dev /var /tmp /dev/shm/; cat /etc/passwd /etc/hosts"));
        assert!(second.text.contains("passwd") && !second.text.contains("left"), "{second:?}");
    });
}

#[test]
fn a_root_of_the_hosts_own_kind_is_locked() {
    both(|| {
        let mounts = run(&shell("cat /proc/self/mountinfo")).text;
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
        let (mount, system) = root.split_once(" - ").unwrap();
        assert!(mount.contains(" ro,") && system.starts_with("tmpfs"), "{root}");
        let super_block = system.rsplit(' ').next().unwrap();
        assert!(
            super_block.split(',').any(|option| option == "ro"),
            "the file system itself is closed: {root}"
        );
        let of_the_host =
            |line: &&str| line.split(' ').nth(4) == Some("/proc") && !line.contains("subset=pid");
        assert_eq!(mounts.lines().find(of_the_host), None, "the host's /proc is nowhere");
    });
}

/// Something of the host's /etc that no sandbox shows by itself.
fn ungranted_in_etc() -> PathBuf {
    let known = ["/etc/login.defs", "/etc/shells", "/etc/profile", "/etc/inputrc", "/etc/fstab"];
    let path = known.iter().map(Path::new).find(|path| path.is_file() && fs::read(path).is_ok());
    path.expect("every distribution has one of them").to_owned()
}

#[test]
fn a_grant_below_etc_is_seen_by_its_sandbox_alone() {
    both(|| {
        let path = ungranted_in_etc();
        let look = format!("cat {}; ls /etc/passwd", path.display());
        let mut granted = shell(&look);
        granted.mount(found(&path), Access::READ);
        let content = fs::read_to_string(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(run(&granted).text, format!("{content}/etc/passwd\n"));
            assert_eq!(run(&shell(&look)).text, "/etc/passwd\n");
        }
    });
}

#[test]
fn more_kinds_of_roots_than_are_kept() {
    both(|| {
        let place = rig::directory(0o755);
        let directories: Vec<_> = (0..20).map(|number| place.path().join(number.to_string())).collect();
        for _ in 0..2 {
            for directory in &directories {
                fs::create_dir_all(directory).unwrap();
                let under_srv = format!("/srv/{}", directory.file_name().unwrap().display());
                let mut plan = shell(&format!("ls {under_srv}/../ | wc -l; ls -d {}", directory.display()));
                plan.mount(found(directory), Access::READ).link(&under_srv, directory);
                assert_eq!(run(&plan).text, format!("1\n{}\n", directory.display()));
            }
        }
    });
}

/// In a mount namespace of its own, where it may replace what it likes.
#[test]
fn a_replaced_file_of_the_system_is_seen() {
    if rig::role().is_some() {
        return replace_a_file();
    }
    root_only(|| {
        let mut other = rig::command("unshare");
        other.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe().unwrap());
        other.args(["prepared::a_replaced_file_of_the_system_is_seen", "--exact", "--nocapture"]);
        rig::as_role(&mut other, "replace");
        let ended = other.output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    });
}

fn replace_a_file() {
    let place = rig::directory(0o755);
    let etc = place.path().join("etc");
    let make = |program: &str, words: &[&str]| {
        assert!(rig::command(program).args(words).status().unwrap().success());
    };
    make("cp", &["-a", "/etc", etc.to_str().unwrap()]);
    fs::write(etc.join("protocols"), "first").unwrap();
    make("mount", &["--bind", etc.to_str().unwrap(), "/etc"]);
    let own = Launcher::start().unwrap();
    let seen = || run_with(&own, &shell("cat /etc/protocols")).text;
    assert_eq!(seen(), "first");
    fs::write(etc.join("protocols"), "second").unwrap();
    assert_eq!(seen(), "second", "what is written into the same file is seen at once");
    fs::write(etc.join("new"), "third").unwrap();
    fs::rename(etc.join("new"), etc.join("protocols")).unwrap();
    within(Duration::from_secs(5), "the new file is seen", || seen() == "third");
    make("umount", &["-l", "/etc"]);
}

#[test]
fn pid_1_keeps_nothing_of_the_launchers() {
    root_only(|| {
        let mut plan = shell("sleep 60");
        plan.mount(found("/usr/share"), Access::READ);
        let sandbox = launcher().launch(&plan, Stdio::null().unwrap()).unwrap();
        let status = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let inside =
            |text: String| text.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"));
        let pid = rig::children().into_iter().find(|pid| inside(status(pid))).unwrap();
        let names = || -> Vec<PathBuf> {
            let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
            links.filter_map(|link| fs::read_link(link.path()).ok()).collect()
        };
        let mine = |name: &&PathBuf| {
            let name = name.to_string_lossy();
            name.starts_with("mnt:")
                || name.starts_with("net:")
                || name.starts_with("/proc")
                || name.starts_with("/sys")
        };
        // It lets go of the last ones when the program runs, which is when the launch is over.
        within(Duration::from_secs(2), "it has none of them", || {
            let names = names();
            !names.is_empty() && !names.iter().any(|name| mine(&name))
        });
        drop(sandbox);
    });
}

/// Leaves that wait for a sandbox of this process.
fn free_leaves() -> usize {
    let mark = format!("free-{}-", std::process::id());
    let entries = fs::read_dir(MEMORY).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&mark)).count()
}

#[test]
fn a_leaf_tells_nothing_of_its_last_sandbox() {
    root_only(|| {
        if !Path::new("/sys/fs/cgroup/memory/tasks").exists() {
            return rig::skip("cgroup-v1");
        }
        let own = Launcher::start().unwrap();
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; head -c 60000000 /dev/zero > /tmp/x";
        let first = run_with(&own, &shell(busy));
        assert!(first.usage.memory_peak_bytes > 50_000_000 && first.usage.cpu_ms > 50, "{first:?}");
        let second = run_with(&own, &shell("true"));
        assert!(second.usage.memory_peak_bytes < 20_000_000, "{second:?}");
        assert!(second.usage.cpu_ms < first.usage.cpu_ms, "{second:?}");
        let several: Vec<_> =
            (0..8).map(|_| own.launch(&shell("sleep 60"), Stdio::null().unwrap()).unwrap()).collect();
        let used = rig::leaves_of(std::process::id());
        assert_eq!(used.iter().filter(|leaf| leaf.starts_with(MEMORY)).count(), 8, "{used:?}");
        drop(several);
        assert!(free_leaves() <= 4, "no more than a few wait");
        assert!(rig::leaves_of(std::process::id()).is_empty());
        drop(own);
        assert_eq!(free_leaves(), 0);
    });
}

#[test]
fn a_leaf_whose_host_has_gone_is_removed() {
    root_only(|| {
        if !Path::new("/sys/fs/cgroup/memory/tasks").exists() {
            return rig::skip("cgroup-v1");
        }
        use std::os::unix::fs::MetadataExt as _;
        let namespace = fs::metadata("/proc/self/ns/pid").unwrap().ino();
        // No process has this number: it is above every kernel's limit.
        let gone = Path::new(MEMORY).join(format!("4194999-1.{namespace:x}-0"));
        let free = Path::new(MEMORY).join(format!("free-4194999-1.{namespace:x}-1"));
        let alive = Path::new(MEMORY).join(format!("{}-1.{namespace:x}-0", std::process::id()));
        let elsewhere = Path::new(MEMORY).join(format!("4194999-1.{:x}-0", namespace ^ 1));
        let theirs = Path::new(MEMORY).join("4194999-unlike-ours");
        for leaf in [&gone, &free, &alive, &elsewhere, &theirs] {
            fs::create_dir_all(leaf).unwrap();
        }
        let own = Launcher::start().unwrap();
        assert!(run_with(&own, &shell("true")).text.is_empty());
        within(Duration::from_secs(5), "they are removed", || !gone.exists() && !free.exists());
        drop(own);
        for leaf in [&alive, &elsewhere, &theirs] {
            assert!(leaf.exists(), "{}", leaf.display());
            fs::remove_dir(leaf).unwrap();
        }
    });
}
