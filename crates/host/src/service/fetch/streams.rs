//! The streams that one run of a plugin has open, and what it may ask of them.
//!
//! They belong to the run, not to the call that opened them: a plugin may read on in a later call, and whatever it forgets ends
//! after [`UNREAD_MAX`]. When its process has ended, so have they, and nothing can be opened any more. Another plugin, or a later
//! run of the same one, has a table of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfence_api::ErrorCode;
use ringfence_api::rpc::RpcErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::stream::{Ask, Bounds, Piece, Source, busy};
use super::{ENDING, invalid, text_or_base64};
use crate::rpc::RpcError;
use crate::service::asking::{self, Asking, answer};

/// Streams that one plugin has open at most.
pub(crate) const STREAMS_MAX: usize = 8;
/// The largest piece in bytes.
pub(crate) const PIECE_MAX_BYTES: usize = 64 * 1024;
/// The largest body of a stream in bytes: 1 GiB. The host holds no more of it than a few pieces.
pub(crate) const STREAM_MAX_BYTES: usize = 1024 * 1024 * 1024;
/// How long nobody may read from a stream before it is closed.
pub(crate) const UNREAD_MAX: Duration = Duration::from_secs(60);
/// How long a stream may be open.
pub(crate) const LIFE_MAX: Duration = Duration::from_secs(3_600);
/// How long a read waits for the one before it, which may just have been given up. Then it is refused, so that reads which wait
/// for one server leave turns to what else the plugin asks.
const TURN_WAIT: Duration = Duration::from_secs(1);
/// Random bytes of an id.
const ID_BYTES: usize = 16;

/// All streams of one run.
#[derive(Debug)]
pub(in crate::service) struct Streams {
    table: Mutex<Table>,
    turns: Arc<Semaphore>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { table: Mutex::default(), turns: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }
}

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<String, Open>,
    /// Whether the plugin has ended.
    is_over: bool,
}

#[derive(Debug)]
struct Open {
    asks: mpsc::Sender<Ask>,
    /// Held by the read that waits.
    reading: Arc<Semaphore>,
    /// The task that owns the connection.
    owner: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.owner.abort();
    }
}

impl Streams {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that runs under the lock leaves the table half-made.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more stream, before anything is sent for it.
    ///
    /// # Errors
    /// `busy` when [`STREAMS_MAX`] are open.
    pub(super) fn turn(&self) -> Result<OwnedSemaphorePermit, RpcError> {
        Arc::clone(&self.turns).try_acquire_owned().map_err(|_| {
            let message = format!(
                "{STREAMS_MAX} streams of this plugin are open, which is the most at once; read one to its end or close it"
            );
            RpcError::new(RpcErrorCode::Busy, message)
        })
    }

    /// Keeps a stream until it ends; its id, which nobody can guess.
    ///
    /// # Errors
    /// `cancelled` when the plugin has ended, `internal` without random numbers. The connection is closed then.
    pub(super) fn keep(self: &Arc<Self>, source: Source) -> Result<String, RpcError> {
        let mut bytes = [0; ID_BYTES];
        ringfence_sandbox::tree::random(&mut bytes).map_err(|error| {
            let message = format!("there are no random numbers for a stream: {error}");
            RpcError::new(RpcErrorCode::Internal, message)
        })?;
        let id = crate::store::hex(&bytes);
        let mut table = self.table();
        if table.is_over {
            return Err(RpcError::new(RpcErrorCode::Cancelled, "the plugin has ended"));
        }
        let (asks, asked) = mpsc::channel(1);
        let (streams, own) = (Arc::downgrade(self), id.clone());
        // Ended by `Open`, at its own end or with the plugin. It cannot look for itself before it is in the table.
        let owner = tokio::spawn(async move {
            source.tend(asked).await;
            if let Some(streams) = streams.upgrade() {
                streams.table().open.remove(&own);
            }
        });
        table.open.insert(id.clone(), Open { asks, reading: Arc::new(Semaphore::new(1)), owner });
        Ok(id)
    }

    fn find(&self, id: &str) -> Option<(mpsc::Sender<Ask>, Arc<Semaphore>)> {
        self.table().open.get(id).map(|open| (open.asks.clone(), Arc::clone(&open.reading)))
    }

    /// Closes all, and waits until they are; nothing is opened afterwards.
    ///
    /// Cancel safe: what was not waited for ends all the same.
    pub(in crate::service) async fn end(&self) {
        let open = {
            let mut table = self.table();
            table.is_over = true;
            std::mem::take(&mut table.open)
        };
        for open in open.values() {
            open.owner.abort();
        }
        for (_, mut open) in open {
            // It was aborted, which is what its error says.
            let _ended = (&mut open.owner).await;
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadParams {
    stream: String,
    #[serde(default)]
    max_bytes: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseParams {
    stream: String,
}

#[derive(Serialize)]
struct Read {
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    offset: usize,
    done: bool,
}

/// Gives the next piece of a stream of this plugin. It stands in no record of its own: the stream has one at its beginning and one
/// at its end.
pub(in crate::service) async fn read(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let ReadParams { stream, max_bytes } = asking.params()?;
    let max_bytes = max_bytes.unwrap_or(PIECE_MAX_BYTES).min(PIECE_MAX_BYTES);
    if max_bytes == 0 {
        return Err(invalid("max_bytes is at least 1"));
    }
    let unknown = || not_there(&asking, &stream);
    let (asks, reading) = asking.room.streams.find(&stream).ok_or_else(unknown)?;
    let deadline = asking.call.deadline.checked_sub(ENDING).unwrap_or(asking.call.deadline);
    let Ok(Ok(_turn)) = tokio::time::timeout(TURN_WAIT, reading.acquire()).await else {
        return Err(busy());
    };
    let (reply, mut answered) = oneshot::channel();
    asks.send(Ask::Piece { max_bytes, reply }).await.map_err(|_| unknown())?;
    let piece = match tokio::time::timeout_at(deadline.into(), &mut answered).await {
        Ok(piece) => piece.map_err(|_| unknown())??,
        Err(_) => {
            // What comes from now on stays for the next read; what came in this moment is the answer.
            answered.close();
            answered.try_recv().map_err(|_| {
                let message =
                    "the server has sent nothing before the deadline of this read; the stream is still open";
                RpcError::new(RpcErrorCode::Timeout, message)
            })??
        }
    };
    let Piece { bytes, offset, done } = piece;
    let (body, body_base64) = text_or_base64(bytes.into());
    answer(&Read { body, body_base64, offset, done })
}

/// Ends a stream of this plugin; whether there was one.
pub(in crate::service) async fn close(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let CloseParams { stream } = asking.params()?;
    let (done, is_closed) = oneshot::channel();
    let closed = match asking.room.streams.find(&stream) {
        Some((asks, _)) => asks.send(Ask::Close(done)).await.is_ok() && is_closed.await.is_ok(),
        None => false,
    };
    answer(&json!({ "closed": closed }))
}

fn not_there(asking: &Asking<'_>, id: &str) -> RpcError {
    let shown = crate::consent::shown(id);
    let message = format!(
        "there is no stream '{shown}': it was read to its end, was closed, or is not of this run of this plugin; fetch anew"
    );
    let about = (asking.call.method.as_str(), shown.as_str());
    asking::failed(RpcErrorCode::InvalidParams, ErrorCode::NotFound.as_str(), message, about)
}

impl Bounds {
    /// Those of a stream of which the plugin wants at most so many bytes.
    pub(super) fn of(max_bytes: Option<usize>) -> Self {
        let max_bytes = max_bytes.unwrap_or(STREAM_MAX_BYTES).min(STREAM_MAX_BYTES);
        Self { max_bytes, unread: UNREAD_MAX, life: LIFE_MAX }
    }
}
