//! `ringfence mcp`: the MCP management server on standard input and output.
//!
//! Standard output carries the protocol and nothing else. The home is opened for each call, as a command does, so that the
//! server may stay for as long as its client does without keeping a daemon from the home.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ringfence::{Config, Error, Home, HostBuilder};
use ringfence_api::Role;
use ringfence_server::Caller;
use ringfence_server::mcp::{InstallFrom, Management, ManagementOptions, serve_stdio};

use crate::host;

/// How long acts that are under way may go on after a signal.
const ACTS_TIME: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    after_help = "An AI client starts this by itself; docs/mcp.md says how to tell it. The client may list, install, activate, \
deactivate, uninstall and configure plugins, look at recorded calls and scan packages. It can not consent to what a plugin asks \
for, and it can not release one from quarantine: both take a person at a terminal.

Examples:
  ringfence mcp

Exit status: 0 when the client closes standard input; 1 no configuration that can be used; 128+n ended by signal n."
)]
pub(crate) struct McpArguments {}

/// Serves one client.
pub(crate) fn run(_: &McpArguments) -> ExitCode {
    // What is wrong with the home is better told before a client waits for an answer.
    let home = match builder().and_then(|_| Home::from_env()) {
        Ok(home) => home,
        Err(error) => return host::failed(&error, false),
    };
    let options = ManagementOptions { install_from: InstallFrom::Anywhere, page: None };
    let management = Management::opening(builder, home.daemon_socket(), options);
    let caller = Caller {
        actor: host::actor_by("mcp"),
        role: Role::Admin,
        plugin: None,
        correlation_id: format!("mcp-{}", std::process::id()),
    };
    let rest = management.clone();
    host::serve(serve_stdio(management, caller, std::io::stdin(), std::io::stdout()), async move {
        let _ended = rest.settle(ACTS_TIME).await;
    })
}

fn builder() -> Result<HostBuilder, Error> {
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    Ok(host::builder(home, config))
}
