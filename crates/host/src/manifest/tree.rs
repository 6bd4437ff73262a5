//! One tree for the three formats: every value with the place where it stands.

use serde_json::{Map, Number, Value};

/// A place in the text, in the unit of its [`Lines`].
pub(crate) type Place = usize;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) value: Tree,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
    /// A date or time, which only TOML has; as it was written.
    Date(String),
    List(Vec<Node>),
    Table(Vec<Member>),
}

/// One member of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) at: Place,
    pub(crate) name: String,
    pub(crate) value: Node,
}

impl Tree {
    /// What it is, as a message says it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing (null)",
            Self::Boolean(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "an object",
        }
    }
}

impl Node {
    /// The members, if it is a table.
    pub(crate) fn members(&self) -> Option<&[Member]> {
        match &self.value {
            Tree::Table(members) => Some(members),
            _ => None,
        }
    }

    /// The value of a member, if it is a table that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.members()?.iter().find(|member| member.name == name).map(|member| &member.value)
    }

    /// The same without places. A date becomes its text.
    pub(crate) fn to_value(&self) -> Value {
        match &self.value {
            Tree::Null => Value::Null,
            Tree::Boolean(value) => Value::Bool(*value),
            Tree::Number(number) => Value::Number(number.clone()),
            Tree::Text(text) | Tree::Date(text) => Value::String(text.clone()),
            Tree::List(nodes) => Value::Array(nodes.iter().map(Self::to_value).collect()),
            Tree::Table(members) => {
                let pairs = members.iter().map(|member| (member.name.clone(), member.value.to_value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// The node at a JSON pointer below this one, or the nearest one above it that exists.
    pub(crate) fn nearest(&self, pointer: &str) -> &Self {
        let mut node = self;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let next = match &node.value {
                Tree::List(nodes) => step.parse::<usize>().ok().and_then(|index| nodes.get(index)),
                Tree::Table(_) => node.get(&step),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
        }
        node
    }
}

/// What places count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Characters,
}

/// Turns places into lines and columns. Only what is reported is counted, and that is bounded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    unit: Unit,
}

impl<'a> Lines<'a> {
    pub(crate) const fn new(text: &'a str, unit: Unit) -> Self {
        Self { text, unit }
    }

    /// Where a place is in the text, in bytes.
    pub(crate) fn byte(&self, at: Place) -> usize {
        match self.unit {
            Unit::Bytes => self.text.floor_char_boundary(at),
            Unit::Characters => self.text.char_indices().nth(at).map_or(self.text.len(), |(byte, _)| byte),
        }
    }

    /// Line and column of a place, both counted from 1, the column in characters.
    pub(crate) fn line_and_column(&self, at: Place) -> (u32, u32) {
        let before = self.text.get(..self.byte(at)).unwrap_or(self.text);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (number(line), number(column))
    }
}
