//! How many of what lasts there may be at once: at the bound the next one is told so, and an end makes room.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use ringfence_api::Role;
use serde_json::json;

use crate::client::{get, post, request};
use crate::rig::Rig;

/// A stream that is open when this returns.
fn open(rig: &Rig, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(rig.address).unwrap();
    stream.write_all(&get("/stream").token(token).bytes(rig.address)).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while !lines.next().unwrap().unwrap().starts_with(':') {}
    stream
}

fn within(mut so: impl FnMut() -> bool) {
    for _ in 0..500 {
        if so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("it has not become so");
}

#[test]
fn one_token_does_not_take_all_streams_from_the_others() {
    let rig = Rig::with(|options| (options.limits.streams, options.limits.streams_per_token) = (3, 2));
    let (_, greedy) = rig.token(Role::Viewer, None, None);
    let (_, other) = rig.token(Role::Viewer, None, None);
    let (first, _second) = (open(&rig, &greedy), open(&rig, &greedy));
    let third = rig.send_as(&greedy, &get("/stream"));
    assert_eq!(third.refusal(), (503, "busy".to_owned()));
    assert!(third.json()["error"]["message"].as_str().unwrap().contains("this token has 2 streams"));
    let _theirs = open(&rig, &other);
    let full = rig.send_as(&rig.admin, &get("/stream"));
    assert_eq!(full.refusal(), (503, "busy".to_owned()));
    assert!(full.json()["error"]["message"].as_str().unwrap().contains("3 streams are open"));
    // Who is at the bound still does everything else.
    assert_eq!(rig.send_as(&greedy, &get("/plugins")).status, 200);
    drop(first);
    let mut again = None;
    within(|| {
        let mut stream = TcpStream::connect(rig.address).unwrap();
        stream.write_all(&get("/stream").token(&greedy).bytes(rig.address)).unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        again = Some(stream);
        line.contains("200")
    });
}

#[test]
fn commands_at_their_bound_are_refused_until_one_has_ended() {
    let rig = Rig::with(|options| options.limits.execs = 1);
    let sleep = post("/exec", &json!({"command": ["/bin/sleep", "60"]}));
    let id = rig.send(&sleep).ok()["id"].clone();
    assert_eq!(rig.send(&sleep).refusal(), (503, "busy".to_owned()));
    assert_eq!(rig.send(&request("POST", &format!("/runs/{id}/cancel"))).status, 204);
    let brief = post("/exec", &json!({"command": ["/bin/true"], "wait": true}));
    within(|| rig.send(&brief).status == 201);
}

#[test]
fn long_looks_at_their_bound_are_refused_and_nothing_else_is() {
    let rig = Rig::with(|options| options.limits.long_looks = 0);
    for look in [get("/audit/verify"), request("POST", "/plugins/scan")] {
        assert_eq!(rig.send(&look).refusal(), (503, "busy".to_owned()));
    }
    assert_eq!(rig.send(&get("/audit")).status, 200);
    let rig = Rig::with(|options| options.limits.long_looks = 1);
    for _ in 0..3 {
        assert_eq!(rig.send(&get("/audit/verify")).ok()["first_bad"], json!(null));
    }
}
