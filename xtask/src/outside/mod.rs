//! `cargo xtask outside`: suites that others wrote, run inside the sandbox, and a table of their figures for SPECIFICATION.md.
//!
//! They come from packages of the system; nothing of them is in this project. What others' suites test of *sandboxes* is in
//! `tests/tests/product/outside` instead, as our own tests.

mod cpython;
mod selftests;
mod stressors;

use crate::arguments::{Arguments, Grammar};
use crate::failure::Failure;
use crate::soak::{self, Loop, Setting};
use crate::workspace;

pub(crate) const HELP: &str = "
cargo xtask outside [SUITE] [--quick] [--only NAME]

Runs suites that others wrote inside the sandbox, as root and as uid 65534 when started by root, and prints a Markdown
table of figures for SPECIFICATION.md:
  stress-ng  every stressor that the installed stress-ng has, a second each, with the ordinary limits, while a witness
             outside must be answered and nothing may be left behind
  cpython    all of CPython's own tests (Debian: libpython3.11-testsuite), bare and inside: the same tests pass, or the
             difference is in the list of explained ones; most of an hour, two modules at a time for each processor
  selftests  the kernel's own tests of landlock, seccomp and openat2, bare: what this kernel is worth, not what we are

  SUITE        only this suite; without it all of them
  --quick      a sample: one stressor in ten, one module in forty
  --only NAME  one stressor or one module

Exit status 0: every promise held; 1: one did not, or a suite could not run.
";

const SUITES: &[Loop] = &[
    Loop { name: "stress-ng", run: stressors::run },
    Loop { name: "cpython", run: cpython::run },
    Loop { name: "selftests", run: selftests::run },
];

pub(crate) fn run(given: &[String]) -> Result<(), Failure> {
    let grammar = Grammar { switches: &["--quick"], values: &["--only"], words: 1, program: false };
    let arguments = Arguments::parse(given, grammar)?;
    let chosen = arguments.words.first().map(String::as_str);
    if let Some(name) = chosen.filter(|name| SUITES.iter().all(|known| known.name != *name)) {
        let known: Vec<&str> = SUITES.iter().map(|known| known.name).collect();
        return Err(Failure::Usage(format!("there is no suite `{name}`; known: {}", known.join(", "))));
    }
    let only = arguments.value("--only").map(str::to_owned);
    if only.is_some() && chosen.is_none() {
        return Err(Failure::Usage("`--only` needs the suite that it is of".to_owned()));
    }
    let setting =
        Setting { binary: workspace::release_binary()?, quick: arguments.has("--quick"), seed: 0, only };
    let suites: Vec<&Loop> =
        SUITES.iter().filter(|known| chosen.is_none_or(|name| name == known.name)).collect();
    soak::tabulate("outside", &setting, &suites)
}

/// The names that `setting` asks for: one, a sample of every `nth`, or all.
///
/// # Errors
/// [`Failure::Usage`] when the one that was asked for is not there.
fn chosen(setting: &Setting, mut names: Vec<String>, nth: usize) -> Result<Vec<String>, Failure> {
    if let Some(only) = &setting.only {
        names.retain(|name| name == only);
        if names.is_empty() {
            return Err(Failure::Usage(format!("`--only {only}`: there is none of this name")));
        }
    } else if setting.quick {
        names = names.into_iter().step_by(nth).collect();
    }
    Ok(names)
}

/// A count with its names.
fn named(names: &[String]) -> String {
    if names.is_empty() { "0".to_owned() } else { format!("{} ({})", names.len(), names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(quick: bool, only: Option<&str>) -> Setting {
        Setting { binary: "/bin/true".into(), quick, seed: 0, only: only.map(str::to_owned) }
    }

    #[test]
    fn one_a_sample_or_all_are_chosen() {
        let names = || ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(chosen(&setting(false, None), names(), 2).unwrap(), ["a", "b", "c"]);
        assert_eq!(chosen(&setting(true, None), names(), 2).unwrap(), ["a", "c"]);
        assert_eq!(chosen(&setting(false, Some("b")), names(), 2).unwrap(), ["b"]);
        assert_eq!(chosen(&setting(false, Some("x")), names(), 2).unwrap_err().status(), 2);
    }

    #[test]
    fn an_unknown_suite_is_a_usage_error_that_lists_the_known_ones() {
        let failure = run(&["stres-ng".to_owned()]).unwrap_err();
        assert_eq!(failure.status(), 2);
        assert!(failure.text().unwrap_or_default().contains("stress-ng, cpython, selftests"));
    }
}
