//! Consent at a terminal, and signals.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{Ran, World, ringfence};

/// Types these lines at a terminal, each when it is asked for.
fn typed(world: &World, words: &[&str], lines: &str) -> Ran {
    typed_after(world, words, lines, "")
}

/// The same, where something else happens before each answer.
fn typed_after(world: &World, words: &[&str], lines: &str, meanwhile: &str) -> Ran {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/terminal.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(ringfence()).args(words).env("RINGFENCE_HOME", world.path("home"));
    command.env("MEANWHILE", meanwhile);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn each_permission_is_asked_for_and_only_what_is_answered_is_granted() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    let ran = typed(&world, &["install", &package], "y\nn\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("the author says: \"to read\\nnotes\""), "{ran:?}");
    assert!(ran.out.contains("(1 of 2, required) Let it read files below "), "{ran:?}");
    assert!(ran.out.contains("(2 of 2, optional) Let it read the environment variable LANG?"), "{ran:?}");
    let grants = world.json(&["grants", "notes"]);
    assert_eq!(grants.as_array().unwrap().len(), 1, "{grants}");
    assert_eq!(grants[0]["permission"], world.read_grant());
    world.done(&["activate", "notes"]);
    let shown = typed(&world, &["call", "notes", "echo", "{\"a\": [1]}"], "");
    assert!(shown.out.contains("{\n  \"a\": [\n    1\n  ]\n}\n"), "{shown:?}");
}

#[test]
fn a_required_one_that_is_refused_stops_nothing() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    world.done(&["install", &package]);
    let ran = typed(&world, &["activate", "notes"], "none\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let without = format!("the plugin may not work without {}", world.read_grant());
    assert!(ran.out.contains(&without) && ran.out.contains("notes 1.0.0 is active"), "{ran:?}");
    assert_eq!(world.json(&["grants", "notes"]), serde_json::json!([]));
}

#[test]
fn who_leaves_has_not_consented() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    world.done(&["install", &package]);
    for leaving in ["^C\n", "^D\n", "y\n^C\n", "y\n^D\n"] {
        let ran = typed(&world, &["activate", "notes"], leaving);
        assert_eq!(ran.code, Some(4), "{leaving:?}: {ran:?}");
        assert!(ran.out.contains("nobody has consented"), "{ran:?}");
        assert_eq!(world.json(&["list"])[0]["state"], "installed");
    }
    assert_eq!(typed(&world, &["activate", "notes"], "all\n").code, Some(0));
}

#[test]
fn an_upgrade_is_asked_for_what_is_new() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let mut asks = world.asks();
    asks.as_array_mut().unwrap().push("profile:read".into());
    let wider = world.package("1.1.0", &asks);
    let ran = typed(&world, &["upgrade", &wider], "y\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("(1 of 1, required) Let it read the user's profile, by the host?"), "{ran:?}");
    assert_eq!(world.json(&["grants", "notes"]).as_array().unwrap().len(), 3);
    assert_eq!(world.done(&["call", "notes", "version"]).out, "\"1.1.0\"\n");
}

#[test]
fn what_changed_while_a_person_was_asked_is_not_consented_to() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    world.done(&["install", &package]);
    let other = world.package("1.1.0", &world.asks());
    let meanwhile = format!("'{0}' uninstall notes && '{0}' install '{other}'", ringfence());
    let ran = typed_after(&world, &["activate", "notes"], "all\n", &meanwhile);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.out.contains("was changed while you were asked"), "{ran:?}");
    assert_eq!(world.json(&["grants", "notes"]), serde_json::json!([]));
}

#[test]
fn a_person_sees_how_far_a_call_is_and_a_program_only_the_result() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let seen = typed(&world, &["call", "notes", "pages"], "");
    assert!(seen.out.contains("\r50 %  page 2\u{1b}[K") && seen.out.ends_with("\r\u{1b}[K3\n"), "{seen:?}");
    let piped = world.done(&["call", "notes", "pages"]);
    assert!(piped.out == "3\n" && piped.err.is_empty(), "{piped:?}");
}

#[test]
fn a_signal_ends_a_call_in_order_and_leaves_no_process() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let Some(world) = World::new().map(World::with_active_notes) else { return };
        ended_by(&world, &["call", "notes", "sleep", "--json"], "sleeping", (signal, status));
        assert_eq!(world.done(&["call", "notes", "version"]).out, "\"1.0.0\"\n", "it is active as before");
    }
}

#[test]
fn a_signal_ends_a_start_that_hangs() {
    let Some(world) = World::new() else { return };
    let package = world.package("8.0.0", &world.asks());
    world.done(&["install", &package, "--grant-requested"]);
    ended_by(&world, &["activate", "notes", "--json"], "hanging", ("INT", 130));
    assert_ne!(world.json(&["list"])[0]["state"], "active");
}

/// Starts a command, waits until the plugin has logged `log`, and ends the command with a signal.
fn ended_by(world: &World, words: &[&str], log: &str, (signal, status): (&str, i32)) {
    let mut child = world.command(words).spawn().unwrap();
    wait_for_log(world, log);
    assert_ne!(processes(world), 0, "it is seen while it runs");
    let begun = Instant::now();
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status().unwrap();
    assert!(sent.success());
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(status), "{said}");
    assert!(said.contains("\"cancelled\""), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(processes(world), 0, "nothing of the plugin is left");
}

/// How many processes execute something of this world's store.
fn processes(world: &World) -> usize {
    let store = world.path("home/store").display().to_string();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let words = all.map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
    words.filter(|words| String::from_utf8_lossy(words).contains(&store)).count()
}

/// Waits until the plugin has logged this.
fn wait_for_log(world: &World, text: &str) {
    let begun = Instant::now();
    let log = world.path("home/logs/notes.jsonl");
    while !std::fs::read_to_string(&log).unwrap_or_default().contains(text) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it has never begun");
        std::thread::sleep(Duration::from_millis(5));
    }
}
