//! The audit trail: pages of it, and whether it is as it was written.

use ringfence::audit::{AUDIT_PAGE_MAX, AuditFilter, AuditOrder, AuditPage, AuditVerdict};
use ringfence_api::ErrorCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answer::Found;
use super::asked::{Asked, Query};
use super::error::Failure;
use super::plugins::bounded;

/// Records of one answer unless the query says how many.
const RECORDS: usize = 100;

/// Which records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Only of this plugin.
    #[serde(default)]
    plugin: Option<String>,
    /// Only this event, such as `consent`.
    #[serde(default)]
    event: Option<String>,
    /// Only of this request, and refusals that may belong to it (`possible_calls` of the record).
    #[serde(default)]
    correlation_id: Option<String>,
    /// Only from this time on, in milliseconds since 1970.
    #[serde(default)]
    since_ms: Option<i64>,
    /// The `seq` of the last record of the page before.
    #[serde(default)]
    #[schemars(range(min = 0))]
    after: Option<i64>,
    /// The last one first.
    #[serde(default)]
    newest_first: bool,
    /// At most so many; 100, at most 1,000.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<usize>,
}

pub(super) async fn list(asked: Asked<Query<AuditQuery>, ()>) -> Result<Found<AuditPage>, Failure> {
    let query = asked.query.0;
    let limit = bounded("limit", query.limit, RECORDS, AUDIT_PAGE_MAX)?;
    if query.after.is_some_and(|after| after < 0) {
        return Err(Failure::new(ErrorCode::Usage, "`after` is the `seq` of a record"));
    }
    let filter = AuditFilter {
        plugin: query.plugin,
        event: query.event,
        correlation_id: query.correlation_id,
        since_ms: query.since_ms,
        order: if query.newest_first { AuditOrder::NewestFirst } else { AuditOrder::OldestFirst },
        ..AuditFilter::default()
    };
    Ok(Found(asked.host.audit(&filter, query.after, limit).await?))
}

pub(super) async fn verify(asked: Asked<(), ()>) -> Result<Found<AuditVerdict>, Failure> {
    let _one_of_few = asked.api.long_look()?;
    Ok(Found(asked.host.audit_verify().await?))
}
