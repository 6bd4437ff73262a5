//! What must hold when the scan looks at any file. The fuzz targets and an ordinary test of the scan call the same functions.

use ringfence_scan::limits::{FINDINGS_MAX, NOT_READ_MAX};
use ringfence_scan::{Raw, rule, scan_file};

/// Source text of a language that the first byte chooses.
pub fn source(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let names = ["a.py", "a.js", "a.ts", "a.tsx", "a.sh", "a.md", "setup.py", "package.json", "a"];
    look(names[usize::from(*first) % names.len()], rest);
}

/// A file that is known by how it begins.
pub fn binary(data: &[u8]) {
    look("a", data);
}

/// What the process that scans says, or whoever took its place.
pub fn answer(data: &[u8]) {
    let Ok(raw) = Raw::from_json(data) else { return };
    let report = raw.judged(None);
    assert!(report.findings.len() <= FINDINGS_MAX && report.not_read.len() <= NOT_READ_MAX);
}

fn look(name: &str, content: &[u8]) {
    let raw = scan_file(name, content);
    assert_eq!(Raw::from_json(&raw.to_json()).expect("its own form"), raw);
    let lines = content.iter().filter(|byte| **byte == b'\n').count() + 1;
    let report = raw.clone().judged(None);
    assert!(report.findings.len() <= FINDINGS_MAX);
    for finding in &report.findings {
        assert!(rule(finding.rule).is_some() && finding.file == name, "{finding:?}");
        assert!(finding.line >= 1 && finding.line as usize <= lines, "{finding:?} of {lines} lines");
        assert!(finding.column >= 1 && finding.column as usize <= content.len() + 1, "{finding:?}");
        assert!(finding.message.len() < 2_000, "{}", finding.message.len());
    }
    assert_eq!(scan_file(name, content), raw, "the same file, another answer");
}
