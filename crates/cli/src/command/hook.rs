//! `ringfence hook EVENT [PAYLOAD]` and `ringfence event TOPIC [PAYLOAD]`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ringfence::Error;
use ringfence::hooks::{
    BreakerState, HandlerResult, HookInfo, HookOptions, HookOutcome, Payload, TraceEntry, Verdict,
};
use ringfence::host::{EventOptions, EventReport, ReceiverOutcome};
use ringfence::units::Limit;
use ringfence_api::ErrorCode;
use serde_json::Value;

use crate::answer::Answer;
use crate::arguments;
use crate::duration::parse_duration;
use crate::host::{self, Opened, Stopped};
use crate::json;
use crate::table::Table;
use crate::text::one_line;

#[derive(Debug, Args)]
#[command(
    after_help = "Every active plugin that declares the event and is granted it takes part: mutators, then guards, then observers, \
each kind by priority. What does not run is started, and stopped before the command ends. Observers are waited for here.

The payload is one JSON object with `body` and `metadata`, both optional, as JSON, @FILE, - for standard input, or key=value.

Examples:
  ringfence hook onRequest '{\"body\": {\"text\": \"my key is AKIA...\"}}' --trace
  ringfence hook onRequest body:='{\"text\": \"hello\"}' --json
  ringfence hook onRequest @request.json --dry-run
  ringfence hook --list

Exit status: 0 whether it goes on or is blocked; 2 usage; 5 the body breaks the event's schema; 7 not enforceable here; 8 busy; \
128+n ended by signal n."
)]
pub(crate) struct HookArguments {
    /// The name of the event, such as onRequest
    #[arg(value_name = "EVENT", required_unless_present = "list", conflicts_with = "list")]
    event: Option<String>,
    /// JSON, @FILE, -, or key=value...
    #[arg(value_name = "PAYLOAD", conflicts_with = "list")]
    payload: Vec<OsString>,
    /// Show who was asked, in order, what came of it, and what each one changed
    #[arg(long)]
    trace: bool,
    /// Ask mutators and guards and show what would come of it; observers hear nothing
    #[arg(long)]
    dry_run: bool,
    /// How long mutators and guards may take together, such as 5s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Limit<Duration>>,
    /// List who takes part in which event, and do nothing
    #[arg(long)]
    list: bool,
    /// Print the outcome, or the error, as one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every active plugin that is granted the topic (`event:post=TOPIC`) gets the message in its `handle_event`. What \
does not run is started, and stopped before the command ends. The payload is any JSON value: JSON, @FILE, - for standard input, or \
key=value; without one it is null.

Examples:
  ringfence event note.saved path=/srv/notes/a.md
  ringfence event cache.clear --json

Exit status: 0, also when a receiver failed or there is none; 2 usage; 8 busy; 128+n ended by signal n."
)]
pub(crate) struct EventArguments {
    /// The topic, such as note.saved
    #[arg(value_name = "NAME")]
    name: String,
    /// JSON, @FILE, -, or key=value...
    #[arg(value_name = "PAYLOAD")]
    payload: Vec<OsString>,
    /// Print the report, or the error, as one JSON document
    #[arg(long)]
    json: bool,
}

/// Passes an event through.
pub(crate) fn run(arguments: &HookArguments) -> ExitCode {
    // Read before signals are caught, so that Ctrl-C ends a wait for standard input.
    match payload(&arguments.payload).and_then(|payload| Ok((payload, options(arguments)?))) {
        Ok((payload, options)) => host::with(arguments.json, |opened| match &arguments.event {
            Some(event) => hook(opened, event, payload, &options, arguments.trace),
            None => list(opened),
        }),
        Err(error) => host::failed(&error, arguments.json),
    }
}

/// Sends a message.
pub(crate) fn run_event(arguments: &EventArguments) -> ExitCode {
    match arguments::read_value(&arguments.payload) {
        Ok(payload) => host::with(arguments.json, |opened| {
            let name = arguments.name.as_str();
            let options = EventOptions { wait: true, ..EventOptions::default() };
            let doing = format!("sending {}", one_line(name));
            let payload = payload.unwrap_or_default();
            let report = match opened.daemon() {
                Some(daemon) => opened.wait_for(&doing, daemon.post_event(name, &payload))?,
                None => opened.wait(&doing, |host| host.post_event(name, payload, &options))?,
            };
            Ok(event_answer(&report)?)
        }),
        Err(error) => host::failed(&error, arguments.json),
    }
}

fn options(arguments: &HookArguments) -> Result<HookOptions, Error> {
    let budget = match arguments.timeout {
        None => None,
        Some(Limit::At(budget)) => Some(budget),
        Some(Limit::Lifted) => {
            let message = "--timeout none: an event always ends within its budget";
            return Err(Error::new(ErrorCode::Usage, message)
                .with_hint("leave --timeout out to use hook_budget of config.toml"));
        }
    };
    Ok(HookOptions {
        budget,
        dry_run: arguments.dry_run,
        changes: true,
        wait_for_observers: true,
        ..HookOptions::default()
    })
}

fn payload(words: &[OsString]) -> Result<Payload, Error> {
    let given = arguments::read(words)?.into_json(None)?;
    serde_json::from_str(given.get()).map_err(|error| {
        let said = error.to_string();
        let what = said.split(" at line ").next().unwrap_or_default();
        Error::new(ErrorCode::Usage, format!("the payload cannot be used: {}", one_line(what)))
            .with_hint("it is {\"body\": ANY, \"metadata\": {...}}, both optional")
    })
}

fn hook(
    opened: &Opened,
    event: &str,
    payload: Payload,
    options: &HookOptions,
    trace: bool,
) -> Result<Answer, Stopped> {
    let doing = format!("passing {} through", one_line(event));
    let outcome = match opened.daemon() {
        Some(daemon) => opened.wait_for(&doing, daemon.hook(event, &payload, options))?,
        None => opened.wait(&doing, |host| host.hook(event, payload, options))?,
    };
    Ok(hook_answer(event, &outcome, trace)?)
}

fn hook_answer(event: &str, outcome: &HookOutcome, trace: bool) -> Result<Answer, Error> {
    let text = |value: &Value| json::for_stdout(&value.to_string());
    let mut answer = Answer::of(outcome)?;
    let shown = match outcome.outcome {
        Verdict::Continue => Some(&outcome.body),
        Verdict::Blocked => outcome.response.as_ref(),
    };
    if let Some(value) = shown {
        answer = answer.text(text(value));
    }
    if trace {
        answer = answer.talk_all(table(&outcome.trace));
    }
    let mode = if outcome.dry_run { "would be " } else { "" };
    let event = one_line(event);
    Ok(answer.talk(match outcome.outcome {
        Verdict::Continue if outcome.trace.is_empty() => {
            format!("{event}: nobody takes part; `ringfence hook --list` shows who takes part in what")
        }
        Verdict::Continue if outcome.dry_run => format!("{event} would go on"),
        Verdict::Continue => format!("{event} goes on"),
        Verdict::Blocked => {
            let by = outcome.by.as_ref().map_or_else(|| "the host".to_owned(), ToString::to_string);
            let reason = one_line(outcome.reason.as_deref().unwrap_or_default());
            format!("{event} {}blocked by {by}: {reason}", if mode.is_empty() { "is " } else { mode })
        }
    }))
}

fn table(trace: &[TraceEntry]) -> Vec<String> {
    let mut table = Table::new(["PLUGIN", "KIND", "PRIORITY", "RESULT", "TIME", "WHAT"]);
    for entry in trace {
        let what = match (&entry.reason, entry.changes.is_empty()) {
            (Some(reason), _) => one_line(reason),
            (None, false) => entry.changes.join(" "),
            (None, true) => String::new(),
        };
        table.row([
            entry.plugin.to_string(),
            word(&entry.kind),
            entry.priority.to_string(),
            result(entry.result).to_owned(),
            format!("{}.{:03} ms", entry.duration_us / 1000, entry.duration_us % 1000),
            what,
        ]);
    }
    table.render(None).lines().map(str::to_owned).collect()
}

/// The word of a value that is one in JSON.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

const fn result(result: HandlerResult) -> &'static str {
    match result {
        HandlerResult::Unchanged => "unchanged",
        HandlerResult::Changed => "changed it",
        HandlerResult::Passed => "let it pass",
        HandlerResult::Blocked => "blocked it",
        HandlerResult::Skipped => "failed",
        HandlerResult::NotAsked => "not asked",
        HandlerResult::Queued => "will see it",
        HandlerResult::Observed => "saw it",
    }
}

fn list(opened: &Opened) -> Result<Answer, Stopped> {
    let doing = "reading who takes part";
    let hooks = match opened.daemon() {
        Some(daemon) => opened.wait_for(doing, daemon.hooks())?,
        None => opened.wait(doing, |host| host.hooks())?,
    };
    Ok(list_answer(&hooks)?)
}

fn list_answer(hooks: &[HookInfo]) -> Result<Answer, Error> {
    let mut table = Table::new(["EVENT", "PLUGIN", "KIND", "PRIORITY", "TIMEOUT", "ON FAILURE", "STATE"]);
    for hook in hooks {
        table.row([
            one_line(&hook.event),
            hook.plugin.to_string(),
            word(&hook.kind),
            hook.priority.to_string(),
            format!("{} ms", hook.timeout_ms),
            word(&hook.on_failure),
            match hook.breaker {
                BreakerState::Closed => "ok".to_owned(),
                BreakerState::Open => "left alone for a while".to_owned(),
                BreakerState::HalfOpen => "tried again".to_owned(),
            },
        ]);
    }
    let answer = Answer::of(&hooks)?.text(table.for_stdout());
    Ok(if hooks.is_empty() { answer.talk("no active plugin takes part in any event") } else { answer })
}

fn event_answer(report: &EventReport) -> Result<Answer, Error> {
    let mut table = Table::new(["PLUGIN", "OUTCOME", "WHAT"]);
    for receiver in &report.receivers {
        let outcome = match receiver.outcome {
            ReceiverOutcome::Queued => "queued",
            ReceiverOutcome::Delivered => "delivered",
            ReceiverOutcome::Failed => "failed",
        };
        let reason = one_line(receiver.reason.as_deref().unwrap_or_default());
        table.row([receiver.plugin.to_string(), outcome.to_owned(), reason]);
    }
    let answer = Answer::of(report)?.text(table.for_stdout());
    let topic = one_line(&report.topic);
    Ok(if report.receivers.is_empty() {
        answer.talk(format!("no active plugin is granted event:post={topic}"))
    } else {
        answer
    })
}

#[cfg(test)]
mod tests {
    use ringfence_api::HookKind;
    use serde_json::json;

    use super::*;

    fn entry(plugin: &str, kind: HookKind, result: HandlerResult) -> TraceEntry {
        TraceEntry {
            plugin: plugin.parse().unwrap(),
            kind,
            priority: 50,
            result,
            reason: None,
            changes: Vec::new(),
            duration_us: 1234,
        }
    }

    #[test]
    fn the_trace_says_in_order_who_did_what() {
        let mut outcome = HookOutcome::unchanged(Payload::new(json!({"text": "hi"})));
        let mut changed = entry("redact", HookKind::Mutator, HandlerResult::Changed);
        changed.changes = vec!["/body/text".to_owned()];
        let mut blocked = entry("guard", HookKind::Guard, HandlerResult::Blocked);
        blocked.reason = Some("a secret\u{1b}[2J".to_owned());
        outcome.trace = vec![changed, blocked];
        (outcome.outcome, outcome.by) = (Verdict::Blocked, Some("guard".parse().unwrap()));
        outcome.reason = Some("a secret".to_owned());
        insta::assert_snapshot!(hook_answer("onRequest", &outcome, true).unwrap().for_people(), @r"
        PLUGIN  KIND     PRIORITY  RESULT      TIME      WHAT
        redact  mutator  50        changed it  1.234 ms  /body/text
        guard   guard    50        blocked it  1.234 ms  a secret\u{1b}[2J
        onRequest is blocked by guard: a secret
        ");
        outcome.dry_run = true;
        let said = hook_answer("onRequest", &outcome, false).unwrap().for_people();
        assert_eq!(said, "onRequest would be blocked by guard: a secret");
    }

    #[test]
    fn an_event_that_goes_on_shows_its_body() {
        let outcome = HookOutcome::unchanged(Payload::new(json!({"text": "hi"})));
        let said = hook_answer("onRequest", &outcome, true).unwrap().for_people();
        assert!(said.contains("\"text\"") && said.contains("nobody takes part"), "{said}");
    }

    #[test]
    fn a_payload_has_a_body_and_metadata_and_nothing_else() {
        let read = |text: &str| payload(&[OsString::from(text)]);
        assert_eq!(read("{\"body\": null}").unwrap(), Payload::default());
        assert_eq!(read("body=hi").unwrap(), Payload::new(json!("hi")));
        for wrong in ["{\"bdy\": 1}", "{\"metadata\": 1}", "[1]"] {
            assert_eq!(read(wrong).unwrap_err().code(), ErrorCode::Usage, "{wrong}");
        }
    }
}
