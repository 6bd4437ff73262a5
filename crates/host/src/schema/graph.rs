//! A schema as a graph of its subschemas: what refers to what, and how much work that can be.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::fault::SchemaError;
use super::pattern;

/// The largest schema, in bytes of JSON.
pub const SCHEMA_MAX_BYTES: usize = 256 * 1024;
/// How deep a schema may nest.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// The most patterns in one schema: compiling one costs up to a millisecond.
pub const PATTERNS_MAX: usize = 200;
/// The most subschemas that can come to judge one and the same value, references followed. The standard's own schema needs
/// about 100.
const IN_PLACE_MAX: u64 = 10_000;

/// The draft that is read.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The index of a subschema.
pub(super) type Id = usize;

/// One subschema.
#[derive(Debug, Default)]
pub(super) struct Sub {
    /// Subschemas that judge the same value: `allOf`, `$ref` and the like; with how many times they are run.
    pub(super) in_place: Vec<(Id, u64)>,
    /// Of the named members.
    pub(super) properties: BTreeMap<String, Id>,
    /// Of members by pattern or of all others.
    pub(super) other_members: Vec<Id>,
    /// Of the first elements.
    pub(super) prefix: Vec<Id>,
    /// Of elements.
    pub(super) elements: Vec<Id>,
    /// Steps of this subschema alone.
    pub(super) own_cost: u64,
    /// Steps for each byte of a text, by its patterns.
    pub(super) byte_cost: u64,
    /// How many times everything in place is run once more, for `unevaluated...`.
    pub(super) factor: u64,
    pub(super) default: Option<Value>,
    pub(super) write_only: bool,
}

/// All subschemas; the first is the schema itself.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) subs: Vec<Sub>,
    /// The steps of the whole schema for one value when it is unfolded; `None` when it contains itself or is larger than
    /// counting is worth.
    pub(super) unfolded: Option<u64>,
    /// The steps for each byte of text, all patterns together.
    pub(super) byte_cost: u64,
}

impl Graph {
    pub(super) fn build(schema: &Value) -> Result<Self, SchemaError> {
        measure(schema)?;
        let mut builder = Builder::default();
        builder.add(schema, String::new(), 0)?;
        builder.connect()?;
        let Builder { subs, .. } = builder;
        let byte_cost = subs.iter().fold(0_u64, |sum, sub| sum.saturating_add(sub.byte_cost));
        let mut graph = Self { subs, unfolded: None, byte_cost };
        graph.bound_in_place(&builder.pointers)?;
        graph.unfolded = graph.unfold();
        Ok(graph)
    }

    pub(super) fn get(&self, id: Id) -> Option<&Sub> {
        self.subs.get(id)
    }

    /// Refuses loops and explosions among subschemas that judge the same value.
    fn bound_in_place(&self, pointers: &[String]) -> Result<(), SchemaError> {
        let edges = |sub: &Sub| sub.in_place.clone();
        let costs = Costs::of(&self.subs, &edges);
        let place = |id: Id| pointers.get(id).cloned().unwrap_or_default();
        if let Some(id) = costs.looping {
            return Err(SchemaError::new(
                place(id),
                "the schema refers to itself for the same value, without end",
            ));
        }
        match costs.all.iter().position(|cost| cost.is_none_or(|cost| cost > IN_PLACE_MAX)) {
            Some(id) => {
                let message =
                    format!("the schema causes too much work: more than {IN_PLACE_MAX} steps for one value");
                Err(SchemaError::new(place(id), message))
            }
            None => Ok(()),
        }
    }

    fn unfold(&self) -> Option<u64> {
        let edges = |sub: &Sub| {
            let below =
                sub.properties.values().chain(&sub.other_members).chain(&sub.prefix).chain(&sub.elements);
            sub.in_place.iter().copied().chain(below.map(|id| (*id, 1))).collect()
        };
        let costs = Costs::of(&self.subs, &edges);
        if costs.looping.is_some() { None } else { costs.all.first().copied().flatten() }
    }
}

/// The steps of every subschema with all that its edges lead to.
struct Costs {
    all: Vec<Option<u64>>,
    looping: Option<Id>,
}

impl Costs {
    /// Walks without recursion: a chain of references can be as long as the schema.
    fn of(subs: &[Sub], edges: &dyn Fn(&Sub) -> Vec<(Id, u64)>) -> Self {
        let mut costs = Self { all: vec![None; subs.len()], looping: None };
        let mut open = vec![false; subs.len()];
        for start in 0..subs.len() {
            let mut stack = vec![(start, false)];
            while let Some((id, done)) = stack.pop() {
                let Some(sub) = subs.get(id) else { continue };
                let (Some(is_open), Some(known)) = (open.get_mut(id), costs.all.get(id)) else { continue };
                if done {
                    *is_open = false;
                    let cost = edges(sub).into_iter().fold(sub.own_cost, |sum, (to, times)| {
                        let cost = costs.all.get(to).copied().flatten().unwrap_or(u64::MAX);
                        sum.saturating_add(cost.saturating_mul(times))
                    });
                    if let Some(slot) = costs.all.get_mut(id) {
                        *slot = Some(cost.saturating_mul(sub.factor));
                    }
                } else if known.is_none() && !*is_open {
                    *is_open = true;
                    stack.push((id, true));
                    for (to, _) in edges(sub) {
                        if open.get(to).copied().unwrap_or_default() {
                            costs.looping = costs.looping.or(Some(to));
                        } else if costs.all.get(to).copied().flatten().is_none() {
                            stack.push((to, false));
                        }
                    }
                }
            }
        }
        costs
    }
}

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
    OtherMembers,
    Prefix,
    Elements,
    /// Nothing until something refers to them.
    Nothing,
}

/// The keywords with subschemas (2020-12 core, chapters 8 and 10; applicator and unevaluated vocabularies). An `anyOf` is run
/// once to know and once to say why.
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
    ("patternProperties", Below::Members, Target::OtherMembers),
    ("additionalProperties", Below::One, Target::OtherMembers),
    ("unevaluatedProperties", Below::One, Target::OtherMembers),
    ("propertyNames", Below::One, Target::OtherMembers),
    ("prefixItems", Below::List, Target::Prefix),
    ("items", Below::One, Target::Elements),
    ("contains", Below::One, Target::Elements),
    ("unevaluatedItems", Below::One, Target::Elements),
    ("$defs", Below::Members, Target::Nothing),
    ("definitions", Below::Members, Target::Nothing),
    ("contentSchema", Below::One, Target::Nothing),
    ("dependencies", Below::Members, Target::Nothing),
    ("additionalItems", Below::One, Target::Nothing),
];

/// A reference that waits until all subschemas are known.
struct Reference {
    from: Id,
    to: String,
    pointer: String,
}

#[derive(Default)]
struct Builder {
    subs: Vec<Sub>,
    pointers: Vec<String>,
    places: HashMap<String, Id>,
    anchors: HashMap<String, Id>,
    references: Vec<Reference>,
    patterns: usize,
}

impl Builder {
    /// Adds a subschema and all below it. The depth was measured before, so this recursion is bounded.
    fn add(&mut self, schema: &Value, pointer: String, depth: usize) -> Result<Id, SchemaError> {
        let id = self.subs.len();
        self.subs.push(Sub { own_cost: 1, factor: 1, ..Sub::default() });
        self.places.insert(pointer.clone(), id);
        self.pointers.push(pointer.clone());
        match schema {
            Value::Bool(_) => {}
            Value::Object(members) => {
                let sub = self.object(id, members, &pointer, depth)?;
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
        depth: usize,
    ) -> Result<Sub, SchemaError> {
        self.names(id, members, pointer)?;
        let mut sub = Sub { factor: 1, own_cost: 1, ..Sub::default() };
        for (name, value) in members {
            sub.own_cost = sub.own_cost.saturating_add(keyword_cost(name, value));
            let place = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            match name.as_str() {
                "default" => sub.default = Some(value.clone()),
                "writeOnly" => sub.write_only = *value == Value::Bool(true),
                "pattern" => {
                    let text = value.as_str().unwrap_or_default();
                    sub.byte_cost = sub.byte_cost.saturating_add(self.pattern(text, &place)?);
                }
                "patternProperties" => {
                    for pattern in value.as_object().into_iter().flat_map(Map::keys) {
                        sub.byte_cost = sub.byte_cost.saturating_add(self.pattern(pattern, &place)?);
                    }
                }
                "unevaluatedProperties" | "unevaluatedItems" => sub.factor = sub.factor.saturating_mul(2),
                _ => {}
            }
            self.keyword(&mut sub, name, value, &place, depth)?;
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
            if let Some(anchor) = text(name) {
                self.anchors.insert(anchor.to_owned(), id);
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

    fn pattern(&mut self, pattern: &str, place: &str) -> Result<u64, SchemaError> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(SchemaError::new(place, format!("the schema has more than {PATTERNS_MAX} patterns")));
        }
        pattern::cost(pattern).map_err(|why| SchemaError::new(place, why))
    }

    fn keyword(
        &mut self,
        sub: &mut Sub,
        name: &str,
        value: &Value,
        place: &str,
        depth: usize,
    ) -> Result<(), SchemaError> {
        let Some((_, below, target)) = KEYWORDS.iter().find(|(keyword, _, _)| *keyword == name) else {
            return Ok(());
        };
        let mut found: Vec<(String, Id)> = Vec::new();
        match (below, value) {
            (Below::One, Value::Object(_) | Value::Bool(_)) => {
                found.push((String::new(), self.add(value, place.to_owned(), depth + 1)?));
            }
            (Below::List, Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    found.push((String::new(), self.add(value, format!("{place}/{index}"), depth + 1)?));
                }
            }
            (Below::Members, Value::Object(members)) => {
                for (key, value) in members {
                    // A list of names, in `dependencies` of older drafts.
                    if value.is_array() {
                        continue;
                    }
                    let at = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
                    found.push((key.clone(), self.add(value, at, depth + 1)?));
                }
            }
            // The schema of schemas says what is wrong with any other.
            _ => {}
        }
        for (key, id) in found {
            match target {
                Target::InPlace(times) => sub.in_place.push((id, *times)),
                Target::Properties => {
                    sub.properties.insert(key, id);
                }
                Target::OtherMembers => sub.other_members.push(id),
                Target::Prefix => sub.prefix.push(id),
                Target::Elements => sub.elements.push(id),
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

/// The steps of one keyword by itself.
fn keyword_cost(name: &str, value: &Value) -> u64 {
    match (name, value) {
        ("enum", Value::Array(values)) => values.len() as u64,
        ("required", Value::Array(names)) => names.len() as u64,
        _ => 1,
    }
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
