//! The content of a package as a list, and the digest that follows from it.
//!
//! The digest is SHA-256 over a text that anybody can make again: the line `ringfence package 1`, then one line for each
//! entry below the root, sorted by the bytes of its path. Every line ends with `\n`:
//!
//! ```text
//! d PATH                          a directory
//! f MODE SIZE SHA256 PATH         a file: MODE is x when it is executable, else -; SIZE in bytes
//! l LENGTH TARGET PATH            a link: LENGTH is that of TARGET in bytes
//! ```
//!
//! Paths are relative, with `/`, and have no control characters, so no two lists have the same text. Owners, times and all
//! other modes do not matter.

use sha2::{Digest as _, Sha256};

use crate::store::hex;

/// The first line: the version of the form.
const FORM: &str = "ringfence package 1\n";

/// What one entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// In bytes.
        size: u64,
        /// Of its content.
        sha256: [u8; 32],
    },
    /// A link that stays inside.
    Link {
        /// As it is written.
        target: String,
    },
}

/// One entry of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative to the root.
    pub(crate) path: String,
    /// What it is.
    pub(crate) kind: EntryKind,
}

/// Everything in a package, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    entries: Vec<Entry>,
}

impl Listing {
    pub(super) fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|one, two| one.path.as_bytes().cmp(two.path.as_bytes()));
        Self { entries }
    }

    /// The entries, sorted by the bytes of their paths.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The digest, in hexadecimal.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new_with_prefix(FORM);
        for Entry { path, kind } in &self.entries {
            let line = match kind {
                EntryKind::Directory => format!("d {path}\n"),
                EntryKind::File { executable, size, sha256 } => {
                    format!("f {} {size} {} {path}\n", if *executable { 'x' } else { '-' }, hex(sha256))
                }
                EntryKind::Link { target } => format!("l {} {target} {path}\n", target.len()),
            };
            hash.update(line);
        }
        hex(&hash.finalize())
    }
}
