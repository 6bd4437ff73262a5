//! The manifest of a plugin as one typed form, whatever file format or dialect it was written in.
//!
//! Reading files, positions and dialects is the library's (`ringfence::manifest`); here is only what a manifest says.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Permission, PermissionName};

/// The longest name of a plugin.
pub const PLUGIN_NAME_MAX_BYTES: usize = 100;
/// The priority of a hook that declares none.
pub const HOOK_PRIORITY_DEFAULT: i32 = 50;

/// The name of a plugin: `[a-z0-9-]{1,100}`, kebab-case, so no hyphen first, last or doubled.
///
/// ```
/// use ringfence_api::PluginName;
///
/// assert_eq!("translator".parse::<PluginName>()?.as_str(), "translator");
/// assert!("../etc".parse::<PluginName>().is_err());
/// # Ok::<(), ringfence_api::PluginNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(
    #[schemars(regex(pattern = r"^[a-z0-9]+(-[a-z0-9]+)*$"), length(min = 1, max = 100))] String,
);

impl PluginName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no name of a plugin.
///
/// ```
/// use ringfence_api::{PluginName, PluginNameError};
///
/// assert_eq!("".parse::<PluginName>(), Err(PluginNameError::Length { bytes: 0 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginNameError {
    /// Empty, or longer than [`PLUGIN_NAME_MAX_BYTES`].
    #[error("a plugin's name has 1 to {PLUGIN_NAME_MAX_BYTES} characters, not {bytes}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// Another character than `a-z`, `0-9` and single hyphens between them.
    #[error("a plugin's name has only a-z, 0-9 and single hyphens between them")]
    Character,
}

impl FromStr for PluginName {
    type Err = PluginNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > PLUGIN_NAME_MAX_BYTES {
            return Err(PluginNameError::Length { bytes: text.len() });
        }
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if text.split('-').all(word) { Ok(Self(text.to_owned())) } else { Err(PluginNameError::Character) }
    }
}

impl TryFrom<String> for PluginName {
    type Error = PluginNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionRequest {
    /// The name.
    pub permission: PermissionName,
    /// Its bounds; empty asks for all of the kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// The author's words why, shown (escaped and cut) to whoever consents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the plugin also works without it. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
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
    /// Low first. Default [`HOOK_PRIORITY_DEFAULT`].
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
    /// A warning is given, and the kernel's own bounds hold.
    Warn,
}

/// Limits that a manifest lowers. An absent one is the administrator's default (DESIGN 6).
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
