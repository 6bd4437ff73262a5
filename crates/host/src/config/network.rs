//! The part of `config.toml` that says how the host reaches the network for plugins.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::Reader;

const NETWORK: [&str; 2] = ["ca_file", "resolver"];

/// How the host reaches the network for plugins.
///
/// ```
/// use ringfence::Config;
///
/// let config = Config::parse("[network]\nresolver = \"192.0.2.53:53\"\n")?;
/// assert_eq!(config.network.resolver, "192.0.2.53:53".parse().ok());
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The name server to ask, over UDP and TCP. Default: those of `/etc/resolv.conf`. `/etc/hosts` comes before either.
    pub resolver: Option<SocketAddr>,
    /// Certificates in PEM form of authorities that are trusted beside those of the system. Default: none.
    pub ca_file: Option<PathBuf>,
}

impl Reader<'_> {
    pub(super) fn network(&mut self, table: &DeTable<'_>, network: &mut NetworkConfig) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "ca_file" => network.ca_file = self.absolute(value),
                "resolver" => match value.get_ref() {
                    DeValue::String(text) if text.parse::<SocketAddr>().is_ok() => {
                        network.resolver = text.parse().ok();
                    }
                    _ => self.mistake(
                        value.span().start,
                        "expected an address and a port, such as \"192.0.2.53:53\"",
                    ),
                },
                name => self.unknown(key.span().start, name, &NETWORK),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn the_network_is_an_address_and_a_file() {
        let config =
            Config::parse("[network]\nca_file = \"/etc/ca.pem\"\nresolver = \"[::1]:5353\"\n").unwrap();
        assert_eq!(config.network.ca_file.unwrap(), std::path::Path::new("/etc/ca.pem"));
        assert_eq!(config.network.resolver.unwrap().to_string(), "[::1]:5353");
        for (text, mistake) in [
            ("[network]\nresolver = \"ns.example.com\"\n", "2:12: expected an address and a port"),
            ("[network]\nca_file = \"ca.pem\"\n", "2:11: expected an absolute path"),
            ("[network]\nresolvers = 1\n", "2:1: unknown field 'resolvers'; did you mean 'resolver'?"),
            ("network = 1\n", "'network' is a table"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.message().contains(mistake), "{text}: {error}");
        }
    }
}
