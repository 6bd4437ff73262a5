//! Which policy was last found to hold: each change of it is a record of the audit trail, whichever process saw it first.

use super::audit::{AuditEvent, Subject};
use super::fault::Fault;
use super::{Store, audit, meta};
use crate::Error;
use crate::clock::now_ms;

/// What the last record says.
const RECORDED: &str = "policy_recorded";

impl Store {
    /// Records what holds, unless the last record of any process says the same. A home that never had a policy has no record.
    ///
    /// # Errors
    /// `busy` or `io`; then nothing was recorded.
    pub(crate) fn note_policy(&self, event: AuditEvent) -> Result<(), Error> {
        let says = serde_json::to_vec(&event).map_err(|error| {
            Error::new(ringfence_api::ErrorCode::Internal, "the policy cannot be recorded").with_source(error)
        })?;
        let (known, never) = (says.clone(), is_absent(&event));
        let nothing_new = move |connection: &rusqlite::Connection| -> Result<bool, Fault> {
            Ok(meta::get(connection, RECORDED)?.map_or(never, |found| found == known))
        };
        if self.read("look at the recorded policy", &nothing_new)? {
            return Ok(());
        }
        self.write("record the policy", move |transaction, context| {
            // Another process may have been first.
            if nothing_new(transaction)? {
                return Ok(());
            }
            meta::set(transaction, RECORDED, &says)?;
            audit::append(transaction, &context.key, now_ms(), &Subject::default(), &event).map(drop)
        })
    }
}

fn is_absent(event: &AuditEvent) -> bool {
    matches!(event, AuditEvent::Policy { state: crate::policy::PolicyState::Absent, .. })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{audit_events, home};
    use super::*;
    use crate::policy::PolicyState;

    fn event(state: PolicyState, digest: Option<&str>) -> AuditEvent {
        AuditEvent::Policy { state, digest: digest.map(str::to_owned), rules: 1, finding: None }
    }

    #[test]
    fn each_change_of_the_policy_is_one_record_and_none_at_all_is_none() {
        let (_dir, home) = home();
        let store = Store::open(&home).unwrap();
        store.note_policy(event(PolicyState::Absent, None)).unwrap();
        assert!(audit_events(&store).is_empty(), "there never was one");
        for _ in 0..2 {
            store.note_policy(event(PolicyState::InForce, Some("aa"))).unwrap();
        }
        assert_eq!(audit_events(&store), ["policy"]);
        store.note_policy(event(PolicyState::LastGood, Some("aa"))).unwrap();
        store.note_policy(event(PolicyState::InForce, Some("bb"))).unwrap();
        drop(store);
        // A later process finds what the one before had recorded.
        let store = Store::open(&home).unwrap();
        store.note_policy(event(PolicyState::InForce, Some("bb"))).unwrap();
        assert_eq!(audit_events(&store).len(), 3);
        store.note_policy(event(PolicyState::Absent, None)).unwrap();
        assert_eq!(audit_events(&store).len(), 4, "that it is gone is a change");
    }
}
