//! From an installed plugin and its grants to what the sandbox runs.

mod interpreter;
