//! Random rules, and what they mean: an implementation of its own, so small that it can be read, to hold the product's against.

use std::path::Path;

use super::tree::{FLOOR, Kind, Node, Numbers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Read,
    Write,
    Delete,
}

pub(crate) const OPS: [Op; 3] = [Op::Read, Op::Write, Op::Delete];

impl Op {
    fn word(self) -> &'static str {
        match self {
            Self::Read => "file:read",
            Self::Write => "file:write",
            Self::Delete => "file:delete",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    ReadOnly,
    ReadWrite,
    Grant(Op),
    Deny(Op),
    /// Programs may be started from there, which allows nothing else and is a mount of its own.
    Execute,
}

/// What stands behind the place that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Exact,
    Subtree,
    /// `/*`
    Children,
    /// `/*.txt`
    Texts,
    /// `/**/*.txt`
    AllTexts,
}

/// A rule as it is given on the command line; its place is below the base, or the base itself when it is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    flag: Flag,
    place: String,
    tail: Tail,
}

impl Word {
    /// The two words for the command line.
    pub(crate) fn words(&self, base: &Path) -> [String; 2] {
        let path = if self.place.is_empty() { base.to_owned() } else { base.join(&self.place) };
        let path = path.to_str().unwrap();
        let escaped = path.replace('\\', "\\\\").replace('*', "\\*").replace('\n', "\\x0a");
        let tail = match self.tail {
            Tail::Exact => "",
            Tail::Subtree => "/**",
            Tail::Children => "/*",
            Tail::Texts => "/*.txt",
            Tail::AllTexts => "/**/*.txt",
        };
        match self.flag {
            Flag::ReadOnly => ["--ro".to_owned(), path.to_owned()],
            Flag::ReadWrite => ["--rw".to_owned(), path.to_owned()],
            Flag::Grant(op) => ["--grant".to_owned(), format!("{}={escaped}{tail}", op.word())],
            Flag::Deny(op) => ["--deny".to_owned(), format!("{}={escaped}{tail}", op.word())],
            Flag::Execute => ["--grant".to_owned(), format!("subprocess:execute={escaped}{tail}")],
        }
    }
}

/// One to six rules about a tree: mostly one that opens much, and others in it.
pub(crate) fn draw(numbers: &mut Numbers, nodes: &[Node], is_home: bool) -> Vec<Word> {
    let mut rules = Vec::new();
    if !numbers.once_in(4) {
        let place = if numbers.once_in(5) { String::new() } else { "tree".to_owned() };
        for op in OPS {
            // What is on the floor refuses the start if the whole home may be changed.
            if op == Op::Read || numbers.once_in(if is_home { 10 } else { 2 }) {
                rules.push(Word { flag: Flag::Grant(op), place: place.clone(), tail: Tail::Subtree });
            }
        }
        if rules.len() > 1 && numbers.once_in(4) {
            rules.remove(0);
        }
    }
    let inside: Vec<&Node> = nodes.iter().filter(|node| !node.path.starts_with("beside")).collect();
    while rules.is_empty() || rules.len() < 6 && !numbers.once_in(3) {
        let node = if numbers.once_in(10) { numbers.of(nodes) } else { numbers.of(&inside) };
        let flag = match numbers.below(12) {
            0 => Flag::ReadOnly,
            1 => Flag::ReadWrite,
            2 if numbers.once_in(3) => Flag::Execute,
            2..=6 => Flag::Grant(*numbers.of(&OPS)),
            _ => Flag::Deny(*numbers.of(&OPS)),
        };
        let tail = match (node.kind, numbers.below(8)) {
            (Kind::File, _) | (Kind::Link, 0..=3) => Tail::Exact,
            (_, 0) if !matches!(flag, Flag::Grant(Op::Write | Op::Delete)) => Tail::Children,
            (_, 1) if !matches!(flag, Flag::Grant(Op::Write | Op::Delete)) => Tail::Texts,
            (_, 2) if !matches!(flag, Flag::Grant(Op::Write | Op::Delete)) => Tail::AllTexts,
            _ => Tail::Subtree,
        };
        let is_missing = matches!(flag, Flag::Deny(_)) && numbers.once_in(20);
        let place = if is_missing { format!("{}-not", node.path) } else { node.path.clone() };
        rules.push(Word { flag, place, tail });
    }
    rules
}

#[derive(Clone, Debug)]
struct Meaning {
    denies: bool,
    op: Op,
    place: String,
    tail: Tail,
}

impl Meaning {
    /// Whether it is about this path (below the base; `None` of the place when it is the base).
    fn is_about(&self, path: &str) -> bool {
        let Some(rest) = below(path, &self.place) else { return false };
        let name = rest.rsplit('/').next().unwrap();
        match self.tail {
            Tail::Exact => rest.is_empty(),
            Tail::Subtree => true,
            Tail::Children => !rest.is_empty() && !rest.contains('/'),
            Tail::Texts => name.ends_with(".txt") && !rest.contains('/'),
            Tail::AllTexts => name.ends_with(".txt"),
        }
    }

    fn names(&self, floor: &str) -> bool {
        matches!(self.tail, Tail::Exact | Tail::Subtree) && below(&self.place, floor).is_some()
    }
}

/// The rest of a path behind `place`, without its slash; `None` when it is not in it.
fn below<'a>(path: &'a str, place: &str) -> Option<&'a str> {
    if place.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(place)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// All rules of a run.
#[derive(Debug)]
pub(crate) struct Reference {
    meanings: Vec<Meaning>,
    /// Places that are mounts and about which nothing else is said.
    mounts: Vec<String>,
    is_home: bool,
}

impl Reference {
    pub(crate) fn new(words: &[Word], nodes: &[Node], is_home: bool) -> Self {
        let mut meanings = Vec::new();
        for word in words {
            let (denies, ops) = match &word.flag {
                Flag::ReadOnly => (false, &[Op::Read][..]),
                Flag::ReadWrite => (false, &OPS[..]),
                Flag::Grant(op) => (false, std::slice::from_ref(op)),
                Flag::Deny(op) => (true, std::slice::from_ref(op)),
                Flag::Execute => (false, &[][..]),
            };
            let real = follow(&word.place, nodes);
            let kind = nodes.iter().find(|node| node.path == real).map(|node| node.kind);
            let is_short = matches!(word.flag, Flag::ReadOnly | Flag::ReadWrite);
            let tail = if is_short || real != word.place && matches!(word.tail, Tail::Exact | Tail::Subtree) {
                match kind {
                    None => word.tail,
                    Some(kind) if kind.is_directory() => Tail::Subtree,
                    Some(_) => Tail::Exact,
                }
            } else {
                word.tail
            };
            for &op in ops {
                meanings.push(Meaning { denies, op, place: real.clone(), tail });
                if denies && real != word.place {
                    meanings.push(Meaning { denies, op, place: word.place.clone(), tail: word.tail });
                }
            }
        }
        // A link that a wildcard denies in a tree that is granted is denied with where it leads.
        let is_granted = |path: &str| {
            let mut trees = meanings.iter().filter(|rule| !rule.denies && rule.tail == Tail::Subtree);
            trees.any(|rule| rule.is_about(path))
        };
        let leads: Vec<Meaning> = meanings
            .iter()
            .filter(|rule| rule.denies && !matches!(rule.tail, Tail::Exact | Tail::Subtree))
            .flat_map(|rule| {
                let links = nodes.iter().filter(|node| {
                    node.kind == Kind::Link && rule.is_about(&node.path) && is_granted(&node.path)
                });
                links.map(|link| Meaning {
                    place: follow(&link.path, nodes),
                    tail: Tail::Subtree,
                    ..rule.clone()
                })
            })
            .collect();
        meanings.extend(leads);
        let mounts = words.iter().filter(|word| word.flag == Flag::Execute);
        let mounts = mounts.map(|word| follow(&word.place, nodes)).collect();
        Self { meanings, mounts, is_home }
    }

    /// What the rules say: deny beats allow, and what is on the floor is opened by what names it.
    pub(crate) fn allows(&self, op: Op, path: &str) -> bool {
        let floor = self.floor_of(path);
        let about = |denies| {
            self.meanings
                .iter()
                .filter(move |rule| rule.denies == denies && rule.op == op && rule.is_about(path))
        };
        about(true).next().is_none()
            && about(false).any(|rule| floor.as_ref().is_none_or(|floor| rule.names(floor)))
    }

    fn floor_of(&self, path: &str) -> Option<String> {
        let mut floor = FLOOR.iter().map(|(name, _)| format!("tree/{name}"));
        floor.find(|floor| self.is_home && below(path, floor).is_some())
    }

    /// Whether only a rule that names it opens this.
    pub(crate) fn is_on_floor(&self, path: &str) -> bool {
        self.floor_of(path).is_some()
    }

    /// Whether a denial of `op` is about this path.
    pub(crate) fn denies(&self, op: Op, path: &str) -> bool {
        self.meanings.iter().any(|rule| rule.denies && rule.op == op && rule.is_about(path))
    }

    /// Whether a rule with a subtree allows it: only that reaches what is made later.
    pub(crate) fn allows_around(&self, op: Op, path: &str) -> bool {
        let is_around = |rule: &&Meaning| !rule.denies && rule.op == op && rule.tail == Tail::Subtree;
        self.meanings.iter().filter(is_around).any(|rule| rule.is_about(path) && rule.place != path)
    }

    /// Whether a rule names this or something in it, or could mean something in it: there may be mounts.
    pub(crate) fn has_places_in(&self, path: &str) -> bool {
        let floor = FLOOR.iter().map(|(name, _)| format!("tree/{name}"));
        let floor = self.is_home && floor.into_iter().any(|floor| below(&floor, path).is_some());
        let wild = |rule: &Meaning| !matches!(rule.tail, Tail::Exact | Tail::Subtree);
        floor
            || self.mounts.iter().any(|mount| below(mount, path).is_some())
            || self.meanings.iter().any(|rule| {
                below(&rule.place, path).is_some() || wild(rule) && below(path, &rule.place).is_some()
            })
    }
}

/// Where a path leads, below the base.
pub(crate) fn follow(path: &str, nodes: &[Node]) -> String {
    let mut at = path.to_owned();
    for _ in 0..10 {
        let link = nodes.iter().find_map(|node| {
            let to = node.to.as_ref().filter(|_| node.kind == Kind::Link)?;
            Some((to, below(&at, &node.path)?))
        });
        let Some((to, rest)) = link else { return at };
        at = if rest.is_empty() { to.clone() } else { format!("{to}/{rest}") };
    }
    at
}
