//! What the owner of a connection does for its plugin.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use ringfence_api::rpc::RpcErrorCode;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::error::RpcError;
use super::fault::Fault;
use super::table::Calls;

/// What becomes of a plugin's request.
pub type Reply = Pin<Box<dyn Future<Output = Result<Box<RawValue>, RpcError>> + Send>>;

/// A request of the plugin.
///
/// ```
/// use ringfence::rpc::{IncomingRequest, RpcError};
///
/// #[derive(serde::Deserialize)]
/// struct Key {
///     key: String,
/// }
/// fn key(request: &IncomingRequest) -> Result<String, RpcError> {
///     Ok(request.params_as::<Key>()?.key)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct IncomingRequest {
    /// The method, at most 128 bytes, without control characters.
    pub method: String,
    /// The parameters: an object or an array.
    pub params: Option<Box<RawValue>>,
    /// The work that it belongs to: that of a call that is running here, if the plugin names it, else a new one.
    pub correlation_id: String,
    /// Whether the plugin named a running call as the reason.
    pub within_call: bool,
    /// The calls that the plugin had when it asked without naming one: it may belong to any of them, or to none.
    pub calls: Calls,
    /// When nobody waits for the answer any more.
    pub deadline: Instant,
}

impl IncomingRequest {
    /// The parameters as a type; none are read as `{}`.
    ///
    /// # Errors
    /// `invalid_params` with what is wrong with them.
    pub fn params_as<T: DeserializeOwned>(&self) -> Result<T, RpcError> {
        let text = self.params.as_ref().map_or("{}", |params| params.get());
        let refuse = |why: &dyn fmt::Display| {
            let message = format!("{} does not take these parameters: {why}", self.method);
            RpcError::new(RpcErrorCode::InvalidParams, message)
        };
        if !text.starts_with('{') {
            return Err(refuse(&"they are no object"));
        }
        serde_json::from_str(text).map_err(|error| refuse(&error))
    }
}

/// A notification of the plugin, borrowed from its line.
///
/// ```
/// use ringfence::rpc::IncomingNotification;
///
/// fn is_log(note: &IncomingNotification<'_>) -> bool {
///     note.method == "log"
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct IncomingNotification<'a> {
    /// The method, at most 128 bytes, without control characters.
    pub method: &'a str,
    /// The parameters: an object or an array.
    pub params: Option<&'a RawValue>,
    /// The call that it belongs to: with `$/progress` always there.
    pub correlation_id: Option<&'a str>,
}

/// Answers the plugin.
///
/// ```
/// use ringfence::rpc::{IncomingNotification, IncomingRequest, Reply, RpcError, Service};
/// use ringfence_api::rpc::RpcErrorCode;
///
/// /// Knows no method.
/// struct Nothing;
///
/// impl Service for Nothing {
///     fn request(&self, call: IncomingRequest) -> Reply {
///         Box::pin(async move { Err(RpcError::new(RpcErrorCode::MethodNotFound, call.method)) })
///     }
///     fn notify(&self, _note: IncomingNotification<'_>) {}
/// }
/// ```
pub trait Service: Send + Sync + 'static {
    /// Serves a request. At most [`Options::serving_max`](super::Options::serving_max) run at once, each in a task of its own.
    ///
    /// The future is dropped when the plugin cancels the request, when its deadline passes and when the connection ends: what
    /// must not stop half-way belongs into a task of its own or into `spawn_blocking`.
    fn request(&self, call: IncomingRequest) -> Reply;

    /// Hears of a notification. Called by the driver between two lines, so it must return at once.
    fn notify(&self, note: IncomingNotification<'_>);

    /// Hears of a line that was dropped. Called by the driver between two lines, so it must return at once. Default: nothing.
    fn fault(&self, fault: Fault) {
        drop(fault);
    }
}

/// A service that knows no method.
///
/// ```
/// use ringfence::rpc::{NoService, Service};
///
/// fn is_service(_: &impl Service) {}
/// is_service(&NoService);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoService;

impl Service for NoService {
    fn request(&self, call: IncomingRequest) -> Reply {
        Box::pin(async move {
            let message = format!("there is no method {}", call.method);
            Err(RpcError::new(RpcErrorCode::MethodNotFound, message))
        })
    }

    fn notify(&self, _note: IncomingNotification<'_>) {}
}

impl fmt::Debug for dyn Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}
