//! STATE-12: a clock that jumps forward and back under a running daemon.
//!
//! libfaketime stands between the daemon and the clock of the day, and reads how far it is off from a file; the monotonic clock is
//! left alone, as a jump leaves it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, get, within};
use crate::world::World;

/// Where Debian, Fedora and Arch have the library.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

struct Clock {
    file: PathBuf,
}

impl Clock {
    /// How far the clock is off from now on.
    fn jump(&self, offset: &str) {
        // In one step: half an offset would be another one.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{offset}\n")).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }

    fn daemon(&self, world: &World, library: &str) -> Daemon {
        let mut command = world.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        Daemon::of(command)
    }
}

fn status(address: &str, path: &str, token: &Value) -> u16 {
    let answer = get(address, path, token.as_str());
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A stream of everything that is open when this returns.
fn stream(address: &str, token: &Value) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let token = token.as_str().unwrap();
    let head =
        format!("GET /api/v1/stream HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with(':') {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "it ended");
    }
    stream
}

#[test]
fn state_12_tokens_streams_restarts_and_the_trail_survive_jumps_of_the_clock() {
    let Some(library) = LIBRARIES.iter().find(|library| Path::new(library).exists()) else {
        ringfence_testkit::missing(
            "faketime",
            "libfaketimeMT is in none of the places where it is looked for",
        );
        return;
    };
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let clock = Clock { file: world.path("clock") };
    clock.jump("+0");
    let daemon = clock.daemon(&world, library);
    let address = daemon.address();
    let token = |expires: &str| {
        world.json(&["token", "create", "--role", "viewer", "--expires", expires])["token"].clone()
    };
    let (brief, long) = (token("1h"), token("30d"));
    assert_eq!((status(&address, "/plugins", &brief), status(&address, "/plugins", &long)), (200, 200));
    let (mut of_brief, mut of_long) = (stream(&address, &brief), stream(&address, &long));

    clock.jump("+2h");
    assert_eq!((status(&address, "/plugins", &brief), status(&address, "/plugins", &long)), (401, 200));
    // The stream of the one that has expired ends by itself, the other one tells what happens.
    let mut rest = String::new();
    while of_brief.read_line(&mut rest).is_ok_and(|count| count > 0) {}
    world.json(&["call", "notes", "echo", "text=later"]);
    world.run(&["call", "notes", "die"]);
    within(|| {
        let mut line = String::new();
        assert!(of_long.read_line(&mut line).unwrap() > 0, "it ended");
        line.contains("started")
    });

    clock.jump("-1d");
    // Expiry goes by the clock of the moment; nobody is locked out who should not be.
    assert_eq!(status(&address, "/plugins", &long), 200);
    for _ in 0..100 {
        assert_eq!(status(&address, "/plugins", &long), 200, "the rate goes by another clock");
    }
    // A crash before yesterday is restarted as one of today is, and counts no worse.
    world.run(&["call", "notes", "die"]);
    within(|| world.run(&["call", "notes", "echo", "text=back", "--json"]).code == Some(0));
    assert_eq!(world.json(&["show", "notes"])["state"], "active");

    clock.jump("+20y");
    assert_eq!(status(&address, "/plugins", &long), 401, "after 2038, too");
    assert_eq!(world.json(&["call", "notes", "echo", "text=far"]), json!({"text": "far"}));
    clock.jump("+0");
    assert_eq!(status(&address, "/plugins", &long), 200);
    assert_eq!(daemon.end("TERM").code, Some(0));
    let verdict = world.json(&["audit", "verify"]);
    assert!(verdict.get("first_bad").is_some_and(Value::is_null), "{verdict}");
    // In the order in which things happened, whatever the clock said.
    let list = world.json(&["audit", "list", "--oldest-first", "--limit", "1000"]);
    let records = list["records"].as_array().unwrap();
    let numbers: Vec<i64> = records.iter().map(|record| record["seq"].as_i64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    let times: Vec<i64> = records.iter().map(|record| record["at_ms"].as_i64().unwrap()).collect();
    assert!(times.windows(2).any(|pair| pair[0] > pair[1]), "the clock did go back: {times:?}");
}
