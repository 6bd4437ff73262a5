//! What of the host itself is not as it should be: its disk, its audit trail, and what its configuration takes away.
//!
//! How plugins are is not said here: [`Host::list`] has that, and [`Host::policy`] the policy.

use std::time::{Duration, Instant};

use ringfence_api::ErrorCode;

use super::Host;
use crate::audit::AuditVerdict;
use crate::config::{Config, LimitsBackend};
use crate::store::Store;

/// How long what was found is given again, so that whoever asks often costs little.
pub const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// How long the store may take to show that it can be written.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// What was found last.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: tokio::sync::Mutex<Option<(Instant, Vec<String>)>>,
    trail: std::sync::Mutex<Trail>,
}

/// What is known of the audit trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Trail {
    /// Nobody has looked.
    #[default]
    Unknown,
    Fine,
    /// In words.
    Bad(String),
}

impl Health {
    fn trail(&self) -> std::sync::MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Somebody has verified the whole trail.
    pub(super) fn verified(&self, verdict: &AuditVerdict) {
        *self.trail() = match &verdict.first_bad {
            None => Trail::Fine,
            Some(bad) => Trail::Bad(format!(
                "the audit trail was found damaged at record {}: {}; `ringfence audit verify` says more",
                bad.seq, bad.reason
            )),
        };
    }

    /// A damaged trail was put away.
    pub(super) fn sealed(&self) {
        *self.trail() = Trail::Fine;
    }
}

impl Host {
    /// What is wrong with the host itself, each in a sentence without paths; empty: nothing. The store cannot be written or takes no
    /// more calls; the audit trail was found damaged or cut, at any opening or by [`Host::audit_verify`]; the configuration
    /// takes something of a sandbox away. What was found is given again for [`HEALTH_EVERY`].
    ///
    /// # Cancel safety
    /// Changes nothing that is seen.
    pub async fn ailments(&self) -> Vec<String> {
        let mut last = self.inner.health.last.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < HEALTH_EVERY
        {
            return found.clone();
        }
        let mut found: Vec<String> = Vec::new();
        found.extend(self.store_ailment().await);
        found.extend(self.trail_ailment().await);
        found.extend(weakened(&self.context().config()).into_iter().map(str::to_owned));
        *last = Some((Instant::now(), found.clone()));
        found
    }

    async fn store_ailment(&self) -> Option<String> {
        let store = &self.context().store;
        if store.is_refusing() {
            return Some(
                "the audit trail takes no more records, so calls are refused; check the disk of the home"
                    .into(),
            );
        }
        // It goes on by itself if the disk does not answer; the next look waits behind it.
        let error = match tokio::time::timeout(STORE_WAIT, store.run(Store::try_write)).await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        Some(match error {
            Some(error) if error.code() != ErrorCode::Busy => {
                tracing::warn!(error = %error.chain(), "the store cannot be written");
                "nothing can be written to the home: its disk is full or fails".to_owned()
            }
            _ => "the store of the home does not answer: another process holds it, or its disk is slow"
                .to_owned(),
        })
    }

    async fn trail_ailment(&self) -> Option<String> {
        let known = self.inner.health.trail().clone();
        if known == Trail::Unknown
            && let Ok(gap) = self.context().store.run(Store::audit_gap).await
        {
            // Once for each host: such a record is added by an opening, and by nothing else.
            let found = gap.map_or(Trail::Fine, |seq| {
                Trail::Bad(format!(
                    "the audit trail was found shorter than it was, at record {seq}; `ringfence audit verify` says more"
                ))
            });
            *self.inner.health.trail() = found;
        }
        match &*self.inner.health.trail() {
            Trail::Bad(why) => Some(why.clone()),
            Trail::Unknown | Trail::Fine => None,
        }
    }
}

/// What the configuration takes away of what a sandbox holds by default.
fn weakened(config: &Config) -> Vec<&'static str> {
    let plugins = &config.plugins;
    let all = [
        (
            config.limits_backend == LimitsBackend::Sampler,
            "config.toml: limits_backend is sampler, so limits are looked at ten times a second and not held by the kernel",
        ),
        (plugins.memory_bytes.is_none(), "config.toml: plugins have no limit of memory"),
        (plugins.processes.is_none(), "config.toml: plugins have no limit of processes"),
    ];
    all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, words)| words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_takes_away_is_said_and_nothing_else() {
        assert!(weakened(&Config::default()).is_empty());
        let mut config = Config { limits_backend: LimitsBackend::Sampler, ..Config::default() };
        config.plugins.memory_bytes = None;
        config.plugins.processes = None;
        assert_eq!(weakened(&config).len(), 3);
    }
}
