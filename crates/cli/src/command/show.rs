//! `ringfence show NAME`: everything about one plugin, in sections.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use ringfence::plugin::{LimitsInfo, PluginDetails, PolicyEffect, PolicyNote};
use ringfence_api::{ErrorCode, HookDeclaration, ToolDeclaration};
use serde_json::Value;

use crate::answer::Answer;
use crate::host;
use crate::text::{one_line, size};
use crate::time::utc_of;

/// How many refusals are shown here; `ringfence why` has more.
const DENIALS_SHOWN: usize = 5;
/// How many findings of the scan are shown here; `--json` has all of them.
const FINDINGS_SHOWN: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence show translator
  ringfence show translator --json

Exit status: 0 shown; 3 no such plugin; 8 busy.")]
pub(crate) struct ShowArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Shows it.
pub(crate) fn run(arguments: &ShowArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let name = arguments.name.as_str();
        let mut details = opened.wait("reading the store", |host| host.show(name))?;
        if let Some(daemon) = opened.daemon() {
            // What runs, runs there.
            let seen = opened.wait_for("asking the daemon", daemon.show(name))?;
            running(&mut details, &seen)?;
        }
        Ok(answer(&details)?)
    })
}

/// What only the process that runs a plugin knows of it.
fn running(details: &mut PluginDetails, seen: &Value) -> Result<(), Error> {
    details.running = seen.get("running") == Some(&Value::Bool(true));
    let enforced = seen.get("enforced").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    details.enforced = serde_json::from_value(enforced).map_err(|cause| {
        Error::new(ErrorCode::Internal, "the daemon's answer is not understood").with_source(cause)
    })?;
    Ok(())
}

fn answer(details: &PluginDetails) -> Result<Answer, Error> {
    let mut text = String::new();
    let written = head(&mut text, details)
        .and_then(|()| permissions(&mut text, details))
        .and_then(|()| code(&mut text, details))
        .and_then(|()| offers(&mut text, details))
        .and_then(|()| limits(&mut text, &details.limits))
        .and_then(|()| happened(&mut text, details));
    debug_assert!(written.is_ok(), "writing to a string");
    Ok(Answer::of(details)?.text(text))
}

type Written = std::fmt::Result;

fn head(text: &mut String, details: &PluginDetails) -> Written {
    writeln!(text, "{} {}: {}", details.name, details.version, details.state)?;
    if let Some(reason) = &details.reason {
        writeln!(text, "  because {}", one_line(reason))?;
    }
    if let Some(description) = &details.manifest.description {
        writeln!(text, "  says of itself: \"{}\"", ringfence::consent::shown(description))?;
    }
    writeln!(text, "\n  publisher  {}", one_line(&details.publisher))?;
    writeln!(text, "  runtime    {}, {}", details.runtime, one_line(&details.asks.command.join(" ")))?;
    writeln!(
        text,
        "  installed  {} UTC from {}",
        utc_of(details.installed_at_ms),
        one_line(&details.source)
    )?;
    writeln!(text, "  package    {}", details.digest)?;
    writeln!(text, "  process    {}", if details.running { "runs" } else { "does not run now" })?;
    writeln!(text, "  network    {}", details.network)?;
    if let Some(policy) = &details.policy {
        writeln!(text, "  policy     {}", one_line(policy))?;
    }
    if let Some(previous) = &details.previous {
        writeln!(
            text,
            "  before     {}; go back with: ringfence rollback {}",
            previous.version, details.name
        )?;
    }
    if let Some(pending) = &details.pending {
        let wider: Vec<String> =
            pending.wider.iter().map(|permission| one_line(&permission.to_string())).collect();
        let to = if wider.is_empty() { String::new() } else { format!(" to {}", wider.join(", ")) };
        writeln!(text, "  waiting    {} waits for consent{to}", pending.version)?;
        if let Some(change) = &pending.publisher_change {
            writeln!(text, "             {}", one_line(&change.to_string()))?;
        }
    }
    Ok(())
}

fn permissions(text: &mut String, details: &PluginDetails) -> Written {
    writeln!(text, "\nPermissions")?;
    if details.grants.is_empty() && details.asks.is_empty() {
        return writeln!(text, "  it asks for none");
    }
    for grant in &details.grants {
        let granted = match grant.policy.as_ref().map(|note| note.effect) {
            Some(PolicyEffect::Denied) => "by policy no",
            Some(PolicyEffect::Narrowed) => "cut by policy",
            Some(PolicyEffect::Except) | None => "granted     ",
        };
        writeln!(text, "  {granted:<13}{}{}", one_line(&grant.meaning), grant.enforced.remark())?;
        writeln!(text, "               {}", one_line(&grant.permission.to_string()))?;
        if let Some(place) = &grant.place {
            writeln!(text, "               {}", one_line(&place.line()))?;
        }
        policy(text, grant.policy.as_ref())?;
    }
    for asked in details.asks.asked.iter().filter(|asked| !asked.granted) {
        let optional = if asked.optional { " (optional)" } else { "" };
        let remark = asked.enforced.remark();
        writeln!(text, "  not granted  {}{optional}{remark}", one_line(&asked.meaning))?;
        writeln!(text, "               {}", one_line(&asked.permission.to_string()))?;
        if let Some(leads) = asked.leads() {
            writeln!(text, "               {}", one_line(&leads))?;
        }
        for warning in &asked.warnings {
            writeln!(text, "               note: {}", one_line(warning))?;
        }
        policy(text, asked.policy.as_ref())?;
    }
    let cannot = details.asks.cannot.iter().map(|act| one_line(act)).collect::<Vec<_>>();
    writeln!(text, "  it can not   {}", cannot.join(",\n               "))
}

/// What the policy takes of a permission, and what it leaves of one that it cuts.
fn policy(text: &mut String, note: Option<&PolicyNote>) -> Written {
    let Some(note) = note else { return Ok(()) };
    for because in &note.because {
        writeln!(text, "               {}", one_line(because))?;
    }
    if note.effect == PolicyEffect::Narrowed {
        writeln!(text, "               left: {}", one_line(&note.kept.join(", ")))?;
    }
    Ok(())
}

/// What the scan says of the code.
fn code(text: &mut String, details: &PluginDetails) -> Written {
    let found = ringfence::scan::lines(&details.asks.scan, FINDINGS_SHOWN);
    if found.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nCode, as far as it can be read without running it")?;
    found.iter().try_for_each(|line| writeln!(text, "  {}", one_line(line)))
}

fn offers(text: &mut String, details: &PluginDetails) -> Written {
    let manifest = &details.manifest;
    if !manifest.tools.is_empty() {
        writeln!(text, "\nTools")?;
        manifest.tools.iter().try_for_each(|tool| offered_tool(text, tool))?;
    }
    if !manifest.hooks.is_empty() {
        writeln!(text, "\nHooks")?;
        manifest.hooks.iter().try_for_each(|hook| offered_hook(text, hook))?;
    }
    if let Some(schema) = &manifest.config_schema {
        writeln!(text, "\nConfiguration")?;
        members(text, schema)?;
    }
    Ok(())
}

fn offered_tool(text: &mut String, tool: &ToolDeclaration) -> Written {
    writeln!(text, "  {}", one_line(&tool.name))?;
    if let Some(description) = &tool.description {
        writeln!(text, "      {}", ringfence::consent::shown(description))?;
    }
    tool.input_schema.as_ref().map_or(Ok(()), |schema| members(text, schema))
}

fn offered_hook(text: &mut String, hook: &HookDeclaration) -> Written {
    let kind = serde_json::to_value(hook.kind).unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default();
    let timeout = hook.timeout_ms.map_or_else(String::new, |ms| format!(", {ms} ms"));
    writeln!(text, "  {}  {kind}, priority {}{timeout}", one_line(&hook.event), hook.priority)
}

/// The members that a schema names, one a line.
fn members(text: &mut String, schema: &Value) -> Written {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    let required = |name: &str| {
        let list = schema.get("required").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|one| one == name))
    };
    for (name, member) in properties {
        let mut words = vec![match (member.get("enum"), member.get("type")) {
            (Some(choices), _) => format!("one of {choices}"),
            (None, Some(Value::String(kind))) => kind.clone(),
            (None, Some(kinds)) => kinds.to_string(),
            (None, None) => "any".to_owned(),
        }];
        if required(name) {
            words.push("required".to_owned());
        }
        if let Some(default) = member.get("default") {
            words.push(format!("default {default}"));
        }
        if member.get("writeOnly") == Some(&Value::Bool(true)) {
            words.push("secret".to_owned());
        }
        writeln!(text, "      {}: {}", one_line(name), ringfence::consent::shown(&words.join(", ")))?;
    }
    Ok(())
}

fn limits(text: &mut String, limits: &LimitsInfo) -> Written {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "no limit".to_owned(), size);
    let count = |count: Option<u64>| count.map_or_else(|| "no limit".to_owned(), |count| count.to_string());
    let cpu = limits
        .cpu_percent
        .map_or_else(|| "no limit".to_owned(), |percent| format!("{percent} % of one core"));
    let by = |name: &str| {
        let at = limits.by_policy.get(name);
        at.map_or_else(String::new, |at| format!(", by policy ({})", one_line(at)))
    };
    writeln!(text, "\nLimits")?;
    for (shown, value, name) in [
        ("memory", bytes(limits.memory_bytes), "memory_bytes"),
        ("processor", cpu, "cpu_percent"),
        ("processes", count(limits.processes), "processes"),
        ("one file", bytes(limits.file_size_bytes), "file_size_bytes"),
        ("data", size(limits.data_bytes), "data_bytes"),
        ("log", size(limits.log_bytes), "log_bytes"),
        ("start", format!("{} s", seconds(limits.init_timeout_ms)), "init_timeout_ms"),
        ("one call", format!("{} s", seconds(limits.call_timeout_ms)), "call_timeout_ms"),
    ] {
        writeln!(text, "  {shown:<9}  {value}{}", by(name))?;
    }
    Ok(())
}

fn seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn happened(text: &mut String, details: &PluginDetails) -> Written {
    if !details.enforced.is_empty() {
        writeln!(text, "\nSandbox")?;
        for (layer, by) in &details.enforced {
            let detail =
                by.detail.as_ref().map_or_else(String::new, |detail| format!(" ({})", one_line(detail)));
            writeln!(text, "  {layer:<12} {}{detail}", by.by)?;
        }
    }
    if details.recent_crashes > 0 {
        writeln!(text, "\nCrashes in the last ten minutes: {}", details.recent_crashes)?;
    }
    if details.denials.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nRefused")?;
    for denial in details.denials.iter().take(DENIALS_SHOWN) {
        let (operation, object) = (one_line(&denial.operation), one_line(&denial.object));
        writeln!(text, "  {operation} {object}, by {}, {} time(s)", one_line(&denial.layer), denial.count)?;
    }
    writeln!(text, "  what would allow it: ringfence why {}", details.name)
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
