//! A daemon whose disk is full: what must be durable is refused, the rest goes on, and with room everything works again.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, ask, within};
use crate::world::{World, ringfence};

struct Place {
    daemon: Daemon,
    /// The home as the daemon sees it.
    home: PathBuf,
}

impl Place {
    fn ask(&self, request: &str, media: &str, body: &[u8]) -> (u16, Value) {
        let stream = UnixStream::connect(self.home.join("daemon.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (method, path) = request.split_once(' ').unwrap();
        ask(stream, &format!("{method} /api/v1{path}"), media, body)
            .unwrap_or_else(|| panic!("{request}: no answer"))
    }

    fn fill(&self) {
        let blob = self.home.join("../blob");
        // Until the last byte of it.
        for size in ["64k", "512", "1"] {
            let mut dd = Command::new("dd");
            dd.args(["if=/dev/zero", "oflag=append", "conv=notrunc", &format!("bs={size}")]);
            dd.arg(format!("of={}", blob.display())).stderr(Stdio::null()).status().unwrap();
        }
    }
}

#[test]
fn state_04_a_daemon_with_a_full_disk_refuses_what_must_last_and_recovers_with_room() {
    if ringfence_testkit::lacks("root") || ringfence_testkit::lacks("unshare") {
        return;
    }
    let Some(world) = World::new() else { return };
    let small = world.path("small");
    std::fs::create_dir(&small).unwrap();
    // A namespace of its own: the mount goes with it, and the machine never sees it.
    let script =
        "mount -t tmpfs -o size=16m,mode=0755 none \"$0\" && exec \"$1\" serve --listen 127.0.0.1:0 --json";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&small).arg(ringfence());
    command.env("RINGFENCE_HOME", small.join("home")).current_dir(world.path(""));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let daemon = Daemon::of(command);
    let seen = format!("/proc/{}/root{}/home", daemon.pid(), small.display());
    let place = Place { daemon, home: PathBuf::from(seen) };
    world.notes();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", world.path("notes-1.0.0")).unwrap();
    let archive = tar.into_inner().unwrap();
    let json = "application/json";
    let token = br#"{"role": "viewer"}"#;
    assert_eq!(place.ask("POST /tokens", json, token).0, 201);
    let health = || {
        let (status, health) = place.ask("GET /health", json, b"");
        assert_eq!(status, 200, "{health}");
        health
    };
    assert_eq!(health()["status"], "ok");
    place.fill();
    for (request, media, body) in
        [("POST /plugins", "application/x-tar", archive.as_slice()), ("POST /tokens", json, token)]
    {
        let (status, refused) = place.ask(request, media, body);
        assert_eq!((status, refused["error"]["code"].as_str()), (500, Some("io")), "{request}: {refused}");
        assert!(!refused.to_string().contains("small"), "{refused}");
    }
    // Looking needs no room.
    assert_eq!(place.ask("GET /plugins", json, b"").1, serde_json::json!([]));
    assert_eq!(place.ask("GET /tokens", json, b"").1.as_array().unwrap().len(), 1);
    within(|| health()["status"] == "degraded");
    let reasons = health()["reasons"].to_string();
    assert!(reasons.contains("its disk is full or fails") && !reasons.contains("small"), "{reasons}");
    assert_eq!(std::fs::read_dir(place.home.join("staging")).map_or(0, Iterator::count), 0);
    std::fs::remove_file(place.home.join("../blob")).unwrap();
    within(|| place.ask("POST /plugins", "application/x-tar", &archive).0 == 201);
    assert_eq!(place.ask("POST /tokens", json, token).0, 201);
    within(|| health()["status"] == "ok");
    let (_, verdict) = place.ask("GET /audit/verify", json, b"");
    assert!(verdict.get("first_bad").is_some_and(Value::is_null), "{verdict}");
    assert_eq!(place.daemon.end("TERM").code, Some(0));
}
