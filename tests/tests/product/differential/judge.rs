//! What a run did, against what the rules say.

use std::collections::BTreeMap;
use std::path::Path;

use super::rules::{OPS, Op, Reference, follow};
use super::tree::{Kind, Node};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EXDEV: i32 = 18;
const ENOTDIR: i32 = 20;
const EROFS: i32 = 30;

/// A difference between the sandbox and the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// More is possible than the rules say; else less, and for no reason that is known.
    pub(crate) is_wide: bool,
    pub(crate) act: String,
    pub(crate) path: String,
    pub(crate) errno: i32,
}

/// What the probe said of one path.
#[derive(Debug)]
struct Said<'a> {
    node: &'a Node,
    acts: BTreeMap<&'a str, &'a str>,
    /// What the probe named the path by when it made something new of it.
    number: usize,
    itself: &'a str,
    leads: &'a str,
}

impl<'a> Said<'a> {
    fn new(node: &'a Node, number: usize, text: &'a str) -> Self {
        let mut acts: BTreeMap<&str, &str> =
            text.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        let itself = acts.remove("i").unwrap_or_default();
        let leads = acts.remove("j").unwrap_or_default();
        Self { node, acts, number, itself, leads }
    }
}

/// Everything that is needed to judge.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) nodes: &'a [Node],
    pub(crate) rules: &'a Reference,
    pub(crate) identities: &'a BTreeMap<String, String>,
}

impl Judge<'_> {
    /// The differences in what the probe said.
    pub(crate) fn said(&self, text: &str) -> Vec<Difference> {
        let mut found = Vec::new();
        let parts: Vec<&str> = text.trim_end_matches('|').split('|').collect();
        assert_eq!(parts.len(), self.nodes.len(), "the probe did not come to its end: {text}");
        for (number, (node, text)) in self.nodes.iter().zip(parts).enumerate() {
            let said = Said::new(node, number, text);
            for (act, errno) in &said.acts {
                let errno: i32 = errno.parse().unwrap();
                let allowed = self.allows(act, &said);
                let is_wide =
                    errno == 0 && !allowed && self.is_real(act, &said) && !self.is_other_name(act, &said);
                let is_narrow = errno != 0 && allowed && !self.is_known(act, &said, errno);
                if is_wide || is_narrow {
                    found.push(Difference {
                        is_wide,
                        act: (*act).to_owned(),
                        path: node.path.clone(),
                        errno,
                    });
                }
            }
        }
        found
    }

    /// The differences in what became of the tree: what is there now and what is gone must have been allowed.
    pub(crate) fn left(&self, base: &Path) -> Vec<Difference> {
        let mut found = Vec::new();
        let wide = |act: &str, path: &str| Difference {
            is_wide: true,
            act: act.to_owned(),
            path: path.to_owned(),
            errno: 0,
        };
        let mut left = vec![base.to_owned()];
        let mut seen = Vec::new();
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(&directory).unwrap().flatten() {
                let path = entry.path().strip_prefix(base).unwrap().to_str().unwrap().to_owned();
                let is_directory = entry.file_type().unwrap().is_dir();
                if !self.identities.contains_key(&path) && !self.rules.allows(Op::Write, &path) {
                    found.push(wide("made", &path));
                }
                if is_directory {
                    left.push(entry.path());
                }
                seen.push(path);
            }
        }
        for node in self.nodes {
            if !seen.contains(&node.path) && !self.rules.allows(Op::Delete, &node.path) {
                found.push(wide("gone", &node.path));
            }
        }
        found
    }

    fn allows(&self, act: &str, said: &Said<'_>) -> bool {
        let (node, number) = (said.node, said.number);
        let path = node.path.as_str();
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let beside = |name: &str| format!("{parent}/{name}{number}").trim_start_matches('/').to_owned();
        let real = follow(path, self.nodes);
        let is_file = self.nodes.iter().any(|node| node.path == real && node.kind == Kind::File);
        let leads = |op| self.rules.allows(op, &real);
        match act {
            "stat" => OPS.into_iter().any(|op| self.rules.allows(op, path)),
            "list" | "read" => leads(Op::Read),
            "write" => is_file && leads(Op::Write),
            "truncate" => leads(Op::Write),
            // Who may take a file away may do this to it before: no layer holds it against deleting.
            "chmod" | "utime" | "setxattr" => leads(Op::Write) || leads(Op::Delete),
            "create" => self.rules.allows(Op::Write, &format!("{path}/new.txt")),
            "mkdir" => self.rules.allows(Op::Write, &format!("{path}/newdir")),
            "symlink" => self.rules.allows(Op::Write, &format!("{path}/newlink")),
            "link" => self.opens_nothing(node, &beside("hard")),
            "linktop" => self.opens_nothing(node, &format!("tree/tophard{number}")),
            "rename" => self.moves(node, &beside("moved")),
            "renametop" => self.moves(node, &format!("tree/topmoved{number}")),
            "unlink" | "rmdir" => self.rules.allows(Op::Delete, path),
            // `back`, which is told when what was renamed could not be named as before.
            _ => false,
        }
    }

    /// Whether a second name may be made, and allows nothing that the first does not.
    fn opens_nothing(&self, node: &Node, new: &str) -> bool {
        let more = |op| self.rules.allows(op, new) && !self.rules.allows(op, &node.path);
        // A link leads where it did, whatever it is called.
        let is_link = node.kind == Kind::Link;
        self.rules.allows(Op::Write, new) && (is_link || !more(Op::Read) && !more(Op::Write))
    }

    /// Whether all that is there may be taken away and made at the new place, where no more is allowed.
    fn moves(&self, node: &Node, new: &str) -> bool {
        let behind = format!("{}/", node.path);
        let all =
            self.nodes.iter().filter(|other| other.path == node.path || other.path.starts_with(&behind));
        all.into_iter().all(|other| {
            let rest = other.path.get(node.path.len()..).unwrap();
            self.rules.allows(Op::Delete, &other.path) && self.opens_nothing(other, &format!("{new}{rest}"))
        })
    }

    /// Whether the act was done to what is on the host. The sandbox has directories and links of its own on the way to what is
    /// granted, and covers in the place of what is hidden.
    fn is_real(&self, act: &str, said: &Said<'_>) -> bool {
        let known = |path: &str| self.identities.get(path).map(String::as_str);
        let itself = known(&said.node.path) == Some(said.itself);
        let leads = known(&follow(&said.node.path, self.nodes)) == Some(said.leads);
        match act {
            "stat" if said.node.kind == Kind::Link => itself && !self.rules.denies(Op::Read, &said.node.path),
            "stat" | "list" | "read" | "write" | "truncate" | "chmod" | "utime" | "setxattr" | "create"
            | "mkdir" | "symlink" => leads,
            _ => itself,
        }
    }

    /// Whether the file may be used so by another of its names: Landlock knows files, not names.
    fn is_other_name(&self, act: &str, said: &Said<'_>) -> bool {
        let op = match act {
            "read" => Op::Read,
            "write" | "truncate" | "chmod" | "utime" | "setxattr" => Op::Write,
            _ => return false,
        };
        let real = follow(&said.node.path, self.nodes);
        let is_same = |name: &&String| self.identities.get(*name) == self.identities.get(&real);
        !self.rules.denies(op, &real)
            && self.identities.keys().filter(is_same).any(|name| self.rules.allows(op, name))
    }

    /// The reasons for which less is possible than the rules say.
    fn is_known(&self, act: &str, said: &Said<'_>, errno: i32) -> bool {
        let node = said.node;
        let path = node.path.as_str();
        let real = follow(path, self.nodes);
        let inside = format!("{real}/\u{1}");
        // A pattern that denies a directory and not what is in it takes the whole of it away.
        let denied = |op| {
            let above = |path: &str| {
                Path::new(path).ancestors().filter_map(Path::to_str).any(|at| self.rules.denies(op, at))
            };
            [path, &real, &inside].into_iter().any(above)
        };
        let hidden = [ENOENT, EACCES, EPERM, EROFS].contains(&errno);
        let changes = !matches!(act, "stat" | "list" | "read");
        let needs = match act {
            "create" | "mkdir" | "symlink" | "link" | "linktop" => &[Op::Write][..],
            "unlink" | "rmdir" => &[Op::Delete],
            "rename" | "renametop" => &[Op::Write, Op::Delete],
            _ => &[],
        };
        let around = needs.iter().all(|op| self.rules.allows_around(*op, path));
        let is_shown = OPS.into_iter().any(|op| self.rules.allows_around(op, path));
        let places = matches!(act, "link" | "linktop" | "rename" | "renametop" | "unlink" | "rmdir");
        // What may not be read is covered, with all other acts.
        let is_floor = self.rules.is_on_floor(&real) && !self.rules.allows(Op::Read, &real);
        let is_covered = hidden && (denied(Op::Read) || is_floor);
        // A mount cannot tell writing from deleting: without one of them, by a denial, there is neither.
        // Where nothing may be read either, nothing is left to show.
        let is_fixed = hidden
            && (changes || !self.rules.allows(Op::Read, &real))
            && (denied(Op::Write) || denied(Op::Delete));
        // A place of its own is a mount point, which is neither taken away nor moved, nor is what it lies in; below
        // /tmp it may be a link to where it is mounted.
        let is_mount = places && [EBUSY, ENOTDIR].contains(&errno) && self.rules.has_places_in(path);
        // Nor does anything move from one mount to another; and what makes a directory another's needs writing and deleting.
        let is_one = errno == EXDEV || errno == EROFS && self.rules.has_places_in(path);
        let is_apart = is_one && places && act != "unlink" && act != "rmdir";
        // What is made, moved or taken away is so in its directory, which must be granted as well, with a subtree.
        let is_alone = hidden && !around;
        // The directory to which it would go is not what it would have to be.
        let is_nowhere = matches!(act, "linktop" | "renametop")
            && hidden
            && OPS.into_iter().any(|op| self.rules.denies(op, "tree/\u{1}"));
        // A link is there when it lies in a tree that is granted, or when the grant names it.
        let is_loose = node.kind == Kind::Link && hidden && (!is_shown || said.itself.is_empty());
        // A pattern that is about a directory and not about what is in it does not show it.
        let is_directory = self.nodes.iter().any(|node| node.path == real && node.kind.is_directory());
        let is_shell = act == "list" && !self.rules.allows(Op::Read, &inside)
            || hidden && is_directory && !OPS.into_iter().any(|op| self.rules.allows(op, &inside));
        // A link leads to a directory that is only partly shown.
        let is_partly = node.kind == Kind::Link && hidden && said.leads.is_empty();
        // No extended attributes, or not in this file system.
        let is_unsupported = act == "setxattr" && errno != EACCES;
        is_covered
            || is_fixed
            || is_mount
            || is_apart
            || is_alone
            || is_nowhere
            || is_loose
            || is_shell
            || is_partly
            || is_unsupported
            || act == "back"
    }
}
