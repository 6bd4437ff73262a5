//! One-time links to the dashboard, for the daemon's own user.

use ringfence_api::ErrorCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Made;
use super::asked::Asked;
use super::error::Failure;

/// An address that opens the dashboard once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct DashboardLink {
    /// The whole address. Whoever opens it first acts as an administrator.
    pub url: String,
    /// For how many seconds it can be used.
    pub expires_in_s: u64,
}

/// # Errors
/// `forbidden` for whoever has come with a token; `not_supported` where no browser can reach the server.
pub(super) async fn create(asked: Asked<(), ()>) -> Result<Made<DashboardLink>, Failure> {
    let Some(uid) = asked.owner() else {
        let message = "a link is made for the daemon's own user alone, over its socket";
        return Err(
            Failure::new(ErrorCode::Forbidden, message).hint("open the dashboard and paste the token there")
        );
    };
    Ok(Made(asked.api.links.create(uid)?))
}
