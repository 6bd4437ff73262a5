//! What a short command pays for: the whole process of `exec` stays lean, and the demo works for everybody.

use ringfence_testkit::{World, lacks, users};
use serde_json::Value;
use std::time::Duration;

/// Calls that a database, an asynchronous runtime, a thread or a careful writer makes.
const HEAVY: &str = "trace=fsync,fdatasync,sync_file_range,getdents64,epoll_create1,io_uring_setup,clone,clone3,fork,vfork,openat";

/// One process is started, the launcher, as `vfork` does; nothing is forced to the disk, no directory is listed, no database is
/// opened. The first run of a home makes its index, so it is the second one that counts.
#[test]
fn a_short_command_opens_no_database_starts_no_thread_and_waits_for_no_disk() {
    if lacks("strace") {
        return;
    }
    for who in users() {
        let world = World::new(who);
        let traced = |file: &str| {
            let strace = ["strace", "-qq", "-e", "signal=none", "-e", HEAVY, "-o", file];
            let run = world.exec(&[], &["true"]).through(&strace).no_report().run();
            assert_eq!(run.code, Some(0), "as {who:?}\n{run}");
            std::fs::read_to_string(world.fill(file)).unwrap()
        };
        let first = traced("{world}/out/first");
        assert!(first.contains("runs/index"), "what is traced is seen, as {who:?}\n{first}");
        let calls = traced("{world}/out/second");
        let (opened, other): (Vec<&str>, Vec<&str>) =
            calls.lines().partition(|call| call.starts_with("openat("));
        assert!(opened.len() > 5, "as {who:?}\n{calls}");
        assert!(
            !opened.iter().any(|call| call.contains(".db") || call.contains(".sqlite")),
            "as {who:?}\n{calls}"
        );
        let launcher = |call: &&str| call.contains("CLONE_VM") && call.contains("CLONE_VFORK");
        assert!(other.len() == 1 && other.iter().all(launcher), "as {who:?}\n{calls}");
    }
}

#[test]
fn the_demo_holds_for_everybody() {
    for who in users() {
        let world = World::new(who);
        let run = world.ringfence(&["demo", "--json"]).deadline(Duration::from_secs(180)).run();
        let document: Value = serde_json::from_slice(&run.stdout).unwrap_or_default();
        assert!(run.code == Some(0) && document["held"] == true, "as {who:?}\n{run}");
        let acts = document["acts"].as_array().map_or(0, Vec::len);
        assert!(acts >= 10, "{acts} acts as {who:?}\n{run}");
    }
}
