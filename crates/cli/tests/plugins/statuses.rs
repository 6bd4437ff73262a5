//! Each exit status, with the code that goes with it.

use std::process::{Command, Stdio};

use crate::daemon::{Daemon, within};
use crate::world::{Ran, World, deny, ringfence};

#[test]
fn status_1_for_a_package_with_errors() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    std::fs::write(world.path("notes-1.0.0/plugin.json"), "{\"name\": \"notes\"}").unwrap();
    let error = world.run(&["install", &package, "--json"]).refused(1, "invalid_manifest");
    assert!(error["message"].as_str().unwrap().contains("plugin.json"), "{error}");
    assert_eq!(world.json(&["list"]), serde_json::json!([]));
}

#[test]
fn status_2_for_words_that_are_not_understood() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let refused = |words: &[&str], code: &str| world.run(&[words, &["--json"]].concat()).refused(2, code);
    refused(&["install", "x", "--grant-requested", "--grant-none"], "usage");
    refused(&["call", "notes", "echo", "{\"a\": }"], "usage");
    refused(&["call", "notes", "echo", "a=1", "a=2"], "usage");
    refused(&["call", "notes", "echo", "--timeout", "0"], "usage");
    refused(&["call", "notes", "echo", "[1]"], "usage");
    refused(&["why"], "usage");
    refused(&["logs", "notes", "-n", "0"], "usage");
    refused(&["call", "notes", "echo", "--no-such-flag"], "usage");
    let error = refused(&["grant", "notes", "file:raed=/srv"], "invalid_permission");
    assert!(error["message"].as_str().unwrap().contains("did you mean 'file:read'"), "{error}");
}

#[test]
fn status_3_for_what_does_not_exist_with_the_nearest_name() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let refused = |words: &[&str], code: &str| world.run(&[words, &["--json"]].concat()).refused(3, code);
    for words in [
        &["show", "notse"][..],
        &["activate", "notse"],
        &["deactivate", "notse"],
        &["uninstall", "notse"],
        &["rollback", "notse"],
        &["call", "notse", "echo"],
        &["config", "get", "notse"],
        &["config", "set", "notse", "a=1"],
        &["grants", "notse"],
        &["grant", "notse", "env:read=LANG"],
        &["revoke", "notse", "env:read=LANG"],
        &["why", "notse"],
        &["logs", "notse"],
    ] {
        let error = refused(words, "not_found");
        assert!(error.to_string().contains("'notes'"), "{words:?}: {error}");
    }
    let error = refused(&["call", "notes", "ehco"], "not_found");
    assert_eq!(error["hint"], "did you mean 'echo'?");
    refused(&["install", "nowhere"], "path_not_found");
    refused(&["call", "notes", "echo", "@nowhere.json"], "path_not_found");
    refused(&["revoke", "notes", "profile:read"], "not_found");
}

#[test]
fn status_4_without_consent_and_a_piped_yes_is_none() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    for words in [&["install", package.as_str()][..], &["activate", "notes", "--json"]] {
        let mut child = world.command(words).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            // Nobody reads it: the pipe breaks, or takes it.
            std::io::Write::write_all(&mut input, "yes\ny\nall\n".repeat(100).as_bytes()).ok();
        });
        let ran = Ran::of(&child.wait_with_output().unwrap());
        writer.join().unwrap();
        if words[0] == "install" {
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert!(ran.err.contains("waits for consent"), "{ran:?}");
        } else {
            let error = ran.refused(4, "consent_required");
            assert!(error["message"].as_str().unwrap().contains(&world.read_grant()), "{error}");
            assert!(
                error["hint"].as_str().unwrap().contains("ringfence activate notes --grant-requested"),
                "{error}"
            );
        }
    }
    assert_eq!(world.json(&["grants", "notes"]), serde_json::json!([]));
    assert_eq!(world.json(&["list"])[0]["state"], "installed");
    world.run(&["call", "notes", "echo", "--json"]).refused(4, "consent_required");
    if !crate::SERVED {
        world.run(&["logs", "notes", "-f", "--json"]).refused(4, "not_supported");
        world.run(&["top", "--json"]).refused(4, "not_supported");
    }
    // The twin: with a flag it is consent.
    world.done(&["activate", "notes", "--grant-requested"]);
    let other = world.package("2.0.0", &world.asks());
    world.run(&["install", &other, "--json"]).refused(4, "already_installed");
    world.run(&["install", "https://example.com/p.git", "--json"]).refused(4, "not_supported");
}

#[test]
fn status_5_when_the_plugin_fails_and_its_words_stay_words() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    world.run(&["call", "notes", "fail", "--json"]).refused(5, "plugin_failed");
    let ran = world.run(&["call", "notes", "fail"]);
    assert!(ran.code == Some(5) && ran.err.contains("\\u{1b}[2J") && !ran.err.contains('\u{1b}'), "{ran:?}");
    world.run(&["call", "notes", "die", "--json"]).refused(5, "plugin_failed");
    let error = world.run(&["call", "notes", "echo", "count=many", "--json"]).refused(5, "schema_violation");
    assert!(error["message"].as_str().unwrap().contains("/count"), "{error}");
    let wrong = world.run(&["config", "set", "notes", "language=xx", "--json"]);
    wrong.refused(5, "schema_violation");
    assert_eq!(world.json(&["config", "get", "notes"])["language"], "de", "nothing was changed");
}

#[test]
fn status_6_after_the_timeout() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    world.run(&["call", "notes", "sleep", "--timeout", "300ms", "--json"]).refused(6, "timeout");
    // A daemon that has to stop it first refuses calls meanwhile.
    within(|| world.run(&["call", "notes", "echo", "--timeout", "20s"]).code == Some(0));
}

#[test]
fn status_7_where_the_sandbox_cannot_be_enforced() {
    if crate::SERVED {
        // What a command may not do, its daemon may: nothing is started by the command.
        return;
    }
    let Some(world) = World::new() else { return };
    if ringfence_testkit::lacks("cc") {
        return;
    }
    let package = world.notes();
    world.done(&["install", &package, "--grant-requested"]);
    let program = deny(&world.path(""));
    let activate = |without: &str| {
        let mut command = Command::new(&program);
        command.args([without, ringfence(), "activate", "notes", "--json"]);
        Ran::of(&command.env("RINGFENCE_HOME", world.path("home")).output().unwrap())
    };
    activate("landlock").refused(7, "not_enforceable");
    assert_eq!(activate("nothing").code, Some(0));
}

#[test]
fn status_8_for_a_second_daemon_and_nobody_else() {
    let Some(world) = World::new() else { return };
    world.done(&["list"]);
    let first = (!crate::SERVED).then(|| Daemon::start(&world));
    world.run(&["serve", "--json", "--listen", "127.0.0.1:0"]).refused(8, "busy");
    world.done(&["list"]);
    world.done(&["audit", "list"]);
    drop(first);
}
