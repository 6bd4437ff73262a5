//! Finds the existing files that a pattern with wildcards means, and those that are denied below a granted tree. No link is
//! followed, and there is a bound to how much is looked at.

use std::path::{Path, PathBuf};

use ringfence_api::ErrorCode;
use ringfence_policy::{CanonicalPath, Effect, FileOp, PathPattern, Request, RuleSet, Vars};
use ringfence_sandbox::Resolved;

use crate::error::Error;

/// How many directory entries one start looks at for a pattern with wildcards.
pub(crate) const ENTRIES_MAX: usize = 50_000;
/// How many places one pattern may show or hide: each is a mount.
pub(crate) const MATCHES_MAX: usize = 256;

/// Something that is denied below a mount.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) resolved: Resolved,
}

/// The topmost existing files and directories that a pattern matches.
pub(crate) fn matching(pattern: &PathPattern) -> Result<Vec<Resolved>, Error> {
    let mut found = Vec::new();
    let prefix = pattern.literal_prefix();
    walk(prefix.as_path(), pattern, &mut |path| pattern.matches(path), &mut found)?;
    Ok(found)
}

/// What must be covered or narrowed below the mount at `root`: places on the floor that no rule names, and what deny rules
/// match.
pub(crate) fn denied_below(rules: &RuleSet, vars: &Vars, root: &Path) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let inside = |path: &CanonicalPath| path.as_path().starts_with(root) && path.as_path() != root;
    for path in vars.floor().paths().filter(|path| inside(path)) {
        let allowed = rules.decide(&Request::File { op: FileOp::Read, path: path.clone() }).is_allowed();
        if !allowed {
            found.extend(existing(path.as_path()));
        }
    }
    for rule in rules.rules().iter().filter(|rule| rule.effect() == Effect::Deny) {
        let is_file = [FileOp::Read, FileOp::Write, FileOp::Delete]
            .iter()
            .any(|op| op.permission() == *rule.permission_name());
        let Some(pattern) = rule.path().filter(|_| is_file) else { continue };
        let prefix = pattern.literal_prefix();
        if pattern.is_exact() || pattern.is_subtree() {
            if inside(&prefix) {
                found.extend(existing(prefix.as_path()));
            }
        } else if prefix.as_path().starts_with(root) || root.starts_with(prefix.as_path()) {
            let start = if prefix.as_path().starts_with(root) { prefix.as_path() } else { root };
            walk(start, pattern, &mut |path| pattern.matches(path), &mut found)?;
        }
    }
    Ok(found.into_iter().map(|resolved| Found { resolved }).collect())
}

/// What is there, unless it is a link, a socket or nothing.
fn existing(path: &Path) -> Option<Resolved> {
    Resolved::find(path).ok().filter(|found| found.path() == path)
}

/// Collects the topmost matches below `start`.
fn walk(
    start: &Path,
    pattern: &PathPattern,
    matches: &mut dyn FnMut(&CanonicalPath) -> bool,
    found: &mut Vec<Resolved>,
) -> Result<(), Error> {
    let mut left = vec![start.to_owned()];
    let mut seen = 0;
    while let Some(directory) = left.pop() {
        // A directory that cannot be listed by us shows nothing to the sandbox either.
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > ENTRIES_MAX || found.len() > MATCHES_MAX {
                return Err(too_much(pattern, start));
            }
            let path: PathBuf = entry.path();
            let Ok(canonical) = CanonicalPath::new(&path) else { continue };
            if matches(&canonical) {
                found.extend(existing(&path));
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(path);
            }
        }
    }
    Ok(())
}

fn too_much(pattern: &PathPattern, start: &Path) -> Error {
    let message = format!(
        "the pattern {pattern} means more than {MATCHES_MAX} places, or {} holds more than {ENTRIES_MAX} entries to look through",
        start.display()
    );
    Error::new(ErrorCode::NotEnforceable, message)
        .with_hint("name the directories: DIR/** is one place, however much it holds")
}
