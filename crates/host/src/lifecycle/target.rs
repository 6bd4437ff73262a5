//! One installed plugin as it is started: its package checked, its grants judged, its schemas compiled, its limits known.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ringfence_api::{ErrorCode, Manifest, Permission, PluginName, PluginState};
use ringfence_policy::{Candidate, RuleSet};
use serde_json::Value;

use super::context::Context;
use super::denial::ToldDenials;
use super::drift::Started;
use super::log::PluginLog;
use super::monitor::Sample;
use super::places;
use super::secrets::Secrets;
use crate::Error;
use crate::config::PluginLimits;
use crate::exec::held::{Holding, Misfit, Pins};
use crate::exec::translate::{Judged, Resolution, resolution, rule_set};
use crate::hooks::Rate;
use crate::lock::RunLock;
use crate::policy::PluginRules;
use crate::runtime::{self, Purpose, Spec};
use crate::schema::CompiledSchema;
use crate::store::{CallMeter, Owner, PluginRow, Trusted};

/// What a start and everything after it depends on. It does not change while the plugin runs, but for its configuration.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: PluginName,
    pub(crate) owner: Owner,
    pub(crate) digest: String,
    pub(crate) package: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) manifest: Manifest,
    /// What was granted.
    pub(crate) grants: Vec<Permission>,
    /// What of that holds under the policy: what the plugin is told.
    pub(crate) effective: Vec<String>,
    pub(crate) policy: PluginRules,
    /// What the grants over files opened when they were consented to.
    pub(crate) pins: Arc<Pins>,
    /// What lies at their places, as it was found at the start.
    pub(crate) holding: Holding,
    /// Of the policy that this was last found to be right under.
    pub(crate) policy_generation: AtomicU64,
    /// Held while it is judged by another policy.
    pub(crate) judging: tokio::sync::Mutex<()>,
    /// How much was refused to it so far, and how much of that was weighed.
    pub(crate) refused: AtomicU64,
    pub(crate) weighed: AtomicU64,
    /// What listeners were told of that.
    pub(crate) told: ToldDenials,
    /// What it used last.
    sample: Mutex<Sample>,
    pub(crate) rules: RuleSet,
    /// Links that the plugin's grants and its own directories go through, and where they lead.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    pub(crate) limits: PluginLimits,
    pub(crate) tools: HashMap<String, Tool>,
    pub(crate) config_schema: Option<CompiledSchema>,
    config: RwLock<Value>,
    pub(crate) log: PluginLog,
    pub(crate) calls: CallMeter,
    pub(crate) hooks: CallMeter,
    /// How often it posts and registers.
    pub(crate) events: Rate,
    pub(crate) sandbox: Confinement,
    /// `None`: it is not installed, so nobody changes what is stored of it.
    pub(crate) run: Option<Run>,
}

/// What ties something that runs to what is stored of it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) lock: RunLock,
    pub(crate) started: Started,
}

/// What a plugin is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A person activates it.
    Activation,
    /// It is active, and runs for whoever calls it.
    Calls,
}

/// What a target is made of.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) package: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) owner: Owner,
    pub(crate) digest: String,
    pub(crate) manifest: Manifest,
    pub(crate) grants: Vec<Permission>,
    pub(crate) pins: Pins,
    pub(crate) config: Value,
    pub(crate) sandbox: Confinement,
    pub(crate) run: Option<Run>,
}

/// How a plugin is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confinement {
    /// By every layer.
    Full,
    /// By every layer, and every path that it names is reported, which costs about 30 µs each.
    Observed,
    /// By none: for a debugger, never for an installed plugin.
    None,
}

/// A tool with its schemas, ready to judge.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The name, shared with the audit records of its calls.
    pub(crate) name: Arc<str>,
    pub(crate) input: Option<CompiledSchema>,
    pub(crate) output: Option<CompiledSchema>,
}

impl Target {
    /// Takes the right to run it, reads everything from the store, and checks that the package is what was installed.
    ///
    /// # Errors
    /// `not_found`; `consent_required`, `quarantined` and `not_active` for what may not be started; `invalid_package` when the
    /// installed copy was changed; `permission_denied` when its grants were changed by hand.
    pub(crate) async fn load(
        context: &Arc<Context>,
        name: &PluginName,
        occasion: Occasion,
    ) -> Result<Arc<Self>, Error> {
        let (context, name) = (Arc::clone(context), name.clone());
        let store = context.store.clone();
        store.run(move |_| Self::read(&context, &name, occasion).map(Arc::new)).await
    }

    fn read(context: &Context, name: &PluginName, occasion: Occasion) -> Result<Self, Error> {
        let store = &context.store;
        // A name that nobody has leaves no lock behind.
        context.row(name)?;
        // INVARIANT: before the row. A change is either read here, or made by somebody who then waits for this lock.
        let lock = context.run_locks.hold(name)?;
        let Trusted { plugin: row, grants, consent } = context.trusted(name)?;
        admitted(context, &row, "start")?;
        match row.state {
            PluginState::Quarantined => return Err(quarantined(name, row.state_reason.as_deref())),
            PluginState::Discovered | PluginState::Installed => return Err(consent_required(name)),
            PluginState::Inactive | PluginState::Active | PluginState::Errored if consent.is_none() => {
                return Err(consent_required(name));
            }
            PluginState::Inactive if occasion == Occasion::Calls => return Err(not_active(name)),
            PluginState::Inactive | PluginState::Active | PluginState::Errored => {}
        }
        let config = store.config(&row.owner())?;
        let config_revision = config.as_ref().map_or(0, |row| row.revision);
        let pins = places::known(context, name, &grants, Misfit::Refused)?;
        let grants: Vec<Permission> = grants.into_iter().map(|grant| grant.permission).collect();
        // Before the files are looked at: from here on nobody removes them.
        context.run_locks.hold_package(&lock, &row.package.digest)?;
        let source = Source {
            package: crate::package::verified(store, &row.package.digest)
                .map_err(|error| if_unchanged(context, name, &row.package.digest, error))?,
            data: store.layout().data_dir(name),
            owner: row.owner(),
            digest: row.package.digest.clone(),
            manifest: row.package.manifest()?,
            run: Some(Run {
                lock,
                started: Started::new(&row, grants.clone(), pins.by_grant.clone(), config_revision),
            }),
            grants,
            pins,
            config: config.map_or_else(|| Value::Object(Default::default()), |row| row.value),
            sandbox: Confinement::Full,
        };
        let target = Self::of(context, source)?;
        // Grants of a home that was made before places were kept.
        if !target.holding.taken.is_empty() {
            store.pin(name, target.holding.taken.clone())?;
        }
        Ok(target)
    }

    /// A target of parts that the caller answers for.
    ///
    /// # Errors
    /// For grants that cannot be held, and schemas that cannot be used.
    pub(crate) fn of(context: &Context, source: Source) -> Result<Self, Error> {
        let Source { package, data, owner, digest, manifest, grants, mut pins, config, sandbox, run } =
            source;
        let manifest = context.completed(manifest);
        let policy = context.policy.require_for(manifest.name.as_str())?;
        let held = Arc::new(pins.clone());
        let Resolution { set: rules, links, judged, holding, .. } =
            self::effective(context, &manifest, &package, &data, (&grants, Some(&held)), &policy)?;
        pins.by_grant.extend(holding.taken.clone());
        let effective = told(&grants, &judged);
        let given = runtime::given_limits(&context.config().plugins, Some(&policy));
        let limits = runtime::effective_limits(&given, &manifest.limits);
        let config_schema = manifest.config_schema.as_ref().map(CompiledSchema::compile).transpose()?;
        let config = with_defaults(config_schema.as_ref(), &config)?;
        let log = PluginLog::open(&context.home, &manifest.name, limits.log_bytes);
        log.hide(Secrets::of(config_schema.as_ref(), &config));
        Ok(Self {
            log,
            calls: context.store.calls(&owner, ringfence_api::rpc::method::CALL),
            hooks: context.store.calls(&owner, ringfence_api::rpc::method::HOOK),
            events: Rate::default(),
            name: manifest.name.clone(),
            owner,
            digest,
            tools: tools(&manifest)?,
            config: RwLock::new(config),
            config_schema,
            package,
            data,
            manifest,
            grants,
            effective,
            policy_generation: AtomicU64::new(policy.generation),
            policy,
            pins: Arc::new(pins),
            holding,
            judging: tokio::sync::Mutex::default(),
            refused: AtomicU64::new(0),
            weighed: AtomicU64::new(0),
            told: ToldDenials::default(),
            sample: Mutex::default(),
            rules,
            links,
            limits,
            sandbox,
            run,
        })
    }

    /// The same for a plugin that is not installed: whether its rights and limits are those of the policy of this moment.
    pub(crate) fn allowed_by_now(&self, context: &Context) -> bool {
        context
            .policy
            .require_for(self.name.as_str())
            .and_then(|policy| self.same_under(context, &policy))
            .unwrap_or(false)
    }

    /// What it used last, to the second; nothing before the first second is over.
    pub(crate) fn last_sample(&self) -> Sample {
        *self.sample.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what it uses now.
    pub(crate) fn sampled(&self, sample: Sample) {
        *self.sample.lock().unwrap_or_else(PoisonError::into_inner) = sample;
    }

    /// Whether it would be started with the same rights and limits under what holds now; an error says why it would not be
    /// started at all.
    ///
    /// # Errors
    /// As for [`Target::load`].
    pub(crate) fn holds(&self, context: &Context) -> Result<bool, Error> {
        let row = context.row(&self.name)?;
        admitted(context, &row, "run")?;
        let policy = context.policy.require_for(self.name.as_str())?;
        self.same_under(context, &policy)
    }

    fn same_under(&self, context: &Context, policy: &PluginRules) -> Result<bool, Error> {
        let Resolution { set: rules, .. } =
            effective(context, &self.manifest, &self.package, &self.data, self.granted(), policy)?;
        let given = runtime::given_limits(&context.config().plugins, Some(policy));
        let hard = |policy: &PluginRules| {
            let given = runtime::given_limits(&context.config().plugins, Some(policy));
            runtime::hard_memory_limit(&given, &self.manifest)
        };
        let same = self
            .rules
            .rules()
            .iter()
            .map(ToString::to_string)
            .eq(rules.rules().iter().map(ToString::to_string))
            && self.limits == runtime::effective_limits(&given, &self.manifest.limits)
            && hard(&self.policy) == hard(policy);
        if same {
            self.policy_generation.store(policy.generation, Ordering::Relaxed);
        }
        Ok(same)
    }

    fn granted(&self) -> (&[Permission], Option<&Arc<Pins>>) {
        (&self.grants, Some(&self.pins))
    }

    /// What it is started with, and what runs beside it.
    pub(crate) fn spec(&self) -> Spec<'_> {
        Spec {
            package: &self.package,
            data: Some(&self.data),
            manifest: &self.manifest,
            grants: &self.grants,
            policy: Some(&self.policy),
            pins: Some(&self.pins),
            purpose: Purpose::Run,
        }
    }

    /// The configuration with its defaults, secrets included: for the plugin alone.
    pub(crate) fn config(&self) -> Value {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing of it runs any more.
    pub(crate) fn let_go(&self) {
        if let Some(run) = &self.run {
            run.lock.let_go();
        }
    }

    /// What the plugin is told from now on.
    pub(crate) fn set_config(&self, config: Value) {
        self.log.hide(Secrets::of(self.config_schema.as_ref(), &config));
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

/// A package that is not what the row says was changed by hand, or the row was changed by another process meanwhile, which
/// took the files of the old one away.
fn if_unchanged(context: &Context, name: &PluginName, digest: &str, error: Error) -> Error {
    match context.row(name) {
        Ok(row) if row.package.digest == digest => error,
        Ok(_) => Error::new(ErrorCode::Busy, format!("{name} was changed while it was being started"))
            .with_hint("somebody else has upgraded it; try again"),
        Err(gone) => gone,
    }
}

/// The configuration as a plugin sees it.
///
/// # Errors
/// `schema_violation` when it is too large for its defaults to be filled in.
pub(crate) fn with_defaults(schema: Option<&CompiledSchema>, config: &Value) -> Result<Value, Error> {
    let Some(schema) = schema else { return Ok(config.clone()) };
    schema
        .defaults(config)
        .map_err(|fault| Error::new(ErrorCode::SchemaViolation, format!("the configuration: {fault}")))
}

fn tools(manifest: &Manifest) -> Result<HashMap<String, Tool>, Error> {
    let compile = |schema: &Option<Value>| schema.as_ref().map(CompiledSchema::compile).transpose();
    let mut tools = HashMap::new();
    for declared in &manifest.tools {
        let tool = Tool {
            name: declared.name.as_str().into(),
            input: compile(&declared.input_schema)?,
            output: compile(&declared.output_schema)?,
        };
        tools.insert(declared.name.clone(), tool);
    }
    Ok(tools)
}

/// Whether the policy lets a plugin run at all.
fn admitted(context: &Context, row: &PluginRow, operation: &str) -> Result<(), Error> {
    let package = &row.package;
    let candidate =
        Candidate { name: row.name().as_str(), publisher: &package.publisher, digest: &package.digest };
    context.policy.admit(&candidate).map_err(|error| {
        context.refused_by_policy(row.owner().subject(), operation, package.digest.clone(), error)
    })
}

/// What a plugin is told of its grants: those that are left whole as they were granted, others as far as they are left.
fn told(grants: &[Permission], judged: &[Judged]) -> Vec<String> {
    let left = grants.iter().zip(judged).flat_map(|(grant, judged)| match judged.reason {
        None => vec![grant.to_string()],
        Some(_) => judged.kept.clone(),
    });
    let mut told = Vec::new();
    for text in left {
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told
}

/// The rules that hold for a plugin under the policy, and what that leaves of each grant. With `None` for what was consented to,
/// the grants are taken as they are written.
pub(crate) fn effective(
    context: &Context,
    manifest: &Manifest,
    package: &std::path::Path,
    data: &std::path::Path,
    (grants, pins): (&[Permission], Option<&Arc<Pins>>),
    policy: &PluginRules,
) -> Result<Resolution, Error> {
    let policy = Some(policy);
    let spec = Spec { package, data: Some(data), manifest, grants, policy, pins, purpose: Purpose::Run };
    resolution(&runtime::grants_only(&spec, &context.home))
}

/// What grants mean by themselves, the policy not considered: for comparing what versions ask for.
pub(crate) fn rules(
    context: &Context,
    manifest: &Manifest,
    package: &std::path::Path,
    data: &std::path::Path,
    grants: &[Permission],
) -> Result<RuleSet, Error> {
    let spec =
        Spec { package, data: Some(data), manifest, grants, policy: None, pins: None, purpose: Purpose::Run };
    rule_set(&runtime::grants_only(&spec, &context.home))
}

pub(crate) fn quarantined(name: &PluginName, reason: Option<&str>) -> Error {
    let first = reason.and_then(|reason| reason.lines().next()).unwrap_or("it failed too often");
    Error::new(ErrorCode::Quarantined, format!("{name} is quarantined: {first}"))
        .with_hint(format!("read why with `ringfence show {name}`; `ringfence activate {name}` releases it"))
}

pub(crate) fn consent_required(name: &PluginName) -> Error {
    Error::new(ErrorCode::ConsentRequired, format!("nobody has consented to what {name} asks for")).with_hint(format!(
        "`ringfence show {name}` lists it; grant it with `ringfence activate {name} --grant-requested`, or less with --grant"
    ))
}

pub(crate) fn not_active(name: &PluginName) -> Error {
    Error::new(ErrorCode::NotActive, format!("{name} is not active"))
        .with_hint(format!("activate it: ringfence activate {name}"))
}
