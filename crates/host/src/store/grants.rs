//! Grants and consents: what a person allowed.

use std::collections::BTreeMap;

use ringfence_api::{ErrorCode, Permission, PluginName, PluginState};
use rusqlite::{Connection, OptionalExtension as _, Transaction};

use super::audit::{self, AuditEvent};
use super::fault::Fault;
use super::plugins::{self, PluginRow};
use super::writer::Context;
use super::{Actor, Owner, Store, now_ms, seal};
use crate::Error;
use crate::pin::Pin;

/// The most grants of one plugin.
const GRANTS_MAX: usize = 1_000;

/// One permission that a plugin has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct GrantRow {
    /// In canonical form.
    #[serde(with = "permission_text")]
    pub(crate) permission: Permission,
    /// Who granted it.
    pub(crate) by: String,
    /// When, in milliseconds since 1970.
    pub(crate) granted_at_ms: i64,
    /// What lay at its place at the consent; `None` for what is over no files, and for a grant of the time before places were
    /// kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pin: Option<Pin>,
}

/// What lies at the places of grants, by the text of the grant.
pub(crate) type Places = BTreeMap<String, Pin>;

mod permission_text {
    use ringfence_api::Permission;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(permission: &Permission, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(permission)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Permission, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a person says yes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consent {
    /// The package that was looked at. Consent to another one than the installed (or pending) is refused.
    pub(crate) digest: String,
    /// What it asked for.
    pub(crate) asked: Vec<Permission>,
    /// What is granted; it may be less. These become all grants of the plugin.
    pub(crate) granted: Vec<Permission>,
    /// Where that leads.
    pub(crate) places: Places,
    /// Who.
    pub(crate) by: Actor,
}

/// What a person said yes to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ConsentRow {
    /// The package.
    pub(crate) digest: String,
    /// What it asked for.
    pub(crate) asked: Vec<String>,
    /// What was granted then.
    pub(crate) granted: Vec<String>,
    /// Who.
    pub(crate) by: String,
    /// When, in milliseconds since 1970.
    pub(crate) consented_at_ms: i64,
}

/// What a start goes by: read at once, with the seal checked.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    /// The plugin.
    pub(crate) plugin: PluginRow,
    /// What it was granted.
    pub(crate) grants: Vec<GrantRow>,
    /// The consent to exactly this package by this publisher; `None`: nobody consented.
    pub(crate) consent: Option<ConsentRow>,
}

pub(super) fn texts(permissions: &[Permission]) -> Vec<String> {
    permissions.iter().map(ToString::to_string).collect()
}

fn pin_json(pin: &Pin) -> Result<String, Fault> {
    Ok(serde_json::to_string(pin)
        .map_err(|e| Error::new(ErrorCode::Internal, "cannot write a place").with_source(e))?)
}

/// Places for the audit trail: what is granted, and what was there.
fn told<'p>(places: impl Iterator<Item = (&'p String, &'p Pin)>) -> Vec<String> {
    let identity = |pin: &Pin| match &pin.seen {
        Some(seen) => format!(" (device {}, inode {})", seen.device, seen.inode),
        None => String::new(),
    };
    places.map(|(grant, pin)| format!("{grant}: {}{}", pin.words(), identity(pin))).collect()
}

fn json(list: &[String]) -> Result<String, Fault> {
    Ok(serde_json::to_string(list)
        .map_err(|e| Error::new(ErrorCode::Internal, "cannot write a list").with_source(e))?)
}

pub(super) fn of_owner(connection: &Connection, owner: &Owner) -> Result<Vec<GrantRow>, Fault> {
    let rows: Vec<(String, String, i64, Option<String>)> = connection
        .prepare_cached(
            "SELECT permission, granted_by, granted_at_ms, pin FROM grants \
             LEFT JOIN grant_places USING (plugin, publisher, permission) \
             WHERE plugin = ?1 AND publisher = ?2 ORDER BY permission",
        )?
        .query_map((owner.name().as_str(), owner.publisher()), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut grants = Vec::with_capacity(rows.len());
    let unreadable = || {
        let message = format!("a stored grant of '{}' cannot be read", owner.name());
        Error::new(ErrorCode::InvalidPermission, message)
    };
    for (text, by, granted_at_ms, pin) in rows {
        let permission = text.parse().map_err(|e| unreadable().with_source(e))?;
        // One that cannot be read must not become one that is not there: that would be pinned anew.
        let pin = pin.map(|pin| serde_json::from_str(&pin)).transpose();
        let pin = pin.map_err(|e| unreadable().with_source(e))?;
        grants.push(GrantRow { permission, by, granted_at_ms, pin });
    }
    Ok(grants)
}

pub(super) fn add(transaction: &Transaction<'_>, owner: &Owner, grants: &[GrantRow]) -> Result<(), Fault> {
    for grant in grants {
        transaction
            .prepare_cached(
                "INSERT INTO grants (plugin, publisher, permission, granted_by, granted_at_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            )?
            .execute((
                owner.name().as_str(),
                owner.publisher(),
                grant.permission.to_string(),
                &grant.by,
                grant.granted_at_ms,
            ))?;
        if let Some(pin) = &grant.pin {
            transaction
                .prepare_cached(
                    "INSERT INTO grant_places (plugin, publisher, permission, pin) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT DO UPDATE SET pin = excluded.pin",
                )?
                .execute((
                    owner.name().as_str(),
                    owner.publisher(),
                    grant.permission.to_string(),
                    pin_json(pin)?,
                ))?;
        }
    }
    let count: usize = transaction
        .prepare_cached("SELECT count(*) FROM grants WHERE plugin = ?1")?
        .query_row([owner.name().as_str()], |row| row.get(0))?;
    if count > GRANTS_MAX {
        return Err(Error::new(
            ErrorCode::Quota,
            format!("plugin '{}' would have {count} grants; {GRANTS_MAX} is the most", owner.name()),
        )
        .with_hint("grant a directory instead of its files, or revoke what is not needed")
        .into());
    }
    Ok(())
}

/// Removes every grant of the plugin, of whatever publisher.
pub(super) fn clear(transaction: &Transaction<'_>, name: &PluginName) -> Result<(), Fault> {
    transaction.prepare_cached("DELETE FROM grants WHERE plugin = ?1")?.execute([name.as_str()])?;
    Ok(())
}

/// Writes the consent down and makes its grants the only ones.
pub(super) fn record(
    transaction: &Transaction<'_>,
    context: &Context,
    owner: &Owner,
    consent: &Consent,
) -> Result<(), Fault> {
    let (asked, granted) = (texts(&consent.asked), texts(&consent.granted));
    let now = now_ms();
    transaction
        .prepare_cached(
            "INSERT INTO consents (plugin, publisher, digest, asked, granted, consented_by, consented_at_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (plugin, publisher, digest) DO UPDATE SET \
             asked = excluded.asked, granted = excluded.granted, consented_by = excluded.consented_by, \
             consented_at_ms = excluded.consented_at_ms",
        )?
        .execute((
            owner.name().as_str(),
            owner.publisher(),
            &consent.digest,
            json(&asked)?,
            json(&granted)?,
            consent.by.name(),
            now,
        ))?;
    clear(transaction, owner.name())?;
    let row = |permission| row(permission, &consent.places, consent.by.name(), now);
    let rows: Vec<_> = consent.granted.iter().map(row).collect();
    add(transaction, owner, &rows)?;
    let places = told(consent.places.iter());
    let event =
        AuditEvent::Consent { digest: consent.digest.clone(), asked, granted, places, by: consent.by.text() };
    audit::append(transaction, &context.key, now, &consent.by.subject(owner), &event)?;
    Ok(())
}

fn row(permission: &Permission, places: &Places, by: &str, granted_at_ms: i64) -> GrantRow {
    let pin = places.get(&permission.to_string()).cloned();
    GrantRow { permission: permission.clone(), by: by.to_owned(), granted_at_ms, pin }
}

fn consent_to(connection: &Connection, plugin: &PluginRow) -> Result<Option<ConsentRow>, Fault> {
    let found: Option<(String, String, String, i64)> = connection
        .prepare_cached(
            "SELECT asked, granted, consented_by, consented_at_ms FROM consents \
             WHERE plugin = ?1 AND publisher = ?2 AND digest = ?3",
        )?
        .query_row((plugin.name().as_str(), &plugin.package.publisher, &plugin.package.digest), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let list = |text: &str| {
        serde_json::from_str(text).map_err(|e| {
            Fault::from(Error::new(ErrorCode::Internal, "a stored consent cannot be read").with_source(e))
        })
    };
    match found {
        None => Ok(None),
        Some((asked, granted, by, consented_at_ms)) => Ok(Some(ConsentRow {
            digest: plugin.package.digest.clone(),
            asked: list(&asked)?,
            granted: list(&granted)?,
            by,
            consented_at_ms,
        })),
    }
}

impl Store {
    /// The plugin with its grants and its consent, all as Ringfence wrote them: what a start goes by.
    ///
    /// # Errors
    /// `not_found` without such a plugin; `permission_denied` when a row was edited by hand; `busy` or `io`.
    pub(crate) fn trusted(&self, name: &PluginName) -> Result<Trusted, Error> {
        self.read("read the grants of a plugin", |connection| {
            seal::check(connection, &self.inner.key, name)?;
            let plugin = plugins::require(connection, name)?;
            let grants = of_owner(connection, &plugin.owner())?;
            let consent = consent_to(connection, &plugin)?;
            Ok(Trusted { plugin, grants, consent })
        })
    }

    /// The grants of a plugin, as Ringfence wrote them.
    ///
    /// # Errors
    /// As [`Store::trusted`].
    #[cfg(test)]
    pub(crate) fn grants(&self, name: &PluginName) -> Result<Vec<GrantRow>, Error> {
        self.trusted(name).map(|trusted| trusted.grants)
    }

    /// Records a person's consent: its grants become all grants of the plugin, and one that waited for consent becomes
    /// inactive. On the disk, with its audit record, before it returns.
    ///
    /// # Errors
    /// `not_found` without such a plugin; `busy` when another package is installed than the one that was looked at;
    /// `permission_denied` when the seal does not fit; `quota` above 1,000 grants; `busy` or `io` of the database.
    pub(crate) fn consent(&self, name: &PluginName, consent: Consent) -> Result<PluginRow, Error> {
        let name = name.clone();
        self.write("record the consent", move |transaction, context| {
            let row = plugins::require_sealed(transaction, context, &name, None)?;
            require_digest(&name, &row.package.digest, &consent.digest)?;
            record(transaction, context, &row.owner(), &consent)?;
            if row.state == PluginState::Installed {
                plugins::set_state(transaction, &name, PluginState::Inactive, None)?;
            }
            plugins::changed(transaction, context, &name)
        })
    }

    /// Adds grants; one that is there already leads where `places` says from now on. On the disk, with their audit record,
    /// before it returns.
    ///
    /// # Errors
    /// As [`Store::consent`].
    pub(crate) fn grant(
        &self,
        name: &PluginName,
        permissions: Vec<Permission>,
        places: Places,
        by: impl Into<Actor>,
    ) -> Result<PluginRow, Error> {
        let (name, by) = (name.clone(), by.into());
        self.write("record the grants", move |transaction, context| {
            let row = plugins::require_sealed(transaction, context, &name, None)?;
            let now = now_ms();
            let made = |permission| self::row(permission, &places, by.name(), now);
            let rows: Vec<_> = permissions.iter().map(made).collect();
            add(transaction, &row.owner(), &rows)?;
            let granted = texts(&permissions);
            let event = AuditEvent::Consent {
                digest: row.package.digest.clone(),
                asked: Vec::new(),
                granted,
                places: told(places.iter()),
                by: by.text(),
            };
            audit::append(transaction, &context.key, now, &by.subject(&row.owner()), &event)?;
            plugins::changed(transaction, context, &name)
        })
    }

    /// Keeps the places of grants that have none yet: those of the time before places were kept. On the disk, with the audit
    /// record, before it returns.
    ///
    /// # Errors
    /// As [`Store::consent`].
    pub(crate) fn pin(&self, name: &PluginName, places: Places) -> Result<PluginRow, Error> {
        let name = name.clone();
        self.write("keep the places of the grants", move |transaction, context| {
            let row = plugins::require_sealed(transaction, context, &name, None)?;
            let owner = row.owner();
            let mut kept = Vec::new();
            for (grant, pin) in &places {
                let count = transaction
                    .prepare_cached(
                        "INSERT INTO grant_places (plugin, publisher, permission, pin) \
                         SELECT plugin, publisher, permission, ?4 FROM grants \
                         WHERE plugin = ?1 AND publisher = ?2 AND permission = ?3 ON CONFLICT DO NOTHING",
                    )?
                    .execute((owner.name().as_str(), owner.publisher(), grant, pin_json(pin)?))?;
                if count > 0 {
                    kept.push((grant, pin));
                }
            }
            // Another process was quicker.
            if kept.is_empty() {
                return Ok(row);
            }
            let event = AuditEvent::Pin { places: told(kept.into_iter()) };
            audit::append(transaction, &context.key, now_ms(), &owner.subject(), &event)?;
            plugins::changed(transaction, context, &name)
        })
    }

    /// What any plugin is granted to write.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn granted_writing(&self) -> Result<Vec<Permission>, Error> {
        self.read("read what plugins may write", |connection| {
            let texts: Vec<String> = connection
                .prepare_cached(
                    "SELECT DISTINCT permission FROM grants WHERE permission LIKE 'file:write=%'",
                )?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            // What cannot be read opens nothing: its own plugin is not started.
            Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
        })
    }

    /// Takes grants back, exactly those with these texts, and gives which of them there were. On the disk, with the
    /// audit record, before it returns; a plugin that runs must be restarted by the caller.
    ///
    /// # Errors
    /// As [`Store::consent`].
    pub(crate) fn revoke(
        &self,
        name: &PluginName,
        permissions: Vec<Permission>,
        by: impl Into<Actor>,
    ) -> Result<Vec<Permission>, Error> {
        let (name, by) = (name.clone(), by.into());
        self.write("record the revocation", move |transaction, context| {
            let row = plugins::require_sealed(transaction, context, &name, None)?;
            let mut revoked = Vec::new();
            for permission in permissions {
                let count = transaction
                    .prepare_cached("DELETE FROM grants WHERE plugin = ?1 AND permission = ?2")?
                    .execute((name.as_str(), permission.to_string()))?;
                if count > 0 {
                    revoked.push(permission);
                }
            }
            if revoked.is_empty() {
                return Ok(revoked);
            }
            forget_before(transaction, &name, &revoked)?;
            let event = AuditEvent::Revoke { permissions: texts(&revoked), by: by.text() };
            audit::append(transaction, &context.key, now_ms(), &by.subject(&row.owner()), &event)?;
            plugins::changed(transaction, context, &name)?;
            Ok(revoked)
        })
    }
}

/// What was taken back does not come back with the version before.
fn forget_before(
    transaction: &Transaction<'_>,
    name: &PluginName,
    revoked: &[Permission],
) -> Result<(), Fault> {
    let saved: Option<String> = transaction
        .prepare_cached("SELECT previous_grants FROM plugins WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))?;
    let Some(saved) = saved else { return Ok(()) };
    let mut grants: Vec<GrantRow> = serde_json::from_str(&saved)
        .map_err(|e| Error::new(ErrorCode::Internal, "the kept grants cannot be read").with_source(e))?;
    grants.retain(|grant| !revoked.contains(&grant.permission));
    let text = serde_json::to_string(&grants)
        .map_err(|e| Error::new(ErrorCode::Internal, "the kept grants cannot be written").with_source(e))?;
    transaction
        .prepare_cached("UPDATE plugins SET previous_grants = ?2 WHERE name = ?1")?
        .execute((name.as_str(), text))?;
    Ok(())
}

/// Consent is to one package: what was looked at must be what is there.
pub(super) fn require_digest(name: &PluginName, found: &str, looked_at: &str) -> Result<(), Fault> {
    if found == looked_at {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::Busy,
        format!("plugin '{name}' is not the package that was looked at any more"),
    )
    .with_hint("look at what it asks for now, and consent to that")
    .into())
}
