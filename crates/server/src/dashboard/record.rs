//! Records of the audit trail as a table, and pages of them that cost little however long the trail is.

use maud::{Markup, html};
use ringfence::Host;
use ringfence::audit::{AuditFilter, AuditOrder, AuditRecord};
use serde_json::Value;

use super::part::{self, address};
use super::text::{shown, time};
use crate::api::Failure;

/// Records of one page.
const PAGE: usize = 50;
/// So many records are searched for one page at most.
const SEARCHED: i64 = 100_000;

/// Records of a page, the newest first.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) records: Vec<AuditRecord>,
    /// Where the next page goes on, with what to call it.
    pub(super) next: Option<(&'static str, i64)>,
}

/// What of the trail stands before a record (`None`: from its end) and is like that.
///
/// # Errors
/// What the store says.
pub(super) async fn page(host: &Host, filter: AuditFilter, before: Option<i64>) -> Result<Records, Failure> {
    let filter = AuditFilter { order: AuditOrder::NewestFirst, ..filter };
    // What is rare would be looked for in all of it; of one plugin alone, an index knows the records.
    let is_looked_for =
        filter.event.is_some() || filter.correlation_id.is_some() || filter.since_ms.is_some();
    if !is_looked_for {
        let page = host.audit(&filter, before, PAGE).await?;
        let last = page.records.last().map(|record| record.seq).filter(|_| page.more);
        return Ok(Records { next: last.map(|seq| ("Older →", seq)), records: page.records });
    }
    let all = AuditFilter { order: AuditOrder::NewestFirst, ..AuditFilter::default() };
    let end = match before {
        Some(before) => before,
        None => {
            let newest = host.audit(&all, None, 1).await?;
            newest.records.first().map_or(1, |record| record.seq.saturating_add(1))
        }
    };
    let begin = end.saturating_sub(SEARCHED).max(1);
    let within = AuditFilter { after_seq: Some(begin - 1), ..filter };
    let page = host.audit(&within, Some(end), PAGE).await?;
    let last = page.records.last().map(|record| record.seq).filter(|_| page.more);
    let next = match last {
        Some(seq) => Some(("Older →", seq)),
        None if host.audit(&all, Some(begin), 1).await?.records.is_empty() => None,
        None => Some(("Search further back →", begin)),
    };
    Ok(Records { records: page.records, next })
}

/// Digits of a digest that are shown; the whole of it is the title.
const DIGEST_SHOWN: usize = 12;

/// Whether a text is a SHA-256 in hexadecimal, which nobody reads to its end.
fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The records as a table; `of_one`: they are all of one plugin, which needs not be said.
pub(super) fn table(records: &[AuditRecord], of_one: OfOne) -> Markup {
    html! {
        table.list {
            caption.hidden { "Records, the last first" }
            thead {
                tr {
                    th.number scope="col" { "No." }
                    th scope="col" { "When" }
                    th scope="col" { "What" }
                    @if of_one == OfOne::No { th scope="col" { "Plugin" } }
                    th scope="col" { "Details" }
                    th scope="col" { "Request" }
                }
            }
            tbody { @for record in records { (row(record, of_one)) } }
        }
    }
}

/// Whether all records are of one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfOne {
    Yes,
    No,
}

fn row(record: &AuditRecord, of_one: OfOne) -> Markup {
    html! {
        tr {
            td.number data-label="No." { (record.seq) }
            td data-label="When" { (time(record.at_ms)) }
            th scope="row" { (event(&record.event)) }
            @if of_one == OfOne::No {
                td data-label="Plugin" { @if record.plugin.is_empty() { "—" } @else { (part::named(&record.plugin)) } }
            }
            td data-label="Details" { (details(&record.body)) }
            td.request data-label="Request" {
                @if record.correlation_id.is_empty() { "—" } @else {
                    a href=(address("/audit", &[("request", &record.correlation_id)])) { (shown(&record.correlation_id)) }
                }
            }
        }
    }
}

fn event(event: &str) -> Markup {
    let class = match event {
        "denial" | "denial_summary" | "crash" | "violation" | "start_failed" | "quarantine"
        | "access_denied" | "audit_gap" | "dev_unsandboxed" => "bad",
        "consent" | "pin" | "revoke" | "upgrade" | "rollback" | "uninstall" | "token_create"
        | "token_revoke" | "prune" => "wait",
        _ => "idle",
    };
    html! { span class={ "badge " (class) } { (shown(event)) } }
}

fn details(body: &Value) -> Markup {
    let Value::Object(fields) = body else {
        return html! { (shown(&body.to_string())) };
    };
    html! {
        @for (name, value) in fields {
            @let words = words(name, value);
            @if !words.is_empty() {
                span.fact {
                    span.faint { (shown(name)) ": " }
                    @if is_digest(&words) {
                        code title=(words) { (words.get(..DIGEST_SHOWN).unwrap_or_default()) "…" }
                    } @else {
                        (shown(&words))
                    }
                }
                " "
            }
        }
    }
}

/// A value in words; empty when it says nothing.
fn words(name: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Number(at_ms) if name.ends_with("_at_ms") => {
            at_ms.as_i64().map_or_else(|| value.to_string(), crate::time::utc)
        }
        Value::String(text) => text.clone(),
        Value::Array(all) if all.iter().all(Value::is_string) => {
            all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
