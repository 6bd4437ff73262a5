//! Databases that a host application or an administrator offers to plugins.
//!
//! Here stands what is common to every kind of database: how one is offered, what is asked of it, what it answers. The adapters
//! that speak to one stand in the store, because nothing else knows SQL; who may ask what is judged in `service`.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

/// How long one statement of a plugin may take, and so how long it may keep the application waiting, unless
/// [`DatabaseOffer::time_limit`] says otherwise.
pub const STATEMENT_TIME: Duration = Duration::from_secs(3);
/// Rows that one query gives at most.
pub const ROWS_MAX: usize = 10_000;
/// The longest text of a statement, in bytes.
pub const SQL_MAX_BYTES: usize = 64 * 1024;
/// Parameters that one statement takes at most.
pub const PARAMETERS_MAX: usize = 1_000;
/// The longest name of an offered database, in bytes.
pub const DATABASE_NAME_MAX_BYTES: usize = 64;

/// A database that plugins may use when it is granted to them.
///
/// The file belongs to the application, which may use it at the same time. It should be in SQLite's write-ahead mode, so that
/// plugins that read never make it wait; whoever writes waits for a plugin at most [`time_limit`](Self::time_limit), so the
/// application's own busy timeout should be longer than that.
///
/// ```
/// use ringfence::database::DatabaseOffer;
///
/// let offer = DatabaseOffer::sqlite("/srv/crm.db").read_only(true).tables(["customers", "orders"]);
/// assert_eq!(offer.path(), std::path::Path::new("/srv/crm.db"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseOffer {
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
    pub(crate) tables: Option<Vec<String>>,
    pub(crate) time_limit: Duration,
}

impl DatabaseOffer {
    /// A SQLite file by its absolute path. It need not exist yet; a plugin never makes it.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read_only: false, tables: None, time_limit: STATEMENT_TIME }
    }

    /// Whether no grant lets a plugin change it. Default false.
    #[must_use]
    pub fn read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// The tables that can be granted at all, exactly as the schema spells them. Default: all but SQLite's own.
    #[must_use]
    pub fn tables(mut self, tables: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tables = Some(tables.into_iter().map(Into::into).collect());
        self
    }

    /// How long one statement may take. Default [`STATEMENT_TIME`]; the deadline of the request holds as well.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl From<&str> for DatabaseOffer {
    fn from(path: &str) -> Self {
        Self::sqlite(path)
    }
}

impl From<&Path> for DatabaseOffer {
    fn from(path: &Path) -> Self {
        Self::sqlite(path)
    }
}

impl From<PathBuf> for DatabaseOffer {
    fn from(path: PathBuf) -> Self {
        Self::sqlite(path)
    }
}

/// Whether this can be the name of an offered database. A dot parts it from a table in a grant, so it has none.
pub(crate) fn is_database_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= DATABASE_NAME_MAX_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// What a statement does with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// One value of SQL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SqlValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// The values that are bound to a statement.
#[derive(Clone, Debug)]
pub(crate) enum Parameters {
    Positional(Vec<SqlValue>),
    /// Names without their `:`, `@` or `$`.
    Named(Vec<(String, SqlValue)>),
}

/// What a plugin may do with the tables of one database.
pub(crate) trait Permits: Send + Sync {
    /// Whether this may be done with this table, spelled as in the schema.
    fn table(&self, access: Access, table: &str) -> bool;
    /// Whether every table may be read, so that an error may speak of any of them.
    fn all(&self) -> bool;
}

/// One statement of a plugin.
pub(crate) struct Statement {
    /// A query, or a change.
    pub(crate) access: Access,
    pub(crate) sql: String,
    pub(crate) parameters: Parameters,
    pub(crate) permits: Arc<dyn Permits>,
    /// When it must have ended.
    pub(crate) deadline: Instant,
    /// The largest answer, in bytes of JSON.
    pub(crate) answer_max_bytes: usize,
    /// Given back when nothing of the statement runs any more.
    pub(crate) turn: OwnedSemaphorePermit,
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the text nor the values: they may hold what the log must not have.
        f.debug_struct("Statement").field("access", &self.access).finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(crate) enum Answered {
    /// The rows as a JSON array of objects.
    Rows(String),
    /// How many rows were changed, those that triggers changed not counted.
    Affected(u64),
}

/// Why nothing came of it, and nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A table that is not granted.
    NotGranted { access: Access, table: String },
    /// A table that is granted and not offered.
    NotOffered { table: String },
    /// The statement is not one that is run for plugins, or fails by itself.
    Statement(String),
    /// Somebody else holds the database.
    Busy,
    /// It took too long.
    Timeout,
    /// More than a limit allows.
    TooLarge(String),
    /// The database cannot be used; the log says why.
    Unusable,
}

/// A future that an adapter gives.
pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answered, Fault>> + Send + 'a>>;

/// A database of some kind.
pub(crate) trait Database: fmt::Debug + Send + Sync {
    /// Whether no plugin may change it.
    fn is_read_only(&self) -> bool;
    /// How long one statement may take.
    fn time_limit(&self) -> Duration;
    /// Runs one statement in a transaction of its own, which has ended when this gives an answer.
    ///
    /// # Cancel safety
    /// Dropped, the statement is interrupted and what it changed is undone, unless it had just been made durable.
    fn run(&self, statement: Statement) -> Answering<'_>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_database_has_no_dot_and_nothing_that_a_pattern_has() {
        for good in ["crm", "CRM-2", "a_b", &"x".repeat(DATABASE_NAME_MAX_BYTES)] {
            assert!(is_database_name(good), "{good}");
        }
        for bad in ["", "a.b", "a*", "a b", "ä", "a\\b", &"x".repeat(DATABASE_NAME_MAX_BYTES + 1)] {
            assert!(!is_database_name(bad), "{bad}");
        }
    }
}
