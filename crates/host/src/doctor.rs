//! What this machine can enforce, in words: what was found, what follows, and how to mend it.
//!
//! [`examine`] tries everything for real and says what came of it. It changes nothing on the machine; the remedies are
//! text, for a person to read and run. How a remedy is chosen is in `mend`.

mod mend;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ringfence_sandbox::audit::Recording;
use ringfence_sandbox::{Backend, BackendFound, Layer, Probe, Swap, Trial};
use serde::Serialize;

pub use mend::apparmor_profile;

/// How a check came out.
///
/// ```
/// assert_eq!(ringfence::doctor::State::Missing.as_str(), "missing");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "CheckState"))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there and holds.
    Ok,
    /// Everything can be enforced, but something is worth knowing.
    Note,
    /// Without it nothing is started.
    Missing,
}

impl State {
    /// The word: `ok`, `note` or `missing`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Missing => "missing",
        }
    }
}

/// One thing that was looked at.
///
/// ```
/// let diagnosis = ringfence::doctor::examine();
/// for check in diagnosis.checks.iter().filter(|check| check.state == ringfence::doctor::State::Missing) {
///     println!("{}: {} {}", check.name, check.found, check.mend.join("; "));
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    /// The layer's name, or `launcher`, `plan`, `grants`, `proc`, `reports`, `cgroup-v2`, `cgroup-v1`, `swap`, `surroundings`,
    /// `policy`.
    pub name: &'static str,
    /// How it came out.
    pub state: State,
    /// What was found, in one line.
    pub found: String,
    /// What that means for a run, if it means anything.
    pub follows: Option<String>,
    /// What to do, one step or command each. Empty when there is nothing to mend, or when another check says it.
    pub mend: Vec<String>,
}

/// Everything that [`examine`] found.
///
/// ```
/// let diagnosis = ringfence::doctor::examine();
/// assert_eq!(diagnosis.enforceable, diagnosis.missing().next().is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Diagnosis {
    /// Whether the default plan can be enforced in full. A sampler that holds the limits counts.
    pub enforceable: bool,
    /// Whether it can be under `--strict` too: a cgroup holds the limits.
    pub strict: bool,
    /// Who holds the limits: `cgroup-v2`, `cgroup-v1` or `sampler`; `null` when nothing can be started.
    pub limits_by: Option<&'static str>,
    /// The kernel's release.
    pub kernel: String,
    /// The effective user.
    pub uid: u32,
    /// The kernel's Landlock version; 0 without Landlock.
    pub landlock_abi: i32,
    /// The kind of container that this runs in, if it looks like one.
    pub container: Option<String>,
    /// The checks: the layers in the order of reports, then the rest.
    pub checks: Vec<Check>,
    /// Kernel settings that bear on the checks and exist here, by their sysctl name.
    pub settings: BTreeMap<&'static str, String>,
}

impl Diagnosis {
    /// The checks that stop every start.
    pub fn missing(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.state == State::Missing)
    }
}

/// Tries what this machine can enforce, for this user, by starting up to about twenty sandboxes with a program that does
/// nothing. Takes some 50 ms.
///
/// ```
/// let diagnosis = ringfence::doctor::examine();
/// println!("{}", if diagnosis.enforceable { "ready" } else { "not ready" });
/// ```
#[must_use]
pub fn examine() -> Diagnosis {
    diagnose(&ringfence_sandbox::probe())
}

/// Whether the administrator's policy of this home can be used; `None` when there is none. A policy that cannot be used is a note:
/// the machine can enforce all, and yet no plugin is started.
///
/// ```
/// assert_eq!(ringfence::doctor::policy_check(&ringfence::Home::at("/nowhere")), None);
/// ```
#[must_use]
pub fn policy_check(home: &crate::Home) -> Option<Check> {
    let status = crate::policy::status(home);
    match status.state {
        crate::policy::PolicyState::Absent => None,
        crate::policy::PolicyState::InForce | crate::policy::PolicyState::LastGood => {
            Some(Check::new("policy", State::Ok, format!("{} rules in {}", status.rules, status.file)))
        }
        crate::policy::PolicyState::Unusable => {
            let first = status.findings.first().map(ToString::to_string).unwrap_or_default();
            let mut check =
                Check::new("policy", State::Note, format!("{} cannot be used: {first}", status.file));
            check.follows = Some("no plugin is installed, granted anything, started or called".to_owned());
            check.mend = vec!["ringfence policy check".to_owned()];
            Some(check)
        }
    }
}

/// The finding in words: a pure translation.
pub(crate) fn diagnose(probe: &Probe) -> Diagnosis {
    let mut checks: Vec<Check> =
        probe.layers.iter().map(|(layer, trial)| layer_check(*layer, trial, probe)).collect();
    checks.push(proc_check(probe));
    checks.push(grants_check(probe));
    checks.push(reports_check(probe));
    checks.push(records_check(probe));
    checks.extend(probe.backends.iter().filter(|found| found.backend != Backend::Sampler).map(backend_check));
    checks.push(swap_check(probe));
    checks.extend(surroundings_check(probe));
    checks.splice(0..0, launcher_check(probe));
    if !probe.plan.held() && !checks.iter().any(|check| check.state == State::Missing) {
        // Each part holds alone and the whole does not: nothing that is known, so it is said as it is.
        let mut whole = Check::new("plan", State::Missing, probe.plan.cause().unwrap_or_default());
        whole.follows = Some(REFUSED.to_owned());
        whole.mend = mend::whole();
        checks.insert(0, whole);
    }
    let enforceable = !checks.iter().any(|check| check.state == State::Missing);
    let around = &probe.surroundings;
    Diagnosis {
        enforceable,
        strict: enforceable && !matches!(probe.limits_by, None | Some(Backend::Sampler)),
        limits_by: probe.limits_by.map(Backend::name),
        kernel: around.kernel_release.clone(),
        uid: around.uid,
        landlock_abi: probe.landlock_abi,
        container: around.container.clone(),
        checks,
        settings: around.settings.iter().cloned().collect(),
    }
}

const REFUSED: &str = "nothing is started without it";

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self { name, state, found: found.into(), follows: None, mend: Vec::new() }
    }
}

/// What a layer is for, in a few words.
fn purpose(layer: Layer) -> &'static str {
    match layer {
        Layer::User => "the program's user has no power outside",
        Layer::Mount => "what is not granted does not exist",
        Layer::Pid => "no other process can be seen or signalled",
        Layer::Ipc => "no shared memory or queues of other programs",
        Layer::Uts => "a host name of its own",
        Layer::Network => "no network",
        Layer::Cgroup => "its place among the host's cgroups does not show",
        Layer::Landlock => "a second wall around files",
        Layer::Seccomp => "only the system calls that programs need",
        Layer::NoNewPrivileges => "no program file gives privileges",
        Layer::Capabilities => "no capability, and none to be had",
        Layer::Descriptors => "no open file but its three streams",
        Layer::Session => "never a terminal of the caller's",
        Layer::Limits => "memory, tasks and CPU",
        _ => "part of the default plan",
    }
}

/// Worth a line only if it fails: then it is the only thing to mend.
fn launcher_check(probe: &Probe) -> Option<Check> {
    let cause = probe.launcher.cause()?;
    let mut check = Check::new("launcher", State::Missing, cause);
    check.follows = Some("it builds every sandbox: nothing else could be tried".to_owned());
    check.mend = mend::launcher(probe);
    Some(check)
}

fn layer_check(layer: Layer, trial: &Trial, probe: &Probe) -> Check {
    let mut check = Check::new(layer.name(), State::Ok, purpose(layer));
    if let Some(cause) = trial.cause() {
        check.state = State::Missing;
        cause.clone_into(&mut check.found);
        if matches!(trial, Trial::Failed { .. }) {
            check.follows = Some(REFUSED.to_owned());
            check.mend = mend::layer(layer, cause, probe);
        }
        return check;
    }
    match layer {
        Layer::Landlock => landlock_details(&mut check, probe),
        Layer::Limits => limits_details(&mut check, probe),
        _ => {}
    }
    check
}

fn landlock_details(check: &mut Check, probe: &Probe) {
    let _infallible = write!(check.found, " (ABI {})", probe.landlock_abi);
    if !probe.landlock_lacks.is_empty() {
        check.state = State::Note;
        let lacks = probe.landlock_lacks.iter().map(|gap| format!("{} (ABI {})", gap.what, gap.since_abi));
        check.follows =
            Some(format!("not held by Landlock on this kernel: {}", lacks.collect::<Vec<_>>().join("; ")));
        check.mend = vec!["a newer kernel brings it; nothing is open without it".to_owned()];
    }
}

fn limits_details(check: &mut Check, probe: &Probe) {
    let Some(by) = probe.limits_by else { return };
    let _infallible = write!(check.found, ", held by {}", by.name());
    if by == Backend::Sampler {
        check.state = State::Note;
        check.found.push_str(": rlimits, and a look at every process ten times a second");
        check.follows = Some("this counts as enforced; what grows between two looks can pass the limit, and --strict refuses it".to_owned());
        check.mend = mend::delegation(probe);
    }
}

fn proc_check(probe: &Probe) -> Check {
    match &probe.proc_mount {
        Trial::Held => {
            Check::new("proc", State::Ok, "a /proc of its own, with nothing of the host's processes")
        }
        Trial::NotTried { needs } => Check::new("proc", State::Note, format!("not tried: {needs}")),
        Trial::Failed { cause, .. } => {
            let mut check = Check::new("proc", State::Missing, cause.clone());
            check.follows = Some("programs that need /proc would fail, so nothing is started".to_owned());
            check.mend = mend::proc(probe);
            check
        }
    }
}

fn grants_check(probe: &Probe) -> Check {
    let what = if probe.surroundings.uid == 0 {
        "a granted tree is shown id-mapped"
    } else {
        "a granted tree can be shown"
    };
    match &probe.grant {
        Trial::Held => Check::new("grants", State::Ok, what),
        Trial::NotTried { needs } => Check::new("grants", State::Note, format!("not tried: {needs}")),
        Trial::Failed { .. } if !probe.plan.held() => {
            Check::new("grants", State::Note, "not tried: the default plan does not start")
        }
        Trial::Failed { cause, .. } => {
            let mut check = Check::new("grants", State::Missing, cause.clone());
            check.follows =
                Some("programs run, but no file of this machine can be granted to them".to_owned());
            check.mend = mend::grants(probe);
            check
        }
    }
}

fn reports_check(probe: &Probe) -> Check {
    if probe.reports {
        return Check::new("reports", State::Ok, "a refused system call is reported with what it was about");
    }
    let mut check = Check::new("reports", State::Note, "the system call filter cannot report on this kernel");
    check.follows = Some(
        "calls are refused all the same, but `exec --explain` and `denials` stay silent about them"
            .to_owned(),
    );
    check.mend = vec!["Linux 5.5 or newer, and no outer sandbox that hides seccomp(2)".to_owned()];
    check
}

/// Never stops anything: a denial that the kernel does not record is judged, as it is for ordinary users.
fn records_check(probe: &Probe) -> Check {
    let missing = match &probe.landlock_records {
        Ok(Recording::On) => {
            return Check::new(
                "records",
                State::Ok,
                "the kernel records what Landlock refuses, and `exec --explain` reads it",
            );
        }
        Ok(Recording::Unknown) => {
            let found =
                "the kernel's records of Landlock's denials can be read, but not whether it writes any";
            return Check::new("records", State::Note, format!("{found}: CAP_AUDIT_CONTROL is missing"));
        }
        Err(why) => why,
    };
    let found = format!("the kernel's records of Landlock's denials cannot be read: {missing}");
    let mut check = Check::new("records", State::Note, found);
    check.follows = Some(
        "`exec --explain` judges by the rules which refusals are Landlock's; nothing else is missing"
            .to_owned(),
    );
    check.mend = missing.mend().map(str::to_owned).into_iter().collect();
    check
}

fn backend_check(found: &BackendFound) -> Check {
    let name = found.backend.name();
    match found.trial.cause() {
        None => {
            let places: Vec<_> = found.directories.iter().map(|path| path.display().to_string()).collect();
            Check::new(name, State::Ok, format!("usable, in {}", places.join(", ")))
        }
        Some(cause) if found.exists => Check::new(name, State::Note, format!("not usable: {cause}")),
        Some(cause) => Check::new(name, State::Note, format!("not here: {cause}")),
    }
}

fn swap_check(probe: &Probe) -> Check {
    match probe.swap {
        Swap::None => Check::new("swap", State::Ok, "this machine has none"),
        Swap::Counted => Check::new("swap", State::Ok, "counts against the memory limit"),
        Swap::NotCounted => {
            let mut check = Check::new("swap", State::Note, "does not count against the memory limit");
            check.follows = Some("a run may use its memory limit once more as swap".to_owned());
            check.mend =
                vec!["boot with `swapaccount=1` on the kernel's command line, or use cgroup v2".to_owned()];
            check
        }
    }
}

/// Where this process runs, if that is worth a word.
fn surroundings_check(probe: &Probe) -> Option<Check> {
    let around = &probe.surroundings;
    let mut words = Vec::new();
    if let Some(container) = &around.container {
        words.push(format!("inside {container}"));
    }
    if around.filtered {
        words.push("under an outer system call filter".to_owned());
    }
    if let Some(profile) = around.apparmor.as_deref().filter(|profile| !profile.starts_with("unconfined")) {
        words.push(format!("under the AppArmor profile {profile}"));
    }
    if around.root_without_ids {
        words.push("root of a user namespace only".to_owned());
    }
    if words.is_empty() {
        return None;
    }
    let mut check = Check::new("surroundings", State::Note, words.join(", "));
    if probe.plan.held() {
        check.follows = Some("nothing: all layers hold here too".to_owned());
    }
    Some(check)
}

/// The path that an AppArmor profile must name: this program's own, with links followed by the kernel.
///
/// # Errors
/// `io` when /proc does not tell it.
pub fn own_program() -> Result<std::path::PathBuf, crate::Error> {
    let link = Path::new("/proc/self/exe");
    std::fs::read_link(link).map_err(|error| crate::Error::file("read", link, error))
}
