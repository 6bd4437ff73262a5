//! What the kernel writes about one Landlock denial, read from its text. Pure: no socket, no state.
//!
//! The words are those of Linux 6.15 and later (Documentation/admin-guide/LSM/landlock.rst). Paths and names come from whoever
//! made the files, so nothing here trusts a length, a quote or a number. A line that is not understood is no record.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt as _;

use crate::report::Object;

/// The record type of one refused act (`AUDIT_LANDLOCK_ACCESS`).
pub const ACCESS: u16 = 1423;
/// The record type of a domain's first denial, and of its end (`AUDIT_LANDLOCK_DOMAIN`).
pub const DOMAIN: u16 = 1424;

/// The kernel's own limit for one line (`MAX_AUDIT_MESSAGE_LENGTH`).
pub const TEXT_MAX_BYTES: usize = 8970;
/// More rights than one request can lack.
const BLOCKERS_MAX: usize = 16;
/// Longer than any name of a right.
const BLOCKER_MAX_BYTES: usize = 64;
/// What the kernel writes in place of a path that it could not write.
const NO_PATHS: [&[u8]; 2] = [b"<too_long>", b"<no_memory>"];

/// One record of the kernel about Landlock.
///
/// ```
/// use ringfence_sandbox::audit::{ACCESS, Record};
/// let text = b"audit(1795699056.009:333): domain=1dae989c6 blockers=fs.read_file path=\"/etc/shadow\" dev=\"vda\" ino=737";
/// let Some(Record::Refused { domain, blockers, .. }) = Record::parse(ACCESS, text) else { panic!() };
/// assert_eq!((domain, blockers.as_slice()), (0x1_dae9_89c6, &["fs.read_file".to_owned()][..]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// An act was refused in a domain.
    Refused {
        /// The domain that refused it.
        domain: u64,
        /// The rights that were missing, such as `fs.read_file`; never empty.
        blockers: Vec<String>,
        /// What it was about. The kernel names the directory where a right over a directory was missing.
        object: Object,
    },
    /// Whose domain it is: told with its first denial.
    Allocated {
        /// The domain.
        domain: u64,
        /// The process that restricted itself, as the first process id namespace numbers it.
        process: u32,
    },
    /// The last process of a domain has ended.
    Deallocated {
        /// The domain.
        domain: u64,
        /// How often it refused, including what it was told to keep quiet about.
        denials: u64,
    },
}

impl Record {
    /// Reads the text of a record of this type; nothing for another type, or for text that is no such record.
    #[must_use]
    pub fn parse(kind: u16, text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_MAX_BYTES {
            return None;
        }
        let fields = Fields::after_stamp(text)?;
        let domain = u64::from_str_radix(fields.plain("domain")?, 16).ok()?;
        match kind {
            ACCESS => {
                let blockers = blockers(fields.plain("blockers")?)?;
                Some(Self::Refused { domain, blockers, object: object(&fields) })
            }
            DOMAIN => match fields.plain("status")? {
                "allocated" => Some(Self::Allocated { domain, process: fields.plain("pid")?.parse().ok()? }),
                "deallocated" => {
                    Some(Self::Deallocated { domain, denials: fields.plain("denials")?.parse().ok()? })
                }
                _ => None,
            },
            _ => None,
        }
    }
}

fn blockers(text: &str) -> Option<Vec<String>> {
    let is_name = |name: &str| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte);
        !name.is_empty() && name.len() <= BLOCKER_MAX_BYTES && name.bytes().all(letter)
    };
    let names: Vec<String> = text.split(',').take(BLOCKERS_MAX + 1).map(str::to_owned).collect();
    (names.len() <= BLOCKERS_MAX && names.iter().all(|name| is_name(name))).then_some(names)
}

/// What the record names: a path, the name of an abstract socket, or an address. A signal names a process: no object of ours.
fn object(fields: &Fields<'_>) -> Object {
    if let Some(path) = fields.untrusted("path") {
        return if NO_PATHS.contains(&path.as_slice()) {
            Object::Unknown
        } else {
            Object::Path(OsString::from_vec(path))
        };
    }
    let port = |name| fields.plain(name).and_then(|port| port.parse::<u16>().ok());
    let address = |name| fields.plain(name).and_then(|address| address.parse::<IpAddr>().ok());
    let anywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if let Some(port) = port("dest") {
        return Object::Address(SocketAddr::new(address("daddr").unwrap_or(anywhere), port));
    }
    if let Some(port) = port("src") {
        return Object::Address(SocketAddr::new(address("saddr").unwrap_or(anywhere), port));
    }
    Object::Unknown
}

/// The fields of a line: `name=value`, the value plain, in quotes, or in hexadecimal digits where it has a byte that could
/// end it.
#[derive(Debug)]
struct Fields<'a>(Vec<(&'a [u8], &'a [u8])>);

/// More than any record of these types has; what is further on is of no interest.
const FIELDS_MAX: usize = 32;

impl<'a> Fields<'a> {
    /// Behind `audit(SECONDS.MILLISECONDS:SERIAL): `.
    fn after_stamp(text: &'a [u8]) -> Option<Self> {
        let rest = text.strip_prefix(b"audit(")?;
        let end = rest.iter().position(|byte| *byte == b')')?;
        let (stamp, rest) = rest.split_at_checked(end)?;
        stamp.iter().all(|byte| byte.is_ascii_digit() || b".:".contains(byte)).then_some(())?;
        let mut rest = rest.strip_prefix(b"): ")?;
        let mut fields = Vec::new();
        while !rest.is_empty() && fields.len() < FIELDS_MAX {
            let Some(at) = rest.iter().position(|byte| *byte == b'=') else { break };
            let (name, after) = rest.split_at_checked(at)?;
            let after = after.get(1..)?;
            // A quoted value ends at the next quote: one that has a quote in it is written in digits.
            let length = match after.strip_prefix(b"\"") {
                Some(quoted) => quoted.iter().position(|byte| *byte == b'"')? + 2,
                None => after.iter().position(|byte| b" \n\0".contains(byte)).unwrap_or(after.len()),
            };
            let (value, after) = after.split_at_checked(length)?;
            fields.push((name.trim_ascii(), value));
            rest = after.trim_ascii_start();
        }
        Some(Self(fields))
    }

    fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| *value)
    }

    /// A word of the kernel's own.
    fn plain(&self, name: &str) -> Option<&'a str> {
        let value = self.value(name)?;
        if value.starts_with(b"\"") { None } else { std::str::from_utf8(value).ok() }
    }

    /// A text that somebody else chose: in quotes, or in digits.
    fn untrusted(&self, name: &str) -> Option<Vec<u8>> {
        let value = self.value(name)?;
        match value.strip_prefix(b"\"") {
            Some(quoted) => quoted.strip_suffix(b"\"").map(<[u8]>::to_vec),
            None if NO_PATHS.contains(&value) => Some(value.to_vec()),
            None => unhex(value),
        }
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || pairs.is_empty() {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lines of Linux 6.18, as they came from the socket.
    fn refused(line: &str) -> (Vec<String>, Object) {
        let text = format!("audit(1795699056.009:338): domain=1dae989c6 {line}");
        match Record::parse(ACCESS, text.as_bytes()) {
            Some(Record::Refused { domain: 0x1_dae9_89c6, blockers, object }) => (blockers, object),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn recorded_lines_are_read() {
        let path = |text: &str| Object::Path(text.into());
        for (line, blockers, object) in [
            (
                r#"blockers=fs.read_file path="/etc/shadow" dev="vda" ino=737"#,
                "fs.read_file",
                path("/etc/shadow"),
            ),
            (
                "blockers=fs.read_file path=2F746D702F6C6C642F612066696C652271 dev=\"vda\" ino=10281330",
                "fs.read_file",
                path("/tmp/lld/a file\"q"),
            ),
            (
                r#"blockers=fs.remove_file,fs.refer path="/tmp/lld" dev="vda" ino=10281095"#,
                "fs.remove_file,fs.refer",
                path("/tmp/lld"),
            ),
            (
                "blockers=net.connect_tcp daddr=127.0.0.1 dest=81",
                "net.connect_tcp",
                Object::Address(([127, 0, 0, 1], 81).into()),
            ),
            (
                "blockers=net.connect_tcp daddr=::1 dest=82",
                "net.connect_tcp",
                Object::Address("[::1]:82".parse().unwrap()),
            ),
            ("blockers=net.bind_tcp src=83", "net.bind_tcp", Object::Address(([0, 0, 0, 0], 83).into())),
            (
                "blockers=scope.abstract_unix_socket path=0061627374",
                "scope.abstract_unix_socket",
                path("\0abst"),
            ),
            (r#"blockers=scope.signal opid=24241 ocomm="python3""#, "scope.signal", Object::Unknown),
            (r#"blockers=fs.read_file path="<too_long>" dev="vda" ino=1"#, "fs.read_file", Object::Unknown),
        ] {
            let expected: Vec<String> = blockers.split(',').map(str::to_owned).collect();
            assert_eq!(refused(line), (expected, object), "{line}");
        }
        let first = br#"audit(1795699055.809:331): domain=1dae989c6 status=allocated mode=enforcing pid=24282 uid=0 exe="/usr/bin/python3.11" comm="python3""#;
        assert_eq!(
            Record::parse(DOMAIN, first),
            Some(Record::Allocated { domain: 0x1_dae9_89c6, process: 24282 })
        );
        let last = b"audit(1795699056.093:345): domain=1dae989c6 status=deallocated denials=16";
        assert_eq!(
            Record::parse(DOMAIN, last),
            Some(Record::Deallocated { domain: 0x1_dae9_89c6, denials: 16 })
        );
    }

    #[test]
    fn what_is_no_record_is_none() {
        let line = b"audit(1.0:1): domain=a blockers=fs.read_file".as_slice();
        assert!(Record::parse(ACCESS, line).is_some(), "the twin of the refusals below");
        for (kind, text) in [
            (1300, line),
            (DOMAIN, line),
            (ACCESS, b"audit(1.0:1: domain=a blockers=fs.read_file"),
            (ACCESS, b"audit(x): domain=a blockers=fs.read_file"),
            (ACCESS, b"audit(1.0:1): domain=xyz blockers=fs.read_file"),
            (ACCESS, b"audit(1.0:1): domain=a blockers=fs.read file\n"),
            (ACCESS, b"audit(1.0:1): domain=a blockers=FS\x1b[31m"),
            (ACCESS, b"audit(1.0:1): domain=a blockers="),
            (ACCESS, b"audit(1.0:1): domain=a blockers=a,b path=\"open"),
            (DOMAIN, b"audit(1.0:1): domain=a status=allocated pid=-1"),
            (DOMAIN, b"audit(1.0:1): domain=a status=allocated pid=99999999999"),
            (DOMAIN, b"audit(1.0:1): domain=a status=melting"),
        ] {
            let read = Record::parse(kind, text);
            let named = matches!(&read, Some(Record::Refused { blockers, .. }) if blockers == &["fs.read"]);
            assert!(read.is_none() || named, "{}: {read:?}", String::from_utf8_lossy(text));
        }
        let long = [line, &vec![b' '; TEXT_MAX_BYTES]].concat();
        assert_eq!(Record::parse(ACCESS, &long), None);
    }

    #[test]
    fn a_name_cannot_add_a_field() {
        // A file that is named like the end of a record: the kernel writes its name in digits.
        let hostile = "/x\" ino=1 domain=b blockers=fs.execute";
        let digits: String = hostile.bytes().map(|byte| format!("{byte:02X}")).collect();
        let (blockers, object) = refused(&format!("blockers=fs.read_file path={digits} dev=\"vda\" ino=2"));
        assert_eq!(
            (blockers.as_slice(), object),
            (&["fs.read_file".to_owned()][..], Object::Path(hostile.into()))
        );
    }

    proptest! {
        #[test]
        fn any_path_comes_through_as_the_kernel_writes_it(path in prop::collection::vec(1u8.., 1..200)) {
            // audit_string_contains_control(): quotes, control characters, spaces and what is above 0x7e.
            let plain = path.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'"');
            let written = if plain {
                format!("\"{}\"", String::from_utf8_lossy(&path))
            } else {
                path.iter().map(|byte| format!("{byte:02X}")).collect()
            };
            let (_, object) = refused(&format!("blockers=fs.read_file path={written} dev=\"vda\" ino=2"));
            let expected = if NO_PATHS.contains(&path.as_slice()) {
                Object::Unknown
            } else {
                Object::Path(OsString::from_vec(path))
            };
            prop_assert_eq!(object, expected);
        }

        #[test]
        fn no_bytes_make_it_panic(kind in 1420u16..1428, text in prop::collection::vec(any::<u8>(), 0..400)) {
            let _any = Record::parse(kind, &text);
            let _any = Record::parse(kind, &[b"audit(1.0:1): domain=1 ".as_slice(), &text].concat());
        }
    }
}
