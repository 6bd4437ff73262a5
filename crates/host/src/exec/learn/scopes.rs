//! From single acts to a short list of grants: what lies in a scope already is left out, and many names in one directory
//! become the directory. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use ringfence_policy::{CanonicalPath, FileOp, PathPattern, Vars};

use crate::exec::explain::judge::{Act, Need, Place};

/// From how many names in one directory on the directory itself is proposed.
pub(super) const NAMES_MIN: usize = 5;

/// What was needed of files, operation by operation.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    files: BTreeMap<FileOpOrder, BTreeSet<CanonicalPath>>,
    trees: BTreeMap<FileOpOrder, BTreeSet<CanonicalPath>>,
    /// What the program only knew of: a directory (`true`) or a file.
    looked: BTreeSet<(CanonicalPath, bool)>,
    /// Names that are links, and what they lead to.
    links: BTreeSet<(CanonicalPath, CanonicalPath, bool)>,
    executed: BTreeSet<CanonicalPath>,
}

/// The order in which grants are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FileOpOrder {
    Read,
    Write,
    Delete,
}

impl FileOpOrder {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    fn of(op: FileOp) -> Self {
        match op {
            FileOp::Read => Self::Read,
            FileOp::Write => Self::Write,
            FileOp::Delete => Self::Delete,
        }
    }

    fn op(self) -> FileOp {
        match self {
            Self::Read => FileOp::Read,
            Self::Write => FileOp::Write,
            Self::Delete => FileOp::Delete,
        }
    }
}

impl Scopes {
    pub(super) fn add(&mut self, act: &Act) {
        let op = match act.need {
            Need::File(op) => FileOpOrder::of(op),
            Need::Connect => FileOpOrder::Write,
            Need::Execute => {
                let path = act.place.object();
                let directory = match act.place {
                    Place::Directory(_) => Some(path.clone()),
                    _ => path.as_path().parent().and_then(|parent| CanonicalPath::new(parent).ok()),
                };
                self.executed.extend(directory);
                return;
            }
        };
        let is_tree = !matches!(act.place, Place::File(_));
        if let Some(named) = act.named.as_ref().and_then(|named| CanonicalPath::new(named).ok()) {
            self.links.insert((named, act.place.holder().clone(), is_tree));
        }
        let path = act.place.holder().clone();
        if act.looks {
            self.looked.insert((path, is_tree));
        } else if is_tree {
            self.trees.entry(op).or_default().insert(path);
        } else {
            self.files.entry(op).or_default().insert(path);
        }
    }

    /// The grants, as text.
    pub(super) fn grants(mut self, vars: &Vars) -> Vec<String> {
        let looked_files = self.looked.iter().filter(|(_, is_tree)| !is_tree).map(|(path, _)| path.clone());
        let looked_files: Vec<_> = looked_files.filter(|path| !self.is_shown(path)).collect();
        self.files.entry(FileOpOrder::Read).or_default().extend(looked_files);
        for op in FileOpOrder::ALL {
            let files = self.files.entry(op).or_default();
            let trees = self.trees.entry(op).or_default();
            collapse(files, trees, vars);
        }
        self.look_at_directories();
        let mut grants = Vec::new();
        for op in FileOpOrder::ALL {
            let mut patterns: BTreeSet<String> = BTreeSet::new();
            for path in self.trees.get(&op).into_iter().flatten() {
                patterns.insert(PathPattern::subtree(path).to_string());
            }
            for path in self.files.get(&op).into_iter().flatten() {
                patterns.insert(PathPattern::exact(path).to_string());
            }
            if op == FileOpOrder::Read {
                self.name_links(&mut patterns);
            }
            grants.extend(patterns.into_iter().map(|pattern| format!("{}={pattern}", op.op().permission())));
        }
        grants.extend(self.executable());
        grants
    }

    /// Whether something that is granted as a whole has it, whatever may be done there.
    fn is_shown(&self, path: &CanonicalPath) -> bool {
        self.trees.values().any(|trees| lies_in(path, trees))
    }

    /// A directory that was only looked at is there when something in it is granted.
    fn look_at_directories(&mut self) {
        let directories: Vec<_> =
            self.looked.iter().filter(|(_, is_tree)| *is_tree).map(|(path, _)| path.clone()).collect();
        let ways = |path: &CanonicalPath| path.as_path().ancestors().map(Path::to_owned).collect::<Vec<_>>();
        let granted = self.files.values().chain(self.trees.values()).flatten();
        let mut on_the_way: HashSet<PathBuf> = granted.flat_map(ways).collect();
        // Deep ones first: they are there for those above them.
        for directory in directories.iter().rev() {
            if !on_the_way.contains(directory.as_path()) && !self.is_shown(directory) {
                on_the_way.extend(ways(directory));
                self.trees.entry(FileOpOrder::Read).or_default().insert(directory.clone());
            }
        }
    }

    /// A link that no scope shows has to be granted by its name, which brings what it leads to along.
    fn name_links(&self, patterns: &mut BTreeSet<String>) {
        for (named, real, is_tree) in &self.links {
            if self.is_shown(named) {
                continue;
            }
            let form = |path| {
                if *is_tree { PathPattern::subtree(path) } else { PathPattern::exact(path) }.to_string()
            };
            patterns.remove(&form(real));
            patterns.insert(form(named));
        }
    }

    /// Programs that lie where something may be changed; elsewhere whatever is shown can be executed.
    fn executable(&self) -> Vec<String> {
        let changed = [FileOpOrder::Write, FileOpOrder::Delete].map(|op| self.trees.get(&op));
        let is_changed = |path: &&CanonicalPath| changed.iter().flatten().any(|trees| lies_in(path, trees));
        let directories = self.executed.iter().filter(is_changed);
        directories.map(|path| format!("subprocess:execute={}", PathPattern::subtree(path))).collect()
    }
}

/// Leaves out what lies in a tree, and puts a directory in the place of many names in it. Each directory is looked at once,
/// after all below it: a program may have named tens of thousands.
fn collapse(files: &mut BTreeSet<CanonicalPath>, trees: &mut BTreeSet<CanonicalPath>, vars: &Vars) {
    let leave_out = |files: &mut BTreeSet<CanonicalPath>, trees: &mut BTreeSet<CanonicalPath>| {
        let all = trees.clone();
        trees.retain(|tree| !parent(tree).is_some_and(|above| lies_in(&above, &all)));
        files.retain(|file| !lies_in(file, trees));
    };
    leave_out(files, trees);
    let mut names: BTreeMap<CanonicalPath, usize> = BTreeMap::new();
    for parent in files.iter().chain(trees.iter()).filter_map(parent) {
        *names.entry(parent).or_default() += 1;
    }
    // Whatever lies below a directory comes behind it in this order.
    while let Some((directory, count)) = names.pop_last() {
        if count < NAMES_MIN || is_broad(&directory, vars) {
            continue;
        }
        if let Some(parent) = parent(&directory).filter(|_| !trees.contains(&directory)) {
            *names.entry(parent).or_default() += 1;
        }
        trees.insert(directory);
    }
    leave_out(files, trees);
}

fn parent(path: &CanonicalPath) -> Option<CanonicalPath> {
    path.as_path().parent().and_then(|parent| CanonicalPath::new(parent).ok())
}

/// Whether a path is one of these trees or lies in one.
fn lies_in(path: &CanonicalPath, trees: &BTreeSet<CanonicalPath>) -> bool {
    let mut ancestors = path.as_path().ancestors();
    !trees.is_empty()
        && ancestors.any(|above| CanonicalPath::new(above).is_ok_and(|above| trees.contains(&above)))
}

/// A directory that nobody should be asked to grant for the sake of a few names in it: at the top of the tree, a home, or
/// one that protected paths lie in.
fn is_broad(path: &CanonicalPath, vars: &Vars) -> bool {
    let is_home = vars.home().is_some_and(|home| home.is_within(path));
    let depth = path.as_path().components().count();
    // The root counts as one.
    depth <= 2
        || is_home
        || path.as_path() == Path::new("/etc/ssl")
        || !vars.floor().floor_conflicts(&PathPattern::subtree(path)).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> CanonicalPath {
        CanonicalPath::new(text).unwrap()
    }

    fn file(op: FileOp, text: &str) -> Act {
        Act { need: Need::File(op), place: Place::File(path(text)), named: None, looks: false }
    }

    fn tree(op: FileOp, text: &str) -> Act {
        Act { need: Need::File(op), place: Place::Directory(path(text)), named: None, looks: false }
    }

    fn vars() -> Vars {
        Vars::new(CanonicalPath::root()).with_home(path("/home/ada"))
    }

    fn grants(acts: &[Act]) -> Vec<String> {
        let mut scopes = Scopes::default();
        acts.iter().for_each(|act| scopes.add(act));
        scopes.grants(&vars())
    }

    #[test]
    fn many_names_in_a_directory_become_the_directory_and_few_do_not() {
        let name = |number: usize| file(FileOp::Read, &format!("/srv/data/{number}"));
        let few: Vec<Act> = (0..NAMES_MIN - 1).map(name).collect();
        assert_eq!(grants(&few).len(), NAMES_MIN - 1);
        let many: Vec<Act> = (0..200).map(name).collect();
        assert_eq!(grants(&many), ["file:read=/srv/data/**"]);
        let deep: Vec<Act> = (0..200)
            .map(|number| file(FileOp::Read, &format!("/srv/data/{}/{number}", number % 9)))
            .collect();
        assert_eq!(grants(&deep), ["file:read=/srv/data/**"], "step by step");
    }

    #[test]
    fn tens_of_thousands_of_names_are_one_pass() {
        let name = |number: usize| {
            file(FileOp::Read, &format!("/srv/data/{}/{}/{}", number / 370, number / 5, number % 5))
        };
        let many: Vec<Act> = (0..27_500).map(name).collect();
        assert_eq!(grants(&many), ["file:read=/srv/data/**"]);
        // A single name that is deeper than the many is in their tree.
        let deep = "/srv/data/x/y/z";
        let acts: Vec<Act> =
            (0..5).map(|number| file(FileOp::Read, &format!("/srv/data/{number}"))).collect();
        let with_deep: Vec<Act> = acts.into_iter().chain([file(FileOp::Read, deep)]).collect();
        assert_eq!(grants(&with_deep), ["file:read=/srv/data/**"]);
    }

    #[test]
    fn nothing_broad_is_proposed_for_a_few_names() {
        for directory in ["", "/srv", "/home", "/home/ada", "/home/ada/.config"] {
            let acts: Vec<Act> =
                (0..9).map(|number| file(FileOp::Read, &format!("{directory}/{number}"))).collect();
            assert_eq!(grants(&acts).len(), 9, "{directory}");
        }
    }

    #[test]
    fn what_a_scope_has_is_not_named_again() {
        let acts = [
            file(FileOp::Read, "/srv/data/a"),
            tree(FileOp::Read, "/srv/data"),
            tree(FileOp::Read, "/srv/data/in"),
            file(FileOp::Write, "/srv/data/a"),
            Act { looks: true, ..tree(FileOp::Read, "/srv") },
            Act { looks: true, ..file(FileOp::Read, "/srv/data/b") },
        ];
        assert_eq!(grants(&acts), ["file:read=/srv/data/**", "file:write=/srv/data/a"]);
    }

    #[test]
    fn a_directory_that_was_only_looked_at_is_there_for_what_is_in_it() {
        let looked = Act { looks: true, ..tree(FileOp::Read, "/srv/data") };
        assert_eq!(grants(std::slice::from_ref(&looked)), ["file:read=/srv/data/**"]);
        assert_eq!(grants(&[looked, file(FileOp::Read, "/srv/data/in/a")]), ["file:read=/srv/data/in/a"]);
    }

    #[test]
    fn a_link_is_granted_by_its_name_where_nothing_shows_it() {
        let through = |named: &str| Act { named: Some(named.into()), ..file(FileOp::Read, "/opt/tool/bin") };
        assert_eq!(grants(&[through("/srv/tool")]), ["file:read=/srv/tool"]);
        let shown = [through("/srv/data/tool"), tree(FileOp::Read, "/srv/data")];
        assert_eq!(grants(&shown), ["file:read=/opt/tool/bin", "file:read=/srv/data/**"]);
    }

    #[test]
    fn a_program_needs_a_grant_only_where_something_may_be_changed() {
        let run = Act { need: Need::Execute, ..file(FileOp::Read, "/srv/data/bin/tool") };
        assert_eq!(grants(std::slice::from_ref(&run)), [""; 0]);
        let acts = [run, tree(FileOp::Write, "/srv/data")];
        assert_eq!(grants(&acts), ["file:write=/srv/data/**", "subprocess:execute=/srv/data/bin/**"]);
    }
}
