//! Printing: stdout is data, stderr is talk. Nobody listening is not an error of ours.

use std::io::Write;
use std::process::ExitCode;

use ringfence::Error;
use ringfence_api::ErrorDocument;

/// Prints data to stdout.
pub(crate) fn data(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
    if written.and_then(|()| out.flush()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints talk to stderr.
pub(crate) fn talk(text: &str) {
    let mut err = std::io::stderr().lock();
    let _nobody_listens = err
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { err.write_all(b"\n") });
}

/// Prints `ringfence: MESSAGE` with the causes, and the hint below it.
pub(crate) fn error(error: &Error) {
    let hint = error.hint().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    talk(&format!("ringfence: {}{hint}", error.chain()));
}

/// Prints `{error: {code, message, hint}}` to stdout.
pub(crate) fn error_document(error: &Error) {
    let document = ErrorDocument { error: error.to_body() };
    data(&serde_json::to_string(&document).unwrap_or_default());
}
