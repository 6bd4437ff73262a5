//! What was done to plugins, tokens and the policy, told to listeners: by this process and by others of the home.
//!
//! Each such act is a record of the audit trail, written with the change itself. So listeners are told of records: each once, when it
//! is on the disk, whoever wrote it. What runs, ends and is refused is told where it happens.

use std::sync::Weak;
use std::time::Duration;

use ringfence_api::PluginName;
use serde_json::Value;

use super::{Host, Inner};
use crate::audit::AuditRecord;
use crate::event::EventKind;
use crate::store::Changes;

/// How often it is looked what other processes wrote.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The least time between two looks.
const REST: Duration = Duration::from_millis(20);

/// How far listeners were told.
#[derive(Debug)]
pub(super) struct Place {
    after: i64,
    changes: Option<Changes>,
}

impl Host {
    /// Where to begin: behind what is there now.
    pub(super) async fn news_from_here(&self) -> Place {
        let here = self.context().store.run(|store| Ok(store.audit_size()?.1)).await;
        let after = here.unwrap_or_else(|error| {
            tracing::warn!(error = %error.chain(), "what is new cannot be told from what is old");
            i64::MAX
        });
        Place { after, changes: None }
    }

    /// Tells what is new.
    async fn tell_news(&self, place: Place) -> Place {
        let context = std::sync::Arc::clone(self.context());
        let looked = self.context().store.run(move |store| {
            let mut place = place;
            let failed = |error: crate::Error| {
                tracing::warn!(error = %error.chain(), "what is new cannot be read");
            };
            let is_new = match &mut place.changes {
                Some(changes) => changes.any().unwrap_or(true),
                None => {
                    place.changes = store.changes().map_err(failed).ok();
                    true
                }
            };
            if !is_new {
                return Ok(place);
            }
            loop {
                let (records, last) = match store.news(place.after) {
                    Ok(found) => found,
                    Err(error) => {
                        failed(error);
                        // Looked at again, whether or not anything more is written.
                        place.changes = None;
                        return Ok(place);
                    }
                };
                let is_over = last == place.after || records.is_empty();
                place.after = last;
                for record in records {
                    tell(&context, &record);
                }
                if is_over {
                    return Ok(place);
                }
            }
        });
        match looked.await {
            Ok(place) => place,
            Err(_closing) => Place { after: i64::MAX, changes: None },
        }
    }
}

fn tell(context: &crate::lifecycle::Context, record: &AuditRecord) {
    let Some(kind) = kind(record) else { return };
    let plugin = record.plugin.parse::<PluginName>().ok();
    let correlation_id = Some(record.correlation_id.clone()).filter(|id| !id.is_empty());
    context.events.tell_within(plugin.as_ref(), correlation_id, kind);
}

/// What listeners hear of a record. One that was edited may lack something, which is empty then.
fn kind(record: &AuditRecord) -> Option<EventKind> {
    let member = |name: &str| record.body.get(name);
    let text = |name: &str| member(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let texts = |name: &str| -> Vec<String> {
        let all = member(name).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let by = text("by");
    Some(match record.event.as_str() {
        "install" => EventKind::Installed { version: text("version"), by },
        "uninstall" => {
            let data_kept = member("data_kept").and_then(Value::as_bool).unwrap_or_default();
            EventKind::Uninstalled { version: text("version"), data_kept, by }
        }
        "consent" => EventKind::Granted { permissions: texts("granted"), by },
        "revoke" => EventKind::Revoked { permissions: texts("permissions"), by },
        "config" => EventKind::Configured { keys: texts("keys"), by },
        "upgrade" => EventKind::Upgrade { step: text("step"), from: text("from"), to: text("to"), by },
        "rollback" => {
            EventKind::RolledBack { from: text("from"), to: text("to"), reason: text("reason"), by }
        }
        "release" => EventKind::Released { by },
        "token_create" => {
            EventKind::TokenCreated { id: text("id"), role: text("role"), name: text("name"), by }
        }
        "token_revoke" => EventKind::TokenRevoked { id: text("id"), reason: text("reason"), by },
        "policy" => {
            let rules = member("rules").and_then(Value::as_u64).unwrap_or_default();
            EventKind::PolicyChanged { state: text("state"), rules }
        }
        _ => return None,
    })
}

/// Tells what is new until the host is gone.
pub(super) async fn follow(host: Weak<Inner>, mut place: Place) {
    let Some(written) = Host::from_weak(&host).map(|host| host.context().store.written()) else { return };
    loop {
        // Neither wait keeps the host.
        tokio::time::sleep(REST).await;
        let _news_or_not = tokio::time::timeout(LOOK_EVERY, written.notified()).await;
        let Some(host) = Host::from_weak(&host) else { return };
        place = host.tell_news(place).await;
    }
}
