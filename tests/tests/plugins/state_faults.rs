//! STATE-04: a disk that is full or fails at the k-th call of a whole command: one error, the old state or the new one, and a
//! home that works on when the disk does.

use crate::place::document;
use crate::state_kill::{Chosen, STEPS, Trials, points};

/// Points of each step.
const SAMPLED: usize = 2;

#[test]
fn state_04_a_disk_that_says_no() {
    let mut chosen = Chosen(0xd15c);
    let (mut tried, mut refused) = (0, 0);
    for step in STEPS {
        let Some(trials) = Trials::new() else { return };
        trials.prepare(step);
        trials.copy();
        let old = trials.state();
        let mut counts = trials.counts(step);
        // Those that a full or broken disk refuses. Not `write`: it also wakes threads, which no disk ever refuses; a disk
        // that is really full is `pkg_23_a_full_disk_leaves_nothing`.
        counts.retain(|call, _| !matches!(call.as_str(), "unlink" | "unlinkat" | "fchmod" | "write"));
        let new = trials.state();
        for (number, (call, k)) in chosen.some(points(&counts), SAMPLED).into_iter().enumerate() {
            let error = if number % 2 == 0 { "ENOSPC" } else { "EIO" };
            // Once, or from then on.
            let when = if number % 3 == 0 { format!("{k}+") } else { k.to_string() };
            let inject = format!("inject={call}:error={error}:when={when}");
            let run = trials.step(step, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
            let at = format!("{} with {error} at {call} {when}", step.name);
            assert!(run.signal.is_none() && !run.err().contains("panicked"), "{at}\n{run}");
            tried += 1;
            if run.code != Some(0) {
                refused += 1;
                assert!(document(&run)["error"]["message"].is_string(), "{at}\n{run}");
            }
            let found = trials.state();
            assert!(trials.is_whole(step, &found, &old, &new), "{at}: {found}\nold {old}\nnew {new}\n{run}");
            assert!(run.code != Some(0) || found == new, "{at}: answered, and not done\n{run}");
            trials.works_on(&found);
        }
    }
    assert_eq!(tried, STEPS.len() * SAMPLED);
    assert!(refused * 2 >= tried, "{refused} of {tried} were refused at all");
}
