//! A quick look for bytes that could begin a secret, so that plain output never meets a regular expression.
//!
//! All literals are searched at once, bit by bit: each position of each literal owns one bit of a word, a
//! table says for every byte which positions it fits, and one shift and one `and` per byte move all the
//! literals along. The table is made by the compiler; starting costs nothing. A literal's bit stands for a few
//! characters that every match of its patterns contains (a test proves that), not for a secret: what it hits
//! is then judged by the patterns.

use super::pattern::{self, Patterns};

/// A few characters of a secret, each a byte or a `[set]` of bytes, and the patterns they may belong to.
struct Literal {
    text: &'static [u8],
    case: Case,
    patterns: Patterns,
}

#[derive(Clone, Copy)]
enum Case {
    Exact,
    Any,
}

const fn exact(text: &'static str, patterns: Patterns) -> Literal {
    Literal { text: text.as_bytes(), case: Case::Exact, patterns }
}

const fn any_case(text: &'static str, patterns: Patterns) -> Literal {
    Literal { text: text.as_bytes(), case: Case::Any, patterns }
}

/// INVARIANT: 64 positions in all, one for each bit of a word. Literals of one length may share a row: what
/// the mixture hits too often is judged by the patterns anyway.
const LITERALS: &[Literal] = &[
    exact("[gn][hp][mopsru]_", pattern::GITHUB | pattern::NPM),
    exact("_pat", pattern::GITHUB),
    exact("A[IKS][Iz][Aa]", pattern::AWS | pattern::GOOGLE),
    exact("xox[abeoprs]", pattern::SLACK),
    exact("[hrs][fk][_-]", pattern::SK | pattern::HUGGING_FACE | pattern::RINGFENCE),
    exact("[gp][ly]p[ai]", pattern::GITLAB | pattern::PYPI),
    exact("[_S][lP][iX][v-]", pattern::STRIPE | pattern::GOOGLE_SECRET),
    exact("eyJ", pattern::JWT),
    exact("-BEG", pattern::PRIVATE_KEY),
    any_case("eare", pattern::BEARER),
    any_case("oriz", pattern::AUTHORIZATION),
    any_case("ass[pw]", pattern::KEY_VALUE),
    any_case("pwd", pattern::KEY_VALUE),
    any_case("ecre", pattern::KEY_VALUE),
    any_case("oken", pattern::KEY_VALUE),
    any_case("[_.ehinst-]key", pattern::KEY_VALUE),
    exact("://", pattern::URL | pattern::SLACK_HOOK),
];

struct Table {
    /// For each byte, the positions it fits.
    fits: [u64; 256],
    /// The first position of each literal.
    first: u64,
    /// The last position of each literal.
    last: u64,
    /// For each last position, the patterns to ask.
    patterns: [Patterns; 64],
}

static TABLE: Table = table();

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, where an index out of range is an error")]
const fn table() -> Table {
    let mut table = Table { fits: [0; 256], first: 0, last: 0, patterns: [0; 64] };
    let mut bit = 0;
    let mut l = 0;
    while l < LITERALS.len() {
        let Literal { text, case, patterns } = &LITERALS[l];
        table.first |= 1 << bit;
        let mut i = 0;
        while i < text.len() {
            let set = text[i] == b'[';
            i += set as usize;
            loop {
                let byte = text[i];
                table.fits[byte as usize] |= 1 << bit;
                if matches!(case, Case::Any) {
                    table.fits[byte.to_ascii_uppercase() as usize] |= 1 << bit;
                }
                i += 1;
                if !set || text[i] == b']' {
                    break;
                }
            }
            i += set as usize;
            bit += 1;
        }
        table.last |= 1 << (bit - 1);
        table.patterns[bit - 1] = *patterns;
        l += 1;
    }
    assert!(bit <= 64, "the literals have more positions than a word has bits");
    table
}

/// How many bytes are stepped through between two looks at the result.
const STRIDE: usize = 32;

#[inline]
#[expect(clippy::indexing_slicing, reason = "a byte is always an index into 256 places")]
fn step(state: u64, byte: u8) -> u64 {
    ((state << 1) | TABLE.first) & TABLE.fits[byte as usize]
}

/// The place of the last byte of the first literal in `bytes`.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    let mut state = 0_u64;
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    for (n, stride) in strides.iter().enumerate() {
        let before = state;
        let mut seen = 0;
        for &byte in stride {
            state = step(state, byte);
            seen |= state;
        }
        if seen & TABLE.last != 0 {
            return place(before, stride).map(|at| n * STRIDE + at);
        }
    }
    place(state, rest).map(|at| strides.len() * STRIDE + at)
}

fn place(mut state: u64, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| {
        state = step(state, byte);
        state & TABLE.last != 0
    })
}

/// All patterns of which a literal is in `line`.
pub(super) fn patterns_in(line: &[u8]) -> Patterns {
    let (mut state, mut seen) = (0, 0);
    for &byte in line {
        state = step(state, byte);
        seen |= state;
    }
    seen &= TABLE.last;
    let mut patterns = 0;
    while seen != 0 {
        let bit = seen.trailing_zeros() as usize;
        patterns |= TABLE.patterns.get(bit).copied().unwrap_or_default();
        seen &= seen - 1;
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_literal_is_found_at_any_offset_and_asks_its_patterns() {
        for (text, patterns) in [
            ("ghp_", pattern::GITHUB),
            ("npm_", pattern::NPM),
            ("github_pat_", pattern::GITHUB),
            ("AKIA", pattern::AWS),
            ("AIza", pattern::GOOGLE),
            ("xoxb", pattern::SLACK),
            ("sk-", pattern::SK),
            ("pypi", pattern::PYPI),
            ("glpat", pattern::GITLAB),
            ("sk_live", pattern::STRIPE),
            ("eyJ", pattern::JWT),
            ("-BEGIN", pattern::PRIVATE_KEY),
            ("BeaReR", pattern::BEARER),
            ("Authorization", pattern::AUTHORIZATION),
            ("PASSPHRASE", pattern::KEY_VALUE),
            ("db_pwd", pattern::KEY_VALUE),
            ("Secret", pattern::KEY_VALUE),
            ("TOKEN", pattern::KEY_VALUE),
            ("apikey", pattern::KEY_VALUE),
            ("http://", pattern::URL | pattern::SLACK_HOOK),
            ("rf_", pattern::RINGFENCE),
            ("hf_", pattern::HUGGING_FACE),
            ("GOCSPX-", pattern::GOOGLE_SECRET),
        ] {
            for offset in 0..70 {
                let line = format!("{}{text}..", ".".repeat(offset));
                let at = find(line.as_bytes()).expect(text);
                assert!((offset..offset + text.len()).contains(&at), "{text} {offset} {at}");
                assert_eq!(patterns_in(line.as_bytes()) & patterns, patterns, "{text}");
            }
        }
    }

    #[test]
    fn the_table_of_the_compiler_is_the_one_of_this_machine() {
        let made = table();
        assert!(made.fits == TABLE.fits && made.patterns == TABLE.patterns);
        assert_eq!((made.first, made.last), (TABLE.first, TABLE.last));
        assert_eq!(made.first.count_ones() as usize, LITERALS.len());
        assert_eq!(made.last.count_ones() as usize, LITERALS.len());
        let asked = LITERALS.iter().fold(0, |all, literal| all | literal.patterns);
        assert_eq!(asked, pattern::ALL, "each pattern has a literal");
    }

    #[test]
    fn plain_text_is_not_suspicious() {
        for line in ["", "GHP_", "Compiling serde v1.0", "12:00 INFO ready on port 80", "ke\ny", "s k-"] {
            assert_eq!((find(line.as_bytes()), patterns_in(line.as_bytes())), (None, 0), "{line}");
        }
    }
}
