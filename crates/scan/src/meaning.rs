//! What names stand for, as far as a file says it in one place: imports, plain assignments, and constant texts.
//!
//! Flow and scopes are not followed: a name stands for everything that it is given anywhere in the file, so that code which
//! assigns it twice hides nothing.

use std::collections::HashMap;

use crate::limits::{BINDINGS_MAX, FOLDED_MAX_BYTES, MEANINGS_MAX};

/// A dotted name that an expression refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) name: String,
    /// Whether a part of it was put together from pieces.
    pub(crate) assembled: bool,
}

impl Path {
    pub(crate) fn plain(name: impl Into<String>) -> Self {
        Self { name: name.into(), assembled: false }
    }

    /// The member of that name.
    pub(crate) fn member(&self, member: &Text) -> Option<Self> {
        let long = self.name.len() + member.text.len() > FOLDED_MAX_BYTES;
        (!long).then(|| Self {
            name: format!("{}.{}", self.name, member.text),
            assembled: self.assembled || member.assembled,
        })
    }
}

/// A text that an expression always gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// Whether it was put together from pieces.
    pub(crate) assembled: bool,
}

impl Text {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), assembled: false }
    }

    /// This text and the next piece.
    pub(crate) fn and(mut self, next: &Self) -> Option<Self> {
        if self.text.len() + next.text.len() > FOLDED_MAX_BYTES {
            return None;
        }
        self.text.push_str(&next.text);
        self.assembled = true;
        Some(self)
    }
}

/// The names of one file.
#[derive(Debug, Default)]
pub(crate) struct Names {
    paths: HashMap<String, Vec<Path>>,
    texts: HashMap<String, Vec<Text>>,
    /// Names that the file defines itself, as functions or parameters of an unknown kind.
    own: std::collections::HashSet<String>,
    /// Names for something that was decoded.
    decoded: std::collections::HashSet<String>,
    /// Modules whose names were all taken in.
    pub(crate) stars: Vec<String>,
}

impl Names {
    fn is_full(&self) -> bool {
        self.paths.len() + self.texts.len() + self.own.len() + self.decoded.len() > BINDINGS_MAX
    }

    pub(crate) fn bind(&mut self, name: &str, path: Path) {
        // A name for itself says nothing, and would be looked up for ever.
        if self.is_full() || path.name == name {
            return;
        }
        let meanings = self.paths.entry(name.to_owned()).or_default();
        if meanings.len() < MEANINGS_MAX && !meanings.contains(&path) {
            meanings.push(path);
        }
    }

    pub(crate) fn bind_text(&mut self, name: &str, text: Text) {
        if self.is_full() {
            return;
        }
        let meanings = self.texts.entry(name.to_owned()).or_default();
        if meanings.len() < MEANINGS_MAX && !meanings.contains(&text) {
            meanings.push(text);
        }
    }

    pub(crate) fn define(&mut self, name: &str) {
        if !self.is_full() {
            self.own.insert(name.to_owned());
        }
    }

    pub(crate) fn bind_decoded(&mut self, name: &str) {
        if !self.is_full() {
            self.decoded.insert(name.to_owned());
        }
    }

    pub(crate) fn star(&mut self, module: &str) {
        if self.stars.len() < MEANINGS_MAX && !self.stars.iter().any(|known| known == module) {
            self.stars.push(module.to_owned());
        }
    }

    /// What a name stands for; empty when nothing is known.
    pub(crate) fn paths(&self, name: &str) -> &[Path] {
        self.paths.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The one text that a name stands for.
    pub(crate) fn text(&self, name: &str) -> Option<Text> {
        match self.texts.get(name).map(Vec::as_slice) {
            Some([only]) => Some(only.clone()),
            _ => None,
        }
    }

    pub(crate) fn is_own(&self, name: &str) -> bool {
        self.own.contains(name)
    }

    pub(crate) fn is_decoded(&self, name: &str) -> bool {
        self.decoded.contains(name)
    }
}

/// The escapes that Python, JavaScript and `$'...'` of the shell have in common.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(character) = chars.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        let Some(next) = chars.next() else { break };
        let made = match next {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            '\n' => None,
            'x' => number(&mut chars, 0, 16, 2),
            'U' => number(&mut chars, 0, 16, 8),
            'u' if chars.peek() == Some(&'{') => {
                chars.next();
                let code: String = chars.by_ref().take_while(|next| *next != '}').take(8).collect();
                u32::from_str_radix(&code, 16).ok().and_then(char::from_u32)
            }
            'u' => number(&mut chars, 0, 16, 4),
            '0'..='7' => number(&mut chars, next.to_digit(8).unwrap_or(0), 8, 2),
            other => Some(other),
        };
        out.extend(made);
    }
    out
}

/// Goes on reading a number with at most `most` more digits.
fn number(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    first: u32,
    radix: u32,
    most: usize,
) -> Option<char> {
    let mut value = first;
    for _ in 0..most {
        let Some(digit) = chars.peek().and_then(|next| next.to_digit(radix)) else { break };
        value = value.saturating_mul(radix).saturating_add(digit);
        chars.next();
    }
    char::from_u32(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_as_the_interpreters_do() {
        assert_eq!(unescape(r"\x73\u0079\163\u{74}e\m\n"), "system\n");
        assert_eq!(unescape("a\\"), "a");
        assert_eq!(unescape(r"\ud800\x"), "\0", "half a pair is no character, and no digits are nothing");
    }

    #[test]
    fn a_name_keeps_all_that_it_was_given_and_no_end_of_it() {
        let mut names = Names::default();
        for number in 0..100 {
            names.bind("a", Path::plain(format!("m{number}")));
        }
        assert_eq!(names.paths("a").len(), MEANINGS_MAX);
        names.bind("os", Path::plain("os"));
        assert!(names.paths("os").is_empty());
        names.bind_text("t", Text::plain("x"));
        assert_eq!(names.text("t"), Some(Text::plain("x")));
        names.bind_text("t", Text::plain("y"));
        assert_eq!(names.text("t"), None, "two texts are none");
    }
}
