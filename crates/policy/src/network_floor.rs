//! The floor of the network: addresses and names that no wildcard opens.
//!
//! An IPv6 address that carries an IPv4 address for a translator or a tunnel is judged as that address too,
//! because that is where the packets arrive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::{Host, HostKind};
use crate::host_pattern::HostSet;
use crate::net::Net;

/// A range of addresses on the floor, and what people call it.
struct FloorRange {
    net: Net,
    what: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, len: u8, what: &'static str) -> FloorRange {
    FloorRange { net: Net::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), len), what }
}

const fn v6(segments: [u16; 8], len: u8, what: &'static str) -> FloorRange {
    let [a, b, c, d, e, f, g, h] = segments;
    FloorRange { net: Net::new(IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), len), what }
}

/// The ranges of the IANA special-purpose registries that do not lead to the public internet, and the metadata
/// services of the large clouds. The narrower ones come first: they give the better name.
const RANGES: &[FloorRange] = &[
    v4(169, 254, 169, 254, 32, "cloud metadata"),
    v4(169, 254, 170, 2, 32, "cloud metadata"),
    v4(100, 100, 100, 200, 32, "cloud metadata"),
    v4(168, 63, 129, 16, 32, "cloud metadata"),
    v4(192, 0, 0, 192, 32, "cloud metadata"),
    v4(127, 0, 0, 0, 8, "loopback"),
    v4(0, 0, 0, 0, 8, "this host"),
    v4(10, 0, 0, 0, 8, "private"),
    v4(172, 16, 0, 0, 12, "private"),
    v4(192, 168, 0, 0, 16, "private"),
    v4(100, 64, 0, 0, 10, "carrier-grade NAT"),
    v4(169, 254, 0, 0, 16, "link-local"),
    v4(192, 0, 0, 0, 24, "protocol assignments"),
    v4(198, 18, 0, 0, 15, "benchmarking"),
    v4(224, 0, 0, 0, 4, "multicast"),
    v4(255, 255, 255, 255, 32, "broadcast"),
    v4(240, 0, 0, 0, 4, "reserved"),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, "cloud metadata"),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, "cloud metadata"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "this host"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-compatible"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "private"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard"),
    // RFC 8215: where the IPv4 address stands depends on the operator's prefix, so all of it is the floor.
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local translation"),
];

/// Names that lead to this machine or to a metadata service before any address is looked at.
const NAMES: &[(&str, &str)] = &[
    ("localhost", "loopback"),
    ("localhost.localdomain", "loopback"),
    ("localhost6", "loopback"),
    ("localhost6.localdomain6", "loopback"),
    ("ip6-localhost", "loopback"),
    ("ip6-loopback", "loopback"),
    ("metadata", "cloud metadata"),
    ("metadata.google.internal", "cloud metadata"),
    ("metadata.goog", "cloud metadata"),
    ("metadata.tencentyun.com", "cloud metadata"),
    ("instance-data", "cloud metadata"),
    ("instance-data.ec2.internal", "cloud metadata"),
];

/// What part of the floor the host is on, when it is.
pub(crate) fn floor_of(host: &Host) -> Option<&'static str> {
    match host.kind() {
        HostKind::Name(name) => floor_of_name(name),
        HostKind::Address(address) => {
            floor_of_address(*address).or_else(|| embedded(*address).find_map(floor_of_address))
        }
    }
}

/// Whether a pattern that has this floor host names it: the same name, the same address, or a range that lies
/// within each floor range that has the address.
pub(crate) fn names_floor(set: &HostSet, host: &Host) -> bool {
    match (set, host.kind()) {
        (HostSet::Name(_), HostKind::Name(_)) => true,
        (HostSet::Net(net), HostKind::Address(_)) if net.is_single() => true,
        (HostSet::Net(net), HostKind::Address(address)) => {
            // Where the IPv4 address stands inside is not visible in a range: only the address itself will do.
            let carried = embedded(*address).any(|inside| floor_of_address(inside).is_some());
            !carried && ranges_with(*address).all(|range| range.net.includes(*net))
        }
        _ => false,
    }
}

/// Whether `wide` may stand for `narrow`, which it has, also where `narrow` names floor ranges.
pub(crate) fn keeps_floor(wide: &HostSet, narrow: &HostSet) -> bool {
    match narrow {
        HostSet::Name(name) if floor_of_name(name).is_some() => matches!(wide, HostSet::Name(_)),
        HostSet::Net(net) => {
            // Conservative for addresses that carry another: only the same range will do.
            if embedded(net.first()).any(|inside| floor_of_address(inside).is_some()) {
                return matches!(wide, HostSet::Net(same) if same == net);
            }
            RANGES
                .iter()
                .filter(|range| range.net.includes(*net))
                .all(|range| matches!(wide, HostSet::Net(wide) if range.net.includes(*wide)))
        }
        _ => true,
    }
}

/// Whether every name below this one is on the floor.
pub(crate) fn is_all_floor_below(domain: &str) -> bool {
    domain == "localhost" || domain.ends_with(".localhost")
}

fn floor_of_name(name: &str) -> Option<&'static str> {
    if name.ends_with(".localhost") {
        return Some("loopback");
    }
    NAMES.iter().find(|(floor, _)| *floor == name).map(|(_, what)| *what)
}

fn ranges_with(address: IpAddr) -> impl Iterator<Item = &'static FloorRange> {
    RANGES.iter().filter(move |range| range.net.contains(address))
}

fn floor_of_address(address: IpAddr) -> Option<&'static str> {
    ranges_with(address).next().map(|range| range.what)
}

/// The IPv4 addresses that an IPv6 address carries for a translator or a tunnel.
pub(crate) fn embedded(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let found = match address {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(address) => embedded_v4(address.segments()),
    };
    found.into_iter().flatten().map(IpAddr::V4)
}

fn embedded_v4(segments: [u16; 8]) -> [Option<Ipv4Addr>; 2] {
    let join = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match segments {
        // NAT64 (RFC 6052), SIIT (RFC 2765), IPv4-mapped and IPv4-compatible (RFC 4291).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff | 0, high, low] => [join(high, low), None],
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => [join(high, low), None],
        // Teredo (RFC 4380): the server in clear, the client inverted.
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            [join(high, low), join(!client_high, !client_low)]
        }
        // ISATAP (RFC 5214): below any prefix, with the universal bit set or not.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => [join(high, low), None],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(text: &str) -> Option<&'static str> {
        floor_of(&text.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_floor_in_every_form() {
        for (host, what) in [
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("0.0.0.0", "this host"),
            ("10.1.2.3", "private"),
            ("172.31.255.255", "private"),
            ("192.168.0.1", "private"),
            ("100.64.0.1", "carrier-grade NAT"),
            ("169.254.0.1", "link-local"),
            ("169.254.169.254", "cloud metadata"),
            ("100.100.100.200", "cloud metadata"),
            ("168.63.129.16", "cloud metadata"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("250.0.0.1", "reserved"),
            ("::1", "loopback"),
            ("::", "this host"),
            ("fd00:ec2::254", "cloud metadata"),
            ("fd12::1", "private"),
            ("fe80::1", "link-local"),
            ("ff02::1", "multicast"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::10.0.0.1", "IPv4-compatible"),
            ("64:ff9b::10.0.0.1", "private"),
            ("64:ff9b:1::1", "local translation"),
            ("::ffff:0:10.0.0.1", "private"),
            ("2002:7f00:1::", "loopback"),
            ("2001:0:5db8:d822:0:0:80ff:fffe", "loopback"),
            ("2001:0:a00:1::", "private"),
            ("2400::5efe:c0a8:1", "private"),
            ("2400::200:5efe:a9fe:a9fe", "cloud metadata"),
            ("localhost", "loopback"),
            ("LOCALHOST.", "loopback"),
            ("a.b.localhost", "loopback"),
            ("metadata.google.internal", "cloud metadata"),
        ] {
            assert_eq!(floor(host), Some(what), "{host}");
        }
    }

    #[test]
    fn public_neighbours_are_not_on_the_floor() {
        for host in [
            "126.255.255.255",
            "128.0.0.0",
            "11.0.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "192.169.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "169.253.1.1",
            "168.63.129.17",
            "198.17.1.1",
            "198.20.0.0",
            "1.1.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "64:ff9b::8.8.8.8",
            "2002:808:808::",
            "2400::5efe:808:808",
            "notlocalhost",
            "localhost.example.com",
            "metadata.example.com",
        ] {
            assert_eq!(floor(host), None, "{host}");
        }
    }
}
