//! Configuration and grants of a plugin, each with a version.

use ringfence::Host;
use ringfence::plugin::{Consent, GrantInfo, PluginSummary};
use ringfence_api::{ErrorCode, Permission};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::{Found, Versioned};
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
    let (document, revision) = read_config(&asked.host, asked.name()).await?;
    Ok(Versioned { document, version: version::of(&revision) })
}

pub(super) async fn set_config(asked: Asked<(), Json<ConfigDocument>>) -> Result<Versioned<Value>, Failure> {
    let name = asked.name().to_owned();
    let _turn = asked.api.versions.take(&name).await;
    let (_, revision) = read_config(&asked.host, &name).await?;
    version::judge(&asked, &version::of(&revision))?;
    let names_a_version = asked.names_a_version();
    let given = Value::Object(asked.body.0.0);
    // Whoever named a version has it held against the store: another process may write meanwhile.
    if names_a_version {
        asked.host.set_config_at(&name, given, revision.0).await?;
    } else {
        asked.host.set_config(&name, given).await?;
    }
    let (document, revision) = read_config(&asked.host, &name).await?;
    Ok(Versioned { document, version: version::of(&revision) })
}

/// What tells two configurations apart, of secrets too: how often it was written, and for which package.
type Revision = (i64, String);

async fn read_config(host: &Host, name: &str) -> Result<(Value, Revision), Failure> {
    // The revision first: what is written in between makes the version too old, not too new.
    let revision = host.config_revision(name).await?;
    let digest = host.show(name).await?.digest;
    Ok((host.config(name).await?, (revision, digest)))
}

pub(super) async fn grants(asked: Asked<(), ()>) -> Result<Versioned<Vec<GrantInfo>>, Failure> {
    let (document, version, _) = read_grants(&asked.host, asked.name()).await?;
    Ok(Versioned { document, version })
}

pub(super) async fn set_grants(
    asked: Asked<(), Json<GrantsBody>>,
) -> Result<Versioned<Vec<GrantInfo>>, Failure> {
    let name = asked.name().to_owned();
    let _turn = asked.api.versions.take(&name).await;
    let (before, version, asks) = read_grants(&asked.host, &name).await?;
    version::judge(&asked, &version)?;
    if asks.waits && !asked.names_a_version() {
        let message = "an upgrade waits for consent, which this would carry out";
        return Err(Failure::new(ErrorCode::Conflict, message)
            .hint("read GET /plugins/{name} and its grants, and send the ETag of these in If-Match"));
    }
    let wanted = asked.body.0.permissions;
    let is_new = |one: &&Permission| before.iter().all(|grant| grant.permission != **one);
    let just_now: Vec<Permission> = wanted.iter().filter(is_new).cloned().collect();
    // Nobody's turn keeps an installation or an upgrade from coming in between.
    asked.host.consent_to(&name, Some(&asks.digest), Consent::Only(wanted)).await?;
    // The version is of what is granted, whatever is said of it.
    let (_, version, _) = read_grants(&asked.host, &name).await?;
    let document = asked.host.grants_with_warnings(&name, &just_now).await?;
    Ok(Versioned { document, version })
}

/// Drops the version that waits. The version of the grants is of it, too: whoever names one drops no other than they looked at.
pub(super) async fn abandon_upgrade(asked: Asked<(), ()>) -> Result<Found<PluginSummary>, Failure> {
    let name = asked.name().to_owned();
    let _turn = asked.api.versions.take(&name).await;
    let (_, version, asks) = read_grants(&asked.host, &name).await?;
    version::judge(&asked, &version)?;
    // Nobody's turn keeps another version from coming in between.
    let digest = asks.waits.then_some(asks.digest.as_str());
    Ok(Found(asked.host.abandon_upgrade(&name, digest).await?))
}

/// The package that consent is to.
struct Asks {
    digest: String,
    /// Whether it is that of an upgrade.
    waits: bool,
}

/// The grants, their version, and what consent would be to. The version is of the packages, too.
async fn read_grants(host: &Host, name: &str) -> Result<(Vec<GrantInfo>, String, Asks), Failure> {
    let details = host.show(name).await?;
    let pending = details.pending.map(|pending| pending.digest);
    let version = version::of(&(&details.grants, &details.digest, &pending));
    let waits = pending.is_some();
    Ok((details.grants, version, Asks { digest: pending.unwrap_or(details.digest), waits }))
}
