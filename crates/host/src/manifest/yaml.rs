//! YAML 1.2 with the place of every value, in its plain subset: one document, no anchors, aliases, tags or merge keys.
//! Without aliases a small file can never become a large tree.

use std::borrow::Cow;
use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::Number;

use super::parse::{Builder, Mistake, finite};
use super::text::shown;
use super::tree::{Member, Node, Place, Tree};

/// Reads the one document of a text.
pub(super) fn parse(text: &str, builder: &mut Builder) -> Result<Node, Mistake> {
    let mut stack: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut documents = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax(&error))?;
        let at = span.start.index();
        let done = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(mistake(at, "syntax", "a manifest is one document; there is a second one"));
                }
                None
            }
            Event::Alias(_) => return Err(mistake(at, "yaml-alias", ALIAS)),
            Event::Scalar(text, style, anchor, tag) => {
                plain_only(at, anchor, tag.as_ref())?;
                builder.count(at, stack.len())?;
                Some(Node { at, value: scalar(text, style, at, builder) })
            }
            Event::SequenceStart(anchor, tag) => {
                plain_only(at, anchor, tag.as_ref())?;
                builder.count(at, stack.len())?;
                stack.push(Open::list(at));
                None
            }
            Event::MappingStart(anchor, tag) => {
                plain_only(at, anchor, tag.as_ref())?;
                builder.count(at, stack.len())?;
                stack.push(Open::table(at, &span, builder));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => stack.pop().map(Open::close),
            _ => None,
        };
        let Some(node) = done else { continue };
        match stack.last_mut() {
            Some(open) => open.take(node, builder)?,
            None => root = Some(node),
        }
    }
    root.ok_or_else(|| mistake(0, "syntax", "the file is empty"))
}

const ALIAS: &str = "anchors and aliases are not read in a manifest; write the value out";

fn mistake(at: Place, rule: &'static str, message: impl Into<String>) -> Mistake {
    Mistake { at, rule, message: message.into() }
}

fn syntax(error: &ScanError) -> Mistake {
    let hint = if error.info().contains("tab") { " (indent with spaces)" } else { "" };
    mistake(error.marker().index(), "syntax", format!("{}{hint}", shown(error.info())))
}

fn plain_only(at: Place, anchor: usize, tag: Option<&Cow<'_, Tag>>) -> Result<(), Mistake> {
    if anchor != 0 {
        return Err(mistake(at, "yaml-alias", ALIAS));
    }
    match tag {
        Some(tag) => {
            let tag = shown(&format!("{}{}", tag.handle, tag.suffix));
            Err(mistake(at, "yaml-tag", format!("tags are not read in a manifest; remove '{tag}'")))
        }
        None => Ok(()),
    }
}

/// A list or table whose end has not come.
struct Open {
    at: Place,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Table { members: Vec<Member>, names: HashSet<String>, key: Key },
}

/// Where a table is between two values.
enum Key {
    Awaited,
    Read { name: String, at: Place, use_it: bool },
}

impl Open {
    const fn list(at: Place) -> Self {
        Self { at, content: Content::List(Vec::new()) }
    }

    fn table(at: Place, _span: &Span, builder: &Builder) -> Self {
        let content = Content::Table { members: Vec::new(), names: builder.names(), key: Key::Awaited };
        Self { at, content }
    }

    fn take(&mut self, node: Node, builder: &mut Builder) -> Result<(), Mistake> {
        match &mut self.content {
            Content::List(nodes) => nodes.push(node),
            Content::Table { members, names, key } => match std::mem::replace(key, Key::Awaited) {
                Key::Awaited => {
                    let name = name_of(&node)?;
                    let use_it = builder.is_new(names, &name, node.at);
                    *key = Key::Read { name, at: node.at, use_it };
                }
                Key::Read { name, at, use_it: true } => members.push(Member { at, name, value: node }),
                Key::Read { .. } => {}
            },
        }
        Ok(())
    }

    fn close(self) -> Node {
        let value = match self.content {
            Content::List(nodes) => Tree::List(nodes),
            Content::Table { members, .. } => Tree::Table(members),
        };
        Node { at: self.at, value }
    }
}

/// A key as text. Plain `true`, `1` or `null` as a key is the text that was written: names of tools or properties may be
/// such words, and JSON, the normal form, has only texts there.
fn name_of(node: &Node) -> Result<String, Mistake> {
    match &node.value {
        Tree::Text(text) if text == "<<" => {
            Err(mistake(node.at, "yaml-alias", "merge keys are not read in a manifest; write the values out"))
        }
        Tree::Text(text) => Ok(text.clone()),
        Tree::Boolean(value) => Ok(value.to_string()),
        Tree::Number(number) => Ok(number.to_string()),
        other => Err(mistake(node.at, "syntax", format!("a name is a text, not {}", other.kind()))),
    }
}

/// The value of a scalar by the core schema of YAML 1.2 (section 10.3.2): `no` and `on` are texts.
fn scalar(text: Cow<'_, str>, style: ScalarStyle, at: Place, builder: &mut Builder) -> Tree {
    if style != ScalarStyle::Plain {
        return Tree::Text(text.into_owned());
    }
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => return Tree::Null,
        "true" | "True" | "TRUE" => return Tree::Boolean(true),
        "false" | "False" | "FALSE" => return Tree::Boolean(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text.as_ref(), ".nan" | ".NaN" | ".NAN") {
        builder.mistake(at, "wrong-type", format!("{text} is no value here"));
        return Tree::Null;
    }
    match number(&text) {
        Some(number) => Tree::Number(number),
        None => Tree::Text(text.into_owned()),
    }
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')).map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with('+')).map(Number::from);
    }
    if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        || !text.bytes().any(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    // An `e` needs digits before it: `e5` is a word.
    let starts_like_one =
        text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if starts_like_one { text.parse().ok().and_then(finite) } else { None }
}
