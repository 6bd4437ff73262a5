//! A native plugin in the fewest lines: blocking, no runtime, all answers of one read in one write. It gives back what it is
//! called with.
//!
//! It is the measuring program itself under another name, so that nothing has to be built for it.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use ringfence::rpc::codec::{Line, Lines, Message, parse};
use ringfence_api::Wire;
use ringfence_api::rpc::{MESSAGE_MAX_BYTES, method};

use crate::options::Options;
use crate::output;

/// The name under which this program is the plugin.
pub const NAME: &str = "echo-plugin";

/// Whether this process was started under [`NAME`], and so is the plugin.
#[must_use]
pub fn is_plugin() -> bool {
    let started_as = std::env::args_os().next();
    started_as.is_some_and(|path| Path::new(&path).file_name().is_some_and(|name| name == NAME))
}

/// The `main` of a benchmark whose program is also its plugin: the plugin under that name, else `measure` with the options of
/// the command line. An error is told in a line that begins with `benchmark`, and fails.
#[must_use]
pub fn main(benchmark: &str, measure: fn(&Options) -> io::Result<ExitCode>) -> ExitCode {
    let done = if is_plugin() {
        run().map(|()| ExitCode::SUCCESS)
    } else {
        match Options::from_process() {
            Ok(options) => measure(&options),
            Err(refused) => return refused.tell(),
        }
    };
    done.unwrap_or_else(|error| {
        output::talk(&format!("{benchmark}: {error}"));
        ExitCode::FAILURE
    })
}

/// Answers until the input ends.
///
/// # Errors
/// Of the two pipes; and when a line is longer than the protocol allows.
pub fn run() -> io::Result<()> {
    // As files: the standard handles have buffers of their own.
    let mut input = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut lines = Lines::new(MESSAGE_MAX_BYTES);
    let mut answers = Vec::new();
    loop {
        let count = input.read(lines.space())?;
        if count == 0 {
            return Ok(());
        }
        lines.filled(count);
        while let Some(line) = lines.next() {
            let Line::Whole(line) = line else { return Err(io::Error::other("a line is too long")) };
            let Ok(Message::Request(request)) = parse(line, Wire::JsonRpc) else { continue };
            answers.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
            answers.extend_from_slice(request.id.as_json().as_bytes());
            answers.extend_from_slice(b",\"result\":");
            let result = match request.method.as_ref() {
                method::CALL => request.params.map_or("null", |params| params.get()),
                method::INITIALIZE => "{\"protocol_version\":\"1\"}",
                _ => "null",
            };
            answers.extend_from_slice(result.as_bytes());
            answers.extend_from_slice(b"}\n");
        }
        if !answers.is_empty() {
            output.write_all(&answers)?;
            answers.clear();
        }
    }
}
