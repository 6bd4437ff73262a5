//! Whether the host is well; to strangers in one word, to those with a token with the reasons.
//!
//! The status is always 200: the question was answered. Who looks after the host reads the word.

use std::time::Instant;

use ringfence::Host;
use ringfence::host::HEALTH_EVERY;
use ringfence_api::{PluginName, PluginState};
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

/// What strangers were told last.
#[derive(Debug, Default)]
pub(crate) struct ToldStrangers {
    last: tokio::sync::Mutex<Option<(Instant, Health)>>,
}

pub(super) async fn health(asked: Asked<(), ()>) -> Result<Found<HealthAnswer>, Failure> {
    if !asked.caller.actor.is_empty() {
        let reasons = reasons(&asked.host, asked.caller.plugin.as_ref()).await?;
        let status = status(&reasons);
        let version = Some(env!("CARGO_PKG_VERSION"));
        return Ok(Found(HealthAnswer { status, reasons: Some(reasons), version }));
    }
    // Strangers are told the truth, and cost a look at most once a second, however many ask.
    let mut last = asked.api.told_strangers.last.lock().await;
    let fresh = last.filter(|(at, _)| at.elapsed() < HEALTH_EVERY);
    let status = match fresh {
        Some((_, status)) => status,
        None => {
            // What cannot be read is not well.
            let status =
                reasons(&asked.host, None).await.map_or(Health::Degraded, |reasons| status(&reasons));
            *last = Some((Instant::now(), status));
            status
        }
    };
    Ok(Found(HealthAnswer { status, reasons: None, version: None }))
}

fn status(reasons: &[String]) -> Health {
    if reasons.is_empty() { Health::Ok } else { Health::Degraded }
}

/// Why it is not well: the host itself, the policy, and plugins, or the one that the caller may see.
async fn reasons(host: &Host, own: Option<&PluginName>) -> Result<Vec<String>, Failure> {
    let mut reasons = host.ailments().await;
    reasons.extend(host.policy().warning());
    for plugin in host.list().await? {
        let is_ours = own.is_none_or(|own| *own == plugin.name);
        let is_unwell = matches!(plugin.state, PluginState::Errored | PluginState::Quarantined);
        if is_ours && is_unwell {
            let why = plugin.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            reasons.push(format!("{} is {}{why}", plugin.name, plugin.state));
        }
    }
    Ok(reasons)
}
