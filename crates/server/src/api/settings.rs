//! Configuration and grants of a plugin, each with a version.

use ringfence::plugin::{Consent, GrantInfo};
use ringfence_api::Permission;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::Versioned;
use super::asked::{Asked, Json};
use super::error::Failure;
use super::version;

/// A plugin's configuration: an object that its schema describes. A secret is shown as `***`, and given as that it stays what
/// it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct ConfigDocument(pub Map<String, Value>);

/// The grants that a plugin shall have: these and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantsBody {
    /// As `NAME` or `NAME=SCOPE`.
    pub permissions: Vec<Permission>,
}

pub(super) async fn config(asked: Asked<(), ()>) -> Result<Versioned<Value>, Failure> {
    Ok(versioned(asked.host.config(asked.name()).await?))
}

pub(super) async fn set_config(asked: Asked<(), Json<ConfigDocument>>) -> Result<Versioned<Value>, Failure> {
    let name = asked.name().to_owned();
    let _turn = asked.api.versions.take(&name).await;
    version::judge(&asked, &version::of(&asked.host.config(&name).await?))?;
    let given = Value::Object(asked.body.0.0);
    Ok(versioned(asked.host.set_config(&name, given).await?))
}

pub(super) async fn grants(asked: Asked<(), ()>) -> Result<Versioned<Vec<GrantInfo>>, Failure> {
    Ok(versioned(asked.host.grants(asked.name()).await?))
}

pub(super) async fn set_grants(
    asked: Asked<(), Json<GrantsBody>>,
) -> Result<Versioned<Vec<GrantInfo>>, Failure> {
    let name = asked.name().to_owned();
    let _turn = asked.api.versions.take(&name).await;
    version::judge(&asked, &version::of(&asked.host.grants(&name).await?))?;
    let wanted = asked.body.0.permissions;
    asked.host.consent(&name, Consent::Only(wanted)).await?;
    Ok(versioned(asked.host.grants(&name).await?))
}

fn versioned<T: Serialize>(document: T) -> Versioned<T> {
    let version = version::of(&document);
    Versioned { document, version }
}
