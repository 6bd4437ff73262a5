//! Packages that want to harm whoever looks at them.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use ringfence_sandbox::tree::Dir;

use super::{fired, report};
use crate::limits::{
    DEPTH_MAX, ENTRIES_MAX, FILE_TIME, FINDINGS_MAX, FINDINGS_PER_FILE_MAX, NOT_READ_MAX, SOURCE_MAX_BYTES,
};
use crate::report::{Hit, NotRead, Ran, Raw};
use crate::{Severity, blocking, rule};

/// More than a file may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn what_is_nested_deep_ends_and_what_follows_is_found() {
    let begun = Instant::now();
    for (file, open, close) in [
        ("a.py", "(", ")"),
        ("a.js", "[", "]"),
        ("a.ts", "(", ")"),
        ("a.sh", "$(", ")"),
        ("a.py", "a.", "b"),
        ("b.js", "`${", "}`"),
        ("c.js", "x ? y : ", "z"),
        ("b.py", "x if y else ", "z"),
        ("d.py", "-", "1"),
    ] {
        let deep = format!("{}{}\n", open.repeat(10_000), close.repeat(10_000));
        let report = report(&[(file, deep.as_bytes()), ("z.py", b"import os\nos.system('x')\n")]);
        assert!(report.findings.iter().any(|finding| finding.file == "z.py"), "{file} {open}: {report:?}");
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn a_file_that_takes_too_long_is_said() {
    let many = "f(".repeat(400_000);
    let source = crate::hits::Source::new(&many);
    let mut hits = crate::hits::Hits::new("a.py");
    let begun = Instant::now();
    let late = crate::file::code(crate::tree::Grammar::Python, "a.py", &source, begun, &mut hits);
    assert_eq!(late, Err(crate::tree::Cut::Time));
    assert!(begun.elapsed() < FILE_TIME, "{:?}", begun.elapsed());
}

#[test]
fn a_file_of_a_hundred_megabytes_is_not_read_and_said() {
    let package = tempfile::tempdir().unwrap();
    for name in ["a.py", "a.wasm", "data.bin", "b.json"] {
        let file = std::fs::File::create(package.path().join(name)).unwrap();
        std::io::Write::write_all(&mut &file, if name == "a.wasm" { b"\0asm" } else { b"x = " }).unwrap();
        file.set_len(100_000_000).unwrap();
    }
    let raw = crate::scan(&Dir::open(package.path()).unwrap());
    assert_eq!(raw.bytes, 0, "nothing was read but the beginnings");
    let report = raw.judged(None);
    let named: Vec<(&str, &str)> =
        report.not_read.iter().map(|one| (one.file.as_str(), one.why.as_str())).collect();
    assert_eq!(named.len(), 4, "{named:?}");
    assert!(named[0].0 == "a.py" && named[0].1.contains(&SOURCE_MAX_BYTES.to_string()), "{named:?}");
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.file.as_str()).collect();
    assert_eq!(found, ["a.py", "a.wasm"]);
    assert!(report.is_partial());
}

#[test]
fn nul_bytes_and_bytes_that_are_no_text_keep_nothing_from_being_found() {
    let found = fired("a.py", b"x = '\0'\nimport os\nos.system('x')\n");
    assert!(found.contains(&("disguised-file", 1)) && found.contains(&("runs-programs", 3)), "{found:?}");
    let report = report(&[("a.py", b"# \xff\xfe\nimport os\nos.system('\xc3')\n")]);
    assert_eq!((report.findings[0].rule, report.findings[0].line), ("runs-programs", 3));
    assert!(report.not_read[0].why.contains("no UTF-8"), "{:?}", report.not_read);
}

#[expect(clippy::disallowed_methods, reason = "a test makes a named pipe; the product has no need to")]
fn fifo(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn links_pipes_and_directories_without_end_lead_nowhere() {
    let package = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("a.py"), "import os\nos.system('x')\n").unwrap();
    symlink(outside.path().join("a.py"), package.path().join("a.py")).unwrap();
    symlink(outside.path(), package.path().join("dir")).unwrap();
    symlink(".", package.path().join("self")).unwrap();
    fifo(&package.path().join("b.py"));
    let mut deep = package.path().join("deep");
    for _ in 0..DEPTH_MAX + 5 {
        deep.push("d");
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("c.py"), "import os\nos.system('x')\n").unwrap();

    let report = crate::scan(&Dir::open(package.path()).unwrap()).judged(None);
    assert!(report.findings.iter().all(|finding| finding.rule == "not-read"), "{:?}", report.findings);
    let why = |file: &str| report.not_read.iter().find(|one| one.file == file).map(|one| one.why.as_str());
    assert_eq!(why("a.py"), Some("is a link, which is not followed"));
    assert_eq!(why("dir"), Some("is a link, which is not followed"));
    assert_eq!(why("b.py"), Some("is no regular file"));
    assert!(report.not_read.iter().any(|one| one.why == "is nested too deep"), "{:?}", report.not_read);
    assert_eq!(report.files, 0);
}

#[test]
fn a_directory_of_more_entries_than_are_looked_at_is_said_and_others_are_still_read() {
    let package = tempfile::tempdir().unwrap();
    let many = package.path().join("many");
    std::fs::create_dir(&many).unwrap();
    std::fs::write(package.path().join("a.py"), "import os\nos.system('x')\n").unwrap();
    for number in 0..ENTRIES_MAX {
        std::fs::File::create(many.join(number.to_string())).unwrap();
    }
    let report = crate::scan(&Dir::open(package.path()).unwrap()).judged(None);
    assert!(report.findings.iter().any(|one| one.file == "a.py"), "{:?}", report.findings);
    let why = report.not_read.iter().find(|one| one.file == "many").map(|one| one.why.as_str());
    let said = format!("cannot be read: it has more than {ENTRIES_MAX} entries");
    assert_eq!(why, Some(said.as_str()), "{:?}", report.not_read);
    assert!(report.is_partial());
}

#[test]
fn many_findings_are_counted_and_not_all_listed() {
    let many = "import os\n".to_owned() + &"os.system('x')\n".repeat(20);
    let one = report(&[("a.py", many.as_bytes())]);
    assert_eq!(
        (one.findings.len(), one.more_findings),
        (FINDINGS_PER_FILE_MAX, 20 - FINDINGS_PER_FILE_MAX as u64)
    );
    let names: Vec<String> = (0..300).map(|number| format!("{number}.py")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), many.as_bytes())).collect();
    let all = report(&files);
    assert_eq!(all.findings.len(), FINDINGS_MAX);
    assert_eq!(all.findings.len() as u64 + all.more_findings, 6_000);
}

#[test]
fn whoever_reads_nothing_of_it_believes_nothing_of_it() {
    let hit = |rule: &str, file: &str| Hit {
        rule: rule.into(),
        file: file.into(),
        line: 0,
        column: 0,
        subject: "x".repeat(9_999),
    };
    let raw = Raw {
        hits: [hit("no-such-rule", "a"), hit("private-key", &"f".repeat(9_999)), hit("private-key", "b")]
            .into_iter()
            .chain((0..5_000).map(|_| hit("long-line", "c")))
            .collect(),
        not_read: vec![NotRead { file: "d".into(), why: "y".repeat(9_999) }; 2_000],
        more_findings: u64::MAX,
        ..Raw::default()
    };
    let report = Raw::from_json(&raw.to_json()).unwrap().judged(None);
    assert_eq!((report.findings.len(), report.not_read.len()), (FINDINGS_MAX, NOT_READ_MAX));
    assert_eq!((report.more_findings, report.more_not_read), (u64::MAX, 1_500));
    let first = &report.findings[0];
    assert_eq!((first.file.as_str(), first.line, first.column), ("b", 1, 1));
    assert!(first.message.len() < 400 && report.not_read[0].why.len() < 400);
    for broken in [&b""[..], b"[]", b"{\"hits\": 1}", b"\xff"] {
        assert!(Raw::from_json(broken).is_err());
    }
}

#[test]
fn a_permission_that_the_manifest_asks_for_is_not_implied() {
    let files: &[(&str, &[u8])] = &[("a.py", b"import os\nos.system('x')\nos.remove('y')\n")];
    let manifest = serde_json::from_value(serde_json::json!({
        "name": "p", "version": "1.0.0", "runtime": "python", "entry_point": "a.py",
        "permissions": [{"permission": "subprocess:execute", "scope": ["git"]}]
    }))
    .unwrap();
    let (without, with) = (report(files), super::raw(files).judged(Some(&manifest)));
    let implied =
        |report: &crate::Report| report.implied().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(implied(&without), ["file:delete", "subprocess:execute"]);
    assert_eq!(implied(&with), ["file:delete"]);
    assert_eq!((with.findings[0].severity, with.findings[1].severity), (Severity::Note, Severity::Warning));
    assert!(with.findings[0].message.ends_with("the manifest asks for that"), "{}", with.findings[0].message);
    assert!(
        without.findings[0].message.contains("needs subprocess:execute"),
        "{}",
        without.findings[0].message
    );
}

#[test]
fn only_the_rules_of_a_policy_block() {
    let report = report(&[("a.py", b"import os\nos.system('x')\nos.remove('y')\n")]);
    let blocked = blocking(&report.findings, &["deletes-files", "private-key"]);
    assert_eq!(blocked.iter().map(|finding| finding.line).collect::<Vec<_>>(), [3]);
    assert!(blocking::<&str>(&report.findings, &[]).is_empty());
    assert_eq!(report.ran, Ran::InProcess);
    assert!(rule("deletes-files").is_some());
}

#[test]
fn findings_say_whose_code_it_is() {
    let code: &[u8] = b"import os\nos.system('x')\n";
    let report = report(&[("a.py", code), ("tests/b.py", code), ("node_modules/x/c.py", code)]);
    let places: Vec<(&str, &str)> =
        report.findings.iter().map(|finding| (finding.file.as_str(), finding.place.as_str())).collect();
    assert_eq!(places, [("a.py", "own"), ("node_modules/x/c.py", "vendored"), ("tests/b.py", "test")]);
}

#[test]
fn no_secret_stands_in_what_is_said_of_it() {
    let secret = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    let report = report(&[("a.py", format!("t = '{secret}'\n").as_bytes())]);
    assert_eq!(report.findings[0].rule, "access-token");
    assert!(!serde_json::to_string(&report).unwrap().contains("a1B2c3D4"));
}
