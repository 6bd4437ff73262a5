//! What a command answers: a document for programs, text for people, and talk about it.

use std::process::ExitCode;

use ringfence::Error;
use ringfence_api::ErrorCode;
use serde::Serialize;

use crate::print;

/// An answer in both forms; which one is printed is decided at the end, by `--json`.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    document: String,
    text: Option<String>,
    talk: Vec<String>,
}

impl Answer {
    /// The document, with nothing for people yet.
    pub(crate) fn of(document: &impl Serialize) -> Result<Self, Error> {
        let document = serde_json::to_string(document).map_err(|cause| {
            Error::new(ErrorCode::Internal, "cannot write the answer as JSON").with_source(cause)
        })?;
        Ok(Self { document, ..Self::default() })
    }

    /// The document as it is already written.
    pub(crate) fn written(document: String) -> Self {
        Self { document, ..Self::default() }
    }

    /// What people read on stdout: a table, a result.
    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into()).filter(|text| !text.is_empty());
        self
    }

    /// What people are told on stderr: what was done, what to do next.
    pub(crate) fn talk(mut self, line: impl Into<String>) -> Self {
        self.talk.push(line.into());
        self
    }

    /// The same, where there is something to tell.
    pub(crate) fn talk_all(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.talk.extend(lines);
        self
    }

    /// Prints it.
    pub(crate) fn print(&self, json: bool) -> ExitCode {
        if json {
            return print::data(&self.document);
        }
        let printed = self.text.as_deref().map_or(ExitCode::SUCCESS, print::data);
        for line in &self.talk {
            print::talk(line);
        }
        printed
    }

    /// All that people would read, for tests.
    #[cfg(test)]
    pub(crate) fn for_people(&self) -> String {
        let text = self.text.as_deref().unwrap_or_default().trim_end_matches('\n');
        let all =
            std::iter::once(text).filter(|text| !text.is_empty()).chain(self.talk.iter().map(String::as_str));
        all.collect::<Vec<_>>().join("\n")
    }
}
