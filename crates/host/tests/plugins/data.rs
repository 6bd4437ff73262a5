//! Private data and configuration: kept, bounded, private, told.

use ringfence::plugin::{Consent, KeepData};
use ringfence::{Config, ErrorKind};
use ringfence_api::ErrorCode;
use serde_json::json;

use crate::rig::Rig;

const KEEPER: &str = "from ringfence import host\ndef put(a):\n    host.store_plugin_data(a['key'], a['value'])\ndef get(a):\n    return host.load_plugin_data(a['key'])\ndef keys(a):\n    return host.list_plugin_data('')\ndef big(a):\n    host.store_plugin_data('big', 'x' * a['bytes'])\n";
const TOOLS: &[&str] = &["put", "get", "keys", "big"];

#[tokio::test]
async fn values_outlive_the_process_and_belong_to_one_plugin() {
    let rig = Rig::new().await;
    rig.active("keeper", "", TOOLS, KEEPER).await;
    rig.host.call("keeper", "put", json!({"key": "a", "value": {"n": [1, 2]}})).await.unwrap();
    rig.host.deactivate("keeper").await.unwrap();
    rig.host.activate("keeper").await.unwrap();
    assert_eq!(rig.host.call("keeper", "get", json!({"key": "a"})).await.unwrap(), json!({"n": [1, 2]}));
    rig.active("other", "", TOOLS, KEEPER).await;
    assert_eq!(rig.host.call("other", "get", json!({"key": "a"})).await.unwrap(), json!(null));
    // Another author of the same name inherits nothing, although the data is kept.
    rig.host.uninstall("keeper", KeepData::Yes).await.unwrap();
    let stranger = rig.python_package("keeper", "1.0.1", "author: Somebody Else\n", TOOLS, KEEPER);
    rig.host.install(&stranger, Consent::Requested).await.unwrap();
    rig.host.activate("keeper").await.unwrap();
    assert_eq!(rig.host.call("keeper", "get", json!({"key": "a"})).await.unwrap(), json!(null));
    // The same author finds it again.
    rig.host.uninstall("keeper", KeepData::No).await.unwrap();
    rig.active("keeper", "", TOOLS, KEEPER).await;
    assert_eq!(rig.host.call("keeper", "get", json!({"key": "a"})).await.unwrap(), json!({"n": [1, 2]}));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn the_quota_is_exact_and_nothing_is_lost_at_it() {
    let config = Config::parse("[plugins]\ndata_size = \"10KB\"\n").unwrap();
    let rig = Rig::with(config).await;
    rig.active("keeper", "", TOOLS, KEEPER).await;
    rig.host.call("keeper", "put", json!({"key": "a", "value": 1})).await.unwrap();
    let over = rig.host.call("keeper", "big", json!({"bytes": 20_000})).await.unwrap_err();
    assert_eq!(over.kind(), ErrorKind::PluginFailed, "{over}");
    assert!(over.message().contains("10000 is the most"), "{over}");
    assert_eq!(rig.host.call("keeper", "keys", json!({})).await.unwrap()[0], json!(["a"]));
    rig.host.call("keeper", "big", json!({"bytes": 5_000})).await.unwrap();
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_default_that_was_only_seen_is_that_of_the_next_version() {
    let schema = |preset: &str| {
        format!(
            "config_schema: {{type: object, properties: {{target: {{default: {preset}}}, tone: {{type: string}}, keys: {{additionalProperties: {{writeOnly: true}}}}}}}}\n"
        )
    };
    let code = "seen = {}\ndef initialize(config):\n    seen['config'] = config\ndef show(a):\n    return seen['config']\n";
    let rig = Rig::new().await;
    rig.active("configured", &schema("de"), &["show"], code).await;
    rig.host.set_config("configured", json!({"keys": {"a": "s1", "b": "s2"}})).await.unwrap();
    rig.host.change_config("configured", json!({"tone": "warm"})).await.unwrap();
    // What was read is written back whole.
    let shown = rig.host.config("configured").await.unwrap();
    assert_eq!(shown, json!({"keys": {"a": "***", "b": "***"}, "tone": "warm", "target": "de"}));
    rig.host.set_config("configured", shown).await.unwrap();
    let next = rig.python_package("configured", "2.0.0", &schema("fr"), &["show"], code);
    rig.host
        .upgrade(&next, ringfence::plugin::Consent::Requested, ringfence::host::UpgradeOptions::default())
        .await
        .unwrap();
    let told = rig.call("configured", "show").await.unwrap();
    assert_eq!(told, json!({"keys": {"a": "s1", "b": "s2"}, "tone": "warm", "target": "fr"}));
    rig.host.shutdown().await;
}

const SCHEMA: &str = "config_schema: {type: object, additionalProperties: false, properties: {target: {type: string, enum: [de, fr], default: de}, token: {type: string, writeOnly: true}}}\n";
const CONFIGURED: &str = "from ringfence import host\nseen = {}\ndef initialize(config):\n    seen['config'] = config\ndef config_changed(config):\n    seen['config'] = config\ndef show(a):\n    return seen['config']\n";

#[tokio::test]
async fn a_configuration_is_judged_told_at_once_and_its_secrets_never_shown() {
    let rig = Rig::new().await;
    rig.active("configured", SCHEMA, &["show"], CONFIGURED).await;
    assert_eq!(rig.host.config("configured").await.unwrap(), json!({"target": "de"}));
    let wrong = rig.host.set_config("configured", json!({"target": "it", "extra": 1})).await.unwrap_err();
    assert_eq!(wrong.code(), ErrorCode::SchemaViolation);
    assert!(wrong.message().contains("/target"), "{wrong}");
    assert_eq!(rig.call("configured", "show").await.unwrap(), json!({"target": "de"}));

    let shown = rig.host.set_config("configured", json!({"target": "fr", "token": "s3cret"})).await.unwrap();
    assert_eq!(shown, json!({"target": "fr", "token": "***"}));
    assert_eq!(rig.call("configured", "show").await.unwrap(), json!({"target": "fr", "token": "s3cret"}));
    rig.host.set_config("configured", json!({"target": "de", "token": "***"})).await.unwrap();
    assert_eq!(rig.call("configured", "show").await.unwrap(), json!({"target": "de", "token": "s3cret"}));
    // One member is set: the secret stays, unseen.
    let shown = rig.host.change_config("configured", json!({"target": "fr"})).await.unwrap();
    assert_eq!(shown, json!({"target": "fr", "token": "***"}));
    assert_eq!(rig.call("configured", "show").await.unwrap(), json!({"target": "fr", "token": "s3cret"}));
    let none = rig.host.set_config("configured", json!({})).await.unwrap();
    assert_eq!(none, json!({"target": "de"}));
    let error = rig.host.change_config("configured", json!({"token": "***"})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Usage, "{error}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_plugin_changes_its_configuration_only_when_that_is_granted() {
    let code = "from ringfence import host, PermissionDenied\ndef change(a):\n    try:\n        host.set_config({'target': 'fr'})\n        return 'changed'\n    except PermissionDenied as denied:\n        return [denied.layer, denied.grant]\n";
    let rig = Rig::new().await;
    rig.active("vain", SCHEMA, &["change"], code).await;
    let denied = rig.call("vain", "change").await.unwrap();
    assert_eq!(denied, json!(["host_api", "config:write=vain"]));
    assert_eq!(rig.host.config("vain").await.unwrap(), json!({"target": "de"}));
    rig.host.grant("vain", &["config:write=vain".parse().unwrap()]).await.unwrap();
    assert_eq!(rig.call("vain", "change").await.unwrap(), "changed");
    assert_eq!(rig.host.config("vain").await.unwrap(), json!({"target": "fr"}));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_data_directory_that_grows_too_large_stops_the_plugin_and_a_small_one_does_not() {
    let code = "import os, time\ndef fill(a):\n    place = os.environ['RINGFENCE_DATA_DIR']\n    for n in range(a['files']):\n        with open(f'{place}/{n}', 'wb') as file:\n            file.write(b'x' * 100_000)\n            file.flush()\n        time.sleep(0.01)\n    time.sleep(a['wait'])\n    return 'filled'\n";
    let config = Config::parse("[plugins]\ndata_size = \"1MB\"\n").unwrap();
    let rig = Rig::with(config).await;
    rig.active("hoarder", "", &["fill"], code).await;
    assert_eq!(rig.host.call("hoarder", "fill", json!({"files": 5, "wait": 0.5})).await.unwrap(), "filled");
    let error = rig.host.call("hoarder", "fill", json!({"files": 200, "wait": 5})).await.unwrap_err();
    assert!(error.message().contains("1000000 is the most"), "{error}");
    rig.host.shutdown().await;
}

/// Writes as many files of 100 KB as it was told when it is stopped: between two looks, and after the last call.
const LATE: &str = "import os\ntold = {}\ndef later(a):\n    told['files'] = a['files']\n    return 'later'\ndef shutdown():\n    place = os.environ['RINGFENCE_DATA_DIR']\n    for n in range(told.get('files', 0)):\n        with open(f'{place}/{n}', 'wb') as file:\n            file.write(b'x' * 100_000)\n";

#[tokio::test]
async fn short_calls_get_no_further_than_the_quota_and_go_on_when_there_is_room_again() {
    let rig = Rig::with(Config::parse("[plugins]\ndata_size = \"1MB\"\n").unwrap()).await;
    rig.active("hoarder", "", &["later"], LATE).await;
    let run = async |files: u64| {
        rig.host.call("hoarder", "later", json!({"files": files})).await.unwrap();
        rig.host.deactivate("hoarder").await.unwrap();
    };
    run(5).await;
    assert_eq!(rig.host.show("hoarder").await.unwrap().recent_crashes, 0, "within its quota");
    rig.host.activate("hoarder").await.unwrap();
    run(20).await;

    // The excess is a breach like any other, although nobody looked while it was made.
    assert_eq!(rig.host.show("hoarder").await.unwrap().recent_crashes, 1);
    let logs = rig.host.logs("hoarder", 100).await.unwrap();
    assert!(logs.iter().any(|line| line.message.contains("1000000 is the most")), "{logs:?}");
    // It is refused as often as it is tried, and never counted as a failure of its own.
    let data = rig.host.home().path().join("data/hoarder");
    for _ in 0..8 {
        let refused = rig.host.activate("hoarder").await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Quota, "{refused}");
        let hint = refused.hint().unwrap();
        assert!(hint.contains(data.to_str().unwrap()) && hint.contains("data_size"), "{hint}");
        let called = rig.host.call("hoarder", "later", json!({"files": 0})).await.unwrap_err();
        assert_eq!(called.code(), ErrorCode::Quota, "{called}");
    }
    let shown = rig.host.show("hoarder").await.unwrap();
    assert_eq!((shown.state, shown.recent_crashes), (ringfence_api::PluginState::Errored, 1));
    assert!(shown.reason.unwrap().contains("1000000 is the most"));

    // What the hint says.
    for number in 5..20 {
        std::fs::remove_file(data.join(number.to_string())).unwrap();
    }
    rig.host.activate("hoarder").await.unwrap();
    run(5).await;
    assert_eq!(rig.host.show("hoarder").await.unwrap().recent_crashes, 1);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn the_number_of_keys_is_what_the_administrator_says() {
    let rig = Rig::with(Config::parse("[plugins]\ndata_keys = 2\n").unwrap()).await;
    rig.active("keeper", "", TOOLS, KEEPER).await;
    let put = |key: &'static str| rig.host.call("keeper", "put", json!({"key": key, "value": 1}));
    put("a").await.unwrap();
    put("b").await.unwrap();
    let over = put("c").await.unwrap_err();
    assert!(over.message().contains("2 is the most"), "{over}");
    put("a").await.unwrap();
    rig.host.shutdown().await;
}
