//! The administrator's policy at work: packages are admitted by it, running plugins are held to it, and it is explained.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ringfence_api::{ErrorCode, Permission, PluginName};
use ringfence_policy::{
    Candidate, CanonicalPath, Effect, FileOp, Name, PathPattern, Policy, PolicyReason, Request, Rule, RuleSet,
};
use serde::Serialize;
use tokio::task::JoinSet;

use super::{Host, Inner, plugin_name};
use crate::Error;
use crate::clock::now_ms;
use crate::exec::held::Misfit;
use crate::exec::translate::{Resolution, vars_of_home};
use crate::lifecycle::{
    Command, Context, Instance, Move, Occasion, Supervisor, Target, Why, effective, places,
};
use crate::policy::PolicyStatus;
use crate::store::{Actor, PackageRow};

/// How often a host looks whether the policy is another one, while a plugin runs.
pub const POLICY_LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a plugin that may not go on as it is has to end in order; then it is killed. With the look before it, a change of
/// the policy holds within a second.
const POLICY_GRACE: Duration = Duration::from_millis(400);
/// How soon a change of the policy that could not be recorded is tried again.
const RECORD_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How far back denials count for a quarantine.
const DENIAL_WINDOW_MS: i64 = 3_600_000;
/// How long denials that were just recorded may take to be on the disk before they are counted.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// Whether the policy lets a package be installed and run. A refusal is on record.
///
/// # Errors
/// `policy_denied` with what refuses it and the line, or when the policy cannot be used.
pub(super) fn admit(
    context: &Context,
    package: &PackageRow,
    operation: &str,
    by: &Actor,
) -> Result<(), Error> {
    let candidate =
        Candidate { name: package.plugin.as_str(), publisher: &package.publisher, digest: &package.digest };
    context.policy.admit(&candidate).map_err(|error| {
        context.refused_by_policy(by.subject(&package.owner()), operation, package.digest.clone(), error)
    })
}

/// What decides about a permission of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExplainedBy {
    /// The administrator's policy refuses it; no grant overrides that.
    Policy,
    /// A grant opens it.
    Grant,
    /// It is protected, and no grant names it.
    Floor,
    /// Nothing opens it: it is not granted.
    Nothing,
}

/// Whether a plugin has a permission, and what decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explained {
    /// The plugin.
    pub plugin: PluginName,
    /// What was asked, as it was asked.
    pub permission: Permission,
    /// Whether it has it: all of it, or all but what [`Explained::except`] names.
    pub allowed: bool,
    /// What decides.
    pub by: ExplainedBy,
    /// The deciding rule or grant; `None` when nothing speaks of it.
    pub rule: Option<String>,
    /// The line of the policy, when a rule of it decides.
    pub line: Option<usize>,
    /// The reason, in words.
    pub reason: String,
    /// What the policy takes out of the middle of it, each with its line.
    pub except: Vec<String>,
    /// What of it is left, when the policy leaves only a part.
    pub left: Vec<String>,
}

impl Host {
    /// How the policy of the home stands now. When the file has changed it is read, which blocks for some milliseconds.
    #[must_use]
    pub fn policy(&self) -> PolicyStatus {
        self.context().policy.status()
    }

    /// The policy that holds now; `None`: there is none, and nothing is denied. Rules of the scan that refuse an installation
    /// are [`Policy::scan_rules`]. Blocks as [`Host::policy`] does.
    ///
    /// # Errors
    /// `policy_denied` when the file cannot be used and this host knows no good one.
    pub fn policy_in_force(&self) -> Result<Option<Arc<Policy>>, Error> {
        self.context().policy.require()
    }

    /// Whether a plugin has a permission, by which rule of the policy, grant or protection, whether it runs or not.
    ///
    /// # Errors
    /// `not_found`; `invalid_permission` for a scope that breaks the grammar; `policy_denied` when the policy cannot be used;
    /// `permission_denied` when grants were changed by hand.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn explain_policy(&self, name: &str, permission: &Permission) -> Result<Explained, Error> {
        let (name, permission) = (plugin_name(name)?, permission.clone());
        let context = Arc::clone(self.context());
        let store = context.store.clone();
        store.run(move |_| explain(&context, &name, permission)).await
    }

    /// A running plugin under the policy of this moment: the same when it may go on as it is, `None` when it was started anew
    /// or stopped and has to be looked up again.
    ///
    /// # Errors
    /// `policy_denied` when it may not run any more.
    pub(super) async fn under_policy(
        &self,
        supervisor: &Arc<Supervisor>,
        instance: Arc<Instance>,
    ) -> Result<Option<Arc<Instance>>, Error> {
        if self.is_under_policy(&instance) {
            return Ok(Some(instance));
        }
        let generation = instance.target.policy_generation.load(Ordering::Relaxed);
        let context = Arc::clone(self.context());
        let known = self.context().store.run(move |_| Ok(context.policy.now())).await?;
        if known.generation == generation {
            return Ok(Some(instance));
        }
        self.judge_again(supervisor, &instance).await
    }

    /// Whether it was judged by the policy of this moment, as far as that can be told without reading anything.
    pub(super) fn is_under_policy(&self, instance: &Instance) -> bool {
        let generation = instance.target.policy_generation.load(Ordering::Relaxed);
        self.context().policy.unchanged().is_some_and(|known| known.generation == generation)
    }

    /// The plugin of that name, started if need be, under the policy of this moment: what runs already may have been started
    /// under another one.
    ///
    /// # Errors
    /// As for [`Host::under_policy`]; what a start says.
    pub(super) async fn start_under_policy(&self, name: &PluginName) -> Result<Arc<Instance>, Error> {
        let supervisor = self.supervisor(name);
        let instance = supervisor.start(Occasion::Calls).await?;
        match self.under_policy(&supervisor, instance).await? {
            Some(instance) => Ok(instance),
            None => supervisor.start(Occasion::Calls).await,
        }
    }

    /// Holds a running plugin to another policy than the one it was started under.
    async fn judge_again(
        &self,
        supervisor: &Arc<Supervisor>,
        instance: &Arc<Instance>,
    ) -> Result<Option<Arc<Instance>>, Error> {
        let target = &instance.target;
        let _once = target.judging.lock().await;
        let still = supervisor.running().is_some_and(|running| Arc::ptr_eq(&running, instance));
        if !still {
            return Ok(None);
        }
        let (context, judged) = (Arc::clone(self.context()), Arc::clone(target));
        let holds = self.context().store.run(move |_| judged.holds(&context)).await;
        let refused = match holds {
            Ok(true) => return Ok(Some(Arc::clone(instance))),
            Ok(false) => None,
            Err(error) => Some(error),
        };
        // What is open to it among hooks and topics is another, too.
        self.context().hooks.invalidate();
        tracing::info!(plugin = %target.name, stops = refused.is_some(), "the policy has changed what a plugin may do");
        let done = async {
            match refused {
                None => {
                    supervisor.stop().await;
                    supervisor.start(Occasion::Calls).await.map(|_| None)
                }
                Some(error) => {
                    supervisor.stop().await;
                    Err(error)
                }
            }
        };
        let (done, ()) = tokio::join!(done, kill_after_grace(instance));
        if let Err(error) = &done
            && error.code() == ErrorCode::PolicyDenied
        {
            self.context().moved(target, Move::StartFailed, Some(error.message())).await;
        }
        done
    }

    /// Quarantines a plugin to which more was refused within an hour than the policy allows. Looks only when something was
    /// refused since the last look.
    pub(super) async fn weigh_denials(&self, target: &Arc<Target>) {
        let refused = target.refused.load(Ordering::Relaxed);
        if target.weighed.swap(refused, Ordering::Relaxed) == refused {
            return;
        }
        let known = self.context().policy.last();
        let Some(limit) = known.standing.policy().and_then(|policy| policy.denials_per_hour.clone()) else {
            return;
        };
        let name = target.name.clone();
        let counted = self.context().store.run(move |store| {
            store.flush(FLUSH_WAIT)?;
            store.denials_since(&name, now_ms().saturating_sub(DENIAL_WINDOW_MS), limit.value)
        });
        let count = match counted.await {
            Ok(count) => count,
            Err(error) => {
                tracing::error!(plugin = %target.name, error = %error.chain(), "denials could not be counted");
                // Weighed again at the next look.
                return target.weighed.store(0, Ordering::Relaxed);
            }
        };
        // A plugin of a developer's is no installed one.
        let Some(supervisor) = self.known_supervisor(target.name.as_str()).filter(|_| count >= limit.value)
        else {
            return;
        };
        let running = supervisor.running();
        let kill = async {
            if let Some(instance) = &running {
                kill_after_grace(instance).await;
            }
        };
        tokio::join!(supervisor.stop(), kill);
        let place = self.context().policy.at(limit.place.line);
        let why = format!(
            "{count} or more denials within an hour; the policy quarantines at {} ({place})",
            limit.value
        );
        if let Err(error) = self.context().quarantined(target, &why).await {
            // It is stopped all the same, and weighed again when it is refused something more.
            tracing::error!(plugin = %target.name, error = %error.chain(), "a quarantine could not be recorded");
        }
    }

    /// Records each policy that has held since the last time, unless the audit trail says so already. What cannot be recorded
    /// is tried again later; the policy holds all the same. Whether it was recorded.
    pub(super) async fn note_policy(&self) -> bool {
        let context = Arc::clone(self.context());
        let noted = self.context().store.run(move |store| {
            context.policy.now();
            context.policy.tell_all(|event| store.note_policy(event))
        });
        let failed =
            |error: &Error| tracing::error!(error = %error.chain(), "the policy could not be recorded");
        noted.await.inspect_err(failed).is_ok()
    }

    /// Holds what runs to the policy, a few times a second, and tells listeners what is new from here on.
    pub(super) async fn watch_policy(&self) {
        let host = Arc::downgrade(&self.inner);
        let place = self.news_from_here().await;
        let watch = tokio::spawn(async move {
            tokio::join!(watch(Weak::clone(&host)), super::news::follow(host, place));
        });
        if let Ok(mut place) = self.inner.watch.lock() {
            *place = Some(watch);
        }
    }

    fn running(&self) -> Vec<(Arc<Supervisor>, Arc<Instance>)> {
        let all = self.inner.supervisors.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let running = |supervisor: &Arc<Supervisor>| Some((Arc::clone(supervisor), supervisor.running()?));
        all.values().filter_map(running).collect()
    }
}

/// Kills a plugin that is being stopped and takes its time.
async fn kill_after_grace(instance: &Instance) {
    if tokio::time::timeout(POLICY_GRACE, instance.watched.ended()).await.is_err() {
        instance.watched.tell(Command::Kill(Why::Asked));
    }
}

async fn watch(host: Weak<Inner>) {
    // One task for each plugin at most: the lock of its target lets the others pass at once.
    let mut judging = JoinSet::new();
    let mut record_at = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(POLICY_LOOK_EVERY).await;
        while judging.try_join_next().is_some() {}
        let Some(inner) = host.upgrade() else { return };
        let host = Host { actor: inner.actor.clone(), inner };
        let policy = &host.context().policy;
        let is_new = policy.unchanged_anew().is_none() || policy.has_untold();
        // A disk that fails is not asked, and told of, four times a second.
        if is_new && tokio::time::Instant::now() >= record_at && !host.note_policy().await {
            record_at = tokio::time::Instant::now() + RECORD_AGAIN_AFTER;
        }
        for (supervisor, instance) in host.running() {
            let unweighed = {
                let target = &instance.target;
                target.refused.load(Ordering::Relaxed) != target.weighed.load(Ordering::Relaxed)
            };
            let generation = instance.target.policy_generation.load(Ordering::Relaxed);
            let known = host.context().policy.unchanged_anew();
            let same = known.is_some_and(|known| known.generation == generation);
            if same && !unweighed || instance.target.judging.try_lock().is_err() {
                continue;
            }
            let host = host.clone();
            judging.spawn(async move {
                let target = Arc::clone(&instance.target);
                match host.under_policy(&supervisor, instance).await {
                    Ok(_) => host.weigh_denials(&target).await,
                    Err(error) => {
                        tracing::warn!(plugin = %target.name, error = %error.chain(), "a plugin was stopped by the policy");
                    }
                }
            });
        }
    }
}

/// The request that a permission is about, when its scope is one thing and not a pattern.
fn one_request(permission: &Permission, rule: &Rule) -> Option<Request> {
    let exact = |pattern: &PathPattern| {
        let op = [FileOp::Read, FileOp::Write, FileOp::Delete]
            .into_iter()
            .find(|op| op.permission() == *permission.name());
        let path = pattern.literal_prefix();
        match op {
            _ if !pattern.is_exact() => None,
            Some(op) => Some(Request::File { op, path: real(path) }),
            None => Some(Request::Execute { path: real(path) }),
        }
    };
    if let Some(pattern) = rule.path() {
        return exact(pattern);
    }
    let name = rule.name_pattern()?.as_exact()?;
    let is_program = *permission.name() == ringfence_api::PermissionName::SubprocessExecute;
    let named = Request::Named { permission: permission.name().clone(), name: Name::new(name).ok()? };
    (!is_program).then_some(named)
}

/// Where a path leads, links followed; the path itself when nothing is there.
fn real(path: CanonicalPath) -> CanonicalPath {
    let found = ringfence_sandbox::Resolved::find(path.as_path()).ok();
    found.and_then(|found| CanonicalPath::new(found.path()).ok()).unwrap_or(path)
}

fn explain(context: &Context, name: &PluginName, permission: Permission) -> Result<Explained, Error> {
    let trusted = context.trusted(name)?;
    let manifest = trusted.plugin.package.manifest()?;
    let layout = context.store.layout();
    let (package, data) = (layout.package(&trusted.plugin.package.digest), layout.data_dir(name));
    let grants: Vec<Permission> = trusted.grants.iter().map(|grant| grant.permission.clone()).collect();
    let pins = Arc::new(places::known(context, name, &trusted.grants, Misfit::Told)?);
    let policy = context.policy.require_for(name.as_str())?;
    let granted = (&grants[..], Some(&pins));
    let Resolution { set, .. } = effective(context, &manifest, &package, &data, granted, &policy)?;
    let vars = vars_of_home(&context.home)?;
    let mut answer = Explained {
        plugin: name.clone(),
        permission: permission.clone(),
        allowed: false,
        by: ExplainedBy::Nothing,
        rule: None,
        line: None,
        reason: String::new(),
        except: Vec::new(),
        left: Vec::new(),
    };
    // As a deny rule it may name what no wildcard opens; what it would open is judged below.
    let asked = Rule::from_permission(Effect::Deny, &permission, &vars, "the question")
        .map_err(|error| Error::new(error.code(), error.to_string()))?;
    if let Err(blocked) = admit_row(context, &trusted.plugin.package) {
        (answer.by, answer.reason) = (ExplainedBy::Policy, blocked.message().to_owned());
        return Ok(answer);
    }
    match one_request(&permission, &asked) {
        Some(request) => {
            let by_policy = policy.rules.as_ref().map(|rules| rules.decide(&request));
            let reason = by_policy.as_ref().filter(|decision| !decision.is_allowed()).map(|by| by.reason());
            by_request(&mut answer, &set, &request, reason);
        }
        None => {
            let grant = Rule::from_permission(Effect::Allow, &permission, &vars, "the question");
            let grant = match grant {
                Ok(grant) => grant,
                Err(error) => {
                    (answer.by, answer.reason) = (ExplainedBy::Floor, error.problem().to_string());
                    return Ok(answer);
                }
            };
            by_pattern(&mut answer, &set, &grant, policy.rules.as_deref());
        }
    }
    Ok(answer)
}

fn admit_row(context: &Context, package: &PackageRow) -> Result<(), Error> {
    let (name, publisher, digest) = (package.plugin.as_str(), &package.publisher, &package.digest);
    context.policy.admit(&Candidate { name, publisher, digest })
}

/// What the policy says, as the answer names it.
fn by_policy(answer: &mut Explained, reason: &PolicyReason<'_>) {
    answer.by = ExplainedBy::Policy;
    answer.rule = reason.rule().map(|rule| rule.rule.to_string());
    answer.line = reason.line();
    answer.reason = reason.to_string();
}

fn by_request(answer: &mut Explained, set: &RuleSet, request: &Request, policy: Option<PolicyReason<'_>>) {
    let decision = set.decide(request);
    // What is a plugin's own, it has whatever the policy says.
    if let Some(reason) = policy.filter(|_| !decision.is_allowed()) {
        return by_policy(answer, &reason);
    }
    answer.allowed = decision.is_allowed();
    answer.by = match decision.reason() {
        ringfence_policy::Reason::Allowed(_) => ExplainedBy::Grant,
        ringfence_policy::Reason::Floor(_) => ExplainedBy::Floor,
        ringfence_policy::Reason::Denied(_) => ExplainedBy::Policy,
        ringfence_policy::Reason::NoRule => ExplainedBy::Nothing,
    };
    answer.rule = decision.deciding().map(|by| by.rule.to_string());
    answer.reason = decision.to_string();
}

fn by_pattern(
    answer: &mut Explained,
    set: &RuleSet,
    grant: &Rule,
    policy: Option<&ringfence_policy::PluginPolicy>,
) {
    let judgement = policy.map(|policy| policy.judge(grant));
    if let Some(judgement) = &judgement {
        answer.except = judgement.except.iter().map(ToString::to_string).collect();
        if let Some(reason) = &judgement.reason {
            by_policy(answer, reason);
            answer.left = judgement.kept.clone();
            return;
        }
    }
    let allows = set.rules().iter().filter(|rule| rule.effect() == Effect::Allow);
    let holding = allows
        .clone()
        .find(|rule| ringfence_policy::is_wider(std::slice::from_ref(grant), &[(*rule).clone()]).is_empty());
    match holding {
        Some(rule) => {
            (answer.allowed, answer.by) = (true, ExplainedBy::Grant);
            answer.rule = Some(rule.to_string());
            answer.reason = format!("granted: '{rule}' has all of it");
        }
        None => {
            answer.left = allows.filter(|rule| rule.may_meet(grant)).map(Rule::text).collect();
            answer.reason = match answer.left.is_empty() {
                true => "nothing of it is granted".to_owned(),
                false => "not all of it is granted".to_owned(),
            };
        }
    }
}
