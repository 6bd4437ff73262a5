//! Which attacks each sandbox refuses, with the settings that grant nothing: as root, and again as an ordinary user.
//!
//! What is not refused without any sandbox proves nothing and is left out. No time is measured here.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use ringfence_benches::attacks::{ATTACKS, Attack, Outcome, World};
use ringfence_benches::machine;
use ringfence_benches::options::Options;
use ringfence_benches::output;
use ringfence_benches::peers;
use ringfence_benches::stage::Stage;
use ringfence_benches::table::json_text;

/// An ordinary user that every system has and that owns nothing: nobody.
const USER: u32 = 65534;

/// One sandbox: how its words are made, or why it is not here.
struct Peer<'a> {
    name: &'static str,
    start: Result<Start<'a>, String>,
}

/// The command that runs these words in the sandbox.
type Start<'a> = Box<dyn Fn(&[String]) -> Command + 'a>;

fn main() -> ExitCode {
    let options = match Options::from_process() {
        Ok(options) => options,
        Err(refused) => return refused.tell(),
    };
    measure(&options).unwrap_or_else(|error| {
        output::talk(&format!("refused: {error}"));
        ExitCode::FAILURE
    })
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let uid = machine::user_id()?;
    let stage = Stage::new(options)?;
    // Not below /tmp, in whose place sandboxes have their own.
    let place = Path::new("/var/tmp").join(format!("ringfence-refused-{uid}-{}", std::process::id()));
    fs::create_dir(&place)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777))?;
    let judged = judge(&stage, uid, &place);
    fs::remove_dir_all(&place)?;
    let (names, rows) = judged?;
    let mut failed = rows.iter().any(|row| row.outcomes.last() != Some(&Outcome::Refused)) || rows.is_empty();
    let own = if options.json { json(&names, &rows) } else { markdown(&names, &rows) };
    let mut other = String::new();
    if uid == 0 {
        let (text, missed) = as_user(options, &stage)?;
        (other, failed) = (text, failed || missed);
    }
    if options.json {
        let theirs = other.trim().trim_start_matches('[').trim_end_matches(']');
        let comma = if theirs.is_empty() { "" } else { "," };
        output::data(&format!("[{own}{comma}{theirs}]"));
    } else {
        if options.part.is_none() {
            output::data(&format!("{}\n", machine::describe()));
        }
        output::data(own.trim_end());
        output::data(&other);
    }
    Ok(ExitCode::from(u8::from(options.check && failed)))
}

/// One attack, and what became of it in each sandbox.
struct Judged {
    attack: Attack,
    outcomes: Vec<Outcome>,
}

fn judge(stage: &Stage, uid: u32, place: &Path) -> io::Result<(Vec<&'static str>, Vec<Judged>)> {
    let world = World::new(place)?;
    let home = stage.home(uid)?;
    let settings = place.join("srt.json");
    fs::write(&settings, peers::SANDBOX_RUNTIME_SETTINGS)?;
    let peers = peers_of(stage, &home, &settings);
    let bare = |words: &[String]| of(words, peers::bare);
    let mut rows = Vec::new();
    for attack in ATTACKS {
        if world.attack(*attack, &bare)? != Outcome::Through {
            output::talk(&format!("left out, as it is refused without a sandbox: {}", attack.name));
            continue;
        }
        let outcomes = peers.iter().map(|peer| match &peer.start {
            Ok(start) => world.attack(*attack, start),
            Err(reason) => Ok(Outcome::NotRun(reason.clone())),
        });
        rows.push(Judged { attack: *attack, outcomes: outcomes.collect::<io::Result<_>>()? });
    }
    Ok((peers.iter().map(|peer| peer.name).collect(), rows))
}

/// `make` with words in the form in which the other measurements have them.
fn of(words: &[String], make: impl Fn(&str, &[&str]) -> Command) -> Command {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((program, rest)) => make(program, rest),
        None => make(peers::TRUE, &[]),
    }
}

fn peers_of<'a>(stage: &'a Stage, home: &'a Path, settings: &'a Path) -> Vec<Peer<'a>> {
    let needs = |path: &str, name: &str| {
        if Path::new(path).exists() { Ok(()) } else { Err(format!("skipped: needs {name}")) }
    };
    let bubblewrap: Result<Start<'a>, String> = needs(peers::BWRAP, "bubblewrap")
        .map(|()| -> Start<'a> { Box::new(|words| of(words, peers::bubblewrap)) });
    let firejail: Result<Start<'a>, String> = needs(peers::FIREJAIL, "firejail")
        .map(|()| -> Start<'a> { Box::new(|words| of(words, peers::firejail)) });
    let runtime: Result<Start<'a>, String> = peers::sandbox_runtime_program().map(|program| -> Start<'a> {
        Box::new(move |words| {
            of(words, |name, rest| peers::sandbox_runtime(&program, home, settings, name, rest))
        })
    });
    let ours: Result<Start<'a>, String> =
        stage.ringfence().map_err(|error| error.to_string()).map(|binary| -> Start<'a> {
            Box::new(move |words| of(words, |name, rest| peers::ringfence(binary, home, name, rest)))
        });
    vec![
        Peer { name: "bubblewrap", start: bubblewrap },
        Peer { name: "firejail", start: firejail },
        Peer { name: "sandbox-runtime", start: runtime },
        Peer { name: "ringfence exec", start: ours },
    ]
}

/// The same once more as [`USER`], by a copy of this program that never was root.
fn as_user(options: &Options, stage: &Stage) -> io::Result<(String, bool)> {
    let copy = stage.copy(&std::env::current_exe()?, "refused")?;
    let place = stage.home(USER)?;
    chown(&place, Some(USER), Some(USER))?;
    let mut part = peers::command(copy);
    part.args(options.for_part("user", stage.ringfence().ok()));
    part.env_clear().env("TMPDIR", &place).current_dir("/").uid(USER).gid(USER);
    if let Some(program) = std::env::var_os(peers::SANDBOX_RUNTIME_VARIABLE) {
        part.env(peers::SANDBOX_RUNTIME_VARIABLE, program);
    }
    let ended = part.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    Ok((String::from_utf8_lossy(&ended.stdout).into_owned(), !ended.status.success()))
}

fn markdown(names: &[&str], rows: &[Judged]) -> String {
    let mut notes = Vec::new();
    let mut text = format!(
        "### Attacks, {}\n\n| attack | {} |\n|---|{}\n",
        machine::user_name(),
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for row in rows {
        let cells = row.outcomes.iter().zip(names).map(|(outcome, name)| match outcome {
            Outcome::Refused => "refused",
            Outcome::Through => "**through**",
            Outcome::NotRun(why) => {
                let note = format!("{name}: {}", why.replace('|', "\\|"));
                if !notes.contains(&note) {
                    notes.push(note);
                }
                "-"
            }
        });
        text += &format!("| {} | {} |\n", row.attack.name, cells.collect::<Vec<_>>().join(" | "));
    }
    let refused = (0..names.len()).map(|index| {
        let count = rows.iter().filter(|row| row.outcomes.get(index) == Some(&Outcome::Refused)).count();
        format!("{count} of {}", rows.len())
    });
    text += &format!("| **refused** | {} |\n", refused.collect::<Vec<_>>().join(" | "));
    notes.iter().for_each(|note| text += &format!("\n- {note}"));
    text
}

/// `{title, attacks: [{attack, outcomes: {peer: refused|through|reason}}]}`.
fn json(names: &[&str], rows: &[Judged]) -> String {
    let attacks = rows.iter().map(|row| {
        let cells = row.outcomes.iter().zip(names).map(|(outcome, name)| {
            let word = match outcome {
                Outcome::Refused => "refused",
                Outcome::Through => "through",
                Outcome::NotRun(why) => why,
            };
            format!("{}:{}", json_text(name), json_text(word))
        });
        let cells = cells.collect::<Vec<_>>().join(",");
        format!("{{\"attack\":{},\"outcomes\":{{{cells}}}}}", json_text(row.attack.name))
    });
    let title = json_text(&format!("attacks, {}", machine::user_name()));
    format!("{{\"title\":{title},\"attacks\":[{}]}}", attacks.collect::<Vec<_>>().join(","))
}
