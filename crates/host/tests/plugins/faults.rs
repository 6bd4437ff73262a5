//! Plugins that crash, hang, flood and lie, each beside one that must notice nothing.

use std::time::{Duration, Instant};

use ringfence::plugin::CallOptions;
use ringfence::{Config, ErrorKind};
use ringfence_api::{ErrorCode, PluginState};
use serde_json::value::RawValue;

use crate::rig::Rig;

const WITNESS: &str = "def ok(arguments):\n    return 'ok'\n";

async fn rig_with_witness() -> Rig {
    let rig = Rig::new().await;
    rig.active("witness", "", &["ok"], WITNESS).await;
    rig
}

async fn assert_witness(rig: &Rig) {
    assert_eq!(rig.call("witness", "ok").await.unwrap(), "ok");
}

#[tokio::test]
async fn one_that_exits_during_a_call_is_an_error_at_once_and_runs_again() {
    let rig = rig_with_witness().await;
    let code = "import os\ndef die(arguments):\n    os._exit(3)\ndef ok(arguments):\n    return 'ok'\n";
    rig.active("mortal", "", &["die", "ok"], code).await;
    let begun = Instant::now();
    let error = rig.call("mortal", "die").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PluginFailed);
    assert!(error.message().contains("exited with status 3"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_witness(&rig).await;
    rig.until("mortal", PluginState::Errored).await;
    rig.until("mortal", PluginState::Active).await;
    assert_eq!(rig.call("mortal", "ok").await.unwrap(), "ok");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_fails_to_start_says_why_and_ends_in_quarantine() {
    let rig = rig_with_witness().await;
    rig.python("stillborn", "", &["x"], "import sys\nprint('about to go', file=sys.stderr)\nsys.exit(4)\n")
        .await;
    for attempt in 0..6 {
        let error = rig.host.activate("stillborn").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PluginFailed, "{attempt}: {error}");
        assert!(error.message().contains("exit(4)"), "{attempt}: {error}");
    }
    assert_eq!(rig.state("stillborn").await, PluginState::Quarantined);
    let reason = rig.host.show("stillborn").await.unwrap().reason.unwrap();
    assert!(reason.contains("crashed 6 times") && reason.contains("about to go"), "{reason}");
    assert_eq!(rig.call("stillborn", "x").await.unwrap_err().code(), ErrorCode::Quarantined);
    // A person's activation lets it try again, and the count begins anew.
    assert_eq!(rig.host.activate("stillborn").await.unwrap_err().kind(), ErrorKind::PluginFailed);
    assert_eq!(rig.state("stillborn").await, PluginState::Errored);
    assert_witness(&rig).await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_hangs_times_out_is_stopped_and_runs_again() {
    let rig = rig_with_witness().await;
    let code = "import time\ndef hang(arguments):\n    while True:\n        try:\n            time.sleep(100)\n        except BaseException:\n            pass\ndef ok(arguments):\n    return 'ok'\n";
    rig.active("stuck", "", &["hang", "ok"], code).await;
    let options = CallOptions { timeout: Some(Duration::from_millis(300)), ..CallOptions::default() };
    let empty = RawValue::from_string("{}".to_owned()).unwrap();
    let begun = Instant::now();
    let error = rig.host.call_with("stuck", "hang", &empty, &options).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::Timeout, "stuck did not answer within 0.300 s"));
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_witness(&rig).await;
    // It does not give the call up, so it is stopped for it, and started again.
    rig.until("stuck", PluginState::Errored).await;
    let reason = rig.host.show("stuck").await.unwrap().reason.unwrap();
    assert!(reason.contains("timeout"), "{reason}");
    rig.until("stuck", PluginState::Active).await;
    assert_eq!(rig.call("stuck", "ok").await.unwrap(), "ok");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_ignores_every_wish_is_gone_in_time() {
    let rig = rig_with_witness().await;
    // Not with a runner, which ends by itself when its input does.
    let program = "#!/usr/bin/python3\nimport json, signal, sys, time\nfor number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):\n    signal.signal(number, signal.SIG_IGN)\nfor line in sys.stdin:\n    m = json.loads(line)\n    if m.get('method') == 'initialize':\n        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': {'protocol_version': '1'}}), flush=True)\nwhile True:\n    time.sleep(100)\n";
    let manifest = "name: deaf\nversion: 1.0.0\nruntime: native\nentry_point: deaf.py\ntools: [{name: ok}]\n";
    let package = rig.package("deaf", &[("plugin.yaml", manifest), ("deaf.py", program)]);
    rig.host.install(&package, ringfence::plugin::Consent::Absent).await.unwrap();
    rig.host.activate("deaf").await.unwrap();
    let begun = Instant::now();
    rig.host.deactivate("deaf").await.unwrap();
    let took = begun.elapsed();
    // 2 s for an orderly end, 3 s after SIGTERM: no less, so that who tidies up has its time, and no more.
    assert!(took > Duration::from_millis(4900) && took < Duration::from_millis(6500), "{took:?}");
    assert!(!rig.host.show("deaf").await.unwrap().running);
    assert_witness(&rig).await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_call_that_comes_while_a_plugin_is_stopped_is_refused_at_once_and_starts_nothing() {
    let rig = rig_with_witness().await;
    let code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef shutdown():\n    time.sleep(100)\ndef ok(arguments):\n    return 'ok'\n";
    rig.active("deaf", "", &["ok"], code).await;
    assert_eq!(rig.call("deaf", "ok").await.unwrap(), "ok", "the twin");
    let host = rig.host.clone();
    let stopping = tokio::spawn(async move { host.deactivate("deaf").await });
    while rig.host.show("deaf").await.unwrap().running {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let error = rig.call("deaf", "ok").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotActive, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1) && !stopping.is_finished(), "{:?}", begun.elapsed());
    stopping.await.unwrap().unwrap();
    assert!(!rig.host.show("deaf").await.unwrap().running);
    assert_eq!(rig.state("deaf").await, PluginState::Inactive);
    assert_witness(&rig).await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_floods_its_log_and_prints_junk_harms_nobody() {
    let rig = rig_with_witness().await;
    let code = "import os\ndef flood(arguments):\n    for _ in range(2000):\n        os.write(2, b'x' * 4000 + b'\\n')\n        os.write(1, b'noise on fd 1\\n')\n    return 'done'\n";
    rig.active("noisy", "", &["flood"], code).await;
    assert_eq!(rig.call("noisy", "flood").await.unwrap(), "done");
    assert_witness(&rig).await;
    let lines = rig.host.logs("noisy", 10).await.unwrap();
    assert_eq!(lines.len(), 10);
    let directory = rig.host.home().path().join("logs");
    let kept: u64 =
        std::fs::read_dir(directory).unwrap().flatten().map(|file| file.metadata().unwrap().len()).sum();
    assert!(kept <= 5_100_000, "{kept}");
    rig.host.shutdown().await;
}

const LIAR: &str = "#!/usr/bin/python3\nimport sys, json\nfor line in sys.stdin:\n    m = json.loads(line)\n    if m.get('method') == 'initialize':\n        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': {'protocol_version': '1'}}), flush=True)\n    elif m.get('method') == 'call':\n        for _ in range(5000):\n            print('this is no message')\n        print(json.dumps({'jsonrpc': '2.0', 'id': 999999, 'result': 'nobody asked'}))\n        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': 'first'}))\n        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': 'second'}), flush=True)\n    elif 'id' in m:\n        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': None}), flush=True)\n";

#[tokio::test]
async fn one_that_breaks_the_protocol_too_often_is_quarantined() {
    let rig = rig_with_witness().await;
    let manifest =
        "name: liar\nversion: 1.0.0\nruntime: native\nentry_point: liar.py\ntools: [{name: lie}]\n";
    let package = rig.package("liar", &[("plugin.yaml", manifest), ("liar.py", LIAR)]);
    rig.host.install(&package, ringfence::plugin::Consent::Absent).await.unwrap();
    rig.host.activate("liar").await.unwrap();
    // The answer that belongs to the call is delivered, once; everything else is counted and dropped.
    assert_eq!(rig.call("liar", "lie").await.unwrap(), "first");
    rig.until("liar", PluginState::Quarantined).await;
    let reason = rig.host.show("liar").await.unwrap().reason.unwrap();
    assert!(reason.contains("protocol"), "{reason}");
    assert_witness(&rig).await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_takes_too_much_memory_is_stopped_and_the_violation_named() {
    let rig = rig_with_witness().await;
    let code = "import sys\ndef some(arguments):\n    return len(bytearray(30 << 20))\ndef grow(arguments):\n    kept = []\n    while True:\n        kept.append(bytearray(8 << 20))\n        print(len(kept) * 8, file=sys.stderr, flush=True)\n";
    rig.active("glutton", "limits: {memory_mb: 80}\n", &["grow", "some"], code).await;
    assert_eq!(rig.call("glutton", "some").await.unwrap(), 30 << 20, "the twin");
    let error = rig.call("glutton", "grow").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Violation, "{error}");
    let logs = rig.host.logs("glutton", 1000).await.unwrap();
    let most = logs.iter().filter_map(|line| line.message.parse::<u32>().ok()).max().unwrap();
    assert!(error.message().contains("'memory'") && most <= 120, "{most} MB: {error}");
    assert_witness(&rig).await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_forks_is_held_by_its_tasks_and_leaves_nothing() {
    let rig = rig_with_witness().await;
    let code = "import os, time\ndef bomb(arguments):\n    made = 0\n    try:\n        while True:\n            if os.fork() == 0:\n                os.setsid()\n                time.sleep(1000)\n            made += 1\n    except OSError:\n        return made\n";
    let head = "permissions: ['subprocess:execute']\nlimits: {processes: 20}\n";
    rig.active("forker", head, &["bomb"], code).await;
    let made = rig.call("forker", "bomb").await.unwrap();
    assert!((1..20).contains(&made.as_u64().unwrap()), "{made}");
    assert_witness(&rig).await;
    rig.host.deactivate("forker").await.unwrap();
    rig.host.shutdown().await;

    // Without the grant not one can be made.
    let rig = Rig::new().await;
    rig.active("forker", "", &["bomb"], code).await;
    assert_eq!(rig.call("forker", "bomb").await.unwrap(), 0);
    let denials = rig.host.denials("forker").await.unwrap();
    let fork = denials.iter().find(|denial| denial.grant.as_deref() == Some("subprocess:execute"));
    assert!(fork.is_some(), "{denials:?}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_and_its_place_is_free() {
    let rig = rig_with_witness().await;
    let code = "import time\nfrom ringfence import host\ndef wait(arguments):\n    while not host.cancelled():\n        time.sleep(0.01)\n    seen.append(1)\n    return 'late'\nseen = []\ndef ok(arguments):\n    time.sleep(0.3)\n    return len(seen)\n";
    rig.active("patient", "", &["wait", "ok"], code).await;
    for _ in 0..5 {
        let call = rig.call("patient", "wait");
        assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    }
    assert_eq!(rig.call("patient", "ok").await.unwrap(), 5, "each was told");
    assert_eq!(rig.state("patient").await, PluginState::Active);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn sixty_four_calls_in_flight_come_back_to_their_callers() {
    let rig = Rig::with(Config::default()).await;
    let code = "import time\ndef back(arguments):\n    time.sleep((64 - arguments['n']) / 1000)\n    return arguments['n']\n";
    rig.active("juggler", "", &["back"], code).await;
    let calls: Vec<_> = (0..64)
        .map(|n| {
            let host = rig.host.clone();
            tokio::spawn(async move {
                (n, host.call("juggler", "back", serde_json::json!({"n": n})).await.unwrap())
            })
        })
        .collect();
    for call in calls {
        let (n, answer) = call.await.unwrap();
        assert_eq!(answer, n);
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn the_time_of_a_caller_covers_the_start() {
    let rig = Rig::new().await;
    let slow = "import time\ntime.sleep(2)\ndef ok(arguments):\n    return 'ok'\n";
    rig.active("slow", "", &["ok"], slow).await;
    let nothing = RawValue::from_string("{}".to_owned()).unwrap();
    // A host of its own, in which nothing runs yet.
    let home = rig.host.home().clone();
    let again = ringfence::Host::builder().home(home).build().await.unwrap();
    let options = CallOptions { timeout: Some(Duration::from_millis(200)), ..CallOptions::default() };
    let error = again.call_with("slow", "ok", &nothing, &options).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
    assert!(error.message().contains("started after 0.200 s"), "{error}");
    // The start went on; a caller with more time has its answer.
    let options = CallOptions { timeout: Some(Duration::from_secs(20)), ..CallOptions::default() };
    assert_eq!(again.call_with("slow", "ok", &nothing, &options).await.unwrap().get(), "\"ok\"");
    again.shutdown().await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_call_that_is_wrong_does_not_start_one_that_waits_for_its_next_start() {
    let rig = Rig::new().await;
    let code = "import os\nmark = os.environ['RINGFENCE_DATA_DIR'] + '/started'\nif os.path.exists(mark):\n    os._exit(5)\nopen(mark, 'w').close()\ndef die(arguments):\n    os._exit(3)\n";
    rig.active("mortal", "", &["die"], code).await;
    rig.call("mortal", "die").await.unwrap_err();
    // Were it started for this, its failure would be the answer.
    let error = rig.call("mortal", "dye").await.unwrap_err();
    assert_eq!((error.code(), error.hint()), (ErrorCode::NotFound, Some("did you mean 'die'?")), "{error}");
    let error = rig.call("mortal", "die").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PluginFailed, "a call that is right starts it: {error}");
    rig.host.shutdown().await;
}
