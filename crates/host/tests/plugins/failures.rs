//! What follows from failures: counted right, recorded before anything is started again, and warned of in time.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use ringfence::audit::AuditFilter;
use ringfence::event::{Event, EventKind, Heard, Subscription};
use ringfence::lifecycle::LogSource;
use ringfence_api::{ErrorCode, PluginState};

use crate::rig::Rig;

const WAIT: Duration = Duration::from_secs(20);
const MORTAL: &str = "import os\ndef die(a):\n    os._exit(3)\ndef ok(a):\n    return 'ok'\n";

/// All that is told until `count` events of this kind were.
async fn until(
    events: &mut Subscription,
    count: usize,
    of_kind: impl Fn(&EventKind) -> bool,
) -> Vec<EventKind> {
    let wait = async {
        let (mut all, mut seen) = (Vec::new(), 0);
        while seen < count {
            if let Some(Heard::Event(Event { kind, .. })) = events.next().await {
                seen += usize::from(of_kind(&kind));
                all.push(kind);
            }
        }
        all
    };
    tokio::time::timeout(WAIT, wait).await.unwrap()
}

#[tokio::test]
async fn denials_are_counted_once_each_however_often_they_are_looked_at() {
    let rig = Rig::new().await;
    let code = "import os\ndef fork(a):\n    try:\n        if os.fork() == 0:\n            os._exit(0)\n        return 'made'\n    except OSError:\n        return 'refused'\n";
    rig.active("forker", "", &["fork"], code).await;
    let mut events = rig.host.subscribe();
    for _ in 0..4 {
        assert_eq!(rig.call("forker", "fork").await.unwrap(), "refused");
    }
    // The first is told at once, the others when it has ended.
    let first = until(&mut events, 1, |kind| matches!(kind, EventKind::Denial { .. })).await;
    rig.host.deactivate("forker").await.unwrap();
    let others = until(&mut events, 1, |kind| matches!(kind, EventKind::Ended { .. })).await;
    let count = |kind: &EventKind| if let EventKind::Denial { denial, .. } = kind { denial.count } else { 0 };
    assert_eq!(first.iter().chain(&others).map(count).sum::<u64>(), 4, "listeners add up: {others:?}");
    let denials = rig.host.denials("forker").await.unwrap();
    let fork = denials.iter().find(|denial| denial.grant.as_deref() == Some("subprocess:execute")).unwrap();
    assert_eq!(fork.count, 4, "{denials:?}");
    let filter = AuditFilter { event: Some("denial".to_owned()), ..AuditFilter::default() };
    let records = rig.host.audit(&filter, None, 100).await.unwrap().records;
    assert_eq!(records.iter().filter_map(|record| record.body["count"].as_u64()).sum::<u64>(), 4);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_started_again_until_it_is() {
    let rig = Rig::new().await;
    rig.active("mortal", "", &["die", "ok"], MORTAL).await;
    let database = rusqlite::Connection::open(rig.host.home().path().join("state.db")).unwrap();
    database.busy_timeout(WAIT).unwrap();
    database.execute_batch("ALTER TABLE crashes RENAME TO crashes_away").unwrap();
    let mut events = rig.host.subscribe();
    rig.call("mortal", "die").await.unwrap_err();
    let heard = until(&mut events, 3, |kind| matches!(kind, EventKind::Restarting { .. })).await;
    assert!(!heard.contains(&EventKind::Started), "{heard:?}");
    let error = rig.call("mortal", "ok").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io, "{error}");
    assert!(error.message().contains("could not be recorded"), "{error}");
    assert!(rig.host.activate("mortal").await.is_err(), "nor by a person");
    // The twin: as soon as the store takes it, it runs again, and the crash counts once.
    database.execute_batch("ALTER TABLE crashes_away RENAME TO crashes").unwrap();
    until(&mut events, 1, |kind| matches!(kind, EventKind::Started)).await;
    assert_eq!(rig.call("mortal", "ok").await.unwrap(), "ok");
    let recorded: i64 = database.query_row("SELECT count(*) FROM crashes", [], |row| row.get(0)).unwrap();
    assert_eq!(recorded, 1);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_quarantine_that_cannot_be_recorded_holds_all_the_same() {
    let rig = Rig::new().await;
    rig.active("mortal", "", &["die", "ok"], MORTAL).await;
    let database = rusqlite::Connection::open(rig.host.home().path().join("state.db")).unwrap();
    database.busy_timeout(WAIT).unwrap();
    // Five earlier crashes, so that the next one is one too many; and a state that cannot be written.
    let now = "CAST(strftime('%s', 'now') AS INTEGER) * 1000";
    for _ in 0..5 {
        let sql = format!("INSERT INTO crashes (plugin, at_ms, detail) VALUES ('mortal', {now}, 'x')");
        database.execute_batch(&sql).unwrap();
    }
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON plugins BEGIN SELECT RAISE(ABORT, 'no'); END";
    database.execute_batch(refuse).unwrap();
    let mut events = rig.host.subscribe();
    rig.call("mortal", "die").await.unwrap_err();
    let heard = until(&mut events, 2, |kind| matches!(kind, EventKind::Restarting { .. })).await;
    assert!(!heard.contains(&EventKind::Started), "{heard:?}");
    assert!(rig.call("mortal", "ok").await.is_err());
    let quarantines = AuditFilter { event: Some("quarantine".to_owned()), ..AuditFilter::default() };
    assert!(rig.host.audit(&quarantines, None, 1).await.unwrap().records.is_empty(), "nothing half");
    database.execute_batch("DROP TRIGGER refuse").unwrap();
    rig.until("mortal", PluginState::Quarantined).await;
    assert_eq!(rig.call("mortal", "ok").await.unwrap_err().code(), ErrorCode::Quarantined);
    assert_eq!(rig.host.audit(&quarantines, None, 2).await.unwrap().records.len(), 1);
    let recorded: i64 = database.query_row("SELECT count(*) FROM crashes", [], |row| row.get(0)).unwrap();
    assert_eq!(recorded, 6, "the crash was counted once");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_restart_that_cannot_be_prepared_is_tried_again_and_says_why() {
    let rig = Rig::new().await;
    rig.active("mortal", "", &["die", "ok"], MORTAL).await;
    let digest = rig.host.show("mortal").await.unwrap().digest;
    let file = crate::ends::find(rig.host.home().path(), &digest).join("main.py");
    let before = std::fs::metadata(&file).unwrap().permissions();
    let put = |text: &str| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, before.clone()).unwrap();
    };
    put("def ok(a):\n    return 'other'\n");
    let mut events = rig.host.subscribe();
    rig.call("mortal", "die").await.unwrap_err();
    // After the crash, after the first and after the second start that could not be prepared.
    let heard = until(&mut events, 3, |kind| matches!(kind, EventKind::Restarting { .. })).await;
    assert!(!heard.contains(&EventKind::Started), "{heard:?}");
    let shown = rig.host.show("mortal").await.unwrap();
    assert_eq!(shown.state, PluginState::Errored);
    let reason = shown.reason.unwrap();
    assert!(!reason.contains("status 3"), "the reason is the one that keeps it from starting: {reason}");
    put(MORTAL);
    until(&mut events, 1, |kind| matches!(kind, EventKind::Started)).await;
    assert_eq!(rig.call("mortal", "ok").await.unwrap(), "ok");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn memory_near_the_limit_is_warned_of_once_an_episode_in_the_log_and_as_an_event() {
    let rig = Rig::new().await;
    let code = "import time\nkept = []\ndef hold(a):\n    kept.append(bytearray(b'x') * (80 << 20))\n    time.sleep(0.7)\ndef free(a):\n    kept.clear()\n    time.sleep(0.3)\n";
    rig.active("heavy", "limits: {memory_mb: 100}\n", &["hold", "free"], code).await;
    rig.active("light", "", &["hold", "free"], code).await;
    let mut events = rig.host.subscribe();
    for name in ["heavy", "light"] {
        for tool in ["hold", "free", "hold"] {
            rig.call(name, tool).await.unwrap_or_else(|error| panic!("{name} {tool}: {error}"));
        }
        rig.host.deactivate(name).await.unwrap();
    }
    let mut warned = Vec::new();
    let heard = until(&mut events, 2, |kind| matches!(kind, EventKind::Ended { .. })).await;
    for kind in heard {
        if let EventKind::MemoryWarning { used_bytes, limit_bytes } = kind {
            warned.push(limit_bytes);
            assert!(used_bytes * 100 >= limit_bytes * 80, "{used_bytes} of {limit_bytes}");
        }
    }
    assert!(warned.len() == 2 && warned[0] < 110_000_000, "two episodes of one plugin: {warned:?}");
    for (name, expected) in [("heavy", 2), ("light", 0)] {
        let lines = rig.host.logs(name, 1000).await.unwrap();
        let warnings = lines
            .iter()
            .filter(|line| line.source == LogSource::Host && line.level.as_deref() == Some("warning"));
        assert_eq!(warnings.count(), expected, "{name}: {lines:?}");
    }
    rig.host.shutdown().await;
}
