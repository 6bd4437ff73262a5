//! Tokens: made once, seen once, and what comes of one that is taken back.

use serde_json::json;

use crate::daemon::{Daemon, get};
use crate::world::World;

#[test]
fn a_token_is_shown_once_and_opens_what_it_is_for_until_it_is_revoked() {
    let Some(world) = World::new() else { return };
    let daemon = Daemon::start(&world);
    let made = world.json(&["token", "create", "--role", "viewer", "--expires", "30d", "--name", "board"]);
    let members: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(members, ["id", "token", "role", "plugin", "expires_at"], "{made}");
    assert_eq!((&made["role"], &made["plugin"]), (&json!("viewer"), &json!(null)));
    let token = made["token"].as_str().unwrap();
    let address = daemon.address();
    assert!(get(&address, "/plugins", None).starts_with("HTTP/1.1 401"));
    assert!(get(&address, "/plugins", Some(token)).starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/tokens", Some(token)).starts_with("HTTP/1.1 403"), "it is no administrator's");

    let list = world.json(&["token", "list"]);
    assert_eq!((&list[0]["id"], &list[0]["name"]), (&made["id"], &json!("board")));
    let everything = format!("{list}{:?}", world.done(&["token", "list"]));
    assert!(!everything.contains(token), "{everything}");

    let id = made["id"].as_str().unwrap();
    assert_eq!(world.json(&["token", "revoke", id]), json!({"id": id, "revoked": true}));
    assert!(get(&address, "/plugins", Some(token)).starts_with("HTTP/1.1 401"));
    world.run(&["token", "revoke", id, "--json"]).refused(3, "not_found");
    let ended = daemon.end("TERM");
    assert!(ended.code == Some(0) && !ended.err.contains(token), "no secret in the log: {ended:?}");
}

#[test]
fn what_is_printed_for_people_is_the_token_alone() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let made = world.done(&["token", "create", "--role", "operator", "--plugin", "notes"]);
    assert!(made.out.starts_with("rf_") && made.out.lines().count() == 1, "{made:?}");
    assert!(
        made.err.contains("operator ") && made.err.contains(" for notes, until: ringfence token revoke"),
        "{made:?}"
    );
    assert!(!made.err.contains(made.out.trim()), "not in what a log would keep");
    world.run(&["token", "create", "--role", "root", "--json"]).refused(2, "usage");
    world.run(&["token", "create", "--role", "viewer", "--expires", "0d", "--json"]).refused(2, "usage");
    world.run(&["token", "create", "--json"]).refused(2, "usage");
    world
        .run(&["token", "create", "--role", "viewer", "--plugin", "no-such", "--json"])
        .refused(3, "not_found");
    world.run(&["token", "revoke", "x", "--json"]).refused(3, "not_found");
    assert_eq!(world.json(&["token", "list"]).as_array().unwrap().len(), 1);
}
