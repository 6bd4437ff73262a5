//! What writing in a granted place would reach beyond it, said before somebody consents: names of files that lie elsewhere too
//! (FS-08), and what is executed later (FS-22).
//!
//! Looking is bounded in entries and time, says when it was cut short, and follows no link. It warns and refuses nothing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringfence_sandbox::tree::{Dir, EntryKind, Status};

use super::later::{self, Later};

/// How many entries are looked at for one grant.
const ENTRIES_MAX: usize = 50_000;
/// How long one grant is looked at.
const TIME_MAX: Duration = Duration::from_millis(300);
/// How many names are said of one kind.
const NAMED_MAX: usize = 3;

/// What there is to be warned of before a file or a directory with all that is in it is granted for writing.
pub(crate) fn warnings(granted: &Path, home: Option<&Path>) -> Vec<String> {
    let mut found = Walk::default();
    found.look(granted, Instant::now() + TIME_MAX);
    let mut said: Vec<String> = found.hard_links().into_iter().collect();
    said.extend(executed_later(granted, home, &found));
    if let Some(cut) = found.cut {
        said.push(format!(
            "only {} of it were looked at for this, because {cut}: there may be more",
            match found.entries {
                1 => "1 entry".to_owned(),
                count => format!("{count} entries"),
            }
        ));
    }
    said
}

fn executed_later(granted: &Path, home: Option<&Path>, found: &Walk) -> Vec<String> {
    let mut said: Vec<String> = later::by_place(granted, home)
        .map(|later| format!("writing there reaches {}: {}", later.name, later.what))
        .collect();
    for (later, paths) in &found.later {
        said.push(format!("it holds {}: {}", list(paths), later.what));
    }
    let marked =
        |directory: &Path| later::MARKS.iter().any(|mark| directory.join(mark).symlink_metadata().is_ok());
    // At the top of one the mark itself was found.
    if let Some(repository) = granted.ancestors().skip(1).find(|above| marked(above)) {
        let names: Vec<&str> =
            later::NAMES.iter().map(|later| later.name).filter(|name| !later::MARKS.contains(name)).collect();
        said.push(format!(
            "it lies in the repository {}: programs that work there run or believe files of names such as {}",
            repository.display(),
            names.get(..NAMED_MAX).unwrap_or(&names).join(", ")
        ));
    }
    said
}

/// A few of the paths, and how many more there are.
fn list(paths: &[PathBuf]) -> String {
    let named: Vec<String> = paths.iter().take(NAMED_MAX).map(|path| path.display().to_string()).collect();
    match paths.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// What was met.
#[derive(Debug, Default)]
struct Walk {
    entries: usize,
    /// Why it was given up.
    cut: Option<&'static str>,
    /// Files with more than one name: how many names were met, how many there are, and the first of them.
    linked: HashMap<(u64, u64), (u64, u64, PathBuf)>,
    later: Vec<(&'static Later, Vec<PathBuf>)>,
}

impl Walk {
    fn look(&mut self, granted: &Path, until: Instant) {
        let mut left = vec![granted.to_owned()];
        let Ok(_) = Dir::open_without_links(granted) else { return self.look_at_file(granted) };
        while let Some(directory) = left.pop() {
            // What cannot be listed, and what was replaced by a link meanwhile.
            let Ok(opened) = Dir::open_without_links(&directory) else { continue };
            let listed = opened.each_name(|name| {
                if self.entries >= ENTRIES_MAX || Instant::now() >= until {
                    return Err(std::io::ErrorKind::QuotaExceeded.into());
                }
                self.entries += 1;
                let Ok(status) = opened.status(name) else { return Ok(()) };
                let path = directory.join(name);
                self.meet(name, &path, &status);
                if status.kind == EntryKind::Directory {
                    left.push(path);
                }
                Ok(())
            });
            if listed.is_err_and(|error| error.kind() == std::io::ErrorKind::QuotaExceeded) {
                self.cut = Some(if self.entries >= ENTRIES_MAX { "it holds more" } else { "it takes long" });
                return;
            }
        }
    }

    fn look_at_file(&mut self, granted: &Path) {
        let Some((directory, name)) = granted.parent().zip(granted.file_name()) else { return };
        let Ok(status) = Dir::open_without_links(directory).and_then(|opened| opened.status(name)) else {
            return;
        };
        self.entries += 1;
        self.meet(name, granted, &status);
    }

    fn meet(&mut self, name: &OsStr, path: &Path, status: &Status) {
        if status.kind == EntryKind::File && status.links > 1 {
            let known = self.linked.entry(status.identity).or_insert((0, status.links, path.to_owned()));
            known.0 += 1;
        }
        if let Some(later) = later::by_name(name) {
            match self.later.iter_mut().find(|(known, _)| known.name == later.name) {
                Some((_, paths)) => paths.push(path.to_owned()),
                None => self.later.push((later, vec![path.to_owned()])),
            }
        }
    }

    /// Files that have a name elsewhere. Those of which all names were met reach nothing outside.
    fn hard_links(&self) -> Option<String> {
        let elsewhere = self.linked.values().filter(|(met, names, _)| met < names);
        let mut paths: Vec<PathBuf> = elsewhere.map(|(.., path)| path.clone()).collect();
        paths.sort_unstable();
        let count = match paths.len() {
            0 => return None,
            1 => "a file that has another name elsewhere".to_owned(),
            count => format!("{count} files that have another name elsewhere"),
        };
        Some(format!(
            "it holds {count} (hard links), and what is written to it is written there too: {}",
            list(&paths)
        ))
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
