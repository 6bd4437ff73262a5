//! The thread that takes what waits in the queue to the disk.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringfence_api::{ErrorCode, UNLISTED_OBJECT};
use rusqlite::{Row, Transaction};

use super::ledger::Counted;
use super::queue::{AuditQueue, DENIAL_WINDOW_MS, Item};
use super::{AuditEvent, Subject, chain};
use crate::Error;
use crate::store::Owner;
use crate::store::fault::Fault;
use crate::store::key::Key;
use crate::store::writer::{Context, Keep, Queue};
use crate::store::{history, now_ms};

/// First and longest wait before a batch that the disk refused is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long a closing store tries to bring the last batch to a disk that fails.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// When a second with counted calls is over, at the latest.
const SECOND_OVER: Duration = Duration::from_millis(1_100);

/// Starts the thread; it ends after the queue was closed.
pub(in crate::store) fn start(queue: AuditQueue, writer: Queue) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name("ringfence-audit".to_owned())
        .spawn(move || serve(&queue, &writer))
        .map_err(|e| Error::new(ErrorCode::Io, "cannot start the thread of the audit trail").with_source(e))
}

fn serve(queue: &AuditQueue, writer: &Queue) {
    // Counts that a process left behind when it was killed are brought to an end with the first batch.
    let mut open = false;
    while let Some(batch) = queue.next(open.then_some(SECOND_OVER)) {
        let batch = Arc::new(batch);
        let mut wait = RETRY_FIRST;
        let mut failing: Option<Instant> = None;
        loop {
            let items = Arc::clone(&batch);
            let written =
                writer.write("write audit records", Keep::FromPowerCut, move |transaction, context| {
                    write(transaction, context, &items)
                });
            match written {
                Ok(still_open) => {
                    open = still_open;
                    break queue.done();
                }
                Err(error) => {
                    let since = *failing.get_or_insert_with(Instant::now);
                    tracing::warn!(error = error.chain(), "audit records wait for the disk");
                    if queue.failing(since) && since.elapsed() >= CLOSING_MAX {
                        tracing::error!(
                            records = batch.len(),
                            "audit records are lost: the disk failed to the end"
                        );
                        return;
                    }
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }
}

/// Writes a batch, and brings seconds that are over to an end. Gives whether some are still open.
fn write(transaction: &Transaction<'_>, context: &Context, items: &[Item]) -> Result<bool, Fault> {
    let (mut touched, mut denied) = (history::Touched::default(), history::Touched::default());
    for item in items {
        match item {
            Item::Call { owner, method, tool, correlation_id, at_ms } => {
                let subject = owner.subject().correlated(correlation_id);
                let event = AuditEvent::Call { method: method.to_string(), tool: tool.to_string() };
                chain::append(transaction, &context.key, *at_ms, &subject, &event)?;
            }
            Item::Counted { owner, method, second, count } => {
                transaction
                    .prepare_cached(
                        "INSERT INTO audit_open (plugin, publisher, method, second, count) \
                         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (plugin, publisher, method, second) \
                         DO UPDATE SET count = count + excluded.count",
                    )?
                    .execute((
                        owner.name().as_str(),
                        owner.publisher(),
                        method.as_ref(),
                        second,
                        i64::try_from(*count).unwrap_or(i64::MAX),
                    ))?;
            }
            Item::Ended { owner, method, tool, correlation_id, outcome, count, duration, at_ms } => {
                let ended = history::Ended {
                    method,
                    tool,
                    outcome: outcome.as_str(),
                    count: *count,
                    duration: *duration,
                    correlation_id,
                    at_ms: *at_ms,
                };
                history::add_activity(transaction, owner, &ended)?;
                touched.note(owner);
            }
            Item::Denied { owner, refused, at_ms } => {
                history::add_denial(transaction, owner, &refused.denial, *at_ms, *at_ms)?;
                denied.note(owner);
                let subject = owner.subject().correlated(&refused.correlation_id);
                chain::append(transaction, &context.key, *at_ms, &subject, &AuditEvent::from(refused))?;
            }
            Item::DeniedCounted { owner, counted } => {
                let Counted { kind, count, first_at_ms, last_at_ms, .. } = counted;
                history::add_denial(transaction, owner, &kind.denial(*count), *first_at_ms, *last_at_ms)?;
                denied.note(owner);
                count_denial(transaction, owner, counted)?;
            }
            Item::Event { subject, event, at_ms } => {
                chain::append(transaction, &context.key, *at_ms, subject, event)?;
            }
        }
    }
    touched.prune_activity(transaction)?;
    denied.prune_denials(transaction)?;
    let seconds = close_seconds(transaction, context)?;
    Ok(close_denials(transaction, &context.key, Closing::Over)? || seconds)
}

fn close_seconds(transaction: &Transaction<'_>, context: &Context) -> Result<bool, Fault> {
    let now = now_ms();
    // Not `<`: a clock that went back must not keep a second open.
    let current = now.div_euclid(1_000);
    let closed: Vec<(String, String, String, i64, i64)> = transaction
        .prepare_cached("SELECT plugin, publisher, method, second, count FROM audit_open WHERE second <> ?1")?
        .query_map([current], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
        .collect::<Result<_, _>>()?;
    for (plugin, publisher, method, second, count) in closed {
        transaction
            .prepare_cached(
                "DELETE FROM audit_open WHERE plugin = ?1 AND publisher = ?2 AND method = ?3 AND second = ?4",
            )?
            .execute((&plugin, &publisher, &method, second))?;
        let subject = Subject { plugin, publisher, correlation_id: String::new() };
        let event = AuditEvent::CallSummary { method, second, count: count.unsigned_abs() };
        chain::append(transaction, &context.key, now, &subject, &event)?;
    }
    Ok(transaction.prepare_cached("SELECT 1 FROM audit_open LIMIT 1")?.exists([])?)
}

fn count_denial(transaction: &Transaction<'_>, owner: &Owner, counted: &Counted) -> Result<(), Fault> {
    let Counted { kind, window, count, first_at_ms, last_at_ms } = counted;
    transaction
        .prepare_cached(
            "INSERT INTO denials_open (plugin, publisher, window, layer, operation, object, grant_text, count, \
             first_at_ms, last_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
             ON CONFLICT (plugin, publisher, window, layer, operation, object, grant_text) \
             DO UPDATE SET count = count + excluded.count, last_at_ms = excluded.last_at_ms",
        )?
        .execute((
            owner.name().as_str(),
            owner.publisher(),
            window,
            &kind.layer,
            &kind.operation,
            &kind.object,
            &kind.grant,
            i64::try_from(*count).unwrap_or(i64::MAX),
            first_at_ms,
            last_at_ms,
        ))?;
    Ok(())
}

/// Which counts of refusals become records.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Closing<'a> {
    /// Those whose window is over.
    Over,
    /// All of one plugin: what follows in the trail shall not be counted with them.
    Of(&'a str),
}

/// Makes records of counted refusals. Gives whether some are still open.
pub(in crate::store) fn close_denials(
    transaction: &Transaction<'_>,
    key: &Key,
    which: Closing<'_>,
) -> Result<bool, Fault> {
    let now = now_ms();
    // Not `<`: a clock that went back must not keep a window open.
    let current = now.div_euclid(DENIAL_WINDOW_MS);
    let (of_plugin, plugin) = match which {
        Closing::Over => ("window <> ?1 AND ?2 = ''", ""),
        Closing::Of(plugin) => ("plugin = ?2 AND ?1 = ?1", plugin),
    };
    let closed: Vec<(Subject, AuditEvent)> = transaction
        .prepare_cached(&format!(
            "DELETE FROM denials_open WHERE {of_plugin} RETURNING plugin, publisher, layer, operation, object, \
             grant_text, count, first_at_ms, last_at_ms"
        ))?
        .query_map((current, plugin), |row| {
            let subject =
                Subject { plugin: row.get(0)?, publisher: row.get(1)?, correlation_id: String::new() };
            Ok((subject, closed(row)?))
        })?
        .collect::<Result<_, _>>()?;
    for (subject, event) in closed {
        chain::append(transaction, key, now, &subject, &event)?;
    }
    Ok(transaction.prepare_cached("SELECT 1 FROM denials_open LIMIT 1")?.exists([])?)
}

fn closed(row: &Row<'_>) -> rusqlite::Result<AuditEvent> {
    let (layer, operation, object) = (row.get(2)?, row.get(3)?, row.get::<_, String>(4)?);
    let (grant, count) = (row.get::<_, String>(5)?, row.get::<_, i64>(6)?.unsigned_abs());
    let (first_at_ms, last_at_ms) = (row.get(7)?, row.get(8)?);
    Ok(match object == UNLISTED_OBJECT && grant.is_empty() {
        true => AuditEvent::DenialSummary { layer, operation, count, first_at_ms, last_at_ms },
        false => AuditEvent::Denial {
            layer,
            operation,
            object,
            grant: Some(grant).filter(|grant| !grant.is_empty()),
            count,
            first_at_ms: Some(first_at_ms),
            last_at_ms: Some(last_at_ms),
            possible_calls: Vec::new(),
        },
    })
}
