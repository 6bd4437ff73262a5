//! JSON (RFC 8259) with the place of every value. Strict: no comments, no trailing commas, no NaN; a name that is given
//! twice is reported, not silently won by one of them.

use serde_json::Number;

use super::parse::{Builder, Mistake};
use super::tree::{Member, Node, Tree};

/// Reads the one value of a text. Names that are given twice go to the builder, and reading goes on.
pub(super) fn parse(text: &str, builder: &mut Builder) -> Result<Node, Mistake> {
    let mut parser = Parser { text, at: 0, builder };
    let node = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.mistake("there is more after the end of the object"));
    }
    Ok(node)
}

struct Parser<'t, 'b> {
    text: &'t str,
    at: usize,
    builder: &'b mut Builder,
}

impl Parser<'_, '_> {
    fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { at: self.at, rule: "syntax", message: message.into() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn found(&self) -> String {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("'{}'", super::text::shown(&c.to_string())),
            None => "the end of the file".to_owned(),
        }
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), Mistake> {
        self.skip_space();
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.mistake(format!("expected {what}, found {}", self.found())))
    }

    fn value(&mut self, depth: usize) -> Result<Node, Mistake> {
        self.skip_space();
        let at = self.at;
        self.builder.count(at, depth)?;
        let value = match self.peek() {
            Some(b'{') => self.table(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Tree::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Tree::Number(self.number()?),
            Some(b'a'..=b'z' | b'A'..=b'Z') => self.word()?,
            Some(b'/' | b'#') => return Err(self.mistake("JSON has no comments")),
            Some(b'\'') => return Err(self.mistake("a text stands in double quotes in JSON")),
            _ => return Err(self.mistake(format!("expected a value, found {}", self.found()))),
        };
        Ok(Node { at, value })
    }

    fn word(&mut self) -> Result<Tree, Mistake> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let value = match word {
            "null" => Tree::Null,
            "true" => Tree::Boolean(true),
            "false" => Tree::Boolean(false),
            "NaN" | "Infinity" => return Err(self.mistake(format!("{word} is not a number of JSON"))),
            _ => {
                let word = super::text::shown(word);
                return Err(self.mistake(format!("'{word}' is not a value; a text stands in double quotes")));
            }
        };
        self.at += end;
        Ok(value)
    }

    fn number(&mut self) -> Result<Number, Mistake> {
        let bytes = self.text.as_bytes();
        let end = bytes
            .iter()
            .skip(self.at)
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .map_or(bytes.len(), |length| self.at + length);
        let text = self.text.get(self.at..end).unwrap_or_default();
        let number = text.parse().map_err(|_not_a_number| {
            self.mistake(format!("'{}' is not a number of JSON, or too large", super::text::shown(text)))
        })?;
        self.at = end;
        Ok(number)
    }

    fn list(&mut self, depth: usize) -> Result<Tree, Mistake> {
        self.at += 1;
        let mut nodes = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Tree::List(nodes));
        }
        loop {
            nodes.push(self.value(depth + 1)?);
            self.skip_space();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Tree::List(nodes));
            }
            self.expect(b',', "',' or ']'")?;
            self.skip_space();
            if self.peek() == Some(b']') {
                return Err(self.mistake("JSON has no comma before ']'"));
            }
        }
    }

    fn table(&mut self, depth: usize) -> Result<Tree, Mistake> {
        self.at += 1;
        let mut members: Vec<Member> = Vec::new();
        let mut names = self.builder.names();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Tree::Table(members));
        }
        loop {
            self.skip_space();
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.mistake(format!("expected a name in double quotes, found {}", self.found())));
            }
            let name = self.string()?;
            self.expect(b':', "':'")?;
            let value = self.value(depth + 1)?;
            if self.builder.is_new(&mut names, &name, at) {
                members.push(Member { at, name, value });
            }
            self.skip_space();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(Tree::Table(members));
            }
            self.expect(b',', "',' or '}'")?;
            self.skip_space();
            if self.peek() == Some(b'}') {
                return Err(self.mistake("JSON has no comma before '}'"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Mistake> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ').unwrap_or(rest.len());
            text.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(b'\n' | b'\r') => return Err(self.mistake("a text ends on its own line; write \\n")),
                Some(_) => return Err(self.mistake("a control character in a text; write it as \\u00XX")),
                None => {
                    self.at = start;
                    return Err(self.mistake("this text has no end"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Mistake> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let c = match letter {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.mistake("JSON has no such escape")),
        };
        self.at += 2;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, Mistake> {
        let lone =
            |parser: &Self| parser.mistake("\\u needs four hexadecimal digits, and pairs of surrogates");
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 4)?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
                .then(|| u16::from_str_radix(digits, 16).ok())?
        };
        let first = unit(self.at + 2).ok_or_else(|| lone(self))?;
        if let Some(c) = char::from_u32(u32::from(first)) {
            self.at += 6;
            return Ok(c);
        }
        let is_pair = self.text.get(self.at + 6..self.at + 8) == Some("\\u");
        let second = if is_pair { unit(self.at + 8) } else { None }.ok_or_else(|| lone(self))?;
        let c = char::decode_utf16([first, second]).next().and_then(Result::ok).ok_or_else(|| lone(self))?;
        self.at += 12;
        Ok(c)
    }
}
