//! `cargo xtask soak`: heavy loops over the release binary, and a table of their figures for SPECIFICATION.md.
//!
//! Each loop is one module and one row of [`LOOPS`]; it gets an [`Account`] and hands back [`Figure`]s. What must be
//! gone afterwards is counted in one place, [`census`].

pub(crate) mod account;
pub(crate) mod census;
mod cycles;
mod date;
mod denials;
mod kill;
mod plugins;
mod random;
mod state;
pub(crate) mod stress;
mod token;

use std::path::PathBuf;

use crate::arguments::{Arguments, Grammar};
use crate::failure::Failure;
use crate::process;
use crate::workspace;
use account::Account;

pub(crate) const HELP: &str = "
cargo xtask soak [LOOP] [--quick] [--seed N]

Runs heavy loops over the release binary (RINGFENCE_BIN, else the one in the build directory), as root and as uid
65534 when started by root, and prints a Markdown table of figures with date and commit for SPECIFICATION.md:
  cycles   10,000 runs of /bin/true: no process, descriptor, mount, cgroup, network namespace or file stays
  denials  a million refusals in one watched run: each is listed or counted, and the host's memory stays small
  kill     400 runs whose `ringfence` is killed with -9 at a random moment: nothing survives a second
  plugins  10,000 starts, calls and stops of a native and a Python plugin, one in sixteen killed with -9: as for cycles
  state    kill -9 at every write, synchronisation and rename of what changes the store: the old state or the new one
  stress   stress-ng inside, while a witness outside keeps being answered
  token    400,000 refusals of a wrong token: their time does not tell how much of it is right

  LOOP      only this loop
  --quick   a sample of each, in a few minutes
  --seed N  the random moments; printed, so that a run can be repeated (default: from the clock)

Run it on a quiet machine: what others start and leave behind meanwhile is counted too, and named.
Exit status 0: every promise held; 1: one did not, or a loop could not run.
";

/// What a loop gets.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The release binary.
    pub(crate) binary: PathBuf,
    /// Whether a sample is enough.
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    /// One stressor or module of an outside suite.
    pub(crate) only: Option<String>,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: String,
    /// What was promised; empty when the figure is only information.
    promise: &'static str,
    pub(crate) held: bool,
}

impl Figure {
    /// A figure that only informs.
    pub(crate) fn information(what: impl Into<String>, value: impl ToString) -> Self {
        Self { what: what.into(), value: value.to_string(), promise: "", held: true }
    }

    /// A figure with a promise.
    pub(crate) fn promised(
        what: impl Into<String>,
        value: impl ToString,
        promise: &'static str,
        held: Held,
    ) -> Self {
        Self { what: what.into(), value: value.to_string(), promise, held: held == Held::Yes }
    }
}

/// Whether a promise was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Yes,
    No,
}

impl From<bool> for Held {
    fn from(held: bool) -> Self {
        if held { Self::Yes } else { Self::No }
    }
}

/// One row of a chore that prints figures.
pub(crate) struct Loop {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Setting, &Account) -> Result<Vec<Figure>, Failure>,
}

const LOOPS: &[Loop] = &[
    Loop { name: "cycles", run: cycles::run },
    Loop { name: "denials", run: denials::run },
    Loop { name: "kill", run: kill::run },
    Loop { name: "plugins", run: plugins::run },
    Loop { name: "state", run: state::run },
    Loop { name: "stress", run: stress::run },
    Loop { name: "token", run: token::run },
];

pub(crate) fn run(given: &[String]) -> Result<(), Failure> {
    let grammar = Grammar { switches: &["--quick"], values: &["--seed"], words: 1, program: false };
    let arguments = Arguments::parse(given, grammar)?;
    let chosen = arguments.words.first().map(String::as_str);
    if let Some(name) = chosen.filter(|name| LOOPS.iter().all(|known| known.name != *name)) {
        let known: Vec<&str> = LOOPS.iter().map(|known| known.name).collect();
        return Err(Failure::Usage(format!("there is no loop `{name}`; known: {}", known.join(", "))));
    }
    let setting = Setting {
        binary: workspace::release_binary()?,
        quick: arguments.has("--quick"),
        seed: arguments.number("--seed", date::now_s())?,
        only: None,
    };
    let loops: Vec<&Loop> =
        LOOPS.iter().filter(|known| chosen.is_none_or(|name| name == known.name)).collect();
    tabulate("soak", &setting, &loops)
}

/// Runs each of `loops` as everybody that this process can be, and prints their figures as one table.
///
/// # Errors
/// When a loop could not run or a promise did not hold; the text names each, after the table was printed.
pub(crate) fn tabulate(chore: &str, setting: &Setting, loops: &[&Loop]) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for account in account::all() {
        for known in loops {
            eprintln!("{chore}: {} as {}", known.name, account.name());
            let figures = match (known.run)(setting, &account) {
                Ok(figures) => figures,
                Err(failure) => {
                    broken.push(format!(
                        "{} as {}: {}",
                        known.name,
                        account.name(),
                        failure.text().unwrap_or("")
                    ));
                    continue;
                }
            };
            for figure in figures {
                if !figure.held {
                    let Figure { what, value, promise, .. } = &figure;
                    broken.push(format!(
                        "{} as {}: {what}: {value}, promised {promise}",
                        known.name,
                        account.name()
                    ));
                }
                rows.push(row(known.name, account.name(), &figure));
            }
        }
    }
    println!("{}", heading(setting)?);
    println!("| loop | as | figure | value | promised |\n|---|---|---|---|---|");
    println!("{}", rows.join("\n"));
    if broken.is_empty() { Ok(()) } else { Err(Failure::Failed(format!("{chore}:\n{}", broken.join("\n")))) }
}

fn row(name: &str, account: &str, figure: &Figure) -> String {
    let mark = if figure.held { "" } else { " **not held**" };
    let value = figure.value.replace('|', "\\|").replace('\n', " ");
    format!("| {name} | {account} | {} | {value}{mark} | {} |", figure.what, figure.promise)
}

/// When, what and where: a figure without these cannot be compared with the next one.
fn heading(setting: &Setting) -> Result<String, Failure> {
    let commit = process::text(process::program("git").args(["rev-parse", "--short", "HEAD"]))
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
    let changed =
        process::text(process::program("git").args(["status", "--porcelain", "--untracked-files=no"]))
            .is_ok_and(|text| !text.is_empty());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_err(|error| Failure::of("/proc/sys/kernel/osrelease", error))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(format!(
        "{}, commit {commit}{}, kernel {}, {cores} cores, seed {}{}\n",
        date::today(),
        if changed { " with changes" } else { "" },
        kernel.trim(),
        setting.seed,
        if setting.quick { ", quick sample" } else { "" },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_was_not_held_shows_in_its_row() {
        let figure = Figure::promised("survivors", 2, "0", Held::from(false));
        assert_eq!(row("kill", "root", &figure), "| kill | root | survivors | 2 **not held** | 0 |");
        let figure = Figure::information("names", "a|b");
        assert_eq!(row("kill", "root", &figure), "| kill | root | names | a\\|b |  |");
    }

    #[test]
    fn an_unknown_loop_is_a_usage_error_that_lists_the_known_ones() {
        let failure = run(&["cicles".to_owned()]).unwrap_err();
        assert_eq!(failure.status(), 2);
        assert!(
            failure
                .text()
                .unwrap_or_default()
                .contains("cycles, denials, kill, plugins, state, stress, token")
        );
    }
}
