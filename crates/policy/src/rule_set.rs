//! All rules of one subject, compiled, and the decision over them.

use std::collections::HashMap;
use std::sync::Arc;

use ringfence_api::PermissionName;

use crate::canonical_path::CanonicalPath;
use crate::decision::{About, Deciding, Decision, Reason};
use crate::floor::Floor;
use crate::host::Host;
use crate::index::{Found, Index, PathIndex};
use crate::network_floor;
use crate::path_pattern::PathPattern;
use crate::request::Request;
use crate::rule::{Effect, PROGRAM_DIRECTORIES, Rule};

/// Rules, compiled so that a decision takes about as long for 1,000 of them as for ten.
///
/// - Without rules nothing is allowed.
/// - A deny rule beats every allow rule, whatever the order.
/// - What is on the floor is opened only by an allow rule that names it.
/// - Of several rules that decide alike, the first is named.
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, FileOp, Request, Rule, RuleSet, Vars};
///
/// let vars = Vars::new(CanonicalPath::root()).with_home(CanonicalPath::new("/home/ada")?);
/// let rules = RuleSet::new(vec![
///     Rule::parse(Effect::Allow, "file:read=~/**", &vars, "--ro ~")?,
///     Rule::parse(Effect::Deny, "file:read=~/diary/**", &vars, "--deny file:read=~/diary/**")?,
/// ]);
/// let may_read = |path: &str| {
///     let request = Request::File { op: FileOp::Read, path: CanonicalPath::new(path).unwrap() };
///     rules.decide(&request).is_allowed()
/// };
/// assert!(may_read("/home/ada/notes/a.txt"));
/// assert!(!may_read("/home/ada/diary/monday.txt"));
/// assert!(!may_read("/home/ada/.ssh/id_ed25519"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    tables: HashMap<PermissionName, Table>,
    floor: PathIndex,
    /// What no deny rule takes away.
    own: PathIndex,
}

#[derive(Clone, Debug, Default)]
struct Table {
    deny: Index,
    allow: Index,
}

impl RuleSet {
    /// Compiles rules. The floor is that of all of them together.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut tables: HashMap<PermissionName, Table> = HashMap::new();
        for (number, rule) in rules.iter().enumerate() {
            let table = tables.entry(rule.permission_name().clone()).or_default();
            match rule.effect() {
                Effect::Allow => table.allow.insert(number, rule),
                Effect::Deny => table.deny.insert(number, rule),
            }
        }
        let floor = compile_floor(&rules);
        Self { rules, tables, floor, own: PathIndex::default() }
    }

    /// The same, but no deny rule over files holds in these directories: what a plugin cannot do without, such as its own
    /// package and its private data, is no business of deny rules over other people's files.
    #[must_use]
    pub fn with_own<'p>(mut self, directories: impl IntoIterator<Item = &'p CanonicalPath>) -> Self {
        for (number, directory) in directories.into_iter().enumerate() {
            self.own.insert(number, &PathPattern::subtree(directory));
        }
        self
    }

    /// Whether no deny rule over files holds there.
    #[must_use]
    pub fn is_own(&self, path: &CanonicalPath) -> bool {
        let segments: Vec<_> = path.segments().collect();
        self.own.deepest_subtree(&segments).is_some()
    }

    /// The rules in the order they were given.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides a request.
    #[must_use]
    pub fn decide<'r>(&'r self, request: &'r Request) -> Decision<'r> {
        let permission = request.permission();
        let Some(table) = self.tables.get(&permission) else {
            return self.answer(request, None, Found::default());
        };
        match request {
            Request::File { path, .. } => self.decide_path(request, table, path),
            Request::Execute { path } => self.decide_program(request, table, path),
            Request::Network { host, port, .. } => {
                let denied = self.denied_host(table, host, *port);
                self.answer(request, denied, table.allow.host(host, *port, &self.rules))
            }
            Request::Resolved { host, address, port, .. } => {
                self.decide_resolved(request, table, host, &Host::from(*address), *port)
            }
            Request::Named { name, .. } => {
                let denied = table.deny.name(name.as_bytes(), &self.rules).opens;
                self.answer(request, denied, table.allow.name(name.as_bytes(), &self.rules))
            }
            Request::Protected { name, .. } => {
                let denied = table.deny.name(name.as_bytes(), &self.rules).opens;
                self.answer(request, denied, table.allow.protected_name(name.as_bytes(), &self.rules))
            }
        }
    }

    /// The decision as a record that owns its texts: the deciding rule and the narrowest grant that would
    /// allow the request.
    #[must_use]
    pub fn explain(&self, request: &Request) -> Explanation {
        let decision = self.decide(request);
        Explanation {
            effect: decision.effect(),
            rule: decision.deciding().map(|by| (by.index, by.rule.to_string(), by.rule.origin().to_owned())),
            grant: decision.grant(),
            text: decision.to_string(),
        }
    }

    fn decide_path<'r>(&'r self, request: &'r Request, table: &Table, path: &CanonicalPath) -> Decision<'r> {
        let segments: Vec<_> = path.segments().collect();
        let own = self.own.deepest_subtree(&segments).is_some();
        let denied = if own { None } else { table.deny.path(&segments, None, &self.rules).opens };
        let floor = self.floor.deepest_subtree(&segments);
        self.answer(request, denied, table.allow.path(&segments, floor, &self.rules))
    }

    fn decide_program<'r>(
        &'r self,
        request: &'r Request,
        table: &Table,
        path: &CanonicalPath,
    ) -> Decision<'r> {
        let segments: Vec<_> = path.segments().collect();
        let name = segments.last().copied().unwrap_or_default();
        let denied = earlier(
            table.deny.path(&segments, None, &self.rules).opens,
            table.deny.program(name, &self.rules).opens,
        );
        let floor = self.floor.deepest_subtree(&segments);
        let mut found = table.allow.path(&segments, floor, &self.rules);
        if floor.is_none() && is_program_directory(path, name) {
            found.opens = earlier(found.opens, table.allow.program(name, &self.rules).opens);
        }
        self.answer(request, denied, found)
    }

    fn decide_resolved<'r>(
        &'r self,
        request: &'r Request,
        table: &Table,
        host: &Host,
        address: &Host,
        port: u16,
    ) -> Decision<'r> {
        let denied = earlier(self.denied_host(table, host, port), self.denied_host(table, address, port));
        let by_name = table.allow.host(host, port, &self.rules);
        if denied.is_some() || by_name.opens.is_none() {
            return Decision { about: About::HostName, ..self.answer(request, denied, by_name) };
        }
        if network_floor::floor_of(address).is_none() {
            return self.answer(request, None, by_name);
        }
        let by_address = table.allow.host(address, port, &self.rules);
        // The name is granted, the address behind it is not: that is what there is to say.
        let blocked = by_address.blocked.or(by_name.opens);
        self.answer(request, None, Found { opens: by_address.opens, blocked })
    }

    /// The first deny rule for a host, or for an IPv4 address that it carries inside.
    fn denied_host(&self, table: &Table, host: &Host, port: u16) -> Option<usize> {
        let direct = table.deny.host(host, port, &self.rules);
        let carried = host.address().into_iter().flat_map(network_floor::embedded);
        carried
            .map(|inside| table.deny.host(&Host::from(inside), port, &self.rules))
            .fold(direct.first(), |first, found| earlier(first, found.first()))
    }

    fn answer<'r>(&'r self, request: &'r Request, denied: Option<usize>, found: Found) -> Decision<'r> {
        let deciding = |index: Option<usize>| {
            index.and_then(|index| self.rules.get(index).map(|rule| Deciding { index, rule }))
        };
        let reason = if let Some(by) = deciding(denied) {
            Reason::Denied(by)
        } else if let Some(by) = deciding(found.opens) {
            Reason::Allowed(by)
        } else if let Some(by) = deciding(found.blocked) {
            Reason::Floor(by)
        } else {
            Reason::NoRule
        };
        Decision { request, reason, about: About::Request }
    }
}

impl Found {
    /// The first rule that matches; a deny rule does not care about the floor.
    fn first(self) -> Option<usize> {
        earlier(self.opens, self.blocked)
    }
}

fn earlier(left: Option<usize>, right: Option<usize>) -> Option<usize> {
    left.into_iter().chain(right).min()
}

/// Whether a program of this name at this path may be meant by its name alone.
fn is_program_directory(path: &CanonicalPath, name: &[u8]) -> bool {
    let directory = path.as_bytes().strip_suffix(name).and_then(|rest| rest.strip_suffix(b"/"));
    directory.is_some_and(|directory| PROGRAM_DIRECTORIES.iter().any(|known| known.as_bytes() == directory))
}

/// The floor of all rules together; most share one.
fn compile_floor(rules: &[Rule]) -> PathIndex {
    let mut merged = Floor::default();
    let mut before: Option<&Arc<Floor>> = None;
    for floor in rules.iter().map(Rule::shared_floor) {
        if !before.is_some_and(|before| Arc::ptr_eq(before, floor)) {
            merged.merge(floor);
        }
        before = Some(floor);
    }
    let mut index = PathIndex::default();
    for (number, path) in merged.paths().enumerate() {
        index.insert(number, &PathPattern::subtree(path));
    }
    index
}

/// A decision with its texts, to be stored or sent.
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, Request, RuleSet};
///
/// let request = Request::Execute { path: CanonicalPath::new("/usr/bin/git")? };
/// let explanation = RuleSet::default().explain(&request);
/// assert_eq!(explanation.effect, Effect::Deny);
/// assert_eq!(explanation.rule, None);
/// assert_eq!(explanation.grant.as_deref(), Some("subprocess:execute=/usr/bin/git"));
/// # Ok::<(), ringfence_policy::CanonicalPathError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Allow or deny.
    pub effect: Effect,
    /// The deciding rule: its index, its text, and where it was written.
    pub rule: Option<(usize, String, String)>,
    /// The narrowest grant that would allow it; `None` when it is allowed or a deny rule forbids it.
    pub grant: Option<String>,
    /// The sentence for people.
    pub text: String,
}

/// The grants in `new` that open something which `old` does not: what to ask consent for at an upgrade.
///
/// A grant counts as wider unless one old rule of the same permission has all of it, floor included, and each
/// old deny rule of that permission is still there. It may name a grant that is not wider; it never leaves
/// out one that is.
///
/// ```
/// use ringfence_policy::{CanonicalPath, Effect, Rule, Vars, is_wider};
///
/// let vars = Vars::new(CanonicalPath::root());
/// let rule = |text: &str| Rule::parse(Effect::Allow, text, &vars, "manifest").unwrap();
/// let old = [rule("file:read=/srv/**")];
/// let new = [rule("file:read=/srv/notes/**"), rule("network:request=api.example.com:443")];
/// let wider: Vec<_> = is_wider(&new, &old).iter().map(|rule| rule.text()).collect();
/// assert_eq!(wider, ["network:request=api.example.com:443"]);
/// ```
#[must_use]
pub fn is_wider<'n>(new: &'n [Rule], old: &[Rule]) -> Vec<&'n Rule> {
    let new_denies: Vec<_> = new.iter().filter(|rule| rule.effect() == Effect::Deny).collect();
    let lost_deny = |permission: &PermissionName| {
        old.iter()
            .filter(|rule| rule.effect() == Effect::Deny && rule.permission_name() == permission)
            .any(|lost| !new_denies.iter().any(|kept| kept.denies_all_of(lost)))
    };
    new.iter()
        .filter(|rule| rule.effect() == Effect::Allow)
        .filter(|rule| {
            let kept = old.iter().any(|before| before.effect() == Effect::Allow && before.opens_all_of(rule));
            !kept || lost_deny(rule.permission_name())
        })
        .collect()
}
