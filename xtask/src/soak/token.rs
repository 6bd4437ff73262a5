//! The loop `token`: does the time of a refusal tell how much of a token is right?
//!
//! A daemon is asked with wrong tokens over its socket, where no rate limit stands in between: some have the right beginning of the
//! secret, some nothing of it, in random order and each on the same connection. The times of each kind are held against those of the
//! kind without anything right by Welch's t. 4.5 is the bound that is usual for tests of leaks: noise alone passes it once in a
//! hundred thousand times.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::account::{Account, Scratch};
use super::random::Random;
use super::{Figure, Held, Setting};
use crate::failure::Failure;
use crate::process;

/// Samples of each kind.
const SAMPLES: usize = 100_000;
const SAMPLES_QUICK: usize = 2_000;
/// Requests that do not count.
const WARM_UP: usize = 500;
/// Digits of the secret that are right, in each kind. The first is what the others are held against.
const RIGHT: [usize; 4] = [0, 1, 32, 63];
const SECRET_DIGITS: usize = 64;
/// The most that chance explains.
const T_MAX: f64 = 4.5;
/// The slowest of all times are those of a machine that did something else; without them a difference shows sooner.
const KEPT: f64 = 0.9;
/// How long the daemon may take to answer, to be ready and to end.
const WAIT: Duration = Duration::from_secs(30);

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("token", *account)?;
    let mut made = scratch.ringfence(setting, &["token", "create", "--role", "viewer", "--json"]);
    let made = process::text(made.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let made: serde_json::Value =
        serde_json::from_str(&made).map_err(|error| Failure::of("a token", error))?;
    let token = made.get("token").and_then(|token| token.as_str()).unwrap_or_default();
    let daemon = Daemon::start(setting, &scratch)?;
    let times = daemon.times(token, setting);
    let times = times.map_err(|error| Failure::of("the daemon's socket", error))?;
    drop(daemon);
    Ok(figures(&times))
}

/// A daemon, ended with the loop.
struct Daemon {
    process: Child,
    socket: std::path::PathBuf,
}

impl Daemon {
    fn start(setting: &Setting, scratch: &Scratch) -> Result<Self, Failure> {
        let failed = |error| Failure::of("ringfence serve", error);
        let mut command = scratch.ringfence(setting, &["serve", "--listen", "none", "--json"]);
        let mut process = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
        let output = process.stdout.take();
        let daemon = Self { process, socket: scratch.home().join("daemon.sock") };
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line).map_err(failed)?;
        }
        if line.contains("\"pid\"") {
            return Ok(daemon);
        }
        Err(Failure::Failed(format!("`ringfence serve` is not ready: {line}")))
    }

    /// Times in nanoseconds, for each kind.
    fn times(&self, token: &str, setting: &Setting) -> std::io::Result<[Vec<f64>; RIGHT.len()]> {
        let mut random = Random::new(setting.seed);
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(WAIT))?;
        let samples = if setting.quick { SAMPLES_QUICK } else { SAMPLES };
        // That it is the token which is judged: the right one is let in.
        if !ask(&mut stream, token)?.1.starts_with("HTTP/1.1 200") {
            return Err(std::io::Error::other("the right token is not let in"));
        }
        let mut times: [Vec<f64>; RIGHT.len()] = std::array::from_fn(|_| Vec::with_capacity(samples));
        let all = WARM_UP + samples * RIGHT.len();
        for number in 0..all {
            let kind = usize::try_from(random.below(RIGHT.len() as u64)).unwrap_or_default();
            let wrong = wrong(token, RIGHT.get(kind).copied().unwrap_or_default(), &mut random);
            let (time, answer) = ask(&mut stream, &wrong)?;
            if !answer.starts_with("HTTP/1.1 401") {
                return Err(std::io::Error::other(format!("a wrong token was answered with {answer}")));
            }
            if number >= WARM_UP
                && let Some(times) = times.get_mut(kind)
            {
                times.push(time.as_secs_f64() * 1e9);
            }
        }
        Ok(times)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let told = process::program("kill").arg(self.process.id().to_string()).status();
        let waited = told.and_then(|_| process::wait_until(&mut self.process, Instant::now() + WAIT));
        if let Err(error) = waited {
            eprintln!("warning: the daemon {} was left behind: {error}", self.process.id());
        }
    }
}

/// A token of the same id whose secret has so many right digits, then a wrong one, then any. All kinds are the same work: how long this
/// program was busy before it asks shows in the answer's time.
fn wrong(token: &str, right: usize, random: &mut Random) -> String {
    let at = token.len().saturating_sub(SECRET_DIGITS);
    let digit =
        |number: u64| char::from_digit(u32::try_from(number % 16).unwrap_or_default(), 16).unwrap_or('0');
    let wrong = token.chars().enumerate().map(|(index, given)| {
        let drawn = random.below(15);
        let next = given.to_digit(16).map_or(0, u64::from) + 1 + drawn;
        match index.cmp(&(at + right)) {
            std::cmp::Ordering::Less => given,
            std::cmp::Ordering::Equal => digit(next),
            std::cmp::Ordering::Greater => digit(next.wrapping_mul(7)),
        }
    });
    wrong.collect()
}

/// Asks once; gives how long the answer took, and the answer.
fn ask(stream: &mut UnixStream, token: &str) -> std::io::Result<(Duration, String)> {
    let head =
        format!("GET /api/v1/hooks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    let begun = Instant::now();
    stream.write_all(head.as_bytes())?;
    loop {
        let count = stream.read(buffer.get_mut(length..).unwrap_or_default())?;
        let time = begun.elapsed();
        length += count;
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        let told = text.split_once("\r\n\r\n").and_then(|(head, body)| {
            let told = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            Some(told.parse() == Ok(body.len()))
        });
        match told {
            Some(true) => return Ok((time, text)),
            _ if count == 0 => return Err(std::io::Error::other("the daemon has closed the connection")),
            _ => {}
        }
    }
}

fn figures(times: &[Vec<f64>; RIGHT.len()]) -> Vec<Figure> {
    let mut pooled: Vec<f64> = times.iter().flatten().copied().collect();
    pooled.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let bound = pooled.get((pooled.len() as f64 * KEPT) as usize).copied().unwrap_or(f64::MAX);
    let cut = |all: &[f64]| all.iter().copied().filter(|time| *time <= bound).collect::<Vec<_>>();
    let median = pooled.get(pooled.len() / 2).copied().unwrap_or_default();
    let samples = times.iter().map(Vec::len).min().unwrap_or_default();
    let mut figures = vec![
        Figure::information("refusals of a wrong token, of each kind", samples),
        Figure::information("median time of one", format!("{:.1} us", median / 1_000.0)),
    ];
    let [nothing, rest @ ..] = times;
    for (right, times) in RIGHT.iter().skip(1).zip(rest) {
        let (whole, kept) = (welch(times, nothing), welch(&cut(times), &cut(nothing)));
        let worst = whole.abs().max(kept.abs());
        figures.push(Figure::promised(
            format!(
                "Welch's t, {right} of {SECRET_DIGITS} digits right against none (without the slowest tenth)"
            ),
            format!("{whole:.2} ({kept:.2})"),
            "below 4.5 either way",
            Held::from(worst < T_MAX),
        ));
    }
    figures
}

/// How far two means are apart, in units of what chance makes of it.
fn welch(one: &[f64], two: &[f64]) -> f64 {
    let ((one, one_error), (two, two_error)) = (mean(one), mean(two));
    let error = (one_error + two_error).sqrt();
    // Nothing varies: equal means are no difference, others are one that no chance explains.
    if error > 0.0 {
        (one - two) / error
    } else if one == two {
        0.0
    } else {
        f64::INFINITY
    }
}

/// The mean, and the square of its standard error.
#[expect(clippy::cast_precision_loss, reason = "a few hundred thousand samples")]
fn mean(all: &[f64]) -> (f64, f64) {
    let count = all.len() as f64;
    let mean = all.iter().sum::<f64>() / count.max(1.0);
    let variance = all.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean, variance / count.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_token_has_just_so_many_right_digits() {
        let token = format!("rf_00ff00ff00ff00ff_{}", "a5".repeat(32));
        let mut random = Random::new(1);
        for right in RIGHT {
            for _ in 0..100 {
                let wrong = wrong(&token, right, &mut random);
                let same = wrong.bytes().zip(token.bytes()).take_while(|(one, two)| one == two).count();
                assert_eq!(
                    (wrong.len(), same),
                    (token.len(), token.len() - SECRET_DIGITS + right),
                    "{wrong}"
                );
            }
        }
    }

    /// Times around 100,000 ns with noise, of which some take `more`.
    fn drawn(seed: u64, more: f64) -> Vec<f64> {
        let mut random = Random::new(seed);
        (0..20_000)
            .map(|_| 100_000.0 + more + f64::from(u32::try_from(random.below(10_000)).unwrap()))
            .collect()
    }

    #[test]
    fn a_difference_is_found_and_chance_is_none() {
        let nothing = drawn(1, 0.0);
        assert!(welch(&drawn(2, 0.0), &nothing).abs() < T_MAX);
        assert!(welch(&drawn(3, 200.0), &nothing) > T_MAX);
        assert!(welch(&drawn(4, -200.0), &nothing) < -T_MAX);
        assert!(welch(&[1.0, 1.0], &[1.0, 1.0]) == 0.0 && welch(&[2.0, 2.0], &[1.0, 1.0]).is_infinite());
        let told = figures(&[drawn(1, 0.0), drawn(2, 0.0), drawn(3, 0.0), drawn(4, 500.0)]);
        let held: Vec<bool> = told.iter().map(|figure| figure.held).collect();
        assert_eq!(held, [true, true, true, true, false]);
    }
}
