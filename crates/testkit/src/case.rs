//! The check that every denial goes through: bare, denied, granted.

use crate::job::Run;
use crate::world::{Who, World, users};

/// How the act is shown to be possible at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Outside the sandbox, as the same user.
    SameUser,
    /// Outside the sandbox, as root, because the act needs it. Without root it is said to be skipped.
    AsRoot,
}

/// One act, and under which flags it must be refused and allowed.
///
/// ```no_run
/// use ringfence_testkit::Case;
/// Case::new("fs_01", &["read", "{secret}/canary.txt"]).denied(&["--rw", "{grant}"]).granted(&["--ro", "{secret}"]).check();
/// ```
#[derive(Debug)]
pub struct Case<'a> {
    id: &'a str,
    act: Vec<&'a str>,
    control: Control,
    denied: Vec<&'a str>,
    granted: Option<Vec<&'a str>>,
    errnos: &'a [i64],
    setup: fn(&World),
    changes: bool,
    silent: bool,
    harmed: fn(&World) -> bool,
}

impl<'a> Case<'a> {
    /// A case named after its catalogue entry.
    #[must_use]
    pub fn new(id: &'a str, act: &[&'a str]) -> Self {
        Self {
            id,
            act: act.to_vec(),
            control: Control::SameUser,
            denied: Vec::new(),
            granted: None,
            errnos: &[],
            setup: |_| (),
            changes: false,
            silent: false,
            harmed: |_| false,
        }
    }

    /// The bare control runs as root.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.control = Control::AsRoot;
        self
    }

    /// The flags under which the act must be refused.
    #[must_use]
    pub fn denied(mut self, flags: &[&'a str]) -> Self {
        self.denied = flags.to_vec();
        self
    }

    /// The flags under which the act must succeed.
    #[must_use]
    pub fn granted(mut self, flags: &[&'a str]) -> Self {
        self.granted = Some(flags.to_vec());
        self
    }

    /// The only error numbers that a refusal may have.
    #[must_use]
    pub fn errnos(mut self, list: &'a [i64]) -> Self {
        self.errnos = list;
        self
    }

    /// Prepares each of the three worlds.
    #[must_use]
    pub fn setup(mut self, prepare: fn(&World)) -> Self {
        self.setup = prepare;
        self
    }

    /// The refused act may still change the granted tree (not what is outside of it).
    #[must_use]
    pub fn may_change_grant(mut self) -> Self {
        self.changes = true;
        self
    }

    /// The program may end without a word when it is refused: a signal is an answer too.
    #[must_use]
    pub fn may_die(mut self) -> Self {
        self.silent = true;
        self
    }

    /// Tells, after the run, whether harm was done that the exit status does not show.
    #[must_use]
    pub fn harmed(mut self, look: fn(&World) -> bool) -> Self {
        self.harmed = look;
        self
    }

    /// Runs all of it, as every user of [`users`].
    ///
    /// # Panics
    /// When one of the three runs behaves in another way than it must.
    pub fn check(&self) {
        for who in users() {
            self.bare(who);
            self.refused(who);
            self.allowed(who);
        }
    }

    fn world(&self, who: Who) -> World {
        let world = World::new(who);
        (self.setup)(&world);
        world
    }

    fn bare(&self, who: Who) {
        let world = self.world(who);
        let job = world.bare(&self.act);
        let job = match self.control {
            Control::SameUser => job,
            Control::AsRoot if crate::lacks("root") => return,
            Control::AsRoot => job.run_as(Who::Root),
        };
        let run = job.run();
        assert!(
            succeeded(&run),
            "{}: the bare act fails as {who:?}, so the case proves nothing\n{run}",
            self.id
        );
    }

    fn refused(&self, who: Who) {
        let world = self.world(who);
        let before = world.still();
        let run = world.probe(&self.denied, &self.act).run();
        let id = self.id;
        if let Some(act) = run.acts().pop() {
            assert!(!act.ok, "{id}: not refused as {who:?}\n{run}");
            assert!(
                self.errnos.is_empty() || self.errnos.contains(&act.errno),
                "{id}: refused with errno {} as {who:?}, may be {:?}\n{run}",
                act.errno,
                self.errnos
            );
        } else {
            assert!(
                self.silent && run.code != Some(0) && run.code != Some(125),
                "{id}: no answer as {who:?}\n{run}"
            );
        }
        assert!(!run.out().contains(&world.canary), "{id}: the canary leaked as {who:?}\n{run}");
        assert!(!(self.harmed)(&world), "{id}: harm was done as {who:?}\n{run}");
        let mut changed = crate::world::changes(&before, &world.still());
        if self.changes {
            let grant = world.path("data/grant");
            changed.retain(|path| !path.starts_with(&grant));
        }
        assert!(changed.is_empty(), "{id}: changed as {who:?}: {changed:?}\n{run}");
    }

    fn allowed(&self, who: Who) {
        let Some(flags) = &self.granted else { return };
        let world = self.world(who);
        let run = world.probe(flags, &self.act).run();
        assert!(succeeded(&run), "{}: fails with the grant {flags:?} as {who:?}\n{run}", self.id);
    }
}

fn succeeded(run: &Run) -> bool {
    run.acts().pop().is_some_and(|act| act.ok)
}
