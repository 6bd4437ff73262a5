// Types of the test harness.

export interface Fakes {
  /** Path to content, for the functions on files. */
  files?: Record<string, string | Uint8Array>;
  /** Url to answer, or a function of the request. */
  http?: Record<string, FakeResponse> | ((request: any) => FakeResponse | Promise<FakeResponse>);
  databases?: Record<string, { query(sql: string, parameters: unknown[]): unknown; execute(sql: string, parameters: unknown[]): unknown }>;
  processes?: (command: string[]) => unknown;
  profile?: Record<string, unknown>;
  /** What the key-value store holds. */
  data?: Record<string, unknown>;
  /** Method to a function that replaces the fake's answer: `{result}`, `{error}`, or undefined for none at all. */
  answers?: Record<string, (params: any) => unknown>;
}

export interface FakeResponse {
  status?: number;
  headers?: Record<string, string>;
  /** Pieces are given one by one where the plugin asks for a stream, and joined where it does not. */
  body?: string | Uint8Array | Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>;
}

export interface HarnessOptions extends Fakes {
  /** Texts such as `file:read=/srv/notes/**`. Default none. */
  grants?: string[];
  config?: Record<string, unknown>;
  /** Another entry point than the manifest's. */
  entryPoint?: string;
  /** The interpreter of the plugin. Default: this one for Node, `python3` for Python. */
  interpreter?: string;
  environment?: Record<string, string>;
}

/** The fake host: what the plugin under test may do, and what it did. */
export class FakeHost {
  constructor(grants: string[], config: Record<string, unknown>, fakes?: Fakes);
  grants: string[];
  config: Record<string, unknown>;
  files: Record<string, string | Uint8Array> | undefined;
  data: Record<string, unknown>;
  readonly requests: [method: string, params: any][];
  readonly log: { level: string; message: string; fields?: Record<string, unknown> }[];
  readonly events: [topic: string, payload: unknown][];
  readonly denials: { layer: string; operation: string; object: string; grant: string; message: string }[];
  readonly hooks: any[];
  readonly cancelled: unknown[];
  /** Bodies that the plugin reads and has neither read to their end nor closed, by their ids. */
  readonly streams: Map<string, unknown>;
  allows(permission: string, object: string): boolean;
}

/** The plugin answered with an error. */
export class PluginFailed extends Error {
  readonly number: number;
  readonly code: string | undefined;
  readonly data: Record<string, any>;
}

export interface PendingCall {
  readonly id: number;
  readonly progress: { id: number; progress: number; total?: number; message?: string }[];
  /** Rejected with PluginFailed, or with an Error when there is no answer. Default 30,000 ms. */
  result(timeoutMs?: number): Promise<any>;
  cancel(): void;
}

/** One plugin process and its fake host. Call `close` when done. */
export class PluginHarness {
  /** Starts and initialises the plugin; rejected with PluginFailed when it refuses. */
  static start(packageDir: string, options?: HarnessOptions): Promise<PluginHarness>;
  constructor(packageDir: string, options?: HarnessOptions);
  readonly host: FakeHost;
  readonly manifest: Record<string, any>;
  /** The plugin's answer to `initialize`. */
  readonly initialized: any;
  /** Lines that were no messages, or answers to nothing. */
  readonly unexpected: string[];
  /** The plugin's log. */
  readonly stderr: string;
  readonly exited: Promise<number | null>;
  /** Starts the process without a word. */
  launch(): void;
  call(tool: string, args?: Record<string, unknown>, options?: { timeoutMs?: number }): Promise<any>;
  startCall(tool: string, args?: Record<string, unknown>, options?: { timeoutMs?: number }): PendingCall;
  hook(event: string, body?: unknown, metadata?: Record<string, unknown>, options?: { kind?: string }): Promise<any>;
  event(topic: string, payload?: unknown): Promise<void>;
  changeConfig(config: Record<string, unknown>): Promise<void>;
  ping(timeoutMs?: number): Promise<void>;
  begin(method: string, params: unknown, deadlineMs?: number): PendingCall;
  notify(method: string, params: unknown): void;
  send(message: unknown): void;
  sendBytes(data: string | Uint8Array): void;
  closeInput(): void;
  close(): Promise<void>;
}

/** All grants on; then each one off; then, if there are several, all off. */
export function matrix(grants: string[]): Generator<{ grants: string[]; off: string | undefined }>;
