//! The cage: what a statement may do, what it may not, and what it leaves behind.

use std::time::Instant;

use super::*;
use crate::database::{Parameters, SqlValue};
use tokio::sync::Semaphore;

/// Grants as pairs of an access and a table; `*` is every table.
struct Granted(&'static [(Access, &'static str)]);

impl Permits for Granted {
    fn table(&self, access: Access, table: &str) -> bool {
        self.0.iter().any(|(granted, name)| *granted == access && (*name == "*" || *name == table))
    }

    fn all(&self) -> bool {
        self.table(Access::Read, "*")
    }
}

const ALL: &[(Access, &str)] = &[(Access::Read, "*"), (Access::Write, "*")];
const READ_ALL: &[(Access, &str)] = &[(Access::Read, "*")];
const CUSTOMERS: &[(Access, &str)] = &[(Access::Read, "customers"), (Access::Write, "customers")];
const WRITE_ONLY: &[(Access, &str)] = &[(Access::Write, "customers")];

struct Rig {
    directory: tempfile::TempDir,
    database: SqliteDatabase,
    /// The application's own connection.
    own: Connection,
}

impl Rig {
    fn new() -> Self {
        Self::with(|offer| offer)
    }

    fn with(change: impl FnOnce(DatabaseOffer) -> DatabaseOffer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crm.db");
        let own = Connection::open(&path).unwrap();
        own.execute_batch(
            "PRAGMA journal_mode = wal;
             CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT UNIQUE, photo BLOB, score REAL);
             CREATE TABLE secrets (word TEXT);
             CREATE TABLE watched (id INTEGER);
             CREATE TRIGGER watching AFTER INSERT ON watched BEGIN UPDATE secrets SET word = 'changed'; END;
             CREATE TABLE child (parent INTEGER REFERENCES customers(id) ON DELETE CASCADE);
             CREATE VIEW leak AS SELECT word FROM secrets;
             CREATE VIEW names AS SELECT name FROM customers;
             CREATE VIRTUAL TABLE search USING fts5(body);
             INSERT INTO customers VALUES (1, 'Ada', x'00ff', 1.5), (2, 'Bob', NULL, NULL);
             INSERT INTO secrets VALUES ('swordfish');",
        )
        .unwrap();
        let database = SqliteDatabase::new("crm", change(DatabaseOffer::sqlite(&path))).unwrap();
        Self { directory, database, own }
    }

    async fn run(
        &self,
        access: Access,
        granted: &'static [(Access, &'static str)],
        sql: &str,
        parameters: Parameters,
    ) -> Result<Answered, Fault> {
        let turn = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let statement = Statement {
            access,
            sql: sql.to_owned(),
            parameters,
            permits: Arc::new(Granted(granted)),
            deadline: Instant::now() + self.database.time_limit(),
            answer_max_bytes: 4_000_000,
            turn,
        };
        self.database.run(statement).await
    }

    async fn query(&self, granted: &'static [(Access, &'static str)], sql: &str) -> Result<String, Fault> {
        match self.run(Access::Read, granted, sql, none()).await? {
            Answered::Rows(rows) => Ok(rows),
            other => panic!("{other:?}"),
        }
    }

    async fn execute(&self, granted: &'static [(Access, &'static str)], sql: &str) -> Result<u64, Fault> {
        match self.run(Access::Write, granted, sql, none()).await? {
            Answered::Affected(rows) => Ok(rows),
            other => panic!("{other:?}"),
        }
    }

    fn own_text(&self, sql: &str) -> String {
        self.own.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn none() -> Parameters {
    Parameters::Positional(Vec::new())
}

fn not_granted(access: Access, table: &str) -> Fault {
    Fault::NotGranted { access, table: table.to_owned() }
}

#[tokio::test]
async fn values_come_and_go_exactly() {
    let rig = Rig::new();
    let values = [
        (SqlValue::Null, "null"),
        (SqlValue::Integer(9_007_199_254_740_991), "9007199254740991"),
        (SqlValue::Integer(9_007_199_254_740_992), r#"{"integer":"9007199254740992"}"#),
        (SqlValue::Integer(i64::MIN), r#"{"integer":"-9223372036854775808"}"#),
        (SqlValue::Real(1.0), "1.0"),
        (SqlValue::Real(f64::NAN), "null"),
        (SqlValue::Real(f64::NEG_INFINITY), r#"{"real":"-inf"}"#),
        (SqlValue::Text("a\"\u{0}ü\n".to_owned()), r#""a\"\u0000ü\n""#),
        (SqlValue::Blob(vec![0, 255]), r#"{"base64":"AP8="}"#),
    ];
    for (value, json) in values {
        let given = Parameters::Positional(vec![value.clone()]);
        let rows = rig.run(Access::Read, READ_ALL, "SELECT ? AS v", given).await.unwrap();
        assert_eq!(rows, Answered::Rows(format!("[{{\"v\":{json}}}]")), "{value:?}");
        let named = Parameters::Named(vec![("v".to_owned(), value.clone())]);
        let rows = rig.run(Access::Read, READ_ALL, "SELECT :v AS v WHERE $v IS @v", named).await.unwrap();
        assert_eq!(rows, Answered::Rows(format!("[{{\"v\":{json}}}]")), "{value:?} by name");
    }
    let text = rig.query(READ_ALL, "SELECT CAST(x'ff' AS TEXT) AS broken").await.unwrap();
    assert_eq!(text, r#"[{"broken":{"base64":"/w=="}}]"#);
}

#[tokio::test]
async fn every_parameter_has_one_value_and_every_value_a_parameter() {
    let rig = Rig::new();
    let one = || SqlValue::Integer(1);
    for (sql, given) in [
        ("SELECT ?", Parameters::Positional(vec![])),
        ("SELECT 1", Parameters::Positional(vec![one()])),
        ("SELECT :a", Parameters::Named(vec![])),
        ("SELECT :a", Parameters::Named(vec![("a".into(), one()), ("b".into(), one())])),
        ("SELECT ?", Parameters::Named(vec![("a".into(), one())])),
    ] {
        let refused = rig.run(Access::Read, READ_ALL, sql, given.clone()).await.unwrap_err();
        assert!(matches!(refused, Fault::Statement(_)), "{sql} {given:?}: {refused:?}");
    }
    // A text that looks like SQL is a text.
    let given =
        Parameters::Positional(vec![SqlValue::Text("x' OR 1=1; DROP TABLE customers; --".to_owned())]);
    let sql = "SELECT count(*) AS n FROM customers WHERE name = ?";
    assert_eq!(
        rig.run(Access::Read, READ_ALL, sql, given).await.unwrap(),
        Answered::Rows(r#"[{"n":0}]"#.into())
    );
}

#[tokio::test]
async fn a_table_is_read_only_when_it_is_granted_whatever_the_way_to_it() {
    let rig = Rig::new();
    for sql in [
        "SELECT word FROM secrets",
        "SELECT word FROM SECRETS",
        "SELECT count(*) FROM secrets",
        "SELECT 1 FROM customers JOIN secrets",
        "SELECT (SELECT word FROM secrets) AS w FROM customers",
        "SELECT name FROM customers UNION SELECT word FROM secrets",
        "WITH t AS (SELECT word FROM secrets) SELECT * FROM t",
        "WITH t AS (SELECT count(*) FROM secrets) SELECT * FROM t",
        "SELECT name FROM customers WHERE EXISTS (SELECT 1 FROM secrets WHERE word LIKE 's%')",
        "SELECT name FROM customers ORDER BY (SELECT word FROM secrets)",
    ] {
        assert_eq!(rig.query(CUSTOMERS, sql).await, Err(not_granted(Access::Read, "secrets")), "{sql}");
        rig.query(READ_ALL, sql).await.unwrap_or_else(|fault| panic!("{sql}: {fault:?}"));
    }
    assert_eq!(
        rig.query(CUSTOMERS, "SELECT word FROM leak").await,
        Err(not_granted(Access::Read, "secrets"))
    );
    assert_eq!(rig.query(CUSTOMERS, "SELECT name FROM names").await, Err(not_granted(Access::Read, "names")));
    assert_eq!(rig.query(READ_ALL, "SELECT word FROM leak").await.unwrap(), r#"[{"word":"swordfish"}]"#);
    // What is not granted is no different from what is not there, but for its name.
    for sql in ["SELECT absent FROM secrets", "SELECT absent FROM customers"] {
        let hidden = rig.query(CUSTOMERS, sql).await.unwrap_err();
        assert!(
            matches!(&hidden, Fault::Statement(text) if text.contains("does not exist, or")),
            "{hidden:?}"
        );
    }
}

#[tokio::test]
async fn a_with_clause_and_json_tables_are_no_tables() {
    let rig = Rig::new();
    let counted = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t WHERE x < 5) SELECT count(*) AS n FROM t";
    assert_eq!(rig.query(CUSTOMERS, counted).await.unwrap(), r#"[{"n":5}]"#);
    let json = "SELECT value FROM json_each('[1,2]') WHERE value > 1";
    assert_eq!(rig.query(CUSTOMERS, json).await.unwrap(), r#"[{"value":2}]"#);
}

/// What is neither a query nor a change of rows, or does more.
const REFUSED: &[&str] = &[
    "PRAGMA table_list",
    "PRAGMA hard_heap_limit = 0",
    "SELECT * FROM pragma_table_list",
    "SELECT count(*) FROM pragma_table_list",
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM sqlite_master",
    "SELECT count(*) FROM sqlite_master",
    "SELECT * FROM dbstat",
    "SELECT count(*) FROM dbstat",
    "SELECT * FROM search",
    "SELECT * FROM search_data",
    "SELECT load_extension('x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'x')",
    "SELECT edit('x')",
    "SELECT json_patch('{}', '{}')",
    "SELECT unhex('00', '0')",
    "EXPLAIN SELECT 1",
    "EXPLAIN QUERY PLAN SELECT 1",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "DETACH main",
    "VACUUM",
    "ANALYZE",
    "REINDEX",
    "CREATE TABLE x (a)",
    "CREATE TEMP TABLE x (a)",
    "CREATE VIRTUAL TABLE x USING fts5(a)",
    "CREATE VIEW x AS SELECT 1",
    "CREATE INDEX x ON customers(name)",
    "CREATE TEMP TRIGGER x AFTER INSERT ON customers BEGIN SELECT 1; END",
    "DROP TABLE customers",
    "ALTER TABLE customers RENAME TO x",
    "INSERT INTO sqlite_sequence VALUES ('a', 1)",
    "UPDATE sqlite_schema SET sql = ''",
    "INSERT INTO search VALUES ('x')",
    "",
    ";",
    "-- nothing",
    "SELECT 1; SELECT 2",
    "SELECT name FROM customers; DROP TABLE customers",
    "no sql",
    "SELECT 1 AS a, 2 AS a",
];

#[tokio::test]
async fn only_what_reads_tables_is_run_as_a_query_and_only_what_changes_rows_as_a_change() {
    let rig = Rig::new();
    let file = rig.directory.path().join("other.db");
    let attach = format!("ATTACH '{}' AS other", file.display());
    let vacuum = format!("VACUUM INTO '{}'", file.display());
    for sql in REFUSED.iter().copied().chain([attach.as_str(), vacuum.as_str()]) {
        let read = rig.query(ALL, sql).await;
        assert!(matches!(read, Err(Fault::Statement(_))), "query of {sql}: {read:?}");
        let written = rig.execute(ALL, sql).await;
        assert!(matches!(written, Err(Fault::Statement(_))), "execute of {sql}: {written:?}");
    }
    for sql in [
        "INSERT INTO customers (name) VALUES ('x')",
        "DELETE FROM customers",
        "UPDATE customers SET score = 0",
    ] {
        assert!(matches!(rig.query(ALL, sql).await, Err(Fault::Statement(_))), "{sql}");
    }
    for sql in ["SELECT 1", "DELETE FROM customers RETURNING id"] {
        assert!(matches!(rig.execute(ALL, sql).await, Err(Fault::Statement(_))), "{sql}");
    }
    assert!(!file.exists());
    assert_eq!(rig.own_text("SELECT group_concat(name) FROM customers"), "Ada,Bob");
    // The twin: the same connection does what it may.
    assert_eq!(rig.execute(ALL, "UPDATE customers SET score = 2 WHERE id = 1;").await, Ok(1));
    assert_eq!(
        rig.query(ALL, "SELECT score FROM customers WHERE id = 1 -- it").await.unwrap(),
        r#"[{"score":2.0}]"#
    );
}

#[tokio::test]
async fn a_change_needs_the_table_and_what_it_looks_at_and_what_its_triggers_do() {
    let rig = Rig::new();
    let insert = "INSERT INTO customers (name) VALUES ('Eve')";
    assert_eq!(rig.execute(READ_ALL, insert).await, Err(not_granted(Access::Write, "customers")));
    assert_eq!(rig.execute(WRITE_ONLY, insert).await, Ok(1));
    let looks = "UPDATE customers SET score = 1 WHERE name LIKE 'A%'";
    assert_eq!(rig.execute(WRITE_ONLY, looks).await, Err(not_granted(Access::Read, "customers")));
    assert_eq!(rig.execute(CUSTOMERS, looks).await, Ok(1));
    let copies = "INSERT INTO customers (name) SELECT word FROM secrets";
    assert_eq!(rig.execute(CUSTOMERS, copies).await, Err(not_granted(Access::Read, "secrets")));

    const WATCHED: &[(Access, &str)] = &[(Access::Read, "watched"), (Access::Write, "watched")];
    let triggers = "INSERT INTO watched VALUES (1)";
    assert_eq!(rig.execute(WATCHED, triggers).await, Err(not_granted(Access::Write, "secrets")));
    assert_eq!(rig.own_text("SELECT word FROM secrets"), "swordfish");
    assert_eq!(rig.execute(ALL, triggers).await, Ok(1));
    assert_eq!(rig.own_text("SELECT word FROM secrets"), "changed");
    // What a foreign key takes with it is judged too.
    rig.own.execute_batch("INSERT INTO child VALUES (2)").unwrap();
    let cascades = rig.execute(CUSTOMERS, "DELETE FROM customers WHERE id = 2").await;
    assert!(matches!(&cascades, Err(Fault::NotGranted { table, .. }) if table == "child"), "{cascades:?}");
    assert_eq!(rig.execute(ALL, "DELETE FROM customers WHERE id = 2").await, Ok(1));
    assert_eq!(rig.own_text("SELECT count(*) || '' FROM child"), "0");
}

#[tokio::test]
async fn a_failed_change_changes_nothing_and_says_which_rule_it_broke() {
    let rig = Rig::new();
    let failed = rig.execute(ALL, "INSERT INTO customers (name) VALUES ('New'), ('Ada')").await.unwrap_err();
    assert!(matches!(&failed, Fault::Statement(text) if text.contains("UNIQUE")), "{failed:?}");
    assert_eq!(rig.own_text("SELECT group_concat(name) FROM customers"), "Ada,Bob");
}

#[tokio::test]
async fn bombs_end_at_a_limit_and_the_next_statement_works() {
    let rig = Rig::with(|offer| offer.time_limit(Duration::from_millis(700)));
    let endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t)";
    let begun = Instant::now();
    for sql in [
        &format!("{endless} SELECT count(*) AS n FROM t"),
        &format!("{endless} SELECT x FROM t WHERE x < 0"),
        "SELECT count(*) AS n FROM json_each(json_array(1,2,3,4,5,6,7,8,9)) a, json_each('[1,2,3,4,5,6,7,8,9]') b, \
         json_each('[1,2,3,4,5,6,7,8,9]') c, json_each('[1,2,3,4,5,6,7,8,9]') d, json_each('[1,2,3,4,5,6,7,8,9]') e, \
         json_each('[1,2,3,4,5,6,7,8,9]') f, json_each('[1,2,3,4,5,6,7,8,9]') g, json_each('[1,2,3,4,5,6,7,8,9]') h, \
         json_each('[1,2,3,4,5,6,7,8,9]') i, json_each('[1,2,3,4,5,6,7,8,9]') j",
    ] {
        assert_eq!(rig.query(READ_ALL, sql).await, Err(Fault::Timeout), "{sql}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Sizes are met long before the time; a debug build on a busy machine takes a while all the same.
    let rig = Rig::with(|offer| offer.time_limit(Duration::from_secs(20)));
    for sql in [
        &format!("{endless} SELECT x FROM t LIMIT 10001"),
        "SELECT randomblob(1000000000) AS b",
        "SELECT zeroblob(1000000000) AS b",
        "SELECT printf('%1000000000d', 1) AS b",
        "SELECT replace(hex(zeroblob(500000)), '0', '0000000000') AS b",
        "SELECT hex(zeroblob(1000000)) || hex(zeroblob(1000000)) AS b",
        &format!("{endless} SELECT hex(zeroblob(1000000)) AS b FROM t LIMIT 10"),
    ] {
        let ended = rig.query(READ_ALL, sql).await;
        let bounded = matches!(ended, Err(Fault::TooLarge(_)));
        assert!(bounded, "{sql}: {ended:?}");
    }
    for sql in ["SELECT length(zeroblob(2000000)) AS n", "SELECT length(printf('%1000000d', 1)) AS n"] {
        rig.query(READ_ALL, sql).await.unwrap();
    }
    let rows = rig.query(READ_ALL, &format!("{endless} SELECT x FROM t LIMIT 10000")).await.unwrap();
    assert_eq!(rows.matches("\"x\"").count(), 10_000);
}

#[tokio::test]
async fn what_takes_the_product_of_two_lengths_elsewhere_takes_their_sum() {
    let rig = Rig::with(|offer| offer.time_limit(Duration::from_secs(20)));
    let begun = Instant::now();
    for sql in [
        "SELECT instr(hex(zeroblob(1000000)), hex(zeroblob(500000)) || 'x') AS n",
        "SELECT length(replace(hex(zeroblob(1000000)), hex(zeroblob(500000)) || 'x', '')) AS n",
        "SELECT length(trim(replace(hex(zeroblob(200000)), '0', 'y'), hex(zeroblob(200000)) || 'y')) AS n",
    ] {
        rig.query(READ_ALL, sql).await.unwrap_or_else(|fault| panic!("{sql}: {fault:?}"));
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    for (ours, theirs) in [
        ("instr('größe', 'ß')", "4"),
        ("instr(x'0102', x'02')", "2"),
        ("instr('a', 'b')", "0"),
        ("instr(NULL, 'b')", "null"),
        ("instr(123, 2)", "2"),
        ("replace('aXbX', 'X', 'yy')", "\"ayybyy\""),
        ("replace('a', '', 'b')", "\"a\""),
        ("replace('a', 'a', NULL)", "null"),
        ("trim('  a ')", "\"a\""),
        ("ltrim('xya', 'yx')", "\"a\""),
        ("rtrim('axy', 'yx')", "\"a\""),
        ("trim('a', NULL)", "null"),
    ] {
        let rows = rig.query(READ_ALL, &format!("SELECT {ours} AS v")).await.unwrap();
        assert_eq!(rows, format!("[{{\"v\":{theirs}}}]"), "{ours}");
        let own = format!("SELECT json_object('v', {ours})");
        assert_eq!(format!("[{}]", rig.own_text(&own)), rows, "SQLite's own {ours}");
    }
}

#[tokio::test]
async fn who_writes_beside_a_plugin_loses_nothing_and_waits_for_a_bounded_time() {
    let rig = Rig::with(|offer| offer.time_limit(Duration::from_millis(500)));
    rig.own.busy_timeout(Duration::from_secs(5)).unwrap();
    // A change that would take for ever holds the lock until its limit, and is undone.
    let slow = rig.execute(
        ALL,
        "INSERT INTO secrets WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT x FROM t",
    );
    let own = Connection::open(rig.directory.path().join("crm.db")).unwrap();
    own.busy_timeout(Duration::from_secs(5)).unwrap();
    let host = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        for number in 0..20 {
            own.execute("INSERT INTO watched VALUES (?)", [number]).unwrap();
        }
        begun.elapsed()
    });
    let (slow, waited) = tokio::join!(slow, host);
    assert_eq!(slow, Err(Fault::Timeout));
    assert!(waited.unwrap() < Duration::from_secs(4));
    assert_eq!(rig.own_text("SELECT count(*) || '' FROM watched"), "20");
    assert_eq!(rig.own_text("SELECT count(*) || '' FROM secrets"), "1");
    // While the application holds the lock, a plugin is told so, and reads all the same.
    rig.own.execute_batch("BEGIN IMMEDIATE; INSERT INTO watched VALUES (99)").unwrap();
    let busy = rig.execute(ALL, "DELETE FROM watched").await;
    assert!(matches!(busy, Err(Fault::Busy | Fault::Timeout)), "{busy:?}");
    assert_eq!(rig.query(ALL, "SELECT count(*) AS n FROM watched").await.unwrap(), r#"[{"n":20}]"#);
    rig.own.execute_batch("COMMIT").unwrap();
    assert_eq!(rig.execute(ALL, "DELETE FROM watched WHERE id = 99").await, Ok(1));
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_ended_and_undone() {
    let rig = Rig::with(|offer| offer.time_limit(Duration::from_secs(60)));
    let slots = Arc::new(Semaphore::new(1));
    let statement = Statement {
        access: Access::Write,
        sql: "INSERT INTO secrets WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT x FROM t"
            .to_owned(),
        parameters: none(),
        permits: Arc::new(Granted(ALL)),
        deadline: Instant::now() + Duration::from_secs(60),
        answer_max_bytes: 1_000,
        turn: Arc::clone(&slots).acquire_owned().await.unwrap(),
    };
    let dropped = tokio::time::timeout(Duration::from_millis(300), rig.database.run(statement)).await;
    assert!(dropped.is_err());
    // Its turn is given back when nothing of it runs any more.
    let free = tokio::time::timeout(Duration::from_secs(5), slots.acquire()).await;
    assert!(free.is_ok());
    rig.own.busy_timeout(Duration::from_secs(1)).unwrap();
    rig.own.execute_batch("INSERT INTO watched VALUES (1)").unwrap();
}

#[tokio::test]
async fn only_offered_tables_exist_for_plugins_and_a_database_is_never_made() {
    let rig = Rig::with(|offer| offer.tables(["customers"]));
    assert_eq!(
        rig.query(ALL, "SELECT word FROM secrets").await,
        Err(Fault::NotOffered { table: "secrets".to_owned() })
    );
    rig.query(ALL, "SELECT name FROM customers").await.unwrap();
    let absent = rig.directory.path().join("absent.db");
    let database = SqliteDatabase::new("absent", DatabaseOffer::sqlite(&absent)).unwrap();
    let rig = Rig { database, ..rig };
    assert_eq!(rig.query(ALL, "SELECT 1 AS a").await, Err(Fault::Unusable));
    assert_eq!(rig.execute(ALL, "DELETE FROM customers").await, Err(Fault::Unusable));
    assert!(!absent.exists());
}

#[tokio::test]
async fn a_file_that_becomes_a_link_is_not_followed() {
    let rig = Rig::new();
    rig.query(ALL, "SELECT 1 AS a").await.unwrap();
    let (path, moved) = (rig.directory.path().join("crm.db"), rig.directory.path().join("moved.db"));
    std::fs::rename(&path, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    assert_eq!(rig.query(ALL, "SELECT 1 AS a").await, Err(Fault::Unusable));
}

#[tokio::test]
async fn temporary_files_are_counted_and_memory_is_not_what_grows() {
    let mut rig = Rig::with(|offer| offer.time_limit(Duration::from_secs(30)));
    let shared = Arc::get_mut(&mut rig.database.shared).unwrap();
    // A debug build on a busy machine writes slowly.
    shared.temporary_max_bytes = 16_000_000;
    let endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t)";
    for sql in [
        &format!(
            "{endless} SELECT substr(b, 1, 1) AS c FROM (SELECT x || hex(zeroblob(250000)) AS b FROM t) ORDER BY b"
        ),
        "WITH RECURSIVE t(n, x) AS (SELECT 1, hex(zeroblob(250000)) UNION SELECT n + 1, hex(zeroblob(250000)) FROM t) \
         SELECT count(*) AS n FROM t",
    ] {
        let ended = rig.query(READ_ALL, sql).await;
        assert!(matches!(&ended, Err(Fault::TooLarge(why)) if why.contains("temporary")), "{sql}: {ended:?}");
    }
    let small = "WITH RECURSIVE t(x) AS (SELECT 1 UNION SELECT x + 1 FROM t WHERE x < 1000) SELECT max(x) AS m FROM t ORDER BY x";
    assert_eq!(rig.query(READ_ALL, small).await.unwrap(), r#"[{"m":1000}]"#);
}
