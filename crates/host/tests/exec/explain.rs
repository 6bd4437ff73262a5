//! Refusals with their object and the grant that would help; and programs that would mislead or break who watches them.

use std::path::Path;
use std::time::Duration;

use ringfence::exec::Exec;
use ringfence_api::{Denial, RunReport, RunStatus, UNKNOWN_OBJECT, Violation};
use ringfence_testkit::lacks;

use crate::{command, directory, sh, stderr};

fn find<'d>(denials: &'d [Denial], operation: &str) -> Option<&'d Denial> {
    denials.iter().find(|denial| denial.operation == operation)
}

fn python(code: &str) -> Exec {
    let mut exec = command(["python3", "-I", "-S", "-B", "-c", code]);
    // Another locale makes Python look for more files.
    exec.variable("LC_ALL", "C");
    exec
}

/// How many refusals could not be told apart or listed.
fn more(report: &RunReport) -> u64 {
    find(&report.denials, "more").map_or(0, |denial| denial.count)
}

#[test]
fn a_path_that_is_not_shown_is_named_with_its_grant() {
    let (_made, root) = directory();
    std::fs::write(root.join("a"), "x\n").unwrap();
    let mut exec = sh(&format!("read line < {}/a", root.display()));
    let report = exec.explain(true).run_captured().report;
    let denial = find(&report.denials, "file:read").unwrap_or_else(|| panic!("{:?}", report.denials));
    assert_eq!(denial.object, root.join("a").display().to_string());
    let grant = denial.grant.clone().unwrap();
    assert_eq!(grant, format!("file:read={}/a", root.display()));
    let granted = exec.grant(grant).run_captured().report;
    assert_eq!((granted.exit_code, find(&granted.denials, "file:read")), (Some(0), None));
    assert!(exec.explain(false).run_captured().report.denials.is_empty());
}

/// A script in a directory that it may read, which asks for the file beside that directory; where the refusal says that it did.
fn location(program: &str, name: &str, code: &str, more: impl Fn(&mut Exec)) -> Option<String> {
    let (_made, root) = directory();
    let shown = root.join("shown");
    std::fs::create_dir(&shown).unwrap();
    std::fs::write(root.join("secret"), "x").unwrap();
    let script = shown.join(name);
    std::fs::write(&script, code.replace("SECRET", root.join("secret").to_str().unwrap())).unwrap();
    let mut exec = Exec::new(program.split(' ').chain([script.to_str().unwrap()]));
    exec.directory("/");
    exec.grant(format!("file:read={}/**", shown.display())).variable("LC_ALL", "C").explain(true);
    more(&mut exec);
    let report = exec.run_captured().report;
    let denial = report.denials.iter().find(|denial| denial.object.ends_with("/secret"));
    let denial = denial.unwrap_or_else(|| panic!("{:?}", report.denials));
    assert!(
        !report.denials.iter().any(|denial| denial.object.contains("ringfence/")),
        "{:?}",
        report.denials
    );
    let granted = exec.grant(denial.grant.clone().unwrap()).run_captured().report;
    assert!(
        !granted.denials.iter().any(|denial| denial.object.ends_with("/secret")),
        "{:?}",
        granted.denials
    );
    denial.location.as_ref().map(|location| location.replace(shown.to_str().unwrap(), "."))
}

#[test]
fn the_line_of_a_python_program_that_asked_is_told() {
    let code = "import pathlib\ndef look():\n    return pathlib.Path('SECRET').read_text()\ntry:\n    look()\nexcept OSError:\n    pass\n";
    let told = |program: &str| location(program, "a.py", code, |_| {});
    assert_eq!(
        told("/usr/bin/python3").as_deref(),
        Some("./a.py:3"),
        "the program's own line, not that of the library"
    );
    // Told to look at no variable, it says nothing, and the refusal is told all the same.
    assert_eq!(told("/usr/bin/python3 -I"), None);
    let relative = "import os\nos.chdir('/tmp')\nopen('SECRET')\n";
    assert_eq!(location("/usr/bin/python3", "a.py", relative, |_| {}).as_deref(), Some("./a.py:3"));
    // By way of a shell, and beside what the caller sets.
    let shell = |exec: &mut Exec| {
        exec.grant("subprocess:execute");
    };
    let by_shell = location("/bin/sh", "a.sh", "/usr/bin/python3 -c \"\n\nopen('SECRET')\"\nexit 0\n", shell);
    assert_eq!(by_shell.as_deref(), Some("<string>:3"));
}

#[test]
fn the_line_of_a_node_program_that_asked_is_told() {
    if lacks("node") {
        return;
    }
    let code = "import { readFileSync } from 'node:fs';\nfunction look() {\n  return readFileSync('SECRET');\n}\ntry { look(); } catch {}\n";
    assert_eq!(location("/usr/bin/node", "a.mjs", code, |_| {}).as_deref(), Some("./a.mjs:3"));
    let code = "const fs = require('fs');\n\nfs.promises.readFile('SECRET').catch(() => {});\n";
    assert_eq!(location("/usr/bin/node", "a.cjs", code, |_| {}).as_deref(), Some("./a.cjs:3"));
}

/// Whoever lies about a line changes what is shown of the line, and nothing else.
#[test]
fn a_program_that_lies_about_its_line_lies_about_its_line_alone() {
    let code = "import os\nos.access('/.ringfence/at/7/5//fakeSECRET', 0)\nos.access('/.ringfence/at/99999999999999999999/1/aSECRET', 0)\n\
                os.access('/.ringfence/at/7/999999999/aSECRET', 0)\ntry:\n    open('SECRET')\nexcept OSError:\n    pass\n";
    assert_eq!(location("/usr/bin/python3", "a.py", code, |_| {}).as_deref(), Some("/fake:7"));
}

#[test]
fn starting_a_process_is_a_refusal_with_its_grant() {
    for explain in [false, true] {
        let report = sh("(exit 0)").explain(explain).run_captured().report;
        let denial =
            report.denials.iter().find(|denial| denial.grant.as_deref() == Some("subprocess:execute"));
        assert!(denial.is_some_and(|denial| denial.layer == "seccomp"), "{:?}", report.denials);
        let granted = sh("(exit 0)").explain(explain).grant("subprocess:execute").run_captured().report;
        assert!(granted.exit_code == Some(0) && granted.denials.is_empty(), "{:?}", granted.denials);
    }
}

/// Runs `code` again and again, each time with what the refusals of the last run proposed, until it works. Which operations
/// were refused on the way.
fn granted_until_it_works(code: &str, root: &Path) -> Vec<String> {
    let mut exec = python(code);
    exec.explain(true);
    let mut refused = Vec::new();
    for _ in 0..4 {
        let captured = exec.run_captured();
        if captured.report.exit_code == Some(0) {
            assert!(captured.report.denials.is_empty(), "{code}: {:?}", captured.report.denials);
            return refused;
        }
        assert!(!captured.report.denials.is_empty(), "{code}: nothing refused: {}", stderr(&captured));
        for denial in &captured.report.denials {
            assert!(
                denial.object == UNKNOWN_OBJECT || Path::new(&denial.object).starts_with(root),
                "{code}: {denial:?}"
            );
            let grant = denial.grant.clone().unwrap_or_else(|| panic!("{code}: {denial:?}"));
            refused.push(denial.operation.clone());
            exec.grant(grant);
        }
    }
    panic!("{code}: still refused with {refused:?}");
}

#[test]
fn every_act_is_named_and_works_with_the_grant_that_was_named() {
    if lacks("python3") {
        return;
    }
    const READ: &str = "file:read";
    const WRITE: &str = "file:write";
    const DELETE: &str = "file:delete";
    for (act, refused) in [
        ("open(d+'/file').read()", &[READ][..]),
        ("open(d+'/file','w')", &[WRITE]),
        ("open(d+'/file','r+')", &[READ, WRITE]),
        ("open(d+'/new','w')", &[WRITE]),
        ("os.open(d+'/new', os.O_RDWR|os.O_CREAT)", &[READ, WRITE]),
        ("os.truncate(d+'/file', 0)", &[WRITE]),
        ("os.mkdir(d+'/new')", &[WRITE]),
        ("os.symlink('x', d+'/new')", &[WRITE]),
        ("os.mkfifo(d+'/new')", &[WRITE]),
        ("os.chmod(d+'/file', 0o600)", &[WRITE]),
        ("os.utime(d+'/file', (1, 1))", &[WRITE]),
        ("os.rmdir(d+'/empty')", &[DELETE]),
        ("os.unlink(d+'/file')", &[DELETE]),
        ("os.rename(d+'/file', d+'/new')", &[DELETE, WRITE]),
        ("os.link(d+'/file', d+'/new')", &[READ, WRITE]),
        ("os.stat(d+'/file')", &[READ]),
        ("os.lstat(d+'/file')", &[READ]),
        ("1/os.access(d+'/file', os.R_OK)", &[READ]),
        ("os.readlink(d+'/link')", &[READ]),
        ("os.listdir(d)", &[READ]),
        ("os.chdir(d)", &[READ]),
        ("os.statvfs(d)", &[READ]),
        ("os.listxattr(d+'/file')", &[READ]),
    ] {
        let (_made, root) = directory();
        std::fs::write(root.join("file"), "x\n").unwrap();
        std::fs::create_dir(root.join("empty")).unwrap();
        std::os::unix::fs::symlink("file", root.join("link")).unwrap();
        let code = format!("import os\nd='{}'\n{act}", root.display());
        let mut seen = granted_until_it_works(&code, &root);
        seen.dedup();
        assert_eq!(seen, refused, "{act}");
    }
}

#[test]
fn a_program_in_a_writable_place_is_named_with_the_grant_that_runs_it() {
    let (_made, root) = directory();
    let tool = root.join("tool");
    std::fs::copy("/bin/true", &tool).unwrap();
    let mut exec = sh(&format!("{0}/tool || exit 9; :", root.display()));
    exec.explain(true).grant("subprocess:execute").write_path(&root);
    let report = exec.run_captured().report;
    assert_eq!(report.exit_code, Some(9));
    let denial =
        find(&report.denials, "subprocess:execute").unwrap_or_else(|| panic!("{:?}", report.denials));
    assert_eq!((denial.layer.as_str(), denial.object.as_str()), ("mount", tool.to_str().unwrap()));
    let granted = exec.grant(denial.grant.clone().unwrap()).run_captured().report;
    assert_eq!((granted.exit_code, find(&granted.denials, "subprocess:execute")), (Some(0), None));
}

#[test]
fn a_port_that_nobody_can_reach_is_named() {
    if lacks("python3") {
        return;
    }
    let code = "import socket\nfor port in (8080, 0):\n try: socket.socket().bind(('0.0.0.0', port))\n except PermissionError: print('refused')";
    let captured = python(code).explain(true).run_captured();
    assert_eq!(String::from_utf8_lossy(&captured.stdout), "refused\nrefused\n");
    let grants: Vec<_> = captured.report.denials.iter().map(|denial| denial.grant.as_deref()).collect();
    assert_eq!(grants, [Some("network:listen=0.0.0.0:8080"), Some("network:listen")]);
}

#[test]
fn watching_takes_nothing_from_the_filter() {
    if lacks("python3") {
        return;
    }
    // The set-id bit, which the filter refuses by a register; twice, so that watching and refusing agree.
    let code = "import os\nopen('/tmp/a','w')\nos.chmod('/tmp/a', 0o755)\ntry: os.chmod('/tmp/a', 0o4755)\nexcept PermissionError: print('refused', oct(os.stat('/tmp/a').st_mode))";
    for explain in [false, true] {
        let captured = python(code).explain(explain).run_captured();
        assert_eq!(String::from_utf8_lossy(&captured.stdout), "refused 0o100755\n", "explain: {explain}");
        assert_eq!(captured.report.denials.len(), 1, "{:?}", captured.report.denials);
        assert_eq!(captured.report.denials[0].layer, "seccomp");
    }
    // Each of these is told by another register; the last one makes a process in a new user namespace.
    let code = "import ctypes, errno, os\nlibc = ctypes.CDLL(None, use_errno=True)\nfor call in ((85, b'/tmp/c', 0o4755), (83, b'/tmp/d', 0o2755), (258, -100, b'/tmp/d', 0o2755), (2, b'/tmp/b', 0o101, 0o4755), (257, -100, b'/tmp/b', 0o101, 0o2755), (268, -100, b'/tmp/a', 0o4755), (452, -100, b'/tmp/a', 0o4755, 0), (133, b'/tmp/n', 0o020666, 259), (259, -100, b'/tmp/n', 0o060666, 259), (56, 0x10000011, 0, 0, 0, 0)):\n open('/tmp/a', 'w')\n r = libc.syscall(*call)\n if r == 0 and call[0] == 56: os._exit(0)\n assert r == -1 and ctypes.get_errno() == errno.EPERM, call\nassert libc.syscall(83, b'/tmp/e', 0o755) == 0 and libc.syscall(133, b'/tmp/f', 0o010600, 0) == 0";
    for explain in [false, true] {
        let captured = python(code).grant("subprocess:execute").explain(explain).run_captured();
        assert_eq!(captured.report.exit_code, Some(0), "explain: {explain}: {}", stderr(&captured));
        let refused: u64 = captured.report.denials.iter().map(|denial| denial.count).sum();
        assert_eq!(refused, 10, "{:?}", captured.report.denials);
        assert!(captured.report.denials.iter().all(|denial| denial.grant.is_none()), "no grant helps");
    }
    // io_uring and openat2 stay missing.
    let code = "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\nfor number in (425, 437, 463):\n assert libc.syscall(number, -100, b'/usr', 0, 0) == -1\n assert ctypes.get_errno() == errno.ENOSYS, number";
    for explain in [false, true] {
        let captured = python(code).explain(explain).run_captured();
        assert_eq!(captured.report.exit_code, Some(0), "{}", stderr(&captured));
    }
}

#[test]
fn equal_refusals_are_counted_and_too_many_are_told_as_a_number() {
    if lacks("python3") {
        return;
    }
    let (_made, root) = directory();
    std::fs::write(root.join("file"), "x\n").unwrap();
    const TIMES: u64 = 20_000;
    const NAMES: u64 = 40_000;
    let code = format!(
        "import os\ndef t(p):\n try: os.stat(p)\n except OSError: pass\nfor i in range({TIMES}): t('{0}/file')\nfor i in range({NAMES}): t('{0}/'+str(i))",
        root.display()
    );
    let mut exec = python(&code);
    exec.explain(true).limits().cpu_percent = None;
    let report = exec.run_captured().report;
    assert_eq!(report.exit_code, Some(0));
    assert_eq!(find(&report.denials, "file:read").map(|denial| denial.count), Some(TIMES));
    let more = more(&report);
    assert!(more > 0 && more < NAMES, "{more} of {NAMES} names, all but those that were told apart");
    assert!(report.denials.len() <= 258, "{}", report.denials.len());
}

#[test]
fn many_different_refusals_are_listed_up_to_a_number_and_counted_beyond() {
    if lacks("python3") {
        return;
    }
    let (_made, root) = directory();
    for name in 0..400 {
        std::fs::write(root.join(name.to_string()), "").unwrap();
    }
    let code = format!(
        "import os\nfor i in range(400):\n try: os.stat('{}/'+str(i))\n except OSError: pass",
        root.display()
    );
    let report = python(&code).explain(true).run_captured().report;
    let listed: u64 = report.denials.iter().map(|denial| denial.count).sum();
    assert_eq!(listed, 400, "each is listed or counted");
    assert!(more(&report) >= 144, "{}", more(&report));
}

#[test]
fn a_path_that_changes_while_it_is_read_is_one_of_both() {
    if lacks("python3") {
        return;
    }
    let (_made, root) = directory();
    for name in ["aaaa", "bbbb"] {
        std::fs::write(root.join(name), "x").unwrap();
    }
    let code = format!(
        "import ctypes, threading\nlibc = ctypes.CDLL(None)\nbuffer = ctypes.create_string_buffer(b'{0}/aaaa')\nstop = False\ndef flip():\n while not stop:\n  ctypes.memmove(ctypes.addressof(buffer)+{1}, b'bbbb', 4)\n  ctypes.memmove(ctypes.addressof(buffer)+{1}, b'aaaa', 4)\nt = threading.Thread(target=flip)\nt.start()\nopened = sum(libc.open(buffer, 0) >= 0 for _ in range(3000))\nstop = True\nt.join()\nassert opened == 0",
        root.display(),
        root.as_os_str().len() + 1,
    );
    let report = python(&code).explain(true).run_captured().report;
    assert_eq!(report.exit_code, Some(0), "nothing was opened: {:?}", report.denials);
    let known = [root.join("aaaa"), root.join("bbbb")].map(|path| path.display().to_string());
    let wrong: Vec<_> = report.denials.iter().filter(|denial| !known.contains(&denial.object)).collect();
    assert!(!report.denials.is_empty() && wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_program_cannot_watch_in_the_watchers_place() {
    if lacks("python3") {
        return;
    }
    let code = "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\nclass P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('f', ctypes.c_void_p)]\ncode = (ctypes.c_ubyte * 8)(6, 0, 0, 0, 0, 0, 0xff, 0x7f)\np = P(1, ctypes.addressof(code))\nassert libc.syscall(317, 1, 8, ctypes.byref(p)) == -1 and ctypes.get_errno() == errno.EPERM\nassert libc.syscall(317, 1, 0, ctypes.byref(p)) == 0\nopen('/usr/bin/env')";
    let captured = python(code).explain(true).run_captured();
    assert_eq!(captured.report.exit_code, Some(0), "{}", stderr(&captured));
    assert!(find(&captured.report.denials, "seccomp").is_some(), "{:?}", captured.report.denials);
}

#[test]
fn many_processes_and_threads_are_watched_to_their_end() {
    if lacks("python3") {
        return;
    }
    let (_made, root) = directory();
    std::fs::write(root.join("file"), "x").unwrap();
    let code = format!(
        "import os, threading\ndef look():\n for _ in range(50):\n  try: os.stat('{}/file')\n  except OSError: pass\nfor _ in range(40):\n if os.fork() == 0:\n  ts = [threading.Thread(target=look) for _ in range(4)]\n  [t.start() for t in ts]; [t.join() for t in ts]\n  os._exit(0)\nfor _ in range(40): assert os.wait()[1] == 0",
        root.display()
    );
    let mut exec = python(&code);
    exec.explain(true).grant("subprocess:execute").limits().cpu_percent = None;
    let captured = exec.run_captured();
    assert_eq!(captured.report.exit_code, Some(0), "{}", stderr(&captured));
    assert_eq!(find(&captured.report.denials, "file:read").map(|denial| denial.count), Some(40 * 4 * 50));
}

#[test]
fn who_is_killed_while_it_is_watched_takes_nobody_along() {
    if lacks("python3") {
        return;
    }
    let code = "import os, signal\nfor _ in range(100):\n pid = os.fork()\n if pid == 0:\n  while True:\n   try: os.stat('/srv')\n   except OSError: pass\n os.kill(pid, signal.SIGKILL)\n assert os.waitpid(pid, 0)[1] == 9\nos.stat('/usr')";
    let mut exec = python(code);
    exec.explain(true).grant("subprocess:execute").limits().cpu_percent = None;
    let captured = exec.run_captured();
    assert_eq!(captured.report.exit_code, Some(0), "{}", stderr(&captured));
}

#[test]
fn a_program_that_does_nothing_but_be_watched_is_still_stopped_in_time() {
    let mut exec = sh("while :; do cd /srv 2>/dev/null; done");
    exec.explain(true).limits().timeout = Some(Duration::from_millis(500));
    let report = exec.run_captured().report;
    assert_eq!((report.status, report.violation), (RunStatus::Violation, Some(Violation::Timeout)));
}

/// The uid of somebody who owns nothing.
const NOBODY: u32 = 65534;

/// All cases of this module once more, by a copy of this program that is uid 65534.
#[test]
fn everything_here_holds_for_an_ordinary_user_too() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt as _;

    if ringfence_sandbox::user_id() != 0 {
        // Whoever runs the tests is one already; and root cannot be had.
        return;
    }
    let made = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(made.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (program, home) = (made.path().join("exec"), made.path().join("home"));
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test starts itself as another user")]
    let mut run = std::process::Command::new(&program);
    run.args(["explain::", "--skip", "everything_here"]).env("HOME", &home).env("TMPDIR", "/tmp");
    let output = run.uid(NOBODY).gid(NOBODY).current_dir(&home).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().filter(|line| line.starts_with("skipped:")).for_each(|line| println!("{line}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains(" passed; 0 failed") && !said.contains(" 0 passed"),
        "{said}\n{errors}"
    );
}
