//! The MCP management server on standard input and output: every tool in both kinds of revisions, and what no client may do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::mcp_client::{Client, Speaks};
use crate::world::World;

const BOTH: [Speaks; 2] = [Speaks::Handshake, Speaks::Stateless];
const TOOLS: [&str; 8] = [
    "plugin_list",
    "plugin_install",
    "plugin_activate",
    "plugin_deactivate",
    "plugin_uninstall",
    "plugin_configure",
    "plugin_executions",
    "plugin_scan",
];

#[test]
fn there_are_eight_tools_and_each_says_what_it_takes_and_does() {
    let Some(world) = World::new() else { return };
    for speaks in BOTH {
        let mut client = Client::start(&world, speaks);
        let tools = client.tools();
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, TOOLS);
        for tool in &tools {
            for text in ["title", "description"] {
                assert!(tool[text].as_str().is_some_and(|text| !text.is_empty()), "{tool:#}");
            }
            for schema in ["inputSchema", "outputSchema"] {
                assert_eq!(tool[schema]["type"], "object", "{tool:#}");
                assert_eq!(tool[schema]["additionalProperties"], false, "{tool:#}");
                assert!(!tool[schema].to_string().contains("$ref"), "{tool:#}");
                jsonschema::meta::validate(&tool[schema]).unwrap();
            }
            let hints = tool["annotations"].as_object().unwrap();
            for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
                assert!(hints[hint].is_boolean(), "{tool:#}");
            }
        }
        let hinted = |hint: &str| -> BTreeSet<&str> {
            let has = tools.iter().filter(|tool| tool["annotations"][hint] == true);
            has.map(|tool| tool["name"].as_str().unwrap()).collect()
        };
        assert_eq!(
            hinted("readOnlyHint"),
            BTreeSet::from(["plugin_list", "plugin_executions", "plugin_scan"])
        );
        assert!(hinted("destructiveHint").contains("plugin_uninstall"));
        assert!(client.end().1.success());
    }
}

#[test]
fn each_tool_does_its_work_and_consent_stays_a_persons() {
    for speaks in BOTH {
        let Some(world) = World::new() else { return };
        a_life(&world, speaks);
    }
}

fn a_life(world: &World, speaks: Speaks) {
    let package = world.notes();
    let named = json!({"name": "notes"});
    let mut client = Client::start(world, speaks);
    assert_eq!(client.done("plugin_list", &json!({})), json!({"plugins": [], "more": 0}));

    let installed = client.done("plugin_install", &json!({"path": package}));
    assert_eq!((&installed["changed"], &installed["plugin"]["state"]), (&json!(true), &json!("installed")));
    assert_eq!(installed["plugin"]["consent"]["command"], "ringfence activate notes");
    let asks: Vec<&str> =
        installed["asks"].as_array().unwrap().iter().map(|ask| ask["permission"].as_str().unwrap()).collect();
    assert_eq!(asks, [world.read_grant().as_str(), "env:read=LANG"]);
    assert_eq!(installed["asks"][0]["reason"], "to read\\nnotes");
    assert_eq!(installed["asks"][0]["granted"], false);
    let again = client.done("plugin_install", &json!({"path": package}));
    assert_eq!((&again["changed"], &again["plugin"]["state"]), (&json!(false), &json!("installed")));

    // Nothing is granted, nothing ran, and nothing that a client can say changes that.
    assert_eq!(world.json(&["grants", "notes"]), json!([]));
    assert_eq!(events(world, "start"), Vec::<Value>::new());
    let refused = client.refused("plugin_activate", &named, "consent_required");
    assert!(refused["hint"].as_str().unwrap().contains("ringfence activate notes"), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("env:read=LANG"), "{refused}");
    for more in ["grant", "grants", "consent", "grant_requested"] {
        client.refused("plugin_activate", &json!({"name": "notes", more: true}), "usage");
        client.refused("plugin_install", &json!({"path": package, more: ["env:read=LANG"]}), "usage");
    }
    assert_eq!(events(world, "start"), Vec::<Value>::new());

    // The twin: a person consents, and the same call is done.
    world.done(&["install", &package, "--grant-requested"]);
    assert_eq!(client.done("plugin_activate", &named)["plugin"]["state"], "active");
    configured(&mut client, world);

    world.done(&["call", "notes", "echo", "text=hi"]);
    let calls = client.done("plugin_executions", &json!({"limit": 1}));
    assert_eq!((&calls["calls"][0]["plugin"], &calls["calls"][0]["tool"]), (&json!("notes"), &json!("echo")));
    let before = calls["calls"][0]["seq"].clone();
    let older = client.done("plugin_executions", &json!({"before": before, "name": "notes"}));
    assert!(older["calls"].as_array().unwrap().iter().all(|call| call["seq"].as_i64() < before.as_i64()));

    assert_eq!(client.done("plugin_deactivate", &named)["plugin"]["state"], "inactive");
    client.refused(
        "plugin_install",
        &json!({"path": world.package("2.0.0", &json!([]))}),
        "already_installed",
    );
    let gone = client.done("plugin_uninstall", &json!({"name": "notes", "keep_data": true}));
    assert_eq!(gone, json!({"name": "notes", "data_kept": true}));
    client.refused("plugin_uninstall", &named, "not_found");
    assert_eq!(world.json(&["list"]), json!([]));
    by_mcp(world);
    assert!(client.end().1.success());
}

/// Reads and changes the configuration; a secret never comes back.
fn configured(client: &mut Client, world: &World) {
    let read = client.done("plugin_configure", &json!({"name": "notes"}));
    assert_eq!((&read["config"], &read["changed"]), (&json!({"language": "de"}), &json!(false)));
    assert_eq!(read["schema"]["properties"]["key"]["writeOnly"], true);
    let set = json!({"name": "notes", "set": {"language": "fr", "key": "open sesame"}});
    let changed = client.call("plugin_configure", &set);
    assert_eq!(changed["structuredContent"]["config"], json!({"language": "fr", "key": "***"}));
    assert!(!changed.to_string().contains("sesame"), "{changed:#}");
    client.refused(
        "plugin_configure",
        &json!({"name": "notes", "set": {"language": "xx"}}),
        "schema_violation",
    );
    client.refused("plugin_configure", &json!({"name": "notes", "set": 5}), "usage");
    assert_eq!(world.json(&["config", "get", "notes"])["language"], "fr");
}

/// The records of one kind of event.
fn events(world: &World, event: &str) -> Vec<Value> {
    let mut records: Vec<Value> = Vec::new();
    for line in world.json(&["audit", "list", "--event", event])["records"].as_array().unwrap() {
        records.push(line.clone());
    }
    records
}

/// Each act is one record, under the name of this way in.
fn by_mcp(world: &World) {
    for event in ["install", "config", "uninstall"] {
        let records = events(world, event);
        assert_eq!(records.len(), 1, "{event}: {records:#?}");
        let by = records[0]["body"]["by"].as_str().unwrap();
        assert!(by.starts_with("mcp, uid "), "{event}: {by}");
    }
    let consents = events(world, "consent");
    assert!(!consents.is_empty());
    for record in consents {
        assert!(record["body"]["by"].as_str().unwrap().starts_with("command line"), "{record:#}");
    }
}

#[test]
fn a_plugin_that_asks_for_nothing_waits_all_the_same() {
    let Some(world) = World::new() else { return };
    let package = world.package("1.0.0", &json!([]));
    let manifest = std::path::Path::new(&package).join("plugin.json");
    let text = std::fs::read_to_string(&manifest).unwrap().replacen('{', "{\"enabled_by_default\": true,", 1);
    std::fs::write(&manifest, text).unwrap();
    let mut client = Client::start(&world, Speaks::Stateless);
    let installed = client.done("plugin_install", &json!({"path": package}));
    assert_eq!((&installed["plugin"]["state"], &installed["asks"]), (&json!("installed"), &json!([])));
    client.refused("plugin_activate", &json!({"name": "notes"}), "consent_required");
    assert_eq!(events(&world, "start"), Vec::<Value>::new());
    // The twin: installed by a person, it starts at once.
    client.done("plugin_uninstall", &json!({"name": "notes"}));
    assert_eq!(world.json(&["install", &package])["plugin"]["state"], "active");
    assert_eq!(events(&world, "start").len(), 1);
    assert!(client.end().1.success());
}

#[test]
fn a_class_is_not_even_imported_before_somebody_consents() {
    let Some(world) = World::new() else { return };
    let package = world.path("classy");
    std::fs::create_dir(&package).unwrap();
    let manifest =
        "name: classy\nversion: 1.0.0\nruntime: python\nentry_point: main:Missing\ntools: [{name: hi}]\n";
    std::fs::write(package.join("plugin.yaml"), manifest).unwrap();
    std::fs::write(package.join("main.py"), "raise SystemExit('this was executed')\n").unwrap();
    let path = package.display().to_string();
    let mut client = Client::start(&world, Speaks::Stateless);
    let installed = client.done("plugin_install", &json!({"path": path}));
    assert_eq!(installed["plugin"]["state"], "installed");
    // The twin: a person's installation looks at the class, which executes it in a sandbox.
    client.done("plugin_uninstall", &json!({"name": "classy"}));
    let refused = world.run(&["install", &path, "--json"]).json();
    assert!(refused["error"]["message"].as_str().is_some(), "{refused}");
    assert!(client.end().1.success());
}

#[test]
fn no_client_releases_a_quarantine() {
    let Some(world) = World::new() else { return };
    let world = world.with_active_notes();
    for _ in 0..60 {
        let failed = world.run(&["call", "notes", "die", "--json"]).json();
        if failed["error"]["code"] == "quarantined" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let mut client = Client::start(&world, Speaks::Handshake);
    assert_eq!(client.done("plugin_list", &json!({}))["plugins"][0]["state"], "quarantined");
    let refused = client.refused("plugin_activate", &json!({"name": "notes"}), "quarantined");
    assert!(refused["hint"].as_str().unwrap().contains("a person"), "{refused}");
    assert_eq!(world.json(&["list"])[0]["state"], "quarantined");
    // The twin: a person does.
    world.done(&["activate", "notes"]);
    assert_eq!(client.done("plugin_activate", &json!({"name": "notes"}))["plugin"]["state"], "active");
    assert!(client.end().1.success());
}

#[test]
fn packages_are_found_and_looked_at_without_running_them() {
    let Some(world) = World::new() else { return };
    let plugins = world.path("home/plugins");
    std::fs::create_dir_all(plugins.join("broken")).unwrap();
    std::fs::write(plugins.join("broken/plugin.json"), "{\"name\": 5, \"\u{202e}\": 1}").unwrap();
    let good = plugins.join("good");
    std::fs::create_dir(&good).unwrap();
    let manifest = "name: good\nversion: 1.0.0\nruntime: python\nentry_point: main.py\ntools: [{name: hi}]\n";
    std::fs::write(good.join("plugin.yaml"), manifest).unwrap();
    std::fs::write(good.join("main.py"), "def hi(a):\n    return eval(a['x'])\n").unwrap();
    let mut client = Client::start(&world, Speaks::Stateless);
    let all = client.done("plugin_scan", &json!({}));
    assert_eq!((&all["found"][0]["name"], &all["broken"].as_array().unwrap().len()), (&json!("good"), &1));
    assert!(all["found"][0]["findings"][0].as_str().unwrap().contains("dynamic-code"), "{all:#}");
    let one = client.done("plugin_scan", &json!({"path": good}));
    assert_eq!(one["code"]["scanned"], true);
    assert!(one["code"]["findings"][0].as_str().unwrap().starts_with("main.py:2 dynamic-code"), "{one:#}");
    for path in ["good", "./good", "", "~/good", "/a\u{0}b"] {
        client.refused("plugin_scan", &json!({"path": path}), "usage");
        client.refused("plugin_install", &json!({"path": path}), "usage");
    }
    client.refused("plugin_scan", &json!({"path": "/no/such/place"}), "path_not_found");
    client.refused("plugin_install", &json!({"path": "/no/such/place"}), "path_not_found");
    assert_eq!(client.done("plugin_list", &json!({}))["plugins"], json!([]));
    assert!(client.end().1.success());
}
