//! Walks a value with all subschemas that judge each part of it, in counted steps.

use serde_json::Value;

use super::graph::{Graph, Id, Sub};

/// The deepest value that is walked; a configuration is far from it.
pub(super) const DEPTH_MAX: usize = 64;
/// The most steps of one walk. A configuration of the largest size takes fewer by any sensible schema.
pub(super) const STEPS_MAX: u64 = 4_000_000;

/// One walk: it ends where its steps do.
pub(super) struct Walk<'g> {
    pub(super) graph: &'g Graph,
    steps: u64,
    /// For each subschema the last set that it was put into: a mark costs no search.
    marks: Vec<u64>,
    sets: u64,
}

/// The steps are used up, or the value is too deep.
#[derive(Debug)]
pub(super) struct TooFar;

impl<'g> Walk<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        Self { graph, steps: 0, marks: vec![0; graph.subs.len()], sets: 0 }
    }

    /// The steps that were taken.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Counts steps before they are taken.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), TooFar> {
        self.steps = self.steps.saturating_add(steps as u64);
        if self.steps > STEPS_MAX { Err(TooFar) } else { Ok(()) }
    }

    /// All subschemas that judge what these judge, each once.
    pub(super) fn spread(&mut self, ids: impl IntoIterator<Item = Id>) -> Result<Vec<&'g Sub>, TooFar> {
        self.sets += 1;
        let (graph, mut all) = (self.graph, Vec::new());
        for id in ids {
            let closure = graph.closure(id);
            self.spend(1 + closure.len())?;
            for id in closure {
                let (Some(mark), Some(sub)) = (self.marks.get_mut(*id), graph.get(*id)) else { continue };
                if *mark != self.sets {
                    *mark = self.sets;
                    all.push(sub);
                }
            }
        }
        Ok(all)
    }

    /// The subschemas of a member, by all that judge the object.
    pub(super) fn of_member(&mut self, subs: &[&'g Sub], name: &str) -> Result<Vec<&'g Sub>, TooFar> {
        let mut ids = Vec::new();
        for sub in subs {
            self.spend(1)?;
            let named = sub.properties.get(name).copied();
            let known = ids.len();
            ids.extend(named);
            for (pattern, id) in &sub.patterns {
                self.spend(1 + name.len() / 4)?;
                if pattern.matches(name) {
                    ids.push(*id);
                }
            }
            if ids.len() == known {
                ids.extend(&sub.additional);
            }
        }
        self.spread(ids)
    }

    /// The subschemas of an element.
    pub(super) fn of_element(&mut self, subs: &[&'g Sub], index: usize) -> Result<Vec<&'g Sub>, TooFar> {
        let mut ids = Vec::new();
        for sub in subs {
            self.spend(1 + sub.some_elements.len())?;
            ids.extend(sub.prefix.get(index).copied().or(sub.items));
            ids.extend(&sub.some_elements);
        }
        self.spread(ids)
    }
}

/// Steps of copying a value.
pub(super) fn copied(value: &Value) -> usize {
    let (mut steps, mut stack) = (0, vec![value]);
    while let Some(value) = stack.pop() {
        steps += 1;
        match value {
            Value::String(text) => steps += text.len() / 16,
            Value::Array(elements) => stack.extend(elements),
            Value::Object(members) => {
                steps += members.keys().map(|name| 1 + name.len() / 16).sum::<usize>();
                stack.extend(members.values());
            }
            _ => {}
        }
    }
    steps
}
