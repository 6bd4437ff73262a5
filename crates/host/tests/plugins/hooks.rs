//! Events through plugins: who is asked, in which order, and what comes of it.

use std::time::{Duration, Instant};

use ringfence::audit::AuditFilter;
use ringfence::hooks::{HandlerResult, HookOptions, HookOutcome, HookPoint, Payload, Verdict};
use ringfence::plugin::{Consent, KeepData};
use ringfence::{Config, Home, Host};
use ringfence_api::ErrorCode;
use serde_json::{Value, json};

use crate::rig::Rig;

/// The head of a manifest with one hook.
fn hooked(event: &str, kind: &str, more: &str) -> String {
    format!("hooks:\n  - {{event: {event}, kind: {kind}{more}}}\n")
}

/// With observers waited for, and changes named.
fn whole() -> HookOptions {
    HookOptions { wait_for_observers: true, changes: true, ..HookOptions::default() }
}

pub(crate) async fn pass(rig: &Rig, body: Value) -> HookOutcome {
    rig.host.hook("onRequest", Payload::new(body), &whole()).await.unwrap()
}

fn results(outcome: &HookOutcome) -> Vec<(String, HandlerResult)> {
    outcome.trace.iter().map(|entry| (entry.plugin.to_string(), entry.result)).collect()
}

fn said(plugin: &str, result: HandlerResult) -> (String, HandlerResult) {
    (plugin.to_owned(), result)
}

const ADD: &str = "def onRequest(ctx):\n    ctx.body['seen'].append(NAME)\n    return {'body': ctx.body}\n";
const LOOK: &str = "import json, os\ndef onRequest(ctx):\n    path = os.environ['RINGFENCE_DATA_DIR'] + '/seen'\n    \
    open(path, 'w').write(json.dumps([ctx.body, ctx.metadata, ctx.blocked]))\ndef seen(arguments):\n    \
    return json.load(open(os.environ['RINGFENCE_DATA_DIR'] + '/seen'))\n";

async fn adder(rig: &Rig, name: &str, priority: i32) {
    let head = hooked("onRequest", "mutator", &format!(", priority: {priority}"));
    rig.active(name, &head, &[], &ADD.replace("NAME", &format!("'{name}'"))).await;
}

#[tokio::test]
async fn mutators_change_guards_judge_and_observers_see_what_was_made() {
    let rig = Rig::new().await;
    adder(&rig, "late", 90).await;
    adder(&rig, "early", -5).await;
    adder(&rig, "a-tie", 90).await;
    let guard = "def onRequest(ctx):\n    if 'bad' in ctx.body['seen']:\n        \
        return {'blocked': True, 'reason': 'bad word', 'response': {'error': 'no'}}\n";
    rig.active("guard", &hooked("onRequest", "guard", ""), &[], guard).await;
    rig.active("second-guard", &hooked("onRequest", "guard", ", priority: 60"), &[], guard).await;
    rig.active("watcher", &hooked("onRequest", "observer", ""), &["seen"], LOOK).await;

    let outcome = pass(&rig, json!({"seen": []})).await;
    assert_eq!(outcome.outcome, Verdict::Continue);
    assert_eq!(outcome.body, json!({"seen": ["early", "a-tie", "late"]}));
    use HandlerResult::{Blocked, Changed, NotAsked, Observed, Passed};
    let expected = [
        said("early", Changed),
        said("a-tie", Changed),
        said("late", Changed),
        said("guard", Passed),
        said("second-guard", Passed),
        said("watcher", Observed),
    ];
    assert_eq!(results(&outcome), expected);
    assert_eq!(outcome.trace[0].changes, ["/body/seen"]);
    assert_eq!(rig.call("watcher", "seen").await.unwrap()[0], outcome.body);

    let outcome = pass(&rig, json!({"seen": ["bad"]})).await;
    assert!(outcome.is_blocked());
    assert_eq!(outcome.reason.as_deref(), Some("bad word"));
    assert_eq!(outcome.response, Some(json!({"error": "no"})));
    assert_eq!(outcome.by.as_ref().unwrap().as_str(), "guard");
    assert_eq!(
        results(&outcome)[3..],
        [said("guard", Blocked), said("second-guard", NotAsked), said("watcher", Observed)]
    );
    let seen = rig.call("watcher", "seen").await.unwrap();
    assert_eq!(seen[2], json!({"by": "guard", "reason": "bad word"}), "an observer sees what was blocked");

    let dry = HookOptions { dry_run: true, ..whole() };
    let outcome = rig.host.hook("onRequest", Payload::new(json!({"seen": []})), &dry).await.unwrap();
    assert!(outcome.dry_run && outcome.trace.len() == 5, "observers hear nothing of a dry run: {outcome:?}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn nothing_is_not_null_and_an_unknown_member_is_no_answer() {
    let rig = Rig::new().await;
    let code = "def onRequest(ctx):\n    return ctx.body\n";
    rig.active("mirror", &hooked("onRequest", "mutator", ""), &[], code).await;
    let made = |body: Value| async { (pass(&rig, body.clone()).await, body) };
    let (outcome, _) = made(json!({"body": null})).await;
    assert_eq!(
        (&outcome.body, results(&outcome)),
        (&Value::Null, vec![said("mirror", HandlerResult::Changed)])
    );
    for nothing in [json!(null), json!({})] {
        let (outcome, before) = made(nothing).await;
        assert_eq!(
            (&outcome.body, results(&outcome)),
            (&before, vec![said("mirror", HandlerResult::Unchanged)])
        );
    }
    for wrong in [json!({"bdy": 1}), json!({"metadata": 1}), json!({"blocked": true}), json!("text")] {
        let (outcome, before) = made(wrong).await;
        assert_eq!(
            (&outcome.body, results(&outcome)),
            (&before, vec![said("mirror", HandlerResult::Skipped)]),
            "{outcome:?}"
        );
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn only_who_is_active_and_granted_the_event_takes_part() {
    let rig = Rig::new().await;
    let head = hooked("onRequest", "guard", "");
    let code = "def onRequest(ctx):\n    return {'blocked': True, 'reason': 'always'}\n";
    rig.active("guard", &head, &[], code).await;
    assert!(pass(&rig, json!(1)).await.is_blocked());
    let other = rig.host.hook("onOther", Payload::new(json!(1)), &whole()).await.unwrap();
    assert!(other.trace.is_empty() && !other.is_blocked(), "it did not declare that event");

    let permission = "hook:register=onRequest".parse().unwrap();
    rig.host.revoke("guard", std::slice::from_ref(&permission)).await.unwrap();
    assert!(!pass(&rig, json!(1)).await.is_blocked(), "what is revoked counts at once");
    rig.host.grant("guard", &[permission]).await.unwrap();
    assert!(pass(&rig, json!(1)).await.is_blocked());
    rig.host.deactivate("guard").await.unwrap();
    assert!(!pass(&rig, json!(1)).await.is_blocked());
    rig.host.activate("guard").await.unwrap();
    assert!(pass(&rig, json!(1)).await.is_blocked());
    rig.host.uninstall("guard", KeepData::No).await.unwrap();
    assert!(!pass(&rig, json!(1)).await.is_blocked());
    let bad = rig.host.hook("on request", Payload::default(), &whole()).await.unwrap_err();
    assert_eq!(bad.code(), ErrorCode::Usage);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_another_host_of_the_home_changes_counts_within_a_second() {
    let rig = Rig::new().await;
    let other = Host::builder().home(rig.host.home().clone()).build().await.unwrap();
    assert!(!pass(&rig, json!(1)).await.is_blocked());
    let package = rig.python_package(
        "guard",
        "1.0.0",
        &hooked("onRequest", "guard", ""),
        &[],
        "def onRequest(ctx):\n    return {'blocked': True}\n",
    );
    other.install(&package, Consent::Requested).await.unwrap();
    other.activate("guard").await.unwrap();
    let end = Instant::now() + ringfence::hooks::REFRESH_EVERY * 3;
    while !pass(&rig, json!(1)).await.is_blocked() {
        assert!(Instant::now() < end, "the new guard is not asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    other.shutdown().await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_body_that_breaks_the_schema_of_its_event_is_refused_and_attributed() {
    let directory = tempfile::tempdir().unwrap();
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let point = HookPoint::new("onRequest").unwrap().schema(&schema).unwrap();
    let point = point.protect("/email", &"profile:read=email".parse().unwrap()).unwrap();
    let home = Home::at(directory.path().join("home"));
    let host = Host::builder().home(home).hook_point(point).build().await.unwrap();
    let rig = Rig::of(host, directory);
    let code = "def onRequest(ctx):\n    body = dict(ctx.body)\n    body['n'] = body.pop('to')\n    body['was'] = body.get('email')\n    \
        body['email'] = 'mallory'\n    return {'body': body}\n";
    rig.active("mutator", &hooked("onRequest", "mutator", ""), &[], code).await;

    let outcome = pass(&rig, json!({"n": 1, "to": 2, "email": "ada"})).await;
    assert_eq!(
        outcome.body,
        json!({"n": 2, "email": "ada", "was": "[needs profile:read=email]"}),
        "without the grant a protected part is neither seen nor changed"
    );
    let outcome = pass(&rig, json!({"n": 1, "to": "text"})).await;
    assert_eq!(outcome.body, json!({"n": 1, "to": "text"}), "what it made is dropped");
    let entry = &outcome.trace[0];
    assert_eq!((entry.plugin.as_str(), entry.result), ("mutator", HandlerResult::Skipped));
    assert!(entry.reason.as_ref().unwrap().contains("schema violation"), "{entry:?}");
    let before = rig.host.hook("onRequest", Payload::new(json!({"n": "x"})), &whole()).await.unwrap_err();
    assert_eq!(before.code(), ErrorCode::SchemaViolation);

    let head = format!("permissions: ['profile:read=email']\n{}", hooked("onRequest", "mutator", ""));
    let package = rig.python_package("mutator", "1.1.0", &head, &[], code);
    rig.host.upgrade(&package, Consent::Requested, Default::default()).await.unwrap();
    let outcome = pass(&rig, json!({"n": 1, "to": 2, "email": "ada"})).await;
    assert_eq!(outcome.body, json!({"n": 2, "email": "mallory", "was": "ada"}), "with the grant it is both");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_breaker_leaves_failing_handlers_alone_and_disarms_no_guard() {
    let rig = Rig::new().await;
    let hang = "import time\ndef onRequest(ctx):\n    if ctx.body['hang']:\n        time.sleep(60)\n";
    let short = ", timeout_ms: 150";
    rig.active("guard", &hooked("onRequest", "guard", short), &[], hang).await;
    rig.active("watched", &hooked("onRequest", "mutator", short), &[], hang).await;
    assert!(!pass(&rig, json!({"hang": false})).await.is_blocked());
    for _ in 0..ringfence::hooks::BREAKER_FAILURES {
        assert!(pass(&rig, json!({"hang": true})).await.is_blocked());
    }
    let begun = Instant::now();
    let outcome = pass(&rig, json!({"hang": false})).await;
    assert!(outcome.is_blocked(), "it is not asked, and what is not asked does not let pass");
    assert_eq!(
        results(&outcome),
        [said("watched", HandlerResult::Skipped), said("guard", HandlerResult::Blocked)]
    );
    assert!(
        outcome.trace.iter().all(|entry| entry.duration_us < 100_000),
        "nobody is waited for: {outcome:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    let listed = rig.host.hooks().await.unwrap();
    assert!(listed.iter().all(|hook| hook.breaker == ringfence::hooks::BreakerState::Open));
    assert!(listed.iter().all(|hook| hook.latency.failures >= 5 && hook.latency.count >= 6), "{listed:?}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn whoever_is_asked_too_often_is_passed_over_and_no_guard_lets_pass_for_it() {
    let code = "def onRequest(ctx):\n    if 'bad' in str(ctx.body):\n        return {'blocked': True, 'reason': 'bad'}\n";
    let change = "def onRequest(ctx):\n    return {'body': [ctx.body]}\n";
    let rig_with = async |limit: Option<u64>| {
        let mut config = Config::default();
        config.plugins.hooks_per_second = limit;
        let rig = Rig::with(config).await;
        rig.active("mutator", &hooked("onRequest", "mutator", ""), &[], change).await;
        rig.active("watcher", &hooked("onRequest", "observer", ""), &[], "def onRequest(ctx):\n    pass\n")
            .await;
        rig
    };
    use HandlerResult::{Blocked, Changed, Observed, Passed, Skipped};
    // Two at once, then one a second: forty would take a machine on which this lasts forty seconds.
    let rig = rig_with(Some(1)).await;
    let mut changed = 0;
    for _ in 0..40 {
        let outcome = pass(&rig, json!(1)).await;
        assert!(!outcome.is_blocked(), "a mutator that is passed over lets pass: {outcome:?}");
        changed += usize::from(outcome.body == json!([1]));
        for entry in outcome.trace.iter().filter(|entry| entry.result == Skipped) {
            assert!(entry.reason.as_ref().unwrap().contains("hooks_per_second"), "{entry:?}");
        }
    }
    assert!((2..40).contains(&changed), "{changed}");
    let listed = rig.host.hooks().await.unwrap();
    assert!(listed.iter().all(|hook| hook.latency.failures == 0), "it is no failure of its own: {listed:?}");
    rig.active("open", &hooked("onRequest", "guard", ", on_failure: skip"), &[], code).await;
    for _ in 0..4 {
        assert!(pass(&rig, json!("bad")).await.is_blocked(), "it is passed over by nobody who sends much");
    }
    rig.active("guard", &hooked("onRequest", "guard", ""), &[], code).await;
    let mut blocked = Vec::new();
    for _ in 0..40 {
        blocked.push(pass(&rig, json!(1)).await);
    }
    blocked.retain(HookOutcome::is_blocked);
    let last = blocked.pop().expect("a guard that is not asked lets nothing pass");
    assert!(last.reason.as_ref().unwrap().contains("hooks_per_second"), "{last:?}");
    assert!(results(&last).contains(&said("guard", Blocked)), "{last:?}");
    rig.host.shutdown().await;

    let rig = rig_with(None).await;
    rig.active("guard", &hooked("onRequest", "guard", ""), &[], code).await;
    for _ in 0..12 {
        let outcome = pass(&rig, json!(1)).await;
        let all = [said("mutator", Changed), said("guard", Passed), said("watcher", Observed)];
        assert_eq!(results(&outcome), all, "without a bound everybody is asked");
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_quarantined_guard_blocks_until_somebody_takes_it_out() {
    let rig = Rig::new().await;
    let code = "import os\ndef onRequest(ctx):\n    return None\ndef die(arguments):\n    os._exit(3)\n";
    rig.active("guard", &hooked("onRequest", "guard", ""), &["die"], code).await;
    rig.active(
        "mutator",
        &hooked("onRequest", "mutator", ""),
        &[],
        "def onRequest(ctx):\n    return {'body': 2}\n",
    )
    .await;
    assert!(!pass(&rig, json!(1)).await.is_blocked());
    rig.quarantine("guard").await;
    let reason = rig.host.show("guard").await.unwrap().reason;
    rig.host.deactivate("guard").await.unwrap();
    assert_eq!(rig.host.show("guard").await.unwrap().reason, reason, "it stays what it was, and says why");
    let outcome = pass(&rig, json!(1)).await;
    assert!(outcome.is_blocked());
    assert!(outcome.reason.as_ref().unwrap().contains("quarantined"), "{outcome:?}");
    assert_eq!(outcome.body, 2, "the others are asked as ever");
    rig.host.revoke("guard", &["hook:register=onRequest".parse().unwrap()]).await.unwrap();
    assert!(!pass(&rig, json!(1)).await.is_blocked());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_thousand_events_on_a_slow_observer_delay_nobody() {
    let rig = Rig::new().await;
    let code = "import time\ndef onRequest(ctx):\n    time.sleep(0.2)\n";
    rig.active("slow", &hooked("onRequest", "observer", ""), &[], code).await;
    let options = HookOptions::default();
    let first = pass(&rig, json!(0)).await;
    assert_eq!(results(&first), [said("slow", HandlerResult::Observed)]);
    let begun = Instant::now();
    let (mut queued, mut dropped) = (0, 0);
    for n in 0..ringfence::hooks::MAILBOX_MAX + 200 {
        let outcome = rig.host.hook("onRequest", Payload::new(json!(n)), &options).await.unwrap();
        match outcome.trace[0].result {
            HandlerResult::Queued => queued += 1,
            HandlerResult::Skipped => dropped += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "each would have taken 0.2 s");
    assert!(queued >= ringfence::hooks::MAILBOX_MAX && dropped >= 100, "{queued} queued, {dropped} dropped");
    assert!(!rig.host.settle(Duration::from_millis(10)).await);
    // What waits goes with the plugin.
    rig.host.deactivate("slow").await.unwrap();
    assert!(rig.host.settle(Duration::from_secs(5)).await);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_hook_that_is_registered_while_it_runs_needs_the_grant_and_ends_with_the_run() {
    let rig = Rig::new().await;
    let code = "from ringfence import host\ndef register(arguments):\n    host.register_hook(arguments['event'], kind='mutator')\n\
        def onLater(ctx):\n    return {'body': 'later'}\n";
    let head = "permissions: ['hook:register=onLater']\n";
    rig.active("late", head, &["register"], code).await;
    let options = HookOptions::default();
    let later = || rig.host.hook("onLater", Payload::default(), &options);
    assert!(later().await.unwrap().trace.is_empty());
    let register = |event: &'static str| rig.host.call("late", "register", json!({"event": event}));
    let error = register("onOther").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied, "{}", error.chain());
    assert!(error.hint().unwrap().contains("hook:register=onOther"), "{error:?}");
    register("onLater").await.unwrap();
    assert_eq!(later().await.unwrap().body, "later");
    rig.host.deactivate("late").await.unwrap();
    rig.host.activate("late").await.unwrap();
    assert!(later().await.unwrap().trace.is_empty(), "the next run has not registered it");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn plugins_hear_of_each_others_life_and_of_their_own() {
    let rig = Rig::with(Config::default()).await;
    let code = "import json, os\nPATH = os.environ['RINGFENCE_DATA_DIR'] + '/heard'\ndef note(ctx):\n    \
        open(PATH, 'a').write(json.dumps([ctx.event, ctx.body['plugin']]) + '\\n')\n\
        onInstall = onActivate = onDeactivate = onUninstall = note\ndef heard(arguments):\n    \
        return [json.loads(line) for line in open(PATH)] if os.path.exists(PATH) else []\n";
    let events = ["onInstall", "onActivate", "onDeactivate", "onUninstall"];
    let hooks: String =
        events.iter().map(|event| format!("  - {{event: {event}, kind: observer}}\n")).collect();
    rig.active("watcher", &format!("hooks:\n{hooks}"), &["heard"], code).await;
    rig.active("other", "", &[], "").await;
    rig.host.deactivate("other").await.unwrap();
    rig.host.uninstall("other", KeepData::No).await.unwrap();
    assert!(rig.host.settle(Duration::from_secs(10)).await);
    let heard = rig.call("watcher", "heard").await.unwrap();
    assert_eq!(
        heard,
        json!([
            ["onActivate", "watcher"],
            ["onInstall", "other"],
            ["onActivate", "other"],
            ["onDeactivate", "other"],
            ["onUninstall", "other"],
        ])
    );
    rig.host.deactivate("watcher").await.unwrap();
    rig.host.activate("watcher").await.unwrap();
    let heard = rig.call("watcher", "heard").await.unwrap();
    assert_eq!(heard[5], json!(["onDeactivate", "watcher"]), "it hears before its own handlers go");

    // Uninstalled while active, it is deactivated first: itself hears both, and so does the trail.
    rig.active("brief", &format!("hooks:\n{hooks}"), &["heard"], code).await;
    rig.host.uninstall("brief", KeepData::Yes).await.unwrap();
    assert!(rig.host.settle(Duration::from_secs(10)).await);
    let heard = rig.call("watcher", "heard").await.unwrap();
    let told: Vec<&Value> = heard.as_array().unwrap().iter().filter(|event| event[1] == "brief").collect();
    assert_eq!(
        told,
        [
            &json!(["onInstall", "brief"]),
            &json!(["onActivate", "brief"]),
            &json!(["onDeactivate", "brief"]),
            &json!(["onUninstall", "brief"])
        ]
    );
    let kept = std::fs::read_dir(rig.host.home().path().join("kept")).unwrap().next().unwrap().unwrap();
    let own = std::fs::read_to_string(kept.path().join("heard")).unwrap();
    assert!(own.contains("onDeactivate") && own.contains("onUninstall"), "{own}");
    let trail = rig
        .host
        .audit(&AuditFilter { plugin: Some("brief".to_owned()), ..AuditFilter::default() }, None, 100)
        .await
        .unwrap();
    let events: Vec<&str> = trail.records.iter().map(|record| record.event.as_str()).collect();
    let ended: Vec<&&str> =
        events.iter().filter(|event| matches!(**event, "deactivate" | "uninstall")).collect();
    assert_eq!(ended.len(), 2, "{events:?}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_waits_for_an_observer_goes_when_its_grant_does() {
    let rig = Rig::new().await;
    let code = "import os, time\nPATH = os.environ['RINGFENCE_DATA_DIR'] + '/seen'\ndef onRequest(ctx):\n    time.sleep(0.05)\n    \
        open(PATH, 'a').write('x')\ndef seen(arguments):\n    return os.path.getsize(PATH) if os.path.exists(PATH) else 0\n";
    rig.active("slow", &hooked("onRequest", "observer", ""), &["seen"], code).await;
    let queue = async || {
        for n in 0..20 {
            rig.host.hook("onRequest", Payload::new(json!(n)), &HookOptions::default()).await.unwrap();
        }
    };
    queue().await;
    assert!(rig.host.settle(Duration::from_secs(20)).await);
    assert_eq!(rig.call("slow", "seen").await.unwrap(), 20, "the twin: all of it is seen");
    queue().await;
    rig.host.revoke("slow", &["hook:register=onRequest".parse().unwrap()]).await.unwrap();
    let at_once = rig.call("slow", "seen").await.unwrap();
    assert!(rig.host.settle(Duration::from_secs(20)).await);
    assert_eq!(rig.call("slow", "seen").await.unwrap(), at_once, "nothing more is handed to it");
    assert!(at_once.as_u64().unwrap() < 40);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_sensitive_field_of_a_profile_is_opened_in_a_body_by_its_name_only() {
    let directory = tempfile::tempdir().unwrap();
    let point = HookPoint::new("onRequest").unwrap();
    let point = point.protect("/email", &"profile:read=email".parse().unwrap()).unwrap();
    let point = point.protect("/name", &"profile:read=name".parse().unwrap()).unwrap();
    let home = Home::at(directory.path().join("home"));
    let host = Host::builder().home(home).hook_point(point).build().await.unwrap();
    let rig = Rig::of(host, directory);
    let head = format!("permissions: ['profile:read']\n{}", hooked("onRequest", "mutator", ""));
    rig.active(
        "mirror",
        &head,
        &[],
        "def onRequest(ctx):\n    return {'body': {**ctx.body, 'saw': dict(ctx.body)}}\n",
    )
    .await;
    let body = json!({"email": "ada@example.com", "name": "Ada"});
    let saw = pass(&rig, body.clone()).await.body["saw"].clone();
    assert_eq!(
        saw,
        json!({"email": "[needs profile:read=email]", "name": "Ada"}),
        "as with get_user_profile"
    );
    rig.host.grant("mirror", &["profile:read=email".parse().unwrap()]).await.unwrap();
    assert_eq!(pass(&rig, body.clone()).await.body["saw"], body);
    rig.host.shutdown().await;
}
