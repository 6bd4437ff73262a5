//! A run on a thread of its own, for applications: listen to it, wait for it, await it, cancel it.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use ringfence_api::ErrorCode;

use crate::error::Error;
use crate::exec::request::Exec;
use crate::exec::run::{Captured, Sink};
use crate::exec::{Listeners, Receiver, Stream};

/// The signal number that a cancelled run reports: as if it had been asked to end.
const SIGTERM: i32 = 15;
/// See [`Run::kill`].
const SIGKILL: i32 = 9;

/// A run in progress on a thread of its own. It is a future of its result, for any async runtime, and can be waited for
/// without one.
///
/// Dropping it cancels the run: everything inside ends by the stop ladder, and the thread ends by itself.
///
/// # Cancel safety
/// The future holds nothing: polling it again after it was left alone goes on where it was.
///
/// ```no_run
/// use ringfence::exec::{Event, Exec};
///
/// let run = Exec::new(["ls", "/usr"]).spawn()?;
/// let live = run.listen(64);
/// while let Some(event) = live.recv() {
///     if let Event::Output { bytes, .. } = event {
///         print!("{}", String::from_utf8_lossy(&bytes));
///     }
/// }
/// assert_eq!(run.wait().report.exit_code, Some(0));
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Debug)]
pub struct Run {
    listeners: Listeners,
    shared: Arc<Shared>,
    /// Dropping it makes the other end readable: the sign to cancel.
    cancel: Option<io::PipeWriter>,
    /// A byte in it is the sign to kill.
    kill: Option<io::PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Captured>,
    ended: bool,
    waker: Option<Waker>,
}

impl Exec {
    /// Starts the run on a thread of its own, with nobody listening yet: see [`Exec::spawn_with`] for those who must not miss
    /// the beginning.
    ///
    /// # Errors
    /// `io` when no thread or pipe can be had. What goes wrong later is in the report.
    pub fn spawn(&self) -> Result<Run, Error> {
        self.spawn_with(Listeners::new())
    }

    /// As [`Exec::spawn`], for `listeners` that were subscribed before: they get everything from the beginning.
    ///
    /// ```no_run
    /// use ringfence::exec::{Exec, Listeners};
    ///
    /// let listeners = Listeners::new();
    /// let live = listeners.subscribe(1024);
    /// let run = Exec::new(["ls", "/usr"]).spawn_with(listeners)?;
    /// for event in live {
    ///     println!("{event:?}");
    /// }
    /// assert_eq!(run.wait().report.exit_code, Some(0));
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Exec::spawn`].
    pub fn spawn_with(&self, listeners: Listeners) -> Result<Run, Error> {
        let failed = |what: &str, error| {
            Error::new(ErrorCode::Io, format!("cannot have {what} for the run")).with_source(error)
        };
        let (cancelled, cancel) = io::pipe().map_err(|error| failed("a pipe", error))?;
        let (killed, kill) = io::pipe().map_err(|error| failed("a pipe", error))?;
        let shared = Arc::new(Shared::default());
        let exec = self.clone();
        let end = End { shared: Arc::clone(&shared), listeners: listeners.clone() };
        let body = move || {
            let mut sink = Collector {
                captured: Vec::new(),
                errors: Vec::new(),
                cancelled: Some(cancelled),
                killed: Some(killed),
            };
            let outcome = exec.run(&mut sink, &end.listeners);
            end.shared.finish(Captured {
                report: outcome.report,
                stdout: sink.captured,
                stderr: sink.errors,
            });
        };
        let thread = std::thread::Builder::new()
            .name("ringfence-run".into())
            .spawn(body)
            .map_err(|error| failed("a thread", error))?;
        Ok(Run { listeners, shared, cancel: Some(cancel), kill: Some(kill), thread: Some(thread) })
    }
}

impl Run {
    /// Live events from now on; `capacity` of them are kept for a listener that is slow.
    #[must_use]
    pub fn listen(&self, capacity: usize) -> Receiver {
        self.listeners.subscribe(capacity)
    }

    /// Asks the run to end: SIGTERM at once, SIGKILL 3 s later. Returns at once.
    pub fn cancel(&mut self) {
        self.cancel = None;
    }

    /// Ends the run: SIGKILL to everything inside, at once. Returns at once.
    pub fn kill(&mut self) {
        use std::io::Write as _;
        self.cancel = None;
        if let Some(mut kill) = self.kill.take() {
            // Nobody reads when it has ended.
            let _ended = kill.write_all(&[1]);
        }
    }

    /// Waits for the end.
    #[must_use]
    pub fn wait(mut self) -> Captured {
        if let Some(thread) = self.thread.take() {
            // A panic of the thread leaves no result, which is answered below.
            let _panicked = thread.join();
        }
        let result = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).result.take();
        result.unwrap_or_else(lost)
    }
}

fn lost() -> Captured {
    let error = Error::new(ErrorCode::Internal, "the thread of the run was lost");
    Captured {
        report: ringfence_api::RunReport::not_started(error.to_body()),
        stdout: Vec::new(),
        stderr: Vec::new(),
    }
}

impl Future for Run {
    type Output = Captured;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Captured> {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return Poll::Ready(state.result.take().unwrap_or_else(lost));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Shared {
    fn finish(&self, captured: Captured) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).result = Some(captured);
        self.end();
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        let waker = state.waker.take();
        // A waker may poll at once, on this thread: not with the lock held.
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Ends the wait of everybody, however the thread ends: a panic must not leave a future pending for ever.
struct End {
    shared: Arc<Shared>,
    listeners: Listeners,
}

impl Drop for End {
    fn drop(&mut self) {
        self.listeners.end();
        self.shared.end();
    }
}

struct Collector {
    captured: Vec<u8>,
    errors: Vec<u8>,
    /// Until it has said so once: its other end stays closed, and would be taken for a second wish.
    cancelled: Option<io::PipeReader>,
    /// The second wish, which is there only if something can be read.
    killed: Option<io::PipeReader>,
}

impl Sink for Collector {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        match stream {
            Stream::Stdout => self.captured.extend_from_slice(bytes),
            Stream::Stderr => self.errors.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn descriptor(&self, _stream: Stream) -> Option<BorrowedFd<'_>> {
        None
    }

    fn cancellation(&self) -> Option<BorrowedFd<'_>> {
        self.cancelled.as_ref().or(self.killed.as_ref()).map(AsFd::as_fd)
    }

    fn cancelled(&mut self) -> Option<i32> {
        use std::io::Read as _;
        if self.cancelled.take().is_some() {
            return Some(SIGTERM);
        }
        // Closed without a byte: the run was dropped, and ends as it was told to.
        let mut wish = [0];
        let wished =
            self.killed.take().is_some_and(|mut killed| killed.read(&mut wish).is_ok_and(|read| read > 0));
        wished.then_some(SIGKILL)
    }
}
