//! The one place that prints: data on stdout, talk on stderr.

use std::process::ExitCode;

use crate::machine;
use crate::options::Options;
use crate::table::Table;

/// Prints `text` to stdout.
#[expect(clippy::print_stdout, reason = "what was measured is this program's data")]
pub fn data(text: &str) {
    println!("{text}");
}

/// Prints `text` to stderr.
#[expect(clippy::print_stderr, reason = "progress and refusals are for people")]
pub fn talk(text: &str) {
    eprintln!("{text}");
}

/// What another run of this program has printed and found, when it measured a part of the same thing.
#[derive(Debug, Default)]
pub struct OtherPart {
    /// Its stdout.
    pub text: String,
    /// Whether its targets failed under `--check`.
    pub failed: bool,
}

/// Prints the tables and gives the exit status: 1 only under `--check`, for a target missed by more than
/// [`crate::table::TOLERANCE`] or not measured.
#[must_use]
pub fn finish(options: &Options, tables: &[Table], other: &OtherPart) -> ExitCode {
    if options.json {
        let mut documents: Vec<String> = tables.iter().map(Table::json).collect();
        let theirs = other.text.trim().trim_start_matches('[').trim_end_matches(']');
        if !theirs.is_empty() {
            documents.push(theirs.to_owned());
        }
        data(&format!("[{}]", documents.join(",")));
    } else {
        if options.part.is_none() {
            data(&format!("{}\n", machine::describe()));
        }
        tables.iter().for_each(|table| data(&table.markdown()));
        if !other.text.is_empty() {
            data(other.text.trim_end());
        }
    }
    let held = tables.iter().all(|table| table.targets.iter().all(|target| table.verdict(target).passes()));
    ExitCode::from(u8::from(options.check && (!held || other.failed)))
}
