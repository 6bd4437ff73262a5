//! What wants to be looked at, of all plugins in three looks. The work is bounded by what is kept of each plugin.

use ringfence_api::PluginName;
use rusqlite::Row;

use super::Store;
use super::fault::Fault;
use super::plugins::bad_column;
use crate::Error;
use crate::attention::{Attention, Crashes, Refusals, WaitingUpgrade};

impl Store {
    /// Versions that wait, and what happened from a time on.
    ///
    /// # Errors
    /// `busy` or `io`; also when an older version wrote what this one cannot read.
    pub(crate) fn attention(&self, since_ms: i64) -> Result<Attention, Error> {
        self.read("read what wants to be looked at", |connection| {
            let upgrades = connection
                .prepare_cached(
                    "SELECT plugins.name, installed.version, waiting.version FROM plugins \
                     JOIN packages AS installed ON installed.digest = plugins.digest \
                     JOIN packages AS waiting ON waiting.digest = plugins.pending_digest ORDER BY plugins.name",
                )?
                .query_and_then([], |row| {
                    let (version, waiting) = (row.get(1)?, row.get(2)?);
                    Ok(WaitingUpgrade { plugin: plugin(row)?, version, waiting })
                })?
                .collect::<Result<_, Fault>>()?;
            // Of a group with one `max`, SQLite gives the other columns of the row that has it.
            let crashes = connection
                .prepare_cached(
                    "SELECT plugin, count(*), max(at_ms), detail FROM crashes WHERE at_ms >= ?1 \
                     GROUP BY plugin ORDER BY 3 DESC, plugin",
                )?
                .query_and_then([since_ms], |row| {
                    let (count, last_at_ms, last) = (row.get(1)?, row.get(2)?, row.get(3)?);
                    Ok(Crashes { plugin: plugin(row)?, count, last_at_ms, last })
                })?
                .collect::<Result<_, Fault>>()?;
            // From the plugins on, so that of each only what is new is looked at.
            let denials = connection
                .prepare_cached(
                    "SELECT plugins.name, count(*), max(last_at_ms) FROM plugins CROSS JOIN denials \
                     ON denials.plugin = plugins.name AND denials.last_at_ms >= ?1 \
                     GROUP BY plugins.name ORDER BY 3 DESC, plugins.name",
                )?
                .query_and_then([since_ms], |row| {
                    Ok(Refusals { plugin: plugin(row)?, kinds: row.get(1)?, last_at_ms: row.get(2)? })
                })?
                .collect::<Result<_, Fault>>()?;
            Ok(Attention { upgrades, crashes, denials })
        })
    }
}

fn plugin(row: &Row<'_>) -> rusqlite::Result<PluginName> {
    row.get::<_, String>(0)?.parse().map_err(|e| bad_column(0, e))
}
