//! Schemas and values that are made to be dear. What ends them is counted, so the bounds here are of steps: a slow machine
//! passes as well as a fast one.

use serde_json::{Map, Value, json};

use super::super::budget::{Budget, COMPILE_STEPS_MAX};
use super::super::graph::Graph;
use super::super::walk::{STEPS_MAX, Walk};
use super::super::work::{self, Size};
use super::super::*;

/// As many definitions as fit, each made from its number and the number of the next.
fn definitions(count: usize, make: &dyn Fn(usize, usize) -> Value) -> Map<String, Value> {
    (0..count).map(|at| (format!("d{at}"), make(at, (at + 1) % count))).collect()
}

fn to(at: usize) -> Value {
    json!({ "$ref": format!("#/$defs/d{at}") })
}

fn properties(count: usize, make: &dyn Fn(usize) -> Value) -> Map<String, Value> {
    (0..count).map(|at| (format!("p{at}"), make(at))).collect()
}

/// So many subschemas that each need to know the names of three thousand members.
fn unevaluated(count: usize) -> Value {
    let mut all =
        definitions(count, &|_, _| json!({ "$ref": "#/$defs/all", "unevaluatedProperties": false }));
    all.insert("all".to_owned(), json!({ "properties": properties(3_000, &|_| json!({})) }));
    json!({ "$defs": all })
}

/// The dearest schemas of 256 KiB that we know of, each with what is to come of it: the words of its refusal, or nothing.
fn worst() -> Vec<(&'static str, Value, Option<&'static str>)> {
    let dear = Some("too much work");
    let mut chain = definitions(7_000, &|_, next| to(next));
    chain.insert("d6999".to_owned(), json!({ "type": "integer" }));
    let mut fans = definitions(90, &|_, _| json!({ "allOf": (0..90).map(|_| to(89)).collect::<Vec<_>>() }));
    fans.insert("d89".to_owned(), json!({ "writeOnly": true, "default": 1 }));
    let mut ladder =
        definitions(60, &|_, next| json!({ "allOf": [to(next), { "properties": { "a": to(next) } }] }));
    ladder.insert(
        "d59".to_owned(),
        json!({ "allOf": (0..2_000).map(|n| json!({ "const": n })).collect::<Vec<_>>() }),
    );
    let ring = definitions(
        2_000,
        &|_, next| json!({ "properties": { "a": to(next), "b": to(next) }, "items": to(next) }),
    );
    let secrets = definitions(
        2_000,
        &|at, next| json!({ "properties": { "a": to(next), "b": to(at) }, "writeOnly": at == 0 }),
    );
    let nested = (0..25).fold(
        json!({ "properties": properties(6_000, &|_| json!({})) }),
        |below, _| json!({ "properties": { "x".repeat(5_000): below } }),
    );
    let names: Vec<Value> = (0..9_000).map(|n| json!(format!("n{n}"))).collect();
    let patterns = properties(100, &|n| json!({ "pattern": format!("^[ab]{{1500}}c{n}$") }));
    let colliding: Vec<Value> =
        (0..5_000_u64).map(|n| json!([(1_u64 << 63) + n % 2048, (1_u64 << 63) + n / 2048])).collect();
    vec![
        ("a chain of references", json!({ "$ref": "#/$defs/d0", "$defs": chain }), dear),
        ("fans of references", json!({ "$ref": "#/$defs/d0", "$defs": fans }), None),
        ("a ladder above a fan", json!({ "$ref": "#/$defs/d0", "$defs": ladder }), dear),
        ("a ring", json!({ "$ref": "#/$defs/d0", "$defs": ring }), None),
        (
            "a ring of one value",
            json!({ "$ref": "#/$defs/d0", "$defs": definitions(6_000, &|_, next| to(next)) }),
            Some("without end"),
        ),
        ("secrets in a ring", json!({ "$ref": "#/$defs/d1", "$defs": secrets }), None),
        ("long names above many", nested, dear),
        ("unevaluated many times", unevaluated(1_500), dear),
        ("properties", json!({ "properties": properties(11_000, &|_| json!({})) }), dear),
        ("names", json!({ "required": names.clone(), "dependentRequired": { "a": names } }), dear),
        ("values", json!({ "enum": (0..20_000).collect::<Vec<_>>() }), dear),
        ("patterns", json!({ "properties": patterns }), None),
        ("names that are none", json!({ "required": colliding }), Some("texts only")),
        (
            "defaults in defaults",
            json!({ "properties": { "a": { "$ref": "#", "default": {} }, "b": { "$ref": "#", "default": {} } } }),
            dear,
        ),
        (
            "one name twice",
            json!({ "$defs": { "a": { "$anchor": "x" }, "b": { "$anchor": "x", "$ref": "#x" } }, "$ref": "#x" }),
            Some("twice"),
        ),
        (
            "dependencies of an older draft",
            json!({ "$ref": "#/$defs/d0", "$defs": definitions(3_000, &|_, next| json!({ "dependencies": { "a": to(next) } })) }),
            Some("without end"),
        ),
    ]
}

#[test]
fn the_worst_schemas_end_within_counted_steps() {
    for (what, schema, refusal) in worst() {
        let bytes = schema.to_string().len();
        assert!(bytes <= SCHEMA_MAX_BYTES, "{what}: {bytes}");

        let mut budget = Budget::default();
        let made = CompiledSchema::compile_within(&schema, &mut budget);
        assert!(budget.spent() <= COMPILE_STEPS_MAX, "{what}: {}", budget.spent());
        match (made, refusal) {
            (Ok(made), None) => walks_end(what, &made),
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{what}: {error}"),
            (made, _) => panic!("{what}: {:?}", made.map(|_| ()).map_err(|error| error.to_string())),
        }
    }
}

/// What is taken must be usable within bounds too, with a value that goes wherever the schema goes.
fn walks_end(what: &str, schema: &CompiledSchema) {
    let mut value = json!({});
    for _ in 0..60 {
        value = json!({ "a": value, "b": { "a": 1 }, "p0": "x" });
    }
    let mut walk = Walk::new(&schema.graph);
    let _either = walk.spread([0]);
    assert!(walk.steps() <= STEPS_MAX, "{what}");
    let _filled = schema.defaults(&value);
    let hidden = schema.redact(&value);
    assert!(hidden.is_object() || hidden == SECRET_MASK, "{what}");
    assert!(schema.secret_paths().len() <= 1_000, "{what}");
    let _judged = schema.validate(&value);
}

#[test]
fn the_schemas_of_one_manifest_share_their_steps() {
    let half = unevaluated(400);
    let mut budget = Budget::default();
    assert!(CompiledSchema::compile_within(&half, &mut budget).is_ok());
    let error = CompiledSchema::compile_within(&half, &mut budget).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("steps to analyse"), "{error}");
    assert!(CompiledSchema::compile(&half).is_ok());
}

#[test]
fn a_closure_is_worked_out_once_and_is_right() {
    let schema = json!({
        "$ref": "#/$defs/a",
        "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/b" }, { "$ref": "#/$defs/b" }] }, "b": { "default": 1 } },
    });
    let graph = Graph::build(&schema, &mut Budget::default()).unwrap();
    // The schema, `a`, its two branches, and `b` once.
    assert_eq!(graph.closure(0).len(), 5);
    assert!(graph.closure(0).iter().any(|id| graph.get(*id).unwrap().default == Some(json!(1))));
}

/// A list whose elements all have the same hash under fixed keys.
fn colliding(count: u64) -> Value {
    let high = 1_u64 << 63;
    (0..count).map(|n| json!([high + n % 2048, high + n / 2048])).collect()
}

fn steps(schema: &CompiledSchema, value: &Value) -> Option<u64> {
    work::count(&schema.graph, value)
}

#[test]
fn unique_items_take_no_longer_for_elements_that_collide() {
    let schema = compile(&json!({ "type": "array", "uniqueItems": true }));
    let count = 20_000;
    let mut list = colliding(count);
    // Sorting: parts times twice the logarithm, not the square of the elements.
    assert!(steps(&schema, &list).unwrap() < count * 3 * 40, "{:?}", steps(&schema, &list));
    assert!(schema.validate(&list).is_ok());
    let first = list[0].clone();
    list.as_array_mut().unwrap().push(first);
    assert_eq!(schema.validate(&list).unwrap_err()[0].rule, "uniqueItems");

    // The same list compared a thousand times over is refused before it is compared once.
    let again = compile(
        &json!({ "allOf": (0..1_000).map(|n| json!({ "uniqueItems": true, "maxItems": 90_000 + n })).collect::<Vec<_>>() }),
    );
    assert_eq!(steps(&again, &list), None);
    assert_eq!(again.validate(&list).unwrap_err()[0].rule, "too-complex");
    assert!(again.validate(&json!([1, 2])).is_ok());
}

#[test]
fn one_pattern_that_is_run_many_times_counts_each_time() {
    let runs = |count: usize| {
        let all: Vec<Value> = (0..count).map(|_| json!({ "$ref": "#/$defs/p" })).collect();
        compile(&json!({ "allOf": all, "$defs": { "p": { "pattern": "^(a+)+$" } } }))
    };
    let text = json!("a".repeat(100_000));
    assert!(runs(10).validate(&text).is_ok());
    assert_eq!(runs(1_000).validate(&text).unwrap_err()[0].rule, "too-complex");
    let lengths = compile(
        &json!({ "allOf": (0..3_000).map(|_| json!({ "maxLength": 9_999_999 })).collect::<Vec<_>>() }),
    );
    assert_eq!(lengths.validate(&json!("a".repeat(1_000_000))).unwrap_err()[0].rule, "too-complex");
    let names = compile(
        &json!({ "propertyNames": { "allOf": (0..1_000).map(|_| json!({ "$ref": "#/$defs/p" })).collect::<Vec<_>>() },
        "$defs": { "p": { "pattern": "^[a-z]+$" } } }),
    );
    assert_eq!(names.validate(&json!({ "a".repeat(100_000): 1 })).unwrap_err()[0].rule, "too-complex");
    assert!(names.validate(&json!({ "a": 1 })).is_ok() && names.validate(&json!({ "A": 1 })).is_err());
}

#[test]
fn the_stack_is_bounded_whatever_refers_to_whatever() {
    // Each level of the value goes through sixty references: the stack would be the product of both.
    let mut chain = definitions(61, &|_, next| to(next));
    chain.insert("d60".to_owned(), json!({ "properties": { "a": { "$ref": "#/$defs/d0" } } }));
    let schema = compile(&json!({ "$ref": "#/$defs/d0", "$defs": chain }));
    let deep = |levels: usize| (0..levels).fold(json!({}), |value, _| json!({ "a": value }));
    assert!(schema.validate(&deep(3)).is_ok());
    assert_eq!(schema.validate(&deep(100)).unwrap_err()[0].rule, "too-complex");

    // Without a ring too; and a pair that was counted once on a short way is as deep on a long one.
    let mut ladder = definitions(
        60,
        &|_, next| json!({ "properties": { "a": { "allOf": [{ "allOf": [{ "allOf": [to(next)] }] }] } } }),
    );
    ladder.insert("d59".to_owned(), json!({ "type": "object" }));
    let schema = compile(&json!({ "$ref": "#/$defs/d0", "$defs": ladder }));
    assert!(schema.validate(&deep(10)).is_ok());
    assert_eq!(schema.validate(&deep(100)).unwrap_err()[0].rule, "too-complex");
}

#[test]
fn faults_cannot_fill_the_memory() {
    let schema = compile(&json!({ "additionalProperties": { "items": { "type": "string" } } }));
    let list: Vec<u32> = (0..100_000).collect();
    // Each fault would hold the name above it.
    let value = json!({ "x".repeat(1_000_000): list });
    let size = Size::of(&value);
    assert!(size.pointer_bytes > 1_000_000 && size.nodes > 100_000);
    let faults = schema.validate(&value).unwrap_err();
    assert_eq!((faults.len(), faults[0].rule.as_str()), (1, "type"));
    let few = schema.validate(&json!({ "x": [1, 2] })).unwrap_err();
    assert_eq!(few.len(), 2);

    let choice = compile(&json!({ "items": { "anyOf": [{ "type": "string" }, { "type": "null" }] } }));
    let faults = choice.validate(&json!((0..200_000).collect::<Vec<u32>>())).unwrap_err();
    assert_eq!((faults.len(), faults[0].rule.as_str()), (1, "schema"));
    assert_eq!(choice.validate(&json!([1])).unwrap_err()[0].rule, "anyOf");
}

#[test]
fn defaults_that_grow_with_the_value_are_refused_and_sensible_ones_nest() {
    let big: Vec<u32> = (0..2_000).collect();
    let schema = compile(&json!({ "items": { "properties": { "a": { "default": big } } } }));
    assert!(schema.defaults(&json!([{}, {}])).is_ok());
    let many = vec![json!({}); 10_000];
    assert_eq!(schema.defaults(&json!(many)).unwrap_err().rule, "too-complex");

    let nested = compile(&json!({ "properties": { "server": {
        "default": {}, "properties": { "port": { "default": 80 }, "tls": { "default": {}, "properties": { "on": { "default": true } } } } } } }));
    assert_eq!(
        nested.defaults(&json!({})).unwrap(),
        json!({ "server": { "port": 80, "tls": { "on": true } } })
    );
}

#[test]
fn only_members_that_a_pattern_matches_are_its_own() {
    let schema = compile(&json!({
        "properties": { "host": {} },
        "patternProperties": { "^key_": { "writeOnly": true }, "^sub_": { "properties": { "x": { "default": 1 } } } },
        "additionalProperties": { "properties": { "y": { "default": 2 } } },
    }));
    let value = json!({ "host": {}, "key_a": "s", "sub_a": {}, "other": {} });
    assert_eq!(schema.redact(&value), json!({ "host": {}, "key_a": "***", "sub_a": {}, "other": {} }));
    let filled = json!({ "host": {}, "key_a": "s", "sub_a": { "x": 1 }, "other": { "y": 2 } });
    assert_eq!(schema.defaults(&value).unwrap(), filled);
}

fn compile(schema: &Value) -> CompiledSchema {
    super::compile(schema)
}
