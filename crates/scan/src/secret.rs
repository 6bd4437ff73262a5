//! Secrets that were left in a package. What is reported never holds them.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

use crate::hits::{Hits, Source};

/// The largest compiled form of the patterns, in bytes.
const COMPILED_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A kind of secret: the rule, what it is called, and its form. The engine has no backtracking: time is linear.
struct Kind {
    rule: &'static str,
    name: &'static str,
    form: &'static str,
}

const KINDS: &[Kind] = &[
    // A header alone stands in many programs that read keys; what follows must look like one.
    Kind {
        rule: "private-key",
        name: "this",
        form: r"-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY(?: BLOCK)?-----(?:\\[rn]|\s){1,8}(?:[A-Za-z-]{1,20}: [^\r\n]{0,200}\s+){0,4}[A-Za-z0-9+/=]{40}",
    },
    Kind {
        rule: "access-token",
        name: "a token of GitHub",
        form: r"\b(?:gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})",
    },
    Kind { rule: "access-token", name: "a key of AWS", form: r"\bA[KS]IA[A-Z2-7]{16}\b" },
    Kind {
        rule: "access-token",
        name: "a token of Slack",
        form: r"\bxox[abeoprs]-[0-9]{6,}-[A-Za-z0-9-]{10,}",
    },
    Kind {
        rule: "access-token",
        name: "a hook of Slack",
        form: r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{16,}",
    },
    Kind { rule: "access-token", name: "a key of Google", form: r"\bAIza[A-Za-z0-9_-]{35}\b" },
    Kind { rule: "access-token", name: "a secret of Google", form: r"\bGOCSPX-[A-Za-z0-9_-]{28}\b" },
    Kind { rule: "access-token", name: "a key of Stripe", form: r"\b[rs]k_live_[A-Za-z0-9]{16,}" },
    Kind {
        rule: "access-token",
        name: "a key of a model provider",
        form: r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{40,}",
    },
    Kind { rule: "access-token", name: "a token of npm", form: r"\bnpm_[A-Za-z0-9]{36}\b" },
    Kind { rule: "access-token", name: "a token of PyPI", form: r"\bpypi-Ag[A-Za-z0-9_-]{50,}" },
    Kind { rule: "access-token", name: "a token of GitLab", form: r"\bglpat-[A-Za-z0-9_-]{20}" },
    Kind { rule: "access-token", name: "a token of Hugging Face", form: r"\bhf_[A-Za-z]{34}\b" },
    Kind {
        rule: "access-token",
        name: "a password in an address",
        form: r#"\b[a-z][a-z0-9+.-]{1,20}://[A-Za-z0-9._-]{1,64}:[^\s/:@"'<>${}%*]{6,128}@[A-Za-z0-9.-]{1,200}\.[a-z]{2,}"#,
    },
];

/// Files that hold nothing else.
const FILES: &[&str] = &[
    ".env",
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".pgpass",
    ".pypirc",
    ".dockercfg",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".htpasswd",
    "credentials.json",
    "service-account.json",
    "wallet.dat",
];
const ENDINGS: &[&str] = &[".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk"];

static PATTERNS: LazyLock<Vec<(&'static Kind, Regex)>> = LazyLock::new(|| {
    let compiled = |kind: &'static Kind| {
        let built = RegexBuilder::new(kind.form).unicode(false).size_limit(COMPILED_MAX_BYTES).build();
        built.ok().map(|regex| (kind, regex))
    };
    KINDS.iter().filter_map(compiled).collect()
});

/// Looks for secrets in a text.
pub(crate) fn look(source: &Source<'_>, hits: &mut Hits) {
    each(source.text.as_bytes(), |kind, at| hits.at(kind.rule, source, at, kind.name));
}

/// Looks for secrets in what is no text.
pub(crate) fn look_in_bytes(bytes: &[u8], hits: &mut Hits) {
    each(bytes, |kind, _| hits.whole(kind.rule, &format!("{}, in a binary file,", kind.name)));
}

fn each(bytes: &[u8], mut found: impl FnMut(&'static Kind, usize)) {
    for (kind, regex) in &*PATTERNS {
        for hit in regex.find_iter(bytes).filter(|hit| !is_example(hit.as_bytes())).take(100) {
            found(kind, hit.start());
        }
    }
}

/// What a manual shows is no secret: `AKIAIOSFODNN7EXAMPLE`, `xxxxxxxx`, `user:password@`.
fn is_example(secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(secret).to_ascii_lowercase();
    let words = [
        "example",
        "xxxx",
        "0000000",
        "placeholder",
        ":password@",
        ":secret@",
        "your",
        "1234567890abcdef",
        "hunter2",
    ];
    let tail: std::collections::BTreeSet<u8> = secret.iter().rev().take(16).copied().collect();
    words.iter().any(|word| text.contains(word)) || tail.len() <= 3
}

/// Whether the name of a file says that it holds secrets.
pub(crate) fn is_secret_file(name: &str) -> bool {
    FILES.contains(&name)
        || ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
        || name
            .strip_prefix(".env.")
            .is_some_and(|kind| !matches!(kind, "example" | "sample" | "template" | "dist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(PATTERNS.len(), KINDS.len());
    }

    #[test]
    fn names_of_secret_files() {
        for name in [".env", ".env.production", "id_ed25519", "server.p12"] {
            assert!(is_secret_file(name), "{name}");
        }
        for name in [".env.example", "env.py", "id_rsa.pub", ".p12", "credentials.py"] {
            assert!(!is_secret_file(name), "{name}");
        }
    }
}
