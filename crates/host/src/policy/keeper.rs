//! Keeps the policy of a home current: looked at before each use, read again when the file is another one.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ringfence_api::ErrorCode;
use ringfence_policy::{Candidate, Ceilings, PluginPolicy, Policy};

use super::file::{self, Owner, Place, Seen};
use super::{Finding, PolicyState, PolicyStatus, unusable};
use crate::store::{AuditEvent, PluginRow};
use crate::{Error, Home};

/// How many changes may wait for the audit trail; each needs a file that was read.
const UNTOLD_MAX: usize = 1_024;

/// The policy of one home, as far as this process knows it.
#[derive(Debug)]
pub(crate) struct Keeper {
    home: Home,
    path: PathBuf,
    place: Place,
    known: RwLock<Arc<Known>>,
    /// Held while the file is read, so that it is read once for many that ask.
    reading: Mutex<()>,
    /// What has held since the audit trail was told last, in its order.
    untold: Mutex<VecDeque<AuditEvent>>,
}

/// What was found at the last look.
#[derive(Debug)]
pub(crate) struct Known {
    seen: Option<Seen>,
    /// Grows whenever something else holds.
    pub(crate) generation: u64,
    pub(crate) standing: Standing,
    /// SHA-256 of the text that holds, in hex; `None` when none does.
    digest: Option<String>,
}

/// What holds.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    Absent,
    InForce(Arc<Policy>),
    LastGood(Arc<Policy>, Vec<Finding>),
    Unusable(Vec<Finding>),
}

impl Standing {
    /// The policy that holds; `None`: nothing is denied.
    pub(crate) fn policy(&self) -> Option<&Arc<Policy>> {
        match self {
            Self::InForce(policy) | Self::LastGood(policy, _) => Some(policy),
            Self::Absent | Self::Unusable(_) => None,
        }
    }

    fn findings(&self) -> &[Finding] {
        match self {
            Self::LastGood(_, findings) | Self::Unusable(findings) => findings,
            Self::Absent | Self::InForce(_) => &[],
        }
    }
}

/// What the policy says about one plugin, compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct PluginRules {
    /// `None`: nothing is denied.
    pub(crate) rules: Option<Arc<PluginPolicy>>,
    pub(crate) ceilings: Ceilings,
    /// Of the policy that it was taken from.
    pub(crate) generation: u64,
}

impl Known {
    fn state(&self) -> PolicyState {
        match self.standing {
            Standing::Absent => PolicyState::Absent,
            Standing::InForce(_) => PolicyState::InForce,
            Standing::LastGood(..) => PolicyState::LastGood,
            Standing::Unusable(_) => PolicyState::Unusable,
        }
    }

    /// What the audit trail says of it.
    pub(crate) fn event(&self) -> AuditEvent {
        AuditEvent::Policy {
            state: self.state(),
            digest: self.digest.clone(),
            rules: self.standing.policy().map_or(0, |policy| policy.rules.len()),
            finding: self.standing.findings().first().map(ToString::to_string),
        }
    }

    fn about(&self, plugin: &str) -> PluginRules {
        let policy = self.standing.policy();
        PluginRules {
            rules: policy.map(|policy| Arc::new(policy.for_plugin(plugin))),
            ceilings: policy.map(|policy| policy.ceilings(plugin)).unwrap_or_default(),
            generation: self.generation,
        }
    }
}

impl Keeper {
    /// Reads nothing yet.
    pub(crate) fn new(home: &Home) -> Self {
        let known = Known { seen: None, generation: 0, standing: Standing::Absent, digest: None };
        Self {
            home: home.clone(),
            place: Place::new(home.policy_file()),
            path: home.policy_file(),
            known: RwLock::new(Arc::new(known)),
            reading: Mutex::default(),
            untold: Mutex::default(),
        }
    }

    /// What holds now. When the file is the one that was seen last, this takes four system calls; else it is read, which blocks.
    pub(crate) fn now(&self) -> Arc<Known> {
        if let Some(known) = self.unchanged_anew() {
            return known;
        }
        let _one_reader = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.unchanged_anew() {
            return known;
        }
        let before = self.last();
        // Looked at before it is read: what changes meanwhile is another file at the next look.
        let seen = self.place.look_anew();
        let (standing, digest) = self.read(&before);
        let same = matches!((&before.standing, &standing), (Standing::Absent, Standing::Absent))
            || standing.policy().is_some() && standing.policy() == before.standing.policy();
        warn(&self.path, &before.standing, &standing);
        let generation = before.generation + u64::from(!same);
        let known = Arc::new(Known { seen: Some(seen), generation, standing, digest });
        self.tell(known.event());
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&known);
        known
    }

    fn tell(&self, event: AuditEvent) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        if untold.back() == Some(&event) {
            return;
        }
        if untold.len() >= UNTOLD_MAX {
            untold.pop_front();
            tracing::error!("a change of the policy is missing from the audit trail: too many came at once");
        }
        untold.push_back(event);
    }

    /// Whether something has held that the audit trail was not told of.
    pub(crate) fn has_untold(&self) -> bool {
        !self.untold.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Tells the audit trail what has held, each once and in its order, by way of `record`.
    ///
    /// # Errors
    /// What `record` says; what could not be recorded is kept.
    pub(crate) fn tell_all(&self, record: impl Fn(AuditEvent) -> Result<(), Error>) -> Result<(), Error> {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(event) = untold.front().cloned() {
            record(event)?;
            untold.pop_front();
        }
        Ok(())
    }

    /// What was found at the last look, without looking.
    pub(crate) fn last(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last finding, when the file is still that one. Never blocks on reading, and takes less than a microsecond. A home
    /// that was moved away under this host is the same home for it, until [`Keeper::unchanged_anew`] has looked.
    pub(crate) fn unchanged(&self) -> Option<Arc<Known>> {
        let known = self.last();
        (known.seen == Some(self.place.look())).then_some(known)
    }

    /// The same for who looks from time to time: whatever stands at the path of the home by now.
    pub(crate) fn unchanged_anew(&self) -> Option<Arc<Known>> {
        let known = self.last();
        (known.seen == Some(self.place.look_anew())).then_some(known)
    }

    fn read(&self, before: &Known) -> (Standing, Option<String>) {
        let good = before.standing.policy();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let read = match file::read(&self.path, Owner::Trusted) {
            Ok(None) => match good {
                Some(_) => Err(vec![Finding::whole(
                    "it is gone; to lift it while this host runs, write default = \"allow\" into it",
                )]),
                None => return (Standing::Absent, None),
            },
            Ok(Some(text)) => super::parse(&text, &name, &self.home)
                .map(|policy| (policy, crate::store::sha256_hex(text.as_bytes()))),
            Err(findings) => Err(findings),
        };
        match (read, good) {
            (Ok((policy, digest)), _) => (Standing::InForce(Arc::new(policy)), Some(digest)),
            (Err(findings), Some(good)) => {
                (Standing::LastGood(Arc::clone(good), findings), before.digest.clone())
            }
            (Err(findings), None) => (Standing::Unusable(findings), None),
        }
    }

    /// The policy that holds for an act; `None`: nothing is denied.
    ///
    /// # Errors
    /// `policy_denied` when the file cannot be used and no good one is known.
    pub(crate) fn require(&self) -> Result<Option<Arc<Policy>>, Error> {
        let known = self.now();
        match &known.standing {
            Standing::Unusable(findings) => Err(unusable(&self.path, findings)),
            other => Ok(other.policy().cloned()),
        }
    }

    /// What the policy says about one plugin; nothing where it cannot be used: for those who only look.
    pub(crate) fn about(&self, plugin: &str) -> PluginRules {
        self.now().about(plugin)
    }

    /// What a start of a plugin goes by.
    ///
    /// # Errors
    /// As for [`Keeper::require`].
    pub(crate) fn require_for(&self, plugin: &str) -> Result<PluginRules, Error> {
        let known = self.now();
        match &known.standing {
            Standing::Unusable(findings) => Err(unusable(&self.path, findings)),
            _ => Ok(known.about(plugin)),
        }
    }

    /// Whether a package may be installed and run.
    ///
    /// # Errors
    /// `policy_denied` with what refuses it and the line; as for [`Keeper::require`].
    pub(crate) fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Error> {
        let Some(policy) = self.require()? else { return Ok(()) };
        policy.admit(candidate).map_err(|blocked| {
            let line = blocked.place().map(|place| format!(" ({}:{})", self.name(), place.line));
            let message =
                format!("the policy refuses {}: {blocked}{}", candidate.name, line.unwrap_or_default());
            Error::new(ErrorCode::PolicyDenied, message)
                .with_hint("no grant overrides the policy; its line must change")
        })
    }

    /// A line of the file, as messages name it.
    pub(crate) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.name())
    }

    /// Why a plugin may not run, or what is wrong with the policy.
    pub(crate) fn warning(&self, row: &PluginRow) -> Option<String> {
        let package = &row.package;
        let (name, publisher, digest) = (row.name().as_str(), &package.publisher, &package.digest);
        match self.admit(&Candidate { name, publisher, digest }) {
            Err(refused) => Some(refused.message().to_owned()),
            Ok(()) => self.status().warning(),
        }
    }

    /// What the file is called in messages.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// How it stands, for people.
    pub(crate) fn status(&self) -> PolicyStatus {
        let known = self.now();
        PolicyStatus {
            state: known.state(),
            file: self.path.display().to_string(),
            rules: known.standing.policy().map_or(0, |policy| policy.rules.len()),
            findings: known.standing.findings().to_vec(),
        }
    }
}

/// Tells a log what became of the policy, once for each change.
fn warn(path: &std::path::Path, before: &Standing, after: &Standing) {
    let first = after.findings().first().map(ToString::to_string).unwrap_or_default();
    let file = path.display();
    match (before, after) {
        (_, Standing::LastGood(..)) => {
            tracing::warn!(%file, finding = %first, "the policy cannot be used; the last good one still holds");
        }
        (_, Standing::Unusable(_)) => {
            tracing::error!(%file, finding = %first, "the policy cannot be used; nothing is installed, granted, started or called");
        }
        (Standing::Absent, Standing::Absent) => {}
        _ => tracing::info!(%file, "the policy was read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let path = home.policy_file();
        (dir, home, path)
    }

    fn refused(keeper: &Keeper, name: &str) -> Option<ErrorCode> {
        let candidate = Candidate { name, publisher: "unsigned:", digest: "" };
        keeper.admit(&candidate).err().map(|error| error.code())
    }

    /// Another file in the place of the old one, as an editor does it.
    fn put(path: &std::path::Path, text: &str) {
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, path).unwrap();
    }

    const BLOCKS: &str = "[install]\nblocked_names = [\"evil\"]\n";

    #[test]
    fn without_a_file_nothing_is_denied_and_each_change_holds_at_the_next_use() {
        let (_dir, home, path) = home();
        let keeper = Keeper::new(&home);
        assert_eq!(refused(&keeper, "evil"), None);
        let absent = keeper.now().generation;
        put(&path, BLOCKS);
        assert_eq!(refused(&keeper, "evil"), Some(ErrorCode::PolicyDenied));
        assert_eq!(refused(&keeper, "good"), None);
        let blocks = keeper.now().generation;
        assert!(blocks > absent);
        put(&path, &format!("# the same\n{BLOCKS}"));
        let moved = keeper.now().generation;
        assert!(moved > blocks, "the lines are others, so what names them is");
        put(&path, "default = \"allow\"\n");
        assert_eq!(refused(&keeper, "evil"), None);
    }

    #[test]
    fn pol_02_a_broken_file_at_first_refuses_all_and_after_a_good_one_that_one_holds() {
        let (_dir, home, path) = home();
        for broken in ["", "deny = [", "nonsense = 1\n", "[install]\nblocked_names = [\"ev"] {
            put(&path, broken);
            let keeper = Keeper::new(&home);
            assert_eq!(keeper.status().state, PolicyState::Unusable, "{broken}");
            assert_eq!(refused(&keeper, "good"), Some(ErrorCode::PolicyDenied), "{broken}");
            put(&path, BLOCKS);
            assert_eq!((refused(&keeper, "good"), keeper.status().state), (None, PolicyState::InForce));
            let generation = keeper.now().generation;
            put(&path, broken);
            assert_eq!(refused(&keeper, "evil"), Some(ErrorCode::PolicyDenied), "the last good one holds");
            assert_eq!(refused(&keeper, "good"), None, "{broken}");
            assert_eq!(keeper.now().generation, generation);
            let status = keeper.status();
            assert_eq!(status.state, PolicyState::LastGood);
            assert!(status.warning().unwrap().contains("the last good one still holds"));
            assert_eq!(
                super::super::status(&home).state,
                PolicyState::Unusable,
                "a process that comes now has none"
            );
        }
    }

    #[test]
    fn pol_02_a_file_that_is_gone_is_not_a_policy_that_is_lifted() {
        let (_dir, home, path) = home();
        put(&path, BLOCKS);
        let keeper = Keeper::new(&home);
        assert_eq!(refused(&keeper, "evil"), Some(ErrorCode::PolicyDenied));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(refused(&keeper, "evil"), Some(ErrorCode::PolicyDenied));
        assert_eq!(keeper.status().state, PolicyState::LastGood);
        put(&path, "default = \"allow\"\n");
        assert_eq!(refused(&keeper, "evil"), None);
    }

    #[test]
    fn pol_04_a_mode_that_lets_others_write_ends_the_trust_and_its_twin_keeps_it() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, home, path) = home();
        put(&path, BLOCKS);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(super::super::status(&home).state, PolicyState::InForce);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let status = super::super::status(&home);
        assert_eq!(status.state, PolicyState::Unusable);
        assert!(status.findings[0].message.contains("chmod go-w"), "{status:?}");
    }
}
