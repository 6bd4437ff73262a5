//! Tokens: who may speak to the daemon, and until when.
//!
//! A row holds the digest of a token's secret, never the secret. It is sealed like grants are: a row that was written or
//! changed by hand opens nothing.

use ringfence_api::{ErrorCode, PluginName, Role};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};

use super::audit::{self, AuditEvent, Subject};
use super::fault::Fault;
use super::key::{DIGEST_BYTES, Key, same};
use super::writer::Context;
use super::{Actor, Store, now_ms, plugins};
use crate::Error;
use crate::token::TOKENS_MAX;

/// One that has expired is listed for so long, in milliseconds; then the next new token takes its place.
const EXPIRED_KEPT_MS: i64 = 30 * 24 * 3_600_000;

const PURPOSE: &str = "token seal";
const COLUMNS: &str =
    "id, role, plugin, name, digest, created_by, created_at_ms, expires_at_ms, last_used_at_ms, seal";

/// One token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenRow {
    /// What names it.
    pub(crate) id: String,
    /// What its bearer may do.
    pub(crate) role: Role,
    /// The one plugin that it is for; `None`: all.
    pub(crate) plugin: Option<PluginName>,
    /// What it is for, in the words of whoever made it.
    pub(crate) name: String,
    /// Of its secret.
    pub(crate) digest: [u8; DIGEST_BYTES],
    /// Who made it.
    pub(crate) created_by: String,
    /// When, in milliseconds since 1970.
    pub(crate) created_at_ms: i64,
    /// From when on it opens nothing; `None`: never.
    pub(crate) expires_at_ms: Option<i64>,
    /// When it was used last, to the minute.
    pub(crate) last_used_at_ms: Option<i64>,
}

impl std::fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRow").field("id", &self.id).field("role", &self.role).finish_non_exhaustive()
    }
}

impl TokenRow {
    fn seal(&self, key: &Key) -> [u8; DIGEST_BYTES] {
        let plugin = self.plugin.as_ref().map_or("", PluginName::as_str);
        let created = self.created_at_ms.to_be_bytes();
        // Absent is shorter than any number.
        let expires = self.expires_at_ms.map_or_else(Vec::new, |at| at.to_be_bytes().to_vec());
        let parts: [&[u8]; 8] = [
            self.id.as_bytes(),
            self.role.as_str().as_bytes(),
            plugin.as_bytes(),
            self.name.as_bytes(),
            &self.digest,
            self.created_by.as_bytes(),
            &created,
            &expires,
        ];
        key.mac(PURPOSE, parts)
    }

    fn subject(&self, connection: &Connection, by: &Actor) -> Result<Subject, Fault> {
        let subject = match &self.plugin {
            Some(name) => plugins::require(connection, name)?.owner().subject(),
            None => Subject::default(),
        };
        Ok(by.tie(subject))
    }
}

/// The row, if it is as Ringfence wrote it; `None` when anything of it was not.
fn read(row: &Row<'_>, key: &Key) -> rusqlite::Result<Option<TokenRow>> {
    let (role, plugin): (String, Option<String>) = (row.get(1)?, row.get(2)?);
    let (digest, seal): (Vec<u8>, Vec<u8>) = (row.get(4)?, row.get(9)?);
    let (Ok(role), Ok(plugin), Ok(digest)) =
        (role.parse(), plugin.map(|plugin| plugin.parse()).transpose(), digest.try_into())
    else {
        return Ok(None);
    };
    let token = TokenRow {
        id: row.get(0)?,
        role,
        plugin,
        name: row.get(3)?,
        digest,
        created_by: row.get(5)?,
        created_at_ms: row.get(6)?,
        expires_at_ms: row.get(7)?,
        last_used_at_ms: row.get(8)?,
    };
    let genuine = same(&seal, &token.seal(key));
    if !genuine {
        tracing::error!(token = %token.id.escape_debug(), "a token was not written by Ringfence: it opens nothing");
    }
    Ok(genuine.then_some(token))
}

fn remove(
    transaction: &Transaction<'_>,
    context: &Context,
    token: &TokenRow,
    by: &Actor,
    reason: &str,
) -> Result<(), Fault> {
    transaction.prepare_cached("DELETE FROM tokens WHERE id = ?1")?.execute([&token.id])?;
    let subject = token.subject(transaction, by)?;
    let event = AuditEvent::TokenRevoke { id: token.id.clone(), reason: reason.to_owned(), by: by.text() };
    audit::append(transaction, &context.key, now_ms(), &subject, &event).map(drop)
}

/// Revokes the tokens of a plugin that is about to go. Those that were written by hand go without a record.
pub(super) fn revoke_of_plugin(
    transaction: &Transaction<'_>,
    context: &Context,
    name: &PluginName,
    by: &Actor,
) -> Result<(), Fault> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE plugin = ?1 ORDER BY id");
    let tokens: Vec<Option<TokenRow>> = transaction
        .prepare_cached(&sql)?
        .query_map([name.as_str()], |row| read(row, &context.key))?
        .collect::<Result<_, _>>()?;
    for token in tokens.into_iter().flatten() {
        remove(transaction, context, &token, by, "its plugin was uninstalled")?;
    }
    transaction.prepare_cached("DELETE FROM tokens WHERE plugin = ?1")?.execute([name.as_str()])?;
    Ok(())
}

impl Store {
    /// Adds a token. On the disk, with its audit record, before it returns.
    ///
    /// # Errors
    /// `not_found` without the plugin that it is for; `quota` above [`TOKENS_MAX`]; `busy` or `io`.
    pub(crate) fn add_token(&self, token: TokenRow, by: impl Into<Actor>) -> Result<(), Error> {
        let by = by.into();
        self.write("record the token", move |transaction, context| {
            let subject = token.subject(transaction, &by)?;
            transaction
                .prepare_cached("DELETE FROM tokens WHERE expires_at_ms < ?1")?
                .execute([now_ms().saturating_sub(EXPIRED_KEPT_MS)])?;
            let count: usize =
                transaction.prepare_cached("SELECT count(*) FROM tokens")?.query_row([], |row| row.get(0))?;
            if count >= TOKENS_MAX {
                return Err(Error::new(ErrorCode::Quota, format!("there are {count} tokens, the most"))
                    .with_hint(
                        "revoke what is not needed: `ringfence token list`, `ringfence token revoke ID`",
                    )
                    .into());
            }
            let seal = token.seal(&context.key);
            transaction
                .prepare_cached(
                    "INSERT INTO tokens (id, role, plugin, name, digest, created_by, created_at_ms, \
                     expires_at_ms, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute((
                    &token.id,
                    token.role.as_str(),
                    token.plugin.as_ref().map(PluginName::as_str),
                    &token.name,
                    &token.digest[..],
                    &token.created_by,
                    token.created_at_ms,
                    token.expires_at_ms,
                    &seal[..],
                ))?;
            let event = AuditEvent::TokenCreate {
                id: token.id.clone(),
                role: token.role.as_str().to_owned(),
                name: token.name.clone(),
                expires_at_ms: token.expires_at_ms,
                by: by.text(),
            };
            audit::append(transaction, &context.key, token.created_at_ms, &subject, &event).map(drop)
        })
    }

    /// All tokens, the oldest first, expired ones too. What was written by hand is left out.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn tokens(&self) -> Result<Vec<TokenRow>, Error> {
        self.read("list the tokens", |connection| {
            let sql = format!("SELECT {COLUMNS} FROM tokens ORDER BY created_at_ms, id");
            let rows: Vec<Option<TokenRow>> = connection
                .prepare_cached(&sql)?
                .query_map([], |row| read(row, &self.inner.key))?
                .collect::<Result<_, _>>()?;
            Ok(rows.into_iter().flatten().collect())
        })
    }

    /// A token that is as Ringfence wrote it, expired or not.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn token(&self, id: &str) -> Result<Option<TokenRow>, Error> {
        self.read("read a token", |connection| {
            let sql = format!("SELECT {COLUMNS} FROM tokens WHERE id = ?1");
            let found = connection
                .prepare_cached(&sql)?
                .query_row([id], |row| read(row, &self.inner.key))
                .optional()?;
            Ok(found.flatten())
        })
    }

    /// Takes a token out of the world. On the disk, with its audit record, before it returns.
    ///
    /// # Errors
    /// `not_found` without such a token; `busy` or `io`.
    pub(crate) fn revoke_token(&self, id: &str, by: impl Into<Actor>) -> Result<(), Error> {
        let (id, by) = (id.to_owned(), by.into());
        self.write("revoke the token", move |transaction, context| {
            let sql = format!("SELECT {COLUMNS} FROM tokens WHERE id = ?1");
            let found = transaction
                .prepare_cached(&sql)?
                .query_row([&id], |row| read(row, &context.key))
                .optional()?;
            match found {
                Some(Some(token)) => remove(transaction, context, &token, &by, "revoked"),
                // What was written by hand opens nothing, and may go all the same.
                Some(None) => {
                    transaction.prepare_cached("DELETE FROM tokens WHERE id = ?1")?.execute([&id])?;
                    let event =
                        AuditEvent::TokenRevoke { id, reason: "not genuine".to_owned(), by: by.text() };
                    let subject = by.tie(Subject::default());
                    audit::append(transaction, &context.key, now_ms(), &subject, &event).map(drop)
                }
                None => {
                    Err(Error::new(ErrorCode::NotFound, format!("there is no token {}", id.escape_debug()))
                        .with_hint("`ringfence token list` shows the tokens")
                        .into())
                }
            }
        })
    }

    /// Notes when a token was used. Nothing depends on it.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn token_used(&self, id: &str, at_ms: i64) -> Result<(), Error> {
        let id = id.to_owned();
        self.write("note the use of a token", move |transaction, _| {
            transaction
                .prepare_cached("UPDATE tokens SET last_used_at_ms = ?2 WHERE id = ?1")?
                .execute((&id, at_ms))?;
            Ok(())
        })
    }
}
