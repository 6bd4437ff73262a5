//! The scan of a package's code: this same program, started in a sandbox that shows it the package and nothing else.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ringfence::scan::{self, Report};

use crate::print;
use crate::text::one_line;

/// The hidden verb; a test holds it to the grammar.
const VERB: &str = "scan-code";
/// How many findings are told with an act that is not about them.
const TOLD_MAX: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct ScanCodeArguments {
    /// The directory of the package
    package: PathBuf,
}

/// Scans, and writes what was seen for the process that started it.
pub(crate) fn run(arguments: &ScanCodeArguments) -> ExitCode {
    match scan::answer(&arguments.package, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// The words that start this program for a scan; `None` when the system does not say where it is.
pub(crate) fn words() -> Option<[OsString; 2]> {
    std::env::current_exe().ok().map(|program| [program.into(), VERB.into()])
}

/// What is told of a scan beside something else, one finding a line.
pub(crate) fn told(report: &Report) -> Vec<String> {
    scan::lines(report, TOLD_MAX).iter().map(|line| format!("scan: {}", one_line(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_verb_is_one_of_the_grammar_and_hidden() {
        let grammar = crate::Arguments::command();
        let verb = grammar.get_subcommands().find(|verb| verb.get_name() == VERB).unwrap();
        assert!(verb.is_hide_set());
        assert_eq!(words().unwrap()[1], VERB);
    }

    #[test]
    fn what_is_told_is_short_and_can_be_shown() {
        let code = "exec(x) # \u{202e}\n".repeat(100);
        let report = scan::scan_file("a\u{1b}.py", code.as_bytes()).judged(None);
        let told = told(&report);
        assert_eq!(told.len(), TOLD_MAX + 1);
        assert!(told[0].starts_with("scan: a\\u{1b}.py:1 "), "{}", told[0]);
        assert!(told.iter().all(|line| !line.chars().any(char::is_control)), "{told:?}");
        assert!(told[TOLD_MAX].ends_with(" more"), "{told:?}");
    }
}
