//! One plugin at a glance: what it is, what it may, what holds for it.

use std::sync::Arc;

use maud::{Markup, html};
use ringfence::plugin::{LimitsInfo, PluginDetails};

use super::super::seen::Seen;
use super::super::text::{bytes, long, shown, span, time};
use super::super::view::Page;
use super::super::{ROOT, part};
use super::Tab;
use crate::api::Failure;

pub(crate) async fn page(seen: Arc<Seen>) -> Result<Page, Failure> {
    let details = seen.host.show(seen.name()).await?;
    let body = html! {
        @if let Some(description) = &details.manifest.description { p.lead { (shown(description)) } }
        (waits(&details))
        div.columns {
            div {
                (may(&seen, &details))
                (tools(&details))
            }
            div {
                (limits(&details.limits))
                (about(&details))
            }
        }
        @if seen.may("uninstallPlugin") {
            p { a.button.danger href={ (ROOT) "/plugins/" (details.name) "/uninstall" } { "Uninstall …" } }
        }
    };
    Ok(super::page(&seen, &details, Tab::Overview, &body))
}

/// A version that waits for consent.
fn waits(details: &PluginDetails) -> Markup {
    let address = format!("{ROOT}/plugins/{}/grants", details.name);
    html! {
        @if let Some(pending) = &details.pending {
            div.notice.warned {
                p { "Version " (shown(&pending.version)) " waits: " (super::why_it_waits(pending)) " " a href=(address) { "Look at what it asks for" } "." }
            }
        }
    }
}

/// What it may do, in short.
fn may(seen: &Seen, details: &PluginDetails) -> Markup {
    html! {
        section.card aria-labelledby="may" id="may-card" data-live {
            h2 id="may" { "It may" }
            @if details.grants.is_empty() {
                p.faint { "Nothing beyond its own data directory." }
            } @else {
                ul.plain { @for grant in &details.grants { li { (shown(&grant.meaning)) (grant.enforced.remark()) } } }
            }
            @if !details.denials.is_empty() && seen.may("pluginDenials") {
                p { a href={ (ROOT) "/plugins/" (details.name) "/denials" } { "What was refused (" (details.denials.len()) ")" } }
            }
        }
    }
}

fn about(details: &PluginDetails) -> Markup {
    let manifest = &details.manifest;
    html! {
        section.card aria-labelledby="about" {
            h2 id="about" { "About" }
            dl.facts {
                dt { "Made by" } dd { (part::publisher(&details.publisher)) }
                @if let Some(license) = &manifest.license { dt { "Licence" } dd { (shown(license)) } }
                dt { "Runtime" } dd { (details.runtime.to_string()) }
                dt { "Installed" } dd { (time(details.installed_at_ms)) }
                dt { "From" } dd { code { (shown(&details.source)) } }
                dt { "Package" } dd { code.digest { (shown(&details.digest)) } }
                @if details.recent_crashes > 0 {
                    dt { "Crashes, last 10 min" } dd { (details.recent_crashes) }
                }
            }
        }
    }
}

fn tools(details: &PluginDetails) -> Markup {
    html! {
        @if !details.manifest.tools.is_empty() {
            section.card aria-labelledby="tools" {
                h2 id="tools" { "Tools" }
                dl.facts {
                    @for tool in &details.manifest.tools {
                        dt { code { (shown(&tool.name)) } }
                        dd { (long(tool.description.as_deref().unwrap_or("—"))) }
                    }
                }
            }
        }
    }
}

fn limits(limits: &LimitsInfo) -> Markup {
    let size = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), bytes);
    html! {
        section.card aria-labelledby="limits" {
            h2 id="limits" { "Limits" }
            dl.facts {
                dt { "Memory" } dd { (size(limits.memory_bytes)) }
                dt { "CPU" } dd { @match limits.cpu_percent { Some(cpu) => { (cpu) " % of one core" } None => { "none" } } }
                dt { "Processes" } dd { @match limits.processes { Some(most) => { (most) } None => { "none" } } }
                dt { "Start" } dd { (span(limits.init_timeout_ms)) }
                dt { "Call" } dd { (span(limits.call_timeout_ms)) }
                dt { "Largest file" } dd { (size(limits.file_size_bytes)) }
                dt { "Own data" } dd { (bytes(limits.data_bytes)) }
                @for (name, place) in &limits.by_policy {
                    dt { (name) } dd { "lowered by the policy, " (shown(place)) }
                }
            }
        }
    }
}
