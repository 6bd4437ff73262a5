//! Text for people: what a stranger wrote stands in a page as text, escaped, in one direction, and cut.

use maud::{Markup, Render, html};
use ringfence_api::text::is_hidden;

/// The longest short text of a stranger, in characters: a description, a reason, a name.
pub(crate) const SHORT_MAX_CHARS: usize = 400;
/// The longest long one: a line of a log, an error with its hint, a default value.
pub(crate) const LONG_MAX_CHARS: usize = 4_000;

/// A text of a stranger. What hides, moves or controls other text stands as its code; HTML is escaped by the template.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    text: &'a str,
    max_chars: usize,
}

/// A short text of a stranger: all of it that a page shows goes through here or [`long`].
pub(crate) const fn shown(text: &str) -> Shown<'_> {
    Shown { text, max_chars: SHORT_MAX_CHARS }
}

/// A long text of a stranger.
pub(crate) const fn long(text: &str) -> Shown<'_> {
    Shown { text, max_chars: LONG_MAX_CHARS }
}

impl Render for Shown<'_> {
    fn render(&self) -> Markup {
        let (plain, cut) = plain(self.text, self.max_chars);
        html! { bdi { (plain) @if cut { span.cut title="The text goes on" { "…" } } } }
    }
}

/// The text without what misleads, and whether it was cut. For attributes and forms.
pub(crate) fn plain(text: &str, max_chars: usize) -> (String, bool) {
    let mut out = String::new();
    for (index, character) in text.chars().enumerate() {
        if index >= max_chars {
            return (out, true);
        }
        if is_inert(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    (out, false)
}

/// Whether a character shows itself and nothing else. Line ends and tabs are no controls of a page.
pub(crate) fn is_inert(character: char) -> bool {
    matches!(character, '\n' | '\t') || !(character.is_control() || is_hidden(character))
}

/// A moment in UTC, to the second.
pub(crate) fn time(at_ms: i64) -> Markup {
    let text = crate::time::utc(at_ms);
    let machine = text.replace(' ', "T");
    html! { time datetime=(machine) { (text) } }
}

/// A size in the unit in which it is read best.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000), ("B", 1)];
    let (unit, size) = UNITS.into_iter().find(|(_, size)| bytes >= *size).unwrap_or(("B", 1));
    let tenths = bytes.saturating_mul(10) / size;
    if tenths.is_multiple_of(10) || size == 1 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// A time span in milliseconds in the unit in which it is read best.
pub(crate) fn span(ms: u64) -> String {
    if ms >= 1_000 && ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}

/// A time span in microseconds in the unit in which it is read best.
pub(crate) fn micros(us: u64) -> String {
    let (unit, size) = match us {
        0..1_000 => return format!("{us} µs"),
        1_000..1_000_000 => ("ms", 1_000),
        _ => ("s", 1_000_000),
    };
    let tenths = us / (size / 10);
    if tenths.is_multiple_of(10) || tenths >= 1_000 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> String {
        shown(text).render().into_string()
    }

    #[test]
    fn what_a_stranger_wrote_is_text_and_nothing_else() {
        assert_eq!(rendered("<script>x</script>"), "<bdi>&lt;script&gt;x&lt;/script&gt;</bdi>");
        assert_eq!(rendered("\u{1b}[2J\u{202e}\0"), "<bdi>\\u{1b}[2J\\u{202e}\\u{0}</bdi>");
        assert!(rendered(&"é".repeat(401)).contains("goes on"));
        assert!(!rendered(&"é".repeat(400)).contains("goes on"));
    }

    #[test]
    fn figures_are_read_easily() {
        assert_eq!([0, 999, 1_540, 500_000_000].map(bytes), ["0 B", "999 B", "1.5 KB", "500 MB"]);
        assert_eq!([250, 1_000, 1_500].map(span), ["250 ms", "1 s", "1500 ms"]);
        assert_eq!(
            [0, 999, 1_000, 1_540, 123_456, 2_500_000].map(micros),
            ["0 µs", "999 µs", "1 ms", "1.5 ms", "123 ms", "2.5 s"]
        );
    }
}
