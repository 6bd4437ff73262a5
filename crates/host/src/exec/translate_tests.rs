use super::*;
use crate::home::Home;

fn refused(exec: &Exec) -> Error {
    translate(exec).unwrap_err()
}

fn plain() -> Exec {
    let mut exec = Exec::new(["true"]);
    exec.directory("/");
    exec
}

fn tree() -> (tempfile::TempDir, PathBuf) {
    let made = tempfile::tempdir().unwrap();
    let root = Resolved::find(made.path()).unwrap().path().to_owned();
    (made, root)
}

#[test]
fn mistakes_have_their_codes_and_hints() {
    let code = |change: &dyn for<'e> Fn(&'e mut Exec) -> &'e mut Exec| {
        let mut exec = plain();
        change(&mut exec);
        refused(&exec).code()
    };
    assert_eq!(code(&|exec| exec.read_path("/no/such")), ErrorCode::PathNotFound);
    assert_eq!(code(&|exec| exec.read_path("/dev/null")), ErrorCode::NotSupported);
    assert_eq!(code(&|exec| exec.grant("file:raed")), ErrorCode::InvalidPermission);
    assert_eq!(code(&|exec| exec.grant("file:write")), ErrorCode::Floor);
    assert_eq!(code(&|exec| exec.grant("file:read=/no/such/**")), ErrorCode::PathNotFound);
    assert_eq!(code(&|exec| exec.grant("file:read=/usr")), ErrorCode::Usage);
    assert_eq!(code(&|exec| exec.deny("file:read=/usr")), ErrorCode::Usage);
    assert_eq!(code(&|exec| exec.grant("network:request=example.com:443")), ErrorCode::NotSupported);
    assert_eq!(code(&|exec| exec.grant("event:post=x")), ErrorCode::NotSupported);
    assert_eq!(code(&|exec| exec.variable("LD_PRELOAD", "x")), ErrorCode::PermissionDenied);
    assert_eq!(code(&|exec| exec.variable("GIT_SSH_COMMAND", "x")), ErrorCode::PermissionDenied);
    assert_eq!(code(&|exec| exec.variable("A=B", "x")), ErrorCode::Usage);
    assert_eq!(code(&|exec| exec.variable("", "x")), ErrorCode::Usage);
    assert_eq!(code(&|exec| exec.directory("relative")), ErrorCode::Usage);
    let none: [&str; 0] = [];
    assert_eq!(refused(Exec::new(none).directory("/")).code(), ErrorCode::Usage);
    for (command, code) in [
        ("no-such-program", ErrorCode::NotFound),
        ("/usr", ErrorCode::NotExecutable),
        ("/x", ErrorCode::NotFound),
    ] {
        assert_eq!(refused(Exec::new([command]).directory("/")).code(), code, "{command}");
    }
}

#[test]
fn denying_what_is_not_granted_is_no_mistake() {
    let mut exec = plain();
    for text in
        ["network:request", "event:post", "subprocess:execute=git", "env:read=LANG", "file:read=/no/such"]
    {
        exec.deny(text);
    }
    assert!(translate(&exec).unwrap().plan.mounts().is_empty());
    exec.grant("subprocess:execute");
    assert_eq!(refused(&exec).code(), ErrorCode::NotEnforceable, "programs cannot be denied one by one");
    exec.deny("subprocess:execute");
    assert!(translate(&exec).is_ok(), "denied as a whole");
}

#[test]
fn links_are_followed_once_and_stay_visible() {
    let (_made, root) = tree();
    std::fs::create_dir(root.join("real")).unwrap();
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    for grant in [root.join("link"), root.join("real/../link/.")] {
        let mut exec = plain();
        exec.read_path(grant);
        let plan = translate(&exec).unwrap().plan;
        assert_eq!(plan.mounts()[0].source.path(), root.join("real"));
    }
    let rule = |text: String| {
        let mut exec = plain();
        exec.write_path(&root).grant(text);
        translate(&exec)
    };
    let plan = rule(format!("subprocess:execute={}/link/**", root.display())).unwrap().plan;
    let real = plan.mounts().iter().find(|mount| mount.source.path() == root.join("real")).unwrap();
    assert!(real.access.execute && real.access.write, "{:?}", real.access);
    let wild = rule(format!("file:read={}/link/*.txt", root.display())).unwrap_err();
    assert!(wild.code() == ErrorCode::Usage && wild.hint().unwrap().contains("link leads to"), "{wild}");
}

#[test]
fn a_protected_path_that_is_a_link_protects_what_it_leads_to() {
    let (_made, root) = tree();
    std::fs::create_dir_all(root.join("dotfiles/keys")).unwrap();
    std::os::unix::fs::symlink("dotfiles/keys", root.join("keys")).unwrap();
    let keys = CanonicalPath::new(root.join("keys")).unwrap();
    let vars = crate::exec::floor::with_links(Vars::new(CanonicalPath::root()).with_state(keys));
    assert!(vars.floor().holds(&CanonicalPath::new(root.join("dotfiles/keys/id")).unwrap()));
    assert!(!vars.floor().holds(&CanonicalPath::new(root.join("dotfiles/other")).unwrap()));
    let all = format!("file:write={}/dotfiles/**", root.display());
    assert!(Rule::parse(Effect::Allow, &all, &vars, "test").is_err());
    let error = resolve(&root.join("other"), &vars, "test").unwrap_err();
    assert_eq!(error.code(), ErrorCode::PathNotFound);
    std::os::unix::fs::symlink("dotfiles/keys", root.join("other")).unwrap();
    assert_eq!(resolve(&root.join("other"), &vars, "test").unwrap_err().code(), ErrorCode::Floor);
    assert!(resolve(&root.join("keys"), &vars, "test").is_ok(), "named itself");
}

#[test]
fn ringfences_own_state_is_on_the_floor() {
    let (_made, root) = tree();
    std::fs::create_dir(root.join("home")).unwrap();
    let mut exec = plain();
    exec.write_path(&root);
    assert!(translate(&exec).is_ok());
    exec.home(&Home::at(root.join("home")), &crate::Config::default()).unwrap();
    assert_eq!(refused(&exec).code(), ErrorCode::Floor);
}

#[test]
fn strict_never_asks_for_the_sampler() {
    let mut exec = plain();
    let backend = |exec: &Exec| limits(exec).map(|limits| limits.backend);
    assert_eq!(backend(&exec).unwrap(), Backend::Auto);
    exec.strict(true);
    assert_eq!(backend(&exec).unwrap(), Backend::Cgroup);
    exec.limits_backend(LimitsBackend::CgroupV1);
    assert_eq!(backend(&exec).unwrap(), Backend::CgroupV1);
    exec.limits_backend(LimitsBackend::Sampler);
    assert_eq!(backend(&exec).unwrap_err().code(), ErrorCode::NotEnforceable);
    assert_eq!(backend(exec.strict(false)).unwrap(), Backend::Sampler);
    assert_eq!(backend(exec.limits_backend(LimitsBackend::CgroupV2)).unwrap(), Backend::CgroupV2);
}

#[test]
fn a_command_of_the_callers_own_path_is_named() {
    let (_made, root) = tree();
    let own = std::env::var_os("PATH").unwrap_or_default();
    let extra = std::env::split_paths(&own)
        .filter(|directory| {
            !ringfence_sandbox::SEARCH_PATH.split(':').any(|known| directory == Path::new(known))
        })
        .find_map(|directory| {
            std::fs::read_dir(directory).ok()?.flatten().find(|entry| entry.path().is_file())
        });
    assert!(elsewhere(OsStr::new("sh")).is_some() && elsewhere(OsStr::new("a/b")).is_none());
    if let Some(program) = extra.map(|entry| entry.file_name())
        && Program::find(&program, &root)
            .is_err_and(|error| matches!(error, ResolveError::NoSuchProgram { .. }))
    {
        let error = refused(Exec::new([program]).directory("/"));
        assert!(error.hint().unwrap().contains("--ro"), "{error}");
    }
}

#[test]
fn a_relative_name_in_an_ungranted_directory_has_a_hint() {
    // Not in /tmp, of which a sandbox has its own.
    let made = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = Resolved::find(made.path()).unwrap().path().to_owned();
    std::fs::write(root.join("notes"), "x").unwrap();
    let hints = |words: [&str; 2], grant: bool| {
        let mut exec = Exec::new(words);
        exec.directory(&root);
        if grant {
            exec.read_path(&root);
        }
        translate(&exec).unwrap().hints
    };
    let told = hints(["cat", "notes"], false);
    assert!(told.len() == 1 && told[0].contains(&format!("--ro {}", root.display())), "{told:?}");
    assert!(hints(["cat", "notes"], true).is_empty(), "it starts there");
    assert!(hints(["cat", "elsewhere"], false).is_empty(), "nothing was meant");
}

#[test]
fn a_program_that_is_not_the_judged_one_any_more_is_not_started() {
    let shell = Program::find("sh".as_ref(), "/".as_ref()).unwrap();
    let mut exec = Exec::new(["sh"]);
    exec.judged = Some(asked_program(&shell).path().to_owned());
    assert!(translate(&exec).is_ok());
    exec.judged = Some("/usr/bin/another".into());
    assert_eq!(translate(&exec).unwrap_err().code(), ErrorCode::Busy);
    // Of a script the script counts, not what interprets it.
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let found = Program::find(script.as_os_str(), "/".as_ref()).unwrap();
    assert_eq!(asked_program(&found).path(), script);
}
