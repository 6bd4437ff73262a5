//! Whether a plugin's grants over files still open what a person consented to.
//!
//! A plugin that may write somewhere can put a link there, and so could decide at the next start what another of its grants
//! means, or one of an accomplice. Therefore:
//!
//! - What was there at the consent must be there now: the same directory by device and inode; a file at the same path.
//!   Otherwise the plugin is not started.
//! - Where nothing was there, only something may be opened that no plugin can have put there: it must lie at the very place,
//!   with no link on the way that was not there before, and no plugin may write around it. Otherwise the grant stays closed
//!   until somebody consents anew.
//! - No consent goes through a link that a plugin could have put where it is: the place that it leads to must be named.
//! - What another grant of the same plugin opens anyway is not judged again, and what lies in its own directories is its own.
//!
//! A program that is granted by its path or name is pinned here as well; `service::process` compares it when it is run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ringfence_api::text::shell_word;
use ringfence_api::{ErrorCode, PermissionName};
use ringfence_policy::{CanonicalPath, FileOp, PathPattern, Rule};
use ringfence_sandbox::{ResolveError, Resolved};

use crate::error::Error;
use crate::exec::translate::file_op;
use crate::exec::walk;
use crate::pin::{Pin, Seen, program};

/// The directories that plugins may write, with all that is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trees(Vec<PathBuf>);

impl Trees {
    /// One more, if the rule grants writing in a directory. A single file cannot be replaced by who may only write it.
    pub(crate) fn add_rule(&mut self, rule: &Rule) {
        let pattern = rule.path().filter(|pattern| !pattern.is_exact());
        if let Some(pattern) = pattern.filter(|_| file_op(rule) == Some(FileOp::Write)) {
            self.add(walk::leads_to(pattern.literal_prefix().as_path()));
        }
    }

    /// One more.
    pub(crate) fn add(&mut self, directory: PathBuf) {
        if !self.0.contains(&directory) {
            self.0.push(directory);
        }
    }

    /// The directory in which something of this path can be made by a plugin. The top of a tree is not in it.
    pub(crate) fn around(&self, path: &Path) -> Option<&Path> {
        self.0.iter().map(PathBuf::as_path).find(|tree| path.starts_with(tree) && path != *tree)
    }
}

/// What is known of the places of a plugin's grants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pins {
    /// For what is said to people.
    pub(crate) plugin: String,
    /// By the text of the grant. What has none is looked at now, as for a consent.
    pub(crate) by_grant: BTreeMap<String, Pin>,
    /// Where any plugin may write.
    pub(crate) trees: Trees,
    /// What becomes of a grant that does not fit.
    pub(crate) misfit: Misfit,
}

/// What becomes of a grant that does not fit what was consented to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It is an error: nothing is started.
    #[default]
    Refused,
    /// It opens nothing, and it is said why: for who only looks.
    Told,
}

/// How it stands with the place of one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Where the grant leads now.
    pub(crate) path: PathBuf,
    pub(crate) state: PlaceState,
    /// Why it opens nothing, as a sentence.
    pub(crate) why: Option<String>,
}

/// Whether a grant opens its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceState {
    Open,
    Missing,
    Closed,
    Misfit,
}

/// What of the host's files the rules of a plugin mean, and nothing else of the same name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holding {
    /// Places that had no pin.
    pub(crate) taken: BTreeMap<String, Pin>,
    /// Directories and files as they were found.
    places: Vec<(PathBuf, Seen)>,
    /// Single files that may be read and that a plugin could put another one in the place of: each must be that very one.
    watched: Vec<PathBuf>,
    /// Programs granted by path or name: the text of the rule, and what was consented to.
    programs: Vec<(String, Pin)>,
    /// By the text of the grant.
    pub(crate) standing: BTreeMap<String, Standing>,
}

impl Holding {
    /// Whether a directory or file that is about to be opened for the plugin is the one that was found there.
    pub(crate) fn is(&self, path: &Path, identity: (u64, u64)) -> bool {
        self.places.iter().filter(|(place, _)| place == path).all(|(_, seen)| seen.is_inode(identity))
    }

    /// The directories on the way to `path` that must be those that were found.
    pub(crate) fn on_the_way<'h>(&'h self, path: &'h Path) -> impl Iterator<Item = &'h Path> {
        let places = self.places.iter().filter(|(_, seen)| seen.directory).map(|(place, _)| place.as_path());
        places.filter(move |place| path.starts_with(place))
    }

    /// What the file at `path` must be to be read; `None` where no plugin can have put another one there.
    pub(crate) fn very(&self, path: &Path) -> Option<Seen> {
        let watched = self.watched.iter().any(|watched| watched == path);
        let mut places = self.places.iter().filter(|(place, _)| watched && place == path);
        places.next().map(|(_, seen)| seen.clone())
    }

    /// Whether a program may be run that this rule allows: what it names alone must be what was consented to.
    pub(crate) fn lets_run(&self, rule: &Rule, found: &Resolved) -> bool {
        let text = rule.text();
        let pin = self.programs.iter().find(|(known, _)| *known == text).map(|(_, pin)| pin);
        pin.map_or_else(|| !names_one_program(rule), |pin| pin.is_program(found))
    }
}

/// Looks at the grants of one request, one after another.
pub(super) struct Holder<'p> {
    pins: &'p Pins,
    trees: Trees,
    own: Vec<CanonicalPath>,
    holding: Holding,
    /// Directories that are open, and for what.
    opened: Vec<(FileOp, PathBuf)>,
    problems: Vec<Problem>,
    /// Files that the plugin may write by a grant of their own.
    written: Vec<PathBuf>,
}

/// A grant that does not open its place.
struct Problem {
    text: String,
    op: Option<FileOp>,
    /// Where it leads.
    leads: PathBuf,
    state: PlaceState,
    why: String,
    hint: String,
}

/// What is done with one grant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It opens this place, or what its rule says where it is about none.
    Open(Option<PathBuf>),
    /// It opens nothing.
    Shut,
}

/// The way to the place of a grant.
struct Way {
    text: String,
    op: Option<FileOp>,
    prefix: CanonicalPath,
    leads: PathBuf,
}

impl<'p> Holder<'p> {
    /// `granted` are all grants of the request: what one of them lets write, another one may not trust.
    pub(super) fn new<'r>(
        pins: &'p Pins,
        own: &[CanonicalPath],
        granted: impl Iterator<Item = &'r Rule>,
    ) -> Self {
        let (mut trees, mut written) = (pins.trees.clone(), Vec::new());
        for rule in granted {
            trees.add_rule(rule);
            let exact = rule.path().filter(|pattern| pattern.is_exact());
            if let Some(pattern) = exact.filter(|_| file_op(rule) == Some(FileOp::Write)) {
                written.push(walk::leads_to(pattern.literal_prefix().as_path()));
            }
        }
        Self {
            pins,
            trees,
            own: own.to_vec(),
            holding: Holding::default(),
            opened: Vec::new(),
            problems: Vec::new(),
            written,
        }
    }

    /// Whether this grant opens what it names.
    pub(super) fn look(&mut self, text: &str, rule: &Rule) -> Look {
        let programs = *rule.permission_name() == PermissionName::SubprocessExecute;
        if let Some(name) = rule.name_pattern().and_then(|name| name.as_exact()).filter(|_| programs) {
            self.pin_program(text, named(name));
            return Look::Open(None);
        }
        let op = file_op(rule);
        let Some(pattern) = rule.path().filter(|_| programs || op.is_some()) else { return Look::Open(None) };
        let prefix = pattern.literal_prefix();
        if prefix == CanonicalPath::root() {
            return Look::Open(None);
        }
        let leads = walk::leads_to(prefix.as_path());
        if self.own.iter().any(|own| leads.starts_with(own.as_path())) {
            return Look::Open(None);
        }
        let way = Way { text: text.to_owned(), op, prefix, leads };
        if self.own.iter().any(|own| way.prefix.is_within(own)) {
            let why = format!("a link in the plugin's own directory leads to {}", way.leads.display());
            return self.shut(way, PlaceState::Closed, why, String::new());
        }
        let found = Resolved::find(way.prefix.as_path());
        if programs && pattern.is_exact() && !found.as_ref().is_ok_and(Resolved::is_directory) {
            self.pin_program(text, way.prefix.as_path().as_os_str().to_owned());
            self.stands(&way, if found.is_ok() { PlaceState::Open } else { PlaceState::Missing });
            return Look::Open(None);
        }
        match self.pins.by_grant.get(text) {
            Some(pin) => self.compare(way, pin, found),
            None => self.take(way, found),
        }
    }

    /// The grant was let through, and this is what is left of it.
    pub(super) fn let_through(&mut self, text: &str, rule: &Rule) {
        if names_one_program(rule) {
            let pin = self.pins.by_grant.get(text).or_else(|| self.holding.taken.get(text)).cloned();
            self.holding.programs.extend(pin.map(|pin| (rule.text(), pin)));
        }
        if let Some((op, pattern)) =
            file_op(rule).zip(rule.path()).filter(|(_, pattern)| pattern.is_subtree())
        {
            self.opened.push((op, pattern.literal_prefix().as_path().to_owned()));
        }
    }

    fn pin_program(&mut self, text: &str, named: std::ffi::OsString) {
        if self.pins.by_grant.contains_key(text) {
            return;
        }
        // What is not there now is not what somebody puts there later.
        let missing = || match CanonicalPath::new(&named) {
            Ok(path) => Pin::missing(&path, false),
            Err(_) => Pin::missing_name(&named),
        };
        let pin = program(&named).and_then(|found| Pin::of_program(&found)).unwrap_or_else(missing);
        self.holding.taken.insert(text.to_owned(), pin);
    }

    /// The place of a grant that was consented to.
    fn compare(&mut self, way: Way, pin: &Pin, found: Result<Resolved, ResolveError>) -> Look {
        let Some(seen) = &pin.seen else { return self.came_since(way, pin, found) };
        let found = match found {
            Ok(found) => found,
            Err(ResolveError::Missing { .. }) => {
                // It may come back while the plugin runs, and must be the same then.
                self.holding.places.push((way.prefix.as_path().to_owned(), seen.clone()));
                self.holding.places.push((way.leads.clone(), seen.clone()));
                self.stands(&way, PlaceState::Missing);
                return Look::Open(None);
            }
            // Whoever makes the rule says what is wrong with it.
            Err(_) => return Look::Open(None),
        };
        if !pin.is(&found) || self.may_be_anothers(&way, pin, &found) {
            let (why, hint) = self.misfit(&way, pin, &found);
            return self.shut(way, PlaceState::Misfit, why, hint);
        }
        self.open(way, &found)
    }

    /// Whether a single file that may be read is another one by now, in a directory that a plugin may write: it could have put
    /// there what it may write and not read. Whoever may write the file itself has no need of that.
    fn may_be_anothers(&self, way: &Way, pin: &Pin, found: &Resolved) -> bool {
        way.op == Some(FileOp::Read)
            && !found.is_directory()
            && self.trees.around(found.path()).is_some()
            && !self.written.iter().any(|path| path == found.path())
            && !pin.is_that_very(found)
    }

    /// Nothing was there at the consent.
    fn came_since(&mut self, way: Way, pin: &Pin, found: Result<Resolved, ResolveError>) -> Look {
        let hint = format!("if what is there is meant, consent to it: {}", self.command(&way.text));
        if let Some(tree) = self.trees.around(&way.leads).map(Path::to_owned) {
            let why = format!("nothing was there at the consent, and a plugin may write {}", tree.display());
            return self.shut(way, PlaceState::Closed, why, hint);
        }
        if pin.plantable || !pin.is_at(&way.leads) {
            let why =
                format!("nothing was there at the consent, and now it leads to {}", way.leads.display());
            return self.shut(way, PlaceState::Closed, why, hint);
        }
        match found {
            Ok(found) => self.open(way, &found),
            Err(_) => {
                self.stands(&way, PlaceState::Missing);
                Look::Open(None)
            }
        }
    }

    /// The place of a grant that is consented to now.
    fn take(&mut self, way: Way, found: Result<Resolved, ResolveError>) -> Look {
        let links = walk::links_on(way.prefix.as_path());
        let planted = links.iter().find_map(|link| Some((link, self.trees.around(link)?)));
        if let Some((link, tree)) = planted {
            let (link, tree, leads) = (link.display(), tree.display(), way.leads.display());
            let why = format!(
                "it goes through the link {link} to {leads}, and a plugin can put another link there, because it may write {tree}"
            );
            let hint = format!("name {leads} itself, if that is what is wanted");
            return self.shut(way, PlaceState::Misfit, why, hint);
        }
        match found {
            Ok(found) => {
                self.holding.taken.extend(Pin::of(&found).map(|pin| (way.text.clone(), pin)));
                self.open(way, &found)
            }
            Err(ResolveError::Missing { .. }) => {
                let tree = self.trees.around(&way.leads).map(Path::to_owned);
                if let Ok(leads) = CanonicalPath::new(&way.leads) {
                    let pin = Pin::missing(&leads, tree.is_some());
                    self.holding.taken.insert(way.text.clone(), pin);
                }
                let Some(tree) = tree else {
                    self.stands(&way, PlaceState::Missing);
                    return Look::Open(None);
                };
                let why = format!("nothing is there, and a plugin may write {}", tree.display());
                let hint = format!("make it first, then: {}", self.command(&way.text));
                self.shut(way, PlaceState::Closed, why, hint)
            }
            Err(_) => Look::Open(None),
        }
    }

    fn open(&mut self, way: Way, found: &Resolved) -> Look {
        let alone = way.op == Some(FileOp::Read) && !found.is_directory();
        let anothers = self.trees.around(found.path()).is_some();
        if alone && anothers && !self.written.iter().any(|path| path == found.path()) {
            self.holding.watched.push(found.path().to_owned());
        }
        self.holding.places.extend(Seen::of(found).map(|seen| (found.path().to_owned(), seen)));
        self.stands(&way, PlaceState::Open);
        Look::Open(Some(found.path().to_owned()))
    }

    fn stands(&mut self, way: &Way, state: PlaceState) {
        let standing = Standing { path: way.leads.clone(), state, why: None };
        self.holding.standing.insert(way.text.clone(), standing);
    }

    fn shut(&mut self, way: Way, state: PlaceState, why: String, hint: String) -> Look {
        let Way { text, op, leads, .. } = way;
        self.problems.push(Problem { text, op, leads, state, why, hint });
        Look::Shut
    }

    fn misfit(&self, way: &Way, pin: &Pin, found: &Resolved) -> (String, String) {
        let kind = if found.is_directory() { "directory" } else { "file" };
        let there = match pin.is_at(found.path()) {
            true => format!("another {kind} lies there"),
            false => format!("it leads to the {kind} {}", found.path().display()),
        };
        let why = format!("{} was consented to, and now {there}", pin.words());
        let plugin = &self.pins.plugin;
        let hint = format!(
            "if what is there now is meant, consent to it anew: {}; if not, put back what was there, or take the grant back: \
             ringfence revoke {plugin} {}",
            self.command(&way.text),
            shell_word(&way.text)
        );
        (why, hint)
    }

    fn command(&self, text: &str) -> String {
        format!("ringfence grant {} {}", self.pins.plugin, shell_word(text))
    }

    /// What the rules mean.
    ///
    /// # Errors
    /// `permission_denied` for the first grant that does not fit what was consented to.
    pub(super) fn end(mut self) -> Result<Holding, Error> {
        for problem in std::mem::take(&mut self.problems) {
            let Problem { text, op, leads, state, why, hint } = problem;
            let open =
                |(opened, directory): &(FileOp, PathBuf)| Some(*opened) == op && leads.starts_with(directory);
            let covered = self.opened.iter().any(open);
            if !covered && state == PlaceState::Misfit && self.pins.misfit == Misfit::Refused {
                let message = format!("the grant {text} of {}: {why}", self.pins.plugin);
                return Err(Error::new(ErrorCode::PermissionDenied, message).with_hint(hint));
            }
            let (state, why) = if covered { (PlaceState::Open, None) } else { (state, Some(why)) };
            let standing = Standing { path: leads, state, why };
            self.holding.standing.insert(text, standing);
        }
        Ok(self.holding)
    }
}

/// Whether the rule is about starting one program, by its path or its name.
fn names_one_program(rule: &Rule) -> bool {
    let single = rule.path().map_or_else(
        || rule.name_pattern().is_some_and(|name| name.as_exact().is_some()),
        PathPattern::is_exact,
    );
    single && *rule.permission_name() == PermissionName::SubprocessExecute
}

fn named(name: &[u8]) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::OsStr::from_bytes(name).to_owned()
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
