//! `ringfence policy check`, `explain`, `simulate` and `template`: the administrator's rules over all plugins.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use ringfence::host::{Explained, ExplainedBy, Simulated};
use ringfence::policy::{self, Finding, PolicyState, PolicyStatus};
use ringfence::{Error, Home};
use ringfence_api::Permission;
use serde::Serialize;

use crate::answer::Answer;
use crate::host;
use crate::print;
use crate::table::Table;
use crate::text::one_line;
use crate::time::utc_of;

/// How many differences people are shown; the JSON document has them all.
const SHOWN_MAX: usize = 200;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say what is wrong with the policy
    Check(CheckArguments),
    /// Say whether a plugin may have a permission, and which rule or grant decides
    Explain(ExplainArguments),
    /// Say what another policy would have done with what was recorded
    Simulate(SimulateArguments),
    /// Print policy.toml with every field and what it does
    Template(TemplateArguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Prints one finding a line: FILE:LINE:COLUMN MESSAGE. Without FILE it is policy.toml in the home, and who can write \
it is checked too. Exit status: 0 without findings, also when there is no policy; 1 with findings; 3 if FILE does not exist.

Examples:
  ringfence policy check
  ringfence policy check ./policy.toml
  ringfence policy check --json"
)]
pub(crate) struct CheckArguments {
    /// The policy to check
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A scope without wildcards asks about that one thing, one with wildcards about all that it means.

Examples:
  ringfence policy explain translator 'file:read=/srv/notes/**'
  ringfence policy explain translator network:request --json

Exit status: 0 explained, whatever the answer; 2 usage; 3 no such plugin; 4 the policy cannot be used; 8 busy."
)]
pub(crate) struct ExplainArguments {
    /// The name of the plugin
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// The permission, with or without a scope
    #[arg(value_name = "PERMISSION")]
    permission: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Judges the installations, grants, starts, calls and denials of the audit trail again, as if FILE had been the \
policy, and prints those that come out otherwise. Nothing is changed.

Examples:
  ringfence policy simulate ./policy.toml
  ringfence policy simulate ./policy.toml --json

Exit status: 0 whatever differs; 1 FILE has mistakes; 3 FILE does not exist; 8 busy."
)]
pub(crate) struct SimulateArguments {
    /// The policy to try
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "As it is printed it denies nothing.

Examples:
  ringfence policy template > policy.toml

Exit status: 0 printed.")]
pub(crate) struct TemplateArguments {}

/// Does it.
pub(crate) fn run(command: &PolicyCommand) -> ExitCode {
    match command {
        PolicyCommand::Check(arguments) => match check(arguments.file.as_deref()) {
            Ok(checked) => told(&checked, arguments.json),
            Err(error) => host::failed(&error, arguments.json),
        },
        PolicyCommand::Explain(arguments) => match permission(&arguments.permission) {
            Ok(permission) => host::with(arguments.json, |opened| {
                let explained = opened.wait("reading policy and grants", |host| {
                    host.explain_policy(&arguments.plugin, &permission)
                })?;
                Ok(explanation(&explained)?)
            }),
            Err(error) => host::failed(&error, arguments.json),
        },
        PolicyCommand::Simulate(arguments) => simulate(arguments),
        PolicyCommand::Template(TemplateArguments {}) => print::data(policy::template()),
    }
}

fn permission(text: &str) -> Result<Permission, Error> {
    crate::permissions::read(&[text.to_owned()]).map(|all| all.into_iter().next()).and_then(|first| {
        first.ok_or_else(|| Error::new(ringfence_api::ErrorCode::Usage, "no permission was given"))
    })
}

/// What there is to say of one policy.
#[derive(Serialize)]
struct Checked {
    file: String,
    state: PolicyState,
    rules: usize,
    findings: Vec<Finding>,
}

impl From<PolicyStatus> for Checked {
    fn from(status: PolicyStatus) -> Self {
        let PolicyStatus { state, file, rules, findings } = status;
        Self { file, state, rules, findings }
    }
}

fn check(file: Option<&Path>) -> Result<Checked, Error> {
    let home = Home::from_env()?;
    let Some(file) = file else { return Ok(policy::status(&home).into()) };
    let name = file.display().to_string();
    Ok(match policy::read(file, &home)? {
        Ok(policy) => Checked {
            file: name,
            state: PolicyState::InForce,
            rules: policy.rules.len(),
            findings: Vec::new(),
        },
        Err(findings) => Checked { file: name, state: PolicyState::Unusable, rules: 0, findings },
    })
}

/// Prints the findings and the sum; the status says whether there are any.
fn told(checked: &Checked, json: bool) -> ExitCode {
    let printed = match Answer::of(checked) {
        Ok(answer) => answer.text(findings(checked)).talk(sum(checked)).print(json),
        Err(error) => return host::failed(&error, json),
    };
    if checked.findings.is_empty() { printed } else { ExitCode::FAILURE }
}

fn findings(checked: &Checked) -> String {
    let file = one_line(&checked.file);
    checked.findings.iter().map(|finding| format!("{file}:{}\n", one_line(&finding.to_string()))).collect()
}

fn sum(checked: &Checked) -> String {
    match (checked.state, checked.findings.len()) {
        (PolicyState::Absent, _) => format!("there is no {}; nothing is denied", one_line(&checked.file)),
        (_, 0) => format!("{} rules, no mistakes", checked.rules),
        (_, 1) => "1 mistake".to_owned(),
        (_, count) => format!("{count} mistakes"),
    }
}

fn explanation(explained: &Explained) -> Result<Answer, Error> {
    let mut text = String::new();
    let decision = if explained.allowed { "allowed" } else { "denied" };
    let by = match explained.by {
        ExplainedBy::Policy => "the policy",
        ExplainedBy::Grant => "a grant",
        ExplainedBy::Floor => "protection: no wildcard opens it",
        ExplainedBy::Nothing => "nobody: it is not granted",
    };
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "  {name:<9} {}", one_line(value));
    };
    line("decided", by);
    line("because", &explained.reason);
    if let Some(rule) = &explained.rule {
        let at = explained.line.map_or_else(String::new, |line| format!(" (policy.toml:{line})"));
        line("rule", &format!("{rule}{at}"));
    }
    explained.except.iter().for_each(|rule| line("except", rule));
    explained.left.iter().for_each(|left| line("left", left));
    let head = format!("{}: {}: {decision}\n", explained.plugin, one_line(&explained.permission.to_string()));
    Ok(Answer::of(explained)?.text(head + &text))
}

fn simulate(arguments: &SimulateArguments) -> ExitCode {
    let read = Home::from_env().and_then(|home| policy::read(&arguments.file, &home));
    match read {
        Err(error) => host::failed(&error, arguments.json),
        Ok(Err(findings)) => {
            let file = arguments.file.display().to_string();
            told(&Checked { file, state: PolicyState::Unusable, rules: 0, findings }, arguments.json)
        }
        Ok(Ok(policy)) => host::with(arguments.json, |opened| {
            let simulated =
                opened.wait("judging what was recorded", |host| host.simulate_policy(policy.clone()))?;
            Ok(simulation(&simulated)?)
        }),
    }
}

fn simulation(simulated: &Simulated) -> Result<Answer, Error> {
    let mut table = Table::new(["PLUGIN", "WHAT", "WAS", "WOULD BE", "TIMES", "LAST", "ABOUT"]).last_whole();
    for one in simulated.differences.iter().take(SHOWN_MAX) {
        let about = format!("{}: {}", one_line(&one.object), one_line(&one.because));
        table.row([
            one_line(&one.plugin),
            one_line(&one.event),
            one.recorded.to_owned(),
            one.now.to_owned(),
            one.count.to_string(),
            utc_of(one.last_at_ms),
            about.trim_start_matches(": ").to_owned(),
        ]);
    }
    let mut limits = Table::new(["PLUGIN", "LIMIT", "WAS", "WOULD BE", "ABOUT"]).last_whole();
    for one in simulated.limits.iter().take(SHOWN_MAX) {
        let shown = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        limits.row([
            one_line(&one.plugin),
            one.limit.clone(),
            shown(one.was),
            shown(one.now),
            one.because.clone(),
        ]);
    }
    let more = simulated.differences.len().saturating_sub(SHOWN_MAX)
        + simulated.limits.len().saturating_sub(SHOWN_MAX);
    let differing: u64 = simulated.differences.iter().map(|one| one.count).sum();
    let tables: Vec<String> =
        [table.for_stdout(), limits.for_stdout()].into_iter().filter(|table| !table.is_empty()).collect();
    let mut answer = Answer::of(simulated)?
        .text(tables.join("\n"))
        .talk(format!("{differing} of {} recorded decisions would come out otherwise", simulated.decisions));
    if !simulated.limits.is_empty() {
        answer = answer.talk(format!("{} limits would be others", simulated.limits.len()));
    }
    if more > 0 {
        answer = answer.talk(format!("{more} more lines with --json"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence::host::Difference;

    #[test]
    fn findings_stand_with_their_file_and_place_and_nothing_in_them_moves_a_terminal() {
        let finding = Finding { line: 3, column: 9, message: "bad\u{1b}[2J".to_owned() };
        let checked = |state, findings| Checked { file: "policy.toml".to_owned(), state, rules: 2, findings };
        let broken = checked(PolicyState::Unusable, vec![finding]);
        assert_eq!(findings(&broken), "policy.toml:3:9 bad\\u{1b}[2J\n");
        assert_eq!(sum(&broken), "1 mistake");
        assert_eq!(sum(&checked(PolicyState::InForce, Vec::new())), "2 rules, no mistakes");
        assert_eq!(
            sum(&checked(PolicyState::Absent, Vec::new())),
            "there is no policy.toml; nothing is denied"
        );
    }

    #[test]
    fn an_explanation_says_who_decides_by_which_rule_and_line() {
        let mut explained = Explained {
            plugin: "notes".parse().unwrap(),
            permission: "file:read=/srv/payroll/may.csv".parse().unwrap(),
            allowed: false,
            by: ExplainedBy::Policy,
            rule: Some("deny file:read=/srv/payroll/**".to_owned()),
            line: Some(4),
            reason: "the policy denies it".to_owned(),
            except: Vec::new(),
            left: Vec::new(),
        };
        assert_eq!(
            explanation(&explained).unwrap().for_people(),
            "notes: file:read=/srv/payroll/may.csv: denied\n  decided   the policy\n  because   the policy denies it\n  \
             rule      deny file:read=/srv/payroll/** (policy.toml:4)"
        );
        (explained.allowed, explained.by, explained.rule) = (true, ExplainedBy::Grant, None);
        explained.except = vec!["'deny x'".to_owned()];
        assert!(explanation(&explained).unwrap().for_people().ends_with("  except    'deny x'"));
    }

    #[test]
    fn a_simulation_is_a_table_of_what_differs_and_a_sum() {
        let simulated = Simulated {
            records: 9,
            decisions: 7,
            differences: vec![Difference {
                plugin: "notes".to_owned(),
                event: "grant".to_owned(),
                object: "env:read=A".to_owned(),
                recorded: "allowed",
                now: "denied",
                because: "the policy denies it by 'deny env:read' (new.toml:1)".to_owned(),
                count: 2,
                first_at_ms: 0,
                last_at_ms: 0,
            }],
            left_out: 0,
            limits: vec![ringfence::host::LimitDifference {
                plugin: "notes".to_owned(),
                limit: "memory_bytes".to_owned(),
                was: Some(500),
                now: None,
                because: "no ceiling lowers it any more".to_owned(),
            }],
        };
        let text = simulation(&simulated).unwrap().for_people();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("notes   grant  allowed  denied    2      1970-01-01"), "{text}");
        assert!(
            lines[1].ends_with("env:read=A: the policy denies it by 'deny env:read' (new.toml:1)"),
            "{text}"
        );
        assert!(lines[4].starts_with("notes   memory_bytes  500  none "), "{text}");
        assert_eq!(
            lines[5..],
            ["2 of 7 recorded decisions would come out otherwise", "1 limits would be others"]
        );
    }
}
