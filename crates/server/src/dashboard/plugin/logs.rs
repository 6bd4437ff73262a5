//! The log of one plugin, from its end, with a search.

use std::sync::Arc;

use maud::{Markup, html};
use ringfence::lifecycle::{LogFilter, LogLine, LogPlace, LogSource};

use super::super::part::{self, address};
use super::super::seen::Seen;
use super::super::text::{long, shown, time};
use super::super::view::Page;
use super::Tab;
use crate::api::Failure;

/// Lines of one page.
const PAGE: usize = 100;

pub(crate) async fn page(seen: Arc<Seen>) -> Result<Page, Failure> {
    let details = seen.host.show(seen.name()).await?;
    let path = format!("/plugins/{}/logs", details.name);
    let wanted = seen.query("q").unwrap_or_default();
    let before: Option<LogPlace> = seen.query("before").and_then(|before| before.parse().ok());
    let filter = LogFilter { text: wanted.clone(), before };
    let found = seen.host.log_page(details.name.as_str(), filter, PAGE).await?;
    let newest = before.map(|_| address(&path, &[("q", &wanted)]));
    let older = found.before.map(|place| {
        let words = if found.lines.len() < PAGE { "Search further back →" } else { "Older →" };
        (words, address(&path, &[("q", &wanted), ("before", &place.to_string())]))
    });
    let body = html! {
        form.search role="search" method="get" action=(address(&path, &[])) {
            label for="q" { "Search the log" }
            input id="q" name="q" type="search" value=(part::value(&wanted)) maxlength="200" placeholder="Search the log";
            button type="submit" { "Search" }
            @if !wanted.is_empty() { a href=(address(&path, &[])) { "Show all" } }
        }
        div id="log" data-live[before.is_none()] {
            @if found.lines.is_empty() { (none(&wanted, before, older.is_some())) } @else { (table(&found.lines)) }
            (part::older(newest, older))
        }
    };
    Ok(super::page(&seen, &details, Tab::Logs, &body))
}

fn none(wanted: &str, before: Option<LogPlace>, goes_on: bool) -> Markup {
    let next = html! { p.faint { "What it writes to standard error or sends as a log message stands here as it comes." } };
    match (wanted.is_empty(), before, goes_on) {
        (_, _, true) => part::empty("No line is like that so far.", &html! {}),
        (true, None, _) => part::empty("It has written nothing yet.", &next),
        (true, Some(_), _) => part::empty("Nothing older is kept.", &html! {}),
        (false, ..) => part::empty("No line is like that.", &html! {}),
    }
}

fn table(lines: &[LogLine]) -> Markup {
    html! {
        p.faint { "The newest line first: what was written together reads from below." }
        table.list.log {
            caption.hidden { "Lines of the log, the newest first" }
            thead { tr { th scope="col" { "When" } th scope="col" { "From" } th scope="col" { "Line" } } }
            tbody {
                @for line in lines {
                    tr {
                        td data-label="When" { (time(line.at_ms)) }
                        td data-label="From" { (from(line)) }
                        td { code { (long(&line.message)) } }
                    }
                }
            }
        }
    }
}

fn from(line: &LogLine) -> Markup {
    let source = match line.source {
        LogSource::Stderr => "stderr",
        LogSource::Log => "log",
        LogSource::Host => "host",
    };
    let class = match line.level.as_deref() {
        Some("error") => "bad",
        Some("warning") => "wait",
        _ => "idle",
    };
    html! { span class={ "badge " (class) } { (line.level.as_deref().map_or(shown(source), shown)) } }
}
