//! How deep events are nested in what events have caused.
//!
//! A pass and a delivery are counted under their correlation id for as long as they last. What a plugin asks for in the name
//! of that work, and what the application passes on with the same id, is one deeper.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_api::ErrorCode;

use crate::Error;

/// Events within events; one deeper is refused. Two plugins that answer each other's messages end here.
pub const DEPTH_MAX: u32 = 16;

type Known = Arc<Mutex<HashMap<Arc<str>, Vec<u32>>>>;

/// What is under way, by correlation id: the depth of each.
#[derive(Debug, Default)]
pub(crate) struct Depths {
    known: Known,
}

/// One level, left when this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    known: Known,
    correlation_id: Arc<str>,
    pub(crate) depth: u32,
}

impl Depths {
    /// Goes one deeper than what is under way with this id, or than `outer`, whichever is deeper.
    ///
    /// # Errors
    /// `busy` beyond [`DEPTH_MAX`].
    pub(crate) fn enter(&self, correlation_id: &Arc<str>, outer: u32, what: &str) -> Result<Entered, Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let deepest = known.get(correlation_id).and_then(|all| all.iter().max()).copied().unwrap_or(0);
        let depth = deepest.max(outer) + 1;
        if depth > DEPTH_MAX {
            return Err(too_deep(what));
        }
        known.entry(Arc::clone(correlation_id)).or_default().push(depth);
        Ok(Entered { known: Arc::clone(&self.known), correlation_id: Arc::clone(correlation_id), depth })
    }

    /// The same at a depth that is known: a delivery, which runs beside others of the same work and is not nested in them.
    ///
    /// # Errors
    /// `busy` beyond [`DEPTH_MAX`].
    pub(crate) fn enter_at(
        &self,
        correlation_id: &Arc<str>,
        depth: u32,
        what: &str,
    ) -> Result<Entered, Error> {
        if depth > DEPTH_MAX {
            return Err(too_deep(what));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(Arc::clone(correlation_id)).or_default().push(depth);
        Ok(Entered { known: Arc::clone(&self.known), correlation_id: Arc::clone(correlation_id), depth })
    }

    /// How deep the next thing within this work is, if it is not counted itself.
    ///
    /// # Errors
    /// `busy` beyond [`DEPTH_MAX`].
    pub(crate) fn next(&self, correlation_id: &str, what: &str) -> Result<u32, Error> {
        let depth = self.of(correlation_id) + 1;
        if depth > DEPTH_MAX { Err(too_deep(what)) } else { Ok(depth) }
    }

    /// How deep the work with this id is now.
    pub(crate) fn of(&self, correlation_id: &str) -> u32 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(correlation_id).and_then(|all| all.iter().max()).copied().unwrap_or(0)
    }
}

fn too_deep(what: &str) -> Error {
    let what = crate::consent::shown(what);
    Error::new(ErrorCode::Busy, format!("{what} is nested in {DEPTH_MAX} others that caused it"))
        .with_hint("plugins answer each other's events without end: deactivate one of them")
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = known.get_mut(&self.correlation_id) else { return };
        if let Some(index) = all.iter().position(|depth| *depth == self.depth) {
            all.swap_remove(index);
        }
        if all.is_empty() {
            known.remove(&self.correlation_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_is_refused_and_what_has_ended_does_not_count() {
        let depths = Depths::default();
        let id: Arc<str> = "id".into();
        let mut all = Vec::new();
        for depth in 1..=DEPTH_MAX {
            let entered = depths.enter(&id, 0, "onRequest").unwrap();
            assert_eq!(entered.depth, depth);
            all.push(entered);
        }
        assert_eq!(depths.enter(&id, 0, "onRequest").unwrap_err().code(), ErrorCode::Busy);
        assert_eq!(depths.of("id"), DEPTH_MAX);
        // In any order: what runs at the same time under one id need not end in turn.
        all.rotate_left(5);
        drop(all);
        assert_eq!((depths.of("id"), depths.known.lock().unwrap().len()), (0, 0));
        assert_eq!(depths.enter(&id, 4, "onRequest").unwrap().depth, 5);
    }
}
