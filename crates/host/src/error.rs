//! The one error type of the library.
//!
//! It is opaque: a caller decides by [`Error::code`] or the coarser [`Error::kind`], and shows
//! [`Error::message`] and [`Error::hint`]. The codes themselves, with their meaning and statuses, are
//! [`ringfence_api::ErrorCode`]. No error type of a dependency is part of any signature.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use ringfence_api::{ErrorBody, ErrorCode};

/// What was refused or failed, with a stable code, a text for people and what to do about it.
///
/// ```
/// use ringfence::{Error, ErrorKind};
/// use ringfence_api::ErrorCode;
///
/// let error = Error::new(ErrorCode::LimitInvalid, "--memory is 0").with_hint("say 'none' to lift the limit");
/// assert_eq!(error.kind(), ErrorKind::Usage);
/// assert_eq!(error.code().as_str(), "limit_invalid");
/// assert_eq!(error.to_string(), "--memory is 0");
/// assert_eq!(error.hint(), Some("say 'none' to lift the limit"));
/// ```
#[derive(Debug)]
pub struct Error {
    // One pointer: a `Result` that carries it stays small on every path that succeeds.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The coarse class of an [`Error`]: what a caller usually branches on.
///
/// ```
/// use ringfence::ErrorKind;
/// use ringfence_api::ErrorCode;
///
/// assert_eq!(ErrorKind::of(ErrorCode::PathNotFound), ErrorKind::NotFound);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for is not understood or not allowed as a value.
    Usage,
    /// The named thing does not exist.
    NotFound,
    /// Consent, a permission or a policy is missing or says no.
    Refused,
    /// The plugin itself failed.
    PluginFailed,
    /// A limit or rule was broken.
    Violation,
    /// This machine cannot enforce what was asked.
    NotEnforceable,
    /// Somebody else holds what is needed.
    Busy,
    /// Anything else: input and output, cancellation, a bug.
    Failed,
}

impl ErrorKind {
    /// The class of a code; it follows the exit statuses of the command line.
    #[must_use]
    pub const fn of(code: ErrorCode) -> Self {
        match code.exit_status() {
            2 => Self::Usage,
            3 => Self::NotFound,
            4 => Self::Refused,
            5 => Self::PluginFailed,
            6 => Self::Violation,
            7 => Self::NotEnforceable,
            8 => Self::Busy,
            _ => Self::Failed,
        }
    }
}

impl Error {
    /// An error with a code and a message for people: what was refused or failed, with the rule or limit.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { code, message: message.into(), hint: None, source: None }) }
    }

    /// The same error with what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner.source = Some(Box::new(source));
        self
    }

    /// The same error for others who waited for the same: its code, message and hint; the cause is told once.
    pub(crate) fn to_others(&self) -> Self {
        let copy = Self::new(self.code(), self.message());
        match self.hint() {
            Some(hint) => copy.with_hint(hint),
            None => copy,
        }
    }

    /// A failed file operation: `cannot ACTION 'PATH'`, with the system's error as the cause and a hint for
    /// those that people meet.
    pub(crate) fn file(action: &str, path: &Path, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::PermissionDenied => Some("check who owns it and its mode"),
            io::ErrorKind::ReadOnlyFilesystem => {
                Some("it is on a read-only file system; set RINGFENCE_HOME to a directory you can write to")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("free some space on that disk"),
            _ => None,
        };
        let error = Self::new(ErrorCode::Io, format!("cannot {action} '{}'", path.display()));
        let error = match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        };
        error.with_source(source)
    }

    /// The coarse class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::of(self.code())
    }

    /// The stable code: the same in JSON, exit statuses and the HTTP API.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.inner.code
    }

    /// What was refused or failed, without the causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What to do about it, when there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The message followed by every cause, joined with `: `.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.inner.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// The form that is written into reports and answers: code, message with causes, hint.
    #[must_use]
    pub fn to_body(&self) -> ErrorBody {
        let body = ErrorBody::new(self.code(), self.chain());
        match self.hint() {
            Some(hint) => body.with_hint(hint),
            None => body,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.inner.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_the_kind_of_its_exit_status() {
        let kind = ErrorKind::of;
        assert_eq!(kind(ErrorCode::Usage), ErrorKind::Usage);
        assert_eq!(kind(ErrorCode::NotFound), ErrorKind::NotFound);
        assert_eq!(kind(ErrorCode::ConsentRequired), ErrorKind::Refused);
        assert_eq!(kind(ErrorCode::PluginFailed), ErrorKind::PluginFailed);
        assert_eq!(kind(ErrorCode::Timeout), ErrorKind::Violation);
        assert_eq!(kind(ErrorCode::NotEnforceable), ErrorKind::NotEnforceable);
        assert_eq!(kind(ErrorCode::Busy), ErrorKind::Busy);
        assert_eq!(kind(ErrorCode::Internal), ErrorKind::Failed);
    }

    #[test]
    fn a_file_error_names_the_path_and_the_cause_and_what_to_do() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::file("write", Path::new("/x/y"), full);
        assert_eq!(error.code(), ErrorCode::Io);
        assert_eq!(error.message(), "cannot write '/x/y'");
        assert!(error.chain().starts_with("cannot write '/x/y': "));
        let body = error.to_body();
        assert_eq!(body.message, error.chain());
        assert_eq!(body.hint.as_deref(), Some("free some space on that disk"));

        for (kind, word) in [
            (io::ErrorKind::PermissionDenied, Some("owns")),
            (io::ErrorKind::ReadOnlyFilesystem, Some("RINGFENCE_HOME")),
            (io::ErrorKind::Interrupted, None),
        ] {
            let error = Error::file("read", Path::new("p"), io::Error::from(kind));
            assert_eq!(error.hint().is_some(), word.is_some());
            assert!(error.hint().unwrap_or_default().contains(word.unwrap_or_default()));
            assert_eq!(error.to_body().hint.as_deref(), error.hint());
        }
    }
}
