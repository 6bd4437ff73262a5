//! Grants and denials, each with the run that shows the same act succeed.

use ringfence::exec::Exec;
use ringfence_api::{ErrorCode, RunStatus};

use crate::{command, directory, sh, stdout};

/// Exit status of `script` with the changes made.
fn status(script: &str, change: impl FnOnce(&mut Exec) -> &mut Exec) -> i32 {
    let mut exec = sh(script);
    change(&mut exec);
    let captured = exec.run_captured();
    captured.report.exit_code.unwrap_or_else(|| panic!("{:?}", captured.report))
}

#[test]
fn reading_needs_a_grant() {
    let (_made, root) = directory();
    let file = root.join("note");
    std::fs::write(&file, "hello\n").unwrap();
    let script = format!("read line < {} && echo $line", file.display());
    assert_ne!(status(&script, |exec| exec), 0);
    let granted = sh(&script).read_path(&root).run_captured();
    assert_eq!((granted.report.exit_code, stdout(&granted).as_str()), (Some(0), "hello\n"));
    let by_name = sh(&script).grant(format!("file:read={}", file.display())).run_captured();
    assert_eq!(stdout(&by_name), "hello\n");
}

#[test]
fn writing_and_deleting_are_granted_apart() {
    let (_made, root) = directory();
    let path = root.display();
    let write = format!("echo x > {path}/new");
    assert_ne!(status(&write, |exec| exec.read_path(&root)), 0);
    assert!(!root.join("new").exists());
    let (read, change) = (format!("file:read={path}/**"), format!("file:write={path}/**"));
    assert_eq!(status(&write, |exec| exec.grant(&read).grant(&change)), 0);
    assert_eq!(std::fs::read_to_string(root.join("new")).unwrap(), "x\n");
    let remove = |exec: &mut Exec| exec.run_captured().report.exit_code;
    let target = root.join("new");
    let mut rm = command(["rm", target.to_str().unwrap()]);
    rm.grant(&read).grant(&change);
    assert_ne!(remove(&mut rm), Some(0));
    assert!(target.exists());
    rm.grant(format!("file:delete={path}/**"));
    assert_eq!(remove(&mut rm), Some(0));
    assert!(!target.exists());
}

#[test]
fn a_failed_run_with_writing_but_no_deleting_has_the_hint() {
    let (_made, root) = directory();
    let run = |script: &str| {
        let mut exec = sh(script);
        exec.grant(format!("file:write={}/**", root.display()));
        let mut sink = ringfence::exec::Capture::default();
        exec.run(&mut sink, &ringfence::exec::Listeners::new()).hints
    };
    assert!(run("exit 1").iter().any(|hint| hint.contains("file:delete=")));
    assert!(run("exit 0").is_empty());
}

#[test]
fn what_is_denied_below_a_grant_is_not_there() {
    let (_made, root) = directory();
    std::fs::create_dir(root.join("in")).unwrap();
    std::fs::write(root.join("in/secret"), "s\n").unwrap();
    let script = format!("read line < {}/in/secret", root.display());
    assert_eq!(status(&script, |exec| exec.read_path(&root)), 0);
    let denied = |deny: String| status(&script, |exec| exec.read_path(&root).deny(deny));
    assert_ne!(denied(format!("file:read={}/in/**", root.display())), 0);
    assert_ne!(denied(format!("file:read={}/**/sec*", root.display())), 0);
}

#[test]
fn a_named_pipe_cannot_be_covered_so_its_denial_is_refused() {
    let (_made, root) = directory();
    let fifo = root.join("fifo");
    let made = command(["mkfifo", fifo.to_str().unwrap()]).write_path(&root).run_captured();
    assert_eq!(made.report.exit_code, Some(0), "{:?}", made.report);
    assert_eq!(status("exit 0", |exec| exec.read_path(&root)), 0);
    let denial = format!("file:read={}", fifo.display());
    let error = sh("exit 0").read_path(&root).deny(denial).run_captured().report.error.unwrap();
    assert_eq!(error.code, ErrorCode::NotEnforceable, "{error:?}");
}

#[test]
fn a_place_denied_for_writing_cannot_be_moved_away_and_made_anew() {
    let (_made, root) = directory();
    std::fs::create_dir_all(root.join("repo/hooks")).unwrap();
    std::fs::write(root.join("repo/hooks/run"), "old\n").unwrap();
    let path = root.display();
    let attack = format!(
        "mv {path}/repo {path}/moved && mkdir -p {path}/repo/hooks && echo new > {path}/repo/hooks/run"
    );
    let run = |deny: bool| {
        let mut exec = sh(&attack);
        exec.write_path(&root).grant("subprocess:execute");
        if deny {
            exec.deny(format!("file:write={path}/repo/hooks/**"));
        }
        exec.run_captured().report.exit_code
    };
    assert_ne!(run(true), Some(0));
    assert_eq!(std::fs::read_to_string(root.join("repo/hooks/run")).unwrap(), "old\n");
    assert_eq!(run(false), Some(0), "the same without the denial");
    assert_eq!(std::fs::read_to_string(root.join("repo/hooks/run")).unwrap(), "new\n");
}

#[test]
fn a_link_that_was_named_works_inside() {
    let (_made, root) = directory();
    std::fs::create_dir(root.join("real")).unwrap();
    std::fs::write(root.join("real/a"), "x\n").unwrap();
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    let script = format!("read line < {}/link/a", root.display());
    assert_eq!(status(&script, |exec| exec.read_path(root.join("link"))), 0);
    assert_ne!(status(&script, |exec| exec), 0);
}

#[test]
fn what_is_named_through_a_link_of_the_system_is_shown_where_it_is() {
    // On most systems /bin leads to /usr/bin, and every sandbox has that link already.
    for named in ["/bin/sh", "/usr/bin/env", "/var/tmp"] {
        let script = format!("[ -e {named} ] && [ ! -e /srv/nothing ]");
        assert_eq!(status(&script, |exec| exec.read_path(named)), 0, "{named}");
    }
}

#[test]
fn the_working_directory_is_the_callers_if_it_is_granted() {
    let (_made, root) = directory();
    let pwd = |exec: &mut Exec| {
        let captured = exec.run_captured();
        assert_eq!(captured.report.status, RunStatus::Exited, "{:?}", captured.report);
        stdout(&captured).trim().to_owned()
    };
    let mut exec = sh("pwd -P");
    assert_eq!(pwd(exec.directory(&root)), "/tmp");
    exec.grant(format!("subprocess:execute={}/**", root.display()));
    assert_eq!(pwd(&mut exec), "/tmp", "the right to execute shows nothing");
    assert_eq!(pwd(exec.read_path(".")), root.display().to_string());
    assert_eq!(pwd(exec.working_directory("/usr")), "/usr");
    let nowhere = exec.working_directory("/no/such").run_captured().report.error.unwrap();
    assert_eq!(nowhere.code, ErrorCode::PathNotFound, "{nowhere:?}");
}

#[test]
fn executing_in_a_writable_place_needs_the_directory_named() {
    let (_made, root) = directory();
    let script = format!("cp /usr/bin/true {0}/tool && {0}/tool", root.display());
    let run = |grant: &str| {
        let mut exec = sh(&script);
        exec.write_path(&root).grant(grant);
        exec.run_captured().report.exit_code
    };
    assert_eq!(run("subprocess:execute"), Some(126));
    std::fs::remove_file(root.join("tool")).unwrap();
    assert_eq!(run(&format!("subprocess:execute={}/**", root.display())), Some(0));
}

#[test]
fn processes_need_a_grant() {
    assert_ne!(status("/usr/bin/true", |exec| exec), 0);
    assert_eq!(status("/usr/bin/true; exit", |exec| exec.grant("subprocess:execute")), 0);
    let denied =
        status("/usr/bin/true; exit", |exec| exec.grant("subprocess:execute").deny("subprocess:execute"));
    assert_ne!(denied, 0);
}

#[test]
fn variables_come_by_grant_or_by_name() {
    let mut exec = sh("echo \"$PATH|$FOO|$CARGO_MANIFEST_DIR\"");
    let seen = |exec: &mut Exec| stdout(&exec.run_captured()).trim().to_owned();
    assert_eq!(seen(&mut exec), format!("{}||", ringfence_sandbox::SEARCH_PATH));
    exec.variable("FOO", "bar").grant("env:read=CARGO_MANIFEST_DIR");
    let own = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    assert_eq!(seen(&mut exec), format!("{}|bar|{own}", ringfence_sandbox::SEARCH_PATH));
    exec.deny("env:read=CARGO_*");
    assert_eq!(seen(&mut exec), format!("{}|bar|", ringfence_sandbox::SEARCH_PATH));
}

#[test]
fn a_program_outside_the_sandbox_is_named_with_the_grant_that_shows_it() {
    let (_made, root) = directory();
    let tool = root.join("tool");
    std::fs::copy("/usr/bin/true", &tool).unwrap();
    let run = |grant: bool| {
        let mut exec = command([tool.to_str().unwrap()]);
        if grant {
            exec.read_path(&root);
        }
        exec.run_captured().report
    };
    let error = run(false).error.unwrap();
    assert_eq!(error.code, ErrorCode::NotFound, "{error:?}");
    assert_eq!(error.hint, Some(format!("grant it: --ro {}", root.display())));
    assert_eq!(run(true).exit_code, Some(0));
    std::fs::write(&tool, b"\x7fELF is not all it takes").unwrap();
    let error = run(true).error.unwrap();
    assert_eq!(error.code, ErrorCode::NotExecutable, "{error:?}");
}
