//! Launches that cannot be: the error says which and why, and nothing is left.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ringfence_sandbox::{
    Access, CompileError, LaunchError, Launcher, Limits, Plan, PlanError, Program, ResolveError, Resolved,
    Stdio,
};

use crate::rig::{self, both, canary, found, launcher, plan, run};

/// The error of a launch that must fail, after which nothing more is there than before.
fn refused(plan: &Plan) -> LaunchError {
    let launcher = launcher();
    let before = rig::holdings();
    let error = launcher.launch(plan, Stdio::null().unwrap()).expect_err("it was launched");
    rig::within(std::time::Duration::from_secs(1), "nothing is left", || rig::holdings() == before);
    // The launcher goes on.
    assert!(run(&rig::plan(&["true"])).is_ok());
    error
}

#[test]
fn a_missing_working_directory() {
    both(|| {
        let mut plan = plan(&["true"]);
        let error = refused(plan.working_directory("/nowhere"));
        assert!(matches!(error, LaunchError::Step { .. }), "{error:?}");
        assert!(error.to_string().contains("/nowhere"), "{error}");
        assert!(run(plan.working_directory("/usr")).is_ok());
    });
}

#[test]
fn a_grant_that_was_replaced() {
    both(|| {
        let (place, path) = canary();
        let granted = found(&path);
        let mut plan = plan(&["read", &path]);
        plan.mount(granted, Access::READ);
        assert!(rig::has_secret(&run(&plan).text));
        // Kept, so that its inode number is not given to the new one.
        std::fs::rename(&path, place.path().join("kept")).unwrap();
        std::fs::write(&path, "another").unwrap();
        let error = refused(&plan);
        assert!(
            matches!(&error, LaunchError::Replaced { path: told } if told == Path::new(&path)),
            "{error:?}"
        );
        assert!(error.hint().is_some());
        // A link in its place, even to the same file, is another thing too.
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(place.path().join("kept"), &path).unwrap();
        assert!(matches!(refused(&plan), LaunchError::Replaced { .. }));
    });
}

#[test]
fn what_was_to_be_hidden_was_moved() {
    both(|| {
        let (place, path) = canary();
        let mut plan = plan(&["read", &path]);
        plan.mount(found(place.path()), Access::READ);
        assert!(rig::has_secret(&run(&plan).text));
        plan.hide(found(&path));
        let hidden = run(&plan);
        assert!(hidden.errno().is_some() && !rig::has_secret(&hidden.text), "{hidden:?}");
        std::fs::rename(&path, place.path().join("elsewhere")).unwrap();
        let error = refused(&plan);
        assert!(
            matches!(&error, LaunchError::Replaced { path: told } if told == Path::new(&path)),
            "{error:?}"
        );
        std::fs::write(&path, "a decoy").unwrap();
        assert!(matches!(refused(&plan), LaunchError::Replaced { .. }));
    });
}

#[test]
fn a_hidden_directory_is_empty() {
    both(|| {
        let (place, path) = canary();
        let inner = place.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::copy(&path, inner.join("canary")).unwrap();
        let deep = inner.join("canary");
        let mut plan = plan(&["read", deep.to_str().unwrap()]);
        plan.mount(found(place.path()), Access::READ_WRITE);
        assert!(rig::has_secret(&run(&plan).text));
        plan.hide(found(&inner));
        assert!(run(&plan).errno().is_some());
        assert!(!inner.join("x").exists() && inner.join("canary").exists(), "the host's own is untouched");
    });
}

#[test]
fn a_program_that_was_replaced() {
    both(|| {
        let place = rig::directory(0o755);
        let path = place.path().join("program");
        std::fs::copy(rig::probe(), &path).unwrap();
        let mut plan = Plan::new(Program::find(path.as_os_str(), Path::new("/")).unwrap());
        plan.argument("true").mount(found(place.path()), Access::READ);
        assert!(run(&plan).is_ok());
        std::fs::rename(&path, place.path().join("kept")).unwrap();
        std::fs::copy(rig::probe(), &path).unwrap();
        let error = refused(&plan);
        assert!(matches!(&error, LaunchError::Replaced { path: told } if *told == path), "{error:?}");
    });
}

#[test]
fn a_file_that_is_no_program() {
    both(|| {
        let place = rig::directory(0o755);
        let path = place.path().join("text");
        std::fs::write(&path, "not a program\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut plan = Plan::new(Program::find(path.as_os_str(), Path::new("/")).unwrap());
        plan.mount(found(place.path()), Access::READ);
        let error = refused(&plan);
        assert!(
            matches!(&error, LaunchError::Execute { path: told, source }
            if *told == path && source.raw_os_error() == Some(8)),
            "{error:?}"
        );
    });
}

#[test]
fn a_program_that_the_sandbox_does_not_show() {
    both(|| {
        let probe = rig::probe();
        let hidden = Plan::new(Program::find(probe.as_os_str(), Path::new("/")).unwrap());
        let error = refused(&hidden);
        assert!(
            matches!(&error, LaunchError::Plan(CompileError::NotVisible { path }) if *path == probe),
            "{error:?}"
        );
        let mut hiding = plan(&["true"]);
        // It is granted by its own name, and lies on top of what hides its directory.
        assert!(run(hiding.hide(found(probe.parent().unwrap()))).is_ok());
        hiding.hide(found(&probe));
        assert!(matches!(refused(&hiding), LaunchError::Plan(CompileError::NotVisible { .. })));
    });
}

#[test]
fn plans_that_can_never_be() {
    both(|| {
        let told = |plan: &Plan| match refused(plan) {
            LaunchError::Plan(CompileError::Plan(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(plan(&["true"]).argument("a\0b")), PlanError::Nul { what: "an argument" });
        assert_eq!(
            told(plan(&["true"]).variable("A", "\0")),
            PlanError::Nul { what: "an environment entry" }
        );
        assert_eq!(told(plan(&["true"]).working_directory("/a\0")), PlanError::Nul { what: "a path" });
        let mut many = plan(&["true"]);
        (0..3000).for_each(|_| {
            many.argument("x");
        });
        assert!(matches!(told(&many), PlanError::TooLarge { what: "arguments", .. }));
        let long = plan(&["true"]).argument("x".repeat(200_000)).clone();
        assert!(matches!(told(&long), PlanError::TooLarge { what: "bytes in all", .. }));
        let whole = plan(&["true"]).mount(found("/"), Access::READ).clone();
        assert_eq!(told(&whole), PlanError::Reserved { path: "/".into() });
        let processes = plan(&["true"]).mount(found("/proc"), Access::READ).clone();
        assert!(matches!(told(&processes), PlanError::Reserved { .. }));
    });
}

/// A plan cannot name more grants than a request holds, and says so instead of failing somewhere in the launcher.
#[test]
fn more_grants_than_a_request_holds() {
    both(|| {
        let place = rig::directory(0o755);
        let mut plan = plan(&["true"]);
        for number in 0..600 {
            let path = place.path().join(number.to_string());
            std::fs::create_dir(&path).unwrap();
            plan.mount(found(path), Access::READ);
        }
        assert!(matches!(
            refused(&plan),
            LaunchError::Plan(CompileError::Plan(PlanError::TooLarge { what: "mounts", .. }))
        ));
    });
}

#[test]
fn what_cannot_be_granted_or_found() {
    both(|| {
        assert!(matches!(Resolved::find(Path::new("/nowhere")), Err(ResolveError::Missing { .. })));
        let place = rig::directory(0o755);
        let socket = place.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(Resolved::find(&socket), Err(ResolveError::Special { .. })));
    });
}

#[test]
fn few_open_files_are_enough_or_refused() {
    both(|| {
        let limits = |open_files| Limits { open_files, ..Limits::default() };
        let mut plan = plan(&["descriptors"]);
        for open_files in [4, 8, 16, 64] {
            let seen = run(plan.limits(limits(open_files)));
            assert!(seen.text.starts_with("fd 0\nfd 1\nfd 2\nok"), "{open_files}: {seen:?}");
        }
    });
}

/// A host without a free descriptor gets an error, and goes on when there are some again.
#[test]
fn a_host_without_descriptors() {
    both(|| {
        let _ready = launcher();
        let mut held = Vec::new();
        let stdio = Stdio::null().unwrap();
        let (_, hard) = (0, rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum);
        let few = rustix::process::Rlimit { current: Some(64), maximum: hard };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            held.push(file);
        }
        assert!(launcher().launch(&plan_without_files(), stdio).is_err());
        assert!(Launcher::start().is_err());
        drop(held);
        assert!(run(&plan(&["true"])).is_ok());
        assert!(rig::leaves_of(std::process::id()).is_empty());
    });
}

/// Made before descriptors ran out.
fn plan_without_files() -> Plan {
    static PLAN: std::sync::OnceLock<Plan> = std::sync::OnceLock::new();
    PLAN.get_or_init(|| Plan::new(Program::find("true".as_ref(), Path::new("/")).unwrap())).clone()
}
