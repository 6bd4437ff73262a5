//! The one task of a connection: it reads, keeps the deadlines, serves the plugin, and writes what callers could not.
//!
//! It takes turns: after a bounded amount of work it lets others run, so that a plugin that floods costs the other tasks of
//! a thread no more than its share.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ringfence_sandbox::stream;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::Sleep;

use super::allowance::Allowance;
use super::codec::Lines;
use super::error::CallError;
use super::fault::{Counters, FaultKind};
use super::inbox::Inbox;
use super::output::Written;
use super::serving::Serving;
use super::shared::{News, Shared};

/// How many times one turn reads.
const READS_PER_TURN: usize = 16;
/// How many lines one turn takes.
const LINES_PER_TURN: usize = 512;
/// How many times one turn answers what is ready and reads on.
const SERVINGS_PER_TURN: usize = 4;
/// How long what a plugin has still to say is waited for, after it stopped reading or its process ended.
const GRACE: Duration = Duration::from_millis(50);
/// While reading is put off, it is looked so often whether the plugin is still there and may go on.
const PAUSE: Duration = Duration::from_millis(10);
/// When no deadline is near.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// How a connection ended.
///
/// ```
/// use ringfence::rpc::{CloseReason, Closed};
///
/// fn is_crash(closed: &Closed) -> bool {
///     closed.reason != CloseReason::HostClosed
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub reason: CloseReason,
    /// What happened until then.
    pub counters: Counters,
}

/// Why a connection ended.
///
/// ```
/// assert_ne!(ringfence::rpc::CloseReason::OutputClosed, ringfence::rpc::CloseReason::HostClosed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The plugin has closed its stdout, as it does when it exits.
    OutputClosed,
    /// The plugin has closed its stdin and so could not be asked any more.
    InputClosed,
    /// The owner has seen the process end.
    ProcessEnded,
    /// The last handle was dropped.
    HostClosed,
    /// The pipe could not be read.
    ReadFailed(io::ErrorKind),
}

/// What a turn came to.
enum Turn {
    /// Others may run now; then there is more to do.
    Again,
    Over(CloseReason),
}

type Room = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Driver {
    shared: Arc<Shared>,
    from_plugin: Receiver,
    lines: Lines,
    inbox: Inbox,
    /// While the pipe to the plugin is full.
    room: Option<Room>,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Instant>,
    /// Nothing more is read before.
    paused_until: Option<Instant>,
    /// The connection ends then at the latest.
    ends: Option<(Instant, CloseReason)>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, from_plugin: Receiver) -> Self {
        let lines = Lines::new(shared.options.message_max_bytes);
        let now = Instant::now();
        let allowance = Allowance::new(shared.options.notifications_per_second, now);
        let requests = Allowance::new(shared.options.requests_per_second, now);
        Self {
            shared,
            from_plugin,
            lines,
            inbox: Inbox {
                serving: Serving::new(),
                allowance,
                requests,
                wakers: Vec::new(),
                skipped_bytes: 0,
            },
            room: None,
            timer: Box::pin(tokio::time::sleep(FAR)),
            timer_at: None,
            paused_until: None,
            ends: None,
        }
    }

    pub(super) async fn drive(mut self) -> Closed {
        let reason = loop {
            match poll_fn(|context| self.turn(context)).await {
                Turn::Again => tokio::task::yield_now().await,
                Turn::Over(reason) => break reason,
            }
        };
        if self.lines.is_within_line() && reason != CloseReason::HostClosed {
            self.shared.fault(FaultKind::Partial, self.lines.rest_of_input());
        }
        self.shared.close();
        self.inbox.serving.end().await;
        Closed { reason, counters: self.shared.tally.counters() }
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        let news = self.shared.hear(context.waker());
        if news & News::Dropped as u8 != 0 {
            return Poll::Ready(Turn::Over(CloseReason::HostClosed));
        }
        for (told, reason) in
            [(News::ProcessEnded, CloseReason::ProcessEnded), (News::Broken, CloseReason::InputClosed)]
        {
            if news & told as u8 != 0 && self.ends.is_none() {
                self.ends = Some((Instant::now() + GRACE, reason));
            }
        }
        self.write(context);
        let mut read = self.read(context);
        // What was asked just now may be ready, and answering it may make room for what was not read.
        for _ in 0..SERVINGS_PER_TURN {
            let is_over = matches!(read, Poll::Ready(Turn::Over(_)));
            if is_over || !self.inbox.serving.answer_ready(&self.shared, context) {
                break;
            }
            self.write(context);
            if read.is_pending() {
                read = self.read(context);
            }
        }
        match read {
            Poll::Ready(Turn::Over(reason)) => Poll::Ready(Turn::Over(reason)),
            _ if self.keep_time(context) => Poll::Ready(self.after_time()),
            Poll::Pending if self.inbox.serving.is_ready_again() => Poll::Ready(Turn::Again),
            read => read,
        }
    }

    /// Writes what waits: what was held back for the end of the last turn, and what did not fit before.
    fn write(&mut self, context: &mut Context<'_>) {
        if self.shared.output.end_hold(&self.shared.tally) == Written::Broken {
            return self.shared.tell(News::Broken);
        }
        loop {
            if self.room.is_none() {
                self.room = self.shared.output.waits_for_room().map(wait_for_room);
            }
            let Some(room) = &mut self.room else { return };
            if room.as_mut().poll(context).is_pending() {
                return;
            }
            self.room = None;
            match self.shared.output.flush(&self.shared.tally) {
                Written::WakeDriver => {}
                Written::Fine => return,
                Written::Broken => return self.shared.tell(News::Broken),
            }
        }
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        for _ in 0..READS_PER_TURN {
            match self.take_lines() {
                Taken::All => {}
                Taken::Burst => return Poll::Ready(Turn::Again),
                Taken::Pause => return self.pause(),
            }
            match self.read_once(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Turn::Over(CloseReason::OutputClosed)),
                Poll::Ready(Ok(count)) => {
                    self.lines.filled(count);
                    self.lines.rest();
                    self.shared.tally.read_bytes.add(count);
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Turn::Over(CloseReason::ReadFailed(error.kind())));
                }
                // When the process has ended, what it has written is there, and nothing more will come.
                Poll::Pending => match self.ends {
                    Some((_, CloseReason::ProcessEnded)) => {
                        return Poll::Ready(Turn::Over(CloseReason::ProcessEnded));
                    }
                    _ => return Poll::Pending,
                },
            }
        }
        Poll::Ready(Turn::Again)
    }

    fn read_once(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(self.lines.space());
        if let Poll::Ready(read) = Pin::new(&mut self.from_plugin).poll_read(context, &mut space) {
            return Poll::Ready(read.map(|()| space.filled().len()));
        }
        if !matches!(self.ends, Some((_, CloseReason::ProcessEnded))) {
            return Poll::Pending;
        }
        // What the process wrote last may not have been announced yet.
        match stream::read_now(self.from_plugin.as_fd(), self.lines.space()) {
            Ok(Some(count)) => Poll::Ready(Ok(count)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Hands out the lines that are there.
    fn take_lines(&mut self) -> Taken {
        let shared = &*self.shared;
        let is_ending = self.ends.is_some();
        let mut taken = Taken::All;
        for count in 0.. {
            if count == LINES_PER_TURN {
                taken = Taken::Burst;
                break;
            }
            if !is_ending && !self.inbox.may_take(shared) {
                taken = Taken::Pause;
                break;
            }
            let Some(line) = self.lines.next() else { break };
            self.inbox.take(shared, line);
        }
        self.inbox.charge_skipped(&self.lines);
        let answers = self.inbox.wakers.len();
        if answers > 1 {
            // Their next requests shall go out together: after they have run, in the next turn.
            shared.output.hold();
            // Nothing may put that turn off, so a pause has to wait for it.
            taken = Taken::Burst;
        }
        self.inbox.wakers.drain(..).for_each(Waker::wake);
        taken
    }

    /// Puts off reading; unless nobody is left whom that would throttle, and what is there is the last.
    fn pause(&mut self) -> Poll<Turn> {
        let now = Instant::now();
        let has_hung_up = stream::has_hung_up(self.from_plugin.as_fd()).unwrap_or(true);
        if has_hung_up {
            self.ends = Some((now + GRACE, CloseReason::OutputClosed));
            return Poll::Ready(Turn::Again);
        }
        if self.paused_until.is_none() {
            self.shared.tally.pauses.add(1);
        }
        self.paused_until = Some(now + PAUSE);
        Poll::Pending
    }

    /// Waits for the next deadline. Whether it has passed.
    fn keep_time(&mut self, context: &mut Context<'_>) -> bool {
        let ends = self.ends.map(|(at, _)| at);
        let next = [self.shared.table().armed(), self.paused_until, ends].into_iter().flatten().min();
        let Some(next) = next else {
            self.timer_at = None;
            return false;
        };
        if self.timer_at != Some(next) {
            self.timer.as_mut().reset(next.into());
            self.timer_at = Some(next);
        }
        self.timer.as_mut().poll(context).is_ready()
    }

    /// Ends what is due.
    fn after_time(&mut self) -> Turn {
        self.timer_at = None;
        let now = Instant::now();
        if let Some((at, reason)) = self.ends
            && at <= now
        {
            return Turn::Over(reason);
        }
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        let is_due = self.shared.table().armed().is_some_and(|armed| armed <= now);
        if is_due {
            let count = self.shared.end_calls(&CallError::Timeout, |deadline| deadline <= now);
            self.shared.tally.timeouts.add(count);
            self.shared.table().arm_again();
        }
        Turn::Again
    }
}

/// Ready when there may be room in the pipe, or nobody reads it any more; writing tells which.
fn wait_for_room(pipe: Arc<Sender>) -> Room {
    Box::pin(async move { drop(pipe.writable().await) })
}

/// What became of the lines that were there.
enum Taken {
    All,
    /// There may be more, or callers have much to say: let them run first.
    Burst,
    /// The plugin has sent too much.
    Pause,
}
