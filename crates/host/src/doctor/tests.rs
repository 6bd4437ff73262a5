use super::*;
use ringfence_sandbox::{LandlockGap, Surroundings};

fn healthy(uid: u32) -> Probe {
    Probe {
        launcher: Trial::Held,
        plan: Trial::Held,
        layers: Layer::ALL.iter().map(|layer| (*layer, Trial::Held)).collect(),
        grant: Trial::Held,
        proc_mount: Trial::Held,
        limits_by: Some(Backend::CgroupV2),
        backends: vec![
            BackendFound {
                backend: Backend::CgroupV2,
                trial: Trial::Held,
                exists: true,
                directories: vec!["/sys/fs/cgroup/ringfence".into()],
            },
            BackendFound {
                backend: Backend::CgroupV1,
                trial: failed(Layer::Limits, "cgroup-v1 is not mounted"),
                exists: false,
                directories: vec![],
            },
            BackendFound { backend: Backend::Sampler, trial: Trial::Held, exists: true, directories: vec![] },
        ],
        landlock_abi: 7,
        landlock_lacks: vec![],
        reports: true,
        landlock_records: Ok(ringfence_sandbox::audit::Recording::On),
        swap: Swap::None,
        surroundings: Surroundings {
            kernel_release: "6.8.0-31-generic".to_owned(),
            uid,
            gid: uid,
            root_without_ids: false,
            container: None,
            filtered: false,
            apparmor: Some("unconfined".to_owned()),
            settings: vec![("user.max_user_namespaces", "65536".to_owned())],
        },
    }
}

fn failed(layer: Layer, cause: &str) -> Trial {
    Trial::Failed { layer: Some(layer), cause: cause.to_owned() }
}

/// The probe of a machine that refuses `layer`; what is built upon a user namespace then cannot be tried.
fn without(uid: u32, layer: Layer, cause: &str) -> Probe {
    let mut probe = healthy(uid);
    probe.plan = failed(layer, cause);
    probe.grant = failed(layer, cause);
    probe.limits_by = None;
    for (known, trial) in &mut probe.layers {
        if *known == layer {
            *trial = failed(layer, cause);
        } else if layer == Layer::User && uid != 0 && (Layer::Mount..=Layer::Cgroup).contains(known) {
            *trial = Trial::NotTried { needs: "it needs the layer user".to_owned() };
        }
    }
    probe
}

fn check<'a>(diagnosis: &'a Diagnosis, name: &str) -> &'a Check {
    diagnosis.checks.iter().find(|check| check.name == name).unwrap()
}

fn mends(diagnosis: &Diagnosis, name: &str) -> String {
    check(diagnosis, name).mend.join("\n")
}

#[test]
fn a_healthy_machine_has_nothing_to_mend() {
    let diagnosis = diagnose(&healthy(0));
    assert!(diagnosis.enforceable && diagnosis.strict);
    assert_eq!(diagnosis.limits_by, Some("cgroup-v2"));
    assert!(diagnosis.checks.iter().all(|check| check.mend.is_empty() && check.state != State::Missing));
    assert_eq!(check(&diagnosis, "limits").found, "memory, tasks and CPU, held by cgroup-v2");
    assert_eq!(check(&diagnosis, "cgroup-v2").found, "usable, in /sys/fs/cgroup/ringfence");
    assert_eq!(check(&diagnosis, "cgroup-v1").state, State::Note);
    assert!(diagnosis.checks.iter().all(|check| check.name != "surroundings"));
    let names: Vec<_> = diagnosis.checks.iter().take(Layer::ALL.len()).map(|check| check.name).collect();
    assert_eq!(names, Layer::ALL.map(Layer::name));
}

#[test]
fn each_reason_for_refused_user_namespaces_has_its_own_remedy() {
    for (setting, value, word) in [
        ("user.max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=65536"),
        ("kernel.unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "ringfence doctor --apparmor | sudo tee"),
    ] {
        let mut probe = without(1000, Layer::User, "cannot make the namespaces");
        let silent = mends(&diagnose(&probe), "user");
        assert!(!silent.contains(word), "{setting} is not the reason: {silent}");
        probe.surroundings.settings = vec![(setting, value.to_owned())];
        let diagnosis = diagnose(&probe);
        assert!(mends(&diagnosis, "user").contains(word), "{setting}");
        assert!(!diagnosis.enforceable);
        assert_eq!(check(&diagnosis, "mount").found, "it needs the layer user");
        assert!(check(&diagnosis, "mount").mend.is_empty(), "said once");
    }
}

#[test]
fn a_container_is_told_its_own_flags_and_root_needs_one_more() {
    for (container, word) in [
        ("docker", "docker run --security-opt seccomp=unconfined"),
        ("podman", "--security-opt unmask=ALL"),
        ("kubernetes", "procMount: Unmasked"),
        ("lxc", "lxc must allow"),
    ] {
        for (uid, needs) in [(1000, false), (0, true)] {
            let mut probe = without(uid, Layer::User, "cannot make the namespaces");
            probe.surroundings.container = Some(container.to_owned());
            probe.surroundings.filtered = true;
            let text = mends(&diagnose(&probe), "user");
            assert!(text.contains(word), "{text}");
            assert_eq!(text.contains("SYS_ADMIN"), needs && container != "lxc", "{container} {uid}");
            assert_eq!(
                check(&diagnose(&probe), "surroundings").found,
                format!("inside {container}, under an outer system call filter")
            );
        }
    }
}

#[test]
fn a_covered_proc_is_told_apart_from_a_refused_mount() {
    let mut probe =
        without(1000, Layer::Mount, "the layer mount cannot be enforced here: cannot mount /proc");
    probe.proc_mount = failed(Layer::Mount, "cannot mount /proc");
    let diagnosis = diagnose(&probe);
    assert!(
        mends(&diagnosis, "proc").contains("mountinfo") && mends(&diagnosis, "mount").contains("mountinfo")
    );
    probe.surroundings.container = Some("docker".to_owned());
    assert!(mends(&diagnose(&probe), "proc").contains("systempaths=unconfined"));
}

#[test]
fn a_missing_landlock_is_the_boot_line_or_the_outer_filter() {
    let mut probe = without(0, Layer::Landlock, "this kernel has no Landlock, or it is switched off");
    assert!(mends(&diagnose(&probe), "landlock").contains("GRUB_CMDLINE_LINUX"));
    probe.surroundings.filtered = true;
    assert!(mends(&diagnose(&probe), "landlock").contains("landlock_add_rule"));
}

#[test]
fn an_older_landlock_is_a_note_that_names_what_holds_instead() {
    let mut probe = healthy(0);
    probe.landlock_abi = 3;
    probe.landlock_lacks = vec![LandlockGap { since_abi: 4, what: "TCP: held by the empty network" }];
    let diagnosis = diagnose(&probe);
    assert!(diagnosis.enforceable);
    assert_eq!(check(&diagnosis, "landlock").state, State::Note);
    assert!(
        check(&diagnosis, "landlock")
            .follows
            .as_ref()
            .unwrap()
            .contains("TCP: held by the empty network (ABI 4)")
    );
}

#[test]
fn a_sampler_is_enough_but_not_strict_and_says_how_to_get_a_cgroup() {
    let mut probe = healthy(1000);
    probe.limits_by = Some(Backend::Sampler);
    let v2 = mends(&diagnose(&probe), "limits");
    assert!(v2.contains("systemd-run --user --scope -p Delegate=yes") && !v2.contains("mkdir"), "{v2}");
    probe.backends[0].exists = false;
    probe.backends[1].exists = true;
    let diagnosis = diagnose(&probe);
    let v1 = mends(&diagnosis, "limits");
    assert!(
        v1.contains("chown 1000:1000 /sys/fs/cgroup/$c/ringfence-1000") && !v1.contains("systemd-run"),
        "{v1}"
    );
    assert!(diagnosis.enforceable && !diagnosis.strict);
    assert_eq!(check(&diagnosis, "limits").state, State::Note);
    probe.backends[1].exists = false;
    assert!(mends(&diagnose(&probe), "limits").contains("no cgroup hierarchy"));
    probe.surroundings.uid = 0;
    assert!(mends(&diagnose(&probe), "limits").contains("mount | grep cgroup"));
}

/// The probe of a machine on which the launcher does not come up.
fn without_launcher() -> Probe {
    let mut probe = healthy(0);
    let lost = || Trial::NotTried { needs: "it needs the launcher".to_owned() };
    probe.launcher = Trial::Failed { layer: None, cause: "the launcher was lost".to_owned() };
    (probe.plan, probe.grant, probe.proc_mount, probe.limits_by) =
        (probe.launcher.clone(), lost(), lost(), None);
    probe.layers.iter_mut().for_each(|(_, trial)| *trial = lost());
    probe
}

#[test]
fn a_launcher_that_does_not_come_up_is_the_one_thing_to_mend() {
    let mut probe = without_launcher();
    let diagnosis = diagnose(&probe);
    assert!(!diagnosis.enforceable && diagnosis.checks[0].name == "launcher");
    assert!(diagnosis.checks.iter().skip(1).all(|check| check.mend.is_empty()));
    assert!(mends(&diagnosis, "launcher").contains("report it"));

    probe.surroundings.filtered = true;
    assert!(mends(&diagnose(&probe), "launcher").contains("system call filter"));
    probe.surroundings.settings = vec![("vm.memfd_noexec", "2".to_owned())];
    assert!(mends(&diagnose(&probe), "launcher").contains("vm.memfd_noexec=1"));
    probe.surroundings.root_without_ids = true;
    assert!(mends(&diagnose(&probe), "launcher").contains("as an ordinary user"));
    assert!(check(&diagnose(&probe), "surroundings").found.contains("root of a user namespace only"));
}

#[test]
fn a_plan_that_fails_although_each_layer_holds_is_not_hidden() {
    let mut probe = healthy(0);
    probe.plan =
        Trial::Failed { layer: None, cause: "cannot build the new root: No space left on device".to_owned() };
    probe.limits_by = None;
    let diagnosis = diagnose(&probe);
    assert!(!diagnosis.enforceable && !diagnosis.strict);
    assert!(diagnosis.checks[0].name == "plan" && diagnosis.checks[0].found.contains("No space left"));
}

#[test]
fn grants_swap_and_reports_speak_when_they_have_something_to_say() {
    let mut probe = healthy(0);
    probe.grant = Trial::Failed { layer: None, cause: "cannot take /srv into the sandbox".to_owned() };
    (probe.swap, probe.reports) = (Swap::NotCounted, false);
    let diagnosis = diagnose(&probe);
    assert!(!diagnosis.enforceable && mends(&diagnosis, "grants").contains("id-mapped"));
    assert!(mends(&diagnosis, "swap").contains("swapaccount=1"));
    assert_eq!(check(&diagnosis, "reports").state, State::Note);
}

#[test]
fn why_the_kernels_records_cannot_be_read_is_said_and_stops_nothing() {
    use ringfence_sandbox::audit::{Recording, Unavailable};

    let mut probe = healthy(0);
    assert_eq!(check(&diagnose(&probe), "records").state, State::Ok);
    for (records, says) in [
        (Ok(Recording::Unknown), "CAP_AUDIT_CONTROL"),
        (Err(Unavailable::Off), "switched off"),
        (Err(Unavailable::NoAudit), "no audit"),
        (Err(Unavailable::NotPermitted), "CAP_AUDIT_READ"),
        (Err(Unavailable::OldLandlock { abi: 2 }), "ABI 2"),
        (Err(Unavailable::Namespace("network")), "network namespace"),
    ] {
        probe.landlock_records = records;
        let diagnosis = diagnose(&probe);
        let found = check(&diagnosis, "records");
        assert!(
            diagnosis.enforceable && found.state == State::Note && found.found.contains(says),
            "{found:?}"
        );
        assert!(probe.landlock_records.is_ok() || !found.mend.is_empty(), "{found:?}");
    }
}

#[test]
fn the_document_has_stable_fields() {
    let json = serde_json::to_value(diagnose(&healthy(1000))).unwrap();
    let mut fields: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "checks",
            "container",
            "enforceable",
            "kernel",
            "landlock_abi",
            "limits_by",
            "settings",
            "strict",
            "uid"
        ]
    );
    assert_eq!(
        json["checks"][0],
        serde_json::json!({
            "name": "user", "state": "ok", "found": "the program's user has no power outside", "follows": null, "mend": []
        })
    );
}

#[test]
fn an_apparmor_profile_names_the_program_and_quotes_its_path() {
    let profile = apparmor_profile(Path::new("/opt/my [app]/ringfence"));
    assert!(
        profile
            .contains("profile ringfence \"/opt/my \\[app\\]/ringfence\" flags=(unconfined) {\n  userns,\n"),
        "{profile}"
    );
    assert_eq!(own_program().unwrap(), std::env::current_exe().unwrap());
}
