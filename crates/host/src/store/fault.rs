//! What goes wrong inside the store, and how it is told outside.

use ringfence_api::ErrorCode;
use rusqlite::ErrorCode as Sqlite;

use crate::Error;

/// A failure inside a read or a write: of the database, or a refusal that is already worded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// SQLite failed.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// A rule of the store says no.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl Fault {
    /// The error for callers; `action` is the end of "cannot ...".
    pub(super) fn into_error(self, action: &str) -> Error {
        match self {
            Self::Sql(error) => sql_error(action, &error).with_source(error),
            Self::Refused(error) => error,
        }
    }
}

/// The error for callers without its cause: one failed commit may concern many of them.
pub(super) fn sql_error(action: &str, error: &rusqlite::Error) -> Error {
    let (code, hint) = match error.sqlite_error_code() {
        Some(Sqlite::DatabaseBusy | Sqlite::DatabaseLocked) => (
            ErrorCode::Busy,
            Some("another process holds the database; nothing was changed, so it is safe to try again"),
        ),
        Some(Sqlite::DiskFull) => (ErrorCode::Io, Some("free some space on the disk of the home")),
        Some(Sqlite::DatabaseCorrupt | Sqlite::NotADatabase) => {
            (ErrorCode::Io, Some("the database is damaged; restore the home from a backup"))
        }
        Some(Sqlite::ReadOnly | Sqlite::CannotOpen | Sqlite::PermissionDenied) => {
            (ErrorCode::Io, Some("check who owns the home, its mode, and that its disk can be written"))
        }
        Some(Sqlite::SystemIoFailure | Sqlite::OutOfMemory | Sqlite::NoLargeFileSupport) => {
            (ErrorCode::Io, Some("check the disk of the home"))
        }
        _ => (ErrorCode::Internal, None),
    };
    let error = Error::new(code, format!("cannot {action}"));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
