//! The daemon from outside: how it starts, what it says to whom, and how it ends.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Daemon, alive, get, get_at, signal, within};
use crate::world::{Ran, World, ringfence};

const SERVE: [&str; 4] = ["serve", "--listen", "127.0.0.1:0", "--json"];

#[test]
fn it_says_where_it_listens_and_ends_in_order() {
    let Some(world) = World::new() else { return };
    let daemon = Daemon::start(&world);
    let ready = &daemon.ready;
    assert_eq!(ready["pid"], daemon.pid());
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    let url = ready["addresses"][0].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{ready}");
    let socket = world.path("home/daemon.sock");
    assert_eq!(ready["socket"], socket.display().to_string());
    let seen = socket.symlink_metadata().unwrap();
    assert!(seen.file_type().is_socket());
    assert_eq!(seen.permissions().mode() & 0o777, 0o600);
    let ended = daemon.end("TERM");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.err.contains("stopping signal=15") && ended.err.contains("ended in_order=true"),
        "{ended:?}"
    );
    assert!(!socket.exists(), "nothing is left to connect to");
}

#[test]
fn people_are_told_on_standard_error() {
    let Some(world) = World::new() else { return };
    let mut command =
        world.command(&["serve", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--unix", "s.sock"]);
    let mut child = command.spawn().unwrap();
    let _guard = Killed(child.id());
    let mut said = String::new();
    within(|| {
        let mut block = [0; 512];
        let count = child.stderr.as_mut().unwrap().read(&mut block).unwrap();
        said.push_str(&String::from_utf8_lossy(&block[..count]));
        said.contains("INFO  serving")
    });
    for line in ["listening on http://127.0.0.1:", "listening on http://[::1]:", "/s.sock\n"] {
        assert!(said.contains(line), "{said}");
    }
    signal(child.id(), "INT");
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert!(ran.code == Some(0) && ran.out.is_empty(), "{ran:?}");
}

#[test]
fn it_ends_with_whoever_started_it() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    let words = ["serve", "--listen", "none", "--until-stdin-closes", "--json"];
    let mut command = world.command(&words);
    command.stdin(Stdio::piped());
    let mut daemon = Daemon::of(command);
    assert_eq!(daemon.ready["addresses"], json!([]), "a socket is all");
    world.done(&["install", &package, "--grant-requested"]);
    world.done(&["activate", "notes"]);
    let version = world.json(&["call", "notes", "version"]);
    assert_eq!(version, "1.0.0", "it works while it runs");
    let input = daemon.input();
    assert!(alive(daemon.pid()), "an open input, of which nothing comes, ends nothing");
    drop(input);
    let ended = daemon.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for said in ["standard input has ended", "stopping signal=15", "ended in_order=true"] {
        assert!(ended.err.contains(said), "{said}: {ended:?}");
    }
    assert!(!world.path("home/daemon.sock").exists());
}

#[test]
fn an_input_that_has_ended_ends_it_whenever_it_looks() {
    let Some(world) = World::new() else { return };
    let ran = world.run(&["serve", "--listen", "none", "--until-stdin-closes", "--json"]);
    // Before it was ready, or right after.
    assert!(matches!(ran.code, Some(0 | 143)), "{ran:?}");
    // Without the flag an input is nobody's business.
    let daemon = Daemon::start(&world);
    assert!(get(&daemon.address(), "/health", None).contains("ok"));
    assert_eq!(daemon.end("TERM").code, Some(0));
    let both = ["serve", "--background", "--until-stdin-closes", "--json"];
    world.run(&both).refused(2, "usage");
    world.run(&["serve", "--listen", "none", "--listen", "127.0.0.1:0", "--json"]).refused(2, "usage");
}

#[test]
fn whoever_needs_no_token_installs_from_anywhere_and_a_token_does_not() {
    let Some(world) = World::new() else { return };
    let daemon = Daemon::start(&world);
    let body = json!({"path": world.notes(), "grant": []}).to_string();
    let token = world.json(&["token", "create", "--role", "admin"])["token"].as_str().unwrap().to_owned();
    let ask = |with: &str| {
        let mut stream = UnixStream::connect(world.path("home/daemon.sock")).unwrap();
        let head = format!(
            "POST /api/v1/plugins HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{with}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let refused = ask(&format!("authorization: Bearer {token}\r\n"));
    assert!(refused.contains("403") && refused.contains("install_from"), "{refused}");
    let installed = ask("");
    assert!(installed.starts_with("HTTP/1.1 201"), "{installed}");
    assert_eq!(daemon.end("TERM").code, Some(0));
}

#[test]
fn a_second_daemon_is_told_who_holds_the_home() {
    let Some(world) = World::new() else { return };
    let daemon = Daemon::start(&world);
    let error = world.run(&SERVE).refused(8, "busy");
    assert!(error["message"].as_str().unwrap().contains(&format!("process {}", daemon.pid())), "{error}");
    let error =
        Ran::of(&world.command(&["serve", "--background", "--json"]).output().unwrap()).refused(8, "busy");
    assert!(error["message"].as_str().unwrap().contains(&format!("process {}", daemon.pid())), "{error}");
    // The first is not disturbed, and its socket is still its own.
    assert!(world.path("home/daemon.sock").exists());
    assert_eq!(daemon.end("TERM").code, Some(0));
}

#[test]
fn who_was_killed_holds_nothing() {
    let Some(world) = World::new() else { return };
    let daemon = Daemon::start(&world);
    assert_eq!(daemon.end("KILL").code, None);
    let again = Daemon::start(&world);
    assert_eq!(again.end("TERM").code, Some(0));
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_starts() {
    let Some(world) = World::new() else { return };
    let error = world.run(&["serve", "--listen", "0.0.0.0:0", "--json"]).refused(2, "invalid_config");
    assert!(error["hint"].as_str().unwrap().contains("tls_certificate"), "{error}");
    world.run(&["serve", "--listen", "localhost", "--json"]).refused(2, "usage");
    world.run(&["serve", "--unix", &"x".repeat(200), "--json"]).refused(2, "usage");
    assert!(!world.path("home/state.db").exists(), "no store was opened for it");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = world.run(&["serve", "--listen", &address, "--json"]);
    assert!(matches!(ran.code, Some(1 | 8)) && ran.out.contains(&address), "{ran:?}");
    assert!(!world.path("home/daemon.sock").exists());
    std::fs::write(world.path("home/config.toml"), "[server]\nlsten = []\n").unwrap();
    let error = world.run(&SERVE).refused(2, "invalid_config");
    assert!(error["message"].as_str().unwrap().contains(":2:1: unknown field 'lsten'"), "{error}");
    std::fs::write(world.path("home/config.toml"), "").unwrap();
    let mut command = world.command(&SERVE);
    Ran::of(&command.env("RINGFENCE_LOG", "loud").output().unwrap()).refused(2, "invalid_config");
}

#[test]
fn a_new_configuration_is_taken_up_and_a_bad_one_is_not() {
    let Some(world) = World::new() else { return };
    let mut daemon = Daemon::start(&world);
    let config = world.path("home/config.toml");
    std::fs::write(&config, "[server]\nlog = \"loud\"\n").unwrap();
    signal(daemon.pid(), "HUP");
    let said = daemon.says("what held before goes on");
    assert!(said.contains("config.toml:2:7: choose off, error"), "{said}");
    std::fs::write(&config, "[server]\nlog = \"debug\"\nlisten = [\"127.0.0.1:1\"]\n").unwrap();
    signal(daemon.pid(), "HUP");
    let said = daemon.says("needs a restart");
    assert!(said.contains("log=debug") && said.contains("server.listen"), "{said}");
    assert_eq!(daemon.end("TERM").code, Some(0));
}

#[test]
fn a_service_manager_is_told_each_step() {
    let Some(world) = World::new() else { return };
    let path = world.path("notify");
    let heard = UnixDatagram::bind(&path).unwrap();
    heard.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let next = || {
        let mut block = [0; 512];
        let count = heard.recv(&mut block).unwrap();
        String::from_utf8_lossy(&block[..count]).into_owned()
    };
    let mut command = world.command(&SERVE);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "20000");
    let daemon = Daemon::of(command);
    let ready = next();
    assert!(ready.starts_with("READY=1\nSTATUS=listening on http://127.0.0.1:"), "{ready}");
    assert_eq!(next(), "WATCHDOG=1");
    signal(daemon.pid(), "HUP");
    within(|| next() == "RELOADING=1");
    assert_eq!(next(), "READY=1");
    signal(daemon.pid(), "TERM");
    within(|| next() == "STOPPING=1");
    assert_eq!(daemon.end("CONT").code, Some(0));
}

#[test]
fn sockets_that_are_handed_over_are_served() {
    let Some(world) = World::new() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // A shell gives it the number that a service manager would, and is then the daemon itself.
    let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh", ringfence(), "serve", "--json"])
        .env("RINGFENCE_HOME", world.path("home"));
    command
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let daemon = Daemon::of(command);
    assert_eq!(daemon.ready["addresses"], json!([format!("http://{address}")]));
    let answer = get(&address.to_string(), "/health", None);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(daemon.end("TERM").code, Some(0));
    // Those of another process are not.
    let mut command = world.command(&SERVE);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let daemon = Daemon::of(command);
    assert_eq!(daemon.ready["addresses"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.end("TERM").code, Some(0));
}

#[test]
fn in_the_background_it_is_ready_when_the_command_returns() {
    let Some(world) = World::new() else { return };
    let begun = world.run(&["serve", "--background", "--listen", "127.0.0.1:0", "--log", "json", "--json"]);
    assert_eq!(begun.code, Some(0), "{begun:?}");
    let ready = begun.json();
    let pid = u32::try_from(ready["pid"].as_u64().unwrap()).unwrap();
    let daemon = Killed(pid);
    let address = ready["addresses"][0].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    assert!(get(&address, "/health", None).starts_with("HTTP/1.1 200"));
    // It has a session of its own and no terminal, and what it complains about is private.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!((fields[3], fields[4]), (pid.to_string().as_str(), "0"), "session and terminal: {stat}");
    assert!(stat.contains("(ringfence)"), "{stat}");
    let log = world.path("home/daemon.log");
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    signal(pid, "TERM");
    within(|| !alive(pid));
    drop(daemon);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["message"], "ended", "{text}");
    // A start that fails is told with its own status, and leaves nothing running.
    world.run(&["serve", "--background", "--listen", "0.0.0.0:0", "--json"]).refused(2, "invalid_config");
    let people = world.run(&["serve", "--background", "--listen", "0.0.0.0:0"]);
    assert!(people.code == Some(2) && people.err.contains("hint: set tls_certificate"), "{people:?}");
}

/// A process that ends with the test, whatever comes of it.
struct Killed(u32);

impl Drop for Killed {
    fn drop(&mut self) {
        // The number may be another process's by now.
        let words = std::fs::read(format!("/proc/{}/cmdline", self.0)).unwrap_or_default();
        if alive(self.0) && String::from_utf8_lossy(&words).starts_with(ringfence()) {
            signal(self.0, "KILL");
        }
    }
}

#[test]
fn a_call_that_is_under_way_is_answered_before_it_ends() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let daemon = Daemon::start(&world);
    let call = world.command(&["call", "notes", "sleep", "ms=1500", "--json"]).spawn().unwrap();
    within(|| world.path("home/data/notes/napping").exists());
    let begun = Instant::now();
    let ended = daemon.end("TERM");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let call = Ran::of(&call.wait_with_output().unwrap());
    assert_eq!((call.code, call.out.as_str()), (Some(0), "\"rested\"\n"), "{call:?}\n{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(9), "nothing waits for the whole drain time");
}

#[test]
fn a_log_is_followed_and_what_runs_is_shown() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let daemon = Daemon::start(&world);
    let mut following = world.command(&["logs", "notes", "-f"]).spawn().unwrap();
    let _guard = Killed(following.id());
    let mut said = String::new();
    within(|| {
        // Again and again: it may look for the first time after the first call.
        world.run(&["call", "notes", "fail"]);
        let mut block = [0; 4096];
        let count = following.stdout.as_mut().unwrap().read(&mut block).unwrap();
        said.push_str(&String::from_utf8_lossy(&block[..count]));
        said.matches("stderr   failing").count() >= 2
    });
    signal(following.id(), "INT");
    assert_eq!(Ran::of(&following.wait_with_output().unwrap()).code, Some(128 + 2));
    let top = world.json(&["top"]);
    assert_eq!((&top[0]["name"], &top[0]["running"]), (&json!("notes"), &json!(true)), "{top}");
    assert!(world.done(&["top", "--once"]).out.starts_with("NAME "));
    world.run(&["logs", "notse", "-f", "--json"]).refused(3, "not_found");
    assert_eq!(daemon.end("TERM").code, Some(0));
    world.run(&["top", "--json"]).refused(4, "not_supported");
}

#[test]
fn the_dashboard_is_opened_by_a_link_that_works_once() {
    let Some(world) = World::new() else { return };
    let error = world.run(&["dashboard", "--json"]).refused(4, "not_supported");
    assert!(error["hint"].as_str().unwrap().contains("ringfence serve --background"), "{error}");
    let daemon = Daemon::start(&world);
    let ran = world.done(&["dashboard"]);
    let origin = format!("http://{}", daemon.address());
    let path = ran.out.trim().strip_prefix(&origin).unwrap_or_else(|| panic!("{ran:?}")).to_owned();
    let open = || get_at(&daemon.address(), &path, None);
    let first = open();
    assert!(first.starts_with("HTTP/1.1 303 ") && first.contains("HttpOnly; SameSite=Strict"), "{first}");
    assert!(open().starts_with("HTTP/1.1 401 "), "it opens once");
    assert_eq!(world.json(&["dashboard"])["expires_in_s"], 120);
    assert_eq!(daemon.end("TERM").code, Some(0));
}

#[test]
fn a_second_signal_does_not_wait() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let mut daemon = Daemon::start(&world);
    let call = world.command(&["call", "notes", "sleep", "ms=60000", "--json"]).spawn().unwrap();
    within(|| world.path("home/data/notes/napping").exists());
    signal(daemon.pid(), "TERM");
    daemon.says("stopping");
    let begun = Instant::now();
    let ended = daemon.end("INT");
    assert_eq!(ended.code, Some(128 + 2), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_ne!(Ran::of(&call.wait_with_output().unwrap()).code, Some(0));
}

#[test]
fn the_units_are_understood_by_systemd() {
    if ringfence_testkit::lacks("systemd-analyze") {
        return;
    }
    let Some(world) = World::new() else { return };
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let mut paths = Vec::new();
    for name in ["ringfence.service", "ringfence.socket"] {
        let text =
            std::fs::read_to_string(units.join(name)).unwrap().replace("/usr/bin/ringfence", ringfence());
        let path = world.path(name);
        std::fs::write(&path, text).unwrap();
        paths.push(path);
    }
    for mode in ["--system", "--user"] {
        let mut command = Command::new("systemd-analyze");
        command
            .args(["verify", "--man=no", mode])
            .args(&paths)
            .env("XDG_RUNTIME_DIR", world.path(""))
            .env("HOME", world.path(""));
        let ran = Ran::of(&command.output().unwrap());
        let about_ours: Vec<&str> = ran.err.lines().filter(|line| line.contains("ringfence")).collect();
        assert!(ran.code == Some(0) && about_ours.is_empty(), "{mode}: {ran:?}");
    }
}
