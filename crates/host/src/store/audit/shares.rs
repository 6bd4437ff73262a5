//! What each plugin has in the queue, and what was refused to it.

use std::collections::HashMap;
use std::sync::Arc;

use ringfence_api::Denial;

use super::ledger::Ledger;
use super::queue::{DENIAL_WINDOW_MS, Item};
use crate::store::Owner;

/// A refusal, and what it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) denial: Denial,
    /// What joins it with other records.
    pub(crate) correlation_id: Arc<str>,
    /// The call in which it was refused. Empty when it was in none: equal ones are counted together then.
    pub(crate) request: Arc<str>,
    /// Calls of which it is not known in which one it was.
    pub(crate) possible_calls: Vec<String>,
}

/// One plugin.
#[derive(Debug)]
pub(super) struct Share {
    owner: Owner,
    pub(super) ledger: Ledger,
    /// Records that wait to be taken, and those that were taken and are not on the disk yet.
    pub(super) waiting: usize,
    in_flight: usize,
}

/// All plugins that ever had anything recorded. Their number is that of plugins since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Shares {
    all: Vec<Share>,
    by_owner: HashMap<Owner, usize>,
}

impl Shares {
    /// Where a plugin stands; the same place each time.
    pub(super) fn place(&mut self, owner: &Owner) -> usize {
        if let Some(place) = self.by_owner.get(owner) {
            return *place;
        }
        let place = self.all.len();
        self.all.push(Share {
            owner: owner.clone(),
            ledger: Ledger::new(DENIAL_WINDOW_MS),
            waiting: 0,
            in_flight: 0,
        });
        self.by_owner.insert(owner.clone(), place);
        place
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Share> {
        self.all.get_mut(place)
    }

    /// One more record of a plugin waits.
    pub(super) fn add(&mut self, place: usize) {
        if let Some(share) = self.all.get_mut(place) {
            share.waiting += 1;
        }
    }

    /// Records of a plugin that are not on the disk.
    pub(super) fn held(&self, place: usize) -> usize {
        self.all.get(place).map_or(0, |share| share.waiting + share.in_flight)
    }

    /// All that waited is being written.
    pub(super) fn taken(&mut self) {
        for share in &mut self.all {
            share.in_flight = std::mem::take(&mut share.waiting);
        }
    }

    /// All that was taken is on the disk.
    pub(super) fn written(&mut self) {
        for share in &mut self.all {
            share.in_flight = 0;
        }
    }

    /// Gives out what was counted.
    pub(super) fn take_denials(&mut self, batch: &mut Vec<Item>) {
        let mut counted = Vec::new();
        for Share { owner, ledger, .. } in &mut self.all {
            ledger.take(&mut counted);
            batch.extend(
                counted.drain(..).map(|counted| Item::DeniedCounted { owner: owner.clone(), counted }),
            );
        }
    }
}
