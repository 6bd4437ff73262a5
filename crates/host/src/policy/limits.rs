//! Ceilings over the limits of plugins.

use std::collections::BTreeMap;

use ringfence_policy::{Ceilings, Placed};

use crate::config::PluginLimits;

/// The limits under these ceilings, and the line of each ceiling that lowered one, by the name of the field.
pub(crate) fn clamp(
    given: &PluginLimits,
    ceilings: &Ceilings,
) -> (PluginLimits, BTreeMap<&'static str, usize>) {
    let mut limits = given.clone();
    let mut lowered = BTreeMap::new();
    let mut note = |name, line| {
        lowered.insert(name, line);
    };
    bound(&mut limits.init_timeout, &ceilings.init_timeout, "init_timeout_ms", &mut note);
    bound(&mut limits.call_timeout, &ceilings.call_timeout, "call_timeout_ms", &mut note);
    bound(&mut limits.log_bytes, &ceilings.log_bytes, "log_bytes", &mut note);
    bound(&mut limits.data_bytes, &ceilings.data_bytes, "data_bytes", &mut note);
    bound(&mut limits.data_keys, &ceilings.data_keys, "data_keys", &mut note);
    bound(&mut limits.queued_calls, &ceilings.queued_calls, "queued_calls", &mut note);
    liftable(&mut limits.memory_bytes, &ceilings.memory_bytes, "memory_bytes", &mut note);
    liftable(&mut limits.processes, &ceilings.processes, "processes", &mut note);
    liftable(&mut limits.file_size_bytes, &ceilings.file_size_bytes, "file_size_bytes", &mut note);
    liftable(&mut limits.open_files, &ceilings.open_files, "open_files", &mut note);
    let mut percent = limits.cpu_percent.map(u64::from);
    liftable(&mut percent, &ceilings.cpu_percent, "cpu_percent", &mut note);
    limits.cpu_percent = percent.and_then(|percent| u32::try_from(percent).ok());
    (limits, lowered)
}

type Note<'a> = &'a mut dyn FnMut(&'static str, usize);

fn bound<T: Ord + Clone>(limit: &mut T, ceiling: &Option<Placed<T>>, name: &'static str, note: Note<'_>) {
    if let Some(ceiling) = ceiling
        && ceiling.value < *limit
    {
        *limit = ceiling.value.clone();
        note(name, ceiling.place.line);
    }
}

/// A limit that the configuration may lift: under a ceiling it cannot.
fn liftable(limit: &mut Option<u64>, ceiling: &Option<Placed<u64>>, name: &'static str, note: Note<'_>) {
    if let Some(ceiling) = ceiling
        && limit.is_none_or(|limit| ceiling.value < limit)
    {
        *limit = Some(ceiling.value);
        note(name, ceiling.place.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::Place;
    use std::time::Duration;

    #[test]
    fn a_ceiling_lowers_and_never_raises_and_a_lifted_limit_is_bounded_by_it() {
        fn at<T>(value: T, line: usize) -> Option<Placed<T>> {
            Some(Placed { value, place: Place { line, column: 1 } })
        }
        let ceilings = Ceilings {
            memory_bytes: at(100, 1),
            cpu_percent: at(50, 2),
            call_timeout: at(Duration::from_secs(3600), 3),
            init_timeout: at(Duration::from_secs(1), 4),
            processes: at(1_000, 5),
            ..Ceilings::default()
        };
        let given = PluginLimits { memory_bytes: None, ..PluginLimits::default() };
        let (limits, lowered) = clamp(&given, &ceilings);
        assert_eq!(
            (limits.memory_bytes, limits.cpu_percent, limits.processes),
            (Some(100), Some(50), Some(256))
        );
        assert_eq!((limits.call_timeout.as_secs(), limits.init_timeout.as_secs()), (300, 1));
        let lowered: Vec<_> = lowered.into_iter().collect();
        assert_eq!(lowered, [("cpu_percent", 2), ("init_timeout_ms", 4), ("memory_bytes", 1)]);
        assert_eq!(clamp(&given, &Ceilings::default()).0, given);
    }
}
