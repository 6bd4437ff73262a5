//! Whether a start takes longer from a process with much memory.

use std::cell::RefCell;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

use ringfence_benches::machine;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers::{self, TRUE};
use ringfence_benches::served::{Served, serve};
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};
use ringfence_sandbox::{Launcher, Network, Plan};

const SMALL: &str = "small";
const LARGE: &str = "large";
const LARGE_BYTES: usize = 1 << 30;
/// Every page is written, or the kernel would keep one page of zeros for all.
const PAGE_BYTES: usize = 4096;
/// "As fast": what is left is the noise between two processes that do the same.
const AS_FAST: f64 = 1.1;

fn main() -> ExitCode {
    let options = match Options::from_process() {
        Ok(options) => options,
        Err(refused) => return refused.tell(),
    };
    match options.part.as_deref() {
        Some(size @ (SMALL | LARGE)) => serve(|| Parent::new(size), Parent::measure),
        _ => measure(&options).unwrap_or_else(|error| {
            output::talk(&format!("parent_size: {error}"));
            ExitCode::FAILURE
        }),
    }
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let start = |size: &str| {
        let mut parent = peers::command(std::env::current_exe()?);
        parent.args(options.for_part(size, None));
        Ok::<_, io::Error>(RefCell::new(Served::start(parent)?))
    };
    let (small, large) = (start(SMALL)?, start(LARGE)?);
    let row = |name, parent: &'static str, word: &'static str| {
        let served = if parent == SMALL { &small } else { &large };
        Row::new(name, move || served.borrow_mut().ask(word))
    };
    let rows = vec![
        row("sandbox from a small parent", SMALL, "launch"),
        row("sandbox from a parent of 1 GiB", LARGE, "launch"),
        row("launcher and sandbox from a small parent", SMALL, "start"),
        row("launcher and sandbox from a parent of 1 GiB", LARGE, "start"),
        row("posix_spawn from a small parent", SMALL, "spawn"),
        row("posix_spawn from a parent of 1 GiB", LARGE, "spawn"),
    ];
    let target = |row, base| Target { row, base, bound: Bound::AtMost(AS_FAST) };
    let table = Table {
        title: format!("Start to exit of {TRUE} from parents of different size, {}", machine::user_name()),
        unit: "ms",
        rows: take_turns(rows, Turns::of_starts(options.samples(10, 100))),
        targets: vec![
            target("sandbox from a parent of 1 GiB", "sandbox from a small parent"),
            target("launcher and sandbox from a parent of 1 GiB", "launcher and sandbox from a small parent"),
        ],
    };
    Ok(output::finish(options, &[table], &OtherPart::default()))
}

/// The process that starts things.
struct Parent {
    ballast: Vec<u8>,
    launcher: Launcher,
    plan: Plan,
}

impl Parent {
    fn new(size: &str) -> io::Result<Self> {
        let mut ballast = vec![0u8; if size == LARGE { LARGE_BYTES } else { 0 }];
        ballast.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
        let launcher = Launcher::start().map_err(io::Error::other)?;
        Ok(Self { ballast, launcher, plan: peers::plan(TRUE, &[], Network::Fresh)? })
    }

    fn measure(&mut self, word: &str) -> io::Result<f64> {
        // Read, so that the memory is really there and stays there.
        if self.ballast.first().is_some_and(|byte| *byte != 1) {
            return Err(io::Error::other("the ballast was not written"));
        }
        match word {
            "launch" => peers::time_plan(&self.launcher, &self.plan),
            "spawn" => peers::time_command(&mut peers::bare(TRUE, &[])),
            _ => {
                let begun = Instant::now();
                peers::time_plan(&Launcher::start().map_err(io::Error::other)?, &self.plan)?;
                Ok(begun.elapsed().as_secs_f64() * 1e3)
            }
        }
    }
}
