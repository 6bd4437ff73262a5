//! The thread that takes what waits in the queue to the disk.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringfence_api::ErrorCode;
use rusqlite::Transaction;

use super::queue::{AuditQueue, Item};
use super::{AuditEvent, Subject, chain};
use crate::Error;
use crate::store::fault::Fault;
use crate::store::writer::{Context, Queue};
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
            let written = writer.write("write audit records", move |transaction, context| {
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
    let mut touched = history::Touched::default();
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
            Item::Denied { owner, correlation_id, denial, at_ms } => {
                history::add_denial(transaction, owner, denial, *at_ms)?;
                let subject = owner.subject().correlated(correlation_id);
                chain::append(transaction, &context.key, *at_ms, &subject, &AuditEvent::from(denial))?;
            }
            Item::Event { subject, event, at_ms } => {
                chain::append(transaction, &context.key, *at_ms, subject, event)?;
            }
        }
    }
    touched.prune(transaction)?;
    close_seconds(transaction, context)
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
