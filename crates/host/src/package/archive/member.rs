//! One entry of an archive: from its headers to a path and a kind, or to a refusal.

use std::io::Read;

use tar::{Entry, EntryType};

use super::super::{DEPTH_MAX, PATH_MAX_BYTES, Problem, names};
use super::gauge::Gauge;

/// The longest name of one file or directory, in bytes (`NAME_MAX` of Linux).
const NAME_MAX_BYTES: usize = 255;
/// The most bytes that may describe an entry beside its header.
const EXTENSION_MAX_BYTES: u64 = 64 * 1024;
const SET_ID_BITS: u32 = 0o6000;
const OWNER_EXECUTES: u32 = 0o100;
/// Records of an extended header that change nothing of what is unpacked.
const WITHOUT_MEANING: [&str; 13] = [
    "atime",
    "charset",
    "comment",
    "ctime",
    "gid",
    "gname",
    "hdrcharset",
    "mtime",
    "uid",
    "uname",
    "LIBARCHIVE.creationtime",
    "SCHILY.dev",
    "SCHILY.ino",
];

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File { executable: bool, size: u64 },
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The names on the way, each judged; none for the root itself.
    pub(super) path: Vec<String>,
    pub(super) kind: Kind,
}

/// What was said of the entry that comes next.
#[derive(Debug, Default)]
pub(super) struct Pending {
    is_said: bool,
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Pending {
    /// Whether an entry was described that has not come.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_said
    }

    /// The entry, unless it only describes the next one.
    ///
    /// # Errors
    /// A [`Problem`] for whatever is no plain file or directory with one meaning.
    pub(super) fn next<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        gauge: &Gauge,
    ) -> Result<Option<Member>, Problem> {
        let header = entry.header();
        let shown = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let kind = header.entry_type();
        let size = header.entry_size().map_err(|_| Problem::entry(&shown, "has no readable size"))?;
        let is_known = header.as_ustar().is_some() || header.as_gnu().is_some();
        match kind {
            EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName if is_known => {
                let text = described(entry, size, gauge)?;
                match kind {
                    EntryType::XHeader => self.extended(&text)?,
                    EntryType::GNULongName => self.long_name(text)?,
                    // Of all that follow: nothing that would change any of them.
                    _ => Self::default().records(&text, |_| false)?,
                }
                Ok(None)
            }
            _ => {
                let said = std::mem::take(self);
                let mode = header.mode().map_err(|_| Problem::entry(&shown, "has no readable mode"))?;
                let path = said.path.unwrap_or_else(|| header.path_bytes().into_owned());
                if said.size.is_some_and(|said| said != size) {
                    return Err(Problem::entry(&shown, "has two sizes"));
                }
                member(&path, kind, mode, size).map(Some)
            }
        }
    }

    fn begin(&mut self) -> Result<(), Problem> {
        if std::mem::replace(&mut self.is_said, true) {
            return Err(Problem::archive("describes an entry twice"));
        }
        Ok(())
    }

    fn long_name(&mut self, mut text: Vec<u8>) -> Result<(), Problem> {
        self.begin()?;
        if text.last() == Some(&0) {
            text.pop();
        }
        self.path = Some(text);
        Ok(())
    }

    fn extended(&mut self, text: &[u8]) -> Result<(), Problem> {
        self.begin()?;
        self.records(text, |key| matches!(key, "path" | "size"))
    }

    /// Reads `LENGTH KEY=VALUE\n` after `LENGTH KEY=VALUE\n`, with nothing between and nothing left.
    fn records(&mut self, mut text: &[u8], has_meaning: fn(&str) -> bool) -> Result<(), Problem> {
        let mut keys: Vec<&str> = Vec::new();
        while !text.is_empty() {
            let (key, value, rest) =
                record(text).ok_or_else(|| Problem::archive("has an extended header that is damaged"))?;
            if keys.contains(&key) {
                return Err(Problem::archive("has an extended header that says something twice"));
            }
            keys.push(key);
            text = rest;
            match key {
                "path" if has_meaning(key) => self.path = Some(value.to_vec()),
                "size" if has_meaning(key) => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or_else(|| Problem::archive("has a size that is no number"))?);
                }
                key if WITHOUT_MEANING.contains(&key) => {}
                key => {
                    let shown: String = key.chars().take(60).collect();
                    let shown = crate::manifest::text::shown(&shown);
                    return Err(Problem::archive(format!(
                        "has an extended header with '{shown}', which is not taken"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The first record, and what comes behind it.
fn record(text: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = text.iter().take(8).position(|byte| *byte == b' ')?;
    let digits = text.get(..space).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let record = text.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let key = std::str::from_utf8(record.get(..equals)?).ok()?;
    Some((key, record.get(equals + 1..)?, text.get(length..)?))
}

/// The content of an entry that describes another one.
fn described<R: Read>(entry: &mut Entry<'_, R>, size: u64, gauge: &Gauge) -> Result<Vec<u8>, Problem> {
    if size > EXTENSION_MAX_BYTES {
        return Err(Problem::archive(format!(
            "has an extended header of more than {EXTENSION_MAX_BYTES} bytes"
        )));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(|_| gauge.told("is damaged"))?;
    if text.len() as u64 == size { Ok(text) } else { Err(Problem::archive("is cut off")) }
}

fn member(path: &[u8], kind: EntryType, mode: u32, size: u64) -> Result<Member, Problem> {
    let shown = String::from_utf8_lossy(path).chars().take(60).collect::<String>();
    let refused = |why: &str| Err(Problem::entry(&shown, why));
    match kind {
        EntryType::Directory if size != 0 => refused("is a directory with content"),
        EntryType::Directory => Ok(Member { path: names_of(path, true)?, kind: Kind::Directory }),
        EntryType::Regular if mode & SET_ID_BITS != 0 => refused("has a set-user-id or set-group-id bit"),
        EntryType::Regular => {
            let executable = mode & OWNER_EXECUTES != 0;
            Ok(Member { path: names_of(path, false)?, kind: Kind::File { executable, size } })
        }
        EntryType::Symlink => refused("is a link, which an archive may not have"),
        EntryType::Link => refused("is a hard link, which an archive may not have"),
        EntryType::Char | EntryType::Block => refused("is a device"),
        EntryType::Fifo => refused("is a named pipe"),
        EntryType::GNUSparse => refused("is a sparse file, which an archive may not have"),
        _ => refused("is neither a file nor a directory"),
    }
}

/// The names on the way to an entry. `./` before all of it says nothing, and many programs write it.
fn names_of(path: &[u8], is_directory: bool) -> Result<Vec<String>, Problem> {
    let Ok(text) = std::str::from_utf8(path) else {
        let shown: String = String::from_utf8_lossy(path).chars().take(60).collect();
        return Err(Problem::entry(&shown, "has a name that is not UTF-8"));
    };
    let shown: String = text.chars().take(60).collect();
    let refused = |why: String| Err(Problem::entry(&shown, why));
    if text.len() > PATH_MAX_BYTES {
        return refused(format!("has a path longer than {PATH_MAX_BYTES} bytes"));
    }
    let mut rest = text;
    if is_directory {
        rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest == "." {
            return Ok(Vec::new());
        }
    }
    rest = rest.strip_prefix("./").unwrap_or(rest);
    let first = rest.as_bytes();
    let has_drive = first.get(1) == Some(&b':') && first.first().is_some_and(u8::is_ascii_alphabetic);
    if rest.starts_with('/') || rest.contains('\\') || has_drive {
        return refused("has a path that does not begin in the package".to_owned());
    }
    let mut names = Vec::new();
    for name in rest.split('/') {
        if name.is_empty() || name == "." || name == ".." {
            return refused(format!("has '{name}' in its path"));
        }
        if name.len() > NAME_MAX_BYTES {
            return refused(format!("has a name longer than {NAME_MAX_BYTES} bytes"));
        }
        if let Err(why) = names::judge(name) {
            return refused(why);
        }
        names.push(name.to_owned());
    }
    if names.len() > DEPTH_MAX {
        return refused(format!("is nested deeper than {DEPTH_MAX} directories"));
    }
    Ok(names)
}
