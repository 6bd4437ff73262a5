//! The audit trail, to be read and checked: [`Host::audit`](crate::Host::audit), [`Host::audit_verify`](crate::Host::audit_verify).
//!
//! Records are written by what they record, never by a caller. Each holds the digest of the one before it and a code made with
//! the key of the home, and how far the chain has come stands in a second file: a record that was changed, removed, swapped or
//! put in is found, and so is an end that was cut off. Not found is who puts back an older state of the whole home.
//!
//! The events and what their bodies hold:
//!
//! | event | body |
//! |---|---|
//! | `install` | `version` `digest` `source` `by` |
//! | `consent` | `digest` `asked` `granted` `by` |
//! | `revoke` | `permissions` `by` |
//! | `config` | `keys` (never values) `by` |
//! | `upgrade` | `step` (`staged`, `committed`, `abandoned`) `from` `to` `digest` `added` `by` |
//! | `rollback` | `from` `to` `reason` `by` |
//! | `uninstall` | `version` `digest` `data_kept` `by` |
//! | `start` | `version` `digest` `weakened`; written before anything of the plugin runs |
//! | `stop` | `reason` |
//! | `crash` | `detail` `exit_code` `signal` |
//! | `violation` | `violation` `detail` `while_starting` `exit_code` `signal` |
//! | `start_failed` | `cause` `exit_code` `signal` |
//! | `quarantine`, `release` | `reason`; `by` |
//! | `call` | `method` `tool` |
//! | `call_summary` | `method` `second` `count`: calls above 1,000 a second |
//! | `denial` | `layer` `operation` `object` `grant` `count` |
//! | `dev_unsandboxed` | `package` |
//! | `audit_gap` | `anchored` `found`: the end was cut off before this record |
//!
//! Each `start` is followed by exactly one of `stop`, `crash`, `violation` and `start_failed` with the same correlation id; the
//! exception is a host that was killed, which could write nothing more.

pub use crate::store::{
    AUDIT_PAGE_MAX, AuditFilter, AuditOrder, AuditPage, AuditRecord, AuditVerdict, BadRecord,
};
