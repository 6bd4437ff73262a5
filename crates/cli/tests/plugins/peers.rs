//! Who is at the other end of the daemon's socket; and a daemon that stood still.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, signal};
use crate::world::World;

/// An ordinary user that every system has.
const NOBODY: u32 = 65534;

/// The status of `GET /api/v1/plugins` over this socket, as the user `uid`.
pub(crate) fn asked_as(uid: u32, socket: &Path) -> String {
    const ASK: &str = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
        s.sendall(b'GET /api/v1/plugins HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n')\n\
        print(s.recv(4096).split(b' ')[1].decode())\n";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-I", "-c", ASK]).arg(socket).uid(uid).gid(uid).current_dir("/");
    let output = command.stdin(Stdio::null()).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        .trim()
        .to_owned()
}

fn open_up(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn another_user_at_the_socket_is_a_stranger_even_where_the_file_lets_him_in() {
    if ringfence_testkit::lacks("root") {
        return;
    }
    let Some(world) = World::new() else { return };
    let _daemon = Daemon::start(&world);
    let socket = world.path("home").join("daemon.sock");
    // As it is made, nobody else comes near.
    assert!(asked_as(NOBODY, &socket).contains("Permission denied"));
    for directory in [world.path(""), world.path("home")] {
        open_up(&directory, 0o711);
    }
    open_up(&socket, 0o666);
    assert_eq!(asked_as(NOBODY, &socket), "401");
    assert_eq!(asked_as(0, &socket), "200", "the twin: the daemon's own user");
}

#[test]
fn a_socket_that_somebody_else_listens_at_is_not_talked_to() {
    if ringfence_testkit::lacks("root") {
        return;
    }
    const LISTEN: &str = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint('ready', flush=True)\n\
        if s.accept()[0].recv(1):\n    print('heard something', flush=True)\n";
    let Some(world) = World::new() else { return };
    world.done(&["list"]);
    let home = world.path("home");
    for directory in [world.path(""), home.clone()] {
        open_up(&directory, 0o711);
    }
    // Where a stranger may write: only there can he have made it.
    open_up(&home, 0o777);
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-I", "-c", LISTEN]).arg(home.join("daemon.sock")).uid(NOBODY).gid(NOBODY).current_dir("/");
    let mut stranger = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(stranger.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    open_up(&home, 0o700);
    let refused = world.run(&["list", "--json"]).refused(4, "permission_denied");
    assert!(refused["message"].as_str().unwrap().contains("65534"), "{refused}");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let mut heard = String::new();
    std::io::Read::read_to_string(&mut said, &mut heard).unwrap();
    assert_eq!(heard, "", "not a byte was said to him");
}

/// STATE-12: what looks like three unanswered pings to a daemon that stood still is nobody's silence.
#[test]
fn state_12_a_daemon_that_stood_still_ends_no_plugin() {
    let Some(world) = World::new() else { return };
    let world = world.with_active_notes();
    std::fs::write(world.path("home").join("config.toml"), "[plugins]\nping_interval = \"1s\"\n").unwrap();
    let daemon = Daemon::start(&world);
    let count = |event: &str| {
        world.json(&["audit", "list", "--event", event])["records"].as_array().map_or(0, Vec::len)
    };
    let call = || world.json(&["call", "notes", "echo", "{\"a\": 1}"]);
    assert_eq!(call()["a"], 1);
    let starts = count("start");
    signal(daemon.pid(), "STOP");
    std::thread::sleep(Duration::from_secs(20));
    signal(daemon.pid(), "CONT");
    // Long enough for a plugin that was taken for dead to be ended.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(call()["a"], 1);
    assert_eq!((count("start"), count("crash"), count("violation")), (starts, 0, 0));
    let shown: Value = world.json(&["show", "notes"]);
    assert_eq!((&shown["state"], &shown["running"]), (&Value::from("active"), &Value::from(true)));
}
