//! What a pattern may be, and what it costs to match.

use jsonschema::{Draft, PatternOptions, Regex, Validator};
use regex::RegexBuilder;
use serde_json::Value;

use super::budget::Budget;
use super::fault::SchemaError;

/// The largest compiled pattern, in bytes.
pub(super) const SIZE_MAX_BYTES: usize = 256 * 1024;
/// The longest pattern that is read, in bytes.
const PATTERN_MAX_BYTES: usize = 4 * 1024;
/// Compiled sizes in bytes with what one byte of text then costs at most, in steps: an automaton that does not fit its
/// cache walks through all its states for every byte.
const COSTS: [(usize, u64); 4] = [(8 * 1024, 1), (32 * 1024, 4), (64 * 1024, 16), (SIZE_MAX_BYTES, 64)];

/// How patterns are compiled, here and in the engine.
pub(super) fn options() -> PatternOptions<Regex> {
    PatternOptions::regex().size_limit(SIZE_MAX_BYTES)
}

/// The steps that a byte of text costs; an error says what is wrong with the pattern.
pub(super) fn cost(pattern: &str, place: &str, budget: &mut Budget) -> Result<u64, SchemaError> {
    let refused = |why: String| SchemaError::new(place, why);
    if pattern.len() > PATTERN_MAX_BYTES {
        return Err(refused(format!("the pattern is longer than {PATTERN_MAX_BYTES} bytes")));
    }
    for (size, cost) in COSTS {
        // Compiling ends at this size, so its time goes with it.
        budget.spend(size as u64 / 32, place)?;
        match RegexBuilder::new(pattern).size_limit(size).build() {
            Ok(_) => return Ok(cost),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(_) => {
                let why = "the pattern cannot be matched in linear time: no look-around, no back-references";
                return Err(refused(why.to_owned()));
            }
        }
    }
    Err(refused(format!("the pattern becomes larger than {SIZE_MAX_BYTES} bytes")))
}

/// A pattern of `patternProperties`, which matches a name just when the engine says so.
#[derive(Debug)]
pub(super) struct Matcher {
    engine: Validator,
}

impl Matcher {
    /// Of a pattern whose [`cost`] is known.
    pub(super) fn new(pattern: &str, place: &str) -> Result<Self, SchemaError> {
        let schema = serde_json::json!({ "pattern": pattern });
        let engine = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(options())
            .offline()
            .build(&schema)
            .map_err(|_| SchemaError::new(place, "the pattern cannot be used"))?;
        Ok(Self { engine })
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.engine.is_valid(&Value::String(name.to_owned()))
    }
}
