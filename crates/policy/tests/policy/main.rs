//! What grants mean, seen from outside: against a second, tiny evaluator, against hostile input, and case by
//! case where the words of the documentation matter.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests stop the test that uses them"
)]

mod decisions;
mod floor;
mod fuzzed;
mod hostile;
mod hosts;
mod inclusion;
mod paths;
mod policies;
mod random;
mod reference;
