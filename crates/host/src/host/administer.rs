//! What an administrator does with an installed plugin: consent, grants, configuration, activating and deactivating.

use std::sync::Arc;

use ringfence_api::{ErrorCode, Permission, PermissionName, PluginName, PluginState};
use ringfence_policy::{Effect, Explanation, Request, Rule, RuleSet};
use serde_json::Value;

use super::follow::Others;
use super::{Host, plugin_name};
use crate::Error;
use crate::consent::ConsentRequest;
use crate::exec::held::Misfit;
use crate::exec::translate::Resolution;
use crate::hooks::{ON_ACTIVATE, ON_DEACTIVATE};
use crate::lifecycle::{
    Context, Move, Occasion, consent_required, effective, places, quarantined, with_defaults,
};
use crate::plugin::{Consent, GrantInfo, PluginSummary};
use crate::schema::CompiledSchema;
use crate::store::{Actor, AuditEvent, PluginRow, StateChange, Store};

/// How often a change of a configuration is made again when another process writes it at the same time.
const CONFIG_TRIES: u32 = 16;

/// What becomes of a plugin in quarantine that is to be activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InQuarantine {
    /// It is released: a person wants that.
    Released,
    /// It stays there.
    Refused,
}

impl Host {
    /// What would be asked now: of the installed version, or of the upgrade that waits.
    ///
    /// # Errors
    /// `not_found`; `permission_denied` when grants were changed by hand.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn consent_request(&self, name: &str) -> Result<ConsentRequest, Error> {
        let (name, context) = (plugin_name(name)?, Arc::clone(self.context()));
        let store = context.store.clone();
        store.run(move |_| super::inspect::consent_request(&context, &name)).await
    }

    /// Records what a person allows. What was granted before is replaced. An upgrade that waited for it is carried out; a
    /// plugin that waited for it, and whose manifest says `enabled_by_default`, is activated.
    ///
    /// # Errors
    /// `consent_required` when the consent is absent and the plugin asks for something; `invalid_permission`, `floor`,
    /// `path_not_found` for grants that cannot be held; `policy_denied` for one of which the policy leaves nothing;
    /// `not_found`; `busy` as for [`Host::revoke`]; what a start says, and then the consent holds.
    ///
    /// # Cancel safety
    /// Dropped, the consent is recorded or it is not; the plugin may not have been restarted yet.
    pub async fn consent(&self, name: &str, consent: Consent) -> Result<PluginSummary, Error> {
        self.consent_to(name, None, consent).await
    }

    /// The same for one package and no other: that of the upgrade that waits, or of the plugin where none does. Another one may
    /// have come since it was read.
    ///
    /// # Errors
    /// `conflict` when consent would be to another package than the one with this `digest`; as for [`Host::consent`].
    ///
    /// # Cancel safety
    /// As for [`Host::consent`].
    pub async fn consent_to(
        &self,
        name: &str,
        digest: Option<&str>,
        consent: Consent,
    ) -> Result<PluginSummary, Error> {
        let name = plugin_name(name)?;
        let _one_at_a_time = self.act().await;
        let before = self.row(&name).await?;
        let asks = &before.pending.as_ref().unwrap_or(&before.package).digest;
        if digest.is_some_and(|digest| digest != asks) {
            let message = format!("another package of {name} has come since this one was looked at");
            return Err(Error::new(ErrorCode::Conflict, message).with_hint("look at what it asks for now"));
        }
        if before.pending.is_some() {
            self.commit_pending(&name, consent).await.map(drop)?;
        } else {
            self.record_consent(&name, consent).await?;
            self.act_on_consent(&name, &before, Others::Awaited).await?;
        }
        self.summary(&name).await
    }

    /// What follows a consent that is recorded.
    pub(super) async fn act_on_consent(
        &self,
        name: &PluginName,
        before: &PluginRow,
        others: Others,
    ) -> Result<(), Error> {
        self.follow(name, others).await?;
        self.activate_if_meant(name, before.state).await
    }

    /// Activates what has waited for a consent, has it, and is meant to be active from then on.
    pub(super) async fn activate_if_meant(
        &self,
        name: &PluginName,
        before: PluginState,
    ) -> Result<(), Error> {
        let now = self.row(name).await?;
        let waited = before == PluginState::Installed && now.state == PluginState::Inactive;
        if waited && now.package.manifest()?.enabled_by_default {
            self.activate_now(name, InQuarantine::Refused).await?;
        }
        Ok(())
    }

    /// Consents without taking the lock of acts.
    pub(super) async fn record_consent(&self, name: &PluginName, consent: Consent) -> Result<(), Error> {
        let (context, wanted, by) = (Arc::clone(self.context()), name.clone(), self.actor());
        let store = context.store.clone();
        store
            .run(move |store| {
                let asked = super::inspect::asked_now(&context, &wanted)?;
                let granted = chosen(&asked, consent, &wanted)?;
                let row = context.row(&wanted)?;
                // A consent to something else is none to what lies at the place of an old grant by now.
                let kept = context.trusted(&wanted).map(|trusted| trusted.grants).unwrap_or_default();
                let places = super::inspect::judge_grants(&context, &row.package, &granted, &kept, &by)?;
                let (digest, asked) = (asked.digest.clone(), asked.all());
                let record = crate::store::Consent { digest, asked, granted, places, by };
                store.consent(&wanted, record).map(drop)
            })
            .await
    }

    /// Starts a plugin, waits until it has answered `initialize`, and records it as active. A person's act: it also releases
    /// a quarantine.
    ///
    /// # Errors
    /// `consent_required`; `policy_denied`; `quota` when its data directory holds more than it may, with what makes room; what
    /// the sandbox refuses; `timeout` and `plugin_failed` when the plugin does not start. Its state is then `errored`, or
    /// `quarantined` after too many failures.
    ///
    /// # Cancel safety
    /// Dropped, the start goes on by itself.
    pub async fn activate(&self, name: &str) -> Result<PluginSummary, Error> {
        let name = plugin_name(name)?;
        let _one_at_a_time = self.act().await;
        self.activate_now(&name, InQuarantine::Released).await?;
        self.summary(&name).await
    }

    /// The same for who may not release a quarantine: a machine, or the role `operator`. A plugin that is put into quarantine at
    /// the same time stays there.
    ///
    /// # Errors
    /// `quarantined`, with the reason; else as for [`Host::activate`].
    ///
    /// # Cancel safety
    /// As for [`Host::activate`].
    pub async fn activate_unless_quarantined(&self, name: &str) -> Result<PluginSummary, Error> {
        let name = plugin_name(name)?;
        let _one_at_a_time = self.act().await;
        self.activate_now(&name, InQuarantine::Refused).await?;
        self.summary(&name).await
    }

    pub(super) async fn activate_now(
        &self,
        name: &PluginName,
        in_quarantine: InQuarantine,
    ) -> Result<(), Error> {
        let row = self.row(name).await?;
        if row.state == PluginState::Quarantined && in_quarantine == InQuarantine::Refused {
            return Err(quarantined(name, row.state_reason.as_deref()));
        }
        // Before a consent is recorded or a quarantine released for a plugin that will not be started.
        let (context, package) = (Arc::clone(self.context()), row.package.clone());
        let (store, by) = (context.store.clone(), self.actor());
        store.run(move |_| super::policy::admit(&context, &package, "activate", &by)).await?;
        if row.state == PluginState::Installed {
            // What asks for nothing has nothing to be consented to.
            self.record_consent(name, Consent::Absent).await.map_err(|error| match error.code() {
                ErrorCode::ConsentRequired => consent_required(name),
                _ => error,
            })?;
        }
        // INVARIANT: what was not in quarantine here and is now is refused by the start, and released by nobody.
        if row.state == PluginState::Quarantined {
            self.release(name, &row).await?;
        }
        self.recorded_activation(&row).await?;
        self.supervisor(name).start(Occasion::Activation).await?;
        // What runs and is not recorded as active would be gone after the next opening: that is no activation.
        if self.row(name).await?.state != PluginState::Active {
            self.context().try_move(name, Move::Start, None).await?;
        }
        self.tell_life(ON_ACTIVATE, name, &row.package.version.to_string()).await;
        Ok(())
    }

    /// Who wants a plugin to be active, on the record before anything of it runs.
    async fn recorded_activation(&self, row: &PluginRow) -> Result<(), Error> {
        let by = self.actor();
        let subject = by.subject(&row.owner());
        let event = AuditEvent::Activate { version: row.package.version.to_string(), by: by.text() };
        let store = self.context().store.clone();
        store.run(move |store| store.audit(subject, event)).await
    }

    async fn release(&self, name: &PluginName, row: &PluginRow) -> Result<(), Error> {
        let Some(state) = crate::lifecycle::next(row.state, Move::Release) else { return Ok(()) };
        let change = StateChange {
            state,
            reason: None,
            expected_revision: Some(row.revision),
            event: Some(AuditEvent::Release { by: self.actor().text() }),
            by: Some(self.actor()),
        };
        let (store, plugin) = (self.context().store.clone(), name.clone());
        store
            .run(move |store| {
                store.clear_crashes(&plugin)?;
                store.set_state(&plugin, change).map(drop)
            })
            .await
    }

    /// Records a plugin as inactive and stops it in order, in whatever process of this home it runs: a call under way there
    /// fails with `not_active`. One that does not run is only recorded.
    ///
    /// # Errors
    /// `not_found`; `busy` as for [`Host::revoke`].
    ///
    /// # Cancel safety
    /// Dropped, it is recorded or it is not; what was recorded is carried out.
    pub async fn deactivate(&self, name: &str) -> Result<PluginSummary, Error> {
        let name = plugin_name(name)?;
        let _one_at_a_time = self.act().await;
        let row = self.row(&name).await?;
        if row.state == PluginState::Active {
            // Before its own handlers go.
            self.tell_life(ON_DEACTIVATE, &name, &row.package.version.to_string()).await;
        }
        // First recorded, so that a call that comes while it is being stopped is refused and starts nothing; and stopped whatever
        // the store says.
        let event =
            AuditEvent::Deactivate { version: row.package.version.to_string(), by: self.actor().text() };
        // One that is not active anyway is not deactivated.
        let event = crate::lifecycle::next(row.state, Move::Deactivate)
            .filter(|next| *next != row.state)
            .map(|_| event);
        let recorded = self.context().deactivated(&name, event, self.actor()).await;
        let retired = self.retire(&name).await;
        if let Some(supervisor) = self.known_supervisor(name.as_str()) {
            supervisor.stop().await;
        }
        self.mailboxes().close(Some(&name)).await;
        recorded?;
        self.outlive(&name, retired?).await?;
        self.summary(&name).await
    }

    /// What is granted.
    ///
    /// # Errors
    /// `not_found`; `permission_denied` when grants were changed by hand.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn grants(&self, name: &str) -> Result<Vec<GrantInfo>, Error> {
        self.grants_with_warnings(name, &[]).await
    }

    /// What is granted, with [warnings](GrantInfo::warnings) of those grants that are named: what was given just now.
    ///
    /// # Errors
    /// As for [`Host::grants`].
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn grants_with_warnings(
        &self,
        name: &str,
        just_now: &[Permission],
    ) -> Result<Vec<GrantInfo>, Error> {
        let (name, context, just_now) = (plugin_name(name)?, Arc::clone(self.context()), just_now.to_vec());
        let store = context.store.clone();
        store.run(move |_| super::inspect::grant_infos(&context, &context.trusted(&name)?, &just_now)).await
    }

    /// Grants more. A running plugin is restarted with it; one that runs in another process of this home, as soon as no call
    /// is under way there. Whoever grants all that a plugin cannot do without, while it waits for consent, has consented to it;
    /// what else it asks for is refused. What is answered has [warnings](GrantInfo::warnings) of what was granted now.
    ///
    /// # Errors
    /// `invalid_permission`, `floor`, `path_not_found` for grants that cannot be held; `policy_denied` for one of which the
    /// policy leaves nothing; `not_found`; what a start says.
    ///
    /// # Cancel safety
    /// Dropped, the grant is recorded or it is not; the plugin may not have been restarted yet.
    pub async fn grant(&self, name: &str, permissions: &[Permission]) -> Result<Vec<GrantInfo>, Error> {
        let plugin = plugin_name(name)?;
        let lock = self.act().await;
        let (context, wanted, by) = (Arc::clone(self.context()), plugin.clone(), self.actor());
        let wished = permissions.to_vec();
        let store = context.store.clone();
        let before = store
            .run(move |store| {
                let row = context.row(&wanted)?;
                let places = super::inspect::judge_grants(&context, &row.package, &wished, &[], &by)?;
                store.grant(&wanted, wished, places, &by)?;
                if row.state == PluginState::Installed && row.pending.is_none() {
                    complete_consent(&context, &wanted, &by)?;
                }
                Ok(row)
            })
            .await?;
        self.act_on_consent(&plugin, &before, Others::Told).await?;
        drop(lock);
        self.grants_with_warnings(name, permissions).await
    }

    /// Takes grants back. It acts at once: a running plugin is killed and started again with less, so that no descriptor or
    /// connection that it holds outlives the grant, in whatever process of this home it runs. A call under way there fails
    /// with `permission_denied`. When this returns, nothing runs any more with what was taken back.
    ///
    /// # Errors
    /// `not_found` for the plugin, or when none of them is granted; what a start says; `busy` when another process has not
    /// ended what it runs in 10 s, naming it: the grants are taken back all the same.
    ///
    /// # Cancel safety
    /// As for [`Host::grant`].
    pub async fn revoke(&self, name: &str, permissions: &[Permission]) -> Result<Vec<GrantInfo>, Error> {
        let plugin = plugin_name(name)?;
        let lock = self.act().await;
        let (context, wanted, by) = (Arc::clone(self.context()), plugin.clone(), self.actor());
        let permissions = permissions.to_vec();
        let store = context.store.clone();
        store
            .run(move |store| {
                context.row(&wanted)?;
                let revoked = store.revoke(&wanted, permissions.clone(), &by)?;
                if revoked.is_empty() && !permissions.is_empty() {
                    let asked: Vec<String> = permissions.iter().map(ToString::to_string).collect();
                    let message = format!("{wanted} has no grant {}", asked.join(", "));
                    return Err(Error::new(ErrorCode::NotFound, message)
                        .with_hint(format!("`ringfence grants {wanted}` shows them as they are written")));
                }
                Ok(())
            })
            .await?;
        self.follow(&plugin, Others::Awaited).await?;
        drop(lock);
        self.grants(name).await
    }

    /// Whether a plugin may do something, by which rule, and which grant would allow it. About a program it says whether the host
    /// would run it for the plugin: in its own sandbox, a plugin that may start any starts whatever it sees there, and the text
    /// says so.
    ///
    /// # Errors
    /// `not_found`; `permission_denied` when grants were changed by hand.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn check_permission(&self, name: &str, request: &Request) -> Result<Explanation, Error> {
        let name = plugin_name(name)?;
        if let Some(instance) =
            self.known_supervisor(name.as_str()).and_then(|supervisor| supervisor.running())
        {
            return Ok(explained(&instance.target.rules, request));
        }
        let (context, request) = (Arc::clone(self.context()), request.clone());
        let store = context.store.clone();
        store
            .run(move |store| {
                let trusted = context.trusted(&name)?;
                let manifest = trusted.plugin.package.manifest()?;
                let package = store.layout().package(&trusted.plugin.package.digest);
                let data = store.layout().data_dir(&name);
                let pins = Arc::new(places::known(&context, &name, &trusted.grants, Misfit::Told)?);
                let grants: Vec<Permission> =
                    trusted.grants.into_iter().map(|grant| grant.permission).collect();
                let policy = context.policy.require_for(name.as_str())?;
                let granted = (&grants[..], Some(&pins));
                let Resolution { set: rules, .. } =
                    effective(&context, &manifest, &package, &data, granted, &policy)?;
                Ok(explained(&rules, &request))
            })
            .await
    }

    /// Whether a plugin may do something: the answer of [`Host::check_permission`] without its reasons, for a hot path. On a
    /// plugin that runs it takes less than a microsecond.
    ///
    /// # Errors
    /// As for [`Host::check_permission`].
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn is_permitted(&self, name: &str, request: &Request) -> Result<bool, Error> {
        if let Some(instance) = self.known_supervisor(name).and_then(|supervisor| supervisor.running()) {
            return Ok(instance.target.rules.decide(request).is_allowed());
        }
        let explanation = self.check_permission(name, request).await?;
        Ok(explanation.effect == ringfence_policy::Effect::Allow)
    }

    /// The configuration with its defaults. Secrets are shown as `***`.
    ///
    /// # Errors
    /// `not_found`.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn config(&self, name: &str) -> Result<Value, Error> {
        let (name, context) = (plugin_name(name)?, Arc::clone(self.context()));
        let store = context.store.clone();
        store
            .run(move |store| {
                let row = context.row(&name)?;
                let schema = config_schema(&row)?;
                let config = store.config(&row.owner())?.map_or_else(empty, |row| row.value);
                let whole = with_defaults(schema.as_ref(), &config)?;
                Ok(schema.map_or_else(|| whole.clone(), |schema| schema.redact(&whole)))
            })
            .await
    }

    /// Replaces the configuration, after judging it by its schema. A secret given as `***` stays what it was; a default that is
    /// given as [`Host::config`] shows it, and was not stored, stays a default. A running plugin is told before its next call,
    /// in whatever process of this home it runs; one that does not take it is started anew. Returns what [`Host::config`] would.
    ///
    /// # Errors
    /// `schema_violation` with every place; then nothing is changed. `not_found`; `usage` when it is no object, or has a `***`
    /// for a secret that there is not; what a start says.
    ///
    /// # Cancel safety
    /// Dropped, it is written or it is not; the plugin may not have been told.
    pub async fn set_config(&self, name: &str, config: Value) -> Result<Value, Error> {
        self.write_config(name, config, None, super::settings::replaced).await
    }

    /// The same for a change that was made from this revision ([`Host::config_revision`]).
    ///
    /// # Errors
    /// As for [`Host::set_config`]; `conflict` when the configuration has another revision by now.
    ///
    /// # Cancel safety
    /// As for [`Host::set_config`].
    pub async fn set_config_at(&self, name: &str, config: Value, revision: i64) -> Result<Value, Error> {
        self.write_config(name, config, Some(revision), super::settings::replaced).await
    }

    /// How often the configuration was written; 0 when it never was. It grows also when only a secret has changed.
    ///
    /// # Errors
    /// `not_found`.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn config_revision(&self, name: &str) -> Result<i64, Error> {
        let row = self.row(&plugin_name(name)?).await?;
        let store = self.context().store.clone();
        store.run(move |store| Ok(stored_config(store, &row)?.1)).await
    }

    /// Sets these members of the configuration and leaves the others as they are stored, after judging the whole by its
    /// schema. A running plugin is told. Returns what [`Host::config`] would.
    ///
    /// # Errors
    /// As for [`Host::set_config`].
    ///
    /// # Cancel safety
    /// As for [`Host::set_config`].
    pub async fn change_config(&self, name: &str, changes: Value) -> Result<Value, Error> {
        self.write_config(name, changes, None, super::settings::changed).await
    }

    /// Writes what `settled` makes of what is given and what is stored.
    async fn write_config(
        &self,
        name: &str,
        given: Value,
        expected: Option<i64>,
        settled: fn(Option<&CompiledSchema>, Value, &Value) -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        let plugin = plugin_name(name)?;
        let lock = self.act().await;
        let (context, wanted, by) = (Arc::clone(self.context()), plugin.clone(), self.actor());
        let store = context.store.clone();
        store
            .run(move |store| {
                let row = context.row(&wanted)?;
                if !given.is_object() {
                    return Err(Error::new(ErrorCode::Usage, "a configuration is a JSON object")
                        .with_hint("write it as {\"name\": value, ...}"));
                }
                let schema = config_schema(&row)?;
                let mut tries = 0;
                loop {
                    tries += 1;
                    let (old, revision) = stored_config(store, &row)?;
                    if expected.is_some_and(|expected| expected != revision) {
                        let message = "the configuration was changed since it was read";
                        return Err(Error::new(ErrorCode::Conflict, message)
                            .with_hint("read it again and repeat the change"));
                    }
                    let config = settled(schema.as_ref(), given.clone(), &old)?;
                    super::judge(schema.as_ref(), &config, "the configuration")?;
                    // What is stored can be given to the plugin.
                    with_defaults(schema.as_ref(), &config)?;
                    match store.set_config(&row.owner(), config, Some(revision), &by) {
                        Ok(_) => return Ok(()),
                        // Somebody else was quicker: the change is made to what they wrote.
                        Err(_) if tries < CONFIG_TRIES && stored_config(store, &row)?.1 != revision => {}
                        Err(error) => return Err(error),
                    }
                }
            })
            .await?;
        self.follow(&plugin, Others::Told).await?;
        drop(lock);
        self.config(name).await
    }

    pub(super) async fn row(&self, name: &PluginName) -> Result<PluginRow, Error> {
        let (context, name) = (Arc::clone(self.context()), name.clone());
        let store = context.store.clone();
        store.run(move |_| context.row(&name)).await
    }
}

/// What the rules say. Of a program that they do not name, also what they do not hold.
fn explained(rules: &RuleSet, request: &Request) -> Explanation {
    let mut said = rules.explain(request);
    let starts = |rule: &&Rule| {
        rule.effect() == Effect::Allow && *rule.permission_name() == PermissionName::SubprocessExecute
    };
    let refused = said.effect == Effect::Deny && matches!(request, Request::Execute { .. });
    if refused && let Some(rule) = rules.rules().iter().find(starts) {
        said.text.push_str(&format!(
            "; that holds for what the host runs for it: with {}, it can start any program that it sees inside its own sandbox",
            rule.text()
        ));
    }
    said
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

/// What is stored, and its revision; 0 for none.
fn stored_config(store: &Store, row: &PluginRow) -> Result<(Value, i64), Error> {
    match store.config(&row.owner()) {
        // Writing it again is what mends a damaged one.
        Err(error) if error.code() == ErrorCode::InvalidConfig => Ok((empty(), 0)),
        read => Ok(read?.map_or_else(|| (empty(), 0), |row| (row.value, row.revision))),
    }
}

fn config_schema(row: &PluginRow) -> Result<Option<CompiledSchema>, Error> {
    let manifest = row.package.manifest()?;
    Ok(manifest.config_schema.as_ref().map(CompiledSchema::compile).transpose()?)
}

/// Records the grants of a plugin that waits for consent as the consent, once they hold all that it cannot do without.
fn complete_consent(context: &Context, name: &PluginName, by: &Actor) -> Result<(), Error> {
    let asked = super::inspect::consent_request(context, name)?;
    if asked.asked.iter().any(|item| !item.optional && !item.granted) {
        return Ok(());
    }
    let grants = context.trusted(name)?.grants;
    let places = places::by_grant(&grants);
    let granted = grants.into_iter().map(|grant| grant.permission).collect();
    let (digest, asked, by) = (asked.digest.clone(), asked.all(), by.clone());
    let consent = crate::store::Consent { digest, asked, granted, places, by };
    context.store.consent(name, consent).map(drop)
}

/// What a consent grants.
pub(super) fn chosen(
    asked: &ConsentRequest,
    consent: Consent,
    name: &PluginName,
) -> Result<Vec<Permission>, Error> {
    match consent {
        Consent::Requested => Ok(asked.all()),
        Consent::Only(permissions) => Ok(permissions),
        Consent::Absent if asked.is_empty() => Ok(Vec::new()),
        Consent::Absent | Consent::Withheld => Err(consent_required(name)),
    }
}
