//! How plugins come, change their version and go, each in one transaction with its audit record.
//!
//! Directories are moved by `lifecycle`, before a row names them and after no row does any more.

use ringfence_api::{ErrorCode, PluginName, PluginState};
use rusqlite::Transaction;

use super::audit::{self, AuditEvent};
use super::fault::Fault;
use super::grants::{self, Consent, GrantRow};
use super::plugins::{self, PackageRow, PluginRow};
#[cfg(test)]
use super::seal;
use super::writer::Context;
use super::{Actor, Owner, Store, data, history, now_ms, tokens};
use crate::Error;

/// What becomes of the grants at an upgrade.
#[derive(Clone, Debug)]
pub(crate) enum UpgradeGrants {
    /// Nobody has to be asked: these of the old grants stay.
    Keep(Vec<GrantRow>),
    /// A person was asked.
    Consented(Consent),
}

/// Whether the data of a plugin outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepData {
    /// It waits for the same name by the same publisher.
    Keep,
    /// It goes.
    Remove,
}

/// The refusal of a package whose name another one has.
pub(crate) fn already_installed(found: &PluginRow, wanted: &PackageRow) -> Error {
    Error::new(
        ErrorCode::AlreadyInstalled,
        format!(
            "plugin '{}' is installed in version {}, and this is another package of version {}",
            found.name(),
            found.package.version,
            wanted.version
        ),
    )
    .with_hint("use `ringfence upgrade`, or uninstall it first")
}

fn record(
    transaction: &Transaction<'_>,
    context: &Context,
    owner: &Owner,
    by: &Actor,
    event: &AuditEvent,
) -> Result<(), Fault> {
    audit::append(transaction, &context.key, now_ms(), &by.subject(owner), event).map(drop)
}

fn kept(connection: &Transaction<'_>, owner: &Owner) -> Result<bool, Fault> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM kept_data WHERE plugin = ?1 AND publisher = ?2")?
        .exists((owner.name().as_str(), owner.publisher()))?)
}

fn forget_kept(transaction: &Transaction<'_>, plugin: &str, publisher: &str) -> Result<(), Fault> {
    transaction
        .prepare_cached("DELETE FROM kept_data WHERE plugin = ?1 AND publisher = ?2")?
        .execute((plugin, publisher))?;
    Ok(())
}

impl Store {
    /// Makes a plugin of a package that lies in the store: it awaits consent. Data that the same name by the same
    /// publisher left behind is its own again. On the disk, with its audit record, before it returns.
    ///
    /// # Errors
    /// `already_installed` when the name has another package; `busy` or `io`. The same package again is no error.
    pub(crate) fn add_plugin(&self, package: PackageRow, by: impl Into<Actor>) -> Result<PluginRow, Error> {
        let by = by.into();
        self.write("record the plugin", move |transaction, context| {
            let (owner, now) = (package.owner(), now_ms());
            if let Some(found) = plugins::find(transaction, owner.name())? {
                let same = found.package.digest == package.digest;
                return if same { Ok(found) } else { Err(already_installed(&found, &package).into()) };
            }
            plugins::insert_package(transaction, &package)?;
            transaction
                .prepare_cached(
                    "INSERT INTO plugins (name, publisher, digest, state, installed_at_ms, updated_at_ms, revision) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0)",
                )?
                .execute((
                    owner.name().as_str(),
                    owner.publisher(),
                    &package.digest,
                    PluginState::Installed.as_str(),
                    now,
                ))?;
            if kept(transaction, &owner)? {
                forget_kept(transaction, owner.name().as_str(), owner.publisher())?;
            } else {
                // A process that was killed while it removed rows cannot leave any; a restored database can.
                data::clear(transaction, owner.name().as_str(), owner.publisher())?;
            }
            let event = AuditEvent::Install {
                version: package.version.to_string(),
                digest: package.digest.clone(),
                source: package.source.clone(),
                by: by.text(),
            };
            record(transaction, context, &owner, &by, &event)?;
            plugins::changed(transaction, context, owner.name())
        })
    }

    /// Lets another version of a plugin wait, in place of one that waited before. The plugin runs on as it is.
    ///
    /// # Errors
    /// `not_found` without such a plugin; `permission_denied` when the seal does not fit; `busy` when the plugin is not
    /// the one that was compared with (`from_digest`); `busy` or `io`.
    pub(crate) fn stage_upgrade(
        &self,
        package: PackageRow,
        from_digest: &str,
        added: Vec<String>,
        by: impl Into<Actor>,
    ) -> Result<PluginRow, Error> {
        let (from_digest, by) = (from_digest.to_owned(), by.into());
        self.write("record the upgrade", move |transaction, context| {
            let name = package.plugin.clone();
            let row = plugins::require_sealed(transaction, context, &name, None)?;
            grants::require_digest(&name, &row.package.digest, &from_digest)?;
            plugins::insert_package(transaction, &package)?;
            transaction
                .prepare_cached("UPDATE plugins SET pending_digest = ?2 WHERE name = ?1")?
                .execute((name.as_str(), &package.digest))?;
            plugins::drop_unnamed_packages(transaction)?;
            record(transaction, context, &package.owner(), &by, &step("staged", &row, &package, added, &by))?;
            plugins::changed(transaction, context, &name)
        })
    }

    /// Makes the waiting version the one that runs; the one before, with its grants, is kept for a rollback, in place of
    /// the one that was kept before.
    ///
    /// # Errors
    /// `not_found` without such a plugin or a waiting version; `permission_denied` when the seal does not fit; `busy` when
    /// the waiting version is not the one that was looked at; `consent_required` when grants are to be kept over a change
    /// of publisher; `busy` or `io`.
    pub(crate) fn commit_upgrade(
        &self,
        name: &PluginName,
        digest: &str,
        granted: UpgradeGrants,
        by: impl Into<Actor>,
    ) -> Result<PluginRow, Error> {
        let (name, digest, by) = (name.clone(), digest.to_owned(), by.into());
        self.write("record the upgrade", move |transaction, context| {
            let row = plugins::require_sealed(transaction, context, &name, None)?;
            let pending = row.pending.clone().ok_or_else(|| nothing_waits(&name))?;
            grants::require_digest(&name, &pending.digest, &digest)?;
            let before = grants::of_owner(transaction, &row.owner())?;
            let before = serde_json::to_string(&before).map_err(|e| {
                Error::new(ErrorCode::Internal, "cannot write the grants down").with_source(e)
            })?;
            transaction
                .prepare_cached(
                    "UPDATE plugins SET digest = pending_digest, publisher = ?2, previous_digest = digest, \
                     previous_grants = ?3, pending_digest = NULL WHERE name = ?1",
                )?
                .execute((name.as_str(), &pending.publisher, &before))?;
            let owner = pending.owner();
            match granted {
                UpgradeGrants::Consented(consent) => {
                    grants::require_digest(&name, &pending.digest, &consent.digest)?;
                    grants::record(transaction, context, &owner, &consent)?;
                    if row.state == PluginState::Installed {
                        plugins::set_state(transaction, &name, PluginState::Inactive, None)?;
                    }
                }
                UpgradeGrants::Keep(_) if pending.publisher != row.package.publisher => {
                    return Err(publisher_changed(&row, &pending).into());
                }
                UpgradeGrants::Keep(rows) => keep_consent(transaction, &row, &pending, &rows)?,
            }
            plugins::drop_unnamed_packages(transaction)?;
            record(transaction, context, &owner, &by, &step("committed", &row, &pending, Vec::new(), &by))?;
            plugins::changed(transaction, context, &name)
        })
    }

    /// Forgets the version that waits.
    ///
    /// # Errors
    /// `not_found` without such a plugin or a waiting version; `permission_denied` when the seal does not fit; `busy` or
    /// `io`.
    pub(crate) fn abandon_upgrade(
        &self,
        name: &PluginName,
        by: impl Into<Actor>,
    ) -> Result<PluginRow, Error> {
        let (name, by) = (name.clone(), by.into());
        self.write("record the upgrade", move |transaction, context| {
            let row = plugins::require_sealed(transaction, context, &name, None)?;
            let pending = row.pending.clone().ok_or_else(|| nothing_waits(&name))?;
            transaction
                .prepare_cached("UPDATE plugins SET pending_digest = NULL WHERE name = ?1")?
                .execute([name.as_str()])?;
            plugins::drop_unnamed_packages(transaction)?;
            record(
                transaction,
                context,
                &row.owner(),
                &by,
                &step("abandoned", &row, &pending, Vec::new(), &by),
            )?;
            plugins::changed(transaction, context, &name)
        })
    }

    /// Brings the version before back, with the grants that it had. The version that goes is forgotten.
    ///
    /// # Errors
    /// `not_found` without such a plugin or a version before; `permission_denied` when the seal does not fit; `busy` or
    /// `io`.
    pub(crate) fn rollback(
        &self,
        name: &PluginName,
        reason: &str,
        by: impl Into<Actor>,
    ) -> Result<PluginRow, Error> {
        let (name, reason, by) = (name.clone(), reason.to_owned(), by.into());
        self.write("record the rollback", move |transaction, context| {
            let row = plugins::require_sealed(transaction, context, &name, None)?;
            let previous = row.previous.clone().ok_or_else(|| nothing_before(&name))?;
            let saved: Option<String> = transaction
                .prepare_cached("SELECT previous_grants FROM plugins WHERE name = ?1")?
                .query_row([name.as_str()], |row| row.get(0))?;
            let saved: Vec<GrantRow> =
                serde_json::from_str(saved.as_deref().unwrap_or("[]")).map_err(|e| {
                    Error::new(ErrorCode::Internal, "the kept grants cannot be read").with_source(e)
                })?;
            transaction
                .prepare_cached(
                    "UPDATE plugins SET digest = previous_digest, publisher = ?2, previous_digest = NULL, \
                     previous_grants = NULL WHERE name = ?1",
                )?
                .execute((name.as_str(), &previous.publisher))?;
            grants::clear(transaction, &name)?;
            grants::add(transaction, &previous.owner(), &saved)?;
            plugins::drop_unnamed_packages(transaction)?;
            let event = AuditEvent::Rollback {
                from: row.package.version.to_string(),
                to: previous.version.to_string(),
                reason,
                by: by.text(),
            };
            record(transaction, context, &previous.owner(), &by, &event)?;
            plugins::changed(transaction, context, &name)
        })
    }

    /// Forgets a plugin: its rows, grants, consents, configuration, history, and its data unless that is kept. It works
    /// also when the seal does not fit: removing is always allowed. One that was active is recorded as deactivated first.
    ///
    /// # Errors
    /// `not_found` without such a plugin; `busy` or `io`.
    pub(crate) fn remove_plugin(
        &self,
        name: &PluginName,
        keep: KeepData,
        by: impl Into<Actor>,
    ) -> Result<(), Error> {
        let (name, by) = (name.clone(), by.into());
        self.write("remove the plugin", move |transaction, context| {
            let row = plugins::require(transaction, &name)?;
            let owner = row.owner();
            match keep {
                KeepData::Remove => data::clear(transaction, name.as_str(), owner.publisher())?,
                KeepData::Keep => {
                    transaction
                        .prepare_cached(
                            "INSERT INTO kept_data (plugin, publisher, kept_at_ms) VALUES (?1, ?2, ?3) \
                             ON CONFLICT DO UPDATE SET kept_at_ms = excluded.kept_at_ms",
                        )?
                        .execute((name.as_str(), owner.publisher(), now_ms()))?;
                }
            }
            audit::close_denials(transaction, &context.key, audit::Closing::Of(name.as_str()))?;
            history::clear(transaction, name.as_str())?;
            tokens::revoke_of_plugin(transaction, context, &name, &by)?;
            transaction.prepare_cached("DELETE FROM plugins WHERE name = ?1")?.execute([name.as_str()])?;
            plugins::drop_unnamed_packages(transaction)?;
            if matches!(row.state, PluginState::Active | PluginState::Errored) {
                let version = row.package.version.to_string();
                let event = AuditEvent::Deactivate { version, by: by.text() };
                record(transaction, context, &owner, &by, &event)?;
            }
            let event = AuditEvent::Uninstall {
                version: row.package.version.to_string(),
                digest: row.package.digest.clone(),
                data_kept: keep == KeepData::Keep,
                by: by.text(),
            };
            record(transaction, context, &owner, &by, &event)
        })
    }

    /// Whose data waits: plugin and publisher.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn kept_data(&self) -> Result<Vec<Owner>, Error> {
        self.read("list the kept data", |connection| {
            let rows: Vec<(String, String)> = connection
                .prepare_cached("SELECT plugin, publisher FROM kept_data ORDER BY plugin, publisher")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            Ok(rows
                .into_iter()
                .filter_map(|(plugin, publisher)| Some(Owner::new(plugin.parse().ok()?, publisher)))
                .collect())
        })
    }

    /// Forgets data that waits. The directory is removed by the next recovery.
    ///
    /// # Errors
    /// `busy` or `io`.
    #[cfg(test)]
    pub(crate) fn drop_kept_data(&self, owner: &Owner) -> Result<(), Error> {
        let owner = owner.clone();
        self.write("remove the kept data", move |transaction, _| {
            if kept(transaction, &owner)? {
                forget_kept(transaction, owner.name().as_str(), owner.publisher())?;
                data::clear(transaction, owner.name().as_str(), owner.publisher())?;
            }
            Ok(())
        })
    }

    /// The digests of all packages that a plugin names: what the directory of packages must hold.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn package_digests(&self) -> Result<Vec<String>, Error> {
        self.read("list the packages", |connection| {
            Ok(connection
                .prepare_cached("SELECT digest FROM packages ORDER BY digest")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?)
        })
    }

    /// What was remembered of a package's files, as long as it was written with our key: see `package::verify`.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn fingerprint(&self, digest: &str) -> Result<Option<Vec<u8>>, Error> {
        self.read("read the fingerprint of a package", |connection| {
            use rusqlite::OptionalExtension as _;
            let found: Option<Option<Vec<u8>>> = connection
                .prepare_cached("SELECT fingerprint FROM packages WHERE digest = ?1")?
                .query_row([digest], |row| row.get(0))
                .optional()?;
            Ok(found.flatten())
        })
    }

    /// Remembers the fingerprint of a package; `None` forgets it.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn set_fingerprint(&self, digest: &str, fingerprint: Option<Vec<u8>>) -> Result<(), Error> {
        let digest = digest.to_owned();
        self.write("remember the fingerprint of a package", move |transaction, _| {
            transaction
                .prepare_cached("UPDATE packages SET fingerprint = ?2 WHERE digest = ?1")?
                .execute((&digest, &fingerprint))?;
            Ok(())
        })
    }

    /// A code of the store's key, for what others keep in it.
    pub(crate) fn code(&self, purpose: &str, bytes: &[u8]) -> Vec<u8> {
        self.inner.key.mac(purpose, [bytes]).to_vec()
    }

    /// Checks the seals of all plugins and gives those that do not fit.
    ///
    /// # Errors
    /// `busy` or `io`.
    #[cfg(test)]
    pub(crate) fn broken_seals(&self) -> Result<Vec<PluginName>, Error> {
        let plugins = self.plugins()?;
        self.read("check the seals", |connection| {
            let mut broken = Vec::new();
            for plugin in plugins {
                match seal::check(connection, &self.inner.key, plugin.name()) {
                    Ok(()) => {}
                    Err(Fault::Refused(_)) => broken.push(plugin.name().clone()),
                    Err(fault @ Fault::Sql(_)) => return Err(fault),
                }
            }
            Ok(broken)
        })
    }
}

/// The consent to the version before goes for one that asks for no more; grants it no longer asks for are gone.
fn keep_consent(
    transaction: &Transaction<'_>,
    row: &PluginRow,
    pending: &PackageRow,
    rows: &[GrantRow],
) -> Result<(), Fault> {
    grants::clear(transaction, row.name())?;
    grants::add(transaction, &pending.owner(), rows)?;
    transaction
        .prepare_cached(
            "INSERT INTO consents (plugin, publisher, digest, asked, granted, consented_by, consented_at_ms) \
             SELECT plugin, publisher, ?4, asked, granted, consented_by, consented_at_ms FROM consents \
             WHERE plugin = ?1 AND publisher = ?2 AND digest = ?3 ON CONFLICT DO NOTHING",
        )?
        .execute((row.name().as_str(), &pending.publisher, &row.package.digest, &pending.digest))?;
    Ok(())
}

fn step(word: &str, from: &PluginRow, to: &PackageRow, added: Vec<String>, by: &Actor) -> AuditEvent {
    AuditEvent::Upgrade {
        step: word.to_owned(),
        from: from.package.version.to_string(),
        to: to.version.to_string(),
        digest: to.digest.clone(),
        source: to.source.clone(),
        added,
        by: by.text(),
    }
}

fn nothing_waits(name: &PluginName) -> Error {
    Error::new(ErrorCode::NotFound, format!("no other version of plugin '{name}' waits"))
        .with_hint("stage one with `ringfence upgrade`")
}

fn nothing_before(name: &PluginName) -> Error {
    Error::new(ErrorCode::NotFound, format!("there is no version of plugin '{name}' to go back to"))
        .with_hint("the version before is kept from an upgrade until the next one")
}

fn publisher_changed(from: &PluginRow, to: &PackageRow) -> Error {
    Error::new(
        ErrorCode::ConsentRequired,
        format!(
            "version {} of plugin '{}' is by another publisher: '{}' instead of '{}'",
            to.version,
            from.name(),
            to.publisher.escape_debug(),
            from.package.publisher.escape_debug()
        ),
    )
    .with_hint("look at it as at a new plugin, and consent to it")
}
