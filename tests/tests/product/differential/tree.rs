//! Small random trees on the host, and the numbers that they and the rules are drawn with.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ringfence_testkit::World;

/// Names as people and programs give them, and as they should not.
const NAMES: [&str; 12] =
    ["a", "b", "c c", "x.txt", "y.txt", ".hidden", "ü", "new*", "ba\\ck", "ne\nw", "-n", "...d"];
/// Places that no wildcard opens when the tree is the home directory: a name, and whether it is a directory.
pub(crate) const FLOOR: [(&str, bool); 3] = [(".ssh", true), (".bashrc", false), (".netrc", false)];
/// How deep directories are nested.
const DEPTH: usize = 3;

/// Numbers that are the same for the same seed everywhere (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        all.get(self.below(all.len())).unwrap()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// A directory without anything in it, in which nothing is made either, so that it can be taken away.
    Empty,
    Link,
}

impl Kind {
    /// How the probe is told.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::File => 'f',
            Self::Directory => 'd',
            Self::Empty => 'e',
            Self::Link => 'l',
        }
    }

    pub(crate) fn is_directory(self) -> bool {
        matches!(self, Self::Directory | Self::Empty)
    }
}

/// Something in a tree, by its path below the base.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    /// Where a link leads, below the base; of a file that has two names, the other one.
    pub(crate) to: Option<String>,
}

/// What is in a base: `tree`, about which the rules are, and `beside`, about which they rarely are. Parents come first.
pub(crate) fn draw(numbers: &mut Numbers, is_home: bool) -> Vec<Node> {
    let node = |path: &str, kind| Node { path: path.to_owned(), kind, to: None };
    let mut nodes = vec![node("tree", Kind::Directory)];
    grow(numbers, "tree", 1, &mut nodes);
    if is_home {
        for (name, is_directory) in FLOOR {
            if numbers.once_in(3) {
                continue;
            }
            let path = format!("tree/{name}");
            if is_directory {
                nodes.push(node(&path, Kind::Directory));
                nodes.push(node(&format!("{path}/key"), Kind::File));
            } else {
                nodes.push(node(&path, Kind::File));
            }
        }
    }
    for (path, kind) in
        [("beside", Kind::Directory), ("beside/deep", Kind::Directory), ("beside/deep/file", Kind::File)]
    {
        nodes.push(node(path, kind));
    }
    links(numbers, &mut nodes);
    nodes
}

fn grow(numbers: &mut Numbers, directory: &str, depth: usize, nodes: &mut Vec<Node>) {
    let mut left: Vec<&str> = NAMES.to_vec();
    for _ in 0..=numbers.below(4) {
        let name = left.remove(numbers.below(left.len()));
        let path = format!("{directory}/{name}");
        let is_deep = depth >= DEPTH;
        let kind = match numbers.below(if is_deep { 3 } else { 7 }) {
            0 | 1 => Kind::File,
            2 => Kind::Empty,
            _ => Kind::Directory,
        };
        nodes.push(Node { path: path.clone(), kind, to: None });
        if kind == Kind::Directory {
            grow(numbers, &path, depth + 1, nodes);
        }
    }
}

/// A few links and second names, each in a directory that is there.
fn links(numbers: &mut Numbers, nodes: &mut Vec<Node>) {
    let before = nodes.clone();
    let directories: Vec<&Node> = before.iter().filter(|node| node.kind == Kind::Directory).collect();
    let files: Vec<&Node> = before.iter().filter(|node| node.kind == Kind::File).collect();
    for number in 0..numbers.below(4) {
        let parent = &numbers.of(&directories).path;
        let path = format!("{parent}/ln{number}");
        let (kind, to) = if numbers.once_in(3) {
            (Kind::File, numbers.of(&files).path.clone())
        } else {
            (Kind::Link, numbers.of(&before).path.clone())
        };
        let after = nodes.iter().position(|node| node.path == *parent).unwrap();
        nodes.insert(after + 1, Node { path, kind, to: Some(to) });
    }
    // A second name is made when the first is there: those that lie before it go behind all else.
    let (second, first): (Vec<Node>, Vec<Node>) =
        nodes.drain(..).partition(|node| node.to.is_some() && node.kind == Kind::File);
    nodes.extend(first);
    nodes.extend(second);
}

/// Makes the tree; everything belongs to the world's user.
pub(crate) fn make(world: &World, base: &Path, nodes: &[Node]) {
    for node in nodes {
        let path = base.join(&node.path);
        match (node.kind, &node.to) {
            (Kind::Directory | Kind::Empty, _) => std::fs::create_dir(&path).unwrap(),
            (Kind::Link, Some(to)) => std::os::unix::fs::symlink(base.join(to), &path).unwrap(),
            (_, Some(to)) => std::fs::hard_link(base.join(to), &path).unwrap(),
            (_, None) => std::fs::write(&path, format!("what is in {}", node.path)).unwrap(),
        }
        world.own(&path);
    }
    world.own(base);
}

/// What tells a file from another of the same number in another file system, as the probe writes it.
pub(crate) fn identities(base: &Path, nodes: &[Node]) -> BTreeMap<String, String> {
    let identity = |path: PathBuf| {
        let seen = path.symlink_metadata().unwrap();
        format!("{}.{}", seen.ino(), seen.mtime_nsec())
    };
    nodes.iter().map(|node| (node.path.clone(), identity(base.join(&node.path)))).collect()
}
