//! What callers and the driver share.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use ringfence_api::Wire;
use tokio::sync::Semaphore;

use super::Options;
use super::codec::append_cancel;
use super::error::CallError;
use super::fault::{Fault, FaultKind, Tally};
use super::output::{NotAppended, Output, Written};
use super::service::Service;
use super::table::Table;

/// What the driver has to know.
#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    /// Look again: at the timer, or at what is to be written.
    Look = 0,
    /// The last handle of the connection is gone.
    Dropped = 1,
    /// The process of the plugin has ended.
    ProcessEnded = 2,
    /// The plugin does not read any more.
    Broken = 4,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) output: Output,
    pub(super) tally: Tally,
    pub(super) service: Arc<dyn Service>,
    /// One for each call that the plugin may have at once.
    pub(super) calls: Semaphore,
    /// The same for what must not wait behind calls.
    pub(super) control: Semaphore,
    /// How many callers wait for their turn.
    pub(super) queued: AtomicUsize,
    table: Mutex<Table>,
    news: AtomicU8,
    driver: Mutex<Option<Waker>>,
}

/// How many requests besides calls may be under way.
pub(super) const CONTROL_MAX: usize = 4;

impl Shared {
    pub(super) fn new(options: Options, output: Output, service: Arc<dyn Service>) -> Self {
        let calls = options.in_flight_max;
        Self {
            options,
            output,
            tally: Tally::default(),
            service,
            calls: Semaphore::new(calls),
            control: Semaphore::new(CONTROL_MAX),
            queued: AtomicUsize::new(0),
            table: Mutex::new(Table::new(calls + CONTROL_MAX)),
            news: AtomicU8::new(0),
            driver: Mutex::new(None),
        }
    }

    /// A panic elsewhere must not end the connection: the table is consistent after each statement.
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wire(&self) -> Wire {
        self.options.wire
    }

    /// Tells the driver.
    pub(super) fn tell(&self, news: News) {
        self.news.fetch_or(news as u8, Ordering::AcqRel);
        let waker = self.driver.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What the driver was told since it last asked; from now on, `waker` is woken.
    pub(super) fn hear(&self, waker: &Waker) -> u8 {
        let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if !driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *driver = Some(waker.clone());
        }
        drop(driver);
        self.news.swap(0, Ordering::AcqRel)
    }

    /// Appends a message and sees to it that it is written. The connection ends if the plugin does not read any more.
    pub(super) fn send(&self, length: usize, append: impl FnOnce(&mut Vec<u8>)) -> Result<(), NotAppended> {
        match self.output.send(length, &self.tally, append)? {
            Written::Fine => {}
            Written::WakeDriver => self.tell(News::Look),
            Written::Broken => {
                self.tell(News::Broken);
                return Err(NotAppended::Closed);
            }
        }
        Ok(())
    }

    /// Tells the plugin that an answer is not wanted any more. If it reads nothing and too much waits already, it is not
    /// told: it would not listen.
    pub(super) fn send_cancel(&self, id: u64, correlation_id: &str) {
        let wire = self.wire();
        let _not_reading = self.send(0, |to| append_cancel(to, wire, id, correlation_id));
    }

    /// Ends waiting calls, and tells the plugin.
    pub(super) fn end_calls(&self, why: &CallError, which: impl Fn(std::time::Instant) -> bool) -> usize {
        let mut ended = Vec::new();
        let mut table = self.table();
        table.end(why, which, |id, correlation_id, waker| ended.push((id, correlation_id.to_owned(), waker)));
        drop(table);
        let count = ended.len();
        for (id, correlation_id, waker) in ended {
            self.send_cancel(id, &correlation_id);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        count
    }

    /// Nothing can be called any more; who waits is told. The pipe to the plugin is closed.
    pub(super) fn close(&self) {
        let mut wakers = Vec::new();
        let mut table = self.table();
        table.close();
        table.end(&CallError::Closed, |_| true, |_, _, waker| wakers.extend(waker));
        drop(table);
        self.calls.close();
        self.control.close();
        self.output.close_now();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn fault(&self, kind: FaultKind, line: &[u8]) {
        self.tally.fault(kind);
        if kind != FaultKind::Blank {
            self.service.fault(Fault::new(kind, line));
        }
    }
}
