//! What a sandbox enforced and refused, in the words of the report: layers by name, denials with the grant that would help.
//!
//! A refused system call is a fact that PID 1 told. Files are judged: [`judge`] says what a watched call needed on the host,
//! and the rules say whether it was granted.

pub(crate) mod judge;
mod kernel;
pub(crate) mod site;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ringfence_api::{Denial, EnforcedLayer, PermissionName, UNKNOWN_OBJECT};
use ringfence_policy::{
    CanonicalPath, Effect, FileOp, Host, HostPattern, PathPattern, Reason, Request, RuleSet, Vars,
};
use ringfence_sandbox::audit::Recording;
use ringfence_sandbox::{Layer, Object, Refusal, Report, Sandbox};

use crate::exec::mounts;
use crate::exec::translate::Translated;
use judge::{Act, Need, Place, View};

/// How many different denials a report lists.
const DENIALS_MAX: usize = 256;

/// The layers that were proven, each with what holds it.
pub(crate) fn enforced(report: &Report) -> BTreeMap<String, EnforcedLayer> {
    let describe = |layer| match layer {
        Layer::User | Layer::Mount | Layer::Pid | Layer::Ipc | Layer::Uts | Layer::Cgroup => {
            EnforcedLayer::by("namespace")
        }
        Layer::Network if report.shared_network => {
            EnforcedLayer::by("namespace").with_detail("empty, shared between sandboxes")
        }
        Layer::Network => EnforcedLayer::by("namespace").with_detail("empty"),
        Layer::Landlock => EnforcedLayer::by("landlock").with_detail(format!("ABI {}", report.landlock_abi)),
        Layer::Seccomp => EnforcedLayer::by("seccomp").with_detail("allow-list"),
        Layer::Limits => EnforcedLayer::by(report.limits_by.map_or("rlimits", |backend| backend.name())),
        _ => EnforcedLayer::by("kernel"),
    };
    report.layers.iter().map(|layer| (layer.name().to_owned(), describe(layer))).collect()
}

/// Whether the kernel's own records of Landlock's denials were read, for a report; nothing for a run that was not watched.
pub(crate) fn landlock_records(sandbox: &Sandbox) -> Option<String> {
    Some(match sandbox.kernel_records()? {
        Ok(Recording::On) => "read".to_owned(),
        Ok(Recording::Unknown) => {
            "read, if the kernel writes any: whether its audit is on cannot be asked without CAP_AUDIT_CONTROL".to_owned()
        }
        Err(why) => format!("not read: {why}"),
    })
}

/// The refusals of one run, found as they come: each observation is judged once.
#[derive(Debug, Default)]
pub(crate) struct Explainer {
    view: Option<View>,
    /// How many observations have been judged.
    judged: usize,
    judgements: Vec<Denial>,
    /// Which observation is counted in which judgement.
    counted_in: Vec<(usize, usize)>,
    /// Observations of refusals that are not listed.
    unlisted: Vec<usize>,
    sites: site::Sites,
}

impl Explainer {
    /// Every refusal that is known so far, equal ones counted together. What could not be told apart or listed is one entry
    /// `more` without an object.
    pub(crate) fn denials(&mut self, sandbox: &Sandbox, translated: &Translated) -> Vec<Denial> {
        self.judge_new(sandbox, translated);
        let may_start = translated.rules.rules().iter().any(|rule| {
            rule.effect() == Effect::Allow && *rule.permission_name() == PermissionName::SubprocessExecute
        });
        let mut all: Vec<Denial> = sandbox.refusals().map(|refusal| refused(refusal, may_start)).collect();
        let times = |index: usize| sandbox.observations().get(index).map_or(0, |seen| seen.count);
        for judgement in &mut self.judgements {
            judgement.count = 0;
        }
        for (observation, judgement) in &self.counted_in {
            if let Some(denial) = self.judgements.get_mut(*judgement) {
                denial.count += times(*observation);
            }
        }
        let room = DENIALS_MAX.saturating_sub(all.len());
        let mut found = self.judgements.clone();
        kernel::add(sandbox.kernel_denials(), translated, &mut found);
        all.extend(found.iter().take(room).cloned());
        let over: u64 = found.iter().skip(room).map(|denial| denial.count).sum();
        let more = over + self.unlisted.iter().map(|index| times(*index)).sum::<u64>() + sandbox.lost();
        if more > 0 {
            all.push(Denial { count: more, ..Denial::new(Layer::Seccomp.name(), "more") });
        }
        all
    }

    fn judge_new(&mut self, sandbox: &Sandbox, translated: &Translated) {
        let view = self.view.get_or_insert_with(|| view(translated));
        for (index, observation) in sandbox.observations().iter().enumerate().skip(self.judged) {
            if self.sites.take(&observation.object) {
                continue;
            }
            let location = self.sites.of(&observation.object).cloned();
            let network = wanted_listening(&observation.object, observation.operation);
            let acts = view.acts(observation);
            let files = acts.iter().filter_map(|act| judged(act, translated));
            for mut denial in network.into_iter().chain(files) {
                denial.location.clone_from(&location);
                let same =
                    |known: &Denial| (&known.operation, &known.object) == (&denial.operation, &denial.object);
                match self.judgements.iter().position(same) {
                    Some(known) => {
                        self.counted_in.push((index, known));
                        if let Some(known) = self.judgements.get_mut(known)
                            && known.location.is_none()
                        {
                            known.location = denial.location;
                        }
                    }
                    None if self.judgements.len() < DENIALS_MAX => {
                        self.counted_in.push((index, self.judgements.len()));
                        self.judgements.push(denial);
                    }
                    None => self.unlisted.push(index),
                }
            }
        }
        self.judged = sandbox.observations().len();
    }
}

/// How the paths of this run are to be looked at.
fn view(translated: &Translated) -> View {
    let granted = translated.plan.mounts().iter().map(|mount| mount.source.path());
    let shared = granted.filter(|path| matches!(path.to_str(), Some("/tmp" | "/var/tmp")));
    View::new(translated.left_directory.as_deref(), shared.map(Path::to_owned))
}

/// A refused system call. Where processes may be started, a refused start is one in a namespace of its own: no grant helps.
fn refused(refusal: &Refusal, may_start: bool) -> Denial {
    let object = match &refusal.object {
        Object::Unknown => UNKNOWN_OBJECT.to_owned(),
        object => object.to_string(),
    };
    let grant = match (&refusal.object, refusal.operation) {
        (Object::Address(address), _) => {
            let pattern = HostPattern::exact(&Host::from(address.ip()), address.port());
            Some(format!("network:request={pattern}"))
        }
        (Object::Path(path), "connect") => socket_grant(Path::new(path)),
        (_, "fork" | "vfork" | "clone" | "execve" | "execveat") if !may_start => {
            Some("subprocess:execute".to_owned())
        }
        _ => None,
    };
    Denial { object, grant, count: refusal.count, ..Denial::new(refusal.layer.name(), refusal.operation) }
}

/// A socket itself cannot be granted: it can be reached where its directory may be written.
fn socket_grant(path: &Path) -> Option<String> {
    let directory = CanonicalPath::new(path.parent()?).ok()?;
    Some(format!("{}={}", FileOp::Write.permission(), PathPattern::subtree(&directory)))
}

/// A port that was bound: Landlock refuses it to TCP, and nobody could reach it.
pub(crate) fn wanted_listening(object: &Object, operation: &str) -> Option<Denial> {
    let Object::Address(address) = object else { return None };
    (operation == "bind").then(|| {
        let name = PermissionName::NetworkListen;
        let grant = match address.port() {
            // The kernel chooses.
            0 => name.to_string(),
            port => format!("{name}={}", HostPattern::exact(&Host::from(address.ip()), port)),
        };
        let (object, layer) = (address.to_string(), Layer::Network.name());
        Denial { object, grant: Some(grant), ..Denial::new(layer, operation) }
    })
}

/// The refusal that an act met, if the rules do not allow it.
fn judged(act: &Act, translated: &Translated) -> Option<Denial> {
    let rules = &translated.rules;
    let path = act.place.object();
    let Some(op) = file_op(act.need) else { return not_executable(act, translated) };
    let allowed = |op: FileOp, path: &CanonicalPath| {
        rules.decide(&Request::File { op, path: path.clone() }).is_allowed()
    };
    let held = allowed(op, act.place.holder()) && allowed(op, path);
    let seen = op == FileOp::Read && is_on_the_way(path.as_path(), translated);
    // What may be written but not deleted (or the other way round) only Landlock can hold: the mount is writable.
    let writable = [FileOp::Write, FileOp::Delete].iter().any(|op| allowed(*op, act.place.holder()));
    if held || seen || act.looks && writable {
        return None;
    }
    let layer = if writable { Layer::Landlock } else { Layer::Mount };
    let operation = match act.need {
        Need::Connect => "connect".to_owned(),
        _ => op.permission().to_string(),
    };
    let (grant, warning) = grant_for(act, op, rules, &translated.vars);
    Some(Denial { object: path.to_string(), grant, warning, ..Denial::new(layer.name(), operation) })
}

fn file_op(need: Need) -> Option<FileOp> {
    match need {
        Need::File(op) => Some(op),
        Need::Connect => Some(FileOp::Write),
        Need::Execute => None,
    }
}

/// A program in a place that can be written, where nothing is executed.
fn not_executable(act: &Act, translated: &Translated) -> Option<Denial> {
    let path = act.place.object();
    let is_directory = matches!(act.place, Place::Directory(_));
    let access = mounts::access(&translated.rules, path.as_path(), is_directory).ok()?;
    if !access.changes() || access.execute {
        return None;
    }
    let directory =
        if is_directory { path.clone() } else { CanonicalPath::new(path.as_path().parent()?).ok()? };
    let grant = format!("{}={}", PermissionName::SubprocessExecute, PathPattern::subtree(&directory));
    Some(Denial {
        object: path.to_string(),
        grant: Some(grant),
        ..Denial::new(Layer::Mount.name(), PermissionName::SubprocessExecute.to_string())
    })
}

/// Whether the sandbox has a directory of its own there, because something below it is granted.
fn is_on_the_way(path: &Path, translated: &Translated) -> bool {
    translated.plan.mounts().iter().any(|mount| mount.source.path().starts_with(path))
}

/// The narrowest grant that would allow the act, and what has to be said about it.
pub(crate) fn grant_for(
    act: &Act,
    op: FileOp,
    rules: &RuleSet,
    vars: &Vars,
) -> (Option<String>, Option<String>) {
    let path = act.place.object();
    let denied = |path: &CanonicalPath| {
        let request = Request::File { op, path: path.clone() };
        matches!(rules.decide(&request).reason(), Reason::Denied(_))
    };
    if denied(path) || denied(act.place.holder()) {
        return (None, None);
    }
    let permission = op.permission();
    let protected = vars.floor().holds(path);
    let mut warning = protected.then(|| {
        format!("{path} is protected: keys, tokens, sessions and what shells start lie there; grant it only to what you would hand them to")
    });
    let pattern = act.place.pattern();
    let beside_protected = op != FileOp::Read && !vars.floor().floor_conflicts(&pattern).is_empty();
    if beside_protected && let Place::In { directory, entry } = &act.place {
        warning = Some(format!(
            "{directory} holds protected files, so it cannot be granted for change as a whole: make {entry} beforehand, and grant it alone"
        ));
        return (Some(format!("{permission}={entry}")), warning);
    }
    (
        Some(format!("{permission}={}", through_link(act, rules).unwrap_or_else(|| pattern.to_string()))),
        warning,
    )
}

/// The pattern as the program named it, if the link that it went through is not shown: a grant of that name brings it along.
fn through_link(act: &Act, rules: &RuleSet) -> Option<String> {
    let named = act.named.as_ref()?;
    let parent = ringfence_sandbox::Resolved::find(named.parent()?).ok()?;
    let link: PathBuf = parent.path().join(named.file_name()?);
    let request = Request::File { op: FileOp::Read, path: CanonicalPath::new(link).ok()? };
    if rules.decide(&request).is_allowed() {
        return None;
    }
    let named = CanonicalPath::new(named).ok()?;
    let pattern = match act.place {
        Place::File(_) => PathPattern::exact(&named),
        Place::Directory(_) | Place::In { .. } => PathPattern::subtree(&named),
    };
    Some(pattern.to_string())
}
