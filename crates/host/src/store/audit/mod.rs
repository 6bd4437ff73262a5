//! The audit trail: what was done to plugins and by them, so that a later change of it is noticed.
//!
//! Each record holds the SHA-256 digest of the one before it and of itself, and a code made with the key of the store.
//! Whoever removes, edits, swaps or inserts a record, or computes the digests again without the key, is found by
//! [`verify`](super::Store::audit_verify), which names the first bad record. How far the chain has come stands in a
//! second file, so a tail that is cut off is noticed too. Not noticed is who puts back an older state of the whole home,
//! key and anchor included.
//!
//! Records that a decision depends on are written in the same transaction as the change they record. Calls and denials go
//! through a bounded queue: see [`queue`](CallMeter).
//!
//! Secrets never enter a record: configuration is recorded by the names of its keys.

mod anchor;
mod chain;
mod cut;
mod export;
mod flush;
mod ledger;
mod queue;
mod seal;
mod shares;
mod text;
mod totals;

#[cfg(test)]
mod denial_tests;
#[cfg(test)]
mod prune_tests;
#[cfg(test)]
mod tests;

pub(super) use anchor::Anchor;
pub use chain::{AuditFilter, AuditOrder, AuditPage, AuditRecord, AuditVerdict, BadRecord, PAGE_MAX};
pub(super) use chain::{append, gap, last_gap, list, news, respect_anchor, verify};
pub use cut::{AuditKeep, AuditPruned};
pub(super) use cut::{cut, first_there, last_to_go, remove, size};
pub use export::ExportCheck;
pub(super) use flush::{Closing, close_denials, start as start_flushing};
pub(crate) use ledger::{Kind, Ledger, Room, Told};
pub(crate) use queue::{Act, CallMeter, Full, Outcome};
pub(super) use queue::{AuditQueue, Item};
pub use seal::{AuditSealed, SealedState, SealedTrail};
pub(super) use seal::{seal, sealed};
pub(crate) use shares::Refused;

use ringfence_api::PluginName;
use serde::Serialize;

use crate::policy::PolicyState;

/// What a record is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The plugin, or empty.
    pub(crate) plugin: String,
    /// Its publisher, or empty.
    pub(crate) publisher: String,
    /// What joins the records of one request, or empty. At most 128 bytes are kept.
    pub(crate) correlation_id: String,
}

impl Subject {
    /// A plugin, outside any request.
    pub(crate) fn plugin(name: &PluginName, publisher: &str) -> Self {
        Self {
            plugin: name.as_str().to_owned(),
            publisher: publisher.to_owned(),
            correlation_id: String::new(),
        }
    }

    /// The same within one request.
    pub(crate) fn correlated(self, correlation_id: &str) -> Self {
        Self { correlation_id: correlation_id.to_owned(), ..self }
    }
}

/// One thing that happened. Texts longer than 4,096 bytes are cut, lists of more than 256 members too.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum AuditEvent {
    /// A package entered the store and became a plugin.
    Install { version: String, digest: String, source: String, by: String },
    /// A person granted permissions; `places` says of those over files where they led.
    Consent { digest: String, asked: Vec<String>, granted: Vec<String>, places: Vec<String>, by: String },
    /// Grants of the time before places were kept: what lay there at this start is what they open from now on.
    Pin { places: Vec<String> },
    /// A person took permissions back.
    Revoke { permissions: Vec<String>, by: String },
    /// A person wants it to be active; what came of that follows.
    Activate { version: String, by: String },
    /// A person does not want it to be active any more.
    Deactivate { version: String, by: String },
    /// A plugin's process is about to be started; `weakened` names layers that were switched off. The record of its end has
    /// the same correlation id.
    Start { version: String, digest: String, weakened: Vec<String> },
    /// A plugin's process ended as it was told to.
    Stop { reason: String },
    /// A request was handed to a plugin.
    Call { method: String, tool: String },
    /// The body of an answer that a plugin read as a stream has ended: after so many bytes, and how (`read`, `closed`, `unread`,
    /// `timeout`, `too_large`, `failed`, or `stopped` with the plugin).
    StreamEnd { object: String, bytes: u64, how: String },
    /// More calls than get a record each, within one second since 1970.
    CallSummary { method: String, second: i64, count: u64 },
    /// Something was refused to a plugin, so often. With times, the record stands for equal refusals between them that have
    /// no records of their own. `possible_calls`: which of these calls it belongs to is not known, and the correlation id is
    /// that of the start.
    Denial {
        layer: String,
        operation: String,
        object: String,
        grant: Option<String>,
        count: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        first_at_ms: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_at_ms: Option<i64>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        possible_calls: Vec<String>,
    },
    /// More different refusals of one operation than are listed singly.
    DenialSummary { layer: String, operation: String, count: u64, first_at_ms: i64, last_at_ms: i64 },
    /// A plugin broke a limit or a rule, and was ended for it or by it; `detail` has the limit and what was measured.
    Violation {
        violation: String,
        detail: String,
        while_starting: bool,
        exit_code: Option<i32>,
        signal: Option<i32>,
    },
    /// A plugin's process ended by itself.
    Crash { detail: String, exit_code: Option<i32>, signal: Option<i32> },
    /// A plugin was not started, or did not answer `initialize` as it must.
    StartFailed { cause: String, exit_code: Option<i32>, signal: Option<i32> },
    /// Configuration was written; the names of the changed keys, never a value.
    Config { keys: Vec<String>, by: String },
    /// A step of an upgrade: `staged`, `committed` or `abandoned`.
    Upgrade {
        step: String,
        from: String,
        to: String,
        digest: String,
        source: String,
        added: Vec<String>,
        by: String,
    },
    /// The version before came back.
    Rollback { from: String, to: String, reason: String, by: String },
    /// A plugin was removed.
    Uninstall { version: String, digest: String, data_kept: bool, by: String },
    /// A plugin was stopped for good.
    Quarantine { reason: String },
    /// A person released it.
    Release { by: String },
    /// A token was made, for the plugin that the record is about, or for all.
    TokenCreate { id: String, role: String, name: String, expires_at_ms: Option<i64>, by: String },
    /// A token opens nothing any more.
    TokenRevoke { id: String, reason: String, by: String },
    /// The oldest records were removed, up to this one.
    Prune { up_to: i64, hash: String, removed: u64, by: String },
    /// A trail that was altered was put away, and this one begins behind it.
    Seal {
        first_bad: i64,
        reason: String,
        up_to: i64,
        records: u64,
        file: String,
        sha256: String,
        by: String,
    },
    /// Somebody was refused at the door of the API, so often.
    AccessDenied { reason: String, route: String, count: u64, by: String },
    /// Another policy holds, or the same one in another state, than the record before this one says. `digest` is that of the
    /// text that holds.
    Policy { state: PolicyState, digest: Option<String>, rules: usize, finding: Option<String> },
    /// A developer ran a package without a sandbox.
    DevUnsandboxed { package: String },
    /// The chain was found shorter than its anchor says, or without a valid anchor, when the store was opened.
    AuditGap { anchored: Option<i64>, found: i64 },
}

impl From<&Refused> for AuditEvent {
    fn from(refused: &Refused) -> Self {
        let denial = &refused.denial;
        Self::Denial {
            layer: denial.layer.clone(),
            operation: denial.operation.clone(),
            object: denial.object.clone(),
            grant: denial.grant.clone(),
            count: denial.count,
            first_at_ms: None,
            last_at_ms: None,
            possible_calls: refused.possible_calls.clone(),
        }
    }
}
