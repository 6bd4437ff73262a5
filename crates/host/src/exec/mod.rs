//! Running one command: output, limits, endings and the stored record.
//!
//! This part decides and records; it starts no process. Read in this order: [`OutputCap`] counts what the
//! command wrote, [`Redactor`] hides secrets in it, [`Listeners`] hand it to whoever watches, [`RunStore`]
//! keeps it, and [`classify`] says how the run ended. All of it is synchronous, and none of it does work at
//! start that a silent command would not need.

pub mod cap;
pub mod ending;
pub mod listener;
pub mod redact;
pub mod store;

pub use cap::OutputCap;
pub use ending::{Ending, Facts, Stop, Wait, classify, exit_status};
pub use listener::{Event, Listeners, Receiver};
pub use redact::{RedactionSet, Redactor};
pub use store::{RunId, RunMeta, RunStore, RunWriter, StoreLimits};

use serde::{Deserialize, Serialize};

/// One of the two output streams of a command.
///
/// ```
/// use ringfence::exec::Stream;
///
/// assert_eq!(Stream::Stderr.as_str(), "stderr");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl Stream {
    /// The word for the stream: `stdout` or `stderr`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_the_same_word_in_text_and_json() {
        for stream in [Stream::Stdout, Stream::Stderr] {
            assert_eq!(serde_json::to_value(stream).unwrap(), stream.as_str());
        }
    }
}
