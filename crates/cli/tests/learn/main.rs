//! `ringfence learn` over real programs, from outside: with exactly the list that it prints each program works again, with
//! any one line left out it does not, and learning changes nothing.
//!
//! Reading order: `programs` (the table), then the tests of what is never proposed and never done.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test starts the built binary, and fails by panicking"
)]

mod programs;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ringfence_testkit::lacks;
use serde_json::Value;

/// Names the copy of the built binary that an ordinary user can reach.
const BINARY: &str = "RINGFENCE_LEARN_BINARY";

fn binary() -> PathBuf {
    std::env::var_os(BINARY).map_or_else(|| env!("CARGO_BIN_EXE_ringfence").into(), PathBuf::from)
}

/// The uid of somebody who owns nothing.
const NOBODY: u32 = 65534;

/// All cases once more, by copies of this program and of the binary that are uid 65534.
#[test]
fn everything_here_holds_for_an_ordinary_user_too() {
    use std::os::unix::fs::chown;
    use std::os::unix::process::CommandExt as _;

    let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    if !is_root {
        // Whoever runs the tests is one already; and root cannot be had.
        return;
    }
    let made = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(made.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (program, copy, home) =
        (made.path().join("learn"), made.path().join("ringfence"), made.path().join("home"));
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_ringfence"), &copy).unwrap();
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut run = Command::new(&program);
    run.args(["--skip", "everything_here"]).env(BINARY, &copy).env("HOME", &home).env("TMPDIR", "/tmp");
    let output = run.uid(NOBODY).gid(NOBODY).current_dir(&home).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().filter(|line| line.starts_with("skipped:")).for_each(|line| println!("{line}"));
    let passed = said.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    assert!(output.status.success() && passed >= 10, "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A directory with a home in it, and one in which programs work. It is not below /tmp, where a sandbox has its own.
struct World {
    _made: tempfile::TempDir,
    root: PathBuf,
}

impl World {
    fn new() -> Self {
        let made = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = made.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("home/.ssh")).unwrap();
        std::fs::write(root.join("home/.ssh/id_rsa"), "a key\n").unwrap();
        let world = Self { _made: made, root };
        world.reset(&[]);
        world
    }

    /// The directory as it is before a program runs.
    fn reset(&self, files: &[(&str, &str)]) {
        let place = self.place();
        if place.exists() {
            std::fs::remove_dir_all(&place).unwrap();
        }
        std::fs::create_dir(&place).unwrap();
        for (name, content) in files {
            let path = place.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            if content.starts_with("#!") {
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            }
        }
    }

    fn place(&self) -> PathBuf {
        self.root.join("work")
    }

    fn ringfence(&self, words: &[&str]) -> Output {
        Command::new(binary())
            .args(words)
            .current_dir(self.place())
            .env("HOME", self.root.join("home"))
            .env("RINGFENCE_HOME", self.root.join("state"))
            .env_remove("XDG_DATA_HOME")
            .output()
            .unwrap()
    }

    /// The list for a command, as JSON.
    fn learn(&self, flags: &[&str], command: &[&str]) -> (Value, Option<i32>) {
        let words = [&["learn", "--json"], flags, &["--"], command].concat();
        let output = self.ringfence(&words);
        let document = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic_with(&format!("{command:?}: {error}"), &output));
        (document, output.status.code())
    }

    /// Every file below the directory with its content.
    fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = Vec::new();
        let mut open = vec![self.place()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    open.push(path);
                } else {
                    let content = std::fs::read(&path).unwrap_or_default();
                    all.push((path, content));
                }
            }
        }
        all.sort();
        all
    }
}

#[expect(clippy::panic, reason = "a case that did not come out is a failed test")]
fn panic_with(what: &str, output: &Output) -> ! {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    panic!("{what}\n--- stdout\n{out}\n--- stderr\n{err}")
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_protected_is_told_and_not_proposed() {
    let world = World::new();
    let key = world.root.join("home/.ssh/id_rsa");
    let (learned, status) = world.learn(&[], &["cat", key.to_str().unwrap()]);
    assert_eq!(status, Some(1), "it was not shown: {learned:#}");
    assert_eq!(learned["grants"], serde_json::json!([]));
    let protected = &learned["protected"][0];
    assert_eq!(protected["object"], key.to_str().unwrap());
    assert_eq!(protected["grant"], format!("file:read={}", key.display()));
    assert!(
        protected["warning"].as_str().is_some_and(|warning| warning.contains("protected")),
        "{protected}"
    );
    // `exec --explain` says the same, and the literal grant opens it.
    let words = ["exec", "--explain", "--json", "--", "cat", key.to_str().unwrap()];
    let report: Value = serde_json::from_slice(&world.ringfence(&words).stdout).unwrap();
    let denial = &report["denials"][0];
    assert_eq!((&denial["grant"], denial["warning"].is_string()), (&protected["grant"], true), "{report:#}");
    let grant = protected["grant"].as_str().unwrap();
    let granted = world.ringfence(&["exec", "--grant", grant, "--", "cat", key.to_str().unwrap()]);
    assert_eq!(granted.stdout, b"a key\n");
}

#[test]
fn the_network_is_told_as_wanted_and_stays_closed() {
    if lacks("curl") {
        return;
    }
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (learned, status) = world.learn(&[], &["curl", "-s", &format!("http://{address}/")]);
    assert_eq!(status, Some(1), "{learned:#}");
    assert_eq!(learned["network"][0]["object"], address.as_str());
    let wanted = format!("network:request={address}");
    assert_eq!(texts(&learned["permissions"]).last(), Some(&wanted));
    assert!(!texts(&learned["grants"]).contains(&wanted), "a command cannot be given it");
    assert!(listener.accept().is_err(), "nobody came");
    let outside =
        Command::new("curl").args(["-s", "-m", "1", &format!("http://{address}/")]).output().unwrap();
    assert!(!outside.status.success() && listener.accept().is_ok(), "it can be reached from outside");
}

#[test]
fn nothing_reaches_what_lies_outside() {
    let world = World::new();
    world.reset(&[("keep", "as it was\n"), ("dir/in", "x\n")]);
    let before = world.content();
    let socket = world.place().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let script = "rm -rf dir && mv keep gone && echo new > keep && mkdir made && chmod 700 . && touch -d 2001-01-01 keep && ls";
    let (learned, status) = world.learn(&[], &["sh", "-c", script]);
    assert_eq!(status, Some(0), "{learned:#}");
    std::fs::metadata(&socket).unwrap();
    if !lacks("python3") {
        let connect = "import socket; socket.socket(socket.AF_UNIX).connect('socket')";
        world.learn(&[], &["python3", "-c", connect]);
        assert!(listener.accept().is_err(), "nobody came");
    }
    drop(listener);
    std::fs::remove_file(&socket).unwrap();
    assert_eq!(world.content(), before);
    assert!(!world.root.join("state/runs").exists(), "no run is stored");
}

#[test]
fn what_copies_are_made_of_is_not_shown() {
    let world = World::new();
    world.reset(&[("keep", "as it was\n")]);
    // The copy itself works, so there is one.
    let script = "echo more >> keep && cat keep && ls -A /.copies; ls -d /.copies/*";
    let words = ["learn", "--json", "--", "sh", "-c", script];
    let output = world.ringfence(&words);
    let learned: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(texts(&learned["grants"]).iter().any(|grant| grant.starts_with("file:write=")), "{learned:#}");
    let output = world.ringfence(&["learn", "--", "sh", "-c", script]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("as it was\nmore\n"), "the copy was changed: {said}");
    let listed =
        said.split("/.copies/").skip(1).any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    assert!(!listed, "{said}");
}

#[test]
fn minimising_is_cancelled_between_runs_and_keeps_what_was_not_tried() {
    use std::io::BufRead as _;
    use std::time::{Duration, Instant};

    let world = World::new();
    world.reset(&[("one", "1\n")]);
    let words = |script| ["learn", "--minimise", "--", "sh", "-c", script];
    let whole = world.ringfence(&words("cat one; echo begun >&2"));
    let said = String::from_utf8_lossy(&whole.stderr);
    assert!(whole.status.success() && !said.contains("cancelled"), "the twin that nobody cancels: {said}");
    let mut running = Command::new(binary())
        .args(words("echo begun >&2; cat one; sleep 2"))
        .current_dir(world.place())
        .env("HOME", world.root.join("home"))
        .env("RINGFENCE_HOME", world.root.join("state"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = std::io::BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    // What it prints on its two streams may come in either order.
    while line != "begun\n" {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "it has ended");
    }
    // Past the two seconds of the first run, into the second one; no event tells of its beginning.
    std::thread::sleep(Duration::from_millis(2700));
    let begun = Instant::now();
    let sent = Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut errors, &mut said).unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "one run was cancelled, and no other begun: {said}");
    assert!(said.contains("cancelled: the lines that were not tried yet are kept"), "{said}");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(list.contains(&format!("file:read={}", world.place().join("one").display())), "{list}\n{said}");
}

#[test]
fn what_the_caller_denies_is_not_proposed() {
    let world = World::new();
    world.reset(&[("one", "1\n"), ("two", "2\n")]);
    let one = world.place().join("one").display().to_string();
    let (learned, _) = world.learn(&["--deny", &format!("file:read={one}")], &["cat", "one", "two"]);
    let grants = texts(&learned["grants"]);
    assert!(!grants.iter().any(|grant| grant.ends_with("/one")), "{learned:#}");
    assert!(grants.iter().any(|grant| grant.ends_with("/two")), "the twin: {learned:#}");
    assert!(
        texts(&learned["notes"]).iter().any(|note| note.contains("--deny") && note.contains(&one)),
        "{learned:#}"
    );
}

#[test]
fn what_a_word_hides_below_tmp_is_copied_too() {
    let world = World::new();
    let other =
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o777)).tempdir_in("/tmp");
    let other = other.unwrap();
    let place = other.path().display();
    std::fs::write(other.path().join("keep"), "as it was\n").unwrap();
    let script = format!("cat {place}/keep > {place}/made");
    let (learned, status) = world.learn(&[], &["sh", "-c", &script]);
    assert_eq!(status, Some(0), "{learned:#}");
    let grants = texts(&learned["grants"]);
    for expected in [format!("file:read={place}/keep"), format!("file:write={place}/**")] {
        assert!(grants.contains(&expected), "{grants:?}");
    }
    assert!(!other.path().join("made").exists(), "nothing reached it");
}

#[test]
fn many_files_become_one_scope_and_the_page_is_a_manifest() {
    let world = World::new();
    let names: Vec<String> = (0..200).map(|number| format!("data/{}/{number}", number % 7)).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x\n")).collect();
    world.reset(&files);
    let command = [&["cat"], names.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat();
    let (learned, _) = world.learn(&[], &command);
    assert_eq!(texts(&learned["grants"]), [format!("file:read={}/**", world.place().join("data").display())]);
    let page = world.ringfence(&[&["learn", "--manifest", "--"], command.as_slice()].concat());
    let expected = format!("permissions:\n  - \"file:read={}/**\"\n", world.place().join("data").display());
    assert_eq!(String::from_utf8_lossy(&page.stdout).as_ref(), expected.as_str());
}

#[test]
fn wrong_usage_and_missing_commands_have_their_status() {
    let world = World::new();
    assert_eq!(world.ringfence(&["learn"]).status.code(), Some(2));
    assert_eq!(world.ringfence(&["learn", "--", "no-such-command"]).status.code(), Some(3));
    let refused = world.ringfence(&["learn", "--json", "--env", "LD_PRELOAD=x", "--", "true"]);
    let document: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(
        (document["error"]["code"].as_str(), refused.status.code()),
        (Some("permission_denied"), Some(4))
    );
    let none = world.ringfence(&["learn", "--", "true"]);
    assert_eq!((none.status.code(), none.stdout.as_slice()), (Some(0), b"".as_slice()));
    assert!(Path::new(&world.place()).exists());
}
