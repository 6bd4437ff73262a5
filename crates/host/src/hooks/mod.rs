//! Hooks: named points in an application's pipeline, at which plugins change, block or watch what passes.
//!
//! Mutators run first, then guards, then observers; inside a kind by priority, low first, ties by the plugin's name. Each
//! handler sees what the ones before it made. A handler that fails, or takes longer than it may, is passed over if it is a
//! mutator or an observer; a guard then blocks, unless its manifest says otherwise. Observers are put into a bounded queue
//! and never waited for.
//!
//! Start reading at `chain.rs`: one pass of an event. `registry.rs` knows who is asked, `mailbox.rs` delivers what nobody waits
//! for, `breaker.rs` and `latency.rs` remember how handlers did.

mod breaker;
mod chain;
mod changes;
mod depth;
mod latency;
mod mailbox;
mod point;
mod rate;
mod registry;

#[cfg(test)]
mod order_tests;

/// The page for applications and authors; its Rust is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/hooks.md")]
struct Page;

use std::time::Duration;

use ringfence_api::{HookKind, PluginName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use breaker::{BREAKER_FAILURES, BREAKER_PAUSE, BreakerState};
pub use depth::DEPTH_MAX;
pub use latency::{LATENCY_BUCKETS, Latency, LatencyBucket};
pub use mailbox::MAILBOX_MAX;
pub use point::{HookPoint, PointError};
pub use registry::REFRESH_EVERY;

pub(crate) use chain::Pass;
pub(crate) use mailbox::{Answer, Job, Mailboxes, Message};
pub(crate) use point::is_event_name;
pub(crate) use rate::Rate;
pub(crate) use registry::{Chain, Dynamic, Handler, Hooks, Picture, post_request};

/// The events that have a meaning for Ringfence itself. An application names others as it likes.
pub const BUILT_IN_EVENTS: [&str; 11] = [
    "onRequest",
    "onResponse",
    "onStreamStart",
    "onStreamEnd",
    "onError",
    "onRateLimit",
    ON_INSTALL,
    ON_ACTIVATE,
    ON_DEACTIVATE,
    ON_UNINSTALL,
    ON_PLUGIN_MESSAGE,
];
pub(crate) const ON_INSTALL: &str = "onInstall";
pub(crate) const ON_ACTIVATE: &str = "onActivate";
pub(crate) const ON_DEACTIVATE: &str = "onDeactivate";
pub(crate) const ON_UNINSTALL: &str = "onUninstall";
pub(crate) const ON_PLUGIN_MESSAGE: &str = "onPluginMessage";

/// What passes through an event.
///
/// ```
/// use ringfence::hooks::Payload;
/// use serde_json::json;
///
/// let payload: Payload = serde_json::from_str(r#"{"body": {"text": "hi"}}"#)?;
/// assert_eq!(payload, Payload::new(json!({"text": "hi"})));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// What the event is about: any JSON value.
    #[serde(default)]
    pub body: Value,
    /// What is known about it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

impl Payload {
    /// A payload without metadata.
    #[must_use]
    pub fn new(body: Value) -> Self {
        Self { body, metadata: Map::new() }
    }
}

/// How an event is passed through.
///
/// ```
/// use ringfence::hooks::HookOptions;
///
/// let options = HookOptions::default();
/// assert!(!options.dry_run && options.budget.is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct HookOptions {
    /// Ties the records of one piece of work together. Give the one that the application was given when this event comes of
    /// what a plugin asked for: nesting is counted by it. Default: a new one.
    pub correlation_id: Option<String>,
    /// How long mutators and guards may take together. Default: `hook_budget` of the configuration (30 s).
    pub budget: Option<Duration>,
    /// Asks mutators and guards and says what would come of it; observers hear nothing. Default: false. The caller lets the
    /// original pass. Handlers are not told.
    pub dry_run: bool,
    /// Notes in the trace what each mutator changed, as JSON pointers. Costs a comparison of the payload. Default: false.
    pub changes: bool,
    /// Waits for observers, and puts what came of them into the trace. Default: false: they are only enqueued.
    pub wait_for_observers: bool,
}

/// What comes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It goes on, with the body and metadata of the outcome.
    Continue,
    /// It must not go on.
    Blocked,
}

/// An event that has passed, or has not.
///
/// ```
/// use ringfence::hooks::{HookOutcome, Payload, Verdict};
/// use serde_json::json;
///
/// let outcome = HookOutcome::unchanged(Payload::new(json!(1)));
/// assert_eq!(
///     serde_json::to_value(outcome)?,
///     json!({"outcome": "continue", "body": 1, "metadata": {}, "reason": null, "response": null, "trace": []}),
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HookOutcome {
    /// Whether it goes on.
    pub outcome: Verdict,
    /// The body as the last mutator left it.
    pub body: Value,
    /// The metadata as the last mutator left it.
    pub metadata: Map<String, Value>,
    /// Why it was blocked.
    pub reason: Option<String>,
    /// What the guard that blocked it wants to be answered instead.
    pub response: Option<Value>,
    /// Which plugin blocked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<PluginName>,
    /// Whether nothing of this was meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Who was asked, in order, and what came of it.
    pub trace: Vec<TraceEntry>,
}

impl HookOutcome {
    /// Of an event for which there is nobody to ask.
    #[must_use]
    pub fn unchanged(payload: Payload) -> Self {
        Self {
            outcome: Verdict::Continue,
            body: payload.body,
            metadata: payload.metadata,
            reason: None,
            response: None,
            by: None,
            dry_run: false,
            trace: Vec::new(),
        }
    }

    /// Whether it must not go on.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.outcome == Verdict::Blocked
    }
}

/// What came of one handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HandlerResult {
    /// A mutator left the payload as it was.
    Unchanged,
    /// A mutator changed it.
    Changed,
    /// A guard let it pass.
    Passed,
    /// A guard refused it, or failed and thereby blocked it.
    Blocked,
    /// It failed, and was passed over.
    Skipped,
    /// It was not asked: a guard had blocked before.
    NotAsked,
    /// An observer will hear of it.
    Queued,
    /// An observer has seen it.
    Observed,
}

/// One handler of a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TraceEntry {
    /// The plugin.
    pub plugin: PluginName,
    /// What its handler is.
    pub kind: HookKind,
    /// Low first.
    pub priority: i32,
    /// What came of it.
    pub result: HandlerResult,
    /// Why, where there is something to say; a plugin's own words are escaped and cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The places that it changed, as JSON pointers beginning with `/body` or `/metadata`; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
}

/// One handler and how it has done since this host was opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HookInfo {
    /// The event.
    pub event: String,
    /// The plugin.
    pub plugin: PluginName,
    /// What its handler is.
    pub kind: HookKind,
    /// Low first.
    pub priority: i32,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// What happens when it fails.
    pub on_failure: ringfence_api::OnFailure,
    /// Whether the plugin registered it while it ran; it then lives no longer than that run.
    pub registered_at_run_time: bool,
    /// Where the plugin's circuit breaker stands.
    pub breaker: BreakerState,
    /// How often it was asked, how often it failed, and how long it took.
    pub latency: Latency,
}
