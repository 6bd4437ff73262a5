//! PROC-17 to PROC-21: whatever a program does to stay alive, it is gone.

use ringfence_testkit::{World, alive_with_marker, post, users};
use std::time::{Duration, Instant};

const FORK: &[&str] = &["--grant", "subprocess:execute"];

fn with_timeout(timeout: &'static str) -> Vec<&'static str> {
    [FORK, &["--timeout", timeout]].concat()
}

#[test]
fn proc_18_sigterm_ignored_then_killed_after_three_seconds() {
    for who in users() {
        let world = World::new(who);
        let flags = &["--rw", "{grant}", "--timeout", "1s"];
        let run = world.probe(flags, &["ignoreterm", "{grant}/heartbeat"]).run();
        run.expect_violation(124, "timeout");
        let lived: f64 = world.text("data/grant/heartbeat").parse().unwrap();
        assert!((2.85..=3.6).contains(&lived), "lived {lived} s after SIGTERM as {who:?}\n{run}");
        assert!(run.elapsed < Duration::from_millis(5000), "as {who:?}\n{run}");
    }
}

#[test]
fn proc_18_stubborn_programs() {
    for who in users() {
        for act in [&["stopself"][..], &["forkonterm"][..], &["vforkwait"][..]] {
            let run = World::new(who).probe(&with_timeout("700ms"), act).run();
            run.expect_violation(124, "timeout");
            assert!(run.elapsed < Duration::from_millis(4700), "{act:?} as {who:?}\n{run}");
        }
    }
}

#[test]
fn proc_17_double_fork_and_new_session() {
    for who in users() {
        for how in ["go", "stay"] {
            let run = World::new(who).probe(&with_timeout("1s"), &["daemonize", "60", how]).run();
            if how == "go" {
                run.expect_violation(0, "");
                assert!(run.elapsed < Duration::from_millis(4700), "as {who:?}\n{run}");
            } else {
                run.expect_violation(124, "timeout");
            }
        }
    }
}

#[test]
fn proc_17_the_bare_daemon_survives() {
    for who in users() {
        let world = World::new(who);
        let run = world.bare(&["daemonize", "30", "go"]).run();
        assert!(run.act().ok && !alive_with_marker(&world.marker).is_empty(), "the control\n{run}");
    }
}

#[test]
fn proc_17_a_grandchild_that_holds_the_output() {
    for who in users() {
        let run = World::new(who).probe(FORK, &["holdpipe", "60"]).run();
        run.expect_violation(0, "");
        assert!(run.act().ok && run.elapsed < Duration::from_millis(4700), "as {who:?}\n{run}");
    }
}

#[test]
fn proc_19_forking_faster_than_a_walk_of_the_tree() {
    let _alone = ringfence_testkit::one_at_a_time();
    for who in users() {
        let run = World::new(who).probe(&with_timeout("1s"), &["forkrace", "30"]).run();
        run.expect_violation(124, "timeout");
        assert!(run.elapsed < Duration::from_millis(5500), "as {who:?}\n{run}");
    }
}

#[test]
fn proc_21_kill_9_of_ringfence() {
    for who in users() {
        for act in [
            &["sleep", "30"][..],
            &["daemonize", "60", "stay"][..],
            &["ignoreterm", "/tmp/heartbeat"][..],
            &["stopself"][..],
        ] {
            let world = World::new(who);
            let running = world.probe(FORK, act).spawn();
            running.wait_for("ready");
            assert!(alive_with_marker(&world.marker).len() > 1, "it runs");
            let start = Instant::now();
            running.signal(9);
            assert!(
                post::wait_until(|| alive_with_marker(&world.marker).is_empty()),
                "{act:?} as {who:?}: {:?}",
                alive_with_marker(&world.marker)
            );
            assert!(start.elapsed() < Duration::from_millis(1500), "{act:?} as {who:?}");
            let run = running.finish();
            assert_eq!(run.signal, Some(9), "{run}");
        }
    }
}

/// While a run is watched, each act waits for PID 1, which waits for nobody: the host's death ends all of it.
#[test]
fn proc_21_kill_9_of_ringfence_while_it_explains() {
    for who in users() {
        let world = World::new(who);
        // It is refused again and again, so that the host dies with reports on their way.
        let script = "echo ready; while :; do cd {secret} 2>/dev/null; done";
        let words = ["/bin/sh", "-c", &world.fill(script)];
        let running = world.exec(&["--explain", "--cpu", "none"], &words).spawn();
        running.wait_for("ready");
        assert!(alive_with_marker(&world.marker).len() > 1, "it runs");
        let start = Instant::now();
        running.signal(9);
        assert!(
            post::wait_until(|| alive_with_marker(&world.marker).is_empty()),
            "as {who:?}: {:?}",
            alive_with_marker(&world.marker)
        );
        assert!(start.elapsed() < Duration::from_millis(1500), "as {who:?}");
        let run = running.finish();
        assert_eq!(run.signal, Some(9), "{run}");
    }
}

#[test]
fn proc_21_kill_9_at_odd_moments() {
    for who in users() {
        for round in 0..12_u64 {
            let world = World::new(who);
            let running = world.probe(FORK, &["daemonize", "60", "stay"]).spawn();
            std::thread::sleep(Duration::from_micros(round * round * 250));
            running.signal(9);
            let run = running.finish();
            assert!(run.signal == Some(9), "round {round} as {who:?}\n{run}");
        }
    }
}

#[test]
fn cancelling_a_stubborn_program() {
    for who in users() {
        let world = World::new(who);
        let running = world.probe(&["--rw", "{grant}"], &["ignoreterm", "{grant}/heartbeat"]).spawn();
        running.wait_for("ready");
        running.signal(15);
        let run = running.finish();
        run.expect_violation(143, "");
        let lived: f64 = world.text("data/grant/heartbeat").parse().unwrap();
        assert!((2.85..=3.6).contains(&lived), "lived {lived} s as {who:?}\n{run}");
    }
}

#[test]
fn many_runs_leave_nothing() {
    for who in users() {
        let world = World::new(who);
        for round in 0..25 {
            let run = world.probe(FORK, &["fork"]).run();
            assert!(run.act().ok, "round {round} as {who:?}\n{run}");
        }
    }
}
