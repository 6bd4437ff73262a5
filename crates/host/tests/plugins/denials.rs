//! What is refused to plugins: to which call it belongs, and what it costs when a plugin wants to be refused.

use std::time::{Duration, Instant};

use ringfence::Config;
use ringfence::audit::{AuditFilter, AuditRecord};
use ringfence::event::{Event, EventKind, Heard};
use ringfence::hooks::{HookOptions, Payload};
use ringfence_api::{ErrorCode, PluginState};
use serde_json::json;

use crate::rig::Rig;

const FORKER: &str = "import os, time\ndef fork(a):\n    try:\n        if os.fork() == 0:\n            os._exit(0)\n        os.wait()\n        return 'made'\n    except OSError:\n        return 'refused'\ndef later(a):\n    time.sleep(0.5)\n    said = fork(a)\n    time.sleep(0.5)\n    return said\ndef onRequest(ctx):\n    fork({})\n";
const ASKER: &str = "from ringfence import HostError, host\ndef ask(a):\n    refused = 0\n    for number in range(a['count']):\n        try:\n            host.read_file('/nowhere/%d' % (number % a['kinds']))\n        except HostError as error:\n            refused += error.code == 'permission_denied'\n    return refused\ndef load(a):\n    for _ in range(a['count']):\n        host.load_plugin_data('key')\n    return a['count']\n";

async fn denials(rig: &Rig, correlation_id: Option<&str>) -> Vec<AuditRecord> {
    let filter = AuditFilter {
        event: Some("denial".to_owned()),
        correlation_id: correlation_id.map(str::to_owned),
        ..AuditFilter::default()
    };
    // Asked for them, the host writes what waits first.
    rig.host.last_denials().await.unwrap();
    rig.host.audit(&filter, None, 1_000).await.unwrap().records
}

#[tokio::test]
async fn a_refusal_of_the_kernel_belongs_to_the_call_and_the_hook_that_met_it() {
    let rig = Rig::new().await;
    let hook = "hooks:\n  - {event: onRequest, kind: mutator}\n";
    rig.active("forker", hook, &["fork"], FORKER).await;
    let mut events = rig.host.subscribe();
    // The second is as certain as the first, though it is the same refusal.
    for id in ["request-1", "request-2"] {
        // Calls that follow one another within a tick of the monitor are both named.
        tokio::time::sleep(3 * ringfence_sandbox::TICK).await;
        let acting = rig.host.acting_as("ada", Some(id.to_owned()));
        assert_eq!(acting.call("forker", "fork", json!({})).await.unwrap(), "refused");
        let told = async {
            loop {
                if let Some(Heard::Event(Event { kind: EventKind::Denial { .. }, correlation_id, .. })) =
                    events.next().await
                {
                    break correlation_id;
                }
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
        assert_eq!(told.as_deref(), Some(id));
        let records = denials(&rig, Some(id)).await;
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0].body["grant"], "subprocess:execute");
        assert!(records[0].body.get("possible_calls").is_none(), "{records:?}");
    }
    let acting = rig.host.acting_as("ada", Some("hook-1".to_owned()));
    acting.hook("onRequest", Payload::new(json!({})), &HookOptions::default()).await.unwrap();
    let wait = async {
        while denials(&rig, Some("hook-1")).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    assert_eq!(rig.host.denials("forker").await.unwrap()[0].count, 3);
    // The twin: granted, nothing is refused and nothing recorded.
    rig.active("granted", "permissions: [{permission: subprocess:execute, reason: x}]\n", &["fork"], FORKER)
        .await;
    let acting = rig.host.acting_as("ada", Some("request-3".to_owned()));
    assert_eq!(acting.call("granted", "fork", json!({})).await.unwrap(), "made");
    assert!(denials(&rig, Some("request-3")).await.is_empty());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn where_it_may_have_been_one_of_several_calls_all_are_named_and_none_is_guessed() {
    let rig = Rig::new().await;
    rig.active("forker", "", &["later"], FORKER).await;
    let (a, b) = (
        rig.host.acting_as("ada", Some("call-a".to_owned())),
        rig.host.acting_as("ada", Some("call-b".to_owned())),
    );
    let (one, other) =
        tokio::join!(a.call("forker", "later", json!({})), b.call("forker", "later", json!({})));
    assert_eq!((one.unwrap(), other.unwrap()), (json!("refused"), json!("refused")));
    let records = denials(&rig, None).await;
    assert_eq!(denials(&rig, Some("call-a")).await, records, "found by each of them");
    assert!(denials(&rig, Some("call-c")).await.is_empty());
    let possible = records[0].body["possible_calls"].as_array().unwrap();
    assert!(possible.contains(&json!("call-a")) && possible.contains(&json!("call-b")), "{records:?}");
    assert!(!["call-a", "call-b"].contains(&records[0].correlation_id.as_str()), "{records:?}");
    let starts = AuditFilter { event: Some("start".to_owned()), ..AuditFilter::default() };
    let start = &rig.host.audit(&starts, None, 10).await.unwrap().records[0];
    assert_eq!(records[0].correlation_id, start.correlation_id, "the start's");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn res_17_a_plugin_that_is_refused_over_and_over_makes_few_records_and_every_one_counts() {
    let rig = Rig::new().await;
    rig.active("asker", "", &["ask"], ASKER).await;
    rig.active("witness", "", &["fork"], FORKER).await;
    let mut told = rig.host.subscribe();
    let acting = rig.host.acting_as("ada", Some("flood".to_owned()));
    // Ever new objects, and between them the call of somebody else.
    let many = json!({"count": 3_000, "kinds": 1_000});
    let (refused, witness) = tokio::join!(acting.call("asker", "ask", many), rig.call("witness", "fork"));
    assert_eq!((refused.unwrap(), witness.unwrap()), (json!(3_000), json!("refused")));
    let listed: u64 = rig.host.denials("asker").await.unwrap().iter().map(|denial| denial.count).sum();
    assert_eq!(listed, 3_000);
    let records = denials(&rig, None).await;
    assert!(records.len() < 1_000, "{}", records.len());
    assert!(!denials(&rig, Some("flood")).await.is_empty(), "the first of them belong to their call");
    // Listeners hear of fewer events, which add up to as many.
    rig.host.deactivate("asker").await.unwrap();
    let mut heard = (0, 0);
    while let Ok(Some(Heard::Event(Event { kind, plugin, .. }))) =
        tokio::time::timeout(Duration::from_secs(10), told.next()).await
    {
        if plugin.is_none_or(|plugin| plugin.as_str() != "asker") {
            continue;
        }
        match kind {
            EventKind::Denial { denial, .. } => heard = (heard.0 + 1, heard.1 + denial.count),
            EventKind::Ended { .. } => break,
            _ => {}
        }
    }
    assert!(heard.0 < 1_500 && heard.1 == 3_000, "{heard:?}");
    let metrics = rig.host.metrics().await.unwrap();
    let of_asker = metrics.plugins.iter().find(|plugin| plugin.name.as_str() == "asker").unwrap();
    assert_eq!(of_asker.denials, 3_000);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn denials_that_are_only_counted_quarantine_as_well() {
    let rig = Rig::new().await;
    let policy = "default = \"allow\"\n[quarantine]\ndenials_per_hour = 400\n";
    std::fs::write(rig.host.home().policy_file(), policy).unwrap();
    rig.active("asker", "", &["ask"], ASKER).await;
    let fewer = json!({"count": 300, "kinds": 1});
    assert_eq!(rig.host.call("asker", "ask", fewer).await.unwrap(), 300);
    assert_eq!(rig.state("asker").await, PluginState::Active, "the twin");
    // It is stopped while it asks.
    let _stopped = rig.host.call("asker", "ask", json!({"count": 150, "kinds": 1})).await;
    rig.until("asker", PluginState::Quarantined).await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn proto_11_a_plugin_asks_no_faster_than_it_may_and_nothing_is_lost() {
    let timed = async |per_second: u64| {
        let mut config = Config::default();
        config.plugins.requests_per_second = per_second;
        let rig = Rig::with(config).await;
        rig.active("asker", "", &["load"], ASKER).await;
        let begun = Instant::now();
        assert_eq!(rig.host.call("asker", "load", json!({"count": 120})).await.unwrap(), 120);
        let took = begun.elapsed();
        rig.host.shutdown().await;
        took
    };
    // Forty at once, and eighty at forty a second.
    assert!(timed(40).await >= Duration::from_millis(1_900));
    assert!(timed(5_000).await < Duration::from_millis(1_900), "the twin");
}

#[tokio::test]
async fn who_may_not_release_a_quarantine_does_not_whatever_was_seen_before() {
    let rig = Rig::new().await;
    rig.active("mortal", "", &["die"], "import os\ndef die(a):\n    os._exit(1)\n").await;
    rig.quarantine("mortal").await;
    let refused = rig.host.activate_unless_quarantined("mortal").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Quarantined, "{refused}");
    assert_eq!(rig.state("mortal").await, PluginState::Quarantined);
    // The twins: a person releases it, and what is not in quarantine is activated by either.
    rig.host.activate("mortal").await.unwrap();
    rig.host.deactivate("mortal").await.unwrap();
    let active = rig.host.activate_unless_quarantined("mortal").await.unwrap();
    assert_eq!(active.state, PluginState::Active);
    rig.host.shutdown().await;
}
