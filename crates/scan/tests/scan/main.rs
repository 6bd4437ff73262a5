//! Files that nobody wrote, the same ones on every machine; and those that we wrote ourselves.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use ringfence_sandbox::tree::Dir;
use ringfence_scan::{Place, scan};

#[path = "../../../../fuzz/src/seeded.rs"]
#[expect(unreachable_pub, reason = "several tests share it")]
mod seeded;

#[path = "../../../../fuzz/src/scans.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate exports them")]
mod scans;

#[path = "../../src/tests/files.rs"]
mod files;

/// Inputs for each language. More are tried with `cargo fuzz`.
const INPUTS: u32 = 300;

#[test]
fn sources_made_of_words_are_looked_at_to_their_end() {
    let words = [
        "import os\n",
        "from os import *\n",
        "getattr(",
        "__import__(",
        "'sys'",
        "\"a\\x41\"",
        "f'{",
        "}'",
        "eval",
        "exec(",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "=",
        "+",
        ".",
        ",",
        ":",
        ";",
        "\n",
        "    ",
        "def f(x):",
        "lambda: ",
        "import cp from 'node:fs';",
        "require(",
        "const {a: b} = ",
        "`${",
        "}`",
        "=> ",
        "new Function",
        "?.",
        "as any",
        "<T>",
        "if ",
        "then ",
        "fi\n",
        "$(",
        "${X",
        "<<EOF\n",
        "| sh\n",
        "$'\\x41'",
        "rm ",
        "\\",
        "\u{202e}",
        "й",
        "\0",
        "#",
        "//",
        "/*",
        "*/",
        "_0x1a2b",
        "-----BEGIN PRIVATE KEY-----\n",
    ];
    let begin = |numbers: &mut seeded::Numbers| vec![numbers.byte()];
    seeded::run(11, INPUTS * 5, begin, &words, 60, scans::source);
}

#[test]
fn binaries_with_changed_bytes_are_looked_at_to_their_end() {
    let files = [
        files::elf(&["execve", "connect"], b"/bin/sh\0"),
        files::wasm(&[("wasi_snapshot_preview1", "sock_send"), ("a", "b")]),
    ];
    let begin = |numbers: &mut seeded::Numbers| {
        let mut file = files[numbers.below(files.len())].clone();
        for _ in 0..numbers.below(8) {
            let at = numbers.below(file.len());
            file[at] = numbers.byte();
        }
        file.truncate(numbers.below(file.len() + 1));
        file
    };
    seeded::run(12, INPUTS * 10, begin, &["\0"], 4, scans::binary);
}

#[test]
fn what_a_stranger_says_of_a_scan_is_bounded() {
    let words = [
        "{",
        "}",
        "[",
        "]",
        "\"hits\":",
        "\"rule\":",
        "\"private-key\"",
        "1",
        "-1",
        "99999999999999999999",
        ",",
        "null",
        "\"x\"",
    ];
    seeded::run(13, INPUTS * 10, |_| Vec::new(), &words, 20, scans::answer);
}

/// The example plugins do what they ask for and nothing else, so nothing is to be said of their own code.
#[test]
fn nothing_is_said_of_the_code_of_the_example_plugins() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut packages = Vec::new();
    for kind in ["examples/plugins", "examples/demo", "examples/protocol"] {
        packages.extend(std::fs::read_dir(root.join(kind)).unwrap().map(|entry| entry.unwrap().path()));
    }
    assert!(packages.len() >= 9, "{packages:?}");
    for package in packages {
        let report = scan(&Dir::open(&package).unwrap()).judged(None);
        assert!(report.files > 1 && report.bytes > 500, "{} {report:?}", package.display());
        // A program that was built here is not part of the example.
        let own: Vec<_> = report
            .findings
            .iter()
            .filter(|finding| finding.place == Place::Own && finding.line > 1)
            .collect();
        assert!(own.is_empty(), "{} {own:#?}", package.display());
    }
}

/// The runners and SDKs start programs and execute code, as they must; none of it is hidden.
#[test]
fn nothing_in_the_runners_looks_hidden() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
    for sdk in ["python/src", "typescript/lib"] {
        let report = scan(&Dir::open(&root.join(sdk)).unwrap()).judged(None);
        assert!(report.files > 5, "{sdk}");
        let hides = [
            "hidden-code",
            "encoded-text",
            "packed-names",
            "odd-encoding",
            "bidirectional-text",
            "invisible-text",
            "mixed-script-name",
            "private-key",
            "access-token",
            "secret-file",
            "opaque-code",
            "disguised-file",
            "not-read",
        ];
        let hidden: Vec<_> = report.findings.iter().filter(|finding| hides.contains(&finding.rule)).collect();
        assert!(hidden.is_empty(), "{hidden:#?}");
    }
}
