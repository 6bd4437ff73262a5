//! The system call filter: which calls a sandbox may make, as data with a reason for each group, and the classic BPF
//! program that holds it.
//!
//! The program is a balanced tree over ranges of call numbers. The kernel runs every filter once for each call number
//! at installation, to know which calls are allowed whatever their arguments (seccomp_cache_prepare), so the cost of
//! installing grows with the length of the path, not of the program: a linear list of 124 instructions took 98 µs, a
//! tree of the same size takes a fifth of that. Translating it to machine code grows with the program; branches that end
//! alike therefore share their end.

mod assemble;
mod table;

pub(crate) use assemble::assemble;
pub use table::reasons;
pub(crate) use table::{Choice, filter, init_filter};

/// What the filter does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The kernel goes on.
    Allow,
    /// The call fails with this errno.
    Errno(u16),
    /// PID 1 is told, counts it and answers.
    Report,
    /// The process is killed with SIGSYS: another architecture's calls, whose numbers mean something else.
    Kill,
}

/// A condition on the low 32 bits of one argument (on both halves where `Whole` says so).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// `argument & mask == value`
    Masked { argument: u8, mask: u32, value: u32 },
    /// All 64 bits of the argument are these.
    Whole { argument: u8, value: u64 },
}

/// What to do with one call: the first clause whose tests all hold decides; else the last action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) clauses: Vec<(Vec<Test>, Action)>,
    pub(crate) otherwise: Action,
}

impl Judgement {
    pub(crate) fn always(action: Action) -> Self {
        Self { clauses: Vec::new(), otherwise: action }
    }
}
