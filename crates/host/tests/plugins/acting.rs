//! Acts on behalf of somebody else: the audit trail says who, and for which request.

use ringfence::audit::{AuditFilter, AuditRecord};
use ringfence::hooks::{HookOptions, Payload};
use ringfence::host::UpgradeOptions;
use ringfence::plugin::{CallOptions, Consent, KeepData};
use serde_json::json;

use crate::rig::Rig;

const CODE: &str = "def ok(a):\n    return 'ok'\n\ndef onRequest(ctx):\n    pass\n";
const HEAD: &str = "permissions: ['env:read=LANG']\nhooks: [{event: onRequest, kind: mutator}]\n";

async fn records(rig: &Rig, id: &str) -> Vec<AuditRecord> {
    let filter = AuditFilter { correlation_id: Some(id.to_owned()), ..AuditFilter::default() };
    rig.host.audit(&filter, None, 100).await.unwrap().records
}

/// What is recorded for a request, and by whom.
async fn recorded(rig: &Rig, id: &str) -> Vec<(String, String)> {
    let by = |record: &AuditRecord| {
        record.body.get("by").and_then(|by| by.as_str()).unwrap_or_default().to_owned()
    };
    records(rig, id).await.iter().map(|record| (record.event.clone(), by(record))).collect()
}

#[tokio::test]
async fn every_act_for_a_request_is_recorded_with_its_id_and_who_acted() {
    let rig = Rig::new().await;
    let package = rig.python_package("p", "1.0.0", HEAD, &["ok"], CODE);
    let second = rig.python_package("p", "2.0.0", HEAD, &["ok"], CODE);
    let acting = |id: &str| rig.host.acting_as("token:7", Some(id.to_owned()));
    let mine = |events: &[&str]| -> Vec<(String, String)> {
        events.iter().map(|event| ((*event).to_owned(), "token:7".to_owned())).collect()
    };
    let extra = ["env:read=TZ".parse().unwrap()];

    acting("install").install(&package, Consent::Absent).await.unwrap();
    assert_eq!(recorded(&rig, "install").await, mine(&["install"]));
    acting("consent").consent("p", Consent::Requested).await.unwrap();
    assert_eq!(recorded(&rig, "consent").await, mine(&["consent"]));
    acting("activate").activate("p").await.unwrap();
    assert_eq!(recorded(&rig, "activate").await, mine(&["activate"]));
    acting("grant").grant("p", &extra).await.unwrap();
    assert_eq!(recorded(&rig, "grant").await, mine(&["consent"]));
    acting("revoke").revoke("p", &extra).await.unwrap();
    assert_eq!(recorded(&rig, "revoke").await, mine(&["revoke"]));
    acting("config").set_config("p", json!({"a": 1})).await.unwrap();
    assert_eq!(recorded(&rig, "config").await, mine(&["config"]));
    acting("call").call("p", "ok", json!({})).await.unwrap();
    acting("hook").hook("onRequest", Payload::default(), &HookOptions::default()).await.unwrap();
    rig.host.settle(std::time::Duration::from_secs(5)).await;
    rig.recorded("call", &["onRequest"]).await;
    for id in ["call", "hook"] {
        let [record] = &records(&rig, id).await[..] else { panic!("one record of {id}") };
        assert_eq!(record.event, "call");
    }
    acting("upgrade").upgrade(&second, Consent::Absent, UpgradeOptions::default()).await.unwrap();
    assert_eq!(recorded(&rig, "upgrade").await, mine(&["upgrade", "upgrade"]));
    acting("rollback").rollback("p").await.unwrap();
    assert_eq!(recorded(&rig, "rollback").await, mine(&["rollback"]));
    acting("deactivate").deactivate("p").await.unwrap();
    assert_eq!(recorded(&rig, "deactivate").await, mine(&["deactivate"]));
    acting("nothing").deactivate("p").await.unwrap();
    assert!(recorded(&rig, "nothing").await.is_empty(), "it was not active any more");
    acting("uninstall").uninstall("p", KeepData::No).await.unwrap();
    assert_eq!(recorded(&rig, "uninstall").await, mine(&["uninstall"]));
    assert!(rig.host.audit_verify().await.unwrap().first_bad.is_none());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn the_host_itself_goes_on_under_its_own_name_and_a_call_keeps_its_own_id() {
    let rig = Rig::new().await;
    let package = rig.python_package("p", "1.0.0", HEAD, &["ok"], CODE);
    let acting = rig.host.acting_as("token:7", Some("request".to_owned()));
    rig.host.install(&package, Consent::Requested).await.unwrap();
    acting.activate("p").await.unwrap();
    let own = AuditFilter { event: Some("install".to_owned()), ..AuditFilter::default() };
    let install = rig.host.audit(&own, None, 1).await.unwrap().records.remove(0);
    assert_eq!((install.body["by"].as_str(), install.correlation_id.as_str()), (Some("library"), ""));

    let options = CallOptions { correlation_id: Some("own".to_owned()), ..CallOptions::default() };
    let none = serde_json::value::to_raw_value(&json!({})).unwrap();
    acting.call_with("p", "ok", &none, &options).await.unwrap();
    rig.recorded("call", &["ok"]).await;
    assert_eq!(recorded(&rig, "own").await.len(), 1);
    assert_eq!(recorded(&rig, "request").await, [("activate".to_owned(), "token:7".to_owned())]);
    // An endless name or id is cut, and no request is no id.
    let long = rig.host.acting_as("ä".repeat(1_000), None);
    long.deactivate("p").await.unwrap();
    let own = AuditFilter { event: Some("deactivate".to_owned()), ..AuditFilter::default() };
    let record = rig.host.audit(&own, None, 1).await.unwrap().records.remove(0);
    assert_eq!(record.body["by"].as_str().map(str::len), Some(ringfence::host::ACTOR_MAX_BYTES));
    assert_eq!(record.correlation_id, "");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_refusal_of_the_policy_is_recorded_for_the_request_that_met_it() {
    let rig = Rig::new().await;
    let package = rig.python_package("p", "1.0.0", HEAD, &["ok"], CODE);
    let policy = rig.host.home().policy_file();
    std::fs::write(&policy, "[install]\nblocked_names = [\"p\"]\n").unwrap();
    let acting = rig.host.acting_as("token:7", Some("refused".to_owned()));
    let refused = acting.install(&package, Consent::Absent).await;
    assert_eq!(refused.unwrap_err().code(), ringfence_api::ErrorCode::PolicyDenied);
    let [record] = &records(&rig, "refused").await[..] else { panic!("one record") };
    assert_eq!((record.event.as_str(), &record.body["operation"]), ("denial", &json!("install")));
    std::fs::remove_file(&policy).unwrap();
    rig.host.shutdown().await;
}
