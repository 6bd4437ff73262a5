//! Behaviour of the rows: what is kept, what is refused, and that nobody inherits.

use super::*;
use ringfence_api::{Permission, PluginName, PluginState};
use serde_json::json;

pub(crate) fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("home"));
    (dir, home)
}

pub(crate) fn name(text: &str) -> PluginName {
    text.parse().unwrap()
}

pub(crate) fn package(plugin: &str, version: &str, author: &str) -> PackageRow {
    let manifest = json!({
        "name": plugin, "version": version, "runtime": "native", "entry_point": "run", "author": author,
    });
    PackageRow {
        digest: sha256_hex(manifest.to_string().as_bytes()),
        plugin: name(plugin),
        publisher: format!("unsigned:{author}"),
        version: version.parse().unwrap(),
        manifest: manifest.to_string(),
        source: "/src/plugin".to_owned(),
        stored_at_ms: 1,
    }
}

pub(crate) fn permissions(texts: &[&str]) -> Vec<Permission> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn consent(digest: &str, granted: &[&str]) -> Consent {
    Consent {
        digest: digest.to_owned(),
        asked: permissions(&["file:read", "env:read=LANG"]),
        granted: permissions(granted),
        places: Places::new(),
        by: "ada".into(),
    }
}

fn granted(store: &Store, plugin: &str) -> Vec<String> {
    store.grants(&name(plugin)).unwrap().iter().map(|row| row.permission.to_string()).collect()
}

/// Edits the database behind the store's back.
pub(crate) fn edit(store: &Store, sql: &str) {
    let connection = Connection::open(store.layout().database()).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn a_plugin_waits_for_consent_and_comes_back_after_a_restart() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let package = package("notes", "1.0.0", "Ada");
    let row = store.add_plugin(package.clone(), "ada").unwrap();
    assert_eq!((row.state, row.revision, &row.package), (PluginState::Installed, 1, &package));
    assert_eq!(store.add_plugin(package.clone(), "ada").unwrap(), row);
    assert_eq!(store.trusted(&name("notes")).unwrap().consent, None);

    let row = store.consent(&name("notes"), consent(&package.digest, &["file:read=/srv/**"])).unwrap();
    assert_eq!(row.state, PluginState::Inactive);
    drop(store);
    let store = Store::open(&home).unwrap();
    let trusted = store.trusted(&name("notes")).unwrap();
    assert_eq!(trusted.plugin, row);
    assert_eq!(granted(&store, "notes"), ["file:read=/srv/**"]);
    assert_eq!(trusted.consent.unwrap().asked, ["file:read", "env:read=LANG"]);
    assert_eq!(store.plugin(&name("other")).unwrap(), None);
    assert_eq!(store.trusted(&name("other")).unwrap_err().code(), ErrorCode::NotFound);
}

#[test]
fn consent_is_to_the_package_that_was_looked_at() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let error = store.consent(&name("notes"), consent("00", &["file:read"])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Busy);
    assert!(granted(&store, "notes").is_empty());
    assert_eq!(store.plugin(&name("notes")).unwrap().unwrap().state, PluginState::Installed);
}

#[test]
fn grants_are_added_and_taken_back() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    store
        .grant(&name("notes"), permissions(&["env:read=LANG", "file:read=/a"]), Places::new(), "ada")
        .unwrap();
    store.grant(&name("notes"), permissions(&["file:read=/a"]), Places::new(), "bob").unwrap();
    assert_eq!(granted(&store, "notes"), ["env:read=LANG", "file:read=/a"]);
    let revoked =
        store.revoke(&name("notes"), permissions(&["file:read=/a", "file:read=/b"]), "ada").unwrap();
    assert_eq!(revoked, permissions(&["file:read=/a"]));
    assert_eq!(granted(&store, "notes"), ["env:read=LANG"]);

    let many: Vec<_> = (0..1_001).map(|n| format!("env:read=V{n}").parse().unwrap()).collect();
    assert_eq!(store.grant(&name("notes"), many, Places::new(), "ada").unwrap_err().code(), ErrorCode::Quota);
    assert_eq!(granted(&store, "notes"), ["env:read=LANG"]);
}

#[test]
fn rows_that_were_edited_by_hand_stop_the_plugin() {
    for sql in [
        "UPDATE grants SET permission = 'file:read'",
        "INSERT INTO grants VALUES ('notes', 'unsigned:Ada', 'subprocess:execute', 'ada', 1)",
        "DELETE FROM grants",
        "UPDATE consents SET granted = '[]'",
        "UPDATE plugins SET state = 'active'",
        "UPDATE plugins SET publisher = 'unsigned:Eve'",
        "UPDATE plugins SET seal = NULL",
        "UPDATE packages SET manifest = '{}'",
    ] {
        let (_dir, home) = home();
        let store = Store::open(&home).unwrap();
        let package = package("notes", "1.0.0", "Ada");
        store.add_plugin(package.clone(), "ada").unwrap();
        store.consent(&name("notes"), consent(&package.digest, &["file:read=/srv/**"])).unwrap();
        assert!(store.trusted(&name("notes")).is_ok() && store.broken_seals().unwrap().is_empty());

        edit(&store, sql);
        let refused = [
            store.trusted(&name("notes")).map(drop),
            // A later change must not make the edit good.
            store.grant(&name("notes"), permissions(&["env:read=LANG"]), Places::new(), "ada").map(drop),
            store.set_state(&name("notes"), StateChange::to(PluginState::Inactive)).map(drop),
        ];
        for answer in refused {
            let error = answer.expect_err(sql);
            assert_eq!(error.code(), ErrorCode::PermissionDenied, "{sql}");
            assert!(error.message().contains("seal"), "{sql}: {error}");
        }
        assert_eq!(store.broken_seals().unwrap(), [name("notes")], "{sql}");
        // It is still shown, and can be removed.
        assert_eq!(store.plugins().unwrap().len(), 1);
        store.remove_plugin(&name("notes"), KeepData::Remove, "ada").unwrap();
    }
}

#[test]
fn a_key_of_another_home_is_refused() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let key = store.layout().key();
    drop(store);
    let right = std::fs::read(&key).unwrap();
    std::fs::write(&key, [1; 32]).unwrap();
    assert_eq!(Store::open(&home).unwrap_err().code(), ErrorCode::PermissionDenied);
    std::fs::remove_file(&key).unwrap();
    let error = Store::open(&home).unwrap_err();
    assert!(error.hint().unwrap().contains("backup") && !key.exists(), "{error}");
    std::fs::write(&key, right).unwrap();
    assert!(Store::open(&home).unwrap().trusted(&name("notes")).is_ok());
}

#[test]
fn a_state_moves_from_the_revision_that_was_looked_at() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let row = store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let change = StateChange {
        state: PluginState::Quarantined,
        reason: Some("crashed 6 times".to_owned()),
        expected_revision: Some(row.revision),
        event: Some(AuditEvent::Quarantine { reason: "crashed 6 times".to_owned() }),
        by: None,
    };
    let moved = store.set_state(&name("notes"), change.clone()).unwrap();
    assert_eq!(moved.state_reason.as_deref(), Some("crashed 6 times"));
    assert_eq!(store.set_state(&name("notes"), change).unwrap_err().code(), ErrorCode::Busy);
    let events: Vec<_> = audit_events(&store);
    assert_eq!(events, ["install", "quarantine"]);
}

pub(crate) fn audit_events(store: &Store) -> Vec<String> {
    let page = store.audit_list(&AuditFilter::default(), None, 1_000).unwrap();
    page.records.into_iter().map(|record| record.event).collect()
}

#[test]
fn another_publisher_inherits_nothing_and_the_same_one_gets_its_data_back() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let ada = package("notes", "1.0.0", "Ada");
    store.add_plugin(ada.clone(), "ada").unwrap();
    store.consent(&name("notes"), consent(&ada.digest, &["file:read=/srv/**"])).unwrap();
    store.set_config(&ada.owner(), json!({"a": 1}), None, "ada").unwrap();
    store.data_put(&ada.owner(), "key", b"value".to_vec(), DATA_BYTES_MAX, DATA_KEYS_MAX).unwrap();
    store.add_crash(&name("notes"), "signal 11", Duration::from_secs(600)).unwrap();
    store.remove_plugin(&name("notes"), KeepData::Keep, "ada").unwrap();
    assert_eq!(store.kept_data().unwrap(), [ada.owner()]);

    let eve = package("notes", "1.0.0", "Eve");
    store.add_plugin(eve.clone(), "ada").unwrap();
    assert!(granted(&store, "notes").is_empty() && store.crashes(&name("notes")).unwrap().is_empty());
    assert_eq!(store.config(&eve.owner()).unwrap(), None);
    assert_eq!(store.data_get(&eve.owner(), "key").unwrap(), None);
    assert_eq!(store.data_usage(&eve.owner()).unwrap(), DataUsage::default());
    store.remove_plugin(&name("notes"), KeepData::Remove, "ada").unwrap();

    store.add_plugin(ada.clone(), "ada").unwrap();
    assert_eq!(store.data_get(&ada.owner(), "key").unwrap().as_deref(), Some(&b"value"[..]));
    assert!(granted(&store, "notes").is_empty(), "data is kept, trust is not");
    assert_eq!(store.config(&ada.owner()).unwrap(), None);
    store.remove_plugin(&name("notes"), KeepData::Remove, "ada").unwrap();
    store.add_plugin(ada.clone(), "ada").unwrap();
    assert_eq!(store.data_get(&ada.owner(), "key").unwrap(), None);
}

#[test]
fn an_upgrade_waits_is_committed_and_rolled_back_with_the_grants_of_each() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let (old, new) = (package("notes", "1.0.0", "Ada"), package("notes", "2.0.0", "Ada"));
    store.add_plugin(old.clone(), "ada").unwrap();
    assert_eq!(store.add_plugin(new.clone(), "ada").unwrap_err().code(), ErrorCode::AlreadyInstalled);
    store.consent(&name("notes"), consent(&old.digest, &["file:read=/old/**"])).unwrap();

    let added = vec!["env:read=LANG".to_owned()];
    let row = store.stage_upgrade(new.clone(), &old.digest, added, "ada").unwrap();
    assert_eq!((&row.package, row.pending.as_ref()), (&old, Some(&new)));
    assert_eq!(granted(&store, "notes"), ["file:read=/old/**"]);
    let abandoned = store.abandon_upgrade(&name("notes"), "ada").unwrap();
    assert_eq!(abandoned.pending, None);
    assert_eq!(store.package_digests().unwrap(), std::slice::from_ref(&old.digest));

    store.stage_upgrade(new.clone(), &old.digest, Vec::new(), "ada").unwrap();
    let wrong = UpgradeGrants::Consented(consent(&old.digest, &[]));
    assert_eq!(
        store.commit_upgrade(&name("notes"), &new.digest, wrong, "ada").unwrap_err().code(),
        ErrorCode::Busy
    );
    let yes = UpgradeGrants::Consented(consent(&new.digest, &["file:read=/new/**"]));
    let row = store.commit_upgrade(&name("notes"), &new.digest, yes, "ada").unwrap();
    assert_eq!((&row.package, row.previous.as_ref(), row.pending.as_ref()), (&new, Some(&old), None));
    assert_eq!(granted(&store, "notes"), ["file:read=/new/**"]);

    let row = store.rollback(&name("notes"), "not healthy", "host").unwrap();
    assert_eq!((&row.package, row.previous.as_ref()), (&old, None));
    let trusted = store.trusted(&name("notes")).unwrap();
    assert_eq!(trusted.consent.unwrap().digest, old.digest);
    assert_eq!(granted(&store, "notes"), ["file:read=/old/**"]);
    assert_eq!(store.rollback(&name("notes"), "", "").unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(store.package_digests().unwrap(), std::slice::from_ref(&old.digest));
    assert_eq!(
        audit_events(&store),
        ["install", "consent", "upgrade", "upgrade", "upgrade", "consent", "upgrade", "rollback"]
    );
}

#[test]
fn an_upgrade_that_asks_for_no_more_keeps_its_consent_unless_the_publisher_changed() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let old = package("notes", "1.0.0", "Ada");
    store.add_plugin(old.clone(), "ada").unwrap();
    store.consent(&name("notes"), consent(&old.digest, &["file:read=/a", "env:read=LANG"])).unwrap();
    let keep = || {
        let rows = store.grants(&name("notes")).unwrap();
        UpgradeGrants::Keep(rows.into_iter().filter(|row| row.permission.scope() == Some("/a")).collect())
    };

    let eve = package("notes", "1.1.0", "Eve");
    store.stage_upgrade(eve.clone(), &old.digest, Vec::new(), "ada").unwrap();
    let error = store.commit_upgrade(&name("notes"), &eve.digest, keep(), "ada").unwrap_err();
    assert_eq!(error.code(), ErrorCode::ConsentRequired);

    let ada = package("notes", "1.1.0", "Ada");
    store.stage_upgrade(ada.clone(), &old.digest, Vec::new(), "ada").unwrap();
    store.commit_upgrade(&name("notes"), &ada.digest, keep(), "ada").unwrap();
    assert_eq!(granted(&store, "notes"), ["file:read=/a"]);
    assert_eq!(store.trusted(&name("notes")).unwrap().consent.unwrap().digest, ada.digest);
}

#[test]
fn configuration_has_a_revision_and_its_values_stay_out_of_the_trail() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let owner = package("notes", "1.0.0", "Ada").owner();
    let secret = json!({"token": "hunter2", "kept": 1});
    assert_eq!(store.set_config(&owner, json!({}), None, "x").unwrap_err().code(), ErrorCode::NotFound);
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let first = store.set_config(&owner, json!({"kept": 1}), Some(0), "ada").unwrap();
    let second = store.set_config(&owner, secret.clone(), Some(first.revision), "ada").unwrap();
    assert_eq!(store.set_config(&owner, json!({}), Some(1), "x").unwrap_err().code(), ErrorCode::Busy);
    assert_eq!(store.config(&owner).unwrap().unwrap().value, secret);
    assert!(!format!("{second:?}").contains("hunter2"));
    let page =
        store.audit_list(&AuditFilter { event: Some("config".into()), ..Default::default() }, None, 10);
    let records = page.unwrap().records;
    assert_eq!(records[1].body, json!({"keys": ["token"], "by": "ada"}));
    let large = json!("x".repeat(300_000));
    assert_eq!(store.set_config(&owner, large, None, "x").unwrap_err().code(), ErrorCode::TooLarge);
}

#[test]
fn data_is_counted_exactly_and_a_refused_write_changes_nothing() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let owner = package("notes", "1.0.0", "Ada").owner();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let put = |key: &str, length: usize| store.data_put(&owner, key, vec![7; length], 100, 100_000);
    assert_eq!(put("a", 49).unwrap(), DataUsage { keys: 1, bytes: 50 });
    assert_eq!(put("b", 49).unwrap(), DataUsage { keys: 2, bytes: 100 });
    assert_eq!(put("a", 50).unwrap_err().code(), ErrorCode::Quota);
    assert_eq!(store.data_get(&owner, "a").unwrap().unwrap().len(), 49);
    assert_eq!(put("a", 10).unwrap().bytes, 61);
    assert!(store.data_delete(&owner, "b").unwrap() && !store.data_delete(&owner, "b").unwrap());
    assert_eq!(store.data_usage(&owner).unwrap(), DataUsage { keys: 1, bytes: 11 });

    assert_eq!(put("", 1).unwrap_err().code(), ErrorCode::Usage);
    let long = "k".repeat(DATA_KEY_MAX_BYTES);
    assert!(store.data_put(&owner, &long, Vec::new(), DATA_BYTES_MAX, DATA_KEYS_MAX).is_ok());
    assert_eq!(put(&format!("{long}k"), 1).unwrap_err().code(), ErrorCode::TooLarge);
    let largest = vec![0; DATA_VALUE_MAX_BYTES];
    assert!(store.data_put(&owner, "large", largest, DATA_BYTES_MAX, DATA_KEYS_MAX).is_ok());
    let larger = vec![0; DATA_VALUE_MAX_BYTES + 1];
    let error = store.data_put(&owner, "large", larger, DATA_BYTES_MAX, DATA_KEYS_MAX).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge);
}

#[test]
fn the_number_of_keys_is_bounded() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let owner = package("notes", "1.0.0", "Ada").owner();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    store.data_put(&owner, "a", Vec::new(), DATA_BYTES_MAX, DATA_KEYS_MAX).unwrap();
    edit(&store, "UPDATE data_usage SET keys = 99999");
    assert_eq!(
        store.data_put(&owner, "b", Vec::new(), DATA_BYTES_MAX, DATA_KEYS_MAX).unwrap().keys,
        DATA_KEYS_MAX
    );
    assert_eq!(
        store.data_put(&owner, "c", Vec::new(), DATA_BYTES_MAX, DATA_KEYS_MAX).unwrap_err().code(),
        ErrorCode::Quota
    );
    assert!(
        store.data_put(&owner, "b", vec![1], DATA_BYTES_MAX, DATA_KEYS_MAX).is_ok(),
        "an existing key may change"
    );
}

#[test]
fn keys_are_listed_by_prefix_in_pages() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let owner = package("notes", "1.0.0", "Ada").owner();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let all = ["a", "b/1", "b/2", "b/\u{7f}", "b/\u{10ffff}", "b0", "c\0d"];
    for key in all {
        store.data_put(&owner, key, vec![1], DATA_BYTES_MAX, DATA_KEYS_MAX).unwrap();
    }
    let list =
        |prefix: &str, after: Option<&str>, limit| store.data_list(&owner, prefix, after, limit).unwrap();
    assert_eq!(list("", None, 100).keys, all);
    assert_eq!(list("b/", None, 100).keys, ["b/1", "b/2", "b/\u{7f}", "b/\u{10ffff}"]);
    assert_eq!(list("b/", None, 2), DataPage { keys: vec!["b/1".into(), "b/2".into()], more: true });
    assert!(!list("b/", Some("b/2"), 2).more);
    assert!(list("\u{10ffff}", None, 2).keys.is_empty());
    assert_eq!(store.data_get(&owner, "c\0d").unwrap(), Some(vec![1]));
}

#[test]
fn crashes_survive_a_restart_and_are_counted_within_the_window() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let window = Duration::from_secs(600);
    assert!(store.add_crash(&name("notes"), "x", window).is_err(), "not installed");
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    for count in 1..=3 {
        assert_eq!(store.add_crash(&name("notes"), "signal 11", window).unwrap(), count);
    }
    edit(&store, "UPDATE crashes SET at_ms = 5 WHERE id = 1");
    drop(store);
    let store = Store::open(&home).unwrap();
    assert_eq!(store.add_crash(&name("notes"), &"y".repeat(9_999), window).unwrap(), 3);
    for _ in 0..60 {
        store.add_crash(&name("notes"), "again", window).unwrap();
    }
    assert_eq!(store.crashes(&name("notes")).unwrap().len(), 50);
    store.clear_crashes(&name("notes")).unwrap();
    assert!(store.crashes(&name("notes")).unwrap().is_empty());
}

#[test]
fn resources_are_kept_and_bounded() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let samples =
        (0..3_605).map(|at_ms| ResourceRow { at_ms, memory_bytes: 1 << 30, tasks: 7, ..Default::default() });
    store.add_resources(&name("notes"), samples.collect()).unwrap();
    let rows = store.resources(&name("notes"), 5_000).unwrap();
    assert_eq!((rows.len(), rows[0].at_ms, rows[0].memory_bytes, rows[0].tasks), (3_600, 5, 1 << 30, 7));
    let last = store.resources(&name("notes"), 1).unwrap();
    assert_eq!((last.len(), last[0].at_ms), (1, 3_604));
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let owner = package("notes", "1.0.0", "Ada").owner();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, owner) = (&store, &owner);
            scope.spawn(move || {
                for number in 0..20 {
                    let key = format!("{thread}-{number}");
                    store.data_put(owner, &key, vec![1; 3], DATA_BYTES_MAX, 100_000).unwrap();
                    // One that fails in the same batch takes nobody with it.
                    assert!(store.data_put(owner, "x", vec![1; 3], 0, 100_000).is_err());
                }
            });
        }
    });
    assert_eq!(store.data_usage(&owner).unwrap().keys, 160);
    assert_eq!(store.data_list(&owner, "", None, 1_000).unwrap().keys.len(), 160);
}

#[test]
fn async_callers_use_it_without_blocking_the_runtime() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let row = store.run(|store| store.add_plugin(package("notes", "1.0.0", "Ada"), "ada")).await.unwrap();
        assert_eq!(row.name().as_str(), "notes");
    });
}
