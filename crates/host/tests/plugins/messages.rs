//! Messages between plugins and from the application.

use std::time::Duration;

use ringfence::Error;
use ringfence::host::{EventOptions, ReceiverOutcome};
use ringfence_api::ErrorCode;
use serde_json::{Value, json};

use crate::rig::Rig;

const LISTENS: &str = "import json, os\nfrom ringfence import host\nPATH = os.environ['RINGFENCE_DATA_DIR'] + '/heard'\n\
    def handle_event(topic, payload):\n    open(PATH, 'a').write(json.dumps([topic, payload]) + '\\n')\n\
    def heard(arguments):\n    return [json.loads(line) for line in open(PATH)] if os.path.exists(PATH) else []\n\
    def post(arguments):\n    host.post_event(arguments['topic'], arguments.get('payload'))\n";

fn granted(topic: &str) -> String {
    format!("permissions: ['event:post={topic}']\n")
}

async fn post(rig: &Rig, name: &str, topic: &str, payload: Value) -> Result<Value, Error> {
    rig.host.call(name, "post", json!({"topic": topic, "payload": payload})).await
}

async fn heard(rig: &Rig, name: &str) -> Value {
    assert!(rig.host.settle(Duration::from_secs(10)).await);
    rig.call(name, "heard").await.unwrap()
}

#[tokio::test]
async fn a_message_reaches_whoever_is_granted_its_topic_and_nobody_else() {
    let rig = Rig::new().await;
    let tools = ["heard", "post"];
    rig.active("sender", &granted("note.*"), &tools, LISTENS).await;
    rig.active("receiver", &granted("note.saved"), &tools, LISTENS).await;
    rig.active("other", &granted("cache.clear"), &tools, LISTENS).await;
    rig.active("nothing", "", &tools, LISTENS).await;

    post(&rig, "sender", "note.saved", json!({"path": "a"})).await.unwrap();
    assert_eq!(heard(&rig, "receiver").await, json!([["note.saved", {"path": "a"}]]));
    for silent in ["sender", "other", "nothing"] {
        assert_eq!(heard(&rig, silent).await, json!([]), "{silent}");
    }
    let error = post(&rig, "nothing", "note.saved", json!(1)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied, "{}", error.chain());
    assert!(error.hint().unwrap().contains("event:post=note.saved"), "{error:?}");
    assert_eq!(rig.host.denials("nothing").await.unwrap()[0].operation, "post_event");
    assert_eq!(heard(&rig, "receiver").await.as_array().unwrap().len(), 1, "it was not sent");

    let options = EventOptions { wait: true, ..EventOptions::default() };
    let report = rig.host.post_event("cache.clear", json!(null), &options).await.unwrap();
    let who: Vec<_> = report.receivers.iter().map(|one| (one.plugin.as_str(), one.outcome)).collect();
    assert_eq!(who, [("other", ReceiverOutcome::Delivered)]);
    assert_eq!(heard(&rig, "other").await, json!([["cache.clear", null]]));
    let nobody = rig.host.post_event("unknown", json!(1), &options).await.unwrap();
    assert!(nobody.receivers.is_empty());
    let bad = rig.host.post_event("no topic", json!(1), &options).await.unwrap_err();
    assert_eq!(bad.code(), ErrorCode::Usage);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_node_plugin_posts_and_hears() {
    let rig = Rig::new().await;
    if !std::path::Path::new("/usr/bin/node").exists() {
        return;
    }
    let code = "const { host } = require('ringfence');\nlet all = [];\nmodule.exports = {\n  \
        handleEvent(topic, payload) { all.push([topic, payload]); },\n  heard() { return all; },\n  \
        async post({ topic }) { await host.postEvent(topic, { from: 'node' }); },\n};\n";
    let manifest = |name: &str, topic: &str| {
        format!(
            "name: {name}\nversion: 1.0.0\nruntime: node\nentry_point: main.cjs\n{}tools: [{{name: heard}}, {{name: post}}]\n",
            granted(topic)
        )
    };
    for (name, topic) in [("one", "chat"), ("two", "chat"), ("three", "news")] {
        let package = rig.package(name, &[("plugin.yaml", &manifest(name, topic)), ("main.cjs", code)]);
        rig.host.install(&package, ringfence::plugin::Consent::Requested).await.unwrap();
        rig.host.activate(name).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    }
    rig.host.call("one", "post", json!({"topic": "chat"})).await.unwrap();
    assert_eq!(heard(&rig, "two").await, json!([["chat", {"from": "node"}]]));
    assert_eq!(heard(&rig, "three").await, json!([]));
    let error = rig.host.call("three", "post", json!({"topic": "chat"})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied, "{}", error.chain());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn plugins_that_answer_each_other_come_to_an_end() {
    let rig = Rig::new().await;
    let echo = "from ringfence import host\nCOUNT = 0\ndef handle_event(topic, payload):\n    global COUNT\n    COUNT += 1\n    \
        host.post_event(OTHER, payload)\ndef count(arguments):\n    return COUNT\n";
    let both = "permissions: ['event:post=ping', 'event:post=pong']\n";
    rig.active("ping", both, &["count"], &echo.replace("OTHER", "'pong'")).await;
    rig.active("pong", both, &["count"], &echo.replace("OTHER", "'ping'")).await;
    rig.host.post_event("ping", json!(1), &EventOptions::default()).await.unwrap();
    assert!(rig.host.settle(Duration::from_secs(30)).await, "it would go on for ever");
    let counted = |count: Value| count.as_u64().unwrap();
    let all =
        counted(rig.call("ping", "count").await.unwrap()) + counted(rig.call("pong", "count").await.unwrap());
    // The first reaches both; each further level reaches the other one.
    let deepest = u64::from(ringfence::hooks::DEPTH_MAX);
    assert!(all >= deepest && all <= 2 * deepest, "{all} messages");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_guard_of_plugin_messages_sees_and_blocks_what_its_topics_are() {
    let rig = Rig::new().await;
    rig.active(
        "sender",
        "permissions: ['event:post=chat', 'event:post=secret']\n",
        &["post", "heard"],
        LISTENS,
    )
    .await;
    rig.active(
        "receiver",
        "permissions: ['event:post=chat', 'event:post=secret']\n",
        &["post", "heard"],
        LISTENS,
    )
    .await;
    let guard = "def onPluginMessage(ctx):\n    if ctx.body['payload'] == 'bad':\n        return {'blocked': True, 'reason': ctx.body['source']}\n";
    let head = format!("{}hooks:\n  - {{event: onPluginMessage, kind: guard}}\n", granted("chat"));
    rig.active("guard", &head, &[], guard).await;
    post(&rig, "sender", "chat", json!("good")).await.unwrap();
    let error = post(&rig, "sender", "chat", json!("bad")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied, "{}", error.chain());
    assert!(error.message().contains("guard blocked the message: sender"), "{error:?}");
    post(&rig, "sender", "secret", json!("bad")).await.unwrap();
    assert_eq!(
        heard(&rig, "receiver").await,
        json!([["chat", "good"], ["secret", "bad"]]),
        "a topic that the guard is not granted does not pass through it"
    );
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_flood_of_messages_is_slowed_down() {
    let mut config = ringfence::Config::default();
    config.plugins.events_per_second = 2;
    let rig = Rig::with(config).await;
    let flood = "from ringfence import host\nfrom ringfence.errors import HostError\ndef flood(arguments):\n    refused = 0\n    \
        for n in range(1000):\n        try:\n            host.post_event('chat', n)\n        except HostError:\n            refused += 1\n    \
        return refused\n";
    rig.active("flooder", &granted("chat"), &["flood"], flood).await;
    let refused = rig.call("flooder", "flood").await.unwrap().as_u64().unwrap();
    // Four at once, then two a second: a machine on which this takes a minute lets 124 pass.
    assert!((800..1000).contains(&refused), "{refused} of 1000 were refused");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_quarantined_guard_of_messages_blocks_until_somebody_takes_it_out() {
    let rig = Rig::new().await;
    let tools = ["post", "heard"];
    rig.active("sender", &granted("chat"), &tools, LISTENS).await;
    rig.active("receiver", &granted("chat"), &tools, LISTENS).await;
    let guard =
        "import os\ndef onPluginMessage(ctx):\n    return None\ndef die(arguments):\n    os._exit(3)\n";
    let head = format!("{}hooks:\n  - {{event: onPluginMessage, kind: guard}}\n", granted("chat"));
    rig.active("guard", &head, &["die"], guard).await;
    post(&rig, "sender", "chat", json!("let pass")).await.unwrap();
    rig.quarantine("guard").await;
    let error = post(&rig, "sender", "chat", json!("unseen")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied, "{}", error.chain());
    assert!(error.message().contains("quarantined"), "{error}");
    rig.host.revoke("guard", &["event:post=chat".parse().unwrap()]).await.unwrap();
    post(&rig, "sender", "chat", json!("no topic of its own")).await.unwrap();
    assert_eq!(heard(&rig, "receiver").await, json!([["chat", "let pass"], ["chat", "no topic of its own"]]));
    rig.host.shutdown().await;
}
