//! The audit trail: narrowed, page by page, and checked.

use std::sync::Arc;

use maud::{Markup, html};
use ringfence::audit::AuditFilter;

use super::layout::Section;
use super::part::{self, address};
use super::record::{self, OfOne};
use super::seen::{Act, Question, Seen, done, done_but};
use super::text::shown;
use super::view::{Next, Page};
use crate::api::Failure;

/// What can stand in a record.
const EVENTS: [&str; 30] = [
    "install",
    "consent",
    "pin",
    "revoke",
    "config",
    "upgrade",
    "rollback",
    "uninstall",
    "activate",
    "deactivate",
    "start",
    "stop",
    "crash",
    "violation",
    "start_failed",
    "quarantine",
    "release",
    "call",
    "stream_end",
    "call_summary",
    "denial",
    "denial_summary",
    "token_create",
    "token_revoke",
    "prune",
    "seal",
    "access_denied",
    "policy",
    "dev_unsandboxed",
    "audit_gap",
];

struct Wanted {
    plugin: String,
    event: String,
    request: String,
    since: String,
    before: Option<i64>,
}

impl Wanted {
    fn of(seen: &Seen) -> Self {
        let text = |name| seen.query(name).unwrap_or_default();
        Self {
            plugin: text("plugin"),
            event: text("event"),
            request: text("request"),
            since: text("since"),
            before: seen.query("before").and_then(|before| before.parse().ok()).filter(|before| *before > 0),
        }
    }

    fn is_narrow(&self) -> bool {
        [&self.plugin, &self.event, &self.request, &self.since].into_iter().any(|text| !text.is_empty())
    }

    fn filter(&self) -> AuditFilter {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        AuditFilter {
            plugin: some(&self.plugin),
            event: some(&self.event),
            correlation_id: some(&self.request),
            since_ms: crate::time::day(&self.since),
            ..AuditFilter::default()
        }
    }

    fn address(&self, before: Option<i64>) -> String {
        let before = before.map(|seq| seq.to_string()).unwrap_or_default();
        address(
            "/audit",
            &[
                ("plugin", &self.plugin),
                ("event", &self.event),
                ("request", &self.request),
                ("since", &self.since),
                ("before", &before),
            ],
        )
    }
}

pub(super) async fn list(seen: Arc<Seen>) -> Result<Page, Failure> {
    let wanted = Wanted::of(&seen);
    let found = record::page(&seen.host, wanted.filter(), wanted.before).await?;
    let newest = wanted.before.map(|_| wanted.address(None));
    let older = found.next.map(|(words, seq)| (words, wanted.address(Some(seq))));
    let body = html! {
        div.head {
            div {
                h1 { "Audit" }
                p.why { "Who did what. Each record holds the digest of the one before it, so that a change of any of them is found." }
            }
            @if seen.may("verifyAudit") {
                div.acts { (seen.form("/audit/verify", html! { button type="submit" { "Verify the trail" } })) }
            }
        }
        (narrow(&wanted))
        div id="audit" data-live[wanted.before.is_none()] data-every=(part::EVERY_MS) {
            @if found.records.is_empty() { (none(&wanted)) } @else { (record::table(&found.records, OfOne::No)) }
            (part::older(newest, older))
        }
    };
    Ok(Page::new("Audit", Section::Audit, body))
}

fn none(wanted: &Wanted) -> Markup {
    match (wanted.is_narrow(), wanted.before) {
        (false, None) => part::empty(
            "Nothing is recorded yet.",
            &html! { p.faint { "The first record is made when a plugin is installed or a token is made." } },
        ),
        (_, Some(_)) => part::empty("Nothing older is like that.", &html! {}),
        (true, None) => part::empty("No record is like that.", &html! {}),
    }
}

fn narrow(wanted: &Wanted) -> Markup {
    html! {
        form.search role="search" method="get" action=(address("/audit", &[])) {
            label for="plugin" { "Plugin" }
            input id="plugin" name="plugin" value=(part::value(&wanted.plugin)) maxlength="100" placeholder="Plugin"
                autocomplete="off";
            label for="event" { "What" }
            select id="event" name="event" {
                option value="" { "Whatever happened" }
                @for event in EVENTS { option value=(event) selected[wanted.event == event] { (event) } }
            }
            label for="request" { "Request" }
            input id="request" name="request" value=(part::value(&wanted.request)) maxlength="128" placeholder="Request"
                autocomplete="off";
            span.faint aria-hidden="true" { "since" }
            label for="since" { "Since" }
            input id="since" name="since" type="date" title="Since" value=(part::value(&wanted.since));
            button type="submit" { "Show" }
            @if wanted.is_narrow() { a href=(address("/audit", &[])) { "Show all" } }
        }
        @if !wanted.since.is_empty() && crate::time::day(&wanted.since).is_none() {
            p.wrong { (shown(&wanted.since)) " is no date; a date is 2026-12-31." }
        }
    }
}

pub(super) async fn verify(act: Act) -> Result<Next, Failure> {
    let verdict = act.send(Question::default()).await?.document;
    let number = |field: &str| verdict.get(field).and_then(serde_json::Value::as_i64);
    if let Some(bad) = verdict.get("first_bad").filter(|bad| !bad.is_null()) {
        let seq = bad.get("seq").and_then(serde_json::Value::as_i64).unwrap_or_default();
        let reason = bad.get("reason").and_then(serde_json::Value::as_str).unwrap_or_default();
        let text = format!(
            "Record {seq} is the first that is not as it was written: {reason}. Trust neither it nor what follows it, and \
             keep a copy of the home as evidence."
        );
        // The list then begins with it.
        return Ok(done_but(address("/audit", &[("before", &seq.saturating_add(1).to_string())]), text));
    }
    let records = number("records").unwrap_or_default();
    let sealed =
        verdict.get("sealed").and_then(|sealed| sealed.get("state")).and_then(serde_json::Value::as_str);
    let text = match number("pruned_before") {
        Some(first) if sealed.is_some() => {
            let is = match sealed {
                Some("whole") => "is kept as it was put away",
                Some("altered") => "is not as it was put away",
                _ => "is not in the home any more",
            };
            let text = format!(
                "All {records} records are as they were written. What was before record {first} was damaged; its copy {is}."
            );
            return Ok(done_but(address("/audit", &[]), text));
        }
        None => format!("All {records} records are as they were written."),
        Some(first) => {
            format!(
                "All {records} records are as they were written; those before record {first} were removed on purpose."
            )
        }
    };
    Ok(done(address("/audit", &[]), text))
}
