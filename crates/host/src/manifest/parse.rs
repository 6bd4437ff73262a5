//! From the text of a file to its tree, in any of the three formats, within bounds.

use std::collections::HashSet;

use serde_json::Number;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::text::shown;
use super::tree::{Member, Node, Place, Tree, Unit};
use super::{Format, json, yaml};

/// How deep values may nest.
pub const DEPTH_MAX: usize = 64;
/// How many values a manifest may hold.
pub const NODES_MAX: usize = 50_000;

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) at: Place,
    pub(super) rule: &'static str,
    pub(super) message: String,
}

/// The tree, if the text has one, and what is wrong with it.
pub(super) struct Parsed {
    pub(super) root: Option<Node>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) unit: Unit,
}

/// Reads a text in a format.
pub(super) fn parse(text: &str, format: Format) -> Parsed {
    let mut builder = Builder::default();
    let (done, unit) = match format {
        Format::Json => (json::parse(text, &mut builder), Unit::Bytes),
        Format::Yaml => (yaml::parse(text, &mut builder), Unit::Characters),
        Format::Toml => (toml(text, &mut builder), Unit::Bytes),
    };
    let mut mistakes = builder.mistakes;
    let root = match done {
        Ok(root) => Some(root),
        Err(mistake) => {
            mistakes.push(mistake);
            None
        }
    };
    Parsed { root, mistakes, unit }
}

/// Counts what is built, and collects what is wrong without an end of reading.
#[derive(Default)]
pub(super) struct Builder {
    nodes: usize,
    mistakes: Vec<Mistake>,
}

impl Builder {
    /// Notes one more value, this deep.
    pub(super) fn count(&mut self, at: Place, depth: usize) -> Result<(), Mistake> {
        self.nodes += 1;
        if depth > DEPTH_MAX {
            let message = format!("values nest deeper than {DEPTH_MAX}; a manifest needs no such depth");
            return Err(Mistake { at, rule: "too-deep", message });
        }
        if self.nodes > NODES_MAX {
            return Err(Mistake { at, rule: "too-large", message: format!("more than {NODES_MAX} values") });
        }
        Ok(())
    }

    /// The names of one table.
    #[expect(clippy::unused_self, reason = "reads like its pair `is_new`")]
    pub(super) fn names(&self) -> HashSet<String> {
        HashSet::new()
    }

    /// Notes a name; one that was there is a mistake.
    pub(super) fn is_new(&mut self, names: &mut HashSet<String>, name: &str, at: Place) -> bool {
        let new = names.insert(name.to_owned());
        if !new {
            self.mistake(at, "duplicate-key", format!("'{}' is given twice", shown(name)));
        }
        new
    }

    /// Notes something wrong that does not end reading.
    pub(super) fn mistake(&mut self, at: Place, rule: &'static str, message: String) {
        if self.mistakes.len() <= super::FINDINGS_MAX {
            self.mistakes.push(Mistake { at, rule, message });
        }
    }
}

/// The number, if it is finite.
pub(super) fn finite(number: f64) -> Option<Number> {
    Number::from_f64(number)
}

fn toml(text: &str, builder: &mut Builder) -> Result<Node, Mistake> {
    match DeTable::parse(text) {
        Ok(table) => {
            let value = toml_table(table.get_ref(), builder, 0)?;
            Ok(Node { at: 0, value })
        }
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().trim().replace('\n', ", ");
            let rule = if message.contains("duplicate key") { "duplicate-key" } else { "syntax" };
            Err(Mistake { at, rule, message })
        }
    }
}

fn toml_table(table: &DeTable<'_>, builder: &mut Builder, depth: usize) -> Result<Tree, Mistake> {
    let mut members = Vec::with_capacity(table.len());
    for (name, value) in table {
        let at = name.span().start;
        let value = toml_value(value, builder, depth + 1)?;
        members.push(Member { at, name: name.get_ref().to_string(), value });
    }
    // The order of the file, not of the names.
    members.sort_by_key(|member| member.at);
    Ok(Tree::Table(members))
}

fn toml_value(
    value: &toml::Spanned<DeValue<'_>>,
    builder: &mut Builder,
    depth: usize,
) -> Result<Node, Mistake> {
    let at = value.span().start;
    builder.count(at, depth)?;
    let value = match value.get_ref() {
        DeValue::String(text) => Tree::Text(text.to_string()),
        DeValue::Integer(number) => Tree::Number(toml_integer(number).ok_or_else(|| Mistake {
            at,
            rule: "syntax",
            message: format!("the number {} is too large", super::text::shown(&number.to_string())),
        })?),
        DeValue::Float(number) => match toml_float(number) {
            Some(number) => Tree::Number(number),
            None => {
                builder.mistake(at, "wrong-type", "nan and inf are no values here".to_owned());
                Tree::Null
            }
        },
        DeValue::Boolean(value) => Tree::Boolean(*value),
        DeValue::Datetime(date) => Tree::Date(date.to_string()),
        DeValue::Array(values) => {
            let nodes: Result<Vec<Node>, Mistake> =
                values.iter().map(|value| toml_value(value, builder, depth + 1)).collect();
            Tree::List(nodes?)
        }
        DeValue::Table(table) => toml_table(table, builder, depth)?,
    };
    Ok(Node { at, value })
}

fn toml_integer(number: &DeInteger<'_>) -> Option<Number> {
    i64::from_str_radix(number.as_str(), number.radix()).ok().map(Number::from)
}

fn toml_float(number: &DeFloat<'_>) -> Option<Number> {
    number.as_str().parse().ok().and_then(finite)
}
