//! Ends a statement: at its deadline, when nobody waits for it any more, and when its temporary files grow too large.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, InterruptHandle};

use crate::database::Fault;

/// What all statements of plugins together may have in temporary files, in bytes.
pub(crate) const TEMPORARY_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// How often the temporary files are counted.
const COUNT_EVERY: Duration = Duration::from_millis(50);
/// How SQLite names them. They are deleted as soon as they are open, so only the descriptors show them.
const TEMPORARY_PREFIX: &str = "etilqs_";

const RUNNING: u8 = 0;
const STOPPED: u8 = 1;
const TOO_LARGE: u8 = 2;

/// Watches one statement.
pub(super) struct Watch {
    deadline: Instant,
    temporary_max_bytes: u64,
    state: AtomicU8,
    handle: Mutex<Option<InterruptHandle>>,
}

/// Stops the statement when its future is dropped.
pub(super) struct StopWhenDropped(pub(super) Arc<Watch>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Watch {
    pub(super) fn new(deadline: Instant, temporary_max_bytes: u64) -> Self {
        Self { deadline, temporary_max_bytes, state: AtomicU8::new(RUNNING), handle: Mutex::new(None) }
    }

    /// How long it may still take.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Ends what runs now, and what would be begun later.
    pub(super) fn stop(&self) {
        let _already = self.state.compare_exchange(RUNNING, STOPPED, Ordering::Relaxed, Ordering::Relaxed);
        if let Some(handle) = &*self.handle.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }

    /// Why it was ended, if it was.
    pub(super) fn why_stopped(&self) -> Option<Fault> {
        match self.state.load(Ordering::Relaxed) {
            RUNNING => None,
            TOO_LARGE => Some(Fault::TooLarge(format!(
                "the statement needs more than {} bytes of temporary files",
                self.temporary_max_bytes
            ))),
            _ => Some(Fault::Timeout),
        }
    }

    /// Watches everything that this connection runs from now on.
    pub(super) fn over(self: &Arc<Self>, connection: &Connection, steps: i32) -> rusqlite::Result<()> {
        let handle = connection.get_interrupt_handle();
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        let watch = Arc::clone(self);
        let mut count_at = Instant::now() + COUNT_EVERY;
        connection.progress_handler(
            steps,
            Some(move || {
                let now = Instant::now();
                if now >= count_at {
                    count_at = now + COUNT_EVERY;
                    if temporary_bytes() > watch.temporary_max_bytes {
                        watch.state.store(TOO_LARGE, Ordering::Relaxed);
                    }
                }
                if now >= watch.deadline {
                    let _already =
                        watch.state.compare_exchange(RUNNING, STOPPED, Ordering::Relaxed, Ordering::Relaxed);
                }
                watch.state.load(Ordering::Relaxed) != RUNNING
            }),
        )
    }
}

/// What SQLite has in temporary files in this process. Without `/proc` it is 0, and only the time limits them.
fn temporary_bytes() -> u64 {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    descriptors
        .filter_map(Result::ok)
        .filter(|entry| {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            target.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY_PREFIX))
        })
        .filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .map(|found| found.len())
        .sum()
}
