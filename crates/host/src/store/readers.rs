//! Readers: a few connections that only read, opened when they are needed. The log lets them read while others write.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use super::database;
use super::fault::Fault;
use crate::Error;

/// Connections that are kept open. More may be open while they are used.
const KEPT_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Vec::new()) }
    }

    /// Reads one state of the database: what others commit meanwhile is not seen.
    pub(super) fn read<T>(
        &self,
        action: &str,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => database::open_reader(&self.path)?,
        };
        let answer = (|| {
            let transaction = connection.transaction()?;
            let answer = work(&transaction)?;
            transaction.finish()?;
            Ok(answer)
        })();
        let answer = answer.map_err(|fault: Fault| fault.into_error(action))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT_MAX {
            idle.push(connection);
        }
        Ok(answer)
    }
}
