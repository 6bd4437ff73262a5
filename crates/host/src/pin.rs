//! What lay at the end of a grant's fixed path when a person consented to it, and whether the same lies there now.
//!
//! A grant is text, and a text means another place as soon as somebody puts a link or another directory where it leads. So
//! the place is kept with the grant, under the same seal, and a start compares. What becomes of a grant that does not fit is
//! decided in `exec::held`; here is only what is kept, and what is the same.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use ringfence_policy::CanonicalPath;
use ringfence_sandbox::{Program, Resolved};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Where Linux says which start of the machine this is, random(4).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The largest program that is hashed, in bytes; of a larger one only what the kernel says of it is compared.
const HASHED_MAX_BYTES: u64 = 1 << 30;
/// How much of a program is read at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// The place of one grant, as it was at the consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// Where the fixed part of the grant led, or would have led, every link followed; in the text form of a
    /// [`CanonicalPath`].
    pub(crate) path: String,
    /// What was there; `None`: nothing.
    pub(crate) seen: Option<Seen>,
    /// Nothing was there, and a plugin could have put something there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) plantable: bool,
}

/// What lies at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) directory: bool,
    /// When it was made, in nanoseconds since 1970, where the file system keeps that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born_ns: Option<i64>,
    /// During which start of the machine it was looked at: device numbers are given out anew at each.
    boot: String,
    /// Of a program that is granted by its path or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

/// The content of a program. Nobody can set the time of change but the clock, so as long as all else is the same, the
/// digest is, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    size: u64,
    modified_ns: i64,
    changed_ns: i64,
    /// `None` for one that is too large to be hashed.
    sha256: Option<String>,
}

impl Pin {
    /// The place of something that is there.
    pub(crate) fn of(found: &Resolved) -> Option<Self> {
        let path = CanonicalPath::new(found.path()).ok()?.to_string();
        Some(Self { path, seen: Some(Seen::of(found)?), plantable: false })
    }

    /// The same for a program, with its content.
    pub(crate) fn of_program(found: &Resolved) -> Option<Self> {
        let mut pin = Self::of(found)?;
        let seen = pin.seen.as_mut().filter(|seen| !seen.directory)?;
        seen.content = Content::of(found, Hash::Made);
        Some(pin)
    }

    /// The place of something that is not there yet.
    pub(crate) fn missing(path: &CanonicalPath, plantable: bool) -> Self {
        Self { path: path.to_string(), seen: None, plantable }
    }

    /// The same for a program that was granted by a name of which there was none.
    pub(crate) fn missing_name(name: &std::ffi::OsStr) -> Self {
        Self { path: name.to_string_lossy().into_owned(), seen: None, plantable: false }
    }

    /// Whether this is the path that was consented to.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        CanonicalPath::new(path).is_ok_and(|path| path.to_string() == self.path)
    }

    /// Whether what was consented to is what is found now.
    ///
    /// A file that lies at the same path is the same: programs save by putting a new file in the place of the old one. A
    /// directory must be that very one.
    pub(crate) fn is(&self, found: &Resolved) -> bool {
        let Some(seen) = &self.seen else { return false };
        let same_path = self.is_at(found.path());
        if !seen.directory && !found.is_directory() && same_path {
            return true;
        }
        Seen::of(found).is_some_and(|now| seen.is(&now, same_path))
    }

    /// Whether the very file or directory is there that was consented to.
    pub(crate) fn is_that_very(&self, found: &Resolved) -> bool {
        let same_path = self.is_at(found.path());
        let now = Seen::of(found);
        self.seen.as_ref().zip(now).is_some_and(|(seen, now)| seen.is(&now, same_path))
    }

    /// Whether a program is the one that was consented to, byte for byte.
    pub(crate) fn is_program(&self, found: &Resolved) -> bool {
        let Some(seen) = self.seen.as_ref().filter(|_| self.is_at(found.path())) else { return false };
        let Some(content) = &seen.content else { return false };
        let Some(said) = Content::of(found, Hash::Left) else { return false };
        if seen.is_inode(found.identity()) && said.is_said_of(content) {
            return true;
        }
        let hashed = || Content::of(found, Hash::Made).and_then(|now| now.sha256);
        said.size == content.size && content.sha256.is_some() && hashed() == content.sha256
    }

    /// What was consented to, in words.
    pub(crate) fn words(&self) -> String {
        match &self.seen {
            None => format!("nothing at {}", self.path),
            Some(seen) if seen.directory => format!("the directory {}", self.path),
            Some(_) => format!("the file {}", self.path),
        }
    }
}

impl Seen {
    pub(crate) fn of(found: &Resolved) -> Option<Self> {
        let status = std::fs::symlink_metadata(found.path()).ok()?;
        if (status.dev(), status.ino()) != found.identity() {
            return None;
        }
        Some(Self {
            device: status.dev(),
            inode: status.ino(),
            directory: found.is_directory(),
            born_ns: status.created().ok().and_then(since_1970),
            boot: this_boot().to_owned(),
            content: None,
        })
    }

    /// Device and inode decide, at the same path. At another one, which a link leads to, the time of making must be the same as
    /// well: a number that is free again is soon given to a file of somebody else. After a restart of the machine the same disk may
    /// have another number: then all three must be the same but for that.
    fn is(&self, now: &Self, same_path: bool) -> bool {
        let same_making = self.born_ns == now.born_ns;
        let same_device = self.device == now.device;
        let renumbered = self.boot != now.boot && same_path && same_making;
        let moved = self.born_ns.is_some() && same_making;
        self.inode == now.inode
            && self.directory == now.directory
            && (same_device && (same_path || moved) || renumbered)
    }

    /// Whether this is it, for who has nothing but device and inode.
    pub(crate) fn is_inode(&self, (device, inode): (u64, u64)) -> bool {
        self.inode == inode && (self.device == device || self.boot != this_boot())
    }
}

/// Whether a program is read, or only asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Made,
    Left,
}

impl Content {
    /// What is there now; `None` when it is another file by now. One that may be executed and not read has no digest.
    fn of(found: &Resolved, hash: Hash) -> Option<Self> {
        let status = std::fs::symlink_metadata(found.path()).ok()?;
        if (status.dev(), status.ino()) != found.identity() {
            return None;
        }
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        let sha256 = match hash {
            Hash::Made => found.open().ok().and_then(|file| digest(file, status.len())),
            Hash::Left => None,
        };
        Some(Self {
            size: status.len(),
            modified_ns: ns(status.mtime(), status.mtime_nsec()),
            changed_ns: ns(status.ctime(), status.ctime_nsec()),
            sha256,
        })
    }

    /// Whether the kernel says the same of both.
    fn is_said_of(&self, other: &Self) -> bool {
        (self.size, self.modified_ns, self.changed_ns) == (other.size, other.modified_ns, other.changed_ns)
    }
}

/// The program that a grant names by its path or its name, if there is one: the script rather than its interpreter.
pub(crate) fn program(named: &std::ffi::OsStr) -> Option<Resolved> {
    let found = Program::find(named, Path::new("/")).ok()?;
    Some(found.scripts().first().unwrap_or_else(|| found.file()).clone())
}

fn digest(file: std::fs::File, size: u64) -> Option<String> {
    if size > HASHED_MAX_BYTES {
        return None;
    }
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut left = file.take(HASHED_MAX_BYTES + 1);
    loop {
        match left.read(&mut block).ok()? {
            0 => return Some(HEXLOWER.encode(&hash.finalize())),
            count => hash.update(block.get(..count)?),
        }
    }
}

fn since_1970(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// Which start of the machine this is; empty where nobody says.
fn this_boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        std::fs::read_to_string(BOOT_ID).map(|text| text.trim().to_owned()).unwrap_or_default()
    })
}

#[cfg(test)]
#[path = "pin_tests.rs"]
mod tests;
