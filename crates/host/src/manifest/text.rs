//! Which characters a text of a manifest may hold. What a plugin says of itself is shown to whoever consents, so nothing in
//! it may hide, reorder or overwrite other text.

use ringfence_api::text::{is_hidden, is_joiner};

/// Whether a character hides or reorders text and has no place in a name or a text of a plugin: the joiners have one, because
/// emoji and some scripts need them.
pub(crate) fn is_misleading(c: char) -> bool {
    c.is_control() || (is_hidden(c) && !is_joiner(c))
}

/// The first character of a text that no manifest may hold. Line breaks and tabs are judged by the field.
pub(crate) fn forbidden(text: &str) -> Option<char> {
    text.chars().find(|c| is_misleading(*c) && !matches!(c, '\n' | '\t'))
}

/// The longest piece of a stranger's text that a message repeats, in bytes.
const SHOWN_MAX_BYTES: usize = 80;

/// A stranger's text as a message shows it: escaped, cut.
pub(crate) fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_MAX_BYTES);
    let cut = text.get(..end).unwrap_or_default();
    let mut shown: String = cut
        .chars()
        .flat_map(|c| if c.is_control() || is_hidden(c) { c.escape_default().collect() } else { vec![c] })
        .collect();
    if end < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_reorders_is_found_and_ordinary_writing_is_not() {
        for bad in
            ["a\0b", "\u{1b}[2J", "a\u{202e}b", "a\u{200b}", "\u{feff}a", "a\r\nb", "\u{2066}", "\u{e0041}"]
        {
            assert!(forbidden(bad).is_some(), "{bad:?}");
        }
        for good in ["", "two\nlines\twith a tab", "größe 日本語", "שלום", "👩\u{200d}💻", "don't \"quote\""]
        {
            assert_eq!(forbidden(good), None, "{good:?}");
        }
    }

    #[test]
    fn a_long_or_hostile_text_is_shown_short_and_in_one_line() {
        assert_eq!(shown("a\nb\u{202e}"), "a\\nb\\u{202e}");
        let long = shown(&"é".repeat(500));
        assert!(long.ends_with('…') && long.len() <= SHOWN_MAX_BYTES + '…'.len_utf8());
    }
}
