//! The part of `config.toml` that is about the daemon: where it listens, its certificate, and what may be installed through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::units;

pub(super) const SERVER: [&str; 7] =
    ["drain_timeout", "install_from", "listen", "log", "names", "tls_certificate", "tls_key"];
/// More names than any server is called by.
const NAMES_MAX: usize = 64;
/// More addresses than any machine serves one home on.
const LISTEN_MAX: usize = 16;
/// More directories would make every installation slow to judge.
const INSTALL_FROM_MAX: usize = 64;
/// The port of the daemon.
const PORT: u16 = 7700;

/// How much the daemon says in its log.
///
/// ```
/// use ringfence::config::LogLevel;
///
/// assert_eq!(LogLevel::from_word("warn"), Some(LogLevel::Warn));
/// assert_eq!(LogLevel::default().as_str(), "info");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What went wrong and needs a person.
    Error,
    /// And what is not as it should be.
    Warn,
    /// And what changes: starts, ends, new configurations.
    #[default]
    Info,
    /// And each step of it.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All of them, from the least to the most.
    pub const ALL: [Self; 6] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The level of this word, if it is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }

    /// The words, for messages.
    #[must_use]
    pub fn choices() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

/// How the daemon serves.
///
/// ```
/// use ringfence::Config;
///
/// let config = Config::parse("[server]\nlisten = [\"[::1]:7700\"]\n")?;
/// assert!(config.server.listen.iter().all(|address| address.ip().is_loopback()));
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where it listens for HTTP; `127.0.0.1:7700`. Port 0 takes a free one. At most 16. Anything but loopback needs a certificate.
    pub listen: Vec<SocketAddr>,
    /// The certificate chain in PEM form, the server's own first. Default: none, and only loopback is served.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key in PEM form. Given with a certificate, and only then.
    pub tls_key: Option<PathBuf>,
    /// Names by which it may be called beside its addresses and `localhost`: what a request's Host header may say. At most 64.
    /// Default: none.
    pub names: Vec<String>,
    /// Directories below which an installation over HTTP may take packages. Default: none, and nothing is installed over HTTP.
    /// At most 64.
    pub install_from: Vec<PathBuf>,
    /// How long requests that are under way may go on when the daemon stops; 10 s.
    pub drain_timeout: Duration,
    /// How much the log says; `info`.
    pub log: LogLevel,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))],
            tls_certificate: None,
            tls_key: None,
            names: Vec::new(),
            install_from: Vec::new(),
            drain_timeout: Duration::from_secs(10),
            log: LogLevel::default(),
        }
    }
}

impl Reader<'_> {
    pub(super) fn server(&mut self, table: &DeTable<'_>, server: &mut ServerConfig) {
        // Whichever of the two stands alone is where the mistake is shown.
        let mut tls = None;
        for (key, value) in table {
            let at = value.span().start;
            match key.get_ref().as_ref() {
                "listen" => self.listen(value, &mut server.listen),
                "tls_certificate" => (server.tls_certificate, tls) = (self.absolute(value), Some(at)),
                "tls_key" => (server.tls_key, tls) = (self.absolute(value), Some(at)),
                "names" => self.names(value, &mut server.names),
                "install_from" => self.paths(value, INSTALL_FROM_MAX, &mut server.install_from),
                "drain_timeout" => self.require(value, units::parse_duration, &mut server.drain_timeout),
                "log" => match value.get_ref() {
                    DeValue::String(word) if LogLevel::from_word(word).is_some() => {
                        server.log = LogLevel::from_word(word).unwrap_or_default();
                    }
                    _ => self.mistake(at, &format!("choose {}", LogLevel::choices())),
                },
                name => self.unknown(key.span().start, name, &SERVER),
            }
        }
        let has = |name: &str| table.keys().any(|key| key.get_ref().as_ref() == name);
        if has("tls_certificate") != has("tls_key") {
            let missing = if has("tls_key") { "tls_certificate" } else { "tls_key" };
            self.mistake(tls.unwrap_or_default(), &format!("'{missing}' is missing: TLS needs both"));
        }
    }

    fn names(&mut self, value: &toml::Spanned<DeValue<'_>>, names: &mut Vec<String>) {
        let at = value.span().start;
        let DeValue::Array(items) = value.get_ref() else {
            return self.mistake(at, "expected a list of host names, such as [\"ringfence.example.com\"]");
        };
        if items.len() > NAMES_MAX {
            return self.mistake(at, &format!("at most {NAMES_MAX} names can be given"));
        }
        let is_name = |text: &str| {
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'[' | b']' | b':');
            (1..=253).contains(&text.len()) && text.bytes().all(plain)
        };
        names.clear();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) if is_name(text) => names.push(text.to_string()),
                _ => self.mistake(item.span().start, "expected a host name without a port"),
            }
        }
    }

    fn listen(&mut self, value: &toml::Spanned<DeValue<'_>>, listen: &mut Vec<SocketAddr>) {
        let at = value.span().start;
        let DeValue::Array(items) = value.get_ref() else {
            return self.mistake(at, "expected a list of addresses, such as [\"127.0.0.1:7700\"]");
        };
        if items.len() > LISTEN_MAX {
            return self.mistake(at, &format!("at most {LISTEN_MAX} addresses can be served"));
        }
        listen.clear();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) if text.parse::<SocketAddr>().is_ok() => {
                    listen.extend(text.parse::<SocketAddr>().ok())
                }
                _ => self
                    .mistake(item.span().start, "expected an address and a port, such as \"127.0.0.1:7700\""),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn the_daemon_is_on_loopback_and_installs_from_nowhere_unless_it_is_told_to() {
        let ServerConfig { listen, tls_certificate, tls_key, names, install_from, drain_timeout, log } =
            Config::parse("").unwrap().server;
        assert!(names.is_empty());
        assert_eq!(listen, ["127.0.0.1:7700".parse().unwrap()]);
        assert_eq!((tls_certificate, tls_key, install_from.len()), (None, None, 0));
        assert_eq!((drain_timeout.as_secs(), log), (10, LogLevel::Info));
    }

    #[test]
    fn every_field_can_be_set() {
        let config = Config::parse(
            "[server]\nlisten = [\"0.0.0.0:443\", \"[::1]:0\"]\ntls_certificate = \"/etc/c.pem\"\ntls_key = \"/etc/k.pem\"\n\
             names = [\"ringfence.example.com\"]\ninstall_from = [\"/srv/plugins\"]\ndrain_timeout = \"1m\"\nlog = \"debug\"\n",
        )
        .unwrap();
        let server = ServerConfig {
            listen: vec!["0.0.0.0:443".parse().unwrap(), "[::1]:0".parse().unwrap()],
            tls_certificate: Some("/etc/c.pem".into()),
            tls_key: Some("/etc/k.pem".into()),
            names: vec!["ringfence.example.com".to_owned()],
            install_from: vec!["/srv/plugins".into()],
            drain_timeout: Duration::from_secs(60),
            log: LogLevel::Debug,
        };
        assert_eq!(config.server, server);
        assert_eq!(Config::parse("[server]\nlisten = []\n").unwrap().server.listen, []);
    }

    #[test]
    fn mistakes_have_their_place_and_say_what_is_right() {
        for (text, mistake) in [
            ("[server]\nlisten = \"127.0.0.1:1\"\n", "2:10: expected a list of addresses"),
            ("[server]\nlisten = [\"localhost:7700\"]\n", "2:11: expected an address and a port"),
            ("[server]\nlisten = [\"127.0.0.1:7700\", 7700]\n", "2:29: expected an address and a port"),
            ("[server]\ntls_key = \"/k.pem\"\n", "2:11: 'tls_certificate' is missing: TLS needs both"),
            ("[server]\ntls_certificate = \"/c.pem\"\n", "2:19: 'tls_key' is missing: TLS needs both"),
            ("[server]\ntls_certificate = \"c.pem\"\ntls_key = \"/k\"\n", "2:19: expected an absolute path"),
            ("[server]\ninstall_from = \"/srv\"\n", "2:16: expected a list of paths"),
            ("[server]\ninstall_from = [\"srv\"]\n", "2:17: expected an absolute path"),
            ("[server]\nnames = \"a\"\n", "2:9: expected a list of host names"),
            ("[server]\nnames = [\"a b\"]\n", "2:10: expected a host name"),
            ("[server]\ndrain_timeout = \"none\"\n", "2:17: this must be bounded"),
            ("[server]\nlog = \"loud\"\n", "2:7: choose off, error, warn, info, debug, trace"),
            ("[server]\nlisen = []\n", "2:1: unknown field 'lisen'; did you mean 'listen'?"),
            ("server = 1\n", "1:1: 'server' is a table: write [server]"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.message().contains(mistake), "{text}: {error}");
        }
    }
}
