//! Every stressor of stress-ng inside, with the ordinary limits, one after the other.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::{chosen, named};
use crate::failure::Failure;
use crate::needs;
use crate::process;
use crate::soak::account::{Account, Scratch};
use crate::soak::{Figure, Held, Setting, stress};

/// How long each stressor works, in stress-ng's own words.
const WORKS: &str = "1s";

/// What the sandbox gives a stressor, which may begin with a minute of preparation, before it stops it.
const TIMEOUT: &str = "30s";

/// What the whole run may take, start and the ladder of the end included.
const DEADLINE: Duration = Duration::from_secs(50);

/// Of a sample, one in so many.
const SAMPLE: usize = 10;

/// How a stressor's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    /// It did its second of work.
    Ran,
    /// It was refused what it works with, said so, and gave up.
    Refused,
    /// This build of stress-ng or this machine has no such thing, sandbox or not.
    Unsupported,
    /// A limit of the sandbox ended it.
    Limit(String),
    /// It ended in another way: its status.
    Failed(String),
    /// The sandbox did not do its part.
    Fault(String),
}

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    if needs::locate("stress-ng").is_none() {
        return Err(Failure::Failed("stress-ng is missing: sudo apt-get install stress-ng".to_owned()));
    }
    let all = process::text(process::program("stress-ng").arg("--stressors"))?;
    let all: Vec<String> = all.split_whitespace().map(str::to_owned).collect();
    let known = all.len();
    let names = chosen(setting, all, SAMPLE)?;
    let scratch = Scratch::new("outside-stress-ng", *account)?;
    let mut endings = Vec::new();
    let watched = stress::beside_a_witness(setting, &scratch, || {
        for name in &names {
            endings.push((name.clone(), one(setting, &scratch, name)));
        }
    })?;
    let mut figures = vec![Figure::information(
        "stressors, of those that stress-ng has",
        format!("{} of {known}", endings.len()),
    )];
    figures.extend(figures_of(&endings));
    figures.extend(watched);
    Ok(figures)
}

fn one(setting: &Setting, scratch: &Scratch, name: &str) -> Ending {
    let path = scratch.file("home/report.json");
    let flag = format!("--{name}");
    let program =
        ["stress-ng", "--temp-path", "/tmp", "--log-brief", "--pathological", "--timeout", WORKS, &flag, "1"];
    let report = path.display().to_string();
    let flags = ["--grant", "subprocess:execute", "--timeout", TIMEOUT, "--report", &report];
    let timed = match process::run_until(&mut scratch.exec(setting, &flags, &program), DEADLINE) {
        Ok(timed) => timed,
        Err(failure) => return Ending::Fault(failure.text().unwrap_or_default().to_owned()),
    };
    let text = fs::read_to_string(&path).unwrap_or_default();
    if let Err(error) = fs::remove_file(&path) {
        return Ending::Fault(format!("no report: {error}"));
    }
    if timed.status.is_none() {
        return Ending::Fault("did not end and was killed".to_owned());
    }
    judge(&serde_json::from_str(&text).unwrap_or_default(), &timed.stderr)
}

fn judge(report: &Value, said: &str) -> Ending {
    let word = |name: &str| report.get(name).and_then(Value::as_str).map(str::to_owned);
    let status = word("status").unwrap_or_default();
    if status == "not_started" || status.is_empty() {
        return Ending::Fault(format!("was not started: {}", said.trim()));
    }
    if let Some(violation) = word("violation") {
        return Ending::Limit(violation);
    }
    const NOT_HERE: &[&str] = &["built without", "not built", "not implemented", "unimplemented"];
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let code = report.get("exit_code").and_then(Value::as_i64);
    if has(NOT_HERE) {
        return Ending::Unsupported;
    }
    if has(&["skipped", "skipping", "No stress workers invoked"]) || matches!(code, Some(3 | 4)) {
        return Ending::Refused;
    }
    match code {
        Some(0) => Ending::Ran,
        Some(code) => Ending::Failed(format!("status {code}")),
        None => Ending::Failed(status),
    }
}

fn figures_of(endings: &[(String, Ending)]) -> Vec<Figure> {
    let names = |is: fn(&Ending) -> Option<String>| -> Vec<String> {
        let found = endings.iter().filter_map(|(name, ending)| Some((name, is(ending)?)));
        found
            .map(|(name, what)| if what.is_empty() { name.clone() } else { format!("{name}: {what}") })
            .collect()
    };
    let ran = endings.iter().filter(|(_, ending)| *ending == Ending::Ran).count();
    let refused = names(|ending| (*ending == Ending::Refused).then(String::new));
    let absent = names(|ending| (*ending == Ending::Unsupported).then(String::new));
    let limits = names(|ending| if let Ending::Limit(word) = ending { Some(word.clone()) } else { None });
    let failed = names(|ending| if let Ending::Failed(what) = ending { Some(what.clone()) } else { None });
    let faults = names(|ending| if let Ending::Fault(what) = ending { Some(what.clone()) } else { None });
    vec![
        Figure::information("did their work", ran),
        Figure::information("were refused what they work with, and gave up", named(&refused)),
        Figure::information("not in this build, or it looks so inside", named(&absent)),
        Figure::information("ended by a limit", named(&limits)),
        Figure::information("ended in another way", named(&failed)),
        Figure::promised(
            "not started, without a report, or not ended in time",
            named(&faults),
            "0",
            Held::from(faults.is_empty()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn endings_are_told_apart() {
        let exited = |code: i64| json!({"status": "exited", "exit_code": code, "violation": null});
        for (report, said, ending) in [
            (exited(0), "successful run completed in 1.01s", Ending::Ran),
            (exited(0), "rawsock stressor will be skipped, need CAP_NET_RAW", Ending::Refused),
            (exited(4), "", Ending::Refused),
            (exited(0), "apparmor stressor will be skipped, built without it", Ending::Unsupported),
            (exited(2), "failed", Ending::Failed("status 2".to_owned())),
            (
                json!({"status": "violation", "violation": "memory", "signal": 9}),
                "",
                Ending::Limit("memory".to_owned()),
            ),
        ] {
            assert_eq!(judge(&report, said), ending, "{said}");
        }
        assert!(matches!(judge(&json!({"status": "not_started"}), "why"), Ending::Fault(_)));
        assert!(matches!(judge(&Value::Null, ""), Ending::Fault(_)));
    }

    #[test]
    fn a_fault_breaks_the_promise_and_names_its_stressor() {
        let held = figures_of(&[("cpu".to_owned(), Ending::Ran)]);
        assert!(held.iter().all(|figure| figure.held));
        let broken = figures_of(&[("vm".to_owned(), Ending::Fault("gone".to_owned()))]);
        assert!(broken.iter().any(|figure| !figure.held && figure.value == "1 (vm: gone)"));
    }
}
