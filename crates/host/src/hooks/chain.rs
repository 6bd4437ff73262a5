//! One pass of an event: mutators, then guards, then observers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_api::rpc::{HookParams, HookResult, method};
use ringfence_api::{HookKind, OnFailure, PluginName};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::changes;
use super::mailbox::{Observation, Told};
use super::point::{self, HookPoint};
use super::registry::{Chain, Handler};
use super::{HandlerResult, HookOptions, HookOutcome, Payload, TraceEntry, Verdict};
use crate::Host;
use crate::event::EventKind;
use crate::lifecycle::Instance;
use crate::rpc::{CallError, CallMeta};
use crate::store::Outcome;

/// How long a hook waits for room in the audit trail before it counts as failed.
const AUDIT_WAIT: Duration = Duration::from_secs(2);
/// Letters of a plugin's own reason that are handed on.
const REASON_MAX_CHARS: usize = 1000;
const TOO_OFTEN: &str = "its hooks are asked more often than hooks_per_second of config.toml lets them be";

/// What a pass needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    pub(crate) host: &'a Host,
    pub(crate) event: &'a str,
    pub(crate) correlation_id: &'a Arc<str>,
    pub(crate) depth: u32,
    pub(crate) options: &'a HookOptions,
}

/// Why a handler did not do what it should.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// Whether it counts against the plugin.
    counts: bool,
}

impl Failure {
    fn of(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), counts: true }
    }

    fn not_its_own(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), counts: false }
    }
}

/// What a handler has said.
#[derive(Debug)]
enum Said {
    Nothing,
    Payload(Payload),
    Blocked { reason: String, response: Option<Value> },
}

impl Pass<'_> {
    /// Asks everybody in turn. What comes of it is never lost: whoever drops this has asked some of them once, and none twice.
    pub(crate) async fn run(
        self,
        chain: &Chain,
        takes_part: &(dyn Fn(&Handler) -> bool + Sync),
        payload: Payload,
    ) -> HookOutcome {
        let budget = self.options.budget.unwrap_or(self.host.context().config().plugins.hook_budget);
        let end = Instant::now() + budget;
        let mut outcome = HookOutcome { dry_run: self.options.dry_run, ..HookOutcome::unchanged(payload) };
        for handler in chain.asked.iter().filter(|handler| takes_part(handler)) {
            let begun = Instant::now();
            let mut entry = entry_of(handler);
            if outcome.is_blocked() {
                entry.result = HandlerResult::NotAsked;
            } else {
                let said = self.ask(handler, &outcome, end).await;
                self.note(handler, said, &mut outcome, &mut entry);
                entry.duration_us = micros(begun.elapsed());
            }
            outcome.trace.push(entry);
        }
        if !self.options.dry_run {
            let observers: Vec<&Arc<Handler>> =
                chain.observers.iter().filter(|handler| takes_part(handler)).collect();
            self.tell(&observers, &mut outcome).await;
        }
        if outcome.is_blocked()
            && let Some(by) = &outcome.by
        {
            let reason = outcome.reason.clone().unwrap_or_default();
            let kind = EventKind::Blocked { hook: self.event.to_owned(), reason };
            self.host.context().events.tell(by, kind);
        }
        outcome
    }

    /// Tells of something that is done to a plugin. It is waited for itself, each of its handlers for as long as that one may
    /// take, its start included; the others are not waited for.
    pub(crate) async fn announce(self, chain: &Chain, about: &PluginName, payload: Payload) {
        let mut outcome = HookOutcome::unchanged(payload);
        let all = chain.asked.iter().chain(&chain.observers);
        let (own, others): (Vec<&Arc<Handler>>, Vec<&Arc<Handler>>) =
            all.filter(|handler| handler.held.is_none()).partition(|handler| handler.plugin == *about);
        for handler in own {
            let end = Instant::now() + handler.timeout;
            // A failure is in its log and its breaker already.
            let _heard = self.ask(handler, &outcome, end).await;
        }
        self.tell(&others, &mut outcome).await;
    }

    fn note(
        self,
        handler: &Handler,
        said: Result<Said, Failure>,
        outcome: &mut HookOutcome,
        entry: &mut TraceEntry,
    ) {
        let guard = handler.kind == HookKind::Guard;
        match said {
            Ok(Said::Nothing) => {
                entry.result = if guard { HandlerResult::Passed } else { HandlerResult::Unchanged };
            }
            Ok(Said::Payload(payload)) => {
                entry.result = HandlerResult::Changed;
                if self.options.changes {
                    changes::between(&outcome.body, &payload.body, "/body", &mut entry.changes);
                    let (old, new) =
                        (Value::Object(outcome.metadata.clone()), Value::Object(payload.metadata.clone()));
                    changes::between(&old, &new, "/metadata", &mut entry.changes);
                }
                (outcome.body, outcome.metadata) = (payload.body, payload.metadata);
            }
            Ok(Said::Blocked { reason, response }) => {
                entry.result = HandlerResult::Blocked;
                entry.reason = Some(reason.clone());
                (outcome.outcome, outcome.reason, outcome.response) =
                    (Verdict::Blocked, Some(reason), response);
                outcome.by = Some(handler.plugin.clone());
            }
            Err(failure) => {
                entry.reason = Some(failure.reason.clone());
                let kind =
                    EventKind::HookFailed { hook: self.event.to_owned(), reason: failure.reason.clone() };
                self.host.context().events.tell(&handler.plugin, kind);
                entry.result = HandlerResult::Skipped;
                if handler.on_failure == OnFailure::Block {
                    entry.result = HandlerResult::Blocked;
                    outcome.outcome = Verdict::Blocked;
                    outcome.reason =
                        Some(format!("{} could not be asked: {}", handler.plugin, failure.reason));
                    outcome.by = Some(handler.plugin.clone());
                }
            }
        }
    }

    /// Asks one handler, and remembers how it did.
    async fn ask(self, handler: &Handler, so_far: &HookOutcome, end: Instant) -> Result<Said, Failure> {
        if let Some(held) = &handler.held {
            return Err(Failure::not_its_own(held.as_str()));
        }
        if !handler.is_within_rate() {
            return Err(Failure::not_its_own(TOO_OFTEN));
        }
        let begun = Instant::now();
        if handler.can_be_left_out() && !handler.breaker.admits(begun) {
            return Err(Failure::not_its_own("its last hooks failed, so it is left alone for a while"));
        }
        let mut probe = Probe { handler, settled: false };
        let shown = point::hide(&so_far.body, &handler.hidden);
        let params = HookParams {
            event: self.event,
            kind: handler.kind,
            body: shown.as_ref().unwrap_or(&so_far.body),
            metadata: &so_far.metadata,
            blocked: None,
        };
        let said = match raw(&params) {
            Ok(params) => {
                let answer = self.request(handler, &params, end).await;
                let point = self.host.context().hooks.point(self.event);
                answer.and_then(|answer| judge(handler, point, so_far, &answer))
            }
            Err(failure) => Err(failure),
        };
        probe.settle(said.as_ref().err(), begun.elapsed());
        if let Err(failure) = &said {
            tracing::warn!(plugin = %handler.plugin, event = self.event, reason = %failure.reason, "a hook failed");
        }
        said
    }

    async fn request(
        self,
        handler: &Handler,
        params: &RawValue,
        end: Instant,
    ) -> Result<Box<RawValue>, Failure> {
        let instance = within(end, running(self.host, handler)).await??;
        let now = Instant::now();
        let deadline = end.min(now + handler.timeout);
        if deadline <= now {
            return Err(budget_is_spent());
        }
        let asked = request(&instance, self.event, self.correlation_id, params, deadline).await;
        asked.map_err(|failure| if deadline == end { Failure { counts: false, ..failure } } else { failure })
    }

    /// Hands the event to those who only watch.
    async fn tell(self, observers: &[&Arc<Handler>], outcome: &mut HookOutcome) {
        if observers.is_empty() {
            return;
        }
        let mut waiting = Vec::new();
        for handler in observers {
            let mut entry = entry_of(handler);
            if !handler.is_within_rate() {
                (entry.result, entry.reason) = (HandlerResult::Skipped, Some(TOO_OFTEN.to_owned()));
                outcome.trace.push(entry);
                continue;
            }
            let observation = Observation {
                event: self.event.into(),
                handler: Arc::clone(handler),
                params: observed(self.event, handler, outcome),
                correlation_id: Arc::clone(self.correlation_id),
                depth: self.depth,
            };
            entry.result = HandlerResult::Queued;
            match self.host.mailboxes().observe(self.host, observation, self.options.wait_for_observers) {
                Ok(answer) => waiting.extend(answer.map(|answer| (outcome.trace.len(), answer))),
                Err(reason) => (entry.result, entry.reason) = (HandlerResult::Skipped, Some(reason)),
            }
            outcome.trace.push(entry);
        }
        for (index, answer) in waiting {
            let told = answer.await.unwrap_or_else(|_| Told::lost());
            if let Some(entry) = outcome.trace.get_mut(index) {
                entry.duration_us = micros(told.took);
                entry.result = HandlerResult::Observed;
                if let Some(reason) = told.failure {
                    (entry.result, entry.reason) = (HandlerResult::Skipped, Some(reason));
                }
            }
        }
    }
}

/// Settles the breaker, also when the caller goes away meanwhile.
struct Probe<'a> {
    handler: &'a Handler,
    settled: bool,
}

impl Probe<'_> {
    fn settle(&mut self, failure: Option<&Failure>, took: Duration) {
        self.settled = true;
        remember(self.handler, failure.map(|failure| failure.counts), took);
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.handler.breaker.forgotten();
        }
    }
}

/// How a handler did: `None` is well, `Some(true)` a failure of its own.
pub(super) fn remember(handler: &Handler, failed: Option<bool>, took: Duration) {
    handler.histogram.add(took, failed.is_some());
    match failed {
        None => handler.breaker.succeeded(),
        Some(true) => {
            if handler.breaker.failed(Instant::now()) {
                tracing::warn!(plugin = %handler.plugin, "its hooks failed again and again: it is left alone for a while");
            }
        }
        Some(false) => handler.breaker.forgotten(),
    }
}

fn entry_of(handler: &Handler) -> TraceEntry {
    TraceEntry {
        plugin: handler.plugin.clone(),
        kind: handler.kind,
        priority: handler.priority,
        result: HandlerResult::Unchanged,
        reason: None,
        changes: Vec::new(),
        duration_us: 0,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn budget_is_spent() -> Failure {
    Failure::not_its_own("the time for this event was used up before")
}

async fn within<T>(end: Instant, work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout_at(end.into(), work).await.map_err(|_| budget_is_spent())
}

/// The running plugin of a handler, started if need be; its start is not counted against the handler's own limit.
async fn running(host: &Host, handler: &Handler) -> Result<Arc<Instance>, Failure> {
    let failed = |error: crate::Error| Failure::of(crate::consent::shown(error.message()));
    let instance = host.instance_for_hook(&handler.plugin).await.map_err(failed)?;
    let target = &instance.target;
    if handler.run.as_ref().is_some_and(|run| run.as_ptr() != Arc::as_ptr(target)) {
        return Err(Failure::not_its_own("the run in which it was registered has ended"));
    }
    // Grants may have been taken back since it was found, or the name may be another plugin's by now.
    let still = handler.needs.iter().all(|need| target.rules.decide(need).is_allowed());
    if target.owner != handler.owner || !still {
        return Err(Failure::not_its_own("it is not granted this any more"));
    }
    Ok(instance)
}

/// One request to a plugin, recorded as every call is.
async fn request(
    instance: &Instance,
    event: &str,
    correlation_id: &Arc<str>,
    params: &RawValue,
    deadline: Instant,
) -> Result<Box<RawValue>, Failure> {
    let tool: Arc<str> = event.into();
    let begun = instance.target.hooks.act(&tool, correlation_id, AUDIT_WAIT, Outcome::Cancelled).await;
    let mut record = begun.map_err(|error| Failure::not_its_own(error.message()))?;
    let meta = CallMeta { correlation_id, deadline };
    let answered = instance.connection.request(method::HOOK, params, meta).await;
    record.outcome = crate::host::outcome(&answered);
    answered.map_err(|error| {
        let limit = deadline.saturating_duration_since(record.begun);
        match error {
            CallError::Timeout => {
                Failure::of(format!("it did not answer within {:.3} s", limit.as_secs_f64()))
            }
            CallError::Plugin(error) => {
                Failure::of(crate::consent::shown(&instance.target.log.redacted(&error.message)))
            }
            CallError::Busy { .. } | CallError::TooLarge { .. } | CallError::TooDeep => {
                Failure::not_its_own(error.to_string())
            }
            other => Failure::of(other.to_string()),
        }
    })
}

/// The same for a handler that nobody waits for.
pub(super) async fn observe(host: &Host, seen: &Observation) -> Result<(), (String, bool)> {
    let apart = |failure: Failure| (failure.reason, failure.counts);
    if !seen.handler.breaker.admits(Instant::now()) {
        return Err(("its last hooks failed, so it is left alone for a while".to_owned(), false));
    }
    let params = seen.params.as_ref().map_err(|reason| (reason.clone(), false))?;
    let instance = running(host, &seen.handler).await.map_err(apart)?;
    let deadline = Instant::now() + seen.handler.timeout;
    request(&instance, &seen.event, &seen.correlation_id, params, deadline).await.map(drop).map_err(apart)
}

fn raw(params: &HookParams<'_>) -> Result<Box<RawValue>, Failure> {
    serde_json::value::to_raw_value(params).map_err(|error| Failure::not_its_own(error.to_string()))
}

/// What an observer is sent.
fn observed(event: &str, handler: &Handler, outcome: &HookOutcome) -> Result<Box<RawValue>, String> {
    let shown = point::hide(&outcome.body, &handler.hidden);
    let params = HookParams {
        event,
        kind: HookKind::Observer,
        body: shown.as_ref().unwrap_or(&outcome.body),
        metadata: &outcome.metadata,
        blocked: outcome.is_blocked().then(|| ringfence_api::rpc::HookBlocked {
            by: outcome.by.as_ref().map(PluginName::as_str),
            reason: outcome.reason.as_deref().unwrap_or_default(),
        }),
    };
    raw(&params).map_err(|failure| failure.reason)
}

/// Reads an answer, and holds it against what this kind of handler may do.
fn judge(
    handler: &Handler,
    point: Option<&HookPoint>,
    so_far: &HookOutcome,
    answer: &RawValue,
) -> Result<Said, Failure> {
    if answer.get() == "null" {
        return Ok(Said::Nothing);
    }
    let result: HookResult = serde_json::from_str(answer.get()).map_err(|error| {
        Failure::of(format!("its answer cannot be used: {}", crate::consent::shown(&error.to_string())))
    })?;
    match handler.kind {
        HookKind::Mutator => mutated(handler, point, so_far, result),
        HookKind::Guard => guarded(handler, so_far, result),
        HookKind::Observer => Ok(Said::Nothing),
    }
}

fn mutated(
    handler: &Handler,
    point: Option<&HookPoint>,
    so_far: &HookOutcome,
    result: HookResult,
) -> Result<Said, Failure> {
    if result.blocked {
        return Err(Failure::of("it is a mutator, which cannot block"));
    }
    let body = match result.body {
        Some(mut body) => {
            point::restore(&mut body, &so_far.body, &handler.hidden).map_err(Failure::of)?;
            body
        }
        None => so_far.body.clone(),
    };
    let metadata = match result.metadata {
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err(Failure::of("its metadata is no object")),
        None => so_far.metadata.clone(),
    };
    if body == so_far.body && metadata == so_far.metadata {
        return Ok(Said::Nothing);
    }
    crate::host::judge(point.and_then(HookPoint::body_schema), &body, "the body that it made")
        .map_err(|error| Failure::of(crate::consent::shown(error.message())))?;
    Ok(Said::Payload(Payload { body, metadata }))
}

fn guarded(handler: &Handler, so_far: &HookOutcome, result: HookResult) -> Result<Said, Failure> {
    let seen = point::hide(&so_far.body, &handler.hidden);
    let same_body = result.body.is_none_or(|body| body == *seen.as_ref().unwrap_or(&so_far.body));
    let same_metadata = result.metadata.is_none_or(|metadata| is_same(&metadata, &so_far.metadata));
    if !result.blocked {
        return match same_body && same_metadata && result.response.is_none() {
            true => Ok(Said::Nothing),
            false => Err(Failure::of("it is a guard, which cannot change what passes")),
        };
    }
    let reason = result.reason.unwrap_or_else(|| "it gave no reason".to_owned());
    let reason: String = crate::consent::shown(&reason).chars().take(REASON_MAX_CHARS).collect();
    Ok(Said::Blocked { reason, response: result.response })
}

fn is_same(value: &Value, map: &Map<String, Value>) -> bool {
    value.as_object().is_some_and(|value| value == map)
}
