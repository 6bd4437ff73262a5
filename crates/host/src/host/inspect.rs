//! What is said of plugins: lists, details, what would be asked, denials, logs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringfence_api::{Denial, ErrorCode, Permission, PermissionName, PluginName, Runtime};

use super::{Host, plugin_name};
use crate::Error;
use crate::attention::Attention;
use crate::audit::{AuditFilter, AuditPage, AuditVerdict};
use crate::config::PluginLimits;
use crate::consent::{Asked, ConsentRequest, command_words, publisher_shown, shown, shown_up_to};
use crate::enforcement::Enforcement;
use crate::exec::held::{self, Misfit, Pins, Standing};
use crate::exec::translate::{Judged, Resolution, vars_of_home};
use crate::lifecycle::{Context, LogFilter, LogLine, LogPage, effective, places};
use crate::plugin::{
    GrantInfo, GrantPlace, LimitsInfo, PendingUpgrade, PlaceState, PluginDetails, PluginSummary,
    PolicyEffect, PolicyNote, PreviousVersion, PublisherChange,
};
use crate::runtime::{self, Purpose, Spec};
use crate::store::{Actor, GrantRow, PackageRow, Places, PluginRow, SummaryRow, Trusted};

/// Denials that [`Host::last_denials`] gives.
const LAST_DENIALS: usize = 100;
/// What stands for the package's directory where a command is shown.
const PACKAGE_SHOWN: &str = "PACKAGE";

impl Host {
    /// All installed plugins, by name.
    ///
    /// # Errors
    /// `io` and `busy` of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn list(&self) -> Result<Vec<PluginSummary>, Error> {
        let store = self.context().store.clone();
        let rows = store.run(|store| store.summaries()).await?;
        Ok(rows.into_iter().map(summary_of).collect())
    }

    /// What of all plugins wants to be looked at beside their states: versions that wait, and what happened within the last `time`.
    /// It costs a look at each plugin, however long anything goes on.
    ///
    /// # Errors
    /// `io` and `busy` of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn attention(&self, time: Duration) -> Result<Attention, Error> {
        let time_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let since_ms = crate::clock::now_ms().saturating_sub(time_ms);
        let store = self.context().store.clone();
        store
            .run(move |store| {
                store.flush(FLUSH_WAIT)?;
                store.attention(since_ms)
            })
            .await
    }

    /// Everything about one plugin.
    ///
    /// # Errors
    /// `not_found`; `permission_denied` when its grants were changed by hand.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn show(&self, name: &str) -> Result<PluginDetails, Error> {
        let name = plugin_name(name)?;
        let running = self.known_supervisor(name.as_str()).and_then(|supervisor| supervisor.running());
        let enforced = running.as_ref().map(|instance| instance.enforced.clone()).unwrap_or_default();
        let context = Arc::clone(self.context());
        let store = context.store.clone();
        let mut details = store.run(move |_| details(&context, &name)).await?;
        details.running = running.is_some();
        details.enforced = enforced;
        Ok(details)
    }

    pub(super) async fn summary(&self, name: &PluginName) -> Result<PluginSummary, Error> {
        summary(&self.row(name).await?)
    }

    /// What was refused to a plugin, with the grant that would allow each.
    ///
    /// # Errors
    /// `not_found`.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn denials(&self, name: &str) -> Result<Vec<Denial>, Error> {
        let (name, context) = (plugin_name(name)?, Arc::clone(self.context()));
        let store = context.store.clone();
        store
            .run(move |store| {
                context.row(&name)?;
                store.flush(FLUSH_WAIT)?;
                Ok(store.denials(&name)?.into_iter().map(|row| row.denial).collect())
            })
            .await
    }

    /// The latest denials of all plugins, newest first, at most 100.
    ///
    /// # Errors
    /// `io` and `busy` of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn last_denials(&self) -> Result<Vec<(PluginName, Denial)>, Error> {
        let store = self.context().store.clone();
        store
            .run(|store| {
                store.flush(FLUSH_WAIT)?;
                let mut all = Vec::new();
                for row in store.plugins()? {
                    for denial in store.denials(row.name())? {
                        all.push((denial.last_at_ms, row.name().clone(), denial.denial));
                    }
                }
                all.sort_by_key(|(at_ms, ..)| std::cmp::Reverse(*at_ms));
                Ok(all.into_iter().take(LAST_DENIALS).map(|(_, name, denial)| (name, denial)).collect())
            })
            .await
    }

    /// The last `lines` lines of a plugin's log, oldest first.
    ///
    /// # Errors
    /// `not_found`; `io` when the log cannot be read.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn logs(&self, name: &str, lines: usize) -> Result<Vec<LogLine>, Error> {
        let (name, context) = (plugin_name(name)?, Arc::clone(self.context()));
        let store = context.store.clone();
        store
            .run(move |_| {
                context.row(&name)?;
                crate::lifecycle::read_log(&context.home, &name, lines)
            })
            .await
    }

    /// A page of a plugin's log, the newest line first: at most `limit` lines, and never more than
    /// [`LOG_PAGE_MAX`](crate::lifecycle::LOG_PAGE_MAX). It costs what it gives or what is searched for it, however long the log
    /// is.
    ///
    /// # Errors
    /// `not_found`; `io` when the log cannot be read.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn log_page(&self, name: &str, filter: LogFilter, limit: usize) -> Result<LogPage, Error> {
        let (name, context) = (plugin_name(name)?, Arc::clone(self.context()));
        let store = context.store.clone();
        store
            .run(move |_| {
                context.row(&name)?;
                crate::lifecycle::log_page(&context.home, &name, &filter, limit)
            })
            .await
    }
}

impl Host {
    /// A page of the audit trail: at most `limit` records, and never more than
    /// [`AUDIT_PAGE_MAX`](crate::audit::AUDIT_PAGE_MAX). `after` is the `seq` of the last record of the page before, in either
    /// order; `None` gives the first page. What happened before the call is in it.
    ///
    /// # Errors
    /// `io` and `busy` of the store. A record that was changed by hand is given as it stands; [`Host::audit_verify`] names it.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        after: Option<i64>,
        limit: usize,
    ) -> Result<AuditPage, Error> {
        let (store, filter) = (self.context().store.clone(), filter.clone());
        store
            .run(move |store| {
                store.flush(FLUSH_WAIT)?;
                store.audit_list(&filter, after, limit)
            })
            .await
    }

    /// Reads the whole audit trail and names the first record that is not as it was written; the longer it is, the
    /// longer that takes. Plugins and other readers go on meanwhile.
    ///
    /// # Errors
    /// `io` and `busy` when it cannot be read. A bad record is no error but the answer.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn audit_verify(&self) -> Result<AuditVerdict, Error> {
        let store = self.context().store.clone();
        let looked = store.run(|store| {
            store.flush(FLUSH_WAIT)?;
            store.audit_verify()
        });
        let verdict = looked.await?;
        self.inner.health.verified(&verdict);
        Ok(verdict)
    }
}

/// How long what was just refused may take to be on the disk before it is asked for.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

fn summary_of(row: SummaryRow) -> PluginSummary {
    PluginSummary {
        name: row.name,
        version: row.version,
        state: row.state,
        runtime: row.runtime,
        publisher: publisher_shown(&row.publisher),
        description: row.description.as_deref().map(shown),
        reason: row.state_reason.as_deref().and_then(|reason| reason.lines().next()).map(shown),
    }
}

pub(super) fn summary(row: &PluginRow) -> Result<PluginSummary, Error> {
    let manifest = row.package.manifest()?;
    Ok(summary_of(SummaryRow {
        name: row.name().clone(),
        version: row.package.version.to_string(),
        publisher: row.package.publisher.clone(),
        state: row.state,
        state_reason: row.state_reason.clone(),
        runtime: manifest.runtime,
        description: manifest.description,
    }))
}

/// The grants of a plugin, each with what the policy leaves of it.
///
/// # Errors
/// `invalid_manifest` when the stored one cannot be read.
/// The grants, with warnings of those that were given `just_now`.
pub(super) fn grant_infos(
    context: &Context,
    trusted: &Trusted,
    just_now: &[Permission],
) -> Result<Vec<GrantInfo>, Error> {
    let permissions: Vec<Permission> = trusted.grants.iter().map(|grant| grant.permission.clone()).collect();
    let manifest = trusted.plugin.package.manifest()?;
    let pins = Arc::new(places::known(context, trusted.plugin.name(), &trusted.grants, Misfit::Told)?);
    let (judged, standing) = policed(context, &trusted.plugin.package, (&permissions, Some(&pins)))?;
    let home = vars_of_home(&context.home)?.home().map(|home| home.as_path().to_owned());
    let with_policy = |(number, row): (usize, &GrantRow)| GrantInfo {
        policy: judged.get(number).and_then(policy_note),
        place: standing.get(&row.permission.to_string()).and_then(|found| place(&row.permission, found)),
        warnings: match (just_now.contains(&row.permission), standing.get(&row.permission.to_string())) {
            (true, Some(found)) => warnings_of(&row.permission, &found.path, home.as_deref()),
            _ => Vec::new(),
        },
        ..grant_info(row, manifest.runtime)
    };
    Ok(trusted.grants.iter().enumerate().map(with_policy).collect())
}

/// What the policy leaves of each of these, for those who only look. Nothing where they cannot be judged.
fn policed(
    context: &Context,
    package: &PackageRow,
    granted: (&[Permission], Option<&Arc<Pins>>),
) -> Result<(Vec<Judged>, BTreeMap<String, Standing>), Error> {
    let manifest = package.manifest()?;
    let layout = context.store.layout();
    let (directory, data) = (layout.package(&package.digest), layout.data_dir(&manifest.name));
    let policy = context.policy.about(manifest.name.as_str());
    Ok(effective(context, &manifest, &directory, &data, granted, &policy)
        .map(|resolution| (resolution.judged, resolution.holding.standing))
        .unwrap_or_default())
}

/// What is worth saying of the place of a grant: where it leads if that is not what is written, and why it opens nothing.
fn place(permission: &Permission, found: &Standing) -> Option<GrantPlace> {
    let written = permission.scope().map(|scope| Path::new(scope.strip_suffix("/**").unwrap_or(scope)));
    let state = match found.state {
        held::PlaceState::Open if written == Some(found.path.as_path()) => return None,
        held::PlaceState::Open => PlaceState::Open,
        held::PlaceState::Missing => PlaceState::Missing,
        held::PlaceState::Closed => PlaceState::Closed,
        held::PlaceState::Misfit => PlaceState::Misfit,
    };
    let why = found.why.as_deref().map(|why| shown_up_to(why, usize::MAX));
    Some(GrantPlace { path: shown_up_to(&found.path.display().to_string(), usize::MAX), state, why })
}

/// `None` when the policy takes nothing.
fn policy_note(judged: &Judged) -> Option<PolicyNote> {
    let effect = match (&judged.reason, judged.kept.is_empty(), judged.except.is_empty()) {
        (_, true, _) => PolicyEffect::Denied,
        (Some(_), false, _) => PolicyEffect::Narrowed,
        (None, false, false) => PolicyEffect::Except,
        (None, false, true) => return None,
    };
    let except = judged.except.iter().map(|rule| format!("the policy takes from it by {rule}"));
    Some(PolicyNote {
        effect,
        kept: judged.kept.clone(),
        because: judged.reason.iter().cloned().chain(except).collect(),
    })
}

fn grant_info(row: &GrantRow, runtime: Runtime) -> GrantInfo {
    let asked = Asked::new(row.permission.clone(), runtime, false, None);
    GrantInfo {
        meaning: asked.meaning,
        permission: asked.permission,
        enforced: asked.enforced,
        granted_at_ms: row.granted_at_ms,
        granted_by: row.by.clone(),
        policy: None,
        place: None,
        warnings: Vec::new(),
    }
}

/// What writing there would reach beyond it.
fn warnings_of(permission: &Permission, path: &Path, home: Option<&Path>) -> Vec<String> {
    if *permission.name() != PermissionName::FileWrite {
        return Vec::new();
    }
    let said = crate::consent::place::warnings(path, home);
    said.iter().map(|line| shown_up_to(line, usize::MAX)).collect()
}

fn details(context: &Context, name: &PluginName) -> Result<PluginDetails, Error> {
    let store = &context.store;
    let asks = consent_request(context, name)?;
    let trusted = context.trusted(name)?;
    let row = &trusted.plugin;
    let manifest = context.completed(row.package.manifest()?);
    let grants = grant_infos(context, &trusted, &[])?;
    let policy = context.policy.about(name.as_str());
    let asked = runtime::effective_limits(&context.config().plugins, &manifest.limits);
    let (_, lowered) = crate::policy::clamp(&asked, &policy.ceilings);
    let given = runtime::given_limits(&context.config().plugins, Some(&policy));
    let limits = runtime::effective_limits(&given, &manifest.limits);
    let fetched = |grant: &GrantInfo| {
        let holds = grant.policy.as_ref().is_none_or(|note| note.effect != PolicyEffect::Denied);
        holds
            && *grant.permission.name() == PermissionName::NetworkRequest
            && grant.enforced == Enforcement::Brokered
    };
    let network = if grants.iter().any(fetched) { "brokered" } else { "none" };
    let window_ms = i64::try_from(crate::lifecycle::CRASH_WINDOW.as_millis()).unwrap_or(i64::MAX);
    let since_ms = crate::clock::now_ms().saturating_sub(window_ms);
    store.flush(FLUSH_WAIT)?;
    Ok(PluginDetails {
        name: name.clone(),
        version: row.package.version.to_string(),
        state: row.state,
        reason: row.state_reason.clone(),
        runtime: manifest.runtime,
        publisher: publisher_shown(&row.package.publisher),
        digest: row.package.digest.clone(),
        source: shown(&row.package.source),
        installed_at_ms: row.installed_at_ms,
        asks,
        grants,
        network,
        limits: LimitsInfo {
            by_policy: lowered.into_iter().map(|(name, line)| (name, context.policy.at(line))).collect(),
            ..limits_info(&limits)
        },
        policy: context.policy.warning(row),
        running: false,
        enforced: BTreeMap::new(),
        recent_crashes: store.crashes(name)?.iter().filter(|crash| crash.at_ms >= since_ms).count(),
        denials: store.denials(name)?.into_iter().map(|row| row.denial).collect(),
        previous: row.previous.as_ref().map(previous),
        pending: row.pending.as_ref().map(|package| pending(&trusted, package)).transpose()?,
        manifest,
    })
}

fn previous(package: &PackageRow) -> PreviousVersion {
    PreviousVersion { version: package.version.to_string(), digest: package.digest.clone() }
}

fn pending(trusted: &Trusted, package: &PackageRow) -> Result<PendingUpgrade, Error> {
    let granted: Vec<&Permission> = trusted.grants.iter().map(|grant| &grant.permission).collect();
    let requested = package.manifest()?.requested().map_err(broken_manifest)?;
    let wider = requested.into_iter().map(|(permission, _)| permission);
    Ok(PendingUpgrade {
        version: package.version.to_string(),
        digest: package.digest.clone(),
        wider: wider.filter(|permission| !granted.contains(&permission)).collect(),
        publisher_change: publisher_change(&trusted.plugin.package, package),
    })
}

/// Who made the other version, where that is somebody else.
pub(super) fn publisher_change(from: &PackageRow, to: &PackageRow) -> Option<PublisherChange> {
    (from.publisher != to.publisher).then(|| PublisherChange {
        from_publisher: publisher_shown(&from.publisher),
        to_publisher: publisher_shown(&to.publisher),
    })
}

pub(super) fn broken_manifest(error: ringfence_api::PermissionError) -> Error {
    Error::new(ErrorCode::InvalidManifest, "the installed manifest").with_source(error)
}

pub(super) fn limits_info(limits: &PluginLimits) -> LimitsInfo {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    LimitsInfo {
        init_timeout_ms: ms(limits.init_timeout),
        call_timeout_ms: ms(limits.call_timeout),
        memory_bytes: limits.memory_bytes,
        cpu_percent: limits.cpu_percent,
        processes: limits.processes,
        file_size_bytes: limits.file_size_bytes,
        log_bytes: limits.log_bytes,
        data_bytes: limits.data_bytes,
        by_policy: BTreeMap::new(),
    }
}

/// What would be asked of this plugin now, with what the scan says of the package.
pub(super) fn consent_request(context: &Context, name: &PluginName) -> Result<ConsentRequest, Error> {
    let mut asked = asked_now(context, name)?;
    let row = context.row(name)?;
    let package = row.pending.as_ref().unwrap_or(&row.package);
    warn(context, package, &mut asked)?;
    let scan = context.scan_of(package, &package.manifest()?);
    Ok(asked.with_scan(scan))
}

/// Says of each grant for writing that is not given yet what it would reach beyond its place. That may take some tenths of a second
/// each, which nobody who only looks at a running plugin shall wait for.
fn warn(context: &Context, package: &PackageRow, asked: &mut ConsentRequest) -> Result<(), Error> {
    let (_, standing) = asked_places(context, package, asked)?;
    let home = vars_of_home(&context.home)?.home().map(|home| home.as_path().to_owned());
    for item in asked.asked.iter_mut().filter(|item| !item.granted) {
        let Some(found) = standing.get(&item.permission.to_string()) else { continue };
        item.warnings = warnings_of(&item.permission, &found.path, home.as_deref());
    }
    Ok(())
}

/// What the policy leaves of what is asked for, and where that leads.
fn asked_places(
    context: &Context,
    package: &PackageRow,
    asked: &ConsentRequest,
) -> Result<(Vec<Judged>, BTreeMap<String, Standing>), Error> {
    let all = asked.all();
    let pins = Arc::new(Pins { misfit: Misfit::Told, ..places::fresh(context, &asked.name, &all)? });
    policed(context, package, (&all, Some(&pins)))
}

/// What would be asked of this plugin now: of the upgrade that waits, if one does. Without the scan, which may take long.
pub(super) fn asked_now(context: &Context, name: &PluginName) -> Result<ConsentRequest, Error> {
    let trusted = context.trusted(name)?;
    let row = &trusted.plugin;
    let before = match &row.pending {
        Some(_) => Some(asked_by(&row.package)?),
        None => None,
    };
    let package = row.pending.as_ref().unwrap_or(&row.package);
    let manifest = package.manifest()?;
    let granted: Vec<Permission> = trusted.grants.iter().map(|grant| grant.permission.clone()).collect();
    let directory = context.store.layout().package(&package.digest);
    let spec = Spec {
        package: &directory,
        data: None,
        manifest: &manifest,
        grants: &[],
        policy: None,
        pins: None,
        purpose: Purpose::Run,
    };
    // A runtime that this version cannot start is told when it is started; the question can be asked all the same.
    let command = runtime::command(&spec, &context.world(&context.config()))
        .map(|command| command_words(&command, &directory, PACKAGE_SHOWN))
        .unwrap_or_else(|_| vec![manifest.entry_point.clone()]);
    let mut request = ConsentRequest::of(
        &manifest,
        &package.publisher,
        &package.digest,
        command,
        &granted,
        before.as_deref(),
    )
    .map_err(broken_manifest)?;
    request.publisher_change =
        row.pending.as_ref().and_then(|pending| publisher_change(&row.package, pending));
    let (judged, standing) = asked_places(context, package, &request)?;
    for (asked, judged) in request.asked.iter_mut().zip(&judged) {
        asked.policy = policy_note(judged);
        let found = standing.get(&asked.permission.to_string());
        asked.place = found.and_then(|found| place(&asked.permission, found));
    }
    Ok(request)
}

fn asked_by(package: &PackageRow) -> Result<Vec<Permission>, Error> {
    let requested = package.manifest()?.requested().map_err(broken_manifest)?;
    Ok(requested.into_iter().map(|(permission, _)| permission).collect())
}

/// Whether these grants can be held for this version of a plugin. What cannot is refused before it is recorded.
///
/// Gives where they lead: as it was when it was consented to for what is granted already (`kept`), and now for what is not.
///
/// # Errors
/// `policy_denied` for the first of which the policy leaves nothing; `permission_denied` for one that goes through a link which a
/// plugin can change, or for a kept one of which another thing is there by now; `invalid_permission`, `floor`, `path_not_found`, `usage`.
pub(super) fn judge_grants(
    context: &Context,
    package: &PackageRow,
    permissions: &[Permission],
    kept: &[GrantRow],
    by: &Actor,
) -> Result<Places, Error> {
    let manifest = package.manifest()?;
    let layout = context.store.layout();
    let (directory, data) = (layout.package(&package.digest), layout.data_dir(&manifest.name));
    let name = &manifest.name;
    let policy = context.policy.require_for(name.as_str())?;
    let kept = places::by_grant(kept);
    let pins = Arc::new(Pins { by_grant: kept.clone(), ..places::fresh(context, name, permissions)? });
    let granted = (permissions, Some(&pins));
    let Resolution { judged, holding, .. } =
        effective(context, &manifest, &directory, &data, granted, &policy)?;
    let mut first = None;
    let mut left = Vec::new();
    for (permission, judged) in permissions.iter().zip(judged) {
        if !judged.is_refused() {
            left.push(permission.to_string());
            continue;
        }
        let why = judged.reason.unwrap_or_default();
        let error =
            Error::new(ErrorCode::PolicyDenied, format!("{permission} cannot be granted to {name}: {why}"));
        let subject = by.subject(&package.owner());
        let error = context.refused_by_policy(subject, "grant", permission.to_string(), error);
        first.get_or_insert(error);
    }
    let Some(error) = first else {
        let mut places = holding.taken;
        places.extend(kept);
        return Ok(places);
    };
    Err(match left[..] {
        [] => error.with_hint("no grant overrides the policy; its line must change"),
        _ => error.with_hint(format!("leave it out; the policy lets these be granted: {}", left.join(", "))),
    })
}
