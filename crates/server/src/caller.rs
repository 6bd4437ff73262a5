//! Who asks.

use ringfence_api::{PluginName, Role};

/// Who sent a request, as the HTTP layer has found out; handlers and the MCP server take it from the request.
///
/// ```
/// use ringfence_api::Role;
/// use ringfence_server::Caller;
///
/// let caller = Caller {
///     actor: "token 7f".to_owned(),
///     role: Role::Viewer,
///     plugin: None,
///     correlation_id: "4f1c-1".to_owned(),
/// };
/// assert!(caller.role < Role::Admin);
/// ```
#[derive(Clone, Debug)]
pub struct Caller {
    /// How the audit trail names it.
    pub actor: String,
    /// What it may do.
    pub role: Role,
    /// The only plugin that it may see and act on; `None`: all.
    pub plugin: Option<PluginName>,
    /// Ties the records of this request together.
    pub correlation_id: String,
}
