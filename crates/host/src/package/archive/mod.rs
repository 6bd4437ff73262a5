//! A package that comes as one file: a tar archive, plain or compressed with gzip, read once from front to back.
//!
//! Nothing of it is believed. [`gauge`] counts what comes in and what it inflates to, and stops both at their limits;
//! [`member`] turns headers into a path and a kind, or refuses them; what is let through goes to a [`Sink`]: a private
//! directory, or nothing at all. What the unpacked directory then means is judged like any other.
//!
//! Refused: everything but files and directories (links, devices, pipes, sparse files), paths that leave, set-id bits,
//! extended attributes, names that stand twice or are too much alike, anything behind the end, and what breaks a limit. An
//! entry that two readers could take for two things is refused, too.

mod gauge;
mod member;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{BufReader, Cursor, Read, Write};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ringfence_sandbox::tree::Dir;
use sha2::{Digest as _, Sha256};

use self::gauge::{Gauge, Incoming, Inflated};
use self::member::{Kind, Member, Pending};
use super::{BYTES_MAX, ENTRIES_MAX, Problem, names};
use crate::Error;

/// The most bytes of an archive as it comes in, and of what it inflates to with headers and padding: 1.1 GB.
pub const ARCHIVE_BYTES_MAX: u64 = 1_100_000_000;
/// How much is read at once.
const CHUNK_BYTES: usize = 128 * 1024;
/// How a stream of gzip begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What an archive holds.
///
/// ```
/// let contents = ringfence::archive::look(std::io::empty());
/// assert!(contents.is_err(), "nothing is no archive");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its files.
    pub files: usize,
    /// Its directories, with those that no entry names.
    pub directories: usize,
    /// What its files hold together.
    pub bytes: u64,
    /// SHA-256 of the archive as it came, in hexadecimal digits.
    pub sha256: String,
}

/// Reads an archive to its end as an installation would, and writes nothing anywhere.
///
/// # Errors
/// `invalid_package` or `too_large`, naming the entry that is refused; `io` when it cannot be read.
pub fn look(archive: impl Read) -> Result<Contents, Error> {
    read(archive, &mut Nowhere).map_err(|problem| problem.into_error("archive".as_ref()))
}

/// Where the content goes. Paths are the names on the way, each judged.
pub(super) trait Sink {
    /// What takes the bytes of one file.
    type File: Write;

    /// Makes a directory whose parent is made already.
    fn directory(&mut self, path: &[String]) -> std::io::Result<()>;

    /// Makes a file whose parent is made already.
    fn file(&mut self, path: &[String], executable: bool) -> std::io::Result<Self::File>;
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    type File = std::io::Sink;

    fn directory(&mut self, _path: &[String]) -> std::io::Result<()> {
        Ok(())
    }

    fn file(&mut self, _path: &[String], _executable: bool) -> std::io::Result<Self::File> {
        Ok(std::io::sink())
    }
}

/// Makes everything below one directory, a name at a time and by no link.
pub(super) struct Beneath {
    root: Dir,
    /// Where the last entry was made: the next one is mostly beside it.
    last: Option<(Vec<String>, Dir)>,
}

impl Beneath {
    pub(super) fn new(root: Dir) -> Self {
        Self { root, last: None }
    }

    /// The directory of an entry, and the entry's own name.
    fn place<'p>(&mut self, path: &'p [String]) -> std::io::Result<(&Dir, &'p std::ffi::OsStr)> {
        let Some((name, parents)) = path.split_last() else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        if self.last.as_ref().is_none_or(|(known, _)| known != parents) {
            let mut dir = self.root.try_clone()?;
            for parent in parents {
                dir = dir.open_dir(parent.as_ref())?;
            }
            self.last = Some((parents.to_vec(), dir));
        }
        let dir = self.last.as_ref().map_or(&self.root, |(_, dir)| dir);
        Ok((dir, name.as_ref()))
    }
}

impl Sink for Beneath {
    type File = std::fs::File;

    fn directory(&mut self, path: &[String]) -> std::io::Result<()> {
        let (dir, name) = self.place(path)?;
        dir.create_dir(name, 0o700).map(drop)
    }

    fn file(&mut self, path: &[String], executable: bool) -> std::io::Result<Self::File> {
        let (dir, name) = self.place(path)?;
        dir.create_file(name, if executable { 0o700 } else { 0o600 })
    }
}

/// Reads an archive to its end.
///
/// # Errors
/// The first [`Problem`]; then the sink has got a part of it.
pub(super) fn read<S: Sink>(archive: impl Read, sink: &mut S) -> Result<Contents, Problem> {
    let gauge = Rc::new(Gauge::default());
    let damaged = || gauge.told("is damaged");
    let mut incoming = BufReader::with_capacity(CHUNK_BYTES, Incoming::new(archive, Rc::clone(&gauge)));
    let mut begin = Vec::new();
    (&mut incoming).take(GZIP.len() as u64).read_to_end(&mut begin).map_err(|_| damaged())?;
    let compressed = begin == GZIP;
    let whole = Cursor::new(begin).chain(incoming);
    let inside: Box<dyn Read + '_> =
        if compressed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
    let mut tar = tar::Archive::new(Inflated::new(inside, Rc::clone(&gauge)));
    let mut unpack = Unpack { sink, seen: HashMap::new(), contents: Contents::default() };
    unpack.members(&mut tar, &gauge)?;
    if gauge.has_ended() {
        return Err(Problem::archive("is cut off"));
    }
    let mut rest = tar.into_inner();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match rest.read(&mut chunk) {
            Ok(0) => break,
            // Only what fills up the last block of a tape. A second archive there would be another package.
            Ok(count) if chunk.iter().take(count).all(|byte| *byte == 0) => {}
            Ok(_) => return Err(Problem::archive("goes on behind its end")),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(damaged()),
        }
    }
    drop(rest);
    Ok(Contents { sha256: gauge.sha256(), ..unpack.contents })
}

/// What stands at a path, as far as it matters for what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    File,
    /// Named by an entry of its own.
    Directory,
    /// Made because something lies in it.
    Parent,
}

/// Paths are remembered by their digests: a hundred times smaller than the longest of them.
type PathDigest = [u8; 32];

struct Unpack<'s, S> {
    sink: &'s mut S,
    /// By the folded path: the path as it was written, and what it is.
    seen: HashMap<PathDigest, (PathDigest, Seen)>,
    contents: Contents,
}

impl<S: Sink> Unpack<'_, S> {
    fn members<R: Read>(&mut self, tar: &mut tar::Archive<R>, gauge: &Gauge) -> Result<(), Problem> {
        let mut pending = Pending::default();
        let mut wrong = "is no tar archive, plain or compressed with gzip";
        let entries = tar.entries().map_err(|_| gauge.told(wrong))?;
        // Raw: what describes the entry behind it is read by us, and bounded.
        for entry in entries.raw(true) {
            let mut entry = entry.map_err(|_| gauge.told(wrong))?;
            wrong = "is damaged";
            if let Some(member) = pending.next(&mut entry, gauge)? {
                self.member(&member, &mut entry, gauge)?;
            }
        }
        if pending.is_waiting() {
            return Err(Problem::archive("is cut off"));
        }
        Ok(())
    }

    fn member(&mut self, member: &Member, content: &mut impl Read, gauge: &Gauge) -> Result<(), Problem> {
        let Some((_, parents)) = member.path.split_last() else { return Ok(()) };
        for depth in 1..=parents.len() {
            self.stands(member.path.get(..depth).unwrap_or_default(), Seen::Parent)?;
        }
        match member.kind {
            Kind::Directory => self.stands(&member.path, Seen::Directory),
            Kind::File { executable, size } => {
                self.stands(&member.path, Seen::File)?;
                self.file(&member.path, executable, size, content, gauge)
            }
        }
    }

    /// Notes what stands at a path, and makes it when it is a new directory.
    fn stands(&mut self, path: &[String], what: Seen) -> Result<(), Problem> {
        let text = path.join("/");
        let folded: Vec<String> = path.iter().map(|name| names::fold(name)).collect();
        let (key, exact) = (digest(&folded.join("/")), digest(&text));
        let is_full = self.seen.len() >= ENTRIES_MAX;
        match self.seen.get_mut(&key) {
            Some((other, _)) if *other != exact => {
                Err(Problem::entry(&text, "is too much like another entry"))
            }
            Some((_, Seen::Directory | Seen::Parent)) if what == Seen::Parent => Ok(()),
            Some((_, found @ Seen::Parent)) if what == Seen::Directory => {
                *found = Seen::Directory;
                Ok(())
            }
            Some(_) => Err(Problem::entry(&text, "stands twice")),
            None if is_full => {
                Err(Problem::TooMuch { limit: format!("{ENTRIES_MAX} files and directories") })
            }
            None => {
                self.seen.insert(key, (exact, what));
                if what == Seen::File {
                    return Ok(());
                }
                self.contents.directories += 1;
                self.sink.directory(path).map_err(Problem::io("unpack", &text))
            }
        }
    }

    fn file(
        &mut self,
        path: &[String],
        executable: bool,
        size: u64,
        content: &mut impl Read,
        gauge: &Gauge,
    ) -> Result<(), Problem> {
        // Before reading: what says that it is a terabyte takes no time to refuse.
        if self.contents.bytes.saturating_add(size) > BYTES_MAX {
            return Err(Problem::TooMuch { limit: format!("{BYTES_MAX} bytes") });
        }
        let text = path.join("/");
        let mut file = self.sink.file(path, executable).map_err(Problem::io("unpack", &text))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = size;
        while left > 0 {
            let count = match content.read(&mut chunk) {
                Ok(0) => return Err(Problem::archive("is cut off")),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(gauge.told("is damaged")),
            };
            file.write_all(chunk.get(..count).unwrap_or_default()).map_err(Problem::io("unpack", &text))?;
            left = left.saturating_sub(count as u64);
        }
        self.contents.bytes += size;
        self.contents.files += 1;
        Ok(())
    }
}

fn digest(text: &str) -> PathDigest {
    Sha256::digest(text).into()
}
