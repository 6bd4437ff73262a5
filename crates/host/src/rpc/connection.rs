//! The handle with which the host calls its plugin.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ringfence_api::rpc::method;
use ringfence_sandbox::stream;
use serde_json::value::RawValue;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{SemaphorePermit, TryAcquireError};

use super::codec::{Outgoing, append_notification, append_request, check_nesting};
use super::driver::{Closed, Driver};
use super::error::CallError;
use super::fault::Counters;
use super::output::{NotAppended, Output};
use super::service::Service;
use super::shared::{News, Shared};
use super::table::{Calls, Look, Outcome, Waits};
use super::{IN_FLIGHT_MAX, Options};

/// How long a notification waits for room before it is given up.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// What is asked besides calls, and does not wait behind them.
const CONTROL: &[&str] =
    &[method::INITIALIZE, method::INIT, method::PING, method::CONFIG_CHANGED, method::SHUTDOWN];

/// The host's end of the two pipes to a plugin. A handle: cloning it is cheap, and dropping the last one closes both pipes.
///
/// The module's text has an example.
#[derive(Clone, Debug)]
pub struct Connection {
    handle: Arc<Handle>,
}

/// What a call belongs to, and how long it may take.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use ringfence::rpc::CallMeta;
///
/// let meta = CallMeta { correlation_id: "4f2a", deadline: Instant::now() + Duration::from_secs(300) };
/// assert!(meta.deadline > Instant::now());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CallMeta<'a> {
    /// The work that the call is part of, at most 128 bytes; the plugin repeats it in what it asks for meanwhile.
    pub correlation_id: &'a str,
    /// When the call ends with [`CallError::Timeout`], whatever the plugin does. Progress does not move it.
    pub deadline: Instant,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.tell(News::Dropped);
    }
}

impl Connection {
    /// Takes over the pipes: what is written to `to_plugin` is the plugin's stdin, what comes from `from_plugin` its stdout.
    /// Both become non-blocking.
    ///
    /// The future is the driver: it reads, keeps the deadlines and serves the plugin, and ends within 100 ms after the plugin
    /// has closed its stdout, or after the last handle is dropped. The owner spawns it and joins it; without it nothing moves.
    /// When it is dropped, all calls end with [`CallError::Closed`].
    ///
    /// # Errors
    /// When a descriptor is no pipe, or not open for that direction.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time drivers switched on.
    pub fn open(
        to_plugin: OwnedFd,
        from_plugin: OwnedFd,
        options: Options,
        service: Arc<dyn Service>,
    ) -> io::Result<(Self, impl Future<Output = Closed> + Send + use<>)> {
        for pipe in [&to_plugin, &from_plugin] {
            stream::widen(pipe.as_fd());
        }
        let to_plugin = Sender::from_owned_fd(to_plugin)?;
        let from_plugin = Receiver::from_owned_fd(from_plugin)?;
        let mut options = options;
        options.in_flight_max = options.in_flight_max.clamp(1, IN_FLIGHT_MAX);
        let output = Output::new(to_plugin, options.message_max_bytes.saturating_mul(2));
        let shared = Arc::new(Shared::new(options, output, service));
        let driver = Driver::new(Arc::clone(&shared), from_plugin);
        Ok((Self { handle: Arc::new(Handle { shared }) }, driver.drive()))
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Asks the plugin and waits for its answer.
    ///
    /// `params` may stand on several lines; they are written on one.
    ///
    /// # Errors
    /// [`CallError`]. Whatever happens, it comes at the deadline at the latest.
    ///
    /// # Cancel safety
    /// Dropping the future at any time is safe: a request that was written is followed by `$/cancel`, its place is free at
    /// once, and an answer that still comes is counted as late and dropped.
    pub async fn request(
        &self,
        method: &'static str,
        params: &RawValue,
        meta: CallMeta<'_>,
    ) -> Result<Box<RawValue>, CallError> {
        let shared = self.shared();
        let outgoing = Outgoing { method, params, correlation_id: meta.correlation_id, deadline_ms: None };
        shared.judge(outgoing)?;
        let _permit = shared.permit(method, meta.deadline).await?;
        loop {
            let drained = shared.output.drained.notified();
            match shared.begin(outgoing, meta.deadline) {
                Ok(call) => return call.await,
                Err(NotBegun::Failed(error)) => return Err(error),
                Err(NotBegun::NoRoom) => {}
            }
            let is_over = tokio::time::timeout_at(meta.deadline.into(), drained).await.is_err();
            if is_over {
                shared.tally.timeouts.add(1);
                return Err(CallError::Timeout);
            }
        }
    }

    /// Tells the plugin something; there is no answer. Waits at most 5 s for room.
    ///
    /// # Errors
    /// [`CallError`]: `Closed`, `TooLarge`, `TooDeep`, or `Timeout` when the plugin does not read.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing was written.
    pub async fn notify(
        &self,
        method: &'static str,
        params: &RawValue,
        correlation_id: &str,
    ) -> Result<(), CallError> {
        let shared = self.shared();
        let outgoing = Outgoing { method, params, correlation_id, deadline_ms: None };
        shared.judge(outgoing)?;
        let deadline = tokio::time::Instant::now() + NOTIFY_TIMEOUT;
        loop {
            let drained = shared.output.drained.notified();
            let wire = shared.wire();
            match shared.send(outgoing.length_max(), |to| append_notification(to, wire, outgoing)) {
                Ok(()) => return Ok(()),
                Err(NotAppended::Closed) => return Err(CallError::Closed),
                Err(NotAppended::NoRoom) => {}
            }
            tokio::time::timeout_at(deadline, drained).await.map_err(|_| CallError::Timeout)?;
        }
    }

    /// Closes the plugin's stdin once all that waits is written. Calls that are under way may still be answered; new ones end
    /// with [`CallError::Closed`].
    pub fn close_input(&self) {
        self.shared().output.close_when_written();
    }

    /// Ends all calls that wait for an answer with [`CallError::Cancelled`] and tells the plugin. Calls that wait for their
    /// turn go on.
    pub fn cancel_calls(&self) {
        let count = self.shared().end_calls(&CallError::Cancelled, |_| true);
        self.shared().tally.cancelled.add(count);
    }

    /// The owner has seen the process end: what it has written is read without any throttle, then the connection ends,
    /// although another process may still hold the pipe.
    pub fn process_ended(&self) {
        self.shared().tell(News::ProcessEnded);
    }

    /// Whether calls are refused because the plugin has gone away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared().table().is_closed()
    }

    /// How many calls and control requests wait for an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared().table().in_use()
    }

    /// The calls that wait for an answer, and those that ended since this was last asked. A call that was answered before it was
    /// asked last is not among them.
    #[must_use]
    pub fn calls_since_last_asked(&self) -> Calls {
        let mut table = self.shared().table();
        let calls = table.recent_calls();
        table.forget_ended();
        calls
    }

    /// The same, for another look at the same time: what it names, [`Connection::calls_since_last_asked`] will name again.
    #[must_use]
    pub fn recent_calls(&self) -> Calls {
        self.shared().table().recent_calls()
    }

    /// How many calls were given up (timed out, cancelled, dropped) and have not been answered since: what a plugin still
    /// works on although nobody waits for it.
    #[must_use]
    pub fn overdue(&self) -> usize {
        self.shared().table().overdue()
    }

    /// How many calls wait for their turn.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared().queued.load(Ordering::Relaxed)
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared().tally.counters()
    }
}

/// Why a call has not begun.
enum NotBegun {
    /// Too much waits to be written.
    NoRoom,
    Failed(CallError),
}

impl Shared {
    /// Whether a message keeps the limits.
    fn judge(&self, outgoing: Outgoing<'_>) -> Result<(), CallError> {
        check_nesting(outgoing.params.get().as_bytes(), 1).map_err(|_| CallError::TooDeep)?;
        let max_bytes = self.options.message_max_bytes;
        if outgoing.length_max() <= max_bytes {
            return Ok(());
        }
        // Perhaps it fits after all, which only writing it tells.
        let mut whole = Vec::new();
        append_request(
            &mut whole,
            self.wire(),
            u64::MAX,
            Outgoing { deadline_ms: Some(u64::MAX), ..outgoing },
        );
        if whole.len() <= max_bytes { Ok(()) } else { Err(CallError::TooLarge { max_bytes }) }
    }

    /// Waits for a turn.
    async fn permit(&self, method: &str, deadline: Instant) -> Result<SemaphorePermit<'_>, CallError> {
        let is_control = CONTROL.contains(&method);
        let turns = if is_control { &self.control } else { &self.calls };
        match turns.try_acquire() {
            Ok(permit) => return Ok(permit),
            Err(TryAcquireError::Closed) => return Err(CallError::Closed),
            Err(TryAcquireError::NoPermits) => {}
        }
        let queued_max = if is_control { usize::MAX } else { self.options.queued_max };
        let _place = Place::take(&self.queued, queued_max)?;
        match tokio::time::timeout_at(deadline.into(), turns.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(CallError::Closed),
            Err(_) => {
                self.tally.timeouts.add(1);
                Err(CallError::Timeout)
            }
        }
    }

    /// Gives the call an id and writes it. There is no wait in here, so nothing can be dropped half-way.
    fn begin(&self, outgoing: Outgoing<'_>, deadline: Instant) -> Result<Call<'_>, NotBegun> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.tally.timeouts.add(1);
            return Err(NotBegun::Failed(CallError::Timeout));
        }
        let length = outgoing.length_max();
        if !self.output.has_room(length) {
            return Err(NotBegun::NoRoom);
        }
        let deadline_ms = Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let outgoing = Outgoing { deadline_ms, ..outgoing };
        let waits = if CONTROL.contains(&outgoing.method) { Waits::Host } else { Waits::Caller };
        let opened = self.table().open(outgoing.correlation_id, deadline, waits);
        let Some((id, is_earlier)) = opened else { return Err(NotBegun::Failed(CallError::Closed)) };
        if is_earlier {
            self.tell(News::Look);
        }
        let wire = self.wire();
        if let Err(why) = self.send(length, |to| append_request(to, wire, id, outgoing)) {
            self.table().give_up(id);
            return Err(match why {
                NotAppended::NoRoom => NotBegun::NoRoom,
                NotAppended::Closed => NotBegun::Failed(CallError::Closed),
            });
        }
        self.tally.calls.add(1);
        Ok(Call { shared: self, id, is_over: false })
    }
}

/// A call that was written. Dropping it gives the answer up.
struct Call<'a> {
    shared: &'a Shared,
    id: u64,
    is_over: bool,
}

impl Future for Call<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let look = self.shared.table().look(self.id, context.waker());
        match look {
            Look::Pending => Poll::Pending,
            Look::Over(outcome) => {
                self.is_over = true;
                Poll::Ready(outcome)
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let unanswered = self.shared.table().give_up(self.id).map(str::to_owned);
        if let Some(correlation_id) = unanswered {
            self.shared.tally.cancelled.add(1);
            self.shared.send_cancel(self.id, &correlation_id);
        }
    }
}

/// A place in the queue of those who wait for their turn.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(queued: &'a AtomicUsize, queued_max: usize) -> Result<Self, CallError> {
        let taken = queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < queued_max).then_some(count + 1)
        });
        taken.map(|_| Self(queued)).map_err(|_| CallError::Busy { queued_max })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
