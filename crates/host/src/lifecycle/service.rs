//! What a plugin may ask of its host today: its log, its private data, its configuration.
//!
//! Every method works within the quota and the deadline of the request. What other methods of the protocol do follows with
//! the permissions that open them; until then they answer `not_supported`, and an unknown method is unknown.

use std::sync::Arc;

use ringfence_api::Denial;
use ringfence_api::rpc::{RpcErrorCode, method};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::context::Context;
use super::log::LogSource;
use super::target::{Target, with_defaults};
use crate::Error;
use crate::event::EventKind;
use crate::rpc::{Fault, IncomingNotification, IncomingRequest, Reply, RpcError, Service};

/// Keys that one `list_plugin_data` gives at most.
pub const LIST_MAX: usize = 1000;
/// The levels of a log message.
const LEVELS: [&str; 4] = ["debug", "info", "warning", "error"];

/// Answers one plugin.
#[derive(Debug)]
pub(crate) struct PluginService {
    context: Arc<Context>,
    target: Arc<Target>,
}

impl PluginService {
    pub(crate) fn new(context: Arc<Context>, target: Arc<Target>) -> Self {
        Self { context, target }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreParams {
    key: String,
    value: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyParams {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    #[serde(default)]
    prefix: String,
    limit: Option<usize>,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigParams {
    config: Value,
}

#[derive(Deserialize)]
struct LogParams {
    #[serde(default)]
    level: Option<String>,
    message: String,
    #[serde(default)]
    fields: Option<Value>,
}

#[derive(Deserialize)]
struct ProgressParams {
    progress: f64,
    #[serde(default)]
    total: Option<f64>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Serialize)]
struct Loaded {
    found: bool,
    value: Option<Box<RawValue>>,
}

impl Service for PluginService {
    fn request(&self, call: IncomingRequest) -> Reply {
        let (context, target) = (Arc::clone(&self.context), Arc::clone(&self.target));
        Box::pin(async move { serve(&context, &target, &call).await })
    }

    fn notify(&self, note: IncomingNotification<'_>) {
        let Some(params) = note.params else { return };
        match note.method {
            method::LOG => {
                if let Ok(params) = serde_json::from_str::<LogParams>(params.get()) {
                    self.log(&params);
                }
            }
            method::PROGRESS => {
                if let (Ok(params), Some(id)) =
                    (serde_json::from_str::<ProgressParams>(params.get()), note.correlation_id)
                {
                    let message = params.message.as_deref();
                    let message = message.map(|text| crate::consent::shown(&self.target.log.redacted(text)));
                    let kind = EventKind::Progress {
                        correlation_id: id.to_owned(),
                        progress: params.progress,
                        total: params.total,
                        message,
                    };
                    self.context.events.tell(&self.target.name, kind);
                }
            }
            // An unknown notification is ignored, as JSON-RPC has it.
            _ => {}
        }
    }

    fn fault(&self, fault: Fault) {
        let text = format!("dropped a line: {}: {}", fault.kind, fault.sample);
        self.target.log.line(LogSource::Host, Some("warning"), &text);
    }
}

impl PluginService {
    fn log(&self, params: &LogParams) {
        let level = params.level.as_deref().filter(|level| LEVELS.contains(level)).unwrap_or("info");
        let text = match &params.fields {
            Some(fields) => format!("{} {fields}", params.message),
            None => params.message.clone(),
        };
        let line = self.target.log.line(LogSource::Log, Some(level), &text);
        self.context.events.tell(&self.target.name, EventKind::Log { line });
    }
}

async fn serve(
    context: &Arc<Context>,
    target: &Arc<Target>,
    call: &IncomingRequest,
) -> Result<Box<RawValue>, RpcError> {
    let owner = target.owner.clone();
    match call.method.as_str() {
        method::STORE_PLUGIN_DATA => {
            let StoreParams { key, value } = call.params_as()?;
            let bytes_max = target.limits.data_bytes;
            let value = value.get().as_bytes().to_vec();
            let stored = context.store.run(move |store| store.data_put(&owner, &key, value, bytes_max)).await;
            stored.map_err(|error| refused(&error))?;
            answer(&serde_json::json!({}))
        }
        method::LOAD_PLUGIN_DATA => {
            let KeyParams { key } = call.params_as()?;
            let loaded = context.store.run(move |store| store.data_get(&owner, &key)).await;
            let value = loaded.map_err(|error| refused(&error))?.map(as_json).transpose()?;
            answer(&Loaded { found: value.is_some(), value })
        }
        method::DELETE_PLUGIN_DATA => {
            let KeyParams { key } = call.params_as()?;
            let deleted = context.store.run(move |store| store.data_delete(&owner, &key)).await;
            answer(&serde_json::json!({ "deleted": deleted.map_err(|error| refused(&error))? }))
        }
        method::LIST_PLUGIN_DATA => {
            let ListParams { prefix, limit, after } = call.params_as()?;
            let limit = limit.unwrap_or(LIST_MAX).min(LIST_MAX);
            let listed = context
                .store
                .run(move |store| store.data_list(&owner, &prefix, after.as_deref(), limit))
                .await
                .map_err(|error| refused(&error))?;
            answer(&serde_json::json!({ "keys": listed.keys, "more": listed.more }))
        }
        method::GET_CONFIG => answer(&serde_json::json!({ "config": target.config() })),
        method::SET_CONFIG => {
            let ConfigParams { config } = call.params_as()?;
            set_config(context, target, config, call).await
        }
        known if method::HOST_REQUESTS.contains(&known) => Err(RpcError::new(
            RpcErrorCode::NotSupported,
            format!("{known} is not served by this version of Ringfence"),
        )),
        unknown => {
            let message = format!("there is no method '{}'", crate::consent::shown(unknown));
            Err(RpcError::new(RpcErrorCode::MethodNotFound, message))
        }
    }
}

/// A plugin may change its own configuration only when `config:write` is granted.
async fn set_config(
    context: &Arc<Context>,
    target: &Arc<Target>,
    config: Value,
    call: &IncomingRequest,
) -> Result<Box<RawValue>, RpcError> {
    let permission = ringfence_api::PermissionName::ConfigWrite;
    let name = ringfence_policy::Name::new(target.name.as_str())
        .map_err(|error| RpcError::new(RpcErrorCode::Internal, error.to_string()))?;
    let request = ringfence_policy::Request::Named { permission, name };
    let explanation = target.rules.explain(&request);
    if explanation.effect == ringfence_policy::Effect::Deny {
        let denial = Denial {
            object: target.name.to_string(),
            grant: explanation.grant.clone(),
            count: 1,
            ..Denial::new("host_api", method::SET_CONFIG)
        };
        context.denied(target, &denial, &call.correlation_id);
        context.events.tell(&target.name, EventKind::Denial { denial: denial.clone() });
        return Err(denied(&denial, &explanation.text));
    }
    let (owner, shared, by) = (target.owner.clone(), Arc::clone(target), format!("plugin {}", target.name));
    let written = context.store.run(move |store| {
        judge_config(&shared, &config)?;
        store.set_config(&owner, config.clone(), None, &by)?;
        Ok(config)
    });
    let config = written.await.map_err(|error| refused(&error))?;
    target.set_config(with_defaults(target.config_schema.as_ref(), &config));
    answer(&serde_json::json!({}))
}

/// Whether a configuration follows its schema.
///
/// # Errors
/// `schema_violation` with every place that does not.
pub(crate) fn judge_config(target: &Target, config: &Value) -> Result<(), Error> {
    crate::host::judge(target.config_schema.as_ref(), config, "the configuration")
}

fn as_json(bytes: Vec<u8>) -> Result<Box<RawValue>, RpcError> {
    let damaged = || RpcError::new(RpcErrorCode::Internal, "the kept value is damaged");
    let text = String::from_utf8(bytes).map_err(|_| damaged())?;
    RawValue::from_string(text).map_err(|_| damaged())
}

fn answer(value: &impl Serialize) -> Result<Box<RawValue>, RpcError> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| RpcError::new(RpcErrorCode::Internal, error.to_string()))
}

/// A denial as the plugin hears it.
fn denied(denial: &Denial, message: &str) -> RpcError {
    let data = serde_json::json!({
        "code": RpcErrorCode::PermissionDenied.word(),
        "layer": denial.layer,
        "operation": denial.operation,
        "object": denial.object,
        "grant": denial.grant,
        "message": message,
    });
    let made = RpcError::new(RpcErrorCode::PermissionDenied, message);
    match serde_json::value::to_raw_value(&data) {
        Ok(data) => made.with_data(data),
        Err(_) => made,
    }
}

/// An error of the host as the plugin hears it: without paths, and with the nearest word of the protocol.
fn refused(error: &Error) -> RpcError {
    use ringfence_api::ErrorCode as E;
    let code = match error.code() {
        E::Quota => RpcErrorCode::Quota,
        E::TooLarge => RpcErrorCode::TooLarge,
        E::Busy => RpcErrorCode::Busy,
        E::PermissionDenied | E::PolicyDenied => RpcErrorCode::PermissionDenied,
        E::SchemaViolation | E::Usage => RpcErrorCode::InvalidParams,
        _ => return RpcError::new(RpcErrorCode::Internal, "the host could not do it; its log says why"),
    };
    RpcError::new(code, error.message())
}
