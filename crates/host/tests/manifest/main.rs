//! The functions of the fuzz targets in a bounded, seeded loop, so that CI runs the same code on every change.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

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
