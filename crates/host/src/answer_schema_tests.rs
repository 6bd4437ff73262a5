//! What the library answers fits the JSON Schema that an API publishes for it.

use ringfence_api::{
    ErrorBody, ErrorCode, Manifest, Permission, PluginName, PluginState, RunReport, RunStatus, Runtime,
};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::{Value, json};

use crate::consent::{Asked, ConsentRequest};
use crate::enforcement::Enforcement;
use crate::event::{EndKind, Event, EventKind};
use crate::exec::store::{RunId, RunPage, RunState, RunSummary};
use crate::hooks::{
    BreakerState, HandlerResult, HookInfo, HookOutcome, Latency, LatencyBucket, Payload, TraceEntry, Verdict,
};
use crate::host::{
    Difference, EventReport, Explained, ExplainedBy, LimitDifference, Receiver, ReceiverOutcome, Simulated,
};
use crate::lifecycle::{LogLine, LogSource};
use crate::plugin::{
    Broken, Discovered, GrantInfo, GrantPlace, Installed, LimitsInfo, PendingUpgrade, PlaceState,
    PluginDetails, PluginSummary, PolicyEffect, PolicyNote, PreviousVersion, PublisherChange, Scan, Upgraded,
};
use crate::policy::{Finding, PolicyState, PolicyStatus};
use crate::scan::Report;

fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// The value fits the schema of its type; every member of it is named there; and what lacks a required member, or has
/// something else in its place, does not fit.
pub(crate) fn check<T: JsonSchema + Serialize>(sample: &T) -> Value {
    let schema = schema_of::<T>();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value = serde_json::to_value(sample).unwrap();
    let faults: Vec<String> = validator.iter_errors(&value).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{value}\n{faults:?}");
    let Some(members) = value.as_object().filter(|_| schema.get("oneOf").is_none()) else { return value };
    for member in members.keys() {
        assert!(schema["properties"].get(member).is_some(), "{member} is not in {schema}");
    }
    let required = schema["required"].as_array().expect("something is always written");
    for member in required.iter().filter_map(Value::as_str) {
        let mut lacking = value.clone();
        lacking.as_object_mut().unwrap().remove(member);
        assert!(!validator.is_valid(&lacking), "{member} may be absent");
    }
    value
}

fn name(text: &str) -> PluginName {
    text.parse().unwrap()
}

fn permission() -> Permission {
    "file:read=/srv/notes/**".parse().unwrap()
}

fn summary() -> PluginSummary {
    PluginSummary {
        name: name("notes"),
        version: "1.0.0".to_owned(),
        state: PluginState::Inactive,
        runtime: Runtime::Python,
        publisher: "unsigned:me".to_owned(),
        description: None,
        reason: Some("because".to_owned()),
    }
}

fn report() -> Report {
    let package = tempfile::tempdir().unwrap();
    std::fs::write(package.path().join("a.py"), "import os\nos.system('ls')\n").unwrap();
    let report = crate::scan::Scanner::default().scan(package.path(), None);
    assert_eq!(report.findings.len(), 1);
    report
}

fn manifest() -> Manifest {
    serde_json::from_value(json!({
        "name": "notes", "version": "1.0.0", "runtime": "python", "entry_point": "main.py",
        "permissions": ["file:read=/srv/notes/**", {"permission": "env:read", "scope": ["LANG"], "reason": "why"}],
        "hooks": [{"event": "onRequest", "kind": "guard"}],
        "tools": [{"name": "echo", "input_schema": {"type": "object"}}],
        "limits": {"memory_mb": 100},
    }))
    .unwrap()
}

fn note() -> PolicyNote {
    let (kept, because) = (vec!["file:read=/srv/notes/a".to_owned()], vec!["line 3".to_owned()]);
    PolicyNote { effect: PolicyEffect::Narrowed, kept, because }
}

fn consent_request() -> ConsentRequest {
    let mut request =
        ConsentRequest::of(&manifest(), "unsigned:me", "0".repeat(64).as_str(), vec![], &[], None).unwrap();
    request.scan = report();
    request.asked[0].policy = Some(note());
    request.asked[0].place = Some(place());
    request.asked[0].warnings = vec!["it holds a repository".to_owned()];
    request
}

fn details() -> PluginDetails {
    PluginDetails {
        name: name("notes"),
        version: "1.0.0".to_owned(),
        state: PluginState::Active,
        reason: None,
        runtime: Runtime::Python,
        publisher: "unsigned:me".to_owned(),
        digest: "0".repeat(64),
        source: "/srv/notes".to_owned(),
        installed_at_ms: 7,
        manifest: manifest(),
        asks: consent_request(),
        grants: vec![GrantInfo {
            permission: permission(),
            meaning: "read files".to_owned(),
            enforced: Enforcement::Sandbox,
            granted_at_ms: 8,
            granted_by: "admin".to_owned(),
            policy: Some(note()),
            place: Some(place()),
            warnings: vec!["it holds .git".to_owned()],
        }],
        network: "none",
        limits: LimitsInfo {
            init_timeout_ms: 30_000,
            call_timeout_ms: 300_000,
            memory_bytes: Some(500_000_000),
            cpu_percent: None,
            processes: Some(256),
            file_size_bytes: None,
            log_bytes: 1,
            data_bytes: 2,
            by_policy: [("memory_mb", "policy.toml:3".to_owned())].into(),
        },
        policy: Some("a reason".to_owned()),
        running: true,
        enforced: [("seccomp".to_owned(), ringfence_api::EnforcedLayer::by("kernel"))].into(),
        recent_crashes: 1,
        denials: vec![denial()],
        previous: Some(PreviousVersion { version: "0.9.0".to_owned(), digest: "1".repeat(64) }),
        pending: Some(PendingUpgrade {
            version: "1.1.0".to_owned(),
            digest: "2".repeat(64),
            wider: vec![permission()],
            publisher_change: Some(publisher_change()),
        }),
    }
}

fn place() -> GrantPlace {
    GrantPlace { path: "/srv/b".to_owned(), state: PlaceState::Misfit, why: Some("a link".to_owned()) }
}

fn publisher_change() -> PublisherChange {
    PublisherChange { from_publisher: "unsigned:me".to_owned(), to_publisher: "unsigned:you".to_owned() }
}

fn denial() -> ringfence_api::Denial {
    serde_json::from_value(
        json!({"layer": "landlock", "operation": "open", "object": "/etc/shadow", "grant": null, "count": 2}),
    )
    .unwrap()
}

#[test]
fn what_is_said_of_plugins_fits_its_schema() {
    check(&summary());
    check(&details());
    let asked = Asked::new(permission(), Runtime::Python, true, Some("to read"));
    check(&asked);
    check(&consent_request());
    check(&Installed {
        plugin: summary(),
        digest: "0".repeat(64),
        changed: true,
        notes: vec!["a note".to_owned()],
        scan: report(),
    });
    check(&Upgraded {
        plugin: summary(),
        from_version: "1.0.0".to_owned(),
        to_version: "1.1.0".to_owned(),
        done: false,
        wider: vec![permission()],
        publisher_change: Some(publisher_change()),
        rolled_back: None,
        scan: Some(Report::not_run("no program")),
    });
    check(&Scan {
        found: vec![Discovered {
            name: name("notes"),
            version: "1.0.0".to_owned(),
            state: PluginState::Discovered,
            runtime: Runtime::Node,
            path: "/srv/notes".to_owned(),
            installed_version: None,
            scan: Some(report()),
        }],
        broken: vec![Broken { path: "/srv/x".to_owned(), message: "no manifest".to_owned() }],
    });
}

#[test]
fn what_is_said_of_events_fits_its_schema() {
    let kinds = [
        EventKind::Started,
        EventKind::State { state: PluginState::Active, reason: None },
        EventKind::Ended {
            how: EndKind::Violation,
            reason: "too long".to_owned(),
            violation: Some(ringfence_api::Violation::Timeout),
            exit_code: None,
            signal: Some(9),
        },
        EventKind::Denial { denial: denial(), possible_calls: vec!["d".to_owned()] },
        EventKind::Granted { permissions: vec!["env:read=LANG".to_owned()], by: "ada".to_owned() },
        EventKind::PolicyChanged { state: "in_force".to_owned(), rules: 3 },
        EventKind::Progress {
            correlation_id: "c".to_owned(),
            progress: 0.5,
            total: Some(1.0),
            message: None,
        },
        EventKind::Log {
            line: LogLine {
                at_ms: 7,
                source: LogSource::Log,
                level: Some("error".to_owned()),
                message: "hm".to_owned(),
            },
        },
    ];
    for kind in kinds {
        let correlation_id = Some("c".to_owned());
        check(&Event { seq: 1, at_ms: 7, plugin: Some(name("notes")), correlation_id, kind });
    }
    check(&EventReport {
        topic: "note.saved".to_owned(),
        receivers: vec![Receiver {
            plugin: name("notes"),
            outcome: ReceiverOutcome::Failed,
            reason: Some("it is gone".to_owned()),
        }],
        truncated: true,
    });
}

#[test]
fn what_is_said_of_hooks_fits_its_schema() {
    let payload = Payload { body: json!([1]), metadata: [("a".to_owned(), json!(2))].into_iter().collect() };
    check(&payload);
    let mut outcome = HookOutcome::unchanged(payload);
    check(&outcome);
    outcome.outcome = Verdict::Blocked;
    (outcome.by, outcome.dry_run) = (Some(name("notes")), true);
    outcome.trace = vec![TraceEntry {
        plugin: name("notes"),
        kind: ringfence_api::HookKind::Mutator,
        priority: -3,
        result: HandlerResult::Changed,
        reason: Some("a reason".to_owned()),
        changes: vec!["/body/0".to_owned()],
        duration_us: 12,
    }];
    check(&outcome);
    let buckets = vec![LatencyBucket { le_us: None, count: 1 }];
    let latency = Latency { count: 1, failures: 0, total_us: 9, p50_us: None, p99_us: Some(9), buckets };
    check(&HookInfo {
        event: "onRequest".to_owned(),
        plugin: name("notes"),
        kind: ringfence_api::HookKind::Guard,
        priority: 50,
        timeout_ms: 5_000,
        on_failure: ringfence_api::OnFailure::Block,
        registered_at_run_time: false,
        breaker: BreakerState::HalfOpen,
        latency,
    });
}

#[test]
fn what_is_said_of_the_policy_fits_its_schema() {
    let findings = vec![Finding { line: 1, column: 2, message: "hm".to_owned() }];
    check(&PolicyStatus { state: PolicyState::LastGood, file: "/p".to_owned(), rules: 3, findings });
    check(&Explained {
        plugin: name("notes"),
        permission: permission(),
        allowed: false,
        by: ExplainedBy::Floor,
        rule: None,
        line: Some(3),
        reason: "protected".to_owned(),
        except: vec![],
        left: vec!["x".to_owned()],
    });
    let difference = Difference {
        plugin: "notes".to_owned(),
        event: "call".to_owned(),
        object: "echo".to_owned(),
        recorded: "allowed",
        now: "denied",
        because: "line 3".to_owned(),
        count: 1,
        first_at_ms: 1,
        last_at_ms: 2,
    };
    let limit = LimitDifference {
        plugin: "notes".to_owned(),
        limit: "memory_bytes".to_owned(),
        was: Some(500),
        now: None,
        because: "no ceiling".to_owned(),
    };
    let (differences, limits) = (vec![difference], vec![limit]);
    check(&Simulated { records: 4, decisions: 3, differences, left_out: 0, limits });
}

#[test]
fn what_is_said_of_runs_and_of_this_machine_fits_its_schema() {
    let id: RunId = "17".parse().unwrap();
    let summary = RunSummary {
        id,
        state: RunState::Finished,
        running: false,
        command: vec!["true".to_owned()],
        started_at_ms: 7,
        status: Some(RunStatus::Exited),
        exit_code: Some(0),
        signal: None,
        violation: None,
        duration_ms: Some(5),
        stored_bytes: 0,
        stored_truncated: false,
    };
    check(&RunPage { runs: vec![summary], before: Some(id) });
    check(&crate::doctor::examine());
    check(&RunReport::not_started(ErrorBody::new(ErrorCode::Internal, "no")));

    let dir = tempfile::tempdir().unwrap();
    let store = crate::exec::RunStore::new(&crate::Home::at(dir.path()), crate::exec::StoreLimits::default());
    let meta = crate::exec::RunMeta { command: vec!["true".to_owned()], started_at_ms: 0, grants: vec![] };
    let writer = store.begin(meta).unwrap();
    let id = writer.id();
    writer.finish(&RunReport::not_started(ErrorBody::new(ErrorCode::Internal, "no"))).unwrap();
    let stored = check(&store.show(id).unwrap());
    assert!(stored.get("dir").is_none() && stored["report"].is_object(), "{stored}");
}

#[test]
fn what_is_said_of_tokens_fits_its_schema() {
    let (token, row) =
        crate::token::make(crate::token::NewToken::new(ringfence_api::Role::Admin), "ada", 7).unwrap();
    let info = crate::token::info(row, 8);
    check(&info);
    let created = check(&crate::token::CreatedToken { token, info });
    assert!(created["token"].as_str().unwrap().starts_with(crate::token::TOKEN_PREFIX));
}

#[tokio::test]
async fn what_is_measured_and_recorded_fits_its_schema() {
    let dir = tempfile::tempdir().unwrap();
    let home = crate::Home::at(dir.path().join("home"));
    let host = crate::Host::builder().home(home).config(crate::Config::default()).build().await.unwrap();
    let package = dir.path().join("p");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(
        package.join("plugin.yaml"),
        "name: p\nversion: 1.0.0\nruntime: python\nentry_point: p.py\n",
    )
    .unwrap();
    std::fs::write(package.join("p.py"), "").unwrap();
    host.install(&package, crate::plugin::Consent::Absent).await.unwrap();
    let metrics = check(&host.metrics().await.unwrap());
    assert_eq!(metrics["states"]["inactive"], 1);
    check(&metrics_of_a_plugin());
    let page = host.audit(&crate::audit::AuditFilter::default(), None, 10).await.unwrap();
    check(page.records.first().unwrap());
    check(&page);
    check(&host.audit_verify().await.unwrap());
    check(&host.audit_prune(crate::audit::AuditKeep::Records(1)).await.unwrap());
    let verdict = check(&host.audit_verify().await.unwrap());
    assert!(verdict["pruned_before"].is_i64());
    let execution = crate::metrics::Execution {
        id: 1,
        plugin: "p".to_owned(),
        method: "call".to_owned(),
        tool: "t".to_owned(),
        outcome: "ok".to_owned(),
        count: 1,
        duration_us: 5,
        correlation_id: "c".to_owned(),
        at_ms: 7,
    };
    check(&crate::metrics::ExecutionPage { executions: vec![execution], more: false });
    check(&crate::metrics::ResourceSample {
        at_ms: 1,
        memory_bytes: 2,
        cpu_ms: 3,
        cpu_percent: 4.5,
        tasks: 1,
        read_bytes: 5,
        written_bytes: 6,
    });
    host.shutdown().await;
}

fn metrics_of_a_plugin() -> crate::metrics::MethodMetrics {
    let buckets = vec![crate::metrics::CallBucket { le_us: None, count: 1 }];
    let latency = crate::metrics::CallLatency { count: 1, total_us: 3, buckets };
    let outcomes = [("ok".to_owned(), 1)].into();
    crate::metrics::MethodMetrics { method: "call".to_owned(), outcomes, latency }
}
