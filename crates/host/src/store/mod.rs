//! The store: what is known of plugins, what they were granted, and what they did. The only SQL of the library.
//!
//! One SQLite database in the home, written by one thread ([`writer`]) and read by short-lived readers. A change that was
//! answered is on the disk; one that was refused has changed nothing. Everything is keyed by plugin *and* publisher
//! ([`Owner`]), so a later plugin of the same name by another publisher inherits nothing. Grants and consents carry a
//! seal ([`seal`]) that an editor of the database cannot make.
//!
//! The calls block. On an async runtime use [`Store::run`].
//!
//! It knows no sandbox and starts nothing. Packages on the disk are the business of `package`, the order of steps is
//! that of `lifecycle`.
//!
//! Start reading at [`Store::open`]; then `plugins.rs` and `grants.rs` (rows), `audit/` (the trail), `data.rs` (what a
//! plugin keeps), `history.rs` (crashes, denials, activity).

mod actor;
mod attention;
mod audit;
mod config;
mod data;
mod database;
mod fault;
mod grants;
mod guest;
mod history;
mod key;
mod layout;
mod meta;
mod once;
mod owner;
mod plugins;
mod policy;
mod readers;
mod seal;
mod standing;
mod tokens;
mod versions;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use actor::Actor;
pub(crate) use audit::{
    Act, AuditEvent, CallMeter, Full, Kind, Ledger, Outcome, Refused, Room, Subject, Told,
};
pub use audit::{
    AuditFilter, AuditKeep, AuditOrder, AuditPage, AuditPruned, AuditRecord, AuditSealed, AuditVerdict,
    BadRecord, ExportCheck, PAGE_MAX as AUDIT_PAGE_MAX, SealedState, SealedTrail,
};
#[cfg(test)]
use data::{DATA_BYTES_MAX, DATA_KEY_MAX_BYTES, DATA_KEYS_MAX, DATA_VALUE_MAX_BYTES, DataPage, DataUsage};
pub(crate) use grants::{Consent, GrantRow, Places, Trusted};
pub(crate) use guest::SqliteDatabase;
pub(crate) use history::ResourceRow;
pub(crate) use key::{hex, same, sha256_hex};
pub(crate) use layout::Layout;
pub(crate) use owner::Owner;
pub(crate) use plugins::{PackageRow, PluginRow, StateChange, SummaryRow};
pub(crate) use standing::{Changes, Mark, Seen, Standing};
pub(crate) use tokens::TokenRow;
pub(crate) use versions::{KeepData, UpgradeGrants, already_installed};

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringfence_api::ErrorCode;
use rusqlite::{Connection, Transaction};

use self::audit::{Anchor, AuditQueue};
use self::fault::Fault;
use self::key::Key;
use self::readers::Readers;
use self::writer::{Context, Keep, Queue};
use crate::clock::now_ms;
use crate::lock::LifecycleLock;
use crate::metrics::MethodMetrics;
use crate::{Error, Home};

/// The store of one home. Cheap to clone; the last handle that is dropped writes what still waits and ends the threads.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    key: Key,
    anchor_reader: Anchor,
    audit: AuditQueue,
    readers: Readers,
    // `None` only while it is dropped.
    queue: Option<Queue>,
    threads: Vec<JoinHandle<()>>,
    /// Something was written that is not only of the queue.
    written: Arc<tokio::sync::Notify>,
}

impl Store {
    /// The store of a home, made or brought to the newest schema when that is needed.
    ///
    /// # Errors
    /// `io` when files cannot be made or read, are links, were written by a newer version or are damaged; `busy` when
    /// another process holds the database for longer than 5 s; `permission_denied` when the key belongs to another
    /// database.
    pub(crate) fn open(home: &Home) -> Result<Self, Error> {
        home.create()?;
        // SQLite refuses a path with a link anywhere in it. The home may be reached through one; nothing in it may be one.
        #[expect(clippy::disallowed_methods, reason = "whoever names the home decides where its links lead")]
        let real =
            std::fs::canonicalize(home.path()).map_err(|e| Error::file("open the home", home.path(), e))?;
        let layout = Layout::new(real);
        let key = if database::needs_preparation(&layout)? {
            let _lock = LifecycleLock::acquire(layout.home())?;
            let key = Key::open_or_create(&layout.key())?;
            database::prepare(&layout)?;
            key
        } else {
            // INVARIANT: the key is made before the database, so a database without one has lost it.
            Key::open(&layout.key())?
        };
        let anchor = Anchor::open(&layout.anchor())?;
        let anchor_reader = Anchor::open(&layout.anchor())?;
        let (queue, writing) = writer::start(&layout.database(), key.clone(), anchor)?;
        let audit = AuditQueue::default();
        let flushing = audit::start_flushing(audit.clone(), queue.clone())?;
        let readers = Readers::new(layout.database());
        let inner = Inner {
            layout,
            key,
            anchor_reader,
            audit,
            readers,
            queue: Some(queue),
            threads: vec![flushing, writing],
            written: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where the parts of the store lie.
    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// Does blocking work with the store on a thread for such work, so that the async runtime goes on.
    ///
    /// # Cancel safety
    /// Dropped, the work still runs to its end; its answer is lost.
    ///
    /// # Errors
    /// What the work gives; `cancelled` when the runtime is shutting down.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(answer) => answer,
            Err(error) if error.is_cancelled() => {
                Err(Error::new(ErrorCode::Cancelled, "the store is closing").with_source(error))
            }
            Err(error) => Err(Error::new(ErrorCode::Internal, "the store failed").with_source(error)),
        }
    }

    /// The recorder for calls of one plugin by one method (`call`, `hook`, `handle_event` …).
    pub(crate) fn calls(&self, owner: &Owner, method: &str) -> CallMeter {
        self.inner.audit.meter(owner, method)
    }

    /// Records a refusal: in the audit trail within 50 ms, and in the counts of the plugin. One that is like another, or one
    /// of very many, or for which there is no room, is counted, and recorded with others at the end of its window. None is
    /// lost, but for what a failing disk keeps from it until the store is closed.
    pub(crate) fn denied(&self, owner: &Owner, refused: Refused) {
        self.inner.audit.denied(owner, refused, now_ms());
    }

    /// Puts an event into the audit trail; it is on the disk within 50 ms.
    ///
    /// # Errors
    /// [`Full`] at once when there is no room, or the disk has been failing for a second.
    pub(crate) fn audit_enqueue(&self, subject: Subject, event: AuditEvent) -> Result<(), Full> {
        self.inner.audit.push(audit::Item::Event { subject, event, at_ms: now_ms() })
    }

    /// Puts an event into the audit trail and returns when it is on the disk.
    ///
    /// # Errors
    /// `busy` or `io`; then nothing was recorded.
    pub(crate) fn audit(&self, subject: Subject, event: AuditEvent) -> Result<(), Error> {
        self.write("write an audit record", move |transaction, context| {
            audit::append(transaction, &context.key, now_ms(), &subject, &event).map(drop)
        })
    }

    /// A page of the audit trail, at most 1,000 records; `after` is the `seq` of the last record of the page before.
    ///
    /// # Errors
    /// `busy` or `io`.
    #[allow(dead_code, reason = "what reads the trail from outside; tests hold by it what was recorded")]
    pub(crate) fn audit_list(
        &self,
        filter: &AuditFilter,
        after: Option<i64>,
        limit: usize,
    ) -> Result<AuditPage, Error> {
        self.read("read the audit trail", |connection| audit::list(connection, filter, after, limit))
    }

    /// Reads the whole audit trail and names the first record that is not as it was written.
    ///
    /// # Errors
    /// `busy` or `io` when it cannot be read; a bad record is no error.
    #[allow(dead_code, reason = "what reads the trail from outside; tests hold by it what was recorded")]
    pub(crate) fn audit_verify(&self) -> Result<AuditVerdict, Error> {
        self.read("check the audit trail", |connection| {
            let mut verdict = audit::verify(connection, &self.inner.key, &self.inner.anchor_reader)?;
            // A record that may be forged says nothing.
            if verdict.first_bad.is_none() {
                verdict.sealed = audit::sealed(connection, self.layout().home())?;
            }
            Ok(verdict)
        })
    }

    /// How calls have ended since the store was opened, by plugin.
    pub(crate) fn call_totals(&self) -> HashMap<Owner, Vec<MethodMetrics>> {
        self.inner.audit.totals()
    }

    /// Whether calls are refused, because the queue is full or the disk has been failing for a second.
    pub(crate) fn is_refusing(&self) -> bool {
        self.inner.audit.is_refusing()
    }

    /// Writes something that nobody reads.
    ///
    /// # Errors
    /// `busy` or `io`: then nothing else could be written either.
    pub(crate) fn try_write(&self) -> Result<(), Error> {
        self.write("write to the home", |transaction, _| {
            Ok(meta::set(transaction, "last_tried_at_ms", &now_ms().to_be_bytes())?)
        })
    }

    /// The number of the last record that says that records before it are missing, unless the trail was put away since.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn audit_gap(&self) -> Result<Option<i64>, Error> {
        self.read("look for gaps in the audit trail", audit::last_gap)
    }

    /// Audit records that are not on the disk yet.
    pub(crate) fn audit_queued(&self) -> u64 {
        self.inner.audit.waiting()
    }

    /// Wakes who waits for news of this process. It does not keep the store open.
    pub(crate) fn written(&self) -> Arc<tokio::sync::Notify> {
        Arc::clone(&self.inner.written)
    }

    /// What was done to plugins, tokens and the policy behind a record, oldest first, and the record to go on from.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn news(&self, after: i64) -> Result<(Vec<AuditRecord>, i64), Error> {
        self.read("read what is new in the audit trail", |connection| audit::news(connection, after))
    }

    /// How many audit records there are, and the number of the last one.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn audit_size(&self) -> Result<(u64, i64), Error> {
        self.read("look at the audit trail", |connection| audit::size(connection, &self.inner.key))
    }

    /// Removes the oldest records of the audit trail. What is left stays provable; the removal is a record of it.
    ///
    /// # Errors
    /// `permission_denied` naming the first record that is not as it was written: what would be removed is evidence; `busy`
    /// or `io`. Records that could not be removed count as removed, and go with the next removal.
    pub(crate) fn audit_prune(&self, keep: AuditKeep, by: &Actor) -> Result<AuditPruned, Error> {
        let last = self.read("look at the audit trail", |connection| {
            audit::last_to_go(connection, &self.inner.key, keep)
        })?;
        let mut removed = 0;
        if let Some(last) = last {
            self.audit_verify()?.require_intact()?;
            let by = by.clone();
            removed = self.write("cut the audit trail", move |transaction, context| {
                audit::cut(transaction, context, last, &by)
            })?;
        }
        while self.write("remove audit records", audit::remove)? > 0 {}
        let pruned_before = self
            .read("look at the audit trail", |connection| audit::first_there(connection, &self.inner.key))?;
        Ok(AuditPruned { removed, pruned_before })
    }

    /// Puts an audit trail that was altered away as it was found, and begins a new one behind it.
    ///
    /// # Errors
    /// `usage` when every record is as it was written; `busy` or `io`.
    pub(crate) fn audit_seal(&self, by: &Actor) -> Result<AuditSealed, Error> {
        let (by, layout) = (by.clone(), self.layout().clone());
        let sealed = self.write("seal the damaged audit trail", move |transaction, context| {
            audit::seal(transaction, context, layout.home(), &layout.anchor(), &by)
        })?;
        while self.write("remove audit records", audit::remove)? > 0 {}
        Ok(sealed)
    }

    /// Waits until every call, denial and event that was recorded before is on the disk.
    ///
    /// # Errors
    /// `busy` after `wait`.
    pub(crate) fn flush(&self, wait: Duration) -> Result<(), Error> {
        self.inner.audit.flush(wait).map_err(|full| {
            Error::new(
                ErrorCode::Busy,
                format!("audit records are not on the disk after {} ms", wait.as_millis()),
            )
            .with_hint("check the disk of the home")
            .with_source(full)
        })
    }

    fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>, &Context) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.write_as(action, Keep::FromPowerCut, work)
    }

    fn write_as<T: Send + 'static>(
        &self,
        action: &'static str,
        keep: Keep,
        work: impl FnOnce(&Transaction<'_>, &Context) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        match &self.inner.queue {
            Some(queue) => queue.write(action, keep, work).inspect(|_| self.inner.written.notify_one()),
            None => Err(Error::new(ErrorCode::Internal, format!("cannot {action}: the store is closed"))),
        }
    }

    fn read<T>(&self, action: &str, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Error> {
        self.inner.readers.read(action, work)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.audit.close();
        self.queue = None;
        // The flushing thread ends first: it holds the other end of the writer's queue.
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store ended with a panic");
            }
        }
    }
}
