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
    assert_eq!(text(&output.stderr), "2 errors, 0 warnings; scanned 2 files in a sandbox\n");
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

/// A package whose code does what its manifest does not ask for, and that holds traps for whoever looks at it.
fn hostile() -> tempfile::TempDir {
    let directory = package(&format!("{WARNED}tools: [{{ name: t, description: d }}]\n"));
    let path = |name: &str| directory.path().join("p").join(name);
    std::fs::write(
        path("a.py"),
        "from os import system as s\ns('x')\ngetattr(__import__('os'), 're' + 'move')('y')\n",
    )
    .unwrap();
    std::fs::write(path("deep.js"), format!("{}\nrequire('child_process').exec('x');\n", "(".repeat(10_000)))
        .unwrap();
    std::fs::File::create(path("large.py")).unwrap().set_len(100_000_000).unwrap();
    std::fs::write(path("nul.sh"), b"\0\xff\xfe\nrm x\n").unwrap();
    std::fs::write(path("program.py"), b"\x7fELF\x02\x01\x01 and nothing behind it").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path("link.py")).unwrap();
    assert!(Command::new("mkfifo").arg(path("pipe.py")).status().unwrap().success());
    directory
}

#[test]
fn the_code_is_scanned_in_a_sandbox_and_warnings_do_not_change_the_status() {
    let directory = hostile();
    let output = ringfence(directory.path(), &["check", "p"]);
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{told}");
    assert!(told.contains("0 errors") && told.ends_with("files in a sandbox\n"), "{told}");
    for line in [
        "p/a.py:2:1 runs-programs warning: 'os.system' starts other programs; that needs subprocess:execute",
        "p/a.py:3:1 deletes-files warning: 'os.remove' deletes or renames files; that needs file:delete",
        "p/a.py:3:1 assembled-name warning: 'os.remove' ",
        "p/deep.js:2:1 runs-programs warning: ",
        "p/large.py:1:1 not-read note: this file is larger than 1048576 bytes",
        "p/nul.sh:2:1 deletes-files warning: ",
        "p/program.py:1:1 disguised-file warning: ",
        "p/program.py:1:1 not-read note: this file is a damaged ELF file",
        "p/link.py:1:1 not-read note: not read: it is a link, which is not followed",
        "p/pipe.py:1:1 not-read note: not read: it is no regular file",
    ] {
        assert!(said.lines().any(|one| one.starts_with(line)), "{line}\n\n{said}");
    }
    // By a name that is a link.
    std::os::unix::fs::symlink("p", directory.path().join("q")).unwrap();
    let output = ringfence(directory.path(), &["check", "q"]);
    assert!(text(&output.stdout).contains("q/a.py:2:1 runs-programs"), "{}", text(&output.stderr));
}

#[test]
fn findings_of_the_scan_are_in_json_and_sarif() {
    let directory = hostile();
    let output = ringfence(directory.path(), &["check", "p", "--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = findings.as_array().unwrap().iter().find(|one| one["rule"] == "runs-programs").unwrap();
    assert_eq!((&found["file"], &found["line"], &found["column"]), (&"p/a.py".into(), &2.into(), &1.into()));
    assert_eq!((&found["severity"], &found["implies"]), (&"warning".into(), &"subprocess:execute".into()));
    let output = ringfence(directory.path(), &["check", "p", "--format", "sarif"]);
    assert_eq!(output.status.code(), Some(0));
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let found = results.iter().find(|one| one["ruleId"] == "deletes-files").unwrap();
    assert_eq!(
        (&found["level"], &found["properties"]["implies"]),
        (&"warning".into(), &"file:delete".into())
    );
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["id"] == "deletes-files").unwrap();
    assert_eq!(rule["shortDescription"]["text"], "The code deletes or renames files.");
}
