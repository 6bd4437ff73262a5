//! The one writer: a thread that owns the writing connection and commits what waits in one go.
//!
//! Whatever waits while a commit runs shares the next one, so many small writes cost few synchronisations. Each keeps
//! its own savepoint: one that fails changes nothing of the others. A caller gets its answer after the commit, so an
//! answer means that the change is on the disk; or, where it wished no more ([`Keep::FromKill`]), with the kernel.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringfence_api::ErrorCode;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::audit::Anchor;
use super::fault::{Fault, sql_error};
use super::key::Key;
use super::{audit, database};
use crate::Error;

/// Writes that wait for the writer.
const QUEUE_MAX: usize = 256;
/// Writes that share one commit.
const BATCH_MAX: usize = 64;
/// How long a write waits for its turn. Longer than one wait for another process ([`database::BUSY_WAIT`]).
const TURN_WAIT: Duration = Duration::from_secs(12);
/// How long one that is being carried out is waited for: a disk that does not answer.
const DISK_WAIT: Duration = Duration::from_secs(60);
/// How often a full queue is tried again.
const TRY_EVERY: Duration = Duration::from_millis(2);

/// What a write sees beside its transaction.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) key: Key,
}

/// What a write must outlive before its caller is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// The machine: it is on the disk.
    FromPowerCut,
    /// This process: the kernel has it. Saves a wait for the disk, which is some milliseconds.
    FromKill,
}

/// A queued write: carried out inside its savepoint, then told whether the commit succeeded.
trait Work: Send {
    fn claim(&self) -> bool;
    fn keep(&self) -> Keep;
    /// Whether to keep what it changed.
    fn run(&mut self, transaction: &Transaction<'_>, context: &Context) -> bool;
    fn finish(self: Box<Self>, committed: Result<(), &rusqlite::Error>);
}

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const GIVEN_UP: u8 = 2;

struct Task<T, F> {
    keep: Keep,
    action: &'static str,
    claim: Arc<AtomicU8>,
    work: Option<F>,
    result: Option<Result<T, Fault>>,
    reply: SyncSender<Result<T, Error>>,
}

impl<T, F> Work for Task<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>, &Context) -> Result<T, Fault> + Send,
{
    fn claim(&self) -> bool {
        self.claim.compare_exchange(WAITING, STARTED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn keep(&self) -> Keep {
        self.keep
    }

    fn run(&mut self, transaction: &Transaction<'_>, context: &Context) -> bool {
        self.result = self.work.take().map(|work| work(transaction, context));
        matches!(self.result, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, committed: Result<(), &rusqlite::Error>) {
        let answer = match (self.result, committed) {
            (Some(Err(fault)), _) => Err(fault.into_error(self.action)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(sql_error(self.action, error)),
            (None, Ok(())) => Err(stopped(self.action)),
        };
        // A caller that has given up does not read its answer.
        self.reply.try_send(answer).ok();
    }
}

fn stopped(action: &str) -> Error {
    Error::new(ErrorCode::Internal, format!("cannot {action}: the store is closed"))
}

/// The sending side; every handle of the store shares it.
#[derive(Clone)]
pub(super) struct Queue {
    sender: SyncSender<Box<dyn Work>>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    /// Carries out `work` in a transaction and returns when it is kept as wished, or has changed nothing.
    ///
    /// # Errors
    /// What `work` refuses; `busy` when another process held the database or the queue stayed full: nothing was changed;
    /// `io` when the disk is full or fails: nothing was changed; or when it did not answer in 60 s: the change may still
    /// come.
    pub(super) fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        keep: Keep,
        work: impl FnOnce(&Transaction<'_>, &Context) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = sync_channel(1);
        let claim = Arc::new(AtomicU8::new(WAITING));
        let task = Task { keep, action, claim: Arc::clone(&claim), work: Some(work), result: None, reply };
        let turn = Instant::now() + TURN_WAIT;
        self.send(Box::new(task), action, turn)?;
        match answer.recv_timeout(turn.saturating_duration_since(Instant::now())) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Disconnected) => return Err(stopped(action)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if claim.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return Err(too_busy(action));
        }
        match answer.recv_timeout(DISK_WAIT) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => Err(stopped(action)),
            Err(RecvTimeoutError::Timeout) => Err(Error::new(
                ErrorCode::Io,
                format!("cannot {action}: the disk has not answered in {} s", DISK_WAIT.as_secs()),
            )
            .with_hint("check the disk of the home; the change may still be made when it answers")),
        }
    }

    fn send(&self, mut task: Box<dyn Work>, action: &str, turn: Instant) -> Result<(), Error> {
        loop {
            match self.sender.try_send(task) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(stopped(action)),
                Err(TrySendError::Full(_)) if Instant::now() >= turn => return Err(too_busy(action)),
                Err(TrySendError::Full(again)) => task = again,
            }
            std::thread::sleep(TRY_EVERY);
        }
    }
}

fn too_busy(action: &str) -> Error {
    Error::new(
        ErrorCode::Busy,
        format!(
            "cannot {action}: other writes took longer than {} s; nothing was changed",
            TURN_WAIT.as_secs()
        ),
    )
    .with_hint("try again; if it stays so, check the disk of the home")
}

/// The thread; it ends when the last [`Queue`] is dropped.
pub(super) fn start(path: &Path, key: Key, anchor: Anchor) -> Result<(Queue, JoinHandle<()>), Error> {
    let mut connection = database::open(path)?;
    make_ready(&mut connection, &key, &anchor).map_err(|fault| fault.into_error("prepare the database"))?;
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    let thread = std::thread::Builder::new()
        .name("ringfence-store".to_owned())
        .spawn(move || serve(connection, &receiver, &Context { key }, &anchor))
        .map_err(|e| Error::new(ErrorCode::Io, "cannot start the thread of the store").with_source(e))?;
    Ok((Queue { sender }, thread))
}

/// Checks that the database belongs to the key, and its audit chain to the anchor. An open that finds both in order
/// writes nothing.
fn make_ready(connection: &mut Connection, key: &Key, anchor: &Anchor) -> Result<(), Fault> {
    if super::meta::belongs_to(connection, key)? && audit::gap(connection, key, anchor)?.is_none() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    super::meta::remember(&transaction, key)?;
    audit::respect_anchor(&transaction, key, super::now_ms(), anchor)?;
    transaction.commit()?;
    anchor.advance(connection, key);
    Ok(())
}

fn serve(mut connection: Connection, receiver: &Receiver<Box<dyn Work>>, context: &Context, anchor: &Anchor) {
    // As a database is opened.
    let mut kept = Keep::FromPowerCut;
    while let Ok(first) = receiver.recv() {
        let mut batch: Vec<_> = Some(first).into_iter().filter(|task| task.claim()).collect();
        while batch.len() < BATCH_MAX
            && let Ok(task) = receiver.try_recv()
        {
            if task.claim() {
                batch.push(task);
            }
        }
        let must = batch.iter().any(|task| task.keep() == Keep::FromPowerCut);
        let must = if must { Keep::FromPowerCut } else { Keep::FromKill };
        let ready = if must == kept { Ok(()) } else { synchronise(&connection, must) };
        let committed = ready.and_then(|()| {
            kept = must;
            carry_out(&mut connection, &mut batch, context)
        });
        if committed.is_ok() {
            // Before the answers: what is acknowledged is anchored.
            anchor.advance(&connection, &context.key);
        }
        for task in batch {
            task.finish(committed.as_ref().copied());
        }
    }
}

/// With `normal` a commit in WAL mode waits for no disk, and nothing is damaged by a power cut but what was committed so is
/// forgotten (sqlite.org/pragma.html#pragma_synchronous).
fn synchronise(connection: &Connection, keep: Keep) -> rusqlite::Result<()> {
    let level = match keep {
        Keep::FromPowerCut => "full",
        Keep::FromKill => "normal",
    };
    connection.pragma_update(None, "synchronous", level)
}

fn carry_out(
    connection: &mut Connection,
    batch: &mut [Box<dyn Work>],
    context: &Context,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut kept = false;
    for task in batch {
        transaction.execute_batch("SAVEPOINT task")?;
        if task.run(&transaction, context) {
            transaction.execute_batch("RELEASE task")?;
            kept = true;
        } else {
            // A full disk may have ended the whole transaction: then this fails, and with it every task of the batch.
            transaction.execute_batch("ROLLBACK TO task; RELEASE task")?;
        }
    }
    if kept { transaction.commit() } else { transaction.rollback() }
}
