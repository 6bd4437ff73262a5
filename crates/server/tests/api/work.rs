//! Calls, hooks and messages.

use serde_json::json;

use crate::client::{get, post};
use crate::rig::Rig;

const COUNTER: &str = "count = 0\ndef add(a):\n    global count\n    count += 1\n    return count\n\
def boom(a):\n    raise RuntimeError('no')\n";

#[test]
fn api_14_a_call_that_is_sent_again_with_its_key_is_made_once() {
    let rig = Rig::new();
    rig.active("p", "", &["add", "boom"], COUNTER);
    let call = |key: &str, tool: &str| {
        rig.send(&post("/plugins/p/call", &json!({"tool": tool})).header("Idempotency-Key", key))
    };
    assert_eq!(call("k", "add").ok(), json!({"result": 1}));
    assert_eq!(call("k", "add").ok(), json!({"result": 1}));
    assert_eq!(call("other", "add").ok(), json!({"result": 2}));
    assert_eq!(rig.send(&post("/plugins/p/call", &json!({"tool": "add"}))).ok(), json!({"result": 3}));
    assert_eq!(call("k", "boom").refusal(), (412, "conflict".to_owned()));
    // Somebody else's key is another one.
    let (_, token) = rig.token(ringfence_api::Role::Operator, None, None);
    let theirs = post("/plugins/p/call", &json!({"tool": "add"})).header("Idempotency-Key", "k");
    assert_eq!(rig.send_as(&token, &theirs).ok(), json!({"result": 4}));
    let all: Vec<_> = std::thread::scope(|scope| {
        let same = (0..8).map(|_| scope.spawn(|| call("at once", "add").ok())).collect::<Vec<_>>();
        same.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(all.iter().all(|answer| *answer == json!({"result": 5})), "{all:?}");
}

#[test]
fn a_failure_of_the_plugin_is_one_of_the_plugin() {
    let rig = Rig::new();
    rig.active("p", "", &["add", "boom"], COUNTER);
    assert_eq!(
        rig.send(&post("/plugins/p/call", &json!({"tool": "boom"}))).refusal(),
        (502, "plugin_failed".to_owned())
    );
    assert_eq!(
        rig.send(&post("/plugins/p/call", &json!({"tool": "ad"}))).refusal(),
        (404, "not_found".to_owned())
    );
    let wrong = [
        json!({}),
        json!({"tool": 7}),
        json!({"tool": "add", "timeout_ms": 0}),
        json!({"tool": "add", "x": 1}),
    ];
    for body in wrong {
        assert_eq!(rig.send(&post("/plugins/p/call", &body)).status, 400, "{body}");
    }
    let executions = rig.send(&get("/executions?plugin=p&limit=10")).ok();
    assert_eq!(executions["executions"][0]["outcome"], "failed", "{executions}");
}

#[test]
fn an_event_passes_through_the_plugins_and_a_message_reaches_them() {
    let rig = Rig::new();
    let head = "hooks: [{event: onRequest, kind: guard}]\npermissions: ['event:post=note.saved']\n";
    let code = "got = []\ndef onRequest(ctx):\n    if ctx['body'].get('bad'):\n        return {'blocked': True, 'reason': 'bad'}\n\
def handle_event(topic, payload):\n    got.append(1)\n\
def seen(a):\n    return len(got)\n";
    rig.active("guard", head, &["seen"], code);
    let passed = rig.send(&post("/hooks/onRequest", &json!({"body": {"bad": false}}))).ok();
    assert_eq!(passed["outcome"], "continue", "{passed}");
    let blocked = rig.send(&post("/hooks/onRequest", &json!({"body": {"bad": true}}))).ok();
    assert_eq!((&blocked["outcome"], &blocked["reason"]), (&json!("blocked"), &json!("bad")));
    assert_eq!(rig.send(&get("/hooks")).ok()[0]["plugin"], "guard");
    let sent = rig.send(&post("/events", &json!({"topic": "note.saved", "payload": {}, "wait": true}))).ok();
    assert_eq!(sent["receivers"][0]["outcome"], "delivered", "{sent}");
    assert_eq!(rig.send(&post("/plugins/guard/call", &json!({"tool": "seen"}))).ok(), json!({"result": 1}));
    assert_eq!(rig.send(&post("/hooks/on%20x", &json!({}))).status, 400);
}

#[test]
fn a_call_under_way_is_finished_when_the_server_stops() {
    let mut rig = Rig::new();
    rig.active("p", "", &["slow"], "import time\ndef slow(a):\n    time.sleep(1)\n    return 'done'\n");
    let request = post("/plugins/p/call", &json!({"tool": "slow"})).token(&rig.admin);
    let address = rig.address;
    let call = std::thread::spawn(move || request.send(address));
    std::thread::sleep(std::time::Duration::from_millis(300));
    rig.stop_server();
    assert_eq!(call.join().unwrap().ok(), json!({"result": "done"}));
    assert!(std::net::TcpStream::connect(address).is_err(), "nothing is accepted any more");
}

#[test]
fn figures_are_those_of_what_was_done() {
    let rig = Rig::new();
    rig.active("p", "", &["add", "boom"], COUNTER);
    for _ in 0..3 {
        rig.send(&post("/plugins/p/call", &json!({"tool": "add"}))).ok();
    }
    let answer = rig.send(&get("/metrics"));
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.contains("ringfence_plugin_requests_total{plugin=\"p\",method=\"call\",outcome=\"ok\"} 3\n"),
        "{text}"
    );
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("ringfence_") && value.parse::<f64>().is_ok(), "{line}");
    }
}
