//! What came of a launch and of a run: proven layers, failures with their cause and remedy, denials, endings.

use std::ffi::OsString;
use std::fmt;
use std::io;

use crate::layer::{Layer, Layers};
use crate::limits::{Backend, CgroupError};
use crate::wire::Step;

/// What a started sandbox enforces: read back from inside, not from what was asked for.
///
/// ```no_run
/// use ringfence_sandbox::{Launcher, Layers, Plan, Program, Stdio};
/// let plan = Plan::new(Program::find("true".as_ref(), "/".as_ref())?);
/// let sandbox = Launcher::start()?.launch(&plan, Stdio::null()?)?;
/// assert_eq!(sandbox.report().layers, Layers::ALL);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Layers that the self-check has proven.
    pub layers: Layers,
    /// Who holds the limits; `None` if the plan leaves the limits out.
    pub limits_by: Option<Backend>,
    /// The kernel's Landlock version.
    pub landlock_abi: i32,
    /// Whether the network namespace is the launcher's shared one.
    pub shared_network: bool,
    /// The program's process id inside.
    pub program: u32,
}

/// How the program ended: the kernel's facts.
///
/// ```
/// use ringfence_sandbox::Ending;
/// let shell_status = |ending| match ending {
///     Ending::Exited(status) => status,
///     Ending::Signaled(signal) => 128 + signal,
///     Ending::Killed => 137,
/// };
/// assert_eq!(shell_status(Ending::Signaled(15)), 143);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this status.
    Exited(i32),
    /// A signal killed it.
    Signaled(i32),
    /// PID 1 was killed before it could tell (by the stop ladder, or by the kernel for lack of memory).
    Killed,
}

/// Something that the sandbox refused and knows of.
///
/// ```no_run
/// use ringfence_sandbox::{Launcher, Plan, Program, Stdio};
/// let mut plan = Plan::new(Program::find("mount".as_ref(), "/".as_ref())?);
/// plan.argument("-t").argument("tmpfs").argument("none").argument("/tmp");
/// let mut sandbox = Launcher::start()?.launch(&plan, Stdio::null()?)?;
/// sandbox.wait()?;
/// assert!(sandbox.refusals().any(|refusal| refusal.operation == "mount"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused.
    pub layer: Layer,
    /// The system call.
    pub operation: &'static str,
    /// What it was about.
    pub object: Object,
    /// How often.
    pub count: u64,
    /// How many of these were told before the program got its answer. The others were counted first, in a loop of refusals,
    /// and told later.
    pub told_at_once: u64,
}

/// What a refused act was about.
///
/// ```
/// let object = ringfence_sandbox::Object::Address(([192, 0, 2, 1], 443).into());
/// assert_eq!(object.to_string(), "192.0.2.1:443");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Object {
    /// Not known.
    Unknown,
    /// An internet address and port.
    Address(std::net::SocketAddr),
    /// A path, as the program gave it.
    Path(OsString),
    /// A socket of this family, type and protocol (socket(2)).
    Socket {
        /// The address family.
        family: i32,
        /// The type, without flags.
        kind: i32,
        /// The protocol.
        protocol: i32,
    },
}

/// An act that was only watched: a path or an address that the program named (only with [`crate::Plan::observe`]).
///
/// ```no_run
/// use ringfence_sandbox::{Launcher, Plan, Program, Stdio};
/// let mut plan = Plan::new(Program::find("cat".as_ref(), "/".as_ref())?);
/// plan.argument("/srv/notes").observe(true);
/// let mut sandbox = Launcher::start()?.launch(&plan, Stdio::null()?)?;
/// sandbox.wait()?;
/// assert!(sandbox.observations().iter().any(|seen| seen.object == ringfence_sandbox::Object::Path("/srv/notes".into())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The system call.
    pub operation: &'static str,
    /// The path, made absolute with the directory that it was relative to; or the address of a bind(2).
    pub object: Object,
    /// Whether it is the second path of the call: where a rename or a link leads to.
    pub is_target: bool,
    /// The flags of an open (open(2)) or a renameat2; 0 for other calls.
    pub flags: u32,
    /// How often, in all: told at the end, and 1 until then.
    pub count: u64,
}

/// Why a sandbox was not started.
///
/// ```no_run
/// use ringfence_sandbox::{Launcher, Plan, Program, Stdio};
/// let plan = Plan::new(Program::find("true".as_ref(), "/".as_ref())?);
/// if let Err(error) = Launcher::start()?.launch(&plan, Stdio::null()?) {
///     println!("{error}\nhint: {}", error.hint().unwrap_or("none"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A layer cannot be had here.
    #[error("the layer {layer} cannot be enforced here: {cause}")]
    NotEnforceable {
        /// Which layer.
        layer: Layer,
        /// What the kernel said to which step.
        cause: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The self-check found layers that were set up without effect.
    #[error("the self-check could not prove: {layers}; nothing was started")]
    Unproven {
        /// Which layers.
        layers: Layers,
    },
    /// The host's file at a granted or hidden path is not the one that was looked at.
    #[error("{} is not what it was when the plan was made; nothing was started", path.display())]
    Replaced {
        /// The granted or hidden path.
        path: std::path::PathBuf,
    },
    /// The program's file cannot be executed (execve(2)): a wrong format, a missing loader.
    #[error("the kernel cannot execute {}", path.display())]
    Execute {
        /// The program.
        path: std::path::PathBuf,
        /// What execveat(2) said.
        source: io::Error,
    },
    /// A step failed that no layer explains: a working directory that is not there, a full system.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was to be done.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The plan cannot be turned into a sandbox.
    #[error(transparent)]
    Plan(#[from] crate::compile::CompileError),
    /// The limits cannot be held here.
    #[error(transparent)]
    Limits(#[from] CgroupError),
    /// The launcher itself could not be started, or died.
    #[error("the launcher {what}")]
    Launcher {
        /// What happened to it.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl LaunchError {
    /// What the caller can do about it, if anything is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotEnforceable { hint, .. } => Some(hint),
            Self::Limits(_) => {
                Some("run `ringfence doctor`: it says which cgroup would have to be delegated")
            }
            Self::Unproven { .. } => {
                Some("run `ringfence doctor`, and report this: a layer was set up and does not hold")
            }
            Self::Replaced { .. } => Some("look at what replaced it, then grant it again"),
            _ => None,
        }
    }
}

impl Step {
    fn from_number(number: u32) -> Option<Self> {
        const ALL: [Step; 25] = [
            Step::Request,
            Step::IdMap,
            Step::Source,
            Step::Clone,
            Step::Maps,
            Step::CgroupAttach,
            Step::HostName,
            Step::RootMount,
            Step::Build,
            Step::Proc,
            Step::Pivot,
            Step::NamespaceLimit,
            Step::Ids,
            Step::Capabilities,
            Step::NoNewPrivileges,
            Step::Landlock,
            Step::InitFilter,
            Step::Session,
            Step::Limits,
            Step::WorkingDirectory,
            Step::Descriptors,
            Step::Program,
            Step::Seccomp,
            Step::Execute,
            Step::Lifeline,
        ];
        ALL.into_iter().find(|step| *step as u32 == number)
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Request => "read the launch request",
            Self::IdMap => "make an id map for a granted tree",
            Self::Source => "take a granted path",
            Self::Clone => "make the namespaces",
            Self::Maps => "write the user namespace's id maps",
            Self::CgroupAttach => "enter the cgroup",
            Self::HostName => "set the host name",
            Self::RootMount => "mount the new root",
            Self::Build => "build the new root",
            Self::Proc => "mount /proc",
            Self::Pivot => "enter the new root",
            Self::NamespaceLimit => "forbid further user namespaces",
            Self::Ids => "change to the plugin's user",
            Self::Capabilities => "drop the capabilities",
            Self::NoNewPrivileges => "set no_new_privs",
            Self::Landlock => "apply the Landlock rules",
            Self::InitFilter => "confine PID 1",
            Self::Session => "start a session",
            Self::Limits => "set the resource limits",
            Self::WorkingDirectory => "enter the working directory",
            Self::Descriptors => "arrange the descriptors",
            Self::Program => "open the program inside",
            Self::Seccomp => "install the system call filter",
            Self::Execute => "execute the program",
            Self::Lifeline => "tie the sandbox to this process",
        }
    }

    /// The layer that a refusal of this step belongs to, and what usually mends it.
    fn layer(self) -> Option<(Layer, &'static str)> {
        let userns = "user namespaces may be switched off: see `sysctl user.max_user_namespaces`, \
                      `kernel.unprivileged_userns_clone`, on Ubuntu `kernel.apparmor_restrict_unprivileged_userns`; \
                      in a container its seccomp profile; `ringfence doctor` tells which";
        Some(match self {
            Self::Clone | Self::Maps | Self::NamespaceLimit => (Layer::User, userns),
            Self::RootMount | Self::Pivot => (Layer::Mount, userns),
            Self::Proc => (
                Layer::Mount,
                "an outer container masks parts of /proc: run it with an unmasked /proc (docker: --security-opt systempaths=unconfined)",
            ),
            Self::IdMap => {
                (Layer::Mount, "the kernel must allow user namespaces for id-mapped mounts (Linux 5.12)")
            }
            Self::Landlock => (Layer::Landlock, "boot with `landlock` in `lsm=` (CONFIG_SECURITY_LANDLOCK)"),
            Self::Seccomp | Self::InitFilter => (
                Layer::Seccomp,
                "an outer sandbox may forbid filters with a listener: start Ringfence outside of it",
            ),
            Self::CgroupAttach => {
                (Layer::Limits, "the cgroup was taken away while the sandbox was being started: try again")
            }
            Self::Capabilities => (Layer::Capabilities, "start Ringfence without locked secure bits"),
            Self::NoNewPrivileges => (Layer::NoNewPrivileges, "the kernel refused no_new_privs"),
            _ => return None,
        })
    }
}

/// Turns a failure event into an error.
pub(crate) fn launch_error(
    plan: &crate::plan::Plan,
    compiled: &crate::compile::Compiled,
    [step, errno, index]: [u32; 3],
) -> LaunchError {
    let errno = errno.cast_signed();
    let source = io::Error::from_raw_os_error(errno);
    let Some(step) = Step::from_number(step) else {
        return LaunchError::Launcher { what: "answered with an unknown step", source };
    };
    let taken = || compiled.source_paths.get(index as usize).cloned().unwrap_or_default();
    let hidden = compiled.covers.iter().find(|(number, _)| *number == index).map(|(_, path)| path);
    match (step, hidden) {
        (Step::Build, Some(path)) if matches!(errno, libc::ESTALE | libc::ENOENT | libc::ELOOP) => {
            return LaunchError::Replaced { path: path.clone() };
        }
        _ => {}
    }
    match step {
        Step::Source if errno == libc::ESTALE => LaunchError::Replaced { path: taken() },
        Step::Program if errno == libc::ESTALE => {
            LaunchError::Replaced { path: plan.program.file().path().to_owned() }
        }
        Step::Source | Step::IdMap if !taken().as_os_str().is_empty() => {
            LaunchError::Step { step: format!("take {} into the sandbox", taken().display()), source }
        }
        Step::Execute => LaunchError::Execute { path: plan.program.file().path().to_owned(), source },
        Step::WorkingDirectory => LaunchError::Step {
            step: format!("enter the working directory {}", plan.working_directory.display()),
            source,
        },
        _ => match step.layer() {
            Some((layer, hint))
                if !matches!(errno, libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE) =>
            {
                LaunchError::NotEnforceable {
                    layer,
                    cause: format!("cannot {}: {source}", step.describe()),
                    hint,
                }
            }
            _ => LaunchError::Step { step: step.describe().to_owned(), source },
        },
    }
}

impl fmt::Display for Object {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => to.write_str("unknown"),
            Self::Address(address) => write!(to, "{address}"),
            Self::Path(path) => write!(to, "{}", path.display()),
            Self::Socket { family, kind, protocol } => {
                write!(to, "family {family} type {kind} protocol {protocol}")
            }
        }
    }
}

/// The name of a system call that can be reported, for people.
pub(crate) fn call_name(number: u32) -> &'static str {
    macro_rules! names {
        ($($name:ident)*) => {
            [$((libc::$name, stringify!($name))),*]
        };
    }
    const NAMES: &[(i64, &str)] = &names![
        SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick SYS_open_tree
        SYS_move_mount SYS_mount_setattr SYS_setns SYS_name_to_handle_at SYS_open_by_handle_at SYS_ptrace
        SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_getfd SYS_kcmp SYS_process_madvise SYS_process_mrelease
        SYS_move_pages SYS_migrate_pages SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_fanotify_init SYS_fanotify_mark
        SYS_vmsplice SYS_quotactl SYS_quotactl_fd SYS_modify_ldt SYS_remap_file_pages SYS_mbind SYS_set_mempolicy
        SYS_get_mempolicy SYS_set_mempolicy_home_node SYS_add_key SYS_request_key SYS_keyctl SYS_kexec_load
        SYS_kexec_file_load SYS_init_module SYS_finit_module SYS_delete_module SYS_reboot SYS_swapon SYS_swapoff SYS_acct
        SYS_syslog SYS_iopl SYS_ioperm SYS_sethostname SYS_setdomainname SYS_settimeofday SYS_clock_settime
        SYS_clock_adjtime SYS_adjtimex SYS_vhangup SYS_lookup_dcookie SYS_uselib SYS_personality SYS_unshare SYS_seccomp
        SYS_ioctl SYS_chmod SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_mkdir SYS_mkdirat SYS_creat SYS_mknod SYS_mknodat
        SYS_open SYS_openat SYS_socket SYS_socketpair SYS_connect SYS_sendto SYS_clone SYS_fork SYS_vfork SYS_execve
        SYS_execveat SYS_memfd_create SYS_stat SYS_lstat SYS_newfstatat SYS_statx SYS_access SYS_faccessat SYS_faccessat2
        SYS_readlink SYS_readlinkat SYS_chdir SYS_truncate SYS_rmdir SYS_unlink SYS_unlinkat SYS_rename SYS_renameat
        SYS_renameat2 SYS_symlinkat SYS_symlink SYS_link SYS_linkat SYS_chown SYS_lchown SYS_fchownat SYS_utime SYS_utimes
        SYS_futimesat SYS_utimensat SYS_getxattr SYS_lgetxattr SYS_listxattr SYS_llistxattr SYS_setxattr SYS_lsetxattr
        SYS_removexattr SYS_lremovexattr SYS_statfs SYS_inotify_add_watch SYS_bind SYS_openat2
    ];
    // Linux 6.13; the libc crate has no names for them yet.
    let new = match number {
        463 => Some("setxattrat"),
        464 => Some("getxattrat"),
        465 => Some("listxattrat"),
        466 => Some("removexattrat"),
        _ => None,
    };
    if let Some(name) = new {
        return name;
    }
    let found = NAMES.iter().find(|(known, _)| *known == i64::from(number));
    found.map_or("unknown", |(_, name)| name.trim_start_matches("SYS_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_call_has_a_name() {
        for (reason, numbers, allowed) in crate::seccomp::reasons() {
            for number in numbers.iter().filter(|_| !allowed) {
                let number = u32::try_from(*number).unwrap();
                assert_ne!(call_name(number), "unknown", "call {number} of {reason}");
            }
        }
        assert_eq!(call_name(42), "connect");
    }

    #[test]
    fn every_failure_says_what_and_whose_it_is() {
        use std::path::{Path, PathBuf};

        use crate::compile::{NetworkFrom, compile};
        use crate::kernel::Facts;
        use crate::{Plan, Program};

        let plan = Plan::new(Program::find("sh".as_ref(), "/".as_ref()).unwrap());
        let mut compiled = compile(&plan, Facts::get(), true, NetworkFrom::Fresh).unwrap();
        compiled.source_paths = vec![PathBuf::from("/granted")];
        compiled.covers = vec![(7, PathBuf::from("/hidden"))];
        let failed = |step: Step, errno: i32, index: u32| {
            launch_error(&plan, &compiled, [step as u32, errno.cast_unsigned(), index])
        };
        for number in 1..=Step::Lifeline as u32 {
            let step = Step::from_number(number).unwrap();
            let error = failed(step, libc::EPERM, 99);
            let blamed = matches!(&error, LaunchError::NotEnforceable { layer, .. } if step.layer().is_some_and(|(own, _)| own == *layer));
            assert_eq!(blamed, step.layer().is_some(), "{step:?}: {error:?}");
            assert_eq!(
                blamed,
                error.hint().is_some(),
                "{step:?}: a layer that cannot be had says how to mend it"
            );
            // A full system is nobody's layer.
            assert!(
                !matches!(failed(step, libc::ENOMEM, 99), LaunchError::NotEnforceable { .. }),
                "{step:?}"
            );
        }
        let replaced = |error: LaunchError, at: &str| {
            matches!(&error, LaunchError::Replaced { path } if path == Path::new(at))
                && error.hint().is_some()
        };
        assert!(replaced(failed(Step::Source, libc::ESTALE, 0), "/granted"));
        assert!(replaced(failed(Step::Build, libc::ENOENT, 7), "/hidden"));
        assert!(replaced(
            failed(Step::Program, libc::ESTALE, 0),
            plan.program.file().path().to_str().unwrap()
        ));
        assert!(failed(Step::Source, libc::EACCES, 0).to_string().contains("/granted"));
        assert!(failed(Step::WorkingDirectory, libc::ENOENT, 0).to_string().contains("/tmp"));
        assert!(matches!(failed(Step::Execute, libc::ENOEXEC, 0), LaunchError::Execute { .. }));
        let unknown = launch_error(&plan, &compiled, [1000, 1, 0]);
        assert!(matches!(unknown, LaunchError::Launcher { .. }) && unknown.hint().is_none());
    }

    #[test]
    fn every_step_can_be_told() {
        for number in 1..=Step::Lifeline as u32 {
            let step = Step::from_number(number).unwrap();
            assert_eq!(step as u32, number);
            assert!(!step.describe().is_empty());
        }
        assert!(Step::from_number(0).is_none() && Step::from_number(Step::Lifeline as u32 + 1).is_none());
    }
}
