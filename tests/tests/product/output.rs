//! Output: live, separate, exact, capped to the byte, and without secrets.

use ringfence_testkit::{World, users};
use std::time::{Duration, Instant};

/// The bytes that `emit FD LENGTH` writes.
fn pattern(descriptor: u64, length: usize) -> Vec<u8> {
    let mut state = descriptor * 7919;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(state >> 56).unwrap()
        })
        .collect()
}

#[test]
fn binary_data_arrives_byte_for_byte() {
    for who in users() {
        for length in [0, 1, 65_535, 65_536, 65_537, 3_000_000] {
            for redact in [&["--redact", "none"][..], &[][..]] {
                let run = World::new(who).probe(redact, &["emit", "1", &length.to_string()]).run();
                assert!(
                    run.stdout == pattern(1, length),
                    "{length} bytes, {redact:?} as {who:?}: {} came",
                    run.stdout.len()
                );
                assert_eq!(run.number("stdout_bytes"), Some(i64::try_from(length).unwrap()));
            }
        }
        let run = World::new(who).probe(&["--redact", "none"], &["emit", "2", "100000"]).run();
        assert!(run.stderr.starts_with(&pattern(2, 100_000)) && run.stdout.is_empty(), "as {who:?}");
    }
}

#[test]
fn the_streams_are_never_mixed() {
    for who in users() {
        let run = World::new(who).probe(&[], &["twostreams", "5000"]).run();
        let expected = |word: &str| (0..5000).map(|i| format!("{word} {i}\n")).collect::<String>();
        assert!(
            run.out() == expected("out") && run.err() == expected("err"),
            "as {who:?}: {} and {}",
            run.stdout.len(),
            run.stderr.len()
        );
    }
}

#[test]
fn output_is_live() {
    for who in users() {
        let world = World::new(who);
        for flags in [&["--redact", "none"][..], &[][..]] {
            let start = Instant::now();
            let running = world.probe(flags, &["pieces", "2500", "first", "second"]).spawn();
            running.wait_for("first");
            assert!(
                start.elapsed() < Duration::from_millis(1800),
                "{flags:?} as {who:?}: {:?}",
                start.elapsed()
            );
            assert_eq!(running.finish().out(), "firstsecond");
        }
    }
}

#[test]
fn a_slow_reader_gets_everything() {
    if ringfence_testkit::lacks("bash") {
        return;
    }
    for who in users() {
        let world = World::new(who);
        let line = world.fill("{bin}/ringfence exec --redact none --ro {bin} --env RF_MARK={marker} -- {probe} mark={marker} emit 1 2000000");
        assert!(world.rig().ringfence().is_file());
        let script = format!("{line} | (sleep 1; cat)");
        let run = world.bare_program(&["bash", "-c", &script]).run();
        assert!(run.stdout == pattern(1, 2_000_000), "as {who:?}: {} bytes\n{}", run.stdout.len(), run.err());
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    if ringfence_testkit::lacks("bash") {
        return;
    }
    for who in users() {
        let world = World::new(who);
        let line = world.fill(
            "{bin}/ringfence exec --ro {bin} --env RF_MARK={marker} -- {probe} mark={marker} endless 1",
        );
        assert!(world.rig().ringfence().is_file());
        let run = world.bare_program(&["bash", "-c", &format!("{line} | head -c 100")]).run();
        assert!(run.stdout.len() == 100 && run.elapsed < Duration::from_secs(15), "as {who:?}\n{run}");
        assert!(
            ringfence_testkit::post::wait_until(
                || ringfence_testkit::alive_with_marker(&world.marker).is_empty()
            ),
            "as {who:?}"
        );
    }
}

#[test]
fn the_cap_is_exact_to_the_byte() {
    for who in users() {
        for cap in [1, 1000, 65_536, 100_000] {
            let text = cap.to_string();
            let over = World::new(who)
                .probe(&["--max-output", &text, "--redact", "none"], &["emit", "1", "400000"])
                .run();
            over.expect_violation(122, "output");
            assert!(over.stdout == pattern(1, cap), "{cap} as {who:?}: {} came", over.stdout.len());
            assert_eq!(over.report["truncated"], true, "{over}");
            assert_eq!(over.number("stdout_bytes"), Some(i64::try_from(cap).unwrap()), "{over}");
            let exact = World::new(who)
                .probe(&["--max-output", &text, "--redact", "none"], &["emit", "1", &text])
                .run();
            exact.expect_violation(0, "");
            assert!(
                exact.stdout == pattern(1, cap) && exact.report["truncated"] == false,
                "{cap} as {who:?}\n{exact}"
            );
        }
        let both = World::new(who).probe(&["--max-output", "1000"], &["twostreams", "5000"]).run();
        both.expect_violation(122, "output");
        let kept = both.number("stdout_bytes").unwrap() + both.number("stderr_bytes").unwrap();
        assert_eq!(kept, 1000, "one cap for both streams, as {who:?}\n{both}");
    }
}

/// Tokens in the shape of real ones, put together here so that no scanner takes this file for a leak.
fn tokens() -> Vec<String> {
    vec![
        format!("ghp_{}", "a1B2".repeat(9)),
        format!("github_pat_{}_{}", "A1b2C3d4E5f6G7h8I9j0K1".get(..22).unwrap(), "x9".repeat(29) + "z"),
        format!("AKIA{}", "IOSFODNN7EXAMPLE".get(..16).unwrap()),
        format!("sk-{}", "Zx9Y8w7V6u5T4s3R".repeat(3)),
        format!("sk-ant-api03-{}", "Zx9Y8w7V6u5T4s3R".repeat(5)),
        format!("xoxb-{}-{}-{}", "123456789012", "1234567890123", "AbCdEfGhIjKlMnOpQrStUvWx"),
        format!("glpat-{}", "AbCdEfGhIjKlMnOpQrSt"),
    ]
}

#[test]
fn built_in_tokens_are_redacted() {
    for who in users() {
        for token in tokens() {
            let world = World::new(who);
            for stream in ["1", "2"] {
                let text = format!("before {token} after\n");
                let run = world.probe(&[], &["say", stream, &text, "0"]).run();
                let shown = run.out() + &run.err();
                assert!(
                    !shown.contains(&token) && shown.contains("before ") && shown.contains(" after"),
                    "{token} as {who:?}\n{run}"
                );
                let open = world.probe(&["--redact", "none"], &["say", stream, &text, "0"]).run();
                assert!((open.out() + &open.err()).contains(&token), "{token} as {who:?}\n{open}");
            }
            let stored = ringfence_testkit::hold_still(&world.path("home/state"));
            let kept = stored.keys().filter(|path| path.is_file()).any(|path| {
                path.file_name().is_some_and(|name| name != "token")
                    && world
                        .text(&path.strip_prefix(world.path("")).unwrap().to_string_lossy())
                        .contains(&token)
            });
            assert!(kept, "the run with --redact none keeps it, so this look would find a leak");
        }
    }
}

#[test]
fn stored_output_is_redacted_too() {
    for who in users() {
        let world = World::new(who);
        let token = &tokens()[0];
        assert_eq!(world.probe(&[], &["say", "1", &format!("x {token} y\n"), "0"]).run().code, Some(0));
        let mut files = 0;
        for path in
            ringfence_testkit::hold_still(&world.path("home/state")).keys().filter(|path| path.is_file())
        {
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
            assert!(!text.contains(token), "{} as {who:?}", path.display());
            files += 1;
        }
        assert!(files > 1, "the run is stored");
    }
}

#[test]
fn a_token_across_chunks_is_redacted() {
    for who in users() {
        let token = &tokens()[0];
        for cut in [1, 4, 10, 39] {
            let (one, two) = token.split_at(cut);
            let run = World::new(who).probe(&[], &["pieces", "10", "see ", one, two, " end"]).run();
            assert!(
                !run.out().contains(token) && run.out().contains("see ") && run.out().contains(" end"),
                "cut {cut} as {who:?}\n{run}"
            );
        }
        for before in [65_510, 65_530, 65_536, 131_060] {
            let run =
                World::new(who).probe(&[], &["padded", &before.to_string(), &format!(" {token}")]).run();
            assert!(
                !run.out().contains(token) && run.stdout.len() > before,
                "{before} as {who:?}: {} bytes",
                run.stdout.len()
            );
        }
    }
}

#[test]
fn own_patterns_are_redacted() {
    for who in users() {
        let run = World::new(who)
            .probe(&["--redact", "acct-[0-9]+"], &["say", "1", "id acct-12345 and plain\n", "0"])
            .run();
        assert!(!run.out().contains("acct-12345") && run.out().contains("and plain"), "as {who:?}\n{run}");
    }
}

#[test]
fn json_prints_one_document() {
    for who in users() {
        let run = World::new(who).probe(&["--json"], &["twostreams", "3"]).run();
        let document: serde_json::Value =
            serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{run}"));
        assert_eq!(document["stdout"], "out 0\nout 1\nout 2\n", "as {who:?}\n{run}");
        assert_eq!(document["stderr"], "err 0\nerr 1\nerr 2\n", "{run}");
        assert_eq!(document["status"], "exited");
        assert_eq!(document["exit_code"], 0);
        let refused = World::new(who).probe(&["--json", "--memory", "0"], &["hello"]).run();
        refused.expect_code(125);
        let document: serde_json::Value =
            serde_json::from_slice(&refused.stdout).unwrap_or_else(|error| panic!("{error}\n{refused}"));
        assert!(
            document["error"]["code"].is_string() && document["error"]["message"].is_string(),
            "{refused}"
        );
        let failed = World::new(who).probe(&["--json"], &["exit", "3"]).run();
        failed.expect_code(3);
    }
}
