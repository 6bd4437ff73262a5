//! What the scan finds, rule by rule, and what it does with hostile packages.

mod aliases;
mod binaries;
mod files;
mod fixtures;
mod hostile;
mod page;
mod scripts;

use crate::limits::Budget;
use crate::report::{Raw, Report};

/// The report on a package of these files.
pub(super) fn report(files: &[(&str, &[u8])]) -> Report {
    raw(files).judged(None)
}

fn raw(files: &[(&str, &[u8])]) -> Raw {
    let package = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = package.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    crate::scan(&ringfence_sandbox::tree::Dir::open(package.path()).unwrap())
}

/// The rules that fire on one file, and the first line of each.
pub(super) fn fired(path: &str, content: &[u8]) -> Vec<(&'static str, u32)> {
    let mut fired: Vec<(&'static str, u32)> = Vec::new();
    for finding in report(&[(path, content)]).findings {
        if !fired.iter().any(|(rule, _)| *rule == finding.rule) {
            fired.push((finding.rule, finding.line));
        }
    }
    fired
}

#[test]
fn a_package_has_a_budget() {
    let budget = Budget::new();
    assert!(!budget.is_over() && budget.file_deadline() <= budget.deadline);
}
