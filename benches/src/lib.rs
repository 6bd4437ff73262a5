//! Measurements beside peers, in one run and as ratios.
//!
//! Absolute times of one machine say little on another, and move by a tenth within an hour on the same one. So the rows of
//! a table take turns (A B C A B C ...), what a target bounds is the median of the pair-wise ratios, and nothing here is a
//! test: a measurement ends with status 0 unless `--check` was asked for.
//!
//! Each program in `benches/` is one table or a few; `docs/benchmarks.md` says how to run and read them. Start reading at
//! [`turns::take_turns`], then [`table::Table`].

pub mod attacks;
pub mod machine;
pub mod native;
pub mod options;
pub mod output;
pub mod peers;
pub mod resident;
pub mod served;
pub mod stage;
pub mod statistics;
pub mod table;
pub mod turns;
