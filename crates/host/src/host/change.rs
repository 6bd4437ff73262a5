//! What comes, changes its version and goes: install, upgrade, rollback, uninstall.
//!
//! The durable steps are `lifecycle`'s; here is their order, and what runs meanwhile.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_api::{ErrorCode, Manifest, Permission, PluginName, PluginState};

use super::administer::InQuarantine;
use super::follow::Others;
use super::inspect::summary;
use super::package::{Package, UnpackedPackage};
use super::{Host, plugin_name};
use crate::Error;
use crate::hooks::{ON_DEACTIVATE, ON_INSTALL, ON_UNINSTALL};
use crate::lifecycle::{Context, Occasion, durable, rules};
use crate::plugin::{Consent, Installed, KeepData, PluginSummary, Upgraded};
use crate::scan::{Kept, Report};
use crate::schema::CompiledSchema;
use crate::store::{PackageRow, PluginRow, UpgradeGrants};

/// How an upgrade is made.
///
/// ```
/// assert!(!ringfence::host::UpgradeOptions::default().allow_downgrade);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpgradeOptions {
    /// Whether a version that is not newer is taken. Default false.
    pub allow_downgrade: bool,
    /// The plugin that the package must be of. Default: whichever it is of.
    pub expected: Option<PluginName>,
}

impl Host {
    /// Installs the package in a directory, or in the one directory below it that holds one, or in an archive, tar or tar
    /// compressed with gzip ([`Host::unpack`] says which). With a consent, or when the plugin asks for nothing, it is `inactive` afterwards, or `active` when its manifest says `enabled_by_default`; else it
    /// is `installed` and waits for one.
    ///
    /// The code of a Python class is looked at in a sandbox without any grant: it must exist and derive from a registered
    /// base class, unless consent is [`Consent::Withheld`]. Nothing else of the package is executed. Its code is scanned ([`crate::scan`]): findings are in the answer.
    ///
    /// # Errors
    /// `path_not_found`; `invalid_manifest` and `invalid_package` with every finding; `already_installed` for another version
    /// of an installed name; `policy_denied` when the policy refuses the package, or a rule of the scan that it names or
    /// [`HostBuilder::blocking_rules`](super::HostBuilder::blocking_rules) does; what [`Host::consent`] says of grants (then it is
    /// installed and waits).
    ///
    /// # Cancel safety
    /// Dropped, it is installed or it is not; nothing half-made stays.
    pub async fn install(&self, path: impl AsRef<Path>, consent: Consent) -> Result<Installed, Error> {
        let package = self.package_at(path.as_ref()).await?;
        self.install_package(package, consent).await
    }

    /// The same with an archive that was unpacked already.
    ///
    /// # Errors
    /// As [`Host::install`].
    ///
    /// # Cancel safety
    /// As [`Host::install`].
    pub async fn install_unpacked(
        &self,
        package: UnpackedPackage,
        consent: Consent,
    ) -> Result<Installed, Error> {
        self.install_package(Package::Unpacked(package), consent).await
    }

    async fn install_package(&self, package: Package, consent: Consent) -> Result<Installed, Error> {
        let _one_at_a_time = self.act().await;
        let (store, by) = (self.context().store.clone(), self.actor());
        let world = Arc::clone(self.context());
        let may_run = consent != Consent::Withheld;
        let (placed, scan) = store
            .run(move |store| {
                world.policy.require()?;
                let seen = Mutex::default();
                let inspect = |package: &Path, manifest: &Manifest, row: &PackageRow| {
                    super::policy::admit(&world, row, "install", &by)?;
                    look_at(&world, package, manifest, &seen)?;
                    if may_run { look_inside(&world, package, manifest) } else { Ok(()) }
                };
                let placed = durable::install(store, package.origin(), &by, &inspect)?;
                let scan = keep(&world, &placed.row.package, seen)?;
                Ok((placed, scan))
            })
            .await?;
        let name = placed.row.name().clone();
        let asks_nothing = placed.row.package.manifest()?.requested().is_ok_and(|asked| asked.is_empty());
        let said = consent.is_given();
        let wants = said || (consent == Consent::Absent && asks_nothing);
        if wants && (placed.changed || said || placed.row.state == PluginState::Installed) {
            self.record_consent(&name, consent).await?;
            self.follow(&name, Others::Awaited).await?;
            if placed.row.package.manifest()?.enabled_by_default {
                self.activate_now(&name, InQuarantine::Refused).await?;
            }
        }
        if placed.changed {
            let version = placed.row.package.version.to_string();
            self.tell_life(ON_INSTALL, &name, &version).await;
        }
        Ok(Installed {
            plugin: self.summary(&name).await?,
            digest: placed.row.package.digest.clone(),
            changed: placed.changed,
            notes: placed.notes,
            scan,
        })
    }

    /// Takes another version of an installed plugin. What it asks for beyond what is granted needs consent: without it the
    /// new version waits, and the old one runs on. With it, or when nothing more is asked, the new version is started; if it
    /// does not come up, the old one is put back by itself. The package that is installed already changes nothing, but a
    /// consent that is given with it holds as [`Host::consent`] would.
    ///
    /// # Errors
    /// `not_found` when nothing of that name is installed; `conflict` when the new version would show what is kept secret in
    /// the configuration; `usage` for an older version without
    /// [`UpgradeOptions::allow_downgrade`], and for a package of another plugin than [`UpgradeOptions::expected`]; those of [`Host::install`] for the package; `busy` when another process has not
    /// ended the old version in 10 s: the new one is in place all the same.
    ///
    /// # Cancel safety
    /// Dropped, the old version is in place, the new one waits, or the new one is in place.
    pub async fn upgrade(
        &self,
        path: impl AsRef<Path>,
        consent: Consent,
        options: UpgradeOptions,
    ) -> Result<Upgraded, Error> {
        let package = self.package_at(path.as_ref()).await?;
        self.upgrade_package(package, consent, options).await
    }

    /// The same with an archive that was unpacked already.
    ///
    /// # Errors
    /// As [`Host::upgrade`].
    ///
    /// # Cancel safety
    /// As [`Host::upgrade`].
    pub async fn upgrade_unpacked(
        &self,
        package: UnpackedPackage,
        consent: Consent,
        options: UpgradeOptions,
    ) -> Result<Upgraded, Error> {
        self.upgrade_package(Package::Unpacked(package), consent, options).await
    }

    async fn upgrade_package(
        &self,
        package: Package,
        consent: Consent,
        options: UpgradeOptions,
    ) -> Result<Upgraded, Error> {
        let _one_at_a_time = self.act().await;
        let (by, context) = (self.actor(), Arc::clone(self.context()));
        let store = context.store.clone();
        let allow_downgrade = options.allow_downgrade;
        let expected = options.expected.clone();
        let (staged, scan) = store
            .run(move |store| {
                context.policy.require()?;
                let seen = Mutex::default();
                let inspect = |package: &Path, manifest: &Manifest, row: &PackageRow| {
                    require_name(expected.as_ref(), &row.plugin)?;
                    super::policy::admit(&context, row, "upgrade", &by)?;
                    inspect(&context, package, manifest, &seen)
                };
                let wider = |row: &PluginRow, package: &Path, manifest: &Manifest| {
                    wider(&context, row, package, manifest)
                };
                let staged =
                    durable::stage_upgrade(store, package.origin(), allow_downgrade, &by, &inspect, &wider)?;
                let package = staged.row.pending.as_ref().unwrap_or(&staged.row.package);
                let scan = keep(&context, package, seen)?;
                Ok((staged, scan))
            })
            .await?;
        let name = staged.row.name().clone();
        // Where the same package is there already, nobody has looked into it.
        require_name(options.expected.as_ref(), &name)?;
        let Some(pending) = &staged.row.pending else {
            // The same package again: only what was said of its grants is done.
            let version = staged.row.package.version.to_string();
            if consent.is_given() {
                self.record_consent(&name, consent).await?;
                self.act_on_consent(&name, &staged.row, Others::Awaited).await?;
            }
            return Ok(Upgraded {
                plugin: self.summary(&name).await?,
                from_version: version.clone(),
                to_version: version,
                done: true,
                wider: Vec::new(),
                publisher_change: None,
                rolled_back: None,
                scan: Some(scan),
            });
        };
        let publisher_change = super::inspect::publisher_change(&staged.row.package, pending);
        let needs_consent = !staged.wider.is_empty() || publisher_change.is_some();
        if needs_consent && !consent.is_given() {
            return Ok(Upgraded {
                plugin: summary(&staged.row)?,
                from_version: staged.row.package.version.to_string(),
                to_version: pending.version.to_string(),
                done: false,
                wider: staged.wider,
                publisher_change,
                rolled_back: None,
                scan: Some(scan),
            });
        }
        let upgraded = self.commit_pending(&name, consent).await?;
        Ok(Upgraded { scan: Some(scan), ..upgraded })
    }

    /// Carries out the upgrade that waits; puts the old version back when the new one does not come up.
    pub(super) async fn commit_pending(
        &self,
        name: &PluginName,
        consent: Consent,
    ) -> Result<Upgraded, Error> {
        let before = self.row(name).await?;
        let pending = before
            .pending
            .clone()
            .ok_or_else(|| Error::new(ErrorCode::NotFound, format!("no upgrade of {name} waits")))?;
        self.keeps_secrets(&before, &pending).await?;
        let granted = self.upgrade_grants(name, &before.package, &pending, consent).await?;
        let wider = match &granted {
            UpgradeGrants::Consented(consent) => consent.granted.clone(),
            UpgradeGrants::Keep(_) => Vec::new(),
        };
        let (plugin, digest, by) = (name.clone(), pending.digest.clone(), self.actor());
        let store = self.context().store.clone();
        store.run(move |store| durable::commit_upgrade(store, &plugin, &digest, granted, &by)).await?;
        let retired = self.retire(name).await;
        let healthy = match before.state {
            PluginState::Active | PluginState::Errored => self.start_anew(name).await,
            _ => Ok(()),
        };
        let rolled_back = match healthy {
            Ok(()) => None,
            Err(error) => {
                let reason = format!("version {} did not start: {error}", pending.version);
                self.put_back(name, &reason).await?;
                Some(reason)
            }
        };
        if rolled_back.is_none() {
            self.activate_if_meant(name, before.state).await?;
        }
        self.outlive(name, retired?).await?;
        self.tidy().await?;
        Ok(Upgraded {
            plugin: self.summary(name).await?,
            from_version: before.package.version.to_string(),
            to_version: pending.version.to_string(),
            done: rolled_back.is_none(),
            wider,
            publisher_change: super::inspect::publisher_change(&before.package, &pending),
            rolled_back,
            scan: None,
        })
    }

    /// A secret that was given to one version is not shown because another one does not call it a secret.
    ///
    /// # Errors
    /// `conflict` with the places in the configuration.
    async fn keeps_secrets(&self, row: &PluginRow, other: &PackageRow) -> Result<(), Error> {
        let (owner, name) = (row.owner(), row.name().clone());
        let (before, after, version) =
            (row.package.manifest()?, other.manifest()?, other.version.to_string());
        let store = self.context().store.clone();
        store
            .run(move |store| {
                let compiled = |manifest: &Manifest| {
                    manifest.config_schema.as_ref().map(CompiledSchema::compile).transpose()
                };
                let Some(before) = compiled(&before)? else { return Ok(()) };
                let Some(config) = store.config(&owner)? else { return Ok(()) };
                let shown = before.shown_by(compiled(&after)?.as_ref(), &config.value);
                if shown.is_empty() {
                    return Ok(());
                }
                let message = format!(
                    "version {version} of {name} would show what is kept secret in its configuration: {}",
                    shown.join(", ")
                );
                Err(Error::new(ErrorCode::Conflict, message).with_hint(
                    "remove these values from the configuration first; they can be given again afterwards",
                ))
            })
            .await
    }

    /// What becomes of the grants: without a consent those of the old version that the new one still asks for.
    async fn upgrade_grants(
        &self,
        name: &PluginName,
        before: &PackageRow,
        pending: &PackageRow,
        consent: Consent,
    ) -> Result<UpgradeGrants, Error> {
        let (context, name, by) = (Arc::clone(self.context()), name.clone(), self.actor());
        let same_publisher = pending.publisher == before.publisher;
        let (pending, store) = (pending.clone(), context.store.clone());
        store
            .run(move |_| {
                super::policy::admit(&context, &pending, "upgrade", &by)?;
                // It waited, and what blocks may have been written since.
                let seen = context.scan_of(&pending, &pending.manifest()?);
                crate::scan::judge(&seen, &blocking_rules(&context)?)?;
                if !consent.is_given() && same_publisher {
                    return Ok(UpgradeGrants::Keep(context.trusted(&name)?.grants));
                }
                let asked = super::inspect::asked_now(&context, &name)?;
                let granted = super::administer::chosen(&asked, consent, &name)?;
                // As in any consent, what was granted before keeps its place; another publisher has been granted nothing.
                let kept = if same_publisher { context.trusted(&name)?.grants } else { Vec::new() };
                let places = super::inspect::judge_grants(&context, &pending, &granted, &kept, &by)?;
                Ok(UpgradeGrants::Consented(crate::store::Consent {
                    digest: asked.digest.clone(),
                    asked: asked.all(),
                    granted,
                    places,
                    by,
                }))
            })
            .await
    }

    /// Stops what runs and starts what is installed now.
    async fn start_anew(&self, name: &PluginName) -> Result<(), Error> {
        let supervisor = self.supervisor(name);
        supervisor.stop().await;
        supervisor.start(Occasion::Calls).await.map(drop)
    }

    async fn put_back(&self, name: &PluginName, reason: &str) -> Result<(), Error> {
        let (plugin, why, by) = (name.clone(), reason.to_owned(), self.actor());
        let store = self.context().store.clone();
        store.run(move |store| durable::rollback(store, &plugin, &why, &by).map(drop)).await?;
        let retired = self.retire(name).await;
        // The old version ran before; if it does not start now, its own state and log say so.
        if let Err(error) = self.start_anew(name).await {
            tracing::error!(plugin = %name, error = %error.chain(), "the version before did not start either");
        }
        self.outlive(name, retired?).await
    }

    /// Removes the files that nothing runs from any more.
    async fn tidy(&self) -> Result<(), Error> {
        let store = self.context().store.clone();
        store.run(durable::tidy).await
    }

    /// Drops the version that waits for consent: nobody is asked about it any more, and its files are removed. The installed
    /// version and its grants are as they were, and what runs goes on. With a `digest`, only the version of that package.
    ///
    /// # Errors
    /// `not_found` for the plugin, or when no version waits; `conflict` when another one waits than that of `digest`.
    ///
    /// # Cancel safety
    /// Dropped, it waits or it does not.
    pub async fn abandon_upgrade(&self, name: &str, digest: Option<&str>) -> Result<PluginSummary, Error> {
        let name = plugin_name(name)?;
        let _one_at_a_time = self.act().await;
        let (plugin, digest, by) = (name.clone(), digest.map(str::to_owned), self.actor());
        let store = self.context().store.clone();
        store
            .run(move |store| durable::abandon_upgrade(store, &plugin, digest.as_deref(), &by).map(drop))
            .await?;
        self.tidy().await?;
        self.summary(&name).await
    }

    /// Puts the version before the last upgrade back, with the grants that it had. A plugin that was active is started.
    ///
    /// # Errors
    /// `not_found` for the plugin, or when there is no version before; `conflict` when that one would show what is kept secret
    /// in the configuration; `policy_denied` when the policy refuses it; what a start
    /// says; `busy` when another process has not ended what it runs in 10 s: the version before is in place all the same.
    ///
    /// # Cancel safety
    /// Dropped, one of the two versions is in place.
    pub async fn rollback(&self, name: &str) -> Result<Upgraded, Error> {
        let name = plugin_name(name)?;
        let _one_at_a_time = self.act().await;
        let before = self.row(&name).await?;
        let (plugin, by) = (name.clone(), self.actor());
        let (store, context, previous) =
            (self.context().store.clone(), Arc::clone(self.context()), before.previous.clone());
        if let Some(package) = &before.previous {
            self.keeps_secrets(&before, package).await?;
        }
        let judged_by = self.actor();
        store
            .run(move |_| match &previous {
                Some(package) => super::policy::admit(&context, package, "rollback", &judged_by),
                None => context.policy.require().map(drop),
            })
            .await?;
        let store = self.context().store.clone();
        let after =
            store.run(move |store| durable::rollback(store, &plugin, "asked for by a person", &by)).await?;
        let retired = self.retire(&name).await;
        let started = if matches!(before.state, PluginState::Active | PluginState::Errored) {
            self.start_anew(&name).await
        } else {
            if let Some(supervisor) = self.known_supervisor(name.as_str()) {
                supervisor.stop().await;
            }
            Ok(())
        };
        self.outlive(&name, retired?).await?;
        self.tidy().await?;
        started?;
        Ok(Upgraded {
            plugin: self.summary(&name).await?,
            from_version: before.package.version.to_string(),
            to_version: after.package.version.to_string(),
            done: true,
            wider: Vec::new(),
            publisher_change: super::inspect::publisher_change(&before.package, &after.package),
            rolled_back: None,
            scan: None,
        })
    }

    /// Deactivates a plugin and removes its package, grants, configuration, log and, unless it is kept, its private data. What
    /// another process of this home runs of it is killed, and a call under way there fails with `not_found`. Its files are
    /// removed when nothing of it runs any more.
    ///
    /// # Errors
    /// `not_found`; `io` when something cannot be removed: it is removed when the home is opened next. `busy` when another
    /// process has not ended what it runs in 10 s: it is uninstalled all the same, and its files are removed later.
    ///
    /// # Cancel safety
    /// Dropped, the plugin is installed as before or it is gone.
    pub async fn uninstall(&self, name: &str, keep: KeepData) -> Result<(), Error> {
        let name = plugin_name(name)?;
        let _one_at_a_time = self.act().await;
        let row = self.row(&name).await?;
        let version = row.package.version.to_string();
        if row.state == PluginState::Active {
            self.tell_life(ON_DEACTIVATE, &name, &version).await;
        }
        // While its handlers are still there, whichever it has.
        self.tell_life(ON_UNINSTALL, &name, &version).await;
        let supervisor = self.forget_supervisor(&name);
        if let Some(supervisor) = supervisor {
            supervisor.end().await;
        }
        self.mailboxes().close(Some(&name)).await;
        let (plugin, by, home) = (name.clone(), self.actor(), self.home().clone());
        let keep = match keep {
            KeepData::Yes => crate::store::KeepData::Keep,
            KeepData::No => crate::store::KeepData::Remove,
        };
        let store = self.context().store.clone();
        let log = store
            .run(move |store| {
                durable::uninstall(store, &plugin, keep, &by)?;
                for package in [Some(row.package), row.pending, row.previous].into_iter().flatten() {
                    crate::scan::kept::remove(store.layout().home(), &package.digest);
                }
                Ok(crate::lifecycle::remove_log(&home, &plugin))
            })
            .await?;
        let retired = self.retire(&name).await?;
        self.outlive(&name, retired).await?;
        self.tidy().await?;
        self.context().events.forget(&name);
        log
    }
}

/// What a new version asks for beyond what is granted, as its own words.
fn wider(
    context: &crate::lifecycle::Context,
    row: &PluginRow,
    package: &Path,
    manifest: &Manifest,
) -> Result<Vec<Permission>, Error> {
    let granted: Vec<Permission> =
        context.trusted(row.name())?.grants.into_iter().map(|grant| grant.permission).collect();
    let old_asked: Vec<Permission> = asked(&row.package.manifest()?)?;
    // What was asked for before and refused is not asked for again: it is no wider than what was looked at.
    let known: Vec<Permission> = granted.into_iter().chain(old_asked).collect();
    let data = context.store.layout().data_dir(row.name());
    let requested = asked(manifest)?;
    let new_rules = rules(context, manifest, package, &data, &requested)?;
    let old_rules = rules(context, manifest, package, &data, &known)?;
    let wider = ringfence_policy::is_wider(new_rules.rules(), old_rules.rules());
    let texts: Vec<String> =
        wider.iter().map(|rule| rule.origin().trim_start_matches("--grant ").to_owned()).collect();
    Ok(requested.into_iter().filter(|permission| texts.contains(&permission.to_string())).collect())
}

fn asked(manifest: &Manifest) -> Result<Vec<Permission>, Error> {
    let requested = manifest.requested().map_err(super::inspect::broken_manifest)?;
    Ok(requested.into_iter().map(|(permission, _)| permission).collect())
}

/// Looks at a copy before it is installed: at its code, which is not run, and then at its class, which is, in a sandbox.
fn inspect(
    context: &Context,
    package: &Path,
    manifest: &Manifest,
    seen: &Mutex<Option<(Kept, Manifest)>>,
) -> Result<(), Error> {
    look_at(context, package, manifest, seen)?;
    look_inside(context, package, manifest)
}

/// Looks at the code of a copy, which is not run.
fn look_at(
    context: &Context,
    package: &Path,
    manifest: &Manifest,
    seen: &Mutex<Option<(Kept, Manifest)>>,
) -> Result<(), Error> {
    let kept = context.scanner.look(package);
    crate::scan::judge(&kept.clone().judged(Some(manifest)), &blocking_rules(context)?)?;
    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((kept, manifest.clone()));
    Ok(())
}

/// Looks at the class of a copy, by importing it in a sandbox without any grant.
fn look_inside(context: &Context, package: &Path, manifest: &Manifest) -> Result<(), Error> {
    crate::runtime::check_code(package, manifest, &context.world(&context.config()))
}

/// The rules of the scan that refuse a package: the application's, and those of the policy.
fn blocking_rules(context: &Context) -> Result<Vec<String>, Error> {
    let mut rules = context.blocking_rules.clone();
    if let Some(policy) = context.policy.require()? {
        rules.extend(policy.scan_rules.iter().map(|rule| rule.value.to_string()));
    }
    Ok(rules)
}

/// Keeps what was seen of a copy that is in the store now.
fn keep(
    context: &Context,
    package: &PackageRow,
    seen: Mutex<Option<(Kept, Manifest)>>,
) -> Result<Report, Error> {
    match seen.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((kept, manifest)) => {
            crate::scan::kept::write(context.store.layout().home(), &package.digest, &kept);
            Ok(kept.judged(Some(&manifest)))
        }
        None => Ok(context.scan_of(package, &package.manifest()?)),
    }
}

/// # Errors
/// `usage` for a package of another plugin.
fn require_name(expected: Option<&PluginName>, found: &PluginName) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != found => {
            Err(Error::new(ErrorCode::Usage, format!("the package is one of {found}, not of {expected}")))
        }
        _ => Ok(()),
    }
}
