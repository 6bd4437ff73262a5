//! `ringfence top`: what each plugin uses now, as the daemon measures it.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ringfence::Error;
use ringfence::plugin::PluginSummary;
use serde::Serialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::daemon::{self, Daemon};
use crate::host::{self, Opened, Stopped};
use crate::print;
use crate::table::Table;
use crate::text::{one_line, size};

/// How often the table is drawn.
const DRAW_EVERY: Duration = Duration::from_secs(2);
/// Moves to the upper left corner and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, Args)]
#[command(
    after_help = "What uses most memory stands first. A plugin that does not run uses nothing. On a terminal the table is drawn every two \
seconds until Ctrl-C; elsewhere, and with --once or --json, it is printed once.

Examples:
  ringfence top
  ringfence top --once
  ringfence top --json

Exit status: 0 shown; 4 no daemon holds this home; 128+n ended by signal n."
)]
pub(crate) struct TopArguments {
    /// Print the table once
    #[arg(long)]
    once: bool,
    /// Print one JSON document, once
    #[arg(long)]
    json: bool,
}

/// One plugin at one moment.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    state: String,
    /// Whether a process of it runs.
    running: bool,
    /// Of one core, since the sample before.
    cpu_percent: Option<f64>,
    memory_bytes: Option<u64>,
    /// When this was measured, in unix milliseconds.
    at_ms: Option<i64>,
}

/// Shows it.
pub(crate) fn run(arguments: &TopArguments) -> ExitCode {
    host::with_status(arguments.json, |opened| {
        let Some(daemon) = opened.daemon() else { return Err(daemon::needed("top").into()) };
        if arguments.json || arguments.once || !std::io::stdout().is_terminal() {
            let rows = opened.wait_for("asking the daemon", rows(daemon))?;
            return Ok(answer(&rows)?.print(arguments.json));
        }
        live(opened, daemon)
    })
}

/// Draws until a signal.
fn live(opened: &Opened, daemon: &Daemon) -> Result<ExitCode, Stopped> {
    loop {
        match opened.wait_for("asking the daemon", rows(daemon)) {
            Ok(rows) => {
                let table = table(&rows);
                let shown = if table.is_empty() { "no plugin is installed\n" } else { &table };
                print::data(&format!("{CLEAR}{shown}"));
            }
            // The end that it has.
            Err(Stopped::Signal(number)) => return Ok(host::signal_status(number)),
            Err(stopped) => return Err(stopped),
        }
        if let Some(number) = opened.pause(DRAW_EVERY) {
            return Ok(host::signal_status(number));
        }
    }
}

async fn rows(daemon: &Daemon) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for plugin in daemon.list().await? {
        let used = match daemon.resources(plugin.name.as_str()).await {
            Ok(used) => used,
            // Uninstalled meanwhile.
            Err(error) if error.code() == ringfence_api::ErrorCode::NotFound => continue,
            Err(error) => return Err(error),
        };
        // What it used last says nothing of now unless it runs.
        let running = daemon.show(plugin.name.as_str()).await?.get("running") == Some(&Value::Bool(true));
        rows.push(row(&plugin, &used, running));
    }
    rows.sort_by(|a, b| b.memory_bytes.cmp(&a.memory_bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(rows)
}

/// The newest sample of a plugin that runs.
fn row(plugin: &PluginSummary, used: &Value, running: bool) -> Row {
    let at = |sample: &&Value| sample.get("at_ms").and_then(Value::as_i64);
    let last = used.as_array().and_then(|samples| samples.iter().max_by_key(at)).filter(|_| running);
    let of = |name: &str| last.and_then(|last| last.get(name));
    Row {
        name: plugin.name.to_string(),
        state: plugin.state.to_string(),
        running,
        cpu_percent: of("cpu_percent").and_then(Value::as_f64),
        memory_bytes: of("memory_bytes").and_then(Value::as_u64),
        at_ms: of("at_ms").and_then(Value::as_i64),
    }
}

fn answer(rows: &[Row]) -> Result<Answer, Error> {
    let answer = Answer::of(&rows)?.text(table(rows));
    Ok(if rows.is_empty() { answer.talk("no plugin is installed") } else { answer })
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(["NAME", "STATE", "CPU", "MEMORY"]);
    let none = || "-".to_owned();
    for row in rows {
        table.row([
            one_line(&row.name),
            row.state.clone(),
            row.cpu_percent.map_or_else(none, |percent| format!("{percent:.0} %")),
            row.memory_bytes.map_or_else(none, size),
        ]);
    }
    table.for_stdout()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_api::{PluginState, Runtime};
    use serde_json::json;

    #[test]
    fn a_row_is_the_last_sample_of_what_runs() {
        let plugin = PluginSummary {
            name: "notes".parse().unwrap(),
            version: "1.0.0".to_owned(),
            state: PluginState::Active,
            runtime: Runtime::Python,
            publisher: "unsigned".to_owned(),
            description: None,
            reason: None,
        };
        let used = json!([
            {"at_ms": 1, "cpu_percent": 99.0, "memory_bytes": 1, "cpu_ms": 1},
            {"at_ms": 2, "cpu_percent": 12.4, "memory_bytes": 20_000_000, "cpu_ms": 3},
        ]);
        let rows = [row(&plugin, &used, true)];
        let said = answer(&rows).unwrap().for_people();
        assert_eq!(said, "NAME   STATE   CPU   MEMORY\nnotes  active  12 %  20 MB");
        assert_eq!(serde_json::to_value(&rows[0]).unwrap()["at_ms"], 2);
        let stopped = answer(&[row(&plugin, &used, false)]).unwrap().for_people();
        assert!(stopped.ends_with("notes  active  -    -"), "{stopped}");
    }
}
