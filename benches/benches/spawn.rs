//! Start to exit of an empty job, beside posix_spawn, bubblewrap and crun: as root, and again as an ordinary user.

use std::cell::Cell;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use ringfence_benches::machine;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers::{self, PYTHON, PYTHON_PASS, TRUE};
use ringfence_benches::served::{Served, serve};
use ringfence_benches::stage::Stage;
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};
use ringfence_sandbox::{Launcher, Network};

/// An ordinary user that every system has and that owns nothing: nobody.
const USER: u32 = 65534;
const BARE: &str = "posix_spawn, no sandbox";
const BUBBLEWRAP: &str = "bubblewrap";
const CRUN: &str = "crun";
const FIREJAIL: &str = "firejail";
const SANDBOX_RUNTIME: &str = "sandbox-runtime";
const FRESH: &str = "library, fresh network";
const SHARED: &str = "library, shared network";
const COLD: &str = "library, launcher started for it";
const EXEC: &str = "ringfence exec";

fn main() -> ExitCode {
    let options = match Options::from_process() {
        Ok(options) => options,
        Err(refused) => return refused.tell(),
    };
    match options.part.as_deref() {
        Some("crun") => serve_crun(),
        _ => measure(&options).unwrap_or_else(|error| {
            output::talk(&format!("spawn: {error}"));
            ExitCode::FAILURE
        }),
    }
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let uid = machine::user_id()?;
    let stage = Stage::new(options)?;
    let samples = options.samples(10, 100);
    let tables = [empty_job(&stage, uid, samples)?, python(&stage, uid, samples)?];
    let other = if uid == 0 { as_user(options, &stage)? } else { OtherPart::default() };
    Ok(output::finish(options, &tables, &other))
}

fn empty_job(stage: &Stage, uid: u32, samples: usize) -> io::Result<Table> {
    let fresh = Launcher::start().map_err(io::Error::other)?;
    let shared = Launcher::start_with_shared_network().map_err(io::Error::other)?;
    let plan = peers::plan(TRUE, &[], Network::Fresh)?;
    let sharing = peers::plan(TRUE, &[], Network::Shared)?;
    let home = stage.home(uid)?;
    let settings = home.join("srt.json");
    std::fs::write(&settings, peers::SANDBOX_RUNTIME_SETTINGS)?;
    let rows = vec![
        Row::new(BUBBLEWRAP, || peers::time_command(&mut peers::bubblewrap(TRUE, &[]))),
        Row::new(BARE, || peers::time_command(&mut peers::bare(TRUE, &[]))),
        Row::try_new(CRUN, || crun_row(stage, uid)),
        Row::try_new(FIREJAIL, || {
            if !Path::new(peers::FIREJAIL).exists() {
                return Err(io::Error::other("skipped: needs firejail"));
            }
            Ok(Row::new(FIREJAIL, || peers::time_command(&mut peers::firejail(TRUE, &[]))))
        }),
        Row::try_new(SANDBOX_RUNTIME, || {
            let program = peers::sandbox_runtime_program().map_err(io::Error::other)?;
            let (home, settings) = (&home, &settings);
            Ok(Row::new(SANDBOX_RUNTIME, move || {
                peers::time_command(&mut peers::sandbox_runtime(&program, home, settings, TRUE, &[]))
            }))
        }),
        Row::new(FRESH, || peers::time_plan(&fresh, &plan)),
        Row::new(SHARED, || peers::time_plan(&shared, &sharing)),
        Row::new(COLD, || {
            let begun = std::time::Instant::now();
            peers::time_plan(&Launcher::start().map_err(io::Error::other)?, &plan)?;
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        }),
        Row::try_new(EXEC, || {
            let binary = stage.ringfence()?;
            Ok(Row::new(EXEC, || peers::time_command(&mut peers::ringfence(binary, &home, TRUE, &[]))))
        }),
    ];
    Ok(Table {
        title: format!("Start to exit of {TRUE}, {}", machine::user_name()),
        unit: "ms",
        rows: take_turns(rows, Turns::of_starts(samples)),
        targets: vec![
            Target { row: FRESH, base: BUBBLEWRAP, bound: Bound::AtMost(0.55) },
            Target { row: SHARED, base: BUBBLEWRAP, bound: Bound::AtMost(0.35) },
            Target { row: EXEC, base: BUBBLEWRAP, bound: Bound::AtMost(0.7) },
        ],
    })
}

fn python(stage: &Stage, uid: u32, samples: usize) -> io::Result<Table> {
    const BARE: &str = "python3, no sandbox";
    const SANDBOXED: &str = "python3, library";
    let launcher = Launcher::start_with_shared_network().map_err(io::Error::other)?;
    let home = stage.home(uid)?;
    let library = |name: &'static str, network| {
        let launcher = &launcher;
        Row::try_new(name, move || {
            let plan = peers::plan(PYTHON, &PYTHON_PASS, network)?;
            Ok(Row::new(name, move || peers::time_plan(launcher, &plan)))
        })
    };
    let rows = vec![
        Row::new(BARE, || peers::time_command(&mut peers::bare(PYTHON, &PYTHON_PASS))),
        Row::new("python3, bubblewrap", || peers::time_command(&mut peers::bubblewrap(PYTHON, &PYTHON_PASS))),
        library(SANDBOXED, Network::Fresh),
        library("python3, library, shared network", Network::Shared),
        Row::try_new("python3, ringfence exec", || {
            let binary = stage.ringfence()?;
            Ok(Row::new("python3, ringfence exec", || {
                peers::time_command(&mut peers::ringfence(binary, &home, PYTHON, &PYTHON_PASS))
            }))
        }),
    ];
    Ok(Table {
        title: format!("Start to exit of python3 {}, {}", PYTHON_PASS.join(" "), machine::user_name()),
        unit: "ms",
        rows: take_turns(rows, Turns::of_starts(samples.div_ceil(2))),
        targets: vec![Target { row: SANDBOXED, base: BARE, bound: Bound::AtMost(1.25) }],
    })
}

/// The same once more as [`USER`], by a copy of this program that never was root.
fn as_user(options: &Options, stage: &Stage) -> io::Result<OtherPart> {
    let copy = stage.copy(&std::env::current_exe()?, "spawn")?;
    let mut part = peers::command(copy);
    part.args(options.for_part("user", stage.ringfence().ok()));
    part.env_clear().env("TMPDIR", stage.home(USER)?).current_dir("/").uid(USER).gid(USER);
    if let Some(program) = std::env::var_os(peers::SANDBOX_RUNTIME_VARIABLE) {
        part.env(peers::SANDBOX_RUNTIME_VARIABLE, program);
    }
    let ended = part.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    if text.is_empty() {
        return Err(io::Error::other(format!("measuring as uid {USER} ended with {}", ended.status)));
    }
    Ok(OtherPart { text, failed: !ended.status.success() })
}

/// crun refuses a hybrid layout of cgroups, so it is started by a process in whose private mount namespace the v2 tree is
/// not mounted. That process measures; entering the namespace costs the row nothing.
fn crun_row<'a>(stage: &Stage, uid: u32) -> io::Result<Row<'a>> {
    if uid != 0 {
        return Err(io::Error::other("without root crun needs a delegated cgroup and id ranges of its own"));
    }
    if !Path::new("/usr/bin/crun").exists() {
        return Err(io::Error::other("crun is not installed"));
    }
    let bundle = stage.directory().join("bundle");
    std::fs::create_dir(&bundle)?;
    peers::write_bundle(&bundle)?;
    let mut unshare = peers::command("unshare");
    unshare.args(["--mount", "--", "sh", "-c"]);
    unshare.arg("if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec \"$0\" --part crun");
    unshare.arg(std::env::current_exe()?).env("BUNDLE", &bundle);
    let mut served = Served::start(unshare)?;
    // What cannot run must not wait for the first round to say so.
    served.ask("start")?;
    Ok(Row::new(CRUN, move || served.ask("start")))
}

fn serve_crun() -> ExitCode {
    let number = Cell::new(0);
    serve(
        || std::env::var_os("BUNDLE").map(PathBuf::from).ok_or_else(|| io::Error::other("BUNDLE is not set")),
        |bundle, _| {
            number.set(number.get() + 1);
            let name = format!("ringfence-bench-{}-{}", std::process::id(), number.get());
            let timed = peers::time_command(&mut peers::crun(bundle, &name));
            if timed.is_err() {
                peers::remove_cgroups(&name);
            }
            timed
        },
    )
}
