//! How much work a value is for its schema, counted before it is judged.

use std::collections::HashMap;

use serde_json::Value;

use super::graph::{Graph, Id, Sub};
use super::unique;

/// The most steps that judging one value may take; about a second on the slowest machine that Ringfence is run on.
pub const WORK_MAX: u64 = 10_000_000;
/// The most pairs of subschema and value with parts that are counted one by one.
const PAIRS_MAX: usize = 300_000;
/// The most subschemas one behind the other, through parts of the value too: each is a few frames on the stack, here and in
/// the engine. Messages and files are far from it unless the schema goes in circles.
const HEIGHT_MAX: u64 = 256;

/// Whether judging the value may cost more than [`WORK_MAX`].
pub(super) fn exceeds(graph: &Graph, value: &Value, size: &Size) -> bool {
    // Every subschema of the unfolded schema judges every part of the value at most once.
    let bound = graph.unfolded.filter(|cost| cost.height <= HEIGHT_MAX).map(|cost| {
        let whole = size.compared(size.longest).saturating_mul(size.depth);
        (cost.steps.saturating_mul(size.nodes))
            .saturating_add(cost.text.saturating_mul(size.bytes / 16 + size.nodes))
            .saturating_add(cost.whole.saturating_mul(whole))
    });
    bound.is_none_or(|steps| steps > WORK_MAX) && count(graph, value).is_none()
}

/// The steps of judging the value, counted pair by pair; `None` when they may be more than [`WORK_MAX`].
pub(super) fn count(graph: &Graph, value: &Value) -> Option<u64> {
    let mut pairs = Pairs { graph, known: HashMap::new(), looked: 0 };
    pairs.cost(0, value, 0).map(|(steps, _)| steps)
}

/// How large a value is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) nodes: u64,
    bytes: u64,
    depth: u64,
    /// The elements of the longest list.
    longest: usize,
    /// The longest pointer to a part, in bytes.
    pub(super) pointer_bytes: usize,
}

impl Size {
    pub(super) fn of(value: &Value) -> Self {
        let mut size = Self::default();
        let mut stack = vec![(value, 1_u64, 0_usize)];
        while let Some((value, depth, pointer)) = stack.pop() {
            size.nodes += 1;
            size.depth = size.depth.max(depth);
            size.pointer_bytes = size.pointer_bytes.max(pointer);
            match value {
                Value::String(text) => size.bytes += text.len() as u64,
                Value::Array(elements) => {
                    size.longest = size.longest.max(elements.len());
                    // An index has no more digits than this.
                    stack.extend(elements.iter().map(|element| (element, depth + 1, pointer + 10)));
                }
                Value::Object(members) => {
                    size.bytes += names_bytes(members);
                    let parts = members.iter();
                    stack.extend(parts.map(|(name, part)| (part, depth + 1, pointer + name.len() + 1)));
                }
                _ => {}
            }
        }
        size
    }

    /// The steps of comparing a list of this size, and so many elements, with itself.
    fn compared(&self, elements: usize) -> u64 {
        (self.nodes + self.bytes / 16).saturating_mul(unique::comparisons(elements))
    }
}

fn names_bytes(members: &serde_json::Map<String, Value>) -> u64 {
    members.keys().map(|name| name.len() as u64).sum()
}

/// Counts pairs of subschema and value, each once however often it is reached.
struct Pairs<'g> {
    graph: &'g Graph,
    /// Steps and height, by subschema and the value's address, which is its identity while it is borrowed.
    known: HashMap<(Id, usize), (u64, u64)>,
    /// Steps of counting itself.
    looked: u64,
}

impl Pairs<'_> {
    /// Steps, and how many pairs are one behind the other; `None` when there are too many of either.
    fn cost(&mut self, id: Id, value: &Value, above: u64) -> Option<(u64, u64)> {
        self.looked += 1;
        if self.looked > WORK_MAX {
            return None;
        }
        let (steps, height) = match value {
            Value::Array(_) | Value::Object(_) => self.of_parts(id, value, above)?,
            scalar => {
                let flat = self.graph.flat(id);
                let length = scalar.as_str().map_or(0, str::len) as u64;
                let text = flat.text.saturating_mul(length.div_ceil(16));
                (flat.steps.saturating_add(text), flat.height)
            }
        };
        (steps <= WORK_MAX && above + height <= HEIGHT_MAX).then_some((steps, height))
    }

    fn of_parts(&mut self, id: Id, value: &Value, above: u64) -> Option<(u64, u64)> {
        let key = (id, std::ptr::from_ref(value).addr());
        if let Some(known) = self.known.get(&key) {
            return Some(*known);
        }
        let graph = self.graph;
        let sub = graph.get(id)?;
        if self.known.len() >= PAIRS_MAX || above >= HEIGHT_MAX {
            return None;
        }
        let mut sum = Sum { steps: sub.own_cost, height: 0 };
        for (to, times) in &sub.in_place {
            sum.add(self.cost(*to, value, above + 1)?, *times);
        }
        match value {
            Value::Object(members) => self.members(sub, members, above, &mut sum)?,
            Value::Array(elements) => self.elements(sub, value, elements, above, &mut sum)?,
            _ => {}
        }
        let cost = (sum.steps.saturating_mul(sub.factor), sum.height + 1);
        self.known.insert(key, cost);
        Some(cost)
    }

    fn members(
        &mut self,
        sub: &Sub,
        members: &serde_json::Map<String, Value>,
        above: u64,
        sum: &mut Sum,
    ) -> Option<()> {
        let (count, bytes) = (members.len() as u64, names_bytes(members));
        // Sixteen bytes are begun by each name.
        let sixteens = bytes / 16 + count;
        sum.spend(count.saturating_add(sub.name_cost.saturating_mul(sixteens)));
        if let Some(names) = sub.names {
            let flat = self.graph.flat(names);
            let steps = flat.steps.saturating_mul(count);
            sum.add((steps.saturating_add(flat.text.saturating_mul(sixteens)), flat.height), 1);
        }
        for (name, member) in members {
            for to in sub.properties.get(name).copied().into_iter().chain(sub.other_members()) {
                sum.add(self.cost(to, member, above + 1)?, 1);
            }
        }
        Some(())
    }

    fn elements(
        &mut self,
        sub: &Sub,
        list: &Value,
        elements: &[Value],
        above: u64,
        sum: &mut Sum,
    ) -> Option<()> {
        sum.spend(elements.len() as u64);
        if sub.whole_cost > 0 {
            let size = Size::of(list);
            self.looked = self.looked.saturating_add(size.nodes);
            sum.spend(size.compared(elements.len()).saturating_mul(sub.whole_cost));
        }
        for (index, element) in elements.iter().enumerate() {
            for to in sub.prefix.get(index).copied().into_iter().chain(sub.elements()) {
                sum.add(self.cost(to, element, above + 1)?, 1);
            }
        }
        Some(())
    }
}

/// What a pair costs with all below it.
struct Sum {
    steps: u64,
    height: u64,
}

impl Sum {
    fn spend(&mut self, steps: u64) {
        self.steps = self.steps.saturating_add(steps);
    }

    fn add(&mut self, (steps, height): (u64, u64), times: u64) {
        self.spend(steps.saturating_mul(times));
        self.height = self.height.max(height);
    }
}
