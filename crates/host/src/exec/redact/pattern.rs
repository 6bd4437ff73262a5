//! What counts as a secret: the built-in patterns, and the patterns of the user.
//!
//! A built-in pattern is compiled when the first line that could hold its secret comes by, once for the whole
//! process. Patterns are matched line by line, over bytes, in linear time.

use std::sync::OnceLock;

use regex::bytes::{Captures, Regex, RegexBuilder};

/// A set of built-in patterns, one bit each.
pub(super) type Patterns = u32;

pub(super) const PRIVATE_KEY: Patterns = 1;
pub(super) const GITHUB: Patterns = 1 << 1;
pub(super) const AWS: Patterns = 1 << 2;
pub(super) const SLACK: Patterns = 1 << 3;
pub(super) const GOOGLE: Patterns = 1 << 4;
pub(super) const STRIPE: Patterns = 1 << 5;
pub(super) const SK: Patterns = 1 << 6;
pub(super) const NPM: Patterns = 1 << 7;
pub(super) const PYPI: Patterns = 1 << 8;
pub(super) const GITLAB: Patterns = 1 << 9;
pub(super) const JWT: Patterns = 1 << 10;
pub(super) const AUTHORIZATION: Patterns = 1 << 11;
pub(super) const BEARER: Patterns = 1 << 12;
pub(super) const URL: Patterns = 1 << 13;
pub(super) const KEY_VALUE: Patterns = 1 << 14;
pub(super) const RINGFENCE: Patterns = 1 << 15;
pub(super) const HUGGING_FACE: Patterns = 1 << 16;
pub(super) const GOOGLE_SECRET: Patterns = 1 << 17;
pub(super) const SLACK_HOOK: Patterns = 1 << 18;
/// All of them; tests compare with what the prefilter leaves.
#[cfg(test)]
pub(super) const ALL: Patterns = (1 << 19) - 1;

/// Which bytes may follow a match that fills the whole window, as part of the same secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Letters, digits and `_-.~+/=`.
    Token,
    /// Anything but white space and quotes.
    Word,
    /// Anything to the end of the line: nothing is known about the pattern.
    Line,
}

impl Tail {
    /// Whether `byte` may go on with the secret.
    pub(super) const fn goes_on(self, byte: u8) -> bool {
        match self {
            Self::Token => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~' | b'+' | b'/' | b'=')
            }
            Self::Word => !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\''),
            Self::Line => byte != b'\n',
        }
    }
}

struct BuiltIn {
    /// The NAME in `[redacted:NAME]`.
    name: &'static str,
    /// The expression; if it has groups, the first that took part is the secret, else the whole match is.
    expression: &'static str,
    tail: Tail,
    /// Judges what an expression cannot say.
    accept: fn(&Captures<'_>, &[u8]) -> bool,
    compiled: OnceLock<Option<Regex>>,
}

const fn built_in(name: &'static str, expression: &'static str, tail: Tail) -> BuiltIn {
    judged(name, expression, tail, always)
}

const fn judged(
    name: &'static str,
    expression: &'static str,
    tail: Tail,
    accept: fn(&Captures<'_>, &[u8]) -> bool,
) -> BuiltIn {
    BuiltIn { name, expression, tail, accept, compiled: OnceLock::new() }
}

const fn always(_: &Captures<'_>, _: &[u8]) -> bool {
    true
}

/// INVARIANT: the place in this table is the number of the bit in [`Patterns`].
static BUILT_IN: [BuiltIn; 19] = [
    built_in(
        "private-key",
        "-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:.*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|.*)",
        Tail::Line,
    ),
    built_in("github-token", "gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}", Tail::Token),
    built_in("aws-access-key", r"\bA[KS]IA[A-Z0-9]{16}\b", Tail::Token),
    built_in("slack-token", "xox[abeoprs]-[A-Za-z0-9-]{10,}", Tail::Token),
    built_in("google-api-key", "AIza[A-Za-z0-9_-]{35}", Tail::Token),
    built_in("stripe-key", r"\b[rs]k_live_[A-Za-z0-9]{16,}", Tail::Token),
    built_in("api-key", r"\bsk-[A-Za-z0-9_-]{20,}", Tail::Token),
    built_in("npm-token", "npm_[A-Za-z0-9]{30,}", Tail::Token),
    built_in("pypi-token", "pypi-Ag[A-Za-z0-9_-]{16,}", Tail::Token),
    built_in("gitlab-token", "glpat-[A-Za-z0-9_-]{20,}", Tail::Token),
    built_in("jwt", r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){1,4}", Tail::Token),
    built_in(
        "authorization",
        r#"(?i)authorization\\?["']?\s*[:=]\s*\\?["']?(?:(?:bearer|basic|token|digest|negotiate)\s+)?([^\s"',\\]+)"#,
        Tail::Word,
    ),
    judged("bearer-token", r"(?i)\bbearer\s+([a-z0-9._~+/=-]{8,})", Tail::Token, looks_random),
    built_in("url-password", r#"[A-Za-z0-9+.-]://[^\s/:@?#"'<>]*:([^\s/@"'<>]+)@"#, Tail::Word),
    judged(
        "secret",
        concat!(
            r"(?i)((?:password|passwd|passphrase|pwd|secret|token|",
            r"(?:api|access|private|auth|encryption|secret)[_.-]?key)(?:[_.-]?access)?(?:[_.-]?key)?)",
            r#"\\?["']?\s*(?:=>|[:=])\s*(?:\\?"([^"\\]+)|'([^']+)|([^\s"',;&\\(){}\[\]<>]+))"#,
        ),
        Tail::Word,
        plausible_value,
    ),
    built_in("ringfence-token", r"\brf_[0-9a-f]{8,}_[0-9a-f]{32,}", Tail::Token),
    built_in("hugging-face-token", r"\bhf_[A-Za-z0-9]{30,}", Tail::Token),
    built_in("google-client-secret", r"\bGOCSPX-[A-Za-z0-9_-]{20,}", Tail::Token),
    built_in(
        "slack-hook",
        r"://hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/_-]{20,})",
        Tail::Token,
    ),
];

/// The largest compiled form of one expression, in bytes. Ten times what the largest built-in one takes.
pub(super) const COMPILED_MAX_BYTES: usize = 1024 * 1024;

impl BuiltIn {
    fn regex(&self) -> Option<&Regex> {
        self.compiled
            .get_or_init(|| {
                // Bytes, not Unicode: the secrets are ASCII, and the compiled form is a tenth.
                let mut builder = RegexBuilder::new(self.expression);
                builder.unicode(false).size_limit(COMPILED_MAX_BYTES).build().ok()
            })
            .as_ref()
    }
}

/// Whether a word after `bearer` is a token and not English.
fn looks_random(_: &Captures<'_>, value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_digit) || value.len() >= 24
}

/// Shorter values of `token=` and its like are words, numbers and names, not secrets.
const SECRET_MIN_BYTES: usize = 8;

fn plausible_value(captures: &Captures<'_>, value: &[u8]) -> bool {
    const EMPTY: [&[u8]; 6] = [b"null", b"none", b"nil", b"true", b"false", b"undefined"];
    let Some(key) = captures.get(1) else { return false };
    let whole = captures.get_match();
    let between = whole.as_bytes().get(key.end() - whole.start()..whole.len() - value.len());
    // `token: unexpected` is a sentence, `token=unexpected` and `"token": "unexpected"` are not.
    let assigned = between.is_some_and(|text| text.iter().any(|byte| matches!(byte, b'=' | b'"' | b'\'')));
    let key = key.as_bytes();
    if EMPTY.iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return false;
    }
    if value.starts_with(b"$") || value.starts_with(b"[redacted:") {
        return false;
    }
    if value.iter().all(|&byte| byte == b'*') {
        return false;
    }
    let is =
        |word: &[u8]| key.len() >= word.len() && key.iter().zip(word).all(|(k, w)| k.eq_ignore_ascii_case(w));
    if is(b"pwd") {
        // `PWD=/srv` is the working directory in every environment listing.
        return !value.starts_with(b"/");
    }
    is(b"pass") || (value.len() >= SECRET_MIN_BYTES && (assigned || looks_random(captures, value)))
}

/// A secret in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) name: &'static str,
    pub(super) tail: Tail,
    /// The line begins a private key whose end is not in it.
    pub(super) opens_key: bool,
}

/// The name under which matches of the user's patterns are shown.
const CUSTOM: &str = "custom";

/// All secrets in `line`, in order and without overlap: of those that overlap, the whole stretch is one.
pub(super) fn spans(line: &[u8], patterns: Patterns, custom: &[Regex]) -> Vec<Span> {
    let mut spans = Vec::new();
    for (bit, built_in) in BUILT_IN.iter().enumerate() {
        if patterns & (1 << bit) != 0 {
            built_in_spans(built_in, line, &mut spans);
        }
    }
    for regex in custom {
        spans.extend(regex.find_iter(line).filter(|found| !found.is_empty()).map(|found| Span {
            start: found.start(),
            end: found.end(),
            name: CUSTOM,
            tail: Tail::Line,
            opens_key: false,
        }));
    }
    // Stable: where two begin together, the more telling name, which stands first in the table, is shown.
    spans.sort_by_key(|span| span.start);
    spans.dedup_by(|next, kept| {
        let overlap = next.start < kept.end;
        if overlap && next.end > kept.end {
            (kept.end, kept.tail, kept.opens_key) = (next.end, next.tail, next.opens_key);
        }
        overlap
    });
    spans
}

fn built_in_spans(built_in: &BuiltIn, line: &[u8], spans: &mut Vec<Span>) {
    let span =
        |start, end, opens_key| Span { start, end, name: built_in.name, tail: built_in.tail, opens_key };
    let Some(regex) = built_in.regex() else {
        // A test compiles every expression. Should one fail all the same, the suspicious line is hidden.
        spans.push(span(0, line.len(), false));
        return;
    };
    let groups = regex.captures_len() - 1;
    if groups == 0 {
        spans.extend(regex.find_iter(line).map(|found| {
            let opens_key = built_in.tail == Tail::Line && key_end(found.as_bytes(), 0).is_none();
            span(found.start(), found.end(), opens_key)
        }));
        return;
    }
    for captures in regex.captures_iter(line) {
        // The last group that took part is the secret; one before it may be the name of the key.
        let Some(secret) = (1..=groups).rev().find_map(|group| captures.get(group)) else { continue };
        if (built_in.accept)(&captures, secret.as_bytes()) {
            spans.push(span(secret.start(), secret.end(), false));
        }
    }
}

/// Where a private key that began before `from` ends in `line`: just behind its END marker.
pub(super) fn key_end(line: &[u8], from: usize) -> Option<usize> {
    const END: &[u8] = b"-----END ";
    const KEY: &[u8] = b"PRIVATE KEY";
    const DASHES: &[u8] = b"-----";
    let mut at = 0;
    while let Some(begin) = find(line, END, at) {
        let key = find(line, KEY, begin)?;
        let end = find(line, DASHES, key)? + DASHES.len();
        if end > from {
            return Some(end);
        }
        at = end;
    }
    None
}

fn find(text: &[u8], word: &[u8], from: usize) -> Option<usize> {
    text.get(from..)?.windows(word.len()).position(|window| window == word).map(|at| from + at)
}

/// A last word of that many characters of base64 is key material, whatever a logger put before it.
const KEY_WORD_MIN_BYTES: usize = 40;

/// Whether a line (or a part of it) can be the inside of a private key.
pub(super) fn is_key_body(text: &[u8]) -> bool {
    const HEADERS: [&[u8]; 5] = [b"Proc-Type:", b"DEK-Info:", b"Version:", b"Comment:", b"Hash:"];
    let text = text.trim_ascii();
    let base64 =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'\\');
    let quoting = |byte: &u8| matches!(byte, b'"' | b'\'' | b',');
    if text.iter().all(|byte| base64(byte) || quoting(byte)) || HEADERS.iter().any(|h| text.starts_with(h)) {
        return true;
    }
    let last = text.rsplit(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    last.len() >= KEY_WORD_MIN_BYTES && last.iter().all(|byte| base64(byte) || quoting(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_compiles_within_its_limit() {
        for built_in in &BUILT_IN {
            assert!(built_in.regex().is_some(), "{}", built_in.name);
        }
        assert_eq!(ALL, (1 << BUILT_IN.len()) - 1);
    }

    #[test]
    fn what_the_line_itself_is_not_a_key() {
        assert!(is_key_body(b"MIIEowIBAAKCAQEA3Tz2mr7SZiAMfQyuvBjM9Oi"));
        assert!(is_key_body(b"") && is_key_body(b"  DEK-Info: AES-128-CBC,00\r"));
        assert!(is_key_body(b"12:00 INFO MIIEowIBAAKCAQEA3Tz2mr7SZiAMfQyuvBjM9OiMIIEowIBAAKC"));
        assert!(!is_key_body(b"next: line") && !is_key_body(b"a b"));
    }

    #[test]
    fn the_end_of_a_key_is_found_behind_a_place() {
        let line = b"x-----END RSA PRIVATE KEY-----y-----END PRIVATE KEY-----z";
        assert_eq!(key_end(line, 0), Some(30));
        assert_eq!(key_end(line, 29), Some(30));
        assert_eq!(key_end(line, 30), Some(line.len() - 1));
        assert_eq!(key_end(line, line.len()), None);
        assert_eq!(key_end(b"-----END CERTIFICATE-----", 0), None);
        assert_eq!(key_end(b"-----END PRIVATE KEY", 0), None);
    }
}
