//! JSON Schema 2020-12 within bounds: a schema comes from a stranger, and so do the values that it judges.
//!
//! A schema is analysed before it is compiled: its size, depth, references and the work that it can cause. References that
//! leave the document are refused, so nothing is ever fetched; loops and explosions are refused; patterns are matched in
//! linear time. What a value costs to judge is bounded before it is judged. Faults name the place, the rule and the shape of
//! what is there, never the value itself: it may be a secret.
//!
//! Start reading at [`CompiledSchema`]; the bounds are in [`graph`](self) and documented at each constant. This module
//! knows no plugin and no store. `format` is an annotation, as the specification has it by default.

use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

mod defaults;
mod fault;
mod graph;
mod pattern;
mod work;

pub use fault::{SchemaError, SchemaFault};
pub use graph::{PATTERNS_MAX, SCHEMA_DEPTH_MAX, SCHEMA_MAX_BYTES};
pub use work::WORK_MAX;

use graph::Graph;

/// The most faults that one judgement reports.
pub const FAULTS_MAX: usize = 20;

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
/// assert_eq!(schema.defaults(&json!({})), json!({ "target": "de" }));
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
    /// [`SCHEMA_DEPTH_MAX`], refers to another document, loops, causes too much work, has a pattern that cannot be matched in
    /// linear time, declares another draft, or is no schema.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let graph = Graph::build(schema)?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex().size_limit(pattern::SIZE_MAX_BYTES))
            .offline()
            .build(schema)
            .map_err(|error| fault::of_schema(&error))?;
        Ok(Self { graph, validator })
    }

    /// Judges a value.
    ///
    /// # Errors
    /// The first [`FAULTS_MAX`] faults. A value that would cost more than [`WORK_MAX`] steps is not judged: it has one fault
    /// of the rule `too-complex`.
    pub fn validate(&self, value: &Value) -> Result<(), Vec<SchemaFault>> {
        if work::exceeds(&self.graph, value) {
            return Err(vec![SchemaFault::too_complex()]);
        }
        if self.validator.is_valid(value) {
            return Ok(());
        }
        Err(self.validator.iter_errors(value).take(FAULTS_MAX).map(|error| fault::of_value(&error)).collect())
    }

    /// The value with what it leaves out and the schema has a `default` for, in nested objects too. Objects that are not
    /// there are not made up.
    #[must_use]
    pub fn defaults(&self, value: &Value) -> Value {
        defaults::fill(&self.graph, value)
    }

    /// JSON pointers of the values that are never shown again (`writeOnly: true`), with `*` for every element of a list and
    /// every name that is not listed. Inside a schema that contains itself the first level is named; [`redact`](Self::redact)
    /// finds all.
    #[must_use]
    pub fn secret_paths(&self) -> Vec<String> {
        defaults::secret_paths(&self.graph)
    }

    /// The value with `"***"` in the place of every secret. Whatever any branch of the schema calls a secret is one.
    #[must_use]
    pub fn redact(&self, value: &Value) -> Value {
        defaults::redact(&self.graph, value)
    }
}

#[cfg(test)]
mod tests;
