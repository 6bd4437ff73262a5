// What the daemon answers and takes, as types.
// Made from schema/openapi.json by sdk/types_from_openapi.py.

/** One permission that is asked for. */
export interface Asked {
  /** The permission, as it is granted. */
  permission: Permission;
  /** What that means, in words. */
  meaning: string;
  /** How it would be enforced, if by anything yet. */
  enforced: Enforcement;
  /** Whether the plugin says that it works without. */
  optional: boolean;
  /** The author's reason, escaped and cut. */
  reason: string | null;
  /** Whether it is granted already. */
  granted: boolean;
  /** Whether the version before asked for as much; true for a first install only when it is granted. */
  new: boolean;
  /** What the administrator's policy takes of it; null: nothing. */
  policy?: PolicyNote | null;
  /** Where it leads on this machine; null for what is over no files, and where it opens just what is written. */
  place?: GrantPlace | null;
  /** What it reaches beyond what is written, such as files with a name elsewhere, or what is executed later. */
  warnings?: string[];
}

/** Some records and whether there are more. */
export interface AuditPage {
  /** The records, in the order that was asked for. */
  records: AuditRecord[];
  /** Whether there are more after the last one. */
  more: boolean;
}

/** One record, as it was written. */
export interface AuditRecord {
  /** Its number: 1 for the first, each one more. */
  seq: number;
  /** When, in milliseconds since 1970, by the clock of that moment. */
  at_ms: number;
  /** What, such as `consent`. */
  event: string;
  /** The plugin, or empty. */
  plugin: string;
  /** Its publisher, or empty. */
  publisher: string;
  /** What joins the records of one request, or empty. */
  correlation_id: string;
  /** The rest, by event. */
  body: unknown;
  /** The digest of the chain up to here, in hexadecimal. */
  hash: string;
}

/** What checking the chain found. */
export interface AuditVerdict {
  /** How many records were read. */
  records: number;
  /** The number of the last one. */
  last_seq: number;
  /** The first one that is not as it was written; null: all are. */
  first_bad: BadRecord | null;
  /** The number of the first record that there can be: those before it were removed by `Host::audit_prune`, and the one that came before it is vouched for. null: none was removed. */
  pruned_before?: number | null;
  /** The last damaged trail that was put away, if the trail has a record of one: what is before it proves nothing. */
  sealed?: SealedTrail | null;
}

/** A record that is not as it was written. */
export interface BadRecord {
  /** Its number. */
  seq: number;
  /** What is wrong with it. */
  reason: string;
}

/** Where a breaker stands. */
export type BreakerState = 'closed' | 'open' | 'half_open';

/** A package that cannot be installed. */
export interface BrokenPackage {
  /** Where it is. */
  path: string;
  /** What is wrong with it. */
  message: string;
}

/** What came of a call. */
export interface CallAnswer {
  /** What the tool answered. */
  result: unknown;
}

/** A call of a tool. */
export interface CallBody {
  /** The tool. */
  tool: string;
  /** Its arguments; an empty object if not given. */
  arguments?: unknown;
  /** How long it may take, in milliseconds. */
  timeout_ms?: number | null;
}

/** A plugin's configuration: an object that its schema describes. */
export type ConfigDocument = Record<string, unknown>;

/** What is asked of whoever installs or upgrades a plugin. */
export interface ConsentRequest {
  /** The plugin. */
  name: PluginName;
  /** Its version. */
  version: string;
  /** Who made it, as far as that is proven: `unsigned:` and what the manifest claims. */
  publisher: string;
  /** Who made the version that is in place, where that is somebody else. */
  publisher_change?: PublisherChange | null;
  /** The digest of the package that is consented to. */
  digest: string;
  /** How it runs. */
  runtime: Runtime;
  /** What it is for, in the author's words, escaped and cut. */
  description: string | null;
  /** The command that will be executed, whole. */
  command: string[];
  /** What it asks for. */
  asked: Asked[];
  /** What it can not do, whatever it tries. */
  cannot: string[];
  /** What the scan says of its code; empty until `ConsentRequest::with_scan`. */
  scan: ScanReport;
}

/** What is written of a token that was just made. */
export interface CreatedToken {
  /** What names it. */
  id: TokenId;
  /** The token itself. */
  token: string;
  /** What its bearer may do. */
  role: Role;
  /** The one plugin that it is for; null: all. */
  plugin: PluginName | null;
  /** From when on it opens nothing, in UTC as RFC 3339 writes it; null: it does not end by itself. */
  expires_at: string | null;
}

/** An address that opens the dashboard once. */
export interface DashboardLink {
  /** The whole address. */
  url: string;
  /** For how many seconds it can be used. */
  expires_in_s: number;
}

/** Something that was refused: by which layer, what was tried on what, and which grant would allow it. */
export interface Denial {
  /** The layer that refused, such as `landlock`, `seccomp` or `host`. */
  layer: string;
  /** What was tried, such as `open` or `connect`. */
  operation: string;
  /** On what: a path, an address, a name; `UNKNOWN_OBJECT` when nobody told, `UNLISTED_OBJECT` for those that are not listed singly. */
  object: string;
  /** The narrowest grant that would allow it, as text; `null` when none can or none is known. */
  grant: string | null;
  /** How often it was refused in this run. */
  count: number;
  /** What to know before the grant is given, such as that the object is protected; left out where there is nothing to say. */
  warning?: string | null;
  /** Which line of the program asked for it, `FILE:LINE`, as its interpreter says and nothing proves; left out where it does not say. */
  location?: string | null;
}

/** A package that was found and is not installed in this version. */
export interface DiscoveredPackage {
  /** Its name. */
  name: PluginName;
  /** Its version. */
  version: string;
  /** Always `discovered`, or the state of the installed plugin of that name. */
  state: PluginState;
  /** How it runs. */
  runtime: Runtime;
  /** Where it is. */
  path: string;
  /** The installed version, when another one is. */
  installed_version: string | null;
  /** What the scan says of its code. */
  scan?: ScanReport | null;
}

/** One layer of the sandbox that was in force, and who enforced it. */
export interface EnforcedLayer {
  /** The mechanism, such as `landlock`, `cgroup_v1` or `sampler`. */
  by: string;
  /** Its version or setting, when that says more. */
  detail: string | null;
}

/** How a grant is enforced. */
export type Enforcement = 'sandbox' | 'brokered' | 'not_served';

/** What is said about a failure, to programs (`code`) and to people (`message`, `hint`). */
export interface ErrorBody {
  /** The stable code. */
  code: ErrorCode;
  /** What was refused or failed and by which rule or limit. */
  message: string;
  /** What to do next, when there is something to do. */
  hint: string | null;
}

/** The stable name of what went wrong, the same in JSON, logs, exit statuses and the HTTP API. */
export type ErrorCode =
  | 'usage'
  | 'invalid_permission'
  | 'limit_invalid'
  | 'invalid_config'
  | 'not_found'
  | 'path_not_found'
  | 'not_executable'
  | 'invalid_manifest'
  | 'invalid_package'
  | 'already_installed'
  | 'not_active'
  | 'quarantined'
  | 'permission_denied'
  | 'policy_denied'
  | 'floor'
  | 'consent_required'
  | 'not_supported'
  | 'not_enforceable'
  | 'violation'
  | 'timeout'
  | 'plugin_failed'
  | 'schema_violation'
  | 'quota'
  | 'too_large'
  | 'busy'
  | 'unauthenticated'
  | 'forbidden'
  | 'conflict'
  | 'method_not_allowed'
  | 'unsupported_media_type'
  | 'rate_limited'
  | 'cancelled'
  | 'io'
  | 'internal';

/** What failed. */
export interface ErrorDetail {
  /** The stable code; `docs/errors.md` has them all. */
  code: string;
  /** What was refused or failed, and by which rule or limit. */
  message: string;
  /** What to do next, when there is something to do. */
  hint: string | null;
  /** Under which id the records and log lines of this request stand. */
  correlation_id: string;
}

/** The body of every answer that is no success. */
export interface ErrorDocument {
  /** What failed. */
  error: ErrorDetail;
}

/** A message to plugins. */
export interface EventBody {
  /** The topic; those plugins get it that are granted `event:post=TOPIC`. */
  topic: string;
  /** What it says. */
  payload?: unknown;
  /** Waits until each receiver has answered or failed. */
  wait?: boolean;
}

/** One receiver of a message. */
export interface EventReceiver {
  /** The plugin. */
  plugin: PluginName;
  /** What came of it. */
  outcome: ReceiverOutcome;
  /** Why, where there is something to say. */
  reason?: string | null;
}

/** What came of a message. */
export interface EventReport {
  /** The topic. */
  topic: string;
  /** Who gets it, by name. */
  receivers: EventReceiver[];
  /** Whether more plugins are granted the topic than one message reaches (`RECEIVERS_MAX`). */
  truncated?: boolean;
}

/** A command that was begun, or with `wait` one that has ended. */
export interface ExecAnswer {
  /** Its number: `GET /runs/{id}` has its report, `GET /runs/{id}/stream` its output. null: it was not recorded. */
  id: RunId | null;
  /** Its report, when it was waited for. */
  report: RunReport | null;
  /** What it wrote to stdout, when it was waited for; what is no UTF-8 is replaced. */
  stdout: string | null;
  /** The same of stderr. */
  stderr: string | null;
}

/** A command and what it may do. */
export interface ExecBody {
  /** The program and its arguments. */
  command: string[];
  /** Absolute paths that it may read. */
  read?: string[];
  /** Absolute paths that it may read, write and delete. */
  write?: string[];
  /** Permissions, as `NAME` or `NAME=SCOPE`. */
  grant?: string[];
  /** Permissions that it does not have, whatever is granted. */
  deny?: string[];
  /** Its environment. */
  environment?: Record<string, string>;
  /** Where it starts; must be granted. */
  working_directory?: string | null;
  /** Limits that differ from those of the configuration. */
  limits?: ExecLimitsBody;
  /** Whether a sampler is not enough for the limits. */
  strict?: boolean;
  /** Watches every path that it names, so that the report's denials also name what was out of reach; each watched path costs about 30 µs. */
  explain?: boolean;
  /** Waits for the end, and answers with the report and the output. */
  wait?: boolean;
}

/** Limits of one command. */
export interface ExecLimitsBody {
  timeout_ms?: number | null;
  memory_bytes?: number | null;
  cpu_percent?: number | null;
  processes?: number | null;
  output_bytes?: number | null;
  file_size_bytes?: number | null;
  open_files?: number | null;
}

/** A request that has ended, or many alike within one second. */
export interface Execution {
  /** Its number: larger is later. */
  id: number;
  /** The plugin. */
  plugin: string;
  /** The method, such as `call`. */
  method: string;
  /** The tool, event or topic; empty where many are counted together. */
  tool: string;
  /** How it ended: `ok`, `failed`, `invalid`, `timeout`, `cancelled`, `refused` or `crashed`. */
  outcome: string;
  /** How many; more than 1 for requests beyond 1,000 a second. */
  count: number;
  /** How long it took, or they took together, in microseconds. */
  duration_us: number;
  /** What joins the records of one piece of work; empty where many are counted together. */
  correlation_id: string;
  /** When it ended, in unix milliseconds. */
  at_ms: number;
}

/** Some requests, newest first, and whether there are older ones. */
export interface ExecutionPage {
  /** The requests. */
  executions: Execution[];
  /** Whether there are older ones. */
  more: boolean;
}

/** What a scan of the plugin directories found. */
export interface FoundPackages {
  /** Packages that can be installed. */
  found: DiscoveredPackage[];
  /** Packages that cannot, each with what is wrong. */
  broken: BrokenPackage[];
}

/** A grant as it was given. */
export interface GrantInfo {
  /** What is granted. */
  permission: Permission;
  /** What that means, in words. */
  meaning: string;
  /** How it is enforced, if by anything yet. */
  enforced: Enforcement;
  /** When it was given, in unix milliseconds. */
  granted_at_ms: number;
  /** By whom. */
  granted_by: string;
  /** What the administrator's policy takes of it; null: nothing. */
  policy?: PolicyNote | null;
  /** Where it leads on this machine; null for what is over no files, and where it opens just what is written. */
  place?: GrantPlace | null;
  /** What writing there reaches beyond the place, as it was found when it was granted: names of files that lie elsewhere too, and what is executed later. */
  warnings?: string[];
}

/** Where a grant over files leads. */
export interface GrantPlace {
  /** The path, every link followed. */
  path: string;
  /** Whether it is opened. */
  state: PlaceState;
  /** Why not. */
  why?: string | null;
}

/** The grants that a plugin shall have: these and no others. */
export interface GrantsBody {
  /** As `NAME` or `NAME=SCOPE`. */
  permissions: Permission[];
}

/** What came of one handler. */
export type HandlerResult =
  | 'unchanged'
  | 'changed'
  | 'passed'
  | 'blocked'
  | 'skipped'
  | 'not_asked'
  | 'queued'
  | 'observed';

/** How the host is. */
export type Health = 'ok' | 'degraded';

/** The answer. */
export interface HealthAnswer {
  /** In one word. */
  status: Health;
  /** Why it is not `ok`; only for callers with a token. */
  reasons?: string[] | null;
  /** Which version serves; only for callers with a token. */
  version?: string | null;
}

/** An event of the pipeline. */
export interface HookBody {
  /** What passes. */
  body?: unknown;
  /** What is said about it. */
  metadata?: Record<string, unknown>;
  /** Asks everybody who changes or blocks, and tells nobody who only watches. */
  dry_run?: boolean;
  /** Says in the trace what each mutator changed. */
  trace?: boolean;
  /** Waits until observers have seen it, too. */
  wait?: boolean;
  /** How long all of it may take, in milliseconds; the configured budget if not given. */
  timeout_ms?: number | null;
}

/** One hook that a plugin wants to be called at. */
export interface HookDeclaration {
  /** The event's name, such as `onRequest`. */
  event: string;
  /** What the handler does. */
  kind: HookKind;
  /** Low first. */
  priority: number;
  /** How long the handler may take, in milliseconds. */
  timeout_ms?: number | null;
  /** What happens when it fails. */
  on_failure?: OnFailure | null;
}

/** One handler and how it has done since this host was opened. */
export interface HookInfo {
  /** The event. */
  event: string;
  /** The plugin. */
  plugin: PluginName;
  /** What its handler is. */
  kind: HookKind;
  /** Low first. */
  priority: number;
  /** How long it may take, in milliseconds. */
  timeout_ms: number;
  /** What happens when it fails. */
  on_failure: OnFailure;
  /** Whether the plugin registered it while it ran; it then lives no longer than that run. */
  registered_at_run_time: boolean;
  /** Where the plugin's circuit breaker stands. */
  breaker: BreakerState;
  /** How often it was asked, how often it failed, and how long it took. */
  latency: Latency;
}

/** What a hook handler does with what passes. */
export type HookKind = 'mutator' | 'guard' | 'observer';

/** An event that has passed, or has not. */
export interface HookOutcome {
  /** Whether it goes on. */
  outcome: Verdict;
  /** The body as the last mutator left it. */
  body: unknown;
  /** The metadata as the last mutator left it. */
  metadata: Record<string, unknown>;
  /** Why it was blocked. */
  reason: string | null;
  /** What the guard that blocked it wants to be answered instead. */
  response: unknown;
  /** Which plugin blocked it. */
  by?: PluginName | null;
  /** Whether nothing of this was meant. */
  dry_run?: boolean;
  /** Who was asked, in order, and what came of it. */
  trace: TraceEntry[];
}

/** What to install, and what is allowed to it. */
export interface InstallBody {
  /** The package's directory or archive on the server's machine, absolute, and below one of the directories that the server's configuration names in `install_from`. */
  path: string;
  /** Exactly these permissions; an empty list grants nothing, and that is a consent. */
  grant?: Permission[] | null;
  /** All that the manifest asks for. */
  grant_requested?: boolean;
}

/** What came of an installation. */
export interface Installed {
  /** The plugin as it is now. */
  plugin: PluginSummary;
  /** Its package. */
  digest: string;
  /** Whether anything was done; false when the same package was installed already. */
  changed: boolean;
  /** What a dialect's fields became, and what was left out of the package. */
  notes: string[];
  /** What the scan says of its code. */
  scan: ScanReport;
}

/** A histogram at one moment. */
export interface Latency {
  /** How often it was asked. */
  count: number;
  /** How often it failed. */
  failures: number;
  /** All of it together, in microseconds. */
  total_us: number;
  /** Half of them took no longer than this, in microseconds: the upper end of a bucket. null when there are none. */
  p50_us: number | null;
  /** 99 of 100 took no longer than this. */
  p99_us: number | null;
  /** How many took less than `le_us`, each bucket for itself; the last has no upper end. */
  buckets: LatencyBucket[];
}

/** A bucket that holds something. */
export interface LatencyBucket {
  /** Its upper end in microseconds; null for the last one. */
  le_us: number | null;
  /** How many. */
  count: number;
}

/** The limits that hold for a plugin; null is a lifted one. */
export interface LimitsInfo {
  init_timeout_ms: number;
  call_timeout_ms: number;
  memory_bytes: number | null;
  cpu_percent: number | null;
  processes: number | null;
  file_size_bytes: number | null;
  log_bytes: number;
  data_bytes: number;
  /** Those that are lower by the administrator's policy, each with the place of its ceiling. */
  by_policy?: Record<string, string>;
}

/** Limits that a manifest lowers. */
export interface LimitsRequest {
  /** Memory of the whole tree, in MB (1,000,000 bytes). */
  memory_mb?: number | null;
  /** What happens at the memory limit. */
  on_memory?: OnMemory | null;
  /** CPU time in percent of one core. */
  cpu_percent?: number | null;
  /** The largest file, in MB. */
  file_size_mb?: number | null;
  /** Tasks, threads included. */
  processes?: number | null;
  /** From the start to the answer to `initialize`, in seconds. */
  init_timeout_s?: number | null;
  /** One call, in seconds. */
  call_timeout_s?: number | null;
  /** Log output (stderr) that is kept, in MB. */
  output_mb?: number | null;
}

/** One line of a plugin's log. */
export interface LogLine {
  /** When it came, in unix milliseconds. */
  at_ms: number;
  /** Where it came from. */
  source: LogSource;
  /** The level of a `log` message: `debug`, `info`, `warning` or `error`. */
  level?: string | null;
  /** The text, redacted, without its line end. */
  message: string;
}

/** Where a line came from. */
export type LogSource = 'stderr' | 'log' | 'host';

/** What a plugin says of itself, and asks for. */
export interface Manifest {
  /** Identifies the plugin. */
  name: PluginName;
  /** Semantic version. */
  version: string;
  /** One or two sentences. */
  description?: string | null;
  /** Who made it: a claim, shown as such. */
  author?: string | null;
  /** SPDX expression. */
  license?: string | null;
  /** How it runs. */
  runtime: Runtime;
  /** What is run. python: `module:Class`, `module` or `file.py`; node, native, wasm: a file in the package. */
  entry_point: string;
  /** The kind of plugin that the host application registered, whose base class a Python class must have. */
  type?: string | null;
  /** Whether it is meant to be active at once after consent. */
  enabled_by_default?: boolean;
  /** What it asks for. */
  permissions?: PermissionRequest[];
  /** Where it wants to be called. */
  hooks?: HookDeclaration[];
  /** What it offers. */
  tools?: ToolDeclaration[];
  /** JSON Schema (2020-12) of its configuration. */
  config_schema?: unknown;
  /** Limits lower than the defaults. */
  limits?: LimitsRequest;
  /** Names of skills, shown to whoever installs; nothing else is done with them. */
  skills?: string[];
  /** `sha256-` and the digest of the entry file in base64 or hex; checked at install. */
  integrity?: string | null;
  /** Which messages it speaks. */
  wire?: Wire;
}

/** What happens when a hook handler fails or is too slow. */
export type OnFailure = 'block' | 'skip';

/** What happens at the memory limit. */
export type OnMemory = 'kill' | 'warn';

/** An upgrade that waits for consent. */
export interface PendingUpgrade {
  /** The version that waits. */
  version: string;
  /** Its package. */
  digest: string;
  /** What it asks for beyond what is granted. */
  wider: Permission[];
  /** Who made it, where that is somebody else than before. */
  publisher_change?: PublisherChange | null;
}

/** A permission: NAME or NAME=SCOPE, such as file:read=/srv/notes/**. */
export type Permission = string;

/** The name of a permission. */
export type PermissionName = 'file:read' | 'file:write' | 'file:delete' | 'network:request' | 'network:listen' | 'subprocess:execute' | 'hook:register' | 'config:read' | 'config:write' | 'database:read' | 'database:write' | 'env:read' | 'event:post' | 'profile:read' | string;

/** One thing that a plugin asks to be allowed. */
export interface PermissionRequest {
  permission: PermissionName;
  /** Its bounds. */
  scope?: string[];
  /** The author's words why. */
  reason?: string;
  /** Whether the plugin also works without it. */
  optional?: boolean;
}

/** Whether a grant over files opens its place. */
export type PlaceState = 'open' | 'missing' | 'closed' | 'misfit';

/** Everything about one plugin. */
export interface PluginDetails {
  /** Its name. */
  name: PluginName;
  /** Its version. */
  version: string;
  /** Where it stands. */
  state: PluginState;
  /** Why, where there is something to say. */
  reason: string | null;
  /** How it runs. */
  runtime: Runtime;
  /** Who made it, as far as that is proven. */
  publisher: string;
  /** Its package. */
  digest: string;
  /** Where it was installed from. */
  source: string;
  /** When, in unix milliseconds. */
  installed_at_ms: number;
  /** What it says of itself. */
  manifest: Manifest;
  /** What it asks for, and what of that is granted. */
  asks: ConsentRequest;
  /** What is granted. */
  grants: GrantInfo[];
  /** `none`, or `brokered` when a network grant opens what the host fetches. */
  network: string;
  /** What holds for it. */
  limits: LimitsInfo;
  /** Why the administrator's policy does not let it run, or what is wrong with the policy; null when there is nothing to tell. */
  policy?: string | null;
  /** Whether a process of it runs now, in this host. */
  running: boolean;
  /** What the sandbox of the running process enforces, layer by layer; empty while none runs. */
  enforced: Record<string, EnforcedLayer>;
  /** Crashes of the last ten minutes. */
  recent_crashes: number;
  /** What was refused, with the grant that would allow it. */
  denials: Denial[];
  /** Where a rollback leads. */
  previous: PreviousVersion | null;
  /** An upgrade that waits for consent. */
  pending: PendingUpgrade | null;
}

/** The name of a plugin: `[a-z0-9-]{1,100}`, kebab-case, so no hyphen first, last or doubled. */
export type PluginName = string;

/** Where a plugin stands: `discovered → installed → inactive ⇄ active`, with `errored` and `quarantined`. */
export type PluginState = 'discovered' | 'installed' | 'inactive' | 'active' | 'errored' | 'quarantined';

/** One line of a list. */
export interface PluginSummary {
  /** Its name. */
  name: PluginName;
  /** Its version. */
  version: string;
  /** Where it stands. */
  state: PluginState;
  /** How it runs. */
  runtime: Runtime;
  /** Who made it, as far as that is proven. */
  publisher: string;
  /** What it is for, in the author's words, escaped and cut. */
  description?: string | null;
  /** Why it is in this state, where there is something to say. */
  reason?: string | null;
}

/** How much the administrator's policy takes of a grant. */
export type PolicyEffect = 'denied' | 'narrowed' | 'except';

/** What the administrator's policy takes of a grant. */
export interface PolicyNote {
  /** How much. */
  effect: PolicyEffect;
  /** What is left, as permissions; empty when nothing is. */
  kept: string[];
  /** By which rules, in words, with their lines. */
  because: string[];
}

/** A version to which a rollback leads. */
export interface PreviousVersion {
  /** The version. */
  version: string;
  /** Its package. */
  digest: string;
}

/** A version of a plugin by another publisher than the version before: it needs consent whatever it asks for, and what was granted to the other one is not granted to it. */
export interface PublisherChange {
  /** Who made the version before, as far as that is proven. */
  from_publisher: string;
  /** Who made the new one, as far as that is proven. */
  to_publisher: string;
}

/** What came of a message for one plugin. */
export type ReceiverOutcome = 'queued' | 'delivered' | 'failed';

/** What a plugin used at one moment. */
export interface ResourceSample {
  /** When, in unix milliseconds. */
  at_ms: number;
  /** Memory of the whole process tree, in bytes. */
  memory_bytes: number;
  /** CPU time since the start, in milliseconds; it begins anew with each start. */
  cpu_ms: number;
  /** CPU time since the sample before, in percent of one core. */
  cpu_percent: number;
  /** Processes and threads of the plugin; 0 in samples of versions that did not count them. */
  tasks: number;
  /** Bytes that its processes have read from storage since the start; 0 in samples of versions that did not count them. */
  read_bytes: number;
  /** As `read_bytes`, written to storage. */
  written_bytes: number;
}

/** What the bearer of a token may do; a larger one may all that a smaller one may. */
export type Role = 'viewer' | 'operator' | 'admin';

/** One run. */
export interface RunAnswer {
  /** What the list says of it. */
  summary: RunSummary;
  /** What it was granted. */
  grants: string[];
  /** Its report; `null` while it goes on. */
  report: RunReport | null;
}

/** The number of a stored run. */
export type RunId = number;

/** What is known about one run after it ended. */
export interface RunReport {
  /** How the run ended. */
  status: RunStatus;
  /** The command's exit status (0 to 255), when it exited. */
  exit_code: number | null;
  /** The number of the signal that ended the command, when one did. */
  signal: number | null;
  /** The limit or rule that was broken, when that is proven. */
  violation: Violation | null;
  /** The limit that was probably broken, when it cannot be proven. */
  suspected: Violation | null;
  /** The facts that `violation` or `suspected` rest on, one sentence each. */
  evidence: string[];
  /** Why Ringfence itself refused or failed, when it did. */
  error: ErrorBody | null;
  /** Wall-clock time from start to end, in milliseconds. */
  duration_ms: number;
  /** Processor time of the whole process tree, user and system together, in milliseconds. */
  cpu_ms: number;
  /** Peak memory of this process tree, in bytes; 0 when it never started. */
  memory_peak_bytes: number;
  /** Bytes that were read from the command's stdout and kept. */
  stdout_bytes: number;
  /** Bytes that were read from the command's stderr and kept. */
  stderr_bytes: number;
  /** Whether output was cut off at the limit. */
  truncated: boolean;
  /** What was really enforced, by layer name (such as `seccomp`). */
  enforced: Record<string, EnforcedLayer>;
  /** What was refused during the run, equal refusals counted together. */
  denials: Denial[];
  /** Whether the kernel's own records of Landlock's denials are in `denials`: `read`, or `not read: ` and why. */
  landlock_records?: string | null;
}

/** Where a stored run stands. */
export type RunState = 'finished' | 'unfinished' | 'unreadable';

/** How a run ended. */
export type RunStatus = 'exited' | 'signaled' | 'violation' | 'cancelled' | 'not_started';

/** One run in a list. */
export interface RunSummary {
  /** Its number. */
  id: RunId;
  /** Whether it ended. */
  state: RunState;
  /** Whether it goes on at this moment. */
  running: boolean;
  /** The command and its arguments; empty when the report cannot be read. */
  command: string[];
  /** When it began, in milliseconds since 1970-01-01 UTC. */
  started_at_ms: number;
  /** How it ended; null while it is unfinished. */
  status: RunStatus | null;
  /** The command's exit status, if it exited. */
  exit_code: number | null;
  /** The signal that ended it, if one did. */
  signal: number | null;
  /** The violation, if one is proven. */
  violation: Violation | null;
  /** How long it took, in milliseconds; null while it is unfinished. */
  duration_ms: number | null;
  /** Stored output, in bytes. */
  stored_bytes: number;
  /** Whether output was left out of the store. */
  stored_truncated: boolean;
}

/** A page of runs, the newest first. */
export interface RunsAnswer {
  /** The runs. */
  runs: RunSummary[];
  /** What gives the next page as `before`; `null` when this is the last. */
  before: RunId | null;
}

/** How a plugin runs. */
export type Runtime = 'native' | 'python' | 'node' | 'mcp' | 'wasm' | 'container';

/** One thing that the code would do or hides. */
export interface ScanFinding {
  /** How much it matters. */
  severity: ScanSeverity;
  /** The stable name of the rule. */
  rule: string;
  /** The file, relative to the package. */
  file: string;
  /** The line, counted from 1; 1 for a file as a whole and for what is no text. */
  line: number;
  /** The column in characters, counted from 1. */
  column: number;
  /** What it is and why that matters. */
  message: string;
  /** The permission that this needs and that the manifest does not ask for. */
  implies?: PermissionName | null;
  /** Whose code it is. */
  place: ScanPlace;
}

/** A file that was not looked at, or not to its end. */
export interface ScanNotRead {
  /** The file, relative to the package; escape it before showing it. */
  file: string;
  /** Why, as the end of "it ...". */
  why: string;
}

/** What kind of place of the package a file is in. */
export type ScanPlace = 'own' | 'test' | 'vendored';

/** Where a scan was made. */
export type ScanRan = 'sandboxed' | 'in_process' | Record<string, unknown>;

/** What a scan says of a package. */
export interface ScanReport {
  /** Where it was made. */
  ran: ScanRan;
  /** What was found, in the order of the files; at most `FINDINGS_MAX`. */
  findings: ScanFinding[];
  /** Findings beyond the most that are listed of one rule in one file, or in all. */
  more_findings: number;
  /** What was not read; at most `NOT_READ_MAX`. */
  not_read: ScanNotRead[];
  /** Files that were not read beyond those that are listed. */
  more_not_read: number;
  /** How many files were read. */
  files: number;
  /** How many bytes that was. */
  bytes: number;
}

/** How much a finding matters. */
export type ScanSeverity = 'note' | 'warning';

/** What became of a trail that was put away. */
export type SealedState = 'whole' | 'altered' | 'gone';

/** A damaged trail that was put away earlier, and what became of its file. */
export interface SealedTrail {
  /** The number of the record that says so. */
  seq: number;
  /** The name of the file in the home. */
  file: string;
  /** Whether it is as it was put away. */
  state: SealedState;
}

/** A token to be made. */
export interface TokenBody {
  /** What it may do. */
  role: Role;
  /** The only plugin that it is for; all if not given. */
  plugin?: PluginName | null;
  /** After how many seconds it holds no more; never if not given. */
  expires_in_s?: number | null;
}

/** What names a token in lists and in the audit trail. */
export type TokenId = string;

/** What is known of a token; not its secret, which nobody but its bearer has. */
export interface TokenInfo {
  /** What names it. */
  id: TokenId;
  /** What its bearer may do. */
  role: Role;
  /** The one plugin that it is for; null: all. */
  plugin: PluginName | null;
  /** What it is for, escaped; empty when nobody said. */
  name: string;
  /** Who made it. */
  created_by: string;
  /** When, in unix milliseconds. */
  created_at_ms: number;
  /** From when on it opens nothing, in UTC as RFC 3339 writes it; null: it does not end by itself. */
  expires_at: string | null;
  /** Whether that moment has passed. */
  expired: boolean;
  /** When it was used last, to the minute, in unix milliseconds; null: never. */
  last_used_at_ms: number | null;
}

/** One tool that a plugin offers. */
export interface ToolDeclaration {
  /** Its name: `[A-Za-z0-9_.-]{1,128}` (the MCP rule). */
  name: string;
  /** What it does, for people and models. */
  description?: string | null;
  /** JSON Schema (2020-12) of the arguments object. */
  input_schema?: unknown;
  /** JSON Schema (2020-12) of the result. */
  output_schema?: unknown;
}

/** One handler of a pass. */
export interface TraceEntry {
  /** The plugin. */
  plugin: PluginName;
  /** What its handler is. */
  kind: HookKind;
  /** Low first. */
  priority: number;
  /** What came of it. */
  result: HandlerResult;
  /** Why, where there is something to say; a plugin's own words are escaped and cut. */
  reason?: string | null;
  /** The places that it changed, as JSON pointers beginning with `/body` or `/metadata`; at most 32. */
  changes?: string[];
  /** How long it took, in microseconds. */
  duration_us: number;
}

/** What to upgrade to, and what is allowed to it. */
export interface UpgradeBody {
  /** As for an installation. */
  path: string;
  /** Exactly these permissions. */
  grant?: Permission[] | null;
  /** All that the manifest asks for. */
  grant_requested?: boolean;
  /** Whether an older version is taken, too. */
  allow_downgrade?: boolean;
}

/** What came of an upgrade or a rollback. */
export interface Upgraded {
  /** The plugin as it is now. */
  plugin: PluginSummary;
  /** The version before. */
  from_version: string;
  /** The version that is wanted. */
  to_version: string;
  /** Whether the new version is in place. */
  done: boolean;
  /** What the new version asks for beyond what is granted. */
  wider: Permission[];
  /** Who made the new version, where that is somebody else than before. */
  publisher_change?: PublisherChange | null;
  /** Where the new one failed and the old one was put back, why. */
  rolled_back: string | null;
  /** What the scan says of the code of the new version; null after a rollback, and where only consent was given. */
  scan?: ScanReport | null;
}

/** What comes of an event. */
export type Verdict = 'continue' | 'blocked';

/** The limit or rule that a run broke. */
export type Violation =
  | 'timeout'
  | 'memory'
  | 'output'
  | 'cpu'
  | 'file_size'
  | 'processes'
  | 'syscall'
  | 'permission'
  | 'protocol';

/** Which messages the plugin speaks. */
export type Wire = 'json-rpc' | 'legacy';
