//! The order of handlers, held against a second, plainer statement of the rule.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ringfence_api::{HookKind, OnFailure};

use super::registry::{Handler, order};

fn handler(plugin: &str, kind: HookKind, priority: i32) -> Handler {
    Handler {
        plugin: plugin.parse().unwrap(),
        owner: crate::store::Owner::new(plugin.parse().unwrap(), "test"),
        kind,
        priority,
        timeout: Duration::from_secs(5),
        on_failure: OnFailure::Skip,
        hidden: Vec::new(),
        needs: Vec::new(),
        held: None,
        run: None,
        breaker: Arc::default(),
        histogram: Arc::default(),
        rate: Arc::default(),
        per_second: None,
    }
}

fn rank(kind: HookKind) -> u8 {
    match kind {
        HookKind::Mutator => 0,
        HookKind::Guard => 1,
        HookKind::Observer => 2,
    }
}

/// Whether `a` is asked before `b`.
fn comes_first(a: &Handler, b: &Handler) -> bool {
    if rank(a.kind) != rank(b.kind) {
        return rank(a.kind) < rank(b.kind);
    }
    if a.priority != b.priority {
        return a.priority < b.priority;
    }
    a.plugin.as_str().as_bytes() < b.plugin.as_str().as_bytes()
}

fn handlers() -> impl Strategy<Value = Vec<Handler>> {
    let kind = prop_oneof![Just(HookKind::Mutator), Just(HookKind::Guard), Just(HookKind::Observer)];
    // Few names and priorities, so that there are ties.
    let one = ("[a-c]{1,2}(-[0-9])?", kind, prop_oneof![Just(50), -2..3, any::<i32>()]);
    prop::collection::vec(one, 0..24).prop_map(|all| {
        all.into_iter().map(|(name, kind, priority)| handler(&name, kind, priority)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn mutators_guards_observers_then_priority_then_name(mut all in handlers()) {
        let count = all.len();
        all.sort_by(|a, b| order(a).cmp(&order(b)));
        prop_assert_eq!(all.len(), count);
        for (index, earlier) in all.iter().enumerate() {
            for later in &all[index + 1..] {
                prop_assert!(!comes_first(later, earlier), "{later:?} stands behind {earlier:?}");
            }
        }
    }
}
