//! All plugins: how they are at a glance, and each of them.

use std::sync::Arc;

use maud::{Markup, html};
use ringfence::plugin::PluginSummary;
use ringfence_api::PluginState;

use super::attention::Attention;
use super::layout::Section;
use super::seen::Seen;
use super::text::shown;
use super::view::Page;
use super::{ROOT, part};
use crate::api::Failure;

/// Plugins of one page.
const PAGE: usize = 50;

/// States in the order in which they want to be looked at.
const STATES: [PluginState; 5] = [
    PluginState::Quarantined,
    PluginState::Errored,
    PluginState::Installed,
    PluginState::Active,
    PluginState::Inactive,
];

pub(super) async fn list(seen: Arc<Seen>) -> Result<Page, Failure> {
    let mut all = seen.host.list().await?;
    if let Some(own) = &seen.caller().plugin {
        all.retain(|plugin| plugin.name == *own);
    }
    let wanted = Wanted::of(&seen);
    let attention = Attention::of(&seen, &all).await?;
    let body = html! {
        h1 { "Plugins" }
        @if all.is_empty() {
            div id="attention" data-live { (attention.ailments()) }
            (none(&seen))
        } @else {
            @if wanted.is_all() { div id="attention" data-live { (attention.card(&all)) } }
            div id="plugins" data-live { (glance(&all, &attention, &wanted)) (found(&all, &attention, &wanted)) }
        }
    };
    Ok(Page::new("Plugins", Section::Plugins, body))
}

/// The address of those that are in a state.
pub(super) fn in_state(state: PluginState) -> String {
    format!("{ROOT}?state={}", state.as_str())
}

/// The address of those of which a version waits for consent.
pub(super) fn with_upgrade() -> String {
    format!("{ROOT}?state={UPGRADE}")
}

/// What narrows a list to those of which a version waits, where else a state stands.
const UPGRADE: &str = "upgrade";

/// Which of them a page shows.
struct Wanted {
    text: String,
    state: Option<PluginState>,
    /// Only those of which a version waits.
    upgrade: bool,
    page: usize,
}

impl Wanted {
    fn of(seen: &Seen) -> Self {
        let state = seen.query("state").unwrap_or_default();
        Self {
            text: seen.query("q").unwrap_or_default(),
            state: STATES.into_iter().find(|one| one.as_str() == state),
            upgrade: state == UPGRADE,
            page: seen.query("page").and_then(|page| page.parse().ok()).unwrap_or(1).max(1),
        }
    }

    /// Whether it is the list of all, from its beginning.
    fn is_all(&self) -> bool {
        self.text.is_empty() && self.state().is_empty() && self.page == 1
    }

    fn state(&self) -> &'static str {
        if self.upgrade { UPGRADE } else { self.state.map_or("", PluginState::as_str) }
    }

    fn has(&self, plugin: &PluginSummary, attention: &Attention) -> bool {
        let text = self.text.to_lowercase();
        let described = plugin.description.as_deref().unwrap_or_default().to_lowercase();
        self.state.is_none_or(|state| plugin.state == state)
            && (!self.upgrade || attention.waiting(&plugin.name).is_some())
            && (plugin.name.as_str().contains(&text) || described.contains(&text))
    }

    /// The address of this list, for another page of it.
    fn address(&self) -> String {
        let fields = [("q", self.text.as_str()), ("state", self.state())];
        let query = serde_urlencoded::to_string(fields).unwrap_or_default();
        format!("{ROOT}?{query}&")
    }
}

fn none(seen: &Seen) -> Markup {
    part::empty(
        "No plugin is installed yet.",
        &html! {
            @if seen.may("installPlugin") {
                p { a.button.main href={ (ROOT) "/install" } { "Install a plugin" } }
            }
            p.faint { "Or on the command line: " code { "ringfence install PATH" } }
        },
    )
}

/// How many are in each state; each number leads to those.
fn glance(all: &[PluginSummary], attention: &Attention, wanted: &Wanted) -> Markup {
    let count = |state| all.iter().filter(|plugin| plugin.state == state).count();
    let upgrades = attention.upgrades();
    html! {
        ul.glance aria-label="How many are in which state" {
            li { a href=(ROOT) aria-current=[wanted.state().is_empty().then_some("true")] { strong { (all.len()) } " all" } }
            @if upgrades > 0 {
                li {
                    a href=(with_upgrade()) aria-current=[wanted.upgrade.then_some("true")] {
                        strong { (upgrades) } " " span.badge.wait { @if upgrades == 1 { "upgrade waits" } @else { "upgrades wait" } }
                    }
                }
            }
            @for state in STATES {
                @if count(state) > 0 {
                    li {
                        a href=(in_state(state))
                            aria-current=[(wanted.state == Some(state)).then_some("true")] {
                            strong { (count(state)) } " " (part::state(state))
                        }
                    }
                }
            }
        }
    }
}

fn found(all: &[PluginSummary], attention: &Attention, wanted: &Wanted) -> Markup {
    let matching: Vec<&PluginSummary> = all.iter().filter(|plugin| wanted.has(plugin, attention)).collect();
    let pages = matching.len().div_ceil(PAGE).max(1);
    let page = wanted.page.min(pages);
    let shown_now = matching.iter().skip((page - 1) * PAGE).take(PAGE);
    html! {
        form.search role="search" method="get" action=(ROOT) {
            label for="q" { "Search" }
            input id="q" name="q" type="search" value=(part::value(&wanted.text)) maxlength="100"
                placeholder="Name or description";
            @if !wanted.state().is_empty() { input type="hidden" name="state" value=(wanted.state()); }
            button type="submit" { "Search" }
        }
        @if matching.is_empty() {
            (part::empty("No plugin is like that.", &html! { p { a href=(ROOT) { "Show all" } } }))
        } @else {
            table.list {
                caption.hidden { "Plugins" }
                thead { tr { th scope="col" { "Plugin" } th scope="col" { "State" } th scope="col" { "Version" } th scope="col" { "Runtime" } } }
                tbody { @for plugin in shown_now { (row(plugin, attention.waiting(&plugin.name))) } }
            }
            (part::pager(page, pages, &wanted.address()))
        }
    }
}

fn row(plugin: &PluginSummary, waiting: Option<&str>) -> Markup {
    html! {
        tr {
            th scope="row" {
                (part::plugin(plugin.name.as_str()))
                @if let Some(description) = &plugin.description { p.faint { (shown(description)) } }
            }
            td data-label="State" {
                (part::state(plugin.state))
                @if let Some(reason) = &plugin.reason { p.faint { (shown(reason)) } }
            }
            td data-label="Version" {
                (shown(&plugin.version))
                @if let Some(waiting) = waiting { p.faint { (shown(waiting)) " waits for consent" } }
            }
            td data-label="Runtime" { (plugin.runtime.to_string()) }
        }
    }
}
