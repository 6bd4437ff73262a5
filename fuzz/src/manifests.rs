//! What must hold for any manifest. The fuzz targets and an ordinary test of the library call the same functions.

use std::path::Path;

use ringfence::manifest::{self, Dialect};
use ringfence::schema::CompiledSchema;

/// A manifest that is read has one normal form, and one that is not has findings that a terminal can show. The first byte
/// of the data chooses the format.
pub fn manifest(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let file = ["plugin.json", "plugin.yaml", "plugin.toml"][usize::from(*first) % 3];
    check(text, Path::new(file));
}

/// The same for texts that begin as one of the dialects.
pub fn dialects(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check(&format!("{{\"name\": \"a\", \"main\": \"x.js\", {text}}}"), Path::new("plugin.json"));
    check(&format!("{{\"id\": \"a\", \"entry_point\": \"x.py\", {text}}}"), Path::new("plugin.json"));
    check(&format!("name: a\ntype: t\nentry_point: m:C\n{text}\n"), Path::new("plugin.yaml"));
}

fn check(text: &str, file: &Path) {
    let loaded = match manifest::parse(text, file) {
        Ok(loaded) => loaded,
        Err(findings) => {
            assert!(!findings.is_empty() && findings.len() <= manifest::FINDINGS_MAX + 1);
            for finding in &findings {
                assert!(finding.line > 0 && finding.column > 0, "{finding:?}");
                assert!(!finding.to_string().chars().any(char::is_control), "{finding:?}");
                assert!(finding.message.len() < 4_096, "{}", finding.message.len());
            }
            return;
        }
    };
    let normal = serde_json::to_string(&loaded.manifest).expect("a manifest is JSON");
    let again = manifest::parse(&normal, Path::new("plugin.json")).expect("its own normal form");
    assert_eq!((again.dialect, &again.manifest), (Dialect::Ringfence, &loaded.manifest), "{text}");
    loaded.manifest.requested().expect("permissions with good scopes");
    let tools = loaded.manifest.tools.iter().flat_map(|tool| [&tool.input_schema, &tool.output_schema]);
    for schema in tools.chain([&loaded.manifest.config_schema]).flatten() {
        CompiledSchema::compile(schema).expect("it was compiled before");
    }
}
