//! What is a plugin's own, by the functions of both SDKs: data, configuration, hooks and messages, with the grant on and off.

use ringfence_api::Permission;
use serde_json::{Value, json};

use crate::asker::ASKERS;
use crate::rig::Rig;

async fn given(rig: &Rig, name: &str, function: &str, arguments: Value) -> Value {
    let said = rig.ask(name, function, arguments).await;
    said.get("result").cloned().unwrap_or_else(|| panic!("{name} {function}: {said}"))
}

async fn code(rig: &Rig, name: &str, function: &str, arguments: Value) -> Value {
    rig.ask(name, function, arguments).await.get("code").cloned().unwrap_or_default()
}

#[tokio::test]
async fn both_sdks_keep_read_list_and_delete_data() {
    let rig = Rig::new().await;
    rig.askers(&[], "").await;
    for name in ASKERS {
        for (key, value) in [
            ("note.a", json!({"text": "ä\u{1f980}", "list": [1, null]})),
            ("note.b", json!(null)),
            ("c", json!(0.5)),
        ] {
            given(&rig, name, "store_plugin_data", json!([key, value])).await;
            assert_eq!(given(&rig, name, "load_plugin_data", json!([key])).await, value, "{name}");
        }
        let listed = given(&rig, name, "list_plugin_data", json!([])).await;
        assert!(
            listed.to_string().contains("note.b") && listed.to_string().contains("\"c\""),
            "{name}: {listed}"
        );
        let listed = given(&rig, name, "list_plugin_data", json!(["note."])).await;
        assert!(
            listed.to_string().contains("note.a") && !listed.to_string().contains("\"c\""),
            "{name}: {listed}"
        );
        assert_eq!(given(&rig, name, "delete_plugin_data", json!(["c"])).await, json!(true), "{name}");
        assert_eq!(given(&rig, name, "delete_plugin_data", json!(["c"])).await, json!(false), "{name}");
        assert_eq!(
            given(&rig, name, "load_plugin_data", json!(["c", "none"])).await,
            json!("none"),
            "{name}"
        );
        assert_eq!(code(&rig, name, "store_plugin_data", json!(["", 1])).await, "invalid_params", "{name}");
        let big = "x".repeat(3_000_000);
        let refused = code(&rig, name, "store_plugin_data", json!(["big", big])).await;
        assert!(refused == "too_large" || refused == "quota", "{name}: {refused}");
    }
    // Each has its own.
    let one = given(&rig, ASKERS[0], "store_plugin_data", json!(["mine", 1])).await;
    assert_eq!(one, json!(null));
    assert_eq!(given(&rig, ASKERS[1], "load_plugin_data", json!(["mine", "none"])).await, json!("none"));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn both_sdks_read_their_configuration_and_change_it_when_that_is_granted() {
    let rig = Rig::new().await;
    let schema = "config_schema: {type: object, additionalProperties: false, properties: {target: {type: string, enum: [de, fr], default: de}}}\n";
    rig.askers(&[], schema).await;
    for name in ASKERS {
        assert_eq!(given(&rig, name, "get_config", json!([])).await, json!({"target": "de"}), "{name}");
        rig.refused(name, "set_config", json!([{"target": "fr"}]), name, &format!("config:write={name}"))
            .await;
        assert_eq!(
            rig.host.config(name).await.unwrap(),
            json!({"target": "de"}),
            "{name}: nothing was changed"
        );
        let grant: Permission = format!("config:write={name}").parse().unwrap();
        rig.host.grant(name, &[grant]).await.unwrap();
        given(&rig, name, "set_config", json!([{"target": "fr"}])).await;
        assert_eq!(given(&rig, name, "get_config", json!([])).await, json!({"target": "fr"}), "{name}");
        assert_eq!(rig.host.config(name).await.unwrap(), json!({"target": "fr"}), "{name}: it is stored");
        assert_eq!(
            code(&rig, name, "set_config", json!([{"target": "it"}])).await,
            "invalid_params",
            "{name}"
        );
        assert_eq!(
            rig.host.config(name).await.unwrap(),
            json!({"target": "fr"}),
            "{name}: what does not fit is refused"
        );
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn both_sdks_register_hooks_and_post_messages_when_that_is_granted() {
    let rig = Rig::new().await;
    rig.askers(&[], "").await;
    for name in ASKERS {
        rig.refused(name, "register_hook", json!(["onError"]), "onError", "hook:register=onError").await;
        rig.refused(name, "post_event", json!(["note.saved", 1]), "note.saved", "event:post=note.saved")
            .await;
    }
    assert!(rig.host.hooks().await.unwrap().is_empty(), "none was registered");
    rig.grant_askers(&["hook:register=onError".to_owned(), "event:post=note.*".to_owned()]).await;
    for name in ASKERS {
        given(&rig, name, "register_hook", json!(["onError"])).await;
        let hooks = rig.host.hooks().await.unwrap();
        assert!(format!("{hooks:?}").contains(name), "{name}: {hooks:?}");
        given(&rig, name, "post_event", json!(["note.saved", {"n": 1}])).await;
        rig.refused(name, "post_event", json!(["cache.clear", 1]), "cache.clear", "event:post=cache.clear")
            .await;
        rig.refused(name, "register_hook", json!(["onRequest"]), "onRequest", "hook:register=onRequest")
            .await;
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_new_file_under_a_pattern_is_told_how_it_can_be_made() {
    let rig = Rig::new().await;
    let out = rig.path("out");
    std::fs::create_dir(&out).unwrap();
    let code =
        "def keep(a):\n    with open(a['path'], 'w') as file:\n        file.write('x')\n    return 1\n";
    let permissions = |scope: &str| format!("permissions: ['file:write={}/{scope}']\n", out.display());
    rig.active("pattern", &permissions("*.md"), &["keep"], code).await;
    rig.active("whole", &permissions("**"), &["keep"], code).await;
    let path = json!({"path": out.join("new.md")});
    let refused = rig.host.call("pattern", "keep", path.clone()).await.unwrap_err();
    let hint = refused.hint().unwrap_or_default();
    assert!(hint.contains("DIR/**") && hint.contains("write_file"), "{refused}: {hint}");
    assert_eq!(rig.host.call("whole", "keep", path).await.unwrap(), 1, "the twin");
    rig.host.shutdown().await;
}
