//! The limits and rules that a run can break, one word each.
//!
//! The words are stable: they stand in reports, audit records and metrics. This module says nothing about how
//! a violation is detected or proven.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The limit or rule that a run broke.
///
/// In JSON and on the command line it is the snake_case word, such as `file_size`.
///
/// ```
/// use ringfence_api::Violation;
///
/// assert_eq!(Violation::FileSize.to_string(), "file_size");
/// assert_eq!("timeout".parse::<Violation>()?, Violation::Timeout);
/// assert_eq!(Violation::Timeout.exec_exit_status(), 124);
/// # Ok::<(), ringfence_api::UnknownViolation>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// It ran longer than its wall-clock limit.
    Timeout,
    /// It needed more memory than its limit.
    Memory,
    /// It wrote more to stdout and stderr together than its limit.
    Output,
    /// It used more processor time than its limit.
    Cpu,
    /// It wrote a file larger than its limit.
    FileSize,
    /// It wanted more processes and threads than its limit.
    Processes,
    /// It made a system call that the sandbox forbids.
    Syscall,
    /// It tried something for which it had no permission, and that ended the run.
    Permission,
    /// It broke the plugin protocol.
    Protocol,
}

impl Violation {
    /// All violations, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Memory,
        Self::Output,
        Self::Cpu,
        Self::FileSize,
        Self::Processes,
        Self::Syscall,
        Self::Permission,
        Self::Protocol,
    ];

    /// The stable word, such as `file_size`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Cpu => "cpu",
            Self::FileSize => "file_size",
            Self::Processes => "processes",
            Self::Syscall => "syscall",
            Self::Permission => "permission",
            Self::Protocol => "protocol",
        }
    }

    /// The exit status of `ringfence exec` after this violation: 124 for a timeout (as `timeout(1)` has it),
    /// 122 for any other.
    #[must_use]
    pub const fn exec_exit_status(self) -> u8 {
        match self {
            Self::Timeout => 124,
            _ => 122,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Violation {
    type Err = UnknownViolation;

    /// # Errors
    ///
    /// [`UnknownViolation`] when `text` is not exactly one of the nine words.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|violation| violation.as_str() == text)
            .ok_or_else(|| UnknownViolation { text: text.to_owned() })
    }
}

/// A word that names no violation.
///
/// ```
/// use ringfence_api::Violation;
///
/// let error = "slow".parse::<Violation>().unwrap_err();
/// assert!(error.to_string().starts_with("'slow' is not a violation"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{}' is not a violation; choose timeout, memory, output, cpu, file_size, processes, syscall, permission \
     or protocol",
    .text.escape_debug()
)]
pub struct UnknownViolation {
    /// The word as it was given.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_the_same_in_text_and_json_and_comes_back() {
        for violation in Violation::ALL {
            let json = serde_json::to_string(&violation).unwrap();
            assert_eq!(json, format!("\"{violation}\""));
            assert_eq!(serde_json::from_str::<Violation>(&json).unwrap(), violation);
            assert_eq!(violation.as_str().parse(), Ok(violation));
        }
    }

    #[test]
    fn only_a_timeout_has_the_status_of_timeout() {
        let with_124: Vec<_> = Violation::ALL.into_iter().filter(|v| v.exec_exit_status() == 124).collect();
        assert_eq!(with_124, [Violation::Timeout]);
        assert!(Violation::ALL.iter().all(|v| matches!(v.exec_exit_status(), 122 | 124)));
    }

    #[test]
    fn other_words_and_other_case_are_refused_and_the_choices_listed() {
        for text in ["", "Timeout", "file-size", "slow\n"] {
            let error = text.parse::<Violation>().unwrap_err();
            assert!(Violation::ALL.iter().all(|v| error.to_string().contains(v.as_str())), "{error}");
            assert!(!error.to_string().contains('\n'));
        }
    }
}
