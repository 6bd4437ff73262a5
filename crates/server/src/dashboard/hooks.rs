//! Who takes part in which event, in the order in which they are asked, and how they do.

use std::sync::Arc;

use maud::{Markup, html};
use ringfence::hooks::{BreakerState, HookInfo};
use ringfence_api::{HookKind, OnFailure};

use super::layout::Section;
use super::part;
use super::seen::Seen;
use super::text::{micros, shown, span};
use super::view::Page;
use crate::api::Failure;

pub(super) async fn list(seen: Arc<Seen>) -> Result<Page, Failure> {
    let hooks = seen.host.hooks().await?;
    let body = html! {
        h1 { "Hooks" }
        p.intro {
            "An event passes through the plugins from the top of its list to the bottom: those that change it, then those that may "
            "block it. Observers see what has come of it."
        }
        div id="hooks" data-live data-every=(part::EVERY_MS) {
            @if hooks.is_empty() {
                (part::empty("No active plugin takes part in any event.", &html! {
                    p.faint { "A plugin names its " code { "hooks" } " in its manifest, and takes part once it is granted them and active." }
                }))
            }
            @for of_event in hooks.chunk_by(|one, next| one.event == next.event) {
                @if let Some(first) = of_event.first() { (event(&first.event, of_event)) }
            }
        }
    };
    Ok(Page::new("Hooks", Section::Hooks, body))
}

fn event(name: &str, handlers: &[HookInfo]) -> Markup {
    html! {
        section {
            h2 { code { (shown(name)) } }
            table.list {
                caption.hidden { "Handlers of " (shown(name)) ", in the order in which they are asked" }
                thead {
                    tr {
                        th.number scope="col" { "Order" }
                        th scope="col" { "Plugin" }
                        th scope="col" { "Does" }
                        th scope="col" { "When it fails" }
                        th.number scope="col" { "Asked" }
                        th.number scope="col" { "Half within" }
                        th.number scope="col" { "99 % within" }
                        th scope="col" { "Breaker" }
                    }
                }
                tbody { @for (index, handler) in handlers.iter().enumerate() { (row(index + 1, handler)) } }
            }
        }
    }
}

fn row(place: usize, hook: &HookInfo) -> Markup {
    let within = |us: Option<u64>| us.map_or_else(|| "—".to_owned(), micros);
    html! {
        tr {
            td.number data-label="Order" { (place) }
            th scope="row" {
                (part::plugin(hook.plugin.as_str()))
                p.faint {
                    "Priority " (hook.priority)
                    @if hook.registered_at_run_time { ", registered while it runs" }
                }
            }
            td data-label="Does" { (kind(hook.kind)) }
            td data-label="When it fails" {
                (on_failure(hook.on_failure))
                p.faint { "after " (span(hook.timeout_ms)) " at most" }
            }
            td.number data-label="Asked" {
                (hook.latency.count)
                @if hook.latency.failures > 0 { " " span.badge.bad { (hook.latency.failures) " failed" } }
            }
            td.number data-label="Half within" { (within(hook.latency.p50_us)) }
            td.number data-label="99 % within" { (within(hook.latency.p99_us)) }
            td data-label="Breaker" { (breaker(hook.breaker)) }
        }
    }
}

const fn kind(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Mutator => "changes it",
        HookKind::Guard => "may block it",
        HookKind::Observer => "sees it",
    }
}

const fn on_failure(what: OnFailure) -> &'static str {
    match what {
        OnFailure::Block => "the event is blocked",
        OnFailure::Skip => "it is passed over",
    }
}

fn breaker(state: BreakerState) -> Markup {
    let (class, words) = match state {
        BreakerState::Closed => ("good", "closed: asked"),
        BreakerState::Open => ("bad", "open: left alone"),
        BreakerState::HalfOpen => ("wait", "half open: tried"),
    };
    html! { span class={ "badge " (class) } { (words) } }
}
