//! Calls of the host: answers, deadlines, cancellation, limits, the end of the plugin.

use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{Rig, prompt, request, soon};
use crate::rpc::{CallError, CloseReason, FaultKind, Options};

#[tokio::test]
async fn an_answer_finds_its_call_in_any_order() {
    let mut rig = Rig::new();
    let calls: Vec<_> = (0..64).map(|number| rig.call(json!({ "number": number }))).collect();
    let mut requests = Vec::new();
    for _ in 0..64 {
        requests.push(rig.peer.read().await);
    }
    requests.reverse();
    for request in requests {
        let number = request["params"]["number"].clone();
        rig.peer.answer(&request["id"], number).await;
    }
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(soon(call).await.unwrap().unwrap(), number);
    }
    assert_eq!(rig.connection.in_flight(), 0);
    let counters = rig.connection.counters();
    assert_eq!((counters.calls, counters.answers, counters.faults()), (64, 64, 0));
}

#[tokio::test]
async fn the_request_is_as_the_protocol_says() {
    let mut rig = Rig::new();
    let call = rig.call_for(json!({"a": 1}), Duration::from_secs(5));
    let request = rig.peer.read().await;
    let left = request["_meta"]["deadline_ms"].as_u64().unwrap();
    assert!((4_000..=5_000).contains(&left), "{left}");
    let id = &request["id"];
    assert!(id.is_u64());
    assert_eq!(
        request,
        json!({"jsonrpc": "2.0", "id": id, "method": "call", "params": {"a": 1},
            "_meta": {"protocol_version": "1", "correlation_id": "c-1", "deadline_ms": left}})
    );
    call.abort();
    let cancel = rig.peer.read().await;
    assert_eq!((&cancel["method"], &cancel["params"]), (&json!("$/cancel"), &json!({ "id": id })));
    assert!(cancel.get("id").is_none());
}

#[tokio::test]
async fn a_deadline_holds_and_the_plugin_is_told() {
    let mut rig = Rig::new();
    let begun = Instant::now();
    let call = rig.call_for(json!({}), Duration::from_millis(80));
    let id = rig.peer.read().await["id"].clone();
    assert!(matches!(soon(call).await.unwrap(), Err(CallError::Timeout)));
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(79) && taken < Duration::from_millis(1_000), "{taken:?}");
    assert_eq!(rig.peer.read().await["params"]["id"], id);
    // The answer that comes now is nobody's, the first and the second time.
    rig.peer.answer(&id, json!(1)).await;
    rig.fault(FaultKind::LateAnswer).await;
    rig.peer.answer(&id, json!(1)).await;
    rig.fault(FaultKind::DuplicateAnswer).await;
    let counters = rig.connection.counters();
    assert_eq!((counters.timeouts, counters.late_answers, counters.duplicate_answers), (1, 1, 1));
    assert_eq!(rig.connection.in_flight(), 0);
    rig.works().await;
}

#[tokio::test]
async fn a_shorter_deadline_is_not_late_because_of_a_longer_one() {
    let mut rig = Rig::new();
    let long = rig.call_for(json!({}), Duration::from_secs(8));
    let first = rig.peer.read().await["id"].clone();
    let short = rig.call_for(json!({}), Duration::from_millis(50));
    assert!(matches!(soon(short).await.unwrap(), Err(CallError::Timeout)));
    rig.peer.answer(&first, json!("in time")).await;
    assert_eq!(soon(long).await.unwrap().unwrap(), "in time");
}

#[tokio::test]
async fn the_plugins_end_ends_its_calls_at_once() {
    let mut rig = Rig::new();
    let call = rig.call(json!({}));
    rig.peer.read().await;
    rig.peer.write("{\"jsonrpc\":\"2.0\",\"id\":1,\"resu").await;
    let begun = Instant::now();
    drop(rig.peer.stdout);
    assert!(matches!(soon(call).await.unwrap(), Err(CallError::Closed)));
    let closed = soon(rig.driver).await.unwrap();
    prompt(begun);
    assert_eq!((closed.reason, closed.counters.partial_lines), (CloseReason::OutputClosed, 1));
    let again = request(&rig.connection, json!({}), Duration::from_secs(5)).await;
    assert!(matches!(again, Err(CallError::Closed)) && rig.connection.is_closed());
}

#[tokio::test]
async fn more_calls_than_may_wait_are_told_so() {
    let mut rig = Rig::with(Options { in_flight_max: 2, queued_max: 3, ..Options::default() });
    let calls: Vec<_> = (0..5).map(|number| rig.call(json!(number))).collect();
    let mut ids = vec![rig.peer.read().await["id"].clone(), rig.peer.read().await["id"].clone()];
    while rig.connection.queued() < 3 {
        tokio::task::yield_now().await;
    }
    let refused = soon(rig.call(json!(5))).await.unwrap();
    assert!(matches!(refused, Err(CallError::Busy { queued_max: 3 })), "{refused:?}");
    // What waits goes on when others have ended.
    for _ in 0..5 {
        let id = if ids.is_empty() { rig.peer.read().await["id"].clone() } else { ids.remove(0) };
        rig.peer.answer(&id, json!("done")).await;
    }
    for call in calls {
        assert_eq!(soon(call).await.unwrap().unwrap(), "done");
    }
}
