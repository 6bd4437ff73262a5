//! From `activate` to the answer to `initialize`, of a plugin in each runtime, beside the bare start and end of the same
//! interpreter or program. Stopping it again is not counted.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use ringfence::Config;
use ringfence_benches::native;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers::{self, PYTHON};
use ringfence_benches::resident::{Resident, Script};
use ringfence_benches::stage::Stage;
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};

const NODE: &str = "/usr/bin/node";
const BARE_PYTHON: &str = "python3 -c pass";
const PYTHON_PLUGIN: &str = "ringfence, Python plugin";
const BARE_NODE: &str = "node -e 0";
const NODE_PLUGIN: &str = "ringfence, Node plugin";
const BARE_NATIVE: &str = "posix_spawn of the same program";
const NATIVE_PLUGIN: &str = "ringfence, native plugin";
const GRANTS: &str = "permissions: ['env:read=LANG']\n";

fn main() -> ExitCode {
    native::main("activate", measure)
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let stage = Stage::without_ringfence()?;
    let resident = Resident::start(&stage, "activate", Config::default())?;
    let turns = Turns::of_starts(options.samples(5, 50));
    let tables = [python(&resident, turns), node(&resident, turns), native_plugin(&stage, &resident, turns)];
    // Its plugins live in the stage.
    drop(resident);
    Ok(output::finish(options, &tables, &OtherPart::default()))
}

fn python(resident: &Resident, turns: Turns) -> Table {
    let script = Script {
        name: "python-echo",
        runtime: "python",
        file: "main.py",
        code: "def echo(arguments):\n    return arguments\n",
        tool: "echo",
        head: GRANTS,
    };
    let rows = vec![
        Row::new(BARE_PYTHON, || peers::time_command(&mut peers::bare(PYTHON, &["-c", "pass"]))),
        plugin_row(PYTHON_PLUGIN, resident, "python-echo", || resident.install_script(&script)),
    ];
    let target = Target { row: PYTHON_PLUGIN, base: BARE_PYTHON, bound: Bound::AtMost(1.3) };
    table("Python", rows, turns, vec![target])
}

fn node(resident: &Resident, turns: Turns) -> Table {
    let script = Script {
        name: "node-echo",
        runtime: "node",
        file: "main.js",
        code: "exports.echo = (args) => args;\n",
        tool: "echo",
        head: GRANTS,
    };
    let rows = vec![
        Row::new(BARE_NODE, || peers::time_command(&mut peers::bare(NODE, &["-e", "0"]))),
        plugin_row(NODE_PLUGIN, resident, "node-echo", || resident.install_script(&script)),
    ];
    table("Node", rows, turns, Vec::new())
}

fn native_plugin(stage: &Stage, resident: &Resident, turns: Turns) -> Table {
    let rows = vec![
        Row::try_new(BARE_NATIVE, || {
            let program = stage.copy(&std::env::current_exe()?, native::NAME)?;
            // With no input it ends at once.
            Ok(Row::new(BARE_NATIVE, move || {
                let mut bare = peers::command(&program);
                peers::time_command(bare.env_clear())
            }))
        }),
        plugin_row(NATIVE_PLUGIN, resident, "native-echo", || resident.install_native("native-echo", GRANTS)),
    ];
    table("native", rows, turns, Vec::new())
}

fn plugin_row<'a>(
    row: &'static str,
    resident: &'a Resident,
    plugin: &'static str,
    install: impl FnOnce() -> io::Result<()>,
) -> Row<'a> {
    Row::try_new(row, || {
        install()?;
        Ok(Row::new(row, move || {
            let begun = Instant::now();
            resident.activate(plugin)?;
            let taken = begun.elapsed();
            resident.deactivate(plugin)?;
            Ok(taken.as_secs_f64() * 1e3)
        }))
    })
}

fn table(what: &str, rows: Vec<Row<'_>>, turns: Turns, targets: Vec<Target>) -> Table {
    Table {
        title: format!("Activation of a {what} plugin, beside the bare start and end"),
        unit: "ms",
        rows: take_turns(rows, turns),
        targets,
    }
}
