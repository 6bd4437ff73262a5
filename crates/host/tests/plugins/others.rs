//! Two hosts of one home, as two commands are: what one changes reaches what the other runs.
//!
//! The plugin reads a granted file in a loop and counts how often it could, in a file that another grant lets it write.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringfence::host::UpgradeOptions;
use ringfence::plugin::{Consent, KeepData};
use ringfence::{Error, Host};
use ringfence_api::{ErrorCode, Permission, PluginState};
use serde_json::{Value, json};

use crate::rig::Rig;

/// What is taken back must be gone by then, and that be answered.
const AT_ONCE: Duration = Duration::from_secs(1);
/// For what also waits for disks and processes of a busy machine. Well below the 10 s after which a change gives up.
const SOON: Duration = Duration::from_secs(5);
const READER: &str = "import os\ndef read(a):\n    return open(a['path']).read()\ndef pid(a):\n    return os.getpid()\ndef follow(a):\n    n = 0\n    while True:\n        open(a['path']).read()\n        n += 1\n        open(a['out'], 'w').write(str(n))\n";
const TOOLS: &[&str] = &["read", "pid", "follow"];

/// A home with a host that runs the plugin, and a second host that runs nothing.
struct Pair {
    rig: Rig,
    other: Host,
}

impl Pair {
    async fn new() -> Self {
        Self::with("", READER).await
    }

    async fn with(head: &str, code: &str) -> Self {
        let rig = Rig::new().await;
        for name in ["notes", "out"] {
            std::fs::create_dir(rig.path(name)).unwrap();
        }
        std::fs::write(rig.path("notes/today"), "buy bread").unwrap();
        let asks = format!(
            "permissions: ['{}', '{}']\n{head}",
            grant(&rig, "read", "notes"),
            grant(&rig, "write", "out")
        );
        let code = code.replace("NOTES", &rig.path("notes").display().to_string());
        rig.active("reader", &asks, TOOLS, &code).await;
        let other = Host::builder().home(rig.host.home().clone()).build().await.unwrap();
        Self { rig, other }
    }

    fn arguments(&self) -> Value {
        json!({"path": self.rig.path("notes/today"), "out": self.rig.path("out/beat")})
    }

    async fn read(&self) -> Result<Value, Error> {
        self.rig.host.call("reader", "read", self.arguments()).await
    }

    /// Begins the loop in the first host, and waits until it goes.
    async fn following(&self) -> tokio::task::JoinHandle<Result<Value, Error>> {
        let (host, arguments) = (self.rig.host.clone(), self.arguments());
        let call = tokio::spawn(async move { host.call("reader", "follow", arguments).await });
        self.beats().await;
        call
    }

    fn beat(&self) -> Option<u64> {
        std::fs::read_to_string(self.rig.path("out/beat")).ok()?.parse().ok()
    }

    /// Waits until the loop has gone on.
    async fn beats(&self) {
        let before = self.beat();
        let goes = async {
            while self.beat().is_none() || self.beat() == before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), goes)
            .await
            .unwrap_or_else(|_| panic!("the loop goes on"));
    }

    /// The loop has ended: nobody counts any more.
    async fn is_still(&self) {
        let before = std::fs::read(self.rig.path("out/beat")).unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(std::fs::read(self.rig.path("out/beat")).unwrap(), before);
    }

    async fn close(self) {
        self.other.shutdown().await;
        self.rig.host.shutdown().await;
    }
}

fn grant(rig: &Rig, act: &str, directory: &str) -> Permission {
    format!("file:{act}={}/**", rig.path(directory).display()).parse().unwrap()
}

/// The error of an interrupted call.
async fn interrupted(call: tokio::task::JoinHandle<Result<Value, Error>>) -> Error {
    tokio::time::timeout(SOON, call).await.unwrap().unwrap().unwrap_err()
}

#[tokio::test]
async fn a_grant_that_the_other_takes_back_is_gone_when_that_is_answered() {
    let pair = Pair::new().await;
    let call = pair.following().await;
    let read = grant(&pair.rig, "read", "notes");
    let begun = Instant::now();
    pair.other.revoke("reader", std::slice::from_ref(&read)).await.unwrap();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    pair.is_still().await;
    let error = interrupted(call).await;
    assert_eq!(error.code(), ErrorCode::PermissionDenied, "{error}");
    assert!(error.message().contains(&format!("its grant {read} was taken back")), "{error}");
    assert!(error.hint().unwrap().contains(&format!("ringfence grant reader '{read}'")), "{error:?}");
    // It is active, and runs with less.
    assert_eq!(pair.read().await.unwrap_err().code(), ErrorCode::PluginFailed);
    assert_eq!(pair.rig.state("reader").await, PluginState::Active);
    assert_eq!(pair.rig.host.show("reader").await.unwrap().recent_crashes, 0);
    pair.close().await;
}

#[tokio::test]
async fn what_takes_nothing_away_leaves_a_call_alone_and_is_there_for_the_next() {
    let pair = Pair::new().await;
    std::fs::write(pair.rig.path("more"), "and milk").unwrap();
    let more: Permission = format!("file:read={}", pair.rig.path("more").display()).parse().unwrap();
    let more_arguments = json!({"path": pair.rig.path("more")});
    assert!(pair.rig.host.call("reader", "read", more_arguments.clone()).await.is_err());
    let call = pair.following().await;
    pair.other.grant("reader", std::slice::from_ref(&more)).await.unwrap();
    pair.other.revoke("reader", &["env:read=NONE".parse().unwrap()]).await.unwrap_err();
    for _ in 0..20 {
        pair.beats().await;
    }
    assert!(!call.is_finished(), "nobody has ended it");
    call.abort();
    // The caller is gone; as soon as the plugin has given the call up, it is started anew with more.
    let granted = async {
        while pair.rig.host.call("reader", "read", more_arguments.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), granted).await.expect("the grant arrives");
    // One that idles has it for the very next call.
    pair.other.revoke("reader", std::slice::from_ref(&more)).await.unwrap();
    assert!(pair.rig.host.call("reader", "read", more_arguments.clone()).await.is_err());
    pair.other.grant("reader", &[more]).await.unwrap();
    assert_eq!(pair.rig.host.call("reader", "read", more_arguments).await.unwrap(), "and milk");
    pair.close().await;
}

#[tokio::test]
async fn what_the_other_deactivates_stops_and_starts_no_more() {
    let pair = Pair::new().await;
    let call = pair.following().await;
    assert_eq!(pair.other.deactivate("reader").await.unwrap().state, PluginState::Inactive);
    pair.is_still().await;
    assert_eq!(interrupted(call).await.code(), ErrorCode::NotActive);
    assert_eq!(pair.read().await.unwrap_err().code(), ErrorCode::NotActive);
    assert_eq!(pair.rig.state("reader").await, PluginState::Inactive);
    pair.other.activate("reader").await.unwrap();
    assert_eq!(pair.read().await.unwrap(), "buy bread", "the twin");
    pair.close().await;
}

#[tokio::test]
async fn what_the_other_uninstalls_ends_before_its_files_go() {
    let pair = Pair::new().await;
    let call = pair.following().await;
    let below = |name: &str| -> PathBuf { pair.rig.host.home().path().join(name) };
    let count = |name: &str| std::fs::read_dir(below(name)).unwrap().count();
    assert_eq!((count("store"), count("data")), (1, 1));
    let begun = Instant::now();
    pair.other.uninstall("reader", KeepData::No).await.unwrap();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!((count("store"), count("data")), (0, 0));
    pair.is_still().await;
    assert_eq!(interrupted(call).await.code(), ErrorCode::NotFound);
    assert_eq!(pair.read().await.unwrap_err().code(), ErrorCode::NotFound);
    // The name is free, and what takes it is another plugin.
    pair.rig.active("reader", "", TOOLS, READER).await;
    assert_eq!(pair.read().await.unwrap_err().code(), ErrorCode::PluginFailed, "it was granted nothing");
    pair.close().await;
}

const CONFIGURED: &str = "import time\nborn = time.time_ns()\nseen = {}\ndef initialize(config):\n    seen['config'] = config\ndef config_changed(config):\n    if config.get('n') == 3:\n        raise ValueError('not three')\n    seen['config'] = config\ndef read(a):\n    return [seen['config'].get('n'), born]\n";

#[tokio::test]
async fn a_configuration_that_the_other_writes_is_told_and_one_that_is_not_taken_starts_it_anew() {
    let head = "config_schema: {type: object, properties: {n: {type: integer, default: 1}}}\n";
    let pair = Pair::with(head, &format!("{READER}{CONFIGURED}")).await;
    let seen = async |pair: &Pair| {
        let seen = pair.read().await.unwrap();
        (seen[0].as_i64().unwrap(), seen[1].as_i64().unwrap())
    };
    let (n, born) = seen(&pair).await;
    assert_eq!(n, 1);
    pair.other.set_config("reader", json!({"n": 2})).await.unwrap();
    assert_eq!(seen(&pair).await, (2, born), "the same process was told");
    pair.other.set_config("reader", json!({"n": 3})).await.unwrap();
    let refused = async {
        loop {
            match seen(&pair).await {
                (3, again) => return again,
                // It is told, refuses, and goes on with what it has until it is started anew.
                (n, again) => assert_eq!((n, again), (2, born)),
            }
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
    assert_ne!(again, born, "one that refuses it is started with it");
    pair.close().await;
}

#[tokio::test]
async fn a_version_that_the_other_puts_in_place_is_the_one_that_runs() {
    let rig = Rig::new().await;
    let code = |n: u8| format!("def which(a):\n    return {n}\n");
    rig.active("p", "", &["which"], &code(1)).await;
    let other = Host::builder().home(rig.host.home().clone()).build().await.unwrap();
    let packages = || std::fs::read_dir(rig.host.home().path().join("store")).unwrap().count();
    for n in [2, 3] {
        let package = rig.python_package("p", &format!("{n}.0.0"), "", &["which"], &code(n));
        assert!(other.upgrade(&package, Consent::Absent, UpgradeOptions::default()).await.unwrap().done);
        assert_eq!(rig.call("p", "which").await.unwrap(), n);
        assert_eq!(packages(), 2, "the version before is kept, no other");
    }
    other.rollback("p").await.unwrap();
    assert_eq!(rig.call("p", "which").await.unwrap(), 2);
    assert_eq!(packages(), 1);
    other.shutdown().await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_is_quarantined_in_one_host_ends_in_the_other() {
    // It does not start while there is a file: the one that runs is not concerned.
    let code = format!("import os\nif os.path.exists('NOTES/fail'):\n    raise SystemExit(4)\n{READER}");
    let pair = Pair::with("", &code).await;
    let call = pair.following().await;
    std::fs::write(pair.rig.path("notes/fail"), "").unwrap();
    for attempt in 0..6 {
        assert!(!call.is_finished(), "{attempt} failed starts elsewhere end nothing here");
        pair.beats().await;
        pair.other.activate("reader").await.unwrap_err();
    }
    assert_eq!(pair.rig.state("reader").await, PluginState::Quarantined);
    assert_eq!(interrupted(call).await.code(), ErrorCode::Quarantined);
    assert_eq!(pair.read().await.unwrap_err().code(), ErrorCode::Quarantined);
    pair.close().await;
}

#[tokio::test]
async fn a_start_either_sees_the_change_or_is_begun_again() {
    let slow = format!("import time\ntime.sleep(0.5)\n{READER}");
    let pair = Pair::with("", &slow).await;
    let read = grant(&pair.rig, "read", "notes");
    for delay_ms in [0, 2, 5, 20, 60, 150, 300, 600] {
        // A host in which nothing runs yet: its call starts the plugin while the other takes the grant back.
        let host = Host::builder().home(pair.rig.host.home().clone()).build().await.unwrap();
        let revoke = async {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            let begun = Instant::now();
            pair.other.revoke("reader", std::slice::from_ref(&read)).await.unwrap();
            begun.elapsed()
        };
        let (called, waited) = tokio::join!(host.call("reader", "read", pair.arguments()), revoke);
        assert!(waited < SOON, "{delay_ms} ms: {waited:?}");
        if delay_ms < 400 {
            let error = called.expect_err("it was never up with the grant");
            assert_eq!(error.code(), ErrorCode::PluginFailed, "{delay_ms} ms: {error}");
        }
        let error = host.call("reader", "read", pair.arguments()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PluginFailed, "{delay_ms} ms: {error}");
        host.shutdown().await;
        pair.other.grant("reader", std::slice::from_ref(&read)).await.unwrap();
    }
    assert_eq!(pair.read().await.unwrap(), "buy bread", "with the grant it can");
    pair.close().await;
}

#[tokio::test]
async fn in_the_same_host_a_grant_is_gone_at_once_though_the_plugin_is_busy() {
    let pair = Pair::new().await;
    let call = pair.following().await;
    let begun = Instant::now();
    pair.rig.host.revoke("reader", &[grant(&pair.rig, "read", "notes")]).await.unwrap();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    pair.is_still().await;
    assert_eq!(interrupted(call).await.code(), ErrorCode::PermissionDenied);
    pair.close().await;
}

#[tokio::test]
async fn two_hosts_that_run_and_change_the_same_plugin_wait_for_each_other_and_not_for_ever() {
    let pair = Pair::new().await;
    let read = grant(&pair.rig, "read", "notes");
    let changes = async |host: &Host| {
        for n in 0..4 {
            // Whoever comes second finds nothing to take back.
            let _done = host.revoke("reader", std::slice::from_ref(&read)).await;
            let called = host.call("reader", "pid", json!({})).await;
            host.grant("reader", std::slice::from_ref(&read))
                .await
                .unwrap_or_else(|error| panic!("{n}: {error}"));
            let interrupted = called.err().map(|error| error.code());
            assert!(matches!(interrupted, None | Some(ErrorCode::PermissionDenied)), "{n}: {interrupted:?}");
        }
    };
    let both = async { tokio::join!(changes(&pair.rig.host), changes(&pair.other)) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("nobody waits for ever");
    assert_eq!(pair.read().await.unwrap(), "buy bread");
    pair.close().await;
}
