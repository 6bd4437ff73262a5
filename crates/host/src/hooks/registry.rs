//! Who is asked at which event: read from the store, kept for a moment, and read again when something changed.
//!
//! A handler takes part when its plugin is active and is granted the event. The guards of a quarantined plugin, and of one
//! whose grants were changed by hand, stay in place and block: nobody took them out.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use ringfence_api::{
    HookDeclaration, HookKind, OnFailure, Permission, PermissionName, PluginName, PluginState, ScopeKind,
};
use ringfence_policy::{CanonicalPath, Effect, Name, PluginPolicy, Request, Rule, RuleSet, Vars};

use super::breaker::Breaker;
use super::depth::Depths;
use super::latency::Histogram;
use super::point::{HookPoint, Protected};
use super::rate::Rate;
use super::{HookInfo, point};
use crate::Error;
use crate::lifecycle::{Context, Target};
use crate::service::sensitive_fields;
use crate::store::{Owner, PluginRow};

/// How old the picture of who takes part may be. What this host changes itself counts at once; what another process
/// changes, within this.
pub const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// A handler of an event.
#[derive(Debug)]
pub(crate) struct Handler {
    pub(crate) plugin: PluginName,
    /// Whose grants it was found with; a later plugin of the same name is another one.
    pub(crate) owner: Owner,
    pub(crate) kind: HookKind,
    pub(crate) priority: i32,
    pub(crate) timeout: Duration,
    pub(crate) on_failure: OnFailure,
    /// Parts of the body that it may not see.
    pub(crate) hidden: Vec<Protected>,
    /// What it must still be allowed when it is asked: the event, and the protected parts that it may see.
    pub(crate) needs: Vec<Request>,
    /// Why it cannot be asked, though it takes part.
    pub(crate) held: Option<String>,
    /// The run in which it was registered; `None` for one of the manifest.
    pub(crate) run: Option<Weak<Target>>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) histogram: Arc<Histogram>,
    /// How often its plugin is asked, and how often it may be in a second.
    pub(super) rate: Arc<Rate>,
    pub(super) per_second: Option<u64>,
}

impl Handler {
    /// Whether it may be left out when it failed too often or is asked too often. A guard that would be passed over then is
    /// asked in any case: neither a breaker nor whoever sends many events disarms one.
    pub(crate) fn can_be_left_out(&self) -> bool {
        self.kind != HookKind::Guard || self.on_failure == OnFailure::Block
    }

    /// Whether its plugin may be asked once more.
    pub(crate) fn is_within_rate(&self) -> bool {
        self.per_second.is_none_or(|limit| !self.can_be_left_out() || self.rate.take(limit))
    }
}

/// The handlers of one event.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// Mutators, then guards, each by priority and name.
    pub(crate) asked: Vec<Arc<Handler>>,
    /// Observers, by priority and name.
    pub(crate) observers: Vec<Arc<Handler>>,
}

/// An active plugin and what is granted to it by name: for messages.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) plugin: PluginName,
    pub(crate) owner: Owner,
    /// It cannot be told anything, and its guards stand in the way all the same.
    pub(crate) held: bool,
    /// `None`: nobody knows what was granted, and a guard is taken to be granted every topic.
    rules: Option<RuleSet>,
}

impl Listener {
    /// Whether a topic is open to it.
    pub(crate) fn may_hear(&self, topic: &Name) -> bool {
        let request = post_request(topic.clone());
        self.rules.as_ref().is_none_or(|rules| rules.decide(&request).is_allowed())
    }
}

/// What hearing and posting on a topic needs.
pub(crate) fn post_request(topic: Name) -> Request {
    Request::Named { permission: PermissionName::EventPost, name: topic }
}

/// A hook that a running plugin has registered.
#[derive(Debug)]
pub(crate) struct Dynamic {
    pub(crate) plugin: PluginName,
    pub(crate) run: Weak<Target>,
    pub(crate) declaration: HookDeclaration,
}

/// Who takes part, as it was read.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    chains: BTreeMap<String, Arc<Chain>>,
    pub(crate) listeners: Vec<Listener>,
}

impl Picture {
    pub(crate) fn chain(&self, event: &str) -> Option<&Arc<Chain>> {
        self.chains.get(event)
    }
}

#[derive(Debug, Default)]
struct Loaded {
    picture: Arc<Picture>,
    /// When it was read, by the coarse clock: each event asks.
    at: Option<Duration>,
    generation: u64,
}

/// The hooks of a host.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    points: BTreeMap<String, HookPoint>,
    loaded: RwLock<Loaded>,
    /// Counts what this host has changed.
    generation: AtomicU64,
    loading: tokio::sync::Mutex<()>,
    breakers: Mutex<HashMap<PluginName, Arc<Breaker>>>,
    rates: Mutex<HashMap<PluginName, Arc<Rate>>>,
    histograms: Mutex<HashMap<(PluginName, String, HookKind), Arc<Histogram>>>,
    dynamic: Mutex<Vec<Dynamic>>,
    pub(crate) depths: Depths,
}

/// Hooks that one plugin registers while it runs.
const DYNAMIC_MAX: usize = 256;

impl Hooks {
    pub(crate) fn new(points: Vec<HookPoint>) -> Self {
        let points = points.into_iter().map(|point| (point.event().to_owned(), point)).collect();
        Self { points, ..Self::default() }
    }

    /// What the application says of an event.
    pub(crate) fn point(&self, event: &str) -> Option<&HookPoint> {
        self.points.get(event)
    }

    /// Something has changed: the next event reads who takes part.
    pub(crate) fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Who takes part, if that is known and not too old.
    pub(crate) fn fresh(&self) -> Option<Arc<Picture>> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        self.is_fresh(&loaded).then(|| Arc::clone(&loaded.picture))
    }

    fn is_fresh(&self, loaded: &Loaded) -> bool {
        loaded.generation == self.generation.load(Ordering::Acquire)
            && loaded.at.is_some_and(|at| ringfence_sandbox::coarse_now().saturating_sub(at) < REFRESH_EVERY)
    }

    /// Whether it is known, without asking anybody, that an event concerns neither a plugin nor the application: what most
    /// events of a pipeline are, so this takes no reference and looks up nothing twice.
    pub(crate) fn concerns_nobody(&self, event: &str) -> bool {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        !loaded.picture.chains.contains_key(event)
            && !self.points.contains_key(event)
            && self.is_fresh(&loaded)
    }

    /// Who takes part, read if need be. Cancel safe.
    ///
    /// # Errors
    /// What the store says: then nobody knows whether there is a guard.
    pub(crate) async fn picture(&self, context: &Arc<Context>) -> Result<Arc<Picture>, Error> {
        if let Some(picture) = self.fresh() {
            return Ok(picture);
        }
        let _one_at_a_time = self.loading.lock().await;
        if let Some(picture) = self.fresh() {
            return Ok(picture);
        }
        let generation = self.generation.load(Ordering::Acquire);
        let at = ringfence_sandbox::coarse_now();
        let shared = Arc::clone(context);
        let picture = context.store.run(move |_| read(&shared)).await.map(Arc::new)?;
        let loaded = Loaded { picture: Arc::clone(&picture), at: Some(at), generation };
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(picture)
    }

    /// A running plugin registers a hook. The same event and kind again replaces the one before.
    ///
    /// # Errors
    /// A text, when there are too many.
    pub(crate) fn register(&self, hook: Dynamic) -> Result<(), String> {
        let mut all = self.dynamic.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| {
            let same = known.plugin == hook.plugin
                && known.declaration.event == hook.declaration.event
                && known.declaration.kind == hook.declaration.kind;
            known.run.strong_count() > 0 && !same
        });
        if all.iter().filter(|known| known.plugin == hook.plugin).count() >= DYNAMIC_MAX {
            return Err(format!("a plugin registers {DYNAMIC_MAX} hooks at most"));
        }
        all.push(hook);
        drop(all);
        self.invalidate();
        Ok(())
    }

    /// The breaker of a plugin, the same one each time.
    pub(crate) fn breaker(&self, plugin: &PluginName) -> Arc<Breaker> {
        let mut all = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(plugin.clone()).or_default())
    }

    fn rate(&self, plugin: &PluginName) -> Arc<Rate> {
        let mut all = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(plugin.clone()).or_default())
    }

    fn histogram(&self, plugin: &PluginName, event: &str, kind: HookKind) -> Arc<Histogram> {
        let mut all = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((plugin.clone(), event.to_owned(), kind)).or_default())
    }

    /// Every handler that takes part, by event and order.
    pub(crate) fn list(&self, picture: &Picture) -> Vec<HookInfo> {
        let now = Instant::now();
        let mut all = Vec::new();
        for (event, chain) in &picture.chains {
            all.extend(chain.asked.iter().chain(&chain.observers).map(|handler| HookInfo {
                event: event.clone(),
                plugin: handler.plugin.clone(),
                kind: handler.kind,
                priority: handler.priority,
                timeout_ms: u64::try_from(handler.timeout.as_millis()).unwrap_or(u64::MAX),
                on_failure: handler.on_failure,
                registered_at_run_time: handler.run.is_some(),
                breaker: handler.breaker.state(now),
                latency: handler.histogram.read(),
            }));
        }
        all
    }
}

fn read(context: &Context) -> Result<Picture, Error> {
    let mut picture = Picture::default();
    let mut chains: HashMap<String, Chain> = HashMap::new();
    for row in context.store.plugins()? {
        if let Some(reader) = Reader::of(context, &row)? {
            reader.add(&mut chains, &mut picture.listeners);
        }
    }
    for chain in chains.values_mut() {
        chain.asked.sort_by(|a, b| order(a).cmp(&order(b)));
        chain.observers.sort_by(|a, b| order(a).cmp(&order(b)));
    }
    picture.chains = chains.into_iter().map(|(event, chain)| (event, Arc::new(chain))).collect();
    Ok(picture)
}

/// Mutators before guards before observers, then low priorities first, then names.
pub(super) fn order(handler: &Handler) -> (HookKind, i32, &str) {
    (handler.kind, handler.priority, handler.plugin.as_str())
}

/// One plugin that takes part.
struct Reader<'a> {
    context: &'a Context,
    plugin: PluginName,
    owner: Owner,
    declared: Vec<HookDeclaration>,
    rules: RuleSet,
    held: Option<String>,
    /// Whether what was granted could be read.
    known: bool,
    sensitive: Vec<String>,
}

impl<'a> Reader<'a> {
    fn of(context: &'a Context, row: &PluginRow) -> Result<Option<Self>, Error> {
        let plugin = row.name().clone();
        let mut held = match row.state {
            PluginState::Active | PluginState::Errored => None,
            PluginState::Quarantined => {
                Some(format!("{plugin} is quarantined; somebody must activate it, or revoke its hooks"))
            }
            PluginState::Discovered | PluginState::Installed | PluginState::Inactive => return Ok(None),
        };
        let declared = row.package.manifest()?.hooks;
        let mut known = true;
        let grants: Vec<Permission> = match context.store.trusted(&plugin) {
            Ok(trusted) => trusted.grants.into_iter().map(|grant| grant.permission).collect(),
            // Nobody knows what was granted: its guards are taken to be.
            Err(error) => {
                (held, known) = (Some(error.message().to_owned()), false);
                declared.iter().filter_map(|hook| event_permission(&hook.event)).collect()
            }
        };
        let policy = context.policy.about(plugin.as_str()).rules;
        let rules = name_rules(&grants, policy.as_deref());
        let (owner, sensitive) = (row.owner(), sensitive_fields(&context.offers));
        Ok(Some(Self { context, plugin, owner, declared, rules, held, known, sensitive }))
    }

    fn add(self, chains: &mut HashMap<String, Chain>, listeners: &mut Vec<Listener>) {
        for declared in &self.declared {
            self.put(chains, declared, None);
        }
        let dynamic = self.context.hooks.dynamic.lock().unwrap_or_else(PoisonError::into_inner);
        let own = dynamic.iter().filter(|hook| hook.plugin == self.plugin && hook.run.strong_count() > 0);
        for hook in own {
            self.put(chains, &hook.declaration, Some(hook.run.clone()));
        }
        drop(dynamic);
        let (held, rules) = (self.held.is_some(), self.known.then_some(self.rules));
        listeners.push(Listener { plugin: self.plugin, owner: self.owner, held, rules });
    }

    fn put(
        &self,
        chains: &mut HashMap<String, Chain>,
        declared: &HookDeclaration,
        run: Option<Weak<Target>>,
    ) {
        let Ok(name) = Name::new(&declared.event) else { return };
        let register = Request::Named { permission: PermissionName::HookRegister, name };
        let is_granted = self.rules.decide(&register).is_allowed();
        let is_held_guard = declared.kind == HookKind::Guard;
        if !is_granted || (self.held.is_some() && !is_held_guard) {
            return;
        }
        let hooks = &self.context.hooks;
        let limit = self.context.config().plugins.hook_timeout;
        let asked = declared.timeout_ms.map(Duration::from_millis);
        let point = hooks.point(&declared.event);
        let (seen, hidden) = point.map(|point| self.apart(point)).unwrap_or_default();
        let mut needs = vec![register];
        needs.extend(seen.iter().map(|part| part.request(&self.sensitive)));
        let handler = Arc::new(Handler {
            plugin: self.plugin.clone(),
            owner: self.owner.clone(),
            kind: declared.kind,
            priority: declared.priority,
            timeout: asked.map_or(limit, |asked| asked.min(limit)),
            on_failure: declared.on_failure.unwrap_or(match declared.kind {
                HookKind::Guard => OnFailure::Block,
                HookKind::Mutator | HookKind::Observer => OnFailure::Skip,
            }),
            hidden,
            needs,
            held: self.held.clone(),
            run,
            breaker: hooks.breaker(&self.plugin),
            histogram: hooks.histogram(&self.plugin, &declared.event, declared.kind),
            rate: hooks.rate(&self.plugin),
            per_second: self.context.config().plugins.hooks_per_second,
        });
        let chain = chains.entry(declared.event.clone()).or_default();
        let among = if declared.kind == HookKind::Observer { &mut chain.observers } else { &mut chain.asked };
        // What is registered while it runs takes the place of what the manifest says of the same event and kind.
        among.retain(|known| known.plugin != handler.plugin || known.kind != handler.kind);
        among.push(handler);
    }

    /// The protected parts that it may see, and those that it may not.
    fn apart(&self, point: &point::HookPoint) -> (Vec<Protected>, Vec<Protected>) {
        let sees = |part: &Protected| self.rules.decide(&part.request(&self.sensitive)).is_allowed();
        point.protected().iter().cloned().partition(sees)
    }
}

fn event_permission(event: &str) -> Option<Permission> {
    Permission::scoped(PermissionName::HookRegister, event).ok()
}

/// The rules of what is granted by name, and what the administrator's policy leaves of it. A grant that cannot be read opens
/// nothing.
fn name_rules(grants: &[Permission], policy: Option<&PluginPolicy>) -> RuleSet {
    let vars = Vars::new(CanonicalPath::root());
    let granted = grants
        .iter()
        .filter(|grant| grant.name().scope_kind() == ScopeKind::Name)
        .filter_map(|grant| Rule::from_permission(Effect::Allow, grant, &vars, "grant").ok());
    let Some(policy) = policy else { return RuleSet::new(granted.collect()) };
    let mut rules = Vec::new();
    for grant in granted {
        let judgement = policy.judge(&grant);
        let kept = judgement.kept.iter();
        rules.extend(kept.filter_map(|text| Rule::parse(Effect::Allow, text, &vars, "grant").ok()));
        rules.extend(judgement.except.iter().map(|rule| rule.rule.clone()));
    }
    RuleSet::new(rules)
}
