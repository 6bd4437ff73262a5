//! What was done to one plugin and by it, as the audit trail has it.

use std::sync::Arc;

use maud::html;
use ringfence::audit::AuditFilter;

use super::super::part::{self, address};
use super::super::record::{self, OfOne};
use super::super::seen::Seen;
use super::super::view::Page;
use super::Tab;
use crate::api::Failure;

pub(crate) async fn page(seen: Arc<Seen>) -> Result<Page, Failure> {
    let details = seen.host.show(seen.name()).await?;
    let name = details.name.as_str();
    let before =
        seen.query("before").and_then(|before| before.parse().ok()).filter(|before: &i64| *before > 0);
    let filter = AuditFilter { plugin: Some(name.to_owned()), ..AuditFilter::default() };
    let found = record::page(&seen.host, filter, before).await?;
    let path = format!("/plugins/{name}/activity");
    let newest = before.map(|_| address(&path, &[]));
    let older = found.next.map(|(words, seq)| (words, address(&path, &[("before", &seq.to_string())])));
    let body = html! {
        p.faint {
            "What was done to it and by it. "
            @if seen.may("listExecutions") {
                a href=(address("/activity", &[("plugin", name)])) { "How its calls went" }
            }
        }
        div id="activity" data-live[before.is_none()] data-every=(part::EVERY_MS) {
            @if found.records.is_empty() {
                (part::empty("Nothing older is recorded of it.", &html! {}))
            } @else {
                (record::table(&found.records, OfOne::Yes))
            }
            (part::older(newest, older))
        }
    };
    Ok(super::page(&seen, &details, Tab::Activity, &body))
}
