//! Kinds of plugins that `config.toml` names: their base classes, and the methods that all of a kind answer.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::world::World;

const MANIFEST: &str = "name: shout\nversion: 1.0.0\ntype: processor\nentry_point: shout.Shout\npermissions: []\n\
                        timeout_seconds: 5\nenabled: false\n";

/// A world whose application has the kind `processor`; `None` where the interpreter is missing.
fn world() -> Option<World> {
    let world = World::new()?;
    let base = "class Processor:\n    def process(self, message):\n        raise NotImplementedError\n";
    std::fs::create_dir_all(world.path("api/agent")).unwrap();
    std::fs::write(world.path("api/agent/__init__.py"), base).unwrap();
    std::fs::create_dir_all(world.path("home")).unwrap();
    let config = format!(
        "[plugin_types.processor]\nbase_class = \"agent.Processor\"\npath = \"{}\"\ntools = [\"process\"]\n",
        world.path("api").display()
    );
    std::fs::write(world.path("home/config.toml"), config).unwrap();
    Some(world)
}

/// Writes the package `shout` with this manifest and class; its directory.
fn package(world: &World, manifest: &str, class: &str) -> String {
    std::fs::create_dir_all(world.path("shout")).unwrap();
    std::fs::write(world.path("shout/plugin.yaml"), manifest).unwrap();
    std::fs::write(world.path("shout/shout.py"), class).unwrap();
    world.path("shout").display().to_string()
}

const SHOUT: &str = "from agent import Processor\n\nclass Shout(Processor):\n    def process(self, message):\n        \
                     return {\"text\": message[\"text\"].upper()}\n\n    def hidden(self, message):\n        return 1\n";

#[test]
fn a_class_of_a_configured_kind_answers_what_the_kind_promises_with_and_without_a_daemon() {
    let Some(world) = world() else { return };
    let package = package(&world, MANIFEST, SHOUT);
    world.done(&["check", &package]);
    world.done(&["install", &package, "--grant-requested"]);
    world.done(&["activate", "shout"]);
    let call = |tool: &str| world.run(&["call", "shout", tool, r#"{"text": "tea"}"#, "--json"]);
    let answered = json!({"text": "TEA"});
    assert_eq!(call("process").json(), answered);
    call("hidden").refused(3, "not_found");
    let shown = world.json(&["show", "shout"]);
    let tools: Vec<&Value> =
        shown["manifest"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert_eq!(tools, ["process"]);
    let daemon = Daemon::start(&world);
    assert_eq!(call("process").json(), answered);
    call("hidden").refused(3, "not_found");
    assert_eq!(daemon.end("TERM").code, Some(0));
}

#[test]
fn what_is_not_of_its_kind_is_refused() {
    let Some(world) = world() else { return };
    let stranger = "class Shout:\n    def process(self, message):\n        return message\n";
    let refused = |manifest: &str, class: &str| {
        let package = package(&world, manifest, class);
        let error =
            world.run(&["install", &package, "--grant-requested", "--json"]).refused(1, "invalid_package");
        error["message"].as_str().unwrap().to_owned()
    };
    let message = refused(MANIFEST, stranger);
    assert!(message.contains("does not derive from agent.Processor"), "{message}");
    let message = refused(&MANIFEST.replace("type: processor", "type: wizard"), SHOUT);
    assert!(message.contains("no plugin type 'wizard'"), "{message}");
    // The directory that the base class comes from is gone: nothing of it can be held true.
    std::fs::rename(world.path("api"), world.path("elsewhere")).unwrap();
    let package = package(&world, MANIFEST, SHOUT);
    let ran = world.run(&["install", &package, "--grant-requested", "--json"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.out.contains("path_not_found"), "{ran:?}");
}
