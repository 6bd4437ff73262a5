//! `ringfence check`: what there is to say about a package. The findings come from the library; here they are printed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ringfence::check::Checked;
use ringfence::check::{self, Described, Written};
use ringfence::manifest::{self, Severity};
use ringfence::scan::{Ran, Report, Scanner};
use ringfence::{Config, Error, Home};
use ringfence_api::ErrorCode;

use crate::print;

#[derive(Debug, Args)]
#[command(
    after_help = "Prints one finding a line: FILE:LINE:COLUMN RULE MESSAGE. Nothing of the package is run, unless --write is \
given: then its code is asked, in the sandbox, what it declares. What the code would do is read from \
it in a sandbox (docs/scan.md); that warns and never fails. Exit status: 0 without errors (warnings are none), 1 with \
errors, 3 if PATH does not exist.

Examples:
  ringfence check ./translator
  ringfence check ./translator --format sarif
  ringfence check ./translator --write"
)]
pub(crate) struct CheckArguments {
    /// The directory of the package, or its manifest
    path: PathBuf,
    /// Fill the manifest's tools and hooks from what the code declares, then check
    #[arg(long)]
    write: bool,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line each
    Text,
    /// A JSON array
    Json,
    /// A SARIF 2.1.0 log
    Sarif,
}

impl CheckArguments {
    const fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// Checks a package.
pub(crate) fn run(arguments: &CheckArguments) -> ExitCode {
    run_with(arguments, &describe)
}

/// What the code would do, found out without running it, in a sandbox where this machine can make one.
fn scan(package: &Path, checked: &Checked) -> Report {
    let scanner = super::scan_code::words().map_or_else(Scanner::default, Scanner::sandboxed).or_in_process();
    // Without a home there is nothing of ours to keep out of its reach.
    let scanner = match Home::from_env().and_then(|home| Config::load(&home).map(|config| (home, config))) {
        Ok((home, config)) => scanner.for_home(&home, &config),
        Err(_) => scanner,
    };
    scanner.scan(package, checked.loaded.as_ref().map(|loaded| &loaded.manifest))
}

/// What the code declares. It is found out by the plugin's runner in the sandbox.
fn describe(package: &Path) -> Result<Described, Error> {
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    // The sandbox mounts the package, and what it mounts it names in full.
    let package = std::path::absolute(package)
        .map_err(|error| Error::new(ErrorCode::Io, "cannot find the working directory").with_source(error))?;
    ringfence::runtime::describe_package(&package, &home, &config)
}

/// The same with another way to ask the code.
fn run_with(arguments: &CheckArguments, describe: &dyn Fn(&Path) -> Result<Described, Error>) -> ExitCode {
    let json = arguments.format() != Format::Text;
    let package = match manifest::package_of(&arguments.path) {
        Ok(package) => package,
        Err(error) => return super::finish(Err(error), json),
    };
    // A manifest with mistakes is told by its findings, not by a failed attempt to write it.
    if arguments.write && check::check(&package).loaded.is_some() {
        match fill(&package, describe) {
            Ok(written) => print::talk(&written),
            Err(error) => return super::finish(Err(error), json),
        }
    }
    let checked = check::check(&package);
    let report = scan(&package, &checked);
    let checked = checked.with_scan(&package, &report);
    let text = rendered(&checked, arguments.format());
    // Nothing to say is nothing, not an empty line.
    let printed = if text.is_empty() { ExitCode::SUCCESS } else { print::data(&text) };
    if arguments.format() == Format::Text {
        print::talk(&format!("{}; {}", sum(&checked), scanned(&report)));
    }
    if checked.has_errors() { ExitCode::FAILURE } else { printed }
}

/// Fills the manifest, and says what was done. Code that cannot be asked is no failure: there is only nothing to fill from it.
fn fill(package: &Path, describe: &dyn Fn(&Path) -> Result<Described, Error>) -> Result<String, Error> {
    match describe(package) {
        Ok(described) => check::write(package, &described).map(|written| told(&written)),
        Err(error) if error.code() == ErrorCode::NotSupported => {
            Ok(format!("nothing is written: {}; {}", error.message(), error.hint().unwrap_or_default()))
        }
        Err(error) => Err(error),
    }
}

fn rendered(checked: &Checked, format: Format) -> String {
    match format {
        Format::Text => check::text(&checked.findings),
        Format::Json => check::json(&checked.findings).to_string(),
        Format::Sarif => check::sarif(&checked.findings).to_string(),
    }
}

fn told(written: &Written) -> String {
    match written {
        Written::Nothing => "the manifest says already what the code declares".to_owned(),
        Written::Changed { tools, hooks } => {
            let part = |what: &str, names: &[String]| match names {
                [] => None,
                names => Some(format!("{what} {}", names.join(", "))),
            };
            let parts: Vec<String> =
                [part("tools", tools), part("hooks", hooks)].into_iter().flatten().collect();
            format!("wrote {}", parts.join(" and "))
        }
        _ => String::new(),
    }
}

fn sum(checked: &Checked) -> String {
    let count = |severity| checked.findings.iter().filter(|finding| finding.severity == severity).count();
    let number = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!("{}, {}", number(count(Severity::Error), "error"), number(count(Severity::Warning), "warning"))
}

/// How much of the code was looked at, and where.
fn scanned(report: &Report) -> String {
    let files = format!("{} file{}", report.files, if report.files == 1 { "" } else { "s" });
    match &report.ran {
        Ran::Sandboxed => format!("scanned {files} in a sandbox"),
        Ran::InProcess => format!("scanned {files} without a sandbox, which this machine cannot make"),
        _ => "the code was not scanned".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name: a\nversion: 1.0.0\nruntime: python\nentry_point: a.py\n";

    fn package() -> tempfile::TempDir {
        let package = tempfile::tempdir().unwrap();
        std::fs::write(package.path().join("plugin.yaml"), MANIFEST).unwrap();
        package
    }

    #[test]
    fn what_the_code_declares_is_filled_in_and_told() {
        let package = package();
        let text = r#"{"tools": [{"name": "t"}], "hooks": [{"event": "onX", "kind": "observer"}]}"#;
        let describe = |_: &Path| Ok(serde_json::from_str::<Described>(text).unwrap());
        assert_eq!(fill(package.path(), &describe).unwrap(), "wrote tools t and hooks onX");
        let again = fill(package.path(), &describe).unwrap();
        assert_eq!(again, "the manifest says already what the code declares");
        assert_eq!(manifest::load(package.path()).unwrap().manifest.tools.len(), 1);
    }

    #[test]
    fn code_that_cannot_be_asked_is_told_and_code_that_fails_is_an_error() {
        let package = package();
        let cannot = |_: &Path| {
            Err(Error::new(ErrorCode::NotSupported, "native code cannot be asked").with_hint("declare it"))
        };
        let told = fill(package.path(), &cannot).unwrap();
        assert_eq!(told, "nothing is written: native code cannot be asked; declare it");
        let failed =
            |_: &Path| Ok(Described { error: Some("SyntaxError".to_owned()), ..Described::default() });
        assert_eq!(fill(package.path(), &failed).unwrap_err().code(), ErrorCode::PluginFailed);
        assert_eq!(std::fs::read_to_string(package.path().join("plugin.yaml")).unwrap(), MANIFEST);
    }
}
