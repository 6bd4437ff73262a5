//! The plugin's own requests: a bounded number is served at once, a bounded number waits, and then nothing more is read.
//!
//! Answers go out in the order in which they are ready. A request whose id is still in use is refused, so that an answer is
//! never for two.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ringfence_api::Wire;
use ringfence_api::rpc::{CORRELATION_ID_MAX_BYTES, RpcErrorCode};
use serde_json::value::RawValue;
use tokio::task::{AbortHandle, JoinSet};

use super::codec::{PluginId, Request, append_answer};
use super::error::RpcError;
use super::fault::FaultKind;
use super::service::IncomingRequest;
use super::shared::Shared;
use super::table::Calls;

/// What the envelope of an answer needs at most, its correlation id and that of the request included.
const ENVELOPE_BYTES: usize = 2 * 1024;
/// So many lines that are no messages are answered with an error; later ones are only counted.
const COMPLAINTS_MAX: u32 = 16;

type Served = Result<Box<RawValue>, RpcError>;

#[derive(Debug)]
pub(super) struct Serving {
    running: JoinSet<Served>,
    live: Vec<Live>,
    queue: VecDeque<(PluginId, IncomingRequest)>,
    /// Parameters of all that run or wait.
    held_bytes: usize,
    begun: u64,
    complaints: u32,
    /// Whether something has begun since it was last looked what is ready, so nobody would be woken by its end.
    is_unwatched: bool,
}

/// A request that runs.
#[derive(Debug)]
struct Live {
    id: PluginId,
    correlation_id: String,
    held_bytes: usize,
    task: AbortHandle,
}

impl Serving {
    pub(super) fn new() -> Self {
        Self {
            running: JoinSet::new(),
            live: Vec::new(),
            queue: VecDeque::new(),
            held_bytes: 0,
            begun: 0,
            complaints: 0,
            is_unwatched: false,
        }
    }

    /// Whether no more may be read from the plugin for now. One request always fits, however large.
    pub(super) fn is_full(&self, shared: &Shared) -> bool {
        let options = &shared.options;
        let waits = self.queue.len() >= options.serving_queued_max.max(1) && !self.has_turn(shared);
        waits || self.held_bytes >= options.message_max_bytes.saturating_mul(2)
    }

    fn has_turn(&self, shared: &Shared) -> bool {
        self.live.len() < shared.options.serving_max.max(1)
    }

    /// Takes a request of the plugin.
    pub(super) fn admit(&mut self, shared: &Shared, request: Request<'_>, line: &[u8]) {
        shared.tally.requests.add(1);
        let is_used = self.live.iter().any(|live| live.id == request.id)
            || self.queue.iter().any(|(id, _)| *id == request.id);
        if is_used {
            shared.fault(FaultKind::DuplicateRequest, line);
            return self.complain(shared, None, FaultKind::DuplicateRequest);
        }
        let now = Instant::now();
        let asked = Duration::from_millis(request.deadline_ms.unwrap_or(u64::MAX));
        let claimed = request.correlation_id.filter(|claimed| claimed.len() <= CORRELATION_ID_MAX_BYTES);
        let within = claimed.filter(|claimed| shared.table().has_correlation_id(claimed));
        let within_call = within.is_some();
        let calls = if within_call { Calls::default() } else { shared.table().calls() };
        let correlation_id =
            within.map_or_else(|| self.new_correlation_id(shared), |within| within.into_owned());
        let call = IncomingRequest {
            method: request.method.into_owned(),
            params: request.params.map(ToOwned::to_owned),
            correlation_id,
            within_call,
            calls,
            deadline: now + asked.min(shared.options.service_timeout),
        };
        self.held_bytes += held_bytes(&call);
        self.queue.push_back((request.id, call));
        self.start_waiting(shared);
    }

    fn new_correlation_id(&mut self, shared: &Shared) -> String {
        self.begun += 1;
        format!("{}-{}", shared.options.correlation_prefix, self.begun)
    }

    fn start_waiting(&mut self, shared: &Shared) {
        while self.has_turn(shared)
            && let Some((id, call)) = self.queue.pop_front()
        {
            let held_bytes = held_bytes(&call);
            let correlation_id = call.correlation_id.clone();
            let deadline = call.deadline;
            let serve = shared.service.request(call);
            let task = self.running.spawn(async move {
                tokio::time::timeout_at(deadline.into(), serve).await.unwrap_or_else(|_| {
                    Err(RpcError::new(RpcErrorCode::Timeout, "the deadline of the request has passed"))
                })
            });
            self.is_unwatched = true;
            self.live.push(Live { id, correlation_id, held_bytes, task });
        }
    }

    /// Answers what is ready while there is room for answers. Whether anything was.
    pub(super) fn answer_ready(&mut self, shared: &Shared, context: &mut Context<'_>) -> bool {
        let mut any = false;
        self.is_unwatched = false;
        while !self.running.is_empty() && shared.output.has_room_for_driver() {
            let Poll::Ready(Some(ended)) = self.running.poll_join_next_with_id(context) else { break };
            any = true;
            let (task, served) = match ended {
                Ok((task, served)) => (task, served),
                Err(error) => {
                    let failed =
                        RpcError::new(RpcErrorCode::Internal, "the host has failed; its log says how");
                    (error.id(), Err(failed))
                }
            };
            // What was cancelled has been answered already.
            if let Some(place) = self.live.iter().position(|live| live.task.id() == task) {
                let live = self.live.swap_remove(place);
                self.held_bytes -= live.held_bytes;
                answer(shared, Some(&live.id), served, &live.correlation_id);
            }
            self.start_waiting(shared);
        }
        any
    }

    /// Whether [`Serving::answer_ready`] must be called before the driver may sleep.
    pub(super) fn is_ready_again(&self) -> bool {
        self.is_unwatched
    }

    /// The plugin does not want an answer any more; it gets `cancelled`. An id that is not in use says nothing: the answer
    /// may be on its way.
    pub(super) fn cancel(&mut self, shared: &Shared, id: &PluginId) {
        let correlation_id = if let Some(place) = self.live.iter().position(|live| live.id == *id) {
            let live = self.live.swap_remove(place);
            live.task.abort();
            self.held_bytes -= live.held_bytes;
            live.correlation_id
        } else if let Some(place) = self.queue.iter().position(|(waiting, _)| waiting == id)
            && let Some((_, call)) = self.queue.remove(place)
        {
            self.held_bytes -= held_bytes(&call);
            call.correlation_id
        } else {
            return;
        };
        let error = RpcError::new(RpcErrorCode::Cancelled, "the request was cancelled");
        answer(shared, Some(id), Err(error), &correlation_id);
        self.start_waiting(shared);
    }

    /// Tells the plugin that a line of its is no message: an author who watches the wire sees why nothing happens.
    pub(super) fn complain(&mut self, shared: &Shared, id: Option<&PluginId>, kind: FaultKind) {
        if shared.wire() == Wire::Legacy || (id.is_none() && self.complaints >= COMPLAINTS_MAX) {
            return;
        }
        self.complaints += u32::from(id.is_none());
        let code = if kind.is_syntax() { RpcErrorCode::ParseError } else { RpcErrorCode::InvalidRequest };
        let correlation_id = self.new_correlation_id(shared);
        answer(shared, id, Err(RpcError::new(code, kind.to_string())), &correlation_id);
    }

    /// Ends all that runs, and waits until it has.
    pub(super) async fn end(&mut self) {
        self.queue.clear();
        self.live.clear();
        self.running.shutdown().await;
    }
}

fn held_bytes(call: &IncomingRequest) -> usize {
    call.params.as_ref().map_or(0, |params| params.get().len()) + call.method.len()
}

/// Writes an answer. If the plugin does not read and too much waits, the answer is lost with the connection.
fn answer(shared: &Shared, id: Option<&PluginId>, served: Served, correlation_id: &str) {
    let max_bytes = shared.options.message_max_bytes;
    let too_large = || {
        let message = format!("the answer is longer than a message of {max_bytes} bytes");
        RpcError::new(RpcErrorCode::TooLarge, message)
    };
    let served = match served {
        Ok(result) if result.get().len() + ENVELOPE_BYTES > max_bytes => Err(too_large()),
        Err(error) if error_bytes(&error) + ENVELOPE_BYTES > max_bytes => Err(too_large()),
        served => served,
    };
    let outcome = served.as_deref();
    // Room was asked for before, and only the driver answers; what callers have sent meanwhile may take it, so the answer
    // asks for none. At most one answer for each request that is served stands above the limit.
    let wire = shared.wire();
    let _not_reading = shared.send(0, |to| append_answer(to, wire, id, outcome, correlation_id));
}

fn error_bytes(error: &RpcError) -> usize {
    // Each byte of a message may be escaped with six.
    6 * error.message.len() + error.data.as_ref().map_or(0, |data| data.get().len())
}
