//! The functions of the fuzz targets in a bounded, seeded loop, so that CI runs the same code on every change.

#[path = "../../../../fuzz/src/checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate exports them")]
mod checks;

#[path = "../../../../fuzz/src/seeded.rs"]
#[expect(unreachable_pub, reason = "several tests share it")]
mod seeded;

/// Inputs per target; a fuzzer on its own machine does billions.
const INPUTS: u32 = 20_000;

fn run(seed: u64, words: &[&str], check: fn(&[u8])) {
    seeded::run(seed, INPUTS, |_| Vec::new(), words, 11, check);
}

#[test]
fn permissions_hold_for_any_text() {
    let words = [
        "file:read",
        "file:write",
        "env:read",
        "network:request",
        "subprocess:execute",
        "x-a:b",
        "=",
        "/",
        "**",
        "*",
        "~",
        "${data}",
        "a",
        "..",
        ".",
        "\\x41",
        "\\*",
        "*.a.b",
        ":80",
        ":*",
        "127.0.0.1",
        "[::1]",
        "é",
    ];
    run(1, &words, checks::permission_parse);
    for text in ["file:read=~/**", "env:read=\\x41*", "network:request=[::1]:80", "subprocess:execute=git"] {
        checks::permission_parse(text.as_bytes());
    }
}

#[test]
fn path_patterns_hold_for_any_bytes() {
    let words =
        ["/", "/", "a", "b", "ab", "*", "/**/", "/**", "\n/", "/a/b", "~/", "\\x41", "A", "\\*", "é", "."];
    run(2, &words, checks::path_match);
    for text in ["/**/a*\n/b/ab", "/a/**/b\n/a/b", "/*\\xff\n/a\u{ff}", "/\n/"] {
        checks::path_match(text.as_bytes());
    }
    checks::path_match(b"/*\\xff\n/a\xff");
}

#[test]
fn hosts_hold_for_any_text() {
    let words = [
        "a",
        "b-",
        "xn--",
        ".",
        ".com",
        "*",
        "*.",
        ":",
        "::",
        ":443",
        ":*",
        "[",
        "]",
        "1",
        "127.",
        "0x7f",
        "/8",
        "/24",
        "10.0.0.0",
        "[2001:db8::]",
        "ffff:",
        "%",
        "_",
        "A",
    ];
    run(3, &words, checks::host_parse);
    for text in ["a.com", "[::1]", "::ffff:1.2.3.4", "10.0.0.0/8:443", "*.a.com:*", "[2001:db8::]/32:1"] {
        checks::host_parse(text.as_bytes());
    }
}
