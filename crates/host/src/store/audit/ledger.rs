//! What was refused to one plugin within a window: which refusals are told singly, and how often each of the others came.
//!
//! A plugin chooses what it asks for, and so what it is refused. Equal refusals are therefore one entry with a count, there
//! are only so many different ones, and everything beyond is counted under the operation alone. Nothing is lost from the
//! counts. It knows no clock, no queue and no disk.

use std::collections::HashMap;
use std::sync::Arc;

use ringfence_api::{Denial, UNLISTED_OBJECT};

use crate::store::history::cut;

/// Different refusals of one plugin that are known apart within a window.
pub(crate) const KINDS_MAX: usize = 100;
/// Refusals of one plugin within a window that are told singly.
pub(crate) const SINGLE_MAX: usize = 100;
/// Operations of one plugin that are counted apart where objects are not.
const OPERATIONS_MAX: usize = 64;
/// Different refusals of each operation that are known apart and told singly whatever else is refused: who asks a hundred
/// times for nothing does not hide the one act of another kind.
const FEW: usize = 4;

/// What makes two refusals equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) layer: String,
    pub(crate) operation: String,
    /// [`UNLISTED_OBJECT`]: those that are not known apart.
    pub(crate) object: String,
    /// Empty: none is known.
    pub(crate) grant: String,
}

impl Kind {
    pub(crate) fn of(denial: &Denial) -> Self {
        let cut = |text: &str| cut(text).to_owned();
        Self {
            layer: cut(&denial.layer),
            operation: cut(&denial.operation),
            object: cut(&denial.object),
            grant: denial.grant.as_deref().map(cut).unwrap_or_default(),
        }
    }

    /// As it is told, so often.
    pub(crate) fn denial(&self, count: u64) -> Denial {
        Denial {
            object: self.object.clone(),
            grant: Some(self.grant.clone()).filter(|grant| !grant.is_empty()),
            count,
            ..Denial::new(self.layer.clone(), self.operation.clone())
        }
    }

    /// All of the same operation together.
    fn unlisted(&self) -> Self {
        Self { object: UNLISTED_OBJECT.to_owned(), grant: String::new(), ..self.clone() }
    }

    /// All that is not even known by its operation.
    fn others(&self) -> Self {
        Self { operation: UNLISTED_OBJECT.to_owned(), ..self.unlisted() }
    }
}

/// Refusals that were only counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) kind: Arc<Kind>,
    pub(crate) window: i64,
    pub(crate) count: u64,
    /// When the first and the last of them came, in milliseconds since 1970.
    pub(crate) first_at_ms: i64,
    pub(crate) last_at_ms: i64,
}

/// What becomes of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is told singly, now.
    Singly(Arc<Kind>),
    /// It is counted, and told with others.
    Counted,
}

/// Whether there is room to tell it singly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    Full,
}

/// The refusals of one plugin.
#[derive(Debug)]
pub(crate) struct Ledger {
    window_ms: i64,
    window: i64,
    single: usize,
    kinds: HashMap<Arc<Kind>, Entry>,
    /// How many of `kinds` each operation has; of [`OPERATIONS_MAX`] operations.
    operations: HashMap<(String, String), usize>,
    unlisted: HashMap<Arc<Kind>, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Requests of which one was told singly. Bounded by [`SINGLE_MAX`].
    requests: Vec<Arc<str>>,
    /// Not taken yet.
    count: u64,
    first_at_ms: i64,
    last_at_ms: i64,
}

impl Entry {
    fn add(&mut self, count: u64, at_ms: i64) {
        if self.count == 0 {
            self.first_at_ms = at_ms;
        }
        self.count = self.count.saturating_add(count);
        self.last_at_ms = at_ms;
    }
}

impl Ledger {
    /// One with windows of this length. They begin at multiples of it, so that processes agree on them.
    pub(crate) fn new(window_ms: i64) -> Self {
        Self {
            window_ms: window_ms.max(1),
            window: 0,
            single: 0,
            kinds: HashMap::new(),
            operations: HashMap::new(),
            unlisted: HashMap::new(),
        }
    }

    /// Notes a refusal. The first of its kind within a window is told singly, and so is the first of each request that it
    /// belongs to, as long as there is room; of each operation the first [`FEW`] kinds always. What the window before has left is put into `left`.
    pub(crate) fn note(
        &mut self,
        denial: &Denial,
        request: &Arc<str>,
        at_ms: i64,
        room: Room,
        left: &mut Vec<Counted>,
    ) -> Told {
        let window = at_ms.div_euclid(self.window_ms);
        if window != self.window {
            self.take(left);
            self.kinds.clear();
            self.operations.clear();
            self.unlisted.clear();
            (self.window, self.single) = (window, 0);
        }
        let kind = Kind::of(denial);
        let mut is_rare = false;
        let known = self.kinds.get_key_value(&kind).map(|(known, _)| Arc::clone(known));
        let kind = match known {
            Some(known) => known,
            None if self.is_another_of_few(&kind) => {
                is_rare = true;
                Arc::new(kind)
            }
            None if self.kinds.len() < KINDS_MAX => Arc::new(kind),
            None => {
                let unlisted = self.unlisted_as(&kind);
                self.unlisted.entry(unlisted).or_default().add(denial.count, at_ms);
                return Told::Counted;
            }
        };
        let entry = self.kinds.entry(Arc::clone(&kind)).or_default();
        let has_room = room == Room::Free && (is_rare || self.single < SINGLE_MAX);
        if has_room && !entry.requests.contains(request) {
            self.single += 1;
            entry.requests.push(Arc::clone(request));
            return Told::Singly(kind);
        }
        entry.add(denial.count, at_ms);
        Told::Counted
    }

    /// Counts a new kind with its operation. Whether it is among the first [`FEW`] of that.
    fn is_another_of_few(&mut self, kind: &Kind) -> bool {
        let operation = (kind.layer.clone(), kind.operation.clone());
        if self.operations.len() >= OPERATIONS_MAX && !self.operations.contains_key(&operation) {
            return false;
        }
        let known = self.operations.entry(operation).or_default();
        *known = known.saturating_add(1);
        *known <= FEW
    }

    /// Under what one is counted that is not known apart.
    fn unlisted_as(&self, kind: &Kind) -> Arc<Kind> {
        let unlisted = kind.unlisted();
        match self.unlisted.get_key_value(&unlisted) {
            Some((known, _)) => Arc::clone(known),
            None if self.unlisted.len() < OPERATIONS_MAX => Arc::new(unlisted),
            None => Arc::new(kind.others()),
        }
    }

    /// Gives out what was counted since this was asked last.
    pub(crate) fn take(&mut self, into: &mut Vec<Counted>) {
        let window = self.window;
        for (kind, entry) in self.kinds.iter_mut().chain(&mut self.unlisted) {
            let count = std::mem::take(&mut entry.count);
            if count > 0 {
                let (first_at_ms, last_at_ms) = (entry.first_at_ms, entry.last_at_ms);
                into.push(Counted { kind: Arc::clone(kind), window, count, first_at_ms, last_at_ms });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(object: &str) -> Denial {
        let grant = Some(format!("file:read={object}"));
        Denial { object: object.to_owned(), grant, count: 1, ..Denial::new("host_api", "read_file") }
    }

    fn note(ledger: &mut Ledger, object: &str, request: &str, at_ms: i64) -> (bool, Vec<Counted>) {
        let mut left = Vec::new();
        let told = ledger.note(&denial(object), &Arc::from(request), at_ms, Room::Free, &mut left);
        (matches!(told, Told::Singly(_)), left)
    }

    fn taken(ledger: &mut Ledger) -> Vec<Counted> {
        let mut all = Vec::new();
        ledger.take(&mut all);
        all
    }

    #[test]
    fn the_first_of_a_kind_is_told_and_the_others_are_counted_with_their_time() {
        let mut ledger = Ledger::new(1_000);
        assert!(note(&mut ledger, "/a", "", 5).0);
        for at_ms in [6, 7, 9] {
            assert!(!note(&mut ledger, "/a", "", at_ms).0);
        }
        assert!(note(&mut ledger, "/b", "", 9).0, "another object is another kind");
        let counted = taken(&mut ledger);
        assert_eq!(counted.len(), 1, "{counted:?}");
        let Counted { kind, window, count, first_at_ms, last_at_ms } = &counted[0];
        assert_eq!((kind.object.as_str(), *window, *count, *first_at_ms, *last_at_ms), ("/a", 0, 3, 6, 9));
        assert!(taken(&mut ledger).is_empty(), "given out once");
        // What is left of a window comes with the first of the next, which is told again.
        assert!(!note(&mut ledger, "/a", "", 999).0);
        let (told, left) = note(&mut ledger, "/a", "", 1_000);
        assert!(told);
        assert_eq!((left.len(), left[0].window, left[0].count, left[0].first_at_ms), (1, 0, 1, 999));
    }

    #[test]
    fn each_request_is_told_its_own_while_there_is_room() {
        let mut ledger = Ledger::new(1_000);
        for request in ["c1", "c2"] {
            assert!(note(&mut ledger, "/a", request, 0).0);
            assert!(!note(&mut ledger, "/a", request, 0).0);
        }
        for number in 2..SINGLE_MAX {
            assert!(note(&mut ledger, "/a", &format!("r{number}"), 0).0, "{number}");
        }
        assert!(!note(&mut ledger, "/a", "one more", 0).0);
        assert_eq!(taken(&mut ledger).iter().map(|counted| counted.count).sum::<u64>(), 3);
        // The twin: without room nothing is told, and nothing is lost.
        let mut left = Vec::new();
        let mut full = Ledger::new(1_000);
        assert_eq!(full.note(&denial("/a"), &Arc::from(""), 0, Room::Full, &mut left), Told::Counted);
        assert_eq!(taken(&mut full)[0].count, 1);
    }

    #[test]
    fn ever_new_objects_are_bounded_and_none_is_lost_from_the_counts() {
        let mut ledger = Ledger::new(1_000);
        let many = 10 * KINDS_MAX as u64;
        let told = (0..many).filter(|number| note(&mut ledger, &format!("/{number}"), "", 0).0).count();
        assert_eq!(told, SINGLE_MAX);
        let counted = taken(&mut ledger);
        assert_eq!(counted.len(), 1);
        assert_eq!((counted[0].kind.object.as_str(), &*counted[0].kind.grant), (UNLISTED_OBJECT, ""));
        assert_eq!((counted[0].kind.operation.as_str(), counted[0].count), ("read_file", many - told as u64));
        // Another operation is told although the room is taken, and its first kinds with it.
        let mut left = Vec::new();
        for number in 0..2 * FEW {
            let mut other = denial(&format!("/other/{number}"));
            "write_file".clone_into(&mut other.operation);
            let told = ledger.note(&other, &Arc::from(""), 0, Room::Free, &mut left);
            assert_eq!(matches!(told, Told::Singly(_)), number < FEW, "{number}");
        }
        assert_eq!(taken(&mut ledger).iter().map(|counted| counted.count).sum::<u64>(), FEW as u64);
        // Operations are bounded, too.
        for number in 0..10 * OPERATIONS_MAX {
            let strange = Denial { count: 1, ..Denial::new("seccomp", format!("call {number}")) };
            ledger.note(&strange, &Arc::from(""), 0, Room::Free, &mut left);
        }
        let counted = taken(&mut ledger);
        assert!(counted.len() <= OPERATIONS_MAX + 1, "{}", counted.len());
        // Two operations were there before.
        let singly = OPERATIONS_MAX - 2;
        let rest = 10 * OPERATIONS_MAX - singly;
        assert_eq!(counted.iter().map(|counted| counted.count).sum::<u64>(), rest as u64);
    }
}
