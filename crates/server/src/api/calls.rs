//! What plugins are asked and told: calls, hooks, messages, and what of that is recorded.

use std::time::Duration;

use ringfence::hooks::{HookInfo, HookOptions, HookOutcome, Payload};
use ringfence::host::{EventOptions, EventReport};
use ringfence::metrics::{ExecutionFilter, ExecutionPage};
use ringfence::plugin::CallOptions;
use ringfence_api::ErrorCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::answer::{Found, Written};
use super::asked::{Asked, Json, Query};
use super::error::Failure;
use super::idempotency::{self, Unknown};
use super::plugins::bounded;

/// The longest limit of a caller, in milliseconds: a day.
const TIMEOUT_MAX_MS: u64 = 86_400_000;
/// Executions of one answer unless the query says how many.
const EXECUTIONS: usize = 100;

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallBody {
    /// The tool.
    pub tool: String,
    /// Its arguments; an empty object if not given.
    #[serde(default)]
    pub arguments: Option<Value>,
    /// How long it may take, in milliseconds. Default and most: the plugin's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400_000))]
    pub timeout_ms: Option<u64>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallAnswer {
    /// What the tool answered.
    pub result: Value,
}

/// An event of the pipeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookBody {
    /// What passes.
    #[serde(default)]
    pub body: Value,
    /// What is said about it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Asks everybody who changes or blocks, and tells nobody who only watches.
    #[serde(default)]
    pub dry_run: bool,
    /// Says in the trace what each mutator changed.
    #[serde(default)]
    pub trace: bool,
    /// Waits until observers have seen it, too.
    #[serde(default)]
    pub wait: bool,
    /// How long all of it may take, in milliseconds; the configured budget if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400_000))]
    pub timeout_ms: Option<u64>,
}

/// A message to plugins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventBody {
    /// The topic; those plugins get it that are granted `event:post=TOPIC`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.:-]{1,128}$"))]
    pub topic: String,
    /// What it says.
    #[serde(default)]
    pub payload: Value,
    /// Waits until each receiver has answered or failed.
    #[serde(default)]
    pub wait: bool,
}

/// Which executions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecutionsQuery {
    /// Only of this plugin.
    #[serde(default)]
    plugin: Option<String>,
    /// Only those with a smaller `id`: the last one of the page before.
    #[serde(default)]
    #[schemars(range(min = 1))]
    before: Option<i64>,
    /// At most so many; 100, at most 1,000.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<usize>,
}

pub(super) async fn call(asked: Asked<(), Json<CallBody>>) -> Result<Written<CallAnswer>, Failure> {
    let key = idempotency::Key::of(&asked, asked.name(), &asked.body.0, Unknown::Refuse)?;
    let name = asked.name().to_owned();
    let options = CallOptions {
        timeout: timeout(asked.body.0.timeout_ms)?,
        correlation_id: Some(asked.caller.correlation_id.clone()),
    };
    let (api, host, body) = (asked.api, asked.host, asked.body.0);
    let arguments = raw(&body.arguments.unwrap_or_else(|| Value::Object(Map::new())))?;
    let tool = body.tool;
    let answer = api.keys.once(key, String::len, async move {
        let answer = host.call_with(&name, &tool, &arguments, &options).await?;
        Ok(format!("{{\"result\":{}}}", answer.get()))
    });
    answer.await.map(Written::new)
}

pub(super) async fn hooks(asked: Asked<(), ()>) -> Result<Found<Vec<HookInfo>>, Failure> {
    Ok(Found(asked.host.hooks().await?))
}

pub(super) async fn hook(asked: Asked<(), Json<HookBody>>) -> Result<Found<HookOutcome>, Failure> {
    let body = &asked.body.0;
    let payload = Payload { body: body.body.clone(), metadata: body.metadata.clone() };
    let options = HookOptions {
        correlation_id: Some(asked.caller.correlation_id.clone()),
        dry_run: body.dry_run,
        changes: body.trace,
        wait_for_observers: body.wait,
        budget: timeout(body.timeout_ms)?,
    };
    Ok(Found(asked.host.hook(asked.part("event"), payload, &options).await?))
}

pub(super) async fn event(asked: Asked<(), Json<EventBody>>) -> Result<Found<EventReport>, Failure> {
    let EventBody { topic, payload, wait } = asked.body.0;
    let options = EventOptions { correlation_id: Some(asked.caller.correlation_id.clone()), wait };
    Ok(Found(asked.host.post_event(&topic, payload, &options).await?))
}

pub(super) async fn executions(
    asked: Asked<Query<ExecutionsQuery>, ()>,
) -> Result<Found<ExecutionPage>, Failure> {
    let ExecutionsQuery { plugin, before, limit } = asked.query.0;
    let limit = bounded("limit", limit, EXECUTIONS, ringfence::audit::AUDIT_PAGE_MAX)?;
    if before.is_some_and(|before| before < 1) {
        return Err(Failure::new(ErrorCode::Usage, "`before` is the `id` of an execution"));
    }
    let plugin = match (&asked.caller.plugin, plugin) {
        (Some(own), Some(wanted)) if own.as_str() != wanted => return Err(super::route::only_for(own)),
        (Some(own), _) => Some(own.as_str().to_owned()),
        (None, wanted) => wanted,
    };
    let filter = ExecutionFilter { plugin, before, ..ExecutionFilter::default() };
    Ok(Found(asked.host.executions(&filter, limit).await?))
}

fn timeout(given: Option<u64>) -> Result<Option<Duration>, Failure> {
    match given {
        Some(ms) if !(1..=TIMEOUT_MAX_MS).contains(&ms) => {
            Err(Failure::new(ErrorCode::LimitInvalid, format!("`timeout_ms` is 1 to {TIMEOUT_MAX_MS}")))
        }
        given => Ok(given.map(Duration::from_millis)),
    }
}

fn raw(value: &Value) -> Result<Box<RawValue>, Failure> {
    serde_json::value::to_raw_value(value)
        .map_err(|_| Failure::new(ErrorCode::Usage, "the arguments are no JSON"))
}
