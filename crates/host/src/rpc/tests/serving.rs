//! What the plugin asks of the host: answers in order of completion, ids, cancellation, deadlines, limits.

use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{Rig, soon};
use crate::rpc::{FaultKind, Options};

fn ask(id: impl Into<serde_json::Value>, method: &str) -> serde_json::Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": {"a": 1}})
}

#[tokio::test]
async fn requests_are_answered_as_they_are_ready() {
    let mut rig = Rig::new();
    rig.peer.say(ask("first", "slow")).await;
    rig.peer.say(ask(2, "echo")).await;
    let answer = rig.peer.read().await;
    assert_eq!(
        (&answer["id"], &answer["result"], &answer["jsonrpc"]),
        (&json!(2), &json!({"a": 1}), &json!("2.0"))
    );
    let answer = rig.peer.read().await;
    assert_eq!((&answer["id"], &answer["result"]), (&json!("first"), &json!(null)));
    rig.peer.say(ask("\u{41}", "unheard_of")).await;
    assert_eq!(rig.peer.read().await["error"]["code"], -32601);
}

#[tokio::test]
async fn an_id_that_is_in_use_is_not_used_twice() {
    let mut rig = Rig::new();
    rig.peer.say(ask(1, "slow")).await;
    rig.peer.say(ask(1, "echo")).await;
    // The same number as a text is another id.
    rig.peer.say(ask("1", "echo")).await;
    let refused = rig.peer.read().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(null), &json!(-32600)));
    assert_eq!(rig.peer.read().await["id"], "1");
    assert_eq!(rig.peer.read().await["result"], json!(null));
    rig.fault(FaultKind::DuplicateRequest).await;
    // Afterwards it is free.
    rig.peer.say(ask(1, "echo")).await;
    assert_eq!(rig.peer.read().await["result"], json!({"a": 1}));
}

#[tokio::test]
async fn a_plugin_can_cancel_what_it_asked() {
    let mut rig = Rig::new();
    rig.peer.say(ask(1, "wait")).await;
    rig.peer.say(json!({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": "1"}})).await;
    rig.peer.say(json!({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": 1}})).await;
    let answer = rig.peer.read().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-31002)));
    assert_eq!(answer["error"]["data"]["code"], "cancelled");
    soon(async {
        while *rig.service.begun.lock().unwrap() != (1, 1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // A second cancellation is of nothing.
    rig.peer.say(json!({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": 1}})).await;
    rig.works().await;
}

#[tokio::test]
async fn a_request_ends_at_its_own_deadline_and_at_the_hosts() {
    let mut rig = Rig::with(Options { service_timeout: Duration::from_millis(200), ..Options::default() });
    let begun = Instant::now();
    let mut short = ask("short", "wait");
    short["_meta"] = json!({"deadline_ms": 30});
    let mut long = ask("long", "wait");
    long["_meta"] = json!({"deadline_ms": 3_600_000});
    rig.peer.say(long).await;
    rig.peer.say(short).await;
    for (id, at_least_ms) in [("short", 29), ("long", 199)] {
        let answer = rig.peer.read().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-31003)));
        assert!(begun.elapsed() >= Duration::from_millis(at_least_ms));
    }
}

#[tokio::test]
async fn a_request_belongs_to_a_running_call_or_to_new_work() {
    let mut rig = Rig::new();
    let call = rig.call(json!({}));
    let id = rig.peer.read().await["id"].clone();
    for (number, claim) in [(1, "c-1"), (2, "somebody-elses")] {
        let mut request = ask(number, "echo");
        request["_meta"] = json!({"protocol_version": "1", "correlation_id": claim});
        rig.peer.say(request).await;
        rig.peer.read().await;
    }
    let requests = rig.service.requests.lock().unwrap().clone();
    assert_eq!((requests[0].correlation_id.as_str(), requests[0].within_call), ("c-1", true));
    assert_eq!((requests[1].correlation_id.as_str(), requests[1].within_call), ("plugin-1", false));
    rig.peer.answer(&id, json!(1)).await;
    soon(call).await.unwrap().unwrap();
    // Now that the call is over, nothing can be done in its name.
    let mut request = ask(3, "echo");
    request["_meta"] = json!({"correlation_id": "c-1"});
    rig.peer.say(request).await;
    rig.peer.read().await;
    assert!(!rig.service.requests.lock().unwrap()[2].within_call);
}

#[tokio::test]
async fn a_flood_of_requests_is_served_a_few_at_a_time_and_the_rest_is_not_read() {
    let options = Options { serving_max: 3, serving_queued_max: 5, ..Options::default() };
    let mut rig = Rig::with(options);
    // 3 run, 5 wait; the ninth line stays unread, and so does all behind it.
    for number in 0..20 {
        rig.peer.say(ask(number, "wait")).await;
    }
    soon(async {
        while rig.connection.counters().pauses == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(rig.connection.counters().requests, 8);
    assert_eq!(rig.service.begun.lock().unwrap().0, 3);
    // Deadlines hold meanwhile.
    let call = rig.call_for(json!({}), Duration::from_millis(50));
    assert_eq!(rig.peer.read().await["method"], "call");
    assert!(soon(call).await.unwrap().is_err());
    // And so does the end of the plugin, although a line is waiting to be read.
    drop(rig.peer);
    let closed = soon(rig.driver).await.unwrap();
    assert!(closed.counters.requests >= 8);
    let (begun, ended) = *rig.service.begun.lock().unwrap();
    assert_eq!(begun, ended);
}

#[tokio::test]
async fn what_a_flood_of_requests_asked_is_served_in_the_end() {
    let options = Options { serving_max: 3, serving_queued_max: 5, ..Options::default() };
    let mut rig = Rig::with(options);
    for number in 0..200 {
        rig.peer.say(ask(number, "echo")).await;
    }
    let mut seen: Vec<u64> = Vec::new();
    for _ in 0..200 {
        seen.push(rig.peer.read().await["id"].as_u64().unwrap());
    }
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..200));
}
