//! What plugins were asked, the last first: calls of tools, events and messages, and how each ended.

use std::sync::Arc;

use maud::{Markup, html};
use ringfence::metrics::{Execution, ExecutionFilter, ExecutionPage};

use super::layout::Section;
use super::part::{self, address};
use super::seen::Seen;
use super::text::{micros, shown, time};
use super::view::Page;
use crate::api::Failure;

/// Rows of one page.
const PAGE: usize = 50;
/// How requests end.
const OUTCOMES: [&str; 7] = ["ok", "failed", "invalid", "timeout", "cancelled", "refused", "crashed"];

/// Which of them a page shows.
struct Wanted {
    text: String,
    plugin: String,
    outcome: String,
    request: String,
    before: Option<i64>,
}

impl Wanted {
    fn of(seen: &Seen) -> Self {
        let text = |name| seen.query(name).unwrap_or_default();
        let own = seen.caller().plugin.as_ref().map(ToString::to_string);
        Self {
            text: text("q"),
            plugin: own.unwrap_or_else(|| text("plugin")),
            outcome: text("outcome"),
            request: text("request"),
            before: seen.query("before").and_then(|before| before.parse().ok()).filter(|before| *before > 0),
        }
    }

    fn filter(&self) -> ExecutionFilter {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ExecutionFilter {
            plugin: some(&self.plugin),
            outcome: some(&self.outcome),
            correlation_id: some(&self.request),
            text: some(&self.text),
            before: self.before,
            method: None,
        }
    }

    fn is_narrow(&self, seen: &Seen) -> bool {
        let own = seen.caller().plugin.is_some();
        !(self.text.is_empty() && self.outcome.is_empty() && self.request.is_empty())
            || (!self.plugin.is_empty() && !own)
    }

    fn address(&self, before: Option<i64>) -> String {
        let before = before.map(|id| id.to_string()).unwrap_or_default();
        address(
            "/activity",
            &[
                ("q", &self.text),
                ("plugin", &self.plugin),
                ("outcome", &self.outcome),
                ("request", &self.request),
                ("before", &before),
            ],
        )
    }
}

pub(super) async fn list(seen: Arc<Seen>) -> Result<Page, Failure> {
    let wanted = Wanted::of(&seen);
    let found = seen.host.executions(&wanted.filter(), PAGE).await?;
    let body = html! {
        h1 { "Activity" }
        p.intro { "What plugins were asked: tools, events and messages. The last 5,000 of each plugin are kept." }
        (search(&seen, &wanted))
        div id="activity" data-live[wanted.before.is_none()] data-every=(part::EVERY_MS) {
            @if found.executions.is_empty() { (none(&seen, &wanted)) } @else { (table(&found)) }
            (pager(&wanted, &found))
        }
    };
    Ok(Page::new("Activity", Section::Activity, body))
}

fn search(seen: &Seen, wanted: &Wanted) -> Markup {
    html! {
        form.search role="search" method="get" action=(address("/activity", &[])) {
            label for="q" { "Plugin or tool" }
            input id="q" name="q" type="search" value=(part::value(&wanted.text)) maxlength="100" placeholder="Plugin or tool";
            label for="outcome" { "How it ended" }
            select id="outcome" name="outcome" {
                option value="" { "However it ended" }
                @for outcome in OUTCOMES {
                    option value=(outcome) selected[wanted.outcome == outcome] { (outcome) }
                }
            }
            @for (name, value) in [("plugin", &wanted.plugin), ("request", &wanted.request)] {
                @if !value.is_empty() && seen.caller().plugin.is_none() {
                    input type="hidden" name=(name) value=(part::value(value));
                }
            }
            button type="submit" { "Search" }
            @if wanted.is_narrow(seen) { a href=(address("/activity", &[])) { "Show all" } }
        }
        @if !wanted.request.is_empty() { p { "Only of the request " code { (shown(&wanted.request)) } "." } }
        @if !wanted.plugin.is_empty() { p { "Only of " (shown(&wanted.plugin)) "." } }
    }
}

fn none(seen: &Seen, wanted: &Wanted) -> Markup {
    if wanted.before.is_some() {
        return part::empty("There is nothing older.", &html! {});
    }
    if wanted.is_narrow(seen) {
        return part::empty("Nothing recorded is like that.", &html! {});
    }
    let next = html! {
        p.faint { "Call a tool: " code { "ringfence call PLUGIN TOOL" } ", or over the API. It appears here by itself." }
    };
    part::empty("No plugin has been asked anything yet.", &next)
}

fn table(found: &ExecutionPage) -> Markup {
    html! {
        table.list {
            caption.hidden { "What plugins were asked, the last first" }
            thead {
                tr {
                    th scope="col" { "When" }
                    th scope="col" { "Plugin" }
                    th scope="col" { "What" }
                    th scope="col" { "How it ended" }
                    th.number scope="col" { "Took" }
                    th scope="col" { "Request" }
                }
            }
            tbody { @for one in &found.executions { (row(one)) } }
        }
    }
}

fn row(one: &Execution) -> Markup {
    html! {
        tr {
            td data-label="When" { (time(one.at_ms)) }
            th scope="row" { (part::named(&one.plugin)) }
            td data-label="What" {
                (shown(&one.method)) " "
                @if one.tool.is_empty() { span.faint { "many alike" } } @else { code { (shown(&one.tool)) } }
                @if one.count > 1 { " × " (one.count) }
            }
            td data-label="How it ended" { (outcome(&one.outcome)) }
            td.number data-label="Took" { (micros(one.duration_us)) }
            td.request data-label="Request" {
                @if one.correlation_id.is_empty() { "—" } @else {
                    a href=(address("/activity", &[("request", &one.correlation_id)])) { (shown(&one.correlation_id)) }
                }
            }
        }
    }
}

fn outcome(outcome: &str) -> Markup {
    let class = match outcome {
        "ok" => "good",
        "cancelled" => "idle",
        "refused" | "invalid" => "wait",
        _ => "bad",
    };
    html! { span class={ "badge " (class) } { (shown(outcome)) } }
}

fn pager(wanted: &Wanted, found: &ExecutionPage) -> Markup {
    let newest = wanted.before.map(|_| wanted.address(None));
    let last = found.executions.last().filter(|_| found.more);
    let older = last.map(|last| ("Older →", wanted.address(Some(last.id))));
    part::older(newest, older)
}
