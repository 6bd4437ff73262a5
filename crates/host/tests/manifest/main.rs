//! The functions of the fuzz targets in a bounded, seeded loop, so that CI runs the same code on every change.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::Write as _;

use ringfence::archive;

#[path = "../../../../fuzz/src/archives.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate exports them")]
mod archives;

#[path = "../../../../fuzz/src/manifests.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate exports them")]
mod manifests;

#[path = "../../../../fuzz/src/seeded.rs"]
#[expect(unreachable_pub, reason = "several tests share it")]
mod seeded;

/// Inputs per target; a fuzzer on its own machine does billions.
const INPUTS: u32 = 4_000;

fn run(seed: u64, begin: &[&str], words: &[&str], check: fn(&[u8])) {
    let begin = |numbers: &mut seeded::Numbers| begin[numbers.below(begin.len())].as_bytes().to_vec();
    seeded::run(seed, INPUTS, begin, words, 9, check);
}

const JSON: &str = r#"0{"name":"a","version":"1.0.0","runtime":"python","entry_point":"m:C","permissions":["file:read=/a/**",{"permission":"env:read","scope":["A"]}],"hooks":[{"event":"onX","kind":"guard"}],"tools":[{"name":"t","input_schema":{"type":"object"}}],"limits":{"memory_mb":1}}"#;
const YAML: &str = "1name: a\nversion: 1.0.0\nruntime: node\nentry_point: x.mjs\n";
const TOML: &str = "2name = \"a\"\nversion = \"1.0.0\"\nruntime = \"native\"\nentry_point = \"run\"\n";

#[test]
fn manifests_hold_for_any_text() {
    // Which format a byte chooses: '0' is 48, and 48 is divisible by 3.
    for whole in [JSON, YAML, TOML] {
        manifests::manifest(whole.as_bytes());
    }
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\n",
        "  ",
        "- ",
        "= ",
        "[[tools]]\n",
        "name = \"t\"\n",
        "tools:\n",
        "- name: t\n",
        "description: |\n  x\n",
        "hooks: [{event: onX, kind: observer}]\n",
        "permissions: [file:read]\n",
        "limits: {cpu_percent: 5}\n",
        "config_schema: {type: object}\n",
        "[limits]\n",
        "processes = 3\n",
        "null",
        "true",
        "1e5",
        "-0",
        "0x1f",
        ".inf",
        "&a ",
        "*a",
        "!!str ",
        "<<: ",
        "# c\n",
        "---\n",
        "\\u0041",
        "\\ud83d\\ude00",
        "é",
        "\u{202e}",
        "\t",
        "'",
        "|-\n",
        "? ",
        "skills: [x]\n",
    ];
    run(11, &[JSON, YAML, TOML, "0", "1", "2", "0{", "1- "], &words, manifests::manifest);
}

#[test]
fn dialects_hold_for_any_text() {
    let whole = [
        r#""version":"1.2","requires":{"permissions":["network","file-write"]},"hooks":{"onRequest":true,"onError":{"priority":3}},"configSchema":{"a":{"type":"select","enum":["x"],"default":"x"},"b":{"type":"number","min":1}},"skills":["s"],"enabledByDefault":true"#,
        r#""name":"Title","capabilities":["network","t",{"name":"u"}],"permissions":["env"]"#,
        "permissions: [file:read, net]\ntimeout_seconds: 1.5\nenabled: true\n",
    ];
    for text in whole {
        manifests::dialects(text.as_bytes());
    }
    let words = [
        ",",
        "\"hooks\":",
        "{",
        "}",
        "[",
        "]",
        "\"onRequest\":",
        "true",
        "false",
        "\"a\"",
        ":",
        "1",
        "-1",
        "1e9",
        "\"capabilities\":",
        "\"description\":\"d\"",
        "\"author\":{\"name\":\"x\"}",
        "\"requires\":{}",
        "\"configSchema\":{\"a\":{\"type\":\"string\"}}",
        "\"version\":\"v1\"",
        "\"integrity\":\"sha256-\"",
        "\"skills\":[{\"name\":\"x\"}]",
        "permissions: [network]\n",
        "version: 1\n",
        "enabled: no\n",
        "\"network\"",
        "\"file-write\"",
        "null",
        " ",
        "\n",
        "\"onX\"",
    ];
    run(12, &[whole[0], whole[1], whole[2], "", "\"hooks\":[\"onX\""], &words, manifests::dialects);
}

#[test]
fn archives_hold_for_any_bytes() {
    let whole = |kind: tar::EntryType, name: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_path(name).unwrap();
        header.set_cksum();
        let mut bytes = [header.as_bytes(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    let blocks = [
        whole(tar::EntryType::Regular, "plugin.json", b"{}"),
        whole(tar::EntryType::Regular, "src/main.py", b"print()"),
        whole(tar::EntryType::Directory, "src/", b""),
        whole(tar::EntryType::XHeader, "x", b"9 path=a\n"),
        whole(tar::EntryType::XHeader, "x", b"10 size=2\n11 mtime=1\n"),
        whole(tar::EntryType::GNULongName, "L", b"a/long/name\0"),
        whole(tar::EntryType::Symlink, "l", b""),
        vec![0; 512],
        vec![0; 1_024],
        vec![b'x'; 512],
    ];
    let taken = archive::look([blocks[0].as_slice(), &blocks[8]].concat().as_slice()).unwrap();
    assert_eq!(taken.files, 1);
    for compressed in [false, true] {
        let begin = |numbers: &mut seeded::Numbers| {
            let mut bytes = Vec::new();
            for _ in 0..numbers.below(6) {
                bytes.extend_from_slice(&blocks[numbers.below(blocks.len())]);
            }
            if compressed {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&bytes).unwrap();
                bytes = encoder.finish().unwrap();
            }
            bytes
        };
        seeded::run(21, INPUTS, begin, &["", "\0"], 2, archives::archive);
    }
}
