//! One file for each verb.

pub(crate) mod activate;
pub(crate) mod audit;
pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dashboard;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod grants;
pub(crate) mod hook;
pub(crate) mod install;
pub(crate) mod learn;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod mcp;
pub(crate) mod new;
pub(crate) mod policy;
pub(crate) mod runs;
mod sandboxed;
pub(crate) mod scan_code;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod upgrade;
pub(crate) mod why;

use std::process::ExitCode;

use ringfence::exec::RunStore;
use ringfence::{Config, Error, Home};

/// `ringfence runs`.
pub(crate) fn runs(command: &runs::RunsCommand) -> ExitCode {
    let json = matches!(
        command,
        runs::RunsCommand::List { json: true, .. } | runs::RunsCommand::Show { json: true, .. }
    );
    let done = store().and_then(|store| {
        runs::run(command, &store, &mut std::io::stdout().lock(), &mut std::io::stderr().lock())
    });
    finish(done, json)
}

fn store() -> Result<RunStore, Error> {
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    Ok(RunStore::new(&home, config.runs))
}

/// The exit status of a command that did, or did not do, what it was asked.
pub(crate) fn finish(done: Result<(), Error>, json: bool) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => crate::host::failed(&error, json),
    }
}

/// Whether all that failed is that the reader went away, as `head` does when it has enough.
fn nobody_reads(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
