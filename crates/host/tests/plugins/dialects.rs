//! Plugins of other hosts, as they are: installed, activated and called.

use ringfence::plugin::Consent;
use serde_json::{Value, json};

use crate::rig::Rig;

/// Installs with all that is asked for, activates, and calls.
async fn answer(rig: &Rig, name: &str, files: &[(&str, &str)], tool: &str, arguments: Value) -> Value {
    let package = rig.package(name, files);
    rig.host
        .install(&package, Consent::Requested)
        .await
        .unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
    rig.host.activate(name).await.unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
    rig.host.call(name, tool, arguments).await.unwrap_or_else(|error| panic!("{name}: {}", error.chain()))
}

/// A script that speaks the older wire form and never flushes.
const LEGACY_PYTHON: &str = r#"import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "init":
        answer = {"id": message["id"], "result": {}}
    elif message["method"] == "call":
        answer = {"id": message["id"], "result": message["params"]["arguments"]}
    else:
        answer = {"id": message["id"], "error": "unknown method"}
    print(json.dumps(answer))
"#;

const LEGACY_NODE: &str = r#"require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line);
  if (method === 'init') console.log(JSON.stringify({ id, result: true }));
  else if (method === 'call') console.log(JSON.stringify({ id, result: params.arguments }));
  else console.log(JSON.stringify({ id, error: 'unknown method' }));
});
"#;

#[tokio::test]
async fn a_script_of_the_dialect_with_capabilities_speaks_for_itself() {
    let rig = Rig::new().await;
    let python = r#"{"id": "old-python", "capabilities": ["echo"], "entry_point": "plugin.py"}"#;
    let files = [("plugin.json", python), ("plugin.py", LEGACY_PYTHON)];
    assert_eq!(answer(&rig, "old-python", &files, "echo", json!({"x": 1})).await, json!({"x": 1}));
    let node = r#"{"id": "old-node", "capabilities": ["echo"], "entry_point": "plugin.cjs"}"#;
    let files = [("plugin.json", node), ("plugin.cjs", LEGACY_NODE)];
    assert_eq!(answer(&rig, "old-node", &files, "echo", json!({"y": 2})).await, json!({"y": 2}));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_module_of_the_dialect_with_main_is_activated() {
    let rig = Rig::new().await;
    let manifest = r#"{"name": "old_main", "version": "1.0", "main": "./index.js", "requires": {"permissions": ["env"]}}"#;
    let package = rig
        .package("old-main", &[("plugin.json", manifest), ("index.js", "exports.onRequest = () => null;\n")]);
    rig.host.install(&package, Consent::Requested).await.unwrap();
    rig.host.activate("old-main").await.unwrap_or_else(|error| panic!("{}", error.chain()));
    let shown = rig.host.show("old-main").await.unwrap();
    assert_eq!(shown.version.to_string(), "1.0.0");
    rig.host.shutdown().await;
}
