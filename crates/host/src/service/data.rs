//! The plugin's own key-value store: always allowed, within its quota.

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::asking::{Asking, answer, refused};
use crate::rpc::RpcError;
use ringfence_api::rpc::RpcErrorCode;

/// Keys that one `list_plugin_data` gives at most.
pub const LIST_MAX: usize = 1000;

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

#[derive(Serialize)]
struct Loaded {
    found: bool,
    value: Option<Box<RawValue>>,
}

pub(super) async fn store(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let StoreParams { key, value } = asking.params()?;
    let mut act = asking.begin(&key).await?;
    let (owner, limits) = (asking.target.owner.clone(), &asking.target.limits);
    let (bytes_max, keys_max) = (limits.data_bytes, limits.data_keys);
    let value = value.get().as_bytes().to_vec();
    let stored =
        asking.context.store.run(move |store| store.data_put(&owner, &key, value, bytes_max, keys_max)).await;
    stored.map_err(|error| refused(&error))?;
    act.done();
    answer(&json!({}))
}

pub(super) async fn load(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let KeyParams { key } = asking.params()?;
    let mut act = asking.begin(&key).await?;
    let owner = asking.target.owner.clone();
    let loaded = asking.context.store.run(move |store| store.data_get(&owner, &key)).await;
    let value = loaded.map_err(|error| refused(&error))?.map(as_json).transpose()?;
    act.done();
    answer(&Loaded { found: value.is_some(), value })
}

pub(super) async fn delete(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let KeyParams { key } = asking.params()?;
    let mut act = asking.begin(&key).await?;
    let owner = asking.target.owner.clone();
    let deleted = asking.context.store.run(move |store| store.data_delete(&owner, &key)).await;
    let deleted = deleted.map_err(|error| refused(&error))?;
    act.done();
    answer(&json!({ "deleted": deleted }))
}

pub(super) async fn list(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let ListParams { prefix, limit, after } = asking.params()?;
    let mut act = asking.begin(&prefix).await?;
    let limit = limit.unwrap_or(LIST_MAX).min(LIST_MAX);
    let owner = asking.target.owner.clone();
    let listed = asking
        .context
        .store
        .run(move |store| store.data_list(&owner, &prefix, after.as_deref(), limit))
        .await;
    let listed = listed.map_err(|error| refused(&error))?;
    act.done();
    answer(&json!({ "keys": listed.keys, "more": listed.more }))
}

fn as_json(bytes: Vec<u8>) -> Result<Box<RawValue>, RpcError> {
    let damaged = || RpcError::new(RpcErrorCode::Internal, "the kept value is damaged");
    let text = String::from_utf8(bytes).map_err(|_| damaged())?;
    RawValue::from_string(text).map_err(|_| damaged())
}
