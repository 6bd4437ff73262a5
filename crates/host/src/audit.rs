//! The audit trail, to be read and checked: [`Host::audit`](crate::Host::audit), [`Host::audit_verify`](crate::Host::audit_verify).
//!
//! Records are written by what they record, never by a caller. Each holds the digest of the one before it and a code made with
//! the key of the home, and how far the chain has come stands in a second file: a record that was changed, removed, swapped or
//! put in is found, and so is an end that was cut off. Not found is who puts back an older state of the whole home.
//!
//! The oldest records may be removed ([`Host::audit_prune`](crate::Host::audit_prune)): a cut, made with the key, then vouches for
//! the last one that is gone. The records can be taken elsewhere ([`Host::audit_export`](crate::Host::audit_export)) and checked
//! there with [`ExportCheck`].
//!
//! The events and what their bodies hold:
//!
//! | event | body |
//! |---|---|
//! | `install` | `version` `digest` `source` `by` |
//! | `consent` | `digest` `asked` `granted` `places` (where grants over files led: path, device, inode) `by` |
//! | `pin` | `places`: grants of a home of before places were kept; what lay there at this start is what they open from now on |
//! | `revoke` | `permissions` `by` |
//! | `config` | `keys` (never values) `by` |
//! | `upgrade` | `step` (`staged`, `committed`, `abandoned`) `from` `to` `digest` `source` `added` `by` |
//! | `rollback` | `from` `to` `reason` `by` |
//! | `uninstall` | `version` `digest` `data_kept` `by` |
//! | `activate`, `deactivate` | `version` `by`; `activate` is written before the start that it asks for |
//! | `start` | `version` `digest` `weakened`; written before anything of the plugin runs |
//! | `stop` | `reason` |
//! | `crash` | `detail` `exit_code` `signal` |
//! | `violation` | `violation` `detail` `while_starting` `exit_code` `signal` |
//! | `start_failed` | `cause` `exit_code` `signal` |
//! | `quarantine`, `release` | `reason`; `by` |
//! | `call` | `method` `tool` |
//! | `stream_end` | `object` `bytes` `how` (`read`, `closed`, `unread`, `timeout`, `too_large`, `failed`, `stopped`): a body that was fetched piece by piece |
//! | `call_summary` | `method` `second` `count`: calls above 1,000 a second |
//! | `denial` | `layer` `operation` `object` `grant` `count` |
//! | `token_create` | `id` `role` `name` `expires_at_ms` `by`; of a plugin, when it is for one alone |
//! | `token_revoke` | `id` `reason` `by` |
//! | `seal` | `first_bad` `reason` `up_to` `records` `file` `sha256` `by`: a trail that was altered was put away into that file |
//! | `prune` | `up_to` `hash` `removed` `by`: the records up to that number were removed |
//! | `access_denied` | `reason` `route` `count` `by`: somebody was refused at the door of the API; alike ones within a minute are counted |
//! | `policy` | `state` (`absent`, `in_force`, `last_good`, `unusable`) `digest` (SHA-256 of the text that holds) `rules` `finding`: written when another policy than before was found to hold |
//! | `dev_unsandboxed` | `package` |
//! | `audit_gap` | `anchored` `found`: the end was cut off before this record |
//!
//! Each `start` is followed by exactly one of `stop`, `crash`, `violation` and `start_failed` with the same correlation id; the
//! exception is a host that was killed, which could write nothing more.

pub use crate::host::AuditExport;
pub use crate::store::{
    AUDIT_PAGE_MAX, AuditFilter, AuditKeep, AuditOrder, AuditPage, AuditPruned, AuditRecord, AuditSealed,
    AuditVerdict, BadRecord, ExportCheck, SealedState, SealedTrail,
};
