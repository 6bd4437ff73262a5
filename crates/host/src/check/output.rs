//! Findings as text, JSON and SARIF 2.1.0.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::manifest::{Finding, Severity};

/// One finding a line: `FILE:LINE:COLUMN RULE MESSAGE`, with `warning:` or `note:` before the message of what is no error.
/// Empty when there is none.
///
/// ```
/// assert_eq!(ringfence::check::text(&[]), "");
/// ```
#[must_use]
pub fn text(findings: &[Finding]) -> String {
    let line = |finding: &Finding| match finding.severity {
        Severity::Error => format!("{finding}\n"),
        other => {
            format!("{}\n", Finding { message: format!("{other}: {}", finding.message), ..finding.clone() })
        }
    };
    findings.iter().map(line).collect()
}

/// A JSON array of `{severity, rule, file, line, column, message}`.
///
/// ```
/// assert_eq!(ringfence::check::json(&[]), serde_json::json!([]));
/// ```
#[must_use]
pub fn json(findings: &[Finding]) -> Value {
    findings
        .iter()
        .map(|finding| {
            json!({
                "severity": finding.severity.as_str(),
                "rule": finding.rule,
                "file": finding.file.display().to_string(),
                "line": finding.line,
                "column": finding.column,
                "message": finding.message,
            })
        })
        .collect()
}

/// A SARIF 2.1.0 log with one run, as code hosts and editors read it.
///
/// ```
/// assert_eq!(ringfence::check::sarif(&[])["version"], "2.1.0");
/// ```
#[must_use]
pub fn sarif(findings: &[Finding]) -> Value {
    let rules: BTreeSet<&str> = findings.iter().map(|finding| finding.rule).collect();
    let rules: Vec<Value> = rules.into_iter().map(|rule| json!({ "id": rule })).collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let uri = uri(&finding.file);
            json!({
                "ruleId": finding.rule,
                "level": finding.severity.as_str(),
                "message": { "text": finding.message },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": uri },
                        "region": { "startLine": finding.line, "startColumn": finding.column },
                    },
                }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "ringfence", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A path as a URI reference (RFC 3986): what is not plain is percent-encoded.
fn uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from(if path.is_absolute() { "file://" } else { "" });
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
