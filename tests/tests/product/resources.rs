//! RES-01 to RES-14: limits, with each way of holding them forced in turn.

use ringfence_testkit::{Backend, Run, Who, World, backends, one_at_a_time, users};
use std::time::Duration;

const MIB: i64 = 1024 * 1024;

/// Runs the check as everyone with every back-end that works here.
fn each(check: impl Fn(Who, Backend)) {
    for who in users() {
        for backend in backends(who) {
            check(who, backend);
        }
    }
}

fn run(who: Who, backend: Backend, flags: &[&str], act: &[&str]) -> Run {
    World::new(who).probe(flags, act).backend(backend).run()
}

fn peak(run: &Run) -> i64 {
    run.number("memory_peak_bytes").unwrap_or(i64::MAX)
}

#[test]
fn the_report_names_the_back_end() {
    each(|who, backend| {
        let run = run(who, backend, &[], &["hello"]);
        let by = backend.word();
        assert!(run.report["enforced"].to_string().replace('_', "-").contains(by), "{by} as {who:?}\n{run}");
        if backend == Backend::Sampler {
            let strict = World::new(who).probe(&["--strict"], &["hello"]).backend(backend).run();
            strict.expect_code(125);
            assert_eq!(strict.report["error"]["code"], "not_enforceable", "{strict}");
        }
    });
}

#[test]
fn res_01_memory() {
    let _alone = one_at_a_time();
    each(|who, backend| {
        let over = run(who, backend, &["--memory", "100MiB"], &["mem", "400", "2000"]);
        over.expect_violation(122, "memory");
        assert!(peak(&over) <= 110 * MIB && peak(&over) >= 60 * MIB, "peak as {who:?} {backend:?}\n{over}");
        let under = run(who, backend, &["--memory", "100MiB"], &["mem", "60", "50"]);
        assert!(under.act().ok && under.code == Some(0), "as {who:?} {backend:?}\n{under}");
        assert!(
            peak(&under) >= 55 * MIB && peak(&under) <= 100 * MIB,
            "peak as {who:?} {backend:?}\n{under}"
        );
        let free = run(who, backend, &["--memory", "none"], &["mem", "600"]);
        assert!(free.act().ok, "as {who:?} {backend:?}\n{free}");
    });
}

#[test]
fn res_01_the_default_is_500_mb() {
    let _alone = one_at_a_time();
    each(|who, backend| {
        let over = run(who, backend, &[], &["mem", "700", "2000"]);
        over.expect_violation(122, "memory");
        // A tenth above is what the sampler may be late by.
        assert!(peak(&over) >= 400_000_000 && peak(&over) <= 550_000_000, "as {who:?} {backend:?}\n{over}");
        let under = run(who, backend, &[], &["mem", "420"]);
        assert!(under.act().ok, "as {who:?} {backend:?}\n{under}");
    });
}

#[test]
fn whoever_comes_near_the_memory_limit_is_warned_once() {
    let _alone = one_at_a_time();
    each(|who, backend| {
        let told = |mib| {
            let run = run(who, backend, &["--memory", "100MiB"], &["mem", mib, "1500"]);
            assert!(run.act().ok, "as {who:?} {backend:?}\n{run}");
            run.err().matches("bytes of memory are used; --memory gives more").count()
        };
        assert_eq!((told("90"), told("40")), (1, 0), "as {who:?} {backend:?}");
    });
}

#[test]
fn res_01_memory_of_many_processes_is_one_budget() {
    if ringfence_testkit::lacks("bash") {
        return;
    }
    let _alone = one_at_a_time();
    each(|who, backend| {
        let world = World::new(who);
        let script = "for i in 1 2 3 4; do {probe} mark={marker} mem 45 2500 & done; wait";
        let flags = &["--memory", "100MiB", "--grant", "subprocess:execute", "--ro", "{bin}"];
        world.exec(flags, &["bash", "-c", script]).backend(backend).run().expect_violation(122, "memory");
    });
}

#[test]
fn res_02_memory_by_files_is_memory() {
    let _alone = one_at_a_time();
    let flags = &["--memory", "64MiB", "--max-file-size", "none"];
    each(|who, backend| {
        for act in [
            &["fillfile", "/tmp/fill", "300"][..],
            &["fillfile", "/dev/shm/fill", "300"],
            &["fillmany", "/tmp", "300", "10"],
            &["memfd", "300"],
        ] {
            let over = run(who, backend, flags, act);
            let stopped = over.acts().pop().is_none_or(|act| !act.ok);
            assert!(stopped, "{act:?} as {who:?} {backend:?}\n{over}");
            assert!(peak(&over) <= 80 * MIB, "{act:?} as {who:?} {backend:?}\n{over}");
        }
        let under = run(who, backend, flags, &["fillfile", "/tmp/fill", "8"]);
        assert!(under.act().ok, "as {who:?} {backend:?}\n{under}");
    });
}

#[test]
fn res_05_processor_time() {
    let _alone = one_at_a_time();
    // Ten seconds: a tenth of a second is saved up, and what two processors do between two looks is seen only then.
    let hold = |who, backend, limit: &str, most: f64, threads: &str| {
        let held = run(who, backend, &["--cpu", limit], &["spin", "10", threads]);
        let share: f64 = held.act().data.parse().unwrap();
        assert!(share <= most, "{share} of {limit} % with {threads} threads as {who:?} {backend:?}\n{held}");
        assert!(share > 0.05, "{held}");
    };
    each(|who, backend| {
        std::thread::scope(|both| {
            both.spawn(|| hold(who, backend, "30", 0.35, "1"));
            both.spawn(|| hold(who, backend, "50", 0.55, "8"));
        });
    });
    let free = run(users()[0], backends(users()[0])[0], &["--cpu", "none"], &["spin", "2", "4"]);
    assert!(free.act().data.parse::<f64>().unwrap() > 0.36, "the control\n{free}");
}

#[test]
fn res_06_processes_and_threads() {
    let _alone = one_at_a_time();
    each(|who, backend| {
        for act in ["forkbomb", "threadbomb"] {
            let flags = &["--processes", "40", "--grant", "subprocess:execute"];
            let bomb = run(who, backend, flags, &[act, "400"]);
            if let Some(found) = bomb.acts().pop() {
                let made: u32 = found.data.parse().unwrap();
                assert!(!found.ok && (20..=40).contains(&made), "{act} as {who:?} {backend:?}\n{bomb}");
            }
            assert_eq!(bomb.word("violation"), "processes", "{act} as {who:?} {backend:?}\n{bomb}");
            bomb.expect_code(122);
            let few = run(who, backend, flags, &[act, "20"]);
            assert!(few.act().ok && few.code == Some(0), "{act} as {who:?} {backend:?}\n{few}");
        }
    });
}

#[test]
fn res_06_two_runs_do_not_share_the_limit() {
    let _alone = one_at_a_time();
    each(|who, backend| {
        let (one, two) = (World::new(who), World::new(who));
        let flags = &["--processes", "40", "--grant", "subprocess:execute"];
        let first = one.exec(
            &[flags, &["--ro", "{bin}"][..]].concat(),
            &["{probe}", "mark={marker}", "daemonize", "3", "stay"],
        );
        let first = first.backend(backend).spawn();
        first.wait_for("ready");
        let second = two.probe(flags, &["forkbomb", "30"]).backend(backend).run();
        assert!(second.act().ok, "as {who:?} {backend:?}\n{second}");
        first.signal(15);
        assert!(first.finish().code.is_some());
    });
}

#[test]
fn res_07_open_files() {
    for who in users() {
        let world = World::new(who);
        let run = world.probe(&["--max-open-files", "64"], &["fdbomb", "1000"]).run();
        let made: u32 = run.act().data.parse().unwrap();
        assert!(run.act().errno == 24 && (40..64).contains(&made), "as {who:?}\n{run}");
        let run = world.probe(&["--max-open-files", "256"], &["fdbomb", "200"]).run();
        assert!(run.act().ok, "as {who:?}\n{run}");
        // The product itself with few descriptors.
        let few = world.probe(&[], &["hello"]).through(&["{probe}", "fewfiles", "64"]).run();
        assert!(few.act().ok, "as {who:?}\n{few}");
        let none = world.probe(&[], &["hello"]).through(&["{probe}", "fewfiles", "8"]).run();
        assert!(none.code == Some(125) || none.act().ok, "a clean error or success, as {who:?}\n{none}");
    }
}

#[test]
fn res_08_file_size() {
    for who in users() {
        for how in ["write", "append", "pwrite", "fallocate", "truncate"] {
            let world = World::new(who);
            let flags = &["--rw", "{grant}", "--max-file-size", "1MiB"];
            let killed = world.probe(flags, &["bigfile", "{grant}/big", how]).run();
            killed.expect_violation(122, "file_size");
            assert!(size(&world) <= MIB, "{how} as {who:?}\n{killed}");
            let refused = world.probe(flags, &["bigfile", "{grant}/big", how, "ignore"]).run();
            assert!(
                !refused.act().ok && refused.act().errno == 27 && size(&world) <= MIB,
                "{how} as {who:?}\n{refused}"
            );
            let allowed = world
                .probe(
                    &["--rw", "{grant}", "--max-file-size", "2000GB"],
                    &["bigfile", "{grant}/big", "write"],
                )
                .run();
            assert!(allowed.act().ok && size(&world) == 4 * MIB, "{how} as {who:?}\n{allowed}");
        }
    }
}

fn size(world: &World) -> i64 {
    world.path("data/grant/big").metadata().map_or(0, |meta| meta.len().cast_signed())
}

#[test]
fn res_12_floods_and_endless_lines() {
    for who in users() {
        for stream in ["1", "2"] {
            let world = World::new(who);
            let run = world.probe(&[], &["endless", stream]).deadline(Duration::from_secs(15)).run();
            run.expect_violation(122, "output");
            assert_eq!(run.stdout.len() + run.stderr_of_command(), 5_000_000, "as {who:?}");
            assert_eq!(run.report["truncated"], true);
        }
    }
}

/// The product's own words on standard error are not the command's.
trait CommandErr {
    fn stderr_of_command(&self) -> usize;
}

impl CommandErr for Run {
    fn stderr_of_command(&self) -> usize {
        self.stderr
            .iter()
            .filter(|byte| **byte == b'x')
            .count()
            .min(usize::try_from(self.number("stderr_bytes").unwrap_or(0)).unwrap())
    }
}

#[test]
fn res_13_one_byte_for_ever() {
    for who in users() {
        let run = World::new(who).probe(&["--timeout", "1s"], &["drip", "100", "600"]).run();
        run.expect_violation(124, "timeout");
        assert!(
            run.elapsed >= Duration::from_millis(950) && run.elapsed < Duration::from_millis(2200),
            "as {who:?}\n{run}"
        );
        assert!((6..=12).contains(&run.stdout.len()), "what came before is kept\n{run}");
    }
}

#[test]
fn res_14_input_that_nobody_reads() {
    for who in users() {
        let world = World::new(who);
        let run = world.probe(&["--stdin", "pass"], &["hello"]).stdin(&vec![b'x'; 10_000_000]).run();
        assert!(run.act().ok && run.code == Some(0), "as {who:?}\n{run}");
        let full = world
            .probe(&["--stdin", "pass", "--max-output", "none", "--redact", "none"], &["cat"])
            .stdin(&vec![b'y'; 10_000_000])
            .run();
        assert_eq!(full.stdout.len(), 10_000_000, "as {who:?}");
    }
}
