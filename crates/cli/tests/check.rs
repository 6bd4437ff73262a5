//! `check` and `new` as a person meets them: output, exit statuses, files.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test starts the built binary, and fails by panicking"
)]

use std::path::Path;
use std::process::{Command, Output};

fn ringfence(directory: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(words).current_dir(directory).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn package(manifest: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("p")).unwrap();
    std::fs::write(directory.path().join("p/plugin.yaml"), manifest).unwrap();
    std::fs::write(directory.path().join("p/a.py"), "").unwrap();
    directory
}

const WARNED: &str =
    "name: a\nversion: 1.0.0\nruntime: python\nentry_point: a.py\ndescription: d\nlicense: MIT\n";

#[test]
fn findings_are_lines_on_stdout_and_errors_end_with_one() {
    let directory = package("nmae: a\nversion: 1.0.0\nruntime: python\nentry_point: a.py\n");
    let output = ringfence(directory.path(), &["check", "p"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "p/plugin.yaml:1:1 unknown-field unknown field 'nmae'; did you mean 'name'?\n\
         p/plugin.yaml:1:1 missing-field 'name' is missing; such as 'translator'\n"
    );
    assert_eq!(text(&output.stderr), "2 errors, 0 warnings\n");
}

#[test]
fn warnings_end_with_zero_and_a_good_package_says_nothing() {
    let directory = package(WARNED);
    let output = ringfence(directory.path(), &["check", "p/plugin.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).starts_with("p/plugin.yaml:1:1 no-tools warning: "),
        "{}",
        text(&output.stdout)
    );
    let directory = package(&format!("{WARNED}tools: [{{ name: t, description: d }}]\n"));
    let output = ringfence(directory.path(), &["check", "."]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), ""));
}

#[test]
fn json_and_sarif_are_one_document() {
    let directory = package("nmae: a\n");
    for words in [&["check", "p", "--json"][..], &["check", "p", "--format", "json"]] {
        let output = ringfence(directory.path(), words);
        let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!((&findings[0]["rule"], &findings[0]["line"]), (&"unknown-field".into(), &1.into()));
        assert!(output.stderr.is_empty());
    }
    let output = ringfence(directory.path(), &["check", "p", "--format", "sarif"]);
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(place, "p/plugin.yaml");
}

#[test]
fn usage_and_missing_paths_have_their_own_statuses() {
    let directory = package(WARNED);
    assert_eq!(ringfence(directory.path(), &["check"]).status.code(), Some(2));
    assert_eq!(ringfence(directory.path(), &["check", "p", "--format", "xml"]).status.code(), Some(2));
    let missing = ringfence(directory.path(), &["check", "nothing"]);
    assert_eq!((missing.status.code(), text(&missing.stdout).as_str()), (Some(3), ""));
    let missing = ringfence(directory.path(), &["check", "nothing", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&missing.stdout).unwrap();
    assert_eq!((missing.status.code(), &document["error"]["code"]), (Some(3), &"path_not_found".into()));
}

#[test]
fn what_new_makes_passes_check_and_is_not_made_twice() {
    let directory = tempfile::tempdir().unwrap();
    for language in ["python", "node", "rust"] {
        let name = format!("my-{language}");
        let output = ringfence(directory.path(), &["new", "--lang", language, &name, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["directory"], name.as_str());
        assert_eq!(ringfence(directory.path(), &["check", &name]).status.code(), Some(0));
        assert_eq!(ringfence(directory.path(), &["new", "--lang", language, &name]).status.code(), Some(1));
    }
    assert_eq!(ringfence(directory.path(), &["new", "--lang", "python", "../x"]).status.code(), Some(2));
    assert_eq!(ringfence(directory.path(), &["new", "--lang", "cobol", "x"]).status.code(), Some(2));
    assert_eq!(ringfence(directory.path(), &["new", "x"]).status.code(), Some(2));
}
