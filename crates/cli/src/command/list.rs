//! `ringfence list`.

use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use ringfence::plugin::PluginSummary;

use crate::answer::Answer;
use crate::host;
use crate::table::Table;
use crate::text::one_line;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence list
  ringfence list --json

Exit status: 0, also when nothing is installed; 8 busy.")]
pub(crate) struct ListArguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Lists what is installed.
pub(crate) fn run(arguments: &ListArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let doing = "reading the store";
        let plugins = match opened.daemon() {
            Some(daemon) => opened.wait_for(doing, daemon.list())?,
            None => opened.wait(doing, |host| host.list())?,
        };
        let answer = answer(&plugins)?;
        // People only: a document has no place for it, and with a daemon the store is not opened for nothing.
        if arguments.json { Ok(answer) } else { Ok(answer.talk_all(opened.policy_warning()?)) }
    })
}

fn answer(plugins: &[PluginSummary]) -> Result<Answer, Error> {
    let mut table = Table::new(["NAME", "VERSION", "STATE", "RUNTIME", "ABOUT"]);
    for plugin in plugins {
        let about = plugin.reason.as_ref().or(plugin.description.as_ref());
        table.row([
            plugin.name.to_string(),
            plugin.version.clone(),
            plugin.state.to_string(),
            plugin.runtime.to_string(),
            about.map(|text| one_line(text)).unwrap_or_default(),
        ]);
    }
    let answer = Answer::of(&plugins)?.text(table.for_stdout());
    Ok(if plugins.is_empty() {
        answer.talk("no plugin is installed; ringfence install PATH installs one")
    } else {
        answer
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_api::{PluginState, Runtime};

    #[test]
    fn one_line_for_each_and_the_reason_before_the_description() {
        let plugin = |name: &str, state, reason: Option<&str>| PluginSummary {
            name: name.parse().unwrap(),
            version: "1.0.0".to_owned(),
            state,
            runtime: Runtime::Python,
            publisher: "unsigned".to_owned(),
            description: Some("Translates.".to_owned()),
            reason: reason.map(str::to_owned),
        };
        let plugins = [
            plugin("a", PluginState::Active, None),
            plugin("b", PluginState::Quarantined, Some("6 crashes\nin 10 minutes")),
        ];
        assert_eq!(
            answer(&plugins).unwrap().for_people(),
            "NAME  VERSION  STATE        RUNTIME  ABOUT\n\
             a     1.0.0    active       python   Translates.\n\
             b     1.0.0    quarantined  python   6 crashes\\nin 10 minutes"
        );
        assert!(answer(&[]).unwrap().for_people().starts_with("no plugin is installed"));
    }
}
