//! Reads a schema into its subschemas, within a budget.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::budget::Budget;
use super::fault::SchemaError;
use super::graph::{Id, PATTERNS_MAX, SCHEMA_DEPTH_MAX, SCHEMA_MAX_BYTES, Sub};
use super::pattern::{self, Matcher};

/// The draft that is read.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Refuses what is too large or deep before anything walks it.
fn measure(schema: &Value) -> Result<(), SchemaError> {
    let mut bytes = 0_usize;
    let mut stack = vec![(schema, 0_usize)];
    while let Some((value, depth)) = stack.pop() {
        if depth > SCHEMA_DEPTH_MAX {
            return Err(SchemaError::new("", format!("the schema nests deeper than {SCHEMA_DEPTH_MAX}")));
        }
        bytes += match value {
            Value::String(text) => text.len() + 2,
            Value::Array(_) | Value::Object(_) => 2,
            // A number or word, about.
            _ => 4,
        };
        match value {
            Value::Array(elements) => {
                bytes += elements.len();
                stack.extend(elements.iter().map(|element| (element, depth + 1)));
            }
            Value::Object(members) => {
                bytes += members.iter().map(|(name, _)| name.len() + 4).sum::<usize>();
                stack.extend(members.values().map(|member| (member, depth + 1)));
            }
            _ => {}
        }
        if bytes > SCHEMA_MAX_BYTES {
            return Err(SchemaError::new("", format!("the schema is larger than {SCHEMA_MAX_BYTES} bytes")));
        }
    }
    Ok(())
}

/// Where the subschemas of a keyword are.
enum Below {
    /// The value is one.
    One,
    /// The value is a list of them.
    List,
    /// The values of the members are.
    Members,
}

/// What the subschemas of a keyword judge.
enum Target {
    /// The same value, run so many times.
    InPlace(u64),
    Properties,
    Patterns,
    Additional,
    Names,
    Prefix,
    Items,
    SomeElements,
    /// Nothing until something refers to them.
    Nothing,
}

/// The keywords with subschemas (2020-12 core, chapters 8 and 10; applicator and unevaluated vocabularies), and those of older
/// drafts that the engine still obeys. An `anyOf` is run once to know and once to say why.
const KEYWORDS: [(&str, Below, Target); 22] = [
    ("allOf", Below::List, Target::InPlace(1)),
    ("anyOf", Below::List, Target::InPlace(2)),
    ("oneOf", Below::List, Target::InPlace(2)),
    ("not", Below::One, Target::InPlace(1)),
    ("if", Below::One, Target::InPlace(2)),
    ("then", Below::One, Target::InPlace(1)),
    ("else", Below::One, Target::InPlace(1)),
    ("dependentSchemas", Below::Members, Target::InPlace(1)),
    ("properties", Below::Members, Target::Properties),
    ("patternProperties", Below::Members, Target::Patterns),
    ("additionalProperties", Below::One, Target::Additional),
    ("unevaluatedProperties", Below::One, Target::Additional),
    ("propertyNames", Below::One, Target::Names),
    ("prefixItems", Below::List, Target::Prefix),
    ("items", Below::One, Target::Items),
    ("contains", Below::One, Target::SomeElements),
    ("unevaluatedItems", Below::One, Target::SomeElements),
    ("$defs", Below::Members, Target::Nothing),
    ("definitions", Below::Members, Target::Nothing),
    ("contentSchema", Below::One, Target::Nothing),
    ("dependencies", Below::Members, Target::InPlace(1)),
    ("additionalItems", Below::One, Target::SomeElements),
];

/// A reference that waits until all subschemas are known.
struct Reference {
    from: Id,
    to: String,
    pointer: String,
}

/// The subschemas as they are found.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) subs: Vec<Sub>,
    /// Where each stands.
    pub(super) pointers: Vec<String>,
    pub(super) has_choices: bool,
    places: HashMap<String, Id>,
    anchors: HashMap<String, Id>,
    references: Vec<Reference>,
    patterns: usize,
}

impl Builder {
    pub(super) fn build(schema: &Value, budget: &mut Budget) -> Result<Self, SchemaError> {
        measure(schema)?;
        let mut builder = Self::default();
        builder.add(schema, String::new(), budget)?;
        builder.connect()?;
        Ok(builder)
    }

    /// Adds a subschema and all below it. The depth was measured before, so this recursion is bounded.
    fn add(&mut self, schema: &Value, pointer: String, budget: &mut Budget) -> Result<Id, SchemaError> {
        let id = self.subs.len();
        self.subs.push(Sub::new());
        self.places.insert(pointer.clone(), id);
        self.pointers.push(pointer.clone());
        match schema {
            Value::Bool(_) => {}
            Value::Object(members) => {
                let sub = self.object(id, members, &pointer, budget)?;
                if let Some(slot) = self.subs.get_mut(id) {
                    *slot = sub;
                }
            }
            _ => return Err(SchemaError::new(pointer, "a schema is an object, true or false")),
        }
        Ok(id)
    }

    fn object(
        &mut self,
        id: Id,
        members: &Map<String, Value>,
        pointer: &str,
        budget: &mut Budget,
    ) -> Result<Sub, SchemaError> {
        self.names(id, members, pointer)?;
        let mut sub = Sub::new();
        for (name, value) in members {
            sub.own_cost = sub.own_cost.saturating_add(keyword_cost(name, value));
            let place = joined(pointer, name, budget)?;
            match name.as_str() {
                "default" => sub.default = Some(value.clone()),
                "writeOnly" => sub.write_only = *value == Value::Bool(true),
                "pattern" => {
                    let text = value.as_str().unwrap_or_default();
                    sub.text_cost = sub.text_cost.saturating_add(self.pattern(text, &place, budget)?);
                }
                "patternProperties" => {
                    for pattern in value.as_object().into_iter().flat_map(Map::keys) {
                        // Once for its schema and once to know what is additional.
                        let cost = self.pattern(pattern, &place, budget)?.saturating_mul(2);
                        sub.name_cost = sub.name_cost.saturating_add(cost);
                    }
                }
                // Counting characters, sixteen at a time or better.
                "minLength" | "maxLength" => sub.text_cost = sub.text_cost.saturating_add(1),
                "additionalProperties" | "propertyNames" => sub.name_cost = sub.name_cost.saturating_add(1),
                "unevaluatedProperties" => {
                    sub.name_cost = sub.name_cost.saturating_add(1);
                    sub.factor = sub.factor.saturating_mul(2);
                }
                "unevaluatedItems" => sub.factor = sub.factor.saturating_mul(2),
                "uniqueItems" => sub.whole_cost = sub.whole_cost.saturating_add(1),
                "anyOf" | "oneOf" => self.has_choices = true,
                "required" | "type" if value.is_array() => names_only(value, &place)?,
                "dependentRequired" | "dependencies" => {
                    for names in
                        value.as_object().into_iter().flat_map(Map::values).filter(|it| it.is_array())
                    {
                        names_only(names, &place)?;
                    }
                }
                _ => {}
            }
            self.keyword(&mut sub, name, value, &place, budget)?;
        }
        Ok(sub)
    }

    /// Identifiers, anchors and references.
    fn names(&mut self, id: Id, members: &Map<String, Value>, pointer: &str) -> Result<(), SchemaError> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if let Some(draft) = text("$schema").filter(|draft| draft.trim_end_matches('#') != DRAFT) {
            let message = format!(
                "only {DRAFT} is read, not '{}'; leave $schema out",
                crate::manifest::text::shown(draft)
            );
            return Err(SchemaError::new(format!("{pointer}/$schema"), message));
        }
        if id != 0 && members.contains_key("$id") {
            return Err(SchemaError::new(
                format!("{pointer}/$id"),
                "an inner $id is not supported; use $anchor or $defs",
            ));
        }
        for name in ["$anchor", "$dynamicAnchor"] {
            // Of two of the same name the engine could mean the one that was not counted.
            if let Some(anchor) = text(name)
                && self.anchors.insert(anchor.to_owned(), id).is_some_and(|known| known != id)
            {
                let message = format!("the anchor '{}' stands twice", crate::manifest::text::shown(anchor));
                return Err(SchemaError::new(format!("{pointer}/{name}"), message));
            }
        }
        for name in ["$ref", "$dynamicRef"] {
            if let Some(to) = text(name) {
                let pointer = format!("{pointer}/{name}");
                self.references.push(Reference { from: id, to: to.to_owned(), pointer });
            }
        }
        Ok(())
    }

    /// Steps for each 16 bytes.
    fn pattern(&mut self, pattern: &str, place: &str, budget: &mut Budget) -> Result<u64, SchemaError> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(SchemaError::new(place, format!("the schema has more than {PATTERNS_MAX} patterns")));
        }
        Ok(pattern::cost(pattern, place, budget)?.saturating_mul(16))
    }

    fn keyword(
        &mut self,
        sub: &mut Sub,
        name: &str,
        value: &Value,
        place: &str,
        budget: &mut Budget,
    ) -> Result<(), SchemaError> {
        let Some((_, below, target)) = KEYWORDS.iter().find(|(keyword, _, _)| *keyword == name) else {
            return Ok(());
        };
        let mut found: Vec<(&str, Id)> = Vec::new();
        match (below, value) {
            (Below::One, Value::Object(_) | Value::Bool(_)) => {
                found.push(("", self.add(value, place.to_owned(), budget)?));
            }
            (Below::List, Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    let at = joined(place, &index.to_string(), budget)?;
                    found.push(("", self.add(value, at, budget)?));
                }
            }
            (Below::Members, Value::Object(members)) => {
                for (key, value) in members {
                    // A list of names, in `dependencies` of older drafts.
                    if value.is_array() {
                        continue;
                    }
                    let at = joined(place, key, budget)?;
                    found.push((key, self.add(value, at, budget)?));
                }
            }
            // The schema of schemas says what is wrong with any other.
            _ => {}
        }
        for (key, id) in found {
            match target {
                Target::InPlace(times) => sub.in_place.push((id, *times)),
                Target::Properties => {
                    sub.properties.insert(key.to_owned(), id);
                }
                Target::Patterns => sub.patterns.push((Matcher::new(key, place)?, id)),
                Target::Additional => sub.additional.push(id),
                Target::Names => sub.names = Some(id),
                Target::Prefix => sub.prefix.push(id),
                Target::Items => sub.items = Some(id),
                Target::SomeElements => sub.some_elements.push(id),
                Target::Nothing => {}
            }
        }
        Ok(())
    }

    /// Resolves references, which all stay in the document.
    fn connect(&mut self) -> Result<(), SchemaError> {
        for reference in std::mem::take(&mut self.references) {
            let shown = crate::manifest::text::shown(&reference.to);
            let Some(fragment) = reference.to.strip_prefix('#') else {
                let message = format!(
                    "'{shown}' refers to another document; nothing is fetched, so write it into $defs"
                );
                return Err(SchemaError::new(reference.pointer, message));
            };
            let target = if fragment.is_empty() || fragment.starts_with('/') {
                percent_decoded(fragment).and_then(|pointer| self.places.get(&pointer).copied())
            } else {
                self.anchors.get(fragment).copied()
            };
            let Some(target) = target else {
                return Err(SchemaError::new(
                    reference.pointer,
                    format!("'{shown}' leads to no schema in this document"),
                ));
            };
            if let Some(sub) = self.subs.get_mut(reference.from) {
                sub.in_place.push((target, 1));
            }
        }
        Ok(())
    }
}

/// A place one further down. Its length is paid for: with one long name above many, places are larger than the schema, here
/// and in the engine.
fn joined(pointer: &str, name: &str, budget: &mut Budget) -> Result<String, SchemaError> {
    budget.spend(1 + (pointer.len() as u64 + name.len() as u64) / 4, pointer)?;
    Ok(format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")))
}

/// The engine compares the names in a list with each other before it looks whether they are texts.
fn names_only(names: &Value, place: &str) -> Result<(), SchemaError> {
    match names.as_array().is_some_and(|names| names.iter().all(Value::is_string)) {
        true => Ok(()),
        false => {
            Err(SchemaError::new(place, "not a JSON Schema (2020-12): a list of names holds texts only"))
        }
    }
}

/// The steps of one keyword by itself.
fn keyword_cost(name: &str, value: &Value) -> u64 {
    match (name, value) {
        ("enum" | "const", _) => nodes(value),
        ("required", Value::Array(names)) => names.len() as u64,
        ("properties" | "patternProperties", Value::Object(members)) => members.len() as u64,
        ("dependentRequired" | "dependentSchemas" | "dependencies", Value::Object(members)) => {
            let lengths = members.values().map(|names| names.as_array().map_or(1, Vec::len) as u64);
            lengths.fold(1, u64::saturating_add)
        }
        _ => 1,
    }
}

/// How many values there are in a value, itself counted; 64 bytes of text count as one more.
fn nodes(value: &Value) -> u64 {
    let (mut sum, mut stack) = (0_u64, vec![value]);
    while let Some(value) = stack.pop() {
        sum += 1;
        match value {
            Value::String(text) => sum += text.len() as u64 / 64,
            Value::Array(elements) => stack.extend(elements),
            Value::Object(members) => {
                sum += members.keys().map(|name| name.len() as u64 / 64).sum::<u64>();
                stack.extend(members.values());
            }
            _ => {}
        }
    }
    sum
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
