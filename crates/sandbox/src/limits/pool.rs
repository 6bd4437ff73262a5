//! Leaves that wait for the next sandbox with the same limits.
//!
//! Making and removing three cgroup v1 directories takes the kernel longer than everything else that a start asks of it. A
//! leaf whose sandbox has ended is therefore kept, a few at most, if nothing of that sandbox can be told from it: all its
//! processes are gone with their pid namespace, no limit was broken in it, and what memory is still charged to it is less
//! than what the kernel's own rounding makes of an empty one.

use std::io;
use std::sync::{Mutex, PoisonError, Weak};

use super::{Backend, Leaf};
use crate::plan::Limits;

/// How many leaves wait. As many sandboxes can end and start at the same time without making one.
const FREE_MAX: usize = 4;

/// The leaves of one launcher that are free. Dropping it removes them.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<(Limits, Leaf)>>,
}

impl Pool {
    /// A free leaf that holds these limits.
    pub(crate) fn take(&self, limits: &Limits) -> Option<Leaf> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |(held, leaf): &(Limits, Leaf)| {
            let backend = match limits.backend {
                Backend::Auto | Backend::Cgroup => true,
                asked => asked == leaf.backend(),
            };
            let same = (held.memory_bytes, held.cpu_percent, held.tasks)
                == (limits.memory_bytes, limits.cpu_percent, limits.tasks);
            backend && same
        };
        let index = free.iter().position(fits)?;
        let (_, mut leaf) = free.swap_remove(index);
        drop(free);
        // One that cannot be used again is removed.
        leaf.take_into_use().then_some(leaf)
    }

    /// Keeps `leaf`, or gives it back to be removed.
    pub(crate) fn keep(&self, limits: &Limits, mut leaf: Leaf) -> Result<(), Leaf> {
        if !leaf.begin_anew() {
            return Err(leaf);
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() >= FREE_MAX {
            return Err(leaf);
        }
        free.push((limits.clone(), leaf));
        Ok(())
    }

    /// Removes all that are free.
    pub(crate) fn clear(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The leaf of a running sandbox.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) leaf: Leaf,
    pub(crate) limits: Limits,
    /// Where it waits afterwards, if it may.
    pub(crate) pool: Option<Weak<Pool>>,
}

impl Held {
    /// Puts the leaf away after everything in it has ended: it waits for the next sandbox, or is removed.
    pub(crate) fn put_away(self) -> io::Result<()> {
        let kept = match self.pool.and_then(|pool| pool.upgrade()) {
            Some(pool) => pool.keep(&self.limits, self.leaf),
            None => Err(self.leaf),
        };
        kept.or_else(|mut leaf| leaf.remove())
    }
}
