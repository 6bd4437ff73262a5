//! One running plugin: started in its sandbox, asked to initialise, ready for calls, and stopped in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ringfence_api::rpc::{InitializeParams, InitializeResult, Named, PROTOCOL_VERSION, method};
use ringfence_api::{EnforcedLayer, ErrorCode, Manifest, Wire};
use ringfence_sandbox::stream::Input;
use ringfence_sandbox::{Layers, Processes, Stdio};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::context::Context;
use super::denial::Around;
use super::ending::{End, Exit, Fate, Why};
use super::monitor::{self, Bounds, Command, Sight, Watched};
use super::quota::{self, Allowed};
use super::target::{Confinement, Target};
use super::watch::{Live, Watch};
use crate::Error;
use crate::config::PluginLimits;
use crate::event::EventKind;
use crate::exec::failure::launch_error;
use crate::exec::translate::translate;
use crate::rpc::{CallError, CallMeta, Connection, Options};
use crate::runtime;
use crate::service::PluginService;

/// How long a plugin has to end by itself after its input was closed (ARCHITECTURE.md, "An orderly end of
/// a plugin").
pub const ORDERLY_STOP: Duration = Duration::from_secs(2);
/// How long after the last rung of the stop ladder an end is waited for; then it is reported and given up.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// A plugin that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) connection: Connection,
    pub(crate) target: Arc<Target>,
    pub(crate) watched: Watched,
    /// How the host's look-out sees it.
    pub(crate) live: Arc<Live>,
    /// What it asks of the host.
    service: Arc<PluginService>,
    /// The reader of the connection, and the monitor of the sandbox.
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// What became of the start. Dropped while it is not known, the start was cancelled.
    fate: watch::Sender<Fate>,
    pub(crate) started_at: Instant,
    pub(crate) enforced: BTreeMap<String, EnforcedLayer>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.watched.tell(Command::Kill(Why::Asked));
        self.connection.close_input();
    }
}

/// Starts the plugin and waits until it has answered `initialize`. The start is in the audit trail before anything of the
/// plugin runs, and its end, whatever it is, is one more record.
///
/// # Errors
/// `busy` when the audit trail takes no more, and nothing was started.
/// `quota` when its data directory holds more than it may; what the sandbox refuses; `timeout` when it does not answer in time,
/// `plugin_failed` when it ends or answers badly. Nothing of it runs any more then.
///
/// Not cancel safe in one thing: a dropped start may leave the sandbox running until its pipes are seen to be closed.
pub(crate) async fn start(context: &Arc<Context>, target: Arc<Target>) -> Result<Instance, Error> {
    let begun = Instant::now();
    let deadline = begun + target.limits.init_timeout;
    let run = context.correlation_id();
    context.starting(&target, &run)?;
    let begun_only = Begun { context, target: &target, run: &run, over: false };
    let connected = match launch(context, &target).await {
        Ok(launched) => connect(context, Arc::clone(&target), launched, begun, &run),
        Err(error) => Err(error),
    };
    // From here on the monitor, or the next lines, say how it ends.
    begun_only.over();
    let instance = match connected {
        Ok(instance) => instance,
        Err(error) => {
            context.ended(&target, &End::before_process(error.to_string()), &run).await;
            return Err(error);
        }
    };
    match initialize(&instance, context, deadline).await {
        Ok(()) => {
            instance.fate.send_replace(Fate::Running);
            instance.live.is_up();
            context.events.tell(&target.name, EventKind::Started);
            Ok(instance)
        }
        Err(error) => Err(instance.failed_start(error).await),
    }
}

/// A start that is on record and has no monitor yet. Dropped so, it was cancelled, and that is recorded, too.
struct Begun<'a> {
    context: &'a Context,
    target: &'a Target,
    run: &'a str,
    over: bool,
}

impl Begun<'_> {
    fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.context.cancelled_start(self.target, self.run);
        }
    }
}

struct Launched {
    sandbox: ringfence_sandbox::Sandbox,
    pipes: ringfence_sandbox::stream::Pipes,
    translated: crate::exec::translate::Translated,
    /// After the sandbox: it holds the right to run it.
    _target: Arc<Target>,
}

/// Builds the sandbox, off the runtime's threads: it takes a millisecond or two and touches the disk.
async fn launch(context: &Arc<Context>, target: &Arc<Target>) -> Result<Launched, Error> {
    let (context, target) = (Arc::clone(context), Arc::clone(target));
    let joined = tokio::task::spawn_blocking(move || {
        quota::admit(&target.name, &target.data, allowed(&target))?;
        let mut exec = runtime::request(&target.spec(), &context.world(&context.config()))?;
        exec.explain(target.sandbox == Confinement::Observed);
        let mut translated = translate(&exec)?;
        if target.sandbox == Confinement::None {
            translated.plan.weaken(Layers::ALL).processes(Processes::Allowed);
        }
        let (stdio, pipes) = Stdio::pipes(Input::Pipe)
            .map_err(|error| Error::new(ErrorCode::Io, "no pipe for the plugin").with_source(error))?;
        let launcher = context.launcher()?;
        let sandbox = launcher.launch(&translated.plan, stdio).map_err(|error| launch_error(&error))?;
        Ok(Launched { sandbox, pipes, translated, _target: target })
    });
    joined.await.map_err(|error| Error::new(ErrorCode::Internal, "the start was lost").with_source(error))?
}

fn connect(
    context: &Arc<Context>,
    target: Arc<Target>,
    launched: Launched,
    started_at: Instant,
    run: &Arc<str>,
) -> Result<Instance, Error> {
    let fail = |error: std::io::Error| {
        Error::new(ErrorCode::Io, "the plugin's pipes cannot be watched").with_source(error)
    };
    let Launched { sandbox, pipes, translated, .. } = launched;
    let enforced = crate::exec::explain::enforced(sandbox.report());
    let input = pipes.stdin.ok_or_else(|| fail(std::io::ErrorKind::BrokenPipe.into()))?;
    let service = Arc::new(PluginService::new(Arc::clone(context), Arc::clone(&target)));
    // The monitor is made first, and asks the connection which calls there were.
    let place = Arc::new(OnceLock::new());
    let (watched, monitor) = monitor::watch(
        sandbox,
        pipes.stderr,
        translated,
        target.log.clone(),
        bounds(context, &target, service.programs()),
        see(Arc::clone(context), Arc::clone(&target), Around::new(Arc::clone(&place), Arc::clone(run))),
    )
    .map_err(fail)?;
    let options = Options {
        wire: target.manifest.wire,
        queued_max: usize::try_from(target.limits.queued_calls).unwrap_or(usize::MAX),
        correlation_prefix: target.name.to_string(),
        // What is asked for the sake of a call may take as long as the call.
        service_timeout: target.limits.call_timeout,
        requests_per_second: u32::try_from(context.config().plugins.requests_per_second).unwrap_or(u32::MAX),
        ..Options::default()
    };
    let (connection, reader) =
        Connection::open(input, pipes.stdout, options, Arc::<PluginService>::clone(&service))
            .map_err(fail)?;
    let _first = place.set(connection.clone());
    let live = Arc::new(Live::new(Arc::clone(&target), watched.clone()));
    if target.run.is_some() {
        Watch::add(context, Arc::clone(&live));
    }
    let (closes, runs, beside) = (connection.clone(), Arc::clone(&target), Arc::clone(&service));
    let (fate, became) = watch::channel(Fate::Starting);
    let (has_ended, of, shared, run) =
        (watched.clone(), Arc::clone(&target), Arc::clone(context), Arc::clone(run));
    let monitor = tokio::spawn(async move {
        monitor.await;
        // A grandchild may still hold the pipe; nobody waits for it.
        closes.process_ended();
        beside.emptied_soon(&runs).await;
        // Its end is known already, so whoever finds the lock free finds nothing that runs.
        runs.let_go();
        let end = End::of(has_ended.exit().as_deref(), &Fate::known(became).await);
        shared.ended(&of, &end, &run).await;
    });
    let after_end = watched.clone();
    let reader = tokio::spawn(async move {
        let _how = reader.await;
        // A plugin without its output is of no use to anybody: the ladder gives it time to end by itself first.
        after_end.tell(Command::Stop(Why::OutputEnded, ORDERLY_STOP));
    });
    Ok(Instance {
        connection,
        target,
        watched,
        live,
        service,
        tasks: Mutex::new(vec![monitor, reader]),
        fate,
        started_at,
        enforced,
    })
}

/// What its data directory may hold.
fn allowed(target: &Target) -> Allowed {
    Allowed { bytes: target.limits.data_bytes, files: target.limits.data_keys }
}

fn bounds(context: &Context, target: &Target, programs: Arc<Semaphore>) -> Bounds {
    let Target { limits, manifest, data, .. } = target;
    Bounds {
        data: Some((data.as_path().into(), allowed(target))),
        programs,
        memory_bytes: limits.memory_bytes,
        cpu_percent: limits.cpu_percent,
        file_size_bytes: limits.file_size_bytes,
        processes: limits.processes,
        hard_memory_bytes: runtime::hard_memory_limit(
            &runtime::given_limits(&context.config().plugins, Some(&target.policy)),
            manifest,
        ),
    }
}

/// What becomes of what the monitor sees.
fn see(context: Arc<Context>, target: Arc<Target>, mut around: Around) -> impl FnMut(Sight) + Send + 'static {
    move |sight| {
        let kind = match sight {
            Sight::Log(line) => EventKind::Log { line },
            Sight::Sample(sample) => return context.sampled(&target, sample),
            Sight::Look => return around.look(),
            Sight::Denial(denial, moment) => {
                return context.denied(&target, around.refused(denial, moment));
            }
            Sight::MemoryWarning { used_bytes, limit_bytes } => {
                EventKind::MemoryWarning { used_bytes, limit_bytes }
            }
            Sight::CpuWarning { limit_percent } => EventKind::CpuWarning { limit_percent },
            // Its record is that of the end, which it leads to.
            Sight::Violation(violation, detail) => EventKind::Violation { violation, detail },
        };
        context.events.tell(&target.name, kind);
    }
}

async fn initialize(instance: &Instance, context: &Context, deadline: Instant) -> Result<(), Error> {
    let target = &instance.target;
    let params = InitializeParams {
        protocol_versions: vec![PROTOCOL_VERSION.to_owned()],
        host: Named::new("ringfence", env!("CARGO_PKG_VERSION")),
        plugin: Named::new(target.name.as_str(), target.manifest.version.to_string()),
        permissions: target.effective.clone(),
        config: target.config(),
        limits: told_limits(&target.limits),
        data_dir: target.data.display().to_string(),
        entry_point: target.manifest.entry_point.clone(),
    };
    let params = serde_json::value::to_raw_value(&params)
        .map_err(|error| Error::new(ErrorCode::Internal, "the start message").with_source(error))?;
    let legacy = target.manifest.wire == Wire::Legacy;
    let first = if legacy { method::INIT } else { method::INITIALIZE };
    let correlation_id = context.correlation_id();
    let meta = CallMeta { correlation_id: &correlation_id, deadline };
    let answer = instance.connection.request(first, &params, meta).await;
    let answer = answer.map_err(|error| start_error(error, target))?;
    if !legacy {
        agree(&answer, &target.manifest)?;
        let empty = RawValue::from_string("{}".to_owned())
            .map_err(|error| Error::new(ErrorCode::Internal, "an empty object").with_source(error))?;
        instance
            .connection
            .notify(method::INITIALIZED, &empty, &correlation_id)
            .await
            .map_err(|error| start_error(error, target))?;
    }
    Ok(())
}

fn told_limits(limits: &PluginLimits) -> ringfence_api::rpc::PluginLimits {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    ringfence_api::rpc::PluginLimits {
        memory_bytes: limits.memory_bytes,
        call_timeout_ms: Some(ms(limits.call_timeout)),
        hook_timeout_ms: Some(ms(limits.hook_timeout)),
        message_bytes: Some(ringfence_api::rpc::MESSAGE_MAX_BYTES as u64),
        data_bytes: Some(limits.data_bytes),
        tasks: limits.processes,
    }
}

fn start_error(error: CallError, target: &Target) -> Error {
    let limit = target.limits.init_timeout;
    match error {
        CallError::Timeout => Error::new(
            ErrorCode::Timeout,
            format!("it did not answer `initialize` within {} s", limit.as_secs_f64()),
        )
        .with_hint("a plugin must be ready within its init_timeout"),
        CallError::Plugin(error) => Error::new(
            ErrorCode::PluginFailed,
            format!("it refused to start: {}", crate::consent::shown(&target.log.redacted(&error.message))),
        ),
        other => Error::new(ErrorCode::PluginFailed, format!("it did not start: {other}")),
    }
}

/// What a plugin says of itself must be what its manifest says (PROTO-13, PROTO-14).
fn agree(answer: &RawValue, manifest: &Manifest) -> Result<(), Error> {
    let refuse = |why: String| Error::new(ErrorCode::PluginFailed, format!("it was not started: {why}"));
    let result: InitializeResult = serde_json::from_str(answer.get()).map_err(|error| {
        refuse(format!("its answer to `initialize` cannot be read: {error}"))
            .with_hint("docs/protocol.md shows the answer")
    })?;
    if result.protocol_version != PROTOCOL_VERSION {
        let said = crate::consent::shown(&result.protocol_version);
        return Err(refuse(format!("it speaks protocol '{said}', this host speaks '{PROTOCOL_VERSION}'")));
    }
    let own = [
        ("name", result.name, manifest.name.to_string()),
        ("version", result.version, manifest.version.to_string()),
    ];
    for (what, said, known) in own {
        if let Some(said) = said.filter(|said| *said != known) {
            let said = crate::consent::shown(&said);
            return Err(refuse(format!("it gives its {what} as '{said}', its manifest as '{known}'")));
        }
    }
    for tool in result.tools.iter().flatten() {
        if !manifest.tools.iter().any(|known| known.name == tool.name()) {
            let name = crate::consent::shown(tool.name());
            return Err(refuse(format!("it has the tool '{name}', which its manifest does not declare"))
                .with_hint("`ringfence check PATH --write` fills the manifest from the code"));
        }
    }
    for hook in result.hooks.iter().flatten() {
        if !manifest.hooks.iter().any(|known| known.event == hook.event && known.kind == hook.kind) {
            let event = crate::consent::shown(&hook.event);
            return Err(refuse(format!("it has a hook at '{event}', which its manifest does not declare"))
                .with_hint("`ringfence check PATH --write` fills the manifest from the code"));
        }
    }
    Ok(())
}

impl Instance {
    /// Ends it and joins its tasks. Orderly: `shutdown`, end of input, 2 s, SIGTERM, 3 s, SIGKILL; one that has stopped
    /// answering gets SIGTERM at once.
    ///
    /// Cancel safe: a dropped stop goes on by itself, since the ladder is the monitor's.
    pub(crate) async fn stop(&self, why: Why) -> Option<Arc<Exit>> {
        let grace = if why == Why::Asked && self.is_responsive() { ORDERLY_STOP } else { Duration::ZERO };
        self.watched.tell(Command::Stop(why, grace));
        if self.live.overtaken().is_some() {
            // Whoever waits for an answer hears why there is none, instead of waiting for the end.
            self.connection.cancel_calls();
        }
        if !grace.is_zero() && self.target.manifest.wire == Wire::JsonRpc {
            self.say_goodbye(grace).await;
        }
        self.connection.close_input();
        let exit = self.has_ended(grace).await;
        self.join().await;
        exit
    }

    async fn say_goodbye(&self, grace: Duration) {
        let meta = CallMeta { correlation_id: "stop", deadline: Instant::now() + grace };
        if let Ok(empty) = RawValue::from_string("{}".to_owned()) {
            // Whatever it answers, it is stopped.
            let _answer = self.connection.request(method::SHUTDOWN, &empty, meta).await;
        }
    }

    /// Whether nobody waits for an answer of it.
    pub(crate) fn is_idle(&self) -> bool {
        self.connection.in_flight() == 0 && self.connection.queued() == 0
    }

    /// Whether it can be expected to answer: none of its calls was given up without an answer.
    fn is_responsive(&self) -> bool {
        self.watched.exit().is_none() && self.connection.overdue() == 0
    }

    async fn has_ended(&self, grace: Duration) -> Option<Arc<Exit>> {
        let most = grace + ringfence_sandbox::TERM_GRACE + LAST_WAIT;
        let exit = tokio::time::timeout(most, self.watched.ended()).await.ok().flatten();
        if exit.is_none() {
            tracing::error!(plugin = %self.target.name, "a plugin did not end after SIGKILL");
        }
        exit
    }

    async fn join(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // Both tasks end with the plugin; one that does not is left to the runtime.
            let _ended = tokio::time::timeout(LAST_WAIT, task).await;
        }
        self.service.emptied_soon(&self.target).await;
    }

    /// Puts away what did not start, and adds to the error what its log says.
    async fn failed_start(self, error: Error) -> Error {
        let ended_by_itself =
            tokio::time::timeout(Duration::from_millis(100), self.watched.ended()).await.is_ok();
        let exit = if ended_by_itself { self.watched.exit() } else { None };
        let timed_out = error.code() == ErrorCode::Timeout;
        let why = match timed_out {
            true => Why::broken(ringfence_api::Violation::Timeout, error.message()),
            false => Why::Asked,
        };
        self.watched.tell(Command::Stop(why, Duration::ZERO));
        self.connection.close_input();
        self.has_ended(Duration::ZERO).await;
        let mut message = error.message().to_owned();
        if let Some(exit) = exit.filter(|_| !timed_out) {
            message = format!("{message}; {}", exit.reason());
        }
        if let Some(last) = self.target.log.tail().last() {
            message = format!("{message}; its last words: {}", crate::consent::shown(&last.message));
        }
        self.fate.send_replace(Fate::Failed(message.clone()));
        self.join().await;
        let made = Error::new(error.code(), message);
        match error.hint() {
            Some(hint) => made.with_hint(hint),
            None => made.with_hint(format!("read its log: ringfence logs {}", self.target.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        serde_json::from_value(serde_json::json!({
            "name": "p", "version": "1.0.0", "runtime": "native", "entry_point": "p",
            "tools": [{"name": "known"}], "hooks": [{"event": "onRequest", "kind": "guard"}]
        }))
        .unwrap()
    }

    fn refused(answer: &str) -> Option<String> {
        let answer = RawValue::from_string(answer.to_owned()).unwrap();
        agree(&answer, &manifest()).err().map(|error| error.message().to_owned())
    }

    #[test]
    fn what_a_plugin_says_of_itself_must_be_what_its_manifest_says() {
        for fine in [
            r#"{"protocol_version":"1"}"#,
            r#"{"protocol_version":"1","name":"p","version":"1.0.0","tools":["known"],"unknown":1}"#,
            r#"{"protocol_version":"1","tools":[{"name":"known"}],"hooks":[{"event":"onRequest","kind":"guard"}]}"#,
        ] {
            assert_eq!(refused(fine), None, "{fine}");
        }
        for (answer, why) in [
            (r#"{"protocol_version":"2"}"#, "speaks protocol '2'"),
            (r#"{"protocol_version":"1","name":"q"}"#, "its name as 'q'"),
            (r#"{"protocol_version":"1","version":"9.0.0"}"#, "its version as '9.0.0'"),
            (r#"{"protocol_version":"1","tools":["new"]}"#, "the tool 'new'"),
            (
                r#"{"protocol_version":"1","hooks":[{"event":"onRequest","kind":"mutator"}]}"#,
                "a hook at 'onRequest'",
            ),
            (r#"{}"#, "cannot be read"),
            (r#"null"#, "cannot be read"),
        ] {
            let said = refused(answer).unwrap_or_default();
            assert!(said.contains(why), "{answer}: {said}");
        }
    }
}
