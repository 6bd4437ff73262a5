//! Tokens: what opens the daemon's doors to somebody, how far, and until when.
//!
//! A token is shown once, when it is made. The home keeps the digest of its secret, sealed with the key of the store, so that
//! neither a copy of the database nor an edit of it opens anything. Made and revoked by [`Host`](crate::Host).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ringfence_api::{ErrorCode, PluginName, Role};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::clock;
use crate::store::TokenRow;

/// What every token begins with, so that a scanner for secrets knows one.
pub const TOKEN_PREFIX: &str = "rf_";
/// The longest life of a token that ends at all.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);
/// The longest description of a token, in bytes.
pub const TOKEN_NAME_MAX_BYTES: usize = 200;

/// The most tokens of one home.
pub const TOKENS_MAX: usize = 1_000;

/// Bytes of an id: enough that no two tokens ever have the same.
const ID_BYTES: usize = 8;
/// Bytes of a secret.
const SECRET_BYTES: usize = 32;

/// What names a token in lists and in the audit trail. It is no secret, and opens nothing.
///
/// ```
/// use ringfence::token::TokenId;
///
/// let id: TokenId = "00ff00ff00ff00ff".parse()?;
/// assert_eq!(id.as_str(), "00ff00ff00ff00ff");
/// assert!("../etc".parse::<TokenId>().is_err());
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct TokenId(String);

impl TokenId {
    /// The id as text: 16 digits in lower-case hexadecimal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = Error;

    /// # Errors
    /// `not_found`: what cannot be an id is no token's.
    fn from_str(text: &str) -> Result<Self, Error> {
        if is_hex(text, ID_BYTES) {
            return Ok(Self(text.to_owned()));
        }
        let message = format!("there is no token '{}'", crate::consent::shown(text));
        Err(Error::new(ErrorCode::NotFound, message)
            .with_hint("`ringfence token list` shows the tokens; an id has 16 hexadecimal digits"))
    }
}

/// The whole text of a token: whoever has it has what it opens. Neither `Debug` nor anything else shows it but
/// [`TokenText::reveal`].
///
/// ```
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// use ringfence::token::NewToken;
///
/// let made = host.create_token(NewToken::new(ringfence_api::Role::Viewer)).await?;
/// assert!(made.token.reveal().starts_with("rf_"));
/// assert_eq!(format!("{:?}", made.token), "TokenText(secret)");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    /// The text, for handing it over.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A secret of 256 random bits in lower-case hexadecimal digits, for what lives shorter than a token: a session, a link.
///
/// ```
/// # fn main() -> Result<(), ringfence::Error> {
/// let secret = ringfence::token::secret()?;
/// assert_eq!(secret.reveal().len(), 64);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `io` without random numbers.
pub fn secret() -> Result<TokenText, Error> {
    let mut bytes = [0; 32];
    ringfence_sandbox::tree::random(&mut bytes)
        .map_err(|e| Error::new(ErrorCode::Io, "there are no random numbers for a secret").with_source(e))?;
    Ok(TokenText(crate::store::hex(&bytes)))
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(secret)")
    }
}

/// What a token is to be.
///
/// ```
/// use std::time::Duration;
/// use ringfence::token::NewToken;
/// use ringfence_api::Role;
///
/// let month = Duration::from_secs(30 * 24 * 3_600);
/// let token = NewToken { expires: Some(month), ..NewToken::new(Role::Operator) };
/// assert!(token.plugin.is_none() && token.name.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What its bearer may do.
    pub role: Role,
    /// The one plugin that it is for. It goes when the plugin is uninstalled. Default: all plugins.
    pub plugin: Option<PluginName>,
    /// How long it lives, up to [`TOKEN_LIFE_MAX`]. Default: until it is revoked.
    pub expires: Option<Duration>,
    /// What it is for, in words; at most [`TOKEN_NAME_MAX_BYTES`]. Default: nothing.
    pub name: String,
}

impl NewToken {
    /// For all plugins, without an end and without a description.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self { role, plugin: None, expires: None, name: String::new() }
    }
}

/// What is known of a token; not its secret, which nobody but its bearer has.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// for token in host.tokens().await? {
///     println!("{} {} {}", token.id, token.role, token.expires_at.as_deref().unwrap_or("never"));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenInfo {
    /// What names it.
    pub id: TokenId,
    /// What its bearer may do.
    pub role: Role,
    /// The one plugin that it is for; `None`: all.
    pub plugin: Option<PluginName>,
    /// What it is for, escaped; empty when nobody said.
    pub name: String,
    /// Who made it.
    pub created_by: String,
    /// When, in unix milliseconds.
    pub created_at_ms: i64,
    /// From when on it opens nothing, in UTC as RFC 3339 writes it; `None`: it does not end by itself.
    pub expires_at: Option<String>,
    /// Whether that moment has passed.
    pub expired: bool,
    /// When it was used last, to the minute, in unix milliseconds; `None`: never.
    pub last_used_at_ms: Option<i64>,
}

/// A token that was just made: the only time that its text is known.
///
/// Written as JSON it is `{id, token, role, plugin, expires_at}`, with the text in it.
///
/// See [`TokenText`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedToken {
    /// The token itself.
    pub token: TokenText,
    /// What is known of it from now on.
    pub info: TokenInfo,
}

/// What is written of a token that was just made.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "CreatedToken"))]
struct WrittenToken<'a> {
    /// What names it.
    id: &'a TokenId,
    /// The token itself. It is shown this once.
    token: &'a str,
    /// What its bearer may do.
    role: Role,
    /// The one plugin that it is for; null: all.
    plugin: Option<&'a PluginName>,
    /// From when on it opens nothing, in UTC as RFC 3339 writes it; null: it does not end by itself.
    expires_at: Option<&'a str>,
}

impl Serialize for CreatedToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = WrittenToken {
            id: &self.info.id,
            token: self.token.reveal(),
            role: self.info.role,
            plugin: self.info.plugin.as_ref(),
            expires_at: self.info.expires_at.as_deref(),
        };
        written.serialize(serializer)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for CreatedToken {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        WrittenToken::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WrittenToken::json_schema(generator)
    }
}

/// A token as its bearer gives it: the id, and the digest of the secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) id: TokenId,
    pub(crate) digest: [u8; 32],
}

impl Given {
    /// `None` for what has not the form of a token: nothing is looked up for it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
        if !is_hex(id, ID_BYTES) || !is_hex(secret, SECRET_BYTES) {
            return None;
        }
        Some(Self { id: TokenId(id.to_owned()), digest: digest(secret) })
    }
}

/// Makes the text of a token and the row that knows it again.
///
/// # Errors
/// `usage` for a life that is none or too long, and for a description that is too long; `io` without random numbers.
pub(crate) fn make(new: NewToken, by: &str, now_ms: i64) -> Result<(TokenText, TokenRow), Error> {
    if new.name.len() > TOKEN_NAME_MAX_BYTES {
        let message = format!("a token's description has at most {TOKEN_NAME_MAX_BYTES} bytes");
        return Err(Error::new(ErrorCode::Usage, message));
    }
    let expires_at_ms = match new.expires {
        None => None,
        Some(life) if life.is_zero() || life > TOKEN_LIFE_MAX => {
            return Err(Error::new(
                ErrorCode::Usage,
                "a token lives for longer than nothing and at most 100 years",
            )
            .with_hint("leave the end out for one that lives until it is revoked"));
        }
        Some(life) => Some(now_ms.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX))),
    };
    let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
    ringfence_sandbox::tree::random(&mut id)
        .and_then(|()| ringfence_sandbox::tree::random(&mut secret))
        .map_err(|e| Error::new(ErrorCode::Io, "there are no random numbers for a token").with_source(e))?;
    let (id, secret) = (crate::store::hex(&id), crate::store::hex(&secret));
    let row = TokenRow {
        digest: digest(&secret),
        id: id.clone(),
        role: new.role,
        plugin: new.plugin,
        name: new.name,
        created_by: by.to_owned(),
        created_at_ms: now_ms,
        expires_at_ms,
        last_used_at_ms: None,
    };
    Ok((TokenText(format!("{TOKEN_PREFIX}{id}_{secret}")), row))
}

/// What is told of a row.
pub(crate) fn info(row: TokenRow, now_ms: i64) -> TokenInfo {
    TokenInfo {
        id: TokenId(row.id),
        role: row.role,
        plugin: row.plugin,
        name: crate::consent::shown(&row.name),
        created_by: row.created_by,
        created_at_ms: row.created_at_ms,
        expires_at: row.expires_at_ms.map(clock::rfc3339),
        expired: row.expires_at_ms.is_some_and(|at| at <= now_ms),
        last_used_at_ms: row.last_used_at_ms,
    }
}

fn digest(secret: &str) -> [u8; 32] {
    // 256 random bits need no slow digest: nobody can try them all.
    Sha256::digest(secret.as_bytes()).into()
}

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == bytes * 2 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_text_of_a_token_has_its_form() {
        let (text, row) = make(NewToken::new(Role::Admin), "ada", 7).unwrap();
        let given = Given::parse(text.reveal()).unwrap();
        assert!(given.id.as_str() == row.id && given.digest == row.digest);
        let whole = text.reveal();
        for length in 0..whole.len() {
            assert!(Given::parse(&whole[..length]).is_none(), "{length}");
        }
        for wrong in
            [format!("{whole}0"), format!(" {whole}"), whole.to_uppercase(), whole.replacen('_', "-", 1)]
        {
            assert!(Given::parse(&wrong).is_none(), "{wrong}");
        }
        assert!(Given::parse("rf_\u{e9}_\0").is_none());
    }

    #[test]
    fn no_two_are_alike_and_none_shows_itself() {
        let (first, row) = make(NewToken::new(Role::Admin), "ada", 7).unwrap();
        let (second, _) = make(NewToken::new(Role::Admin), "ada", 7).unwrap();
        assert_ne!(first, second);
        let secret = first.reveal().rsplit('_').next().unwrap();
        let created = CreatedToken { token: first.clone(), info: info(row.clone(), 8) };
        for text in
            [format!("{created:?}"), format!("{row:?}"), serde_json::to_string(&created.info).unwrap()]
        {
            assert!(!text.contains(secret), "{text}");
        }
        let json = serde_json::to_value(&created).unwrap();
        assert_eq!(json["token"], first.reveal());
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["id", "token", "role", "plugin", "expires_at"]);
    }

    #[test]
    fn a_life_has_a_length_and_a_description_a_limit() {
        let with = |expires, name: &str| {
            make(NewToken { expires, name: name.to_owned(), ..NewToken::new(Role::Viewer) }, "ada", 1_000)
        };
        assert_eq!(with(Some(Duration::from_secs(2)), "").unwrap().1.expires_at_ms, Some(3_000));
        assert_eq!(with(None, &"x".repeat(200)).unwrap().1.expires_at_ms, None);
        for (expires, name) in [
            (Some(Duration::ZERO), String::new()),
            (Some(TOKEN_LIFE_MAX + Duration::from_secs(1)), String::new()),
            (None, "x".repeat(201)),
        ] {
            assert_eq!(with(expires, &name).unwrap_err().code(), ErrorCode::Usage);
        }
    }
}
