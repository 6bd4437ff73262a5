//! An event through plugins, beside what it cannot do without: an event that nobody takes part in beside its promise of 100 ns,
//! one mutator and one guard beside one call of the same plugin, ten mutators beside one, an observer beside its promise of
//! 2 µs for being enqueued.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringfence::Config;
use ringfence::hooks::{HookOptions, MAILBOX_MAX, Payload};
use ringfence_benches::native;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::resident::{Resident, chain};
use ringfence_benches::stage::Stage;
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};
use serde_json::json;

const CALL: &str = "one call";
const MUTATOR: &str = "one mutator";
const GUARD: &str = "one guard";
const TEN: &str = "ten mutators";
const TEN_CALLS: &str = "ten times one mutator";
const NOBODY: &str = "nobody takes part";
const NOBODY_PROMISE: &str = "100 ns";
const ENQUEUED: &str = "an observer is enqueued";
const ENQUEUED_PROMISE: &str = "2 µs";
/// Of one measurement.
const EVENTS: u32 = 1_000;
const EMPTY_EVENTS: u32 = 1_000_000;
/// What fits into one plugin's queue, with room for what is delivered meanwhile.
const OBSERVED: u32 = 800;
const _: () = assert!((OBSERVED as usize) < MAILBOX_MAX);
/// How long what was enqueued may take to be delivered; not measured.
const SETTLE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    native::main("hook", measure)
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let stage = Stage::without_ringfence()?;
    let resident = Resident::start(&stage, "hook", Config::default())?;
    install(&resident)?;
    let turns = Turns::of_long_runs(1, options.samples(3, 20));
    let tables = [chains(&resident, turns), nobody(&resident, turns), enqueued(&resident, turns)];
    // Its plugins live in the stage.
    drop(resident);
    Ok(output::finish(options, &tables, &OtherPart::default()))
}

fn install(resident: &Resident) -> io::Result<()> {
    let hook = |event: &str, kind: &str| format!("hooks: [{{event: {event}, kind: {kind}}}]\n");
    let mut all = vec![
        ("mutator".to_owned(), hook("onMutate", "mutator")),
        ("guard".to_owned(), hook("onGuard", "guard")),
        ("observer".to_owned(), hook("onObserve", "observer")),
    ];
    all.extend((0..10).map(|n| (format!("mutator-{n}"), hook("onTen", "mutator"))));
    for (name, head) in all {
        resident.install_native(&name, &head)?;
        resident.activate(&name)?;
    }
    Ok(())
}

fn chains(resident: &Resident, turns: Turns) -> Table {
    let rows = vec![
        Row::new(CALL, || called(resident)),
        Row::new(MUTATOR, || passed(resident, "onMutate", EVENTS)),
        Row::new(GUARD, || passed(resident, "onGuard", EVENTS)),
        Row::new(TEN, || passed(resident, "onTen", EVENTS / 10)),
        Row::new(TEN_CALLS, || passed(resident, "onMutate", EVENTS).map(|us| us * 10.0)),
    ];
    let target = |row, base, most| Target { row, base, bound: Bound::AtMost(most) };
    Table {
        title: "An event through native plugins".to_owned(),
        unit: "µs",
        rows: take_turns(rows, turns),
        targets: vec![target(MUTATOR, CALL, 1.3), target(GUARD, CALL, 1.3), target(TEN, TEN_CALLS, 1.15)],
    }
}

fn nobody(resident: &Resident, turns: Turns) -> Table {
    let rows = vec![
        Row::new(NOBODY, || passed(resident, "onNothing", EMPTY_EVENTS).map(|us| us * 1e3)),
        Row::new(NOBODY_PROMISE, || Ok(100.0)),
    ];
    Table {
        title: "An event that nobody takes part in".to_owned(),
        unit: "ns",
        rows: take_turns(rows, turns),
        targets: vec![Target { row: NOBODY, base: NOBODY_PROMISE, bound: Bound::AtMost(1.0) }],
    }
}

/// The plugin is fed by the same thread, so nothing is delivered while it is measured.
fn enqueued(resident: &Resident, turns: Turns) -> Table {
    let rows = vec![
        Row::new(ENQUEUED, || {
            let taken = passed(resident, "onObserve", OBSERVED)?;
            let settled = resident.runtime.block_on(resident.host()?.settle(SETTLE));
            if settled { Ok(taken) } else { Err(io::Error::other("observers were not told in time")) }
        }),
        Row::new(ENQUEUED_PROMISE, || Ok(2.0)),
    ];
    Table {
        title: "An event with one observer, until it is enqueued".to_owned(),
        unit: "µs",
        rows: take_turns(rows, turns),
        targets: vec![Target { row: ENQUEUED, base: ENQUEUED_PROMISE, bound: Bound::AtMost(1.0) }],
    }
}

/// Microseconds of one call.
fn called(resident: &Resident) -> io::Result<f64> {
    let host = resident.host()?;
    resident.runtime.block_on(async {
        let begun = Instant::now();
        for _ in 0..EVENTS {
            host.call("mutator", "echo", json!({"text": "what passes"})).await.map_err(chain)?;
        }
        Ok(each(begun, EVENTS))
    })
}

/// Microseconds of one event.
fn passed(resident: &Resident, event: &str, events: u32) -> io::Result<f64> {
    let (host, options) = (resident.host()?, HookOptions::default());
    resident.runtime.block_on(async {
        // Made once and handed from event to event: a dispatch does not make it.
        let mut payload = Payload::new(json!({"text": "what passes"}));
        let begun = Instant::now();
        for _ in 0..events {
            let outcome = host.hook(event, payload, &options).await.map_err(chain)?;
            if outcome.is_blocked() {
                return Err(io::Error::other(outcome.reason.unwrap_or_default()));
            }
            payload = Payload { body: outcome.body, metadata: outcome.metadata };
        }
        Ok(each(begun, events))
    })
}

fn each(begun: Instant, count: u32) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(count)
}
