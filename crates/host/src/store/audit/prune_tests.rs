//! Pruning at every position, and everything that is done to what is left.

use super::*;
use crate::store::tests::{audit_events, home, package};
use crate::store::{Actor, Store};
use crate::{Error, Home};
use ringfence_api::ErrorCode;
use rusqlite::Connection;
use std::time::Duration;

const RECORDS: i64 = 8;

fn by() -> Actor {
    Actor::new("ada")
}

/// A home with so many records.
fn filled(records: i64) -> (tempfile::TempDir, Home) {
    let (dir, home) = home();
    let store = Store::open(&home).unwrap();
    for number in 1..=records {
        let event = AuditEvent::Stop { reason: format!("record {number} ä \u{202e} \"quoted\"") };
        store.audit(package("notes", "1.0.0", "Ada").owner().subject(), event).unwrap();
    }
    (dir, home)
}

fn prune(home: &Home, keep: AuditKeep) -> Result<AuditPruned, Error> {
    Store::open(home).unwrap().audit_prune(keep, &by())
}

fn verdict(home: &Home) -> AuditVerdict {
    Store::open(home).unwrap().audit_verify().unwrap()
}

fn change(home: &Home, sql: &str) {
    let connection = Connection::open(home.path().join("state.db")).unwrap();
    let drop = "DROP TRIGGER IF EXISTS audit_is_not_changed; DROP TRIGGER IF EXISTS audit_is_not_shortened;";
    connection.execute_batch(&format!("{drop}{sql}")).unwrap();
}

#[test]
fn what_is_left_is_provable_wherever_it_is_cut_and_every_change_of_it_shows() {
    for cut in 1..=RECORDS {
        let first = cut + 1;
        let last = RECORDS + 1;
        let (_dir, home) = filled(RECORDS);
        let keep = AuditKeep::Records((RECORDS - cut).unsigned_abs());
        let pruned = prune(&home, keep).unwrap();
        assert_eq!(pruned, AuditPruned { removed: cut.unsigned_abs(), pruned_before: Some(first) });
        let good = verdict(&home);
        assert_eq!((good.first_bad.clone(), good.pruned_before), (None, Some(first)), "the twin");
        assert_eq!((good.records, good.last_seq), ((last - cut).unsigned_abs(), last));
        for (sql, expected) in [
            (format!("DELETE FROM audit WHERE seq = {first}"), first),
            (format!("DELETE FROM audit WHERE seq = {last}"), last),
            ("DELETE FROM audit".to_owned(), first),
            (format!("UPDATE audit SET at_ms = at_ms + 1 WHERE seq = {first}"), first),
            (format!("UPDATE audit SET body = '{{}}' WHERE seq = {last}"), last),
            (format!("UPDATE audit_cut SET seq = {first}"), first + 1),
            ("UPDATE audit_cut SET seq = seq - 1".to_owned(), cut),
            ("UPDATE audit_cut SET hash = zeroblob(32)".to_owned(), first),
            ("UPDATE audit_cut SET hash = x'00'".to_owned(), first),
            ("UPDATE audit_cut SET removed = removed + 1".to_owned(), first),
            ("UPDATE audit_cut SET at_ms = at_ms + 1".to_owned(), first),
            ("UPDATE audit_cut SET cut_by = 'eve'".to_owned(), first),
            ("UPDATE audit_cut SET mac = zeroblob(32)".to_owned(), first),
            ("DELETE FROM audit_cut".to_owned(), 1),
            // Another record goes, and the cut is moved over it as well as somebody can who has no key.
            (
                format!(
                    "UPDATE audit_cut SET seq = {first}, hash = (SELECT hash FROM audit WHERE seq = {first}); \
                     DELETE FROM audit WHERE seq = {first}"
                ),
                first + 1,
            ),
        ] {
            let (_dir, home) = filled(RECORDS);
            prune(&home, keep).unwrap();
            assert_eq!(verdict(&home).first_bad, None, "the twin of {sql}");
            change(&home, &sql);
            let bad = verdict(&home).first_bad.map(|bad| bad.seq);
            assert_eq!(bad, Some(expected), "cut after {cut}: {sql}");
            let again = prune(&home, AuditKeep::Records(0)).unwrap_err();
            assert_eq!(again.code(), ErrorCode::PermissionDenied, "evidence is not pruned: {sql}");
        }
    }
}

#[test]
fn pruning_again_goes_on_from_the_last_cut_and_nothing_to_do_is_no_record() {
    let (_dir, home) = filled(RECORDS);
    let nothing = AuditPruned { removed: 0, pruned_before: None };
    assert_eq!(prune(&home, AuditKeep::Records(100)).unwrap(), nothing);
    assert_eq!(verdict(&home).records, RECORDS.unsigned_abs());
    prune(&home, AuditKeep::Records(5)).unwrap();
    let store = Store::open(&home).unwrap();
    let of_interest = || audit_events(&store).into_iter().filter(|event| event == "prune").count();
    assert_eq!((of_interest(), store.audit_verify().unwrap().pruned_before), (1, Some(4)));
    let again = store.audit_prune(AuditKeep::Records(0), &by().within(Some("c".into()))).unwrap();
    assert_eq!(again, AuditPruned { removed: 6, pruned_before: Some(10) });
    assert_eq!(audit_events(&store), ["prune"], "the record of the removal itself is what is left");
    let record = store.audit_list(&AuditFilter::default(), None, 10).unwrap().records.remove(0);
    assert_eq!((record.seq, record.correlation_id.as_str()), (10, "c"));
    assert_eq!((&record.body["up_to"], &record.body["by"]), (&9.into(), &"ada".into()));
    store.audit(Subject::default(), AuditEvent::Stop { reason: String::new() }).unwrap();
    assert_eq!(store.audit_verify().unwrap().first_bad, None, "and the chain goes on");
    drop(store);
    assert_eq!(verdict(&home).first_bad, None, "in the next process too");
}

#[test]
fn records_are_kept_by_their_age() {
    let (_dir, home) = filled(0);
    let store = Store::open(&home).unwrap();
    let hour = 3_600_000;
    // The clock went back once: what comes behind a record that is kept is kept too.
    for hours in [50, 40, 30, 2, 35, 1] {
        let event = AuditEvent::Stop { reason: String::new() };
        let at_ms = crate::clock::now_ms() - hours * hour;
        let item = Item::Event { subject: Subject::default(), event, at_ms };
        store.inner.audit.push(item).unwrap();
        store.flush(Duration::from_secs(10)).unwrap();
    }
    let day = AuditKeep::NewerThan(Duration::from_secs(24 * 3_600));
    assert_eq!(store.audit_prune(day, &by()).unwrap(), AuditPruned { removed: 3, pruned_before: Some(4) });
    let endless = AuditKeep::NewerThan(Duration::MAX);
    assert_eq!(store.audit_prune(endless, &by()).unwrap().removed, 0);
    assert_eq!(store.audit_verify().unwrap().first_bad, None);
}

#[test]
fn a_removal_that_was_cut_short_counts_and_is_finished_later() {
    let (_dir, home) = filled(RECORDS);
    let store = Store::open(&home).unwrap();
    // As if the process had been killed right after the cut.
    store.write("cut", |transaction, context| super::cut(transaction, context, 6, &by())).unwrap();
    let rows = || {
        let connection = Connection::open(store.layout().database()).unwrap();
        connection.query_row("SELECT count(*) FROM audit", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(rows(), RECORDS + 1);
    let verdict = store.audit_verify().unwrap();
    assert_eq!((verdict.first_bad, verdict.records, verdict.pruned_before), (None, 3, Some(7)));
    let listed = store.audit_list(&AuditFilter::default(), None, 100).unwrap().records;
    assert_eq!(listed.first().map(|record| record.seq), Some(7));
    assert_eq!(store.audit_prune(AuditKeep::Records(100), &by()).unwrap().removed, 0);
    assert_eq!(rows(), 3);
}

#[test]
fn by_hand_the_table_gives_up_only_what_was_cut() {
    let (_dir, home) = filled(RECORDS);
    prune(&home, AuditKeep::Records(3)).unwrap();
    let connection = Connection::open(home.path().join("state.db")).unwrap();
    for sql in ["DELETE FROM audit WHERE seq = 6", "DELETE FROM audit", "UPDATE audit SET at_ms = 0"] {
        assert!(connection.execute_batch(sql).unwrap_err().to_string().contains("never"), "{sql}");
    }
}

#[test]
fn an_export_is_checked_without_the_home_and_every_change_of_it_is_named() {
    let (_dir, home) = filled(RECORDS);
    let store = Store::open(&home).unwrap();
    for cut in [0, 3] {
        if cut > 0 {
            store.audit_prune(AuditKeep::Records((RECORDS - cut).unsigned_abs()), &by()).unwrap();
        }
        let records = store.audit_list(&AuditFilter::default(), None, 100).unwrap().records;
        let lines: Vec<String> =
            records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        let check = |lines: &[String]| -> Result<u64, BadRecord> {
            let mut check = ExportCheck::default();
            for line in lines {
                assert!(!line.contains('\n'));
                check.follows(&serde_json::from_str(line).unwrap())?;
            }
            Ok(check.records())
        };
        assert_eq!(check(&lines), Ok(records.len() as u64));
        // The first one after a cut is what the export begins with: nothing stands before it.
        for index in 1..lines.len() {
            let seq = records[index].seq;
            let mut gone = lines.clone();
            gone.remove(index);
            let expected = if index + 1 == lines.len() { None } else { Some(seq) };
            assert_eq!(check(&gone).err().map(|bad| bad.seq), expected, "{index} is gone");
            let mut edited = records[index].clone();
            edited.at_ms += 1;
            let mut changed = lines.clone();
            changed[index] = serde_json::to_string(&edited).unwrap();
            assert_eq!(check(&changed).err().map(|bad| bad.seq), Some(seq), "{index} was changed");
            edited = records[index].clone();
            edited.body = serde_json::json!({"reason": "another"});
            changed[index] = serde_json::to_string(&edited).unwrap();
            assert_eq!(check(&changed).err().map(|bad| bad.seq), Some(seq), "{index} was changed");
        }
    }
}

#[test]
fn numbers_bound_a_list_from_both_sides() {
    let (_dir, home) = filled(RECORDS);
    let store = Store::open(&home).unwrap();
    let seqs = |filter: AuditFilter, after| {
        let page = store.audit_list(&filter, after, 100).unwrap();
        page.records.iter().map(|record| record.seq).collect::<Vec<_>>()
    };
    let between = AuditFilter { after_seq: Some(2), before_seq: Some(6), ..AuditFilter::default() };
    assert_eq!(seqs(between.clone(), None), [3, 4, 5]);
    let newest = AuditFilter { order: AuditOrder::NewestFirst, ..between };
    assert_eq!(seqs(newest.clone(), None), [5, 4, 3]);
    assert_eq!(seqs(newest, Some(4)), [3]);
}

#[test]
fn a_trail_that_was_altered_is_put_away_as_it_was_found_and_a_new_one_begins_behind_it() {
    for (sql, bad) in [
        ("UPDATE audit SET body = '{\"reason\":\"forged\"}' WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 8", 8),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("UPDATE audit SET mac = zeroblob(32) WHERE seq = 5", 5),
        ("DELETE FROM audit", 1),
        // Behind this one there is no room for another.
        (
            "INSERT INTO audit SELECT 9223372036854775807, at_ms, event, plugin, publisher, correlation_id, body, hash, mac \
             FROM audit WHERE seq = 1",
            RECORDS + 1,
        ),
    ] {
        let (_dir, home) = filled(RECORDS);
        change(&home, sql);
        let store = Store::open(&home).unwrap();
        assert_eq!(store.audit_verify().unwrap().first_bad.map(|bad| bad.seq), Some(bad), "{sql}");
        assert_eq!(
            store.audit_prune(AuditKeep::Records(0), &by()).unwrap_err().code(),
            ErrorCode::PermissionDenied
        );
        let sealed = store.audit_seal(&by().within(Some("c".into()))).unwrap();
        assert_eq!(sealed.first_bad.seq, bad, "{sql}");
        // What was there is in the file as it was found, and nobody else reads it.
        let copy = std::fs::read(&sealed.file).unwrap();
        assert_eq!(crate::store::sha256_hex(&copy), sealed.sha256);
        let text = String::from_utf8(copy).unwrap();
        assert_eq!(text.lines().count() as u64, sealed.records, "{sql}");
        assert_eq!(text.contains("forged"), sql.contains("forged"));
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&sealed.file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        // The trail is provable again, and says what was found, by whom, and where it is.
        assert_eq!(audit_events(&store), ["seal"], "{sql}");
        let record = store.audit_list(&AuditFilter::default(), None, 10).unwrap().records.remove(0);
        assert_eq!((record.seq, record.correlation_id.as_str()), (sealed.up_to + 1, "c"));
        assert_eq!((&record.body["first_bad"], &record.body["by"]), (&bad.into(), &"ada".into()));
        assert_eq!(record.body["sha256"], sealed.sha256.as_str());
        let good = store.audit_verify().unwrap();
        assert_eq!((good.first_bad, good.pruned_before), (None, Some(sealed.up_to + 1)), "{sql}");
        let state = || store.audit_verify().unwrap().sealed.map(|sealed| (sealed.seq, sealed.state));
        assert_eq!(state(), Some((sealed.up_to + 1, SealedState::Whole)), "{sql}");
        std::fs::write(&sealed.file, "forged").unwrap();
        assert_eq!(state().map(|(_, state)| state), Some(SealedState::Altered), "{sql}");
        std::fs::remove_file(&sealed.file).unwrap();
        assert_eq!(state().map(|(_, state)| state), Some(SealedState::Gone), "{sql}");
        store.audit(Subject::default(), AuditEvent::Stop { reason: String::new() }).unwrap();
        assert!(sealed.up_to < i64::MAX / 2, "{sql}");
        assert!(sealed.up_to >= RECORDS, "no number is given twice: {sql}");
        drop(store);
        assert_eq!(verdict(&home).first_bad, None, "in the next process too: {sql}");
        // Whoever alters the new one is found as before, and moving the cut does not hide it.
        let next = sealed.up_to + 1;
        change(&home, &format!("UPDATE audit SET at_ms = at_ms + 1 WHERE seq = {next}"));
        assert_eq!(verdict(&home).first_bad.map(|bad| bad.seq), Some(next), "{sql}");
    }
}

#[test]
fn a_trail_that_is_as_it_was_written_is_not_put_away() {
    let (dir, home) = filled(RECORDS);
    let store = Store::open(&home).unwrap();
    assert_eq!(store.audit_seal(&by()).unwrap_err().code(), ErrorCode::Usage);
    assert_eq!(store.audit_verify().unwrap().records, RECORDS.unsigned_abs());
    let names = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().contains("damaged")));
    drop(dir);
}
