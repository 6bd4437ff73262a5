//! `docs/cli.md`, made from the grammar: a page that cannot be behind the program.

use std::fmt::Write as _;

use clap::{Arg, Command};

const HEAD: &str = "\
# Commands

<!-- Made from the grammar in crates/cli. Renew: RINGFENCE_BLESS=1 cargo test -p ringfence-cli -->

Every command but `exec` ends with 0 (done), 1 (failed), 2 (usage), 3 (not found), 4 (refused), 5 (the plugin failed),
6 (a limit or rule was broken), 7 (not enforceable here) or 8 (busy), and with 128 + n when signal n ended it;
[errors.md](errors.md) has the code of each failure. With `--json` one JSON document is printed to standard output, on
failure `{\"error\": {\"code\", \"message\", \"hint\"}}`; text for people goes to standard error.
";

/// The page.
fn page(grammar: &Command) -> String {
    let mut text = HEAD.to_owned();
    for command in leaves(grammar) {
        section(&mut text, command).expect("writing to a string");
    }
    text
}

/// The grammar with everything filled in, without the `help` commands that clap adds.
fn built() -> Command {
    let mut grammar = crate::grammar().disable_help_subcommand(true);
    grammar.build();
    grammar
}

/// The commands that do something, in the order of the help text.
fn leaves(command: &Command) -> Vec<&Command> {
    let inner: Vec<&Command> = command.get_subcommands().filter(|inner| !inner.is_hide_set()).collect();
    if inner.is_empty() { vec![command] } else { inner.into_iter().flat_map(leaves).collect() }
}

fn section(text: &mut String, command: &Command) -> std::fmt::Result {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    writeln!(text, "\n## `{name}`\n")?;
    writeln!(text, "{}.\n", command.get_about().map(ToString::to_string).unwrap_or_default())?;
    let usage = command.clone().render_usage().to_string();
    writeln!(text, "```\n{}\n```\n", usage.trim_start_matches("Usage: "))?;
    let arguments: Vec<&Arg> = command.get_arguments().filter(|argument| !is_everywhere(argument)).collect();
    if !arguments.is_empty() {
        writeln!(text, "| | |\n|---|---|")?;
        for argument in arguments {
            writeln!(text, "| `{}` | {} |", form(argument).replace('|', "\\|"), marked(&meaning(argument)))?;
        }
        writeln!(text)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for paragraph in after.split("\n\n") {
        match paragraph.strip_prefix("Examples:\n") {
            Some(lines) => {
                let lines: Vec<&str> = lines.lines().map(str::trim_start).collect();
                writeln!(text, "```sh\n{}\n```\n", lines.join("\n"))?;
            }
            None => writeln!(text, "{}\n", marked(paragraph.trim()))?,
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    Ok(())
}

fn is_everywhere(argument: &Arg) -> bool {
    matches!(argument.get_id().as_str(), "help" | "version")
}

/// As it is typed.
fn form(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default().join(" ");
    let takes = argument.get_action().takes_values();
    let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    match argument.get_long() {
        Some(long) if takes => format!("{short}--{long} {values}"),
        Some(long) => format!("{short}--{long}"),
        None => values,
    }
}

/// Signs that Markdown would take for its own.
fn marked(text: &str) -> String {
    text.replace('*', "\\*").replace('<', "\\<").replace('|', "\\|")
}

fn meaning(argument: &Arg) -> String {
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        text.push_str(&format!(" (default {})", defaults.join(" ")));
    }
    text
}

#[test]
fn the_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    let page = page(&built());
    if std::env::var_os("RINGFENCE_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/cli.md is stale: RINGFENCE_BLESS=1 cargo test -p ringfence-cli");
}

#[test]
fn each_command_has_examples_that_parse_and_says_its_exit_statuses() {
    let grammar = built();
    for command in leaves(&grammar) {
        let name = command.get_bin_name().unwrap_or_default();
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.to_lowercase().contains("exit status"), "{name} says nothing of its exit status");
        let examples = after.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{name} has no examples"));
        let lines: Vec<&str> = examples.lines().take_while(|line| !line.is_empty()).collect();
        assert!(lines.iter().any(|line| line.contains(name)), "no example of {name} is one");
        for line in lines {
            let words = words(line);
            let Some(at) = words.iter().position(|word| word == "ringfence") else { panic!("{line}") };
            let own = words.iter().skip(at).take_while(|word| !matches!(word.as_str(), "|" | ">"));
            if let Err(error) = crate::grammar().try_get_matches_from(own) {
                panic!("{line}: {error}");
            }
        }
    }
}

/// The words of a line, as a shell reads quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, piece) in line.trim().split('\'').enumerate() {
        if number % 2 == 1 {
            match words.last_mut() {
                Some(last) if !line.contains(&format!(" '{piece}'")) => *last = format!("{last}{piece}"),
                _ => words.push(piece.to_owned()),
            }
        } else {
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    words
}
