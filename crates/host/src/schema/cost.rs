//! What a subschema costs together with everything that its references lead to.

use super::graph::{Id, Sub};

/// Steps, by what they depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// For each value.
    pub(super) steps: u64,
    /// For each 16 bytes of a text, or of the names of an object.
    pub(super) text: u64,
    /// How often a list is compared with itself as a whole.
    pub(super) whole: u64,
    /// How many subschemas one behind the other.
    pub(super) height: u64,
}

impl Cost {
    fn own(sub: &Sub) -> Self {
        let text = sub.text_cost.saturating_add(sub.name_cost);
        Self { steps: sub.own_cost, text, whole: sub.whole_cost, height: 1 }
    }

    fn times(self, factor: u64) -> Self {
        Self {
            steps: self.steps.saturating_mul(factor),
            text: self.text.saturating_mul(factor),
            whole: self.whole.saturating_mul(factor),
            height: self.height,
        }
    }

    fn and(self, below: Self) -> Self {
        Self {
            steps: self.steps.saturating_add(below.steps),
            text: self.text.saturating_add(below.text),
            whole: self.whole.saturating_add(below.whole),
            height: self.height.max(below.height.saturating_add(1)),
        }
    }
}

/// The costs of every subschema, along some of its edges.
pub(super) struct Costs {
    pub(super) all: Vec<Option<Cost>>,
    /// A subschema that leads to itself.
    pub(super) looping: Option<Id>,
}

impl Costs {
    /// Each subschema and each edge is visited once, without recursion: a chain of references can be as long as the schema.
    pub(super) fn of(subs: &[Sub], edges: &dyn Fn(&Sub) -> Vec<(Id, u64)>) -> Self {
        let mut costs = Self { all: vec![None; subs.len()], looping: None };
        let mut open = vec![false; subs.len()];
        for start in 0..subs.len() {
            let mut stack = vec![(start, false)];
            while let Some((id, done)) = stack.pop() {
                let Some(sub) = subs.get(id) else { continue };
                let (Some(is_open), Some(known)) = (open.get_mut(id), costs.all.get(id)) else { continue };
                if done {
                    *is_open = false;
                    let cost = edges(sub).into_iter().fold(Cost::own(sub), |sum, (to, times)| {
                        // What is not known is a loop, and that is refused or not unfolded.
                        sum.and(costs.all.get(to).copied().flatten().unwrap_or_default().times(times))
                    });
                    if let Some(slot) = costs.all.get_mut(id) {
                        *slot = Some(cost.times(sub.factor));
                    }
                } else if known.is_none() && !*is_open {
                    *is_open = true;
                    stack.push((id, true));
                    for (to, _) in edges(sub) {
                        if open.get(to).copied().unwrap_or_default() {
                            costs.looping = costs.looping.or(Some(to));
                        } else if costs.all.get(to).copied().flatten().is_none() {
                            stack.push((to, false));
                        }
                    }
                }
            }
        }
        costs
    }
}
