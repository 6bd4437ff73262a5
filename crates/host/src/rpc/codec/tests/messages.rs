//! What a line says: kinds of messages, both wire forms, and everything that is none.

use proptest::prelude::*;
use ringfence_api::Wire;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::rpc::codec::{
    Message, Outgoing, PluginId, append_answer, append_cancel, append_notification, append_request, parse,
};
use crate::rpc::error::RpcError;
use crate::rpc::fault::FaultKind;

fn kind(line: &str) -> FaultKind {
    parse(line.as_bytes(), Wire::JsonRpc).expect_err(line).kind
}

#[test]
fn each_way_to_break_the_envelope_has_its_name() {
    let table = [
        ("", FaultKind::Blank),
        (" \t\r", FaultKind::Blank),
        ("Loading model ...", FaultKind::NotJson),
        ("{\"jsonrpc\": \"2.0\",", FaultKind::NotJson),
        ("Content-Length: 52", FaultKind::HeaderFraming),
        ("content-length:52", FaultKind::HeaderFraming),
        ("\u{feff}{}", FaultKind::ByteOrderMark),
        ("[]", FaultKind::Batch),
        (r#"[{"jsonrpc":"2.0","id":1,"result":1}]"#, FaultKind::Batch),
        ("1", FaultKind::NotAnObject),
        ("null", FaultKind::NotAnObject),
        ("\"{}\"", FaultKind::NotAnObject),
        (r#"{"jsonrpc":"2.0","id":1,"result":1} {}"#, FaultKind::NotJson),
        (r#"{"jsonrpc":"2.0","id":1,"id":1,"result":1}"#, FaultKind::DuplicateMember),
        (r#"{"jsonrpc":"2.0","id":1,"result":1,"re\u0073ult":1}"#, FaultKind::DuplicateMember),
        (r#"{"id":1,"result":1}"#, FaultKind::Version),
        (r#"{"jsonrpc":"1.0","id":1,"result":1}"#, FaultKind::Version),
        (r#"{"jsonrpc":2.0,"id":1,"result":1}"#, FaultKind::Version),
        (r#"{"jsonrpc":"2.0"}"#, FaultKind::NoMethodAndNoId),
        (r#"{"jsonrpc":"2.0","result":1}"#, FaultKind::NoMethodAndNoId),
        (r#"{"jsonrpc":"2.0","id":1}"#, FaultKind::NoResultAndNoError),
        (r#"{"jsonrpc":"2.0","id":1,"Result":1}"#, FaultKind::NoResultAndNoError),
        (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":null}"#, FaultKind::ResultAndError),
        (r#"{"jsonrpc":"2.0","id":1,"error":"text"}"#, FaultKind::ErrorObject),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}"#, FaultKind::ErrorObject),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":""}}"#, FaultKind::ErrorObject),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#, FaultKind::ErrorObject),
        (r#"{"jsonrpc":"2.0","id":1,"method":"log","result":1}"#, FaultKind::RequestAndAnswer),
        (r#"{"jsonrpc":"2.0","method":7}"#, FaultKind::Method),
        (r#"{"jsonrpc":"2.0","method":""}"#, FaultKind::Method),
        (r#"{"jsonrpc":"2.0","method":"log\n[31m"}"#, FaultKind::Method),
        (r#"{"jsonrpc":"2.0","method":"log","params":7}"#, FaultKind::Params),
        (r#"{"jsonrpc":"2.0","method":"log","params":null}"#, FaultKind::Params),
        (r#"{"jsonrpc":"2.0","method":"get_config","id":null}"#, FaultKind::Id),
        (r#"{"jsonrpc":"2.0","method":"get_config","id":1.0}"#, FaultKind::Id),
        (r#"{"jsonrpc":"2.0","method":"get_config","id":[1]}"#, FaultKind::Id),
        (r#"{"jsonrpc":"2.0","method":"get_config","id":1,"_meta":[]}"#, FaultKind::Meta),
        (r#"{"jsonrpc":"2.0","method":"get_config","id":1,"_meta":{"deadline_ms":"5"}}"#, FaultKind::Meta),
        (r#"{"jsonrpc":"2.0","method":"get_config","id":1,"_meta":{"deadline_ms":-5}}"#, FaultKind::Meta),
    ];
    for (line, wanted) in table {
        assert_eq!(kind(line), wanted, "{line}");
    }
    let long = "m".repeat(129);
    assert_eq!(kind(&format!(r#"{{"jsonrpc":"2.0","method":"{long}"}}"#)), FaultKind::Method);
    assert!(
        parse(format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, &long[1..]).as_bytes(), Wire::JsonRpc).is_ok()
    );
    let batch = format!("[{}1]", "1,".repeat(100_000));
    assert_eq!(kind(&batch), FaultKind::Batch);
}

#[test]
fn utf_16_and_32_are_told_apart_from_noise() {
    let text = r#"{"jsonrpc":"2.0","id":1,"result":1}"#;
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(parse(&wide, Wire::JsonRpc).unwrap_err().kind, FaultKind::Nul);
    let marked: Vec<u8> = [0xff, 0xfe].into_iter().chain(wide).collect();
    assert_eq!(parse(&marked, Wire::JsonRpc).unwrap_err().kind, FaultKind::NotUtf8);
}

#[test]
fn members_that_are_not_known_are_ignored() {
    let line =
        r#"{"Method":"x","trace":[1,{"id":2}],"jsonrpc":"2.0","id":3,"result":{},"__proto__":{"id":9}}"#;
    let Ok(Message::Answer(answer)) = parse(line.as_bytes(), Wire::JsonRpc) else { panic!("{line}") };
    assert_eq!(answer.id, Some(3));
}

#[test]
fn an_answer_to_a_text_or_a_fraction_is_to_nobody() {
    for id in ["\"1\"", "1.0", "1e0", "-0", "-1", "null", "true", "[1]", "{}", "18446744073709551616"] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#);
        let Ok(Message::Answer(answer)) = parse(line.as_bytes(), Wire::JsonRpc) else { panic!("{line}") };
        assert_eq!(answer.id, None, "{line}");
    }
    let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","result":1}}"#, "x".repeat(1 << 20));
    assert!(
        matches!(parse(long.as_bytes(), Wire::JsonRpc), Ok(Message::Answer(answer)) if answer.id.is_none())
    );
}

#[test]
fn who_is_concerned_by_a_bad_line_is_found_where_that_is_beyond_doubt() {
    let blame = |line: &str| {
        let bad = parse(line.as_bytes(), Wire::JsonRpc).unwrap_err();
        (bad.answers, bad.asks.map(|id| id.to_string()))
    };
    assert_eq!(blame(r#"{"jsonrpc":"2.0","id":4,"result":1,"error":{}}"#), (Some(4), None));
    assert_eq!(blame(r#"{"jsonrpc":"2.0","id":4,"id":5,"result":1}"#), (None, None));
    assert_eq!(
        blame(r#"{"jsonrpc":"2.0","id":"a","method":"x","params":1}"#),
        (None, Some("\"a\"".to_owned()))
    );
    assert_eq!(blame("noise"), (None, None));
    let deep = format!(r#"{{"jsonrpc":"2.0","id":4,"result":{}"#, "[".repeat(100));
    assert_eq!(blame(&deep), (Some(4), None));
}

#[test]
fn the_older_wire_form_is_read_as_it_is_spoken() {
    let legacy = |line: &str| parse(line.as_bytes(), Wire::Legacy).map(|message| format!("{message:?}"));
    for line in [
        r#"{"id":1,"result":5}"#,
        r#"{"id":1,"result":5,"error":null}"#,
        r#"{"id":1,"result":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":5}"#,
    ] {
        assert!(legacy(line).unwrap().contains("Ok("), "{line}");
    }
    for line in [
        r#"{"id":1,"error":"no such tool"}"#,
        r#"{"id":1,"result":null,"error":"x"}"#,
        r#"{"id":1,"error":{"code":1,"message":"x"}}"#,
    ] {
        assert!(legacy(line).unwrap().contains("Err("), "{line}");
    }
    assert_eq!(legacy(r#"{"id":1,"result":1,"error":"x"}"#).unwrap_err().kind, FaultKind::ResultAndError);
    assert_eq!(legacy(r#"{"id":1,"error":7}"#).unwrap_err().kind, FaultKind::ErrorObject);
    // The new form has no such leniency.
    assert_eq!(kind(r#"{"id":1,"result":5}"#), FaultKind::Version);
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn written(append: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut line = Vec::new();
    append(&mut line);
    let line = String::from_utf8(line).unwrap();
    assert_eq!(line.find('\n'), Some(line.len() - 1), "one line, and its end last: {line}");
    line
}

#[test]
fn what_the_host_writes_is_one_line_each() {
    let params = raw("{\n  \"a\": [1,\r\n 2],\n\t\"b\": \"\\n\"\n}");
    let request = Outgoing {
        method: "call",
        params: &params,
        correlation_id: "c\"\n\u{1b}é",
        deadline_ms: Some(30_000),
    };
    let line = written(|to| append_request(to, Wire::JsonRpc, 18_446_744_073_709_551_615, request));
    assert!(line.len() <= request.length_max());
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        value,
        json!({"jsonrpc": "2.0", "id": 18_446_744_073_709_551_615_u64, "method": "call",
            "params": {"a": [1, 2], "b": "\n"},
            "_meta": {"protocol_version": "1", "correlation_id": "c\"\n\u{1b}é", "deadline_ms": 30_000}})
    );
    let line = written(|to| append_request(to, Wire::Legacy, 0, request));
    assert_eq!(
        serde_json::from_str::<Value>(&line).unwrap(),
        json!({"id": 0, "method": "call", "params": {"a": [1, 2], "b": "\n"}})
    );
    let line = written(|to| append_cancel(to, Wire::JsonRpc, 10, "c"));
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&value["method"], &value["params"]), (&json!("$/cancel"), &json!({"id": 10})));
    let line =
        written(|to| append_notification(to, Wire::JsonRpc, Outgoing { deadline_ms: None, ..request }));
    assert!(serde_json::from_str::<Value>(&line).unwrap().get("id").is_none());
    let id = PluginId::read(&raw("\"x\\u0022\"")).unwrap();
    let error = RpcError { code: -7, message: "a\nb".to_owned(), data: Some(raw("[\n1]")) };
    let line = written(|to| append_answer(to, Wire::JsonRpc, Some(&id), Err(&error), "c"));
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["id"], "x\"");
    assert_eq!(value["error"], json!({"code": -7, "message": "a\nb", "data": [1]}));
    let line = written(|to| append_answer(to, Wire::JsonRpc, None, Ok(&raw("7")), "c"));
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["id"], Value::Null);
}

/// Any JSON value, not very deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(result in value(), id in any::<u64>(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&result).unwrap() } else { result.to_string() };
        let raw_id = raw(&id.to_string());
        let mut line = Vec::new();
        let id_text = PluginId::read(&raw_id).unwrap();
        append_answer(&mut line, Wire::JsonRpc, Some(&id_text), Ok(&raw(&text)), "c");
        prop_assert_eq!(line.pop(), Some(b'\n'));
        let Ok(Message::Answer(answer)) = parse(&line, Wire::JsonRpc) else { panic!("no answer") };
        prop_assert_eq!(answer.id, Some(id));
        let back: Value = serde_json::from_str(answer.outcome.unwrap().get()).unwrap();
        prop_assert_eq!(back, result);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for wire in [Wire::JsonRpc, Wire::Legacy] {
            if parse(&bytes, wire).is_ok() {
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok());
            }
        }
    }
}
