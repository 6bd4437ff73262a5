use super::*;

/// What is wrong with a text, one finding a line.
fn wrong(text: &str, file: &str) -> String {
    match parse(text, file.as_ref()) {
        Ok(loaded) => panic!("{:?}", loaded.manifest),
        Err(findings) => findings.to_string(),
    }
}

const HEAD: &str = "name: a\nversion: 1.0.0\nruntime: native\nentry_point: run\n";

fn yaml(more: &str) -> Result<Loaded, Findings> {
    parse(&format!("{HEAD}{more}"), "plugin.yaml".as_ref())
}

/// The findings of a manifest whose head is right, without the file's name.
fn rest(more: &str) -> String {
    yaml(more).unwrap_err().to_string().replace("plugin.yaml:", "")
}

const WHOLE_YAML: &str = r#"
name: translator
version: 1.2.0
description: Translates chat messages.
author: Example Labs
license: MIT
runtime: python
entry_point: translator.main:Translator
enabled_by_default: true
permissions:
  - file:read=/srv/notes/**
  - permission: network:request
    scope: ["api.example.com:443"]
    reason: to fetch translations
    optional: true
hooks:
  - { event: onRequest, kind: mutator, timeout_ms: 200, on_failure: skip }
tools:
  - name: translate
    description: |
      Translates
      one text.
    input_schema: { type: object, properties: { text: { type: string } } }
config_schema: { type: object, properties: { target: { type: string, enum: [de, fr], default: de } } }
limits: { memory_mb: 500, on_memory: warn, cpu_percent: 80, file_size_mb: 100, processes: 256, init_timeout_s: 30, call_timeout_s: 300, output_mb: 5 }
"#;

#[test]
fn the_three_formats_say_the_same() {
    let from_yaml = parse(WHOLE_YAML, "plugin.yaml".as_ref()).unwrap().manifest;
    let json = serde_json::to_string_pretty(&from_yaml).unwrap();
    let from_json = parse(&json, "plugin.json".as_ref()).unwrap().manifest;
    assert_eq!(from_json, from_yaml);
    let toml = r#"
name = "translator"
version = "1.2.0"
description = "Translates chat messages."
author = "Example Labs"
license = "MIT"
runtime = "python"
entry_point = "translator.main:Translator"
enabled_by_default = true
permissions = [
  "file:read=/srv/notes/**",
  { permission = "network:request", scope = ["api.example.com:443"], reason = "to fetch translations", optional = true },
]
[[hooks]]
event = "onRequest"
kind = "mutator"
timeout_ms = 200
on_failure = "skip"
[[tools]]
name = "translate"
description = "Translates\none text.\n"
input_schema = { type = "object", properties = { text = { type = "string" } } }
[config_schema]
type = "object"
[config_schema.properties.target]
type = "string"
enum = ["de", "fr"]
default = "de"
[limits]
memory_mb = 500
on_memory = "warn"
cpu_percent = 80
file_size_mb = 100
processes = 256
init_timeout_s = 30
call_timeout_s = 300
output_mb = 5
"#;
    assert_eq!(parse(toml, "plugin.toml".as_ref()).unwrap().manifest, from_yaml);
    assert_eq!(from_yaml.hooks[0].priority, 50);
    assert_eq!(from_yaml.requested().unwrap().len(), 3);
}

#[test]
fn a_manifest_of_the_four_required_fields_is_enough() {
    let manifest = yaml("").unwrap().manifest;
    assert_eq!(manifest.permissions, []);
    assert!(!manifest.enabled_by_default);
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = "nmae: a\nversion: 1.2\nruntime: pyhton\nentry_point: [x]\ntools:\n  - {}\n  - name: a b\nlimits:\n  memory_mb: 0\n";
    assert_eq!(
        wrong(text, "plugin.yaml"),
        "plugin.yaml:1:1 unknown-field unknown field 'nmae'; did you mean 'name'?\n\
         plugin.yaml:1:1 missing-field 'name' is missing; such as 'translator'\n\
         plugin.yaml:2:10 wrong-type version is a number, not a text; put it in quotes\n\
         plugin.yaml:3:10 unknown-word runtime 'pyhton' is not known; did you mean 'python'?\n\
         plugin.yaml:4:14 wrong-type entry_point is a list, not a text\n\
         plugin.yaml:6:5 missing-field 'name' is missing; such as 'translate'\n\
         plugin.yaml:7:11 tool-name tool 'a b': a name is 1 to 128 of A-Z a-z 0-9 _ . -\n\
         plugin.yaml:9:14 limit memory_mb is 0; it can be 1 to 1000000"
    );
}

const BROKEN_JSON: &str = r#"{
  "name": "../etc",
  "version": "1",
  "runtime": "python",
  "entry_point": "../../bin/sh",
  "entrypoint": "main.py",
  "name": "again",
  "permissions": ["file:raed", "network:request=127.1:80", {"permission": "file:read", "scope": [], "resaon": "x"}, 7],
  "hooks": [{"event": "on request", "kind": "mutater", "timeout_ms": 0}, {"event": "onX", "kind": "guard"}, {"event": "onX", "kind": "guard"}],
  "tools": [{"name": "t", "input_schema": {"type": "strng"}}, {"name": "t", "output_schema": {"$ref": "http://x.example/s"}}],
  "config_schema": {"type": "string"},
  "limits": {"memory_mb": 0, "cpu_percent": 1.5, "processes": -1, "call_timeout_s": 1e9, "disk_mb": 3},
  "integrity": "md5-abc",
  "wire": "grpc",
  "author": "A\u202eB",
  "description": ["no"]
}"#;

#[test]
fn a_broken_manifest_in_json_yaml_and_toml() {
    insta::assert_snapshot!("broken_json", wrong(BROKEN_JSON, "plugin.json"));
    let yaml = "name: Übersetzer\nversion: [1, 2]\nruntime: Python\nentry_point: a b.py\npermissions: file:read\nhooks:\n  onRequest: true\n  x: 1\ntools: [{name: ok, descripton: x}]\nlimits:\n  memory_mb: 500MB\n  on_memory: stop\nskills: [1]\nenabled_by_default: yes\n";
    insta::assert_snapshot!("broken_yaml", wrong(yaml, "plugin.yaml"));
    let toml = "name = \"a\"\nversion = 2020-01-01\nruntime = \"node\"\nentry_point = \"main.ts\"\n[limits]\nmemory_mb = nan\nprocesses = \"many\"\n[[permissions]]\npermission = \"file:read=/a\"\nscope = [\"/b\"]\noptional = \"no\"\n";
    insta::assert_snapshot!("broken_toml", wrong(toml, "plugin.toml"));
}

#[test]
fn what_is_no_json_yaml_or_toml_says_where() {
    let mut all = String::new();
    for (text, file) in [
        ("", "plugin.json"),
        ("{", "plugin.json"),
        ("{'name': 1}", "plugin.json"),
        ("{\"a\": 1,}", "plugin.json"),
        ("{\"a\": [1,]}", "plugin.json"),
        ("{\"a\": NaN}", "plugin.json"),
        ("{\"a\": 01}", "plugin.json"),
        ("{\"a\": 1e999}", "plugin.json"),
        ("{\"a\": \"\\ud800\"}", "plugin.json"),
        ("{\"a\": \"x\ny\"}", "plugin.json"),
        ("{\"a\": \"\\x\"}", "plugin.json"),
        ("{} // x", "plugin.json"),
        ("[]", "plugin.json"),
        ("\u{feff}{}", "plugin.json"),
        ("{\"a\": \"\0\"}", "plugin.json"),
        ("", "plugin.yaml"),
        ("a: &x 1\nb: *x\n", "plugin.yaml"),
        ("a: *x\n", "plugin.yaml"),
        ("a: !!str 1\n", "plugin.yaml"),
        ("<<: {a: 1}\n", "plugin.yaml"),
        ("a: 1\na: 2\n", "plugin.yaml"),
        ("a: .nan\n", "plugin.yaml"),
        ("a: 1\n---\nb: 2\n", "plugin.yaml"),
        ("a: [1\n", "plugin.yaml"),
        ("a:\n\t- b\n", "plugin.yaml"),
        ("? [a]\n: b\n", "plugin.yaml"),
        ("a = \n", "plugin.toml"),
        ("a = 1\na = 2\n", "plugin.toml"),
        ("a = 99999999999999999999\n", "plugin.toml"),
    ] {
        let other = |line: &&str| line.contains("missing-field") || line.contains("unknown-field");
        let said: Vec<String> =
            wrong(text, file).lines().filter(|line| !other(line)).map(str::to_owned).collect();
        all.push_str(&format!("{text:?}\n  {}\n", said.join("\n  ")));
    }
    insta::assert_snapshot!("syntax", all);
}

#[test]
fn hostile_sizes_are_refused_at_once() {
    let started = std::time::Instant::now();
    for open in ["[", "{\"a\":"] {
        assert!(wrong(&open.repeat(100_000), "plugin.json").contains("too-deep"));
    }
    assert!(wrong(&format!("{{\"a\": [{}0]}}", "0,".repeat(400_000)), "plugin.json").contains("too-large"));
    for text in ["[".repeat(500_000), "- ".repeat(250_000), "{a: ".repeat(200_000), "? ".repeat(200_000)] {
        let said = wrong(&text, "plugin.yaml");
        assert!(said.contains("too-deep") || said.contains("syntax"), "{said}");
    }
    assert!(wrong(&format!("a = {}", "[".repeat(100_000)), "plugin.toml").contains("plugin.toml:1:"));
    let number = wrong(&format!("a = {}", "9".repeat(100_000)), "plugin.toml");
    assert!(number.contains("too large") && number.len() < 1_000, "{} bytes", number.len());
    let many: String = (0..60_000).map(|n| format!("k{n}: 1\n")).collect();
    let said = wrong(&many, "plugin.yaml");
    assert!(said.contains("too-large"), "{said}");
    let unknown: String = (0..5_000).map(|n| format!("k{n}: 1\n")).collect();
    let said = wrong(&unknown, "plugin.yaml");
    assert!(said.lines().count() == FINDINGS_MAX + 1 && said.contains("more"), "{}", said.lines().count());
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn words_that_yaml_made_famous_are_texts() {
    assert_eq!(yaml("description: no\nauthor: on\n").unwrap().manifest.description.as_deref(), Some("no"));
    assert!(rest("description: 1.20\n").contains("put it in quotes"));
    assert_eq!(yaml("description: '1.20'\n").unwrap().manifest.description.as_deref(), Some("1.20"));
}

#[test]
fn bounds_hold_on_both_sides() {
    let limit = |text: &str| yaml(&format!("limits: {{ {text} }}\n")).is_ok();
    assert!(limit("memory_mb: 1") && limit("memory_mb: 1000000") && !limit("memory_mb: 1000001"));
    assert!(limit("call_timeout_s: 86400") && !limit("call_timeout_s: 86401") && !limit("call_timeout_s: 0"));
    assert!(limit("memory_mb: 500.0") && !limit("memory_mb: 0.5"));
    let tool = |name: &str| yaml(&format!("tools: [{{ name: '{name}' }}]\n")).is_ok();
    assert!(
        tool(&"a".repeat(128)) && !tool(&"a".repeat(129)) && tool("a.b_c-D9") && !tool("a/b") && !tool("")
    );
    let described = |bytes: usize| yaml(&format!("description: {}\n", "x".repeat(bytes))).is_ok();
    assert!(described(8_192) && !described(8_193));
}

#[test]
fn scopes_are_judged_by_their_kind() {
    let scope = |text: &str| yaml(&format!("permissions: ['{text}']\n")).is_ok();
    assert!(scope("file:read=/srv/**") && scope("file:read=data/*.txt") && scope("file:read=${data}/x"));
    assert!(scope("network:request=*.example.com:443") && !scope("network:request=127.1:80"));
    assert!(!scope("network:request=a*b.com:80") && !scope("file:read=") && !scope("file:read=/a/***"));
    assert!(scope("x-crm:export=all") && !scope("x-CRM:export"));
    // What the floor says depends on the machine; it is judged when it is granted.
    assert!(scope("file:write=~/**"));
}

#[test]
fn two_manifests_none_and_links_are_refused() {
    let package = tempfile::tempdir().unwrap();
    let at = |name: &str| package.path().join(name);
    let said = |path: &Path| load(path).unwrap_err().to_string();
    assert!(said(package.path()).contains("no-manifest"));
    std::fs::write(at("plugin.yaml"), HEAD).unwrap();
    assert_eq!(load(package.path()).unwrap().file, at("plugin.yaml"));
    std::fs::write(at("plugin.toml"), "").unwrap();
    assert!(said(package.path()).contains("more than one manifest: plugin.yaml, plugin.toml; keep one"));
    std::fs::remove_file(at("plugin.toml")).unwrap();
    std::fs::rename(at("plugin.yaml"), at("real.yaml")).unwrap();
    std::os::unix::fs::symlink("real.yaml", at("plugin.yaml")).unwrap();
    assert!(said(package.path()).contains("is not a regular file"));
    std::fs::remove_file(at("plugin.yaml")).unwrap();
    std::fs::write(at("plugin.yaml"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(said(package.path()).contains("too-large"));
    std::fs::write(at("plugin.yaml"), b"name: \xff").unwrap();
    assert!(said(package.path()).contains("not UTF-8 at byte 6"));
}

/// A dialect's manifest: what it became, and the notes.
fn converted(text: &str, file: &str) -> String {
    let loaded = parse(text, file.as_ref()).unwrap_or_else(|findings| panic!("{findings}"));
    let notes: String = loaded.notes.iter().map(|note| format!("{note}\n")).collect();
    format!("{:?}\n{}\n{notes}", loaded.dialect, serde_json::to_string_pretty(&loaded.manifest).unwrap())
}

#[test]
fn the_dialect_with_main_is_converted() {
    let text = r#"{
  "name": "prompt_guard",
  "version": "1.2",
  "description": "Guards prompts.",
  "author": {"name": "Ada", "email": "ada@example.com"},
  "license": "MIT",
  "homepage": "https://example.com",
  "main": "./index.mjs",
  "requires": {"permissions": ["network", "file-read", "file-write", "env", "exec"]},
  "hooks": {"onRequest": true, "onResponse": {"priority": 10}, "onError": true, "onActivate": false},
  "configSchema": {
    "apiKey": {"type": "string", "secret": true, "required": true, "min": 8},
    "retries": {"type": "number", "default": 3, "min": 0, "max": 10, "label": "Retries"},
    "verbose": {"type": "boolean", "default": false},
    "mode": {"type": "select", "enum": ["soft", "hard"], "default": "soft"}
  },
  "skills": ["translate", {"name": "summarise"}],
  "enabledByDefault": true,
  "integrity": "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
}"#;
    insta::assert_snapshot!("dialect_main", converted(text, "plugin.json"));
}

#[test]
fn the_dialect_with_type_is_converted() {
    let text = "name: csv_reader\nversion: 1.0.0\ntype: processor\nentry_point: csv_reader.py:CsvReader\npermissions: [file:read, network:request=api.example.com:443, net]\ntimeout_seconds: 2.5\nenabled: true\n";
    insta::assert_snapshot!("dialect_type", converted(text, "plugin.yaml"));
    // Recognised by `type` without `runtime` alone.
    let loaded =
        parse("name: a\nversion: 1.0.0\ntype: x\nentry_point: m:C\n", "plugin.yaml".as_ref()).unwrap();
    assert_eq!(loaded.dialect, Dialect::Type);
}

#[test]
fn a_class_behind_a_dot_is_a_class_and_a_module_behind_a_dot_is_a_module() {
    let entry = |entry: &str| {
        let text = format!("name: a\nversion: 1.0.0\ntype: x\nentry_point: {entry}\n");
        parse(&text, "plugin.yaml".as_ref()).unwrap().manifest.entry_point
    };
    assert_eq!(entry("words.Shout"), "words:Shout");
    assert_eq!(entry("app.words.Shout"), "app.words:Shout");
    assert_eq!(entry("app.words"), "app.words");
    assert_eq!(entry("words:Shout"), "words:Shout");
}

#[test]
fn the_dialect_with_capabilities_is_converted() {
    let text = r#"{"id": "weather", "name": "Weather report", "capabilities": ["network", "forecast", {"name": "now", "description": "The weather now"}], "entry_point": "./weather.py"}"#;
    insta::assert_snapshot!("dialect_capabilities", converted(text, "plugin.json"));
    assert_eq!(parse(text, "plugin.json".as_ref()).unwrap().manifest.wire, ringfence_api::Wire::Legacy);
}

#[test]
fn what_a_dialect_cannot_map_is_an_error_that_says_so() {
    let mut all = String::new();
    for (text, file) in [
        (r#"{"name": "a", "main": "index.ts"}"#, "plugin.json"),
        (r#"{"name": "a", "main": "../x.js"}"#, "plugin.json"),
        (
            r#"{"name": "a", "main": "x.js", "requires": {"host": ">=3", "permissions": ["telepathy"]}}"#,
            "plugin.json",
        ),
        (
            r#"{"name": "a", "main": "x.js", "configSchema": {"x": {"type": "file"}, "y": {"type": "select"}}}"#,
            "plugin.json",
        ),
        (
            r#"{"name": "a", "main": "x.js", "configSchema": {"x": {"type": "number", "default": "3"}}}"#,
            "plugin.json",
        ),
        (r#"{"name": "a", "main": "x.js", "hooks": {"onRequest": "yes"}, "colour": 1}"#, "plugin.json"),
        (r#"{"name": "a", "main": "x.js", "runtime": "node"}"#, "plugin.json"),
        (r#"{"id": "a", "main": "x.js"}"#, "plugin.json"),
        ("name: a\ntype: t\nentry_point: m:C\nenabled: true\nlimits: {}\n", "plugin.yaml"),
        ("name: a\ntype: t\nentry_point: m:C\ntimeout_seconds: 0\nconfig: {}\n", "plugin.yaml"),
        (r#"{"id": "é", "capabilities": ["a b"], "entry_point": "x.wasm"}"#, "plugin.json"),
    ] {
        all.push_str(&format!("{text}\n{}\n\n", wrong(text, file)));
    }
    insta::assert_snapshot!("dialect_errors", all);
}

/// The entry point of a package with these files, or why there is none.
fn entry_of(runtime: &str, text: &str, prepare: impl Fn(&Path)) -> Result<EntryPoint, String> {
    let package = tempfile::tempdir().unwrap();
    let inside = package.path().join("package");
    std::fs::create_dir(&inside).unwrap();
    prepare(&inside);
    let manifest = serde_json::json!({
        "name": "a", "version": "1.0.0", "runtime": runtime, "entry_point": text,
    });
    let manifest = serde_json::from_value(manifest).unwrap();
    entry_point(&inside, &manifest).map_err(|finding| format!("{} {}", finding.rule, finding.message))
}

fn put(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn python_and_node_entry_points_are_found() {
    let prepare = |package: &Path| {
        put(&package.join("main.py"), "", 0o644);
        put(&package.join("translator/main.py"), "", 0o644);
        put(&package.join("both/__init__.py"), "", 0o644);
        put(&package.join("both.py"), "", 0o644);
        put(&package.join("index.cjs"), "", 0o644);
        std::os::unix::fs::symlink("main.py", package.join("link.py")).unwrap();
    };
    let file = |runtime: &str, text: &str| {
        entry_of(runtime, text, prepare).map(|entry| (entry.file.display().to_string(), entry.python))
    };
    let python = |module: &str, class: Option<&str>| {
        Some(PythonEntry { module: module.to_owned(), class: class.map(str::to_owned) })
    };
    assert_eq!(file("python", "main.py"), Ok(("main.py".to_owned(), None)));
    assert_eq!(file("python", "link.py"), Ok(("link.py".to_owned(), None)));
    assert_eq!(file("python", "./translator/main.py"), Ok(("translator/main.py".to_owned(), None)));
    assert_eq!(file("python", "main"), Ok(("main.py".to_owned(), python("main", None))));
    let nested = ("translator/main.py".to_owned(), python("translator.main", Some("T")));
    assert_eq!(file("python", "translator.main:T"), Ok(nested));
    assert_eq!(file("python", "both"), Ok(("both/__init__.py".to_owned(), python("both", None))));
    assert_eq!(file("node", "index.cjs"), Ok(("index.cjs".to_owned(), None)));
}

#[test]
fn native_entry_points_are_programs_or_scripts_of_the_system() {
    let prepare = |package: &Path| {
        put(&package.join("run"), "#!/bin/sh\n", 0o755);
        put(&package.join("env"), "#!/usr/bin/env sh\n", 0o755);
        put(&package.join("plain"), "#!/bin/sh\n", 0o644);
        put(&package.join("text"), "echo\n", 0o755);
        put(&package.join("own"), &format!("#!{}/text\n", package.display()), 0o755);
        put(&package.join("none"), "#!/no/such/thing\n", 0o755);
        std::fs::copy("/bin/true", package.join("elf")).unwrap();
    };
    let why = |text: &str| entry_of("native", text, prepare).unwrap_err();
    for good in ["run", "env", "elf", "./run"] {
        assert!(entry_of("native", good, prepare).is_ok(), "{good}");
    }
    assert_eq!(why("plain"), "entry-point 'plain' has no execute permission; `chmod +x plain` gives it");
    assert_eq!(
        why("text"),
        "entry-point 'text' is neither a program of this system nor a script with a '#!' line"
    );
    assert!(why("own").contains("an interpreter is one of the system's"), "{}", why("own"));
    assert!(
        why("none").contains("the interpreter of 'none' does not exist: /no/such/thing"),
        "{}",
        why("none")
    );
}

#[test]
fn entry_points_that_leave_the_package_or_are_no_files_are_refused() {
    let prepare = |package: &Path| {
        put(&package.join("../outside.py"), "", 0o644);
        put(&package.join("inside.py"), "", 0o644);
        std::fs::create_dir(package.join("dir.py")).unwrap();
        std::os::unix::fs::symlink("../outside.py", package.join("out.py")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", package.join("passwd.py")).unwrap();
        std::os::unix::fs::symlink("/dev/null", package.join("null.py")).unwrap();
        std::os::unix::fs::symlink("loop.py", package.join("loop.py")).unwrap();
        std::os::unix::fs::symlink("..", package.join("up")).unwrap();
    };
    let mut all = String::new();
    for text in [
        "inside.py",
        "../outside.py",
        "/etc/passwd",
        "/usr/lib/x.py",
        "out.py",
        "passwd.py",
        "null.py",
        "loop.py",
        "up/outside.py",
        "up.outside",
        "dir.py",
        "missing.py",
        "missing.module:C",
        "a;b.py",
        "$(x).py",
        "a b.py",
        "a`b`.py",
        "-x.py",
        "",
        ".",
        "a:b:c",
        "main:1x",
        "..",
        "a/../../b.py",
        "C:\\x.py",
        "a\nb.py",
    ] {
        let said = match entry_of("python", text, prepare) {
            Ok(entry) => format!("ok {}", entry.file.display()),
            Err(why) => why,
        };
        all.push_str(&format!("{text:?}\n  {said}\n"));
    }
    insta::assert_snapshot!("entry_points", all);
}

#[test]
fn integrity_is_the_digest_of_the_entry_file() {
    let package = tempfile::tempdir().unwrap();
    put(&package.path().join("main.py"), "", 0o644);
    let with = |integrity: &str| {
        let manifest = serde_json::json!({
            "name": "a", "version": "1.0.0", "runtime": "python", "entry_point": "main.py", "integrity": integrity,
        });
        entry_point(package.path(), &serde_json::from_value(manifest).unwrap())
    };
    // The digest of nothing.
    assert!(with("sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").is_ok());
    assert!(with("sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").is_ok());
    let wrong = with("sha256-57DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").unwrap_err();
    assert_eq!(wrong.rule, "integrity");
    assert!(wrong.message.contains("sha256-e3b0c44298fc1c14"), "{}", wrong.message);
}

#[test]
fn the_schema_for_editors_takes_what_is_read_and_refuses_slips() {
    let schema = crate::schema::CompiledSchema::compile(&ringfence_api::manifest_schema()).unwrap();
    let (tree, _) = tree_of(WHOLE_YAML, Format::Yaml).unwrap();
    assert_eq!(schema.validate(&tree.to_value()), Ok(()));
    let normal = serde_json::to_value(parse(WHOLE_YAML, "plugin.yaml".as_ref()).unwrap().manifest).unwrap();
    assert_eq!(schema.validate(&normal), Ok(()));
    let mut slip = normal.clone();
    slip["nmae"] = "x".into();
    assert!(schema.validate(&slip).is_err());
    let mut slip = normal;
    slip["runtime"] = "pyhton".into();
    assert!(schema.validate(&slip).is_err());
}

#[test]
fn the_examples_of_the_page_are_read_and_say_the_same() {
    let page = include_str!("../../../../docs/manifest.md");
    let example = |language: &str| {
        let start = page.split(&format!("```{language}\n")).nth(1).unwrap();
        let text = start.split("```").next().unwrap();
        parse(text, Path::new(&format!("plugin.{language}"))).unwrap().manifest
    };
    assert_eq!(example("yaml"), example("json"));
    assert_eq!(example("yaml"), example("toml"));
}

#[test]
fn the_page_names_every_rule() {
    let page = include_str!("../../../../docs/manifest.md");
    for (source, text) in [
        ("own", include_str!("own.rs")),
        ("fields", include_str!("fields.rs")),
        ("reader", include_str!("reader.rs")),
        ("source", include_str!("source.rs")),
        ("warnings", include_str!("../check/warnings.rs")),
        ("files", include_str!("../check/files.rs")),
    ] {
        let kebab = |word: &&str| {
            word.contains('-') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && word.len() > 3
        };
        for rule in text.split('"').skip(1).step_by(2).filter(kebab) {
            let known = page.contains(&format!("`{rule}`"));
            assert!(known || rule == "json-rpc", "{source}: {rule} is not in docs/manifest.md");
        }
    }
}
