//! STATE-05, STATE-08, STATE-13, STATE-15, STATE-16, STATE-18: a store that somebody edited, holds, damaged or put into an
//! odd environment.

use crate::place::{Place, Wrongs, document};
use ringfence_testkit::{Who, users};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

/// What a command may take while it waits for somebody who holds the database.
const BOUNDED: Duration = Duration::from_secs(15);

#[test]
fn state_08_what_was_edited_by_hand_starts_nothing() {
    let secret = "SELECT 1";
    for (label, edit) in [
        ("nothing, the control", secret),
        (
            "a grant more",
            "INSERT INTO grants SELECT plugin, publisher, 'file:read=/**', granted_by, granted_at_ms FROM grants LIMIT 1",
        ),
        ("a wider grant", "UPDATE grants SET permission = 'file:read=/etc/**'"),
        ("a grant less", "DELETE FROM grants"),
        ("who granted", "UPDATE grants SET granted_by = 'somebody else'"),
        ("a wider consent", "UPDATE consents SET granted = '[\"file:read=/**\"]', asked = granted"),
        ("another publisher", "UPDATE plugins SET publisher = 'unsigned:eve'"),
        ("no seal", "UPDATE plugins SET seal = NULL"),
        ("a seal of zeros", "UPDATE plugins SET seal = zeroblob(32)"),
        (
            "a manifest that asks for more",
            "UPDATE packages SET manifest = replace(manifest, 'env:read', 'file:read')",
        ),
    ] {
        let Some(place) = Place::ordinary() else { return };
        place.active("hostile", &json!({"permissions": ["env:read=LANG"]}));
        let starts = "SELECT COUNT(*) FROM audit WHERE event = 'start'";
        place.sql(edit);
        let before = place.sql(starts);
        let run = place.run(&["call", "hostile", "ok", "--json"]);
        if edit == secret {
            assert_eq!(run.code, Some(0), "{label}\n{run}");
            continue;
        }
        assert_eq!(run.code, Some(4), "{label}\n{run}");
        assert_eq!(place.sql(starts), before, "{label}: it was started");
        let run = place.run(&["activate", "hostile", "--json"]);
        assert!(run.code != Some(0), "{label}: activated\n{run}");
        assert_eq!(place.sql(starts), before, "{label}: it was started");
    }
}

#[test]
fn state_08_18_another_key_a_changed_package_and_a_damaged_database() {
    let Some(place) = Place::ordinary() else { return };
    place.active("hostile", &json!({}));
    let stored = ringfence_testkit::post::names(&place.home("store"));
    let program = place.home("store").join(&stored[0]).join(place.entry_point());
    let good = fs::read(&program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    fs::write(&program, [&good[..], b"# more\n"].concat()).unwrap();
    let error = place.refused(&["call", "hostile", "ok"], 1, "invalid_package");
    assert!(error["message"].as_str().unwrap().contains("is not what was installed"), "{error}");
    fs::write(&program, &good).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o555)).unwrap();
    assert_eq!(place.json(&["call", "hostile", "ok"]), "ok", "the twin: the bytes that were installed");

    let key = fs::read(place.home("state.key")).unwrap();
    fs::write(place.home("state.key"), [7; 32]).unwrap();
    assert!(place.run(&["call", "hostile", "ok", "--json"]).code != Some(0), "another key");
    fs::write(place.home("state.key"), &key).unwrap();
    assert_eq!(place.json(&["call", "hostile", "ok"]), "ok");

    // A store of a later version is refused and left as it is.
    place.sql("PRAGMA user_version = 9999");
    let run = place.run(&["list", "--json"]);
    assert!(run.code != Some(0) && document(&run)["error"]["message"].is_string(), "{run}");
    assert_eq!(place.sql("PRAGMA user_version")[0][0], 9999);

    fs::write(place.home("state.db"), vec![0x5a; 100_000]).unwrap();
    let run = place.run(&["list", "--json"]);
    assert!(run.code != Some(0) && document(&run)["error"]["message"].is_string(), "{run}");
    assert_eq!(
        fs::read(place.home("state.db")).unwrap().len(),
        100_000,
        "what is damaged is not thrown away"
    );
}

#[test]
fn state_05_15_a_home_or_a_database_that_somebody_holds() {
    let Some(place) = Place::ordinary() else { return };
    place.active(
        "hostile",
        &json!({"config_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}),
    );
    let hold = |what: &str, program: &str| {
        let path = place.home(what).to_string_lossy().into_owned();
        let running = place
            .world
            .bare_program(&["/usr/bin/python3", "-u", "-c", program, &path])
            .env("RF_MARK", "a holder")
            .spawn();
        running.wait_for("held");
        running
    };
    let lock = "import fcntl, os, sys, time\nfile = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)\nfcntl.flock(file, fcntl.LOCK_EX)\nprint('held')\ntime.sleep(60)";
    let holder = hold("daemon.lock", lock);
    let begun = Instant::now();
    place.refused(&["serve", "--listen", "127.0.0.1:0"], 8, "busy");
    assert!(begun.elapsed() < BOUNDED);
    // Only another daemon is kept out: who administers is not.
    place.done(&["list"]);
    holder.signal(9);
    drop(holder);

    let reader = "import sqlite3, sys, time\nbase = sqlite3.connect(sys.argv[1], isolation_level=None)\nbase.execute('BEGIN IMMEDIATE')\nprint('held')\ntime.sleep(1.5)\nbase.execute('COMMIT')";
    let holder = hold("state.db", reader);
    let run = place.run(&["config", "set", "hostile", "a=7", "--json"]);
    drop(holder.finish());
    assert!(run.code == Some(0) && run.elapsed < BOUNDED, "{run}");
    assert_eq!(place.json(&["config", "get", "hostile"])["a"], 7, "no write is lost");
    let holder = hold("state.db", &reader.replace("sleep(1.5)", "sleep(60)"));
    let run = place.run(&["config", "set", "hostile", "a=9", "--json"]);
    holder.signal(9);
    drop(holder);
    assert!(run.code == Some(8) && run.elapsed < BOUNDED, "{run}");
    assert_eq!(place.json(&["config", "get", "hostile"])["a"], 7);
    place.done(&["config", "set", "hostile", "a=8"]);
    assert_eq!(place.json(&["config", "get", "hostile"])["a"], 8);

    // Two commands at once on one plugin: each has a process of its own, and both are answered.
    let calls: Vec<_> = (0..4).map(|_| place.job(&["call", "hostile", "ok", "--json"]).spawn()).collect();
    for call in calls {
        assert_eq!(document(&call.finish()), "ok");
    }
}

#[test]
fn state_15_sigterm_during_an_install_leaves_the_old_state_or_the_new() {
    let Some(place) = Place::ordinary() else { return };
    let package = place.hostile("hostile", &json!({}), "good");
    place.world.put("packages/hostile/blob", &"x".repeat(30_000_000));
    for wait_ms in [2, 10, 25, 60] {
        let running = place.job(&["install", &package, "--json"]).spawn();
        std::thread::sleep(Duration::from_millis(wait_ms));
        running.signal(15);
        let run = running.finish();
        // Before signals are caught it dies of it, as any program.
        assert!(matches!((run.code, run.signal), (Some(0 | 143), _) | (None, Some(15))), "{run}");
        place.run(&["list"]);
        let installed = place.json(&["list"]).as_array().unwrap().len();
        let stored = ringfence_testkit::post::names(&place.home("store")).len();
        assert_eq!(installed, stored, "after {wait_ms} ms\n{run}");
        assert!(installed == 1 || run.code != Some(0), "what was answered is there\n{run}");
        place.run(&["uninstall", "hostile"]);
    }
    place.done(&["install", &package]);
}

#[test]
fn state_16_no_home_a_read_only_home_and_an_open_umask() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let package = place.hostile("hostile", &json!({}), "good");
        let unset = ["/usr/bin/env", "-u", "RINGFENCE_HOME", "-u", "HOME", "-u", "XDG_DATA_HOME"];
        let run = place.job(&["list", "--json"]).through(&unset).run();
        let error = crate::place::refusal(&run, 2, "usage");
        assert!(error["hint"].as_str().unwrap().contains("RINGFENCE_HOME"), "as {who:?}: {error}");

        if who != Who::Root {
            fs::set_permissions(place.home(""), Permissions::from_mode(0o555)).unwrap();
            let run = place.job(&["install", &package, "--json"]).run();
            fs::set_permissions(place.home(""), Permissions::from_mode(0o700)).unwrap();
            let error = crate::place::refusal(&run, 1, "io");
            assert!(error["message"].as_str().unwrap().contains("home/state"), "as {who:?}: {error}");
        }

        // Nothing is open to others, whatever the umask, and without a locale.
        let open = ["/usr/bin/env", "LANG=C", "LC_ALL=C", "/bin/sh", "-c", "umask 000; exec \"$@\"", "sh"];
        for words in [
            &["install", package.as_str(), "--grant-requested"][..],
            &["activate", "hostile"],
            &["call", "hostile", "act", "{\"how\":\"write_data\",\"name\":\"f\"}"],
            &["call", "hostile", "act", "{\"how\":\"log\",\"give\":\"gr\u{fc}n\"}"],
            &["logs", "hostile"],
        ] {
            place.job(words).through(&open).run().expect_code(0);
        }
        let mut wrongs = Wrongs::default();
        for entry in fs::read_dir(place.home("")).unwrap().flatten() {
            let mode = entry.metadata().unwrap().mode();
            wrongs.note(mode & 0o077 == 0, format!("{} as {who:?}: {mode:o}", entry.path().display()));
        }
        for name in ["data/hostile", "logs/hostile.jsonl"] {
            let mode = place.home(name).metadata().unwrap().mode();
            wrongs.note(mode & 0o077 == 0, format!("{name} as {who:?}: {mode:o}"));
        }
        wrongs.none();
    }
}
