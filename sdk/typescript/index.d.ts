// Types of the SDK for authors of plugins.

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** What a tool is given besides its arguments. The same is known to `host` while the tool runs. */
export interface Call {
  /** The host's number of this call. */
  readonly id: number | string;
  /** Aborted when whoever made the call no longer wants it. */
  readonly signal: AbortSignal;
  /** The same as a flag. */
  readonly cancelled: boolean;
  /** Ties together all records of one piece of work. */
  readonly correlation: string | undefined;
  /** Milliseconds that are left, at least 0; undefined without a deadline. */
  deadlineLeft(): number | undefined;
}

/** What a hook handler is given. */
export interface HookContext<Body = any, Metadata = Record<string, any>> {
  event: string;
  kind: HookKind;
  body: Body;
  metadata: Metadata;
  correlation_id: string | undefined;
  /** For an observer of what a guard has blocked: who, and why. */
  blocked: { by?: string; reason: string } | null;
}

export type HookKind = 'mutator' | 'guard' | 'observer';

/** What a handler returns: nothing leaves things as they are; a mutator changes; a guard blocks. */
export type HookResult =
  | void | null | undefined
  | { body?: unknown; metadata?: Record<string, unknown> }
  | { blocked: true; reason?: string; response?: unknown };

export interface HookOptions {
  /** Default `observer`. */
  kind?: HookKind;
  /** Low first. Default 50. */
  priority?: number;
  /** Default: the host's, 5,000. */
  timeoutMs?: number;
  /** Default: guards block, the others are skipped. */
  onFailure?: 'block' | 'skip';
}

export interface ToolOptions {
  /** `[A-Za-z0-9_.-]{1,128}`. Default: the name of the export or method. */
  name?: string;
  description?: string;
  /** JSON Schema (2020-12) of the arguments object. */
  inputSchema?: object;
  /** JSON Schema (2020-12) of the result. */
  outputSchema?: object;
}

type Handler = (...args: any[]) => unknown;
/** Works around a function, and as a decorator of a method, of the standard or of older TypeScript. */
export interface Marker {
  <F extends Handler>(handler: F): F;
  <F extends Handler>(handler: F, context: object): F;
  (target: object, key: string | symbol, descriptor: PropertyDescriptor): PropertyDescriptor;
}

/** Makes a function a tool: `export const add = tool({ description: "Adds." }, ({ a, b }) => a + b)`. */
export function tool<F extends Handler>(options: ToolOptions, handler: F): F;
export function tool<F extends Handler>(handler: F): F;
export function tool(options?: ToolOptions): Marker;

/** Makes a function the handler of an event: `export const onRequest = hook("onRequest", { kind: "guard" }, (ctx) => ...)`. */
export function hook<F extends (context: HookContext) => HookResult | Promise<HookResult>>(event: string, options: HookOptions, handler: F): F;
export function hook<F extends (context: HookContext) => HookResult | Promise<HookResult>>(event: string, handler: F): F;
export function hook(event: string, options?: HookOptions): Marker;

/** Base class of plugins that are classes. Public methods with a declared tool's name answer that tool. */
export class Plugin {
  /** The constructor of a subclass gets the configuration. */
  constructor(config?: Record<string, any>);
}

/** What a class or module may have besides tools and hook handlers. Each may be asynchronous. */
export interface PluginMembers {
  /** Called once before anything else. */
  initialize?(config: Record<string, any>): unknown;
  /** Called once before the process ends; two seconds are left then. */
  shutdown?(): unknown;
  configChanged?(config: Record<string, any>): unknown;
  handleEvent?(topic: string, payload: any): unknown;
}

export interface HostErrorOptions {
  code?: string;
  number?: number;
  data?: Record<string, any>;
}

/** The host refused or could not do what was asked. */
export class HostError extends Error {
  constructor(message: string, options?: HostErrorOptions);
  /** The stable word: `quota`, `busy`, ... */
  readonly code: string;
  /** The JSON-RPC error number. */
  readonly number: number;
  /** All that the host said. */
  readonly data: Record<string, any>;
}

/** No grant covers the act. */
export class PermissionDenied extends HostError {
  readonly layer: string;
  readonly operation: string;
  readonly object: string;
  /** The text that would allow it, ready for `ringfence grant PLUGIN ...`, if one can. */
  readonly grant: string | undefined;
}

/** This host does not offer the function. */
export class NotSupported extends HostError {}
/** The deadline of the call in progress, or of this host call, has passed. */
export class Timeout extends HostError {}
/** Whoever made the call in progress no longer wants it. Let it pass; the runner answers for you. */
export class Cancelled extends HostError {
  constructor(message?: string, options?: HostErrorOptions);
}

/** Throw it for an error of the plugin's own: a number outside -32768..-31000, a text, and any JSON data. */
export class PluginError extends Error {
  constructor(message: string, options?: { code?: number; data?: unknown });
  readonly code: number;
  readonly data: unknown;
}

/** Values bound to a statement: null, numbers, BigInt, text, booleans, bytes. */
export type SqlParameters = unknown[] | Record<string, unknown>;

export interface HttpResponse {
  /** Where the answer comes from, after redirects. */
  url: string;
  status: number;
  headers: Record<string, string>;
  /** Text, or bytes when it is not UTF-8. */
  body: string | Buffer;
}

/**
 * The answer of a server whose body is still to be read. `for await` gives its pieces as they arrive. Closed by the end of the body,
 * by leaving the loop, `close()`, the end of the plugin, and by the host when nobody reads for 60 s. One reader at a time.
 */
export interface HttpStream extends AsyncIterable<Buffer> {
  /** Where the answer comes from, after redirects. */
  url: string;
  status: number;
  headers: Record<string, string>;
  /** Whether the body was read to its end, or closed. */
  readonly closed: boolean;
  /**
   * The next piece, as soon as there is one: at most `maxBytes`, at most 64 KiB. Empty at the end of the body. Rejected with Timeout
   * when nothing came in time, and then still open; with `too_large` when the body has more bytes than the `maxBytes` of the fetch;
   * with `fetch_failed` when the server breaks off.
   */
  read(maxBytes?: number, options?: { timeoutMs?: number }): Promise<Buffer>;
  /** The lines of the body as text, without their ends (LF, or CR LF), each as soon as it is there. */
  lines(): AsyncGenerator<string, void, undefined>;
  /** Reads no more: the host closes the connection. Does nothing when it is closed already. */
  close(): Promise<void>;
}

export interface HttpOptions {
  /** Default `GET`. */
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  timeoutMs?: number;
  /** Of the body of the answer. */
  maxBytes?: number;
}

export interface FileEntry {
  /** Bytes when it is not UTF-8. */
  name: string | Buffer;
  kind: 'file' | 'directory' | 'link' | 'fifo' | 'socket' | 'device' | 'unknown';
  /** 0 for what is no file. */
  size_bytes: number;
}

export interface ProcessResult {
  /** `null` when a signal ended it. */
  exit_code: number | null;
  signal?: number;
  /** Text, or bytes when it is not UTF-8. */
  stdout: string | Buffer;
  stderr: string | Buffer;
  /** Which limit ended it, such as `timeout`, `output` or `memory`. */
  violation?: string;
}

/**
 * What a plugin may ask of its host. Each promise is rejected with PermissionDenied when no grant covers it, NotSupported when this
 * host does not offer it, Timeout, Cancelled, or another HostError (`quota`, `too_large`, `busy`).
 */
export interface Host {
  /** Whether this code runs inside a plugin. */
  readonly available: boolean;
  readonly pluginName: string;
  /** What was granted, such as `file:read=/srv/notes/**`. */
  readonly permissions: string[];
  /** The configuration as last told. */
  readonly config: Record<string, any>;
  readonly limits: Record<string, any>;
  /** The private directory: always readable and writable, within quota. */
  readonly dataDir: string;
  /** Milliseconds the call in progress may still take. */
  deadlineLeft(): number | undefined;
  cancelled(): boolean;
  correlationId(): string | undefined;
  /** Aborted when the call in progress is cancelled; undefined outside a call. */
  readonly signal: AbortSignal | undefined;
  /** Tells how far the call in progress is. It never extends a deadline. */
  progress(done: number, total?: number, message?: string): void;
  log(level: 'debug' | 'info' | 'warning' | 'error', message: string, fields?: Record<string, unknown>): void;

  /** Keeps a JSON value, over restarts and upgrades. */
  storePluginData(key: string, value: unknown): Promise<void>;
  loadPluginData<T = any>(key: string, missing?: T): Promise<T>;
  /** Whether there was one. */
  deletePluginData(key: string): Promise<boolean>;
  listPluginData(prefix?: string, options?: { limit?: number; after?: string }): Promise<{ keys: string[]; more: boolean }>;

  /** The configuration as it is now. */
  getConfig(): Promise<Record<string, any>>;
  /** Replaces the plugin's own configuration, which must fit its schema. Needs `config:write`. */
  setConfig(config: Record<string, unknown>): Promise<void>;
  /** Any request by its name, such as a method of the host application's own (`x_crm_export`): its result. */
  request<Result = any>(method: string, params?: Record<string, unknown>, options?: { timeoutMs?: number }): Promise<Result>;
  /** Fails with `too_large` above `maxBytes`, which cannot raise the host's own limit. Needs `network:request`. */
  httpFetch(url: string, options?: HttpOptions & { stream?: false }): Promise<HttpResponse>;
  /** As soon as the headers are there; the body is read piece by piece, and may be as large as 1 GiB. `busy` above 8 of them. */
  httpFetch(url: string, options: HttpOptions & { stream: true }): Promise<HttpStream>;
  /** Text, or bytes when it is not UTF-8. Paths are absolute, or relative to the package. Needs `file:read`. */
  readFile(path: string): Promise<string | Buffer>;
  /** Replaces a file in one step, or makes it. Needs `file:write`. */
  writeFile(path: string, content: string | Uint8Array): Promise<void>;
  /** Removes a file or a link; whether there was one. Needs `file:delete`. */
  deleteFile(path: string): Promise<boolean>;
  /** Links are not followed; entries that may not be read are left out. Needs `file:read`. */
  listFiles(path: string): Promise<FileEntry[]>;
  /** In a sandbox of this plugin's grants. After `timeoutMs` the program is ended. Needs `subprocess:execute`. */
  runProcess(command: string[], options?: { timeoutMs?: number }): Promise<ProcessResult>;
  /** A list for `?`, an object for `:name`; never read as SQL. Whole numbers beyond 2^53 come as BigInt, blobs as Buffer. Needs `database:read`. */
  queryDatabase<Row = Record<string, any>>(database: string, sql: string, parameters?: SqlParameters): Promise<Row[]>;
  /** One INSERT, UPDATE or DELETE: how many rows changed. Needs `database:write`, and `database:read` for what it looks at. */
  executeDatabase(database: string, sql: string, parameters?: SqlParameters): Promise<number>;
  /** Needs `event:post`. */
  postEvent(topic: string, payload?: unknown): Promise<void>;
  /** These fields, or all that are granted. Each needs `profile:read`; sensitive ones, such as `email`, a grant by their name. */
  getUserProfile(fields?: string[]): Promise<Record<string, any>>;
  /** Needs `hook:register`; nothing beyond the manifest is allowed. */
  registerHook(event: string, options?: HookOptions): Promise<void>;
}

export const host: Host;
