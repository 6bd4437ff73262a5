//! Every end of a run is one record with its reason and the same for who listens; and a trail that was changed is found.

use std::time::Duration;

use ringfence::audit::{AuditFilter, AuditOrder, AuditRecord};
use ringfence::dev::{Dev, DevOptions};
use ringfence::event::{EndKind, Event, EventKind, Heard, Subscription};
use ringfence::plugin::{CallOptions, Consent};
use ringfence::{Config, Host};
use ringfence_api::{ErrorCode, PluginState, Violation};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::rig::Rig;

const WAIT: Duration = Duration::from_secs(20);
const ENDS: [&str; 4] = ["stop", "crash", "violation", "start_failed"];

/// What was told at the end of a run of this plugin: the first one from now on.
async fn told(events: &mut Subscription, plugin: &str) -> (EndKind, String, Option<Violation>) {
    let wait = async {
        loop {
            if let Some(Heard::Event(Event { plugin: Some(whose), kind, .. })) = events.next().await
                && let EventKind::Ended { how, reason, violation, .. } = kind
                && whose.as_str() == plugin
            {
                return (how, reason, violation);
            }
        }
    };
    tokio::time::timeout(WAIT, wait).await.unwrap()
}

/// The next event of this kind.
async fn next(events: &mut Subscription, of_kind: impl Fn(&EventKind) -> bool) -> EventKind {
    let wait = async {
        loop {
            match events.next().await {
                Some(Heard::Event(Event { kind, .. })) if of_kind(&kind) => return kind,
                _ => {}
            }
        }
    };
    tokio::time::timeout(WAIT, wait).await.unwrap()
}

/// All records of a plugin, through pages of three, oldest first. The trail must be intact, and of each run there must be one
/// start and at most one end after it.
async fn trail(host: &Host, plugin: &str) -> Vec<AuditRecord> {
    let verdict = host.audit_verify().await.unwrap();
    assert_eq!(verdict.first_bad, None);
    let filter = AuditFilter { plugin: Some(plugin.to_owned()), ..AuditFilter::default() };
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let page = host.audit(&filter, after, 3).await.unwrap();
        assert!(page.records.len() <= 3);
        after = page.records.last().map(|record| record.seq);
        records.extend(page.records);
        if !page.more {
            break;
        }
    }
    for start in records.iter().filter(|record| record.event == "start") {
        let same = |record: &&AuditRecord| record.correlation_id == start.correlation_id;
        let run: Vec<&AuditRecord> = records.iter().filter(same).collect();
        assert!(!start.correlation_id.is_empty());
        assert_eq!(run.iter().filter(|record| record.event == "start").count(), 1);
        assert!(run.iter().filter(|record| ENDS.contains(&record.event.as_str())).count() <= 1, "{run:?}");
        assert_eq!(run.first().map(|record| record.seq), Some(start.seq), "the start comes first");
    }
    records
}

/// The ends among the records: the event and its body.
async fn ends(host: &Host, plugin: &str) -> Vec<(String, Value)> {
    let all = trail(host, plugin).await.into_iter();
    all.filter(|record| ENDS.contains(&record.event.as_str()))
        .map(|record| (record.event, record.body))
        .collect()
}

fn text<'a>(body: &'a Value, member: &str) -> &'a str {
    body.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test]
async fn a_crash_at_import_is_a_failed_start_with_its_status() {
    let rig = Rig::new().await;
    rig.python("stillborn", "", &["x"], "import os\nos._exit(4)\n").await;
    let mut events = rig.host.subscribe();
    rig.host.activate("stillborn").await.unwrap_err();
    let (how, reason, violation) = told(&mut events, "stillborn").await;
    assert_eq!((how, violation), (EndKind::StartFailed, None));
    let ends = ends(&rig.host, "stillborn").await;
    let [(event, body)] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!((event.as_str(), text(body, "cause")), ("start_failed", reason.as_str()));
    assert!(reason.contains("exited with status 4"), "{reason}");
    assert_eq!((&body["exit_code"], &body["signal"]), (&json!(4), &json!(null)));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_crash_in_a_call_is_recorded_with_its_status_or_signal_and_a_stop_as_a_stop() {
    let rig = Rig::new().await;
    let code = "import os, signal\ndef die(a):\n    os._exit(3)\ndef fault(a):\n    os.kill(os.getpid(), signal.SIGSEGV)\n";
    rig.active("mortal", "", &["die", "fault"], code).await;
    let mut events = rig.host.subscribe();
    for tool in ["die", "fault"] {
        rig.call("mortal", tool).await.unwrap_err();
        assert_eq!(told(&mut events, "mortal").await.0, EndKind::Crash, "{tool}");
        next(&mut events, |kind| matches!(kind, EventKind::Started)).await;
    }
    rig.host.deactivate("mortal").await.unwrap();
    assert_eq!(told(&mut events, "mortal").await.0, EndKind::Stop);
    let ends = ends(&rig.host, "mortal").await;
    let [(first, died), (second, faulted), (third, stopped)] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!([first, second, third], ["crash", "crash", "stop"]);
    assert_eq!((&died["exit_code"], &died["signal"]), (&json!(3), &json!(null)));
    assert_eq!((&faulted["exit_code"], &faulted["signal"]), (&json!(null), &json!(11)));
    assert!(text(died, "detail").contains("exited with status 3"), "{died}");
    assert_eq!(text(stopped, "reason"), "it exited with status 0");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_closes_its_output_has_crashed_and_was_not_asked_to_end() {
    let rig = Rig::new().await;
    let program = "#!/usr/bin/python3\nimport json, os, sys, time\nfor line in sys.stdin:\n    m = json.loads(line)\n    if m.get('method') == 'initialize':\n        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': {'protocol_version': '1'}}), flush=True)\n    elif m.get('method') == 'call':\n        os.close(1)\n        time.sleep(1000)\n";
    let manifest =
        "name: mute\nversion: 1.0.0\nruntime: native\nentry_point: mute.py\ntools: [{name: close}]\n";
    let package = rig.package("mute", &[("plugin.yaml", manifest), ("mute.py", program)]);
    rig.host.install(&package, Consent::Absent).await.unwrap();
    rig.host.activate("mute").await.unwrap();
    let mut events = rig.host.subscribe();
    rig.call("mute", "close").await.unwrap_err();
    let (how, reason, _) = told(&mut events, "mute").await;
    assert_eq!(how, EndKind::Crash);
    assert!(reason.contains("had closed its output"), "{reason}");
    assert_eq!(ends(&rig.host, "mute").await[0].0, "crash");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_hangs_in_its_start_has_broken_that_limit() {
    let rig = Rig::new().await;
    let code = "import time\ntime.sleep(1000)\n";
    rig.python("sleeper", "limits: {init_timeout_s: 1}\n", &["x"], code).await;
    let mut events = rig.host.subscribe();
    assert_eq!(rig.host.activate("sleeper").await.unwrap_err().code(), ErrorCode::Timeout);
    let (how, reason, violation) = told(&mut events, "sleeper").await;
    assert_eq!((how, violation), (EndKind::Violation, Some(Violation::Timeout)));
    let ends = ends(&rig.host, "sleeper").await;
    let [(event, body)] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!(event, "violation");
    assert_eq!((&body["violation"], &body["while_starting"]), (&json!("timeout"), &json!(true)));
    assert_eq!(text(body, "detail"), "it did not answer `initialize` within 1 s");
    assert_eq!(text(body, "detail"), reason);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_does_not_give_up_a_call_has_broken_a_limit_while_it_ran() {
    let rig = Rig::new().await;
    let code = "import time\ndef hang(a):\n    while True:\n        try:\n            time.sleep(100)\n        except BaseException:\n            pass\n";
    rig.active("stuck", "", &["hang"], code).await;
    let mut events = rig.host.subscribe();
    let options = CallOptions { timeout: Some(Duration::from_millis(300)), ..CallOptions::default() };
    let empty = RawValue::from_string("{}".to_owned()).unwrap();
    rig.host.call_with("stuck", "hang", &empty, &options).await.unwrap_err();
    let heard = match next(&mut events, |kind| matches!(kind, EventKind::Violation { .. })).await {
        EventKind::Violation { violation, detail } => (violation, detail),
        other => panic!("{other:?}"),
    };
    let (how, reason, violation) = told(&mut events, "stuck").await;
    assert_eq!((how, violation, &reason), (EndKind::Violation, Some(heard.0), &heard.1));
    assert!(heard.0 == Violation::Timeout && reason.contains("within 3 s"), "{reason}");
    let ends = ends(&rig.host, "stuck").await;
    assert_eq!((ends[0].0.as_str(), &ends[0].1["while_starting"]), ("violation", &json!(false)));
    assert_eq!(text(&ends[0].1, "detail"), reason);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn too_much_memory_is_recorded_with_the_limit() {
    let rig = Rig::new().await;
    let code = "def grow(a):\n    kept = []\n    while True:\n        kept.append(bytearray(8 << 20))\ndef ok(a):\n    return 1\n";
    rig.active("glutton", "limits: {memory_mb: 80}\n", &["grow", "ok"], code).await;
    rig.call("glutton", "ok").await.unwrap();
    assert_eq!(ends(&rig.host, "glutton").await, [], "the twin: what keeps to its limits has no end");
    let mut events = rig.host.subscribe();
    rig.call("glutton", "grow").await.unwrap_err();
    let (how, reason, violation) = told(&mut events, "glutton").await;
    assert_eq!((how, violation), (EndKind::Violation, Some(Violation::Memory)));
    let ends = ends(&rig.host, "glutton").await;
    assert_eq!((ends[0].0.as_str(), &ends[0].1["violation"]), ("violation", &json!("memory")));
    assert_eq!(text(&ends[0].1, "detail"), reason);
    assert!(reason.contains("80000000") || reason.contains("83886080"), "the limit: {reason}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn too_much_data_is_recorded_with_the_limit() {
    let rig = Rig::with(Config::parse("[plugins]\ndata_size = \"100KB\"\n").unwrap()).await;
    let code = "import os, time\ndef fill(a):\n    with open(os.environ['RINGFENCE_DATA_DIR'] + '/big', 'wb') as file:\n        file.write(os.urandom(1000000))\n    while True:\n        pass\n";
    rig.active("hoarder", "", &["fill"], code).await;
    let mut events = rig.host.subscribe();
    rig.call("hoarder", "fill").await.unwrap_err();
    let (how, reason, violation) = told(&mut events, "hoarder").await;
    assert_eq!((how, violation), (EndKind::Violation, Some(Violation::FileSize)));
    assert!(reason.contains("100000 is the most"), "{reason}");
    assert_eq!(text(&ends(&rig.host, "hoarder").await[0].1, "detail"), reason);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn too_much_output_on_the_protocol_is_recorded_and_on_the_log_it_ends_nothing() {
    let rig = Rig::new().await;
    let program = "#!/usr/bin/python3\nimport json, os, sys\nfor line in sys.stdin:\n    m = json.loads(line)\n    if m.get('method') == 'initialize':\n        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': {'protocol_version': '1'}}), flush=True)\n    elif m.get('method') == 'call':\n        number = 2 if m['params']['tool'] == 'log' else 1\n        for _ in range(1500):\n            os.write(number, b'x' * 8000 + b'\\n')\n        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': 'done'}), flush=True)\n    elif 'id' in m:\n        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': None}), flush=True)\n";
    let manifest = "name: loud\nversion: 1.0.0\nruntime: native\nentry_point: loud.py\ntools: [{name: log}, {name: flood}]\n";
    let package = rig.package("loud", &[("plugin.yaml", manifest), ("loud.py", program)]);
    rig.host.install(&package, Consent::Absent).await.unwrap();
    rig.host.activate("loud").await.unwrap();
    assert_eq!(rig.call("loud", "log").await.unwrap(), "done");
    assert_eq!(ends(&rig.host, "loud").await, [], "the log is bounded by being cut");
    let mut events = rig.host.subscribe();
    // The answer may come before the supervisor looks.
    let _either = rig.call("loud", "flood").await;
    let (how, reason, violation) = told(&mut events, "loud").await;
    assert_eq!((how, violation), (EndKind::Violation, Some(Violation::Protocol)));
    assert!(reason.contains("1000 is the most"), "{reason}");
    rig.until("loud", PluginState::Quarantined).await;
    let events: Vec<String> = trail(&rig.host, "loud").await.into_iter().map(|record| record.event).collect();
    let mut of_interest: Vec<&str> =
        events.iter().map(String::as_str).filter(|event| *event != "call" && *event != "denial").collect();
    // A quarantine is on the disk with its state, an end comes there with the next batch: within 50 ms of each other.
    of_interest.sort_unstable();
    assert_eq!(
        of_interest,
        ["activate", "consent", "install", "quarantine", "start", "violation"],
        "{events:?}"
    );
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_start_that_is_refused_or_cancelled_is_recorded() {
    let rig = Rig::new().await;
    let code = "import time\ntime.sleep(1000)\n";
    rig.python("slow", "", &["x"], code).await;
    let mut events = rig.host.subscribe();
    let host = rig.host.clone();
    let activating = tokio::spawn(async move { host.activate("slow").await });
    // What is on record as started has not answered yet; then nobody wants it any more.
    while !trail(&rig.host, "slow").await.iter().any(|record| record.event == "start") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    activating.abort();
    rig.host.deactivate("slow").await.unwrap();
    let (how, reason, _) = told(&mut events, "slow").await;
    assert_eq!((how, reason.as_str()), (EndKind::StartFailed, "the start was cancelled"));
    assert_eq!(ends(&rig.host, "slow").await.len(), 1);

    // Somebody changes the installed copy.
    rig.python("changed", "", &["x"], "def x(a):\n    return 1\n").await;
    let digest = rig.host.show("changed").await.unwrap().digest;
    let file = find(rig.host.home().path(), &digest).join("main.py");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&file, "def x(a):\n    return 2\n").unwrap();
    let error = rig.host.activate("changed").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidPackage, "{error}");
    let ends = ends(&rig.host, "changed").await;
    let [(event, body)] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!((event.as_str(), text(body, "cause")), ("start_failed", error.to_string().as_str()));
    rig.host.shutdown().await;
}

/// Where the installed copy of a package lies.
pub(crate) fn find(home: &std::path::Path, digest: &str) -> std::path::PathBuf {
    let mut places = vec![home.to_owned()];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(digest) {
                return entry.path();
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                places.push(entry.path());
            }
        }
    }
    panic!("no directory of {digest}");
}

#[tokio::test]
async fn a_plugin_that_is_worked_on_leaves_the_same_records() {
    let rig = Rig::new().await;
    let code = "import os\ndef die(a):\n    os._exit(7)\n";
    let package = rig.python_package("naked", "1.0.0", "", &["die"], code);
    let mut events = rig.host.subscribe();
    for unsandboxed in [true, false] {
        let mut dev = Dev::open(&rig.host, &package, DevOptions { unsandboxed }).await.unwrap();
        dev.reload().await.unwrap();
        dev.call("die", json!({})).await.unwrap_err();
        assert_eq!(told(&mut events, "naked").await.0, EndKind::Crash);
        dev.reload().await.unwrap();
        dev.close().await;
        assert_eq!(told(&mut events, "naked").await.0, EndKind::Stop);
    }
    let starts: Vec<usize> = trail(&rig.host, "naked")
        .await
        .iter()
        .filter(|record| record.event == "start")
        .map(|record| record.body["weakened"].as_array().unwrap().len())
        .collect();
    assert!(starts[0] > 5 && starts[1] > 5 && starts[2..] == [0, 0], "{starts:?}");
    let ends = ends(&rig.host, "naked").await;
    let events: Vec<&str> = ends.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(events, ["crash", "stop", "crash", "stop"]);
    assert_eq!(ends[0].1["exit_code"], json!(7));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn pages_are_bounded_in_both_orders_and_filters_hold() {
    let rig = Rig::new().await;
    rig.active("calm", "", &["ok"], "def ok(a):\n    return 1\n").await;
    for _ in 0..5 {
        rig.call("calm", "ok").await.unwrap();
    }
    let oldest = rig.host.audit(&AuditFilter::default(), None, usize::MAX).await.unwrap();
    let numbers: Vec<i64> = oldest.records.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
    let newest_first = AuditFilter { order: AuditOrder::NewestFirst, ..AuditFilter::default() };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = rig.host.audit(&newest_first, after, 2).await.unwrap();
        seen.extend(page.records.iter().map(|record| record.seq));
        after = seen.last().copied();
        if !page.more {
            break;
        }
    }
    seen.reverse();
    assert_eq!(seen, numbers);
    let calls = AuditFilter { event: Some("call".to_owned()), ..AuditFilter::default() };
    assert_eq!(rig.host.audit(&calls, None, 100).await.unwrap().records.len(), 5);
    rig.host.shutdown().await;
}

/// A home with records of a plugin that crashed, closed. Gives its database.
async fn closed() -> (Rig, std::path::PathBuf) {
    let rig = Rig::new().await;
    rig.python("stillborn", "", &["x"], "import os\nos._exit(4)\n").await;
    for _ in 0..2 {
        rig.host.activate("stillborn").await.unwrap_err();
    }
    assert!(rig.host.audit_verify().await.unwrap().records >= 6);
    let database = rig.host.home().path().join("state.db");
    (rig, database)
}

#[tokio::test]
async fn a_trail_that_was_changed_is_found_at_its_first_bad_record() {
    for (sql, expected) in [
        ("UPDATE audit SET body = replace(body, 'status 4', 'status 0') WHERE seq = 6", 6),
        ("UPDATE audit SET event = 'stop' WHERE seq = 5", 5),
        ("UPDATE audit SET at_ms = at_ms - 1 WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 4", 4),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq > 4", 5),
        ("DELETE FROM audit", 1),
        (
            "UPDATE audit SET seq = -1 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = -1",
            3,
        ),
    ] {
        let (rig, database) = closed().await;
        let host = rig.host.clone();
        assert_eq!(host.audit_verify().await.unwrap().first_bad, None, "the twin: before");
        let connection = rusqlite::Connection::open(&database).unwrap();
        let triggers = "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_shortened;";
        connection.execute_batch(&format!("{triggers}{sql}")).unwrap();
        drop(connection);
        let bad = host.audit_verify().await.unwrap().first_bad.map(|bad| bad.seq);
        assert_eq!(bad, Some(expected), "{sql}");
        let config = Config::default();
        let home = host.home().clone();
        host.shutdown().await;
        // Another process, later, which has written something itself meanwhile.
        let later = Host::builder().home(home).config(config).build().await.unwrap();
        let bad = later.audit_verify().await.unwrap().first_bad.map(|bad| bad.seq);
        assert_eq!(bad, Some(expected), "later: {sql}");
        later.shutdown().await;
    }
}
