//! A schema as a graph of its subschemas: what refers to what, and how much work that can be.

use std::collections::BTreeMap;

use serde_json::Value;

use super::budget::Budget;
use super::builder::Builder;
use super::cost::{Cost, Costs};
use super::fault::SchemaError;
use super::pattern::Matcher;

/// The largest schema, in bytes of JSON.
pub const SCHEMA_MAX_BYTES: usize = 256 * 1024;
/// How deep a schema may nest.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// The most patterns in one schema: compiling one costs up to a millisecond.
pub const PATTERNS_MAX: usize = 200;
/// The most steps for one and the same value, references followed. The standard's own schema needs about 100.
const IN_PLACE_MAX: u64 = 10_000;
/// The most references one behind the other for one and the same value: each is a frame on the engine's stack.
const IN_PLACE_HEIGHT_MAX: u64 = 64;

/// The index of a subschema.
pub(super) type Id = usize;

/// One subschema.
#[derive(Debug, Default)]
pub(super) struct Sub {
    /// Subschemas that judge the same value: `allOf`, `$ref` and the like; with how many times they are run.
    pub(super) in_place: Vec<(Id, u64)>,
    /// Of the named members.
    pub(super) properties: BTreeMap<String, Id>,
    /// Of members whose name matches.
    pub(super) patterns: Vec<(Matcher, Id)>,
    /// Of members that neither of both is for.
    pub(super) additional: Vec<Id>,
    /// Of the names of members.
    pub(super) names: Option<Id>,
    /// Of the first elements.
    pub(super) prefix: Vec<Id>,
    /// Of the elements after those.
    pub(super) items: Option<Id>,
    /// Of some elements: `contains` and what was not evaluated.
    pub(super) some_elements: Vec<Id>,
    /// Steps of this subschema alone.
    pub(super) own_cost: u64,
    /// Steps for each 16 bytes of a text.
    pub(super) text_cost: u64,
    /// Steps for each 16 bytes of the names of an object.
    pub(super) name_cost: u64,
    /// How often a list is compared with itself: `uniqueItems`.
    pub(super) whole_cost: u64,
    /// How many times everything in place is run once more, for `unevaluated...`.
    pub(super) factor: u64,
    pub(super) default: Option<Value>,
    pub(super) write_only: bool,
}

impl Sub {
    pub(super) fn new() -> Self {
        Self { own_cost: 1, factor: 1, ..Self::default() }
    }

    /// What may judge a member that is not among `properties`, whatever its name.
    pub(super) fn other_members(&self) -> impl Iterator<Item = Id> + '_ {
        self.patterns.iter().map(|(_, id)| *id).chain(self.additional.iter().copied())
    }

    /// What may judge an element behind `prefix`.
    pub(super) fn elements(&self) -> impl Iterator<Item = Id> + '_ {
        self.items.iter().chain(&self.some_elements).copied()
    }

    /// Everything that judges a part of the value.
    fn below(&self) -> impl Iterator<Item = Id> + '_ {
        let members = self.properties.values().copied().chain(self.other_members()).chain(self.names);
        members.chain(self.prefix.iter().copied()).chain(self.elements())
    }
}

/// All subschemas; the first is the schema itself.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) subs: Vec<Sub>,
    /// For each subschema what it costs for one value without parts.
    flat: Vec<Cost>,
    /// For each subschema all that judge the same value, itself first, each once.
    closures: Vec<Box<[Id]>>,
    /// The whole schema unfolded; `None` when it contains itself.
    pub(super) unfolded: Option<Cost>,
    /// Whether a value can be judged by one of several, whose errors are then gathered one and all.
    pub(super) has_choices: bool,
}

impl Graph {
    pub(super) fn build(schema: &Value, budget: &mut Budget) -> Result<Self, SchemaError> {
        let Builder { subs, pointers, has_choices, .. } = Builder::build(schema, budget)?;
        let mut graph = Self { subs, flat: Vec::new(), closures: Vec::new(), unfolded: None, has_choices };
        graph.flat = graph.bound_in_place(&pointers, budget)?;
        graph.closures = graph.close(&pointers, budget)?;
        graph.unfolded = graph.unfold();
        Ok(graph)
    }

    pub(super) fn get(&self, id: Id) -> Option<&Sub> {
        self.subs.get(id)
    }

    /// All subschemas that judge the same value as this one, itself first.
    pub(super) fn closure(&self, id: Id) -> &[Id] {
        self.closures.get(id).map_or(&[], |all| all)
    }

    /// What a subschema costs for a value without parts.
    pub(super) fn flat(&self, id: Id) -> Cost {
        self.flat.get(id).copied().unwrap_or_default()
    }

    /// Refuses loops and explosions among subschemas that judge the same value.
    fn bound_in_place(&self, pointers: &[String], budget: &mut Budget) -> Result<Vec<Cost>, SchemaError> {
        let costs = Costs::of(&self.subs, &|sub| sub.in_place.clone());
        let place = |id: Id| pointers.get(id).cloned().unwrap_or_default();
        if let Some(id) = costs.looping {
            return Err(SchemaError::new(
                place(id),
                "the schema refers to itself for the same value, without end",
            ));
        }
        let all: Vec<Cost> = costs.all.into_iter().map(Option::unwrap_or_default).collect();
        if let Some(id) = all.iter().position(|cost| cost.steps > IN_PLACE_MAX) {
            let message =
                format!("the schema causes too much work: more than {IN_PLACE_MAX} steps for one value");
            return Err(SchemaError::new(place(id), message));
        }
        if let Some(id) = all.iter().position(|cost| cost.height > IN_PLACE_HEIGHT_MAX) {
            let message = format!(
                "the schema causes too much work: more than {IN_PLACE_HEIGHT_MAX} references one behind the other for one value"
            );
            return Err(SchemaError::new(place(id), message));
        }
        // For `unevaluated...` the engine unfolds what is in place once more, for each such subschema.
        for (id, (sub, cost)) in self.subs.iter().zip(&all).enumerate().filter(|(_, (sub, _))| sub.factor > 1)
        {
            let names = sub.properties.len() as u64;
            budget.spend(cost.steps.saturating_add(names), &place(id))?;
        }
        Ok(all)
    }

    /// Which subschemas judge the same value, for each, so that no walk of a value ever works it out again.
    fn close(&self, pointers: &[String], budget: &mut Budget) -> Result<Vec<Box<[Id]>>, SchemaError> {
        // The last subschema that found this one: a mark for each costs no search.
        let mut found_by: Vec<Option<Id>> = vec![None; self.subs.len()];
        let mut closures = Vec::with_capacity(self.subs.len());
        for start in 0..self.subs.len() {
            let mut all = vec![start];
            if let Some(mark) = found_by.get_mut(start) {
                *mark = Some(start);
            }
            let mut next = 0;
            while let Some(sub) = all.get(next).and_then(|id| self.subs.get(*id)) {
                next += 1;
                let place = pointers.get(start).map_or("", String::as_str);
                budget.spend(1 + sub.in_place.len() as u64, place)?;
                for (to, _) in &sub.in_place {
                    if let Some(mark) = found_by.get_mut(*to).filter(|mark| **mark != Some(start)) {
                        *mark = Some(start);
                        all.push(*to);
                    }
                }
            }
            closures.push(all.into_boxed_slice());
        }
        Ok(closures)
    }

    fn unfold(&self) -> Option<Cost> {
        let edges = |sub: &Sub| sub.in_place.iter().copied().chain(sub.below().map(|id| (id, 1))).collect();
        let costs = Costs::of(&self.subs, &edges);
        if costs.looping.is_some() { None } else { costs.all.first().copied().flatten() }
    }
}
