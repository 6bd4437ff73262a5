//! What is granted and what is hidden in it: attached, or laid as throw-away copies.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{NODEV, NOEXEC, NOSUID, RDONLY, Root, place, write_source};
use crate::compile::right;
use crate::plan::{Access, Mount, Plan};
use crate::resolve::Resolved;
use crate::wire::{build, source};

/// What covers a hidden directory or file: made in the root, empty, without any permission.
const EMPTY_DIRECTORY: &str = ".hidden-directory";
const EMPTY_FILE: &str = ".hidden-file";
/// Where the covers are made of directories in which something is granted.
const COVERS: &str = ".covers";
/// Where throw-away copies are kept; covered when they are made, and Landlock lets the program do nothing in it.
const COPIES: &str = ".copies";
/// Where a grant is attached that cannot be at its own path, under the number of its source.
pub(crate) const GRANTS: &str = "/.grants";

impl Root {
    /// What is granted and what is hidden, shallow ones first so that a deeper one lies on top.
    pub(super) fn grants(&mut self, plan: &Plan, scratch_bytes: u64) {
        if plan.throw_away {
            self.directory(Path::new(COPIES));
            let size = OsString::from(scratch_bytes.to_string());
            self.steps.add().u32(build::SCRATCH).text(&size).u64(NOSUID | NODEV).text(OsStr::new(COPIES));
        }
        let mut mounts: Vec<_> = plan.mounts.iter().collect();
        mounts.sort_by_key(|mount| depth(mount.source.path()));
        let mut hidden: Vec<_> = plan.hidden.iter().collect();
        hidden.sort_by_key(|hidden| depth(hidden.path()));
        if !hidden.is_empty() || plan.throw_away {
            place(self.recipe.add().u32(build::DIRECTORY).u32(0), Path::new(EMPTY_DIRECTORY));
            place(self.recipe.add().u32(build::FILE).u32(0), Path::new(EMPTY_FILE)).blob(b"");
        }
        let mut hidden = hidden.into_iter().peekable();
        for mount in &mounts {
            while let Some(above) = hidden.next_if(|hidden| depth(hidden.path()) < depth(mount.source.path()))
            {
                self.cover(plan, above);
            }
            self.grant(plan, mount, &mounts);
        }
        for rest in hidden {
            self.cover(plan, rest);
        }
        self.links(plan);
        if plan.throw_away {
            // The copies have what they are made of by now; there what is hidden would still be listed.
            let to = self.steps.add().u32(build::COVER).text(OsStr::new(EMPTY_DIRECTORY));
            to.text(OsStr::new(COPIES)).u64(0).u64(0);
        }
    }

    fn grant(&mut self, plan: &Plan, mount: &Mount, all: &[&Mount]) {
        let found = &mount.source;
        let mut attributes = NOSUID | NODEV;
        if mount.access.changes() {
            attributes |= if mount.access.execute { 0 } else { NOEXEC };
        } else {
            attributes |= RDONLY;
        }
        let place = self.place(mount, all);
        if plan.throw_away && mount.access.changes() {
            self.copy(found, attributes, &place);
        } else {
            let source = self.granted_source(found, attributes);
            self.attach(source, &place, found.is_directory());
        }
        self.rule(&place, right::of(mount.access, found.is_directory()));
    }

    fn links(&mut self, plan: &Plan) {
        for (from, to) in &plan.links {
            let from = &self.located(from.strip_prefix("/").unwrap_or(from));
            // Below a link of ours (`/bin`) nothing can be made, and it leads to where the host has the same.
            let below_link = from.ancestors().skip(1).any(|above| self.linked.contains(above));
            if !self.is_foreign(from) && !self.made.contains(from) && !below_link {
                self.symlink(to, from);
            }
        }
    }

    /// Hides what is there, if anything shows it.
    fn cover(&mut self, plan: &Plan, hidden: &Resolved) {
        let path = self.located(hidden.path().strip_prefix("/").unwrap_or(hidden.path()));
        if !self.is_foreign(&path) || is_covered(plan, hidden.path()) {
            return;
        }
        let cover = match hidden.is_directory() {
            true => self.cover_of(plan, hidden.path()),
            false => PathBuf::from(EMPTY_FILE),
        };
        let copied = plan.mounts.iter().any(|mount| {
            plan.throw_away && mount.access.changes() && hidden.path().starts_with(mount.source.path())
        });
        // An overlay has numbers of its own.
        let (device, inode) = if copied { (0, 0) } else { hidden.identity() };
        self.covers.push((self.steps.count(), hidden.path().to_owned()));
        let to = self.steps.add().u32(build::COVER).text(cover.as_os_str());
        to.text(path.as_os_str()).u64(device).u64(inode);
    }

    /// What covers this directory: nothing, or the way to what is granted below it, which can be gone and not listed.
    fn cover_of(&mut self, plan: &Plan, hidden: &Path) -> PathBuf {
        let cover = Path::new(COVERS).join(self.steps.count().to_string());
        let mut is_empty = true;
        for mount in &plan.mounts {
            let Ok(rest) = mount.source.path().strip_prefix(hidden) else { continue };
            if rest.as_os_str().is_empty() {
                continue;
            }
            is_empty = false;
            let target = cover.join(rest);
            let mut ways: Vec<&Path> = target.ancestors().collect();
            // The root itself is there.
            ways.pop();
            ways.reverse();
            for way in ways {
                let is_file = way == target && !mount.source.is_directory();
                if !self.made.insert(way.to_owned()) {
                    continue;
                }
                if is_file {
                    place(self.recipe.add().u32(build::FILE).u32(0), way).blob(b"");
                } else {
                    place(self.recipe.add().u32(build::DIRECTORY).u32(0o111), way);
                }
            }
        }
        if is_empty { PathBuf::from(EMPTY_DIRECTORY) } else { cover }
    }

    /// Lays a throw-away copy at `place`: of the directory, or of the one file from a copy of its directory.
    fn copy(&mut self, found: &Resolved, attributes: u64, place: &Path) {
        let copies = Path::new(COPIES).join(self.sources.count().to_string());
        let parent = found.path().parent().and_then(|parent| Resolved::find(parent).ok());
        let (lower, name) = match (found.is_directory(), &parent) {
            (false, Some(parent)) => (parent, found.path().file_name().unwrap_or_default()),
            _ => (found, OsStr::new("")),
        };
        let target = place.strip_prefix("/").unwrap_or(place);
        for layer in ["", "l", "u", "w", "m"] {
            let path = copies.join(layer);
            // Whoever the tree belongs to has the same rights over the copy's top.
            super::place(self.steps.add().u32(build::DIRECTORY).u32(0o755), &path);
        }
        let source = self.granted_source_as(lower, found.owner(), RDONLY | NOSUID | NODEV);
        self.steps.add().u32(build::ATTACH).u32(source).text(copies.join("l").as_os_str());
        if found.is_directory() {
            self.directory(target);
        } else if !self.is_foreign(target) && !self.made.contains(target) {
            self.file(target, 0o444, b"");
        }
        let to = self.steps.add().u32(build::COPY).text(copies.as_os_str()).u64(attributes);
        to.text(target.as_os_str()).text(name);
        self.foreign.push(target.to_owned());
    }

    /// Where a grant is attached: at its own path, but for one case. Landlock's rules reach down, so below the private /tmp,
    /// where all is allowed, it could not hold writing against deleting. A grant there that holds such a one, or is one, is
    /// attached elsewhere with everything in it, and its path is a link.
    fn place(&mut self, mount: &Mount, all: &[&Mount]) -> PathBuf {
        let path = mount.source.path();
        let inside = path.strip_prefix("/").unwrap_or(path);
        let located = self.located(inside);
        let below_scratch = path.starts_with("/tmp") && path != Path::new("/tmp");
        let is_split = |access: Access| access.changes() && (access.write != access.delete || !access.read);
        let holds_split =
            || all.iter().any(|other| other.source.path().starts_with(path) && is_split(other.access));
        if located != inside || !below_scratch || self.is_foreign(inside) || !holds_split() {
            return Path::new("/").join(located);
        }
        let place = Path::new(GRANTS).join(self.sources.count().to_string());
        self.symlink(&place, inside);
        self.elsewhere.push((inside.to_owned(), place.strip_prefix("/").unwrap_or(&place).to_owned()));
        place
    }

    /// Where in the root this lies, both without the leading slash: what is in a grant that is attached elsewhere is there.
    pub(super) fn located(&self, inside: &Path) -> PathBuf {
        let moved = self.elsewhere.iter().find_map(|(from, to)| Some((inside.strip_prefix(from).ok()?, to)));
        match moved {
            // Nothing may stand behind the name of a file.
            Some((rest, to)) if rest.as_os_str().is_empty() => to.clone(),
            Some((rest, to)) => to.join(rest),
            None => inside.to_owned(),
        }
    }

    pub(super) fn granted_source(&mut self, found: &Resolved, attributes: u64) -> u32 {
        self.granted_source_as(found, found.owner(), attributes)
    }

    fn granted_source_as(&mut self, found: &Resolved, owner: (u32, u32), attributes: u64) -> u32 {
        // As root, the plugin's user could neither walk to the tree nor own what it makes there.
        let flags = if self.as_root { source::ID_MAPPED } else { 0 };
        let number = self.sources.count();
        self.source_paths.push(found.path().to_owned());
        write_source(self.sources.add(), found.path(), found.identity(), flags, owner, attributes);
        number
    }
}

/// Whether this lies in a hidden directory and no grant in that brings it back: in the cover there is nothing to hide.
fn is_covered(plan: &Plan, path: &Path) -> bool {
    let holds = |outer: &Path, inner: &Path| inner.starts_with(outer) && inner != outer;
    plan.hidden.iter().map(Resolved::path).filter(|above| holds(above, path)).any(|above| {
        let mut mounts = plan.mounts.iter().map(|mount| mount.source.path());
        !mounts.any(|mount| holds(above, mount) && path.starts_with(mount))
    })
}

fn depth(path: &Path) -> usize {
    path.components().count()
}
