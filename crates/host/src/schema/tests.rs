use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

mod adversaries;

fn compile(schema: &Value) -> CompiledSchema {
    CompiledSchema::compile(schema).unwrap_or_else(|error| panic!("{}: {error}", error.pointer()))
}

fn refused(schema: &Value) -> String {
    let started = Instant::now();
    let error = CompiledSchema::compile(schema).map(|_| ()).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    format!("{} {error}", error.pointer())
}

#[test]
fn references_out_of_the_document_are_refused_and_those_inside_work() {
    for to in [
        "http://example.com/s",
        "https://127.0.0.1/",
        "file:///etc/passwd",
        "other.json",
        "//host/x",
        "#/nothing",
        "#nowhere",
    ] {
        for keyword in ["$ref", "$dynamicRef"] {
            let said = refused(&json!({ "properties": { "a": { keyword: to } } }));
            assert!(said.starts_with(&format!("/properties/a/{keyword} ")), "{said}");
        }
    }
    assert!(refused(&json!({ "$defs": { "a": { "$id": "https://x.example/a" } } })).contains("inner $id"));
    assert!(
        refused(&json!({ "$schema": "http://json-schema.org/draft-07/schema#" })).starts_with("/$schema ")
    );
    let schema = compile(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.com/root",
        "$defs": { "name": { "$anchor": "name", "type": "string" }, "a/b c": { "type": "integer" } },
        "properties": { "x": { "$ref": "#/$defs/name" }, "y": { "$ref": "#name" }, "z": { "$ref": "#/$defs/a~1b%20c" } },
    }));
    assert!(schema.validate(&json!({ "x": "a", "y": "b", "z": 1 })).is_ok());
    let faults = schema.validate(&json!({ "x": 1, "y": 2, "z": "c" })).unwrap_err();
    assert_eq!(faults.len(), 3, "{faults:?}");
}

#[test]
fn loops_are_refused_and_recursion_into_the_value_works() {
    assert!(refused(&json!({ "$ref": "#" })).contains("without end"));
    assert!(refused(&json!({ "$dynamicAnchor": "a", "$dynamicRef": "#a" })).contains("without end"));
    let circle = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/b" }] }, "b": { "not": { "$ref": "#/$defs/a" } } } });
    assert!(refused(&circle).contains("without end"));
    let tree = compile(&json!({
        "$dynamicAnchor": "node",
        "type": "object",
        "properties": { "children": { "type": "array", "items": { "$dynamicRef": "#node" } } },
        "required": ["children"],
    }));
    assert!(tree.validate(&json!({ "children": [{ "children": [] }] })).is_ok());
    let faults = tree.validate(&json!({ "children": [{ "children": [{}] }] })).unwrap_err();
    assert_eq!((faults[0].pointer.as_str(), faults[0].rule.as_str()), ("/children/0/children/0", "required"));
}

/// A chain of definitions, each of which names the next one twice: 2 to the power of its length.
fn explosion(keyword: &str, length: usize) -> Value {
    let mut definitions = serde_json::Map::new();
    for at in 0..length {
        let next = json!({ "$ref": format!("#/$defs/d{}", at + 1) });
        definitions.insert(format!("d{at}"), json!({ keyword: [next, next] }));
    }
    definitions.insert(format!("d{length}"), json!({ "type": "integer" }));
    json!({ "$ref": "#/$defs/d0", "$defs": definitions })
}

#[test]
fn explosions_are_refused_within_a_second() {
    for keyword in ["allOf", "anyOf", "oneOf"] {
        assert!(refused(&explosion(keyword, 40)).contains("too much work"));
        let small = compile(&explosion(keyword, 4));
        assert!(small.validate(&json!("x")).is_err());
    }
    let mut nested = json!({ "type": "integer" });
    for _ in 0..40 {
        nested = json!({ "anyOf": [nested.clone()] });
    }
    assert!(refused(&nested).contains("deeper") || refused(&nested).contains("work"));
}

#[test]
fn large_deep_and_many_are_refused_within_a_second() {
    let large = json!({ "description": "x".repeat(10 * 1024 * 1024) });
    assert!(refused(&large).contains("larger than 262144 bytes"));
    let mut deep = json!(true);
    for _ in 0..65 {
        deep = json!({ "not": deep });
    }
    assert!(refused(&deep).contains("deeper than 64"));
    let patterns: Vec<Value> = (0..201).map(|n| json!({ "pattern": format!("^a{n}$") })).collect();
    assert!(refused(&json!({ "allOf": patterns })).contains("more than 200 patterns"));
    let heavy: Vec<Value> = (0..200).map(|n| json!({ "pattern": format!("^(\\w{{1,9}}|a{n})*$") })).collect();
    let started = Instant::now();
    let _either = CompiledSchema::compile(&json!({ "properties": { "a": { "allOf": heavy } } }));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn patterns_that_backtrack_are_refused_or_answered_at_once() {
    for pattern in ["(a)\\1", "(?=a)b", "(?<!a)b", "a{1000}{1000}", "("] {
        assert!(refused(&json!({ "pattern": pattern })).starts_with("/pattern "), "{pattern}");
    }
    let schema = compile(&json!({ "properties": { "a": { "pattern": "^(a+)+$" } } }));
    let started = Instant::now();
    let text = format!("{}b", "a".repeat(100_000));
    assert_eq!(schema.validate(&json!({ "a": text })).unwrap_err()[0].rule, "pattern");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let heavy = compile(&json!({ "pattern": "[ab]*a[ab]{400}c" }));
    let started = Instant::now();
    assert!(heavy.validate(&json!("ab".repeat(2_000_000))).is_err());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn a_value_that_would_take_too_long_is_refused_and_others_are_judged() {
    // Each level of the value doubles the work.
    let doubling = compile(&json!({
        "anyOf": [{ "properties": { "a": { "$ref": "#" } } }, { "properties": { "a": { "$ref": "#" } } }],
        "not": { "const": 7 },
    }));
    let mut value = json!(7);
    for _ in 0..60 {
        value = json!({ "a": value });
    }
    let started = Instant::now();
    assert_eq!(doubling.validate(&value).unwrap_err()[0].rule, "too-complex");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(doubling.validate(&json!({ "a": { "a": 1 } })).is_ok());

    let unevaluated =
        json!({ "allOf": [{ "properties": { "a": { "$ref": "#" } } }], "unevaluatedProperties": false });
    let mut value = json!({});
    for _ in 0..50 {
        value = json!({ "a": value });
    }
    let started = Instant::now();
    let _either = compile(&unevaluated).validate(&value);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    let list = compile(&json!({ "type": "array", "items": { "type": "integer" }, "uniqueItems": true }));
    let numbers: Vec<u32> = (0..200_000).collect();
    let started = Instant::now();
    assert!(list.validate(&json!(numbers)).is_ok());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn faults_say_the_shape_and_never_the_value() {
    let schema = compile(&json!({
        "type": "object",
        "properties": {
            "token": { "type": "string", "minLength": 40, "pattern": "^[a-f]+$", "writeOnly": true },
            "port": { "type": "integer", "maximum": 65535 },
            "mode": { "enum": ["a", "b"] },
            "only": { "const": 1 },
            "list": { "uniqueItems": true },
            "any": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
        },
        "required": ["host"],
        "additionalProperties": false,
    }));
    let value = json!({
        "token": "hunter2-secret", "port": 999_999, "mode": "hunter2-secret", "only": "hunter2-secret",
        "list": ["hunter2-secret", "hunter2-secret"], "any": "hunter2-secret", "othr\u{1b}": "hunter2-secret",
    });
    let faults = schema.validate(&value).unwrap_err();
    let text: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
    assert!(!text.contains("hunter2") && !text.contains('\u{1b}') && !text.contains("999999"), "{text}");
    insta::assert_snapshot!("faults", text);
    assert!(schema.validate(&json!({ "host": 1 })).is_err());
}

#[test]
fn at_most_so_many_faults_are_told() {
    let schema = compile(&json!({ "items": { "type": "string" } }));
    assert_eq!(schema.validate(&json!(vec![0; 1_000])).unwrap_err().len(), FAULTS_MAX);
}

#[test]
fn defaults_fill_what_is_left_out() {
    let schema = compile(&json!({
        "$defs": { "size": { "default": 10 } },
        "properties": {
            "a": { "default": 1 },
            "b": { "$ref": "#/$defs/size" },
            "c": { "type": "object", "properties": { "d": { "default": true } } },
            "e": { "items": { "properties": { "f": { "default": [] } } } },
        },
        "allOf": [{ "properties": { "g": { "default": null } } }],
    }));
    assert_eq!(schema.defaults(&json!({})).unwrap(), json!({ "a": 1, "b": 10, "g": null }));
    let given = json!({ "a": 2, "b": 3, "c": {}, "e": [{}, { "f": 1 }], "g": 4, "x": 5 });
    let filled =
        json!({ "a": 2, "b": 3, "c": { "d": true }, "e": [{ "f": [] }, { "f": 1 }], "g": 4, "x": 5 });
    assert_eq!(schema.defaults(&given).unwrap(), filled);
    assert_eq!(schema.defaults(&json!("text")).unwrap(), json!("text"));
}

#[test]
fn secrets_are_listed_and_hidden_wherever_they_are() {
    let schema = compile(&json!({
        "$defs": { "secret": { "type": "string", "writeOnly": true } },
        "properties": {
            "token": { "$ref": "#/$defs/secret" },
            "nested": { "properties": { "key/x": { "$ref": "#/$defs/secret" }, "open": {} } },
            "list": { "items": { "properties": { "password": { "writeOnly": true } } } },
            "free": { "additionalProperties": { "writeOnly": true } },
            "choice": { "oneOf": [{ "type": "integer" }, { "$ref": "#/$defs/secret" }] },
            "self": { "$ref": "#" },
        },
    }));
    assert_eq!(schema.secret_paths(), ["/choice", "/free/*", "/list/*/password", "/nested/key~1x", "/token"]);
    let value = json!({
        "token": "s", "nested": { "key/x": "s", "open": 1 }, "list": [{ "password": "s", "user": "u" }],
        "free": { "a": "s" }, "choice": "s", "self": { "self": { "token": "s" } }, "other": "o",
    });
    let hidden = json!({
        "token": "***", "nested": { "key/x": "***", "open": 1 }, "list": [{ "password": "***", "user": "u" }],
        "free": { "a": "***" }, "choice": "***", "self": { "self": { "token": "***" } }, "other": "o",
    });
    assert_eq!(schema.redact(&value), hidden);
}

#[test]
fn what_is_no_schema_says_where() {
    assert!(
        refused(&json!({ "properties": { "a": { "type": "strng" } } })).starts_with("/properties/a/type ")
    );
    assert!(refused(&json!({ "properties": { "a": 1 } })).starts_with("/properties/a "));
    assert!(refused(&json!([])).contains("a schema is an object, true or false"));
    assert!(refused(&json!({ "minimum": "x" })).starts_with("/minimum "));
}
