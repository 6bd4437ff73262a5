//! Rules arranged so that a decision looks at few of them.
//!
//! Paths are in a tree by their literal beginning, hosts and names in tables by their exact text; what has
//! wildcards further in stands in lists at the place where its literal beginning ends. All lists keep the
//! order of the rules, so the first that matches is the one to name.

use std::collections::{BTreeSet, HashMap};

use crate::host::{Host, HostKind};
use crate::host_pattern::HostSet;
use crate::net::Net;
use crate::network_floor;
use crate::path_pattern::PathPattern;
use crate::rule::{Rule, Scope};

/// The first rule that opens the request, and the first that matches it but may not open the floor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) opens: Option<usize>,
    pub(crate) blocked: Option<usize>,
}

impl Found {
    fn offer(&mut self, rule: usize, opens: bool) {
        let slot = if opens { &mut self.opens } else { &mut self.blocked };
        *slot = Some(slot.map_or(rule, |before| before.min(rule)));
    }
}

/// The rules of one permission and one effect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    paths: PathIndex,
    hosts: HostIndex,
    names: NameIndex,
    programs: NameIndex,
}

impl Index {
    /// Adds a rule. Must be called in the order of the rules.
    pub(crate) fn insert(&mut self, number: usize, rule: &Rule) {
        match rule.scope() {
            Scope::Path(pattern) => self.paths.insert(number, pattern),
            Scope::Host(pattern) => self.hosts.insert(number, pattern.set()),
            Scope::Name(pattern) => self.names.insert(number, pattern.as_exact()),
            Scope::Program(pattern) => self.programs.insert(number, pattern.as_exact()),
        }
    }

    /// The rules for a path; `floor_depth` is how deep its floor path lies, when it is on the floor.
    pub(crate) fn path(&self, segments: &[&[u8]], floor_depth: Option<usize>, rules: &[Rule]) -> Found {
        self.paths.find(segments, floor_depth, rules)
    }

    /// The rules for a host and a port.
    pub(crate) fn host(&self, host: &Host, port: u16, rules: &[Rule]) -> Found {
        self.hosts.find(host, port, rules)
    }

    /// The first rule for a name.
    pub(crate) fn name(&self, name: &[u8], rules: &[Rule]) -> Found {
        self.names.find(name, rules)
    }

    /// The same for a name that no wildcard opens.
    pub(crate) fn protected_name(&self, name: &[u8], rules: &[Rule]) -> Found {
        let found = self.names.find(name, rules);
        let literal = self.names.exact(name);
        // Whatever matches beside the literal rule only explains why it does not open.
        Found { opens: literal, blocked: found.opens.filter(|_| literal.is_none()) }
    }

    /// The first rule for the name of a program.
    pub(crate) fn program(&self, name: &[u8], rules: &[Rule]) -> Found {
        self.programs.find(name, rules)
    }
}

/// A tree over literal beginnings, its nodes in one list: no recursion, however deep a path is.
#[derive(Clone, Debug)]
pub(crate) struct PathIndex {
    nodes: Vec<Node>,
}

impl Default for PathIndex {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: HashMap<Box<[u8]>, usize>,
    exact: Option<usize>,
    subtree: Option<usize>,
    wild: Vec<usize>,
}

impl PathIndex {
    pub(crate) fn insert(&mut self, number: usize, pattern: &PathPattern) {
        let mut at = 0;
        for segment in pattern.literal_segments() {
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            at = *node.children.entry(segment.into()).or_insert(fresh);
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        let Some(node) = self.nodes.get_mut(at) else { return };
        if pattern.is_exact() {
            node.exact.get_or_insert(number);
        } else if pattern.is_subtree() {
            node.subtree.get_or_insert(number);
        } else {
            node.wild.push(number);
        }
    }

    fn find(&self, segments: &[&[u8]], floor_depth: Option<usize>, rules: &[Rule]) -> Found {
        let mut found = Found::default();
        self.walk(segments, |depth, node| {
            // A literal grant opens the floor only from its path down.
            let literal = floor_depth.is_none_or(|floor| depth >= floor);
            if let Some(rule) = node.subtree {
                found.offer(rule, literal);
            }
            if let Some(rule) = node.exact.filter(|_| depth == segments.len()) {
                found.offer(rule, literal);
            }
            let matching = node.wild.iter().find(|rule| {
                let pattern = rules.get(**rule).and_then(Rule::path);
                pattern.is_some_and(|pattern| pattern.matches_segments(segments))
            });
            if let Some(rule) = matching {
                found.offer(*rule, floor_depth.is_none());
            }
        });
        found
    }

    /// How many segments the deepest subtree with this path has.
    pub(crate) fn deepest_subtree(&self, segments: &[&[u8]]) -> Option<usize> {
        let mut deepest = None;
        self.walk(segments, |depth, node| {
            if node.subtree.is_some() {
                deepest = Some(depth);
            }
        });
        deepest
    }

    /// Visits the nodes along a path, from the root down.
    fn walk(&self, segments: &[&[u8]], mut visit: impl FnMut(usize, &Node)) {
        let mut at = self.nodes.first();
        let mut rest = segments.iter();
        let mut depth = 0;
        while let Some(node) = at {
            visit(depth, node);
            depth += 1;
            at = rest
                .next()
                .and_then(|segment| node.children.get(*segment))
                .and_then(|child| self.nodes.get(*child));
        }
    }
}

#[derive(Clone, Debug, Default)]
struct HostIndex {
    names: HashMap<Box<str>, Vec<usize>>,
    below: HashMap<Box<str>, Vec<usize>>,
    nets: HashMap<Net, Vec<usize>>,
    /// The lengths of the ranges in `nets`: few, so that each can be tried.
    lengths: BTreeSet<u8>,
    any: Vec<usize>,
}

impl HostIndex {
    fn insert(&mut self, number: usize, set: &HostSet) {
        let list = match set {
            HostSet::Any => &mut self.any,
            HostSet::Below(domain) => self.below.entry(domain.clone()).or_default(),
            HostSet::Name(name) => self.names.entry(name.clone()).or_default(),
            HostSet::Net(net) => {
                self.lengths.insert(net.len());
                self.nets.entry(*net).or_default()
            }
        };
        list.push(number);
    }

    fn find(&self, host: &Host, port: u16, rules: &[Rule]) -> Found {
        let mut found = Found::default();
        let on_floor = network_floor::floor_of(host).is_some();
        // All rules of one list have the same set of hosts, so the first with the port speaks for the list.
        let mut offer = |list: &[usize]| {
            let matching = list.iter().find_map(|rule| {
                let pattern = rules.get(*rule).and_then(Rule::host)?;
                pattern.ports().has(port).then_some((*rule, pattern))
            });
            if let Some((rule, pattern)) = matching {
                found.offer(rule, !on_floor || network_floor::names_floor(pattern.set(), host));
            }
        };
        offer(&self.any);
        match host.kind() {
            HostKind::Name(name) => {
                self.names.get(name).into_iter().for_each(|list| offer(list));
                let mut rest: &str = name;
                while let Some((_, domain)) = rest.split_once('.') {
                    self.below.get(domain).into_iter().for_each(|list| offer(list));
                    rest = domain;
                }
            }
            HostKind::Address(address) => {
                for len in &self.lengths {
                    // A length beyond the family's width means the address itself, which has its own length.
                    let net = Net::new(*address, *len);
                    if net.len() == *len {
                        self.nets.get(&net).into_iter().for_each(|list| offer(list));
                    }
                }
            }
        }
        found
    }
}

#[derive(Clone, Debug, Default)]
struct NameIndex {
    exact: HashMap<Box<[u8]>, usize>,
    wild: Vec<usize>,
}

impl NameIndex {
    fn insert(&mut self, number: usize, exact: Option<&[u8]>) {
        match exact {
            Some(name) => {
                self.exact.entry(name.into()).or_insert(number);
            }
            None => self.wild.push(number),
        }
    }

    /// The first rule that says this name and no other.
    fn exact(&self, name: &[u8]) -> Option<usize> {
        self.exact.get(name).copied()
    }

    fn find(&self, name: &[u8], rules: &[Rule]) -> Found {
        let mut found = Found::default();
        if let Some(rule) = self.exact(name) {
            found.offer(rule, true);
        }
        let matching = self.wild.iter().find(|rule| {
            let pattern = rules.get(**rule).and_then(Rule::name_pattern);
            pattern.is_some_and(|pattern| pattern.matches_bytes(name))
        });
        if let Some(rule) = matching {
            found.offer(*rule, true);
        }
        found
    }
}
