//! `ringfence completions SHELL` and `ringfence man [DIR]`: made from the grammar itself, so they are never behind it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;
use clap_mangen::Man;
use ringfence::Error;
use ringfence_api::ErrorCode;
use serde::Serialize;

use crate::answer::Answer;
use crate::host;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence completions bash > ~/.local/share/bash-completion/completions/ringfence
  ringfence completions zsh > /usr/local/share/zsh/site-functions/_ringfence
  ringfence completions fish > ~/.config/fish/completions/ringfence.fish

Exit status: 0 printed; 2 usage.")]
pub(crate) struct CompletionsArguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence man | man -l -
  ringfence man /usr/local/share/man/man1

Exit status: 0 printed or written; 1 a page cannot be written.")]
pub(crate) struct ManArguments {
    /// Write a page for each command into this directory; without it the page of ringfence itself is printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

#[derive(Serialize)]
struct Pages {
    pages: Vec<String>,
}

/// Prints a script.
pub(crate) fn run(arguments: &CompletionsArguments, mut grammar: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut grammar, "ringfence", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let answer = Answer::of(&Script { shell: arguments.shell.to_string(), script: script.clone() });
    finish(answer.map(|answer| answer.text(script)), arguments.json)
}

/// Prints a page, or writes all of them.
pub(crate) fn run_man(arguments: &ManArguments, mut grammar: clap::Command) -> ExitCode {
    grammar = grammar.disable_help_subcommand(true);
    grammar.build();
    let answer = match &arguments.directory {
        None => page(&grammar).and_then(|(name, text)| {
            let text = String::from_utf8_lossy(&text).into_owned();
            Ok(Answer::of(&Pages { pages: vec![name] })?.text(text))
        }),
        Some(directory) => write_all(&grammar, directory).and_then(|pages| {
            let said = format!("wrote {} pages to {}", pages.len(), directory.display());
            Ok(Answer::of(&Pages { pages })?.talk(said))
        }),
    };
    finish(answer, arguments.json)
}

fn finish(answer: Result<Answer, Error>, json: bool) -> ExitCode {
    match answer {
        Ok(answer) => answer.print(json),
        Err(error) => host::failed(&error, json),
    }
}

/// The name of a command's page, and the page.
fn page(command: &clap::Command) -> Result<(String, Vec<u8>), Error> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render(&mut text)
        .map_err(|cause| Error::new(ErrorCode::Internal, "cannot make a page").with_source(cause))?;
    Ok((man.get_filename(), text))
}

fn write_all(grammar: &clap::Command, directory: &Path) -> Result<Vec<String>, Error> {
    let failed = |path: &Path, cause| {
        Error::new(ErrorCode::Io, format!("cannot write '{}'", path.display())).with_source(cause)
    };
    std::fs::create_dir_all(directory).map_err(|cause| failed(directory, cause))?;
    let mut names = Vec::new();
    let mut left = vec![grammar];
    while let Some(command) = left.pop() {
        let (name, text) = page(command)?;
        let path = directory.join(&name);
        std::fs::write(&path, text).map_err(|cause| failed(&path, cause))?;
        names.push(name);
        left.extend(command.get_subcommands().filter(|command| !command.is_hide_set()));
    }
    names.sort();
    Ok(names)
}
