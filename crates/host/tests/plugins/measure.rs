//! What a host measures and lists: metrics, resources, activity, executions, events that were missed.

use std::time::Duration;

use ringfence::event::{EventKind, Heard};
use ringfence::metrics::{ExecutionFilter, Metrics, PluginMetrics, ResourceSample};
use ringfence::plugin::KeepData;
use ringfence_api::PluginState;

use crate::rig::Rig;

const CODE: &str = "import os, time\n\ndef ok(a):\n    return 'ok'\n\ndef wrong(a):\n    raise ValueError('no')\n\n\
                    def peek(a):\n    return open('/srv/secret/x').read()\n\ndef slow(a):\n    time.sleep(0.03)\n\n\
                    def die(a):\n    os._exit(3)\n\ndef onRequest(ctx):\n    pass\n";
const TOOLS: &[&str] = &["ok", "wrong", "peek", "slow", "die"];
const HEAD: &str = "permissions: ['env:read=LANG']\nhooks: [{event: onRequest, kind: observer}]\n";

fn of(metrics: &Metrics, name: &str) -> PluginMetrics {
    metrics.plugins.iter().find(|plugin| plugin.name.as_str() == name).unwrap().clone()
}

/// How many requests of a method ended so.
fn ended(plugin: &PluginMetrics, method: &str, outcome: &str) -> u64 {
    let method = plugin.methods.iter().find(|known| known.method == method);
    method.and_then(|method| method.outcomes.get(outcome).copied()).unwrap_or_default()
}

#[tokio::test]
async fn what_a_plugin_did_is_counted_and_what_another_did_is_not() {
    let rig = Rig::new().await;
    rig.active("p", HEAD, TOOLS, CODE).await;
    rig.active("idle", HEAD, TOOLS, CODE).await;
    let before = of(&rig.host.metrics().await.unwrap(), "p");
    assert_eq!((before.starts, before.crashes, before.methods.len()), (1, 0, 0));
    for tool in ["ok", "ok", "slow"] {
        rig.call("p", tool).await.unwrap();
    }
    rig.call("p", "wrong").await.unwrap_err();
    rig.call("p", "peek").await.unwrap_err();
    rig.host.hook("onRequest", Default::default(), &Default::default()).await.unwrap();
    assert!(rig.host.settle(Duration::from_secs(10)).await);
    let metrics = rig.host.metrics().await.unwrap();
    let p = of(&metrics, "p");
    assert_eq!((ended(&p, "call", "ok"), ended(&p, "call", "failed"), ended(&p, "hook", "ok")), (3, 2, 1));
    assert!(p.running && p.state == PluginState::Active && p.denials >= 1, "{p:?}");
    assert_eq!((p.queued_deliveries, p.dropped_deliveries), (0, 0));
    let latency = &p.methods.iter().find(|method| method.method == "call").unwrap().latency;
    assert_eq!((latency.count, latency.buckets.last().unwrap().count), (5, 5));
    assert!(latency.buckets.windows(2).all(|two| two[0].count <= two[1].count), "they add up: {latency:?}");
    let below = |us| latency.buckets.iter().find(|bucket| bucket.le_us == Some(us)).unwrap().count;
    assert!(below(25_000) <= 4 && latency.total_us >= 30_000, "one took 30 ms: {latency:?}");
    let idle = of(&metrics, "idle");
    assert_eq!((ended(&idle, "call", "ok"), idle.denials, idle.starts), (0, 0, 1));
    assert_eq!((metrics.running, metrics.states.get(&PluginState::Active)), (2, Some(&2)));
    assert_eq!(metrics.states.len(), PluginState::ALL.len());
    assert!(metrics.audit.records >= 8 && metrics.audit.last_seq >= 8 && metrics.events >= 4);

    rig.call("p", "die").await.unwrap_err();
    let counted = async {
        while of(&rig.host.metrics().await.unwrap(), "p").crashes == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), counted).await.unwrap();
    rig.host.deactivate("idle").await.unwrap();
    let idle = of(&rig.host.metrics().await.unwrap(), "idle");
    assert!(!idle.running && idle.stops == 1 && idle.memory_bytes.is_none(), "{idle:?}");
    rig.host.uninstall("p", KeepData::No).await.unwrap();
    assert!(rig.host.metrics().await.unwrap().plugins.iter().all(|plugin| plugin.name.as_str() != "p"));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_metric_that_is_read_writes_nothing() {
    let rig = Rig::new().await;
    rig.python("p", HEAD, TOOLS, CODE).await;
    let database = rusqlite::Connection::open(rig.host.home().path().join("state.db")).unwrap();
    let version = || database.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0)).unwrap();
    let before = version();
    for _ in 0..20 {
        rig.host.metrics().await.unwrap();
    }
    assert_eq!(version(), before);
    rig.host.activate("p").await.unwrap();
    assert_ne!(version(), before, "the twin: a write is seen");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_runs_is_sampled_and_the_samples_are_listed_oldest_first() {
    let rig = Rig::new().await;
    rig.active("p", HEAD, TOOLS, CODE).await;
    let sampled = async {
        while rig.host.resources("p", 10).await.unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), sampled).await.unwrap();
    let samples = rig.host.resources("p", 10).await.unwrap();
    assert!(samples.windows(2).all(|two| two[0].at_ms < two[1].at_ms), "{samples:?}");
    assert!(samples.iter().all(|sample| sample.memory_bytes > 100_000), "{samples:?}");
    assert_eq!(rig.host.resources("p", 1).await.unwrap().len(), 1);
    let now = of(&rig.host.metrics().await.unwrap(), "p");
    assert!(now.memory_bytes.unwrap() > 100_000 && now.cpu_ms.is_some());
    assert!(rig.host.resources("nobody", 10).await.is_err());
    rig.host.shutdown().await;
}

/// This figure of the plugin's newest sample, as soon as it is `enough`.
async fn sampled(rig: &Rig, of: fn(&ResourceSample) -> u64, enough: u64) -> u64 {
    let seen = async {
        loop {
            let last = rig.host.resources("p", 1).await.unwrap();
            if let Some(figure) = last.first().map(of).filter(|figure| *figure >= enough) {
                return figure;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap()
}

#[tokio::test]
async fn the_tasks_of_a_sample_are_those_that_the_plugin_has() {
    let crowd = "import threading, time\n\ndef crowd(a):\n    for _ in range(5):\n        \
                 threading.Thread(target=time.sleep, args=(120,), daemon=True).start()\n";
    let rig = Rig::new().await;
    rig.active("p", "", &["crowd"], crowd).await;
    let tasks = async |enough: u64| sampled(&rig, |sample| sample.tasks, enough).await;
    let before = tasks(1).await;
    assert!(before < 10, "an idle plugin has {before}");
    rig.call("p", "crowd").await.unwrap();
    let after = tasks(before + 5).await;
    assert!(after <= before + 10, "{before}, and with five more {after}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_a_plugin_writes_to_storage_is_counted() {
    const WRITTEN: u64 = 4 << 20;
    let code = "import os\n\ndef write(a):\n    with open(os.environ['RINGFENCE_DATA_DIR'] + '/x', 'wb') as to:\n        \
                to.write(b'x' * (4 << 20))\n        to.flush()\n        os.fsync(to.fileno())\n";
    let rig = Rig::new().await;
    if !is_on_storage(rig.host.home().path()) {
        ringfence_testkit::missing("storage", "what is written to this home is written to memory");
        return;
    }
    rig.active("p", "", &["write"], code).await;
    let written = async |enough: u64| sampled(&rig, |sample| sample.written_bytes, enough).await;
    let before = written(0).await;
    assert!(before < WRITTEN, "an idle plugin has written {before}");
    rig.call("p", "write").await.unwrap();
    let after = written(before + WRITTEN).await;
    assert!(after < before + 2 * WRITTEN, "{before}, and {after} with 4 MiB more");
    let now = of(&rig.host.metrics().await.unwrap(), "p");
    assert!(now.written_bytes.unwrap() >= after && now.read_bytes.is_some());
    rig.host.shutdown().await;
}

/// Whether the kernel counts what is written below `directory` as written to storage, which it does not for a tmpfs.
fn is_on_storage(directory: &std::path::Path) -> bool {
    let written = || {
        let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = written();
    let probe = directory.join("probe");
    std::fs::write(&probe, vec![1; 1 << 20]).unwrap();
    let counted = written() > before;
    std::fs::remove_file(&probe).unwrap();
    counted
}

#[tokio::test]
async fn executions_and_activity_are_listed_newest_first_and_filtered() {
    let rig = Rig::new().await;
    rig.active("p", HEAD, TOOLS, CODE).await;
    rig.active("q", HEAD, TOOLS, CODE).await;
    rig.host
        .acting_as("token:1", Some("one".to_owned()))
        .call("p", "ok", serde_json::json!({}))
        .await
        .unwrap();
    rig.call("p", "wrong").await.unwrap_err();
    rig.call("q", "ok").await.unwrap();
    let list = async |filter: ExecutionFilter| {
        let page = rig.host.executions(&filter, 10).await.unwrap();
        page.executions.into_iter().map(|one| (one.plugin, one.tool, one.outcome)).collect::<Vec<_>>()
    };
    let row =
        |plugin: &str, tool: &str, outcome: &str| (plugin.to_owned(), tool.to_owned(), outcome.to_owned());
    let all = list(ExecutionFilter::default()).await;
    assert_eq!(all, [row("q", "ok", "ok"), row("p", "wrong", "failed"), row("p", "ok", "ok")]);
    let of_p = ExecutionFilter { plugin: Some("p".to_owned()), ..ExecutionFilter::default() };
    assert_eq!(list(of_p.clone()).await.len(), 2);
    let failed = ExecutionFilter { outcome: Some("failed".to_owned()), ..ExecutionFilter::default() };
    assert_eq!(list(failed).await, [row("p", "wrong", "failed")]);
    let one = ExecutionFilter { correlation_id: Some("one".to_owned()), ..ExecutionFilter::default() };
    assert_eq!(list(one).await, [row("p", "ok", "ok")]);
    let none = ExecutionFilter { method: Some("hook".to_owned()), ..ExecutionFilter::default() };
    assert!(list(none).await.is_empty());
    let first = rig.host.executions(&of_p, 1).await.unwrap();
    assert!(first.more && first.executions.len() == 1);
    let next = ExecutionFilter { before: first.executions.first().map(|one| one.id), ..of_p };
    let next = rig.host.executions(&next, 1).await.unwrap();
    assert!(!next.more && next.executions.first().unwrap().tool == "ok");

    let activity = rig.host.activity("p", 3).await.unwrap();
    let events: Vec<_> = activity.records.iter().map(|record| record.event.as_str()).collect();
    assert_eq!((events, activity.more), (vec!["call", "call", "start"], true));
    rig.host.uninstall("p", KeepData::No).await.unwrap();
    // Its end may be on the disk a moment later.
    let last = rig.host.activity("p", 2).await.unwrap().records;
    assert!(last.iter().any(|record| record.event == "uninstall"), "{last:?}");
    assert!(rig.host.activity("../p", 1).await.is_err());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_listener_that_comes_back_hears_what_happened_meanwhile() {
    let rig = Rig::new().await;
    rig.python("p", HEAD, TOOLS, CODE).await;
    let mut listener = rig.host.subscribe();
    rig.host.activate("p").await.unwrap();
    let seen = loop {
        match listener.next().await {
            Some(Heard::Event(event)) if event.kind == EventKind::Started => break event.seq,
            Some(_) => {}
            None => panic!("the host is there"),
        }
    };
    drop(listener);
    rig.host.deactivate("p").await.unwrap();
    let resumed = rig.host.subscribe_from(seen);
    assert!(!resumed.gap);
    let mut numbers: Vec<u64> = resumed.missed.iter().map(|event| event.seq).collect();
    assert_eq!(numbers.first(), Some(&(seen + 1)));
    numbers.dedup();
    assert!(numbers.is_sorted() && numbers.len() == resumed.missed.len());
    let is_end = |kind: &EventKind| matches!(kind, EventKind::Ended { .. });
    assert_eq!(resumed.missed.iter().filter(|event| is_end(&event.kind)).count(), 1);
    assert!(rig.host.subscribe_from(u64::MAX).gap, "what was never told");
    rig.host.shutdown().await;
}
