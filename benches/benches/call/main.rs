//! A call of a plugin, beside a raw pipe and beside go-plugin: one call of about 200 bytes, 64 in flight, an echo of 1 MiB;
//! with host and plugin on whatever core the kernel likes, and again on one core, where no wake-up of another one hides what
//! the software costs.
//!
//! What is measured of the product is [`ringfence::Host::call_with`], after [`ringfence::Host::is_permitted`], on an
//! installed plugin in its sandbox, with its deadline and audit record. A second row is the connection alone, to the same
//! plugin without a sandbox: what lies between both is what the host adds. A Python plugin stands beside the `mcp` SDK.

mod connection;
mod go_plugin;
mod host;
mod mcp;

mod raw_pipe;

use std::cell::RefCell;
use std::io;
use std::process::{Child, ChildStdin, ChildStdout, ExitCode, Stdio};

use ringfence_benches::native;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers;
use ringfence_benches::stage::Stage;
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};

const RAW: &str = "raw pipe, blocking";
const OURS: &str = "ringfence, native plugin";
const CONNECTION: &str = "ringfence, the connection alone";
const PYTHON_PLUGIN: &str = "ringfence, Python plugin";
const MCP: &str = "mcp SDK, Python client and server";
const GO_PLUGIN: &str = "go-plugin 1.0.1, net/rpc";
/// One call, as it is on the wire in each direction.
const CALL_BYTES: usize = 200;
const LARGE_BYTES: usize = 1 << 20;
/// Calls of one measurement, of each kind. The peers have the same numbers.
const CALLS: usize = 2_000;
const IN_FLIGHT: usize = 64;
const CALLS_EACH: usize = 250;
const LARGE_CALLS: usize = 32;
/// What this program does when it is the other side.
const PART_PINNED: &str = "pinned";
const PART_PLUGIN: &str = "plugin";

fn main() -> ExitCode {
    if native::is_plugin() {
        return ended(native::run().map(|()| ExitCode::SUCCESS));
    }
    let options = match Options::from_process() {
        Ok(options) => options,
        Err(refused) => return refused.tell(),
    };
    let done = match options.part.as_deref() {
        Some(PART_PLUGIN) => native::run().map(|()| ExitCode::SUCCESS),
        Some(part) if part.starts_with(raw_pipe::PART) => raw_pipe::answer(part).map(|()| ExitCode::SUCCESS),
        Some(PART_PINNED) => measure(&options, "on one core").map(|tables| finish(&options, &tables)),
        _ => all(&options),
    };
    ended(done)
}

fn ended(done: io::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        output::talk(&format!("call: {error}"));
        ExitCode::FAILURE
    })
}

fn finish(options: &Options, tables: &[Table]) -> ExitCode {
    output::finish(options, tables, &OtherPart::default())
}

fn all(options: &Options) -> io::Result<ExitCode> {
    let tables = measure(options, "free")?;
    Ok(output::finish(options, &tables, &on_one_core(options)?))
}

/// The same once more, by a copy of this program that has one core, and so have all that it starts.
fn on_one_core(options: &Options) -> io::Result<OtherPart> {
    let mut part = peers::command("taskset");
    part.args(["--cpu-list", "0"]).arg(std::env::current_exe()?).args(options.for_part(PART_PINNED, None));
    let ended = part.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    if text.is_empty() {
        return Err(io::Error::other(format!("measuring on one core ended with {}", ended.status)));
    }
    Ok(OtherPart { text, failed: !ended.status.success() })
}

fn measure(options: &Options, place: &str) -> io::Result<[Table; 4]> {
    let stage = Stage::without_ringfence()?;
    let go_plugin = go_plugin::Program::build(stage.directory());
    let whole = RefCell::new(host::Whole::start(&stage).map_err(|error| error.to_string()));
    let turns = Turns::of_long_runs(2, options.samples(5, 30));
    let peers = Peers { go_plugin: &go_plugin, whole: &whole, place, turns };
    let tables = [peers.one(), peers.many(), peers.large(), peers.python(&stage)];
    // Its plugins live in the stage.
    drop(whole);
    Ok(tables)
}

/// What stands beside each other in each table.
struct Peers<'a> {
    go_plugin: &'a go_plugin::Program,
    whole: &'a RefCell<host::Started>,
    place: &'a str,
    turns: Turns,
}

impl Peers<'_> {
    fn is_free(&self) -> bool {
        self.place == "free"
    }

    fn one(&self) -> Table {
        let rows = vec![
            Row::try_new(RAW, || raw_pipe::call_row(RAW)),
            host::call_row(self.whole, OURS),
            Row::try_new(CONNECTION, || connection::call_row(CONNECTION)),
            self.go_plugin.row(GO_PLUGIN, "call"),
        ];
        let of_raw = if self.is_free() { 1.2 } else { 2.2 };
        let mut targets = vec![Target { row: OURS, base: RAW, bound: Bound::AtMost(of_raw) }];
        if !self.is_free() {
            targets.push(Target { row: OURS, base: GO_PLUGIN, bound: Bound::AtMost(0.3) });
        }
        Table {
            title: format!("One call of {CALL_BYTES} B at a time, {}", self.place),
            unit: "us",
            rows: take_turns(rows, self.turns),
            targets,
        }
    }

    fn many(&self) -> Table {
        let rows = vec![
            self.go_plugin.row(GO_PLUGIN, "many"),
            host::many_row(self.whole, OURS),
            Row::try_new(CONNECTION, || connection::many_row(CONNECTION)),
        ];
        Table {
            title: format!("{IN_FLIGHT} calls of {CALL_BYTES} B in flight, {}", self.place),
            unit: "calls/s",
            rows: take_turns(rows, self.turns),
            targets: vec![Target { row: OURS, base: GO_PLUGIN, bound: Bound::AtLeast(4.0) }],
        }
    }

    fn large(&self) -> Table {
        let rows = vec![
            Row::try_new(RAW, || raw_pipe::large_row(RAW)),
            host::large_row(self.whole, OURS),
            Row::try_new(CONNECTION, || connection::large_row(CONNECTION)),
            self.go_plugin.row(GO_PLUGIN, "large"),
        ];
        Table {
            title: format!("Echo of 1 MiB, {}", self.place),
            unit: "MiB/s",
            rows: take_turns(rows, self.turns),
            targets: vec![Target { row: OURS, base: RAW, bound: Bound::AtLeast(0.35) }],
        }
    }

    fn python(&self, stage: &Stage) -> Table {
        let rows = vec![host::python_row(self.whole, PYTHON_PLUGIN), mcp::row(MCP, stage.directory())];
        Table {
            title: format!("One call of {CALL_BYTES} B of a Python plugin, {}", self.place),
            unit: "us",
            rows: take_turns(rows, self.turns),
            targets: vec![Target { row: MCP, base: PYTHON_PLUGIN, bound: Bound::AtLeast(15.0) }],
        }
    }
}

/// This program again, as the other side of two pipes. It ends at the end of its input.
struct Other {
    process: Child,
    to: Option<ChildStdin>,
    from: Option<ChildStdout>,
}

impl Other {
    fn start(part: &str) -> io::Result<Self> {
        let mut command = peers::command(std::env::current_exe()?);
        command.args(["--part", part]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let (to, from) = (process.stdin.take(), process.stdout.take());
        Ok(Self { process, to, from })
    }

    fn pipes(&mut self) -> io::Result<(ChildStdin, ChildStdout)> {
        let pipes = self.to.take().zip(self.from.take());
        pipes.ok_or_else(|| io::Error::other("the pipes were taken before"))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        (self.to, self.from) = (None, None);
        // A failure to wait leaves nothing to do.
        drop(self.process.wait());
    }
}
