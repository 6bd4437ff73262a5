"""What the daemon answers and takes, as types.

Made from schema/openapi.json by sdk/types_from_openapi.py.
"""

from typing import Any, Dict, List, Literal, Optional, TypedDict, Union

BreakerState = Literal["closed", "open", "half_open"]
"""Where a breaker stands."""

ConfigDocument = Dict[str, Any]
"""A plugin's configuration: an object that its schema describes."""

Enforcement = Literal["sandbox", "brokered", "not_served"]
"""How a grant is enforced."""

ErrorCode = Literal[
    "usage", "invalid_permission", "limit_invalid", "invalid_config", "not_found", "path_not_found", "not_executable",
    "invalid_manifest", "invalid_package", "already_installed", "not_active", "quarantined", "permission_denied",
    "policy_denied", "floor", "consent_required", "not_supported", "not_enforceable", "violation", "timeout",
    "plugin_failed", "schema_violation", "quota", "too_large", "busy", "unauthenticated", "forbidden", "conflict",
    "method_not_allowed", "unsupported_media_type", "rate_limited", "cancelled", "io", "internal"]
"""The stable name of what went wrong, the same in JSON, logs, exit statuses and the HTTP API."""

HandlerResult = Literal["unchanged", "changed", "passed", "blocked", "skipped", "not_asked", "queued", "observed"]
"""What came of one handler."""

Health = Literal["ok", "degraded"]
"""How the host is."""

HookKind = Literal["mutator", "guard", "observer"]
"""What a hook handler does with what passes."""

LogSource = Literal["stderr", "log", "host"]
"""Where a line came from."""

OnFailure = Literal["block", "skip"]
"""What happens when a hook handler fails or is too slow."""

OnMemory = Literal["kill", "warn"]
"""What happens at the memory limit."""

Permission = str
"""A permission: NAME or NAME=SCOPE, such as file:read=/srv/notes/**."""

PermissionName = Union[Literal["file:read", "file:write", "file:delete", "network:request", "network:listen", "subprocess:execute", "hook:register", "config:read", "config:write", "database:read", "database:write", "env:read", "event:post", "profile:read"], str]
"""The name of a permission."""

PlaceState = Literal["open", "missing", "closed", "misfit"]
"""Whether a grant over files opens its place."""

PluginName = str
"""The name of a plugin: `[a-z0-9-]{1,100}`, kebab-case, so no hyphen first, last or doubled."""

PluginState = Literal["discovered", "installed", "inactive", "active", "errored", "quarantined"]
"""Where a plugin stands: `discovered → installed → inactive ⇄ active`, with `errored` and `quarantined`."""

PolicyEffect = Literal["denied", "narrowed", "except"]
"""How much the administrator's policy takes of a grant."""

ReceiverOutcome = Literal["queued", "delivered", "failed"]
"""What came of a message for one plugin."""

Role = Literal["viewer", "operator", "admin"]
"""What the bearer of a token may do; a larger one may all that a smaller one may."""

RunId = int
"""The number of a stored run."""

RunState = Literal["finished", "unfinished", "unreadable"]
"""Where a stored run stands."""

RunStatus = Literal["exited", "signaled", "violation", "cancelled", "not_started"]
"""How a run ended."""

Runtime = Literal["native", "python", "node", "mcp", "wasm", "container"]
"""How a plugin runs."""

ScanPlace = Literal["own", "test", "vendored"]
"""What kind of place of the package a file is in."""

ScanRan = Union[Literal["sandboxed"], Literal["in_process"], Dict[str, Any]]
"""Where a scan was made."""

ScanSeverity = Literal["note", "warning"]
"""How much a finding matters."""

SealedState = Literal["whole", "altered", "gone"]
"""What became of a trail that was put away."""

TokenId = str
"""What names a token in lists and in the audit trail."""

Verdict = Literal["continue", "blocked"]
"""What comes of an event."""

Violation = Literal["timeout", "memory", "output", "cpu", "file_size", "processes", "syscall", "permission", "protocol"]
"""The limit or rule that a run broke."""

Wire = Literal["json-rpc", "legacy"]
"""Which messages the plugin speaks."""


class _AskedNeeded(TypedDict):
    permission: "Permission"
    meaning: "str"
    enforced: "Enforcement"
    optional: "bool"
    reason: "Optional[str]"
    granted: "bool"
    new: "bool"


class Asked(_AskedNeeded, total=False):
    """One permission that is asked for."""

    # What the administrator's policy takes of it; null: nothing.
    policy: "Optional[PolicyNote]"
    # Where it leads on this machine; null for what is over no files, and where it opens just what is written.
    place: "Optional[GrantPlace]"
    # What it reaches beyond what is written, such as files with a name elsewhere, or what is executed later.
    warnings: "List[str]"


class AuditPage(TypedDict):
    """Some records and whether there are more."""

    # The records, in the order that was asked for.
    records: "List[AuditRecord]"
    # Whether there are more after the last one.
    more: "bool"


class AuditRecord(TypedDict):
    """One record, as it was written."""

    # Its number: 1 for the first, each one more.
    seq: "int"
    # When, in milliseconds since 1970, by the clock of that moment.
    at_ms: "int"
    # What, such as `consent`.
    event: "str"
    # The plugin, or empty.
    plugin: "str"
    # Its publisher, or empty.
    publisher: "str"
    # What joins the records of one request, or empty.
    correlation_id: "str"
    # The rest, by event.
    body: "Any"
    # The digest of the chain up to here, in hexadecimal.
    hash: "str"


class _AuditVerdictNeeded(TypedDict):
    records: "int"
    last_seq: "int"
    first_bad: "Optional[BadRecord]"


class AuditVerdict(_AuditVerdictNeeded, total=False):
    """What checking the chain found."""

    # The number of the first record that there can be: those before it were removed by `Host::audit_prune`, and the one
    # that came before it is vouched for. null: none was removed.
    pruned_before: "Optional[int]"
    # The last damaged trail that was put away, if the trail has a record of one: what is before it proves nothing.
    sealed: "Optional[SealedTrail]"


class BadRecord(TypedDict):
    """A record that is not as it was written."""

    # Its number.
    seq: "int"
    # What is wrong with it.
    reason: "str"


class BrokenPackage(TypedDict):
    """A package that cannot be installed."""

    # Where it is.
    path: "str"
    # What is wrong with it.
    message: "str"


class CallAnswer(TypedDict):
    """What came of a call."""

    # What the tool answered.
    result: "Any"


class _CallBodyNeeded(TypedDict):
    tool: "str"


class CallBody(_CallBodyNeeded, total=False):
    """A call of a tool."""

    # Its arguments; an empty object if not given.
    arguments: "Any"
    # How long it may take, in milliseconds.
    timeout_ms: "Optional[int]"


class _ConsentRequestNeeded(TypedDict):
    name: "PluginName"
    version: "str"
    publisher: "str"
    digest: "str"
    runtime: "Runtime"
    description: "Optional[str]"
    command: "List[str]"
    asked: "List[Asked]"
    cannot: "List[str]"
    scan: "ScanReport"


class ConsentRequest(_ConsentRequestNeeded, total=False):
    """What is asked of whoever installs or upgrades a plugin."""

    # Who made the version that is in place, where that is somebody else.
    publisher_change: "Optional[PublisherChange]"


class CreatedToken(TypedDict):
    """What is written of a token that was just made."""

    # What names it.
    id: "TokenId"
    # The token itself.
    token: "str"
    # What its bearer may do.
    role: "Role"
    # The one plugin that it is for; null: all.
    plugin: "Optional[PluginName]"
    # From when on it opens nothing, in UTC as RFC 3339 writes it; null: it does not end by itself.
    expires_at: "Optional[str]"


class DashboardLink(TypedDict):
    """An address that opens the dashboard once."""

    # The whole address.
    url: "str"
    # For how many seconds it can be used.
    expires_in_s: "int"


class _DenialNeeded(TypedDict):
    layer: "str"
    operation: "str"
    object: "str"
    grant: "Optional[str]"
    count: "int"


class Denial(_DenialNeeded, total=False):
    """Something that was refused: by which layer, what was tried on what, and which grant would allow it."""

    # What to know before the grant is given, such as that the object is protected; left out where there is nothing to
    # say.
    warning: "Optional[str]"
    # Which line of the program asked for it, `FILE:LINE`, as its interpreter says and nothing proves; left out where it
    # does not say.
    location: "Optional[str]"


class _DiscoveredPackageNeeded(TypedDict):
    name: "PluginName"
    version: "str"
    state: "PluginState"
    runtime: "Runtime"
    path: "str"
    installed_version: "Optional[str]"


class DiscoveredPackage(_DiscoveredPackageNeeded, total=False):
    """A package that was found and is not installed in this version."""

    # What the scan says of its code.
    scan: "Optional[ScanReport]"


class EnforcedLayer(TypedDict):
    """One layer of the sandbox that was in force, and who enforced it."""

    # The mechanism, such as `landlock`, `cgroup_v1` or `sampler`.
    by: "str"
    # Its version or setting, when that says more.
    detail: "Optional[str]"


class ErrorBody(TypedDict):
    """What is said about a failure, to programs (`code`) and to people (`message`, `hint`)."""

    # The stable code.
    code: "ErrorCode"
    # What was refused or failed and by which rule or limit.
    message: "str"
    # What to do next, when there is something to do.
    hint: "Optional[str]"


class ErrorDetail(TypedDict):
    """What failed."""

    # The stable code; `docs/errors.md` has them all.
    code: "str"
    # What was refused or failed, and by which rule or limit.
    message: "str"
    # What to do next, when there is something to do.
    hint: "Optional[str]"
    # Under which id the records and log lines of this request stand.
    correlation_id: "str"


class ErrorDocument(TypedDict):
    """The body of every answer that is no success."""

    # What failed.
    error: "ErrorDetail"


class _EventBodyNeeded(TypedDict):
    topic: "str"


class EventBody(_EventBodyNeeded, total=False):
    """A message to plugins."""

    # What it says.
    payload: "Any"
    # Waits until each receiver has answered or failed.
    wait: "bool"


class _EventReceiverNeeded(TypedDict):
    plugin: "PluginName"
    outcome: "ReceiverOutcome"


class EventReceiver(_EventReceiverNeeded, total=False):
    """One receiver of a message."""

    # Why, where there is something to say.
    reason: "Optional[str]"


class _EventReportNeeded(TypedDict):
    topic: "str"
    receivers: "List[EventReceiver]"


class EventReport(_EventReportNeeded, total=False):
    """What came of a message."""

    # Whether more plugins are granted the topic than one message reaches (`RECEIVERS_MAX`).
    truncated: "bool"


class ExecAnswer(TypedDict):
    """A command that was begun, or with `wait` one that has ended."""

    # Its number: `GET /runs/{id}` has its report, `GET /runs/{id}/stream` its output. null: it was not recorded.
    id: "Optional[RunId]"
    # Its report, when it was waited for.
    report: "Optional[RunReport]"
    # What it wrote to stdout, when it was waited for; what is no UTF-8 is replaced.
    stdout: "Optional[str]"
    # The same of stderr.
    stderr: "Optional[str]"


class _ExecBodyNeeded(TypedDict):
    command: "List[str]"


class ExecBody(_ExecBodyNeeded, total=False):
    """A command and what it may do."""

    # Absolute paths that it may read.
    read: "List[str]"
    # Absolute paths that it may read, write and delete.
    write: "List[str]"
    # Permissions, as `NAME` or `NAME=SCOPE`.
    grant: "List[str]"
    # Permissions that it does not have, whatever is granted.
    deny: "List[str]"
    # Its environment.
    environment: "Dict[str, str]"
    # Where it starts; must be granted.
    working_directory: "Optional[str]"
    # Limits that differ from those of the configuration.
    limits: "ExecLimitsBody"
    # Whether a sampler is not enough for the limits.
    strict: "bool"
    # Watches every path that it names, so that the report's denials also name what was out of reach; each watched path
    # costs about 30 µs.
    explain: "bool"
    # Waits for the end, and answers with the report and the output.
    wait: "bool"


class ExecLimitsBody(TypedDict, total=False):
    """Limits of one command."""

    timeout_ms: "Optional[int]"
    memory_bytes: "Optional[int]"
    cpu_percent: "Optional[int]"
    processes: "Optional[int]"
    output_bytes: "Optional[int]"
    file_size_bytes: "Optional[int]"
    open_files: "Optional[int]"


class Execution(TypedDict):
    """A request that has ended, or many alike within one second."""

    # Its number: larger is later.
    id: "int"
    # The plugin.
    plugin: "str"
    # The method, such as `call`.
    method: "str"
    # The tool, event or topic; empty where many are counted together.
    tool: "str"
    # How it ended: `ok`, `failed`, `invalid`, `timeout`, `cancelled`, `refused` or `crashed`.
    outcome: "str"
    # How many; more than 1 for requests beyond 1,000 a second.
    count: "int"
    # How long it took, or they took together, in microseconds.
    duration_us: "int"
    # What joins the records of one piece of work; empty where many are counted together.
    correlation_id: "str"
    # When it ended, in unix milliseconds.
    at_ms: "int"


class ExecutionPage(TypedDict):
    """Some requests, newest first, and whether there are older ones."""

    # The requests.
    executions: "List[Execution]"
    # Whether there are older ones.
    more: "bool"


class FoundPackages(TypedDict):
    """What a scan of the plugin directories found."""

    # Packages that can be installed.
    found: "List[DiscoveredPackage]"
    # Packages that cannot, each with what is wrong.
    broken: "List[BrokenPackage]"


class _GrantInfoNeeded(TypedDict):
    permission: "Permission"
    meaning: "str"
    enforced: "Enforcement"
    granted_at_ms: "int"
    granted_by: "str"


class GrantInfo(_GrantInfoNeeded, total=False):
    """A grant as it was given."""

    # What the administrator's policy takes of it; null: nothing.
    policy: "Optional[PolicyNote]"
    # Where it leads on this machine; null for what is over no files, and where it opens just what is written.
    place: "Optional[GrantPlace]"
    # What writing there reaches beyond the place, as it was found when it was granted: names of files that lie
    # elsewhere too, and what is executed later.
    warnings: "List[str]"


class _GrantPlaceNeeded(TypedDict):
    path: "str"
    state: "PlaceState"


class GrantPlace(_GrantPlaceNeeded, total=False):
    """Where a grant over files leads."""

    # Why not.
    why: "Optional[str]"


class GrantsBody(TypedDict):
    """The grants that a plugin shall have: these and no others."""

    # As `NAME` or `NAME=SCOPE`.
    permissions: "List[Permission]"


class _HealthAnswerNeeded(TypedDict):
    status: "Health"


class HealthAnswer(_HealthAnswerNeeded, total=False):
    """The answer."""

    # Why it is not `ok`; only for callers with a token.
    reasons: "Optional[List[str]]"
    # Which version serves; only for callers with a token.
    version: "Optional[str]"


class HookBody(TypedDict, total=False):
    """An event of the pipeline."""

    # What passes.
    body: "Any"
    # What is said about it.
    metadata: "Dict[str, Any]"
    # Asks everybody who changes or blocks, and tells nobody who only watches.
    dry_run: "bool"
    # Says in the trace what each mutator changed.
    trace: "bool"
    # Waits until observers have seen it, too.
    wait: "bool"
    # How long all of it may take, in milliseconds; the configured budget if not given.
    timeout_ms: "Optional[int]"


class _HookDeclarationNeeded(TypedDict):
    event: "str"
    kind: "HookKind"
    priority: "int"


class HookDeclaration(_HookDeclarationNeeded, total=False):
    """One hook that a plugin wants to be called at."""

    # How long the handler may take, in milliseconds.
    timeout_ms: "Optional[int]"
    # What happens when it fails.
    on_failure: "Optional[OnFailure]"


class HookInfo(TypedDict):
    """One handler and how it has done since this host was opened."""

    # The event.
    event: "str"
    # The plugin.
    plugin: "PluginName"
    # What its handler is.
    kind: "HookKind"
    # Low first.
    priority: "int"
    # How long it may take, in milliseconds.
    timeout_ms: "int"
    # What happens when it fails.
    on_failure: "OnFailure"
    # Whether the plugin registered it while it ran; it then lives no longer than that run.
    registered_at_run_time: "bool"
    # Where the plugin's circuit breaker stands.
    breaker: "BreakerState"
    # How often it was asked, how often it failed, and how long it took.
    latency: "Latency"


class _HookOutcomeNeeded(TypedDict):
    outcome: "Verdict"
    body: "Any"
    metadata: "Dict[str, Any]"
    reason: "Optional[str]"
    response: "Any"
    trace: "List[TraceEntry]"


class HookOutcome(_HookOutcomeNeeded, total=False):
    """An event that has passed, or has not."""

    # Which plugin blocked it.
    by: "Optional[PluginName]"
    # Whether nothing of this was meant.
    dry_run: "bool"


class _InstallBodyNeeded(TypedDict):
    path: "str"


class InstallBody(_InstallBodyNeeded, total=False):
    """What to install, and what is allowed to it."""

    # Exactly these permissions; an empty list grants nothing, and that is a consent.
    grant: "Optional[List[Permission]]"
    # All that the manifest asks for.
    grant_requested: "bool"


class Installed(TypedDict):
    """What came of an installation."""

    # The plugin as it is now.
    plugin: "PluginSummary"
    # Its package.
    digest: "str"
    # Whether anything was done; false when the same package was installed already.
    changed: "bool"
    # What a dialect's fields became, and what was left out of the package.
    notes: "List[str]"
    # What the scan says of its code.
    scan: "ScanReport"


class Latency(TypedDict):
    """A histogram at one moment."""

    # How often it was asked.
    count: "int"
    # How often it failed.
    failures: "int"
    # All of it together, in microseconds.
    total_us: "int"
    # Half of them took no longer than this, in microseconds: the upper end of a bucket. null when there are none.
    p50_us: "Optional[int]"
    # 99 of 100 took no longer than this.
    p99_us: "Optional[int]"
    # How many took less than `le_us`, each bucket for itself; the last has no upper end.
    buckets: "List[LatencyBucket]"


class LatencyBucket(TypedDict):
    """A bucket that holds something."""

    # Its upper end in microseconds; null for the last one.
    le_us: "Optional[int]"
    # How many.
    count: "int"


class _LimitsInfoNeeded(TypedDict):
    init_timeout_ms: "int"
    call_timeout_ms: "int"
    memory_bytes: "Optional[int]"
    cpu_percent: "Optional[int]"
    processes: "Optional[int]"
    file_size_bytes: "Optional[int]"
    log_bytes: "int"
    data_bytes: "int"


class LimitsInfo(_LimitsInfoNeeded, total=False):
    """The limits that hold for a plugin; null is a lifted one."""

    # Those that are lower by the administrator's policy, each with the place of its ceiling.
    by_policy: "Dict[str, str]"


class LimitsRequest(TypedDict, total=False):
    """Limits that a manifest lowers."""

    # Memory of the whole tree, in MB (1,000,000 bytes).
    memory_mb: "Optional[int]"
    # What happens at the memory limit.
    on_memory: "Optional[OnMemory]"
    # CPU time in percent of one core.
    cpu_percent: "Optional[int]"
    # The largest file, in MB.
    file_size_mb: "Optional[int]"
    # Tasks, threads included.
    processes: "Optional[int]"
    # From the start to the answer to `initialize`, in seconds.
    init_timeout_s: "Optional[int]"
    # One call, in seconds.
    call_timeout_s: "Optional[int]"
    # Log output (stderr) that is kept, in MB.
    output_mb: "Optional[int]"


class _LogLineNeeded(TypedDict):
    at_ms: "int"
    source: "LogSource"
    message: "str"


class LogLine(_LogLineNeeded, total=False):
    """One line of a plugin's log."""

    # The level of a `log` message: `debug`, `info`, `warning` or `error`.
    level: "Optional[str]"


class _ManifestNeeded(TypedDict):
    name: "PluginName"
    version: "str"
    runtime: "Runtime"
    entry_point: "str"


class Manifest(_ManifestNeeded, total=False):
    """What a plugin says of itself, and asks for."""

    # One or two sentences.
    description: "Optional[str]"
    # Who made it: a claim, shown as such.
    author: "Optional[str]"
    # SPDX expression.
    license: "Optional[str]"
    # The kind of plugin that the host application registered, whose base class a Python class must have.
    type: "Optional[str]"
    # Whether it is meant to be active at once after consent.
    enabled_by_default: "bool"
    # What it asks for.
    permissions: "List[PermissionRequest]"
    # Where it wants to be called.
    hooks: "List[HookDeclaration]"
    # What it offers.
    tools: "List[ToolDeclaration]"
    # JSON Schema (2020-12) of its configuration.
    config_schema: "Any"
    # Limits lower than the defaults.
    limits: "LimitsRequest"
    # Names of skills, shown to whoever installs; nothing else is done with them.
    skills: "List[str]"
    # `sha256-` and the digest of the entry file in base64 or hex; checked at install.
    integrity: "Optional[str]"
    # Which messages it speaks.
    wire: "Wire"


class _PendingUpgradeNeeded(TypedDict):
    version: "str"
    digest: "str"
    wider: "List[Permission]"


class PendingUpgrade(_PendingUpgradeNeeded, total=False):
    """An upgrade that waits for consent."""

    # Who made it, where that is somebody else than before.
    publisher_change: "Optional[PublisherChange]"


class _PermissionRequestNeeded(TypedDict):
    permission: "PermissionName"


class PermissionRequest(_PermissionRequestNeeded, total=False):
    """One thing that a plugin asks to be allowed."""

    # Its bounds.
    scope: "List[str]"
    # The author's words why.
    reason: "str"
    # Whether the plugin also works without it.
    optional: "bool"


class _PluginDetailsNeeded(TypedDict):
    name: "PluginName"
    version: "str"
    state: "PluginState"
    reason: "Optional[str]"
    runtime: "Runtime"
    publisher: "str"
    digest: "str"
    source: "str"
    installed_at_ms: "int"
    manifest: "Manifest"
    asks: "ConsentRequest"
    grants: "List[GrantInfo]"
    network: "str"
    limits: "LimitsInfo"
    running: "bool"
    enforced: "Dict[str, EnforcedLayer]"
    recent_crashes: "int"
    denials: "List[Denial]"
    previous: "Optional[PreviousVersion]"
    pending: "Optional[PendingUpgrade]"


class PluginDetails(_PluginDetailsNeeded, total=False):
    """Everything about one plugin."""

    # Why the administrator's policy does not let it run, or what is wrong with the policy; null when there is nothing
    # to tell.
    policy: "Optional[str]"


class _PluginSummaryNeeded(TypedDict):
    name: "PluginName"
    version: "str"
    state: "PluginState"
    runtime: "Runtime"
    publisher: "str"


class PluginSummary(_PluginSummaryNeeded, total=False):
    """One line of a list."""

    # What it is for, in the author's words, escaped and cut.
    description: "Optional[str]"
    # Why it is in this state, where there is something to say.
    reason: "Optional[str]"


class PolicyNote(TypedDict):
    """What the administrator's policy takes of a grant."""

    # How much.
    effect: "PolicyEffect"
    # What is left, as permissions; empty when nothing is.
    kept: "List[str]"
    # By which rules, in words, with their lines.
    because: "List[str]"


class PreviousVersion(TypedDict):
    """A version to which a rollback leads."""

    # The version.
    version: "str"
    # Its package.
    digest: "str"


class PublisherChange(TypedDict):
    """A version of a plugin by another publisher than the version before: it needs consent whatever it asks for, and what
    was granted to the other one is not granted to it.
    """

    # Who made the version before, as far as that is proven.
    from_publisher: "str"
    # Who made the new one, as far as that is proven.
    to_publisher: "str"


class ResourceSample(TypedDict):
    """What a plugin used at one moment."""

    # When, in unix milliseconds.
    at_ms: "int"
    # Memory of the whole process tree, in bytes.
    memory_bytes: "int"
    # CPU time since the start, in milliseconds; it begins anew with each start.
    cpu_ms: "int"
    # CPU time since the sample before, in percent of one core.
    cpu_percent: "float"
    # Processes and threads of the plugin; 0 in samples of versions that did not count them.
    tasks: "int"
    # Bytes that its processes have read from storage since the start; 0 in samples of versions that did not count them.
    read_bytes: "int"
    # As `read_bytes`, written to storage.
    written_bytes: "int"


class RunAnswer(TypedDict):
    """One run."""

    # What the list says of it.
    summary: "RunSummary"
    # What it was granted.
    grants: "List[str]"
    # Its report; `null` while it goes on.
    report: "Optional[RunReport]"


class _RunReportNeeded(TypedDict):
    status: "RunStatus"
    exit_code: "Optional[int]"
    signal: "Optional[int]"
    violation: "Optional[Violation]"
    suspected: "Optional[Violation]"
    evidence: "List[str]"
    error: "Optional[ErrorBody]"
    duration_ms: "int"
    cpu_ms: "int"
    memory_peak_bytes: "int"
    stdout_bytes: "int"
    stderr_bytes: "int"
    truncated: "bool"
    enforced: "Dict[str, EnforcedLayer]"
    denials: "List[Denial]"


class RunReport(_RunReportNeeded, total=False):
    """What is known about one run after it ended."""

    # Whether the kernel's own records of Landlock's denials are in `denials`: `read`, or `not read: ` and why.
    landlock_records: "Optional[str]"


class RunSummary(TypedDict):
    """One run in a list."""

    # Its number.
    id: "RunId"
    # Whether it ended.
    state: "RunState"
    # Whether it goes on at this moment.
    running: "bool"
    # The command and its arguments; empty when the report cannot be read.
    command: "List[str]"
    # When it began, in milliseconds since 1970-01-01 UTC.
    started_at_ms: "int"
    # How it ended; null while it is unfinished.
    status: "Optional[RunStatus]"
    # The command's exit status, if it exited.
    exit_code: "Optional[int]"
    # The signal that ended it, if one did.
    signal: "Optional[int]"
    # The violation, if one is proven.
    violation: "Optional[Violation]"
    # How long it took, in milliseconds; null while it is unfinished.
    duration_ms: "Optional[int]"
    # Stored output, in bytes.
    stored_bytes: "int"
    # Whether output was left out of the store.
    stored_truncated: "bool"


class RunsAnswer(TypedDict):
    """A page of runs, the newest first."""

    # The runs.
    runs: "List[RunSummary]"
    # What gives the next page as `before`; `null` when this is the last.
    before: "Optional[RunId]"


class _ScanFindingNeeded(TypedDict):
    severity: "ScanSeverity"
    rule: "str"
    file: "str"
    line: "int"
    column: "int"
    message: "str"
    place: "ScanPlace"


class ScanFinding(_ScanFindingNeeded, total=False):
    """One thing that the code would do or hides."""

    # The permission that this needs and that the manifest does not ask for.
    implies: "Optional[PermissionName]"


class ScanNotRead(TypedDict):
    """A file that was not looked at, or not to its end."""

    # The file, relative to the package; escape it before showing it.
    file: "str"
    # Why, as the end of "it ...".
    why: "str"


class ScanReport(TypedDict):
    """What a scan says of a package."""

    # Where it was made.
    ran: "ScanRan"
    # What was found, in the order of the files; at most `FINDINGS_MAX`.
    findings: "List[ScanFinding]"
    # Findings beyond the most that are listed of one rule in one file, or in all.
    more_findings: "int"
    # What was not read; at most `NOT_READ_MAX`.
    not_read: "List[ScanNotRead]"
    # Files that were not read beyond those that are listed.
    more_not_read: "int"
    # How many files were read.
    files: "int"
    # How many bytes that was.
    bytes: "int"


class SealedTrail(TypedDict):
    """A damaged trail that was put away earlier, and what became of its file."""

    # The number of the record that says so.
    seq: "int"
    # The name of the file in the home.
    file: "str"
    # Whether it is as it was put away.
    state: "SealedState"


class _TokenBodyNeeded(TypedDict):
    role: "Role"


class TokenBody(_TokenBodyNeeded, total=False):
    """A token to be made."""

    # The only plugin that it is for; all if not given.
    plugin: "Optional[PluginName]"
    # After how many seconds it holds no more; never if not given.
    expires_in_s: "Optional[int]"


class TokenInfo(TypedDict):
    """What is known of a token; not its secret, which nobody but its bearer has."""

    # What names it.
    id: "TokenId"
    # What its bearer may do.
    role: "Role"
    # The one plugin that it is for; null: all.
    plugin: "Optional[PluginName]"
    # What it is for, escaped; empty when nobody said.
    name: "str"
    # Who made it.
    created_by: "str"
    # When, in unix milliseconds.
    created_at_ms: "int"
    # From when on it opens nothing, in UTC as RFC 3339 writes it; null: it does not end by itself.
    expires_at: "Optional[str]"
    # Whether that moment has passed.
    expired: "bool"
    # When it was used last, to the minute, in unix milliseconds; null: never.
    last_used_at_ms: "Optional[int]"


class _ToolDeclarationNeeded(TypedDict):
    name: "str"


class ToolDeclaration(_ToolDeclarationNeeded, total=False):
    """One tool that a plugin offers."""

    # What it does, for people and models.
    description: "Optional[str]"
    # JSON Schema (2020-12) of the arguments object.
    input_schema: "Any"
    # JSON Schema (2020-12) of the result.
    output_schema: "Any"


class _TraceEntryNeeded(TypedDict):
    plugin: "PluginName"
    kind: "HookKind"
    priority: "int"
    result: "HandlerResult"
    duration_us: "int"


class TraceEntry(_TraceEntryNeeded, total=False):
    """One handler of a pass."""

    # Why, where there is something to say; a plugin's own words are escaped and cut.
    reason: "Optional[str]"
    # The places that it changed, as JSON pointers beginning with `/body` or `/metadata`; at most 32.
    changes: "List[str]"


class _UpgradeBodyNeeded(TypedDict):
    path: "str"


class UpgradeBody(_UpgradeBodyNeeded, total=False):
    """What to upgrade to, and what is allowed to it."""

    # Exactly these permissions.
    grant: "Optional[List[Permission]]"
    # All that the manifest asks for.
    grant_requested: "bool"
    # Whether an older version is taken, too.
    allow_downgrade: "bool"


class _UpgradedNeeded(TypedDict):
    plugin: "PluginSummary"
    from_version: "str"
    to_version: "str"
    done: "bool"
    wider: "List[Permission]"
    rolled_back: "Optional[str]"


class Upgraded(_UpgradedNeeded, total=False):
    """What came of an upgrade or a rollback."""

    # Who made the new version, where that is somebody else than before.
    publisher_change: "Optional[PublisherChange]"
    # What the scan says of the code of the new version; null after a rollback, and where only consent was given.
    scan: "Optional[ScanReport]"


__all__ = [
    "Asked", "AuditPage", "AuditRecord", "AuditVerdict", "BadRecord", "BreakerState", "BrokenPackage", "CallAnswer",
    "CallBody", "ConfigDocument", "ConsentRequest", "CreatedToken", "DashboardLink", "Denial", "DiscoveredPackage",
    "EnforcedLayer", "Enforcement", "ErrorBody", "ErrorCode", "ErrorDetail", "ErrorDocument", "EventBody",
    "EventReceiver", "EventReport", "ExecAnswer", "ExecBody", "ExecLimitsBody", "Execution", "ExecutionPage",
    "FoundPackages", "GrantInfo", "GrantPlace", "GrantsBody", "HandlerResult", "Health", "HealthAnswer", "HookBody",
    "HookDeclaration", "HookInfo", "HookKind", "HookOutcome", "InstallBody", "Installed", "Latency", "LatencyBucket",
    "LimitsInfo", "LimitsRequest", "LogLine", "LogSource", "Manifest", "OnFailure", "OnMemory", "PendingUpgrade",
    "Permission", "PermissionName", "PermissionRequest", "PlaceState", "PluginDetails", "PluginName", "PluginState",
    "PluginSummary", "PolicyEffect", "PolicyNote", "PreviousVersion", "PublisherChange", "ReceiverOutcome",
    "ResourceSample", "Role", "RunAnswer", "RunId", "RunReport", "RunState", "RunStatus", "RunSummary", "RunsAnswer",
    "Runtime", "ScanFinding", "ScanNotRead", "ScanPlace", "ScanRan", "ScanReport", "ScanSeverity", "SealedState",
    "SealedTrail", "TokenBody", "TokenId", "TokenInfo", "ToolDeclaration", "TraceEntry", "UpgradeBody", "Upgraded",
    "Verdict", "Violation", "Wire"]
