//! A pattern over bytes in which `*` stands for any number of them.
//!
//! Used for one segment of a path and for whole names. `*` is the only wildcard; `?`, `[` and `{` are ordinary
//! bytes, because real file names contain them. A backslash makes `*` and itself ordinary, and `\xHH` writes
//! any byte, so that every name has a text form.

use std::fmt;

use crate::pieces::pieces_match;

/// A compiled glob: the literal pieces between the stars, at least one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Glob {
    pieces: Vec<Box<[u8]>>,
}

/// Why a text is not a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GlobError {
    /// A backslash with something other than `*`, `\` or `xHH` behind it.
    Escape,
    /// A NUL byte, which no path and no name can have.
    Nul,
}

impl Glob {
    /// The glob that matches exactly these bytes.
    pub(crate) fn literal(bytes: &[u8]) -> Self {
        Self { pieces: vec![bytes.into()] }
    }

    /// The glob that matches everything.
    pub(crate) fn any() -> Self {
        Self { pieces: vec![Box::default(), Box::default()] }
    }

    /// Reads the text form. Stars next to each other count as one.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, GlobError> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            match byte {
                b'*' => {
                    if !piece.is_empty() || pieces.is_empty() {
                        pieces.push(std::mem::take(&mut piece).into_boxed_slice());
                    }
                }
                b'\\' => {
                    let (byte, behind) = unescape(rest).ok_or(GlobError::Escape)?;
                    rest = behind;
                    piece.push(byte);
                }
                _ => piece.push(byte),
            }
            if piece.last() == Some(&0) {
                return Err(GlobError::Nul);
            }
        }
        pieces.push(piece.into_boxed_slice());
        Ok(Self { pieces })
    }

    /// The bytes that it matches, when it has no star.
    pub(crate) fn as_literal(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether it matches these bytes, all of them.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        match self.pieces.as_slice() {
            [only] => **only == *bytes,
            pieces => pieces_match(pieces, bytes, |left, right| left == right),
        }
    }

    /// How many stars it has.
    pub(crate) fn stars(&self) -> usize {
        self.pieces.len().saturating_sub(1)
    }

    /// How many bytes everything that it matches has at least.
    pub(crate) fn literal_bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    /// Whether a literal piece has this byte.
    pub(crate) fn has_byte(&self, byte: u8) -> bool {
        self.pieces.iter().any(|piece| piece.contains(&byte))
    }

    /// Whether it matches whatever `other` matches. May say no where the answer is yes, never the reverse.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        // A star of the other is one symbol that only a star of ours can swallow.
        let mut symbols = Vec::new();
        for (index, piece) in other.pieces.iter().enumerate() {
            if index > 0 {
                symbols.push(None);
            }
            symbols.extend(piece.iter().copied().map(Some));
        }
        pieces_match(&self.pieces, &symbols, |ours, theirs| Some(*ours) == *theirs)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                f.write_str("*")?;
            }
            write_escaped(f, piece)?;
        }
        Ok(())
    }
}

/// Writes bytes so that [`Glob::parse`] reads them back as a literal and a terminal shows nothing odd.
pub(crate) fn write_escaped(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '*' | '\\' => write!(f, "\\{character}")?,
                _ if must_hide(character) => {
                    let mut buffer = [0; 4];
                    write_hex(f, character.encode_utf8(&mut buffer).as_bytes())?;
                }
                _ => write!(f, "{character}")?,
            }
        }
        write_hex(f, chunk.invalid())?;
    }
    Ok(())
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// Characters that would change what a person sees around them: controls, and those that reorder or vanish.
pub(crate) fn must_hide(character: char) -> bool {
    character.is_control() || ringfence_api::text::is_hidden(character)
}

/// The byte that the text behind a backslash stands for, and what follows.
fn unescape(rest: &[u8]) -> Option<(u8, &[u8])> {
    match rest {
        [byte @ (b'*' | b'\\'), behind @ ..] => Some((*byte, behind)),
        [b'x', high, low, behind @ ..] => Some((hex_digit(*high)? * 16 + hex_digit(*low)?, behind)),
        _ => None,
    }
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_star_is_any_number_of_bytes_and_all_else_is_itself() {
        for (pattern, text) in
            [("*", ""), ("*", ".x"), ("a*", "a"), ("*.rs", ".rs"), ("[a]?{b}", "[a]?{b}"), ("a**b", "ab")]
        {
            assert!(glob(pattern).matches(text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "A"), ("*.rs", "a.rsx"), ("a*b", "ba"), ("\\*", "a"), ("é", "e\u{301}")]
        {
            assert!(!glob(pattern).matches(text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn the_text_form_comes_back_for_every_byte() {
        for byte in 1..=255_u8 {
            let literal = Glob::literal(&[b'a', byte, b'b']);
            let text = literal.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert_eq!(glob(&text), literal, "{text}");
        }
        assert_eq!(glob("a**\\*\\x41").to_string(), "a*\\*A");
        assert_eq!(Glob::literal("a\u{202e}é".as_bytes()).to_string(), "a\\xe2\\x80\\xaeé");
    }

    #[test]
    fn bad_escapes_and_nul_are_refused() {
        for bad in ["\\", "a\\b", "\\x", "\\x4", "\\xg0", "\\x-1"] {
            assert_eq!(Glob::parse(bad.as_bytes()), Err(GlobError::Escape), "{bad}");
        }
        for bad in ["a\0", "\\x00"] {
            assert_eq!(Glob::parse(bad.as_bytes()), Err(GlobError::Nul));
        }
    }

    #[test]
    fn inclusion_follows_the_stars() {
        for (wide, narrow) in
            [("*", "a*"), ("a*", "a*b"), ("a*c", "ab*c"), ("*a*", "xa*"), ("a", "a"), ("*", "*")]
        {
            assert!(glob(wide).includes(&glob(narrow)), "{wide} {narrow}");
            assert!(wide == narrow || !glob(narrow).includes(&glob(wide)), "{narrow} {wide}");
        }
        assert!(!glob("a*b*").includes(&glob("a*")));
    }
}
