//! `ringfence call NAME TOOL [ARGUMENTS]`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ringfence::Error;
use ringfence::plugin::CallOptions;
use ringfence::units::Limit;
use ringfence_api::ErrorCode;
use serde_json::Value;

use crate::answer::Answer;
use crate::arguments::{self, Given};
use crate::duration::parse_duration;
use crate::host::{self, Opened, Stopped};
use crate::json;

#[derive(Debug, Args)]
#[command(
    after_help = "Arguments are one JSON object, @FILE with one, - to read one from standard input, or any number of key=value; \
without any they are {}. In key=value the value is JSON if it is some (5, true, null, [1,2], {\"a\":1}), else text; where the tool's schema \
says string, it is text. key:=JSON is always JSON, key==TEXT always text. Keys are taken as they are, dots too. At most 4 MiB are read.

The result is indented on a terminal and one line elsewhere. Ctrl-C cancels the call and stops the plugin in order.

Examples:
  ringfence call translator translate text='good morning' target=de
  ringfence call translator translate '{\"text\": \"good morning\", \"target\": \"de\"}' --timeout 5s
  ringfence call translator translate @request.json
  echo '{\"text\": \"good morning\"}' | ringfence call translator translate -

Exit status: 0 answered; 2 usage; 3 no such plugin, tool or file; 4 not active, quarantined or not permitted; 5 the plugin failed, or \
the arguments break its schema; 6 timeout or another limit; 7 not enforceable here; 8 busy; 128+n ended by signal n."
)]
pub(crate) struct CallArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// The tool
    #[arg(value_name = "TOOL")]
    tool: String,
    /// JSON, @FILE, -, or key=value...
    #[arg(value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
    /// How long it may take, at most as long as the plugin's own limit, such as 5s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Limit<Duration>>,
    /// Print the result, or the error, as one JSON document
    #[arg(long)]
    json: bool,
}

/// Calls.
pub(crate) fn run(arguments: &CallArguments) -> ExitCode {
    // Read before signals are caught, so that Ctrl-C ends a wait for standard input.
    match options(arguments).and_then(|options| Ok((options, arguments::read(&arguments.arguments)?))) {
        Ok((options, given)) => host::with(arguments.json, |opened| call(opened, arguments, given, &options)),
        Err(error) => host::failed(&error, arguments.json),
    }
}

fn options(arguments: &CallArguments) -> Result<CallOptions, Error> {
    let timeout = match arguments.timeout {
        None => None,
        Some(Limit::At(timeout)) => Some(timeout),
        Some(Limit::Lifted) => {
            let message = "--timeout none: a call always ends at the plugin's own limit";
            return Err(
                Error::new(ErrorCode::Usage, message).with_hint("leave --timeout out to use that limit")
            );
        }
    };
    Ok(CallOptions { timeout, ..CallOptions::default() })
}

fn call(
    opened: &Opened,
    arguments: &CallArguments,
    given: Given,
    options: &CallOptions,
) -> Result<Answer, Stopped> {
    let (name, tool) = (arguments.name.as_str(), arguments.tool.as_str());
    let schema = if given.depends_on_schema() { schema(opened, name, tool)? } else { None };
    let raw = given.into_json(schema.as_ref())?;
    let doing = format!("calling {tool} of {name}");
    let result = opened.wait(&doing, |host| host.call_with(name, tool, &raw, options))?;
    let text = json::for_stdout(result.get());
    Ok(Answer::written(json::compact(result.get())).text(text))
}

/// What the tool says of its arguments. An unknown tool has nothing to say: the call itself is refused.
fn schema(opened: &Opened, name: &str, tool: &str) -> Result<Option<Value>, Stopped> {
    let details = opened.wait("reading the tool's schema", |host| host.show(name))?;
    let declared = details.manifest.tools.into_iter().find(|declared| declared.name == tool);
    Ok(declared.and_then(|declared| declared.input_schema))
}
