//! `ringfence learn`: one run in a sandbox that shows nearly everything and changes only copies, and the grants with which
//! the same would have worked.
//!
//! What is watched says what the program named and needed (`explain::judge`); `scopes` makes a short list of it. Nothing
//! that the program does leaves the sandbox: it changes throw-away copies, has no network, and what is on the floor is not
//! shown.

mod scopes;
mod trial;

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use ringfence_api::{Denial, ErrorCode, Permission, PermissionName, RunReport};
use ringfence_policy::{CanonicalPath, Effect, FileOp, PathPattern, Rule, RuleSet, Vars};
use ringfence_sandbox::{Access, Object, Plan, Resolved, Sandbox, is_always_shown};

use crate::error::Error;
use crate::exec::Listeners;
use crate::exec::explain::judge::{Act, Need, Place, View, is_private};
use crate::exec::explain::{grant_for, wanted_listening};
use crate::exec::floor;
use crate::exec::request::Exec;
use crate::exec::run::Sink;
use crate::exec::translate::{Translated, file_op, lexical};

/// How many directories a run that is learned from can have copies of: each is a mount.
const COPIES_MAX: usize = 48;
/// How many entries of /etc are shown to such a run.
const ETC_MAX: usize = 256;
/// How many notes are kept of what the command tried in vain.
const NOTES_MAX: usize = 16;
/// Where the host's mounts are listed, proc_pid_mountinfo(5).
const MOUNTS: &str = "/proc/self/mountinfo";
/// Where a sandbox has a directory of its own, which hides the host's.
const TMP: &str = "/tmp";
/// What the sandbox has of its own at the top, or always shows.
const NOT_COPIED: [&str; 12] =
    ["/proc", "/dev", "/sys", TMP, "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"];
/// What [`Exec::learn`] opens in any case.
const ALL_OF_IT: Access = Access { read: true, write: true, delete: true, execute: true };

/// How to learn.
///
/// ```
/// assert!(!ringfence::exec::LearnOptions::default().minimise);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LearnOptions {
    /// Runs the command again with each line left out, on copies, and drops the lines without which it ends and prints the
    /// same. Default off, because it runs the command once for each line.
    pub minimise: bool,
}

/// What a run needed.
///
/// ```no_run
/// use ringfence::exec::{Capture, Exec, LearnOptions};
///
/// let learned = Exec::new(["wc", "-w", "/srv/notes/today.txt"]).learn(&mut Capture::default(), LearnOptions::default())?;
/// assert_eq!(learned.grants, ["file:read=/srv/notes/today.txt"]);
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Learned {
    /// The report of the run that was watched.
    pub report: RunReport,
    /// The grants, in the order in which they are to be read.
    pub grants: Vec<String>,
    /// Where the command was started, if that directory is there with these grants (`--cwd`): relative names mean something
    /// in it.
    pub working_directory: Option<PathBuf>,
    /// Whether a run with these grants has to be told of it: the directory is not granted as a whole.
    pub has_to_be_told: bool,
    /// What it wanted of the network, which a command cannot be given: refused in this run as well.
    pub network: Vec<Denial>,
    /// What it wanted of protected paths, each with the reason for not proposing it.
    pub protected: Vec<Denial>,
    /// What to know about the list.
    pub notes: Vec<String>,
}

impl Learned {
    /// The permissions for a manifest: the grants, and what was wanted of the network.
    #[must_use]
    pub fn permissions(&self) -> Vec<String> {
        let network = self.network.iter().filter_map(|denial| denial.grant.clone());
        let mut all: Vec<String> = self.grants.iter().cloned().chain(network).collect();
        let mut seen = HashSet::new();
        all.retain(|permission| seen.insert(permission.clone()));
        all
    }
}

/// What was seen of a run that was made to learn from.
#[derive(Debug)]
pub(crate) struct Seen {
    acts: Vec<Act>,
    processes: bool,
    listening: Vec<Denial>,
    lost: u64,
    vars: Vars,
    /// Where it was started.
    working_directory: PathBuf,
}

impl Seen {
    pub(crate) fn of(sandbox: &Sandbox, translated: &Translated) -> Self {
        let mut view = View::default();
        let mut known = HashSet::new();
        let (mut acts, mut listening) = (Vec::new(), Vec::new());
        let mut processes = false;
        for observation in sandbox.observations() {
            processes |= matches!(
                (&observation.object, observation.operation),
                (Object::Unknown, "clone" | "fork" | "vfork") | (_, "execve" | "execveat")
            );
            listening.extend(wanted_listening(&observation.object, observation.operation));
            acts.extend(view.acts(observation).into_iter().filter(|act| known.insert(act.clone())));
        }
        let program = translated.plan.program_files().filter(|file| !is_always_shown(file.path()));
        acts.extend(program.filter_map(|file| {
            let place = Place::File(CanonicalPath::new(file.path()).ok()?);
            Some(Act { need: Need::File(FileOp::Read), place, named: None, looks: false })
        }));
        let working_directory = translated.plan.starts_in().to_owned();
        Self {
            acts,
            processes,
            listening,
            lost: sandbox.lost(),
            vars: translated.vars.clone(),
            working_directory,
        }
    }
}

impl Exec {
    /// Runs the command once, watched, in a sandbox that shows nearly everything, and says which grants it needs.
    ///
    /// Nothing outside is changed: what the command may change are copies in memory, which the memory limit counts. The
    /// network stays closed, what is protected stays hidden, and variables of the environment are only those that are given,
    /// as in any run: which ones a program reads cannot be seen. What was granted to this `Exec` before only adds to what is
    /// shown; grants of `env:read` are part of the answer. Blocks until the command has ended.
    ///
    /// # Errors
    /// As in the report of [`Exec::run`], where nothing was started; `not_enforceable` where the kernel cannot lay copies
    /// (overlayfs in a user namespace, Linux 5.11).
    pub fn learn(&self, sink: &mut dyn Sink, options: LearnOptions) -> Result<Learned, Error> {
        let directory = match &self.directory {
            Some(directory) => directory.clone(),
            None => std::env::current_dir().map_err(|error| Error::file("find", Path::new("."), error))?,
        };
        let mut wide = self.clone();
        (wide.wide, wide.explain, wide.throw_away, wide.store) = (true, true, true, None);
        let vars = floor::vars(&wide, &directory)?;
        wide.grants.extend(wide_grants(&vars));
        let outcome = wide.run(sink, &Listeners::new());
        if let Some(body) = &outcome.report.error {
            let mut error = Error::new(body.code, body.message.clone());
            if let Some(hint) = &body.hint {
                error = error.with_hint(hint.clone());
            }
            return Err(error);
        }
        let Some(seen) = outcome.seen else {
            return Err(Error::new(ErrorCode::Internal, "a run that was watched left nothing to learn from"));
        };
        let mut learned = learned(self, outcome.report, seen, &directory);
        self.try_out(&mut learned, sink, options);
        Ok(learned)
    }
}

/// Reading everything but what each sandbox has of its own, and starting processes.
fn wide_grants(vars: &Vars) -> Vec<String> {
    let mut grants = vec![PermissionName::SubprocessExecute.to_string()];
    let top = entries(Path::new("/")).into_iter().filter(|path| !is_not_copied(path));
    // The sandbox has an /etc of its own: what it lacks is added piece by piece.
    let etc = entries(Path::new("/etc")).into_iter().filter(|path| !is_always_shown(path)).take(ETC_MAX);
    for path in top.chain(etc) {
        let Ok(found) = Resolved::find(&path) else { continue };
        let (Ok(named), Ok(real)) = (CanonicalPath::new(&path), CanonicalPath::new(found.path())) else {
            continue;
        };
        let ours = is_always_shown(found.path()) || is_not_copied(found.path());
        if ours || vars.floor().holds(&named) || vars.floor().holds(&real) {
            continue;
        }
        let pattern =
            if found.is_directory() { PathPattern::subtree(&named) } else { PathPattern::exact(&named) };
        grants.push(format!("{}={pattern}", PermissionName::FileRead));
    }
    grants
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// What a word names at the top of /tmp, if only within it (`sh -c`).
fn named_in_tmp(word: &[u8]) -> Vec<PathBuf> {
    const PREFIX: &[u8] = b"/tmp/";
    let begins = |at: &usize| word.get(*at..).is_some_and(|rest| rest.starts_with(PREFIX));
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/'\"`;|&<>()$*?:,".contains(byte);
    (0..word.len())
        .filter(begins)
        .filter_map(|at| word.get(at + PREFIX.len()..))
        .map(|rest| rest.split(ends).next().unwrap_or_default())
        .filter(|name| !name.is_empty() && *name != b"." && *name != b"..")
        .map(|name| Path::new(TMP).join(std::ffi::OsStr::from_bytes(name)))
        .collect()
}

fn is_not_copied(path: &Path) -> bool {
    NOT_COPIED.iter().any(|own| path == Path::new(own))
}

/// Lets the command change copies: of each directory at the top, of its own directory, and of those that its arguments name.
///
/// What is protected is hidden in them, also where no rule shows the directory.
pub(super) fn open_wide(plan: &mut Plan, exec: &Exec, directory: &Path, vars: &Vars) {
    let mounted = mount_points();
    let mut places: Vec<PathBuf> =
        entries(Path::new("/")).into_iter().filter(|path| !is_not_copied(path)).collect();
    places.push(directory.to_owned());
    for word in exec.command.iter().skip(1) {
        let path = lexical(&directory.join(word));
        places.extend(path.parent().map(Path::to_owned));
        places.push(path);
    }
    // The sandbox's own /tmp stands in the place of the host's: what it lacks is added piece by piece.
    places.extend(exec.command.iter().skip(1).flat_map(|word| named_in_tmp(word.as_bytes())));
    if directory == Path::new(TMP) {
        places.extend(entries(directory));
    }
    let mut copied: Vec<Resolved> = Vec::new();
    for found in places.iter().filter_map(|path| Resolved::find(path).ok()) {
        let path = found.path();
        let own =
            is_always_shown(path) && !path.starts_with(TMP) || path == Path::new("/") || is_not_copied(path);
        // The kernel copies one file system; what is mounted in it would be missing.
        let holds_mounts = mounted.iter().any(|mount| mount.starts_with(path) && mount != path);
        let has_copy =
            copied.iter().any(|above| path.starts_with(above.path()) && above.owner() == found.owner());
        if !found.is_directory()
            || own
            || holds_mounts
            || has_copy
            || path.starts_with("/etc")
            || copied.len() >= COPIES_MAX
        {
            continue;
        }
        plan.mount(found.clone(), ALL_OF_IT);
        copied.push(found);
    }
    for found in vars.floor().paths().filter_map(|path| Resolved::find(path.as_path()).ok()) {
        if copied.iter().any(|copy| found.path().starts_with(copy.path())) {
            plan.hide(found);
        }
    }
}

/// The mount points of the host, unescaped. Empty where they cannot be read.
fn mount_points() -> Vec<PathBuf> {
    let Ok(text) = std::fs::read(MOUNTS) else { return Vec::new() };
    let fields = text.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields.map(|field| PathBuf::from(OsString::from_vec(unescaped(field)))).collect()
}

/// Blanks and backslashes stand as `\040` and the like.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        rest = after;
        let code = after
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|digit| matches!(digit, b'0'..=b'7')));
        match code {
            Some(digits) => {
                plain.push(
                    digits
                        .iter()
                        .fold(0u8, |number, digit| number.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = after.get(3..).unwrap_or_default();
            }
            None => plain.push(*first),
        }
    }
    plain
}

fn learned(exec: &Exec, report: RunReport, seen: Seen, directory: &Path) -> Learned {
    let Seen { acts, processes, listening, lost, vars, working_directory } = seen;
    let mut scopes = scopes::Scopes::default();
    let (mut protected, mut known): (Vec<Denial>, _) = (Vec::new(), HashSet::new());
    let none = RuleSet::default();
    let denials = denials(exec, &vars);
    let mut notes = notes(&report, lost);
    for act in &acts {
        if is_refused_here(act) {
            let note = format!(
                "it tried to change {}, which this run refused as well: not in the list",
                act.place.object()
            );
            if notes.len() < NOTES_MAX && !notes.contains(&note) {
                notes.push(note);
            }
        } else if let Some(rule) = denied_by_caller(act, &denials) {
            let note =
                format!("it wanted {}, which '{rule}' keeps from it: not in the list", act.place.object());
            if notes.len() < NOTES_MAX && !notes.contains(&note) {
                notes.push(note);
            }
        } else if let (Need::File(op), true) = (act.need, vars.floor().holds(act.place.object())) {
            let (grant, warning) = grant_for(act, op, &none, &vars);
            let denial = Denial {
                object: act.place.object().to_string(),
                grant,
                warning,
                ..Denial::new("mount", op.permission().to_string())
            };
            if known.insert((denial.object.clone(), denial.operation.clone())) {
                protected.push(denial);
            }
        } else {
            scopes.add(act);
        }
    }
    let given = exec.grants.iter().filter(|grant| grant.starts_with("env:read")).cloned();
    let mut grants: Vec<String> = scopes.grants(&vars);
    let scoped = grants.iter().any(|grant| grant.starts_with("subprocess:"));
    if processes && !scoped {
        grants.push(PermissionName::SubprocessExecute.to_string());
    }
    grants.extend(given);
    notes.extend(beside_protected(&grants, &vars));
    let network =
        report.denials.iter().filter(|denial| denial.layer == "network" && denial.operation != "bind");
    let network = network.cloned().chain(listening).collect();
    let (working_directory, has_to_be_told) = start(exec, &grants, &working_directory, directory);
    Learned { report, grants, working_directory, has_to_be_told, network, protected, notes }
}

/// What the caller denies, as rules. One that is none has stopped the run before.
fn denials(exec: &Exec, vars: &Vars) -> Vec<Rule> {
    let rule = |text: &String| Rule::parse(Effect::Deny, text, vars, format!("--deny {text}")).ok();
    exec.denials.iter().filter_map(rule).collect()
}

/// The flag that keeps from the command what it tried.
fn denied_by_caller<'r>(act: &Act, denials: &'r [Rule]) -> Option<&'r str> {
    let Need::File(op) = act.need else { return None };
    let denies = |rule: &&Rule| {
        file_op(rule) == Some(op) && rule.path().is_some_and(|pattern| pattern.matches(act.place.object()))
    };
    denials.iter().find(denies).map(Rule::origin)
}

/// What belongs to the system is not changed, in copies neither.
fn is_refused_here(act: &Act) -> bool {
    let holder = act.place.holder().as_path();
    let system = is_always_shown(holder) && !is_private(holder) || holder.starts_with("/etc");
    matches!(act.need, Need::File(FileOp::Write | FileOp::Delete)) && system
}

/// Where the command has to be started, if that is there with these grants; and whether that has to be said.
fn start(exec: &Exec, grants: &[String], started_in: &Path, directory: &Path) -> (Option<PathBuf>, bool) {
    if let Some(asked) = &exec.working_directory {
        return (Some(lexical(&directory.join(asked))), true);
    }
    let scopes = || {
        let files = grants.iter().filter_map(|grant| grant.split_once('='));
        files.filter(|(name, _)| name.starts_with("file:")).map(|(_, scope)| scope)
    };
    let within = |scope: &str| scope.strip_suffix("/**").is_some_and(|tree| started_in.starts_with(tree));
    let whole = scopes().any(within);
    let is_there =
        whole || scopes().any(|scope| Path::new(scope.trim_end_matches("/**")).starts_with(started_in));
    (is_there.then(|| started_in.to_owned()), is_there && !whole)
}

fn notes(report: &RunReport, lost: u64) -> Vec<String> {
    let mut notes = Vec::new();
    if report.exit_code != Some(0) {
        let how = match (report.exit_code, report.signal) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "did not end by itself".to_owned(),
        };
        notes.push(format!("the command {how}: the list is of what it did until then"));
    }
    if lost > 0 {
        notes.push(format!("{lost} acts were too many to be told apart: the list may lack something"));
    }
    notes
}

/// Changes right beside protected files cannot be granted.
fn beside_protected(grants: &[String], vars: &Vars) -> Vec<String> {
    let changes = grants.iter().filter(|grant| !grant.starts_with("file:read="));
    let refused = changes.filter(|grant| {
        let permission: Option<Permission> = grant.parse().ok();
        permission.is_some_and(|permission| {
            ringfence_policy::Rule::from_permission(
                ringfence_policy::Effect::Allow,
                &permission,
                vars,
                "learn",
            )
            .is_err()
        })
    });
    refused
        .map(|grant| {
            format!("{grant} would be refused: protected files lie there; let the command write elsewhere")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_names_below_tmp_is_found() {
        let named = |word: &str| named_in_tmp(word.as_bytes());
        assert_eq!(
            named("cat /tmp/a/b > \"/tmp/c d\"; ls /tmp/"),
            [Path::new("/tmp/a"), Path::new("/tmp/c")]
        );
        assert!(named("/tmp /tmp/.. /tmp/*").is_empty());
    }

    #[test]
    fn mount_points_are_read_as_they_are_named() {
        assert_eq!(unescaped(br"/a\040b\134c"), br"/a b\c");
        assert_eq!(unescaped(br"/a\04"), br"/a\04");
        assert!(mount_points().iter().any(|path| path == Path::new("/proc")));
    }
}
