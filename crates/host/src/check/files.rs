//! The files of a package, as far as `check` looks: nothing is opened that is no regular file, and no link is followed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ringfence_sandbox::Resolved;
use ringfence_sandbox::tree::{Dir, EntryKind};

use crate::manifest::{Finding, Severity};

/// The most entries that are looked at.
const ENTRIES_MAX: usize = 100_000;
/// How deep directories may nest.
const DEPTH_MAX: usize = 64;
/// The most findings about files.
const FINDINGS_MAX: usize = 50;
/// A larger file is worth a word, in bytes: the default limit of a file's size.
const LARGE_BYTES: u64 = 100_000_000;
/// A larger package is worth a word, in bytes.
const PACKAGE_LARGE_BYTES: u64 = 1_000_000_000;

/// What is worth a word about the files.
pub(super) fn findings(package: &Path) -> Vec<Finding> {
    let root = Resolved::find(package).map(|root| root.path().to_owned()).unwrap_or_default();
    let mut walk = Walk { root, findings: Vec::new(), entries: 0, bytes: 0 };
    walk.directory(package);
    if walk.bytes > PACKAGE_LARGE_BYTES {
        let message = format!(
            "the files have {} MB together; leave out what is not needed to run",
            walk.bytes / 1_000_000
        );
        walk.say(package, Severity::Warning, "package-size", message);
    }
    walk.findings.truncate(FINDINGS_MAX);
    walk.findings
}

struct Walk {
    root: PathBuf,
    findings: Vec<Finding>,
    entries: usize,
    bytes: u64,
}

impl Walk {
    fn say(&mut self, path: &Path, severity: Severity, rule: &'static str, message: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { severity, ..Finding::of_file(rule, path, message) });
        }
    }

    fn directory(&mut self, start: &Path) {
        let mut waiting = vec![(PathBuf::new(), 0_usize)];
        while let Some((place, depth)) = waiting.pop() {
            let path = start.join(&place);
            if depth > DEPTH_MAX {
                self.say(
                    &path,
                    Severity::Warning,
                    "too-deep",
                    format!("nests deeper than {DEPTH_MAX} directories"),
                );
                continue;
            }
            let opened = Dir::open_without_links(&self.root.join(&place));
            let (names, dir) = match opened.and_then(|dir| Ok((dir.names(ENTRIES_MAX - self.entries)?, dir)))
            {
                Ok(found) => found,
                Err(error) if error.kind() == std::io::ErrorKind::QuotaExceeded => {
                    let message = format!("more than {ENTRIES_MAX} files; the rest was not looked at");
                    self.say(start, Severity::Warning, "too-many-files", message);
                    return;
                }
                Err(error) => {
                    self.say(&path, Severity::Warning, "unreadable", format!("cannot be read: {error}"));
                    continue;
                }
            };
            self.entries += names.len();
            for name in names {
                if self.entry(&dir, &name, &path.join(&name)) == Some(EntryKind::Directory) {
                    waiting.push((place.join(&name), depth + 1));
                }
            }
        }
    }

    /// What it is, if it is there.
    fn entry(&mut self, dir: &Dir, name: &OsStr, path: &Path) -> Option<EntryKind> {
        let seen = dir.status(name).ok()?;
        if name.to_str().is_none_or(|name| name.chars().any(char::is_control)) {
            self.say(path, Severity::Warning, "file-name", "the name has control characters or is not UTF-8");
        }
        match seen.kind {
            EntryKind::Directory => {}
            EntryKind::Link => self.link(path),
            EntryKind::File => {
                self.bytes = self.bytes.saturating_add(seen.size);
                if seen.size > LARGE_BYTES {
                    let message = format!("has {} MB; is it needed to run?", seen.size / 1_000_000);
                    self.say(path, Severity::Warning, "file-size", message);
                }
                if let Err(error) = dir.open_file(name) {
                    self.say(path, Severity::Warning, "unreadable", format!("cannot be read: {error}"));
                }
            }
            _ => self.say(
                path,
                Severity::Warning,
                "special-file",
                "is no regular file, directory or link; it cannot be installed",
            ),
        }
        Some(seen.kind)
    }

    fn link(&mut self, path: &Path) {
        match Resolved::find(path) {
            Ok(target) if target.path().starts_with(&self.root) => {}
            Ok(_) => self.say(
                path,
                Severity::Warning,
                "outward-link",
                "is a link that leaves the package; it cannot be installed",
            ),
            Err(_) => self.say(path, Severity::Warning, "broken-link", "is a link to nothing in the package"),
        }
    }
}
