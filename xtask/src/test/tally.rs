//! Counts what test programs say while showing it: passed, failed, skipped.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use crate::failure::Failure;
use crate::process;

/// How a test says that it did not run; the rest of the line is the name of the need.
const SKIPPED: &str = "skipped: needs ";

/// Totals over all test programs of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// One line per skipped test: its name and what it needs.
    skipped: Vec<String>,
    /// What was said past the test program's capture, on the real stderr and so without the name of a test: how often
    /// each need was missed.
    said: BTreeMap<String, u64>,
    /// The test whose output is being read, while the output of tests that passed goes by.
    passing: Option<String>,
}

impl Tally {
    /// Runs a test command, shows its output and counts.
    ///
    /// # Errors
    /// When it cannot be started or its output cannot be read.
    pub(crate) fn watch(&mut self, command: &mut Command) -> Result<ExitStatus, Failure> {
        let name = process::shown(command);
        let cannot = |error| Failure::of(&name, error);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(cannot)?;
        let said = child.stderr.take().map(|pipe| thread::spawn(move || pass_on(pipe)));
        if let Some(pipe) = child.stdout.take() {
            for line in BufReader::new(pipe).split(b'\n') {
                let line = line.map_err(cannot)?;
                let line = String::from_utf8_lossy(&line);
                if self.take(&line) {
                    println!("{line}");
                }
            }
        }
        for need in said.and_then(|thread| thread.join().ok()).unwrap_or_default() {
            *self.said.entry(need).or_default() += 1;
        }
        child.wait().map_err(cannot)
    }

    /// Counts what is left out as a whole for want of something, and says so.
    pub(crate) fn skip(&mut self, need: &str) {
        println!("{SKIPPED}{need}");
        *self.said.entry(need.to_owned()).or_default() += 1;
    }

    /// Counts one line. Says whether a person wants to see it.
    fn take(&mut self, line: &str) -> bool {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passing = None;
            self.passed += number_before(counts, " passed");
            self.failed += number_before(counts, " failed");
            self.ignored += number_before(counts, " ignored");
            return true;
        }
        if let Some((passed, failed)) = plain_sum(line) {
            self.passed += passed;
            self.failed += failed;
            return true;
        }
        if line == "failures:" {
            self.passing = None;
            return true;
        }
        if line == "successes:" {
            self.passing = Some(String::new());
            return false;
        }
        let Some(test) = &mut self.passing else { return true };
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            name.clone_into(test);
        } else if let Some(need) = line.strip_prefix(SKIPPED) {
            let skipped = format!("{test}: needs {need}");
            // A test may try several things and say it more than once; it is one test.
            if !self.skipped.contains(&skipped) {
                self.skipped.push(skipped);
            }
        }
        false
    }
}

/// The closing line of a test runner of another language: `N passed, N failed`, alone.
fn plain_sum(line: &str) -> Option<(u64, u64)> {
    let (passed, failed) = line.strip_suffix(" failed")?.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.parse().ok()?))
}

/// Shows the lines of a stderr, and hands back the needs that were missed in it.
fn pass_on(pipe: impl Read) -> Vec<String> {
    let mut needs = Vec::new();
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        match line.split_once(SKIPPED) {
            Some((_, need)) => needs.push(need.trim().to_owned()),
            None => eprintln!("{line}"),
        }
    }
    needs
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.skipped {
            writeln!(out, "skipped {line}")?;
        }
        for (need, times) in &self.said {
            writeln!(out, "skipped {times} times: needs {need}")?;
        }
        // The test program counts a skipped test as passed. What was said without a name may be a part of a test.
        let named = u64::try_from(self.skipped.len()).unwrap_or(u64::MAX);
        let passed = self.passed.saturating_sub(named);
        let skipped = named + self.said.values().sum::<u64>() + self.ignored;
        write!(out, "{passed} passed, {} failed, {skipped} skipped", self.failed)
    }
}

/// The number that stands directly before `word`.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.find(word).and_then(|at| text.get(..at)).unwrap_or_default();
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_sum_of_another_runner_counts_and_one_with_a_name_does_not() {
        let mut tally = Tally::default();
        for line in
            ["sdk/python: 7 passed, 0 failed", "12 passed, 3 failed", "12 passed, 3 failed, 1 skipped"]
        {
            tally.take(line);
        }
        assert_eq!((tally.passed, tally.failed), (12, 3));
    }

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test b ... ok
test c ... FAILED

successes:

---- a stdout ----
skipped: needs java
skipped: needs java

---- b stdout ----
all is well, and nothing here was skipped: needs nothing


successes:
    a
    b

failures:

---- c stdout ----
skipped: needs cc is what it says, but it failed

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
running 12 tests
test result: ok. 11 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn what_is_left_out_as_a_whole_is_counted() {
        let mut tally = Tally::default();
        tally.skip("node");
        assert_eq!(tally.to_string(), "skipped 1 times: needs node\n0 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn counts_add_up_over_programs_and_a_skipped_test_is_not_passed() {
        let mut tally = Tally::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| tally.take(line)).collect();
        assert_eq!(tally.to_string(), "skipped a: needs java\n12 passed, 1 failed, 2 skipped");
        assert!(shown.contains(&"test c ... FAILED") && shown.contains(&"---- c stdout ----"), "{shown:?}");
        assert!(!shown.contains(&"skipped: needs java"), "{shown:?}");
    }

    #[test]
    fn what_is_said_on_the_real_stderr_is_counted_by_need() {
        let mut tally = Tally::default();
        let script = "echo skipped: needs node >&2; echo 'test b ... skipped: needs node' >&2; echo 'test result: ok. 3 passed; 0 failed; 0 ignored'";
        assert!(tally.watch(process::program("sh").args(["-c", script])).unwrap().success());
        assert_eq!(tally.to_string(), "skipped 2 times: needs node\n3 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn a_run_without_tests_counts_nothing() {
        assert_eq!(Tally::default().to_string(), "0 passed, 0 failed, 0 skipped");
    }
}
