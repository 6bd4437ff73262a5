//! The command line around a run: standard input, working directory, environment, stored runs, help.

use ringfence_testkit::{World, users};
use serde_json::Value;

#[test]
fn standard_input_is_closed_unless_passed() {
    for who in users() {
        let world = World::new(who);
        for flags in [&[][..], &["--stdin", "close"][..]] {
            let run = world.probe(flags, &["cat"]).stdin(b"secret input").run();
            assert!(run.stdout.is_empty() && run.code == Some(0), "{flags:?} as {who:?}\n{run}");
        }
        let passed = world.probe(&["--stdin", "pass"], &["cat"]).stdin(b"passed \x00\xff input").run();
        assert_eq!(passed.stdout, b"passed \x00\xff input", "as {who:?}\n{passed}");
        // A file is opened by the caller: it needs no grant.
        let file = world.probe(&["--stdin", "{data}/secret/canary.txt"], &["cat"]).run();
        assert!(file.out().contains(&world.canary), "as {who:?}\n{file}");
        let mut open = world.probe(&["--stdin", "pass"], &["cat"]).open_stdin().spawn();
        open.write(b"one ");
        open.wait_for("one ");
        open.write(b"two");
        open.close_stdin();
        assert_eq!(open.finish().out(), "one two", "as {who:?}");
    }
}

#[test]
fn the_working_directory() {
    for who in users() {
        let world = World::new(who);
        let cwd = |flags: &[&str], from: &str| {
            let run = world.probe(flags, &["ids"]).cwd(from).run();
            run.acts().into_iter().find(|act| act.name == "cwd").unwrap_or_else(|| panic!("{run}")).data
        };
        assert_eq!(cwd(&[], "{data}"), "/tmp", "not granted, as {who:?}");
        assert_eq!(cwd(&["--ro", "{grant}"], "{grant}"), world.fill("{grant}"), "granted, as {who:?}");
        assert_eq!(
            cwd(&["--ro", "{grant}"], "{grant}/sub"),
            world.fill("{grant}/sub"),
            "below a grant, as {who:?}"
        );
        assert_eq!(
            cwd(&["--ro", "{grant}", "--cwd", "{grant}/sub"], "{data}"),
            world.fill("{grant}/sub"),
            "--cwd, as {who:?}"
        );
        assert_eq!(cwd(&["--cwd", "/usr"], "{data}"), "/usr", "as {who:?}");
        let refused = world.probe(&["--cwd", "{secret}"], &["hello"]).run();
        refused.expect_code(125);
        let relative = world.probe(&["--ro", "grant"], &["read", "{grant}/file.txt"]).cwd("{data}").run();
        assert!(relative.act().ok, "a relative grant, as {who:?}\n{relative}");
    }
}

#[test]
fn a_caller_whose_directory_is_gone_or_closed_to_it() {
    for who in users() {
        let world = World::new(who);
        let script = "mkdir gone && cd gone && rmdir ../gone && exec {bin}/ringfence exec --ro {bin} -- {probe} mark={marker} hello";
        assert!(world.rig().ringfence().is_file());
        let run = world.bare_program(&["/bin/sh", "-c", script]).cwd("{grant}").run();
        assert!(
            run.code == Some(125) && run.err().contains("directory"),
            "says what is missing, as {who:?}\n{run}"
        );
    }
}

#[test]
fn variables() {
    for who in users() {
        let world = World::new(who);
        let run = world.probe(&["--env", "A=1", "--env", "B=x=y z", "--env", "EMPTY="], &["environ"]).run();
        for word in ["A=1 ", "B=x=y z ", "EMPTY= ", "PATH=/", "HOME=/"] {
            assert!(run.act().data.contains(word), "{word} as {who:?}\n{run}");
        }
    }
}

#[test]
fn arguments_arrive_as_they_are() {
    for who in users() {
        let world = World::new(who);
        let odd = ["", " ", "a b", "--memory", "-x", "*", "$HOME", "ü", "'\"\\", "--"];
        let words: Vec<&str> = ["pieces", "0"].into_iter().chain(odd).collect();
        let run = world.probe(&[], &words).run();
        assert_eq!(run.out(), odd.concat(), "as {who:?}\n{run}");
        assert_eq!(run.code, Some(0));
    }
}

#[test]
fn runs_are_stored_and_shown() {
    for who in users() {
        let world = World::new(who);
        assert_eq!(world.probe(&[], &["say", "1", "word-of-the-run\n", "3"]).run().code, Some(3));
        assert!(world.probe(&[], &["hello"]).run().act().ok);
        let list = world.ringfence(&["runs", "list", "--json"]).run();
        list.expect_code(0);
        let rows: Value =
            serde_json::from_slice(&list.stdout).unwrap_or_else(|error| panic!("{error}\n{list}"));
        let rows = rows["runs"].as_array().unwrap_or_else(|| panic!("{list}"));
        assert_eq!(rows.len(), 2, "as {who:?}\n{list}");
        let shown = rows.iter().map(|row| {
            let id = row["id"].to_string();
            world.ringfence(&["runs", "show", id.trim_matches('"')]).run()
        });
        let all: Vec<_> = shown.collect();
        assert!(all.iter().all(|run| run.code == Some(0)), "as {who:?}\n{all:#?}");
        assert!(all.iter().any(|run| run.out().contains("word-of-the-run")), "as {who:?}\n{all:#?}");
        let plain = world.ringfence(&["runs", "list"]).run();
        assert!(plain.code == Some(0) && plain.out().lines().count() >= 2, "{plain}");
        for (id, code) in [("999999", 3), ("no-such-run", 2), ("../../home", 2), ("", 2), (".", 2), ("-1", 2)]
        {
            let run = world.ringfence(&["runs", "show", id]).run();
            assert_eq!(run.code, Some(code), "{id:?} as {who:?}\n{run}");
        }
    }
}

#[test]
fn help_version_and_doctor() {
    for who in users() {
        let world = World::new(who);
        let help = world.ringfence(&["exec", "--help"]).run();
        assert!(help.code == Some(0), "{help}");
        for flag in [
            "--ro",
            "--rw",
            "--grant",
            "--deny",
            "--timeout",
            "--memory",
            "--cpu",
            "--processes",
            "--max-output",
            "--max-file-size",
            "--max-open-files",
            "--stdin",
            "--cwd",
            "--env",
            "--redact",
            "--report",
            "--json",
            "--explain",
            "--strict",
        ] {
            assert!(help.out().contains(flag), "{flag}\n{help}");
        }
        assert_eq!(world.ringfence(&["--version"]).run().code, Some(0));
        assert_eq!(world.ringfence(&["no-such-command"]).run().code, Some(2));
        let doctor = world.ringfence(&["doctor", "--json"]).run();
        assert!(matches!(doctor.code, Some(0 | 7)), "as {who:?}\n{doctor}");
        assert!(serde_json::from_slice::<Value>(&doctor.stdout).is_ok(), "{doctor}");
        // Every other case of this crate needs the sandbox, so the doctor must find this machine well.
        doctor.expect_code(0);
    }
}

#[test]
fn a_home_that_cannot_be_written() {
    for who in users() {
        let world = World::new(who);
        let run = world.probe(&[], &["hello"]).env("RINGFENCE_HOME", "/proc/no-home").run();
        assert!(
            run.act().ok || run.code == Some(125),
            "a clear error or a run without a store, as {who:?}\n{run}"
        );
        assert!(!run.err().is_empty(), "says so, as {who:?}\n{run}");
    }
}

#[test]
fn explain_names_an_absent_path_and_its_grant() {
    for who in users() {
        let world = World::new(who);
        let run = world.probe(&["--explain"], &["read", "{secret}/canary.txt"]).run();
        assert!(!run.act().ok, "{run}");
        let denials = run.report["denials"].as_array().cloned().unwrap_or_default();
        let path = world.fill("{secret}/canary.txt");
        let found = denials.iter().find(|denial| denial["object"] == path.as_str());
        let found = found.unwrap_or_else(|| panic!("no denial of {path}, as {who:?}\n{run}"));
        assert!(
            found["grant"].as_str().is_some_and(|grant| grant.starts_with("file:read=")),
            "as {who:?}\n{run}"
        );
    }
}
