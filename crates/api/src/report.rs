//! The document that `ringfence exec --report` writes after each run.
//!
//! The types are the format: every field but `landlock_records` is always present in the JSON (`null` when there is
//! nothing to say) and unknown fields are refused when it is read back. Producing a report is the host's business.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ErrorBody, Violation};

/// The [`Denial::object`] of a denial whose object the kernel did not tell.
pub const UNKNOWN_OBJECT: &str = "unknown";

/// The [`Denial::object`] of refusals of one operation that are counted together, because there were too many different ones
/// to list each.
pub const UNLISTED_OBJECT: &str = "(others)";

/// How a run ended.
///
/// ```
/// use ringfence_api::RunStatus;
///
/// assert_eq!(serde_json::to_string(&RunStatus::NotStarted)?, r#""not_started""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// The command ended by itself; `exit_code` is its status.
    Exited,
    /// The command was ended by a signal that Ringfence did not send; `signal` is its number.
    Signaled,
    /// The command broke a limit or a rule; `violation` says which.
    Violation,
    /// The caller gave up: Ctrl-C, SIGTERM, or a dropped future.
    Cancelled,
    /// The command was never executed; `error` says why.
    NotStarted,
}

/// What is known about one run after it ended.
///
/// `exit_code` and `signal` are the kernel's facts about the command. `violation` is set only when it is
/// proven; what is merely likely stands in `suspected`, with the reasons in `evidence`.
///
/// ```
/// use ringfence_api::{RunReport, RunStatus};
///
/// let report = RunReport { exit_code: Some(0), ..RunReport::new(RunStatus::Exited) };
/// let json = serde_json::to_string(&report)?;
/// assert!(json.starts_with(r#"{"status":"exited","exit_code":0,"signal":null,"violation":null"#));
/// assert_eq!(serde_json::from_str::<RunReport>(&json)?, report);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunReport {
    /// How the run ended.
    pub status: RunStatus,
    /// The command's exit status (0 to 255), when it exited.
    pub exit_code: Option<i32>,
    /// The number of the signal that ended the command, when one did.
    pub signal: Option<i32>,
    /// The limit or rule that was broken, when that is proven.
    pub violation: Option<Violation>,
    /// The limit that was probably broken, when it cannot be proven.
    pub suspected: Option<Violation>,
    /// The facts that `violation` or `suspected` rest on, one sentence each.
    pub evidence: Vec<String>,
    /// Why Ringfence itself refused or failed, when it did.
    pub error: Option<ErrorBody>,
    /// Wall-clock time from start to end, in milliseconds.
    pub duration_ms: u64,
    /// Processor time of the whole process tree, user and system together, in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory of this process tree, in bytes; 0 when it never started.
    pub memory_peak_bytes: u64,
    /// Bytes that were read from the command's stdout and kept.
    pub stdout_bytes: u64,
    /// Bytes that were read from the command's stderr and kept.
    pub stderr_bytes: u64,
    /// Whether output was cut off at the limit.
    pub truncated: bool,
    /// What was really enforced, by layer name (such as `seccomp`).
    pub enforced: BTreeMap<String, EnforcedLayer>,
    /// What was refused during the run, equal refusals counted together.
    pub denials: Vec<Denial>,
    /// Whether the kernel's own records of Landlock's denials are in `denials`: `read`, or `not read: ` and why. Left out
    /// where nobody asked for an explanation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock_records: Option<String>,
}

impl RunReport {
    /// A report with the given ending and nothing else in it: no code, no error, zero everywhere.
    #[must_use]
    pub const fn new(status: RunStatus) -> Self {
        Self {
            status,
            exit_code: None,
            signal: None,
            violation: None,
            suspected: None,
            evidence: Vec::new(),
            error: None,
            duration_ms: 0,
            cpu_ms: 0,
            memory_peak_bytes: 0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            truncated: false,
            enforced: BTreeMap::new(),
            denials: Vec::new(),
            landlock_records: None,
        }
    }

    /// The report of a run that was refused or failed before the command was executed.
    #[must_use]
    pub fn not_started(error: ErrorBody) -> Self {
        Self { error: Some(error), ..Self::new(RunStatus::NotStarted) }
    }

    /// Whether every path that the command named was watched. Without that `denials` has what was refused by the filter, the
    /// network, the limits and the host, and not the files that were merely not shown: those do not exist inside.
    ///
    /// ```
    /// use ringfence_api::{RunReport, RunStatus};
    ///
    /// assert!(!RunReport::new(RunStatus::Exited).is_explained());
    /// ```
    #[must_use]
    pub const fn is_explained(&self) -> bool {
        self.landlock_records.is_some()
    }
}

/// One layer of the sandbox that was in force, and who enforced it.
///
/// ```
/// use ringfence_api::EnforcedLayer;
///
/// let layer = EnforcedLayer::by("cgroup_v2").with_detail("memory.max = 524288000");
/// assert_eq!(serde_json::to_string(&layer)?, r#"{"by":"cgroup_v2","detail":"memory.max = 524288000"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnforcedLayer {
    /// The mechanism, such as `landlock`, `cgroup_v1` or `sampler`.
    pub by: String,
    /// Its version or setting, when that says more.
    pub detail: Option<String>,
}

impl EnforcedLayer {
    /// A layer enforced by the named mechanism, without detail.
    #[must_use]
    pub fn by(mechanism: impl Into<String>) -> Self {
        Self { by: mechanism.into(), detail: None }
    }

    /// The same layer with a version or setting.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

/// Something that was refused: by which layer, what was tried on what, and which grant would allow it.
///
/// ```
/// use ringfence_api::Denial;
///
/// let denial = Denial::new("seccomp", "ptrace");
/// assert_eq!((denial.object.as_str(), denial.count), ("unknown", 1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// The layer that refused, such as `landlock`, `seccomp` or `host`.
    pub layer: String,
    /// What was tried, such as `open` or `connect`.
    pub operation: String,
    /// On what: a path, an address, a name; [`UNKNOWN_OBJECT`] when nobody told, [`UNLISTED_OBJECT`] for those
    /// that are not listed singly.
    pub object: String,
    /// The narrowest grant that would allow it, as text; `null` when none can or none is known.
    pub grant: Option<String>,
    /// How often it was refused in this run.
    pub count: u64,
    /// What to know before the grant is given, such as that the object is protected; left out where there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Which line of the program asked for it, `FILE:LINE`, as its interpreter says and nothing proves; left out where it does not
    /// say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

impl Denial {
    /// One refusal of `operation` by `layer`, on an unknown object and without a known grant.
    #[must_use]
    pub fn new(layer: impl Into<String>, operation: impl Into<String>) -> Self {
        Self {
            layer: layer.into(),
            operation: operation.into(),
            object: UNKNOWN_OBJECT.to_owned(),
            grant: None,
            count: 1,
            warning: None,
            location: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    const FIELDS: [&str; 15] = [
        "status",
        "exit_code",
        "signal",
        "violation",
        "suspected",
        "evidence",
        "error",
        "duration_ms",
        "cpu_ms",
        "memory_peak_bytes",
        "stdout_bytes",
        "stderr_bytes",
        "truncated",
        "enforced",
        "denials",
    ];

    fn full() -> RunReport {
        RunReport {
            status: RunStatus::Violation,
            exit_code: None,
            signal: Some(9),
            violation: Some(Violation::Memory),
            suspected: Some(Violation::Memory),
            evidence: vec!["the cgroup counted one oom_kill".to_owned()],
            error: Some(ErrorBody::new(ErrorCode::Violation, "memory").with_hint("raise --memory")),
            duration_ms: 12,
            cpu_ms: 7,
            memory_peak_bytes: 1 << 40,
            stdout_bytes: 3,
            stderr_bytes: 4,
            truncated: true,
            enforced: BTreeMap::from([("memory".to_owned(), EnforcedLayer::by("cgroup_v1"))]),
            denials: vec![Denial {
                grant: Some("file:read=/x".to_owned()),
                ..Denial::new("landlock", "open")
            }],
            landlock_records: None,
        }
    }

    #[test]
    fn every_field_is_in_the_json_even_when_there_is_nothing_to_say() {
        let empty = RunReport::new(RunStatus::Exited);
        for report in [empty, full()] {
            let json = serde_json::to_value(&report).unwrap();
            let object = json.as_object().unwrap();
            assert_eq!(object.len(), FIELDS.len());
            assert!(FIELDS.iter().all(|field| object.contains_key(*field)), "{object:?}");
            assert_eq!(serde_json::from_value::<RunReport>(json).unwrap(), report);
        }
    }

    #[test]
    fn unknown_fields_are_refused_at_each_level() {
        let good = serde_json::to_value(full()).unwrap();
        for pointer in ["", "/error", "/enforced/memory", "/denials/0"] {
            let mut bad = good.clone();
            let object = bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            object.insert("extra".to_owned(), 1.into());
            let error = serde_json::from_value::<RunReport>(bad).unwrap_err();
            assert!(error.to_string().contains("unknown field `extra`"), "{pointer}: {error}");
        }
    }

    #[test]
    fn the_schema_of_what_is_written_requires_every_field() {
        let schema = schemars::generate::SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<RunReport>();
        let required = schema.get("required").and_then(|r| r.as_array()).unwrap();
        for field in FIELDS {
            assert!(required.iter().any(|name| name == field), "{field} in {required:?}");
        }
    }

    #[test]
    fn statuses_are_the_words_of_the_design() {
        let words: Vec<_> = [
            RunStatus::Exited,
            RunStatus::Signaled,
            RunStatus::Violation,
            RunStatus::Cancelled,
            RunStatus::NotStarted,
        ]
        .iter()
        .map(|status| serde_json::to_value(status).unwrap())
        .collect();
        assert_eq!(words, ["exited", "signaled", "violation", "cancelled", "not_started"]);
    }
}
