//! Versions of what two people may change at the same time: whoever names the version that they have read is refused when
//! somebody else was faster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ringfence_api::ErrorCode;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::asked::Asked;
use super::error::Failure;

/// Bytes of a digest that make a version.
const VERSION_BYTES: usize = 16;

/// One turn for each plugin.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    all: Mutex<HashMap<String, Weak<Turn<()>>>>,
}

impl Turns {
    /// Waits until nobody else changes this plugin's settings over HTTP.
    pub(super) async fn take(&self, plugin: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turn| turn.strong_count() > 0);
            let known = all.get(plugin).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::new(Turn::new(()));
                all.insert(plugin.to_owned(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

/// The version of a document, as an entity tag.
pub(super) fn of(document: &impl Serialize) -> String {
    let text = serde_json::to_vec(document).unwrap_or_default();
    let digest = Sha256::digest(&text);
    let hex: String = digest.iter().take(VERSION_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Judges the version that a change was made from, where it names one.
///
/// # Errors
/// `conflict` when it is not the one that is there.
pub(super) fn judge<Q, B>(asked: &Asked<Q, B>, now: &str) -> Result<(), Failure> {
    let Some(wanted) = asked.header("if-match")? else { return Ok(()) };
    let matches = wanted.trim() == "*" || wanted.split(',').any(|one| one.trim() == now);
    if matches {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Conflict, "it has been changed since you read it")
        .hint("read it again and send the change with its new ETag in If-Match"))
}
