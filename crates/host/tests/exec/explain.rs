//! Refusals with their object and the grant that would help.

use ringfence_api::Denial;

use crate::{directory, sh};

fn find<'d>(denials: &'d [Denial], operation: &str) -> Option<&'d Denial> {
    denials.iter().find(|denial| denial.operation == operation)
}

#[test]
fn a_path_that_is_not_shown_is_named_with_its_grant() {
    let (_made, root) = directory();
    std::fs::write(root.join("a"), "x\n").unwrap();
    let mut exec = sh(&format!("read line < {}/a", root.display()));
    let report = exec.explain(true).run_captured().report;
    let denial = find(&report.denials, "file:read").unwrap_or_else(|| panic!("{:?}", report.denials));
    assert_eq!(denial.object, root.join("a").display().to_string());
    let grant = denial.grant.clone().unwrap();
    assert_eq!(grant, format!("file:read={}/a", root.display()));
    let granted = exec.grant(grant).run_captured().report;
    assert_eq!((granted.exit_code, find(&granted.denials, "file:read")), (Some(0), None));
    assert!(exec.explain(false).run_captured().report.denials.is_empty());
}

#[test]
fn starting_a_process_is_a_refusal_with_its_grant() {
    let report = sh("(exit 0)").run_captured().report;
    let denial = report.denials.iter().find(|denial| denial.grant.as_deref() == Some("subprocess:execute"));
    assert!(denial.is_some_and(|denial| denial.layer == "seccomp"), "{:?}", report.denials);
    let granted = sh("(exit 0)").grant("subprocess:execute").run_captured().report;
    assert!(granted.exit_code == Some(0) && granted.denials.is_empty(), "{:?}", granted.denials);
}
