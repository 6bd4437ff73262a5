//! Two commands at the same time: what one changes reaches what the other runs, and one that cannot be reached is named.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{Ran, World};

/// A change must have reached the other command by then, and be answered.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Begins a call that reads a granted file for ever, and waits until it does.
fn following(world: &World) -> Child {
    let arguments = json!({"path": world.path("data/a.txt"), "follow": true}).to_string();
    let child = world.command(&["call", "notes", "read", &arguments, "--json"]).spawn().unwrap();
    beats(world);
    child
}

fn beat(world: &World) -> Option<u64> {
    std::fs::read_to_string(world.path("home/data/notes/beat")).ok()?.parse().ok()
}

/// Waits until the loop has gone on.
fn beats(world: &World) {
    let (before, begun) = (beat(world), Instant::now());
    while beat(world).is_none() || beat(world) == before {
        assert!(begun.elapsed() < Duration::from_secs(60), "the loop goes on");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The loop has ended: nobody counts any more.
fn is_still(world: &World) {
    let before = beat(world);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(beat(world), before);
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

/// Stops the command at a moment at which it does not hold the database, which nobody else could then write to.
fn stop(world: &World, child: &Child) {
    while {
        send(child, "STOP");
        world.run(&["config", "set", "notes", "{\"language\": \"fr\"}"]).code != Some(0)
    } {
        send(child, "CONT");
        beats(world);
    }
}

/// How the call ended.
fn answer(child: Child) -> Ran {
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn a_grant_that_is_taken_back_ends_the_call_of_another_command() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let call = following(&world);
    let begun = Instant::now();
    world.done(&["revoke", "notes", &world.read_grant()]);
    let took = begun.elapsed();
    is_still(&world);
    let error = answer(call).refused(4, "permission_denied");
    assert!(took < AT_ONCE, "{took:?}");
    assert!(error["message"].as_str().unwrap().contains(&world.read_grant()), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("ringfence grant notes "), "{error}");
}

#[test]
fn what_takes_nothing_away_lets_the_call_of_another_command_go_on() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let mut call = following(&world);
    world.done(&["grant", "notes", "env:read=HOME"]);
    world.done(&["config", "set", "notes", "{\"language\": \"fr\"}"]);
    world.done(&["call", "notes", "version"]);
    world.done(&["list"]);
    for _ in 0..20 {
        beats(&world);
    }
    assert!(call.try_wait().unwrap().is_none());
    send(&call, "INT");
    answer(call).refused(130, "cancelled");
}

#[test]
fn what_is_deactivated_or_uninstalled_ends_the_call_of_another_command() {
    for (words, status, code) in
        [(&["deactivate", "notes"], 4, "not_active"), (&["uninstall", "notes"], 3, "not_found")]
    {
        let Some(world) = World::new().map(World::with_active_notes) else { return };
        let call = following(&world);
        world.done(words);
        is_still(&world);
        answer(call).refused(status, code);
    }
}

#[test]
fn a_command_that_is_stopped_is_named_after_a_while_and_follows_when_it_goes_on() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let call = following(&world);
    stop(&world, &call);
    let begun = Instant::now();
    let error = world.run(&["revoke", "notes", &world.read_grant(), "--json"]).refused(8, "busy");
    assert!(begun.elapsed() >= Duration::from_secs(10), "{:?}", begun.elapsed());
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&format!("process {}", call.id())), "{message}");
    assert!(message.contains("the change is made and stays"), "{message}");
    // It is made: whoever starts the plugin now, with the stopped one beside it, starts it with less.
    assert_eq!(world.json(&["grants", "notes"]).as_array().unwrap().len(), 1);
    let read = json!({"path": world.path("data/a.txt")}).to_string();
    world.run(&["call", "notes", "read", &read, "--json"]).refused(5, "plugin_failed");
    send(&call, "CONT");
    answer(call).refused(4, "permission_denied");
    is_still(&world);
}

#[test]
fn what_a_stopped_command_runs_keeps_its_files_until_it_has_ended() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let call = following(&world);
    stop(&world, &call);
    world.run(&["uninstall", "notes", "--json"]).refused(8, "busy");
    assert_eq!(world.json(&["list"]), json!([]));
    beats(&world);
    let count = |below: &str| std::fs::read_dir(world.path(below)).unwrap().count();
    assert_eq!((count("home/store"), count("home/data")), (1, 1));
    // Nobody gets the directory of one that still runs.
    let package = world.notes();
    world.run(&["install", &package, "--grant-requested", "--json"]).refused(8, "busy");
    send(&call, "CONT");
    answer(call).refused(3, "not_found");
    world.done(&["list"]);
    assert_eq!((count("home/store"), count("home/data"), count("home/running")), (0, 0, 0));
    world.done(&["install", &package, "--grant-requested"]);
}

#[test]
fn a_command_that_is_killed_is_not_waited_for() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let mut call = following(&world);
    call.kill().unwrap();
    let begun = Instant::now();
    world.done(&["revoke", "notes", &world.read_grant()]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    is_still(&world);
    call.wait().unwrap();
}
