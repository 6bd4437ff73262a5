//! A host as it is asked for: a name or an address, each in one spelling.
//!
//! The value that is checked here is the value that must be dialled: there is no second parser behind it that
//! could read the same text differently.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::canonical_path::shown;

/// The longest host name in bytes (RFC 1035, section 2.3.4, as text).
pub const HOST_MAX_BYTES: usize = 253;

/// The longest label in bytes (RFC 1035, section 2.3.4).
const LABEL_MAX_BYTES: usize = 63;

/// A host: a name in lower-case ASCII, or an IP address.
///
/// - Names have letters, digits, hyphens and dots only (no underscore: those are not names of hosts); write
///   other alphabets as `xn--...`. They are lower-cased and one dot at the end is cut.
/// - IPv4 is four decimal numbers without leading zeros. `127.1`, `0x7f.0.0.1`, `017700000001` and
///   `2130706433` are refused, because libraries disagree on what they mean.
/// - IPv6 is taken with or without brackets, never with a zone. An IPv4-mapped address (`::ffff:1.2.3.4`) is
///   the IPv4 address: the kernel dials the same.
///
/// ```
/// use ringfence_policy::Host;
///
/// assert_eq!("API.Example.com.".parse::<Host>()?.to_string(), "api.example.com");
/// assert_eq!("[::FFFF:10.0.0.1]".parse::<Host>()?.to_string(), "10.0.0.1");
/// assert!("0x7f.1".parse::<Host>().is_err());
/// # Ok::<(), ringfence_policy::HostError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(HostKind);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HostKind {
    Name(Box<str>),
    Address(IpAddr),
}

impl Host {
    /// The address, when it is one.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match self.0 {
            HostKind::Name(_) => None,
            HostKind::Address(address) => Some(address),
        }
    }

    /// The name, when it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            HostKind::Name(name) => Some(name),
            HostKind::Address(_) => None,
        }
    }

    pub(crate) const fn kind(&self) -> &HostKind {
        &self.0
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(HostKind::Address(address.to_canonical()))
    }
}

impl FromStr for Host {
    type Err = HostError;

    /// # Errors
    ///
    /// A [`HostError`] that says why this is not the spelling of one host.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let host = || shown(text.as_bytes());
        if let Some(inside) = text.strip_prefix('[') {
            let inside = inside.strip_suffix(']').ok_or_else(|| HostError::Brackets { host: host() })?;
            return parse_v6(inside).map(|address| Self::from(IpAddr::V6(address)));
        }
        if text.contains(':') {
            return parse_v6(text).map(|address| Self::from(IpAddr::V6(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.split('.').next_back().is_some_and(looks_like_a_number) {
            let address: Ipv4Addr = text.parse().map_err(|_| HostError::OddAddress { host: host() })?;
            return Ok(Self::from(IpAddr::V4(address)));
        }
        check_name(name).map_err(|problem| HostError::Name { host: host(), problem })?;
        Ok(Self(HostKind::Name(name.to_ascii_lowercase().into())))
    }
}

/// Whether some library could read the last label as part of an IPv4 address.
fn looks_like_a_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn parse_v6(text: &str) -> Result<Ipv6Addr, HostError> {
    text.parse().map_err(|_| match text.contains('%') {
        true => HostError::Zone { host: shown(text.as_bytes()) },
        false => HostError::V6 { host: shown(text.as_bytes()) },
    })
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > HOST_MAX_BYTES {
        return Err("it has more than 253 bytes");
    }
    if !name.is_ascii() {
        return Err("it has characters beyond ASCII; write the form that begins with xn--");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return Err("only letters, digits, hyphens and dots can be in it");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("it has two dots in a row or one at the start");
        }
        if label.len() > LABEL_MAX_BYTES {
            return Err("a part between dots has more than 63 bytes");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a part between dots begins or ends with a hyphen");
        }
    }
    Ok(())
}

impl fmt::Display for Host {
    /// The form that stands in a grant: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostKind::Name(name) => f.pad(name),
            HostKind::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            HostKind::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Why a text is not a host.
///
/// ```
/// use ringfence_policy::Host;
///
/// let error = "127.1".parse::<Host>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "'127.1' could be read as more than one address; write four decimal numbers, such as 127.0.0.1",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// There is nothing.
    #[error("the host is empty")]
    Empty,
    /// It ends like a number and is not four plain decimal numbers.
    #[error("'{host}' could be read as more than one address; write four decimal numbers, such as 127.0.0.1")]
    OddAddress {
        /// The host, escaped.
        host: String,
    },
    /// It is not an IPv6 address.
    #[error("'{host}' is not an IPv6 address")]
    V6 {
        /// The host, escaped.
        host: String,
    },
    /// It is an IPv6 address with a zone such as `%eth0`.
    #[error("'{host}' has a zone; a grant is about an address, not about an interface of this machine")]
    Zone {
        /// The host, escaped.
        host: String,
    },
    /// It has an opening bracket and no closing one.
    #[error("'{host}' has no closing bracket; write an IPv6 address as [2001:db8::1]")]
    Brackets {
        /// The host, escaped.
        host: String,
    },
    /// It is not a host name.
    #[error("'{host}' is not a host name: {problem}")]
    Name {
        /// The host, escaped.
        host: String,
        /// Which rule it breaks.
        problem: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> String {
        text.parse::<Host>().unwrap().to_string()
    }

    #[test]
    fn every_host_has_one_spelling() {
        for (text, one) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1e100.net", "1e100.net"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("::ffff:7f00:1", "127.0.0.1"),
            ("2001:DB8::A", "[2001:db8::a]"),
        ] {
            assert_eq!(host(text), one);
            assert_eq!(host(one), one, "the spelling is its own spelling");
        }
        assert_eq!(Host::from(IpAddr::V6("::ffff:1.2.3.4".parse().unwrap())).to_string(), "1.2.3.4");
        let both: (Host, Host) = ("a.b".parse().unwrap(), "::1".parse().unwrap());
        assert_eq!((both.0.name(), both.0.address()), (Some("a.b"), None));
        assert_eq!((both.1.name(), both.1.address()), (None, Some("::1".parse().unwrap())));
    }

    #[test]
    fn odd_spellings_of_addresses_are_refused() {
        for odd in [
            "127.1",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "127.0.0.01",
            "127.0.0.0x1",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3",
            "127.0.0.1.",
            "a.1",
            "0x",
            "00000177.1",
            "127.0.0.0X1",
        ] {
            assert!(matches!(odd.parse::<Host>(), Err(HostError::OddAddress { .. })), "{odd}");
        }
        for odd in ["[::1", "::1]", "[1.2.3.4]", "1::2::3", "::1%lo", "[fe80::1%25eth0]", "12345::", ":"] {
            assert!(odd.parse::<Host>().is_err(), "{odd}");
        }
        assert!(matches!("fe80::1%eth0".parse::<Host>(), Err(HostError::Zone { .. })));
    }

    #[test]
    fn names_that_a_resolver_could_read_differently_are_refused() {
        let long = format!("{}.com", "a.".repeat(126));
        let label = format!("{}.com", "a".repeat(64));
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            "-a.b",
            "a-.b",
            "a_b.c",
            "a b",
            "a%00b",
            "attacker\0.allowed.com",
            "a/b",
            "user@a.b",
            "*.a.b",
            "bücher.example",
            "１２７.0.0.1",
            "a\n",
            &long,
            &label,
        ] {
            let error = bad.parse::<Host>().unwrap_err().to_string();
            assert!(!error.chars().any(char::is_control), "{error}");
        }
    }
}
