//! `ringfence doctor`: what this machine can enforce, and how to mend what it cannot. The findings come from the library;
//! here they are laid out.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ringfence::Home;
use ringfence::doctor::{self, Check, Diagnosis, State};
use ringfence_api::ErrorCode;

use crate::print;

#[derive(Debug, Args)]
#[command(
    after_help = "Everything is tried for real, by starting sandboxes with a program that does nothing. Exit status: 0 if the \
default plan can be enforced in full (limits held by a sampler count), else 7. Run it as the user that will run Ringfence.

Examples:
  ringfence doctor
  ringfence doctor --json
  ringfence doctor --apparmor"
)]
pub(crate) struct DoctorArguments {
    /// Print one JSON document
    #[arg(long, conflicts_with = "apparmor")]
    json: bool,
    /// Print an AppArmor profile that lets Ringfence, or the program given, make user namespaces
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true)]
    apparmor: Option<Option<PathBuf>>,
}

/// Looks, and prints what was found.
pub(crate) fn run(arguments: &DoctorArguments) -> ExitCode {
    if let Some(program) = &arguments.apparmor {
        return profile(program.as_ref());
    }
    let mut diagnosis = doctor::examine();
    // Without any home there is no policy either.
    diagnosis.checks.extend(Home::from_env().ok().and_then(|home| doctor::policy_check(&home)));
    let text = if arguments.json {
        serde_json::to_string(&diagnosis).unwrap_or_default()
    } else {
        render(&diagnosis)
    };
    let printed = print::data(&text);
    if diagnosis.enforceable { printed } else { ExitCode::from(ErrorCode::NotEnforceable.exit_status()) }
}

fn profile(program: Option<&PathBuf>) -> ExitCode {
    let program = match program {
        Some(program) if program.is_absolute() => Ok(program.clone()),
        Some(program) => {
            let message = format!("'{}' is no absolute path", program.display());
            Err(ringfence::Error::new(ErrorCode::Usage, message)
                .with_hint("an AppArmor profile names a program by its absolute path"))
        }
        None => doctor::own_program(),
    };
    match program {
        Ok(program) => print::data(&doctor::apparmor_profile(&program)),
        Err(error) => super::finish(Err(error), false),
    }
}

/// The table, what needs words below it, the settings, and the sum in one line.
fn render(diagnosis: &Diagnosis) -> String {
    let mut text = format!("Linux {}, uid {}\n\n", diagnosis.kernel, diagnosis.uid);
    let width = diagnosis.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &diagnosis.checks {
        line(
            &mut text,
            format_args!("  {:<8} {:<width$}  {}", check.state.as_str(), check.name, one_line(&check.found)),
        );
    }
    for check in diagnosis.checks.iter().filter(|check| check.follows.is_some() || !check.mend.is_empty()) {
        details(&mut text, check);
    }
    if !diagnosis.settings.is_empty() {
        let width = diagnosis.settings.keys().map(|name| name.len()).max().unwrap_or(0);
        text.push_str("\nkernel settings\n");
        for (name, value) in &diagnosis.settings {
            line(&mut text, format_args!("  {name:<width$}  {}", one_line(value)));
        }
    }
    text.push('\n');
    text.push_str(&sum(diagnosis));
    text
}

fn details(text: &mut String, check: &Check) {
    line(text, format_args!("\n{}", check.name));
    if let Some(follows) = &check.follows {
        line(text, format_args!("  follows  {}", one_line(follows)));
    }
    for (number, step) in check.mend.iter().enumerate() {
        line(text, format_args!("  {:<7}  {}", if number == 0 { "mend" } else { "" }, one_line(step)));
    }
}

fn sum(diagnosis: &Diagnosis) -> String {
    let missing: Vec<_> = diagnosis.missing().map(|check| check.name).collect();
    if !missing.is_empty() {
        return format!(
            "The default plan cannot be enforced here ({}). Nothing is started until that is mended.\n",
            missing.join(", ")
        );
    }
    let by = diagnosis.limits_by.unwrap_or("nobody");
    let strict = if diagnosis.strict { "" } else { " With --strict, runs are refused." };
    let notes = if diagnosis.checks.iter().any(|check| check.state == State::Note) {
        " Notes are above."
    } else {
        ""
    };
    format!("The default plan is fully enforced; limits are held by {by}.{strict}{notes}\n")
}

/// Causes come from the system: a line break in one must not look like another finding.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn check(name: &'static str, state: State, found: &str) -> Check {
        Check { name, state, found: found.to_owned(), follows: None, mend: Vec::new() }
    }

    fn diagnosis(checks: Vec<Check>) -> Diagnosis {
        Diagnosis {
            enforceable: checks.iter().all(|check| check.state != State::Missing),
            strict: false,
            limits_by: Some("sampler"),
            kernel: "6.1.0".to_owned(),
            uid: 1000,
            landlock_abi: 2,
            container: None,
            checks,
            settings: BTreeMap::from([("user.max_user_namespaces", "0".to_owned())]),
        }
    }

    #[test]
    fn what_is_missing_is_in_the_table_below_it_and_in_the_sum() {
        let mut user = check("user", State::Missing, "cannot make\nthe namespaces");
        user.follows = Some("nothing is started without it".to_owned());
        user.mend = vec!["sudo one".to_owned(), "sudo two".to_owned()];
        let text = render(&diagnosis(vec![user, check("landlock", State::Ok, "a second wall")]));
        assert_eq!(
            text,
            "Linux 6.1.0, uid 1000\n\n\
             \x20 missing  user      cannot make the namespaces\n\
             \x20 ok       landlock  a second wall\n\n\
             user\n\
             \x20 follows  nothing is started without it\n\
             \x20 mend     sudo one\n\
             \x20          sudo two\n\n\
             kernel settings\n\
             \x20 user.max_user_namespaces  0\n\n\
             The default plan cannot be enforced here (user). Nothing is started until that is mended.\n"
        );
    }

    #[test]
    fn the_sum_says_who_holds_the_limits() {
        let text = render(&diagnosis(vec![check("limits", State::Note, "sampled")]));
        assert!(
            text.ends_with("limits are held by sampler. With --strict, runs are refused. Notes are above.\n"),
            "{text}"
        );
    }
}
