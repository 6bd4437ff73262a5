//! `ringfence demo`: the main job, shown. Two honest plugins are installed, consented to and called; hostile ones try many
//! things, and canaries outside tell whether any of it did harm, while a witness is called all the time.
//!
//! Everything happens in a temporary directory with a home of its own, which is removed, and through the library's host.
//! What is installed is in `samples`, the life of a plugin in `life`, what is tried in `cases`, who tries it in `guest` and
//! `plugin`, what is watched in `world` and `witness`, and who decides in `judge`.

mod cases;
mod guest;
mod judge;
mod life;
mod plugin;
mod samples;
mod witness;
mod world;

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use ringfence::exec::{Captured, Exec};
use ringfence::plugin::Consent;
use ringfence::{Config, Error, Home, Host, doctor};
use ringfence_api::RunStatus;
use serde::Serialize;

pub(crate) use guest::{GuestArguments, run as run_guest};
use judge::Verdict;
use life::{Life, Step};
pub(crate) use plugin::run_plugin;
use witness::{Testimony, Witness};
use world::World;

use crate::host::{self, Opened, Stopped};
use crate::print;

#[derive(Debug, Args)]
#[command(
    after_help = "Takes less than a minute. Works as root and as an ordinary user, in a temporary directory with a home of its own, \
which is removed at the end; your plugins are not touched. Without python3 its part is skipped.

Examples:
  ringfence demo
  ringfence demo --json

Exit status: 0 if everything held; 1 if something did not; 7 if sandboxes cannot be started here (see `ringfence doctor`); 128+n ended \
by signal n."
)]
pub(crate) struct DemoArguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Grant the hostile plugin the key that it is after: the demo must notice.
    #[arg(long, hide = true)]
    open_door: bool,
}

/// What the demo found.
#[derive(Debug, Serialize)]
struct Demo {
    /// Whether everything went as it should and nothing of the hostile plugins did harm.
    held: bool,
    useful: Useful,
    steps: Vec<Step>,
    acts: Vec<Verdict>,
    witness: Testimony,
}

/// One useful command, with its grant and without.
#[derive(Debug, Serialize)]
struct Useful {
    held: bool,
    granted: String,
    without: String,
    grant: String,
}

/// Shows it.
pub(crate) fn run(arguments: &DemoArguments) -> ExitCode {
    // Outlives the host in it, and is removed whatever happens.
    let made: OnceCell<World> = OnceCell::new();
    let place = || {
        let world = World::make()?;
        let home = Home::at(world.path("home"));
        // It was empty.
        let _first = made.set(world);
        Ok((home, Config::default()))
    };
    host::with_home(arguments.json, place, |opened| {
        let Some(world) = made.get() else { return Ok(ExitCode::FAILURE) };
        let demo = show(opened, world, arguments)?;
        let printed = if arguments.json {
            print::data(&serde_json::to_string(&demo).unwrap_or_default())
        } else {
            print::data(&end(&demo))
        };
        Ok(if demo.held { printed } else { ExitCode::FAILURE })
    })
}

fn show(opened: &Opened, world: &World, arguments: &DemoArguments) -> Result<Demo, Stopped> {
    let quiet = arguments.json;
    let say = |text: &str| {
        if !quiet {
            print::data(text);
        }
    };
    say(&format!("Everything below happens in {}, which is removed at the end.", world.path("").display()));
    say("\n1. One command counts the words in a folder of notes.");
    let useful = opened.wait("running a command", |_| useful(world))?;
    say(&useful_text(&useful));
    let (steps, acts, witness) = opened.wait("showing", async |host| {
        let mut life = Life { host, world, quiet, steps: Vec::new() };
        say("2. Two plugins are installed, say what they want, and get it or less.");
        life.visitors().await?;
        life.checksum().await?;
        let (acts, witness) = contain(host, world, arguments).await?;
        say("4. A plugin loses its grants, is upgraded, and goes.");
        life.end().await?;
        Ok((life.steps, acts, witness))
    })?;
    let held =
        useful.held && steps.iter().all(|step| step.held) && acts.iter().all(|act| act.held) && witness.held;
    Ok(Demo { held, useful, steps, acts, witness })
}

/// Counts the words of a folder: with the grant, without it, and here, to know what is right.
async fn useful(world: &World) -> Result<Useful, Error> {
    let notes = world.path("notes");
    let words = ["count", &notes.display().to_string()].map(str::to_owned);
    let right = guest::perform(&words).map_err(|error| world::failed("count the words of", &notes, error))?;
    let granted = command(&words, Some(&notes)).await?;
    let without = command(&words, None).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let answer = text(&granted.stdout);
    let refused = without.report.exit_code != Some(0) && !text(&without.stdout).contains(&right);
    Ok(Useful {
        held: answer == right && granted.report.exit_code == Some(0) && refused,
        granted: answer,
        without: judge::reason(&text(&without.stderr)),
        grant: format!("file:read={}/**", notes.display()),
    })
}

async fn command(words: &[String], granted: Option<&Path>) -> Result<Captured, Error> {
    let program = doctor::own_program()?;
    let name = program.display().to_string();
    let mut exec =
        Exec::new([name.as_str(), "demo-guest"].into_iter().chain(words.iter().map(String::as_str)));
    // What lies below /usr is shown to every program.
    if !program.starts_with("/usr") {
        exec.read_path(&program);
    }
    if let Some(path) = granted {
        exec.read_path(path);
    }
    let done = exec.spawn()?.await;
    match &done.report.error {
        Some(error) if done.report.status == RunStatus::NotStarted => {
            let hint = error.hint.clone().unwrap_or_else(|| "see `ringfence doctor`".to_owned());
            Err(Error::new(error.code, error.message.clone()).with_hint(hint))
        }
        _ => Ok(done),
    }
}

fn useful_text(useful: &Useful) -> String {
    format!("  with the grant {}: {}\n  without it: {}\n", useful.grant, useful.granted, useful.without)
}

/// The hostile plugins, and the witness beside them.
async fn contain(
    host: &Host,
    world: &World,
    arguments: &DemoArguments,
) -> Result<(Vec<Verdict>, Testimony), Error> {
    let script = Path::new("/bin/sh").exists();
    let mut consent = Vec::new();
    if arguments.open_door {
        let path = crate::permissions::literal(&world.path("private"));
        consent.push(judge::permission(&format!("file:read={path}/**"))?);
    }
    host.install(samples::hostile(world)?, Consent::Only(consent)).await?;
    judge::ready(host, "hostile").await?;
    if script {
        host.install(samples::stubborn(world)?, Consent::Only(Vec::new())).await?;
    }
    world.furnish().map_err(|error| world::failed("fill", &world.path(""), error))?;
    let cases = cases::all(world, script);
    if !arguments.json {
        print::data(&format!(
            "\n3. Hostile plugins try {} things. What harms nobody is first done without a sandbox, to show that it works there.",
            cases.len()
        ));
        print::data(&row(&["", "it tries to", "outside", "inside", "held by", "what would allow it"]));
    }
    let witness = Witness::begin(host.clone());
    let mut acts = Vec::new();
    for case in &cases {
        let verdict = judge::judge(host, world, case).await?;
        if !arguments.json {
            print::data(&verdict_row(&verdict));
        }
        acts.push(verdict);
    }
    let seen = witness.end().await;
    if !arguments.json {
        print::data(&format!(
            "  Meanwhile checksum was called {} times; {} calls failed, and the slowest took {} ms.\n",
            seen.calls, seen.failed, seen.slowest_ms
        ));
    }
    Ok((acts, seen))
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
    format!("  {mark:<6}  {tried:<45}  {outside:<7}  {inside:<34}  {layer:<8}  {grant}")
}

/// What came of it, and what to try next.
fn end(demo: &Demo) -> String {
    let mut text = String::from("\n");
    if demo.held {
        let acts = demo.acts.len();
        let _infallible =
            writeln!(text, "All {acts} acts were held: nothing outside was read, changed or reached.");
    }
    if !demo.useful.held || demo.steps.iter().any(|step| !step.held) {
        text.push_str("The honest programs did not work as they should: see above.\n");
    }
    if !demo.witness.held {
        text.push_str("The witness was disturbed.\n");
    }
    for act in demo.acts.iter().filter(|act| !act.held) {
        let harm = act.harm.as_deref().unwrap_or("see above");
        let _infallible = writeln!(text, "Not held: to {}: {harm}.", act.tried);
    }
    text.push_str(
        "\nTry next:\n  \
           ringfence new --lang python hello                   a plugin to begin with; its README.md says how to go on\n  \
           ringfence exec --ro . -- ls -l                      a command that may read this directory, and no more\n  \
           ringfence doctor                                    what this machine enforces, layer by layer\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_hold_is_said() {
        let useful =
            Useful { held: true, granted: String::new(), without: String::new(), grant: String::new() };
        let act = Verdict {
            name: "key",
            tried: "read a private key",
            outside: Some(true),
            held: false,
            inside: String::new(),
            held_by: "mount",
            allowed_by: None,
            harm: Some("the secret stood in its answer".to_owned()),
        };
        let demo =
            Demo { held: false, useful, steps: Vec::new(), acts: vec![act], witness: Testimony::default() };
        let text = end(&demo);
        assert!(
            text.contains("Not held: to read a private key: the secret stood in its answer.\n"),
            "{text}"
        );
        assert!(text.contains("The witness was disturbed.") && !text.contains("All "), "{text}");
    }
}
