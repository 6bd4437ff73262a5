//! Patterns over hosts and ports: what the scope of a network permission means.

use std::fmt;
use std::net::IpAddr;

use crate::canonical_path::shown;
use crate::host::{Host, HostError, HostKind};
use crate::net::{Net, width};
use crate::network_floor;

/// A set of hosts and ports: `api.example.com:443`.
///
/// | written | means |
/// |---|---|
/// | `api.example.com:443` | this name, this port |
/// | `*.example.com:443` | every name below `example.com`, at any depth, not `example.com` itself |
/// | `192.0.2.7:443`, `[2001:db8::7]:443` | this address |
/// | `198.51.100.0/24:443`, `[2001:db8::]/32:443` | the addresses of this range |
/// | `*:443` | every host at this port, except the floor |
/// | `api.example.com:*` | every port of this host |
/// | `*` | every host and port, except the floor |
///
/// A port is always written (1 to 65535, or `*`). Hosts are spelled as [`Host`] says. The floor of the
/// network (loopback, private, link-local, carrier-grade, multicast and reserved addresses, cloud metadata)
/// is only in a pattern that names it: the name or address itself, or a range that lies within the floor
/// range.
///
/// ```
/// use ringfence_policy::{Host, HostPattern};
///
/// let pattern: HostPattern = "*.example.com:443".parse()?;
/// assert!(pattern.matches(&"api.example.com".parse()?, 443));
/// assert!(!pattern.matches(&"api.example.com".parse()?, 80));
/// assert!(!pattern.matches(&"example.com".parse()?, 443));
///
/// let everywhere: HostPattern = "*".parse()?;
/// let metadata: Host = "169.254.169.254".parse()?;
/// assert!(everywhere.matches(&metadata, 80) && !everywhere.opens(&metadata, 80));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern {
    set: HostSet,
    port: PortSet,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HostSet {
    Any,
    /// Every name below this one.
    Below(Box<str>),
    Name(Box<str>),
    Net(Net),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PortSet {
    Any,
    One(u16),
}

impl PortSet {
    pub(crate) const fn has(self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => one == port,
        }
    }
}

impl HostPattern {
    /// The pattern of every host and port. A bare permission name means this.
    #[must_use]
    pub const fn any() -> Self {
        Self { set: HostSet::Any, port: PortSet::Any }
    }

    /// Whether the host and port are in the set, the floor not considered. Deny rules go by this.
    #[must_use]
    pub fn matches(&self, host: &Host, port: u16) -> bool {
        self.port.has(port) && self.set.has(host)
    }

    /// Whether an allow rule with this pattern opens the host and port: it matches, and names the host if
    /// the host is on the floor.
    #[must_use]
    pub fn opens(&self, host: &Host, port: u16) -> bool {
        self.matches(host, port)
            && (network_floor::floor_of(host).is_none() || network_floor::names_floor(&self.set, host))
    }

    /// Whether an allow rule with `self` opens all that one with `other` opens.
    ///
    /// It may say no where the answer is yes, never the reverse.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.has_all_of(other) && network_floor::keeps_floor(&self.set, &other.set)
    }

    /// Whether it matches all that `other` matches, the floor not considered.
    pub(crate) fn has_all_of(&self, other: &Self) -> bool {
        let port = match (self.port, other.port) {
            (PortSet::Any, _) => true,
            (ours, theirs) => ours == theirs,
        };
        port && self.set.has_all_of(&other.set)
    }

    /// Whether there may be a host and a port that both match, a name that resolves to an address of the other included.
    pub(crate) fn may_meet(&self, other: &Self) -> bool {
        let ports = match (self.port, other.port) {
            (PortSet::One(ours), PortSet::One(theirs)) => ours == theirs,
            _ => true,
        };
        ports && self.set.may_meet(&other.set)
    }

    /// Whether it is one name or one address, with any port.
    #[must_use]
    pub const fn is_single_host(&self) -> bool {
        match &self.set {
            HostSet::Name(_) => true,
            HostSet::Net(net) => net.is_single(),
            HostSet::Any | HostSet::Below(_) => false,
        }
    }

    /// The port, when it is one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self.port {
            PortSet::Any => None,
            PortSet::One(port) => Some(port),
        }
    }

    pub(crate) const fn set(&self) -> &HostSet {
        &self.set
    }

    pub(crate) const fn ports(&self) -> PortSet {
        self.port
    }
}

impl HostSet {
    fn has(&self, host: &Host) -> bool {
        match (self, host.kind()) {
            (Self::Any, _) => true,
            (Self::Below(domain), HostKind::Name(name)) => is_below(name, domain),
            (Self::Name(ours), HostKind::Name(name)) => ours == name,
            (Self::Net(net), HostKind::Address(address)) => net.contains(*address),
            _ => false,
        }
    }

    fn has_all_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(ours), Self::Below(theirs)) => ours == theirs || is_below(theirs, ours),
            (Self::Below(domain), Self::Name(name)) => is_below(name, domain),
            (Self::Name(ours), Self::Name(theirs)) => ours == theirs,
            (Self::Net(ours), Self::Net(theirs)) => ours.includes(*theirs),
            _ => false,
        }
    }
}

impl HostSet {
    fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            // A name may resolve to any address, and an address of one family may carry one of the other.
            (Self::Net(ours), Self::Net(theirs)) if ours.first().is_ipv4() == theirs.first().is_ipv4() => {
                ours.includes(*theirs) || theirs.includes(*ours)
            }
            (Self::Net(_), _) | (_, Self::Net(_)) => true,
            _ => self.has_all_of(other) || other.has_all_of(self),
        }
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

impl std::str::FromStr for HostPattern {
    type Err = HostPatternError;

    /// # Errors
    ///
    /// A [`HostPatternError`] that says what is wrong with it and what to write instead.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::any());
        }
        let no_port = || HostPatternError::NoPort { pattern: shown(text.as_bytes()) };
        let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
        if text.ends_with(']') {
            return Err(no_port());
        }
        if host.contains(':') && !host.starts_with('[') {
            return Err(HostPatternError::NoBrackets { pattern: shown(text.as_bytes()) });
        }
        let port = parse_port(port).ok_or_else(|| HostPatternError::Port { port: shown(port.as_bytes()) })?;
        Ok(Self { set: parse_set(host)?, port })
    }
}

fn parse_port(text: &str) -> Option<PortSet> {
    if text == "*" {
        return Some(PortSet::Any);
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).map(PortSet::One)
}

fn parse_set(text: &str) -> Result<HostSet, HostPatternError> {
    if text == "*" {
        return Ok(HostSet::Any);
    }
    if let Some(domain) = text.strip_prefix("*.") {
        return match domain.parse::<Host>()?.kind() {
            HostKind::Name(name) => Ok(HostSet::Below(name.clone())),
            HostKind::Address(_) => Err(HostPatternError::Star { host: shown(text.as_bytes()) }),
        };
    }
    if text.contains('*') {
        return Err(HostPatternError::Star { host: shown(text.as_bytes()) });
    }
    if let Some((address, len)) = text.split_once('/') {
        return parse_range(address, len, text).map(HostSet::Net);
    }
    Ok(match text.parse::<Host>()?.kind() {
        HostKind::Name(name) => HostSet::Name(name.clone()),
        HostKind::Address(address) => HostSet::Net(Net::single(*address)),
    })
}

fn parse_range(address: &str, len: &str, text: &str) -> Result<Net, HostPatternError> {
    let range = || HostPatternError::Range { range: shown(text.as_bytes()) };
    let HostKind::Address(address) = *address.parse::<Host>()?.kind() else { return Err(range()) };
    let plain = len.bytes().all(|byte| byte.is_ascii_digit()) && (len == "0" || !len.starts_with('0'));
    let len: u8 = len.parse().ok().filter(|len| plain && *len <= width(address)).ok_or_else(range)?;
    let net = Net::new(address, len);
    if net.first() == address {
        Ok(net)
    } else {
        Err(HostPatternError::HostBits { range: shown(text.as_bytes()), right: net.to_string() })
    }
}

impl From<&Host> for HostPattern {
    /// This host at any port.
    fn from(host: &Host) -> Self {
        Self::of(host, PortSet::Any)
    }
}

impl HostPattern {
    /// The pattern of exactly this host and port. Port 0 ("any free port" of a listener) gives any port.
    #[must_use]
    pub fn exact(host: &Host, port: u16) -> Self {
        Self::of(host, if port == 0 { PortSet::Any } else { PortSet::One(port) })
    }

    /// The address, when the pattern is one address.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match &self.set {
            HostSet::Net(net) if net.is_single() => Some(net.first()),
            _ => None,
        }
    }

    fn of(host: &Host, port: PortSet) -> Self {
        let set = match host.kind() {
            HostKind::Name(name) => HostSet::Name(name.clone()),
            HostKind::Address(address) => HostSet::Net(Net::single(*address)),
        };
        Self { set, port }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.set {
            HostSet::Any if self.port == PortSet::Any => return f.write_str("*"),
            HostSet::Any => f.write_str("*")?,
            HostSet::Below(domain) => write!(f, "*.{domain}")?,
            HostSet::Name(name) => f.write_str(name)?,
            HostSet::Net(net) => write!(f, "{net}")?,
        }
        match self.port {
            PortSet::Any => f.write_str(":*"),
            PortSet::One(port) => write!(f, ":{port}"),
        }
    }
}

/// Why a text is not a host pattern.
///
/// ```
/// use ringfence_policy::HostPattern;
///
/// let error = "api.example.com".parse::<HostPattern>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "'api.example.com' has no port; write one such as api.example.com:443, or ':*' for every port",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostPatternError {
    /// No port is given.
    #[error("'{pattern}' has no port; write one such as api.example.com:443, or ':*' for every port")]
    NoPort {
        /// The pattern, escaped.
        pattern: String,
    },
    /// The port is not 1 to 65535 and not `*`.
    #[error("'{port}' is not a port; write 1 to 65535, or * for every port")]
    Port {
        /// The port as given, escaped.
        port: String,
    },
    /// An IPv6 address without brackets.
    #[error("'{pattern}' needs brackets around the IPv6 address: [2001:db8::1]:443")]
    NoBrackets {
        /// The pattern, escaped.
        pattern: String,
    },
    /// A star somewhere else than alone or at the beginning of a name.
    #[error(
        "'{host}' has a star in the wrong place; write *.example.com for all names below, or * for every host"
    )]
    Star {
        /// The host part, escaped.
        host: String,
    },
    /// Not a range of addresses.
    #[error("'{range}' is not a range of addresses; write 198.51.100.0/24 or [2001:db8::]/32")]
    Range {
        /// The range, escaped.
        range: String,
    },
    /// The address of a range has bits behind its length.
    #[error("'{range}' is not the beginning of its range; write {right}")]
    HostBits {
        /// The range, escaped.
        range: String,
        /// What was probably meant.
        right: String,
    },
    /// The host is not spelled right.
    #[error(transparent)]
    Host(#[from] HostError),
}
