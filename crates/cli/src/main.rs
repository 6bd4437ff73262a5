//! The `ringfence` command: argument parsing, printing, and exit statuses. What it does is in the library.

mod command;
mod duration;
mod flags;
mod print;
mod size;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use ringfence_api::ErrorCode;

/// Runs other people's code so that it cannot crash, hang, starve, read or reach what it was not granted.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, about, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one command in a sandbox, with its output live
    Exec(Box<command::exec::ExecArguments>),
    /// Look at stored runs
    Runs {
        #[command(subcommand)]
        command: command::runs::RunsCommand,
    },
    /// Make the beginning of a plugin, with a tool and a test
    New(command::new::NewArguments),
    /// Say what is wrong with a plugin's package, and what could be better
    Check(command::check::CheckArguments),
    /// Say what this machine can enforce, and how to mend what it cannot
    Doctor(command::doctor::DoctorArguments),
    /// Show a useful program at work and a hostile one held, in a temporary directory
    Demo(command::demo::DemoArguments),
    /// The programs of the demo.
    #[command(hide = true)]
    DemoGuest(command::demo::GuestArguments),
    /// Print config.toml with every field, its default and what it does
    ConfigFile,
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match Arguments::try_parse_from(&words) {
        Ok(arguments) => run(arguments.command),
        Err(error) => refuse(&error, &words),
    }
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Exec(arguments) => command::exec::run(&arguments),
        Command::Runs { command } => command::runs(&command),
        Command::New(arguments) => command::new::run(&arguments),
        Command::Check(arguments) => command::check::run(&arguments),
        Command::Doctor(arguments) => command::doctor::run(&arguments),
        Command::Demo(arguments) => command::demo::run(&arguments),
        Command::DemoGuest(arguments) => command::demo::run_guest(&arguments),
        Command::ConfigFile => print::data(&ringfence::Config::template()),
    }
}

/// Help and version are no errors. A usage error of `exec` has the status of `exec`'s own refusals, so that it cannot be
/// taken for the command's.
fn refuse(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if !error.use_stderr() {
        return print::data(&error.render().to_string());
    }
    let is_exec = words.get(1).is_some_and(|word| word == "exec");
    if words.iter().take_while(|word| *word != "--").any(|word| word == "--json") {
        let mut text = error.render().to_string();
        text.truncate(text.find("\n\nUsage").unwrap_or(text.len()));
        let message = text.trim().trim_start_matches("error: ").to_owned();
        print::error_document(&ringfence::Error::new(ErrorCode::Usage, message).with_hint("see --help"));
    } else {
        print::talk(&error.render().to_string());
    }
    let code = ErrorCode::Usage;
    ExitCode::from(if is_exec { code.exec_exit_status() } else { code.exit_status() })
}

/// The grammar as clap has it, for tests and completions.
#[allow(dead_code, reason = "used by tests")]
fn grammar() -> clap::Command {
    Arguments::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds() {
        grammar().debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_is_the_command() {
        let words = ["ringfence", "exec", "--ro", "/srv", "--", "ls", "--json", "-l"];
        let Command::Exec(arguments) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("exec")
        };
        assert_eq!(arguments.command, ["ls", "--json", "-l"]);
        assert!(!arguments.json);
    }
}
