//! What package managers execute when they install: nothing of it runs in Ringfence, and a person may run it by hand.

use crate::hits::{Hits, Source};

/// Scripts that npm and its like run by themselves.
const NPM_HOOKS: &[&str] = &[
    "preinstall",
    "install",
    "postinstall",
    "preprepare",
    "prepare",
    "postprepare",
    "prepublish",
    "preuninstall",
    "uninstall",
    "postuninstall",
    "dependencies",
];
const SCRIPTS: &[&str] =
    &["install", "setup", "bootstrap", "postinstall", "preinstall", "postinst", "preinst", "uninstall"];
const SCRIPT_ENDINGS: &[&str] = &["sh", "bash", "bat", "cmd", "ps1"];
/// Modules that Python executes at every start, if it finds them.
const PYTHON_STARTUP: &[&str] = &["sitecustomize.py", "usercustomize.py"];

/// By the name of the file.
pub(crate) fn by_name(name: &str, hits: &mut Hits) {
    if PYTHON_STARTUP.contains(&name) {
        hits.whole("install-hook", &format!("'{name}', which Python executes at every start,"));
    }
    if name == "binding.gyp" {
        hits.whole("install-hook", "'binding.gyp', which makes npm compile,");
    }
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, "sh"));
    let python = stem == "install" && ending == "py";
    if python || (SCRIPTS.contains(&stem) && SCRIPT_ENDINGS.contains(&ending)) {
        hits.whole("install-script", &format!("'{name}'"));
    }
}

/// By what a file of settings says.
pub(crate) fn by_content(name: &str, source: &Source<'_>, hits: &mut Hits) {
    match name {
        "package.json" => npm(source, hits),
        "pyproject.toml" => lines(source, hits, |line| {
            let key = line.split('=').next().unwrap_or_default().trim();
            let section = line.trim() == "[tool.setuptools.cmdclass]";
            (key == "backend-path" || key == "cmdclass" || section).then(|| format!("'{}'", line.trim()))
        }),
        // Lines that begin with `import` are executed (module `site`).
        _ if name.ends_with(".pth") => lines(source, hits, |line| {
            line.starts_with("import")
                .then(|| format!("'{}', which Python executes at every start,", line.trim()))
        }),
        _ => {}
    }
}

fn npm(source: &Source<'_>, hits: &mut Hits) {
    let Ok(package) = serde_json::from_str::<serde_json::Value>(source.text) else { return };
    let Some(scripts) = package.get("scripts").and_then(serde_json::Value::as_object) else { return };
    let section = source.text.find("\"scripts\"").unwrap_or(0);
    for hook in NPM_HOOKS.iter().filter(|hook| scripts.contains_key(**hook)) {
        let within = source.text.get(section..).and_then(|text| text.find(&format!("\"{hook}\"")));
        let command = scripts.get(*hook).and_then(serde_json::Value::as_str).unwrap_or_default();
        hits.at("install-hook", source, section + within.unwrap_or(0), &format!("'{hook}': '{command}'"));
    }
}

fn lines(source: &Source<'_>, hits: &mut Hits, subject: impl Fn(&str) -> Option<String>) {
    let mut at = 0;
    for line in source.text.split('\n') {
        if let Some(subject) = subject(line) {
            hits.at("install-hook", source, at, &subject);
        }
        at += line.len() + 1;
    }
}
