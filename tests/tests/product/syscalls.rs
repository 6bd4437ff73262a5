//! PROC-05, PROC-07, PROC-09 to PROC-16: system calls, one by one, by the bad-pointer oracle, and kernel objects.

use crate::errno::FILTERED;
use ringfence_testkit::{Act, Case, Who, World, lacks, users};

const EPERM: i64 = 1;
const ENOSYS: i64 = 38;

fn filtered(act: &Act) -> bool {
    !act.ok && [EPERM, ENOSYS].contains(&act.errno)
}

#[test]
fn proc_13_each_dangerous_call_is_stopped_before_the_kernel_looks() {
    if lacks("root") {
        return;
    }
    let bare = World::new(Who::Root).bare(&["calls-denied"]).run().acts();
    let (offered, missing): (Vec<_>, Vec<_>) = bare.iter().partition(|act| !filtered(act));
    ringfence_testkit::say(&format!(
        "not offered by this kernel: {:?}",
        missing.iter().map(|act| &act.name).collect::<Vec<_>>()
    ));
    assert!(offered.len() >= 40, "the control is empty: {bare:?}");
    for who in users() {
        for flags in [&[][..], &["--grant", "subprocess:execute", "--rw", "{grant}"][..]] {
            let run = World::new(who).probe(flags, &["calls-denied"]).run();
            let inside = run.acts();
            let passed: Vec<_> = offered
                .iter()
                .filter(|act| !inside.iter().any(|other| other.name == act.name && filtered(other)))
                .map(|act| {
                    (&act.name, inside.iter().find(|other| other.name == act.name).map(|other| other.errno))
                })
                .collect();
            assert!(passed.is_empty(), "reach the kernel with {flags:?} as {who:?}: {passed:?}\n{run}");
        }
    }
}

#[test]
fn ordinary_calls_reach_the_kernel() {
    for who in users() {
        let bare = World::new(who).bare(&["calls-allowed"]).run().acts();
        let run = World::new(who).probe(&[], &["calls-allowed"]).run();
        assert_eq!(run.acts().len(), bare.len(), "{run}");
        for (outside, inside) in bare.iter().zip(run.acts()) {
            assert_eq!(outside.errno, inside.errno, "{} as {who:?}\n{run}", outside.name);
        }
    }
}

#[test]
fn proc_05_looking_into_processes() {
    for act in ["traceme", "vmread", "getfd"] {
        Case::new("proc_05", &[act]).denied(&[]).errnos(FILTERED).check();
    }
}

#[test]
fn proc_07_terminal_tricks() {
    for who in users() {
        let bare = World::new(who).bare(&["ttyioctl"]).run().acts();
        assert!(bare.len() == 5 && bare.iter().all(|act| act.errno != EPERM), "bare {bare:?}");
        let run = World::new(who).probe(&[], &["ttyioctl"]).run();
        assert!(run.acts().len() == 5 && run.acts().iter().all(filtered), "as {who:?}\n{run}");
    }
}

#[test]
fn proc_07_no_terminal_inside() {
    for who in users() {
        let world = World::new(who);
        let pty = &["{probe}", "mark={marker}", "withpty"];
        let bare = world.bare(&["openr", "/dev/tty"]).through(pty).run();
        assert!(bare.act().ok, "bare\n{bare}");
        for act in
            [&["openr", "/dev/tty"][..], &["tiocsti"][..], &["cttysteal"][..], &["list", "/dev/pts"][..]]
        {
            let run = world.probe(&["--stdin", "pass"], act).through(pty).run();
            let found = run.act();
            assert!(!found.ok || found.data.trim().is_empty(), "{act:?} as {who:?}\n{run}");
        }
    }
    if !lacks("root") {
        let world = World::new(Who::Root);
        let bare = world.bare(&["tiocsti"]).through(&["{probe}", "mark={marker}", "withpty"]).run();
        assert!(bare.act().ok, "bare\n{bare}");
    }
}

#[test]
fn proc_09_new_namespaces() {
    // CLONE_NEWUSER alone and with NEWNS; the others need a capability outside.
    for flags in ["10000000", "10020000", "50000000"] {
        for act in ["unshare", "newns"] {
            Case::new("proc_09", &[act, flags])
                .denied(&["--grant", "subprocess:execute"])
                .errnos(FILTERED)
                .check();
        }
    }
    for flags in ["20000", "20000000", "40000000", "8000000", "4000000", "2000000", "80"] {
        Case::new("proc_09", &["unshare", flags])
            .as_root()
            .denied(&["--grant", "subprocess:execute"])
            .errnos(FILTERED)
            .check();
    }
}

#[test]
fn proc_12_io_uring() {
    if World::new(users()[0]).bare(&["iouring"]).run().act().ok {
        Case::new("proc_12", &["iouring"])
            .denied(&["--grant", "subprocess:execute"])
            .errnos(FILTERED)
            .check();
    } else {
        ringfence_testkit::missing("io_uring", "this kernel refuses it outside as well");
    }
}

#[test]
fn proc_13_other_calling_conventions() {
    for who in users() {
        let world = World::new(who);
        if world.bare(&["int80"]).run().act().ok {
            let run = world.probe(&[], &["int80"]).run();
            run.expect_violation(122, "syscall");
            assert!(run.acts().is_empty(), "{run}");
        } else {
            ringfence_testkit::missing("int80", "this kernel refuses it outside as well");
        }
        let run = world.probe(&[], &["x32"]).run();
        assert!(run.acts().iter().all(filtered), "{run}");
    }
}

#[test]
fn proc_14_keys() {
    Case::new("proc_14", &["key", "{marker}"]).denied(&[]).errnos(FILTERED).check();
}

#[test]
fn proc_15_identity_and_capabilities() {
    for act in ["setuid0", "capset", "ambient", "securebits"] {
        Case::new("proc_15", &[act]).as_root().denied(&["--grant", "subprocess:execute"]).check();
    }
    Case::new("proc_15 personality", &["personality"]).denied(&[]).errnos(FILTERED).check();
    Case::new("proc_15 filter", &["loosen"]).denied(&[]).check();
}

#[test]
fn proc_16_priorities_and_limits() {
    for act in ["raise", "realtime", "nice", "mlockall", "oomadj"] {
        if matches!(act, "raise" | "oomadj") && lacks("cap-sys-resource") {
            // Without the capability root itself cannot do it: the refusal is checked, but has no control here.
            for who in users() {
                let run = World::new(who).probe(&["--grant", "subprocess:execute"], &[act]).run();
                assert!(!run.act().ok, "{act} as {who:?}\n{run}");
            }
            continue;
        }
        Case::new("proc_16", &[act]).as_root().denied(&["--grant", "subprocess:execute"]).check();
    }
    for who in users() {
        let world = World::new(who);
        let other = World::new(who);
        let host = other.bare(&["sleep", "10"]).spawn();
        host.wait_for("ready");
        let pid = host.pid().to_string();
        let bare = world.bare(&["prlimit", &pid]).run();
        assert!(bare.act().ok, "bare\n{bare}");
        let run = world.probe(&[], &["prlimit", &pid]).run();
        assert!(!run.act().ok, "{run}");
    }
}
