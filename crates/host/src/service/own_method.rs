//! Methods that the host application adds: judged, recorded and bounded like Ringfence's own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use ringfence_api::rpc::RpcErrorCode;
use ringfence_api::{ErrorCode, PermissionName, PluginName};
use serde_json::Value;
use serde_json::value::RawValue;

use super::asking::{Asking, answer};
use crate::Error;
use crate::rpc::RpcError;

/// The longest name of such a method, in bytes.
pub const METHOD_NAME_MAX_BYTES: usize = 64;

/// A method of the host application's own, which plugins request by its name and under its permission.
///
/// The permission is one that the application defines, `x-NAME:VERB`. Its scope is over names: [`Method::object`] says which
/// parameter names what the request is about, and that name is judged against the scope. Without it the name of the method is
/// judged, so that the bare permission opens it.
///
/// ```
/// use ringfence::rpc::RpcError;
/// use ringfence::service::{Method, MethodCall};
/// use serde_json::json;
///
/// let export = Method::new("x_crm_export", "x-crm:export", |call: MethodCall| async move {
///     Ok::<_, RpcError>(json!({ "customer": call.object, "by": call.plugin.as_str() }))
/// })?
/// // `x-crm:export=acme` opens one customer, `x-crm:export` all of them.
/// .object(|params| params["customer"].as_str().map(str::to_owned));
/// let host = ringfence::Host::builder().method(export);
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone)]
pub struct Method {
    name: String,
    permission: PermissionName,
    object: Option<Arc<ObjectOf>>,
    handler: Arc<dyn MethodHandler>,
}

type ObjectOf = dyn Fn(&Value) -> Option<String> + Send + Sync;

/// A request for a method of the application's own, which its plugin is allowed to make.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MethodCall {
    /// Who asks.
    pub plugin: PluginName,
    /// The parameters: an object. Nobody has judged more of them than the object.
    pub params: Value,
    /// What it is about, as the scope of the permission was judged.
    pub object: String,
    /// The work that it belongs to, as the audit trail names it.
    pub correlation_id: String,
    /// Whether that is a call of the host that is in progress; else the plugin asks by itself.
    pub within_call: bool,
    /// When nobody waits for the answer any more. The future of the handler is dropped then, and also when the plugin cancels
    /// the request or ends.
    pub deadline: Instant,
}

/// What answers a method. Implemented for functions and closures that take a [`MethodCall`] and give a future.
pub trait MethodHandler: Send + Sync + 'static {
    /// Answers one request, with at most a message's size of JSON.
    ///
    /// The plugin gets an error as it is; numbers of the application's own are those outside -32768 to -31000.
    fn handle(&self, call: MethodCall) -> MethodReply;
}

type MethodReply = Pin<Box<dyn Future<Output = Result<Value, RpcError>> + Send>>;

impl<F, R> MethodHandler for F
where
    F: Fn(MethodCall) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value, RpcError>> + Send + 'static,
{
    fn handle(&self, call: MethodCall) -> MethodReply {
        Box::pin(self(call))
    }
}

impl Method {
    /// A method with its permission and its handler.
    ///
    /// # Errors
    /// `usage` for a name that is not `x_` and words of `a-z`, `0-9` between single underscores, at most
    /// [`METHOD_NAME_MAX_BYTES`] together; `invalid_permission` for a permission that is not `x-NAME:VERB`.
    pub fn new(name: &str, permission: &str, handler: impl MethodHandler) -> Result<Self, Error> {
        if !is_name(name) {
            let shown = crate::consent::shown(name);
            return Err(Error::new(ErrorCode::Usage, format!("'{shown}' cannot be the name of a method"))
                .with_hint("write x_ and words of a-z and 0-9 between underscores, such as x_crm_export"));
        }
        let shown = crate::consent::shown(permission);
        let permission = permission.parse::<PermissionName>().ok();
        let Some(permission @ PermissionName::Extension(_)) = permission else {
            let message = format!("'{shown}' cannot be the permission of {name}");
            return Err(Error::new(ErrorCode::InvalidPermission, message)
                .with_hint("the application's own permissions are x-NAME:VERB, such as x-crm:export"));
        };
        Ok(Self { name: name.to_owned(), permission, object: None, handler: Arc::new(handler) })
    }

    /// Says what a request is about, by its parameters: the name that the scope of the permission is judged by. Parameters for
    /// which it answers `None` are refused as `invalid_params`.
    #[must_use]
    pub fn object(mut self, object: impl Fn(&Value) -> Option<String> + Send + Sync + 'static) -> Self {
        self.object = Some(Arc::new(object));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The permission that it asks for.
    #[must_use]
    pub const fn permission(&self) -> &PermissionName {
        &self.permission
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method")
            .field("name", &self.name)
            .field("permission", &self.permission)
            .field("object", &self.object.is_some())
            .finish_non_exhaustive()
    }
}

/// INVARIANT: no method of the protocol begins with `x_`, so none can be replaced.
fn is_name(name: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    name.len() <= METHOD_NAME_MAX_BYTES
        && name.strip_prefix("x_").is_some_and(|rest| rest.split('_').all(word))
}

pub(super) async fn call(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let Some(method) = asking.context.offers.methods.get(&asking.call.method) else {
        let message = format!("there is no method '{}'", crate::consent::shown(&asking.call.method));
        return Err(RpcError::new(RpcErrorCode::MethodNotFound, message));
    };
    let params: Value = asking.params()?;
    let object = match &method.object {
        None => Some(method.name.clone()),
        Some(object) => object(&params),
    };
    let object = object.ok_or_else(|| {
        let message = format!("{} does not find in its parameters what they are about", method.name);
        RpcError::new(RpcErrorCode::InvalidParams, message)
    })?;
    asking.permit_named(method.permission.clone(), &object)?;
    let mut act = asking.begin(&object).await?;
    let call = MethodCall {
        plugin: asking.target.name.clone(),
        params,
        object,
        correlation_id: asking.call.correlation_id.clone(),
        within_call: asking.call.within_call,
        deadline: asking.call.deadline,
    };
    let value = method.handler.handle(call).await?;
    act.done();
    answer(&value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_api::rpc::method;

    fn made(name: &str, permission: &str) -> Result<Method, ErrorCode> {
        let handler = |_: MethodCall| async { Ok::<_, RpcError>(Value::Null) };
        Method::new(name, permission, handler).map_err(|error| error.code())
    }

    #[test]
    fn a_name_is_bounded_and_never_one_of_the_protocols() {
        let longest = format!("x_{}", "a".repeat(METHOD_NAME_MAX_BYTES - 2));
        for good in ["x_a", "x_crm_export", "x_2", &longest] {
            assert_eq!(made(good, "x-crm:export").unwrap().name(), good);
        }
        let long = format!("{longest}a");
        for bad in ["", "x", "x_", "x__a", "x_a_", "x_A", "x-a", "x_a.b", "x_é", "crm_export", "$/x_a", &long]
        {
            assert_eq!(made(bad, "x-crm:export").unwrap_err(), ErrorCode::Usage, "{bad}");
        }
        for own in method::HOST_REQUESTS.iter().chain(&[method::LOG, method::PROGRESS, method::CANCEL]) {
            assert_eq!(made(own, "x-crm:export").unwrap_err(), ErrorCode::Usage, "{own}");
        }
    }

    #[test]
    fn its_permission_is_one_of_the_applications_own() {
        for bad in ["file:read", "x-crm:export=a", "x-crm", "", "x-CRM:export"] {
            assert_eq!(made("x_a", bad).unwrap_err(), ErrorCode::InvalidPermission, "{bad}");
        }
    }
}
