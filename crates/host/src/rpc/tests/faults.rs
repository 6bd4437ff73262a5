//! What a plugin does wrong on the wire: dropped, counted, reported, never fatal, never delivered twice.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, request, soon};
use crate::rpc::{CallError, FaultKind};

#[tokio::test]
async fn an_answer_is_delivered_once() {
    let mut rig = Rig::new();
    let call = rig.call(json!({}));
    let id = rig.peer.read().await["id"].clone();
    rig.peer.answer(&id, json!("first")).await;
    rig.peer.answer(&id, json!("second")).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), "first");
    rig.fault(FaultKind::DuplicateAnswer).await;
    rig.works().await;
    // Long afterwards, when its place has been taken by others.
    rig.peer.answer(&id, json!("third")).await;
    while rig.connection.counters().duplicate_answers < 2 {
        tokio::task::yield_now().await;
    }
    rig.works().await;
}

#[tokio::test]
async fn an_id_is_only_itself() {
    let mut rig = Rig::new();
    let call = rig.call(json!({}));
    let id = rig.peer.read().await["id"].as_u64().unwrap();
    let strangers = [
        json!(id.to_string()),
        json!(id as f64),
        json!(id + 1),
        json!(id + (1 << 53)),
        json!(0),
        json!(u64::MAX),
        json!(null),
        json!([id]),
        json!("x".repeat(1 << 20)),
    ];
    for stranger in &strangers {
        rig.peer.answer(stranger, json!("wrong")).await;
    }
    rig.peer.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id}e0,\"result\":\"wrong\"}}\n")).await;
    rig.peer.answer(&json!(id), json!("right")).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), "right");
    assert_eq!(rig.connection.counters().unknown_answers, strangers.len() as u64 + 1);
    rig.works().await;
}

#[tokio::test]
async fn an_answer_of_another_connection_is_nobodys() {
    let (mut one, mut two) = (Rig::new(), Rig::new());
    for _ in 0..3 {
        one.works().await;
    }
    let call = one.call(json!({}));
    let id = one.peer.read().await["id"].clone();
    two.peer.answer(&id, json!("stolen")).await;
    two.fault(FaultKind::UnknownAnswer).await;
    one.peer.answer(&id, json!("own")).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), "own");
}

#[tokio::test]
async fn noise_is_counted_and_messages_around_it_arrive() {
    let mut rig = Rig::new();
    let call = rig.call(json!({}));
    let id = rig.peer.read().await["id"].clone();
    let noise: &[&[u8]] = &[
        b"Loading model ...\n",
        b"\x1b[2J\x1b]0;title\x07\n",
        b"\n\r\n  \n",
        b"Content-Length: 40\r\n\r\n",
        b"{\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1\n}\n",
        b"\xff\xfe{\0}\0\n",
        b"\xef\xbb\xbf{}\n",
        b"[[[[[[\n",
        b"[]\n",
    ];
    for bytes in noise {
        rig.peer.write(bytes).await;
    }
    rig.peer.answer(&id, json!("through")).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), "through");
    let counters = rig.connection.counters();
    assert_eq!((counters.malformed_lines, counters.blank_lines), (11, 4), "{counters:?}");
    // What is reported can be shown: nothing that a terminal would obey.
    let faults = rig.fault(FaultKind::Batch).await;
    assert!(faults.iter().all(|fault| !fault.to_string().chars().any(char::is_control)), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.kind == FaultKind::HeaderFraming));
}

#[tokio::test]
async fn a_plugin_is_told_what_was_wrong_but_not_for_ever() {
    let mut rig = Rig::new();
    let table = [
        ("noise", -32700, json!(null)),
        ("[]", -32600, json!(null)),
        (r#"{"jsonrpc":"1.0","id":"a","method":"echo"}"#, -32600, json!("a")),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"echo"}"#, -32600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":2,"method":"echo","params":5}"#, -32600, json!(2)),
    ];
    for (line, code, id) in table {
        rig.peer.write(format!("{line}\n")).await;
        let answer = rig.peer.read().await;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{line}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    for _ in 0..100 {
        rig.peer.write("noise\n").await;
    }
    rig.peer.say(json!({"jsonrpc": "2.0", "id": "last", "method": "echo"})).await;
    let mut complaints = 0;
    while rig.peer.read().await["id"] != "last" {
        complaints += 1;
    }
    assert!(complaints < 16, "{complaints}");
}

#[tokio::test]
async fn an_answer_that_is_none_ends_its_call_at_once() {
    let mut rig = Rig::new();
    let deep = format!("\"result\":{}{}", "[".repeat(100), "]".repeat(100));
    let table = [
        ("\"result\":1,\"error\":{\"code\":1,\"message\":\"x\"}", FaultKind::ResultAndError),
        ("\"x\":1", FaultKind::NoResultAndNoError),
        ("\"error\":\"text\"", FaultKind::ErrorObject),
        (deep.as_str(), FaultKind::TooDeep),
        ("\"result\":\"\\ud800\"", FaultKind::LoneSurrogate),
    ];
    for (members, wanted) in table {
        let call = rig.call(json!({}));
        let id = rig.peer.read().await["id"].clone();
        rig.peer.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{members}}}\n")).await;
        match soon(call).await.unwrap() {
            Err(CallError::Malformed(kind)) => assert_eq!(kind, wanted),
            other => panic!("{members}: {other:?}"),
        }
    }
    // The twin: the same with one member that is right.
    rig.works().await;
}

#[tokio::test]
async fn an_error_reaches_the_caller_bounded() {
    let mut rig = Rig::new();
    let call = rig.call(json!({}));
    let id = rig.peer.read().await["id"].clone();
    let error = json!({"code": -31001, "message": "no\u{1b}[31m", "data": {"code": "permission_denied"}});
    rig.peer.say(json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
    let Err(CallError::Plugin(error)) = soon(call).await.unwrap() else { panic!("an error") };
    assert_eq!(error.code, -31001);
    assert_eq!(error.to_string(), "no\\u{1b}[31m (-31001)");
    let data: Value = serde_json::from_str(error.data.unwrap().get()).unwrap();
    assert_eq!(data["code"], "permission_denied");

    let call = rig.call(json!({}));
    let id = rig.peer.read().await["id"].clone();
    let error = json!({"code": 1, "message": "m".repeat(1_000_000), "data": "d".repeat(2_000_000)});
    rig.peer.say(json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
    let Err(CallError::Plugin(error)) = soon(call).await.unwrap() else { panic!("an error") };
    assert!(error.message.len() <= 4_096 && error.data.is_none());
}

#[tokio::test]
async fn progress_belongs_to_a_running_call_and_moves_no_deadline() {
    let mut rig = Rig::new();
    let call = rig.call_for(json!({}), Duration::from_millis(150));
    let id = rig.peer.read().await["id"].clone();
    let progress =
        |id: &Value| json!({"jsonrpc": "2.0", "method": "$/progress", "params": {"id": id, "progress": 1}});
    rig.peer.say(progress(&json!(999_999))).await;
    rig.fault(FaultKind::UnknownProgress).await;
    let call = async {
        let call = call;
        soon(call).await.unwrap()
    };
    let mut call = std::pin::pin!(call);
    let outcome = loop {
        tokio::select! {
            outcome = &mut call => break outcome,
            () = tokio::time::sleep(Duration::from_millis(5)) => rig.peer.say(progress(&id)).await,
        }
    };
    assert!(matches!(outcome, Err(CallError::Timeout)), "{outcome:?}");
    let notes = rig.service.notes.lock().unwrap().clone();
    assert!(
        notes.len() > 3
            && notes.iter().all(|note| *note == ("$/progress".to_owned(), Some("c-1".to_owned())))
    );
}

#[tokio::test]
async fn the_older_wire_form_works_in_both_directions() {
    let mut rig = Rig::legacy();
    let call = rig.call(json!({"tool": "x"}));
    let request_line = rig.peer.read().await;
    let id = request_line["id"].clone();
    assert_eq!(request_line, json!({"id": id, "method": "call", "params": {"tool": "x"}}));
    rig.peer.say(json!({"id": id, "result": [1]})).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), json!([1]));

    let call = rig.call(json!({}));
    let id = rig.peer.read().await["id"].clone();
    rig.peer.say(json!({"id": id, "error": "no such tool"})).await;
    let Err(CallError::Plugin(error)) = soon(call).await.unwrap() else { panic!("an error") };
    assert_eq!(
        (error.message.as_str(), error.known().map(|code| code.word())),
        ("no such tool", Some("plugin_failed"))
    );

    rig.peer.say(json!({"id": 7, "method": "echo", "params": {"a": 1}})).await;
    assert_eq!(rig.peer.read().await, json!({"id": 7, "result": {"a": 1}}));
    // It is never told about noise: it knows no such answers.
    rig.peer.write("noise\n").await;
    let call = rig.call(json!({}));
    assert_eq!(rig.peer.read().await["method"], "call");
    call.abort();
    drop(request(&rig.connection, json!({}), Duration::from_millis(1)).await);
}
