//! What happens, as it happens.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ringfence_api::Role;
use serde_json::{Value, json};

use crate::client::{Request, get, post};
use crate::rig::Rig;

struct Stream {
    lines: std::io::Lines<BufReader<TcpStream>>,
    last: Option<String>,
}

impl Stream {
    fn open(rig: &Rig, request: &Request) -> Self {
        let mut stream = TcpStream::connect(rig.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&request.bytes(rig.address)).unwrap();
        let mut lines = BufReader::new(stream).lines();
        // Its first comment: from here on nothing is missed.
        while !lines.next().unwrap().unwrap().starts_with(':') {}
        Self { lines, last: None }
    }

    fn next(&mut self) -> Value {
        loop {
            let line = self.lines.next().unwrap().unwrap();
            if let Some(id) = line.strip_prefix("id: ") {
                self.last = Some(id.to_owned());
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// Reads until an event of this kind comes.
    fn until(&mut self, event: &str) -> Value {
        loop {
            let data = self.next();
            if data["kind"]["event"] == event {
                return data;
            }
        }
    }
}

#[test]
fn a_stream_tells_what_happens_and_goes_on_where_it_was_cut_off() {
    let rig = Rig::new();
    let mut stream = Stream::open(&rig, &get("/stream").token(&rig.admin));
    rig.active("p", "", &["hi"], "def hi(a):\n    return 'hi'\n");
    let started = stream.until("started");
    assert_eq!(started["plugin"], "p");
    let last = stream.last.clone().unwrap();
    drop(stream);
    rig.send(&crate::client::request("POST", "/plugins/p/deactivate")).ok();
    let resumed = get("/stream").token(&rig.admin).header("Last-Event-ID", &last);
    let mut stream = Stream::open(&rig, &resumed);
    let ended = stream.until("ended");
    assert_eq!(ended["plugin"], "p");
    assert!(ended["seq"].as_u64() > started["seq"].as_u64());
    assert_eq!(rig.send(&get("/stream").header("Last-Event-ID", "x")).refusal().0, 400);
}

#[test]
fn a_token_of_one_plugin_hears_of_that_plugin_alone() {
    let rig = Rig::new();
    let code = "def hi(a):\n    return 'hi'\n";
    rig.active("mine", "", &["hi"], code);
    rig.active("other", "", &["hi"], code);
    let (_, token) = rig.token(Role::Viewer, Some("mine"), None);
    let mut stream = Stream::open(&rig, &get("/stream").token(&token));
    for name in ["other", "mine"] {
        rig.send(&crate::client::request("POST", &format!("/plugins/{name}/deactivate"))).ok();
    }
    assert_eq!(stream.until("ended")["plugin"], "mine");
}

#[test]
fn api_11_streams_that_nobody_reads_hold_nobody_up_and_end_with_the_server() {
    let mut rig = Rig::new();
    let request = get("/stream").token(&rig.admin).bytes(rig.address);
    let idle: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(rig.address).unwrap();
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    let chatty = "import sys\ndef hi(a):\n    for n in range(2000):\n        print('x' * 100, file=sys.stderr)\n    return 'hi'\n";
    rig.active("p", "", &["hi"], chatty);
    assert_eq!(rig.send(&post("/plugins/p/call", &json!({"tool": "hi"}))).ok(), json!({"result": "hi"}));
    assert_eq!(rig.send(&get("/plugins")).status, 200);
    let begun = std::time::Instant::now();
    rig.stop_server();
    assert!(begun.elapsed() < Duration::from_secs(9), "streams ended by themselves: {:?}", begun.elapsed());
    drop(idle);
}

#[test]
fn a_stream_ends_with_the_token_that_opened_it_and_others_go_on() {
    let rig = Rig::new();
    let (id, token) = rig.token(Role::Viewer, None, None);
    let (_, brief) = rig.token(Role::Viewer, None, Some(Duration::from_secs(2)));
    let (_, other) = rig.token(Role::Viewer, None, None);
    let open = |token: &str| Stream::open(&rig, &get("/stream").token(token));
    let (revoked, expired, mut goes_on) = (open(&token), open(&brief), open(&other));
    // Taken back beside the server, as another process does.
    rig.runtime.block_on(rig.host.revoke_token(&id.parse().unwrap())).unwrap();
    for mut stream in [revoked, expired] {
        let begun = std::time::Instant::now();
        while stream.lines.next().is_some_and(|line| line.is_ok()) {}
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    }
    rig.active("p", "", &["hi"], "def hi(a):\n    return 'hi'\n");
    assert_eq!(goes_on.until("started")["plugin"], "p");
}

#[test]
fn a_stream_tells_who_changes_what_in_this_process_and_in_another() {
    let rig = Rig::new();
    let mut stream = Stream::open(&rig, &get("/stream").token(&rig.admin));
    let head = "permissions: [{permission: 'env:read=LANG', reason: x}]\nconfig_schema: {type: object, properties: {a: {type: integer}}}\n";
    let package = rig.package("p", "1.0.0", head, &["hi"], "def hi(a):\n    return 'hi'\n");
    let body = json!({"path": package, "grant_requested": true});
    let install = post("/plugins", &body).header("X-Correlation-Id", "deploy-9");
    rig.send(&install).ok();
    let installed = stream.until("installed");
    assert_eq!((&installed["plugin"], &installed["kind"]["version"]), (&json!("p"), &json!("1.0.0")));
    assert_eq!(installed["correlation_id"], "deploy-9");
    assert!(installed["kind"]["by"].as_str().unwrap().starts_with("token "), "{installed}");
    let granted = stream.until("granted");
    assert_eq!(granted["kind"]["permissions"], json!(["env:read=LANG"]));
    let config = crate::client::put("/plugins/p/config", &json!({"a": 1}));
    rig.send(&config).ok();
    assert_eq!(stream.until("configured")["kind"]["keys"], json!(["a"]));
    let (id, _) = rig.token(Role::Viewer, None, None);
    let made = stream.until("token_created");
    assert_eq!((&made["kind"]["id"], made.get("plugin")), (&json!(id), None), "for all: {made}");
    rig.send(&crate::client::request("DELETE", &format!("/tokens/{id}"))).ok();
    assert_eq!(stream.until("token_revoked")["kind"]["id"], json!(id));

    // Another process of the home: a second host, which shares nothing but the disk.
    let home = ringfence::Home::at(rig.path("home"));
    let other = rig.runtime.block_on(ringfence::Host::builder().home(home).build()).unwrap();
    let revoke = vec!["env:read=LANG".parse().unwrap()];
    rig.runtime.block_on(other.revoke("p", &revoke)).unwrap();
    assert_eq!(stream.until("revoked")["kind"]["permissions"], json!(["env:read=LANG"]));
    let next = rig.package("p", "1.1.0", "", &["hi"], "def hi(a):\n    return 'hi'\n");
    let upgrade = post("/plugins/p/upgrade", &json!({"path": next}));
    rig.send(&upgrade).ok();
    while stream.until("upgrade")["kind"]["step"] != "committed" {}
    rig.send(&crate::client::request("POST", "/plugins/p/rollback")).ok();
    assert_eq!(stream.until("rolled_back")["kind"]["to"], "1.0.0");
    std::fs::write(rig.host.home().policy_file(), "default = \"allow\"\n").unwrap();
    let policy = stream.until("policy_changed");
    assert_eq!((&policy["kind"]["state"], policy.get("plugin")), (&json!("in_force"), None));
    rig.runtime.block_on(other.uninstall("p", ringfence::plugin::KeepData::No)).unwrap();
    assert_eq!(stream.until("uninstalled")["kind"]["data_kept"], false);
    rig.runtime.block_on(other.shutdown());
}

#[test]
fn a_request_is_followed_to_what_the_sandbox_refused_in_it() {
    let rig = Rig::new();
    let code = "import os\nfrom ringfence import HostError, host\ndef fork(a):\n    try:\n        os.fork()\n    except OSError:\n        return 'refused'\ndef ask(a):\n    try:\n        host.read_file('/nowhere')\n    except HostError as error:\n        return error.code\ndef onRequest(ctx):\n    fork({})\n";
    let head = "hooks:\n  - {event: onRequest, kind: mutator}\n";
    rig.active("p", head, &["fork", "ask"], code);
    let call = |tool: &str| post("/plugins/p/call", &json!({"tool": tool}));
    for (request, id, layer) in [
        (call("fork"), "kernel-1", "seccomp"),
        (call("ask"), "host-1", "host_api"),
        (post("/hooks/onRequest", &json!({"body": {}})), "hook-1", "seccomp"),
    ] {
        let answer = rig.send(&request.header("X-Correlation-Id", id));
        assert_eq!(answer.status, 200, "{id}");
        let found = || {
            let page = rig.send(&get(&format!("/audit?correlation_id={id}"))).ok();
            let records = page["records"].as_array().unwrap().clone();
            records.into_iter().find(|record| record["event"] == "denial")
        };
        let end = std::time::Instant::now() + Duration::from_secs(10);
        let record = loop {
            if let Some(record) = found() {
                break record;
            }
            assert!(std::time::Instant::now() < end, "{id}: no denial under it");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!((&record["plugin"], &record["body"]["layer"]), (&json!("p"), &json!(layer)), "{record}");
    }
}
