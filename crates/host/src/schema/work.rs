//! How much work a value is for its schema, counted before it is judged.

use std::collections::HashMap;

use serde_json::Value;

use super::graph::{Graph, Id};

/// The most steps that judging one value may take; about a second on the slowest machine that Ringfence is run on.
pub const WORK_MAX: u64 = 10_000_000;
/// The most pairs of subschema and value that are counted one by one.
const PAIRS_MAX: usize = 300_000;

/// Whether judging the value may cost more than [`WORK_MAX`].
pub(super) fn exceeds(graph: &Graph, value: &Value) -> bool {
    let size = Size::of(value);
    if size.bytes.saturating_mul(graph.byte_cost) > WORK_MAX {
        return true;
    }
    match graph.unfolded {
        // Every subschema of the unfolded schema judges every value at most once.
        Some(steps) if steps.saturating_mul(size.nodes) <= WORK_MAX => false,
        _ => {
            let mut pairs = Pairs { graph, known: HashMap::new(), exhausted: false };
            let steps = pairs.steps(0, value, 0);
            pairs.exhausted || steps > WORK_MAX
        }
    }
}

/// How large a value is.
struct Size {
    nodes: u64,
    bytes: u64,
}

impl Size {
    fn of(value: &Value) -> Self {
        let mut size = Self { nodes: 0, bytes: 0 };
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            size.nodes += 1;
            match value {
                Value::String(text) => size.bytes += text.len() as u64,
                Value::Array(elements) => stack.extend(elements),
                Value::Object(members) => {
                    size.bytes += members.keys().map(|name| name.len() as u64).sum::<u64>();
                    stack.extend(members.values());
                }
                _ => {}
            }
        }
        size
    }
}

/// The deepest value that is followed. Messages and files have a lower bound already.
const DEPTH_MAX: usize = 256;

/// Counts pairs of subschema and value, each once however often it is reached.
struct Pairs<'g> {
    graph: &'g Graph,
    /// By subschema and the value's address, which is its identity while it is borrowed.
    known: HashMap<(Id, usize), u64>,
    exhausted: bool,
}

impl Pairs<'_> {
    fn steps(&mut self, id: Id, value: &Value, depth: usize) -> u64 {
        let key = (id, std::ptr::from_ref(value).addr());
        if let Some(steps) = self.known.get(&key) {
            return *steps;
        }
        let Some(sub) = self.graph.get(id) else { return 0 };
        if self.known.len() >= PAIRS_MAX || depth > DEPTH_MAX {
            self.exhausted = true;
        }
        if self.exhausted {
            return u64::MAX;
        }
        let mut sum = sub.own_cost;
        for (to, times) in &sub.in_place {
            sum = sum.saturating_add(self.steps(*to, value, depth + 1).saturating_mul(*times));
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    for to in sub.properties.get(name).into_iter().chain(&sub.other_members) {
                        sum = sum.saturating_add(self.steps(*to, member, depth + 1));
                    }
                }
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    for to in sub.prefix.get(index).into_iter().chain(&sub.elements) {
                        sum = sum.saturating_add(self.steps(*to, element, depth + 1));
                    }
                }
            }
            _ => {}
        }
        let sum = sum.saturating_mul(sub.factor);
        self.known.insert(key, sum);
        sum
    }
}
