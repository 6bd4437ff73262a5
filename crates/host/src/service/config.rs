//! The plugin's own configuration: it may always read it, and change it when `config:write` is granted.

use std::sync::Arc;

use ringfence_api::PermissionName;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::asking::{Asking, answer, refused};
use crate::Error;
use crate::lifecycle::{Target, with_defaults};
use crate::rpc::RpcError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigParams {
    config: Value,
}

pub(super) async fn get(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let mut act = asking.begin("").await?;
    let config = asking.target.config();
    act.done();
    answer(&json!({ "config": config }))
}

pub(super) async fn set(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let ConfigParams { config } = asking.params()?;
    let target = asking.target;
    asking.permit_named(PermissionName::ConfigWrite, target.name.as_str())?;
    let mut act = asking.begin("").await?;
    let (owner, shared, by) = (target.owner.clone(), Arc::clone(target), format!("plugin {}", target.name));
    let written = asking.context.store.run(move |store| {
        // It was told its configuration whole; a default that it hands back unchanged stays one.
        let old = store.config(&owner)?.map_or_else(|| json!({}), |row| row.value);
        let config = crate::host::handed_back(shared.config_schema.as_ref(), config, &old)?;
        judge_config(&shared, &config)?;
        let whole = with_defaults(shared.config_schema.as_ref(), &config)?;
        let row = store.set_config(&owner, config, None, by.as_str())?;
        if let Some(run) = &shared.run {
            // It need not be told what it has said itself.
            run.started.was_told(row.revision);
        }
        Ok(whole)
    });
    target.set_config(written.await.map_err(|error| refused(&error))?);
    act.done();
    answer(&json!({}))
}

/// Whether a configuration follows its schema.
///
/// # Errors
/// `schema_violation` with every place that does not.
fn judge_config(target: &Target, config: &Value) -> Result<(), Error> {
    crate::host::judge(target.config_schema.as_ref(), config, "the configuration")
}
