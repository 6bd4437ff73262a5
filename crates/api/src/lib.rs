//! What others see of Ringfence: permission names, violations, the report of a run, error codes.
//!
//! This crate holds the words that cross a border: a file, a socket, a terminal, another language. Each of
//! them is written down once, here, with its text form and its JSON form, so that the command line, the HTTP
//! API, the manifest and the SDKs cannot drift apart. It deliberately decides nothing (that is
//! `ringfence-policy`), starts nothing (`ringfence-sandbox`) and knows no async runtime.
//!
//! Start reading at [`Permission`] (what may be asked for), then [`RunReport`] (what is said after a run) and
//! [`ErrorCode`] (how a refusal is named everywhere).
//!
//! ```
//! use ringfence_api::{ErrorBody, ErrorCode, Permission, RunReport, RunStatus};
//!
//! // What a user asked for ...
//! let permission: Permission = "file:read=/srv/notes/**".parse()?;
//! assert_eq!(permission.name().to_string(), "file:read");
//! assert_eq!(permission.scope(), Some("/srv/notes/**"));
//!
//! // ... and what they are told when it could not be done.
//! let error = ErrorBody::new(ErrorCode::NotEnforceable, "user namespaces are switched off")
//!     .with_hint("run `ringfence doctor` to see how to switch them on");
//! let report = RunReport::not_started(error);
//! assert_eq!(report.status, RunStatus::NotStarted);
//! # Ok::<(), ringfence_api::PermissionError>(())
//! ```

mod manifest;
mod permission;
mod plugin_name;
mod plugin_state;
mod report;
mod role;
pub mod rpc;
pub mod text;
mod violation;

mod error_code;

pub use error_code::{ErrorBody, ErrorCode, ErrorDocument, UnknownErrorCode, errors_markdown};
pub use manifest::{
    HOOK_PRIORITY_DEFAULT, HookDeclaration, HookKind, LimitsRequest, Manifest, OnFailure, OnMemory,
    PermissionRequest, Runtime, TOOL_NAME_MAX_BYTES, ToolDeclaration, Wire, is_tool_name, manifest_schema,
};
pub use permission::{
    EXTENSION_WORD_MAX_BYTES, ExtensionName, Permission, PermissionError, PermissionName, SCOPE_MAX_BYTES,
    ScopeKind,
};
pub use plugin_name::{PLUGIN_NAME_MAX_BYTES, PluginName, PluginNameError};
pub use plugin_state::{PluginState, UnknownPluginState};
pub use report::{Denial, EnforcedLayer, RunReport, RunStatus, UNKNOWN_OBJECT, UNLISTED_OBJECT};
pub use role::{Role, UnknownRole};
pub use violation::{UnknownViolation, Violation};
