//! Which of the kernel's records belong to one sandbox. Pure: records in, denials out, bounded whatever comes.

use std::collections::VecDeque;

use super::record::Record;
use crate::report::Object;

/// How many different denials are told apart.
pub const DENIALS_MAX: usize = 256;
/// How many denials wait to hear whose they are. A domain's first denial comes right before the record of its owner.
const WAITING_MAX: usize = 64;

/// Something that Landlock refused in a sandbox, as the kernel recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelDenial {
    /// The rights that were missing, as the kernel names them, such as `fs.remove_file`; never empty.
    pub blockers: Vec<String>,
    /// What it was about: the path as the program saw it, the directory where the right over a directory was missing.
    pub object: Object,
    /// How often.
    pub count: u64,
}

/// The denials of one sandbox among all records of the machine.
///
/// ```
/// use ringfence_sandbox::audit::{ACCESS, DOMAIN, Ledger, Record};
/// let mut ledger = Ledger::of(300);
/// for (kind, text) in [
///     (ACCESS, "audit(1.0:30): domain=195ba459b blockers=fs.read_dir path=\"/srv\" dev=\"vda\" ino=1"),
///     (DOMAIN, "audit(1.0:30): domain=195ba459b status=allocated mode=enforcing pid=300 uid=0"),
///     (ACCESS, "audit(1.0:31): domain=2 blockers=fs.read_dir path=\"/elsewhere\" dev=\"vda\" ino=2"),
/// ] {
///     Record::parse(kind, text.as_bytes()).into_iter().for_each(|record| ledger.take(record));
/// }
/// assert_eq!(ledger.denials().len(), 1);
/// ```
#[derive(Debug)]
pub struct Ledger {
    /// The process that made the domain.
    process: u32,
    domain: Option<u64>,
    waiting: VecDeque<(u64, KernelDenial)>,
    denials: Vec<KernelDenial>,
    /// Denials that were too many to be told apart.
    unlisted: u64,
    total: Option<u64>,
}

impl Ledger {
    /// A ledger of the sandbox whose PID 1 the first process id namespace calls `process`.
    #[must_use]
    pub fn of(process: u32) -> Self {
        Self {
            process,
            domain: None,
            waiting: VecDeque::new(),
            denials: Vec::new(),
            unlisted: 0,
            total: None,
        }
    }

    /// Takes in the next record.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Refused { domain, blockers, object } => {
                let denial = KernelDenial { blockers, object, count: 1 };
                match self.domain {
                    Some(own) if own == domain => self.count(denial),
                    Some(_) => {}
                    None => {
                        if self.waiting.len() == WAITING_MAX {
                            self.waiting.pop_front();
                        }
                        self.waiting.push_back((domain, denial));
                    }
                }
            }
            Record::Allocated { domain, process } if self.domain.is_none() => {
                if process == self.process {
                    self.domain = Some(domain);
                    for (of, denial) in std::mem::take(&mut self.waiting) {
                        if of == domain {
                            self.count(denial);
                        }
                    }
                } else {
                    self.waiting.retain(|(of, _)| *of != domain);
                }
            }
            // A domain that a program in the sandbox made for itself has the program's number.
            Record::Allocated { .. } => {}
            Record::Deallocated { domain, denials } => {
                if self.domain == Some(domain) {
                    self.total = Some(denials);
                }
            }
        }
    }

    fn count(&mut self, denial: KernelDenial) {
        let same =
            |known: &KernelDenial| (&known.blockers, &known.object) == (&denial.blockers, &denial.object);
        let full = self.denials.len() >= DENIALS_MAX;
        match self.denials.iter().position(same).and_then(|index| self.denials.get_mut(index)) {
            Some(known) => known.count += 1,
            None if full => self.unlisted += 1,
            None => self.denials.push(denial),
        }
    }

    /// What was refused so far, in the order of its first time.
    #[must_use]
    pub fn denials(&self) -> &[KernelDenial] {
        &self.denials
    }

    /// Denials that were recorded, and too many to be told apart.
    #[must_use]
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Whether the kernel has said that nothing of the sandbox is left. It says nothing of a sandbox without a denial.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.total.is_some()
    }

    /// How many denials the kernel counted and did not record for us: its own queue is short. `quiet` is how many it counted
    /// and was told not to record.
    #[must_use]
    pub fn unrecorded(&self, quiet: u64) -> u64 {
        let recorded = self.denials.iter().map(|denial| denial.count).sum::<u64>() + self.unlisted;
        self.total.map_or(0, |total| total.saturating_sub(recorded).saturating_sub(quiet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(domain: u64, path: &str) -> Record {
        Record::Refused {
            domain,
            blockers: vec!["fs.read_file".to_owned()],
            object: Object::Path(path.into()),
        }
    }

    fn paths(ledger: &Ledger) -> Vec<(String, u64)> {
        ledger.denials().iter().map(|denial| (denial.object.to_string(), denial.count)).collect()
    }

    #[test]
    fn the_first_denial_comes_before_the_owner_and_is_kept() {
        let mut ledger = Ledger::of(7);
        for record in [
            refused(1, "/other"),
            refused(2, "/own"),
            Record::Allocated { domain: 1, process: 6 },
            Record::Allocated { domain: 2, process: 7 },
            refused(2, "/own"),
            refused(1, "/other"),
            refused(3, "/third"),
        ] {
            ledger.take(record);
        }
        assert_eq!(paths(&ledger), [("/own".to_owned(), 2)]);
    }

    #[test]
    fn another_runs_denials_are_never_ours() {
        let mut ledger = Ledger::of(7);
        ledger.take(refused(1, "/other"));
        ledger.take(Record::Allocated { domain: 1, process: 8 });
        ledger.take(Record::Deallocated { domain: 1, denials: 1 });
        assert!(ledger.denials().is_empty() && !ledger.is_closed());
        // Nor when our own number shows up once more, in a domain that the program made.
        ledger.take(Record::Allocated { domain: 2, process: 7 });
        ledger.take(Record::Allocated { domain: 3, process: 7 });
        ledger.take(refused(3, "/nested"));
        assert!(ledger.denials().is_empty());
    }

    #[test]
    fn a_flood_of_others_keeps_nothing_and_loses_nothing_of_ours() {
        let mut ledger = Ledger::of(7);
        for number in 0..100_000 {
            ledger.take(refused(1000 + number, "/other"));
        }
        assert_eq!(ledger.waiting.len(), WAITING_MAX);
        ledger.take(refused(2, "/own"));
        ledger.take(Record::Allocated { domain: 2, process: 7 });
        assert_eq!(paths(&ledger), [("/own".to_owned(), 1)]);
        assert_eq!(ledger.waiting.len(), 0);
    }

    #[test]
    fn a_million_denials_of_ours_are_counted_in_little_memory() {
        let mut ledger = Ledger::of(7);
        ledger.take(Record::Allocated { domain: 2, process: 7 });
        for number in 0..1_000_000u32 {
            ledger.take(refused(2, &format!("/{}", number % 300)));
        }
        let counted: u64 = ledger.denials().iter().map(|denial| denial.count).sum();
        assert_eq!((ledger.denials().len(), counted + ledger.unlisted()), (DENIALS_MAX, 1_000_000));
        ledger.take(Record::Deallocated { domain: 2, denials: 1_000_011 });
        assert_eq!((ledger.unrecorded(1), ledger.unrecorded(100)), (10, 0));
    }
}
