//! The `ringfence` command: argument parsing, printing, and exit statuses. What it does is in the library.

mod answer;
mod arguments;
mod command;
mod consent;
mod daemon;
mod duration;
mod flags;
mod host;
mod json;
mod permissions;
mod print;
#[cfg(test)]
mod reference;
mod size;
mod table;
mod text;
mod time;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use ringfence::exec::Headstart;
use ringfence_api::ErrorCode;

/// Runs other people's code so that it cannot crash, hang, starve, read or reach what it was not granted.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one command in a sandbox, with its output live
    Exec(Box<command::exec::ExecArguments>),
    /// Run one command on copies, and say which grants it needs
    Learn(Box<command::learn::LearnArguments>),
    /// Look at stored runs
    Runs {
        #[command(subcommand)]
        command: command::runs::RunsCommand,
    },
    /// Make the beginning of a plugin, with a tool and a test
    New(command::new::NewArguments),
    /// Say what is wrong with a plugin's package, and what could be better
    Check(command::check::CheckArguments),
    /// Run a plugin from its directory, and start it anew when a file changes
    Dev(command::dev::DevArguments),
    /// Install a plugin from a directory
    Install(command::install::InstallArguments),
    /// Look for new packages in the plugin directories
    Scan(command::install::ScanArguments),
    /// List installed plugins
    List(command::list::ListArguments),
    /// Show everything about a plugin
    Show(command::show::ShowArguments),
    /// Let a plugin take calls, and ask for consent where it is missing
    Activate(command::activate::ActivateArguments),
    /// Stop a plugin
    Deactivate(command::activate::DeactivateArguments),
    /// Remove a plugin
    Uninstall(command::activate::UninstallArguments),
    /// Put another version of a plugin in its place
    Upgrade(command::upgrade::UpgradeArguments),
    /// Go back to the version before the last upgrade
    Rollback(command::upgrade::RollbackArguments),
    /// Call a tool of a plugin
    Call(command::call::CallArguments),
    /// Pass an event through the plugins that take part in it
    Hook(command::hook::HookArguments),
    /// Send a message to every plugin that is granted its topic
    Event(command::hook::EventArguments),
    /// Read or set a plugin's configuration
    Config {
        #[command(subcommand)]
        command: command::config::ConfigCommand,
    },
    /// Show what is granted to a plugin
    Grants(command::grants::GrantsArguments),
    /// Grant permissions to a plugin
    Grant(command::grants::GrantArguments),
    /// Take permissions from a plugin
    Revoke(command::grants::RevokeArguments),
    /// Check, explain and try the administrator's policy
    Policy {
        #[command(subcommand)]
        command: command::policy::PolicyCommand,
    },
    /// Say what was refused, and which grant would allow it
    Why(command::why::WhyArguments),
    /// Show the log of a plugin
    Logs(command::logs::LogsArguments),
    /// Show what each plugin uses now
    Top(command::top::TopArguments),
    /// Read the audit trail, or check that nobody changed it
    Audit {
        #[command(subcommand)]
        command: command::audit::AuditCommand,
    },
    /// Run the daemon: keep active plugins running, and serve the HTTP API
    Serve(command::serve::ServeArguments),
    /// Let an AI client manage plugins: an MCP server on standard input and output
    Mcp(command::mcp::McpArguments),
    /// Print an address that opens the daemon's dashboard once
    Dashboard(command::dashboard::DashboardArguments),
    /// Make, list and revoke what opens the daemon's HTTP API
    Token {
        #[command(subcommand)]
        command: command::token::TokenCommand,
    },
    /// Say what this machine can enforce, and how to mend what it cannot
    Doctor(command::doctor::DoctorArguments),
    /// Show plugins at work and hostile ones held, in a temporary home
    Demo(command::demo::DemoArguments),
    /// The programs of the demo.
    #[command(hide = true)]
    DemoGuest(command::demo::GuestArguments),
    /// What scans a package, inside a sandbox.
    #[command(hide = true)]
    ScanCode(command::scan_code::ScanCodeArguments),
    /// Print config.toml with every field, its default and what it does
    #[command(after_help = "Examples:
  ringfence config-file > config.toml

Exit status: 0 printed.")]
    ConfigFile {
        /// Print one JSON document: {config_file}
        #[arg(long)]
        json: bool,
    },
    /// Print the completions of a shell
    Completions(command::completions::CompletionsArguments),
    /// Print or write the manual pages
    Man(command::completions::ManArguments),
}

/// `exec` alone: its start is measured in microseconds, and the whole grammar takes some to build.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, propagate_version = true)]
struct ExecOnly {
    #[command(subcommand)]
    command: ExecCommand,
}

#[derive(Debug, Subcommand)]
enum ExecCommand {
    /// Run one command in a sandbox, with its output live
    Exec(Box<command::exec::ExecArguments>),
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(status) = command::demo::run_plugin(words.first()) {
        return status;
    }
    if words.get(1).is_some_and(|word| word == "exec") {
        let headstart = Headstart::begin();
        return match ExecOnly::try_parse_from(&words) {
            Ok(ExecOnly { command: ExecCommand::Exec(arguments) }) => {
                command::exec::run(&arguments, headstart)
            }
            Err(error) => refuse(&error, &words),
        };
    }
    match Arguments::try_parse_from(&words) {
        Ok(arguments) => run(arguments.command),
        Err(error) => refuse(&error, &words),
    }
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Exec(arguments) => command::exec::run(&arguments, Headstart::begin()),
        Command::Learn(arguments) => command::learn::run(&arguments),
        Command::Runs { command } => command::runs(&command),
        Command::New(arguments) => command::new::run(&arguments),
        Command::Check(arguments) => command::check::run(&arguments),
        Command::Dev(arguments) => command::dev::run(&arguments),
        Command::Install(arguments) => command::install::run(&arguments),
        Command::Scan(arguments) => command::install::run_scan(&arguments),
        Command::List(arguments) => command::list::run(&arguments),
        Command::Show(arguments) => command::show::run(&arguments),
        Command::Activate(arguments) => command::activate::run(&arguments),
        Command::Deactivate(arguments) => command::activate::run_deactivate(&arguments),
        Command::Uninstall(arguments) => command::activate::run_uninstall(&arguments),
        Command::Upgrade(arguments) => command::upgrade::run(&arguments),
        Command::Rollback(arguments) => command::upgrade::run_rollback(&arguments),
        Command::Call(arguments) => command::call::run(&arguments),
        Command::Hook(arguments) => command::hook::run(&arguments),
        Command::Event(arguments) => command::hook::run_event(&arguments),
        Command::Config { command } => command::config::run(&command),
        Command::Grants(arguments) => command::grants::run(&arguments),
        Command::Grant(arguments) => command::grants::run_grant(&arguments),
        Command::Revoke(arguments) => command::grants::run_revoke(&arguments),
        Command::Policy { command } => command::policy::run(&command),
        Command::Why(arguments) => command::why::run(&arguments),
        Command::Logs(arguments) => command::logs::run(&arguments),
        Command::Top(arguments) => command::top::run(&arguments),
        Command::Audit { command } => command::audit::run(&command),
        Command::Serve(arguments) => command::serve::run(&arguments),
        Command::Mcp(arguments) => command::mcp::run(&arguments),
        Command::Dashboard(arguments) => command::dashboard::run(&arguments),
        Command::Token { command } => command::token::run(&command),
        Command::Doctor(arguments) => command::doctor::run(&arguments),
        Command::Demo(arguments) => command::demo::run(&arguments),
        Command::DemoGuest(arguments) => command::demo::run_guest(&arguments),
        Command::ScanCode(arguments) => command::scan_code::run(&arguments),
        Command::ConfigFile { json: false } => print::data(&ringfence::Config::template()),
        Command::ConfigFile { json: true } => {
            print::data(&serde_json::json!({"config_file": ringfence::Config::template()}).to_string())
        }
        Command::Completions(arguments) => command::completions::run(&arguments, grammar()),
        Command::Man(arguments) => command::completions::run_man(&arguments, grammar()),
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

/// The grammar as clap has it.
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
