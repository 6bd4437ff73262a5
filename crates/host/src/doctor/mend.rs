//! What to do about a finding: commands to copy where there are any, else what to change and where.

use std::path::Path;

use ringfence_sandbox::{Backend, Layer, Probe};

/// Enough for thousands of sandboxes at once; distributions set between 15,000 and 250,000.
const USER_NAMESPACES: u32 = 65_536;

/// Remedies for a layer that was tried and failed.
pub(super) fn layer(layer: Layer, cause: &str, probe: &Probe) -> Vec<String> {
    match layer {
        Layer::Mount if cause.contains("/proc") => proc(probe),
        Layer::User
        | Layer::Mount
        | Layer::Pid
        | Layer::Ipc
        | Layer::Uts
        | Layer::Network
        | Layer::Cgroup => namespaces(probe),
        Layer::Landlock => landlock(probe),
        Layer::Seccomp => seccomp(probe),
        Layer::Limits => delegation(probe),
        _ if probe.surroundings.filtered => outer_filter(probe),
        _ => whole(),
    }
}

/// Remedies where the launcher does not start, or dies at once.
pub(super) fn launcher(probe: &Probe) -> Vec<String> {
    let around = &probe.surroundings;
    if around.root_without_ids {
        return vec![
            "this is root of a user namespace, without ids of its own to run programs under".to_owned(),
            "run Ringfence as an ordinary user here, or in a container of the real root".to_owned(),
        ];
    }
    if around.setting("vm.memfd_noexec") == Some("2") {
        return persistent("vm.memfd_noexec", "1");
    }
    if around.filtered {
        return outer_filter(probe);
    }
    whole()
}

/// Remedies where each layer holds alone and the default plan does not, or for what is not known to happen.
pub(super) fn whole() -> Vec<String> {
    vec![
        "this is not known to happen: please report it with the output of `ringfence doctor --json`"
            .to_owned(),
    ]
}

fn persistent(setting: &str, value: &str) -> Vec<String> {
    vec![
        format!("sudo sysctl -w {setting}={value}"),
        format!("echo {setting}={value} | sudo tee /etc/sysctl.d/60-ringfence.conf    # to keep it"),
    ]
}

fn namespaces(probe: &Probe) -> Vec<String> {
    let around = &probe.surroundings;
    let mut steps = Vec::new();
    if around.setting("user.max_user_namespaces") == Some("0") {
        steps.extend(persistent("user.max_user_namespaces", &USER_NAMESPACES.to_string()));
    }
    if around.uid != 0 && around.setting("kernel.unprivileged_userns_clone") == Some("0") {
        steps.extend(persistent("kernel.unprivileged_userns_clone", "1"));
    }
    if around.uid != 0 && around.setting("kernel.apparmor_restrict_unprivileged_userns") == Some("1") {
        steps.push(
            "AppArmor keeps user namespaces from programs without a profile; give Ringfence one:".to_owned(),
        );
        steps.push("ringfence doctor --apparmor | sudo tee /etc/apparmor.d/ringfence".to_owned());
        steps.push("sudo apparmor_parser -r /etc/apparmor.d/ringfence".to_owned());
    }
    if around.filtered || around.container.is_some() {
        steps.extend(container_flags(probe));
    }
    if steps.is_empty() {
        steps.push("the kernel must have CONFIG_USER_NS, and nothing around this process may forbid clone(2) with namespaces".to_owned());
        if around.uid == 0 {
            steps.push("root must still have CAP_SYS_ADMIN: see CapEff in /proc/self/status".to_owned());
        }
    }
    steps
}

/// How to start the container that is around this process.
fn container_flags(probe: &Probe) -> Vec<String> {
    let around = &probe.surroundings;
    // An ordinary user gets its powers inside a user namespace; root needs them from the start.
    let root = around.uid == 0;
    match around.container.as_deref() {
        Some("kubernetes") => vec![format!(
            "in the pod: securityContext: {{ seccompProfile: {{ type: Unconfined }}, appArmorProfile: {{ type: Unconfined }}, procMount: Unmasked{} }}",
            if root { ", capabilities: { add: [SYS_ADMIN] }" } else { "" }
        )],
        Some("podman") => vec![format!(
            "podman run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt unmask=ALL{} ...",
            if root { " --cap-add SYS_ADMIN" } else { "" }
        )],
        Some("docker") => vec![format!(
            "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined{} ...",
            if root { " --cap-add SYS_ADMIN" } else { "" }
        )],
        Some("systemd-nspawn") => vec![
            "systemd-nspawn --system-call-filter='@mount @privileged landlock_create_ruleset' ...".to_owned(),
        ],
        Some(other) => vec![format!(
            "{other} must allow clone(2) with namespaces, mount(2), seccomp(2), and must not cover parts of /proc"
        )],
        None => outer_filter(probe),
    }
}

fn outer_filter(probe: &Probe) -> Vec<String> {
    let mut steps = vec!["this process is under a system call filter already (`Seccomp: 2` in /proc/self/status): start Ringfence outside of it, or let the filter pass clone3, unshare, mount and its relatives, seccomp and landlock_*".to_owned()];
    if !probe.surroundings.filtered {
        steps.clear();
        steps.push("something around this process refuses: see `journalctl -k`".to_owned());
    }
    steps
}

/// Remedies where a fresh /proc cannot be mounted: the kernel allows it only to who can see all of the old one.
pub(super) fn proc(probe: &Probe) -> Vec<String> {
    match probe.surroundings.container.as_deref() {
        Some(_) => container_flags(probe),
        None => vec![
            "parts of /proc are covered, and the kernel lets nobody mount a /proc that shows more".to_owned(),
            "grep ' /proc/' /proc/self/mountinfo    # what covers it: take it away, or start Ringfence outside of it".to_owned(),
        ],
    }
}

fn landlock(probe: &Probe) -> Vec<String> {
    if probe.surroundings.filtered {
        let mut steps = vec!["an outer system call filter may hide it: it must pass landlock_create_ruleset, landlock_add_rule and landlock_restrict_self".to_owned()];
        if probe.surroundings.container.is_some() {
            steps.extend(container_flags(probe));
        }
        return steps;
    }
    vec![
        "cat /sys/kernel/security/lsm    # must list landlock".to_owned(),
        "if it does not: add `lsm=landlock,...` with the rest of that list to GRUB_CMDLINE_LINUX in /etc/default/grub, then sudo update-grub and reboot".to_owned(),
        "if that has no effect: Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK is needed".to_owned(),
    ]
}

fn seccomp(probe: &Probe) -> Vec<String> {
    if probe.surroundings.filtered {
        return outer_filter(probe);
    }
    vec!["the kernel must have CONFIG_SECCOMP_FILTER".to_owned()]
}

/// Remedies where grants fail although the plan holds: as root, id-mapped mounts are what is new.
pub(super) fn grants(probe: &Probe) -> Vec<String> {
    if probe.surroundings.uid == 0 {
        return vec!["as root, a grant is an id-mapped mount: Linux 5.12 or newer, on a file system that knows them (ext4, xfs, btrfs, tmpfs since 6.3, overlayfs since 5.19)".to_owned()];
    }
    vec!["this user must be able to reach the tree itself".to_owned()]
}

/// How a user gets a cgroup of their own: by systemd on v2, by a directory on v1.
pub(super) fn delegation(probe: &Probe) -> Vec<String> {
    let around = &probe.surroundings;
    let exists = |backend| probe.backends.iter().any(|found| found.backend == backend && found.exists);
    let mut steps = Vec::new();
    if exists(Backend::CgroupV2) && around.uid != 0 {
        steps.push(
            "systemd-run --user --scope -p Delegate=yes -- ringfence exec ...    # for one start".to_owned(),
        );
        steps.push("[Service] Delegate=yes    # in the unit of a service that uses Ringfence".to_owned());
        steps.push("if the controller cpu is missing then: [Service] Delegate=cpu memory pids, in /etc/systemd/system/user@.service.d/ringfence.conf; sudo systemctl daemon-reload; log in again".to_owned());
    }
    if exists(Backend::CgroupV1) && around.uid != 0 {
        let (uid, gid) = (around.uid, around.gid);
        steps.push(format!(
            "for c in memory pids cpu; do sudo mkdir -p /sys/fs/cgroup/$c/ringfence-{uid} && sudo chown {uid}:{gid} /sys/fs/cgroup/$c/ringfence-{uid}; done"
        ));
    }
    if steps.is_empty() && around.uid == 0 {
        steps.push("the cgroup file systems are missing, read-only or without the controllers memory, pids and cpu: see `mount | grep cgroup`".to_owned());
        if around.container.is_some() {
            steps.push("in a container: give it a writable cgroup (docker: --cgroupns=private -v /sys/fs/cgroup:/sys/fs/cgroup:rw)".to_owned());
        }
    }
    if steps.is_empty() {
        steps.push("this system has no cgroup hierarchy with the controllers memory, pids and cpu: mount one (systemd does)".to_owned());
    }
    steps
}

/// The AppArmor profile that lets `program` make user namespaces where `kernel.apparmor_restrict_unprivileged_userns` is 1
/// (Ubuntu 23.10 and later), and does nothing else. For an application that embeds the library, `program` is the
/// application.
///
/// ```
/// let profile = ringfence::doctor::apparmor_profile("/usr/bin/ringfence".as_ref());
/// assert!(profile.contains("profile ringfence \"/usr/bin/ringfence\" flags=(unconfined)"));
/// ```
#[must_use]
pub fn apparmor_profile(program: &Path) -> String {
    let mut path = String::new();
    for character in program.to_string_lossy().chars() {
        // The characters that mean something in an AppArmor path (apparmor.d(5)).
        if "\"\\*?[]{}^,".contains(character) {
            path.push('\\');
        }
        path.push(character);
    }
    format!(
        "# Lets Ringfence make user namespaces, and restricts nothing: what runs inside is held by Ringfence's own layers.\n\
         # To install: ringfence doctor --apparmor | sudo tee /etc/apparmor.d/ringfence\n\
         #             sudo apparmor_parser -r /etc/apparmor.d/ringfence\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         \n\
         profile ringfence \"{path}\" flags=(unconfined) {{\n  \
           userns,\n  \
           include if exists <local/ringfence>\n\
         }}\n"
    )
}
