// Types and documentation of `ringfence/client`: an application as the host of plugins, through a daemon.
//
// Answers are those of the HTTP API, with its names (docs/http-api.md); options are in camel case. Where to start: `Host`.

import type {
  AuditPage, AuditVerdict, CreatedToken, DashboardLink, Denial, ErrorCode, EventReport, ExecLimitsBody, ExecutionPage, FoundPackages, GrantInfo,
  HealthAnswer, HookInfo, HookOutcome, Installed, LogLine, PluginDetails, PluginSummary, ResourceSample, Role, RunAnswer,
  RunReport, RunsAnswer, TokenInfo, Upgraded,
} from './types.js';

export type * from './types.js';

/** What every request takes. */
export interface RequestOptions {
  /** Aborted: the promise is rejected with its reason. What was asked may still be done by the daemon. */
  signal?: AbortSignal;
}

/** What two people may change at once, with its version: hand that back with a change, and nobody is overwritten. */
export interface Versioned<Value> {
  value: Value;
  version: string;
}

/** What is allowed: exactly these permissions, an empty list too, or all that is asked for. With neither, consent waits. */
export interface ConsentOptions {
  grant?: readonly string[];
  grantRequested?: boolean;
}

export interface ConnectOptions extends RequestOptions {
  /** Such as `https://ringfence.example.com:7700`. Without it, the socket of a home. */
  url?: string;
  /** Needed at an address; over a socket root and the daemon's own user need none. */
  token?: string;
  /** Default: the command line's own, `RINGFENCE_HOME` or the XDG data directory. */
  home?: string;
  /** A socket elsewhere than in the home. */
  socket?: string;
  /** For https: what `node:https` takes, such as `ca`. */
  tls?: { ca?: string | Buffer | (string | Buffer)[]; cert?: string | Buffer; key?: string | Buffer; servername?: string };
}

/** A value of the configuration file. */
export type ConfigValue = string | number | boolean | readonly ConfigValue[] | { readonly [name: string]: ConfigValue };

export interface StartOptions {
  /** The program `ringfence`. Default: `RINGFENCE_BIN`, else on PATH. */
  binary?: string;
  /** Default: one for the lifetime of the daemon. */
  home?: string;
  /** Written as `config.toml` of that home: as TOML, or as an object of its tables. Default: what is there stays. */
  config?: string | { readonly [name: string]: ConfigValue };
  /** The environment of the daemon. Default: this process's own. */
  environment?: Record<string, string | undefined>;
  /** How long it may take to be ready; 180,000. */
  timeoutMs?: number;
}

/** One event of a stream. */
export interface HostEvent {
  /** `plugin`, or `missed` when some could not be kept: `data.count` says how many, null when nobody knows. */
  name: string;
  /** Of `plugin`: `seq`, `at_ms`, `plugin`, and `kind` with the word `event` and what belongs to it. */
  data: any;
  /** What a later stream goes on behind, as `lastEventId`. */
  id?: string;
}

/** A piece of a command's output. */
export interface Output {
  stream: 'stdout' | 'stderr' | null;
  text: string;
  /** When it came, in milliseconds after the start. */
  t_ms: number;
}

/**
 * Events as they come: `for await (const event of stream)`. One that breaks off is taken up again behind the last event, for up to
 * `reconnectMs`; then Unavailable is thrown. Leaving the loop, or `close()`, ends it.
 */
export class EventStream implements AsyncIterable<HostEvent> {
  private constructor();
  /** The `id` of the last event that was seen. */
  lastEventId: string | undefined;
  [Symbol.asyncIterator](): AsyncGenerator<HostEvent, void, void>;
  /** Ends it; whoever waits for the next event gets the end. */
  close(): void;
}

/** A command that was begun. Iterate over it for its output, or `wait()` for its report. */
export class Run implements AsyncIterable<Output> {
  private constructor();
  /** Its number; null when it could not be recorded, and then it has ended already. */
  readonly id: number | null;
  /** What has been read of its standard output; all of it after `wait()`. What is no UTF-8 is replaced. */
  readonly stdout: string;
  readonly stderr: string;
  /** Its report, once its end was read. */
  readonly report: RunReport | undefined;
  /** Output as it comes, until the command has ended. A stream that breaks off goes on where it was. */
  [Symbol.asyncIterator](): AsyncGenerator<Output, void, void>;
  /** Its report, when it has ended; Unavailable when the daemon went away, Cancelled after `close()`. */
  wait(): Promise<RunReport>;
  /** Ends it; `wait()` then has its report. Nothing when it has ended already. */
  cancel(): Promise<void>;
  /** Stops reading. The command goes on to its end, or to `cancel()`. */
  close(): void;
}

/**
 * A daemon that this application uses. Every method is rejected with a RingfenceError when something is refused or fails, and with
 * the signal's reason when it was aborted.
 */
export class Host {
  private constructor();

  /** A daemon that runs: the one at `url`, with a token; else at `socket`; else of `home`. Unavailable when nobody answers. */
  static connect(options?: ConnectOptions): Promise<Host>;
  /**
   * A daemon of this application's own, on a socket in its home, which ends with it, however it ends. It does not keep the process
   * running. NotFound without a program, Busy when another daemon holds the home, Usage for a configuration with mistakes,
   * LimitBroken when it is not ready in time.
   */
  static start(options?: StartOptions): Promise<Host>;
  /** Ends the daemon, if this host started it, and waits until it has gone. May be called more than once. */
  close(): Promise<void>;
  /** The home of a daemon that this host started. */
  readonly home: string | undefined;
  /** The process of a daemon that this host started. */
  readonly pid: number | undefined;

  /** All installed plugins. */
  list(options?: RequestOptions): Promise<PluginSummary[]>;
  /** Packages in the plugin directories of the configuration. */
  scan(options?: RequestOptions): Promise<FoundPackages>;
  /** Everything about one plugin. */
  show(name: string, options?: RequestOptions): Promise<PluginDetails>;
  /**
   * Installs the package in this directory. Over a socket a relative path is this process's; at an address it is the daemon's
   * machine's and must be absolute.
   */
  install(directory: string, options?: ConsentOptions & { idempotencyKey?: string } & RequestOptions): Promise<Installed>;
  /** Starts a plugin and keeps it active. */
  activate(name: string, options?: RequestOptions): Promise<PluginSummary>;
  /** Stops a plugin, in order. */
  deactivate(name: string, options?: RequestOptions): Promise<PluginSummary>;
  /** Removes a plugin, and its private data unless they are to be kept for the same publisher. */
  uninstall(name: string, options?: { keepData?: boolean } & RequestOptions): Promise<void>;
  /** Takes the version in this directory. One that asks for more than is granted waits for consent: `done` is false. */
  upgrade(name: string, directory: string, options?: ConsentOptions & { allowDowngrade?: boolean } & RequestOptions): Promise<Upgraded>;
  /**
   * Drops the version that waits for consent; the installed one runs on. NotFound when none waits. With `version`, that of `grants`,
   * Conflict when another one has come to wait.
   */
  abandonUpgrade(name: string, options?: { version?: string } & RequestOptions): Promise<PluginSummary>;
  /** Goes back to the version before. */
  rollback(name: string, options?: RequestOptions): Promise<Upgraded>;

  /** What is granted, with its version. */
  grants(name: string, options?: RequestOptions): Promise<Versioned<GrantInfo[]>>;
  /**
   * Consents to these and no others; what is missing is taken back at once. With `version`, Conflict when somebody was faster. While
   * an upgrade waits this is consent to it, and needs `version`.
   */
  setGrants(name: string, permissions: readonly string[], options?: { version?: string } & RequestOptions): Promise<Versioned<GrantInfo[]>>;
  /**
   * Grants these beside what is granted; with none, consents to what there is. Conflict while an upgrade waits for consent: then
   * `setGrants` says all that the new version shall have.
   */
  grant(name: string, ...permissions: string[]): Promise<Versioned<GrantInfo[]>>;
  /** Takes these back at once. NotFound when one of them, as `grants` writes it, is not granted. */
  revoke(name: string, ...permissions: string[]): Promise<Versioned<GrantInfo[]>>;
  /** A plugin's configuration, with its version. A secret is `***`. */
  getConfig(name: string, options?: RequestOptions): Promise<Versioned<Record<string, any>>>;
  /** Replaces the configuration. A secret that is `***` stays. With `version`, Conflict when somebody was faster. */
  setConfig(name: string, config: Record<string, unknown>, options?: { version?: string } & RequestOptions): Promise<Versioned<Record<string, any>>>;

  /**
   * What a tool answers. It may take `timeoutMs`; default and most: the plugin's own limit. Each call has a key: after Unavailable or
   * a `timeout` of this side the error's `idempotencyKey` given again asks the same daemon for the first one's answer, without
   * doing it twice.
   */
  call<Result = any>(name: string, tool: string, args?: Record<string, unknown>, options?: { timeoutMs?: number; idempotencyKey?: string } & RequestOptions): Promise<Result>;
  /**
   * Passes an event through the plugins: what they made of it, or that one blocked it. `trace` says what each mutator changed, `wait`
   * waits for observers, too.
   */
  hook(event: string, body?: unknown, options?: {
    metadata?: Record<string, unknown>; dryRun?: boolean; trace?: boolean; wait?: boolean; timeoutMs?: number;
  } & RequestOptions): Promise<HookOutcome>;
  /** Who takes part in which event, in order. */
  hooks(options?: RequestOptions): Promise<HookInfo[]>;
  /** Sends a message to the plugins that are granted `event:post=TOPIC`. `wait` waits until each has answered or failed. */
  postEvent(topic: string, payload?: unknown, options?: { wait?: boolean } & RequestOptions): Promise<EventReport>;
  /**
   * Begins one command in a sandbox that may do nothing but what is given. Paths are absolute. With `explain` every path that it names
   * is watched, and the report's `denials` name what was out of reach, too; without it a file that was not granted does not exist for
   * the command, and is no denial.
   */
  exec(command: readonly string[], options?: {
    read?: readonly string[]; write?: readonly string[]; grant?: readonly string[]; deny?: readonly string[];
    environment?: Record<string, string>; workingDirectory?: string; limits?: ExecLimitsBody; strict?: boolean;
    explain?: boolean;
  } & RequestOptions): Promise<Run>;

  /** Everything that happens to plugins from now on, or behind an event that was seen; subscribed when it resolves. */
  events(options?: { lastEventId?: string; reconnectMs?: number } & RequestOptions): Promise<EventStream>;
  /** Stored runs of commands, the newest first; `before` of the answer gives the next page. */
  runs(options?: { before?: number; limit?: number } & RequestOptions): Promise<RunsAnswer>;
  /** One stored run, with its report when it has ended. */
  run(id: number, options?: RequestOptions): Promise<RunAnswer>;
  /** The last lines of a plugin's log; 100, at most 10,000. */
  logs(name: string, options?: { lines?: number } & RequestOptions): Promise<LogLine[]>;
  /** What was refused, each with the grant that would allow it. */
  denials(name: string, options?: RequestOptions): Promise<Denial[]>;
  /** What is recorded of a plugin, the last first. */
  activity(name: string, options?: { limit?: number } & RequestOptions): Promise<AuditPage>;
  /** What a plugin has used lately. */
  resources(name: string, options?: { limit?: number } & RequestOptions): Promise<ResourceSample[]>;
  /** Recorded calls, the last first. */
  executions(options?: { plugin?: string; before?: number; limit?: number } & RequestOptions): Promise<ExecutionPage>;
  /** A page of the audit trail; `after` is the `seq` of the last record of the page before. */
  audit(options?: {
    plugin?: string; event?: string; correlationId?: string; sinceMs?: number; after?: number; newestFirst?: boolean; limit?: number;
  } & RequestOptions): Promise<AuditPage>;
  /** Whether the audit trail is as it was written. */
  verifyAudit(options?: RequestOptions): Promise<AuditVerdict>;
  /** How the host is; with the reasons for whoever has a token or needs none. */
  health(options?: RequestOptions): Promise<HealthAnswer>;
  /** Figures in the text format of Prometheus. */
  metrics(options?: RequestOptions): Promise<string>;
  /** All tokens, without their secrets. */
  tokens(options?: RequestOptions): Promise<TokenInfo[]>;
  /** Makes a token, whose text is in the answer and nowhere else. */
  createToken(role: Role, options?: { plugin?: string; expiresInS?: number } & RequestOptions): Promise<CreatedToken>;
  /** Takes a token back at once. */
  revokeToken(id: string, options?: RequestOptions): Promise<void>;
  /** An address that opens the dashboard once, for a browser; at the socket of a daemon of one's own alone. */
  dashboardLink(options?: RequestOptions): Promise<DashboardLink>;
}

/**
 * Something was refused or failed. `code` is stable (docs/errors.md). Two are this side's own: `unavailable`, and `timeout` without a
 * `status`, when this side waited no longer.
 */
export class RingfenceError extends Error {
  readonly code: ErrorCode | 'unavailable' | (string & {});
  /** What to do next, when there is something to do. */
  readonly hint: string | undefined;
  /** Of HTTP. */
  readonly status: number | undefined;
  /** Finds the request in the audit trail. */
  readonly correlationId: string | undefined;
  /** The key of an installation or a call that may have been done: the same one again does it only once. */
  idempotencyKey: string | undefined;
}
/** The request, a permission, a limit, the configuration, a manifest or a package is not as it must be. */
export class Usage extends RingfenceError {}
/** The plugin, tool, run, token, path or program does not exist. */
export class NotFound extends RingfenceError {}
/** A permission, the policy, the role, missing consent or a quarantine forbids it, or it cannot be enforced here. */
export class Refused extends RingfenceError {}
/** It is not in the state that this needs, or somebody else was faster: read it again. */
export class Conflict extends RingfenceError {}
/** The plugin answered with an error, crashed, or broke a schema or its quota. */
export class PluginFailed extends RingfenceError {}
/** A limit was broken, or the work took longer than its limit. */
export class LimitBroken extends RingfenceError {}
/** Somebody holds what is needed, or there are too many requests: try again later. */
export class Busy extends RingfenceError {}
/** It was given up before it was done. */
export class Cancelled extends RingfenceError {}
/** Nobody answers, or the daemon went away in the middle: what was asked may have been done or not. */
export class Unavailable extends RingfenceError {}
