//! Which tables a statement touches, and whether that is granted: SQLite asks here while it compiles the statement.
//!
//! What a view or a trigger does counts as done by the statement. Everything that is not listed as harmless is refused.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::functions;
use crate::database::{Access, Fault, Permits};

/// Tables that a schema may have at most before its database is not offered: each is looked up for each statement.
const OBJECTS_MAX: usize = 10_000;

/// Tables that are functions: they read their arguments and nothing else.
const TABLE_FUNCTIONS: [&str; 2] = ["json_each", "json_tree"];

/// Tables that a build of SQLite may have in every database, beside those whose names begin with `sqlite_` or `pragma_`.
const BUILT_IN_TABLES: [&str; 6] =
    ["bytecode", "completion", "dbstat", "fsdir", "generate_series", "tables_used"];

/// What the schema has. Names are looked up as SQLite does, without regard to the case of ASCII letters.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// By lower-case name.
    objects: HashMap<String, Object>,
}

#[derive(Debug)]
struct Object {
    /// As the schema spells it, which is how it is granted.
    name: String,
    /// A virtual table, or one in which such a table keeps its data.
    is_virtual: bool,
}

impl Catalog {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare(
            "SELECT name, type = 'table' AND coalesce(rootpage, 0) = 0 FROM sqlite_schema
             WHERE type IN ('table', 'view') LIMIT ?1",
        )?;
        let rows = statement
            .query_map([i64::try_from(OBJECTS_MAX).unwrap_or(i64::MAX)], |row| {
                Ok(Object { name: row.get(0)?, is_virtual: row.get(1)? })
            })?
            .collect::<Result<Vec<_>, _>>()?;
        let shadows: Vec<String> = rows
            .iter()
            .filter(|object| object.is_virtual)
            .map(|object| format!("{}_", object.name.to_ascii_lowercase()))
            .collect();
        let objects = rows.into_iter().map(|mut object| {
            let key = object.name.to_ascii_lowercase();
            object.is_virtual |= shadows.iter().any(|shadow| key.starts_with(shadow.as_str()));
            (key, object)
        });
        Ok(Self { objects: objects.collect() })
    }

    fn find(&self, name: &str) -> Option<&Object> {
        self.objects.get(&name.to_ascii_lowercase())
    }
}

/// Judges one statement.
pub(super) struct Judge {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Catalog,
    access: Access,
    permits: Arc<dyn Permits>,
    offered: Option<BTreeSet<String>>,
    changes_rows: AtomicBool,
    refused: Mutex<Option<Fault>>,
}

impl Judge {
    pub(super) fn new(
        catalog: Catalog,
        access: Access,
        permits: Arc<dyn Permits>,
        offered: Option<BTreeSet<String>>,
    ) -> Self {
        let changes_rows = AtomicBool::new(false);
        Self {
            inner: Arc::new(Inner {
                catalog,
                access,
                permits,
                offered,
                changes_rows,
                refused: Mutex::new(None),
            }),
        }
    }

    /// What SQLite asks.
    pub(super) fn authorizer(&self) -> impl for<'r> FnMut(AuthContext<'r>) -> Authorization + Send + 'static {
        let inner = Arc::clone(&self.inner);
        move |asked| match inner.judge(&asked) {
            Ok(()) => Authorization::Allow,
            Err(refused) => {
                inner.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refused);
                Authorization::Deny
            }
        }
    }

    /// Whether it was an INSERT, UPDATE or DELETE.
    pub(super) fn changes_rows(&self) -> bool {
        self.inner.changes_rows.load(Ordering::Relaxed)
    }

    /// What was refused first.
    pub(super) fn refused(&self) -> Option<Fault> {
        self.inner.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Inner {
    fn judge(&self, asked: &AuthContext<'_>) -> Result<(), Fault> {
        let not_main = !matches!(asked.database_name, None | Some("main"));
        match asked.action {
            AuthAction::Select | AuthAction::Recursive => Ok(()),
            AuthAction::Function { function_name } if functions::is_allowed(function_name) => Ok(()),
            AuthAction::Function { function_name } => Err(Fault::Statement(format!(
                "the function {}() is not run for plugins",
                crate::consent::shown(function_name)
            ))),
            AuthAction::Read { table_name, column_name } if !not_main => self.read(table_name, column_name),
            AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
            | AuthAction::Update { table_name, .. }
                if !not_main && self.access == Access::Write =>
            {
                self.changes_rows.store(true, Ordering::Relaxed);
                self.table(Access::Write, table_name)
            }
            AuthAction::Insert { .. } | AuthAction::Delete { .. } | AuthAction::Update { .. } => {
                Err(Fault::Statement("it is no query; changes are made with execute_database".to_owned()))
            }
            ref other => Err(Fault::Statement(format!("{} is not run for plugins", called(other)))),
        }
    }

    fn read(&self, table: &str, column: &str) -> Result<(), Fault> {
        let known = self.catalog.find(table).is_some();
        let lower = table.to_ascii_lowercase();
        if !known && TABLE_FUNCTIONS.contains(&lower.as_str()) {
            return Ok(());
        }
        // A name of the statement's own (WITH name AS ...) from which no column is read; its parts are judged by themselves.
        if !known && column.is_empty() && !is_built_in(&lower) {
            return Ok(());
        }
        self.table(Access::Read, table)
    }

    fn table(&self, access: Access, table: &str) -> Result<(), Fault> {
        let lower = table.to_ascii_lowercase();
        let found = self.catalog.find(table).filter(|_| !is_built_in(&lower));
        let Some(object) = found else {
            return Err(Fault::Statement(format!(
                "the table '{}' is SQLite's own, and not for plugins",
                crate::consent::shown(table)
            )));
        };
        if !self.permits.table(access, &object.name) {
            return Err(Fault::NotGranted { access, table: object.name.clone() });
        }
        if self.offered.as_ref().is_some_and(|offered| !offered.contains(&object.name)) {
            return Err(Fault::NotOffered { table: object.name.clone() });
        }
        if object.is_virtual {
            return Err(Fault::Statement(format!(
                "'{}' is a virtual table or part of one, which are not for plugins",
                crate::consent::shown(&object.name)
            )));
        }
        Ok(())
    }
}

fn is_built_in(lower: &str) -> bool {
    lower.starts_with("sqlite_") || lower.starts_with("pragma_") || BUILT_IN_TABLES.contains(&lower)
}

/// What people call it.
fn called(action: &AuthAction<'_>) -> &'static str {
    match action {
        AuthAction::Pragma { .. } => "PRAGMA",
        AuthAction::Attach { .. } => "ATTACH (or VACUUM)",
        AuthAction::Detach { .. } => "DETACH",
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            "BEGIN, COMMIT, ROLLBACK or SAVEPOINT"
        }
        AuthAction::Analyze { .. } => "ANALYZE",
        AuthAction::Reindex { .. } => "REINDEX",
        _ => "a change of the schema",
    }
}
