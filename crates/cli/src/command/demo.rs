//! `ringfence demo`: the main job, shown. A useful program does its work with its grant and fails without; a hostile one
//! tries many things, and canaries outside tell whether any of it did harm.
//!
//! Everything happens in a temporary directory, which is removed, and through the library's executor. What is tried is in
//! `cases`, who tries it in `guest`, what is watched in `world`, and who decides in `judge`.

mod cases;
mod guest;
mod judge;
mod world;

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use serde::Serialize;

pub(crate) use guest::{GuestArguments, run as run_guest};
use judge::{Inside, Verdict};
use world::World;

use crate::print;

#[derive(Debug, Args)]
#[command(
    after_help = "Takes some seconds. Works as root and as an ordinary user, in a temporary directory that is removed at the end. \
Exit status: 0 if every act was stopped, 1 if one was not, 7 if sandboxes cannot be started here (see `ringfence doctor`).

Examples:
  ringfence demo
  ringfence demo --json"
)]
pub(crate) struct DemoArguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What the demo found.
#[derive(Debug, Serialize)]
struct Demo {
    /// Whether the useful program worked as it should and nothing of the hostile one did harm.
    held: bool,
    useful: Useful,
    acts: Vec<Verdict>,
}

/// The useful program, with its grant and without.
#[derive(Debug, Serialize)]
struct Useful {
    held: bool,
    granted: String,
    without: String,
    grant: String,
}

/// Shows it.
pub(crate) fn run(arguments: &DemoArguments) -> ExitCode {
    match show(arguments.json) {
        Ok(demo) => {
            if arguments.json {
                print::data(&serde_json::to_string(&demo).unwrap_or_default());
            } else {
                print::data(&end(&demo));
            }
            if demo.held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => super::finish(Err(error), arguments.json),
    }
}

fn show(quiet: bool) -> Result<Demo, Error> {
    let say = |text: &str| {
        if !quiet {
            print::data(text);
        }
    };
    // First, so that there is always somebody to remove the directory.
    let signals = judge::catch_signals()?;
    let world = World::make()?;
    let mut inside = Inside::new(&world, signals)?;
    say(&format!("Everything below happens in {}, which is removed at the end.\n", world.path("").display()));
    let useful = useful(&world, &mut inside)?;
    say(&useful_text(&useful));
    let cases = cases::all(&world);
    say(&format!(
        "A hostile program tries {} things. What harms nobody is first done without a sandbox, to show that it works there.\n",
        cases.len()
    ));
    say(&row(&["", "it tries to", "outside", "inside", "held by", "a grant that allows it"]));
    let mut acts = Vec::new();
    for case in &cases {
        let verdict = inside.judge(case)?;
        say(&verdict_row(&verdict));
        acts.push(verdict);
    }
    let held = useful.held && acts.iter().all(|act| act.held);
    Ok(Demo { held, useful, acts })
}

/// Counts the words of a folder: with the grant, without it, and here, to know what is right.
fn useful(world: &World, inside: &mut Inside<'_>) -> Result<Useful, Error> {
    let notes = world.path("notes");
    let words = ["count", &notes.display().to_string()].map(str::to_owned);
    let right = guest::perform(&words).map_err(|error| world::failed("count the words of", &notes, error))?;
    let grant = |exec: &mut ringfence::exec::Exec| {
        exec.read_path(&notes);
    };
    let granted = inside.guest(&words, grant)?;
    let without = inside.guest(&words, |_| {})?;
    let refused = without.report.exit_code != Some(0) && !without.output.contains(&right);
    Ok(Useful {
        held: granted.output.trim() == right && granted.report.exit_code == Some(0) && refused,
        granted: granted.output.trim().to_owned(),
        without: without.said(),
        grant: format!("file:read={}/**", notes.display()),
    })
}

fn useful_text(useful: &Useful) -> String {
    format!(
        "A useful program counts the words in a folder of notes.\n  \
           with the grant {}: {}\n  \
           without it: {}\n",
        useful.grant, useful.granted, useful.without
    )
}

fn verdict_row(verdict: &Verdict) -> String {
    let mark = if verdict.held { "held" } else { "FAILED" };
    let outside = match verdict.outside {
        Some(true) => "works",
        Some(false) => "refused",
        None => "-",
    };
    let grant = verdict.allowed_by.as_deref().unwrap_or("none");
    row(&[mark, verdict.tried, outside, &verdict.inside, verdict.held_by, grant])
}

fn row(cells: &[&str; 6]) -> String {
    let [mark, tried, outside, inside, layer, grant] = cells;
    format!("  {mark:<6}  {tried:<47}  {outside:<7}  {inside:<25}  {layer:<8}  {grant}")
}

/// What came of it, and what to try next.
fn end(demo: &Demo) -> String {
    let mut text = String::from("\n");
    let failed: Vec<_> = demo.acts.iter().filter(|act| !act.held).collect();
    if demo.held {
        let _infallible =
            writeln!(text, "All {} held: nothing outside was read, changed or reached.", demo.acts.len());
    }
    if !demo.useful.held {
        text.push_str("The useful program did not work as it should: see above.\n");
    }
    for act in failed {
        let _infallible =
            writeln!(text, "Not held: to {}: {}.", act.tried, act.harm.as_deref().unwrap_or("see above"));
    }
    text.push_str(
        "\nTry next:\n  \
           ringfence exec -- ls /                              what a program sees without any grant\n  \
           ringfence exec --ro . -- ls -l                      a command that may read this directory, and no more\n  \
           ringfence doctor                                    what this machine enforces, layer by layer\n",
    );
    text
}
