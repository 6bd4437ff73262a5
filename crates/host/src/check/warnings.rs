//! What works and is probably not meant so.

use std::collections::BTreeSet;
use std::path::Path;

use ringfence_api::{
    LimitsRequest, Manifest, Permission, PermissionName, PermissionRequest, Runtime, ScopeKind,
};
use ringfence_policy::{CanonicalPath, Effect, GrantProblem, Rule, Vars};
use serde_json::Value;

use super::Places;
use crate::config::PluginLimits;
use crate::enforcement::{Enforcement, enforcement};
use crate::manifest::{self, Dialect, Loaded, Severity};

/// How deep a configuration's schema is looked at for what was meant; deeper ones are no form.
const SCHEMA_DEPTH_MAX: usize = 16;

/// Files that tell that something is built here first.
const BUILDS: [(&str, &str); 6] = [
    ("Cargo.toml", "cargo build --release"),
    ("go.mod", "go build"),
    ("Makefile", "make"),
    ("CMakeLists.txt", "cmake"),
    ("meson.build", "meson"),
    ("build.zig", "zig build"),
];

pub(super) fn collect(places: &mut Places<'_>, package: &Path, loaded: &Loaded) {
    let manifest = &loaded.manifest;
    for note in &loaded.notes {
        let (file, message) = (places.file.to_owned(), format!("{} {}", note.field, note.message));
        places.findings.push(manifest::Finding {
            severity: Severity::Note,
            rule: "dialect",
            file,
            line: note.line,
            column: note.column,
            message,
            implies: None,
        });
    }
    entry_point(places, package, loaded);
    described(places, manifest);
    for (index, request) in manifest.permissions.iter().enumerate() {
        let pointer = match loaded.dialect {
            Dialect::Main => "/requires/permissions".to_owned(),
            Dialect::Ringfence => format!("/permissions/{index}"),
            _ => "/permissions".to_owned(),
        };
        permission(places, &pointer, request, manifest.runtime);
    }
    together(places, manifest);
    limits(places, &manifest.limits);
}

fn entry_point(places: &mut Places<'_>, package: &Path, loaded: &Loaded) {
    let manifest = &loaded.manifest;
    let pointer = if loaded.dialect == Dialect::Main { "/main" } else { "/entry_point" };
    if matches!(manifest.runtime, Runtime::Mcp | Runtime::Wasm | Runtime::Container) {
        let message =
            format!("runtime {} is recognised, and cannot be activated by this version", manifest.runtime);
        places.warn("not-supported", "/runtime", message);
    }
    // Only a container names no file of its package.
    if manifest.runtime == Runtime::Container {
        return;
    }
    let Err(finding) = manifest::entry_point(package, manifest) else { return };
    let missing = std::fs::symlink_metadata(package.join(&manifest.entry_point)).is_err();
    let build = BUILDS.iter().find(|(file, _)| package.join(file).is_file());
    match build {
        Some((file, command)) if missing && manifest.runtime == Runtime::Native => {
            let message = format!(
                "'{}' does not exist yet; there is a {file}, so build it before installing: {command}",
                manifest.entry_point
            );
            places.warn("not-built", pointer, message);
        }
        _ => {
            let pointer = if finding.rule == "integrity" { "/integrity" } else { pointer };
            places.add(Severity::Error, finding.rule, pointer, finding.message);
        }
    }
}

fn described(places: &mut Places<'_>, manifest: &Manifest) {
    if manifest.tools.is_empty() && manifest.hooks.is_empty() {
        let message = "no tool and no hook is declared, so nothing can be called; `check --write` fills them from the code";
        places.warn("no-tools", "", message);
    }
    if manifest.description.is_none() {
        places.warn(
            "no-description",
            "",
            "'description' is missing; it is what people read before they consent",
        );
    }
    if manifest.license.is_none() {
        places.warn("no-license", "", "'license' is missing; such as 'MIT' (an SPDX expression)");
    }
    if let Some(schema) = &manifest.config_schema {
        called_secret(places, schema, &mut "/config_schema".to_owned(), 0);
    }
    for (index, tool) in manifest.tools.iter().enumerate().filter(|(_, tool)| tool.description.is_none()) {
        let message = format!("tool '{}' has no description; people and models choose by it", tool.name);
        places.warn("tool-description", &format!("/tools/{index}"), message);
    }
}

/// One dialect marks secrets by `secret: true`, which means nothing in a JSON Schema: whoever writes it is shown everywhere.
fn called_secret(places: &mut Places<'_>, schema: &Value, pointer: &mut String, depth: usize) {
    if depth > SCHEMA_DEPTH_MAX {
        return;
    }
    let Some(members) = schema.as_object() else { return };
    let marked = members.get("secret") == Some(&Value::Bool(true));
    if marked && members.get("writeOnly") != Some(&Value::Bool(true)) {
        let message =
            "'secret' means nothing in a JSON Schema, so the value would be shown; write 'writeOnly: true'";
        places.warn("not-secret", pointer, message);
    }
    for (name, property) in members.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let length = pointer.len();
        pointer.push_str("/properties/");
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        called_secret(places, property, pointer, depth + 1);
        pointer.truncate(length);
    }
}

fn permission(places: &mut Places<'_>, pointer: &str, request: &PermissionRequest, runtime: Runtime) {
    let name = &request.permission;
    if request.scope.is_empty() {
        let message = format!("'{name}' without a scope asks for all of the kind; {}", narrower(name));
        places.warn("bare-permission", pointer, message);
    }
    for scope in request.scope.iter().filter(|scope| is_wide(name, scope)) {
        let message = format!("'{name}={scope}' asks for nearly all of the kind; {}", narrower(name));
        places.warn("wide-scope", pointer, message);
    }
    if enforcement(name, runtime) == Enforcement::NotServed {
        let message = format!(
            "'{name}' opens nothing in this version of Ringfence: a grant of it is kept and changes nothing"
        );
        places.add(Severity::Note, "not-served", pointer, message);
    }
    for permission in request.permissions().unwrap_or_default() {
        if let Some(why) = floor(&permission) {
            places.warn(
                "floor",
                pointer,
                format!("'{permission}' will be refused when it is granted: {why}"),
            );
        }
    }
}

fn narrower(name: &PermissionName) -> String {
    match name.scope_kind() {
        ScopeKind::Path => format!("name directories, such as {name}=${{data}}/**"),
        ScopeKind::Host => format!("name hosts, such as {name}=api.example.com:443"),
        ScopeKind::Program => format!("name programs, such as {name}=git"),
        ScopeKind::Name => format!("name what is needed, such as {name}=NAME"),
    }
}

fn is_wide(name: &PermissionName, scope: &str) -> bool {
    match name.scope_kind() {
        ScopeKind::Path | ScopeKind::Program => {
            matches!(scope, "/" | "/**" | "/*" | "**" | "~" | "~/**" | "/etc/**" | "/usr/**" | "/var/**")
                || (scope.starts_with("/home") && scope.ends_with("**") && scope.matches('/').count() <= 2)
        }
        ScopeKind::Host => scope.starts_with("*:") || scope == "*" || scope.ends_with(":*"),
        ScopeKind::Name => scope == "*",
    }
}

/// Why a request can never be granted as it is written: it would open protected paths without naming them.
fn floor(permission: &Permission) -> Option<String> {
    // Stand-ins for what is known only when it is granted; the floor of the system is the same everywhere.
    let vars = Vars::new(CanonicalPath::new("/package").ok()?)
        .with_home(CanonicalPath::new("/user").ok()?)
        .with_data(CanonicalPath::new("/data").ok()?);
    match Rule::from_permission(Effect::Allow, permission, &vars, "manifest").err()?.problem() {
        GrantProblem::Floor { .. } => {
            Some("it would also open protected paths; ask for narrower directories".to_owned())
        }
        problem @ GrantProblem::FloorWildcard => Some(problem.to_string()),
        _ => None,
    }
}

/// What several permissions say only together.
fn together(places: &mut Places<'_>, manifest: &Manifest) {
    let asks = |name: &PermissionName| manifest.permissions.iter().any(|request| request.permission == *name);
    if asks(&PermissionName::FileWrite) && !asks(&PermissionName::FileDelete) {
        let message = "'file:write' without 'file:delete': programs that save by renaming a new file over the old one will fail";
        places.warn("write-without-delete", "/permissions", message);
    }
    let mut seen = BTreeSet::new();
    for (index, request) in manifest.permissions.iter().enumerate() {
        for permission in request.permissions().unwrap_or_default() {
            let text = permission.to_string();
            if !seen.insert(text.clone()) {
                places.warn(
                    "duplicate-permission",
                    &format!("/permissions/{index}"),
                    format!("'{text}' is asked for twice"),
                );
            }
        }
    }
}

/// Limits above the defaults, which only an administrator raises.
fn limits(places: &mut Places<'_>, limits: &LimitsRequest) {
    let known = PluginLimits::default();
    let mb = |bytes: u64| bytes / 1_000_000;
    let asked = [
        ("memory_mb", limits.memory_mb, known.memory_bytes.map(mb)),
        ("cpu_percent", limits.cpu_percent.map(u64::from), known.cpu_percent.map(u64::from)),
        ("file_size_mb", limits.file_size_mb, known.file_size_bytes.map(mb)),
        ("processes", limits.processes, known.processes),
        ("init_timeout_s", limits.init_timeout_s, Some(known.init_timeout.as_secs())),
        ("call_timeout_s", limits.call_timeout_s, Some(known.call_timeout.as_secs())),
        ("output_mb", limits.output_mb, Some(mb(known.log_bytes))),
    ];
    for (name, value, default) in asked {
        if let (Some(value), Some(default)) = (value, default)
            && value > default
        {
            let message = format!(
                "{name} is {value}, above the default of {default}; it holds only where an administrator raises the limit"
            );
            places.warn("limit-above-default", &format!("/limits/{name}"), message);
        }
    }
}
