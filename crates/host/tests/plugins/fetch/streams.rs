//! A body that a plugin reads piece by piece: as it arrives, within its bounds, and no longer than it may.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::permissions;
use super::servers::{Answer, Server};
use crate::rig::{Both, Rig};

const PYTHON: &str = r#"
import os
import signal

from ringfence import HostError, host

KEPT = []

def open_(a):
    KEPT.append(host.http_fetch(a['url'], stream=True, max_bytes=a.get('max_bytes')))
    return {'status': KEPT[-1].status, 'type': KEPT[-1].headers.get('content-type'), 'url': KEPT[-1].url}

def size(a):
    with host.http_fetch(a['url'], stream=True) as answer:
        return sum(len(piece) for piece in answer)

def wait(a):
    with host.http_fetch(a['url'], stream=True) as answer:
        return [line for line in answer.iter_lines()]

ACTS = {
    'open': open_, 'size': size, 'wait': wait,
    'read': lambda a: KEPT[-1].read(a.get('max_bytes'), timeout_s=a.get('timeout_s')).decode(),
    'rest': lambda a: b''.join(KEPT[-1]).decode(),
    'close': lambda a: KEPT.pop().close(),
    'whole': lambda a: len(host.http_fetch(a['url'])['body']),
    'ask': lambda a: host.request(a['method'], a['params']),
    'die': lambda a: os.kill(os.getpid(), signal.SIGKILL),
}

def act(a):
    try:
        return ACTS[a['do']](a)
    except HostError as error:
        return {'code': error.code, 'message': str(error), **error.data}
"#;
const NODE: &str = r#"
import { HostError, host } from 'ringfence';

const kept = [];
const acts = {
  open: async ({ url, max_bytes: maxBytes }) => {
    const answer = await host.httpFetch(url, { stream: true, maxBytes });
    kept.push(answer);
    return { status: answer.status, type: answer.headers['content-type'] ?? null, url: answer.url };
  },
  size: async ({ url }) => {
    let size = 0;
    for await (const piece of await host.httpFetch(url, { stream: true })) size += piece.length;
    return size;
  },
  wait: async ({ url }) => {
    const lines = [];
    for await (const line of (await host.httpFetch(url, { stream: true })).lines()) lines.push(line);
    return lines;
  },
  read: async ({ max_bytes: maxBytes, timeout_s: seconds }) =>
    String(await kept.at(-1).read(maxBytes, { timeoutMs: seconds === undefined ? undefined : seconds * 1000 })),
  rest: async () => {
    const pieces = [];
    for await (const piece of kept.at(-1)) pieces.push(piece);
    return String(Buffer.concat(pieces));
  },
  close: async () => {
    await kept.pop().close();
    return null;
  },
  whole: async ({ url }) => (await host.httpFetch(url)).body.length,
  ask: ({ method, params }) => host.request(method, params),
  die: () => process.kill(process.pid, 'SIGKILL'),
};

export async function act(a) {
  try {
    return await acts[a.do](a);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return { code: error.code, message: error.message, ...error.data };
  }
}
"#;
const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nfirst\n";
/// A body for which a message is too small.
const LARGE: usize = 5 * 1024 * 1024;

/// A server whose `/events` waits for the gate, and both plugins with a grant for it.
struct Place {
    rig: Rig,
    server: Server,
    gate: Arc<Semaphore>,
    both: [Both; 2],
    grant: String,
}

impl Place {
    async fn new() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let held = Arc::clone(&gate);
        let server = Server::start(move |request| match request.split(' ').nth(1) {
            Some("/events") => Answer::Held(EVENTS, Arc::clone(&held)),
            Some("/large") => Answer::ok(vec![b'x'; LARGE]),
            Some("/short") => Answer::text("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
            Some("/moved") => Answer::redirect(302, "/events"),
            Some("/away") => Answer::redirect(302, "http://127.0.0.9/"),
            Some("/endless") => Answer::Endless("HTTP/1.1 200 OK\r\n\r\n", "x"),
            _ => Answer::ok("x".repeat(100)),
        })
        .await;
        let rig = Rig::new().await;
        let grant = format!("network:request=127.0.0.1:{}", server.port);
        let both = rig.both("web", &permissions(&[&grant]), &["act"], PYTHON, NODE).await;
        Self { rig, server, gate, both, grant }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.server.port)
    }

    async fn act(&self, name: &str, what: &str, more: Value) -> Value {
        let mut arguments = json!({"do": what});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let acted = self.rig.host.call(name, "act", arguments).await;
        acted.unwrap_or_else(|error| panic!("{name}: {what}: {}", error.chain()))
    }

    async fn open(&self, name: &str, path: &str) -> Value {
        self.act(name, "open", json!({"url": self.url(path)})).await
    }

    async fn read(&self, name: &str) -> Value {
        self.act(name, "read", json!({})).await
    }
}

#[tokio::test]
async fn pieces_come_while_the_answer_goes_on_with_the_grant_and_not_without_it() {
    let place = Place::new().await;
    for Both { name, runtime } in &place.both {
        let opened = place.open(name, "/moved").await;
        let expected = json!({"status": 200, "type": "text/event-stream", "url": place.url("/events")});
        assert_eq!(opened, expected, "{runtime}");
        assert_eq!(place.act(name, "read", json!({"max_bytes": 3})).await, json!("fir"), "{runtime}");
        // In another call, with the server still at work.
        assert_eq!(place.read(name).await, json!("st\n"), "{runtime}");
        let late = place.act(name, "read", json!({"timeout_s": 0.5})).await;
        assert_eq!(late["code"], json!("timeout"), "{runtime}: {late}");
        place.gate.add_permits(1);
        assert_eq!(place.read(name).await, json!("next\n"), "nothing was lost: {runtime}");
        assert_eq!(place.act(name, "close", json!({})).await, json!(null), "{runtime}");
        let at = format!("\"object\":\"127.0.0.1:{}\"", place.server.port);
        place.rig.recorded("stream_end", &[&at, "\"bytes\":11", "\"how\":\"closed\""]).await;
        // Redirects are judged before there is a stream.
        for url in ["http://127.0.0.9/".to_owned(), place.url("/away")] {
            let denied = place.act(name, "open", json!({"url": url})).await;
            assert_eq!(denied["grant"], json!("network:request=127.0.0.9:80"), "{runtime}: {denied}");
        }
    }
    place.server.was_left(2).await;
    place.gate.add_permits(2);
    place.gate.close();
    for Both { name, runtime } in &place.both {
        let lines = place.act(name, "wait", json!({"url": place.url("/events")})).await;
        assert_eq!(lines[0], json!("first"), "{runtime}: {lines}");
    }
    place.rig.recorded("stream_end", &["\"how\":\"read\""]).await;
    place.rig.host.shutdown().await;
}

#[tokio::test]
async fn a_large_body_comes_whole_and_is_cut_where_the_plugin_says() {
    let place = Place::new().await;
    for Both { name, runtime } in &place.both {
        let large = json!({"url": place.url("/large")});
        let whole = place.act(name, "whole", large.clone()).await;
        assert_eq!(whole["code"], json!("too_large"), "{runtime}: {whole}");
        assert_eq!(place.act(name, "size", large).await, json!(LARGE), "{runtime}");
        // What the head says is refused at once, what comes all the same is given up to the limit.
        let said = place.act(name, "open", json!({"url": place.url("/100"), "max_bytes": 99})).await;
        assert_eq!(said["code"], json!("too_large"), "{runtime}: {said}");
        place.act(name, "open", json!({"url": place.url("/endless"), "max_bytes": 100_000})).await;
        let cut = place.act(name, "rest", json!({})).await;
        assert_eq!(cut["code"], json!("too_large"), "{runtime}: {cut}");
        place.act(name, "open", json!({"url": place.url("/100"), "max_bytes": 100})).await;
        assert_eq!(place.act(name, "rest", json!({})).await, json!("x".repeat(100)), "{runtime}");
        place.open(name, "/short").await;
        let short = place.act(name, "rest", json!({})).await;
        assert_eq!(short["code"], json!("fetch_failed"), "a body that breaks off has no end: {short}");
    }
    place.rig.recorded("stream_end", &["\"bytes\":100000", "\"how\":\"too_large\""]).await;
    place.rig.recorded("stream_end", &["\"bytes\":5", "\"how\":\"failed\""]).await;
    place.rig.host.shutdown().await;
}

#[tokio::test]
async fn a_stream_is_its_plugins_own_and_so_many_are_open() {
    let place = Place::new().await;
    let url = place.url("/events");
    let [python, node] = [&place.both[0].name, &place.both[1].name];
    for (own, other) in [(python, node), (node, python)] {
        let fetch = json!({"method": "http_fetch", "params": {"url": url, "stream": true}});
        let read = |id: &Value| json!({"method": "http_fetch_read", "params": {"stream": id}});
        let close = |id: &Value| json!({"method": "http_fetch_close", "params": {"stream": id}});
        let id = place.act(own, "ask", fetch.clone()).await["stream"].clone();
        let denied = place.act(other, "ask", read(&id)).await;
        assert_eq!(denied["code"], json!("not_found"), "{denied}");
        assert_eq!(place.act(other, "ask", close(&id)).await, json!({"closed": false}));
        let first = place.act(own, "ask", read(&id)).await;
        assert_eq!(first, json!({"body": "first\n", "offset": 0, "done": false}));
        for wrong in [json!({"stream": 1}), json!({"stream": id, "max_bytes": 0}), json!({"id": id})] {
            let refused = place.act(own, "ask", json!({"method": "http_fetch_read", "params": wrong})).await;
            assert_eq!(refused["code"], json!("invalid_params"), "{wrong}: {refused}");
        }
        for _ in 1..8 {
            assert_eq!(place.open(own, "/events").await["status"], json!(200));
        }
        let before = place.server.connections();
        let busy = place.open(own, "/events").await;
        assert_eq!(busy["code"], json!("busy"), "{busy}");
        assert_eq!(place.server.connections(), before, "nobody was dialled for it");
        // Whole answers are none of them, another plugin has its own, and one that is closed makes room.
        assert_eq!(place.act(own, "whole", json!({"url": place.url("/100")})).await, json!(100));
        assert_eq!(place.open(other, "/events").await["status"], json!(200));
        place.act(other, "close", json!({})).await;
        assert_eq!(place.act(own, "ask", close(&id)).await, json!({"closed": true}));
        assert_eq!(place.act(own, "ask", close(&id)).await, json!({"closed": false}));
        assert_eq!(place.act(own, "ask", read(&id)).await["code"], json!("not_found"));
        assert_eq!(place.open(own, "/events").await["status"], json!(200));
        for _ in 0..8 {
            place.act(own, "close", json!({})).await;
        }
    }
    place.server.was_left(20).await;
    place.rig.host.shutdown().await;
}

#[tokio::test]
async fn a_grant_that_is_taken_back_ends_what_is_read_under_it() {
    let place = Place::new().await;
    let url = place.url("/events");
    for (turn, Both { name, runtime }) in place.both.iter().enumerate() {
        let fetch = json!({"method": "http_fetch", "params": {"url": url, "stream": true}});
        let id = place.act(name, "ask", fetch).await["stream"].clone();
        let read = json!({"method": "http_fetch_read", "params": {"stream": id}});
        assert_eq!(place.act(name, "ask", read.clone()).await["body"], json!("first\n"), "{runtime}");
        let granted = place.grant.parse().unwrap();
        place.rig.host.revoke(name, &[granted]).await.unwrap();
        place.server.was_left(2 * turn + 1).await;
        place.rig.recorded("stream_end", &["\"bytes\":6", "\"how\":\"stopped\""]).await;
        place.gate.add_permits(1);
        let gone = place.act(name, "ask", read).await;
        assert_eq!(gone["code"], json!("not_found"), "{runtime}: {gone}");
        let denied = place.open(name, "/events").await;
        assert_eq!(denied["grant"], json!(place.grant), "{runtime}: {denied}");
        // The twin: granted again it reads again, and what ends the plugin otherwise ends that, too.
        place.rig.host.grant(name, &[place.grant.parse().unwrap()]).await.unwrap();
        place.open(name, "/events").await;
        assert!(place.read(name).await.as_str().unwrap().starts_with("first\n"), "{runtime}");
        place.rig.host.deactivate(name).await.unwrap();
        place.server.was_left(2 * turn + 2).await;
    }
    place.rig.host.shutdown().await;
}

#[tokio::test]
async fn a_policy_that_takes_the_grant_and_a_plugin_that_dies_end_what_is_read() {
    let place = Place::new().await;
    let policy = place.rig.host.home().policy_file();
    for (turn, Both { name, runtime }) in place.both.iter().enumerate() {
        assert_eq!(place.open(name, "/events").await["status"], json!(200), "{runtime}");
        std::fs::write(&policy, format!("deny = [\"{}\"]\n", place.grant)).unwrap();
        // Nobody calls it: the host looks by itself.
        place.server.was_left(2 * turn + 1).await;
        let denied = place.open(name, "/events").await;
        assert_eq!(denied["code"], json!("permission_denied"), "{runtime}: {denied}");
        std::fs::write(&policy, "default = \"allow\"\n").unwrap();
        assert_eq!(place.open(name, "/events").await["status"], json!(200), "{runtime}");
        assert!(place.rig.host.call(name, "act", json!({"do": "die"})).await.is_err(), "{runtime}");
        place.server.was_left(2 * turn + 2).await;
    }
    place.rig.host.shutdown().await;
}

#[tokio::test]
async fn a_call_that_is_given_up_closes_what_it_reads() {
    let place = Place::new().await;
    for (turn, Both { name, runtime }) in place.both.iter().enumerate() {
        let waiting = place.act(name, "wait", json!({"url": place.url("/events")}));
        let given_up = tokio::time::timeout(Duration::from_secs(1), waiting).await;
        assert!(given_up.is_err(), "{runtime}");
        place.server.was_left(turn + 1).await;
        assert_eq!(
            place.act(name, "whole", json!({"url": place.url("/100")})).await,
            json!(100),
            "{runtime}"
        );
    }
    place.rig.host.shutdown().await;
}
