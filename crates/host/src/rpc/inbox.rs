//! What each line from the plugin leads to.

use std::task::Waker;

use ringfence_api::rpc::method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::allowance::Allowance;
use super::codec::{
    Answer, BadLine, Line, Lines, Message, Notification, PluginId, guess_answer, object, parse,
};
use super::error::{CallError, RpcError};
use super::fault::FaultKind;
use super::service::IncomingNotification;
use super::serving::Serving;
use super::shared::Shared;
use super::table::Outcome;

/// So many skipped bytes count as one bad line.
const SKIPPED_BYTES_PER_LINE: u64 = 64 * 1024;

pub(super) struct Inbox {
    pub(super) serving: Serving,
    pub(super) allowance: Allowance,
    /// The same for requests.
    pub(super) requests: Allowance,
    /// Of callers whose answers have come.
    pub(super) wakers: Vec<Waker>,
    pub(super) skipped_bytes: u64,
}

impl Inbox {
    /// Whether a line may be taken, whatever it turns out to be.
    pub(super) fn may_take(&mut self, shared: &Shared) -> bool {
        let now = std::time::Instant::now;
        self.allowance.is_left(now) && self.requests.is_left(now) && !self.serving.is_full(shared)
    }

    pub(super) fn take(&mut self, shared: &Shared, line: Line<'_>) {
        match line {
            Line::Whole(line) => match parse(line, shared.wire()) {
                Ok(Message::Answer(answer)) => self.answered(shared, answer, line),
                Ok(Message::Notification(note)) => self.told(shared, &note, line),
                Ok(Message::Request(request)) => {
                    self.requests.take();
                    self.serving.admit(shared, request, line);
                }
                Err(bad) => self.refuse(shared, bad, line),
            },
            Line::TooLong(start) => {
                let bad = BadLine { answers: guess_answer(start), ..FaultKind::TooLong.into() };
                self.refuse(shared, bad, start);
            }
        }
    }

    /// Lines that are too long use up the allowance as they are skipped.
    pub(super) fn charge_skipped(&mut self, lines: &Lines) {
        while lines.skipped_bytes() - self.skipped_bytes >= SKIPPED_BYTES_PER_LINE {
            self.skipped_bytes += SKIPPED_BYTES_PER_LINE;
            self.allowance.take();
        }
    }

    fn answered(&mut self, shared: &Shared, answer: Answer<'_>, line: &[u8]) {
        let outcome = match answer.outcome {
            Ok(result) => Ok(result.to_owned()),
            Err(error) => Err(CallError::Plugin(RpcError::from_plugin(error))),
        };
        let delivered = match answer.id {
            Some(id) => self.deliver(shared, id, outcome),
            None => Err(FaultKind::UnknownAnswer),
        };
        match delivered {
            Ok(()) => shared.tally.answers.add(1),
            Err(kind) => {
                self.allowance.take();
                shared.fault(kind, line);
            }
        }
    }

    fn deliver(&mut self, shared: &Shared, id: u64, outcome: Outcome) -> Result<(), FaultKind> {
        self.wakers.extend(shared.table().answer(id, outcome)?);
        Ok(())
    }

    fn told(&mut self, shared: &Shared, note: &Notification<'_>, line: &[u8]) {
        self.allowance.take();
        shared.tally.notifications.add(1);
        match &*note.method {
            method::CANCEL => {
                if let Some(id) = subject(note.params).and_then(|id| PluginId::read(id).ok()) {
                    self.serving.cancel(shared, &id);
                }
            }
            method::PROGRESS => {
                let id = subject(note.params).and_then(|id| id.get().parse().ok());
                let correlation_id = id.and_then(|id| shared.table().correlation_id(id).map(str::to_owned));
                match correlation_id {
                    Some(correlation_id) => tell(shared, note, Some(&correlation_id)),
                    None => shared.fault(FaultKind::UnknownProgress, line),
                }
            }
            _ => tell(shared, note, None),
        }
    }

    fn refuse(&mut self, shared: &Shared, bad: BadLine, line: &[u8]) {
        self.allowance.take();
        shared.fault(bad.kind, line);
        if bad.kind == FaultKind::Blank {
            return;
        }
        if let Some(id) = bad.answers {
            let why = match bad.kind {
                FaultKind::TooLong => CallError::TooLarge { max_bytes: shared.options.message_max_bytes },
                kind => CallError::Malformed(kind),
            };
            // An answer to nothing is counted once, as what it is: malformed.
            let _nobody_waits = self.deliver(shared, id, Err(why));
            return;
        }
        self.serving.complain(shared, bad.asks.as_ref(), bad.kind);
    }
}

fn tell(shared: &Shared, note: &Notification<'_>, correlation_id: Option<&str>) {
    shared.service.notify(IncomingNotification { method: &note.method, params: note.params, correlation_id });
}

/// The id of the request that a notification is about.
fn subject(params: Option<&RawValue>) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Subject<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    object::<Subject<'_>>(params?).map(|subject| subject.id)
}
