//! Refusals of a plugin that wants to be refused a lot: bounded records, exact counts, and no harm to others.

use super::ledger::{KINDS_MAX, SINGLE_MAX};
use super::queue::DENIAL_WINDOW_MS;
use super::*;
use crate::store::tests::{home, name, package};
use crate::store::{Owner, StateChange, Store};
use ringfence_api::{Denial, PluginState, UNLISTED_OBJECT};
use rusqlite::Connection;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(20);

fn owner() -> Owner {
    package("notes", "1.0.0", "Ada").owner()
}

fn refused(object: &str, call: &str) -> Refused {
    let grant = Some(format!("file:read={object}"));
    let denial =
        Denial { object: object.to_owned(), grant, count: 1, ..Denial::new("host_api", "read_file") };
    Refused { denial, correlation_id: call.into(), request: call.into(), possible_calls: Vec::new() }
}

/// Not at the end of a window: what is done within a second is in one.
fn early_in_a_window() {
    let begun = crate::clock::now_ms().rem_euclid(DENIAL_WINDOW_MS);
    if begun > DENIAL_WINDOW_MS - 4_000 {
        let left = u64::try_from(DENIAL_WINDOW_MS - begun).unwrap();
        std::thread::sleep(Duration::from_millis(left + 10));
    }
}

/// Records of refusals, and how many refusals they stand for.
fn recorded(store: &Store) -> (u64, u64) {
    let connection = Connection::open(store.layout().database()).unwrap();
    let sql = "SELECT count(*), coalesce(sum(body ->> 'count'), 0) FROM audit \
               WHERE event IN ('denial', 'denial_summary')";
    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

fn listed(store: &Store) -> u64 {
    store.denials(&name("notes")).unwrap().iter().map(|row| row.denial.count).sum()
}

/// Waits until the windows that are open now are over and have their records.
fn windows_are_over(store: &Store) {
    let end = Instant::now() + WAIT;
    loop {
        store.flush(WAIT).unwrap();
        let connection = Connection::open(store.layout().database()).unwrap();
        let open: u64 =
            connection.query_row("SELECT count(*) FROM denials_open", [], |row| row.get(0)).unwrap();
        if open == 0 {
            return;
        }
        assert!(Instant::now() < end, "{open}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn equal_refusals_are_one_record_and_one_summary_and_every_call_has_its_own() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    early_in_a_window();
    for _ in 0..5_000 {
        store.denied(&owner(), refused("/etc/shadow", ""));
    }
    store.denied(&owner(), refused("/etc/shadow", "call-1"));
    store.denied(&owner(), refused("/etc/shadow", "call-2"));
    store.denied(&owner(), refused("/etc/other", ""));
    store.flush(WAIT).unwrap();
    // The first at once, and the counts exact before their window is over.
    assert_eq!(recorded(&store), (4, 4));
    assert_eq!(listed(&store), 5_003);
    assert_eq!(store.denials_since(&name("notes"), 0, u64::MAX).unwrap(), 5_003);
    let of_call = AuditFilter { correlation_id: Some("call-2".into()), ..AuditFilter::default() };
    assert_eq!(store.audit_list(&of_call, None, 10).unwrap().records.len(), 1);
    windows_are_over(&store);
    assert_eq!(recorded(&store), (5, 5_003));
    assert_eq!(store.denials_since(&name("notes"), 0, u64::MAX).unwrap(), 5_003);
    let filter = AuditFilter { event: Some("denial".into()), ..AuditFilter::default() };
    let records = store.audit_list(&filter, None, 10).unwrap().records;
    let summary = &records.last().unwrap().body;
    assert_eq!((&summary["object"], &summary["count"]), (&"/etc/shadow".into(), &4_999.into()), "{summary}");
    assert!(summary["first_at_ms"].as_i64() <= summary["last_at_ms"].as_i64(), "{summary}");
    assert!(records[0].body.get("first_at_ms").is_none(), "{:?}", records[0]);
    assert_eq!(store.audit_verify().unwrap().first_bad, None);
}

#[test]
fn res_17_ever_new_refusals_make_few_records_and_none_is_lost() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    early_in_a_window();
    let many: u64 = 20_000;
    for number in 0..many {
        store.denied(&owner(), refused(&format!("/{number}"), ""));
    }
    store.flush(WAIT).unwrap();
    assert_eq!(listed(&store), many);
    assert_eq!(store.denials_since(&name("notes"), 0, u64::MAX).unwrap(), many);
    windows_are_over(&store);
    let (records, count) = recorded(&store);
    assert_eq!(count, many);
    // A slow machine may have come into a second window.
    let most = 2 * u64::try_from(SINGLE_MAX + KINDS_MAX + 1).unwrap();
    assert!(records <= most, "{records}");
    let rows = store.denials(&name("notes")).unwrap();
    let others = rows.iter().find(|row| row.denial.object == UNLISTED_OBJECT).unwrap();
    assert_eq!((others.denial.operation.as_str(), &others.denial.grant), ("read_file", &None));
}

#[test]
fn the_oldest_kinds_are_counted_together_and_not_forgotten() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let (kinds, at_once): (u64, u64) = (1_005, 500);
    store
        .write("fill", move |transaction, _| {
            let mut touched = crate::store::history::Touched::default();
            touched.note(&owner());
            for number in 0..kinds {
                let denial = refused(&format!("/{number}"), "").denial;
                let at_ms = i64::try_from(number).unwrap();
                crate::store::history::add_denial(transaction, &owner(), &denial, at_ms, at_ms)?;
                if number == at_once {
                    touched.prune_denials(transaction)?;
                }
            }
            touched.prune_denials(transaction)?;
            // Nothing is over any more.
            touched.prune_denials(transaction)
        })
        .unwrap();
    let rows = store.denials(&name("notes")).unwrap();
    assert_eq!(rows.len(), 1_001);
    assert_eq!(listed(&store), kinds);
    let others = rows.iter().find(|row| row.denial.object == UNLISTED_OBJECT).unwrap();
    assert_eq!((others.denial.count, others.first_at_ms, others.last_at_ms), (5, 0, 4));
}

#[test]
fn without_room_refusals_are_counts_and_others_are_served() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    for plugin in ["notes", "other"] {
        store.add_plugin(package(plugin, "1.0.0", "Ada"), "ada").unwrap();
    }
    let holder = Connection::open(store.layout().database()).unwrap();
    early_in_a_window();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (tool, id): (Arc<str>, Arc<str>) = (Arc::from("t"), Arc::from("c"));
    // One plugin takes all it can get, by many methods, as the rate of each is bounded.
    let mut taken = 0;
    'full: for method in 0..100 {
        let meter = store.calls(&owner(), &format!("method-{method}"));
        for _ in 0..900 {
            if meter.begin(&tool, &id).is_err() {
                break 'full;
            }
            taken += 1;
        }
    }
    assert!((1_000..10_000).contains(&taken), "{taken}: its share, and not all there is");
    for _ in 0..300 {
        store.denied(&owner(), refused("/etc/shadow", "call"));
    }
    // The twin: another plugin is not refused for it.
    let other = package("other", "1.0.0", "Ada").owner();
    store.calls(&other, "call").begin(&tool, &id).unwrap();
    store.denied(&other, refused("/etc/shadow", "other-call"));
    holder.execute_batch("ROLLBACK").unwrap();
    store.flush(WAIT).unwrap();
    assert_eq!(listed(&store), 300);
    assert_eq!(store.denials(&name("other")).unwrap()[0].denial.count, 1);
    store.calls(&owner(), "call").begin(&tool, &id).unwrap();
    windows_are_over(&store);
    assert_eq!(recorded(&store).1, 301);
}

#[test]
fn what_was_refused_before_a_release_does_not_count_after_it_and_stays_on_the_record() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    early_in_a_window();
    let since = |store: &Store| store.denials_since(&name("notes"), 0, u64::MAX).unwrap();
    for _ in 0..7 {
        store.denied(&owner(), refused("/etc/shadow", ""));
    }
    store.flush(WAIT).unwrap();
    assert_eq!(since(&store), 7);
    let change = StateChange {
        state: PluginState::Inactive,
        reason: None,
        expected_revision: None,
        event: Some(AuditEvent::Release { by: "ada".to_owned() }),
        by: None,
    };
    store.set_state(&name("notes"), change).unwrap();
    assert_eq!((since(&store), recorded(&store)), (0, (2, 7)));
    store.denied(&owner(), refused("/etc/shadow", ""));
    store.flush(WAIT).unwrap();
    assert_eq!(since(&store), 1);
}

#[test]
fn counts_outlive_the_process_that_made_them() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    for _ in 0..9 {
        store.denied(&owner(), refused("/etc/shadow", ""));
    }
    drop(store);
    let store = Store::open(&home).unwrap();
    assert_eq!(store.denials_since(&name("notes"), 0, u64::MAX).unwrap(), 9);
    store.audit_enqueue(Subject::default(), AuditEvent::Stop { reason: "tick".to_owned() }).unwrap();
    windows_are_over(&store);
    assert_eq!(recorded(&store).1, 9);
}
