//! Opening the database: settings, migrations, and the copy that is kept before one.

use std::path::Path;
use std::time::Duration;

use ringfence_api::ErrorCode;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations, SchemaVersion};

use super::fault::{Fault, sql_error};
use super::layout::Layout;
use crate::{Error, private_file};

/// How long a statement waits for another process that writes.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Pages of the log before it is folded into the database (4 KiB each).
const CHECKPOINT_PAGES: i32 = 1_000;
/// The log is cut back to this size after it was folded in, in bytes.
const LOG_MAX_BYTES: i64 = 8 * 1024 * 1024;

/// All migrations, oldest first. A released one is never changed: the next change is one more line.
const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("migrations/0001-initial.sql")),
    M::up(include_str!("migrations/0002-tokens-and-cuts.sql")),
    M::up(include_str!("migrations/0003-grant-places.sql")),
    M::up(include_str!("migrations/0004-denials-counted.sql")),
    M::up(include_str!("migrations/0005-keys-used.sql")),
];

/// The number of the newest schema.
#[cfg(test)]
pub(super) const SCHEMA_VERSION: usize = MIGRATIONS.len();

/// A connection that may write. The file must exist.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| failed(path, e))
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| failed(path, e))?;
    // Not SQLITE_OPEN_READ_ONLY: the first reader of a log after a power cut must be able to recover it.
    connection.pragma_update(None, "query_only", true).map_err(|e| failed(path, e))?;
    Ok(connection)
}

/// The error for callers when the database cannot be opened.
fn failed(path: &Path, error: rusqlite::Error) -> Error {
    sql_error(&format!("open the database '{}'", path.display()), &error).with_source(error)
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    // A database that somebody else prepared must not run anything: no trusted functions in its schema, no direct
    // writes to it, no double-quoted strings.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    debug_assert_eq!(mode, "wal", "the bundled SQLite always has it");
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_MAX_BYTES)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// Whether the file is missing or its schema is not the newest.
///
/// # Errors
/// `io` when it cannot be read, is a link, or was written by a newer version.
pub(super) fn needs_preparation(layout: &Layout) -> Result<bool, Error> {
    let path = layout.database();
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::file("read", &path, error)),
        Ok(found) if !found.is_file() => {
            let kind = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a regular file");
            return Err(Error::file("open the database", &path, kind));
        }
        Ok(found) if found.len() == 0 => return Ok(true),
        Ok(_) => {}
    }
    let connection = open(&path)?;
    pending(&Migrations::from_slice(MIGRATIONS), &connection, &path)
}

fn pending(migrations: &Migrations<'_>, connection: &Connection, path: &Path) -> Result<bool, Error> {
    match migrations.current_version(connection) {
        Ok(SchemaVersion::Outside(found)) => Err(Error::new(
            ErrorCode::Io,
            format!(
                "the database '{}' was written by a newer version of Ringfence (its schema is {found})",
                path.display()
            ),
        )
        .with_hint("use that version, or restore a copy from the directory 'backup' of the home")),
        Ok(_) => match migrations.pending_migrations(connection) {
            Ok(count) => Ok(count > 0),
            Err(error) => Err(migration_failed(path, error)),
        },
        Err(error) => Err(migration_failed(path, error)),
    }
}

fn migration_failed(path: &Path, error: rusqlite_migration::Error) -> Error {
    let text = format!("bring the database '{}' to the newest schema", path.display());
    match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => sql_error(&text, &err).with_source(err),
        error => Error::new(ErrorCode::Internal, format!("cannot {text}")).with_source(error),
    }
}

/// Makes the file and brings it to the newest schema, keeping a copy of what was there.
///
/// INVARIANT: the caller holds the lifecycle lock. Each migration is one transaction, so a process that is killed in
/// between leaves the schema of before or after it, and the next one goes on from there.
pub(super) fn prepare(layout: &Layout) -> Result<(), Error> {
    prepare_with(layout, &Migrations::from_slice(MIGRATIONS))
}

fn prepare_with(layout: &Layout, migrations: &Migrations<'_>) -> Result<(), Error> {
    let path = layout.database();
    // SQLite makes its files with the caller's umask, and gives the log the mode of the database.
    let file = private_file::open_or_create(&path).map_err(|e| Error::file("make the database", &path, e))?;
    private_file::make_private(&file).map_err(|e| Error::file("protect the database", &path, e))?;
    let fresh = file.metadata().map_err(|e| Error::file("read", &path, e))?.len() == 0;
    drop(file);
    private_file::sync_parent(&path).map_err(|e| Error::file("make the database", &path, e))?;

    let mut connection = open(&path)?;
    if !pending(migrations, &connection, &path)? {
        return Ok(());
    }
    let version = migrations.current_version(&connection).map_err(|e| migration_failed(&path, e))?;
    if !fresh && let SchemaVersion::Inside(version) = version {
        back_up(layout, &connection, version.get())?;
    }
    migrations.to_latest(&mut connection).map_err(|e| migration_failed(&path, e))
}

/// A whole copy below `backup`, made beside its name and renamed, so that a copy with that name is complete.
fn back_up(layout: &Layout, connection: &Connection, version: usize) -> Result<(), Error> {
    let dir = layout.backups();
    let file_error = |path: &Path, error| Error::file("keep a copy of the database as", path, error);
    private_file::create_dir_all(&dir).map_err(|e| file_error(&dir, e))?;
    let kept = dir.join(format!("state-schema-{version}.db"));
    let temporary = kept.with_extension("db-new");
    for leftover in [&temporary, &kept] {
        match std::fs::remove_file(leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file_error(leftover, error));
            }
            _ => {}
        }
    }
    drop(private_file::create_new(&temporary).map_err(|e| file_error(&temporary, e))?);
    let text = temporary.to_str().ok_or_else(|| {
        Error::new(ErrorCode::Io, format!("the path '{}' is not UTF-8", temporary.display()))
            .with_hint("set RINGFENCE_HOME to a directory with a name in UTF-8")
    })?;
    // The target must be empty or missing: an empty file of mode 0600 is what decides the mode of the copy.
    connection
        .execute("VACUUM INTO ?1", [text])
        .map_err(|error| Fault::from(error).into_error(&format!("copy the database to '{text}'")))?;
    std::fs::File::open(&temporary)
        .and_then(|copy| private_file::publish(&temporary, &copy, &kept))
        .map_err(|e| file_error(&kept, e))
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
