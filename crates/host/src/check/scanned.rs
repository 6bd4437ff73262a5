//! What the scan of the code says, as findings like the others.

use std::path::Path;

use crate::manifest::{Finding, Severity};
use crate::scan::{self, Ran, Report};

/// How many files that were not read are named.
const NOT_READ_MAX: usize = 50;

pub(super) fn findings(package: &Path, report: &Report) -> Vec<Finding> {
    let of_file = |rule, severity, file: &Path, message: String| Finding {
        severity,
        ..Finding::of_file(rule, file, message)
    };
    if let Ran::NotRun(why) = &report.ran {
        let message = format!("the code was not scanned: {why}");
        return vec![of_file("not-scanned", Severity::Warning, package, message)];
    }
    let mut findings: Vec<Finding> =
        report.findings.iter().map(|finding| converted(package, finding)).collect();
    let said =
        |file: &str| report.findings.iter().any(|finding| finding.rule == "not-read" && finding.file == file);
    let unsaid: Vec<_> = report.not_read.iter().filter(|one| !said(&one.file)).collect();
    for one in unsaid.iter().take(NOT_READ_MAX) {
        let message = format!("not read: it {}", one.why);
        findings.push(of_file("not-read", Severity::Note, &package.join(&one.file), message));
    }
    let more = u64::try_from(unsaid.len().saturating_sub(NOT_READ_MAX)).unwrap_or(u64::MAX);
    let more = more.saturating_add(report.more_not_read);
    if more > 0 {
        findings.push(of_file(
            "not-read",
            Severity::Note,
            package,
            format!("{more} more files were not read"),
        ));
    }
    if report.more_findings > 0 {
        let message = format!("the scan has {} more findings like these", report.more_findings);
        findings.push(of_file("more-findings", Severity::Note, package, message));
    }
    findings
}

fn converted(package: &Path, finding: &scan::Finding) -> Finding {
    Finding {
        severity: match finding.severity {
            scan::Severity::Note => Severity::Note,
            scan::Severity::Warning => Severity::Warning,
        },
        rule: finding.rule,
        file: package.join(&finding.file),
        line: finding.line,
        column: finding.column,
        message: finding.message.clone(),
        implies: finding.implies.clone(),
    }
}
