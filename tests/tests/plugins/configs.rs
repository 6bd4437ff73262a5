//! PKG-29, PKG-30: schemas that never end, and secrets that must not be seen again.

use crate::place::{Place, Wrongs, refusal};
use ringfence_testkit::{Listener, users};
use serde_json::{Value, json};
use std::time::Duration;

/// A second, and what a busy machine adds to a whole command.
const AT_ONCE: Duration = Duration::from_secs(4);

fn with_schema(place: &Place, number: usize, schema: &Value) -> String {
    let mut manifest = place.manifest(&format!("schema-{number}"));
    manifest["config_schema"] = schema.clone();
    place.package(&format!("s{number}"), &manifest, "good")
}

/// A schema that doubles itself at each level.
fn explosion() -> Value {
    let mut all = json!({"top": {"type": "object"}});
    for level in 0..40 {
        let below = if level == 0 { "#/$defs/top".to_owned() } else { format!("#/$defs/l{}", level - 1) };
        all[format!("l{level}")] = json!({"allOf": [{"$ref": below}, {"$ref": below}]});
    }
    json!({"type": "object", "$defs": all, "$ref": "#/$defs/l39"})
}

/// Schemas that lead outside, or in circles, each with the words of its refusal.
fn references(remote: &str, secret: &str) -> [(&'static str, &'static str, Value); 8] {
    let outside = "refers to another document";
    let circle = "refers to itself for the same value";
    [
        ("remote reference", outside, json!({"type": "object", "$ref": remote})),
        (
            "remote reference within",
            outside,
            json!({"type": "object", "properties": {"a": {"$ref": remote}}}),
        ),
        (
            "remote meta-schema",
            "only https://json-schema.org/draft/2020-12/schema is read",
            json!({"$schema": remote, "type": "object"}),
        ),
        (
            "remote id",
            "'other.json' refers to another document",
            json!({"$id": remote, "type": "object", "$ref": "other.json"}),
        ),
        ("file", outside, json!({"type": "object", "properties": {"a": {"$ref": secret}}})),
        (
            "loop",
            circle,
            json!({"type": "object", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        ),
        ("loop on itself", circle, json!({"type": "object", "$ref": "#"})),
        ("dynamic loop", circle, json!({"type": "object", "$dynamicAnchor": "x", "$dynamicRef": "#x"})),
    ]
}

fn with_pattern(pattern: &str) -> Value {
    json!({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}})
}

/// Schemas that would be much work, each with the words of its refusal.
fn laborious() -> [(&'static str, &'static str, Value); 4] {
    let deep = (0..200).fold(json!({}), |inner, _| json!({"type": "object", "properties": {"a": inner}}));
    [
        ("explosion", "too much work", explosion()),
        ("wide pattern", "larger than 262144 bytes", with_pattern("(x{1000}){1000}")),
        ("look-behind", "no look-around", with_pattern("(?<=a)b\\1")),
        ("deep", "nest deeper than 64", deep),
    ]
}

#[test]
fn pkg_29_a_schema_reaches_nothing_and_takes_no_time() {
    let Some(place) = Place::ordinary() else { return };
    let listener = Listener::tcp();
    let remote = format!("http://127.0.0.1:{}/schema.json", listener.port);
    let secret = format!("file://{}", place.world.path("data/secret/canary.txt").display());
    let mut wrongs = Wrongs::default();
    let cases = references(&remote, &secret).into_iter().chain(laborious());
    for (number, (label, word, schema)) in cases.enumerate() {
        let package = with_schema(&place, number, &schema);
        let run = place.run(&["install", &package, "--json"]);
        let error = refusal(&run, 1, "invalid_manifest");
        let message = error["message"].as_str().unwrap();
        wrongs.note(message.contains(word) && run.elapsed < AT_ONCE, format!("{label}: {run}"));
        wrongs.note(!run.out().contains(&place.world.canary), format!("{label}: leaks"));
    }
    wrongs.none();
    // A pattern that others need years for is matched in linear time.
    let package = with_schema(&place, 98, &with_pattern("^(a+)+$"));
    place.done(&["install", &package]);
    for (end, status) in [("", 0), ("!", 5)] {
        let config = json!({"a": format!("{}{end}", "a".repeat(50_000))}).to_string();
        let set = place.job(&["config", "set", "schema-98", "-", "--json"]).stdin(config.as_bytes()).run();
        set.expect_code(status);
        assert!(set.elapsed < AT_ONCE, "{set}");
    }
    assert_eq!(listener.heard(), 0, "a reference was fetched");
    // The twin: a schema with references of its own is accepted, and holds.
    let good = json!({"type": "object", "$defs": {"n": {"type": "integer", "maximum": 9}}, "properties": {"a": {"$ref": "#/$defs/n"}}});
    let package = with_schema(&place, 99, &good);
    place.done(&["install", &package]);
    place.done(&["config", "set", "schema-99", "a=9"]);
    place.refused(&["config", "set", "schema-99", "a=10"], 5, "schema_violation");
}

#[test]
fn pkg_30_a_secret_is_never_seen_again() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let secret = format!("s3cr3t{}", place.world.marker);
        let schema = json!({"type": "object", "properties": {
            "key": {"type": "string", "writeOnly": true, "minLength": 10},
            "public": {"type": "string"},
        }, "additionalProperties": false});
        place.active("hostile", &json!({"config_schema": schema}));
        let config = json!({"key": secret, "public": "seen"}).to_string();
        let set = place.job(&["config", "set", "hostile", "-", "--json"]).stdin(config.as_bytes()).run();
        set.expect_code(0);
        let mut runs = vec![set];
        // The control: the plugin itself gets it.
        let got =
            place.job(&["call", "hostile", "act", &json!({"how": "log_config"}).to_string(), "--json"]).run();
        assert!(got.out().contains("\"public\":\"seen\""), "{got}");
        for words in [
            &["config", "get", "hostile"][..],
            &["config", "get", "hostile", "--json"],
            &["show", "hostile"],
            &["show", "hostile", "--json"],
            &["list", "--json"],
            &["logs", "hostile", "-n", "100"],
            &["logs", "hostile", "--json"],
            &["why", "hostile", "--json"],
        ] {
            let run = place.run(words);
            run.expect_code(0);
            runs.push(run);
        }
        // What holds the configuration is there, and holds it without the secret.
        for words in [&["config", "get", "hostile", "--json"][..], &["logs", "hostile", "--json"]] {
            let said = place.json(&words[..words.len() - 1]).to_string();
            assert!(said.contains("public") && said.contains("seen"), "{words:?}: {said}");
        }
        let failing = ["call", "hostile", "act", &json!({"how": "error_config"}).to_string(), "--json"];
        let run = place.run(&failing);
        run.expect_code(5);
        assert!(run.out().contains("refused with") && run.out().contains("seen"), "{run}");
        runs.push(run);
        // Values that break the schema are not repeated in the error.
        for wrong in [
            json!({"key": "short5ecret"[..8]}),
            json!({"key": [secret]}),
            json!({"key": secret, "more": secret}),
        ] {
            let run = place.job(&["config", "set", "hostile", "-"]).stdin(wrong.to_string().as_bytes()).run();
            run.expect_code(5);
            runs.push(run);
        }
        let mut wrongs = Wrongs::default();
        for run in &runs {
            wrongs.note(
                !run.out().contains(&secret) && !run.err().contains(&secret),
                format!("as {who:?}:\n{run}"),
            );
        }
        let audit = place.sql("SELECT body, plugin FROM audit").to_string();
        wrongs.note(!audit.contains(&secret), format!("the audit trail as {who:?}"));
        let tables = place.sql("SELECT COUNT(*) FROM activity WHERE tool LIKE '%s3cr3t%'");
        wrongs.note(tables[0][0] == 0, "the history");
        let files: Vec<_> =
            place.files_with(&secret).into_iter().filter(|path| !path.ends_with("state.db")).collect();
        wrongs.note(
            files.iter().all(|path| path.to_string_lossy().contains("state.db-")),
            format!("{files:?}"),
        );
        wrongs.none();
        // The twin: what is no secret is shown.
        assert!(place.json(&["config", "get", "hostile"]).to_string().contains("seen"));
    }
}
