//! What happened to plugins, in short: crashes, denials, activity, resources. All of it bounded, oldest out first.

use std::collections::BTreeSet;
use std::time::Duration;

use ringfence_api::{Denial, PluginName, UNLISTED_OBJECT};
use rusqlite::Transaction;

use super::fault::Fault;
use super::{Owner, Store, now_ms};
use crate::Error;
use crate::metrics::{Execution, ExecutionFilter, ExecutionPage, ResourceSample};

/// Crashes that are kept of one plugin.
const CRASHES_MAX: i64 = 50;
/// Different denials that are kept of one plugin.
const DENIALS_MAX: i64 = 1_000;
/// Endings of calls that are kept of one plugin.
const ACTIVITY_MAX: i64 = 5_000;
/// Samples of resources that are kept of one plugin: an hour of them.
const RESOURCES_MAX: usize = 3_600;
/// The longest page of any list here.
const PAGE_MAX: usize = 1_000;
/// The longest text in a row, in bytes.
const TEXT_MAX_BYTES: usize = 4_096;

/// One crash.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct CrashRow {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// How it ended, in words.
    pub(crate) detail: String,
}

/// One kind of refusal and how often it happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct DenialRow {
    /// Layer, operation, object, grant and how often since the first.
    pub(crate) denial: Denial,
    /// When it happened first and last, in milliseconds since 1970.
    pub(crate) first_at_ms: i64,
    pub(crate) last_at_ms: i64,
}

/// What a plugin used at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub(crate) struct ResourceRow {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// CPU time since the start, in milliseconds.
    pub(crate) cpu_ms: u64,
    /// CPU time since the sample before, in percent of one core.
    pub(crate) cpu_percent: f64,
    pub(crate) memory_bytes: u64,
    pub(crate) tasks: u64,
    /// Read from and written to disks since the start.
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

/// The text, or as much of its beginning as a row keeps.
pub(super) fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// An ending that is about to be written.
pub(super) struct Ended<'a> {
    pub(super) method: &'a str,
    pub(super) tool: &'a str,
    pub(super) outcome: &'a str,
    pub(super) count: u64,
    pub(super) duration: Duration,
    pub(super) correlation_id: &'a str,
    pub(super) at_ms: i64,
}

pub(super) fn add_activity(
    transaction: &Transaction<'_>,
    owner: &Owner,
    ended: &Ended<'_>,
) -> Result<(), Fault> {
    transaction
        .prepare_cached(
            "INSERT INTO activity (plugin, method, tool, outcome, count, duration_us, correlation_id, at_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            owner.name().as_str(),
            cut(ended.method),
            cut(ended.tool),
            ended.outcome,
            i64::try_from(ended.count).unwrap_or(i64::MAX),
            i64::try_from(ended.duration.as_micros()).unwrap_or(i64::MAX),
            cut(ended.correlation_id),
            ended.at_ms,
        ))?;
    Ok(())
}

/// Plugins of which something was added in a batch.
#[derive(Default)]
pub(super) struct Touched {
    plugins: BTreeSet<String>,
}

impl Touched {
    pub(super) fn note(&mut self, owner: &Owner) {
        if !self.plugins.contains(owner.name().as_str()) {
            self.plugins.insert(owner.name().as_str().to_owned());
        }
    }

    /// Removes what is too old of the activity of each.
    pub(super) fn prune_activity(&self, transaction: &Transaction<'_>) -> Result<(), Fault> {
        for plugin in &self.plugins {
            prune(transaction, "activity", plugin, ACTIVITY_MAX)?;
        }
        Ok(())
    }

    /// Counts the oldest kinds of denials of each together when there are too many.
    pub(super) fn prune_denials(&self, transaction: &Transaction<'_>) -> Result<(), Fault> {
        for plugin in &self.plugins {
            prune_denials(transaction, plugin)?;
        }
        Ok(())
    }
}

/// Keeps the newest rows of one plugin. `table` is one of ours.
fn prune(transaction: &Transaction<'_>, table: &str, plugin: &str, kept: i64) -> Result<(), Fault> {
    let sql = format!(
        "DELETE FROM {table} WHERE plugin = ?1 AND id <= \
         (SELECT id FROM {table} WHERE plugin = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)"
    );
    transaction.prepare_cached(&sql)?.execute((plugin, kept))?;
    Ok(())
}

/// Adds to how often something was refused, within this time.
pub(super) fn add_denial(
    transaction: &Transaction<'_>,
    owner: &Owner,
    denial: &Denial,
    first_at_ms: i64,
    last_at_ms: i64,
) -> Result<(), Fault> {
    transaction
        .prepare_cached(
            "INSERT INTO denials (plugin, layer, operation, object, grant_text, count, first_at_ms, last_at_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (plugin, layer, operation, object, grant_text) \
             DO UPDATE SET count = count + excluded.count, last_at_ms = excluded.last_at_ms",
        )?
        .execute((
            owner.name().as_str(),
            cut(&denial.layer),
            cut(&denial.operation),
            cut(&denial.object),
            cut(denial.grant.as_deref().unwrap_or_default()),
            i64::try_from(denial.count).unwrap_or(i64::MAX),
            first_at_ms,
            last_at_ms,
        ))?;
    Ok(())
}

fn prune_denials(transaction: &Transaction<'_>, plugin: &str) -> Result<(), Fault> {
    let over: i64 = transaction
        .prepare_cached("SELECT count(*) - ?2 FROM denials WHERE plugin = ?1 AND object <> ?3")?
        .query_row((plugin, DENIALS_MAX, UNLISTED_OBJECT), |row| row.get(0))?;
    if over <= 0 {
        return Ok(());
    }
    // Which they are depends on nothing but the rows, so both statements mean the same ones. What is counted together already
    // is no row of its own, and its time is not theirs.
    let oldest = "SELECT plugin, layer, operation, object, grant_text FROM denials \
                  WHERE plugin = ?1 AND object <> ?3 \
                  ORDER BY last_at_ms, layer, operation, object, grant_text LIMIT ?2";
    let together = format!(
        "INSERT INTO denials (plugin, layer, operation, object, grant_text, count, first_at_ms, last_at_ms) \
         SELECT plugin, layer, operation, ?3, '', sum(count), min(first_at_ms), max(last_at_ms) FROM denials \
         WHERE (plugin, layer, operation, object, grant_text) IN ({oldest}) GROUP BY plugin, layer, operation \
         ON CONFLICT (plugin, layer, operation, object, grant_text) DO UPDATE SET count = count + excluded.count, \
         first_at_ms = min(first_at_ms, excluded.first_at_ms), last_at_ms = max(last_at_ms, excluded.last_at_ms)"
    );
    transaction.prepare_cached(&together)?.execute((plugin, over, UNLISTED_OBJECT))?;
    let removed =
        format!("DELETE FROM denials WHERE (plugin, layer, operation, object, grant_text) IN ({oldest})");
    transaction.prepare_cached(&removed)?.execute((plugin, over, UNLISTED_OBJECT))?;
    Ok(())
}

/// Removes everything here of a plugin that is uninstalled.
pub(super) fn clear(transaction: &Transaction<'_>, plugin: &str) -> Result<(), Fault> {
    for table in ["crashes", "denials", "activity", "resources", "breakers"] {
        transaction.prepare_cached(&format!("DELETE FROM {table} WHERE plugin = ?1"))?.execute([plugin])?;
    }
    Ok(())
}

impl Store {
    /// Records a crash and gives how many there were within `window`, this one included. A clock that went back counts
    /// too many rather than too few.
    ///
    /// # Errors
    /// `busy` or `io`; also for a plugin that is not installed.
    pub(crate) fn add_crash(&self, name: &PluginName, detail: &str, window: Duration) -> Result<u64, Error> {
        let (name, detail) = (name.clone(), cut(detail).to_owned());
        let since = now_ms().saturating_sub(i64::try_from(window.as_millis()).unwrap_or(i64::MAX));
        self.write("record a crash", move |transaction, _| {
            transaction
                .prepare_cached("INSERT INTO crashes (plugin, at_ms, detail) VALUES (?1, ?2, ?3)")?
                .execute((name.as_str(), now_ms(), &detail))?;
            prune(transaction, "crashes", name.as_str(), CRASHES_MAX)?;
            Ok(transaction
                .prepare_cached("SELECT count(*) FROM crashes WHERE plugin = ?1 AND at_ms >= ?2")?
                .query_row((name.as_str(), since), |row| row.get(0))?)
        })
    }

    /// The last crashes, newest first, at most 50.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn crashes(&self, name: &PluginName) -> Result<Vec<CrashRow>, Error> {
        self.read("read the crashes", |connection| {
            Ok(connection
                .prepare_cached("SELECT at_ms, detail FROM crashes WHERE plugin = ?1 ORDER BY id DESC")?
                .query_map([name.as_str()], |row| Ok(CrashRow { at_ms: row.get(0)?, detail: row.get(1)? }))?
                .collect::<Result<_, _>>()?)
        })
    }

    /// Forgets the crashes: a person has released the plugin.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn clear_crashes(&self, name: &PluginName) -> Result<(), Error> {
        let name = name.clone();
        self.write("forget the crashes", move |transaction, _| {
            transaction.prepare_cached("DELETE FROM crashes WHERE plugin = ?1")?.execute([name.as_str()])?;
            Ok(())
        })
    }

    /// What was refused to a plugin, the latest first, at most 1,000 kinds. What is beyond them is counted for each operation
    /// under [`UNLISTED_OBJECT`].
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn denials(&self, name: &PluginName) -> Result<Vec<DenialRow>, Error> {
        self.read("read the denials", |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT layer, operation, object, grant_text, count, first_at_ms, last_at_ms FROM denials \
                     WHERE plugin = ?1 ORDER BY last_at_ms DESC",
                )?
                .query_map([name.as_str()], |row| {
                    let grant: String = row.get(3)?;
                    let denial = Denial {
                        layer: row.get(0)?,
                        operation: row.get(1)?,
                        object: row.get(2)?,
                        grant: Some(grant).filter(|grant| !grant.is_empty()),
                        count: row.get(4)?,
                        warning: None,
                        location: None,
                    };
                    Ok(DenialRow { denial, first_at_ms: row.get(5)?, last_at_ms: row.get(6)? })
                })?
                .collect::<Result<_, _>>()?)
        })
    }

    /// How much was refused to a plugin from a time on, since it was installed or released by a person last. Counting ends
    /// when `enough` is reached. What the policy refused to people does not count.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn denials_since(&self, name: &PluginName, since_ms: i64, enough: u64) -> Result<u64, Error> {
        self.read("count the denials", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT event, at_ms, json_extract(body, '$.count') FROM audit WHERE plugin = ?1 \
                 AND (event IN ('install', 'release', 'denial_summary') \
                 OR event = 'denial' AND json_extract(body, '$.layer') IS NOT 'policy') ORDER BY seq DESC",
            )?;
            let mut rows = statement.query([name.as_str()])?;
            // What is only counted yet belongs to the time after both: it becomes records before them.
            let mut count: u64 = connection
                .prepare_cached(
                    "SELECT coalesce(sum(count), 0) FROM denials_open WHERE plugin = ?1 AND last_at_ms >= ?2",
                )?
                .query_row((name.as_str(), since_ms), |row| row.get(0))?;
            while let Some(row) = rows.next()? {
                let (event, at_ms): (String, i64) = (row.get(0)?, row.get(1)?);
                let is_denial = matches!(event.as_str(), "denial" | "denial_summary");
                if !is_denial || at_ms < since_ms || count >= enough {
                    break;
                }
                count = count.saturating_add(row.get::<_, Option<u64>>(2)?.unwrap_or(1));
            }
            Ok(count)
        })
    }

    /// How calls ended, newest first, at most 1,000.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn activity(&self, filter: &ExecutionFilter, limit: usize) -> Result<ExecutionPage, Error> {
        let limit = limit.clamp(1, PAGE_MAX);
        self.read("read the activity", |connection| {
            let wanted = (
                &filter.plugin,
                filter.before,
                &filter.method,
                &filter.outcome,
                &filter.correlation_id,
                limit.saturating_add(1),
                // `LIKE` makes no copies of what it compares: half the time of `instr(lower(…), …)` over a million rows.
                filter.text.as_deref().map(containing),
            );
            // Said outright where there is one, so that the index is used.
            let of_plugin = if filter.plugin.is_some() { "plugin = ?1" } else { "?1 IS NULL" };
            let before = if filter.before.is_some() { "id < ?2" } else { "?2 IS NULL" };
            let sql = format!(
                "SELECT id, plugin, method, tool, outcome, count, duration_us, correlation_id, at_ms FROM activity \
                 WHERE {of_plugin} AND {before} AND (?3 IS NULL OR method = ?3) \
                 AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR correlation_id = ?5) \
                 AND (?7 IS NULL OR plugin || ' ' || tool LIKE ?7 ESCAPE '\\') ORDER BY id DESC LIMIT ?6"
            );
            let mut executions: Vec<Execution> = connection
                .prepare_cached(&sql)?
                .query_map(wanted, |row| {
                    Ok(Execution {
                        id: row.get(0)?,
                        plugin: row.get(1)?,
                        method: row.get(2)?,
                        tool: row.get(3)?,
                        outcome: row.get(4)?,
                        count: row.get(5)?,
                        duration_us: row.get(6)?,
                        correlation_id: row.get(7)?,
                        at_ms: row.get(8)?,
                    })
                })?
                .collect::<Result<_, _>>()?;
            let more = executions.len() > limit;
            executions.truncate(limit);
            Ok(ExecutionPage { executions, more })
        })
    }

    /// Keeps samples of what a plugin used, the newest 3,600.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn add_resources(&self, name: &PluginName, samples: Vec<ResourceRow>) -> Result<(), Error> {
        let name = name.clone();
        self.write("record the resources", move |transaction, _| {
            for sample in samples {
                transaction
                    .prepare_cached(
                        "INSERT INTO resources (plugin, at_ms, cpu_ms, cpu_percent, memory_bytes, tasks, \
                         read_bytes, written_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )?
                    .execute((
                        name.as_str(),
                        sample.at_ms,
                        sample.cpu_ms,
                        sample.cpu_percent,
                        sample.memory_bytes,
                        sample.tasks,
                        sample.read_bytes,
                        sample.written_bytes,
                    ))?;
            }
            let kept = i64::try_from(RESOURCES_MAX).unwrap_or(i64::MAX);
            prune(transaction, "resources", name.as_str(), kept)
        })
    }

    /// What a plugin used: the newest `limit` samples, oldest first.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn resources(&self, name: &PluginName, limit: usize) -> Result<Vec<ResourceSample>, Error> {
        let limit = limit.min(RESOURCES_MAX);
        self.read("read the resources", |connection| {
            let mut samples: Vec<ResourceSample> = connection
                .prepare_cached(
                    "SELECT at_ms, memory_bytes, cpu_ms, cpu_percent, tasks, read_bytes, written_bytes FROM resources \
                     WHERE plugin = ?1 ORDER BY id DESC LIMIT ?2",
                )?
                .query_map((name.as_str(), limit), |row| {
                    Ok(ResourceSample {
                        at_ms: row.get(0)?,
                        memory_bytes: row.get(1)?,
                        cpu_ms: row.get(2)?,
                        cpu_percent: row.get(3)?,
                        tasks: row.get(4)?,
                        read_bytes: row.get(5)?,
                        written_bytes: row.get(6)?,
                    })
                })?
                .collect::<Result<_, _>>()?;
            samples.reverse();
            Ok(samples)
        })
    }
}

/// The pattern of what has this text in it.
fn containing(text: &str) -> String {
    format!("%{}%", text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_"))
}
