//! `register_hook` and `post_event`.

use std::sync::Arc;

use ringfence_api::rpc::RpcErrorCode;
use ringfence_api::{HookDeclaration, PermissionName};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::asking::{Asking, answer, refused};
use crate::Host;
use crate::hooks::Dynamic;
use crate::host::Posting;
use crate::rpc::RpcError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostParams {
    topic: String,
    #[serde(default)]
    payload: Value,
}

/// A hook for as long as the plugin runs. The event must be granted, so nothing is added that nobody consented to.
pub(super) async fn register(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let declaration: HookDeclaration = asking.params()?;
    asking.permit_named(PermissionName::HookRegister, &declaration.event)?;
    within_rate(asking)?;
    let mut act = asking.begin(&declaration.event).await?;
    let target = asking.target;
    let hook = Dynamic { plugin: target.name.clone(), run: Arc::downgrade(target), declaration };
    let registered = asking.context.hooks.register(hook);
    registered.map_err(|why| RpcError::new(RpcErrorCode::Quota, why))?;
    act.done();
    answer(&json!({}))
}

/// A message to everybody who is granted the topic.
pub(super) async fn post(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let PostParams { topic, payload } = asking.params()?;
    asking.permit_named(PermissionName::EventPost, &topic)?;
    within_rate(asking)?;
    let mut act = asking.begin(&topic).await?;
    let host = host_of(asking)?;
    let (call, name) = (asking.call, &asking.target.name);
    let depths = &asking.context.hooks.depths;
    // What a plugin posts in its own name while something is delivered to it is taken to come of that.
    let outer =
        if call.within_call { depths.of(&call.correlation_id) } else { host.mailboxes().depth_of(name) };
    let posting = Posting {
        topic: &topic,
        payload,
        source: Some(name),
        correlation_id: call.correlation_id.as_str().into(),
        depth: outer + 1,
        wait: false,
    };
    host.post(posting).await.map_err(|error| refused(&error))?;
    act.done();
    answer(&json!({}))
}

fn host_of(asking: Asking<'_>) -> Result<Host, RpcError> {
    let gone = || RpcError::new(RpcErrorCode::NotReady, "the host is shutting down");
    asking.context.host().ok_or_else(gone)
}

fn within_rate(asking: Asking<'_>) -> Result<(), RpcError> {
    let most = asking.context.config().plugins.events_per_second;
    if asking.target.events.take(most) {
        return Ok(());
    }
    let message = format!("a plugin posts and registers {most} times a second at most");
    Err(RpcError::new(RpcErrorCode::Busy, message))
}
