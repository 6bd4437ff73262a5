//! SIGHUP: the configuration is read again. What is wrong with the new one is told, and the old one goes on.

use ringfence::config::{LogLevel, ServerConfig};
use ringfence::{Config, Error, Home, Host};
use ringfence_api::ErrorCode;

use super::log::LogControl;

/// The environment variable that says how much is logged, above the file.
const LOG_VARIABLE: &str = "RINGFENCE_LOG";

/// What holds, and how to change it.
#[derive(Debug)]
pub(super) struct Reloader {
    home: Home,
    config: Config,
    log: LogControl,
}

impl Reloader {
    pub(super) fn new(home: Home, config: Config, log: LogControl) -> Self {
        Self { home, config, log }
    }

    /// What holds now.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Takes up what `config.toml` says now, as far as it can be changed while the daemon runs.
    pub(super) fn reload(&self, host: &Host) {
        let read = Config::load(&self.home).and_then(|config| Ok((level(&config)?, config)));
        let (level, config) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(
                    error = error.chain(),
                    "the new configuration has mistakes; what held before goes on"
                );
                return;
            }
        };
        self.log.set(level);
        let mut waits = needs_restart(&self.config.server, &config.server);
        waits.extend(host.reconfigure(config.clone()));
        let waits = waits.join(" ");
        if waits.is_empty() {
            tracing::info!(log = level.as_str(), "the configuration was read again");
        } else {
            tracing::warn!(
                log = level.as_str(),
                waits,
                "the configuration was read again; what `waits` names needs a restart"
            );
        }
    }
}

/// How much is logged.
///
/// # Errors
/// `invalid_config` when the variable is no level.
pub(super) fn level(config: &Config) -> Result<LogLevel, Error> {
    let Some(value) = std::env::var_os(LOG_VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(config.server.log);
    };
    let word = value.to_string_lossy();
    LogLevel::from_word(&word).ok_or_else(|| {
        let message = format!("{LOG_VARIABLE}='{}' is no level", word.escape_debug());
        Error::new(ErrorCode::InvalidConfig, message).with_hint(format!("choose {}", LogLevel::choices()))
    })
}

/// The parts that differ and that only a new daemon takes up.
fn needs_restart(old: &ServerConfig, new: &ServerConfig) -> Vec<&'static str> {
    let parts = [
        ("server.listen", old.listen != new.listen),
        ("server.tls_certificate", old.tls_certificate != new.tls_certificate),
        ("server.tls_key", old.tls_key != new.tls_key),
        ("server.names", old.names != new.names),
        ("server.install_from", old.install_from != new.install_from),
        ("server.drain_timeout", old.drain_timeout != new.drain_timeout),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_new_daemon_takes_up_is_named() {
        let old = Config::default().server;
        assert!(needs_restart(&old, &old).is_empty());
        let new =
            Config::parse("[server]\nlisten = []\nlog = \"debug\"\ninstall_from = [\"/srv\"]\n").unwrap();
        assert_eq!(needs_restart(&old, &new.server), ["server.listen", "server.install_from"]);
    }
}
