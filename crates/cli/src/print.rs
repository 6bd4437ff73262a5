//! Printing: stdout is data, stderr is talk. Nobody listening is not an error of ours.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use ringfence::Error;
use ringfence_api::{ErrorCode, ErrorDocument};

use crate::text;

/// Prints data to stdout. A reader that went away, as `head` does, has got what it wanted.
pub(crate) fn data(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
        .and_then(|()| out.flush());
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(cause) => {
            let failure = Error::new(ErrorCode::Io, "cannot write the answer").with_source(cause);
            error(&failure);
            ExitCode::from(failure.code().exit_status())
        }
    }
}

/// Prints talk to stderr.
pub(crate) fn talk(text: &str) {
    let mut err = io::stderr().lock();
    let _nobody_listens = err
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { err.write_all(b"\n") })
        .and_then(|()| err.flush());
}

/// Prints to stderr as it is: a question, whose answer comes on the same line.
pub(crate) fn prompt(text: &str) {
    let mut err = io::stderr().lock();
    let _nobody_listens = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Says on a terminal what takes so long; a log has no use for it.
pub(crate) fn progress(text: &str) {
    if io::stderr().is_terminal() {
        talk(&format!("{text} ..."));
    }
}

/// Prints `ringfence: MESSAGE` with the causes, and the hint below it. What a plugin said is in it, so it is escaped.
pub(crate) fn error(error: &Error) {
    let hint = error.hint().map(|hint| format!("\n  hint: {}", text::lines(hint))).unwrap_or_default();
    talk(&format!("ringfence: {}{hint}", text::lines(&error.chain())));
}

/// Prints `{error: {code, message, hint}}` to stdout.
pub(crate) fn error_document(error: &Error) {
    let document = ErrorDocument { error: error.to_body() };
    data(&serde_json::to_string(&document).unwrap_or_default());
}
