//! `ringfence config get NAME` and `ringfence config set NAME`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::answer::Answer;
use crate::arguments::{self, Given};
use crate::host::{self, Opened, Stopped};
use crate::json;

/// What to do with a plugin's configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a plugin's configuration, with defaults, and without its secrets
    Get(GetArguments),
    /// Set a plugin's configuration
    Set(SetArguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Secrets (writeOnly in the plugin's schema) show as ***; given as *** they stay what they were.

Examples:
  ringfence config get translator
  ringfence config get translator --json

Exit status: 0 done; 3 no such plugin; 8 busy."
)]
pub(crate) struct GetArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A JSON object, @FILE with one, or - to read one from standard input, is the whole configuration from now on; key=value \
changes these members and leaves the others as they are stored. The forms are those of `ringfence call`. A plugin that runs is told. Secrets are better read \
from a file or standard input: what stands on a command line, other users of the machine can see.

Examples:
  ringfence config set translator target=fr
  ringfence config set translator '{\"target\": \"fr\"}'
  ringfence config set translator @translator.json

Exit status: 0 set; 2 usage; 3 no such plugin or file; 5 it breaks the plugin's schema; 8 busy."
)]
pub(crate) struct SetArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// JSON, @FILE, -, or key=value...
    #[arg(value_name = "CONFIG", required = true)]
    config: Vec<OsString>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Does it.
pub(crate) fn run(command: &ConfigCommand) -> ExitCode {
    match command {
        ConfigCommand::Get(arguments) => host::with(arguments.json, |opened| {
            let config = opened.wait("reading the configuration", |host| host.config(&arguments.name))?;
            Ok(shown(&config))
        }),
        // Read before signals are caught, so that Ctrl-C ends a wait for standard input.
        ConfigCommand::Set(arguments) => match arguments::read(&arguments.config) {
            Ok(given) => host::with(arguments.json, |opened| set(opened, &arguments.name, given)),
            Err(error) => host::failed(&error, arguments.json),
        },
    }
}

fn shown(config: &Value) -> Answer {
    let document = config.to_string();
    let text = json::for_stdout(&document);
    Answer::written(document).text(text)
}

fn set(opened: &Opened, name: &str, given: Given) -> Result<Answer, Stopped> {
    let changes_members = matches!(given, Given::Pairs(_));
    let schema = if changes_members {
        opened.wait("reading the schema", |host| host.show(name))?.manifest.config_schema
    } else {
        None
    };
    let raw = given.into_json(schema.as_ref())?;
    let given = parsed(raw.get())?;
    let what = "setting the configuration";
    let config = if changes_members {
        opened.wait(what, |host| host.change_config(name, given))?
    } else {
        opened.wait(what, |host| host.set_config(name, given))?
    };
    Ok(shown(&config).talk(format!("the configuration of {name} is set")))
}

fn parsed(text: &str) -> Result<Value, ringfence::Error> {
    serde_json::from_str(text).map_err(|cause| {
        let message = "the configuration cannot be read";
        ringfence::Error::new(ringfence_api::ErrorCode::Usage, message).with_source(cause)
    })
}
