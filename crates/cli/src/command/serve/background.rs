//! `serve --background`: this program is started once more, and left alone when it is ready.
//!
//! Whoever starts it waits: for its one document, which says where it listens or why it does not, or for its end. So the status of
//! the command is that of the start, and nobody has to poll.

use std::ffi::{CStr, OsString};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use ringfence::resident;
use ringfence::stream::{Interest, wait_ready};
use ringfence::{Error, Home};
use ringfence_api::{ErrorCode, ErrorDocument};

use super::file::LogFile;
use super::{DETACHED, Ready, ServeArguments};
use crate::host::failed;
use crate::print;

/// The longest start: the home's lock, then all plugins at the same time, each within its limit.
const READY_WAIT: Duration = Duration::from_secs(180);
/// The longest document, in bytes.
const DOCUMENT_MAX_BYTES: usize = 64 * 1024;
/// The name of the daemon's process.
const NAME: &CStr = c"ringfence";

/// Leaves the terminal behind; the process that was started does this first.
///
/// # Errors
/// `io` when the system refuses.
pub(super) fn leave() -> Result<(), Error> {
    resident::leave_session(NAME)
        .map_err(|cause| Error::new(ErrorCode::Io, "cannot leave the terminal").with_source(cause))
}

/// Starts the daemon and says when it is ready.
pub(super) fn start(arguments: &ServeArguments) -> ExitCode {
    match begin(arguments).and_then(|(child, home)| Ok((first_document(child)?, home))) {
        Ok((Ok(ready), home)) => told(arguments, &ready, &home),
        Ok((Err(document), _)) => {
            let error = Error::new(document.error.code, document.error.message);
            let error = match document.error.hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            };
            failed(&error, arguments.json)
        }
        Err(error) => failed(&error, arguments.json),
    }
}

fn begin(arguments: &ServeArguments) -> Result<(Child, Home), Error> {
    let home = Home::from_env()?;
    home.create()?;
    let path = super::log_file(&home);
    let broken = |cause| Error::new(ErrorCode::Io, "cannot start in the background").with_source(cause);
    let log = LogFile::open(&path).and_then(|log| log.handle()).map_err(|cause| {
        Error::new(ErrorCode::Io, format!("cannot open the log '{}'", path.display())).with_source(cause)
    })?;
    // A relative home would be another one below the daemon's own working directory.
    let variables = [(ringfence::home::HOME_VARIABLE, home.path().as_os_str())];
    let child = resident::start_again(&words(arguments), &variables, log).map_err(broken)?;
    Ok((child, home))
}

/// The arguments of the process that stays: the same ones, and that it is the one.
fn words(arguments: &ServeArguments) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["serve".into(), format!("--{DETACHED}").into(), "--json".into()];
    for place in &arguments.listen {
        words.extend(["--listen".into(), place.to_string().into()]);
    }
    if let Some(path) = &arguments.unix {
        words.extend(["--unix".into(), path.clone()]);
    }
    if let Some(form) = arguments.log {
        let form = clap::ValueEnum::to_possible_value(&form);
        words.extend(["--log".into(), form.map(|form| form.get_name().into()).unwrap_or_default()]);
    }
    words
}

/// What the process says first. It is ended if it says nothing for too long.
fn first_document(mut child: Child) -> Result<Result<Ready, ErrorDocument>, Error> {
    let broken = |cause| Error::new(ErrorCode::Io, "cannot hear the daemon").with_source(cause);
    let Some(mut output) = child.stdout.take() else {
        return Err(Error::new(ErrorCode::Internal, "the daemon has no output"));
    };
    let (mut bytes, end) = (Vec::new(), Instant::now() + READY_WAIT);
    let mut block = [0; 4096];
    while !bytes.contains(&b'\n') && bytes.len() < DOCUMENT_MAX_BYTES {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // It may have ended by itself meanwhile.
            let _ended = child.kill().and_then(|()| child.wait());
            let message = format!("the daemon was not ready after {} s, and was ended", READY_WAIT.as_secs());
            return Err(Error::new(ErrorCode::Timeout, message)
                .with_hint("its log says how far it came: daemon.log in the home"));
        }
        let ready = wait_ready(&[(output.as_fd(), Interest::Read)], Some(left)).map_err(broken)?;
        if ready.first() != Some(&true) {
            continue;
        }
        let count = output.read(&mut block).map_err(broken)?;
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(block.get(..count).unwrap_or_default());
    }
    if let Ok(ready) = serde_json::from_slice(&bytes) {
        return Ok(Ok(ready));
    }
    // What is no answer is an end.
    let status = child.wait().map_err(broken)?;
    serde_json::from_slice(&bytes).map(Err).map_err(|_| {
        Error::new(ErrorCode::Internal, format!("the daemon ended before it was ready: {status}"))
            .with_hint("its log may say why: daemon.log in the home")
    })
}

fn told(arguments: &ServeArguments, ready: &Ready, home: &Home) -> ExitCode {
    if arguments.json {
        return print::data(&serde_json::to_string(ready).unwrap_or_default());
    }
    for line in ready.lines() {
        print::talk(&line);
    }
    print::talk(&format!(
        "it runs in the background as process {}, and ends with: kill {}",
        ready.pid, ready.pid
    ));
    print::talk(&format!("its log: {}", super::log_file(home).display()));
    ExitCode::SUCCESS
}
