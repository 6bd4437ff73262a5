//! Pieces that pages are put together from.

use maud::{Markup, html};
use ringfence_api::PluginState;

use super::text::{SHORT_MAX_CHARS, plain, shown};
use super::{ROOT, asset};

/// How often a browser asks again for what no event tells of, in milliseconds.
pub(crate) const EVERY_MS: u32 = 3_000;

/// A state as a badge: a word, and a colour for those who see it.
pub(crate) fn state(state: PluginState) -> Markup {
    let (class, words) = match state {
        PluginState::Active => ("good", "active"),
        PluginState::Errored => ("bad", "errored"),
        PluginState::Quarantined => ("bad", "quarantined"),
        PluginState::Installed => ("wait", "waits for consent"),
        PluginState::Inactive => ("idle", "inactive"),
        PluginState::Discovered => ("idle", "discovered"),
    };
    html! { span class={ "badge " (class) } { (words) } }
}

/// Nothing is here, and what to do about it.
pub(crate) fn empty(what: &str, next: &Markup) -> Markup {
    html! { div.empty { (asset::mark()) p { strong { (what) } } (next) } }
}

/// Who made a package, as far as that is known.
pub(crate) fn publisher(publisher: &str) -> Markup {
    match (publisher, publisher.strip_prefix("unsigned:")) {
        ("unsigned", _) | (_, Some("")) => html! { "somebody who gives no name (not signed)" },
        (_, Some(name)) => html! { (shown(name)) " (not signed)" },
        (_, None) => html! { (shown(publisher)) },
    }
}

/// A link to a plugin.
pub(crate) fn plugin(name: &str) -> Markup {
    html! { a href={ (ROOT) "/plugins/" (name) } { (name) } }
}

/// Links to the pages of a list: `address` is its path with the rest of the query, ending in `&` or `?`.
pub(crate) fn pager(page: usize, pages: usize, address: &str) -> Markup {
    html! {
        @if pages > 1 {
            nav.pager aria-label="Pages" {
                @if page > 1 { a rel="prev" href={ (address) "page=" (page - 1) } { "← Previous" } }
                span { "Page " (page) " of " (pages) }
                @if page < pages { a rel="next" href={ (address) "page=" (page + 1) } { "Next →" } }
            }
        }
    }
}

/// A link to a plugin by a name that a record has: a text of whoever wrote it, and perhaps of nobody's any more.
pub(crate) fn named(name: &str) -> Markup {
    match name.parse::<ringfence_api::PluginName>() {
        Ok(name) => plugin(name.as_str()),
        Err(_) => html! { (shown(name)) },
    }
}

/// What stands in a field that was filled in before.
pub(crate) fn value(text: &str) -> String {
    plain(text, SHORT_MAX_CHARS).0
}

/// An address below `/dashboard`, with those fields of a query that are not empty.
pub(crate) fn address(path: &str, query: &[(&str, &str)]) -> String {
    let said: Vec<_> = query.iter().filter(|(_, value)| !value.is_empty()).collect();
    if said.is_empty() {
        return format!("{ROOT}{path}");
    }
    format!("{ROOT}{path}?{}", serde_urlencoded::to_string(said).unwrap_or_default())
}

/// Links of a list that is read from its end: back to the newest, and on to what is older, with what to call that.
pub(crate) fn older(newest: Option<String>, older: Option<(&str, String)>) -> Markup {
    html! {
        @if newest.is_some() || older.is_some() {
            nav.pager aria-label="Pages" {
                @if let Some(newest) = newest { a href=(newest) { "← Newest" } }
                @if let Some((words, older)) = older { a rel="next" href=(older) { (words) } }
            }
        }
    }
}
