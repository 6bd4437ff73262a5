//! Secrets: the values that a schema marks `writeOnly`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::graph::{Graph, Id, Sub};
use super::walk::{DEPTH_MAX, TooFar, Walk};

/// The most paths that are listed.
const PATHS_MAX: usize = 1_000;
/// What stands in the place of a secret.
pub const SECRET_MASK: &str = "***";

/// The value without its secrets. What is too deep, or comes after the steps are used up, counts as one.
pub(super) fn redact(graph: &Graph, value: &Value) -> Value {
    let mut value = value.clone();
    let mut walk = Walk::new(graph);
    let whole = walk.spread([0]);
    hide(&mut walk, whole, &mut value, 0);
    value
}

fn hide<'g>(walk: &mut Walk<'g>, subs: Result<Vec<&'g Sub>, TooFar>, value: &mut Value, depth: usize) {
    let subs = match subs {
        Ok(subs) if depth <= DEPTH_MAX && !subs.iter().any(|sub| sub.write_only) => subs,
        _ => return *value = Value::String(SECRET_MASK.to_owned()),
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let below = walk.of_member(&subs, name);
                hide(walk, below, member, depth + 1);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                let below = walk.of_element(&subs, index);
                hide(walk, below, element, depth + 1);
            }
        }
        _ => {}
    }
}

/// Where a value is hidden in `before` and not in `after`, as JSON pointers.
pub(super) fn uncovered(before: &Value, after: &Value, place: &mut String, found: &mut Vec<String>) {
    let is_mask = |value: &Value| value.as_str() == Some(SECRET_MASK);
    match (before, after) {
        (before, after) if is_mask(before) && is_mask(after) => {}
        (before, _) if is_mask(before) && found.len() < PATHS_MAX => found.push(place.clone()),
        (Value::Object(before), Value::Object(after)) => {
            let both = before.iter().filter_map(|(name, value)| Some((name, value, after.get(name)?)));
            for (name, before, after) in both {
                let length = place.len();
                place.push('/');
                place.push_str(&name.replace('~', "~0").replace('/', "~1"));
                uncovered(before, after, place, found);
                place.truncate(length);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                let length = place.len();
                place.push('/');
                place.push_str(&index.to_string());
                uncovered(before, after, place, found);
                place.truncate(length);
            }
        }
        _ => {}
    }
}

/// The paths of secrets, sorted; those that were found when the steps were used up.
pub(super) fn paths(graph: &Graph) -> Vec<String> {
    let mut list = List {
        graph,
        walk: Walk::new(graph),
        open: vec![false; graph.subs.len()],
        depth: 0,
        paths: Vec::new(),
    };
    // Behind its bound a list is as long as it is.
    let _cut = list.below(vec![0], String::new());
    let mut paths = list.paths;
    paths.sort();
    paths.dedup();
    paths
}

struct List<'g> {
    graph: &'g Graph,
    walk: Walk<'g>,
    /// The subschemas above: one that contains itself is followed once.
    open: Vec<bool>,
    depth: usize,
    paths: Vec<String>,
}

impl List<'_> {
    fn below(&mut self, ids: Vec<Id>, path: String) -> Result<(), TooFar> {
        // A deeper value is hidden as a whole.
        if self.depth > DEPTH_MAX {
            return Ok(());
        }
        let mut all: Vec<Id> = Vec::new();
        for id in ids {
            let closure = self.graph.closure(id);
            self.walk.spend(1 + closure.len())?;
            for id in closure {
                if let Some(open) = self.open.get_mut(*id).filter(|open| !**open) {
                    *open = true;
                    all.push(*id);
                }
            }
        }
        self.depth += 1;
        let done = self.list(&all, path);
        self.depth -= 1;
        for id in &all {
            if let Some(open) = self.open.get_mut(*id) {
                *open = false;
            }
        }
        done
    }

    fn list(&mut self, ids: &[Id], path: String) -> Result<(), TooFar> {
        let graph = self.graph;
        let subs: Vec<&Sub> = ids.iter().filter_map(|id| graph.get(*id)).collect();
        if subs.iter().any(|sub| sub.write_only) {
            self.paths.push(path);
            return if self.paths.len() < PATHS_MAX { Ok(()) } else { Err(TooFar) };
        }
        let parts = |sub: &Sub| sub.properties.len() + sub.patterns.len() + sub.prefix.len();
        self.walk.spend(subs.iter().map(|sub| 4 + parts(sub)).sum::<usize>() + path.len() / 16)?;
        let names: BTreeSet<&String> = subs.iter().flat_map(|sub| sub.properties.keys()).collect();
        for name in names {
            self.walk.spend(subs.len())?;
            let below: Vec<Id> = subs.iter().filter_map(|sub| sub.properties.get(name)).copied().collect();
            let name = name.replace('~', "~0").replace('/', "~1");
            self.below(below, format!("{path}/{name}"))?;
        }
        let others: Vec<Id> = subs.iter().flat_map(|sub| sub.other_members().chain(sub.elements())).collect();
        if !others.is_empty() {
            self.below(others, format!("{path}/*"))?;
        }
        let longest = subs.iter().map(|sub| sub.prefix.len()).max().unwrap_or_default();
        for index in 0..longest {
            self.walk.spend(subs.len())?;
            let below: Vec<Id> = subs.iter().filter_map(|sub| sub.prefix.get(index)).copied().collect();
            self.below(below, format!("{path}/{index}"))?;
        }
        Ok(())
    }
}
