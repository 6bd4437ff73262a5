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
fn a_package_has_a_budget_of_bytes_and_time() {
    let code = b"import os\nos.system('x')\n";
    let size = code.len() as u64;
    for (bytes_left, is_read) in [(size - 1, false), (size, true)] {
        let mut budget = Budget { bytes_left, ..Budget::new() };
        let found = crate::file::look("a.py", "a.py", &code[..], size, &mut budget);
        assert_eq!(found.not_read.is_none(), is_read, "{bytes_left} of {size} bytes are left");
    }
    let over = Budget { deadline: std::time::Instant::now(), ..Budget::new() };
    assert!(over.is_over() && over.file_deadline() <= over.deadline);
}
