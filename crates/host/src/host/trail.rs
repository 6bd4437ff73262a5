//! What is done with the audit trail beside reading it: taken elsewhere, shortened, and told who was refused at the door.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Host, Inner};
use crate::Error;
use crate::audit::{AUDIT_PAGE_MAX, AuditFilter, AuditKeep, AuditPruned, AuditRecord, AuditSealed};
use crate::store::{AuditEvent, Subject};

/// How long what was just recorded may take to be on the disk before the trail is read.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// Refusals for one reason that have a record each, within [`ACCESS_WINDOW`]; further ones are counted in one record.
pub const ACCESS_RECORDS_MAX: u32 = 10;
/// How long refusals are counted together.
pub const ACCESS_WINDOW: Duration = Duration::from_secs(60);

/// The records of an audit trail, page by page, oldest first: what [`Host::audit_export`] gives.
///
/// See [`ExportCheck`](crate::audit::ExportCheck) for an example.
#[derive(Debug)]
pub struct AuditExport {
    host: Host,
    after: Option<i64>,
    done: bool,
}

impl AuditExport {
    /// The next records, at most [`AUDIT_PAGE_MAX`]; `None`: those were all that there are now.
    ///
    /// # Errors
    /// `io`, `busy` of the store; asked again it goes on where it was.
    ///
    /// # Cancel safety
    /// Dropped, the same records come with the next call.
    pub async fn next_page(&mut self) -> Result<Option<Vec<AuditRecord>>, Error> {
        if self.done {
            return Ok(None);
        }
        let page = self.host.audit(&AuditFilter::default(), self.after, AUDIT_PAGE_MAX).await?;
        let Some(last) = page.records.last() else {
            self.done = true;
            return Ok(None);
        };
        (self.after, self.done) = (Some(last.seq), !page.more);
        Ok(Some(page.records))
    }
}

/// What was refused for one reason within one window.
#[derive(Debug)]
struct Refused {
    since: Instant,
    recorded: u32,
    /// Not recorded yet, with the last route and who it was.
    over: u64,
    route: String,
    by: String,
}

impl Refused {
    fn new(since: Instant) -> Self {
        Self { since, recorded: 0, over: 0, route: String::new(), by: String::new() }
    }
}

/// Refusals at the door that are counted together.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_reason: Mutex<BTreeMap<&'static str, Refused>>,
}

impl Refusals {
    /// Takes out what is only counted, of those windows that are over, or of all.
    fn take(&self, all: bool) -> Vec<(&'static str, u64, AuditEvent)> {
        let mut by_reason = self.by_reason.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = Vec::new();
        by_reason.retain(|reason, refused| {
            if !all && refused.since.elapsed() < ACCESS_WINDOW {
                return true;
            }
            if refused.over > 0 {
                let event = AuditEvent::AccessDenied {
                    reason: (*reason).to_owned(),
                    route: std::mem::take(&mut refused.route),
                    count: refused.over,
                    by: std::mem::take(&mut refused.by),
                };
                events.push((*reason, refused.over, event));
            }
            false
        });
        events
    }

    /// Counts again what could not be recorded.
    fn put_back(&self, reason: &'static str, over: u64, route: String, by: String) {
        let mut by_reason = self.by_reason.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = by_reason.entry(reason).or_insert_with(|| Refused::new(Instant::now()));
        refused.over = refused.over.saturating_add(over);
        (refused.route, refused.by) = (route, by);
    }
}

impl Host {
    /// The whole audit trail from behind a record on (`None`: from its beginning), in pages, each record as one line of JSON can
    /// be written: with its number and digest, so that the export can be checked without this home.
    #[must_use]
    pub fn audit_export(&self, after_seq: Option<i64>) -> AuditExport {
        AuditExport { host: self.clone(), after: after_seq, done: false }
    }

    /// Removes the oldest records of the audit trail. Where it was cut is kept with a code of the home's key, so that what is
    /// left is as provable as before; the removal is a record of the trail itself. What counts records of the last hour, such
    /// as a quarantine by the policy, does not see those that are gone.
    ///
    /// # Errors
    /// `permission_denied` naming the first record that is not as it was written: nothing is removed then, for it may be
    /// evidence. `io`, `busy` of the store; a removal that was cut short is finished by the next one.
    ///
    /// # Cancel safety
    /// Dropped, it goes on to its end.
    pub async fn audit_prune(&self, keep: AuditKeep) -> Result<AuditPruned, Error> {
        let (store, by) = (self.context().store.clone(), self.actor());
        store
            .run(move |store| {
                store.flush(FLUSH_WAIT)?;
                store.audit_prune(keep, &by)
            })
            .await
    }

    /// Puts an audit trail that somebody has altered away as it was found, and begins a new one behind it: without that nothing of
    /// it could ever be removed. All records that are there go into a file of the home, whose digest becomes part of the chain; the
    /// first record of the new trail says what was found damaged, by whom it was put away, and in which file it is. For whoever
    /// owns the home: no API in front of a host should offer it.
    ///
    /// # Errors
    /// `usage` when every record is as it was written; `io`, `busy` of the store; then the trail is as it was.
    ///
    /// # Cancel safety
    /// Dropped, it goes on to its end.
    pub async fn audit_seal_damage(&self) -> Result<AuditSealed, Error> {
        let (store, by) = (self.context().store.clone(), self.actor());
        let done = store.run(move |store| {
            store.flush(FLUSH_WAIT)?;
            store.audit_seal(&by)
        });
        let sealed = done.await?;
        self.inner.health.sealed();
        Ok(sealed)
    }

    /// Records that somebody was refused at the door of an API in front of this host: `reason` is a fixed word such as
    /// `bad_token`, `route` the pattern of the route, never a text of the caller's. Never waits. The first
    /// [`ACCESS_RECORDS_MAX`] for one reason within [`ACCESS_WINDOW`] have a record each, the others one together with their
    /// number when the window is over, so that a flood costs nothing and is not lost. Must be called on a tokio runtime.
    pub fn access_denied(&self, reason: &'static str, route: &str) {
        self.write_refusals(false);
        let now = Instant::now();
        let first_over = {
            let mut by_reason = self.inner.refusals.by_reason.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = by_reason.entry(reason).or_insert_with(|| Refused::new(now));
            refused.recorded = refused.recorded.saturating_add(1);
            let (by, route) = (self.actor().text(), super::bounded(route.to_owned(), 256));
            if refused.recorded <= ACCESS_RECORDS_MAX && self.record_refusal(reason, &route, &by) {
                return;
            }
            refused.over = refused.over.saturating_add(1);
            (refused.route, refused.by) = (route, by);
            refused.over == 1
        };
        if first_over {
            tokio::spawn(later(self.downgrade()));
        }
    }

    /// Whether there was room for it.
    fn record_refusal(&self, reason: &str, route: &str, by: &str) -> bool {
        let event = AuditEvent::AccessDenied {
            reason: reason.to_owned(),
            route: route.to_owned(),
            count: 1,
            by: by.to_owned(),
        };
        let subject = self.actor().tie(Subject::default());
        self.context().store.audit_enqueue(subject, event).is_ok()
    }

    /// Writes what was only counted, of those windows that are over, or of all. What finds no room is counted further.
    pub(super) fn write_refusals(&self, all: bool) {
        for (reason, over, event) in self.inner.refusals.take(all) {
            let enqueued = self.context().store.audit_enqueue(Subject::default(), event.clone());
            if let (Err(_), AuditEvent::AccessDenied { route, by, .. }) = (enqueued, event) {
                if all {
                    tracing::error!(reason, over, "refusals are missing from the audit trail");
                    continue;
                }
                self.inner.refusals.put_back(reason, over, route, by);
                if tokio::runtime::Handle::try_current().is_ok() {
                    tokio::spawn(later(self.downgrade()));
                }
            }
        }
    }
}

/// Writes what was counted when its window is over; a host that has gone wrote it when it shut down.
async fn later(host: Weak<Inner>) {
    tokio::time::sleep(ACCESS_WINDOW + Duration::from_millis(50)).await;
    if let Some(host) = Host::from_weak(&host) {
        host.write_refusals(false);
    }
}
