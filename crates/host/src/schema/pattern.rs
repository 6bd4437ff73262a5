//! What a pattern may be, and what it costs to match.

use regex::RegexBuilder;

/// The largest compiled pattern, in bytes.
pub(super) const SIZE_MAX_BYTES: usize = 256 * 1024;
/// The longest pattern that is read, in bytes.
const PATTERN_MAX_BYTES: usize = 4 * 1024;
/// Compiled sizes in bytes with what one byte of text then costs at most, in steps: an automaton that does not fit its
/// cache walks through all its states for every byte.
const COSTS: [(usize, u64); 4] = [(8 * 1024, 1), (32 * 1024, 4), (64 * 1024, 16), (SIZE_MAX_BYTES, 64)];

/// The steps that a byte of text costs; an error says what is wrong with the pattern.
pub(super) fn cost(pattern: &str) -> Result<u64, String> {
    if pattern.len() > PATTERN_MAX_BYTES {
        return Err(format!("the pattern is longer than {PATTERN_MAX_BYTES} bytes"));
    }
    for (size, cost) in COSTS {
        match RegexBuilder::new(pattern).size_limit(size).build() {
            Ok(_) => return Ok(cost),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(_) => {
                return Err(
                    "the pattern cannot be matched in linear time: no look-around, no back-references"
                        .to_owned(),
                );
            }
        }
    }
    Err(format!("the pattern becomes larger than {SIZE_MAX_BYTES} bytes"))
}
