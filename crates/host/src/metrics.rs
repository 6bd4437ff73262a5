//! What a host measures of itself and its plugins, at one moment: see [`Host::metrics`](crate::Host::metrics).
//!
//! Counts begin at 0 when the host is opened, and those of a plugin anew when it is installed again. Nothing is written for
//! them. A server turns them into whatever its monitoring reads.

use std::collections::BTreeMap;

use ringfence_api::{PluginName, PluginState, Runtime};
use serde::Serialize;

/// The upper ends of the buckets of a [`CallLatency`], in microseconds; one more has none.
pub const CALL_BUCKETS_US: [u64; 16] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    300_000_000,
];

/// A host at one moment.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// for plugin in host.metrics().await?.plugins {
///     println!("{} {} crashes={} denials={}", plugin.name, plugin.state, plugin.crashes, plugin.denials);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Metrics {
    /// When this was measured, in unix milliseconds.
    pub at_ms: i64,
    /// When the host was opened, in unix milliseconds.
    pub started_at_ms: i64,
    /// How many plugins are in each state; states without any are there too.
    pub states: BTreeMap<PluginState, u64>,
    /// How many plugins run at this moment, in this host.
    pub running: u64,
    /// The installed plugins, by name.
    pub plugins: Vec<PluginMetrics>,
    /// Events that were told to listeners, or would have been.
    pub events: u64,
    /// Observations and messages that wait for a plugin.
    pub queued_deliveries: u64,
    /// The audit trail.
    pub audit: AuditMetrics,
}

/// The audit trail at one moment.
///
/// See [`Metrics`] for an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditMetrics {
    /// Records that are on the disk.
    pub records: u64,
    /// The number of the last one; it only grows.
    pub last_seq: i64,
    /// Records that wait for the disk.
    pub queued: u64,
}

/// A plugin at one moment.
///
/// See [`Metrics`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PluginMetrics {
    /// Its name.
    pub name: PluginName,
    /// Its version.
    pub version: String,
    /// How it runs.
    pub runtime: Runtime,
    /// Where it stands.
    pub state: PluginState,
    /// Whether a process of it runs now, in this host.
    pub running: bool,
    /// Its requests that have ended, by method: `call`, `hook`, `handle_event`, and what it asked of the host.
    pub methods: Vec<MethodMetrics>,
    /// Times that it came up.
    pub starts: u64,
    /// Times that it was stopped.
    pub stops: u64,
    /// Times that it ended by itself.
    pub crashes: u64,
    /// Times that it was ended for breaking a limit or a rule.
    pub violations: u64,
    /// Starts that failed.
    pub start_failures: u64,
    /// Restarts after a crash.
    pub restarts: u64,
    /// What was refused to it.
    pub denials: u64,
    /// Events that it blocked, as a guard.
    pub blocked: u64,
    /// Events and messages at which it failed.
    pub hook_failures: u64,
    /// Observations and messages that wait for it.
    pub queued_deliveries: u64,
    /// Those that were dropped, as too many waited.
    pub dropped_deliveries: u64,
    /// Memory of its whole process tree, in bytes, to the second; `None` while it does not run.
    pub memory_bytes: Option<u64>,
    /// CPU time since its start, in milliseconds, to the second; `None` while it does not run.
    pub cpu_ms: Option<u64>,
    /// Bytes that it has read from storage; `None` while it does not run.
    pub read_bytes: Option<u64>,
    /// Bytes that it has written to storage; `None` while it does not run.
    pub written_bytes: Option<u64>,
}

/// Requests of one plugin by one method.
///
/// See [`Metrics`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MethodMetrics {
    /// The method.
    pub method: String,
    /// How many ended so: `ok`, `failed`, `invalid`, `timeout`, `cancelled`, `refused`, `crashed`; all seven are there.
    pub outcomes: BTreeMap<String, u64>,
    /// How long they took.
    pub latency: CallLatency,
}

/// How long requests took.
///
/// See [`Metrics`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallLatency {
    /// How many.
    pub count: u64,
    /// All of them together, in microseconds.
    pub total_us: u64,
    /// How many took no longer than each end of [`CALL_BUCKETS_US`], those of the buckets before included; the last is all.
    pub buckets: Vec<CallBucket>,
}

/// How many requests took no longer than this.
///
/// See [`Metrics`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallBucket {
    /// The end in microseconds; `None`: none.
    pub le_us: Option<u64>,
    /// How many.
    pub count: u64,
}

/// What a plugin used at one moment.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// for sample in host.resources("notes", 60).await? {
///     println!("{} {} bytes {:.0} %", sample.at_ms, sample.memory_bytes, sample.cpu_percent);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResourceSample {
    /// When, in unix milliseconds.
    pub at_ms: i64,
    /// Memory of the whole process tree, in bytes.
    pub memory_bytes: u64,
    /// CPU time since the start, in milliseconds; it begins anew with each start.
    pub cpu_ms: u64,
    /// CPU time since the sample before, in percent of one core.
    pub cpu_percent: f64,
    /// Processes and threads of the plugin; 0 in samples of versions that did not count them.
    pub tasks: u64,
    /// Bytes that its processes have read from storage since the start; 0 in samples of versions that did not count them. What
    /// was cached is not read, and what a process did in its last second may be missing.
    pub read_bytes: u64,
    /// As `read_bytes`, written to storage.
    pub written_bytes: u64,
}

/// Which recorded calls are wanted. By default all.
///
/// ```
/// use ringfence::metrics::ExecutionFilter;
///
/// let failed = ExecutionFilter { outcome: Some("failed".to_owned()), ..ExecutionFilter::default() };
/// assert!(failed.plugin.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Only of this plugin.
    pub plugin: Option<String>,
    /// Only by this method, such as `call`.
    pub method: Option<String>,
    /// Only those that ended so, such as `failed`.
    pub outcome: Option<String>,
    /// Only of this request.
    pub correlation_id: Option<String>,
    /// Only those in whose plugin and tool this text stands; for the letters A to Z capitals do not matter.
    pub text: Option<String>,
    /// Only those with a smaller id: the id of the last one of the page before.
    pub before: Option<i64>,
}

/// A request that has ended, or many alike within one second.
///
/// See [`ExecutionPage`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Execution {
    /// Its number: larger is later.
    pub id: i64,
    /// The plugin.
    pub plugin: String,
    /// The method, such as `call`.
    pub method: String,
    /// The tool, event or topic; empty where many are counted together.
    pub tool: String,
    /// How it ended: `ok`, `failed`, `invalid`, `timeout`, `cancelled`, `refused` or `crashed`.
    pub outcome: String,
    /// How many; more than 1 for requests beyond 1,000 a second.
    pub count: u64,
    /// How long it took, or they took together, in microseconds.
    pub duration_us: u64,
    /// What joins the records of one piece of work; empty where many are counted together.
    pub correlation_id: String,
    /// When it ended, in unix milliseconds.
    pub at_ms: i64,
}

/// Some requests, newest first, and whether there are older ones.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// use ringfence::metrics::ExecutionFilter;
///
/// for one in host.executions(&ExecutionFilter::default(), 20).await?.executions {
///     println!("{} {} {} {} µs", one.plugin, one.tool, one.outcome, one.duration_us);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExecutionPage {
    /// The requests.
    pub executions: Vec<Execution>,
    /// Whether there are older ones.
    pub more: bool,
}
