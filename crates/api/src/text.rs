//! Text of strangers: which characters mislead whoever reads it, and words for a shell.

/// Whether a character changes how its neighbours are shown, or is not shown at all: bidirectional controls, zero-width
/// characters, line and paragraph separators, tags (Unicode 16.0, chapters 23.2, 23.8 and 23.9). Control characters
/// ([`char::is_control`]) are a matter of their own. The one list: what is shown to people escapes these, and a name that is
/// chosen may hold none but the [joiners](is_joiner).
///
/// ```
/// use ringfence_api::text::is_hidden;
///
/// assert!(is_hidden('\u{202e}') && is_hidden('\u{200b}') && is_hidden('\u{e0041}'));
/// assert!(!is_hidden('é') && !is_hidden(' '));
/// ```
#[must_use]
pub const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a hidden character joins or parts its neighbours, which emoji and some scripts cannot do without.
///
/// ```
/// assert!(ringfence_api::text::is_joiner('\u{200d}'));
/// ```
#[must_use]
pub const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// A word as a shell takes it: as it is when that is safe, else in single quotes. Control characters are not changed; a text
/// of a stranger is escaped before.
///
/// ```
/// use ringfence_api::text::shell_word;
///
/// assert_eq!(shell_word("network:request=api.example.com:443"), "network:request=api.example.com:443");
/// assert_eq!(shell_word("file:read=/it's/**"), r"'file:read=/it'\''s/**'");
/// assert_eq!(shell_word(""), "''");
/// ```
#[must_use]
pub fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:=._-+,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
