//! Text that hides what it is: characters that nobody sees, names that look like others, and what no person can read.

use std::collections::BTreeSet;

use crate::hits::{Hits, Source};
use crate::rule::Language;

/// A line of code that is longer can hardly be read, in characters.
const LINE_LONG_CHARS: usize = 2_000;
/// Letters and digits in a row that are no word, in bytes.
const BLOB_MIN_BYTES: usize = 200;
/// How evenly such a row uses its characters, in bits for each: English has 4.1, base64 close to 6, hexadecimal 4.
const BLOB_MIN_BITS: f64 = 4.7;
/// Escaped characters in a row.
const ESCAPES_MIN: usize = 40;
/// Names like `_0x1a2b` that make a file the work of an obfuscator.
const PACKED_NAMES_MIN: usize = 5;
/// The longest name that is looked at, in bytes.
const NAME_MAX_BYTES: usize = 256;

/// Looks at the characters of a text.
pub(crate) fn look(language: Language, source: &Source<'_>, hits: &mut Hits) {
    characters(source, hits);
    if language == Language::Text {
        return;
    }
    names(source, hits);
    rows(source, hits);
    lines(source, hits);
    if matches!(language, Language::JavaScript | Language::TypeScript) {
        packed(source, hits);
    }
    if language == Language::Python {
        encoding(source, hits);
    }
}

fn characters(source: &Source<'_>, hits: &mut Hits) {
    if source.text.is_ascii() {
        return;
    }
    let mut before = '\0';
    for (at, character) in source.text.char_indices() {
        if is_bidirectional(character) {
            hits.at("bidirectional-text", source, at, &format!("U+{:04X}", u32::from(character)));
        } else if is_invisible(character, before, at) {
            hits.at("invisible-text", source, at, &format!("U+{:04X}", u32::from(character)));
        }
        before = character;
    }
}

fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

fn is_invisible(character: char, before: char, at: usize) -> bool {
    match character {
        // A mark of the byte order may begin a file.
        '\u{feff}' => at > 0,
        // These two join letters of some scripts, and pictures; between letters of ASCII they do nothing.
        '\u{200c}' | '\u{200d}' => before.is_ascii(),
        // One chooses the form of the character before it; a row of them is a message.
        '\u{fe00}'..='\u{fe0f}' => {
            before.is_ascii_alphanumeric() && !before.is_ascii_digit() || is_selector(before)
        }
        '\u{e0100}'..='\u{e01ef}' => true,
        // Flags of regions are written with tags behind a black flag.
        '\u{e0000}'..='\u{e007f}' => before != '\u{1f3f4}' && !matches!(before, '\u{e0000}'..='\u{e007f}'),
        _ => matches!(
            character,
            '\u{200b}'
                | '\u{180e}'
                | '\u{2060}'..='\u{2065}'
                | '\u{206a}'..='\u{206f}'
                | '\u{3164}'
                | '\u{ffa0}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
        ),
    }
}

fn is_selector(character: char) -> bool {
    matches!(character, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Words of letters from two alphabets whose letters look the same.
fn names(source: &Source<'_>, hits: &mut Hits) {
    if source.text.is_ascii() {
        return;
    }
    let mut at = 0;
    for word in source.text.split(|c: char| !c.is_alphanumeric() && c != '_') {
        let start = at;
        // The separator behind it is one character, of whatever length.
        at += word.len();
        at += source.text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        if word.len() > NAME_MAX_BYTES || word.is_ascii() {
            continue;
        }
        let latin = word.chars().any(|c| c.is_ascii_alphabetic());
        let other = word
            .chars()
            .any(|c| matches!(c, '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{52f}' | '\u{ff21}'..='\u{ff5a}'));
        // A Greek letter alone is a quantity: `Δt`, `µs`.
        let lookalike = word.chars().any(is_lookalike);
        if latin && other && lookalike {
            hits.at("mixed-script-name", source, start, &format!("'{}'", word.escape_unicode_beyond_ascii()));
        }
    }
}

/// Letters of Cyrillic, Greek and full width that look like a letter of ASCII.
fn is_lookalike(character: char) -> bool {
    "асеорхуіјѕԁԛԝһАВЕКМНОРСТУХЅІЈαονρικΑΒΕΖΗΙΚΜΝΟΡΤΥΧ".contains(character)
        || matches!(character, '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}')
}

trait Escaped {
    fn escape_unicode_beyond_ascii(&self) -> String;
}

impl Escaped for str {
    /// The letters that look alike as numbers, so that they do not look alike here.
    fn escape_unicode_beyond_ascii(&self) -> String {
        self.chars()
            .map(|c| if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() })
            .collect()
    }
}

/// Long rows of letters and digits, and of escapes.
fn rows(source: &Source<'_>, hits: &mut Hits) {
    let bytes = source.text.as_bytes();
    let mut start = 0;
    for end in 0..=bytes.len() {
        let goes_on =
            bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(byte));
        if goes_on {
            continue;
        }
        if end - start >= BLOB_MIN_BYTES {
            let row = bytes.get(start..end).unwrap_or_default();
            let before = source.text.get(..start).unwrap_or_default();
            if is_unreadable(row) && !is_picture(before) {
                hits.at("encoded-text", source, start, &format!("a row of {} characters", end - start));
            }
        }
        start = end + 1;
    }
    escapes(source, hits);
}

/// `data:image/png;base64,` says what follows.
fn is_picture(before: &str) -> bool {
    let tail: String = before.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
    ["data:image/", "data:font/", "data:audio/"].iter().any(|kind| tail.contains(kind)) && tail.ends_with(',')
        || tail.ends_with("sha256-")
        || tail.ends_with("sha384-")
        || tail.ends_with("sha512-")
}

fn is_unreadable(row: &[u8]) -> bool {
    let hexadecimal = row.iter().all(u8::is_ascii_hexdigit) && row.iter().any(u8::is_ascii_digit);
    // A ruler of one character is no text.
    let distinct: BTreeSet<u8> = row.iter().copied().collect();
    (hexadecimal && distinct.len() >= 8) || bits_for_each(row) >= BLOB_MIN_BITS
}

/// The entropy of the characters of a row.
#[expect(clippy::cast_precision_loss, reason = "a length below a megabyte is exact")]
fn bits_for_each(row: &[u8]) -> f64 {
    let mut counts = [0_usize; 256];
    for byte in row {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let length = row.len() as f64;
    let share = |count: usize| count as f64 / length;
    counts.iter().filter(|count| **count > 0).map(|count| -share(*count) * share(*count).log2()).sum()
}

/// Text that is written as numbers: `\x65\x76\x61\x6c`.
fn escapes(source: &Source<'_>, hits: &mut Hits) {
    let bytes = source.text.as_bytes();
    let (mut at, mut first, mut count) = (0, 0, 0_usize);
    while at < bytes.len() {
        let length = match bytes.get(at..at + 2) {
            Some(b"\\x") => 4,
            Some(b"\\u") => 6,
            _ => 0,
        };
        if length > 0 {
            first = if count == 0 { at } else { first };
            count += 1;
            at += length;
            continue;
        }
        if count >= ESCAPES_MIN {
            hits.at("encoded-text", source, first, &format!("a row of {count} escaped characters"));
        }
        count = 0;
        at += 1;
    }
    if count >= ESCAPES_MIN {
        hits.at("encoded-text", source, first, &format!("a row of {count} escaped characters"));
    }
}

/// The first line that is too long; one is enough to know what kind of file it is.
fn lines(source: &Source<'_>, hits: &mut Hits) {
    let mut at = 0;
    for line in source.text.split('\n') {
        if line.len() > LINE_LONG_CHARS && line.chars().count() > LINE_LONG_CHARS {
            hits.at("long-line", source, at, &format!("a line of {} characters", line.chars().count()));
            return;
        }
        at += line.len() + 1;
    }
}

/// Names as obfuscators make them: `_0x3f2a`.
fn packed(source: &Source<'_>, hits: &mut Hits) {
    let mut names = BTreeSet::new();
    let mut first = None;
    for (at, _) in source.text.match_indices("_0x") {
        let digits = source.text.as_bytes().get(at + 3..).unwrap_or_default();
        let length = digits.iter().take(NAME_MAX_BYTES).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if length < 3 {
            continue;
        }
        first.get_or_insert(at);
        names.insert(digits.get(..length).unwrap_or_default());
        if names.len() >= PACKED_NAMES_MIN {
            break;
        }
    }
    if let Some(at) = first.filter(|_| names.len() >= PACKED_NAMES_MIN) {
        let example = source.text.get(at..at + 6).unwrap_or("_0x");
        hits.at("packed-names", source, at, &format!("this file ('{example}')"));
    }
}

/// A declaration in the first two lines, by which Python reads the file (PEP 263).
fn encoding(source: &Source<'_>, hits: &mut Hits) {
    const PLAIN: &[&str] = &[
        "utf-8",
        "utf8",
        "utf-8-sig",
        "utf_8",
        "ascii",
        "us-ascii",
        "latin-1",
        "latin1",
        "iso-8859-1",
        "iso-8859-15",
        "cp1252",
    ];
    let mut at = 0;
    for line in source.text.split('\n').take(2) {
        let comment = line.trim_start_matches('\u{feff}').trim_start();
        if comment.starts_with('#')
            && let Some(found) = comment.find("coding").map(|found| found + "coding".len())
            && let Some(name) = comment.get(found..).and_then(|rest| rest.strip_prefix([':', '=']))
        {
            let name: String = name
                .trim_start()
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
                .take(40)
                .collect();
            if !PLAIN.contains(&name.to_ascii_lowercase().as_str()) {
                hits.at("odd-encoding", source, at, &format!("a file in '{name}'"));
            }
        }
        at += line.len() + 1;
    }
}
