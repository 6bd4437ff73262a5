//! The files of a package, as far as `check` looks: nothing is opened that is no regular file, and no link is followed.

use std::fs;
use std::path::{Path, PathBuf};

use ringfence_sandbox::Resolved;

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
        let mut waiting = vec![(start.to_owned(), 0_usize)];
        while let Some((path, depth)) = waiting.pop() {
            if depth > DEPTH_MAX {
                self.say(
                    &path,
                    Severity::Warning,
                    "too-deep",
                    format!("nests deeper than {DEPTH_MAX} directories"),
                );
                continue;
            }
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) => {
                    self.say(&path, Severity::Warning, "unreadable", format!("cannot be read: {error}"));
                    continue;
                }
            };
            for entry in entries.filter_map(Result::ok) {
                self.entries += 1;
                if self.entries > ENTRIES_MAX {
                    let message = format!("more than {ENTRIES_MAX} files; the rest was not looked at");
                    self.say(start, Severity::Warning, "too-many-files", message);
                    return;
                }
                self.entry(&entry.path(), depth, &mut waiting);
            }
        }
    }

    fn entry(&mut self, path: &Path, depth: usize, waiting: &mut Vec<(PathBuf, usize)>) {
        let Ok(seen) = fs::symlink_metadata(path) else { return };
        if path
            .file_name()
            .is_some_and(|name| name.to_str().is_none_or(|name| name.chars().any(char::is_control)))
        {
            self.say(path, Severity::Warning, "file-name", "the name has control characters or is not UTF-8");
        }
        if seen.is_dir() {
            waiting.push((path.to_owned(), depth + 1));
        } else if seen.is_symlink() {
            self.link(path);
        } else if !seen.is_file() {
            self.say(
                path,
                Severity::Warning,
                "special-file",
                "is no regular file, directory or link; it cannot be installed",
            );
        } else {
            self.bytes = self.bytes.saturating_add(seen.len());
            if seen.len() > LARGE_BYTES {
                let message = format!("has {} MB; is it needed to run?", seen.len() / 1_000_000);
                self.say(path, Severity::Warning, "file-size", message);
            }
            if let Err(error) = fs::File::open(path) {
                self.say(path, Severity::Warning, "unreadable", format!("cannot be read: {error}"));
            }
        }
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
