//! Tokens: made, listed without their secrets, taken back.

use std::time::Duration;

use ringfence::token::{CreatedToken, NewToken, TokenId, TokenInfo};
use ringfence_api::{PluginName, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Done, Found, Made};
use super::asked::{Asked, Json};
use super::error::Failure;

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenBody {
    /// What it may do.
    pub role: Role,
    /// The only plugin that it is for; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginName>,
    /// After how many seconds it holds no more; never if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_153_600_000_u64))]
    pub expires_in_s: Option<u64>,
}

pub(super) async fn create(asked: Asked<(), Json<TokenBody>>) -> Result<Made<CreatedToken>, Failure> {
    let TokenBody { role, plugin, expires_in_s } = asked.body.0;
    let expires = expires_in_s.map(Duration::from_secs);
    Ok(Made(asked.host.create_token(NewToken { plugin, expires, ..NewToken::new(role) }).await?))
}

pub(super) async fn list(asked: Asked<(), ()>) -> Result<Found<Vec<TokenInfo>>, Failure> {
    Ok(Found(asked.host.tokens().await?))
}

pub(super) async fn revoke(asked: Asked<(), ()>) -> Result<Done, Failure> {
    let id: TokenId = asked.part("id").parse()?;
    asked.host.revoke_token(&id).await?;
    Ok(Done)
}
