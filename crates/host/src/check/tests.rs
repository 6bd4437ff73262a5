use std::os::unix::fs::PermissionsExt as _;

use ringfence_api::ErrorCode;
use serde_json::json;

use super::*;

/// A package with these files; a name that ends in `!` is executable.
fn package(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name.trim_end_matches('!'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        if name.ends_with('!') {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    directory
}

/// The findings without the directory's name.
fn said(package: &tempfile::TempDir) -> String {
    let place = format!("{}/", package.path().display());
    text(&check(package.path()).findings).replace(&place, "")
}

const GOOD: &str = "name: a\nversion: 1.0.0\ndescription: d\nlicense: MIT\nruntime: python\nentry_point: a.py\ntools:\n  - { name: t, description: d }\n";

#[test]
fn a_good_package_has_nothing_to_say() {
    let package = package(&[("plugin.yaml", GOOD), ("a.py", "")]);
    assert_eq!(said(&package), "");
    assert!(!check(package.path()).has_errors());
}

#[test]
fn what_is_probably_not_meant_is_a_warning_at_its_place() {
    let manifest = "name: a\nversion: 1.0.0\nruntime: python\nentry_point: a.py\npermissions:\n  - file:read\n  - file:write=/**\n  - network:request=*:443\n  - env:read=LANG\n  - env:read=LANG\n  - permission: file:write\n    scope: [/srv/x/**]\nlimits:\n  memory_mb: 2000\n  processes: 256\ntools:\n  - name: t\n";
    let package = package(&[("plugin.yaml", manifest), ("a.py", "")]);
    std::os::unix::fs::symlink("/etc", package.path().join("out")).unwrap();
    std::os::unix::fs::symlink("nothing", package.path().join("broken")).unwrap();
    std::os::unix::fs::symlink("a.py", package.path().join("inside")).unwrap();
    let checked = check(package.path());
    assert!(!checked.has_errors());
    // What is served changes from version to version.
    let said = said(&package);
    let lasting: Vec<&str> = said.lines().filter(|line| !line.contains(" not-served ")).collect();
    insta::assert_snapshot!("warnings", lasting.join("\n"));
}

#[test]
fn a_secret_that_is_marked_in_another_dialects_way_is_a_warning() {
    let with = |mark: &str| {
        let schema =
            format!("config_schema: {{type: object, properties: {{key: {{type: string, {mark}}}}}}}\n");
        let manifest = format!("{GOOD}{schema}");
        said(&package(&[("plugin.yaml", &manifest), ("a.py", "")]))
    };
    assert!(with("secret: true").contains(" not-secret warning: 'secret' means nothing in a JSON Schema"));
    for mark in ["writeOnly: true", "secret: false", "writeOnly: true, secret: true"] {
        assert!(!with(mark).contains("not-secret"), "{mark}");
    }
}

#[test]
fn a_permission_that_opens_nothing_yet_is_a_note_and_one_that_opens_something_is_none() {
    let manifest = GOOD.replace("tools:", "permissions: ['network:listen=*:8080', 'env:read=LANG']\ntools:");
    let text = said(&package(&[("plugin.yaml", &manifest), ("a.py", "")]));
    assert!(text.contains("not-served note: 'network:listen' opens nothing in this version"), "{text}");
    assert!(!text.contains("'env:read' opens nothing"), "{text}");
}

#[test]
fn nothing_to_call_is_a_warning_and_a_missing_entry_point_an_error() {
    let package =
        package(&[("plugin.yaml", "name: a\nversion: 1.0.0\nruntime: python\nentry_point: a.py\n")]);
    let text = said(&package);
    assert!(text.contains("plugin.yaml:1:1 no-tools warning: "), "{text}");
    assert!(text.contains("plugin.yaml:4:14 entry-point 'a.py' does not exist in the package\n"), "{text}");
    assert!(check(package.path()).has_errors());
}

#[test]
fn a_program_that_is_not_built_yet_is_a_warning_where_something_builds_it() {
    let manifest = GOOD.replace("runtime: python", "runtime: native").replace("a.py", "target/release/a");
    let plain = package(&[("plugin.yaml", &manifest)]);
    assert!(check(plain.path()).has_errors());
    let built = package(&[("plugin.yaml", &manifest), ("Cargo.toml", "")]);
    assert!(!check(built.path()).has_errors());
    assert!(
        said(&built).contains("not-built warning: 'target/release/a' does not exist yet"),
        "{}",
        said(&built)
    );
    // What is there and is no program stays an error.
    let wrong = package(&[("plugin.yaml", &manifest), ("Cargo.toml", ""), ("target/release/a", "x")]);
    assert!(check(wrong.path()).has_errors());
}

#[test]
fn runtimes_of_later_versions_are_warnings() {
    for (runtime, entry) in [("wasm", "a.py"), ("mcp", "a.py"), ("container", "registry.example/a:1")] {
        let manifest = GOOD.replace("runtime: python", &format!("runtime: {runtime}")).replace("a.py", entry);
        let package = package(&[("plugin.yaml", &manifest), ("a.py", "")]);
        assert!(!check(package.path()).has_errors(), "{}", said(&package));
        assert!(said(&package).contains("5:10 not-supported warning: runtime"), "{}", said(&package));
    }
}

#[test]
fn errors_of_the_manifest_and_findings_about_files_come_together() {
    let package = package(&[("plugin.yaml", "nmae: a\n")]);
    std::os::unix::fs::symlink("/etc", package.path().join("out")).unwrap();
    let text = said(&package);
    assert!(text.contains("unknown-field") && text.contains("outward-link warning: "), "{text}");
}

#[test]
fn the_notes_of_a_dialect_are_notes() {
    let package = package(&[
        ("plugin.json", "{\"name\": \"a\", \"version\": \"1.0.0\", \"main\": \"a.js\"}"),
        ("a.js", ""),
    ]);
    let text = said(&package);
    assert!(text.contains("plugin.json:1:43 dialect note: main 'a.js' became runtime: node"), "{text}");
}

#[test]
fn json_and_sarif_say_the_same() {
    let package = package(&[("plugin.yaml", "nmae: a\n")]);
    let findings = check(package.path()).findings;
    let array = json(&findings);
    assert_eq!(array.as_array().unwrap().len(), findings.len());
    assert_eq!(array[0]["rule"], "unknown-field");
    assert_eq!(
        (&array[0]["severity"], &array[0]["line"], &array[0]["column"]),
        (&json!("error"), &json!(1), &json!(1))
    );
    let log = sarif(&findings);
    let run = &log["runs"][0];
    assert_eq!(run["results"].as_array().unwrap().len(), findings.len());
    assert_eq!(run["results"][0]["level"], "error");
    let region = &run["results"][0]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(region, &json!({ "startLine": 1, "startColumn": 1 }));
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule["id"] == "missing-field"));
    let uri =
        run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("file:///") && uri.ends_with("/plugin.yaml"), "{uri}");
}

fn described() -> Described {
    let schema = json!({
        "type": "object",
        "properties": {
            "no": { "type": "string", "enum": ["yes", "1", ""] },
            "a b": { "type": "array", "items": { "anyOf": [{ "type": "integer" }, { "type": "null" }] } },
        },
    });
    serde_json::from_value(json!({
        "tools": [
            { "name": "greet", "description": "Says \"hello\": a # sign\nand a line", "input_schema": schema },
            { "name": "true", "output_schema": null },
        ],
        "hooks": [{ "event": "onRequest", "kind": "guard", "priority": 5, "on_failure": "block" }],
    }))
    .unwrap()
}

/// What the file is after writing.
fn written(name: &str, text: &str) -> String {
    let package = package(&[(name, text)]);
    let before = manifest::load(package.path()).unwrap().manifest;
    let done = write(package.path(), &described())
        .unwrap_or_else(|error| panic!("{} {:?}", error.chain(), error.hint()));
    assert_ne!(done, Written::Nothing);
    let after = manifest::load(package.path()).unwrap().manifest;
    assert!(described().tools.iter().all(|tool| after.tools.contains(tool)));
    assert_eq!(after.hooks.last(), described().hooks.last());
    let rest = |manifest: ringfence_api::Manifest| ringfence_api::Manifest {
        tools: vec![],
        hooks: vec![],
        ..manifest
    };
    assert_eq!(rest(after), rest(before));
    // Once more changes nothing.
    let once = std::fs::read_to_string(package.path().join(name)).unwrap();
    assert_eq!(write(package.path(), &described()).unwrap(), Written::Nothing);
    assert_eq!(std::fs::read_dir(package.path()).unwrap().count(), 1);
    once
}

#[test]
fn what_the_code_declares_is_written_and_the_rest_stays() {
    let yaml = "# My plugin\nname: a # the name\nversion: 1.0.0\nruntime: python\n\n# --- tools ---\ntools:\n  - name: old # kept? no: rewritten\n    description: |\n      # not a comment\n      text\n\n# where it starts\nentry_point: a.py\n";
    insta::assert_snapshot!("written_yaml", written("plugin.yaml", yaml));
    let json = "{\n    \"name\": \"a\",\n    \"tools\": [],\n    \"version\": \"1.0.0\",\n    \"runtime\": \"python\",\n    \"entry_point\": \"a.py\"\n}\n";
    insta::assert_snapshot!("written_json", written("plugin.json", json));
    let head = "# My plugin\nname = \"a\"\nversion = \"1.0.0\"\nruntime = \"python\"\nentry_point = \"a.py\" # start\n";
    let toml = format!("{head}\n[[tools]]\nname = \"old\"\n\n# limits\n[limits]\nmemory_mb = 10\n");
    insta::assert_snapshot!("written_toml", written("plugin.toml", &toml));
    let inline =
        format!("tools = [\n  {{ name = \"old\" }},\n]\n{head}hooks = []\n[limits]\nmemory_mb = 10\n");
    insta::assert_snapshot!("written_toml_inline", written("plugin.toml", &inline));
    let none = format!("{head}[limits]\nmemory_mb = 10");
    insta::assert_snapshot!("written_toml_new", written("plugin.toml", &none));
    // The smallest ones, and ones with an end mark.
    written("plugin.yaml", "name: a\nversion: 1.0.0\nruntime: python\nentry_point: a.py");
    written(
        "plugin.yaml",
        "tools: []\nname: a\nversion: 1.0.0\nruntime: python\nentry_point: a.py\nhooks: []\n",
    );
}

#[test]
fn what_cannot_be_written_safely_is_refused_with_what_to_add() {
    let refuse = |name: &str, text: &str| {
        let package = package(&[(name, text)]);
        let error = write(package.path(), &described()).unwrap_err();
        assert_eq!(std::fs::read_to_string(package.path().join(name)).unwrap(), text);
        error
    };
    let flow =
        refuse("plugin.yaml", "{name: a, version: 1.0.0, runtime: python, entry_point: a.py, tools: []}\n");
    assert_eq!(flow.code(), ErrorCode::NotSupported);
    assert!(flow.hint().unwrap().contains("tools:\n  - name: greet\n"), "{:?}", flow.hint());
    let dialect = refuse("plugin.json", "{\"name\": \"a\", \"version\": \"1.0.0\", \"main\": \"a.js\"}");
    assert!(dialect.message().contains("own form"), "{dialect}");

    let package = package(&[("plugin.yaml", GOOD)]);
    let bad: Described = serde_json::from_value(json!({ "tools": [{ "name": "a/b" }] })).unwrap();
    let error = write(package.path(), &bad).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    let failed = Described { error: Some("ImportError: x\u{1b}[2J".to_owned()), ..Described::default() };
    let error = write(package.path(), &failed).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PluginFailed);
    assert!(!error.message().contains('\u{1b}'));
    assert_eq!(std::fs::read_to_string(package.path().join("plugin.yaml")).unwrap(), GOOD);
}

#[test]
fn what_only_the_manifest_says_stays() {
    let package = package(&[("plugin.yaml", GOOD)]);
    let described: Described =
        serde_json::from_value(json!({ "tools": [{ "name": "t", "input_schema": { "type": "object" } }] }))
            .unwrap();
    assert!(matches!(write(package.path(), &described).unwrap(), Written::Changed { .. }));
    let tool = manifest::load(package.path()).unwrap().manifest.tools.remove(0);
    assert_eq!(
        (tool.description.as_deref(), tool.input_schema),
        (Some("d"), Some(json!({ "type": "object" })))
    );
}
