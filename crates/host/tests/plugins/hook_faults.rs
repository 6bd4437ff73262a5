//! Handlers that hang, crash, flood, answer junk, break the schema or come late: as guard, mutator and observer, alone and in a
//! chain; and the twin of each, in which the same handler behaves.

use std::time::{Duration, Instant};

use ringfence::hooks::{HandlerResult, HookOptions, HookOutcome, HookPoint, Payload};
use ringfence::{Home, Host};
use serde_json::json;

use crate::rig::Rig;

const FAULTS: [&str; 6] = ["hang", "crash", "flood", "junk", "schema", "late"];
const KINDS: [&str; 3] = ["guard", "mutator", "observer"];
/// What one handler may take. A start is not counted.
const TIMEOUT_MS: u64 = 400;

const FAULTY: &str = "
import os, sys, time
def onRequest(ctx):
    fault = ctx.body.get('fault')
    if fault == 'hang':
        while True:
            pass
    if fault == 'crash':
        os._exit(3)
    if fault == 'flood':
        while True:
            sys.stderr.write('flood ' * 1000 + '\\n')
    if fault == 'junk':
        return 'junk'
    if fault == 'schema':
        return {'body': {'n': 'no number'}}
    if fault == 'late':
        time.sleep(0.8)
    if ctx.kind == 'mutator':
        return {'body': {**ctx.body, 'n': ctx.body['n'] + 1}}
";
const GOOD: &str = "def onRequest(ctx):\n    return {'body': {**ctx.body, 'n': ctx.body['n'] + 10}}\n";

async fn rig() -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let point = HookPoint::new("onRequest").unwrap().schema(&schema).unwrap();
    let home = Home::at(directory.path().join("home"));
    let host = Host::builder().home(home).hook_point(point).build().await.unwrap();
    Rig::of(host, directory)
}

/// The number that mutators add to.
fn n(outcome: &HookOutcome) -> Option<i64> {
    outcome.body.get("n").and_then(serde_json::Value::as_i64)
}

fn head(kind: &str, priority: i32) -> String {
    format!(
        "hooks:\n  - {{event: onRequest, kind: {kind}, priority: {priority}, timeout_ms: {TIMEOUT_MS}}}\n"
    )
}

/// One fault in one kind of handler, and its twin before and after it.
async fn one(fault: &str, kind: &str, in_chain: bool) {
    let rig = rig().await;
    let what = format!("{fault} {kind}{}", if in_chain { " in a chain" } else { "" });
    rig.active("faulty", &head(kind, 50), &[], FAULTY).await;
    if in_chain {
        for (name, priority) in [("before", 10), ("beside", 90)] {
            let code = GOOD;
            rig.active(name, &head("mutator", priority), &[], code).await;
        }
    }
    let options = HookOptions { wait_for_observers: true, ..HookOptions::default() };
    let pass = |body: serde_json::Value| rig.host.hook("onRequest", Payload::new(body), &options);
    let others = if in_chain { 20 } else { 0 };
    let own = if kind == "mutator" { 1 } else { 0 };

    let twin = pass(json!({"n": 0})).await.unwrap();
    assert!(!twin.is_blocked(), "{what}: {twin:?}");
    assert_eq!(n(&twin), Some(others + own), "{what}: it behaves");

    let begun = Instant::now();
    let outcome = pass(json!({"n": 0, "fault": fault})).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{what} took {:?}", begun.elapsed());
    assert_eq!(n(&outcome), Some(others), "{what}: the others were asked once, and what it made is dropped");
    let entry = outcome.trace.iter().find(|entry| entry.plugin.as_str() == "faulty").unwrap();
    // What an observer returns is ignored.
    let harmless = kind == "observer" && fault == "schema";
    let expected = match kind {
        "guard" => HandlerResult::Blocked,
        "observer" if harmless => HandlerResult::Observed,
        _ => HandlerResult::Skipped,
    };
    assert_eq!(entry.result, expected, "{what}: {outcome:?}");
    assert_eq!(outcome.is_blocked(), kind == "guard", "{what}: a guard holds, and the others harm nobody");
    assert_eq!(entry.reason.is_some(), !harmless, "{what}: it is said why");

    // It recovers: by itself, or started again after its wait.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let again = pass(json!({"n": 0})).await.unwrap();
        if !again.is_blocked() && n(&again) == Some(others + own) {
            break;
        }
        assert!(Instant::now() < end, "{what}: it does not come back: {again:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    rig.host.shutdown().await;
}

async fn all_of(kind: &'static str) {
    for in_chain in [false, true] {
        for fault in FAULTS {
            one(fault, kind, in_chain).await;
        }
    }
}

#[tokio::test]
async fn faults_of_a_guard() {
    all_of(KINDS[0]).await;
}

#[tokio::test]
async fn faults_of_a_mutator() {
    all_of(KINDS[1]).await;
}

#[tokio::test]
async fn faults_of_an_observer() {
    all_of(KINDS[2]).await;
}
