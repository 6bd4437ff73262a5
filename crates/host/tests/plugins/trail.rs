//! The audit trail, taken elsewhere and shortened; and who was refused at the door.

use ringfence::audit::{AuditFilter, AuditKeep, AuditRecord, ExportCheck};
use ringfence::host::ACCESS_RECORDS_MAX;
use ringfence::{Config, Host};

use crate::rig::Rig;

const CODE: &str = "def ok(a):\n    return 'ok'\n";

async fn exported(host: &Host, after: Option<i64>) -> Vec<AuditRecord> {
    let (mut export, mut records) = (host.audit_export(after), Vec::new());
    while let Some(page) = export.next_page().await.unwrap() {
        records.extend(page);
    }
    assert!(export.next_page().await.unwrap().is_none());
    records
}

fn checked(records: &[AuditRecord]) -> u64 {
    let mut check = ExportCheck::default();
    for record in records {
        check.follows(record).unwrap();
    }
    check.records()
}

#[tokio::test]
async fn everything_is_exported_once_and_what_is_pruned_later_is_still_provable() {
    let rig = Rig::new().await;
    rig.active("p", "permissions: ['env:read=LANG']\n", &["ok"], CODE).await;
    rig.call("p", "ok").await.unwrap();
    rig.host.deactivate("p").await.unwrap();
    let whole = exported(&rig.host, None).await;
    assert!(checked(&whole) >= 6 && whole.iter().any(|record| record.event == "call"));
    let second = whole.get(1).unwrap();
    assert_eq!(exported(&rig.host, Some(second.seq)).await, whole.get(2..).unwrap());

    let acting = rig.host.acting_as("token:1", Some("prune".to_owned()));
    let pruned = acting.audit_prune(AuditKeep::Records(2)).await.unwrap();
    let last = whole.last().unwrap().seq;
    assert_eq!((pruned.removed, pruned.pruned_before), ((last - 2).unsigned_abs(), Some(last - 1)));
    let verdict = rig.host.audit_verify().await.unwrap();
    assert_eq!((verdict.first_bad, verdict.pruned_before), (None, Some(last - 1)));
    // What was exported before and what is left overlap, and fit.
    let left = exported(&rig.host, None).await;
    assert_eq!(left.len(), 3);
    assert_eq!(left.get(..2), whole.get(whole.len() - 2..));
    let record = left.last().unwrap();
    let by = record.body.get("by").and_then(|by| by.as_str());
    assert_eq!(
        (record.event.as_str(), record.correlation_id.as_str(), by),
        ("prune", "prune", Some("token:1"))
    );
    let together: Vec<_> = whole.iter().chain(left.get(2..).unwrap()).cloned().collect();
    assert_eq!(checked(&together), together.len() as u64);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn refusals_at_the_door_are_recorded_and_a_flood_of_them_is_counted() {
    let rig = Rig::new().await;
    let acting = rig.host.acting_as("peer:1000", Some("request".to_owned()));
    acting.access_denied("role", "GET /plugins");
    for _ in 0..1_000 {
        rig.host.access_denied("bad_token", "POST /plugins");
    }
    let (home, config) = (rig.host.home().clone(), Config::default());
    rig.host.clone().shutdown().await;
    drop(acting);
    let later = Host::builder().home(home).config(config).build().await.unwrap();
    let filter = AuditFilter { event: Some("access_denied".to_owned()), ..AuditFilter::default() };
    let records = later.audit(&filter, None, 100).await.unwrap().records;
    let of = |reason: &str| -> Vec<u64> {
        let is =
            |record: &&AuditRecord| record.body.get("reason").and_then(|word| word.as_str()) == Some(reason);
        records.iter().filter(is).filter_map(|record| record.body.get("count")?.as_u64()).collect()
    };
    assert_eq!(of("role"), [1]);
    let flood = of("bad_token");
    assert_eq!(flood.len(), ACCESS_RECORDS_MAX as usize + 1, "{flood:?}");
    assert_eq!(flood.iter().sum::<u64>(), 1_000);
    let first = records.first().unwrap();
    assert_eq!(first.correlation_id, "request");
    assert_eq!(first.body.get("by").and_then(|by| by.as_str()), Some("peer:1000"));
    later.shutdown().await;
}
