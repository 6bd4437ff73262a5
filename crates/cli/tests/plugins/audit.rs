//! The audit trail from outside: what is in it, and that a changed one is found.

use std::process::Command;

use serde_json::{Value, json};

use crate::world::World;

#[test]
fn an_export_is_every_record_and_a_prune_leaves_a_trail_that_holds() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let listed = world.json(&["audit", "list", "--oldest-first"]);
    let exported = world.done(&["audit", "export"]).out;
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, *listed["records"].as_array().unwrap());
    let later = world.done(&["audit", "export", "--from", "3"]).out;
    assert_eq!(later, exported.lines().skip(2).map(|line| format!("{line}\n")).collect::<String>());
    assert_eq!(world.json(&["audit", "prune", "--keep", "90d"])["removed"], 0);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let pruned = world.json(&["audit", "prune", "--keep", "10ms"]);
    assert!(pruned["removed"].as_u64().unwrap() >= 3, "{pruned}");
    assert_eq!(world.run(&["audit", "verify"]).code, Some(0));
    let left = world.done(&["audit", "export"]).out;
    assert!(!left.contains("\"seq\":1,"), "{left}");
    world.run(&["audit", "prune", "--keep", "none", "--json"]).refused(2, "usage");
    world.run(&["audit", "prune", "--json"]).refused(2, "usage");
}

/// Changes the database as somebody does who can write to the home.
fn edit(world: &World, sql: &str) {
    let program =
        "import sqlite3, sys\nbase = sqlite3.connect(sys.argv[1])\nbase.executescript(sys.argv[2])\n";
    let sql = format!("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_shortened; {sql}");
    let mut python = Command::new("python3");
    let status = python.args(["-c", program]).arg(world.path("home/state.db")).arg(sql).status().unwrap();
    assert!(status.success());
}

fn events(page: &Value) -> Vec<&str> {
    let records = page["records"].as_array().unwrap().iter();
    records.map(|record| record["event"].as_str().unwrap()).collect()
}

#[test]
fn what_was_done_is_listed_in_both_orders_and_by_page() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    world.run(&["call", "notes", "die"]);
    let all = world.json(&["audit", "list", "--oldest-first"]);
    let list = events(&all);
    // Once for both in a daemon; else to activate it, and for the call.
    let starts = if crate::SERVED { 1 } else { 2 };
    assert_eq!(list[..2], ["install", "consent"], "{all}");
    assert_eq!(list.iter().filter(|event| **event == "start").count(), starts, "{all}");
    assert_eq!((all["more"].as_bool(), list.last()), (Some(false), Some(&"crash")), "{all}");
    let newest = world.json(&["audit", "list"]);
    assert_eq!(events(&newest), list.iter().rev().copied().collect::<Vec<_>>());
    let crash = world.json(&["audit", "list", "--event", "crash", "--plugin", "notes"]);
    assert_eq!(events(&crash), ["crash"]);
    let id = crash["records"][0]["correlation_id"].as_str().unwrap();
    assert_eq!(events(&world.json(&["audit", "list", "--id", id])), ["crash", "start"]);
    let page = world.json(&["audit", "list", "--oldest-first", "--limit", "1", "--after", "1"]);
    assert_eq!((events(&page), &page["more"]), (vec!["consent"], &json!(true)));
    let shown = world.done(&["audit", "list", "--limit", "1"]);
    assert!(shown.out.contains("crash") && shown.err.contains("--after"), "{shown:?}");
    world.run(&["audit", "list", "--limit", "0", "--json"]).refused(2, "usage");
    world.run(&["audit", "list", "--limit", "1001", "--json"]).refused(2, "usage");
}

#[test]
fn verify_ends_with_0_for_what_was_not_touched_and_names_what_was() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let verdict = world.json(&["audit", "verify"]);
    assert_eq!(verdict["first_bad"], Value::Null);
    assert_eq!(verdict["records"], verdict["last_seq"]);
    let said = world.done(&["audit", "verify"]);
    assert!(said.err.contains("every one as it was written") && said.out.is_empty(), "{said:?}");

    edit(&world, "UPDATE audit SET body = replace(body, '1.0.0', '1.0.1') WHERE seq = 1");
    let found = world.run(&["audit", "verify", "--json"]);
    assert_eq!((found.code, &found.json()["first_bad"]["seq"]), (Some(1), &json!(1)), "{found:?}");
    let said = world.run(&["audit", "verify"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("record 1: "), "{said:?}");
}

#[test]
fn verify_finds_that_the_end_was_cut_off() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    edit(&world, "DELETE FROM audit WHERE seq > 2");
    for _ in 0..2 {
        let found = world.run(&["audit", "verify", "--json"]);
        assert_eq!((found.code, &found.json()["first_bad"]["seq"]), (Some(1), &json!(3)), "{found:?}");
    }
}
