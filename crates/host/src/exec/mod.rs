//! Running one command: output, limits, endings and the stored record.
//!
//! [`Exec`] says what to run; [`Exec::run`] makes it on the caller's thread and [`Exec::spawn`] on one of its own. The grants
//! become a sandbox plan by a pure translation, and one loop passes output on, holds limits and climbs the stop ladder.
//!
//! The parts, in reading order: [`OutputCap`] counts what the
//! command wrote, [`Redactor`] hides secrets in it, [`Listeners`] hand it to whoever watches, [`RunStore`]
//! keeps it, and [`classify`] says how the run ended. All of it is synchronous, and none of it does work at
//! start that a silent command would not need.

pub(crate) mod explain;
pub(crate) mod failure;
mod floor;
mod handle;
pub(crate) mod held;
mod input;
pub mod learn;
mod mounts;
mod output;
mod policed;
mod request;
pub(crate) mod run;
pub(crate) mod translate;
mod walk;

pub mod cap;
pub mod ending;
pub mod listener;
pub mod redact;
pub mod store;

pub use cap::OutputCap;
pub use ending::{Ending, Facts, Stop, Wait, classify, exit_status};
pub use handle::Run;
pub use learn::{LearnOptions, Learned};
pub use listener::{Event, Listeners, Receiver};
pub use redact::{RedactionSet, Redactor};
pub use request::{Exec, Stdin};
pub use run::{Capture, Captured, Headstart, Outcome, Sink};
pub use store::{RunId, RunMeta, RunStore, RunWriter, StoreLimits};

use serde::{Deserialize, Serialize};

/// Makes or empties the file at `path` for a report, mode 0600. Called before a run, so that nothing inside the sandbox can
/// put a link in its place; a link that is there already is refused.
///
/// # Errors
/// `io` when it cannot be made, is a link, or is no regular file.
pub fn create_report(path: &std::path::Path) -> Result<std::fs::File, crate::Error> {
    let fail = |error| crate::Error::file("write the report to", path, error);
    let file = crate::private_file::open_or_create(path).map_err(fail)?;
    file.set_len(0).map_err(fail)?;
    Ok(file)
}

/// One of the two output streams of a command.
///
/// ```
/// use ringfence::exec::Stream;
///
/// assert_eq!(Stream::Stderr.as_str(), "stderr");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "OutputStream"))]
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
