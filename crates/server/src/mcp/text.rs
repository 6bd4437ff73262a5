//! Text for a model and for people: what a plugin wrote stands in it escaped and cut.

use ringfence_api::text::is_hidden;

/// The longest text of an answer, in bytes.
pub(super) const TEXT_MAX_BYTES: usize = 64 << 10;
/// The longest message or hint of an error, in characters.
pub(super) const ERROR_MAX_CHARS: usize = 4_000;

/// Text of several lines: all that misleads whoever reads it stands as escapes, and it is cut after `most` characters.
pub(super) fn lines(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (index, character) in text.chars().enumerate() {
        if index >= most {
            out.push('…');
            break;
        }
        if character != '\n' && (character.is_control() || is_hidden(character)) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// A whole answer, cut where it is too long. What it was made from is in the structured content.
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > TEXT_MAX_BYTES {
        let end = (0..=TEXT_MAX_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("\n… the rest is only in the structured content");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_escaped_and_what_is_long_is_cut() {
        assert_eq!(lines("a\u{1b}[2J\u{202e}\nb", 100), "a\\u{1b}[2J\\u{202e}\nb");
        assert_eq!(lines("abc", 2), "ab…");
        let long = bounded("é".repeat(TEXT_MAX_BYTES));
        assert!(long.len() < TEXT_MAX_BYTES + 100 && long.ends_with("structured content"));
        assert_eq!(bounded("short".to_owned()), "short");
    }
}
