//! The manifest of a plugin as one typed form, whatever file format or dialect it was written in.
//!
//! Reading files, positions and dialects is the library's (`ringfence::manifest`); here is only what a manifest says.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{PLUGIN_NAME_MAX_BYTES, Permission, PermissionName, PluginName};

/// The priority of a hook that declares none.
pub const HOOK_PRIORITY_DEFAULT: i32 = 50;

/// How a plugin runs.
///
/// ```
/// use ringfence_api::Runtime;
///
/// assert_eq!(serde_json::to_value(Runtime::Python)?, "python");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// An executable file, or a script with an interpreter line.
    Native,
    /// Python 3, with the runner and SDK that Ringfence brings.
    Python,
    /// Node.js, with the runner and SDK that Ringfence brings.
    Node,
    /// An MCP server that speaks over stdio.
    Mcp,
    /// A WebAssembly component.
    Wasm,
    /// A container image.
    Container,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Native, Self::Python, Self::Node, Self::Mcp, Self::Wasm, Self::Container];

    /// The word in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Python => "python",
            Self::Node => "node",
            Self::Mcp => "mcp",
            Self::Wasm => "wasm",
            Self::Container => "container",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which messages the plugin speaks.
///
/// ```
/// assert_eq!(ringfence_api::Wire::default(), ringfence_api::Wire::JsonRpc);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// JSON-RPC 2.0 as in `docs/protocol.md`.
    #[default]
    JsonRpc,
    /// The form of older script plugins: method `init`, no `jsonrpc` field, errors as plain strings.
    Legacy,
}

/// One thing that a plugin asks to be allowed.
///
/// ```
/// use ringfence_api::PermissionRequest;
///
/// let request = PermissionRequest::new("file:read".parse()?, ["/srv/notes/**"]);
/// let texts: Vec<String> = request.permissions()?.iter().map(ToString::to_string).collect();
/// assert_eq!(texts, ["file:read=/srv/notes/**"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PermissionRequest {
    /// The name.
    pub permission: PermissionName,
    /// Its bounds; empty asks for all of the kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// The author's words why, shown (escaped and cut) to whoever consents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the plugin also works without it. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// The object that a permission can be written as.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PermissionObject {
    /// The name of the permission, or NAME=SCOPE.
    permission: Permission,
    /// Its bounds. Without them all of the kind is asked for.
    #[serde(default)]
    #[schemars(length(min = 1, max = 256))]
    scope: Vec<String>,
    /// Why it is needed, for whoever consents.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    reason: Option<String>,
    /// Whether the plugin also works without it.
    #[serde(default)]
    optional: bool,
}

impl<'de> Deserialize<'de> for PermissionRequest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PermissionVisitor)
    }
}

/// Reads a permission as a text or as an object, and says which of the two is wrong in what.
struct PermissionVisitor;

impl<'de> serde::de::Visitor<'de> for PermissionVisitor {
    type Value = PermissionRequest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a permission as a text such as 'file:read=/srv/**', or as an object")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let permission: Permission = text.parse().map_err(E::custom)?;
        Ok(PermissionRequest::new(permission.name().clone(), permission.scope()))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let object = PermissionObject::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        let PermissionObject { permission, mut scope, reason, optional } = object;
        if let Some(own) = permission.scope() {
            if !scope.is_empty() {
                return Err(serde::de::Error::custom("the permission has a scope already"));
            }
            scope.push(own.to_owned());
        }
        Ok(PermissionRequest { permission: permission.name().clone(), scope, reason, optional })
    }
}

impl JsonSchema for PermissionRequest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PermissionRequest".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        if generator.contract().is_serialize() {
            // What is written is always the object, and leaves out what is empty.
            let name = generator.subschema_for::<PermissionName>();
            return schemars::json_schema!({
                "description": "One thing that a plugin asks to be allowed.",
                "type": "object",
                "properties": {
                    "permission": name,
                    "scope": { "description": "Its bounds.", "type": "array", "items": { "type": "string" } },
                    "reason": { "description": "The author's words why.", "type": "string" },
                    "optional": { "description": "Whether the plugin also works without it.", "type": "boolean" },
                },
                "required": ["permission"],
            });
        }
        let text = generator.subschema_for::<Permission>();
        let object = generator.subschema_for::<PermissionObject>();
        schemars::json_schema!({
            "description": "One thing that a plugin asks to be allowed: a text, or an object with a reason.",
            "anyOf": [text, object],
        })
    }
}

impl PermissionRequest {
    /// A required permission without a reason.
    pub fn new(permission: PermissionName, scope: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { permission, scope: scope.into_iter().map(Into::into).collect(), reason: None, optional: false }
    }

    /// The same as single permissions, one for each scope, as grants are written.
    ///
    /// # Errors
    /// When a scope breaks the grammar of its permission.
    pub fn permissions(&self) -> Result<Vec<Permission>, crate::PermissionError> {
        if self.scope.is_empty() {
            return Ok(vec![Permission::from(self.permission.clone())]);
        }
        self.scope.iter().map(|scope| Permission::scoped(self.permission.clone(), scope.as_str())).collect()
    }
}

/// What a hook handler does with what passes.
///
/// ```
/// assert_eq!(serde_json::to_value(ringfence_api::HookKind::Guard)?, "guard");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// Changes the payload.
    Mutator,
    /// May block.
    Guard,
    /// Sees.
    Observer,
}

/// What happens when a hook handler fails or is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The chain is blocked. The default of guards.
    Block,
    /// The handler is passed over. The default of all others.
    Skip,
}

/// One hook that a plugin wants to be called at. It asks for `hook:register=EVENT` by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookDeclaration {
    /// The event's name, such as `onRequest`.
    pub event: String,
    /// What the handler does.
    pub kind: HookKind,
    /// Low first. Default 50 ([`HOOK_PRIORITY_DEFAULT`]).
    #[serde(default = "hook_priority_default")]
    pub priority: i32,
    /// How long the handler may take, in milliseconds. Default 5,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 300_000))]
    pub timeout_ms: Option<u64>,
    /// What happens when it fails. Default: guards block, the others are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

const fn hook_priority_default() -> i32 {
    HOOK_PRIORITY_DEFAULT
}

/// The longest name of a tool.
pub const TOOL_NAME_MAX_BYTES: usize = 128;

/// Whether a text can be the name of a tool: 1 to [`TOOL_NAME_MAX_BYTES`] of `A-Z a-z 0-9 _ . -` (the MCP rule).
///
/// ```
/// assert!(ringfence_api::is_tool_name("notes.search"));
/// assert!(!ringfence_api::is_tool_name("notes/search"));
/// ```
#[must_use]
pub fn is_tool_name(text: &str) -> bool {
    (1..=TOOL_NAME_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// One tool that a plugin offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolDeclaration {
    /// Its name: `[A-Za-z0-9_.-]{1,128}` (the MCP rule).
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,128}$"))]
    pub name: String,
    /// What it does, for people and models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema (2020-12) of the arguments object. Without one, any object is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema (2020-12) of the result. Without one, any value is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

/// What happens at the memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMemory {
    /// The plugin is stopped.
    #[default]
    Kill,
    /// A warning is given; at the administrator's own limit the plugin is ended all the same.
    Warn,
}

/// Limits that a manifest lowers. An absent one is the administrator's default.
///
/// ```
/// let limits: ringfence_api::LimitsRequest = serde_json::from_str(r#"{"memory_mb": 100}"#)?;
/// assert_eq!(limits.memory_mb, Some(100));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsRequest {
    /// Memory of the whole tree, in MB (1,000,000 bytes). Default 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub memory_mb: Option<u64>,
    /// What happens at the memory limit. Default `kill`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_memory: Option<OnMemory>,
    /// CPU time in percent of one core. Default 80.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub cpu_percent: Option<u32>,
    /// The largest file, in MB. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub file_size_mb: Option<u64>,
    /// Tasks, threads included. Default 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub processes: Option<u64>,
    /// From the start to the answer to `initialize`, in seconds. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub init_timeout_s: Option<u64>,
    /// One call, in seconds. Default 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub call_timeout_s: Option<u64>,
    /// Log output (stderr) that is kept, in MB. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub output_mb: Option<u64>,
}

/// What a plugin says of itself, and asks for.
///
/// ```
/// use ringfence_api::{Manifest, Runtime};
///
/// let text = r#"{"name": "greeter", "version": "1.0.0", "runtime": "python", "entry_point": "greeter.py"}"#;
/// let manifest: Manifest = serde_json::from_str(text)?;
/// assert_eq!((manifest.name.as_str(), manifest.runtime), ("greeter", Runtime::Python));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Identifies the plugin.
    pub name: PluginName,
    /// Semantic version.
    #[schemars(with = "String", regex(pattern = r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"))]
    pub version: semver::Version,
    /// One or two sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who made it: a claim, shown as such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// How it runs.
    pub runtime: Runtime,
    /// What is run. python: `module:Class`, `module` or `file.py`; node, native, wasm: a file in the package.
    pub entry_point: String,
    /// The kind of plugin that the host application registered, whose base class a Python class must have.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub plugin_type: Option<String>,
    /// Whether it is meant to be active at once after consent. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enabled_by_default: bool,
    /// What it asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<PermissionRequest>,
    /// Where it wants to be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub hooks: Vec<HookDeclaration>,
    /// What it offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDeclaration>,
    /// JSON Schema (2020-12) of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// Limits lower than the defaults.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: LimitsRequest,
    /// Names of skills, shown to whoever installs; nothing else is done with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<String>,
    /// `sha256-` and the digest of the entry file in base64 or hex; checked at install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<String>,
    /// Which messages it speaks. Default `json-rpc`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wire: Wire,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Manifest {
    /// Everything that is asked for, hooks included, as single permissions in the order of the manifest, each with
    /// whether it is optional.
    ///
    /// # Errors
    /// When a scope breaks the grammar of its permission.
    pub fn requested(&self) -> Result<Vec<(Permission, bool)>, crate::PermissionError> {
        let mut all = Vec::new();
        for request in &self.permissions {
            all.extend(request.permissions()?.into_iter().map(|permission| (permission, request.optional)));
        }
        let mut events: BTreeMap<&str, ()> = BTreeMap::new();
        for hook in &self.hooks {
            if events.insert(&hook.event, ()).is_none() {
                all.push((Permission::scoped(PermissionName::HookRegister, hook.event.as_str())?, false));
            }
        }
        Ok(all)
    }
}

/// The JSON Schema (2020-12) of a manifest in Ringfence's own form, as `schema/plugin.schema.json` has it.
///
/// It is what editors complete and check by; the library's own reader knows more rules, such as the grammar of scopes.
///
/// ```
/// let schema = ringfence_api::manifest_schema();
/// assert_eq!(schema["required"], serde_json::json!(["name", "version", "runtime", "entry_point"]));
/// ```
#[must_use]
pub fn manifest_schema() -> Value {
    let mut schema = schemars::SchemaGenerator::default().into_root_schema_for::<Manifest>().to_value();
    for_editors(&mut schema);
    let put = |schema: &mut Value, pointer: &str, name: &str, value: Value| {
        if let Some(object) = schema.pointer_mut(pointer).and_then(Value::as_object_mut) {
            object.insert(name.to_owned(), value);
        }
    };
    put(&mut schema, "", "title", "Manifest of a Ringfence plugin".into());
    let about = "The schema that an editor checks this file by; it says nothing about the plugin.";
    put(&mut schema, "/properties", "$schema", json!({ "description": about, "type": "string" }));
    // A type that is read from a text has the schema of a text.
    put(&mut schema, "/$defs/PluginName", "pattern", "^[a-z0-9]+(-[a-z0-9]+)*$".into());
    put(&mut schema, "/$defs/PluginName", "maxLength", PLUGIN_NAME_MAX_BYTES.into());
    for place in ["/properties/config_schema", "/$defs/ToolDeclaration/properties/input_schema"] {
        put(&mut schema, place, "type", "object".into());
    }
    put(&mut schema, "/$defs/ToolDeclaration/properties/output_schema", "type", json!(["object", "boolean"]));
    let scope = "/$defs/PermissionObject/properties/scope";
    if let Some(list) = schema.pointer(scope).cloned() {
        let description = list.get("description").cloned().unwrap_or_default();
        let either =
            json!({ "description": description, "anyOf": [{ "type": "string", "minLength": 1 }, list] });
        put(&mut schema, "/$defs/PermissionObject/properties", "scope", either);
    }
    schema
}

/// What the types say to a programmer and not to the author of a manifest is left out: examples in Rust, defaults of types,
/// and null, which an optional field of a manifest cannot be.
fn for_editors(schema: &mut Value) {
    let null = json!({ "type": "null" });
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(text)) = members.get_mut("description") {
                let prose = text.split("\n\n```").next().unwrap_or_default();
                // A link of rustdoc is a name.
                *text = prose.replace("[`", "`").replace("`]", "`");
            }
            if let Some(Value::Array(kinds)) = members.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [only] = kinds.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| *choice != null);
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    members.extend(only);
                }
            }
            if members.get("default").is_some_and(|value| value.is_null() || *value == json!([])) {
                members.remove("default");
            }
            if members.get("format").and_then(Value::as_str).is_some_and(|format| format.contains("int")) {
                members.remove("format");
            }
            members.values_mut().for_each(for_editors);
        }
        Value::Array(values) => values.iter_mut().for_each(for_editors),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_a_text_or_an_object() {
        let read = |text: &str| serde_json::from_str::<PermissionRequest>(text);
        let text = read(r#""file:read=/srv/**""#).unwrap();
        assert_eq!(text, PermissionRequest::new(PermissionName::FileRead, ["/srv/**"]));
        assert_eq!(read(r#"{"permission": "file:read", "scope": ["/srv/**"]}"#).unwrap(), text);
        assert_eq!(read(r#"{"permission": "file:read=/srv/**"}"#).unwrap(), text);
        assert_eq!(read(&serde_json::to_string(&text).unwrap()).unwrap(), text);
        for (bad, why) in [
            (r#""file:raed""#, "did you mean 'file:read'?"),
            (r#"{"permission": "file:read", "resaon": "x"}"#, "unknown field `resaon`"),
            (r#"{"permission": "file:read=/a", "scope": ["/b"]}"#, "has a scope already"),
            ("7", "a permission as a text"),
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_schema_in_the_repository_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/plugin.schema.json");
        let generated = format!("{}\n", serde_json::to_string_pretty(&manifest_schema()).unwrap());
        if std::env::var_os("RINGFENCE_BLESS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema")).unwrap();
            std::fs::write(path, &generated).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == generated,
            "schema/plugin.schema.json is stale: RINGFENCE_BLESS=1 cargo test -p ringfence-api"
        );
    }
}
