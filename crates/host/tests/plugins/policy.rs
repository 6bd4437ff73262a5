//! The administrator's policy over what is installed, granted, started, called and running: each denial with its twin.

use std::time::{Duration, Instant};

use ringfence::event::{EventKind, Heard};
use ringfence::plugin::{Consent, PolicyEffect};
use ringfence::policy::PolicyState;
use ringfence_api::{ErrorCode, Permission, PluginState};
use serde_json::json;

use crate::rig::Rig;

const READER: &str = "def read(arguments):\n    return open(arguments['path']).read()\n";

/// Another policy in the place of the old one, as an editor does it.
fn put(rig: &Rig, text: &str) {
    let path = rig.host.home().policy_file();
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, &path).unwrap();
}

const ALLOWS: &str = "default = \"allow\"\n";

fn permission(text: &str) -> Permission {
    text.parse().unwrap()
}

/// A plugin that reads, with two directories of notes that it is granted.
async fn reader(rig: &Rig) -> (String, String) {
    for name in ["notes/open", "notes/secret"] {
        std::fs::create_dir_all(rig.path(name)).unwrap();
        std::fs::write(rig.path(name).join("a.txt"), name).unwrap();
    }
    let grant = format!("file:read={}/**", rig.path("notes").display());
    rig.active("reader", &format!("permissions: ['{grant}']\n"), &["read"], READER).await;
    (rig.path("notes/open/a.txt").display().to_string(), rig.path("notes/secret/a.txt").display().to_string())
}

async fn read(rig: &Rig, path: &str) -> Result<serde_json::Value, ringfence::Error> {
    rig.host.call("reader", "read", json!({ "path": path })).await
}

fn code_of<T>(result: Result<T, ringfence::Error>) -> Result<(), ErrorCode> {
    result.map(drop).map_err(|error| error.code())
}

/// Waits, at most five seconds, until it is so; how long that took.
async fn within(mut so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < Duration::from_secs(5), "it never came to be");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

#[tokio::test]
async fn pol_01_a_deny_rule_beats_a_grant_and_only_where_it_reaches() {
    let rig = Rig::new().await;
    let (open, secret) = reader(&rig).await;
    assert_eq!(read(&rig, &secret).await.unwrap(), "notes/secret");

    put(&rig, &format!("deny = [\"file:read={}/**\"]\n", rig.path("notes/secret").display()));
    assert_eq!(read(&rig, &open).await.unwrap(), "notes/open");
    let refused = read(&rig, &secret).await.unwrap_err();
    assert!(refused.hint().unwrap().contains("(policy.toml:1)"), "{refused} {:?}", refused.hint());
    assert_eq!(rig.state("reader").await, PluginState::Active);

    let grants = rig.host.grants("reader").await.unwrap();
    let note = grants[0].policy.as_ref().unwrap();
    assert_eq!((note.effect, note.kept.len()), (PolicyEffect::Except, 1));
    assert!(note.because[0].contains("policy.toml:1"), "{note:?}");

    put(&rig, ALLOWS);
    assert_eq!(read(&rig, &secret).await.unwrap(), "notes/secret");
    assert!(rig.host.grants("reader").await.unwrap()[0].policy.is_none());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn pol_01_an_allow_list_narrows_a_wider_grant_and_the_plugin_is_told() {
    let rig = Rig::new().await;
    let (open, secret) = reader(&rig).await;
    put(&rig, &format!("allow = [\"file:read={}/**\"]\n", rig.path("notes/open").display()));
    assert_eq!(read(&rig, &open).await.unwrap(), "notes/open");
    assert!(read(&rig, &secret).await.is_err());
    let note = rig.host.show("reader").await.unwrap().grants[0].policy.clone().unwrap();
    assert_eq!(note.effect, PolicyEffect::Narrowed);
    assert_eq!(note.kept, [format!("file:read={}/**", rig.path("notes/open").display())]);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_grant_of_which_nothing_would_be_left_is_refused_with_rule_and_line() {
    let rig = Rig::new().await;
    rig.python("reader", "", &["read"], READER).await;
    put(&rig, "default = \"allow\"\ndeny = [\"env:read=SECRET_*\"]\n");
    let refused =
        rig.host.grant("reader", &[permission("env:read=SECRET_A"), permission("env:read=LANG")]).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    assert!(refused.message().contains("'deny env:read=SECRET_*' (policy.toml:2)"), "{refused}");
    assert!(refused.hint().unwrap().ends_with("env:read=LANG"), "{:?}", refused.hint());
    assert!(rig.host.grants("reader").await.unwrap().is_empty(), "all or nothing");
    assert_eq!(rig.host.grant("reader", &[permission("env:read=LANG")]).await.unwrap().len(), 1);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_denied_grant_is_taken_from_a_running_plugin_within_a_second_without_any_call() {
    let rig = Rig::new().await;
    // A variable that every test has.
    let code = "import os\ndef env(arguments):\n    return os.environ.get('CARGO_PKG_NAME')\n";
    let head = "permissions: ['env:read=CARGO_PKG_NAME', 'env:read=CARGO_PKG_VERSION']\n";
    rig.active("env", head, &["env"], code).await;
    assert_eq!(rig.call("env", "env").await.unwrap(), env!("CARGO_PKG_NAME"), "while it is granted");
    let mut ends = rig.host.subscribe();
    put(&rig, "deny = [\"env:read=CARGO_PKG_NAME\"]\n");
    let begun = Instant::now();
    let stopped = async {
        loop {
            if let Heard::Event(event) = ends.next().await.unwrap()
                && matches!(event.kind, EventKind::Ended { .. })
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(1), stopped).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    rig.until("env", PluginState::Active).await;
    assert_eq!(rig.call("env", "env").await.unwrap(), json!(null), "it is gone");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn pol_04_a_plugin_that_is_blocked_while_it_runs_and_ignores_its_end_is_gone_within_a_second() {
    let rig = Rig::new().await;
    let code = "import signal, time, threading\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
        def hold():\n    while True:\n        time.sleep(60)\nthreading.Thread(target=hold).start()\n\
        def hello(arguments):\n    return 'hello'\n";
    rig.active("stubborn", "", &["hello"], code).await;
    assert_eq!(rig.call("stubborn", "hello").await.unwrap(), "hello");
    let running = async || !rig.host.show("stubborn").await.unwrap().running;
    put(&rig, "default = \"allow\"\n[install]\nblocked_names = [\"stub*\"]\n");
    let took = within(running).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    rig.until("stubborn", PluginState::Errored).await;
    let details = rig.host.show("stubborn").await.unwrap();
    assert!(details.reason.unwrap().contains("(policy.toml:3)"));
    assert!(details.policy.unwrap().contains("stub*"));
    for refused in
        [rig.call("stubborn", "hello").await.unwrap_err(), rig.host.activate("stubborn").await.unwrap_err()]
    {
        assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    }
    put(&rig, ALLOWS);
    assert_eq!(rig.call("stubborn", "hello").await.unwrap(), "hello");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn names_digests_and_publishers_decide_over_install_and_start() {
    let rig = Rig::new().await;
    let package = rig.python_package("reader", "1.0.0", "author: Example Labs\n", &["read"], READER);
    let install = async || rig.host.install(&package, Consent::Absent).await;
    put(&rig, "[install]\nblocked_names = [\"read*\"]\n");
    let refused = install().await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    assert!(refused.message().contains("'read*' (policy.toml:2)"), "{refused}");
    assert!(rig.host.list().await.unwrap().is_empty());

    put(&rig, "[install]\npublishers = [\"unsigned:Somebody\"]\n");
    assert_eq!(code_of(install().await), Err(ErrorCode::PolicyDenied));
    put(&rig, "[install]\npublishers = [\"unsigned:Example *\"]\n");
    let installed = install().await.unwrap();

    put(&rig, &format!("[install]\nblocked_digests = [\"{}\"]\n", installed.digest));
    assert_eq!(code_of(rig.host.activate("reader").await), Err(ErrorCode::PolicyDenied));
    put(&rig, &format!("[install]\nblocked_digests = [\"{}\"]\n", "0".repeat(64)));
    assert_eq!(code_of(rig.host.activate("reader").await), Ok(()));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn pol_02_under_a_broken_policy_nothing_is_done_and_looking_still_works() {
    let rig = Rig::new().await;
    let package = rig.python_package("other", "1.0.0", "", &["read"], READER);
    let (open, _) = reader(&rig).await;
    put(&rig, "dney = [\"file:read\"]\n");
    let within_a_second = within(async || !rig.host.show("reader").await.unwrap().running).await;
    assert!(within_a_second < Duration::from_secs(1), "{within_a_second:?}");
    for refused in [
        rig.host.install(&package, Consent::Absent).await.map(drop).unwrap_err(),
        read(&rig, &open).await.map(drop).unwrap_err(),
        rig.host.activate("reader").await.map(drop).unwrap_err(),
        rig.host.grant("reader", &[permission("env:read=LANG")]).await.map(drop).unwrap_err(),
        rig.host.consent("reader", Consent::Requested).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(refused.code(), ErrorCode::PolicyDenied, "{refused}");
        assert!(
            refused.message().contains("policy.toml:1:1 unknown field 'dney'; did you mean 'deny'?"),
            "{refused}"
        );
    }
    assert_eq!(rig.host.list().await.unwrap().len(), 1);
    assert!(rig.host.show("reader").await.unwrap().policy.unwrap().contains("did you mean 'deny'"));
    assert!(rig.host.logs("reader", 5).await.is_ok() && rig.host.denials("reader").await.is_ok());
    let grant = rig.host.grants("reader").await.unwrap()[0].permission.clone();
    assert!(rig.host.revoke("reader", &[grant]).await.is_ok(), "taking away is never refused");
    assert_eq!(rig.host.policy().state, PolicyState::Unusable);
    put(&rig, ALLOWS);
    assert!(rig.host.install(&package, Consent::Absent).await.is_ok());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn pol_02_after_a_good_policy_the_last_good_one_holds_over_broken_ones() {
    let rig = Rig::new().await;
    let (open, secret) = reader(&rig).await;
    let good = format!("deny = [\"file:read={}/**\"]\n", rig.path("notes/secret").display());
    put(&rig, &good);
    assert!(read(&rig, &secret).await.is_err());
    assert_eq!(read(&rig, &open).await.unwrap(), "notes/open");
    for broken in ["", "deny = [", &good[..good.len() / 2]] {
        put(&rig, broken);
        assert!(read(&rig, &secret).await.is_err(), "{broken}");
        assert_eq!(read(&rig, &open).await.unwrap(), "notes/open");
        assert_eq!(rig.host.policy().state, PolicyState::LastGood);
    }
    std::fs::remove_file(rig.host.home().policy_file()).unwrap();
    assert!(read(&rig, &secret).await.is_err());
    put(&rig, ALLOWS);
    assert_eq!(read(&rig, &secret).await.unwrap(), "notes/secret");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn ceilings_lower_the_limits_of_a_running_plugin_and_say_so() {
    let rig = Rig::new().await;
    rig.active("reader", "", &["read"], READER).await;
    assert!(rig.host.show("reader").await.unwrap().limits.by_policy.is_empty());
    let code = "import time\ndef wait(arguments):\n    time.sleep(arguments['s'])\n    return 'done'\n";
    rig.active("waiter", "", &["wait"], code).await;
    assert_eq!(rig.host.call("waiter", "wait", json!({"s": 0.1})).await.unwrap(), "done");
    assert_eq!(
        rig.host.call("waiter", "wait", json!({"s": 2.5})).await.unwrap(),
        "done",
        "without a ceiling it may"
    );
    put(
        &rig,
        "default = \"allow\"\n[limits]\nmemory = \"100MB\"\ncall_timeout = \"2s\"\nprocesses = 100000\n",
    );
    let limits = rig.host.show("reader").await.unwrap().limits;
    assert_eq!(
        (limits.memory_bytes, limits.call_timeout_ms, limits.processes),
        (Some(100_000_000), 2_000, Some(256))
    );
    let by: Vec<(&str, &str)> = limits.by_policy.iter().map(|(name, at)| (*name, at.as_str())).collect();
    assert_eq!(by, [("call_timeout_ms", "policy.toml:4"), ("memory_bytes", "policy.toml:3")]);
    assert_eq!(rig.host.call("waiter", "wait", json!({"s": 0.1})).await.unwrap(), "done");
    let late = rig.host.call("waiter", "wait", json!({"s": 4})).await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::Timeout, "{late}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn so_many_denials_within_an_hour_quarantine_until_a_person_releases() {
    let rig = Rig::new().await;
    put(&rig, "default = \"allow\"\n[quarantine]\ndenials_per_hour = 3\n");
    rig.active("reader", "", &["read"], READER).await;
    let path = rig.path("nothing").display().to_string();
    std::fs::write(&path, "x").unwrap();
    for _ in 0..2 {
        assert_eq!(read(&rig, &path).await.unwrap_err().code(), ErrorCode::PluginFailed);
    }
    assert_eq!(rig.state("reader").await, PluginState::Active);
    assert!(read(&rig, &path).await.is_err());
    rig.until("reader", PluginState::Quarantined).await;
    let refused = read(&rig, &path).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Quarantined);
    assert!(
        refused.message().contains("3 or more denials within an hour")
            && refused.message().contains("policy.toml:3"),
        "{refused}"
    );
    rig.host.activate("reader").await.unwrap();
    assert_eq!(
        read(&rig, &path).await.unwrap_err().code(),
        ErrorCode::PluginFailed,
        "released, it counts anew"
    );
    assert_eq!(rig.state("reader").await, PluginState::Active);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn explain_names_who_decides() {
    use ringfence::host::ExplainedBy::{Floor, Grant, Nothing, Policy};
    let rig = Rig::new().await;
    let (open, secret) = reader(&rig).await;
    put(&rig, &format!("deny = [\"file:read={}/**\"]\n", rig.path("notes/secret").display()));
    let explain = async |text: &str| {
        let explained = rig.host.explain_policy("reader", &permission(text)).await.unwrap();
        (explained.by, explained.allowed, explained.line)
    };
    assert_eq!(explain(&format!("file:read={open}")).await, (Grant, true, None));
    assert_eq!(explain(&format!("file:read={secret}")).await, (Policy, false, Some(1)));
    assert_eq!(explain(&format!("file:write={open}")).await, (Nothing, false, None));
    assert!(!explain("file:read=~/.ssh/**").await.1);
    assert_eq!(explain("file:read=~/.ssh/*").await.0, Floor);
    assert_eq!(explain("env:read=LANG").await, (Nothing, false, None));
    let notes = permission(&format!("file:read={}/**", rig.path("notes").display()));
    let whole = rig.host.explain_policy("reader", &notes).await.unwrap();
    assert!(whole.allowed && whole.except[0].contains("policy.toml:1"), "{whole:?}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn simulate_says_what_another_policy_would_have_done() {
    let rig = Rig::new().await;
    let (open, secret) = reader(&rig).await;
    read(&rig, &open).await.unwrap();
    put(&rig, &format!("deny = [\"file:read={}/**\"]\n", rig.path("notes/secret").display()));
    assert!(read(&rig, &secret).await.is_err());
    put(&rig, "default = \"allow\"\n[install]\nblocked_names = [\"other\"]\n");
    let package = rig.python_package("other", "1.0.0", "", &["read"], READER);
    assert!(rig.host.install(&package, Consent::Absent).await.is_err());
    let simulate = async |text: &str| {
        let policy = ringfence::policy::parse(text, "new.toml", rig.host.home()).unwrap();
        rig.host.simulate_policy(policy).await.unwrap()
    };
    let differs = |simulated: &ringfence::host::Simulated| {
        let one =
            |d: &ringfence::host::Difference| format!("{} {} {}->{}", d.plugin, d.event, d.recorded, d.now);
        simulated.differences.iter().map(one).collect::<Vec<_>>()
    };
    let none = simulate(ALLOWS).await;
    assert_eq!(differs(&none), ["reader denial denied->allowed", "other install denied->allowed"]);
    let blocks = simulate("default = \"allow\"\n[install]\nblocked_names = [\"reader\", \"other\"]\n").await;
    let all = differs(&blocks);
    for expected in
        ["reader install allowed->denied", "reader start allowed->denied", "reader call allowed->denied"]
    {
        assert!(all.contains(&expected.to_owned()), "{all:?}");
    }
    assert!(blocks.differences.iter().all(|difference| !difference.because.is_empty()));
    let deny = simulate("deny = [\"file:read\"]\n").await;
    assert!(differs(&deny).contains(&"reader grant allowed->denied".to_owned()), "{:?}", differs(&deny));
    assert!(deny.decisions > 3 && deny.records >= deny.differences.len() as u64);
    assert!(deny.limits.is_empty(), "{:?}", deny.limits);
    let lower = simulate("default = \"allow\"\n[limits]\nmemory = \"100MB\"\n").await;
    let limit = |d: &ringfence::host::LimitDifference| (d.limit.clone(), d.was, d.now, d.because.clone());
    let memory = ("memory_bytes".to_owned(), Some(500_000_000), Some(100_000_000));
    let because = "the ceiling of line 3".to_owned();
    let expected = (memory.0.clone(), memory.1, memory.2, because);
    assert_eq!(lower.limits.iter().map(limit).collect::<Vec<_>>(), [expected]);
    put(&rig, "default = \"allow\"\n[limits]\nmemory = \"100MB\"\n");
    let back = simulate(ALLOWS).await;
    assert_eq!((back.limits[0].was, back.limits[0].now), (memory.2, memory.1), "{:?}", back.limits);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_a_plugin_needs_to_run_and_its_own_data_are_no_business_of_deny_rules() {
    let rig = Rig::new().await;
    put(&rig, "deny = [\"file:read\", \"file:write\", \"file:delete\", \"subprocess:execute\"]\n");
    let code = "import os\ndef keep(arguments):\n    path = os.environ['RINGFENCE_DATA_DIR'] + '/x'\n    \
        open(path, 'w').write('kept')\n    return open(path).read()\n";
    rig.active("keeper", "", &["keep"], code).await;
    assert_eq!(rig.call("keeper", "keep").await.unwrap(), "kept");
    let other = rig.host.grant("keeper", &[permission("file:read=/etc/hosts")]).await;
    assert_eq!(code_of(other), Err(ErrorCode::PolicyDenied), "the rule is in force");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_hook_that_is_denied_takes_part_no_more_within_a_second_and_again_when_it_is_not() {
    use ringfence::hooks::{HookOptions, Payload};
    let rig = Rig::new().await;
    let head = "hooks:\n  - {event: onRequest, kind: mutator}\n";
    let code = "def onRequest(ctx):\n    return {'body': {'seen': True}}\n";
    rig.active("adder", head, &[], code).await;
    let seen = async || {
        let payload = Payload::new(json!({"seen": false}));
        rig.host.hook("onRequest", payload, &HookOptions::default()).await.unwrap().body["seen"] == true
    };
    assert!(seen().await);
    put(&rig, "[[plugins]]\nnames = [\"add*\"]\ndeny = [\"hook:register=onRequest\"]\n");
    let took = within(async || !seen().await).await;
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    put(&rig, "[[plugins]]\nnames = [\"other\"]\ndeny = [\"hook:register=onRequest\"]\n");
    within(seen).await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn pol_04_a_policy_that_comes_while_a_plugin_starts_does_not_wait_for_it() {
    let rig = Rig::new().await;
    let code = "import os, time\nPATH = os.environ['RINGFENCE_DATA_DIR'] + '/slow'\nif os.path.exists(PATH):\n    time.sleep(20)\n\
        def arm(arguments):\n    open(PATH, 'w').write('x')\n";
    rig.active("slow", "", &["arm"], code).await;
    rig.call("slow", "arm").await.unwrap();
    rig.host.deactivate("slow").await.unwrap();
    let host = rig.host.clone();
    let starting = tokio::spawn(async move { host.activate("slow").await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!starting.is_finished(), "it takes its time");
    put(&rig, "default = \"allow\"\n[install]\nblocked_names = [\"slow\"]\n");
    let begun = Instant::now();
    let refused = starting.await.unwrap().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(refused.code(), ErrorCode::PolicyDenied, "{refused}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn pol_02_an_application_that_asks_is_not_told_yes_under_a_broken_policy() {
    let directory = tempfile::tempdir().unwrap();
    let home = ringfence::Home::at(directory.path().join("home"));
    let rig = Rig::of(ringfence::Host::builder().home(home.clone()).build().await.unwrap(), directory);
    rig.python("app", "permissions: ['x-crm:export']\n", &["x"], "def x(a):\n    return 1\n").await;
    let request = ringfence_policy::Request::Named {
        permission: "x-crm:export".parse().unwrap(),
        name: ringfence_policy::Name::new("acme").unwrap(),
    };
    assert!(rig.host.is_permitted("app", &request).await.unwrap());
    // Another host, which has seen no good policy.
    put(&rig, "dney = []\n");
    let other = ringfence::Host::builder().home(home).build().await.unwrap();
    assert_eq!(code_of(other.is_permitted("app", &request).await), Err(ErrorCode::PolicyDenied));
    other.shutdown().await;
    rig.host.shutdown().await;
}

/// What the trail says of the policy: its state, and whether a finding stands there.
async fn recorded(rig: &Rig) -> Vec<(String, bool)> {
    let filter = ringfence::audit::AuditFilter { event: Some("policy".to_owned()), ..Default::default() };
    let page = rig.host.audit(&filter, None, 100).await.unwrap();
    let one = |record: &ringfence::audit::AuditRecord| {
        let said = |name: &str| record.body.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        (said("state").unwrap(), said("finding").is_some())
    };
    page.records.iter().map(one).collect()
}

#[tokio::test]
async fn each_change_of_the_policy_is_on_the_record_though_nothing_runs() {
    let rig = Rig::new().await;
    assert!(recorded(&rig).await.is_empty(), "there never was one");
    let mut expected = Vec::new();
    for (text, state, finding) in [
        (ALLOWS, "in_force", false),
        ("deny = [\"env:read\"]\n", "in_force", false),
        ("deny = [\"env:raed\"]\n", "last_good", true),
        (ALLOWS, "in_force", false),
    ] {
        put(&rig, text);
        expected.push((state.to_owned(), finding));
        within(async || recorded(&rig).await == expected).await;
    }
    // The same again is no change, also for another process.
    assert_eq!(rig.host.policy().state, PolicyState::InForce);
    let home = rig.host.home().clone();
    let (host, directory) = rig.apart();
    host.shutdown().await;
    let other = ringfence::Host::builder().home(home).config(ringfence::Config::default()).build().await;
    let rig = Rig::of(other.unwrap(), directory);
    assert_eq!(recorded(&rig).await, expected);
    assert!(rig.host.audit_verify().await.unwrap().first_bad.is_none());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_policy_that_held_for_one_look_alone_is_on_the_record_too() {
    let rig = Rig::new().await;
    put(&rig, ALLOWS);
    within(async || recorded(&rig).await.len() == 1).await;
    // Each holds for whoever asks at that moment; the host itself looks four times a second.
    for number in 0..3 {
        put(&rig, &format!("deny = [\"env:read=NAME_{number}\"]\n"));
        assert_eq!(rig.host.policy().rules, 1);
        put(&rig, ALLOWS);
        assert_eq!(rig.host.policy().rules, 0);
    }
    within(async || recorded(&rig).await.len() == 7).await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_the_policy_refuses_of_a_plugin_that_is_worked_on_is_on_the_record() {
    let rig = Rig::new().await;
    let package = rig.python_package("worked-on", "1.0.0", "", &["read"], READER);
    let mut dev = ringfence::dev::Dev::open(&rig.host, &package, Default::default()).await.unwrap();
    dev.reload().await.unwrap();
    put(&rig, "default = \"allow\"\n[install]\nblocked_names = [\"worked-*\"]\n");
    assert_eq!(code_of(dev.reload().await), Err(ErrorCode::PolicyDenied));
    let filter = ringfence::audit::AuditFilter { event: Some("denial".to_owned()), ..Default::default() };
    let page = rig.host.audit(&filter, None, 100).await.unwrap();
    let [record] = &page.records[..] else { panic!("{:?}", page.records) };
    assert_eq!((record.plugin.as_str(), record.body["operation"].as_str()), ("worked-on", Some("dev")));
    assert_eq!(record.body["layer"], "policy");
    dev.close().await;
    rig.host.shutdown().await;
}
