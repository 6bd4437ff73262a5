//! `ringfence call NAME TOOL [ARGUMENTS]`.

use std::ffi::OsString;
use std::future::Future;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ringfence::event::{Event, EventKind, Heard};
use ringfence::plugin::CallOptions;
use ringfence::units::Limit;
use ringfence::{Error, Host};
use ringfence_api::ErrorCode;
use serde_json::Value;

use crate::answer::Answer;
use crate::arguments::{self, Given};
use crate::duration::parse_duration;
use crate::host::{self, Opened, Stopped};
use crate::table::LINE_CHARS;
use crate::text::{cut, one_line};
use crate::{json, print};

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
    let result = match opened.daemon() {
        Some(daemon) => opened.wait_for(&doing, daemon.call(name, tool, &raw, options))?,
        None => opened.wait(&doing, |host| watched(host, host.call_with(name, tool, &raw, options)))?,
    };
    let text = json::for_stdout(result.get());
    Ok(Answer::written(json::compact(result.get())).text(text))
}

/// Waits for the call, and shows on a terminal how far it says it is.
async fn watched<T>(host: &Host, call: impl Future<Output = T>) -> T {
    let mut call = std::pin::pin!(call);
    if !std::io::stderr().is_terminal() {
        return call.await;
    }
    let mut events = host.subscribe();
    let mut shown = false;
    let done = loop {
        tokio::select! {
            done = &mut call => break done,
            Some(heard) = events.next() => {
                if let Heard::Event(Event { kind: EventKind::Progress { progress, total, message, .. }, .. }) = heard {
                    print::prompt(&format!("\r{}\x1b[K", progress_line(progress, total, message.as_deref())));
                    shown = true;
                }
            }
        }
    };
    if shown {
        print::prompt("\r\x1b[K");
    }
    done
}

/// One line of a terminal.
fn progress_line(progress: f64, total: Option<f64>, message: Option<&str>) -> String {
    let far = match total {
        Some(total) if total > 0.0 => format!("{:.0} %", (progress / total * 100.0).clamp(0.0, 100.0)),
        _ => format!("{progress}"),
    };
    let message = message.map(|message| format!("  {}", one_line(message))).unwrap_or_default();
    cut(&format!("{far}{message}"), LINE_CHARS - 1)
}

/// What the tool says of its arguments. An unknown tool has nothing to say: the call itself is refused.
fn schema(opened: &Opened, name: &str, tool: &str) -> Result<Option<Value>, Stopped> {
    let doing = "reading the tool's schema";
    if let Some(daemon) = opened.daemon() {
        let seen = opened.wait_for(doing, daemon.show(name))?;
        let tools = seen.pointer("/manifest/tools").and_then(Value::as_array);
        let declared = tools.and_then(|tools| tools.iter().find(|declared| declared["name"] == tool));
        return Ok(declared.and_then(|declared| declared.get("input_schema")).cloned());
    }
    let details = opened.wait(doing, |host| host.show(name))?;
    let declared = details.manifest.tools.into_iter().find(|declared| declared.name == tool);
    Ok(declared.and_then(|declared| declared.input_schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line_that_fits_and_obeys_nothing() {
        assert_eq!(progress_line(3.0, Some(4.0), Some("page 3")), "75 %  page 3");
        assert_eq!(progress_line(9.0, Some(4.0), None), "100 %");
        assert_eq!(progress_line(7.0, None, None), "7");
        assert_eq!(progress_line(7.0, Some(0.0), Some("a\n\u{1b}[2J")), "7  a\\n\\u{1b}[2J");
        assert_eq!(progress_line(1.0, None, Some(&"x".repeat(500))).chars().count(), LINE_CHARS - 1);
    }
}
