//! Lets the hostile plugins act, through the library's host, and decides by the canaries what came of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringfence::event::{Event, EventKind, Heard, Subscription};
use ringfence::lifecycle::LogSource;
use ringfence::plugin::CallOptions;
use ringfence::{Error, Host};
use ringfence_api::{EnforcedLayer, ErrorCode, Permission, PermissionError, PluginState};
use serde::Serialize;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::cases::{Case, HOST, Outside, Who};
use super::guest;
use super::world::{MARK_WAIT, World, failed};

/// Enough for a table.
const REASON_CHARS: usize = 34;
/// The time to give a call up, the time between the signals of an end, and a slow machine.
const ENDED_WITHIN: Duration = Duration::from_secs(15);
/// How the error of a call begins whose plugin has ended.
const ENDED: &str = "ended during the call";
/// How often, and with which pauses, a plugin that has just ended is asked to start again.
const STARTS: u32 = 50;
/// How far back in its log a plugin's last words are looked for.
const LOG_LINES: usize = 5;
const START_PAUSE: Duration = Duration::from_millis(200);

/// How an act ended.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// The act's short name.
    pub(super) name: &'static str,
    /// What was tried, after "to".
    pub(super) tried: &'static str,
    /// Whether the canary saw it happen without a sandbox; nothing if that would have done harm.
    pub(super) outside: Option<bool>,
    /// Whether it did no harm inside, with the layer in force.
    pub(super) held: bool,
    /// What the plugin was told, or how it was ended.
    pub(super) inside: String,
    /// The layer that holds it, or `host`.
    pub(super) held_by: &'static str,
    /// The grant, flag or limit that would have allowed it.
    pub(super) allowed_by: Option<String>,
    /// What went wrong, if it did not hold.
    pub(super) harm: Option<String>,
}

/// One act, as it was seen from outside.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The answer, or the error's message.
    pub(super) output: String,
    /// The code of the error, if the call failed.
    pub(super) stopped: Option<ErrorCode>,
    /// How long the caller waited.
    pub(super) elapsed: Duration,
    /// What it wrote to its log, where that says more.
    last_words: String,
    /// Whether the plugin was ended in time, where it must be.
    ended: bool,
    /// Whether a person must release it now.
    quarantined: bool,
    /// What was in force.
    enforced: BTreeMap<String, EnforcedLayer>,
}

impl Seen {
    fn said(&self) -> String {
        match self.stopped {
            _ if self.quarantined => "quarantined, until you say so".to_owned(),
            Some(ErrorCode::Timeout) => "stopped: timeout".to_owned(),
            Some(_) if !self.last_words.is_empty() => reason(&self.last_words),
            _ => reason(&self.output),
        }
    }
}

/// The first line, without what only says who says it and without what is in brackets, cut to the table.
pub(super) fn reason(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.rsplit(": ").next().unwrap_or(line);
    let line = line.split(" (").next().unwrap_or(line);
    let clean = line.chars().map(|character| if character.is_control() { ' ' } else { character });
    clean.take(REASON_CHARS).collect()
}

impl Who {
    fn plugin(&self) -> &'static str {
        match self {
            Self::Compiled(_) => "hostile",
            Self::Script(_) => "stubborn",
        }
    }
}

/// Does the act outside where that is harmless, then inside, and looks at the canary each time.
pub(super) async fn judge(host: &Host, world: &World, case: &Case) -> Result<Verdict, Error> {
    let outside = match &case.outside {
        Outside::Never => None,
        Outside::Here => match &case.who {
            Who::Compiled(words) => Some(happens_here(world, case, words)),
            Who::Script(_) => None,
        },
        Outside::Elsewhere(words) => Some(happens_here(world, case, words)),
        Outside::Granted(permission) => Some(happens_granted(host, world, case, permission).await?),
    };
    let put_back = || world.reset().map_err(|error| failed("put back", &world.path(""), error));
    put_back()?;
    let seen = inside(host, world, case).await?;
    let mut harm = (case.harm)(world, &seen).then(|| case.harm_text.to_owned());
    put_back()?;
    if harm.is_none() && case.held_by != HOST && !seen.enforced.contains_key(case.held_by) {
        harm = Some("it did no harm, but the layer that should hold it was not in force".to_owned());
    }
    if harm.is_none() && case.ends && !seen.ended {
        harm = Some("the plugin was not ended in time".to_owned());
    }
    if harm.is_none() && outside == Some(false) && case.outside_must_work {
        harm = Some("it failed without a sandbox too, so nothing was shown".to_owned());
    }
    Ok(Verdict {
        name: case.name,
        tried: case.tried,
        outside,
        held: harm.is_none(),
        inside: seen.said(),
        held_by: case.held_by,
        allowed_by: case.allowed_by.clone(),
        harm,
    })
}

fn happens_here(world: &World, case: &Case, words: &[String]) -> bool {
    let begun = Instant::now();
    let output = guest::perform(words).unwrap_or_else(|error| error.to_string());
    (case.harm)(world, &Seen { output, elapsed: begun.elapsed(), ..Seen::default() })
}

async fn happens_granted(host: &Host, world: &World, case: &Case, grant: &str) -> Result<bool, Error> {
    let permissions = [permission(grant)?];
    host.grant(case.who.plugin(), &permissions).await?;
    let seen = inside(host, world, case).await?;
    let happened = (case.harm)(world, &seen);
    let revoked = host.revoke(case.who.plugin(), &permissions).await;
    // A start that failed on a busy machine is tried again before the next act; the grant must be gone.
    match revoked {
        Err(error) if !host.grants(case.who.plugin()).await?.is_empty() => Err(error),
        _ => Ok(happened),
    }
}

/// A permission that this program has written itself.
pub(super) fn permission(text: &str) -> Result<Permission, Error> {
    text.parse().map_err(|error: PermissionError| Error::new(ErrorCode::InvalidPermission, error.to_string()))
}

async fn inside(host: &Host, world: &World, case: &Case) -> Result<Seen, Error> {
    let plugin = case.who.plugin();
    let enforced = ready(host, plugin).await?;
    let (tool, arguments) = match &case.who {
        Who::Compiled(words) => ("try", json!({ "words": words })),
        Who::Script(tool) => (*tool, json!({})),
    };
    let arguments = to_raw_value(&arguments)
        .map_err(|error| Error::new(ErrorCode::Internal, "the words of an act").with_source(error))?;
    let options = CallOptions { timeout: Some(case.timeout), ..CallOptions::default() };
    let mut events = host.subscribe();
    let begun = Instant::now();
    let mut answered = host.call_with(plugin, tool, &arguments, &options).await;
    // Refused before the plugin heard of it: the audit trail waits for a slow disk.
    if answered.as_ref().is_err_and(|error| error.code() == ErrorCode::Busy) {
        tokio::time::sleep(START_PAUSE).await;
        answered = host.call_with(plugin, tool, &arguments, &options).await;
    }
    let mut seen = Seen { elapsed: begun.elapsed(), enforced, ..Seen::default() };
    match answered {
        Ok(result) => {
            seen.output = serde_json::from_str(result.get()).unwrap_or_else(|_| result.get().to_owned())
        }
        Err(error) if error.code() == ErrorCode::Busy => return Err(error),
        Err(error) => (seen.output, seen.stopped) = (error.message().to_owned(), Some(error.code())),
    }
    // Where the kernel refuses memory to a program instead of ending it, it may live on.
    if case.ends || seen.output.contains(ENDED) {
        let end = tokio::time::timeout(ENDED_WITHIN, end_of(host, plugin, &mut events));
        seen.ended = end.await.unwrap_or(false);
        seen.quarantined = is_quarantined(host, plugin).await?;
        world.take_mark_away();
        tokio::time::sleep(MARK_WAIT).await;
    }
    if let Who::Script(_) = case.who
        && let Some(words) = last_words(host, plugin, begun.elapsed()).await?
    {
        seen.last_words = words;
    }
    Ok(seen)
}

/// Whether a person must release it. What happens to a plugin is recorded a moment after it has happened.
async fn is_quarantined(host: &Host, plugin: &str) -> Result<bool, Error> {
    for _ in 0..STARTS {
        match host.show(plugin).await?.state {
            PluginState::Quarantined => return Ok(true),
            PluginState::Active => tokio::time::sleep(MARK_WAIT).await,
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// What it last wrote to its log, if that was within this time: a shell that cannot fork says so, and ends.
async fn last_words(host: &Host, plugin: &str, within: Duration) -> Result<Option<String>, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = i64::try_from(now.saturating_sub(within).as_millis()).unwrap_or(i64::MAX);
    let lines = host.logs(plugin, LOG_LINES).await?;
    let own = lines.into_iter().rev().find(|line| line.source == LogSource::Stderr && line.at_ms >= since);
    Ok(own.map(|line| line.message))
}

/// Whether the plugin has come to its end; waits for it.
async fn end_of(host: &Host, plugin: &str, events: &mut Subscription) -> bool {
    while let Some(heard) = events.next().await {
        match heard {
            Heard::Event(Event { plugin: Some(whose), kind: EventKind::Ended { .. }, .. })
                if whose.as_str() == plugin =>
            {
                return true;
            }
            // Its end may be among what was missed.
            Heard::Missed(_) if host.show(plugin).await.is_ok_and(|details| !details.running) => return true,
            _ => {}
        }
    }
    false
}

/// Starts the plugin if it does not run, as a person does who activates it again. Returns what is enforced.
pub(super) async fn ready(host: &Host, plugin: &str) -> Result<BTreeMap<String, EnforcedLayer>, Error> {
    let mut tried = 0;
    loop {
        match host.activate(plugin).await {
            Ok(_) => return Ok(host.show(plugin).await?.enforced),
            Err(error) if tried >= STARTS => return Err(error),
            Err(_) => tokio::time::sleep(START_PAUSE).await,
        }
        tried += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::demo::{cases, samples};
    use ringfence::plugin::Consent;
    use ringfence::{Config, Home};

    /// What the sandbox does not hold: the act is granted, as if a layer were missing.
    #[test]
    fn what_is_not_held_is_not_called_held() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = World::make().unwrap();
        runtime.block_on(async {
            let home = Home::at(world.path("home"));
            let host = Host::builder().home(home).config(Config::default()).build().await.unwrap();
            host.install(samples::stubborn(&world).unwrap(), Consent::Only(Vec::new())).await.unwrap();
            let mut case = cases::all(&world, true).into_iter().find(|case| case.name == "child").unwrap();
            let verdict = judge(&host, &world, &case).await.unwrap();
            assert!(verdict.held && verdict.outside == Some(true), "{verdict:?}");

            case.outside = Outside::Never;
            case.held_by = "a layer that is not there";
            assert!(judge(&host, &world, &case).await.unwrap().harm.unwrap().contains("not in force"));
            case.held_by = "seccomp";
            let happens_nowhere = Outside::Elsewhere(vec!["read".to_owned(), "/nowhere".to_owned()]);
            case.outside = happens_nowhere;
            assert!(judge(&host, &world, &case).await.unwrap().harm.unwrap().contains("nothing was shown"));

            case.outside = Outside::Never;
            let open = [permission("subprocess:execute").unwrap()];
            host.grant("stubborn", &open).await.unwrap();
            let verdict = judge(&host, &world, &case).await.unwrap();
            assert!(!verdict.held, "{verdict:?}");
            assert_eq!(verdict.harm.as_deref(), Some("the child has left its mark"));
            host.shutdown().await;
        });
    }

    #[test]
    fn a_reason_is_one_short_clean_line() {
        assert_eq!(
            reason("x failed: No such file or directory (os error 2)\nmore"),
            "No such file or directory"
        );
        assert_eq!(reason("\x1b[31mred"), " [31mred");
        assert_eq!(reason(&"x".repeat(100)).len(), REASON_CHARS);
        assert_eq!(reason(""), "");
    }
}
