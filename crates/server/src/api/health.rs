//! Whether the host is well; to strangers in one word, to those with a token with the reasons.

use ringfence_api::PluginState;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Found;
use super::asked::Asked;
use super::error::Failure;

/// The one route that answers without a token.
pub(super) const PATH: &str = "/health";

/// How the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Health {
    /// Everything that should be active is.
    Ok,
    /// Something is not as it should be, and the rest goes on.
    Degraded,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct HealthAnswer {
    /// In one word.
    pub status: Health,
    /// Why it is not `ok`; only for callers with a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<String>>,
    /// Which version serves; only for callers with a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
}

pub(super) async fn health(asked: Asked<(), ()>) -> Result<Found<HealthAnswer>, Failure> {
    // A stranger costs no look into the store: what is said is that requests are answered.
    if asked.caller.actor.is_empty() {
        return Ok(Found(HealthAnswer { status: Health::Ok, reasons: None, version: None }));
    }
    let mut reasons = Vec::new();
    if let Some(warning) = asked.host.policy().warning() {
        reasons.push(warning);
    }
    for plugin in asked.host.list().await? {
        let is_ours = asked.caller.plugin.as_ref().is_none_or(|own| *own == plugin.name);
        let is_unwell = matches!(plugin.state, PluginState::Errored | PluginState::Quarantined);
        if is_ours && is_unwell {
            let why = plugin.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            reasons.push(format!("{} is {}{why}", plugin.name, plugin.state));
        }
    }
    let status = if reasons.is_empty() { Health::Ok } else { Health::Degraded };
    Ok(Found(HealthAnswer { status, reasons: Some(reasons), version: Some(env!("CARGO_PKG_VERSION")) }))
}
