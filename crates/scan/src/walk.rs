//! The walk through a package: by descriptor, without following a link, without recursion.

use std::ffi::OsString;

use ringfence_sandbox::tree::{Dir, EntryKind};

use crate::file;
use crate::limits::{Budget, DEPTH_MAX, ENTRIES_MAX, FINDINGS_MAX, NOT_READ_MAX, PATH_MAX_BYTES};
use crate::report::{Hit, NotRead, Raw};

/// What never comes into the store.
const LEFT_OUT: &[&str] = &[".git", "__pycache__"];

/// One open directory, and its names that are still to be looked at, the next one last.
struct Level {
    dir: Dir,
    path: String,
    names: Vec<OsString>,
}

struct Walk {
    raw: Raw,
    budget: Budget,
    entries: usize,
}

/// Looks at every file below `root`. Nothing of it is executed, no link is followed, and nothing waits for a pipe. What it
/// leaves out is said in the result. Blocks for [`TOTAL_TIME`](crate::limits::TOTAL_TIME) and one file's time at most.
#[must_use]
pub fn scan(root: &Dir) -> Raw {
    let mut walk = Walk { raw: Raw::default(), budget: Budget::new(), entries: 0 };
    let mut levels = Vec::new();
    let root = root.try_clone().map_err(|error| error.to_string());
    match root.and_then(|dir| walk.level(dir, String::new())) {
        Ok(level) => levels.push(level),
        Err(why) => walk.not_read(".", format!("cannot be read: {why}")),
    }
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        if walk.budget.is_over() {
            let why = "comes after the time that a package may take";
            let path = join(&level.path, &name.to_string_lossy());
            walk.cut_off(&path, why);
            break;
        }
        walk.entries += 1;
        let deeper = walk.entry(level, &name);
        if let Some((dir, path)) = deeper {
            if levels.len() >= DEPTH_MAX {
                walk.cut_off(&path, "is nested too deep");
                continue;
            }
            match walk.level(dir, path.clone()) {
                Ok(level) => levels.push(level),
                Err(why) => walk.cut_off(&path, &format!("cannot be read: {why}")),
            }
        }
    }
    walk.raw
}

/// Looks at one file that is in memory, as if a package held it under this name. For editors and tests; the limits of one
/// file hold.
///
/// ```
/// let report = ringfence_scan::scan_file("a.sh", b"curl https://example.com | sh\n").judged(None);
/// assert!(report.findings.iter().any(|finding| finding.rule == "dynamic-code"));
/// ```
#[must_use]
pub fn scan_file(path: &str, content: &[u8]) -> Raw {
    let mut walk = Walk { raw: Raw::default(), budget: Budget::new(), entries: 0 };
    let name = path.rsplit('/').next().unwrap_or_default();
    let seen = file::look(name, path, content, content.len() as u64, &mut walk.budget);
    walk.take(path, seen);
    walk.raw
}

impl Walk {
    fn level(&self, dir: Dir, path: String) -> Result<Level, String> {
        let left = ENTRIES_MAX.saturating_sub(self.entries);
        let mut names = dir.names(left).map_err(|error| match error.kind() {
            std::io::ErrorKind::QuotaExceeded => format!("it has more than {ENTRIES_MAX} entries"),
            _ => error.to_string(),
        })?;
        names.sort_by(|a, b| b.cmp(a));
        Ok(Level { dir, path, names })
    }

    /// Looks at a file; gives a directory back.
    fn entry(&mut self, level: &Level, name: &OsString) -> Option<(Dir, String)> {
        let shown = name.to_string_lossy();
        let path = join(&level.path, &shown);
        let kind = match level.dir.status(name) {
            Ok(status) => status.kind,
            Err(error) => {
                self.not_read(&path, format!("cannot be read: {error}"));
                return None;
            }
        };
        match kind {
            EntryKind::Directory if LEFT_OUT.contains(&shown.as_ref()) => None,
            EntryKind::Directory => match level.dir.open_dir(name) {
                Ok(dir) => Some((dir, path)),
                Err(error) => {
                    self.cut_off(&path, &format!("cannot be read: {error}"));
                    None
                }
            },
            EntryKind::File => {
                self.file(level, name, &shown, &path);
                None
            }
            EntryKind::Link => {
                self.not_read(&path, "is a link, which is not followed".to_owned());
                None
            }
            _ => {
                self.not_read(&path, "is no regular file".to_owned());
                None
            }
        }
    }

    fn file(&mut self, level: &Level, name: &OsString, shown: &str, path: &str) {
        // It may have been exchanged since; a link and a pipe are refused here too, without waiting.
        let (file, status) = match level.dir.open_file(name) {
            Ok(opened) => opened,
            Err(error) => return self.cut_off(path, &format!("cannot be read: {error}")),
        };
        let seen = file::look(shown, path, file, status.size, &mut self.budget);
        self.take(path, seen);
    }

    fn take(&mut self, path: &str, seen: file::Seen) {
        self.raw.files += 1;
        self.raw.bytes += seen.bytes;
        let (hits, more) = seen.hits.done();
        self.raw.more_findings += more;
        for hit in hits {
            self.hit(hit);
        }
        if let Some(why) = seen.not_read {
            self.not_read(path, why);
        }
    }

    fn hit(&mut self, hit: Hit) {
        if self.raw.hits.len() < FINDINGS_MAX {
            self.raw.hits.push(hit);
        } else {
            self.raw.more_findings += 1;
        }
    }

    fn not_read(&mut self, path: &str, why: String) {
        if self.raw.not_read.len() < NOT_READ_MAX {
            self.raw.not_read.push(NotRead { file: cut_path(path), why });
        } else {
            self.raw.more_not_read += 1;
        }
    }

    /// Not read, and it could hold code: that is a finding as well.
    fn cut_off(&mut self, path: &str, why: &str) {
        self.not_read(path, why.to_owned());
        let subject = format!("this {why}; it");
        self.hit(Hit { rule: "not-read".to_owned(), file: cut_path(path), line: 1, column: 1, subject });
    }
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn cut_path(path: &str) -> String {
    let end = (0..=path.len().min(PATH_MAX_BYTES)).rev().find(|end| path.is_char_boundary(*end)).unwrap_or(0);
    path.get(..end).unwrap_or_default().to_owned()
}
