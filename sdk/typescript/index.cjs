'use strict';
// Ringfence for authors of plugins in JavaScript and TypeScript: `host` (what a plugin may ask), `tool` and `hook` (what it
// offers), `Plugin`, and the errors. The types and the documentation of each are in index.d.ts.

const { fromSql, toSql } = require('./lib/sql.cjs');

const TOOL = Symbol.for('ringfence.tool');
const HOOKS = Symbol.for('ringfence.hooks');
const KIND = Symbol.for('ringfence.error');

class HostError extends Error {
  constructor(message, { code = 'internal', number = -32603, data = {} } = {}) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.number = number;
    this.data = data;
    Object.defineProperty(this, KIND, { value: code });
  }
}

class PermissionDenied extends HostError {
  constructor(message, { layer = 'host_api', operation = 'unknown', object = 'unknown', grant, data = {} } = {}) {
    super(message, { code: 'permission_denied', number: -31001, data });
    Object.assign(this, { layer, operation, object, grant });
  }
}

class NotSupported extends HostError {}
class Timeout extends HostError {
  constructor(message, options = {}) {
    super(message, { number: -31003, ...options, code: 'timeout' });
  }
}
class Cancelled extends HostError {
  constructor(message = 'cancelled', options = {}) {
    super(message, { number: -31002, ...options, code: 'cancelled' });
  }
}

class PluginError extends Error {
  constructor(message, { code = 1, data } = {}) {
    super(message);
    this.name = 'PluginError';
    this.code = code;
    this.data = data;
    Object.defineProperty(this, KIND, { value: 'plugin' });
  }
}

const WORDS = {
  '-32700': 'parse_error', '-32600': 'invalid_request', '-32601': 'not_found', '-32602': 'invalid_params',
  '-32603': 'internal', '-31001': 'permission_denied', '-31002': 'cancelled', '-31003': 'timeout', '-31004': 'busy',
  '-31005': 'too_large', '-31006': 'quota', '-31007': 'not_supported', '-31008': 'plugin_failed', '-31009': 'not_ready',
};

function fromWire(error) {
  if (typeof error !== 'object' || error === null) return new HostError(String(error));
  const number = typeof error.code === 'number' ? error.code : -32603;
  const data = typeof error.data === 'object' && error.data !== null ? error.data : {};
  const message = String(error.message ?? 'the host gave no reason');
  const code = String(data.code ?? WORDS[number] ?? 'internal');
  if (number === -31001) {
    const { layer, operation, object, grant } = data;
    return new PermissionDenied(message, { layer, operation, object, grant: grant ?? undefined, data });
  }
  const Kind = { '-31002': Cancelled, '-31003': Timeout, '-31007': NotSupported }[number] ?? HostError;
  return new Kind(message, { code, number, data });
}

class Plugin {}
Object.defineProperty(Plugin, Symbol.for('ringfence.plugin'), { value: true });

function marker(apply) {
  // Works around a function, as a decorator of the standard, and as the older one of TypeScript.
  return (value, key, descriptor) => {
    if (typeof value === 'function') return apply(value);
    if (descriptor !== undefined) apply(descriptor.value);
    return descriptor;
  };
}

function tool(options = {}, given) {
  if (typeof options === 'function') return tool({}, options);
  const { name, description } = options;
  const declaration = {};
  const put = (key, value) => {
    if (value !== undefined) declaration[key] = value;
  };
  put('name', name);
  put('description', description);
  put('input_schema', options.inputSchema ?? options.input_schema);
  put('output_schema', options.outputSchema ?? options.output_schema);
  const mark = marker((value) => {
    value[TOOL] = declaration;
    return value;
  });
  return given === undefined ? mark : mark(given);
}

function hook(event, options = {}, given) {
  if (typeof options === 'function') return hook(event, {}, options);
  const { kind = 'observer', priority = 50 } = options;
  if (!['mutator', 'guard', 'observer'].includes(kind)) {
    throw new TypeError(`a hook is a mutator, a guard or an observer, not ${kind}`);
  }
  const declaration = { event, kind, priority };
  const timeoutMs = options.timeoutMs ?? options.timeout_ms;
  const onFailure = options.onFailure ?? options.on_failure;
  if (timeoutMs !== undefined) declaration.timeout_ms = timeoutMs;
  if (onFailure !== undefined) declaration.on_failure = onFailure;
  const mark = marker((value) => {
    value[HOOKS] = [...(value[HOOKS] ?? []), declaration];
    return value;
  });
  return given === undefined ? mark : mark(given);
}

// ---- the host -------------------------------------------------------------------------------------------------------

const session = globalThis[Symbol.for('ringfence.session')];
if (session !== undefined && session.storage === undefined) {
  const { AsyncLocalStorage } = require('node:async_hooks');
  session.storage = new AsyncLocalStorage();
}

function running() {
  if (session !== undefined) return session;
  throw new HostError('there is no host here: run the plugin with `ringfence dev`, or test it with PluginHarness of '
    + 'ringfence/testing', { code: 'not_ready', number: -31009 });
}

const call = () => session?.storage?.getStore();

const ask = async (method, params, timeoutMs) => (await result(method, params, timeoutMs)) ?? {};

/** The same when the call in progress has been cancelled or has no time left: to let go of what it holds. */
const askBeside = (method, params, timeoutMs) => result(method, params, timeoutMs, null);

async function result(method, params, timeoutMs, within = call()) {
  let outcome;
  try {
    outcome = await running().engine.request(method, params, within ?? undefined, timeoutMs);
  } catch (error) {
    if (error?.kind === 'large') throw new HostError(error.message, { code: 'too_large', number: -31005 });
    throw error;
  }
  if (outcome.error !== undefined) throw fromWire(outcome.error);
  return outcome.result;
}

function content(name, value) {
  return typeof value === 'string' ? { [name]: value } : { [`${name}_base64`]: Buffer.from(value).toString('base64') };
}

function textOrBytes(given, name) {
  const encoded = given[`${name}_base64`];
  return typeof encoded === 'string' ? Buffer.from(encoded, 'base64') : String(given[name] ?? '');
}

/** The same for members of an object, in their places. */
function decoded(given, ...names) {
  const plain = { ...given };
  for (const name of names) {
    plain[name] = textOrBytes(given, name);
    delete plain[`${name}_base64`];
  }
  return plain;
}

const mapped = (row, change) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, change(value)]));

const sqlParameters = (parameters) => (Array.isArray(parameters) ? parameters.map(toSql) : mapped(parameters, toSql));

const host = {
  get available() {
    return session !== undefined;
  },
  get pluginName() {
    return running().parameters.plugin?.name ?? '';
  },
  get permissions() {
    return [...(running().parameters.permissions ?? [])];
  },
  get config() {
    return { ...running().parameters.config };
  },
  get limits() {
    return { ...running().parameters.limits };
  },
  get dataDir() {
    return running().parameters.data_dir ?? '';
  },
  deadlineLeft: () => call()?.deadlineLeft(),
  cancelled: () => call()?.cancelled ?? false,
  correlationId: () => call()?.correlation,
  get signal() {
    return call()?.signal;
  },
  progress(done, total, message) {
    const current = call();
    if (current === undefined) return;
    running().engine.notify('$/progress', { id: current.id, progress: done, total, message }, current);
  },
  log(level, message, fields) {
    if (!['debug', 'info', 'warning', 'error'].includes(level)) {
      throw new TypeError(`a level is debug, info, warning or error, not ${level}`);
    }
    running().engine.notify('log', { level, message: String(message), fields }, call());
  },
  async storePluginData(key, value) {
    await ask('store_plugin_data', { key, value: value === undefined ? null : value });
  },
  async loadPluginData(key, missing) {
    const { found, value } = await ask('load_plugin_data', { key });
    return found ? value : missing;
  },
  deletePluginData: async (key) => Boolean((await ask('delete_plugin_data', { key })).deleted),
  async listPluginData(prefix = '', { limit, after } = {}) {
    const { keys = [], more = false } = await ask('list_plugin_data', { prefix, limit, after });
    return { keys, more };
  },
  getConfig: async () => (await ask('get_config', {})).config ?? {},
  async setConfig(config) {
    await ask('set_config', { config });
  },
  request: (method, params = {}, { timeoutMs } = {}) => result(method, params, timeoutMs),
  async httpFetch(url, { method = 'GET', headers, body, timeoutMs, maxBytes, stream = false } = {}) {
    const params = { url, method, headers, max_bytes: maxBytes, ...(body !== undefined && content('body', body)) };
    if (stream) {
      const { httpStream } = require('./lib/http.cjs');
      const answer = await ask('http_fetch', { ...params, stream }, timeoutMs);
      return httpStream(answer, url, { ask, askBeside, HostError });
    }
    const answer = await ask('http_fetch', params, timeoutMs);
    return { status: answer.status, headers: answer.headers ?? {}, body: textOrBytes(answer, 'body'), url: answer.url ?? url };
  },
  readFile: async (path) => textOrBytes(await ask('read_file', { path }), 'content'),
  async writeFile(path, value) {
    await ask('write_file', { path, ...content('content', value) });
  },
  deleteFile: async (path) => Boolean((await ask('delete_file', { path })).deleted),
  listFiles: async (path) => ((await ask('list_files', { path })).entries ?? []).map((entry) => decoded(entry, 'name')),
  async runProcess(command, { timeoutMs } = {}) {
    const limit = timeoutMs === undefined ? undefined : timeoutMs / 1000;
    return decoded(await ask('run_process', { command, timeout_s: limit }), 'stdout', 'stderr');
  },
  async queryDatabase(database, sql, parameters = []) {
    const { rows = [] } = await ask('query_database', { database, sql, parameters: sqlParameters(parameters) });
    return rows.map((row) => mapped(row, fromSql));
  },
  executeDatabase: async (database, sql, parameters = []) =>
    (await ask('execute_database', { database, sql, parameters: sqlParameters(parameters) })).rows_affected ?? 0,
  async postEvent(topic, payload = null) {
    await ask('post_event', { topic, payload });
  },
  getUserProfile: (fields) => ask('get_user_profile', { fields }),
  async registerHook(event, { kind = 'observer', priority = 50, timeoutMs, onFailure } = {}) {
    await ask('register_hook', { event, kind, priority, timeout_ms: timeoutMs, on_failure: onFailure });
  },
};

module.exports = {
  host, tool, hook, Plugin, HostError, PermissionDenied, NotSupported, Timeout, Cancelled, PluginError,
};
