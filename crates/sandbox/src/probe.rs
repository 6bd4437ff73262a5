//! What this kernel allows this user, found by trying: the default plan is launched, and if it does not start, each layer
//! alone. Settings of the system are read only to explain what was found; nothing is decided by a version number.
//!
//! Start reading at [`probe`]. What to do about a finding is not decided here.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use crate::audit::{Recording, Unavailable};
use crate::kernel::Facts;
use crate::launch::{Launcher, Stdio};
use crate::layer::{Layer, Layers};
use crate::limits::{Backend, CgroupError, Leaf, sweep_directories};
use crate::plan::{Access, Plan};
use crate::report::{Ending, LaunchError};
use crate::resolve::{Program, Resolved};

/// Programs that do nothing and end, with the arguments that they need for it; every system has one of them.
const IDLE: [(&str, &[&str]); 3] = [("true", &[]), ("sh", &["-c", ":"]), ("env", &["true"])];
/// How often a trial is made whose ending nobody could tell.
const TRIES: usize = 3;
/// A tree that any user may be granted for reading, to try a grant with. The first that is there is used.
const GRANTABLE: [&str; 5] = ["/srv", "/home", "/opt", "/mnt", "/var"];
/// An id of the range that plugins of root run under (see `launch.rs`): it must be mapped where root is not the host's.
const OUTSIDE_ID: u64 = 0x9000_0000;
/// Settings that explain why something is refused. A missing one is normal: each exists on some kernels only.
const SETTINGS: [&str; 6] = [
    "user.max_user_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.io_uring_disabled",
    "kernel.yama.ptrace_scope",
    "vm.memfd_noexec",
];

/// What came of trying something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// A sandbox was started with it, proved it from the inside, and its program ended well.
    Held,
    /// It cannot be had.
    Failed {
        /// The layer that the failing step belongs to, if it belongs to one.
        layer: Option<Layer>,
        /// What the kernel said to which step.
        cause: String,
    },
    /// There was no way to try it.
    NotTried {
        /// What is missing for the trial.
        needs: String,
    },
}

impl Trial {
    /// Whether it was tried and held.
    #[must_use]
    pub fn held(&self) -> bool {
        *self == Self::Held
    }

    /// Why not, if it did not hold.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::Held => None,
            Self::Failed { cause, .. } => Some(cause),
            Self::NotTried { needs } => Some(needs),
        }
    }
}

/// A limits back-end as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendFound {
    /// Which one. Never [`Backend::Auto`].
    pub backend: Backend,
    /// Whether a sandbox could be started with it.
    pub trial: Trial,
    /// Whether this system has it at all, whoever may use it.
    pub exists: bool,
    /// The directories that hold, or would hold, the leaves of this user. Empty for the sampler.
    pub directories: Vec<std::path::PathBuf>,
}

/// Something that a newer Landlock could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LandlockGap {
    /// The ABI that brought it (landlock(7)).
    pub since_abi: i32,
    /// What is missing, and what holds it instead.
    pub what: &'static str,
}

/// Whether swapped memory counts against the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// This system has no swap.
    None,
    /// There is swap, and the cgroup in use counts it.
    Counted,
    /// There is swap that the cgroup in use does not count: a sandbox may use its limit again as swap.
    NotCounted,
}

/// Where this process itself runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The kernel's release, as `uname -r` tells it.
    pub kernel_release: String,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// Root of a user namespace that cannot give plugins an id of their own: of a rootless container, of `unshare -r`.
    pub root_without_ids: bool,
    /// What kind of container this looks like: `docker`, `podman`, `kubernetes`, `lxc`, `wsl`, `systemd-nspawn`, `container`.
    pub container: Option<String>,
    /// Whether this process is under a system call filter already.
    pub filtered: bool,
    /// The AppArmor profile of this process; `unconfined` where there is none, nothing without AppArmor.
    pub apparmor: Option<String>,
    /// The kernel settings that exist here, by their sysctl(8) name.
    pub settings: Vec<(&'static str, String)>,
}

impl Surroundings {
    /// The value of a setting; nothing where this kernel does not have it or /proc does not show it.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// What can be enforced here, for this user. Made by [`probe`].
///
/// ```
/// let found = ringfence_sandbox::probe();
/// for (layer, trial) in &found.layers {
///     println!("{layer}: {}", trial.cause().unwrap_or("holds"));
/// }
/// assert_eq!(found.layers.len(), ringfence_sandbox::Layer::ALL.len());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The launcher, which builds every sandbox. If it did not hold, nothing else could be tried.
    pub launcher: Trial,
    /// The default plan: every layer, default limits.
    pub plan: Trial,
    /// Each layer, in the order of reports. Where the whole plan held, all held; else each was tried without the others
    /// (but with those that it builds upon).
    pub layers: Vec<(Layer, Trial)>,
    /// A plan that grants a directory of the host: as root, the grant is an id-mapped mount.
    pub grant: Trial,
    /// Whether a fresh /proc can be mounted. It belongs to the layer `mount`, but has causes and remedies of its own.
    pub proc_mount: Trial,
    /// Who holds the limits of the default plan; nothing if it does not start.
    pub limits_by: Option<Backend>,
    /// Each limits back-end, in the order of preference.
    pub backends: Vec<BackendFound>,
    /// The kernel's Landlock version; 0 if it has none, or it is switched off.
    pub landlock_abi: i32,
    /// What newer versions of Landlock add.
    pub landlock_lacks: Vec<LandlockGap>,
    /// Whether the system call filter can report what it refuses.
    pub reports: bool,
    /// Whether the kernel's own records of Landlock's denials can be read, or why not.
    pub landlock_records: Result<Recording, Unavailable>,
    /// Whether swap counts against the memory limit.
    pub swap: Swap,
    /// Where this process runs.
    pub surroundings: Surroundings,
}

/// Tries what sandboxes need, by starting up to about twenty of them with a program that does nothing, one after the other.
/// Takes some 50 ms. Nothing is left behind but what a launch leaves too: as root, the directory `ringfence` in each cgroup
/// hierarchy; in a delegated v2 cgroup, the child that this process moves into.
///
/// Facts of the kernel that a launch needs are read once in a process: a change (of a setting, of a delegation) is seen by
/// the next process.
#[must_use]
pub fn probe() -> Probe {
    let facts = Facts::get();
    let surroundings = surroundings(facts);
    let prober = Prober::new();
    let mut limits_by = None;
    let plan = prober.attempt(Layers::ALL, |_| {}, &mut limits_by);
    let layers: Vec<_> = if plan.held() {
        Layer::ALL.iter().map(|layer| (*layer, Trial::Held)).collect()
    } else {
        prober.alone(facts.root)
    };
    let grant = prober.grant();
    let backends = backends(&prober, facts.uid, plan.held());
    let swap = swap(limits_by, &backends);
    Probe {
        proc_mount: proc_mount(&layers),
        launcher: prober.launcher_trial(),
        plan,
        layers,
        grant,
        limits_by,
        backends,
        landlock_abi: facts.landlock_abi,
        landlock_lacks: landlock_lacks(facts.landlock_abi),
        reports: facts.listener,
        landlock_records: crate::audit::availability(),
        swap,
        surroundings,
    }
}

/// Starts one sandbox after the other.
struct Prober {
    launcher: Result<Launcher, String>,
    /// Why the launcher was lost, once it was.
    lost: OnceCell<String>,
    idle: Option<Plan>,
}

impl Prober {
    fn new() -> Self {
        let launcher = Launcher::start().map_err(|error| chain(&error));
        Self { launcher, lost: OnceCell::new(), idle: idle_plan() }
    }

    fn launcher_trial(&self) -> Trial {
        let cause = self.launcher.as_ref().err().or_else(|| self.lost.get());
        cause.map_or(Trial::Held, |cause| Trial::Failed { layer: None, cause: cause.clone() })
    }

    /// Starts a sandbox with these layers and sees it end well. `limits_by` is set if it held.
    fn attempt(
        &self,
        layers: Layers,
        change: impl FnOnce(&mut Plan),
        limits_by: &mut Option<Backend>,
    ) -> Trial {
        let (Ok(launcher), None) = (&self.launcher, self.lost.get()) else {
            return Trial::NotTried { needs: "it needs the launcher".to_owned() };
        };
        let Some(plan) = &self.idle else {
            return Trial::NotTried { needs: "it needs one of the programs true, sh and env".to_owned() };
        };
        let mut plan = plan.clone();
        plan.weaken(Layers::ALL.without(layers));
        change(&mut plan);
        for _ in 0..TRIES {
            if let Ok(trial) = self.start(launcher, &plan, limits_by) {
                return trial;
            }
        }
        Trial::Failed { layer: None, cause: "a program that does nothing was killed, each time".to_owned() }
    }

    fn start(
        &self,
        launcher: &Launcher,
        plan: &Plan,
        limits_by: &mut Option<Backend>,
    ) -> Result<Trial, Untold> {
        let failed = |layer, cause| Ok(Trial::Failed { layer, cause });
        let stdio = match Stdio::null() {
            Ok(stdio) => stdio,
            Err(error) => return Ok(Trial::NotTried { needs: format!("it needs /dev/null: {error}") }),
        };
        let mut sandbox = match launcher.launch(plan, stdio) {
            Ok(sandbox) => sandbox,
            Err(error) => {
                let cause = chain(&error);
                if matches!(error, LaunchError::Launcher { .. }) {
                    return failed(None, self.lost.get_or_init(|| cause).clone());
                }
                return failed(layer_of(&error), cause);
            }
        };
        match sandbox.wait() {
            Ok(Ending::Exited(0)) => {
                *limits_by = sandbox.report().limits_by;
                Ok(Trial::Held)
            }
            Ok(Ending::Killed) => Err(Untold),
            Ok(ending) => failed(None, format!("a program that does nothing ended with {ending:?}")),
            Err(error) => failed(None, error.to_string()),
        }
    }

    /// Each layer without those that it does not build upon.
    fn alone(&self, root: bool) -> Vec<(Layer, Trial)> {
        let mut found: Vec<(Layer, Trial)> = Vec::new();
        for layer in TRIED {
            let base = built_upon(layer, root);
            let absent =
                base.iter().find(|base| found.iter().any(|(known, trial)| known == *base && !trial.held()));
            let trial = match absent {
                Some(absent) => Trial::NotTried { needs: format!("it needs the layer {absent}") },
                None => {
                    let mut layers = base.to_vec();
                    layers.push(layer);
                    self.attempt(Layers::of(&layers), |_| {}, &mut None)
                }
            };
            found.push((layer, trial));
        }
        if !self.launcher_trial().held() {
            // Whichever layer was tried when it was lost, it was not that layer's fault.
            let untried = Trial::NotTried { needs: "it needs the launcher".to_owned() };
            found.iter_mut().for_each(|(_, trial)| trial.clone_from(&untried));
        }
        found.sort_by_key(|(layer, _)| *layer);
        found
    }

    fn grant(&self) -> Trial {
        let Some(tree) = GRANTABLE.iter().find_map(|path| Resolved::find(Path::new(path)).ok()) else {
            return Trial::NotTried { needs: format!("it needs one of {}", GRANTABLE.join(", ")) };
        };
        let grant = |plan: &mut Plan| {
            plan.mount(tree, Access::READ);
        };
        self.attempt(Layers::ALL, grant, &mut None)
    }
}

/// PID 1 was gone before it could tell how the program ended: that says nothing about a layer.
struct Untold;

/// Each layer after those that it builds upon.
const TRIED: [Layer; 14] = [
    Layer::User,
    Layer::Pid,
    Layer::Mount,
    Layer::Ipc,
    Layer::Uts,
    Layer::Network,
    Layer::Cgroup,
    Layer::NoNewPrivileges,
    Layer::Landlock,
    Layer::Seccomp,
    Layer::Capabilities,
    Layer::Descriptors,
    Layer::Session,
    Layer::Limits,
];

/// Without root, only the owner of a user namespace may make the others; /proc can be mounted only for a pid namespace of
/// one's own; a filter and Landlock rules are taken from unprivileged processes only with `no_new_privs`.
fn built_upon(layer: Layer, root: bool) -> &'static [Layer] {
    match (layer, root) {
        (Layer::Mount, true) => &[Layer::Pid],
        (Layer::Mount, false) => &[Layer::User, Layer::Pid],
        (Layer::Pid | Layer::Ipc | Layer::Uts | Layer::Network | Layer::Cgroup, false) => &[Layer::User],
        (Layer::Landlock | Layer::Seccomp, _) => &[Layer::NoNewPrivileges],
        _ => &[],
    }
}

fn idle_plan() -> Option<Plan> {
    IDLE.iter().find_map(|(name, arguments)| {
        let mut plan = Plan::new(Program::find(name.as_ref(), Path::new("/")).ok()?);
        for argument in *arguments {
            plan.argument(*argument);
        }
        plan.working_directory("/");
        Some(plan)
    })
}

fn layer_of(error: &LaunchError) -> Option<Layer> {
    match error {
        LaunchError::NotEnforceable { layer, .. } => Some(*layer),
        LaunchError::Unproven { layers } => layers.iter().next(),
        LaunchError::Limits(_) => Some(Layer::Limits),
        _ => None,
    }
}

/// The error with its causes, each once: some texts name their cause already.
fn chain(error: &LaunchError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// What the layer `mount` says about /proc: its failing step is named in the cause.
fn proc_mount(layers: &[(Layer, Trial)]) -> Trial {
    match layers.iter().find(|(layer, _)| *layer == Layer::Mount) {
        Some((_, Trial::NotTried { needs })) => Trial::NotTried { needs: needs.clone() },
        Some((_, Trial::Failed { cause, .. })) if !cause.contains("/proc") => {
            Trial::NotTried { needs: "it needs the layer mount".to_owned() }
        }
        Some((_, trial)) => trial.clone(),
        None => Trial::NotTried { needs: "it needs the layer mount".to_owned() },
    }
}

fn backends(prober: &Prober, uid: u32, plan_held: bool) -> Vec<BackendFound> {
    let layers = if plan_held { Layers::ALL } else { Layers::of(&[Layer::Limits]) };
    let found = [Backend::CgroupV2, Backend::CgroupV1, Backend::Sampler].map(|backend| {
        let force = |plan: &mut Plan| {
            plan.limits(crate::Limits { backend, ..crate::Limits::default() });
        };
        let (leaf, exists) = match backend {
            Backend::Sampler => (Trial::Held, true),
            _ => leaf_trial(backend, uid),
        };
        let trial = if leaf.held() { prober.attempt(layers, force, &mut None) } else { leaf };
        BackendFound { backend, directories: directories(backend, uid), trial, exists }
    });
    found.into()
}

/// Whether a leaf can be made, and if not, whether there is such a hierarchy: this says more than a launch does.
fn leaf_trial(backend: Backend, uid: u32) -> (Trial, bool) {
    match Leaf::make(backend, &crate::Limits::default(), uid) {
        Ok(_removed_by_drop) => (Trial::Held, true),
        Err(error) => {
            let exists = !matches!(error, CgroupError::Missing { .. });
            let cause = chain(&LaunchError::from(error));
            (Trial::Failed { layer: Some(Layer::Limits), cause }, exists)
        }
    }
}

/// The leaves' directories that are there. A v1 one lies below its controller's hierarchy.
fn directories(backend: Backend, uid: u32) -> Vec<std::path::PathBuf> {
    let is_v1 = |path: &Path| path.parent().is_some_and(|hierarchy| hierarchy.join("tasks").exists());
    let mut all = sweep_directories(uid);
    all.retain(|path| match backend {
        Backend::CgroupV1 => is_v1(path),
        Backend::CgroupV2 => !is_v1(path),
        _ => false,
    });
    all
}

fn landlock_lacks(abi: i32) -> Vec<LandlockGap> {
    const GAPS: [(i32, &str); 6] = [
        (2, "moving a file to another directory: refused altogether"),
        (3, "truncating: held by read-only mounts alone"),
        (4, "TCP: held by the empty network and the system call filter alone"),
        (5, "device ioctls: held by the system call filter alone"),
        (
            6,
            "signals and abstract unix sockets between sandboxes: held by namespaces alone, so each sandbox has a network of its own",
        ),
        (7, "the kernel's own record of what Landlock refused"),
    ];
    let lacking = GAPS.iter().filter(|(since, _)| abi > 0 && abi < *since);
    lacking.map(|(since_abi, what)| LandlockGap { since_abi: *since_abi, what }).collect()
}

fn swap(limits_by: Option<Backend>, backends: &[BackendFound]) -> Swap {
    // The first line is the heading.
    if fs::read_to_string("/proc/swaps").unwrap_or_default().lines().count() < 2 {
        return Swap::None;
    }
    let directories = |backend| {
        let found = backends.iter().find(|found| found.backend == backend);
        found.map(|found| found.directories.clone()).unwrap_or_default()
    };
    let counted = match limits_by {
        Some(Backend::CgroupV2) => {
            directories(Backend::CgroupV2).iter().any(|path| path.join("memory.swap.max").exists())
        }
        Some(Backend::CgroupV1) => directories(Backend::CgroupV1)
            .iter()
            .any(|path| path.join("memory.memsw.limit_in_bytes").exists()),
        // The sampler counts what is swapped out with what is resident.
        _ => true,
    };
    if counted { Swap::Counted } else { Swap::NotCounted }
}

fn surroundings(facts: &Facts) -> Surroundings {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let release = line_of("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    Surroundings {
        uid: facts.uid,
        gid: facts.gid,
        root_without_ids: facts.uid == 0 && !uid_map.is_empty() && !maps(&uid_map, OUTSIDE_ID),
        container: container(&release),
        kernel_release: release,
        filtered: status
            .lines()
            .any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2")),
        apparmor: line_of("/proc/self/attr/apparmor/current"),
        settings: SETTINGS.iter().filter_map(|name| Some((*name, read_setting(name)?))).collect(),
    }
}

fn read_setting(name: &str) -> Option<String> {
    line_of(&format!("/proc/sys/{}", name.replace('.', "/")))
}

fn line_of(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim_matches(['\0', ' ']).to_owned())
}

/// Whether a uid_map (user_namespaces(7)) gives the id a meaning.
fn maps(uid_map: &str, id: u64) -> bool {
    uid_map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(inside)), Some(Ok(_)), Some(Ok(count))) => id >= inside && id - inside < count,
            _ => false,
        }
    })
}

/// Marks that container managers leave. They explain and decide nothing.
fn container(release: &str) -> Option<String> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("kubernetes".to_owned());
    }
    for (path, name) in [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")] {
        if Path::new(path).exists() {
            return Some(name.to_owned());
        }
    }
    if let Some(name) = line_of("/run/systemd/container")
        .or_else(|| std::env::var("container").ok())
        .filter(|name| !name.is_empty())
    {
        return Some(if name == "oci" { "container".to_owned() } else { name });
    }
    release.to_ascii_lowercase().contains("microsoft").then(|| "wsl".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_map_tells_which_ids_there_are() {
        let host = "         0          0 4294967295\n";
        assert!(maps(host, OUTSIDE_ID));
        assert!(!maps("0 1000 1\n", OUTSIDE_ID));
        assert!(!maps("0 1000 1\n1 100000 65536\n", OUTSIDE_ID) && maps("0 1000 1\n1 100000 65536\n", 65536));
        assert!(!maps("", 0) && !maps("x y z\n", 0));
    }

    #[test]
    fn each_abi_lacks_what_came_after_it() {
        let lacks = |abi| landlock_lacks(abi).iter().map(|gap| gap.since_abi).collect::<Vec<_>>();
        assert_eq!(lacks(4), [5, 6, 7]);
        assert!(lacks(7).is_empty() && lacks(0).is_empty());
    }

    #[test]
    fn a_layer_is_built_only_upon_layers_that_are_tried_before_it() {
        let place = |layer| TRIED.iter().position(|tried| *tried == layer).unwrap();
        for layer in Layer::ALL {
            for base in [true, false].iter().flat_map(|root| built_upon(layer, *root)) {
                assert!(place(*base) < place(layer), "{base} before {layer}");
            }
        }
    }

    /// What the whole plan gives, each layer gives alone too: else a missing one would be blamed on the wrong layer.
    #[test]
    fn where_the_plan_holds_each_layer_holds_alone() {
        let found = probe();
        assert_eq!((&found.launcher, &found.plan), (&Trial::Held, &Trial::Held), "{found:#?}");
        assert!(found.layers.iter().all(|(_, trial)| trial.held()));
        assert!(found.grant.held() && found.proc_mount.held(), "{found:#?}");
        for (layer, trial) in Prober::new().alone(Facts::get().root) {
            assert_eq!(trial, Trial::Held, "{layer}");
        }
        let sampler = found.backends.iter().find(|found| found.backend == Backend::Sampler).unwrap();
        assert!(sampler.trial.held() && sampler.directories.is_empty());
        assert!(found.limits_by.is_some());
    }
}
