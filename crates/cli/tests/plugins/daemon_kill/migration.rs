//! A daemon that is killed while it brings the home of an older version to the newest schema: the schema is the old one or the
//! new one, a whole copy of the old database lies in `backup` before anything is changed, and the next start goes on.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::steps::{KEEPER, KEEPER_ACTIVE};
use super::{
    Act, Between, CALLS, LETTING_GO, LONGEST, Point, Sent, Step, Tally, Trial, copy, counts, prepare,
};
use crate::daemon::signal;
use crate::world::{World, ringfence};

/// The last schema before the places of grants were kept.
const OLD: &str = "2";

/// Takes away what later schemas have. The home has no grant over files, so that nothing of it is lost.
const GO_BACK: &str = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1] + '/state.db', isolation_level=None)\n\
    for name in ['keys_used', 'denials_open', 'grant_places']:\n    db.execute('DROP TABLE ' + name)\n\
    db.execute('PRAGMA user_version = ' + sys.argv[2])\nprint('back', end='')\n";

/// Says which schema a database has and which plugins, when it is whole.
const LOOK: &str = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n\
    assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]\n\
    print(db.execute('PRAGMA user_version').fetchone()[0], *db.execute('SELECT name FROM plugins').fetchone(), end='')\n";

/// What a start is compared with; it makes no request.
const STEP: Step = Step {
    name: "migration",
    prepared: &[KEEPER, KEEPER_ACTIVE],
    act: Act::Request("GET /api/v1/health", Sent::Nothing),
    between: Between::Nothing,
};

fn python(code: &str, arguments: &[&Path]) -> String {
    let ran = Command::new("/usr/bin/python3").args(["-I", "-c", code]).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Kills starts at the points that `choose` takes of all.
pub(super) fn kill_at(world: &World, choose: impl FnOnce(Vec<Point>) -> Vec<Point>) -> Tally {
    prepare(world, STEP.prepared);
    let begin = world.path("begin");
    let newest = newest(world);
    assert_ne!(newest, OLD);
    assert_eq!(python(GO_BACK, &[&begin, Path::new(OLD)]), "back");
    let mut trial = Trial {
        world,
        step: &STEP,
        old: String::new(),
        between: None,
        new: String::new(),
        counts: BTreeMap::new(),
    };
    trial.copy();
    let trace = world.path("trace");
    assert!(!start(&trial, &["-o", trace.to_str().unwrap(), "-e", &format!("trace={CALLS}")]));
    trial.new = trial.state();
    trial.counts = counts(&std::fs::read_to_string(trace).unwrap());
    let mut tally = Tally::default();
    for (call, k) in choose(trial.points()) {
        trial.copy();
        let inject = format!("inject={call}:signal=SIGKILL:when={k}");
        let killed = start(&trial, &["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
        let at = format!("migration, killed at {call} {k}");
        // Looked at in a copy, as looking opens the log.
        let look = world.path("look");
        copy(&trial.home(), &look);
        let found = python(LOOK, &[&look.join("state.db")]);
        let (is_old, is_new) = (found == format!("{OLD} keeper"), found == format!("{newest} keeper"));
        assert!(is_old || is_new, "{at}: {found}");
        let kept = look.join(format!("backup/state-schema-{OLD}.db"));
        if kept.exists() {
            assert_eq!(python(LOOK, &[&kept]), format!("{OLD} keeper"), "{at}");
        }
        assert!(is_old || kept.exists(), "{at}: no copy of before");
        assert_eq!(trial.state(), trial.new, "{at}");
        let copies = std::fs::read_dir(trial.home().join("backup")).unwrap().count();
        assert_eq!(copies, 1, "{at}: litter beside the copy");
        tally.tried += 1;
        tally.killed += usize::from(killed);
        tally.done += usize::from(killed && is_new);
    }
    tally
}

/// The number of the newest schema.
fn newest(world: &World) -> String {
    let look = world.path("look");
    copy(&world.path("begin"), &look);
    python(LOOK, &[&look.join("state.db")]).split(' ').next().unwrap().to_owned()
}

/// Starts a daemon under strace, and ends it in order as soon as it is ready; gives whether it was killed before.
fn start(trial: &Trial<'_>, options: &[&str]) -> bool {
    let like = trial.world.command(&[]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(options).arg(ringfence()).args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--json",
    ]);
    command.env("RINGFENCE_HOME", trial.home()).current_dir(like.get_current_dir().unwrap());
    let mut strace =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(strace.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    let daemon = ready["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    if let Some(pid) = daemon {
        signal(pid, "TERM");
        let begun = Instant::now();
        while crate::daemon::alive(pid) {
            assert!(begun.elapsed() < LONGEST, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    let begun = Instant::now();
    while strace.try_wait().unwrap().is_none() && begun.elapsed() < LETTING_GO {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    strace.kill().ok();
    strace.wait().unwrap();
    daemon.is_none()
}
