//! One file for each verb.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod new;
pub(crate) mod runs;

use std::process::ExitCode;

use ringfence::exec::RunStore;
use ringfence::{Config, Error, Home};

use crate::print;

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
        Err(error) => {
            if json {
                print::error_document(&error);
            } else {
                print::error(&error);
            }
            ExitCode::from(error.code().exit_status())
        }
    }
}
