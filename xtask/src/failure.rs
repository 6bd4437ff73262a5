//! How a chore ends when it does not succeed: one type, one exit status each.

use std::fmt::Display;

/// The end of a chore that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line was wrong; nothing was done. Exit status 2.
    Usage(String),
    /// The chore ran and found something, or could not run. Exit status 1.
    Failed(String),
    /// A program that the chore ran for the caller ended like this and has already said why.
    Status(u8),
}

impl Failure {
    /// A failure of the step `what`, with its cause.
    pub(crate) fn of(what: impl Display, cause: impl Display) -> Self {
        Self::Failed(format!("{what}: {cause}"))
    }

    /// What the caller should read, if anything is left to say.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Usage(text) | Self::Failed(text) => Some(text),
            Self::Status(_) => None,
        }
    }

    /// The exit status of `cargo xtask`.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Status(status) => *status,
        }
    }
}
