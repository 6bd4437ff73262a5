//! Text for people: nothing that a terminal would obey, words as a shell takes them, sizes with few digits.

use ringfence::consent::{SHOWN_MAX_CHARS, shown};
use ringfence_api::text::{is_hidden, shell_word};

/// The text without anything that a terminal would obey: control characters and the invisible ones that turn
/// or hide text are escaped; a line end at the very end is left out.
pub(crate) fn printable(text: &str) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\t') || is_hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// One line of somebody else's text, whole: escaped as [`shown`] does it, line ends too, and nothing cut off.
pub(crate) fn one_line(text: &str) -> String {
    let characters: Vec<char> = text.trim_end_matches('\n').chars().collect();
    characters.chunks(SHOWN_MAX_CHARS).map(|piece| shown(&piece.iter().collect::<String>())).collect()
}

/// The same for a text that may have several lines: line ends stay.
pub(crate) fn lines(text: &str) -> String {
    text.lines().map(one_line).collect::<Vec<_>>().join("\n")
}

/// At most `width` characters of a text; what was cut shows as `…`.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept.push('…');
    kept
}

/// A command line as it can be typed again: arguments with special characters are quoted, control characters
/// escaped.
pub(crate) fn command_line(command: &[String]) -> String {
    command.iter().map(|argument| shell_word(&printable(argument))).collect::<Vec<_>>().join(" ")
}

/// A size for people: three digits are enough.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} KB", bytes / 1_000),
        10_000_000..=9_999_999_999 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_whole_and_cannot_turn_a_terminal() {
        let text = format!("{}\u{1b}[2J\nend\n", "x".repeat(SHOWN_MAX_CHARS * 2));
        let line = one_line(&text);
        assert!(line.ends_with("\\u{1b}[2J\\nend") && !line.contains('…'), "{line}");
        assert_eq!(lines("a\u{202e}\nb"), "a\\u{202e}\nb");
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("grüße", 4), "grü…");
    }
}
