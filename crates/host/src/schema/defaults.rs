//! Filling in what a value leaves out and its schema has a `default` for.

use serde_json::Value;

use super::budget::Budget;
use super::fault::SchemaError;
use super::graph::{Graph, Sub};
use super::walk::{DEPTH_MAX, TooFar, Walk, copied};

/// The value with its defaults.
pub(super) fn fill(graph: &Graph, value: &Value) -> Result<Value, TooFar> {
    let mut walk = Walk::new(graph);
    filled_by(&mut walk, value)
}

fn filled_by(walk: &mut Walk<'_>, value: &Value) -> Result<Value, TooFar> {
    let mut value = value.clone();
    let subs = walk.spread([0])?;
    fill_in(walk, &subs, &mut value, 0)?;
    Ok(value)
}

/// Refuses a schema whose defaults alone are too much: one that puts an object into an object without end.
pub(super) fn bound(graph: &Graph, budget: &mut Budget) -> Result<(), SchemaError> {
    if graph.subs.iter().all(|sub| sub.default.is_none()) {
        return Ok(());
    }
    let mut walk = Walk::new(graph);
    let filled = filled_by(&mut walk, &Value::Object(serde_json::Map::new()));
    budget.spend(walk.steps(), "")?;
    filled.map(drop).map_err(|TooFar| {
        SchemaError::new(
            "",
            "the schema causes too much work: its defaults contain further ones without end, or far too many",
        )
    })
}

fn fill_in<'g>(walk: &mut Walk<'g>, subs: &[&'g Sub], value: &mut Value, depth: usize) -> Result<(), TooFar> {
    if depth > DEPTH_MAX {
        return Err(TooFar);
    }
    match value {
        Value::Object(members) => {
            for sub in subs {
                walk.spend(sub.properties.len())?;
                for (name, to) in &sub.properties {
                    if members.contains_key(name) {
                        continue;
                    }
                    let known = walk.spread([*to])?;
                    if let Some(default) = known.into_iter().find_map(|sub| sub.default.as_ref()) {
                        walk.spend(copied(default))?;
                        members.insert(name.clone(), default.clone());
                    }
                }
            }
            for (name, member) in members.iter_mut() {
                let below = walk.of_member(subs, name)?;
                fill_in(walk, &below, member, depth + 1)?;
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                let below = walk.of_element(subs, index)?;
                fill_in(walk, &below, element, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}
