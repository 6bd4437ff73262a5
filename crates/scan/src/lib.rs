//! Looks at the code of a package without running it: what it would do, which permissions that needs, and what it hides.
//!
//! [`scan`] walks a directory and gives a [`Raw`] result; [`Raw::judged`] makes a [`Report`] of it, with the permissions that
//! the manifest does not ask for. The two are apart because the first parses hostile bytes, with parsers written in C, and so
//! runs in a sandbox where it can, while the second believes nothing of what the first says but that it was said.
//!
//! Findings inform. Code can always be written so that no rule sees what it does; what holds is the sandbox in which it
//! runs. [`blocking`] lets an administrator say which rules refuse a package all the same.
//!
//! This crate deliberately knows no home, no host and no terminal, and starts no process. It follows no link, waits for no
//! pipe, and its time and memory are bounded by [`limits`]. [`RULES`] is a good place to start reading.

pub mod limits;

mod binary;
mod disguise;
mod file;
mod hits;
mod installer;
mod kind;
mod meaning;
mod python;
mod report;
mod rule;
mod script;
mod secret;
mod shell;
mod tree;
mod walk;

#[cfg(test)]
mod tests;

pub use report::{Finding, NotRead, Place, Ran, Raw, Report, blocking};
pub use rule::{Language, Names, RULES, Rule, Severity, Use, rule, unknown_rules};
pub use walk::{scan, scan_file};
