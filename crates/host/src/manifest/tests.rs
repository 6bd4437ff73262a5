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
