//! Pieces that pages are put together from.

use maud::{Markup, html};
use ringfence_api::PluginState;

use super::ROOT;

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
    html! { div.empty { p { strong { (what) } } (next) } }
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
