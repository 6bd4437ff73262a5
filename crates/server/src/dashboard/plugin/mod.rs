//! One plugin: what is common to its pages.

pub(super) mod activity;
mod chart;
pub(super) mod config;
pub(super) mod denials;
pub(super) mod life;
pub(super) mod logs;
pub(super) mod overview;
pub(super) mod permissions;
pub(super) mod resources;

use maud::{Markup, html};
use ringfence::plugin::{PendingUpgrade, PluginDetails};
use ringfence_api::PluginState;

use super::seen::Seen;
use super::text::shown;
use super::view::Page;
use super::{ROOT, layout, part};

/// The pages of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tab {
    Overview,
    Permissions,
    Configuration,
    Resources,
    Denials,
    Activity,
    Logs,
    Versions,
}

/// What the tabs lead to: path below that of the plugin, words, and the operation that one must be allowed.
const TABS: [(Tab, &str, &str, &str); 8] = [
    (Tab::Overview, "", "Overview", "showPlugin"),
    (Tab::Permissions, "/grants", "Permissions", "getGrants"),
    (Tab::Configuration, "/config", "Configuration", "getConfig"),
    (Tab::Resources, "/resources", "Resources", "pluginResources"),
    (Tab::Denials, "/denials", "Denials", "pluginDenials"),
    (Tab::Activity, "/activity", "Activity", "pluginActivity"),
    (Tab::Logs, "/logs", "Logs", "pluginLogs"),
    (Tab::Versions, "/upgrade", "Versions", "showPlugin"),
];

/// Why a version waits for consent, as the end of a sentence.
pub(super) fn why_it_waits(pending: &PendingUpgrade) -> Markup {
    html! {
        @match &pending.publisher_change {
            Some(change) => {
                "it is by another publisher, " (part::publisher(&change.to_publisher)) " instead of " (part::publisher(&change.from_publisher))
                @if !pending.wider.is_empty() { ", and asks for more than is allowed" } "."
            }
            None => { "it asks for more than is allowed." }
        }
    }
}

/// One page of a plugin: its head, its tabs, and what the page is about.
pub(crate) fn page(seen: &Seen, details: &PluginDetails, tab: Tab, body: &Markup) -> Page {
    let name = details.name.as_str();
    let whole = html! {
        p.path { a href=(ROOT) { "← All plugins" } }
        (head(seen, details, tab))
        nav.tabs aria-label="Pages of this plugin" {
            @for (known, path, words, operation) in TABS {
                @if seen.may(operation) {
                    a href={ (ROOT) "/plugins/" (name) (path) } aria-current=[(known == tab).then_some("page")] {
                        (words)
                    }
                }
            }
        }
        (body)
    };
    let words = TABS.iter().find(|(known, ..)| *known == tab).map_or("", |(_, _, words, _)| words);
    Page::new(format!("{name} · {words}"), layout::Section::Plugins, whole)
}

/// Its name, its state and why, and the one thing to do about it.
fn head(seen: &Seen, details: &PluginDetails, tab: Tab) -> Markup {
    let reason = details.reason.as_deref().and_then(|reason| reason.lines().next());
    html! {
        div.head id="head" data-live {
            div {
                h1 { (details.name) " " small { (shown(&details.version)) } }
                p {
                    (part::state(details.state))
                    @if details.running { " " span.badge.good { "running" } }
                }
                @if let Some(reason) = reason { p.why { (shown(reason)) } }
                @if let Some(policy) = &details.policy { p.why { (shown(policy)) } }
            }
            div.acts { (switch(seen, details, tab)) }
        }
    }
}

fn switch(seen: &Seen, details: &PluginDetails, tab: Tab) -> Markup {
    let name = details.name.as_str();
    let button = |act: &str, class: &str, words: &str| {
        seen.form(&format!("/plugins/{name}/{act}"), html! { button class=(class) type="submit" { (words) } })
    };
    html! {
        @match details.state {
            PluginState::Active => {
                @if seen.may("deactivatePlugin") { (button("deactivate", "", "Deactivate")) }
            }
            PluginState::Inactive | PluginState::Errored => {
                @if seen.may("activatePlugin") { (button("activate", "main", "Activate")) }
            }
            PluginState::Quarantined => {
                @if seen.may("setGrants") { (button("activate", "danger", "Release and activate")) }
            }
            PluginState::Installed if seen.may("setGrants") && tab != Tab::Permissions => {
                a.button.main href={ (ROOT) "/plugins/" (name) "/grants" } { "Look at what it asks for" }
            }
            PluginState::Installed | PluginState::Discovered => {}
        }
    }
}
