//! Databases that the host offers: with the grant and without, from Python and from Node, and what is recorded.

use ringfence::database::DatabaseOffer;
use ringfence::{Config, Host};
use ringfence_api::ErrorCode;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::rig::{Both, Rig};

const PYTHON: &str = r#"
from ringfence import HostError, host

def told(act, *values):
    try:
        return act(*values)
    except HostError as error:
        return {'code': error.code, 'number': error.number, 'message': str(error), **error.data}

def query(a):
    return told(host.query_database, a['db'], a['sql'], a.get('values', []))

def execute(a):
    return told(host.execute_database, a['db'], a['sql'], a.get('values', []))

def exact(a):
    values = {'n': 2**63 - 1, 'b': b'\x00\xff', 'i': float('inf')}
    row = host.query_database('crm', 'SELECT :n AS n, :b AS b, :i AS i', values)[0]
    return [str(row['n']), list(row['b']), row['i'] == float('inf')]
"#;
const NODE: &str = r#"
import { HostError, host } from 'ringfence';

async function told(act, ...values) {
  try {
    return await act(...values);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return { code: error.code, number: error.number, message: error.message, ...error.data };
  }
}

export const query = (a) => told(host.queryDatabase, a.db, a.sql, a.values ?? []);
export const execute = (a) => told(host.executeDatabase, a.db, a.sql, a.values ?? []);
export async function exact() {
  const values = { n: 2n ** 63n - 1n, b: new Uint8Array([0, 255]), i: Infinity };
  const [row] = await host.queryDatabase('crm', 'SELECT :n AS n, :b AS b, :i AS i', values);
  return [String(row.n), [...row.b], row.i === Infinity];
}
"#;
const TOOLS: &[&str] = &["query", "execute", "exact"];

/// A host that offers `crm`, and `shop` for reading only.
async fn rig(directory: &tempfile::TempDir) -> Rig {
    let path = directory.path().join("crm.db");
    let own = Connection::open(&path).unwrap();
    own.execute_batch(
        "PRAGMA journal_mode = wal;
         CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE secrets (word TEXT);
         INSERT INTO customers VALUES (1, 'Ada'); INSERT INTO secrets VALUES ('swordfish');",
    )
    .unwrap();
    let path = path.display();
    let config = format!(
        "[databases]\ncrm = \"{path}\"\n[databases.shop]\npath = \"{path}\"\nread_only = true\ntables = [\"customers\"]\n"
    );
    Rig::with(Config::parse(&config).unwrap()).await
}

fn ask(db: &str, sql: &str) -> Value {
    json!({"db": db, "sql": sql})
}

#[tokio::test]
async fn rows_come_with_the_grant_and_a_denial_names_the_one_that_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory).await;
    let permissions = "permissions: ['database:read=crm', 'database:write=crm']\n";
    let select = || ask("crm", "SELECT id, name FROM customers ORDER BY id");
    for Both { name, runtime } in rig.both("db", permissions, TOOLS, PYTHON, NODE).await {
        let rows = rig.host.call(&name, "query", select()).await.unwrap();
        assert_eq!(rows, json!([{"id": 1, "name": "Ada"}]), "{runtime}");
        let insert = json!({"db": "crm", "sql": "INSERT INTO customers (name) VALUES (?)", "values": ["x'); DROP TABLE customers; --"]});
        assert_eq!(rig.host.call(&name, "execute", insert).await.unwrap(), json!(1), "{runtime}");
        let delete = ask("crm", "DELETE FROM customers WHERE id > 1");
        assert_eq!(rig.host.call(&name, "execute", delete).await.unwrap(), json!(1), "{runtime}");
        let exact = rig.host.call(&name, "exact", json!({})).await.unwrap();
        assert_eq!(exact, json!(["9223372036854775807", [0, 255], true]), "{runtime}");
        rig.recorded("call", &["query_database", "crm"]).await;

        rig.host.revoke(&name, &["database:write=crm".parse().unwrap()]).await.unwrap();
        let denied = rig.host.call(&name, "execute", ask("crm", "DELETE FROM customers")).await.unwrap();
        let denial = &denied;
        assert_eq!(
            (&denial["code"], &denial["layer"], &denial["operation"], &denial["object"], &denial["grant"]),
            (
                &json!("permission_denied"),
                &json!("host_api"),
                &json!("execute_database"),
                &json!("crm"),
                &json!("database:write=crm")
            ),
            "{runtime}: {denied}"
        );
        assert!(rig.host.call(&name, "query", select()).await.unwrap().is_array());
        rig.host.revoke(&name, &["database:read=crm".parse().unwrap()]).await.unwrap();
        let denied = rig.host.call(&name, "query", select()).await.unwrap();
        assert_eq!(denied["grant"], json!("database:read=crm"), "{runtime}: {denied}");
        assert_eq!(rig.host.denials(&name).await.unwrap().len(), 2);
        rig.recorded("denial", &["query_database", "crm", "database:read=crm"]).await;
        // The one that is missing, given.
        rig.host.grant(&name, &["database:read=crm".parse().unwrap()]).await.unwrap();
        assert!(rig.host.call(&name, "query", select()).await.unwrap().is_array());
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_grant_of_a_table_is_about_that_table_alone() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory).await;
    let head = "permissions: ['database:read=crm.customers', 'database:read=shop']\n";
    rig.active("db", head, TOOLS, PYTHON).await;
    let named = json!([{"name": "Ada"}]);
    assert_eq!(rig.host.call("db", "query", ask("crm", "SELECT name FROM customers")).await.unwrap(), named);
    let denied = rig.host.call("db", "query", ask("crm", "SELECT word FROM secrets")).await.unwrap();
    let denial = &denied;
    assert_eq!(
        (&denial["object"], &denial["grant"]),
        (&json!("crm.secrets"), &json!("database:read=crm.secrets"))
    );
    // What the administrator does not offer, no grant opens.
    assert_eq!(rig.host.call("db", "query", ask("shop", "SELECT name FROM customers")).await.unwrap(), named);
    let denied = rig.host.call("db", "query", ask("shop", "SELECT word FROM secrets")).await.unwrap();
    assert_eq!(denied["grant"], json!(null), "{denied}");
    rig.host.grant("db", &["database:write=shop".parse().unwrap()]).await.unwrap();
    let denied = rig.host.call("db", "execute", ask("shop", "DELETE FROM customers")).await.unwrap();
    assert!(denied["message"].as_str().unwrap().contains("reading only"), "{denied}");
    rig.host.grant("db", &["database:read=crm.secrets".parse().unwrap()]).await.unwrap();
    let rows = rig.host.call("db", "query", ask("crm", "SELECT word FROM secrets")).await.unwrap();
    assert_eq!(rows, json!([{"word": "swordfish"}]));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn which_databases_exist_is_told_only_to_who_has_a_grant() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory).await;
    rig.active("db", "permissions: ['database:read=gone', 'database:read=crm']\n", TOOLS, PYTHON).await;
    let tell = async |db: &str| rig.host.call("db", "query", ask(db, "SELECT 1 AS a")).await.unwrap();
    let (there, absent) = (tell("shop").await, tell("nowhere").await);
    assert_eq!((&there["code"], &absent["code"]), (&json!("permission_denied"), &json!("permission_denied")));
    assert_eq!(
        there["message"].as_str().unwrap().replace("shop", "nowhere"),
        absent["message"].as_str().unwrap()
    );
    assert_eq!(tell("gone").await["code"], json!("not_found"));
    assert_eq!(rig.host.call("db", "query", ask("crm", "SELECT 1 AS a")).await.unwrap(), json!([{"a": 1}]));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_offered_is_refused_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let home = ringfence::Home::at(directory.path().join("home"));
    let offer = async |name: &str, offer: DatabaseOffer| {
        Host::builder().home(home.clone()).config(Config::default()).database(name, offer).build().await
    };
    offer("crm", directory.path().join("crm.db").into()).await.unwrap().shutdown().await;
    let inside = home.path().join("state.db");
    std::os::unix::fs::symlink(&inside, directory.path().join("link.db")).unwrap();
    for (name, path) in [
        ("crm", inside),
        ("crm", directory.path().join("link.db")),
        ("crm", "crm.db".into()),
        ("crm", directory.path().to_owned()),
        ("crm", directory.path().join("no/such/directory.db")),
        ("a.b", directory.path().join("crm.db")),
    ] {
        let refused = offer(name, path.clone().into()).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidConfig, "{name} {}: {refused}", path.display());
    }
}
