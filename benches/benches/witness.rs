//! What one plugin notices of another: the 99th percentile of its calls while the other is idle, and while it hangs, burns
//! processor time, floods its log, floods the protocol, and forks at its limit. Both are plugins of one host with the
//! default limits, and the host has one thread.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringfence::plugin::CallOptions;
use ringfence::{Config, Host};
use ringfence_benches::native;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::resident::{Resident, Script, chain};
use ringfence_benches::stage::Stage;
use ringfence_benches::statistics::percentile;
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};
use serde_json::value::{RawValue, to_raw_value};

const WITNESS: &str = "witness";
const HOSTILE: &str = include_str!("../peers/hostile.py");
const IDLE: &str = "nothing";
/// What the other plugin does, as the table and as the plugin call it.
const ACTS: [(&str, &str); 5] = [
    ("hangs", "hang"),
    ("burns processor time", "burn"),
    ("floods its log", "flood_log"),
    ("floods the protocol", "flood_protocol"),
    ("forks at its limit", "fork"),
];
/// Room to fork into is what makes the fork row harmful; the limit is the manifest's.
const HEAD: &str = "permissions: ['subprocess:execute']\nlimits: {processes: 64}\n";
/// How long the other plugin is at it, in one round.
const ACT: Duration = Duration::from_millis(1_500);
/// It has begun by then.
const LEAD: Duration = Duration::from_millis(200);
/// How long the witness is called meanwhile.
const WATCH: Duration = Duration::from_millis(1_000);
/// Between two calls of the witness: it is asked like somebody who works, not as fast as can be.
const PACE: Duration = Duration::from_millis(1);
/// What the other plugin left behind is put away before the next row.
const REST: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    native::main("witness", measure)
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let stage = Stage::without_ringfence()?;
    let resident = Resident::start(&stage, "witness", Config::default())?;
    resident.install_native(WITNESS, "")?;
    resident.activate(WITNESS)?;
    let arguments = to_raw_value(&serde_json::json!({}))?;
    let mut rows = vec![Row::new(IDLE, || watch(&resident, &arguments, None))];
    for (name, act) in ACTS {
        rows.push(Row::try_new(name, || disturbed(&resident, &arguments, name, act)));
    }
    let turns = Turns { warm_up: 1, rounds: options.samples(3, 15), rest: REST };
    let targets =
        ACTS.into_iter().map(|(row, _)| Target { row, base: IDLE, bound: Bound::AtMost(2.0) }).collect();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let table = Table {
        title: format!("99th percentile of a call while another plugin does this, {cpus} processors"),
        unit: "us",
        rows: take_turns(rows, turns),
        targets,
    };
    // Its plugins live in the stage.
    drop(resident);
    Ok(output::finish(options, &[table], &OtherPart::default()))
}

/// Each act has a plugin of its own, so that what one comes to does not change the next row.
fn disturbed<'a>(
    resident: &'a Resident,
    arguments: &'a RawValue,
    name: &str,
    act: &'static str,
) -> io::Result<Row<'a>> {
    let plugin = format!("hostile-{}", act.replace('_', "-"));
    let script = Script {
        name: &plugin,
        runtime: "native",
        file: "hostile.py",
        code: HOSTILE,
        tool: "act",
        head: HEAD,
    };
    resident.install_script(&script)?;
    resident.activate(&plugin)?;
    let what = to_raw_value(&serde_json::json!({ "act": act, "seconds": ACT.as_secs_f64() }))?;
    Ok(Row::new(name, move || watch(resident, arguments, Some((&plugin, &what)))))
}

fn watch(resident: &Resident, arguments: &RawValue, other: Option<(&str, &RawValue)>) -> io::Result<f64> {
    let host = resident.host()?;
    let times = resident.runtime.block_on(async {
        let act = other.map(|(plugin, what)| {
            let (host, plugin, what) = (host.clone(), plugin.to_owned(), what.to_owned());
            tokio::spawn(async move { call(&host, &plugin, "act", &what).await })
        });
        tokio::time::sleep(LEAD).await;
        let times = times(host, arguments).await;
        if let Some(act) = act {
            act.await.map_err(io::Error::other)??;
        }
        times
    })?;
    percentile(&times, 99).ok_or_else(|| io::Error::other("the witness was never called"))
}

/// Microseconds of each call of the witness.
async fn times(host: &Host, arguments: &RawValue) -> io::Result<Vec<f64>> {
    let mut times = Vec::new();
    let end = Instant::now() + WATCH;
    while Instant::now() < end {
        let begun = Instant::now();
        call(host, WITNESS, "echo", arguments).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        tokio::time::sleep(PACE).await;
    }
    Ok(times)
}

async fn call(host: &Host, plugin: &str, tool: &str, arguments: &RawValue) -> io::Result<()> {
    host.call_with(plugin, tool, arguments, &CallOptions::default()).await.map(drop).map_err(chain)
}
