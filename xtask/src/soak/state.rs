//! The loop `state`: kills whatever changes the store at every write, synchronisation and rename, through the tests that do it
//! at a sample of the points on each change.
//!
//! Three tests: the commands of the release binary, each change of a daemon over HTTP, and the steps of the library one by one with
//! the audit trail checked.

use super::account::Account;
use super::{Figure, Held, Setting};
use crate::failure::Failure;
use crate::process;

/// Package, kind of target, the test with all points, and the one with a sample.
const TESTS: [(&str, &[&str], &str, &str); 3] = [
    (
        "ringfence-tests",
        &["--test", "plugins"],
        "state_kill::state_01_every_point",
        "state_kill::state_01_killed_at_some_points_there_is_the_old_state_or_the_new_one",
    ),
    (
        "ringfence-cli",
        &["--test", "plugins"],
        "daemon_kill::state_01_every_point_of_the_daemon",
        "daemon_kill::state_01_a_daemon_killed_at_some_points_has_the_old_state_or_the_new_one",
    ),
    (
        "ringfence",
        &["--lib"],
        "lifecycle::durable::kill_tests::every_point",
        "lifecycle::durable::kill_tests::killed_at_some_points_there_is_the_old_state_or_the_new_one",
    ),
];

/// What a line about one step holds.
const TOLD: &str = ": killed at ";

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    // The tests choose their own users.
    if *account != Account::Caller {
        return Ok(Vec::new());
    }
    let mut figures = Vec::new();
    for (package, target, all, sample) in TESTS {
        let name = if setting.quick { sample } else { all };
        let mut command = process::cargo();
        command.args(["test", "--quiet", "--package", package]).args(target).args(["--", "--exact", name]);
        if !setting.quick {
            command.args(["--ignored", "--nocapture"]);
        }
        let output = process::output(command.env("RINGFENCE_BIN", &setting.binary))?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        figures
            .extend(steps(&text).map(|(step, told)| Figure::information(format!("{package}: {step}"), told)));
        let ran = text.contains("1 passed");
        let skipped = text.contains("skipped: needs");
        let value = match (output.status.success() && ran, skipped) {
            (true, false) => "0".to_owned(),
            (true, true) => "none was tried: it needs strace".to_owned(),
            (false, _) => format!("see `{}`", process::shown(&command)),
        };
        let held = Held::from(value == "0");
        figures.push(Figure::promised(format!("{package}: points with another state"), value, "0", held));
    }
    Ok(figures)
}

/// Lines such as `install: killed at 90 points, 12 of them left the new state`.
fn steps(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(TOLD)).map(|(step, told)| (step.trim(), told.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tests_tell_is_found_between_other_lines() {
        let text = "\nrunning 1 test\ninstall: killed at 9 points, 3 of them left the new state\n.\ntest result: ok. 1 passed";
        assert_eq!(steps(text).collect::<Vec<_>>(), [("install", "9 points, 3 of them left the new state")]);
    }
}
