//! JSON Schema 2020-12 within bounds: a schema comes from a stranger, and so do the values that it judges.
//!
//! A schema is analysed before it is compiled: its size, depth, references and the work that it can cause. References that
//! leave the document are refused, so nothing is ever fetched; loops and explosions are refused; patterns are matched in
//! linear time. Analysis counts its steps before it takes them, within one budget for all schemas of a manifest. What a
//! value costs to judge is bounded before it is judged. Faults name the place, the rule and the shape of
//! what is there, never the value itself: it may be a secret.
//!
//! Start reading at [`CompiledSchema`]; the bounds are in [`graph`](self) and documented at each constant. This module
//! knows no plugin and no store. `format` is an annotation, as the specification has it by default.

use std::fmt;

use jsonschema::{Draft, Validator};
use serde_json::Value;

mod budget;
mod builder;
mod cost;
mod defaults;
mod fault;
mod graph;
mod hidden;
mod pattern;
mod unique;
mod walk;
mod work;

pub(crate) use budget::Budget;
pub use budget::COMPILE_STEPS_MAX;
pub use fault::{SchemaError, SchemaFault};
pub use graph::{PATTERNS_MAX, SCHEMA_DEPTH_MAX, SCHEMA_MAX_BYTES};
pub use hidden::SECRET_MASK;
pub use work::WORK_MAX;

use graph::Graph;
use walk::TooFar;
use work::Size;

/// The most faults that one judgement reports.
pub const FAULTS_MAX: usize = 20;
/// The memory that the faults of one value may take, in bytes: the engine gathers all of them before the first is seen.
const FAULTS_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What a fault takes besides its place.
const FAULT_BYTES: u64 = 256;

/// A schema, ready to judge values.
///
/// ```
/// use ringfence::schema::CompiledSchema;
/// use serde_json::json;
///
/// let schema = CompiledSchema::compile(&json!({
///     "type": "object",
///     "properties": {
///         "target": { "type": "string", "enum": ["de", "fr"], "default": "de" },
///         "token": { "type": "string", "writeOnly": true },
///     },
///     "additionalProperties": false,
/// }))?;
/// assert!(schema.validate(&json!({ "target": "fr" })).is_ok());
/// let faults = schema.validate(&json!({ "target": "it" })).unwrap_err();
/// assert_eq!((faults[0].pointer.as_str(), faults[0].rule.as_str()), ("/target", "enum"));
///
/// assert_eq!(schema.defaults(&json!({})).unwrap(), json!({ "target": "de" }));
/// assert_eq!(schema.secret_paths(), ["/token"]);
/// assert_eq!(schema.redact(&json!({ "token": "hunter2" })), json!({ "token": "***" }));
/// # Ok::<(), ringfence::schema::SchemaError>(())
/// ```
pub struct CompiledSchema {
    graph: Graph,
    validator: Validator,
}

impl fmt::Debug for CompiledSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledSchema").field("graph", &self.graph).finish_non_exhaustive()
    }
}

impl CompiledSchema {
    /// Analyses and compiles a schema, within a second whatever it says.
    ///
    /// # Errors
    /// [`SchemaError`] with the place in the schema: it is larger than [`SCHEMA_MAX_BYTES`] or deeper than
    /// [`SCHEMA_DEPTH_MAX`], refers to another document, loops, causes too much work ([`COMPILE_STEPS_MAX`]), has a pattern
    /// that cannot be matched in linear time, declares another draft, or is no schema.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        Self::compile_within(schema, &mut Budget::default())
    }

    /// The same for one of several schemas, which share a budget.
    pub(crate) fn compile_within(schema: &Value, budget: &mut Budget) -> Result<Self, SchemaError> {
        let graph = Graph::build(schema, budget)?;
        defaults::bound(&graph, budget)?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(pattern::options())
            .with_keyword(unique::KEYWORD, unique::keyword)
            .offline()
            .build(schema)
            .map_err(|error| fault::of_schema(&error))?;
        Ok(Self { graph, validator })
    }

    /// Judges a value.
    ///
    /// # Errors
    /// The first [`FAULTS_MAX`] faults; of a value so large that its faults could fill the memory, one. A value that would
    /// cost more than [`WORK_MAX`] steps is not judged: it has one fault of the rule `too-complex`.
    pub fn validate(&self, value: &Value) -> Result<(), Vec<SchemaFault>> {
        let size = Size::of(value);
        if work::exceeds(&self.graph, value, &size) {
            return Err(vec![SchemaFault::too_complex()]);
        }
        if self.validator.is_valid(value) { Ok(()) } else { Err(self.faults(value, size)) }
    }

    /// What is wrong with a value that is wrong.
    fn faults(&self, value: &Value, size: Size) -> Vec<SchemaFault> {
        let each = FAULT_BYTES + size.pointer_bytes as u64;
        let all = work::count(&self.graph, value).map(|steps| steps.saturating_mul(each));
        if all.is_some_and(|bytes| bytes <= FAULTS_MAX_BYTES) {
            let errors = self.validator.iter_errors(value).take(FAULTS_MAX);
            return errors.map(|error| fault::of_value(&error)).collect();
        }
        // The first one is made alone, unless a choice between several is wrong.
        let first = if self.graph.has_choices { None } else { self.validator.validate(value).err() };
        vec![first.map_or_else(SchemaFault::unplaced, |error| fault::of_value(&error))]
    }

    /// The value with what it leaves out and the schema has a `default` for, in nested objects too. Objects that are not
    /// there are not made up.
    ///
    /// # Errors
    /// A fault of the rule `too-complex` for a value that is too large or deep to be filled in within bounded steps.
    pub fn defaults(&self, value: &Value) -> Result<Value, SchemaFault> {
        defaults::fill(&self.graph, value).map_err(|TooFar| SchemaFault::too_complex())
    }

    /// JSON pointers of the values that are never shown again (`writeOnly: true`), with `*` for every element of a list and
    /// every name that is not listed. Inside a schema that contains itself the first level is named, and at most 1,000 are
    /// listed; [`redact`](Self::redact) finds all.
    #[must_use]
    pub fn secret_paths(&self) -> Vec<String> {
        hidden::paths(&self.graph)
    }

    /// The value with [`SECRET_MASK`] in the place of every secret. Whatever any branch of the schema calls a secret is one,
    /// and so is everything in a value that is too large or deep to be looked through in bounded steps.
    #[must_use]
    pub fn redact(&self, value: &Value) -> Value {
        hidden::redact(&self.graph, value)
    }

    /// JSON pointers of what this schema hides of a value and another one would show; without another one, all that it hides.
    #[must_use]
    pub(crate) fn shown_by(&self, other: Option<&Self>, value: &Value) -> Vec<String> {
        let after = other.map_or_else(|| value.clone(), |other| other.redact(value));
        let mut found = Vec::new();
        hidden::uncovered(&self.redact(value), &after, &mut String::new(), &mut found);
        found
    }
}

#[cfg(test)]
mod tests;
