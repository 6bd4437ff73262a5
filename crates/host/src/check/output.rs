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

/// A JSON array of `{severity, rule, file, line, column, message}`, and `implies` for the permission that a finding of the
/// scan needs and the manifest does not ask for.
///
/// ```
/// assert_eq!(ringfence::check::json(&[]), serde_json::json!([]));
/// ```
#[must_use]
pub fn json(findings: &[Finding]) -> Value {
    findings
        .iter()
        .map(|finding| {
            let mut made = json!({
                "severity": finding.severity.as_str(),
                "rule": finding.rule,
                "file": finding.file.display().to_string(),
                "line": finding.line,
                "column": finding.column,
                "message": finding.message,
            });
            implied(&mut made, finding);
            made
        })
        .collect()
}

/// The permission that a finding implies, as a member.
fn implied(object: &mut Value, finding: &Finding) {
    if let (Some(object), Some(permission)) = (object.as_object_mut(), &finding.implies) {
        object.insert("implies".to_owned(), permission.as_str().into());
    }
}

/// A SARIF 2.1.0 log with one run, as code hosts and editors read it.
///
/// ```
/// assert_eq!(ringfence::check::sarif(&[])["version"], "2.1.0");
/// ```
#[must_use]
pub fn sarif(findings: &[Finding]) -> Value {
    let rules: BTreeSet<&str> = findings.iter().map(|finding| finding.rule).collect();
    let rules: Vec<Value> = rules.into_iter().map(described).collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let uri = uri(&finding.file);
            let mut made = json!({
                "ruleId": finding.rule,
                "level": finding.severity.as_str(),
                "message": { "text": finding.message },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": uri },
                        "region": { "startLine": finding.line, "startColumn": finding.column },
                    },
                }],
            });
            if finding.implies.is_some() {
                let mut properties = json!({});
                implied(&mut properties, finding);
                if let Some(made) = made.as_object_mut() {
                    made.insert("properties".to_owned(), properties);
                }
            }
            made
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

/// A rule, with what it means where the scan's table says so.
fn described(id: &str) -> Value {
    match crate::scan::rule(id) {
        Some(rule) => json!({ "id": id, "shortDescription": { "text": format!("The code {}.", rule.why) } }),
        None => json!({ "id": id }),
    }
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
