//! `ringfence activate NAME`, `deactivate NAME` and `uninstall NAME`.

use std::process::ExitCode;

use clap::Args;
use ringfence::plugin::{KeepData, PluginSummary};
use ringfence_api::ErrorCode;
use serde::Serialize;

use super::install::ask;
use crate::answer::Answer;
use crate::consent::{self, ConsentArguments, Flags};
use crate::host::{self, Opened, Stopped};

#[derive(Debug, Args)]
#[command(
    after_help = "Consent is checked, the sandbox is built, the plugin is started and has to answer within its limit; from then \
on it takes calls. A quarantined plugin is released by this. At a terminal you are asked for what nobody has consented to yet. --grant \
adds to what is granted; --grant-none takes all grants away. Ctrl-C stops it in order.

Examples:
  ringfence activate translator
  ringfence activate translator --grant-requested
  ringfence activate translator --grant 'file:read=/srv/notes/**'

Exit status: 0 active; 2 usage; 3 no such plugin; 4 nobody consented; 5 the plugin failed to start; 6 it broke a limit; \
7 not enforceable here; 8 busy; 128+n ended by signal n."
)]
pub(crate) struct ActivateArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    consent: ConsentArguments,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Its process is stopped in order; grants, configuration and data stay.

Examples:
  ringfence deactivate translator

Exit status: 0 inactive; 3 no such plugin; 4 its state does not allow it; 8 busy.")]
pub(crate) struct DeactivateArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "It is stopped, and its files, grants, configuration and private data are removed. Kept data waits for the same \
name by the same publisher.

Examples:
  ringfence uninstall translator
  ringfence uninstall translator --keep-data

Exit status: 0 removed; 3 no such plugin; 8 busy."
)]
pub(crate) struct UninstallArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// Keep its private data
    #[arg(long)]
    keep_data: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Activates.
pub(crate) fn run(arguments: &ActivateArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let plugin = activate(opened, &arguments.name, &arguments.consent.flags())?;
        let said = format!("{} {} is active", plugin.name, plugin.version);
        Ok(Answer::of(&plugin)?.talk(said))
    })
}

fn activate(opened: &Opened, name: &str, flags: &Flags) -> Result<PluginSummary, Stopped> {
    let doing = format!("starting {name}");
    let start = || match opened.daemon() {
        Some(daemon) => opened.wait_for(&doing, daemon.activate(name)),
        None => opened.wait(&doing, |host| host.activate(name)),
    };
    if *flags != Flags::Silent {
        record(opened, name, flags)?;
        return start();
    }
    match start() {
        Err(Stopped::Failed(error)) if error.code() == ErrorCode::ConsentRequired => {
            let given = if consent::can_ask() { ask(opened, name)? } else { None };
            let Some(given) = given else {
                let request = opened.wait("reading what it asks for", |host| host.consent_request(name))?;
                return Err(consent::required(&request, &format!("ringfence activate {name}")).into());
            };
            opened.wait("recording the consent", |host| host.consent(name, given))?;
            start()
        }
        done => done,
    }
}

/// Records what the flags consent to.
fn record(opened: &Opened, name: &str, flags: &Flags) -> Result<(), Stopped> {
    let request = opened.wait("reading what it asks for", |host| host.consent_request(name))?;
    let granted = opened.wait("reading the grants", |host| host.grants(name))?;
    let granted = granted.into_iter().map(|grant| grant.permission).collect();
    let given = flags.consent_beside(&request, granted)?;
    opened.wait("recording the consent", |host| host.consent(name, given))?;
    Ok(())
}

/// Deactivates.
pub(crate) fn run_deactivate(arguments: &DeactivateArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let (doing, name) = ("stopping it", arguments.name.as_str());
        let plugin = match opened.daemon() {
            Some(daemon) => opened.wait_for(doing, daemon.deactivate(name))?,
            None => opened.wait(doing, |host| host.deactivate(name))?,
        };
        let said = format!("{} {} is {}", plugin.name, plugin.version, plugin.state);
        Ok(Answer::of(&plugin)?.talk(said))
    })
}

#[derive(Serialize)]
struct Uninstalled<'a> {
    name: &'a str,
    uninstalled: bool,
    data_kept: bool,
}

/// Uninstalls.
pub(crate) fn run_uninstall(arguments: &UninstallArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let (name, data_kept) = (arguments.name.as_str(), arguments.keep_data);
        let keep = if data_kept { KeepData::Yes } else { KeepData::No };
        // A daemon that runs it ends it in order; one that hangs keeps nobody from removing it.
        match opened.daemon().filter(|daemon| !daemon.is_silent()) {
            Some(daemon) => opened.wait_for("removing it", daemon.uninstall(name, data_kept))?,
            None => opened.wait("removing it", |host| host.uninstall(name, keep))?,
        }
        let said = if data_kept { "uninstalled {}; its data is kept" } else { "uninstalled {}" };
        Ok(Answer::of(&Uninstalled { name, uninstalled: true, data_kept })?.talk(said.replace("{}", name)))
    })
}
