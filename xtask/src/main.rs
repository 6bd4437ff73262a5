//! The project's own chores, as `cargo xtask COMMAND`: test, checks, coverage, soak, virtual machine.
//!
//! Each command is one module with its own `--help`. Nothing here is part of the product, and the product never
//! depends on it. Start reading at [`COMMANDS`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal: results go to stdout, talk to stderr"
)]

use std::process::ExitCode;

mod coverage;
mod layers;
mod outside;
mod soak;
mod test;
mod tidy;
mod vm;

mod arguments;
mod failure;
mod needs;
mod process;
mod source;
mod workspace;

use failure::Failure;

/// One chore: its name, one line for the list, its full help text and its entry point.
struct Command {
    name: &'static str,
    summary: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        summary: "everything that must hold, in one run",
        help: test::HELP,
        run: test::run,
    },
    Command { name: "layers", summary: "who may know whom", help: layers::HELP, run: layers::run },
    Command { name: "tidy", summary: "small rules about files", help: tidy::HELP, run: tidy::run },
    Command { name: "coverage", summary: "lines that tests run", help: coverage::HELP, run: coverage::run },
    Command { name: "soak", summary: "heavy loops and their figures", help: soak::HELP, run: soak::run },
    Command {
        name: "outside",
        summary: "suites that others wrote, inside the sandbox",
        help: outside::HELP,
        run: outside::run,
    },
    Command { name: "vm", summary: "tests or a command in a virtual machine", help: vm::HELP, run: vm::run },
];

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                eprintln!("error: {text}");
            }
            ExitCode::from(failure.status())
        }
    }
}

fn dispatch(given: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = given.split_first() else {
        return Err(Failure::Usage(format!("which command?\n\n{}", overview())));
    };
    if matches!(name.as_str(), "--help" | "-h" | "help") {
        println!("{}", overview());
        return Ok(());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Err(Failure::Usage(format!("there is no command `{name}`\n\n{}", overview())));
    };
    // What stands behind `--` belongs to the program that is run, so its `--help` is not ours.
    if rest.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h") {
        println!("{}", command.help.trim());
        return Ok(());
    }
    (command.run)(rest)
}

fn overview() -> String {
    let mut text = String::from("cargo xtask COMMAND [FLAGS]   (COMMAND --help says more)\n");
    for command in COMMANDS {
        text.push_str(&format!("\n  {:<9} {}", command.name, command.summary));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_listed_and_has_help_that_shows_its_usage() {
        assert!(!COMMANDS.is_empty());
        for command in COMMANDS {
            let usage = format!("cargo xtask {}", command.name);
            assert!(
                command.help.trim().starts_with(&usage),
                "{} --help must open with `{usage}`",
                command.name
            );
            assert!(overview().contains(command.summary));
        }
    }

    #[test]
    fn an_unknown_command_is_a_usage_error_that_lists_the_known_ones() {
        let failure = dispatch(&["tset".to_owned()]).unwrap_err();
        assert_eq!(failure.status(), 2);
        let text = failure.text().unwrap_or_default();
        assert!(text.contains("tset") && text.contains("layers"), "{text}");
    }

    #[test]
    fn help_behind_a_double_dash_is_not_ours() {
        // `layers` takes no arguments, so a swallowed `--help` would end in success.
        let given = ["layers", "--", "--help"].map(str::to_owned);
        assert_eq!(dispatch(&given).unwrap_err().status(), 2);
    }
}
