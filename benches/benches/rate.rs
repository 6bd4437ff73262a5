//! Sandboxes a second, from two threads at once.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringfence_benches::machine;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers::{self, TRUE};
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};
use ringfence_sandbox::{Launcher, Network};

const THREADS: usize = 2;
/// The length of one turn: long beside a start, short beside the noise of other work.
const TURN: Duration = Duration::from_millis(500);
const BUBBLEWRAP: &str = "bubblewrap";
const SHARED: &str = "library, shared network";

fn main() -> ExitCode {
    match Options::from_process() {
        Ok(options) => measure(&options).unwrap_or_else(|error| {
            output::talk(&format!("rate: {error}"));
            ExitCode::FAILURE
        }),
        Err(refused) => refused.tell(),
    }
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let start = || Launcher::start_with_shared_network().map_err(io::Error::other);
    let (launcher, second) = (start()?, start()?);
    let fresh = peers::plan(TRUE, &[], Network::Fresh)?;
    let shared = peers::plan(TRUE, &[], Network::Shared)?;
    let rows = vec![
        Row::new(BUBBLEWRAP, || rate(|_| peers::time_command(&mut peers::bubblewrap(TRUE, &[])))),
        Row::new("posix_spawn, no sandbox", || rate(|_| peers::time_command(&mut peers::bare(TRUE, &[])))),
        Row::new("library, fresh network", || rate(|_| peers::time_plan(&launcher, &fresh))),
        Row::new(SHARED, || rate(|_| peers::time_plan(&launcher, &shared))),
        Row::new("library, shared network, a launcher for each thread", || {
            rate(|thread| peers::time_plan(if thread == 0 { &launcher } else { &second }, &shared))
        }),
    ];
    let table = Table {
        title: format!("Starts a second of {TRUE} on {THREADS} threads, {}", machine::user_name()),
        unit: "/s",
        rows: take_turns(rows, Turns::of_long_runs(1, options.samples(3, 12))),
        targets: vec![Target { row: SHARED, base: BUBBLEWRAP, bound: Bound::AtLeast(4.0) }],
    };
    Ok(output::finish(options, &[table], &OtherPart::default()))
}

/// How often `start` succeeds in a second, on all threads together. It is given the thread's number.
fn rate(start: impl Fn(usize) -> io::Result<f64> + Sync) -> io::Result<f64> {
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let count = std::thread::scope(|scope| {
        let work = |thread| {
            let (start, over) = (&start, &over);
            move || {
                let mut count = 0u32;
                while !over.load(Ordering::Relaxed) {
                    start(thread)?;
                    count += 1;
                }
                Ok::<u32, io::Error>(count)
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(work(thread))).collect();
        std::thread::sleep(TURN);
        over.store(true, Ordering::Relaxed);
        let panicked = |_| Err(io::Error::other("a measuring thread has panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).sum::<io::Result<u32>>()
    })?;
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}
