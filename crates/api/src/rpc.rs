//! The words of the plugin protocol: method names, error numbers, the forms of its messages.
//!
//! `docs/protocol.md` describes the protocol; here each of its words stands once, for the host, the tests and programs
//! that speak it from Rust. How lines are read and answers find their calls is the library's (`ringfence::rpc`).
//!
//! What a plugin sends may hold members that are not known here: they are ignored, so that a newer plugin can talk to an
//! older host.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{HookDeclaration, HookKind, ToolDeclaration};

/// The version of the protocol that this release speaks.
pub const PROTOCOL_VERSION: &str = "1";
/// The longest line, its line end included: 4 MiB.
pub const MESSAGE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// How deep arrays and objects may be nested in a message; the message itself is the first.
pub const DEPTH_MAX: usize = 64;
/// The longest text that a plugin may use as the id of a request.
pub const REQUEST_ID_MAX_BYTES: usize = 128;
/// The longest correlation id.
pub const CORRELATION_ID_MAX_BYTES: usize = 128;

/// The names of the methods and notifications.
pub mod method {
    /// Host to plugin: the first request, with what was granted.
    pub const INITIALIZE: &str = "initialize";
    /// Host to plugin: the start is complete (notification).
    pub const INITIALIZED: &str = "initialized";
    /// Host to plugin: the first request of the older wire form.
    pub const INIT: &str = "init";
    /// Host to plugin: run a tool.
    pub const CALL: &str = "call";
    /// Host to plugin: run a hook.
    pub const HOOK: &str = "hook";
    /// Host to plugin: something was published.
    pub const HANDLE_EVENT: &str = "handle_event";
    /// Host to plugin: the configuration is another now.
    pub const CONFIG_CHANGED: &str = "config_changed";
    /// Host to plugin: are you there?
    pub const PING: &str = "ping";
    /// Host to plugin: finish; the input ends next.
    pub const SHUTDOWN: &str = "shutdown";
    /// Both ways: the answer is not wanted any more (notification).
    pub const CANCEL: &str = "$/cancel";
    /// Both ways: how far a request is (notification).
    pub const PROGRESS: &str = "$/progress";
    /// Plugin to host: a line for the log (notification).
    pub const LOG: &str = "log";
    /// Plugin to host: who is asking.
    pub const GET_USER_PROFILE: &str = "get_user_profile";
    /// Plugin to host: publish an event.
    pub const POST_EVENT: &str = "post_event";
    /// Plugin to host: keep a value.
    pub const STORE_PLUGIN_DATA: &str = "store_plugin_data";
    /// Plugin to host: give a kept value.
    pub const LOAD_PLUGIN_DATA: &str = "load_plugin_data";
    /// Plugin to host: forget a kept value.
    pub const DELETE_PLUGIN_DATA: &str = "delete_plugin_data";
    /// Plugin to host: which values are kept.
    pub const LIST_PLUGIN_DATA: &str = "list_plugin_data";
    /// Plugin to host: the configuration.
    pub const GET_CONFIG: &str = "get_config";
    /// Plugin to host: change the configuration.
    pub const SET_CONFIG: &str = "set_config";
    /// Plugin to host: an HTTP request.
    pub const HTTP_FETCH: &str = "http_fetch";
    /// Plugin to host: the next piece of a body that is read as a stream.
    pub const HTTP_FETCH_READ: &str = "http_fetch_read";
    /// Plugin to host: no more of such a body.
    pub const HTTP_FETCH_CLOSE: &str = "http_fetch_close";
    /// Plugin to host: read a file.
    pub const READ_FILE: &str = "read_file";
    /// Plugin to host: write a file.
    pub const WRITE_FILE: &str = "write_file";
    /// Plugin to host: delete a file.
    pub const DELETE_FILE: &str = "delete_file";
    /// Plugin to host: list a directory.
    pub const LIST_FILES: &str = "list_files";
    /// Plugin to host: run a program.
    pub const RUN_PROCESS: &str = "run_process";
    /// Plugin to host: ask a database.
    pub const QUERY_DATABASE: &str = "query_database";
    /// Plugin to host: change a database.
    pub const EXECUTE_DATABASE: &str = "execute_database";
    /// Plugin to host: declare a hook at run time.
    pub const REGISTER_HOOK: &str = "register_hook";

    /// Every request that a plugin may send, whether this release can serve it or answers `not_supported`.
    pub const HOST_REQUESTS: &[&str] = &[
        GET_USER_PROFILE,
        POST_EVENT,
        STORE_PLUGIN_DATA,
        LOAD_PLUGIN_DATA,
        DELETE_PLUGIN_DATA,
        LIST_PLUGIN_DATA,
        GET_CONFIG,
        SET_CONFIG,
        HTTP_FETCH,
        HTTP_FETCH_READ,
        HTTP_FETCH_CLOSE,
        READ_FILE,
        WRITE_FILE,
        DELETE_FILE,
        LIST_FILES,
        RUN_PROCESS,
        QUERY_DATABASE,
        EXECUTE_DATABASE,
        REGISTER_HOOK,
    ];
}

/// Defines the enum and its look-ups from one table, so that a number without a word cannot exist.
macro_rules! rpc_error_codes {
    ($($variant:ident $number:literal $word:literal $meaning:literal;)+) => {
        /// The number and the stable word of an error in an answer. A plugin may use other numbers of its own.
        ///
        /// ```
        /// use ringfence_api::rpc::RpcErrorCode;
        ///
        /// assert_eq!(RpcErrorCode::PermissionDenied.number(), -31001);
        /// assert_eq!(RpcErrorCode::from_number(-31001), Some(RpcErrorCode::PermissionDenied));
        /// assert_eq!(RpcErrorCode::PermissionDenied.word(), "permission_denied");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RpcErrorCode { $(#[doc = $meaning] $variant,)+ }

        impl RpcErrorCode {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The number in `error.code`.
            #[must_use]
            pub const fn number(self) -> i64 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The stable word in `error.data.code`.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

rpc_error_codes! {
    ParseError -32700 "parse_error" "The line is not JSON, not UTF-8, or nested too deep.";
    InvalidRequest -32600 "invalid_request" "The line is JSON and no message of the protocol.";
    MethodNotFound -32601 "method_not_found" "There is no such method.";
    InvalidParams -32602 "invalid_params" "The method does not take these parameters.";
    Internal -32603 "internal" "The one who answers has failed; the log says how.";
    PermissionDenied -31001 "permission_denied" "It was not granted; the data names layer, object and grant.";
    Cancelled -31002 "cancelled" "The request was cancelled by the one who sent it.";
    Timeout -31003 "timeout" "The deadline of the request has passed.";
    Busy -31004 "busy" "Too many requests are waiting.";
    TooLarge -31005 "too_large" "The message or a value in it is larger than its limit.";
    Quota -31006 "quota" "The private data of the plugin has reached its quota.";
    NotSupported -31007 "not_supported" "This version of Ringfence cannot do that.";
    PluginFailed -31008 "plugin_failed" "The code of the plugin has raised an error.";
    NotReady -31009 "not_ready" "The request came before the start was complete, or after the end began.";
}

impl RpcErrorCode {
    /// The code of a number; `None` for a number of the plugin's own.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl fmt::Display for RpcErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The parameters of [`method::INITIALIZE`].
///
/// ```
/// use ringfence_api::rpc::{InitializeParams, Named, PROTOCOL_VERSION};
///
/// let params = InitializeParams {
///     protocol_versions: vec![PROTOCOL_VERSION.to_owned()],
///     host: Named::new("ringfence", "0.1.0"),
///     plugin: Named::new("translator", "1.2.0"),
///     permissions: vec!["file:read=/srv/notes/**".to_owned()],
///     config: serde_json::json!({}),
///     limits: Default::default(),
///     data_dir: "/data".to_owned(),
///     entry_point: "main.py".to_owned(),
/// };
/// assert!(serde_json::to_string(&params)?.starts_with(r#"{"protocol_versions":["1"],"host":{"name":"ringfence""#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitializeParams {
    /// The versions that the host speaks, the best first.
    pub protocol_versions: Vec<String>,
    /// Who starts the plugin.
    pub host: Named,
    /// As what it was installed.
    pub plugin: Named,
    /// What was granted, in the grammar of permissions.
    pub permissions: Vec<String>,
    /// The configuration, secrets included.
    pub config: Value,
    /// What it may use.
    pub limits: PluginLimits,
    /// The private data directory.
    pub data_dir: String,
    /// What the manifest says is to be run.
    pub entry_point: String,
}

/// A name and a version.
///
/// ```
/// assert_eq!(ringfence_api::rpc::Named::new("translator", "1.2.0").version, "1.2.0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

impl Named {
    /// Both.
    #[must_use]
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into() }
    }
}

/// What a plugin may use, as it is told at its start. A limit that is absent does not exist.
///
/// ```
/// use ringfence_api::rpc::PluginLimits;
///
/// let limits = PluginLimits { call_timeout_ms: Some(300_000), ..PluginLimits::default() };
/// assert_eq!(serde_json::to_string(&limits)?, r#"{"call_timeout_ms":300000}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginLimits {
    /// Memory of the plugin and its children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// How long one call may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_timeout_ms: Option<u64>,
    /// How long one hook may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_timeout_ms: Option<u64>,
    /// The longest line in either direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_bytes: Option<u64>,
    /// The private data directory and the kept values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<u64>,
    /// Processes and threads together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
}

/// The result of [`method::INITIALIZE`].
///
/// ```
/// use ringfence_api::rpc::{DeclaredTool, InitializeResult};
///
/// let answer = r#"{"protocol_version":"1","tools":["translate",{"name":"languages"}]}"#;
/// let result: InitializeResult = serde_json::from_str(answer)?;
/// assert_eq!(result.tools.as_deref().map(|tools| tools[1].name()), Some("languages"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct InitializeResult {
    /// One of the versions that were offered.
    pub protocol_version: String,
    /// The plugin's own name, which must be that of its manifest.
    #[serde(default)]
    pub name: Option<String>,
    /// The plugin's own version, which must be that of its manifest.
    #[serde(default)]
    pub version: Option<String>,
    /// Its tools, which must stand in its manifest.
    #[serde(default)]
    pub tools: Option<Vec<DeclaredTool>>,
    /// Its hooks, which must stand in its manifest.
    #[serde(default)]
    pub hooks: Option<Vec<HookDeclaration>>,
}

/// A tool in the answer to `initialize`: its name, or all about it.
///
/// ```
/// use ringfence_api::rpc::DeclaredTool;
///
/// assert_eq!(serde_json::from_str::<DeclaredTool>("\"translate\"")?.name(), "translate");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum DeclaredTool {
    /// Its name only.
    Name(String),
    /// As it would stand in the manifest.
    Declaration(Box<ToolDeclaration>),
}

impl DeclaredTool {
    /// The name of the tool.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Declaration(declaration) => &declaration.name,
        }
    }
}

impl<'de> Deserialize<'de> for DeclaredTool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> de::Visitor<'de> for Form {
            type Value = DeclaredTool;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a tool or its declaration")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(DeclaredTool::Name(name.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let declaration = ToolDeclaration::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(DeclaredTool::Declaration(Box::new(declaration)))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// The parameters of [`method::CALL`]. The arguments pass through unread.
///
/// ```
/// use ringfence_api::rpc::CallParams;
/// use serde_json::value::RawValue;
///
/// let arguments: &RawValue = serde_json::from_str(r#"{"text":"Hallo"}"#)?;
/// let params = CallParams { tool: "translate", arguments };
/// assert_eq!(serde_json::to_string(&params)?, r#"{"tool":"translate","arguments":{"text":"Hallo"}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CallParams<'a> {
    /// The name of the tool.
    pub tool: &'a str,
    /// An object.
    pub arguments: &'a RawValue,
}

/// The parameters of [`method::HOOK`].
///
/// ```
/// use ringfence_api::{HookKind, rpc::HookParams};
/// use serde_json::json;
///
/// let (body, metadata) = (json!("x"), serde_json::Map::new());
/// let params = HookParams { event: "onRequest", kind: HookKind::Guard, body: &body, metadata: &metadata, blocked: None };
/// assert_eq!(serde_json::to_string(&params)?, r#"{"event":"onRequest","kind":"guard","body":"x","metadata":{}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HookParams<'a> {
    /// The name of the event.
    pub event: &'a str,
    /// What the hook may do.
    pub kind: HookKind,
    /// What the event is about.
    pub body: &'a Value,
    /// What is known about it.
    pub metadata: &'a serde_json::Map<String, Value>,
    /// For observers alone: who blocked what passes, if somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<HookBlocked<'a>>,
}

/// Who blocked an event, as observers hear it.
///
/// ```
/// let blocked = ringfence_api::rpc::HookBlocked { by: Some("keyword-guard"), reason: "a secret" };
/// assert_eq!(serde_json::to_string(&blocked)?, r#"{"by":"keyword-guard","reason":"a secret"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HookBlocked<'a> {
    /// The plugin; `None` when it was the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'a str>,
    /// Why.
    pub reason: &'a str,
}

/// The result of [`method::HOOK`], unless it is `null`.
///
/// ```
/// use ringfence_api::rpc::HookResult;
///
/// let result: HookResult = serde_json::from_str(r#"{"blocked":true,"reason":"no"}"#)?;
/// assert!(result.blocked && result.body.is_none());
/// // Nothing is not null.
/// let result: HookResult = serde_json::from_str(r#"{"body":null}"#)?;
/// assert_eq!(result.body, Some(serde_json::Value::Null));
/// assert!(serde_json::from_str::<HookResult>(r#"{"bdy":1}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookResult {
    /// The new body, which may be `null`; `None` keeps the old one.
    #[serde(default, deserialize_with = "present")]
    pub body: Option<Value>,
    /// The new metadata; `None` keeps the old one.
    #[serde(default, deserialize_with = "present")]
    pub metadata: Option<Value>,
    /// Whether the event must not go on.
    #[serde(default)]
    pub blocked: bool,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// What is answered instead.
    #[serde(default)]
    pub response: Option<Value>,
    /// A handler may return the whole context that it was given.
    #[serde(default, rename = "event")]
    _event: de::IgnoredAny,
    #[serde(default, rename = "kind")]
    _kind: de::IgnoredAny,
    #[serde(default, rename = "correlation_id")]
    _correlation_id: de::IgnoredAny,
}

/// A member that is there has a value, `null` too.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// How urgent a line of the log is.
///
/// ```
/// assert_eq!(serde_json::from_str::<ringfence_api::rpc::LogLevel>("\"warning\"")?.to_string(), "warning");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// Something happened.
    Info,
    /// Something is odd.
    Warning,
    /// Something failed.
    Error,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The parameters of [`method::LOG`].
///
/// ```
/// use ringfence_api::rpc::{LogLevel, LogParams};
///
/// let line: LogParams = serde_json::from_str(r#"{"level":"info","message":"ready"}"#)?;
/// assert_eq!((line.level, line.message.as_str()), (LogLevel::Info, "ready"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogParams {
    /// How urgent it is.
    pub level: LogLevel,
    /// What happened.
    pub message: String,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<serde_json::Map<String, Value>>,
}

/// The parameters of [`method::PROGRESS`] as a plugin sends them: `id` is that of the host's request.
///
/// ```
/// use ringfence_api::rpc::ProgressParams;
///
/// let params: ProgressParams = serde_json::from_str(r#"{"id":7,"progress":3,"total":10}"#)?;
/// assert_eq!((params.id, params.total), (7, Some(10.0)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressParams {
    /// The request.
    pub id: u64,
    /// How far it is, in whatever unit.
    pub progress: f64,
    /// How far it goes, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `error.data` of [`RpcErrorCode::PermissionDenied`].
///
/// ```
/// use ringfence_api::rpc::DenialData;
///
/// let data = DenialData {
///     code: "permission_denied".to_owned(),
///     layer: "host".to_owned(),
///     operation: "file:read".to_owned(),
///     object: "/srv/secret".to_owned(),
///     grant: Some("file:read=/srv/secret".to_owned()),
///     message: "not granted".to_owned(),
/// };
/// assert_eq!(serde_json::to_value(data)?["object"], "/srv/secret");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialData {
    /// Always `permission_denied`.
    pub code: String,
    /// Who refused it.
    pub layer: String,
    /// What was tried.
    pub operation: String,
    /// On what.
    pub object: String,
    /// The grant that would allow it; `None` when none can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// For people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_are_unique() {
        for (place, code) in RpcErrorCode::ALL.iter().enumerate() {
            for other in &RpcErrorCode::ALL[place + 1..] {
                assert!(code.number() != other.number() && code.word() != other.word(), "{code} {other}");
            }
            assert_eq!(RpcErrorCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(RpcErrorCode::from_number(1), None);
    }

    #[test]
    fn a_tool_is_a_name_or_a_declaration_and_nothing_else() {
        for wrong in ["1", "null", "[\"a\"]", "{}"] {
            assert!(serde_json::from_str::<DeclaredTool>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_members_of_an_answer_are_ignored() {
        let result: InitializeResult =
            serde_json::from_str(r#"{"protocol_version":"1","serverInfo":{"x":1}}"#).unwrap();
        assert_eq!((result.name, result.tools), (None, None));
        assert!(serde_json::from_str::<InitializeResult>("{}").is_err());
    }
}
