//! Finds the existing files that a pattern with wildcards means, and those that are denied below a granted tree. Links are
//! not walked into, and there is a bound to how much is looked at.

use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use ringfence_api::ErrorCode;
use ringfence_policy::{CanonicalPath, Effect, FileOp, PathPattern, Request, Rule, RuleSet, Vars};
use ringfence_sandbox::tree::{Dir, EntryKind};
use ringfence_sandbox::{Access, ResolveError, Resolved};

use crate::error::Error;
use crate::exec::translate::file_op;

/// How many directory entries one start looks at for a pattern with wildcards.
pub(crate) const ENTRIES_MAX: usize = 50_000;
/// How many places one pattern may show or hide: each is a mount.
pub(crate) const MATCHES_MAX: usize = 256;

/// How many links a path may go through: the kernel's own bound.
const LINKS_MAX: usize = 40;

/// Something that is denied below a mount.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) resolved: Resolved,
    /// What a rule denies although it does not name this place: a link that it names leads here.
    pub(crate) without: Option<FileOp>,
}

/// A path in `directory` that no pattern can name but through its directory.
pub(crate) fn inside(directory: &Path) -> PathBuf {
    directory.join("\u{1}")
}

/// Whether a pattern means all that is in a directory, however deep.
pub(crate) fn means_all(pattern: &PathPattern, directory: &CanonicalPath) -> bool {
    let subtree = PathPattern::subtree(directory);
    let below = PathPattern::parse(&format!("{subtree}/*"), &Vars::new(CanonicalPath::root()));
    pattern.includes(&subtree) || below.is_ok_and(|below| pattern.includes(&below))
}

/// The topmost existing files and directories that a pattern matches. Links are left out.
pub(crate) fn matching(pattern: &PathPattern) -> Result<Vec<Resolved>, Error> {
    let mut found = Vec::new();
    let prefix = pattern.literal_prefix();
    for path in walk(prefix.as_path(), pattern, Directories::Whole)? {
        found.extend(Resolved::find(&path).ok().filter(|seen| seen.path() == path));
    }
    Ok(found)
}

/// What must be covered or narrowed below the mount at `root`: places on the floor that no rule names, and what deny rules
/// match.
///
/// # Errors
/// `not_enforceable` for a denial that no mount can hold.
pub(crate) fn denied_below(
    rules: &RuleSet,
    vars: &Vars,
    root: &Path,
    granted: Access,
) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let inside = |path: &CanonicalPath| path.as_path().starts_with(root) && path.as_path() != root;
    for path in vars.floor().paths().filter(|path| inside(path)) {
        let allowed = rules.decide(&Request::File { op: FileOp::Read, path: path.clone() }).is_allowed();
        // A link is left: what it leads to is on the floor as well.
        let seen = Resolved::find(path.as_path()).ok().filter(|seen| seen.path() == path.as_path());
        if let Some(resolved) = seen.filter(|_| !allowed) {
            found.push(Found { resolved, without: None });
        }
    }
    // Denials are no business of what is a plugin's own.
    if CanonicalPath::new(root).is_ok_and(|root| rules.is_own(&root)) {
        return Ok(found);
    }
    for rule in rules.rules().iter().filter(|rule| rule.effect() == Effect::Deny) {
        let Some((op, pattern)) = file_op(rule).zip(rule.path()) else { continue };
        let prefix = pattern.literal_prefix();
        let changes = matches!(op, FileOp::Write) && granted.write || op == FileOp::Delete && granted.delete;
        // Without the link a denial of reading would be about nothing at the next start.
        let unlinks = changes || op == FileOp::Read && granted.delete;
        if unlinks && let Some(link) = links_on(prefix.as_path()).into_iter().find(|at| at.starts_with(root))
        {
            return Err(another_link(rule, &link, root));
        }
        if pattern.is_exact() || pattern.is_subtree() {
            if inside(&prefix) {
                let seen = existing(prefix.as_path(), rule, op, granted)?;
                if seen.is_none() && changes && prefix.as_path().symlink_metadata().is_err() {
                    return Err(not_there(rule, root));
                }
                found.extend(seen);
            }
        } else if prefix.as_path().starts_with(root) || root.starts_with(prefix.as_path()) {
            if changes && CanonicalPath::new(root).is_ok_and(|root| pattern.touches(&root)) {
                return Err(made_later(rule, root));
            }
            let start = if prefix.as_path().starts_with(root) { prefix.as_path() } else { root };
            for path in walk(start, pattern, Directories::All)? {
                found.extend(existing(&path, rule, op, granted)?);
            }
        }
    }
    Ok(found)
}

/// What is at a denied path, or where the link there leads.
fn existing(path: &Path, rule: &Rule, op: FileOp, granted: Access) -> Result<Option<Found>, Error> {
    match Resolved::find(path) {
        Ok(resolved) => {
            // A directory that a wildcard means is denied with all that it holds, whether it means that as well or not.
            let is_by_wildcard = rule.path().is_some_and(|named| !named.is_exact() && !named.is_subtree());
            let without =
                (resolved.path() != path || is_by_wildcard && resolved.is_directory()).then_some(op);
            Ok(Some(Found { resolved, without }))
        }
        Err(ResolveError::Special { path }) => {
            let kind = path.symlink_metadata().map(|seen| seen.file_type());
            // Mounts are `nodev`, and a socket takes no connection through a read-only mount.
            let held = kind.is_ok_and(|kind| {
                kind.is_block_device() || kind.is_char_device() || kind.is_socket() && !granted.changes()
            });
            if held { Ok(None) } else { Err(special(rule, &path)) }
        }
        // Nothing is there, or nothing that this user could reach; inside it is the same user.
        Err(_) => Ok(None),
    }
}

/// Where a path leads, links followed as far as something is there, and the rest of it as it is written.
pub(crate) fn leads_to(path: &Path) -> PathBuf {
    follow(path).1
}

/// Where the links lie that a path goes through.
pub(crate) fn links_on(path: &Path) -> Vec<PathBuf> {
    follow(path).0
}

/// Where the links lie that a path goes through, in their order, and where it leads. One that leads in a circle is a name
/// like any other.
fn follow(path: &Path) -> (Vec<PathBuf>, PathBuf) {
    let mut links = Vec::new();
    let mut at = PathBuf::from("/");
    let mut left: Vec<OsString> = names(path);
    while let Some(name) = left.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(name);
        match std::fs::read_link(&next) {
            Ok(target) if links.len() < LINKS_MAX => {
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                left.extend(names(&target));
                links.push(next);
            }
            _ => at = next,
        }
    }
    (links, at)
}

/// The names in a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let kept = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().rev().filter(kept).map(|part| part.as_os_str().to_owned()).collect()
}

fn another_link(rule: &Rule, link: &Path, root: &Path) -> Error {
    let message = format!(
        "{}: {} is a link, and something else could be put in its place, because {} may be written",
        rule.origin(),
        link.display(),
        root.display()
    );
    Error::new(ErrorCode::NotEnforceable, message).with_hint(
        "put what it leads to there instead of the link, or grant the directories beside it one by one",
    )
}

fn special(rule: &Rule, path: &Path) -> Error {
    let message =
        format!("{}: {} is a pipe or socket, which cannot be covered", rule.origin(), path.display());
    Error::new(ErrorCode::NotEnforceable, message).with_hint("grant directories that do not hold it")
}

fn not_there(rule: &Rule, root: &Path) -> Error {
    let message = format!(
        "{}: it does not exist, and could be made, because {} may be written",
        rule.origin(),
        root.display()
    );
    Error::new(ErrorCode::NotEnforceable, message)
        .with_hint("create it first, or grant the directories beside it one by one")
}

fn made_later(rule: &Rule, root: &Path) -> Error {
    let message = format!(
        "{}: files that match could be made later, because {} may be written",
        rule.origin(),
        root.display()
    );
    Error::new(ErrorCode::NotEnforceable, message)
        .with_hint("deny whole directories: DIR/** without other wildcards")
}

/// Which directories are matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directories {
    /// Those that match with all that is in them: only they can be shown.
    Whole,
    /// Those that match: a denied one is denied with all that it holds.
    All,
}

/// The topmost matches below `start`: files, and of the directories those that count as such.
fn walk(start: &Path, pattern: &PathPattern, directories: Directories) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut left = vec![start.to_owned()];
    let mut seen = 0;
    while let Some(directory) = left.pop() {
        // A directory that cannot be listed by us shows nothing to the sandbox either; nor does one that another program
        // has replaced by a link.
        let Ok(opened) = Dir::open_without_links(&directory) else { continue };
        let names = match opened.names(ENTRIES_MAX - seen) {
            Err(error) if error.kind() == std::io::ErrorKind::QuotaExceeded => {
                return Err(too_much(pattern, start));
            }
            Err(_) => continue,
            Ok(names) => names,
        };
        seen += names.len();
        for name in names {
            if found.len() > MATCHES_MAX {
                return Err(too_much(pattern, start));
            }
            let path = directory.join(&name);
            let Ok(canonical) = CanonicalPath::new(&path) else { continue };
            let is_directory = opened.status(&name).is_ok_and(|seen| seen.kind == EntryKind::Directory);
            let whole = !is_directory || directories == Directories::All || means_all(pattern, &canonical);
            if whole && pattern.matches(&canonical) {
                found.push(path);
            } else if is_directory && pattern.touches(&canonical) {
                left.push(path);
            }
        }
    }
    Ok(found)
}

fn too_much(pattern: &PathPattern, start: &Path) -> Error {
    let message = format!(
        "the pattern {pattern} means more than {MATCHES_MAX} places, or {} holds more than {ENTRIES_MAX} entries to look through",
        start.display()
    );
    Error::new(ErrorCode::NotEnforceable, message)
        .with_hint("name the directories: DIR/** is one place, however much it holds")
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
