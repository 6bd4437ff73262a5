//! One request of a plugin: judged, recorded, answered.
//!
//! The order is always the same: read the parameters, [`Asking::permit`], [`Asking::begin`], do it, [`Act::done`],
//! [`answer`]. What was refused is a denial in the audit trail; what was begun has a record before it is done, and another of
//! how it ended, also when the plugin gave it up half-way.

use std::sync::Arc;
use std::time::Duration;

use ringfence_api::rpc::RpcErrorCode;
use ringfence_api::{Denial, PermissionName};
use ringfence_policy::{Effect, Name, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::Error;
use crate::lifecycle::{Context, Target};
use crate::rpc::{IncomingRequest, RpcError};
use crate::store::{Outcome, Refused};

pub(super) use crate::store::Act;

/// How long a request waits for room in the audit trail before it is refused.
const AUDIT_WAIT: Duration = Duration::from_secs(2);

/// What all requests of one run of a plugin share.
#[derive(Debug)]
pub(super) struct Room {
    /// One turn for each program that runs beside the plugin.
    pub(super) processes: Arc<tokio::sync::Semaphore>,
    /// What it reads from servers piece by piece.
    pub(super) streams: Arc<super::fetch::Streams>,
    /// Held while something is written into the private directory, so that two writes cannot both find the last free byte.
    pub(super) writing: std::sync::Mutex<()>,
    /// Whether the plugin's process has ended.
    pub(super) ended: tokio::sync::watch::Sender<bool>,
}

impl Default for Room {
    fn default() -> Self {
        let processes = Arc::new(tokio::sync::Semaphore::new(super::process::PROCESSES_MAX));
        Self {
            processes,
            streams: Arc::default(),
            writing: std::sync::Mutex::default(),
            ended: tokio::sync::watch::Sender::new(false),
        }
    }
}

/// A request that is being served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) context: &'a Arc<Context>,
    /// Who asks.
    pub(super) target: &'a Arc<Target>,
    /// What this run of the plugin may use at once.
    pub(super) room: &'a Arc<Room>,
    pub(super) call: &'a IncomingRequest,
}

impl Asking<'_> {
    /// The parameters.
    ///
    /// # Errors
    /// `invalid_params` with what is wrong with them.
    pub(super) fn params<T: DeserializeOwned>(&self) -> Result<T, RpcError> {
        self.call.params_as()
    }

    /// Whether the plugin's grants allow this. `object` is what the denial is about, as the plugin named it.
    ///
    /// # Errors
    /// `permission_denied` with the grant that would allow it, recorded and told to listeners.
    pub(super) fn permit(&self, request: &Request, object: &str) -> Result<(), RpcError> {
        let explanation = self.target.rules.explain(request);
        if explanation.effect == Effect::Allow {
            return Ok(());
        }
        Err(self.deny(object, explanation.grant.as_deref(), &explanation.text))
    }

    /// The same for something that has a name: a database, a topic, an event.
    ///
    /// # Errors
    /// As [`Asking::permit`]; `invalid_params` for what cannot be a name.
    pub(super) fn permit_named(&self, permission: PermissionName, name: &str) -> Result<(), RpcError> {
        let named = Name::new(name).map_err(|error| {
            let shown = crate::consent::shown(name);
            RpcError::new(RpcErrorCode::InvalidParams, format!("'{shown}' cannot be a name: {error}"))
        })?;
        self.permit(&Request::Named { permission, name: named }, name)
    }

    /// Records a refusal, and gives it as the plugin hears it.
    pub(super) fn deny(&self, object: &str, grant: Option<&str>, why: &str) -> RpcError {
        let denial = Denial {
            object: object.to_owned(),
            grant: grant.map(str::to_owned),
            count: 1,
            ..Denial::new("host_api", self.call.method.as_str())
        };
        let told = denied(&denial, why);
        self.context.denied(self.target, Refused::of_request(denial, self.call));
        told
    }

    /// Puts the act into the audit trail. It has ended when what this gives is dropped: as done, or as failed.
    ///
    /// # Errors
    /// `busy` when the trail takes no more: then it must not be done.
    pub(super) async fn begin(&self, object: &str) -> Result<Act, RpcError> {
        let meter = self.context.store.calls(&self.target.owner, &self.call.method);
        let (object, correlation_id): (Arc<str>, Arc<str>) =
            (object.into(), self.call.correlation_id.as_str().into());
        meter
            .act(&object, &correlation_id, AUDIT_WAIT, Outcome::Failed)
            .await
            .map_err(|error| refused(&error))
    }
}

/// A result as JSON.
///
/// # Errors
/// `internal` for what is no JSON.
pub(super) fn answer(value: &impl Serialize) -> Result<Box<RawValue>, RpcError> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| RpcError::new(RpcErrorCode::Internal, error.to_string()))
}

/// An error with a word of its own in its data, and with what it is about. For what JSON-RPC has no number for.
pub(super) fn failed(
    code: RpcErrorCode,
    word: &str,
    message: impl Into<String>,
    (operation, object): (&str, &str),
) -> RpcError {
    let data = serde_json::json!({ "code": word, "operation": operation, "object": object });
    let made = RpcError::new(code, message);
    match serde_json::value::to_raw_value(&data) {
        Ok(data) => made.with_data(data),
        Err(_) => made,
    }
}

/// Work that waits for the disk, on a thread of its own that ends with it: it may give rights away, and it goes on to its end
/// when nobody waits for it any more.
///
/// # Errors
/// `busy` when no thread can be had, `internal` when it was lost.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RpcError> {
    let (done, ready) = tokio::sync::oneshot::channel();
    let body = move || {
        // Nobody may wait any more.
        let _unheard = done.send(work());
    };
    std::thread::Builder::new()
        .name("ringfence-files".into())
        .spawn(body)
        .map_err(|error| RpcError::new(RpcErrorCode::Busy, format!("no thread for it: {error}")))?;
    ready.await.map_err(|_| RpcError::new(RpcErrorCode::Internal, "the host has failed; its log says how"))
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
pub(super) fn refused(error: &Error) -> RpcError {
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
