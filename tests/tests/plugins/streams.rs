//! NET: bodies that a plugin has the host read piece by piece, as everyone. They are judged like any other, come as they arrive, cost
//! the host nothing while nobody reads, and end with the right to them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ringfence_testkit::{lacks, users};
use serde_json::{Value, json};

use crate::brokers::{NOT_GRANTED, Web, moved, ok};
use crate::place::Place;

/// Longer than anything here takes.
const WAIT: Duration = Duration::from_secs(60);
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// A server whose `/events` sends one line, and another as soon as somebody asks for `/go`; then it waits until it is left alone.
/// `/endless` never ends.
struct Events {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

impl Events {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let events = Self { address, opened: Arc::default(), left: Arc::default(), sent: Arc::default() };
        let [opened, left, sent] = [&events.opened, &events.left, &events.sent].map(Arc::clone);
        std::thread::spawn(move || {
            let mut waiting: Vec<TcpStream> = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).unwrap_or(0);
                let line = String::from_utf8_lossy(&head[..length]).into_owned();
                // Whoever asks may have gone, at every write.
                match line.split(' ').nth(1).unwrap_or_default() {
                    "/go" => {
                        for events in &mut waiting {
                            let _gone = events.write_all(b"second\n");
                        }
                        let _gone = stream.write_all(ok("gone").as_bytes());
                    }
                    "/endless" => {
                        let _gone = stream.write_all(HEAD.as_bytes());
                        let sent = Arc::clone(&sent);
                        std::thread::spawn(move || {
                            while let Ok(length) = stream.write(&[b'x'; 65_536]) {
                                sent.fetch_add(length, Ordering::SeqCst);
                            }
                        });
                    }
                    _ => {
                        let _gone = stream.write_all(format!("{HEAD}first\n").as_bytes());
                        waiting.push(stream.try_clone().unwrap());
                        opened.fetch_add(1, Ordering::SeqCst);
                        let left = Arc::clone(&left);
                        std::thread::spawn(move || {
                            while stream.read(&mut [0; 64]).unwrap_or(0) > 0 {}
                            left.fetch_add(1, Ordering::SeqCst);
                        });
                    }
                }
            }
        });
        events
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn grant(&self) -> String {
        format!("network:request={}", self.address)
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }

    /// Waits until so many went away.
    fn was_left(&self, times: usize) {
        until(|| self.left() >= times);
    }
}

fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + WAIT;
    while !is_so() {
        assert!(Instant::now() < end, "it did not come to pass");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn open(url: &str) -> Value {
    json!(["http_fetch", {"url": url, "stream": true}])
}

fn read() -> Value {
    json!(["http_fetch_read", {"stream": "$stream"}])
}

fn close() -> Value {
    json!(["http_fetch_close", {"stream": "$stream"}])
}

impl Place {
    /// The answers to these requests of one call.
    fn in_order(&self, name: &str, requests: &[Value]) -> Vec<Value> {
        let answers = self.act(name, &json!({"how": "host_requests", "requests": requests}));
        answers.as_array().unwrap().clone()
    }
}

#[test]
fn net_16_a_stream_is_judged_before_anything_of_it_is_read() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let closed = Web::start("127.0.0.1:0", |_| ok("secret"));
        let to = closed.address;
        let near = Web::start("127.0.0.1:0", move |path| match path {
            "/closed" => moved(&format!("http://{to}/")),
            _ => ok("landed"),
        });
        let at = near.address;
        place.asking("", &[&format!("network:request={at}")]);
        for url in
            [format!("http://{to}/"), format!("http://{at}/closed"), "http://169.254.169.254/".to_owned()]
        {
            let [opened, piece] = &place.in_order("hostile", &[open(&url), read()])[..] else { panic!() };
            assert_eq!(opened["error"]["code"], NOT_GRANTED, "{url} as {who:?}: {opened}");
            assert!(opened["error"]["data"]["grant"].is_string(), "{url} as {who:?}: {opened}");
            assert_eq!(piece["error"]["code"], -32602, "{url} as {who:?}: {piece}");
        }
        assert_eq!(closed.came(), 0, "as {who:?}");
        let landed = place.in_order("hostile", &[open(&format!("http://{at}/")), read()]);
        assert_eq!(landed[1]["result"], json!({"body": "landed", "offset": 0, "done": true}), "as {who:?}");
        place.done(&["grant", "hostile", &format!("network:request={to}")]);
        let secret = place.in_order("hostile", &[open(&format!("http://{at}/closed")), read(), read()]);
        assert_eq!(secret[1]["result"]["body"], "secret", "as {who:?}: {secret:?}");
        assert_eq!(secret[2]["error"]["data"]["code"], "not_found", "as {who:?}: {secret:?}");
        place.done(&["audit", "verify"]);
    }
}

#[test]
fn net_16_streams_are_few_bounded_and_nobody_elses() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let events = Events::start();
        place.asking("", &[&events.grant()]);
        place.active("other", &json!({"permissions": [events.grant()]}));
        let url = events.url("/events");
        // Eight, and not a ninth before one is closed.
        let mut many: Vec<Value> = (0..9).map(|_| open(&url)).collect();
        many.extend([close(), open(&url)]);
        let many = place.in_order("hostile", &many);
        assert_eq!(many[8]["error"]["data"]["code"], "busy", "as {who:?}: {many:?}");
        assert!(many[7]["result"]["stream"].is_string() && many[10]["result"]["stream"].is_string());
        // Ids of a run that has ended, and of another plugin, open nothing; nor do invented ones.
        let known = many[10]["result"]["stream"].clone();
        for id in [known, json!("0"), json!(""), json!("x".repeat(100_000)), json!("../1")] {
            for name in ["hostile", "other"] {
                let asked = json!(["http_fetch_read", {"stream": id}]);
                let piece = &place.in_order(name, &[open(&url), asked])[1];
                assert_eq!(piece["error"]["data"]["code"], "not_found", "as {who:?}: {piece}");
            }
        }
        // The twin of all of these, and the connection is closed with it.
        let before = events.left();
        let own = place.in_order("hostile", &[open(&url), read(), close(), read()]);
        assert_eq!(own[1]["result"]["body"], "first\n", "as {who:?}: {own:?}");
        assert_eq!(own[2]["result"], json!({"closed": true}), "as {who:?}: {own:?}");
        assert_eq!(own[3]["error"]["data"]["code"], "not_found", "as {who:?}: {own:?}");
        events.was_left(before + 1);
        // A read that is cancelled while it waits takes nothing with it.
        let given_up = json!(["http_fetch_read", {"stream": "$stream"}, 0.3]);
        let go = json!(["http_fetch", {"url": events.url("/go")}]);
        let on = place.in_order("hostile", &[open(&url), read(), given_up, go, read()]);
        assert_eq!(on[2]["error"]["data"]["code"], "cancelled", "as {who:?}: {on:?}");
        assert_eq!(
            on[4]["result"],
            json!({"body": "second\n", "offset": 6, "done": false}),
            "as {who:?}: {on:?}"
        );
        // What is never read stays with the server: no more than the kernel's buffers were sent.
        let idle = place.in_order(
            "hostile",
            &[open(&events.url("/endless")), json!(["http_fetch", {"url": events.url("/go")}])],
        );
        assert_eq!(idle[1]["result"]["body"], "gone", "as {who:?}: {idle:?}");
        let sent = events.sent.load(Ordering::SeqCst);
        assert!(sent < 64 * 1024 * 1024, "{sent} as {who:?}");
        // And what is read is cut where the plugin said.
        let limited = json!(["http_fetch", {"url": events.url("/endless"), "stream": true, "max_bytes": 10}]);
        let cut = place.in_order("hostile", &[limited, read(), read()]);
        assert_eq!(cut[1]["result"]["body"], "x".repeat(10), "as {who:?}: {cut:?}");
        assert_eq!(cut[2]["error"]["data"]["code"], "too_large", "as {who:?}: {cut:?}");
        place.done(&["audit", "verify"]);
    }
}

#[test]
fn net_16_a_revoked_grant_ends_a_stream_that_is_being_read() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let events = Events::start();
        place.asking("", &[&events.grant()]);
        let requests = json!([open(&events.url("/events")), read(), read()]);
        let act = json!({"how": "host_requests", "requests": requests}).to_string();
        let reading = place.job(&["call", "hostile", "act", &act, "--json"]).deadline(WAIT).spawn();
        let ended = |how: &str| {
            let listed = place.json(&["audit", "list", "--limit", "100"]).to_string();
            listed.contains("stream_end") && listed.contains(how)
        };
        until(|| events.opened.load(Ordering::SeqCst) == 1);
        place.done(&["revoke", "hostile", &events.grant()]);
        // The second read waits for ever otherwise.
        events.was_left(1);
        let run = reading.finish();
        assert_ne!(run.code, Some(0), "as {who:?}\n{run}");
        until(|| ended("stopped"));
        let denied = place.in_order("hostile", &[open(&events.url("/events"))]);
        assert_eq!(denied[0]["error"]["data"]["grant"], events.grant(), "as {who:?}: {denied:?}");
        place.done(&["grant", "hostile", &events.grant()]);
        let twin = place.in_order("hostile", &[open(&events.url("/events")), read(), close()]);
        assert_eq!(twin[1]["result"]["body"], "first\n", "as {who:?}: {twin:?}");
        place.done(&["audit", "verify"]);
    }
}

const PYTHON: &str = "from ringfence import host\n\
    def follow(a):\n    lines = []\n    with host.http_fetch(a['url'] + '/events', stream=True) as answer:\n        \
    for line in answer.iter_lines():\n            lines.append(line)\n            if len(lines) == 2:\n                \
    return lines\n            host.http_fetch(a['url'] + '/go')\n";
const NODE: &str = "import { host } from 'ringfence';\n\
    export async function follow({ url }) {\n  const lines = [];\n  const answer = await host.httpFetch(`${url}/events`, { stream: true });\n  \
    for await (const line of answer.lines()) {\n    lines.push(line);\n    if (lines.length === 2) return lines;\n    \
    await host.httpFetch(`${url}/go`);\n  }\n  return lines;\n}\n";

#[test]
fn a_plugin_reads_what_has_come_while_the_server_goes_on() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let events = Events::start();
        let mut left = 0;
        for (runtime, file, code) in [("python", "main.py", PYTHON), ("node", "main.mjs", NODE)] {
            if runtime == "node" && lacks("node") {
                continue;
            }
            let manifest = json!({
                "name": runtime, "version": "1.0.0", "runtime": runtime, "entry_point": file,
                "tools": [{"name": "follow"}], "permissions": [events.grant()],
            });
            let package = place.package_with(runtime, &manifest.to_string(), &[(file, code)]);
            place.done(&["install", &package, "--grant-requested"]);
            place.done(&["activate", runtime]);
            let arguments = json!({"url": format!("http://{}", events.address)}).to_string();
            let follow = ["call", runtime, "follow", &arguments];
            // The server sends the second line when it is asked for it, which happens when the first one is there.
            assert_eq!(place.json(&follow), json!(["first", "second"]), "{runtime} as {who:?}");
            left += 1;
            events.was_left(left);
            place.done(&["revoke", runtime, &events.grant()]);
            let denied = place.run(&[&follow[..], &["--json"]].concat());
            assert_ne!(denied.code, Some(0), "{runtime} as {who:?}\n{denied}");
            assert!(denied.to_string().contains(&events.grant()), "{runtime} as {who:?}\n{denied}");
        }
    }
}
