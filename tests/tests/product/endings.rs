//! How runs end: exit status, report, and which violation is proven.

use ringfence_testkit::{Run, World, users};
use serde_json::Value;
use std::time::Duration;

fn status(run: &Run, status: &str) {
    assert_eq!(run.word("status"), status, "status\n{run}");
}

#[test]
fn the_commands_own_status_passes() {
    for who in users() {
        for code in [0, 1, 2, 77, 121, 122, 124, 125, 126, 127, 128, 137, 255] {
            let run = World::new(who).probe(&[], &["exit", &code.to_string()]).run();
            run.expect_violation(code, "");
            status(&run, "exited");
            assert_eq!(run.number("exit_code"), Some(i64::from(code)), "as {who:?}\n{run}");
        }
    }
}

#[test]
fn the_commands_own_signal_is_128_and_its_number() {
    for who in users() {
        for signal in [1, 2, 3, 6, 8, 10, 13, 14, 15] {
            let run = World::new(who).probe(&[], &["die", &signal.to_string()]).run();
            run.expect_violation(128 + signal, "");
            status(&run, "signaled");
            assert_eq!(run.number("signal"), Some(i64::from(signal)), "as {who:?}\n{run}");
            assert_eq!(run.report["exit_code"], Value::Null, "{run}");
        }
    }
}

#[test]
fn every_field_of_the_report_is_there() {
    const FIELDS: [&str; 15] = [
        "status",
        "exit_code",
        "signal",
        "violation",
        "suspected",
        "evidence",
        "error",
        "duration_ms",
        "cpu_ms",
        "memory_peak_bytes",
        "stdout_bytes",
        "stderr_bytes",
        "truncated",
        "enforced",
        "denials",
    ];
    for who in users() {
        let run = World::new(who).probe(&[], &["twostreams", "10"]).run();
        let fields = run.report.as_object().unwrap();
        assert!(
            FIELDS.iter().all(|field| fields.contains_key(*field)) && fields.len() == FIELDS.len(),
            "{run}"
        );
        assert_eq!(run.number("stdout_bytes"), Some(60), "{run}");
        assert_eq!(run.number("stderr_bytes"), Some(60), "{run}");
        assert_eq!(run.report["truncated"], false, "{run}");
        assert!(run.number("memory_peak_bytes").unwrap() > 50_000, "{run}");
        assert!(run.number("memory_peak_bytes").unwrap() < 100_000_000, "{run}");
        let busy = World::new(who).probe(&["--cpu", "none"], &["spin", "0.5", "1"]).run();
        assert!((80..2000).contains(&busy.number("cpu_ms").unwrap()), "{busy}");
        assert!((480..5000).contains(&busy.number("duration_ms").unwrap()), "{busy}");
        for layer in ["seccomp", "landlock", "mount", "network"] {
            assert!(busy.report["enforced"].to_string().contains(layer), "{layer} as {who:?}\n{busy}");
        }
    }
}

#[test]
fn the_report_is_private() {
    use std::os::unix::fs::MetadataExt;
    for who in users() {
        let world = World::new(who);
        assert!(world.probe(&[], &["hello"]).run().act().ok);
        let meta = world.path("out/report.json").metadata().unwrap();
        assert_eq!(meta.mode() & 0o077, 0, "as {who:?}: {:o}", meta.mode());
        assert_eq!(meta.uid(), who.uid());
    }
}

#[test]
fn timeout_is_124() {
    for who in users() {
        let run = World::new(who).probe(&["--timeout", "500ms"], &["sleep", "20"]).run();
        run.expect_violation(124, "timeout");
        status(&run, "violation");
        assert!(run.elapsed < Duration::from_millis(1500), "as {who:?}\n{run}");
        assert!(run.out().contains("ready"), "what came before is kept\n{run}");
        let polite = World::new(who).probe(&["--timeout", "500ms"], &["polite"]).run();
        polite.expect_violation(124, "timeout");
        assert!(polite.elapsed < Duration::from_millis(1500), "as {who:?}\n{polite}");
        let quick = World::new(who).probe(&["--timeout", "10s"], &["sleep", "0.1"]).run();
        quick.expect_violation(0, "");
    }
}

#[test]
fn not_found_and_not_executable() {
    for who in users() {
        let world = World::new(who);
        for missing in ["no-such-program-here", "/usr/bin/no-such-program", "{data}/none", "./none"] {
            let run = world.exec(&[], &[missing]).run();
            run.expect_code(127);
            status(&run, "not_started");
            assert_eq!(run.report["error"]["code"], "not_found", "{run}");
        }
        world.put("data/grant/plain", "no program");
        for what in ["{grant}/plain", "{grant}", "/etc/passwd"] {
            let run = world.exec(&["--ro", "{grant}"], &[what]).run();
            run.expect_code(126);
            assert_eq!(run.report["error"]["code"], "not_executable", "{what}\n{run}");
        }
    }
}

#[test]
fn a_fault_of_its_own_is_never_a_violation() {
    for who in users() {
        let run = World::new(who).probe(&["--memory", "100MiB"], &["segv"]).run();
        run.expect_violation(139, "");
        assert_eq!(run.word("suspected"), "memory", "as {who:?}\n{run}");
        assert!(!run.report["evidence"].as_array().unwrap().is_empty(), "{run}");
        let killed = World::new(who).probe(&[], &["die", "9"]).run();
        killed.expect_violation(137, "");
        assert_eq!(killed.word("suspected"), "memory", "as {who:?}\n{killed}");
    }
}

#[test]
fn an_allocation_error_under_a_limit_is_a_violation() {
    for who in users() {
        for text in ["MemoryError\n", "fatal: Cannot allocate memory\n"] {
            let run = World::new(who).probe(&["--memory", "100MiB"], &["say", "2", text, "1"]).run();
            run.expect_violation(122, "memory");
            assert!(run.err().contains(text.trim()), "{run}");
            let success = World::new(who).probe(&["--memory", "100MiB"], &["say", "2", text, "0"]).run();
            success.expect_violation(0, "");
            let unlimited = World::new(who).probe(&["--memory", "none"], &["say", "2", text, "1"]).run();
            unlimited.expect_violation(1, "");
            let other_stream = World::new(who).probe(&["--memory", "100MiB"], &["say", "1", text, "1"]).run();
            other_stream.expect_violation(1, "");
        }
    }
}

#[test]
fn python_under_a_memory_limit() {
    if ringfence_testkit::lacks("/usr/bin/python3") {
        return;
    }
    let _alone = ringfence_testkit::one_at_a_time();
    for who in users() {
        for backend in ringfence_testkit::backends(who) {
            let program = "x = []\nwhile True: x.append(bytearray(1 << 20))";
            let job = World::new(who);
            let run =
                job.exec(&["--memory", "80MiB"], &["/usr/bin/python3", "-c", program]).backend(backend).run();
            run.expect_violation(122, "memory");
        }
    }
}

#[test]
fn cancelled_by_a_signal_to_ringfence() {
    for who in users() {
        for signal in [2, 15] {
            let world = World::new(who);
            for act in [&["sleep", "20"][..], &["polite"][..]] {
                let running = world.probe(&[], act).spawn();
                running.wait_for("ready");
                running.signal(signal);
                let run = running.finish();
                run.expect_violation(128 + signal, "");
                status(&run, "cancelled");
                assert!(run.elapsed < Duration::from_millis(2500), "as {who:?}\n{run}");
                assert!(run.out().contains("ready"), "{run}");
            }
        }
    }
}

#[test]
fn usage_errors_are_125_and_start_nothing() {
    let bad: [&[&str]; 26] = [
        &["--timeout", "0"],
        &["--timeout", "10x"],
        &["--timeout", ""],
        &["--timeout", "-1s"],
        &["--timeout", "1.2.3s"],
        &["--memory", "0"],
        &["--memory", "10XB"],
        &["--memory", "99999999999999999999GB"],
        &["--memory", "ten"],
        &["--max-output", "0"],
        &["--max-output", "5 parsecs"],
        &["--max-file-size", "0"],
        &["--cpu", "0"],
        &["--cpu", "-5"],
        &["--processes", "0"],
        &["--processes", "many"],
        &["--max-open-files", "0"],
        &["--grant", "file:fly=/x"],
        &["--grant", "file:read=\u{0}"],
        &["--deny", "nonsense"],
        &["--grant", "file:read=a\nb\u{7f}:"],
        &["--redact", "("],
        &["--stdin", "/no/such/file"],
        &["--env", "NOVALUE"],
        &["--no-such-flag"],
        &["--cwd", "/no/such/dir"],
    ];
    for who in users() {
        let world = World::new(who);
        for flags in bad.iter().filter(|flags| !flags[1..].concat().contains('\u{0}')) {
            let marker = world.path("data/grant/started");
            let run = world
                .probe(&[flags, &["--rw", "{grant}"][..]].concat(), &["create", "{grant}/started"])
                .run();
            run.expect_code(125);
            assert!(!marker.exists(), "started in spite of {flags:?}\n{run}");
            assert!(run.err().len() > 10, "says why: {flags:?}\n{run}");
        }
        let empty = world.ringfence(&["exec", "--"]).run();
        empty.expect_code(125);
        let nothing = world.ringfence(&["exec"]).run();
        nothing.expect_code(125);
    }
}

#[test]
fn units_of_sizes_and_durations() {
    for who in users() {
        for flags in [
            ["--timeout", "20"],
            ["--timeout", "20s"],
            ["--timeout", "20000ms"],
            ["--timeout", "1m"],
            ["--timeout", "1h"],
            ["--timeout", "none"],
            ["--memory", "200000000"],
            ["--memory", "200000KB"],
            ["--memory", "200MB"],
            ["--memory", "1GB"],
            ["--memory", "200MiB"],
            ["--memory", "1GiB"],
            ["--memory", "300000KiB"],
            ["--memory", "300000000B"],
            ["--cpu", "none"],
            ["--cpu", "150"],
            ["--processes", "none"],
            ["--max-output", "none"],
            ["--max-file-size", "none"],
            ["--max-open-files", "none"],
        ] {
            let run = World::new(who).probe(&flags, &["hello"]).run();
            assert!(run.act().ok && run.code == Some(0), "{flags:?} as {who:?}\n{run}");
        }
    }
}
