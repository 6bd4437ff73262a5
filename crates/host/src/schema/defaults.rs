//! What a schema says besides right and wrong: defaults and secrets.

use serde_json::Value;

use super::graph::{Graph, Id};

/// The deepest value that is walked; a configuration is far from it.
const DEPTH_MAX: usize = 64;
/// The most steps of one walk. Behind it nothing is filled in any more, and everything counts as a secret.
const STEPS_MAX: usize = 1_000_000;
/// The most paths that are listed.
const PATHS_MAX: usize = 1_000;
/// What stands in the place of a secret.
const REDACTED: &str = "***";

/// All subschemas that judge the same value as this one, itself first.
fn in_place(graph: &Graph, id: Id) -> Vec<Id> {
    let mut all = vec![id];
    let mut next = 0;
    while let Some(id) = all.get(next).copied() {
        next += 1;
        for (to, _) in graph.get(id).map_or(&[][..], |sub| &sub.in_place) {
            if !all.contains(to) {
                all.push(*to);
            }
        }
    }
    all
}

/// The subschemas of a member, by any subschema that judges the object.
fn of_member(graph: &Graph, ids: &[Id], name: &str) -> Vec<Id> {
    let subs = ids.iter().filter_map(|id| graph.get(*id));
    subs.flat_map(|sub| sub.properties.get(name).into_iter().chain(&sub.other_members).copied()).collect()
}

/// The subschemas of an element.
fn of_element(graph: &Graph, ids: &[Id], index: usize) -> Vec<Id> {
    let subs = ids.iter().filter_map(|id| graph.get(*id));
    subs.flat_map(|sub| sub.prefix.get(index).into_iter().chain(&sub.elements).copied()).collect()
}

fn spread(graph: &Graph, ids: &[Id]) -> Vec<Id> {
    let mut all = Vec::new();
    for id in ids {
        for id in in_place(graph, *id) {
            if !all.contains(&id) {
                all.push(id);
            }
        }
    }
    all
}

pub(super) fn fill(graph: &Graph, value: &Value) -> Value {
    let mut value = value.clone();
    let mut steps = 0;
    fill_in(graph, &[0], &mut value, 0, &mut steps);
    value
}

fn fill_in(graph: &Graph, ids: &[Id], value: &mut Value, depth: usize, steps: &mut usize) {
    let ids = spread(graph, ids);
    *steps += ids.len();
    if depth > DEPTH_MAX || *steps > STEPS_MAX {
        return;
    }
    match value {
        Value::Object(members) => {
            for sub in ids.iter().filter_map(|id| graph.get(*id)) {
                for (name, to) in &sub.properties {
                    if members.contains_key(name) {
                        continue;
                    }
                    let default = spread(graph, &[*to])
                        .into_iter()
                        .find_map(|id| graph.get(id).and_then(|sub| sub.default.clone()));
                    if let Some(default) = default {
                        members.insert(name.clone(), default);
                    }
                }
            }
            for (name, member) in members.iter_mut() {
                fill_in(graph, &of_member(graph, &ids, name), member, depth + 1, steps);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                fill_in(graph, &of_element(graph, &ids, index), element, depth + 1, steps);
            }
        }
        _ => {}
    }
}

pub(super) fn redact(graph: &Graph, value: &Value) -> Value {
    let mut value = value.clone();
    let mut steps = 0;
    hide(graph, &[0], &mut value, 0, &mut steps);
    value
}

fn hide(graph: &Graph, ids: &[Id], value: &mut Value, depth: usize, steps: &mut usize) {
    let ids = spread(graph, ids);
    *steps += ids.len();
    let secret = ids.iter().filter_map(|id| graph.get(*id)).any(|sub| sub.write_only);
    if secret || depth > DEPTH_MAX || *steps > STEPS_MAX {
        *value = Value::String(REDACTED.to_owned());
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                hide(graph, &of_member(graph, &ids, name), member, depth + 1, steps);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                hide(graph, &of_element(graph, &ids, index), element, depth + 1, steps);
            }
        }
        _ => {}
    }
}

pub(super) fn secret_paths(graph: &Graph) -> Vec<String> {
    let mut paths = Vec::new();
    let mut steps = 0;
    list(graph, &[0], &mut Vec::new(), String::new(), &mut paths, &mut steps);
    paths.sort();
    paths.dedup();
    paths
}

fn list(
    graph: &Graph,
    ids: &[Id],
    above: &mut Vec<Id>,
    path: String,
    paths: &mut Vec<String>,
    steps: &mut usize,
) {
    let ids: Vec<Id> = spread(graph, ids).into_iter().filter(|id| !above.contains(id)).collect();
    *steps += ids.len();
    if paths.len() >= PATHS_MAX || above.len() > STEPS_MAX || *steps > STEPS_MAX {
        return;
    }
    let subs = || ids.iter().filter_map(|id| graph.get(*id));
    if subs().any(|sub| sub.write_only) {
        paths.push(path);
        return;
    }
    let known = above.len();
    above.extend(&ids);
    let names: std::collections::BTreeSet<&String> = subs().flat_map(|sub| sub.properties.keys()).collect();
    for name in names {
        let below = of_member(graph, &ids, name);
        let name = name.replace('~', "~0").replace('/', "~1");
        list(graph, &below, above, format!("{path}/{name}"), paths, steps);
    }
    let others: Vec<Id> =
        subs().flat_map(|sub| sub.other_members.iter().chain(&sub.elements).copied()).collect();
    let first: Vec<Vec<Id>> = vec![others];
    for below in first.into_iter().filter(|below| !below.is_empty()) {
        list(graph, &below, above, format!("{path}/*"), paths, steps);
    }
    let longest = subs().map(|sub| sub.prefix.len()).max().unwrap_or_default();
    for index in 0..longest {
        let below = of_element(graph, &ids, index);
        list(graph, &below, above, format!("{path}/{index}"), paths, steps);
    }
    above.truncate(known);
}
