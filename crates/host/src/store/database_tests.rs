//! Migrations, and what the files are.

use super::*;
use crate::store::audit::AuditFilter;
use crate::store::tests::{consent, home, name, package, permissions};
use crate::store::{DATA_BYTES_MAX, DATA_KEYS_MAX, Places, Store};
use std::os::unix::fs::{PermissionsExt as _, symlink};

/// Every table, index and trigger with its text, without white space.
fn schema(connection: &Connection) -> Vec<(String, String)> {
    let mut statement = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.map(|(name, sql)| (name, sql.split_whitespace().collect())).unwrap()).collect()
}

#[test]
fn all_migrations_together_give_the_whole_schema() {
    let mut migrated = Connection::open_in_memory().unwrap();
    Migrations::from_slice(MIGRATIONS).to_latest(&mut migrated).unwrap();
    let whole = Connection::open_in_memory().unwrap();
    whole.execute_batch(include_str!("schema.sql")).unwrap();
    assert_eq!(schema(&migrated), schema(&whole));
    assert!(schema(&whole).len() > 15);
}

#[test]
fn the_connection_has_the_settings_that_durability_and_safety_rest_on() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    let connection = open(&store.layout().database()).unwrap();
    let number =
        |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((number("synchronous"), number("foreign_keys"), number("trusted_schema")), (2, 1, 0));
    assert_eq!(number("user_version"), i64::try_from(SCHEMA_VERSION).unwrap());
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    let reader = open_reader(&store.layout().database()).unwrap();
    assert!(reader.execute_batch("DELETE FROM plugins").is_err());
}

#[test]
fn every_file_is_for_the_owner_alone() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        let expected = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(found.permissions().mode() & 0o7777, expected, "{}", entry.path().display());
        seen += 1;
    }
    assert!(seen >= 6, "database, log, shared memory, key, anchor, lock: {seen}");
}

#[test]
fn a_link_in_place_of_a_file_is_refused_and_one_to_the_home_is_not() {
    for file in ["state.db", "state.key", "audit.anchor"] {
        let (dir, home) = home();
        drop(Store::open(&home).unwrap());
        let (path, target) = (home.path().join(file), dir.path().join("elsewhere"));
        std::fs::rename(&path, &target).unwrap();
        symlink(&target, &path).unwrap();
        assert!(Store::open(&home).is_err(), "{file}");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&target, &path).unwrap();
        symlink(home.path(), dir.path().join("link")).unwrap();
        Store::open(&crate::Home::at(dir.path().join("link"))).unwrap();
    }
}

#[test]
fn a_newer_database_is_refused_with_what_to_do() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let path = store.layout().database();
    drop(store);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    let error = Store::open(&home).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io);
    assert!(error.message().contains("newer version"), "{error}");
    connection.pragma_update(None, "user_version", SCHEMA_VERSION).unwrap();
    assert_eq!(Store::open(&home).unwrap().plugins().unwrap().len(), 1);
}

#[test]
fn a_damaged_database_is_an_error_and_no_panic() {
    let (_dir, home) = home();
    drop(Store::open(&home).unwrap());
    for file in ["state.db-wal", "state.db-shm"] {
        std::fs::remove_file(home.path().join(file)).ok();
    }
    std::fs::write(home.path().join("state.db"), vec![0x55; 20_000]).unwrap();
    let error = Store::open(&home).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io);
    assert!(error.hint().unwrap().contains("backup"), "{error}");
}

/// The next version of the schema, as far as these tests go.
fn next(second: &'static str) -> Migrations<'static> {
    let mut all = MIGRATIONS.to_vec();
    all.push(M::up("ALTER TABLE plugins ADD COLUMN next TEXT"));
    all.push(M::up(second));
    Migrations::new(all)
}

#[test]
fn a_migration_keeps_a_copy_and_one_that_fails_goes_on_from_where_it_was() {
    let (_dir, home) = home();
    let store = Store::open(&home).unwrap();
    store.add_plugin(package("notes", "1.0.0", "Ada"), "ada").unwrap();
    let layout = store.layout().clone();
    drop(store);
    let version = || {
        let connection = Connection::open(layout.database()).unwrap();
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, usize>(0)).unwrap()
    };
    // All of a batch or nothing of it: there is no schema in between.
    assert!(prepare_with(&layout, &next("CREATE TABLE broken (")).is_err());
    assert_eq!(version(), SCHEMA_VERSION);
    assert_eq!(Store::open(&home).unwrap().plugins().unwrap().len(), 1, "and the old version still works");

    prepare_with(&layout, &next("CREATE TABLE more (x TEXT) STRICT")).unwrap();
    assert_eq!(version(), SCHEMA_VERSION + 2);
    let kept = layout.backups().join(format!("state-schema-{SCHEMA_VERSION}.db"));
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let copy = Connection::open(&kept).unwrap();
    let names: Vec<String> = copy
        .prepare("SELECT name FROM plugins")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(names, ["notes"]);
    assert_eq!(std::fs::read_dir(layout.backups()).unwrap().count(), 1);
    assert!(Store::open(&home).unwrap_err().message().contains("newer version"));
}

/// Makes of a home's database one with this earlier schema, with everything in it that this schema has a place for.
fn made_older(layout: &Layout, version: usize) {
    let full = layout.database().with_extension("full");
    Connection::open(layout.database()).unwrap().pragma_update(None, "journal_mode", "DELETE").unwrap();
    std::fs::rename(layout.database(), &full).unwrap();
    prepare_with(layout, &Migrations::from_slice(&MIGRATIONS[..version])).unwrap();
    let connection = Connection::open(layout.database()).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection.execute("ATTACH ?1 AS whole", [full.to_str().unwrap()]).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    for table in
        texts("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    {
        let columns = texts(&format!(
            "SELECT old.name FROM pragma_table_info('{table}', 'main') AS old \
             JOIN pragma_table_info('{table}', 'whole') AS new ON old.name = new.name"
        ));
        let columns = columns.join(", ");
        let copy =
            format!("INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM whole.{table}");
        connection.execute(&copy, []).unwrap();
    }
    connection.execute("DETACH whole", []).unwrap();
    std::fs::remove_file(full).unwrap();
}

/// What stands in a store, as far as every schema has it.
fn content(store: &Store) -> String {
    let (notes, owner) = (name("notes"), store.plugin(&name("notes")).unwrap().unwrap().owner());
    let grants: Vec<String> =
        store.grants(&notes).unwrap().iter().map(|row| row.permission.to_string()).collect();
    let trail = store.audit_list(&AuditFilter::default(), None, 100).unwrap();
    let events: Vec<(i64, String)> =
        trail.records.iter().map(|record| (record.seq, record.event.clone())).collect();
    format!(
        "{:?}\n{grants:?}\n{:?}\n{:?}\n{:?}\n{events:?}\n{:?}",
        store.trusted(&notes).unwrap().plugin,
        store.trusted(&notes).unwrap().consent,
        store.data_get(&owner, "key").unwrap(),
        store.config(&owner).unwrap(),
        store.crashes(&notes).unwrap().len(),
    )
}

#[test]
fn every_earlier_schema_becomes_the_newest_with_everything_in_it() {
    for version in 1..SCHEMA_VERSION {
        let (_dir, home) = home();
        let store = Store::open(&home).unwrap();
        let package = package("notes", "1.0.0", "Ada");
        store.add_plugin(package.clone(), "ada").unwrap();
        let consent = consent(&package.digest, &["env:read=LANG"]);
        let owner = store.consent(&name("notes"), consent).unwrap().owner();
        store.data_put(&owner, "key", b"value".to_vec(), DATA_BYTES_MAX, DATA_KEYS_MAX).unwrap();
        store.set_config(&owner, serde_json::json!({"a": 1}), None, "ada").unwrap();
        store.add_crash(&name("notes"), "it exited with status 3", Duration::from_secs(600)).unwrap();
        store.flush(Duration::from_secs(10)).unwrap();
        let before = content(&store);
        assert!(before.contains("env:read=LANG") && before.contains("consent"), "{before}");
        let layout = store.layout().clone();
        drop(store);
        made_older(&layout, version);

        let store = Store::open(&home).unwrap();
        assert_eq!(content(&store), before, "from schema {version}");
        assert_eq!(store.audit_verify().unwrap().first_bad, None, "from schema {version}");
        assert!(store.broken_seals().unwrap().is_empty(), "from schema {version}");
        assert!(layout.backups().join(format!("state-schema-{version}.db")).is_file(), "the copy of before");
        // And it goes on from there.
        store.grant(&name("notes"), permissions(&["env:read=HOME"]), Places::new(), "ada").unwrap();
        assert_eq!(store.grants(&name("notes")).unwrap().len(), 2);
    }
}
