//! What the rules show, as mounts.
//!
//! The rules decide, here as everywhere: what a mount allows is what [`RuleSet::decide`] says of its root, and what is
//! denied below it is covered or made read-only by a mount of its own. What no mount can hold is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ringfence_api::text::shell_word;
use ringfence_api::{ErrorCode, PermissionName};
use ringfence_policy::{CanonicalPath, Effect, FileOp, PathPattern, Request, Rule, RuleSet, Vars};
use ringfence_sandbox::{Access, Plan, ResolveError, Resolved, is_always_shown};

use crate::error::Error;
use crate::exec::translate::{Missing, Resolution, canonical, file_op, path_error};
use crate::exec::walk::{self, Found};

/// Top-level directories that a grant of everything leaves to the sandbox's own.
const OWN_TOP_LEVEL: [&str; 4] = ["/proc", "/dev", "/tmp", "/sys"];

/// Everything that will lie at its own path inside, ancestors before what is in them.
#[derive(Debug, Default)]
struct Places {
    shown: BTreeMap<PathBuf, (Resolved, Access)>,
    hidden: BTreeMap<PathBuf, Resolved>,
}

/// Mounts what each rule shows, with the access that all rules together give it, and takes away what is denied below.
/// Answers with what is worth knowing about the grants if the command fails.
///
/// # Errors
/// `path_not_found`, `io` and `not_supported` for what cannot be shown; `not_enforceable` for what mounts cannot hold.
pub(crate) fn mount(plan: &mut Plan, rules: &Resolution, vars: &Vars) -> Result<Vec<String>, Error> {
    let (places, hints) = lay_out(&rules.set, rules.missing, vars)?;
    for (found, _) in places.shown.values() {
        if !rules.holding.is(found.path(), found.identity()) {
            let message = format!("{} was replaced while it was being mounted", found.path().display());
            return Err(Error::new(ErrorCode::Busy, message));
        }
    }
    for (found, access) in places.shown.into_values() {
        plan.mount(found, access);
    }
    for found in places.hidden.into_values() {
        plan.hide(found);
    }
    for (from, to) in &rules.links {
        plan.link(from, to);
    }
    Ok(hints)
}

fn lay_out(set: &RuleSet, missing: Missing, vars: &Vars) -> Result<(Places, Vec<String>), Error> {
    let mut places = Places::default();
    for rule in set.rules().iter().filter(|rule| rule.effect() == Effect::Allow) {
        let Some((op, pattern)) = file_op(rule).zip(rule.path()) else { continue };
        for found in shown_by(rule, op, pattern, missing)? {
            let access = access(set, found.path(), found.is_directory())?;
            if shows(access) {
                places.shown.insert(found.path().to_owned(), (found, access));
            }
        }
    }
    let granted: Vec<(Resolved, Access)> = places.shown.values().cloned().collect();
    let mut whole = Vec::new();
    for (root, access) in &granted {
        for found in walk::denied_below(set, vars, root.path(), *access)? {
            whole.extend(found.without.map(|op| (found.resolved.path().to_owned(), op)));
            places.narrow(set, found, &granted)?;
        }
    }
    for (path, op) in whole {
        places.take(set, &path, op);
    }
    places.system(set);
    places.executable_directories(set, &granted)?;
    places.settle()?;
    Ok((places, hints(&granted)))
}

/// Programs that save by renaming need the right to delete: the old file goes when the new one takes its name.
fn hints(granted: &[(Resolved, Access)]) -> Vec<String> {
    let saves = granted.iter().filter(|(_, access)| access.write && !access.delete);
    let text = |found: &Resolved| {
        let path = canonical(found.path()).ok()?;
        let pattern =
            if found.is_directory() { PathPattern::subtree(&path) } else { PathPattern::exact(&path) };
        Some(format!(
            "{path} may be written but nothing in it deleted, so programs that save by renaming a new file over the old \
             one fail there; --grant {} would let them",
            shell_word(&format!("{}={pattern}", PermissionName::FileDelete)),
        ))
    };
    saves.filter_map(|(found, _)| text(found)).collect()
}

/// The existing files and directories that a rule's pattern has at its top.
fn shown_by(
    rule: &Rule,
    op: FileOp,
    pattern: &PathPattern,
    missing: Missing,
) -> Result<Vec<Resolved>, Error> {
    let prefix = pattern.literal_prefix();
    if prefix == CanonicalPath::root() && pattern.is_subtree() {
        return Ok(top_level());
    }
    if pattern.is_exact() || pattern.is_subtree() {
        return match Resolved::find(prefix.as_path()) {
            Ok(found) => Ok(vec![found]),
            Err(ResolveError::Missing { .. }) if missing == Missing::Skipped => Ok(Vec::new()),
            Err(error) => Err(path_error(error, rule.origin())),
        };
    }
    // A plugin has what is there already, one by one, and what it makes anew it asks the host to write (`write_file`).
    if op != FileOp::Read && missing == Missing::Refused {
        let message = format!("{}: a sandbox holds writing by whole directories", rule.text());
        let hint = format!("grant {}={prefix}/**, or the files one by one", rule.permission_name());
        return Err(Error::new(ErrorCode::NotEnforceable, message).with_hint(hint));
    }
    walk::matching(pattern)
}

/// What a grant of everything shows: each directory at the top but the sandbox's own.
fn top_level() -> Vec<Resolved> {
    let Ok(entries) = std::fs::read_dir("/") else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let paths = paths.filter(|path| !OWN_TOP_LEVEL.iter().any(|own| path == Path::new(own)));
    paths.filter_map(|path| Resolved::find(&path).ok().filter(|found| found.path() == path)).collect()
}

/// Whether a place with this access is to be seen at all. The right to execute shows nothing by itself.
pub(crate) fn shows(access: Access) -> bool {
    access.read || access.changes()
}

/// What the rules say of a path: for a directory, of all that is in it, however deep, because a mount knows no less.
pub(crate) fn access(rules: &RuleSet, path: &Path, directory: bool) -> Result<Access, Error> {
    let named = canonical(path)?;
    let canonical = canonical(&if directory { walk::inside(path) } else { path.to_owned() })?;
    let about = |effect, op, is_about: &dyn Fn(&PathPattern) -> bool| {
        let mut rules =
            rules.rules().iter().filter(|rule| rule.effect() == effect && file_op(rule) == Some(op));
        rules.any(|rule| rule.path().is_some_and(is_about))
    };
    let whole = |op| {
        let is_denied = !rules.is_own(&named) && about(Effect::Deny, op, &|pattern| pattern.matches(&named));
        !is_denied && about(Effect::Allow, op, &|pattern| walk::means_all(pattern, &named))
    };
    let allowed = |op| {
        let decided = rules.decide(&Request::File { op, path: canonical.clone() }).is_allowed();
        decided && (!directory || whole(op))
    };
    let execute = rules.rules().iter().any(|rule| {
        *rule.permission_name() == PermissionName::SubprocessExecute
            && rule.effect() == Effect::Allow
            && !rule.is_bare()
            && rule.path().is_some_and(|pattern| pattern.matches(&canonical))
    });
    Ok(Access {
        read: allowed(FileOp::Read),
        write: allowed(FileOp::Write),
        delete: allowed(FileOp::Delete),
        execute,
    })
}

impl Places {
    /// Takes away what is denied at a place below a mount. Mounts cannot tell writing from deleting, so a denial of either
    /// makes the place read-only.
    fn narrow(&mut self, rules: &RuleSet, found: Found, granted: &[(Resolved, Access)]) -> Result<(), Error> {
        let Found { resolved, without } = found;
        let path = resolved.path().to_owned();
        let holding: Vec<_> =
            granted.iter().filter(|(root, _)| path.starts_with(root.path()) && path != root.path()).collect();
        let depth = |root: &Resolved| root.path().components().count();
        // The deepest grant is the one that lies on top.
        let Some((_, given)) = holding.iter().max_by_key(|(root, _)| depth(root)) else {
            // Nothing shows where the link leads.
            return Ok(());
        };
        let mut rest = access(rules, &path, resolved.is_directory())?;
        match without {
            Some(FileOp::Read) => rest.read = false,
            Some(_) => (rest.write, rest.delete) = (false, false),
            None => {}
        }
        let takes = |given: &Access| given.write && !rest.write || given.delete && !rest.delete;
        // From the outermost grant on, somebody could rename what lies between, the deeper grant with it; and what may not be
        // read would then be read at the next start, under its other name.
        let moves = |given: &Access| takes(given) || given.write && given.delete && !rest.read;
        if let Some((root, _)) =
            holding.iter().filter(|(_, given)| moves(given)).min_by_key(|(root, _)| depth(root))
        {
            self.pin(rules, root.path(), &path)?;
        }
        if takes(given) {
            self.shown.insert(path.clone(), (resolved.clone(), Access::READ));
        }
        if !rest.read {
            self.shown.remove(&path);
            self.hidden.insert(path, resolved);
        }
        Ok(())
    }

    /// Takes away what is granted in a place that is denied as a whole, although the rules do not name what is in it.
    fn take(&mut self, rules: &RuleSet, path: &Path, op: FileOp) {
        self.shown.retain(|shown, (_, access)| {
            // Denials are no business of what is a plugin's own.
            let is_own = CanonicalPath::new(shown).is_ok_and(|shown| rules.is_own(&shown));
            if !shown.starts_with(path) || shown == path || is_own {
                return true;
            }
            if op != FileOp::Read && access.changes() {
                *access = Access { read: access.read, ..Access::default() };
            }
            op != FileOp::Read && shows(*access)
        });
    }

    /// Mounts every directory between a writable root and a place in it that may not be changed over itself: a mount point
    /// cannot be renamed, so nobody can move the place away and make another of its name.
    fn pin(&mut self, rules: &RuleSet, root: &Path, path: &Path) -> Result<(), Error> {
        let between = path.ancestors().skip(1).take_while(|above| *above != root);
        for directory in between {
            if self.shown.contains_key(directory) {
                continue;
            }
            let Ok(found) = Resolved::find(directory) else { continue };
            let access = access(rules, directory, true)?;
            if shows(access) {
                self.shown.insert(directory.to_owned(), (found, access));
            }
        }
        Ok(())
    }

    /// Hides what is denied of the system that each sandbox shows without a grant: places in /usr and /etc by their name, but
    /// not these directories themselves, without which there is no sandbox.
    fn system(&mut self, rules: &RuleSet) {
        for rule in rules.rules().iter().filter(|rule| rule.effect() == Effect::Deny) {
            let Some((FileOp::Read, pattern)) = file_op(rule).zip(rule.path()) else { continue };
            let prefix = pattern.literal_prefix();
            let is_named = (pattern.is_exact() || pattern.is_subtree()) && prefix.segments().count() > 1;
            let is_private = OWN_TOP_LEVEL.iter().any(|own| prefix.as_path().starts_with(own));
            if !is_named || is_private || !is_always_shown(prefix.as_path()) || rules.is_own(&prefix) {
                continue;
            }
            if let Ok(found) = Resolved::find(prefix.as_path()) {
                self.shown.remove(found.path());
                self.hidden.insert(found.path().to_owned(), found);
            }
        }
    }

    /// `subprocess:execute=DIR/**` lifts noexec below a directory of a writable grant, by a mount of its own.
    fn executable_directories(
        &mut self,
        rules: &RuleSet,
        granted: &[(Resolved, Access)],
    ) -> Result<(), Error> {
        let named = rules.rules().iter().filter(|rule| {
            rule.effect() == Effect::Allow
                && *rule.permission_name() == PermissionName::SubprocessExecute
                && !rule.is_bare()
        });
        for pattern in named.filter_map(Rule::path).filter(|pattern| pattern.is_subtree()) {
            let prefix = pattern.literal_prefix();
            let Ok(found) = Resolved::find(prefix.as_path()) else { continue };
            let covers =
                |root: &Resolved| found.path().starts_with(root.path()) && found.path() != root.path();
            if !granted.iter().any(|(root, given)| covers(root) && given.changes()) {
                continue;
            }
            let access = access(rules, found.path(), found.is_directory())?;
            if access.changes() {
                self.shown.entry(found.path().to_owned()).or_insert((found, access));
            }
        }
        Ok(())
    }

    /// Landlock's rules reach down: a place cannot have less than what it lies in, unless its mount is read-only; and what lies
    /// in a tree that is read can be read itself, unless it is covered.
    ///
    /// # Errors
    /// `not_enforceable` for a place that may be changed and not read, in a tree that may be read: a denial or the floor is
    /// between the two, and no cover can lie on the place.
    fn settle(&mut self) -> Result<(), Error> {
        self.shown.retain(|path, _| !self.hidden.contains_key(path));
        let mut above: Vec<(PathBuf, Access)> = Vec::new();
        for (path, (_, access)) in &mut self.shown {
            above.retain(|(root, _)| path.starts_with(root));
            let reaches = above.iter().fold(Access::default(), |all, (_, access)| all.union(*access));
            let is_less = reaches.write && !access.write || reaches.delete && !access.delete;
            if !access.read && (reaches.read || is_less) {
                return Err(unreadable(path, &above));
            }
            if is_less {
                *access = Access::READ;
            }
            above.push((path.clone(), *access));
        }
        Ok(())
    }
}

fn unreadable(path: &Path, above: &[(PathBuf, Access)]) -> Error {
    let root = above.first().map_or(path, |(root, _)| root);
    let message = format!(
        "{} may be changed but not read, and that cannot be held in {}, of which more is granted",
        path.display(),
        root.display()
    );
    Error::new(ErrorCode::NotEnforceable, message)
        .with_hint("grant reading it as well, leave it out, or grant the directories beside it one by one")
}

#[cfg(test)]
#[path = "mounts_tests.rs"]
mod tests;
