//! What needs somebody, in one card ahead of everything else: what is not well, what waits, and what happened in the last day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use maud::{Markup, html};
use ringfence::plugin::PluginSummary;
use ringfence_api::{PluginName, PluginState};

use super::plugins::{in_state, with_upgrade};
use super::seen::{Question, Seen};
use super::text::{long, shown};
use super::{ROOT, part};
use crate::api::Failure;

/// What happened counts for so long: a day.
const RECENT: Duration = Duration::from_secs(24 * 60 * 60);
/// Lines of one kind; what is beyond them is counted.
const LINES_MAX: usize = 5;

/// What needs somebody.
pub(super) struct Attention {
    /// Why the host is not well, but for what the plugins themselves say.
    ailments: Vec<String>,
    /// Versions that wait, by plugin.
    upgrades: BTreeMap<PluginName, (String, String)>,
    /// Who ended unasked, how often, and how it was the last time.
    crashes: Vec<(PluginName, u64, String)>,
    /// Who was refused something, and how many different acts.
    denials: Vec<(PluginName, u64)>,
}

impl Attention {
    /// Of these plugins, which are all that whoever asks may see.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn of(seen: &Seen, all: &[PluginSummary]) -> Result<Self, Failure> {
        let found = seen.host.attention(RECENT).await?;
        let own = seen.caller().plugin.as_ref();
        let is_ours = |plugin: &PluginName| own.is_none_or(|own| own == plugin);
        let upgrades = found.upgrades.into_iter().filter(|one| is_ours(&one.plugin));
        // Its state says already of who is errored or in quarantine that and why it ended.
        let told: BTreeSet<&PluginName> =
            all.iter().filter(|one| is_unwell(one)).map(|one| &one.name).collect();
        let crashes =
            found.crashes.into_iter().filter(|one| is_ours(&one.plugin) && !told.contains(&one.plugin));
        let denials = found.denials.into_iter().filter(|one| is_ours(&one.plugin));
        Ok(Self {
            ailments: ailments(seen, &told).await?,
            upgrades: upgrades.map(|one| (one.plugin, (one.version, one.waiting))).collect(),
            crashes: crashes.map(|one| (one.plugin, one.count, one.last)).collect(),
            denials: denials.map(|one| (one.plugin, one.kinds)).collect(),
        })
    }

    /// The version of a plugin that waits.
    pub(super) fn waiting(&self, plugin: &PluginName) -> Option<&str> {
        self.upgrades.get(plugin).map(|(_, waiting)| waiting.as_str())
    }

    /// Of how many plugins a version waits.
    pub(super) fn upgrades(&self) -> usize {
        self.upgrades.len()
    }

    /// What is wrong with the host itself.
    pub(super) fn ailments(&self) -> Markup {
        html! { @for ailment in &self.ailments { div.notice.warned { p { (long(ailment)) } } } }
    }

    /// All of it.
    pub(super) fn card(&self, all: &[PluginSummary]) -> Markup {
        let lines = [
            states(all, PluginState::Quarantined),
            states(all, PluginState::Errored),
            self.crashed(),
            states(all, PluginState::Installed),
            self.waits(),
            self.refused(),
        ];
        let is_calm = lines.iter().all(|of_one_kind| of_one_kind.is_empty());
        html! {
            (self.ailments())
            @if is_calm {
                @if self.ailments.is_empty() {
                    p.calm { "Nothing needs you: nothing waits, and in the last day nothing ended unasked and no denial is known." }
                }
            } @else {
                section.card aria-labelledby="needs" {
                    h2 id="needs" { "Needs you" }
                    ul.needs { @for line in lines.iter().flatten() { li { (line) } } }
                }
            }
        }
    }

    fn crashed(&self) -> Vec<Markup> {
        let line = |(plugin, count, last): &(PluginName, u64, String)| {
            let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
            html! {
                span.kind { span.badge.bad { "ended" } }
                div {
                    (link(plugin, "/activity")) " ended unasked " (times) " in the last day."
                    p.faint { "The last time: " (shown(last.lines().next().unwrap_or_default())) }
                }
            }
        };
        some(&self.crashes, line, |more| html! { (more) " more plugins ended unasked in the last day." })
    }

    fn waits(&self) -> Vec<Markup> {
        let all: Vec<_> = self.upgrades.iter().collect();
        let line = |(plugin, (version, waiting)): &(&PluginName, &(String, String))| {
            html! {
                span.kind { span.badge.wait { "upgrade waits" } }
                div {
                    "Version " (shown(waiting)) " of " (link(plugin, "/grants")) " asks for more and waits. "
                    span.faint { (shown(version)) " stays in place until you decide." }
                }
            }
        };
        some(&all, line, |more| html! { a href=(with_upgrade()) { (more) " more upgrades" } " wait." })
    }

    fn refused(&self) -> Vec<Markup> {
        let line = |(plugin, kinds): &(PluginName, u64)| {
            let what = if *kinds == 1 { "one act".to_owned() } else { format!("{kinds} different acts") };
            html! {
                span.kind { span.badge.idle { "denials" } }
                div { (link(plugin, "/denials")) " was refused " (what) " in the last day." }
            }
        };
        some(&self.denials, line, |more| {
            html! { a href=(part::address("/audit", &[("event", "denial")])) { (more) " more plugins" } " were refused something." }
        })
    }
}

/// Whether the state of a plugin says that something is wrong.
fn is_unwell(plugin: &PluginSummary) -> bool {
    matches!(plugin.state, PluginState::Errored | PluginState::Quarantined)
}

/// Why the host is not well, as its health says, but for those plugins.
async fn ailments(seen: &Seen, told: &BTreeSet<&PluginName>) -> Result<Vec<String>, Failure> {
    let health = seen.ask("health", Question::default()).await?.document;
    let reasons = health.get("reasons").and_then(|all| all.as_array()).into_iter().flatten();
    let reasons = reasons.filter_map(|reason| reason.as_str());
    let of_a_plugin = |reason: &str| {
        let name = reason.split_once(" is ").and_then(|(name, _)| name.parse::<PluginName>().ok());
        name.is_some_and(|name| told.contains(&name))
    };
    Ok(reasons.filter(|reason| !of_a_plugin(reason)).map(str::to_owned).collect())
}

/// Lines about those that are in a state.
fn states(all: &[PluginSummary], state: PluginState) -> Vec<Markup> {
    let found: Vec<&PluginSummary> = all.iter().filter(|plugin| plugin.state == state).collect();
    let line = |plugin: &&PluginSummary| {
        let page = if state == PluginState::Installed { "/grants" } else { "" };
        html! {
            span.kind { (part::state(state)) }
            div {
                (link(&plugin.name, page)) " " (shown(&plugin.version))
                @if let Some(about) = plugin.reason.as_ref().or(plugin.description.as_ref()) { p.faint { (shown(about)) } }
            }
        }
    };
    some(&found, line, |more| html! { a href=(in_state(state)) { (more) " more" } " like that." })
}

/// The first of them, a line each, and how many more there are.
fn some<T>(all: &[T], line: impl Fn(&T) -> Markup, more: impl Fn(usize) -> Markup) -> Vec<Markup> {
    let mut lines: Vec<Markup> = all.iter().take(LINES_MAX).map(line).collect();
    if all.len() > LINES_MAX {
        lines.push(html! { span.kind {} div { (more(all.len() - LINES_MAX)) } });
    }
    lines
}

fn link(plugin: &PluginName, page: &str) -> Markup {
    html! { a href={ (ROOT) "/plugins/" (plugin) (page) } { (plugin) } }
}
