//! MCP-15: a plugin is reached by the command line, over HTTP, by MCP and through the library. Whichever it is, the policy decides
//! the same, and each act is one record.

use std::os::unix::net::UnixStream;

use ringfence::{Config, Home, Host};
use serde_json::{Value, json};

use crate::daemon::{Daemon, ask};
use crate::mcp_client::{Client, Speaks};
use crate::world::World;

/// A way to a plugin, and how the audit trail names who comes by it.
const WAYS: [(&str, &str); 4] = [
    ("command line", "socket, uid "),
    ("http", "socket, uid "),
    ("mcp", "mcp, "),
    ("library", "application"),
];

/// The code of what `activate` or `deactivate` was refused with; `None` when it was done.
fn act(world: &World, way: &str, act: &str) -> Option<String> {
    let code = |document: &Value| Some(document["error"]["code"].as_str()?.to_owned());
    match way {
        "command line" => {
            let ran = world.run(&[act, "notes", "--json"]);
            code(&ran.json())
        }
        "http" => {
            let stream = UnixStream::connect(world.path("home/daemon.sock")).unwrap();
            let request = format!("POST /api/v1/plugins/notes/{act}");
            code(&ask(stream, &request, "application/json", b"").unwrap().1)
        }
        "mcp" => {
            let mut client = Client::start(world, Speaks::Stateless);
            let answer = client.call(&format!("plugin_{act}"), &json!({"name": "notes"}));
            assert!(client.end().1.success());
            code(&answer["structuredContent"])
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let home = Home::at(world.path("home"));
                let builder = Host::builder().home(home).config(Config::default()).actor("application");
                let host = builder.build().await.unwrap();
                let done = match act {
                    "activate" => host.activate("notes").await,
                    _ => host.deactivate("notes").await,
                };
                host.shutdown().await;
                done.err().map(|error| error.code().to_string())
            })
        }
    }
}

fn records(world: &World, event: &str) -> Vec<Value> {
    world.json(&["audit", "list", "--event", event])["records"].as_array().unwrap().clone()
}

#[test]
fn mcp_15_every_way_to_a_plugin_is_one_decision_and_one_record() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let daemon = Daemon::start(&world);
    world.done(&["deactivate", "notes"]);
    for (way, by) in WAYS {
        for event in ["activate", "deactivate"] {
            let before = records(&world, event).len();
            assert_eq!(act(&world, way, event), None, "{way}: {event}");
            let after = records(&world, event);
            assert_eq!(after.len(), before + 1, "{way}: {event}: {after:#?}");
            let newest = after.iter().max_by_key(|record| record["seq"].as_i64()).unwrap();
            let named = newest["body"]["by"].as_str().unwrap();
            assert!(named.starts_with(by), "{way}: {event} by {named}");
        }
    }
    std::fs::write(world.path("home/policy.new"), "[install]\nblocked_names = [\"notes\"]\n").unwrap();
    std::fs::rename(world.path("home/policy.new"), world.path("home/policy.toml")).unwrap();
    for (way, _) in WAYS {
        let before = records(&world, "activate").len();
        assert_eq!(act(&world, way, "activate").as_deref(), Some("policy_denied"), "{way}");
        assert_eq!(records(&world, "activate").len(), before, "{way}");
    }
    assert_eq!(daemon.end("TERM").code, Some(0));
}
