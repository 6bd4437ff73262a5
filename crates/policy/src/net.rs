//! A range of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses: the first one and how many leading bits count. INVARIANT: the other bits are 0 and
/// `len` is at most the width of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Net {
    first: IpAddr,
    len: u8,
}

impl Net {
    /// The range of `len` bits with this address in it; a `len` beyond the family's width is cut to it.
    pub(crate) const fn new(address: IpAddr, len: u8) -> Self {
        let len = if len > width(address) { width(address) } else { len };
        let first = match address {
            IpAddr::V4(address) => {
                // For len 0 the shift is the whole width, which `checked_shl` answers with None.
                let mask = match u32::MAX.checked_shl(32 - len as u32) {
                    Some(mask) => mask,
                    None => 0,
                };
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = match u128::MAX.checked_shl(128 - len as u32) {
                    Some(mask) => mask,
                    None => 0,
                };
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { first, len }
    }

    /// The range of one address.
    pub(crate) const fn single(address: IpAddr) -> Self {
        Self { first: address, len: width(address) }
    }

    /// The lowest address.
    pub(crate) const fn first(self) -> IpAddr {
        self.first
    }

    /// How many leading bits count.
    pub(crate) const fn len(self) -> u8 {
        self.len
    }

    /// Whether it is one address.
    pub(crate) const fn is_single(self) -> bool {
        self.len == width(self.first)
    }

    /// Whether the address is in it.
    pub(crate) const fn contains(self, address: IpAddr) -> bool {
        match (self.first, Self::new(address, self.len).first) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => ours.to_bits() == theirs.to_bits(),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => ours.to_bits() == theirs.to_bits(),
            _ => false,
        }
    }

    /// Whether each address of the other is in it.
    pub(crate) const fn includes(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.first)
    }
}

/// How many bits an address of this family has.
pub(crate) const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            IpAddr::V4(first) => write!(f, "{first}")?,
            IpAddr::V6(first) => write!(f, "[{first}]")?,
        }
        if self.is_single() { Ok(()) } else { write!(f, "/{}", self.len) }
    }
}
