//! The function of the fuzz target `policy` in a bounded, seeded loop, so that CI runs the same code on every change.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../../fuzz/src/policies.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
mod policies;

#[path = "../../../../fuzz/src/seeded.rs"]
#[expect(unreachable_pub, reason = "several tests share it")]
mod seeded;

/// Inputs; a fuzzer on its own machine does billions.
const INPUTS: u32 = 2_000;

const WHOLE: [&str; 3] = [
    "default = \"deny\"\ndeny = [\"file:read=/srv/**\"]\nallow = [\"env:read=A*\"]\n",
    "[limits]\nmemory = \"1MB\"\n[install]\npublishers = [\"unsigned:*\"]\nblocked_names = [\"evil-*\"]\n",
    "[[plugins]]\nnames = [\"n*\"]\ndeny = [\"network:request=*:80\"]\nlimits = { cpu = 5 }\n[quarantine]\ndenials_per_hour = 3\n",
];

#[test]
fn policies_hold_for_any_text() {
    let words = [
        "deny = [",
        "allow = [",
        "]\n",
        "\"file:read=/a/**\"",
        "\"file:write=**/*.x\"",
        "\"env:read\"",
        "\"subprocess:execute=git\"",
        ", ",
        "default = ",
        "\"allow\"\n",
        "\"deny\"\n",
        "[limits]\n",
        "memory = ",
        "\"1GB\"\n",
        "cpu = 0\n",
        "[install]\n",
        "publishers = [\"*\"]\n",
        "blocked_digests = [\"00\"]\n",
        "[[plugins]]\n",
        "names = [\"*\"]\n",
        "[quarantine]\n",
        "denials_per_hour = 1\n",
        "scan_rules = [\"a\"]\n",
        "{",
        "}",
        "#",
        "\n",
        "é",
        "\u{7f}",
        "'''",
        "\"",
        "=",
        ".",
    ];
    let begin = |numbers: &mut seeded::Numbers| WHOLE[numbers.below(WHOLE.len())].as_bytes().to_vec();
    seeded::run(5, INPUTS, begin, &words, 9, policies::policy);
    for whole in WHOLE {
        policies::policy(whole.as_bytes());
        for at in (0..whole.len()).filter(|at| whole.is_char_boundary(*at)) {
            policies::policy(&whole.as_bytes()[..at]);
        }
    }
}
