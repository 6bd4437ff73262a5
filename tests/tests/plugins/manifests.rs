//! PKG-10, PKG-11: manifests that hide something, and names that lead elsewhere.

use crate::place::{Place, Wrongs};
use serde_json::{Value, json};
use std::time::Duration;

/// The most that a refusal may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Installs this text as the manifest; gives the refusal, or nothing when it was accepted.
fn refused(place: &Place, number: usize, text: &str) -> Result<Value, String> {
    let package = place.package_with(&format!("m{number}"), text, &[("mode", "good")]);
    let run = place.run(&["install", &package, "--json"]);
    let error = crate::place::document(&run)["error"].clone();
    let stored = ringfence_testkit::post::names(&place.home("store"));
    if run.code != Some(1) || !stored.is_empty() || run.elapsed > AT_ONCE {
        return Err(format!("status {:?}, stored {stored:?}, {:?}: {error}", run.code, run.elapsed));
    }
    Ok(error)
}

#[test]
fn pkg_10_a_manifest_that_is_not_plain_is_refused_and_the_place_named() {
    let Some(place) = Place::ordinary() else { return };
    let good = place.manifest("hostile").to_string();
    let with = |more: &str| format!("{},{more}}}", good.strip_suffix('}').unwrap());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(&str, String, &str)> = vec![
        ("unknown field", with(r#""permisions": []"#), "permisions"),
        ("field in another case", with(r#""Permissions": []"#), "Permissions"),
        ("__proto__", with(r#""__proto__": {"name": "x"}"#), "__proto__"),
        ("duplicate name", with(r#""name": "other""#), "name"),
        ("duplicate inner key", with(r#""limits": {"memory_mb": 10, "memory_mb": 100000}"#), "memory_mb"),
        ("wrong type", with(r#""permissions": "all""#), "permissions"),
        ("number as text", with(r#""limits": {"memory_mb": "10"}"#), "memory_mb"),
        ("NaN", with(r#""limits": {"memory_mb": NaN}"#), "NaN is not a number"),
        ("infinite", with(r#""limits": {"memory_mb": 1e999}"#), "'1e999' is not a number"),
        ("negative", with(r#""limits": {"memory_mb": -1}"#), "memory_mb"),
        ("zero", with(r#""limits": {"call_timeout_s": 0}"#), "call_timeout_s"),
        ("a permission that is none", with(r#""permissions": ["file:everything"]"#), "file:everything"),
        ("a scope that is none", with(r#""permissions": ["file:read=relative/../x\n"]"#), "permission"),
        ("deep", with(&format!(r#""config_schema": {deep}"#)), "too-deep"),
        ("ten megabytes", with(&format!(r#""description": "{}""#, "x".repeat(10_000_000))), "too-large"),
        ("byte order mark", format!("\u{feff}{good}"), "a byte order mark"),
        ("trailing text", format!("{good} {good}"), "more after the end"),
        ("comment", format!("// a comment\n{good}"), "JSON has no comments"),
        ("empty", String::new(), "the end of the file"),
        ("array", format!("[{good}]"), "a list, not an object"),
        ("cut off", good[..good.len() - 5].to_owned(), "this text has no end"),
        ("NUL", good.replace("hostile", "hos\u{0}tile"), "a NUL at byte 12"),
        ("escape in the author", with(r#""author": "\u001b[2Jme""#), "U+001B"),
        ("line end in the author", with(r#""author": "me\npermissions: none""#), "author"),
        ("two tools of one name", good.replace(r#"{"name":"ok"}"#, r#"{"name":"act"}"#), "duplicate-tool"),
    ];
    let mut wrongs = Wrongs::default();
    for (number, (label, text, word)) in cases.iter().enumerate() {
        match refused(&place, number, text) {
            Ok(error) => wrongs.note(error.to_string().contains(word), format!("{label}: {error}")),
            Err(why) => wrongs.note(false, format!("{label}: {why}")),
        }
    }
    wrongs.none();
    assert_eq!(place.json(&["list"]), json!([]));
    let package = place.package_with("good", &good, &[("mode", "good")]);
    place.done(&["install", &package]);
}

#[test]
fn pkg_10_yaml_that_grows_and_two_manifests_are_refused() {
    let Some(place) = Place::ordinary() else { return };
    let bomb: String =
        (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "))).collect();
    let head =
        format!("name: hostile\nversion: 1.0.0\nruntime: native\nentry_point: {}\n", place.entry_point());
    let mut wrongs = Wrongs::default();
    for (number, (label, yaml, word)) in [
        (
            "alias bomb",
            format!("{head}config_schema:\n  a0: &a0 x\n{}", bomb.replace("\na", "\n  a")),
            "yaml-alias",
        ),
        ("alias bomb at the root", format!("a0: &a0 x\n{bomb}{head}"), "yaml-alias"),
        ("tag", format!("{head}description: !!python/object/apply:os.system ['id']\n"), "yaml-tag"),
        ("two documents", format!("{head}---\n{head}"), "a manifest is one document"),
        ("duplicate key", format!("{head}name: other\n"), "'name' is given twice"),
        ("merge key", format!("x: &x {{author: me}}\n{head}<<: *x\n"), "yaml-alias"),
    ]
    .into_iter()
    .enumerate()
    {
        let package = place.package_with(&format!("y{number}"), "{}", &[("plugin.yaml", &yaml)]);
        std::fs::remove_file(format!("{package}/plugin.json")).unwrap();
        let run = place.run(&["install", &package, "--json"]);
        wrongs.note(run.code == Some(1) && run.elapsed < AT_ONCE, format!("{label}: {run}"));
        let error = crate::place::document(&run)["error"].to_string();
        wrongs.note(error.contains(word), format!("{label}: {error}"));
    }
    let package =
        place.package_with("two", &place.manifest("hostile").to_string(), &[("plugin.yaml", &head)]);
    let run = place.run(&["install", &package, "--json"]);
    let error = crate::place::document(&run)["error"].to_string();
    wrongs.note(run.code == Some(1) && error.contains("two-manifests"), format!("two manifests: {error}"));
    wrongs.none();
    std::fs::remove_file(format!("{package}/plugin.json")).unwrap();
    place.done(&["install", &package]);
}

#[test]
fn pkg_11_names_and_versions_are_plain_words() {
    let Some(place) = Place::ordinary() else { return };
    let mut wrongs = Wrongs::default();
    let long = "n".repeat(300);
    let names = [
        "../hostile",
        "",
        &long,
        "Hostile",
        "h\u{430}ckstile",
        "-rf",
        "a--b",
        "a-",
        "a.b",
        "a/b",
        "a b",
        "a\u{0}b",
        "a\n",
        ".",
    ];
    let versions = ["../1.0.0", "", "1", "latest", "1.0.0 ", "1.0.0\n2", "01.0.0", "1.0.0/../../x"];
    let mut number = 0;
    for (field, values) in [("name", &names[..]), ("version", &versions[..])] {
        for value in values {
            let mut manifest = place.manifest("hostile");
            manifest[field] = (*value).into();
            number += 1;
            match refused(&place, number, &manifest.to_string()) {
                Ok(error) => {
                    wrongs.note(error.to_string().contains(field), format!("{field} {value:?}: {error}"))
                }
                Err(why) => wrongs.note(false, format!("{field} {value:?}: {why}")),
            }
        }
    }
    wrongs.none();
    // A name on the command line is a name too, and never a path.
    for name in ["../state.db", "/etc", "a\u{1b}[2J"] {
        let run = place.run(&["uninstall", name, "--json"]);
        assert!(matches!(run.code, Some(2 | 3)), "{run}");
    }
    let package = place.package("good", &place.manifest("a-1-b"), "good");
    place.done(&["install", &package]);
}
