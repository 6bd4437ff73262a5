//! A SQLite database of the application, used on behalf of a plugin.
//!
//! The plugin writes the SQL, so the connection is a cage: opened for this one statement, read-only for a query, with every
//! table judged by SQLite's authorizer ([`judge`]), functions that could run for hours in one step replaced or refused
//! ([`functions`]), sizes limited by the library, and time, temporary files and cancelling watched while it runs ([`watch`]).
//! Nothing of it outlives the statement: no transaction, no temporary table, no setting.

mod functions;
mod judge;
mod values;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringfence_api::ErrorCode;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode as Sqlite, OpenFlags};

use self::judge::{Catalog, Judge};
use self::watch::{StopWhenDropped, Watch};
use crate::Error;
use crate::database::{
    Access, Answered, Answering, Database, DatabaseOffer, Fault, PARAMETERS_MAX, Permits, SQL_MAX_BYTES,
    Statement,
};

/// The longest that a statement waits for the application's own writing, before it is told that the database is busy.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(2);
/// The largest text, blob or row that a statement makes or reads, in bytes.
pub(crate) const VALUE_MAX_BYTES: i32 = 2 * 1024 * 1024;
/// Memory of SQLite in the whole process, in bytes: a statement that wants more fails.
pub(crate) const HEAP_MAX_BYTES: i64 = 512 * 1024 * 1024;
/// The cache of a connection in KiB. What a sort or a join needs beyond goes to temporary files, which [`watch`] counts.
const CACHE_KIB: i64 = 4 * 1024;
/// A pattern of LIKE or GLOB in bytes: matching takes up to this times the length of the text.
const PATTERN_MAX_BYTES: i32 = 256;
/// Steps of the virtual machine between two looks at the clock.
const STEPS_PER_LOOK: i32 = 1_000;

/// A SQLite file that is offered.
#[derive(Clone, Debug)]
pub(crate) struct SqliteDatabase {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Without links: who may write the directory cannot make it another file later.
    path: PathBuf,
    read_only: bool,
    tables: Option<BTreeSet<String>>,
    time_limit: Duration,
    temporary_max_bytes: u64,
}

impl SqliteDatabase {
    /// Takes the offer. Links of the path are followed now, and never again.
    ///
    /// # Errors
    /// `invalid_config` for a path that is relative, whose directory does not exist, or that is no file.
    pub(crate) fn new(name: &str, offer: DatabaseOffer) -> Result<Self, Error> {
        let DatabaseOffer { path, read_only, tables, time_limit } = offer;
        let refuse = |why: &str| {
            let message = format!("the database '{name}' cannot be '{}': {why}", path.display());
            Error::new(ErrorCode::InvalidConfig, message).with_hint("give the absolute path of a SQLite file")
        };
        if !path.is_absolute() {
            return Err(refuse("the path is relative"));
        }
        let found = match ringfence_sandbox::Resolved::find(&path) {
            Ok(found) if found.is_directory() => return Err(refuse("it is a directory")),
            Ok(found) => found.path().to_owned(),
            Err(ringfence_sandbox::ResolveError::Missing { .. }) => {
                let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else {
                    return Err(refuse("it is no file"));
                };
                let parent = ringfence_sandbox::Resolved::find(parent)
                    .map_err(|error| refuse(&error.to_string()).with_source(error))?;
                parent.path().join(file)
            }
            Err(error) => return Err(refuse(&error.to_string()).with_source(error)),
        };
        let tables = tables.map(|tables| tables.into_iter().collect());
        let temporary_max_bytes = watch::TEMPORARY_MAX_BYTES;
        let shared = Shared { path: found, read_only, tables, time_limit, temporary_max_bytes };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where it lies, links followed.
    pub(crate) fn path(&self) -> &Path {
        &self.shared.path
    }
}

impl Database for SqliteDatabase {
    fn is_read_only(&self) -> bool {
        self.shared.read_only
    }

    fn time_limit(&self) -> Duration {
        self.shared.time_limit
    }

    fn run(&self, statement: Statement) -> Answering<'_> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let deadline = statement.deadline;
            let watch = Arc::new(Watch::new(deadline, shared.temporary_max_bytes));
            let stop = StopWhenDropped(Arc::clone(&watch));
            let mut work = tokio::task::spawn_blocking(move || shared.answer(statement, &watch));
            let done = tokio::select! {
                done = &mut work => done,
                () = tokio::time::sleep_until(deadline.into()) => {
                    // What counts rows in one step looks at no clock, but at this.
                    stop.0.stop();
                    work.await
                }
            };
            done.unwrap_or_else(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "a statement of a plugin failed");
                Err(Fault::Unusable)
            })
        })
    }
}

impl Shared {
    /// Runs a statement; blocks.
    fn answer(&self, statement: Statement, watch: &Arc<Watch>) -> Result<Answered, Fault> {
        let Statement { access, sql, parameters, permits, answer_max_bytes, turn, .. } = statement;
        if sql.len() > SQL_MAX_BYTES {
            return Err(Fault::TooLarge(format!("a statement has at most {SQL_MAX_BYTES} bytes")));
        }
        let connection = self.open(access, watch).map_err(|error| self.unusable(&error))?;
        let ran = if access == Access::Write { connection.execute_batch("BEGIN IMMEDIATE") } else { Ok(()) };
        let answered = ran.map_err(|error| plain_fault(&error, watch)).and_then(|()| {
            let catalog = Catalog::read(&connection).map_err(|error| plain_fault(&error, watch))?;
            let judge = Judge::new(catalog, access, Arc::clone(&permits), self.tables.clone());
            connection.authorizer(Some(judge.authorizer())).map_err(|error| self.unusable(&error))?;
            let run = Run { connection: &connection, judge: &judge, watch, permits: permits.as_ref() };
            let answered = run.statement(access, &sql, &parameters, answer_max_bytes)?;
            if access == Access::Write {
                connection
                    .authorizer(
                        None::<fn(rusqlite::hooks::AuthContext<'_>) -> rusqlite::hooks::Authorization>,
                    )
                    .and_then(|()| connection.execute_batch("COMMIT"))
                    .map_err(|error| plain_fault(&error, watch))?;
            }
            Ok(answered)
        });
        // Closing the connection undoes what was not committed; the turn is over after that.
        drop(connection);
        drop(turn);
        answered
    }

    fn open(&self, access: Access, watch: &Arc<Watch>) -> rusqlite::Result<Connection> {
        let mode = match access {
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_WAIT.min(watch.left()))?;
        for (setting, on) in [
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
            (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
        ] {
            connection.set_db_config(setting, on)?;
        }
        // INVARIANT: temporary data is in files, whatever the library was built with: only those can be counted.
        connection.pragma_update(None, "temp_store", "file")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "mmap_size", 0)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "hard_heap_limit", HEAP_MAX_BYTES)?;
        connection.pragma_update(None, "query_only", access == Access::Read)?;
        functions::replace(&connection)?;
        for (limit, most) in [
            (Limit::SQLITE_LIMIT_LENGTH, VALUE_MAX_BYTES),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, i32::try_from(SQL_MAX_BYTES).unwrap_or(i32::MAX)),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
            (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
            (Limit::SQLITE_LIMIT_FUNCTION_ARG, 64),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_MAX_BYTES),
            (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, i32::try_from(PARAMETERS_MAX).unwrap_or(i32::MAX)),
            (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 16),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            connection.set_limit(limit, most)?;
        }
        watch.over(&connection, STEPS_PER_LOOK)?;
        Ok(connection)
    }

    /// What is wrong with the file is for the log of the host, not for a plugin.
    fn unusable(&self, error: &rusqlite::Error) -> Fault {
        match error.sqlite_error_code() {
            Some(Sqlite::DatabaseBusy | Sqlite::DatabaseLocked) => Fault::Busy,
            _ => {
                let path = self.path.display();
                tracing::error!(database = %path, error = %error, "an offered database cannot be used");
                Fault::Unusable
            }
        }
    }
}

/// One statement on a connection that is a cage already.
struct Run<'a> {
    connection: &'a Connection,
    judge: &'a Judge,
    watch: &'a Watch,
    permits: &'a dyn Permits,
}

impl Run<'_> {
    fn statement(
        &self,
        access: Access,
        sql: &str,
        parameters: &crate::database::Parameters,
        answer_max_bytes: usize,
    ) -> Result<Answered, Fault> {
        let mut statement = self.connection.prepare(sql).map_err(|error| self.fault(&error))?;
        if statement.is_explain() != 0 {
            return Err(refuse("EXPLAIN is not run for plugins"));
        }
        values::bind(&mut statement, parameters)?;
        match access {
            Access::Read => {
                if !statement.readonly() || statement.column_count() == 0 {
                    return Err(refuse("it is no query; changes are made with execute_database"));
                }
                values::rows(&mut statement, answer_max_bytes, |error| self.fault(error)).map(Answered::Rows)
            }
            Access::Write => {
                if statement.column_count() != 0 {
                    return Err(refuse(
                        "it gives rows; write it without RETURNING, and query with query_database",
                    ));
                }
                if !self.judge.changes_rows() {
                    return Err(refuse("it is no INSERT, UPDATE or DELETE, and nothing else is run"));
                }
                let changed = statement.raw_execute().map_err(|error| self.fault(&error))?;
                Ok(Answered::Affected(u64::try_from(changed).unwrap_or(u64::MAX)))
            }
        }
    }

    /// What went wrong, told so that it says nothing about tables that are not granted.
    fn fault(&self, error: &rusqlite::Error) -> Fault {
        if let Some(refused) = self.judge.refused() {
            return refused;
        }
        let fault = plain_fault(error, self.watch);
        match &fault {
            Fault::Statement(text) if text.starts_with("no such") && !self.permits.all() => {
                refuse("the statement names a table or a column that does not exist, or that is not granted")
            }
            _ => fault,
        }
    }
}

fn refuse(why: &str) -> Fault {
    Fault::Statement(why.to_owned())
}

/// What went wrong, as SQLite says it.
fn plain_fault(error: &rusqlite::Error, watch: &Watch) -> Fault {
    if let Some(over) = watch.why_stopped() {
        return over;
    }
    match error {
        rusqlite::Error::MultipleStatement => refuse("exactly one statement can be run at a time"),
        rusqlite::Error::SqlInputError { msg, .. } => Fault::Statement(msg.clone()),
        rusqlite::Error::SqliteFailure(code, text) => match code.code {
            Sqlite::DatabaseBusy | Sqlite::DatabaseLocked => Fault::Busy,
            Sqlite::OperationInterrupted => Fault::Timeout,
            Sqlite::TooBig => {
                Fault::TooLarge(format!("a value or a row has at most {VALUE_MAX_BYTES} bytes"))
            }
            Sqlite::OutOfMemory => Fault::TooLarge("the statement needs too much memory".to_owned()),
            Sqlite::ConstraintViolation
            | Sqlite::TypeMismatch
            | Sqlite::ParameterOutOfRange
            | Sqlite::Unknown => Fault::Statement(text.clone().unwrap_or_else(|| code.to_string())),
            Sqlite::AuthorizationForStatementDenied => {
                refuse("the statement does what is not run for plugins")
            }
            _ => {
                tracing::error!(error = %error, "a statement of a plugin failed");
                Fault::Unusable
            }
        },
        _ => Fault::Statement(error.to_string()),
    }
}
