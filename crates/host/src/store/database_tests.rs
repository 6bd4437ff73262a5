//! Migrations, and what the files are.

use super::*;
use crate::store::Store;
use crate::store::tests::{home, package};
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

#[test]
fn the_first_schema_becomes_the_newest_with_everything_in_it() {
    let (_dir, home) = home();
    let layout = {
        let store = Store::open(&home).unwrap();
        store.layout().clone()
    };
    for file in ["state.db", "state.db-wal", "state.db-shm", "audit.anchor"] {
        std::fs::remove_file(home.path().join(file)).ok();
    }
    prepare_with(&layout, &Migrations::from_slice(&MIGRATIONS[..1])).unwrap();
    let connection = Connection::open(layout.database()).unwrap();
    connection
        .execute_batch(
            "INSERT INTO packages VALUES ('00', 'notes', 'unsigned:Ada', '1.0.0', '{}', '/x', 0, NULL); \
             INSERT INTO plugins VALUES ('notes', 'unsigned:Ada', '00', 'inactive', NULL, 0, 0, 0, NULL, NULL, NULL, NULL);",
        )
        .unwrap();
    drop(connection);
    let store = Store::open(&home).unwrap();
    assert_eq!(store.plugins().unwrap().len(), 1);
    assert!(store.tokens().unwrap().is_empty());
    assert_eq!(store.audit_verify().unwrap().first_bad, None);
    assert!(layout.backups().join("state-schema-1.db").is_file(), "the copy of before");
}
