//! The loop `kill`: kills `ringfence` with -9 at random moments, and looks for anything that survives.
//!
//! Each run's command has an argument that exists nowhere else, so a survivor is found by looking through the
//! arguments of all processes, whatever it did to its session, parent or group.

use std::collections::BTreeSet;
use std::fs;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use super::account::{Account, Scratch};
use super::census::{self, Census};
use super::random::Random;
use super::{Figure, Held, Setting, date};
use crate::failure::Failure;
use crate::process;

const ROUNDS: u64 = 400;
const ROUNDS_QUICK: u64 = 40;

/// Most kills come while the sandbox is being built ...
const EARLY_US: u64 = 30_000;
/// ... and one in four later, when the command runs.
const LATE_US: u64 = 500_000;
const LATE_ONE_IN: u64 = 4;

/// By when everything must be gone.
const PROMISE: Duration = Duration::from_secs(1);

/// Rounds between two looks for what came up after its round: a start that was under way when `ringfence` died.
const LOOK_EVERY: u64 = 25;

/// Time between two looks for survivors.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("kill", *account)?;
    let mut random = Random::new(setting.seed);
    // Digits, because it must be a duration that sleep understands: far beyond any run, and never the same twice.
    let family = format!("8{:05}{:05}", std::process::id() % 100_000, date::now_s() % 100_000);
    let rounds = if setting.quick { ROUNDS_QUICK } else { ROUNDS };
    // One run that is allowed to live shows that the marker can be found at all.
    let seen = control(setting, &scratch, &format!("{family}99999"))?;
    let before = Census::take(setting, &scratch);
    let mut survivors = BTreeSet::new();
    let (mut alive, mut slowest) = (0_u64, Duration::ZERO);
    for round in 0..rounds {
        let marker = format!("{family}{round:05}");
        let is_late = random.below(LATE_ONE_IN) == 0;
        let moment = Duration::from_micros(random.below(if is_late { LATE_US } else { EARLY_US }));
        let mut child = command(setting, &scratch, &marker)?;
        thread::sleep(moment);
        // The marker stands in the arguments of `ringfence` too; two or more say that the command was running.
        alive += u64::from(holders(&marker).len() > 1);
        end(&mut child)?;
        slowest = slowest.max(gone_after(&marker, PROMISE).unwrap_or(PROMISE));
        survivors.extend(holders(&marker));
        if round % LOOK_EVERY == LOOK_EVERY - 1 || round == rounds - 1 {
            thread::sleep(PROMISE);
            survivors.extend(holders(&family));
        }
    }
    let mut figures = vec![
        Figure::information("runs killed", rounds),
        Figure::information("of these while the command was running", alive),
        Figure::promised(
            "marker seen in a run that was not killed",
            seen,
            "at least 2",
            Held::from(seen >= 2),
        ),
        Figure::promised("survivors after 1 s", survivors.len(), "0", Held::from(survivors.is_empty())),
        Figure::information("slowest to be gone", format!("{} ms", slowest.as_millis())),
    ];
    figures.extend(before.leaks(setting, &scratch));
    sweep(&family)?;
    Ok(figures)
}

/// Kills `ringfence` itself, as the machine's out-of-memory killer would, and nothing else.
fn end(child: &mut Child) -> Result<(), Failure> {
    child.kill().and_then(|()| child.wait()).map(|_| ()).map_err(|error| Failure::of("kill", error))
}

/// Ends what survived, now that it is counted: its marker says that this loop started it.
fn sweep(family: &str) -> Result<(), Failure> {
    for pid in holders(family) {
        // It may end by itself in this moment, so the answer does not matter.
        process::output(process::program("kill").args(["-9", &pid.to_string()]))?;
    }
    Ok(())
}

fn command(setting: &Setting, scratch: &Scratch, marker: &str) -> Result<Child, Failure> {
    let script = format!("sleep {marker} & sleep {marker}");
    let mut command = scratch.exec(
        setting,
        &["--grant", "subprocess:execute", "--timeout", "none"],
        &["/bin/sh", "-c", &script],
    );
    command.spawn().map_err(|error| Failure::of(setting.binary.display(), error))
}

/// Lets one run live until its command is seen, at most ten seconds, and ends it. Hands back how many processes held
/// the marker besides `ringfence`.
fn control(setting: &Setting, scratch: &Scratch, marker: &str) -> Result<usize, Failure> {
    let mut child = command(setting, scratch, marker)?;
    let deadline = Instant::now() + 10 * PROMISE;
    let mut seen = 0;
    // Two sleeps, or their shell and one of them.
    while seen < 2 && Instant::now() < deadline {
        thread::sleep(PAUSE);
        seen = holders(marker).iter().filter(|pid| **pid != child.id()).count();
    }
    end(&mut child)?;
    if gone_after(marker, 10 * PROMISE).is_some() {
        return Ok(seen);
    }
    sweep(marker)?;
    Err(Failure::Failed("a run that was killed while it was watched did not end in 10 s".to_owned()))
}

/// How long it takes until nobody holds the marker, or `None` when somebody does at the limit.
fn gone_after(marker: &str, limit: Duration) -> Option<Duration> {
    let start = Instant::now();
    loop {
        if holders(marker).is_empty() {
            return Some(start.elapsed());
        }
        if start.elapsed() >= limit {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Processes with the marker somewhere in their arguments. A zombie has none, so it is not found: it runs no more.
fn holders(marker: &str) -> Vec<u32> {
    let own = std::process::id();
    let holds = |pid: &u32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != own && arguments.windows(marker.len()).any(|window| window == marker.as_bytes())
    };
    census::pids().into_iter().filter(holds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_of_the_marker_is_found_while_it_lives_and_missed_when_it_is_gone() {
        let marker = format!("86{:07}", std::process::id());
        let mut child = process::program("sleep").arg(&marker).spawn().unwrap();
        // Until exec, the child's arguments are those of this test.
        let deadline = Instant::now() + 10 * PROMISE;
        while holders(&marker) != [child.id()] && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        assert_eq!(holders(&marker), [child.id()]);
        assert_eq!(gone_after(&marker, Duration::ZERO), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(gone_after(&marker, PROMISE).is_some());
    }
}
