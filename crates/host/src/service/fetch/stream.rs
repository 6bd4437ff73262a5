//! One body that a plugin reads piece by piece, and the task that owns its connection.
//!
//! Nothing is read from the server before the plugin asks for a piece, but what the connection has in its buffer: a plugin that
//! does not read makes its server wait, and nobody else. A piece is given once, in order; what was asked for and not taken stays.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use ringfence_api::rpc::RpcErrorCode;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::dial::Connected;
use super::{Act, failed, too_large};
use crate::rpc::RpcError;
use crate::store::{AuditEvent, Outcome};

/// How much one stream may give, and how long it may stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of the body that are given at most.
    pub(super) max_bytes: usize,
    /// How long nobody may read.
    pub(super) unread: Duration,
    /// How long it may be open at all.
    pub(super) life: Duration,
}

/// What is asked of an open stream.
#[derive(Debug)]
pub(super) enum Ask {
    /// The next piece, of so many bytes at most.
    Piece { max_bytes: usize, reply: Reply },
    /// That it ends. It is answered when the connection is let go.
    Close(oneshot::Sender<()>),
}

/// Where a piece goes.
pub(super) type Reply = oneshot::Sender<Result<Piece, RpcError>>;

/// Some of a body.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// Bytes of the body before this piece.
    pub(super) offset: usize,
    /// Whether nothing comes after it.
    pub(super) done: bool,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Read,
    Closed,
    Unread,
    Expired,
    TooLarge,
    Failed,
    /// The plugin has ended.
    Stopped,
}

impl How {
    /// The word in the audit trail, and how the fetch counts.
    const fn told(self) -> (&'static str, Outcome) {
        match self {
            Self::Read => ("read", Outcome::Ok),
            Self::Closed => ("closed", Outcome::Ok),
            Self::Unread => ("unread", Outcome::Timeout),
            Self::Expired => ("timeout", Outcome::Timeout),
            Self::TooLarge => ("too_large", Outcome::Failed),
            Self::Failed => ("failed", Outcome::Failed),
            Self::Stopped => ("stopped", Outcome::Cancelled),
        }
    }
}

/// What the audit trail hears when this is dropped, however the stream ends.
#[derive(Debug)]
struct Record {
    act: Act,
    object: String,
    given: usize,
    how: How,
}

impl Drop for Record {
    fn drop(&mut self) {
        let (how, outcome) = self.how.told();
        self.act.outcome = outcome;
        self.act.tell(AuditEvent::StreamEnd {
            object: std::mem::take(&mut self.object),
            bytes: u64::try_from(self.given).unwrap_or(u64::MAX),
            how: how.to_owned(),
        });
    }
}

/// An answer whose body has not been read.
#[derive(Debug)]
pub(super) struct Source {
    body: Incoming,
    bounds: Bounds,
    until: Instant,
    /// What came and was not given yet.
    pending: Bytes,
    /// Whether more came than may be given.
    is_cut: bool,
    is_over: bool,
    record: Record,
    _connected: Connected,
    /// One of the streams that the plugin may have open.
    _turn: OwnedSemaphorePermit,
}

/// What came of waiting for the server.
enum Waited {
    /// There is something, or nothing more comes.
    Ready,
    /// Nobody waits for it any more.
    GivenUp,
    Closed(oneshot::Sender<()>),
    Failed(RpcError),
}

enum End {
    /// Whoever must know has been told.
    Told,
    Closed(oneshot::Sender<()>),
    /// The next to ask must be told.
    Failed(RpcError),
}

/// A stream has one reader at a time.
pub(super) fn busy() -> RpcError {
    let message = "another read of this stream waits; wait for its answer, or cancel it";
    RpcError::new(RpcErrorCode::Busy, message)
}

impl Source {
    /// `act` is the fetch, which ends with the stream; `object` what it was about.
    pub(super) fn new(
        (body, connected): (Incoming, Connected),
        (act, object): (Act, String),
        turn: OwnedSemaphorePermit,
        bounds: Bounds,
    ) -> Self {
        Self {
            body,
            bounds,
            until: Instant::now() + bounds.life,
            pending: Bytes::new(),
            is_cut: false,
            is_over: false,
            record: Record { act, object, given: 0, how: How::Stopped },
            _connected: connected,
            _turn: turn,
        }
    }

    /// Serves until the body was read, closed, or may stay no longer. Who reads after a failure is told why, for as long as a
    /// stream may be left alone.
    ///
    /// Cancel safe: dropped, the connection is closed and the end recorded.
    pub(super) async fn tend(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut why = match self.serve(&mut asks).await {
            End::Told => return,
            End::Closed(done) => {
                drop(self);
                // Who has asked may be gone.
                let _gone = done.send(());
                return;
            }
            End::Failed(why) => why,
        };
        let linger = self.bounds.unread;
        drop(self);
        while let Ok(Some(ask)) = tokio::time::timeout(linger, asks.recv()).await {
            match ask {
                Ask::Piece { reply, .. } => match reply.send(Err(why)) {
                    Err(Err(unheard)) => why = unheard,
                    Ok(()) | Err(Ok(_)) => return,
                },
                Ask::Close(done) => {
                    let _gone = done.send(());
                    return;
                }
            }
        }
    }

    async fn serve(&mut self, asks: &mut mpsc::Receiver<Ask>) -> End {
        loop {
            let patience = self.until.min(Instant::now() + self.bounds.unread);
            let (max_bytes, mut reply) = match tokio::time::timeout_at(patience.into(), asks.recv()).await {
                Ok(Some(Ask::Piece { max_bytes, reply })) => (max_bytes, reply),
                Ok(Some(Ask::Close(done))) => return self.closed(done),
                Ok(None) => return End::Told,
                Err(_) => return End::Failed(self.late()),
            };
            match self.wait(asks, &mut reply).await {
                Waited::Ready => {}
                Waited::GivenUp => continue,
                // The reader hears that there is no such stream any more.
                Waited::Closed(done) => return self.closed(done),
                Waited::Failed(why) => {
                    return match reply.send(Err(why)) {
                        Err(Err(unheard)) => End::Failed(unheard),
                        Ok(()) | Err(Ok(_)) => End::Told,
                    };
                }
            }
            if self.give(max_bytes, reply) {
                self.record.how = How::Read;
                return End::Told;
            }
        }
    }

    /// Waits until there is something to give. Nothing that came is lost, however this ends.
    async fn wait(&mut self, asks: &mut mpsc::Receiver<Ask>, reply: &mut Reply) -> Waited {
        loop {
            if !self.pending.is_empty() {
                return Waited::Ready;
            }
            if self.is_cut {
                self.record.how = How::TooLarge;
                return Waited::Failed(too_large(self.bounds.max_bytes));
            }
            if self.has_ended() {
                return Waited::Ready;
            }
            tokio::select! {
                biased;
                () = reply.closed() => return Waited::GivenUp,
                ask = asks.recv() => match ask {
                    Some(Ask::Close(done)) => return Waited::Closed(done),
                    Some(Ask::Piece { reply: second, .. }) => {
                        let _gone = second.send(Err(busy()));
                    }
                    None => return Waited::GivenUp,
                },
                () = tokio::time::sleep_until(self.until.into()) => return Waited::Failed(self.late()),
                frame = self.body.frame() => match frame {
                    None => self.is_over = true,
                    // Trailers are read, bounded by hyper, and dropped.
                    Some(Ok(frame)) => if let Ok(data) = frame.into_data() { self.take(data) },
                    Some(Err(error)) => {
                        self.record.how = How::Failed;
                        return Waited::Failed(failed(&super::dial::told(&error)));
                    }
                },
            }
        }
    }

    fn take(&mut self, mut data: Bytes) {
        let left = self.bounds.max_bytes.saturating_sub(self.record.given);
        self.is_cut = data.len() > left;
        data.truncate(left);
        self.pending = data;
    }

    fn has_ended(&self) -> bool {
        self.pending.is_empty() && !self.is_cut && (self.is_over || self.body.is_end_stream())
    }

    /// Gives a piece; whether it was the last one. One that nobody takes stays.
    fn give(&mut self, max_bytes: usize, reply: Reply) -> bool {
        let before = self.pending.clone();
        let bytes = self.pending.split_to(max_bytes.min(before.len()));
        let (length, done) = (bytes.len(), self.has_ended());
        if reply.send(Ok(Piece { bytes, offset: self.record.given, done })).is_err() {
            self.pending = before;
            return false;
        }
        self.record.given += length;
        done
    }

    fn closed(&mut self, done: oneshot::Sender<()>) -> End {
        self.record.how = How::Closed;
        End::Closed(done)
    }

    /// It was left alone, or open, for too long.
    fn late(&mut self) -> RpcError {
        let why = if Instant::now() >= self.until {
            self.record.how = How::Expired;
            let seconds = self.bounds.life.as_secs();
            format!(
                "the stream was closed: it was open for {seconds} s, which is the most; fetch what is missing anew"
            )
        } else {
            self.record.how = How::Unread;
            let seconds = self.bounds.unread.as_secs();
            format!(
                "the stream was closed: nobody has read from it for {seconds} s; fetch anew, and read or close it sooner"
            )
        };
        RpcError::new(RpcErrorCode::Timeout, why)
    }
}
