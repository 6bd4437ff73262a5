//! From install to uninstall.

use serde_json::{Value, json};

use crate::daemon::within;
use crate::world::World;

#[test]
fn a_whole_life() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    assert!(world.done(&["list"]).err.contains("no plugin is installed"));

    let installed = world.done(&["install", &package]);
    assert!(installed.err.contains("installed notes 1.0.0") && installed.out.is_empty(), "{installed:?}");
    assert_eq!(world.json(&["list"])[0]["state"], "installed");
    let again = world.json(&["install", &package]);
    assert_eq!(
        (&again["changed"], &again["plugin"]["state"]),
        (&false.into(), &"installed".into()),
        "{again}"
    );

    assert!(world.done(&["activate", "notes", "--grant-requested"]).err.contains("notes 1.0.0 is active"));
    assert_eq!(world.json(&["list"])[0]["state"], "active");
    let path = format!("path={}", world.path("data/a.txt").display());
    assert_eq!(world.done(&["call", "notes", "read", &path]).out, "\"a note\"\n");

    assert_eq!(world.json(&["config", "get", "notes"]), serde_json::json!({"language": "de"}));
    world.done(&["config", "set", "notes", "language=fr", "key=hidden"]);
    let config = world.done(&["config", "get", "notes"]).out;
    assert!(config.contains("\"fr\"") && !config.contains("hidden"), "{config}");
    world.done(&["config", "set", "notes", "language=de"]);
    assert!(
        world.done(&["config", "get", "notes"]).out.contains("\"key\""),
        "a secret that is not named stays"
    );

    world.run(&["call", "notes", "die"]);
    assert!(world.done(&["logs", "notes"]).out.contains("status 3"));
    assert!(world.done(&["show", "notes"]).out.starts_with("notes 1.0.0: errored\n"));
    // A daemon starts it again after a moment, in which it takes no calls.
    within(|| world.run(&["call", "notes", "version"]).out == "\"1.0.0\"\n");
    assert_eq!(world.json(&["list"])[0]["state"], "active");

    world.done(&["deactivate", "notes"]);
    world.run(&["call", "notes", "version", "--json"]).refused(4, "not_active");
    world.done(&["uninstall", "notes"]);
    world.run(&["show", "notes", "--json"]).refused(3, "not_found");
    assert_eq!(world.json(&["list"]), serde_json::json!([]));
}

#[test]
fn what_is_revoked_is_refused_at_once_and_why_says_what_would_allow_it() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let (grant, file) = (world.read_grant(), world.path("data/a.txt").display().to_string());
    let path = format!("path={file}");
    world.done(&["call", "notes", "read", &path]);

    let left = world.json(&["revoke", "notes", &grant]);
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
    let refused = world.run(&["call", "notes", "read", &path]);
    assert_eq!(refused.code, Some(5), "{refused:?}");

    // A daemon records it on its own time, within a second.
    within(|| !world.json(&["why", "notes"])["denials"].as_array().unwrap().is_empty());
    let why = world.json(&["why", "notes"]);
    let denial = why["denials"].as_array().unwrap().iter().find(|denial| denial["object"] == file.as_str());
    let command = denial.unwrap_or_else(|| panic!("{why}"))["command"].as_str().unwrap().to_owned();
    assert!(world.done(&["why", "notes"]).out.contains(&command));
    assert_eq!(world.json(&["why", "--last"]), why);
    // The command that is shown is the one that helps.
    let words: Vec<&str> = command.split(' ').map(|word| word.trim_matches('\'')).collect();
    world.done(&words[1..]);
    assert_eq!(world.done(&["call", "notes", "read", &path]).out, "\"a note\"\n");
}

#[test]
fn an_upgrade_that_asks_for_more_waits_and_one_that_fails_is_put_back() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let version = || world.done(&["call", "notes", "version"]).out;
    let mut asks = world.asks();
    asks.as_array_mut().unwrap().push("profile:read".into());
    let wider = world.package("1.1.0", &asks);

    let error = world.run(&["upgrade", &wider, "--json"]).refused(4, "consent_required");
    assert!(error["message"].as_str().unwrap().contains("profile:read"), "{error}");
    assert!(error["hint"].as_str().unwrap().ends_with("--grant-requested"), "{error}");
    assert_eq!(version(), "\"1.0.0\"\n", "the old version stays");
    assert_eq!(world.json(&["show", "notes"])["pending"]["version"], "1.1.0");

    let done = world.json(&["upgrade", &wider, "--grant", "profile:read"]);
    assert_eq!((&done["done"], &done["to_version"]), (&true.into(), &"1.1.0".into()), "{done}");
    assert_eq!(version(), "\"1.1.0\"\n");
    let granted = world.json(&["grants", "notes"]).as_array().unwrap().len();
    assert_eq!(granted, 3, "--grant adds to what is granted");

    let older = world.notes();
    world.run(&["upgrade", &older, "--json"]).refused(2, "usage");
    assert_eq!(version(), "\"1.1.0\"\n", "an older version has to be asked for");
    let rolled = world.json(&["rollback", "notes"]);
    assert_eq!(rolled["to_version"], "1.0.0", "{rolled}");
    assert_eq!(version(), "\"1.0.0\"\n");

    let broken = world.package("9.0.0", &asks);
    let failed = world.run(&["upgrade", &broken, "--grant-requested", "--json"]).refused(5, "plugin_failed");
    assert!(failed["message"].as_str().unwrap().contains("1.0.0 is back"), "{failed}");
    assert_eq!(version(), "\"1.0.0\"\n");
    assert_eq!(world.json(&["grants", "notes"]).as_array().unwrap().len(), 2, "with the grants it had");
}

#[test]
fn a_new_package_is_found_and_a_broken_one_reported() {
    let Some(world) = World::new() else { return };
    world.notes();
    let plugins = world.path("home/plugins");
    std::fs::create_dir_all(plugins.join("broken")).unwrap();
    std::fs::rename(world.path("notes-1.0.0"), plugins.join("notes")).unwrap();
    let scan = world.json(&["scan"]);
    assert_eq!(scan["found"][0]["name"], "notes", "{scan}");
    assert_eq!(scan["broken"].as_array().unwrap().len(), 1, "{scan}");
    let text = world.done(&["scan"]);
    assert!(text.out.contains("notes") && text.err.contains("cannot be installed"), "{text:?}");
}

#[test]
fn a_plugin_that_is_granted_nothing_runs_and_reads_nothing() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    world.done(&["install", &package, "--grant-none"]);
    world.done(&["activate", "notes"]);
    assert_eq!(world.json(&["grants", "notes"]), serde_json::json!([]));
    let path = format!("path={}", world.path("data/a.txt").display());
    assert_eq!(world.run(&["call", "notes", "read", &path]).code, Some(5));
    assert_eq!(world.done(&["call", "notes", "version"]).out, "\"1.0.0\"\n");
    // A relative path is taken from the working directory.
    world.done(&["grant", "notes", "file:read=data/**"]);
    assert_eq!(world.json(&["grants", "notes"])[0]["permission"], world.read_grant());
    assert_eq!(world.done(&["call", "notes", "read", &path]).out, "\"a note\"\n");
}

#[test]
fn a_version_that_waits_is_refused_and_the_installed_one_stays() {
    let Some(world) = World::new() else { return };
    let world = world.with_active_notes();
    world.run(&["upgrade", "--abandon", "notes", "--json"]).refused(3, "not_found");
    let newer = world.package("1.1.0", &json!([{"permission": "env:read", "scope": ["HOME"]}]));
    world.run(&["upgrade", &newer, "--json"]).refused(4, "consent_required");
    assert_eq!(world.json(&["show", "notes"])["pending"]["version"], "1.1.0");
    for wrong in [
        &["upgrade"][..],
        &["upgrade", &newer, "--abandon", "notes"],
        &["upgrade", "--abandon", "notes", "--grant-none"],
    ] {
        assert_eq!(world.run(wrong).code, Some(2), "{wrong:?}");
    }
    let said = world.done(&["upgrade", "--abandon", "notes"]);
    assert!(said.err.contains("notes 1.1.0 is dropped, and 1.0.0 stays in place"), "{said:?}");
    let shown = world.json(&["show", "notes"]);
    assert_eq!((&shown["pending"], &shown["version"]), (&Value::Null, &json!("1.0.0")));
    let records = world.json(&["audit", "list", "--plugin", "notes"]).to_string();
    assert!(records.contains("abandoned"), "{records}");
    // The twin: it may come again, and is taken when somebody consents.
    world.done(&["upgrade", &newer, "--grant-requested"]);
    assert_eq!(world.json(&["show", "notes"])["version"], "1.1.0");
}
