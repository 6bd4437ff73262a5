//! Commands over HTTP: begun, followed, ended.

use std::io::{BufRead as _, BufReader, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{get, post, request};
use crate::rig::Rig;

#[test]
fn a_command_runs_in_its_sandbox_and_is_answered_or_followed() {
    let rig = Rig::new();
    let waited = rig.send(&post("/exec", &json!({"command": ["/bin/echo", "hi"], "wait": true}))).ok();
    assert_eq!((&waited["stdout"], &waited["report"]["exit_code"]), (&json!("hi\n"), &json!(0)));
    let id = waited["id"].as_u64().unwrap();
    let shown = rig.send(&get(&format!("/runs/{id}"))).ok();
    assert_eq!(shown["summary"]["command"], json!(["/bin/echo", "hi"]));
    assert_eq!(rig.send(&get("/runs")).ok()["runs"][0]["id"], id);
    // What is not granted is not there; granted, it is.
    let secret = rig.path("secret");
    std::fs::write(&secret, "treasure").unwrap();
    let cat = |read: Value| {
        rig.send(&post("/exec", &json!({"command": ["/bin/cat", secret], "read": read, "wait": true}))).ok()
    };
    assert_ne!(cat(json!([]))["report"]["exit_code"], 0);
    assert_eq!(cat(json!([secret]))["stdout"], "treasure");
    for wrong in [
        json!({"command": []}),
        json!({"command": ["x"], "read": ["relative"]}),
        json!({"command": ["x"], "grant": ["file:reed"]}),
    ] {
        assert_eq!(rig.send(&post("/exec", &wrong)).status, 400, "{wrong}");
    }
    let missing = rig.send(&post("/exec", &json!({"command": ["no-such-program"]})));
    assert_eq!(missing.refusal(), (404, "not_found".to_owned()));
    let zero = rig.send(&post("/exec", &json!({"command": ["true"], "limits": {"timeout_ms": 0}})));
    assert_eq!(zero.refusal(), (400, "limit_invalid".to_owned()));
}

#[test]
fn a_file_that_is_not_shown_is_named_where_that_was_asked_for() {
    let rig = Rig::new();
    let secret = rig.path("secret");
    std::fs::write(&secret, "treasure").unwrap();
    let report = |read: Value, explain: Value| {
        let mut body = json!({"command": ["/bin/cat", secret], "read": read, "wait": true});
        if explain != Value::Null {
            body["explain"] = explain;
        }
        rig.send(&post("/exec", &body)).ok()["report"].clone()
    };
    // It is not there for the program, which is no denial: nobody has seen that it was tried.
    for unexplained in [Value::Null, json!(false)] {
        assert_eq!(report(json!([]), unexplained)["denials"], json!([]));
    }
    let explained = report(json!([]), json!(true));
    let denial = &explained["denials"][0];
    assert_eq!((&denial["layer"], &denial["object"]), (&json!("mount"), &json!(secret)), "{explained}");
    assert_eq!(denial["grant"], format!("file:read={}", secret.display()));
    assert!(explained["landlock_records"].is_string(), "{explained}");
    let granted = report(json!([secret]), json!(true));
    assert_eq!((&granted["exit_code"], &granted["denials"]), (&json!(0), &json!([])), "the twin");
    let wrong = rig.send(&post("/exec", &json!({"command": ["true"], "explain": "yes"})));
    assert_eq!(wrong.status, 400);
}

#[test]
fn output_comes_while_the_command_runs_and_again_from_where_it_was_cut_off() {
    let rig = Rig::new();
    let script = "echo one; sleep 1; echo two >&2; sleep 1; echo three";
    let body = json!({"command": ["/bin/sh", "-c", script], "grant": ["subprocess:execute"]});
    let begun = Instant::now();
    let id = rig.send(&post("/exec", &body)).ok()["id"].as_u64().unwrap();
    let mut stream = std::net::TcpStream::connect(rig.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let follow = get(&format!("/runs/{id}/stream")).token(&rig.admin);
    stream.write_all(&follow.bytes(rig.address)).unwrap();
    let mut seen = Vec::new();
    let mut last = String::new();
    let mut first_at = None;
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        if let Some(id) = line.strip_prefix("id: ") {
            last = id.to_owned();
        }
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let data: Value = serde_json::from_str(data).unwrap();
        first_at.get_or_insert_with(|| begun.elapsed());
        if let Some(text) = data["text"].as_str() {
            seen.push((data["stream"].as_str().unwrap().to_owned(), text.to_owned()));
        } else {
            assert_eq!(data["exit_code"], 0, "{data}");
            break;
        }
    }
    let pieces: Vec<(&str, &str)> =
        seen.iter().map(|(stream, text)| (stream.as_str(), text.as_str())).collect();
    assert_eq!(pieces, [("stdout", "one\n"), ("stderr", "two\n"), ("stdout", "three\n")]);
    assert!(first_at.unwrap() < begun.elapsed() - Duration::from_millis(1_200), "it was not live");
    assert_eq!(last, "14");
    let again = rig.send(&get(&format!("/runs/{id}/stream")).header("Last-Event-ID", "4"));
    let text = String::from_utf8(again.body).unwrap();
    assert!(
        !text.contains("one")
            && text.contains("two")
            && text.contains("three")
            && text.contains("event: end"),
        "{text}"
    );
}

#[test]
fn a_run_that_goes_on_is_ended_by_a_request_and_by_the_end_of_the_server() {
    let mut rig = Rig::new();
    let begin =
        || rig.send(&post("/exec", &json!({"command": ["/bin/sleep", "60"]}))).ok()["id"].as_u64().unwrap();
    let (first, second) = (begin(), begin());
    let cancelled = rig.send(&request("POST", &format!("/runs/{first}/cancel")));
    assert_eq!(cancelled.status, 204);
    let ended = |id: u64| rig.send(&get(&format!("/runs/{id}"))).ok()["report"]["status"].clone();
    for _ in 0..100 {
        if !ended(first).is_null() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!((ended(first), ended(second)), (json!("cancelled"), json!(null)));
    // The end of one is not that of a later one.
    let third = begin();
    let fourth = begin();
    assert_eq!(rig.send(&request("POST", &format!("/runs/{third}/cancel"))).status, 204);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((ended(fourth), ended(second)), (json!(null), json!(null)));
    let again = rig.send(&request("POST", &format!("/runs/{first}/cancel")));
    assert_eq!(again.refusal(), (409, "not_active".to_owned()));
    assert_eq!(rig.send(&request("POST", "/runs/999/cancel")).refusal().0, 404);
    rig.stop_server();
    let store = rig.host.runs();
    for _ in 0..100 {
        let run = store.show(second.to_string().parse().unwrap()).unwrap();
        if run.report.is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the second run goes on without its server");
}
