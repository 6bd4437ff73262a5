// A host in memory: grants, data, configuration, files, the web, databases and processes, as far as a test needs them.

import sql from './sql.cjs';

const { fromSql, toSql } = sql;

/** Quota of the fake store, in characters of JSON. */
const DATA_MAX_CHARS = 1_000_000;
/** Bodies that a plugin reads piece by piece at once, and the largest piece of one in bytes. */
const STREAMS_MAX = 8;
const PIECE_MAX_BYTES = 64 * 1024;

/** What no wildcard over `profile:read` opens, unless a host application says otherwise. */
export const SENSITIVE_FIELDS = new Set([
  'address', 'birth_date', 'driver_license_number', 'email', 'id_number', 'national_id', 'passport_number', 'phone',
  'social_security_number', 'tax_id',
]);

const PERMISSIONS = new Map(Object.entries({
  store_plugin_data: null, load_plugin_data: null, delete_plugin_data: null, list_plugin_data: null,
  get_config: null, set_config: 'config:write', post_event: 'event:post', get_user_profile: 'profile:read',
  http_fetch: 'network:request', http_fetch_read: null, http_fetch_close: null, read_file: 'file:read', write_file: 'file:write', delete_file: 'file:delete',
  list_files: 'file:read', run_process: 'subprocess:execute', query_database: 'database:read',
  execute_database: 'database:write', register_hook: 'hook:register',
}));

export class FakeHost {
  #opened = 0;

  constructor(grants, config, { files, http, databases, processes, profile, data = {}, answers = {} } = {}) {
    Object.assign(this, { grants: [...grants], config, http, databases, processes, profile, answers });
    this.files = files === undefined ? undefined : { ...files };
    this.data = { ...data };
    this.dataDir = '';
    this.pluginName = '';
    this.requests = [];
    this.log = [];
    this.events = [];
    this.denials = [];
    this.hooks = [];
    this.cancelled = [];
    this.streams = new Map();
  }

  allows(permission, scope) {
    return this.grants.some((grant) => {
      const [name, ...bounds] = grant.split('=');
      return name === permission && (bounds.length === 0 || matches(bounds.join('='), scope));
    });
  }

  /** Whether a field of the profile is granted: a sensitive one only by its name. */
  allowsField(field) {
    return this.grants.includes(`profile:read=${field}`)
      || (!SENSITIVE_FIELDS.has(field) && this.allows('profile:read', field));
  }

  /** Whether a file is in the plugin's private directory, which it may always use. */
  #isOwn(method, path) {
    return this.dataDir !== '' && /_files?$/.test(method) && matches(`${this.dataDir}/**`, path);
  }

  notified(method, params) {
    if (method === 'log') this.log.push(params);
    else if (method === '$/cancel') this.cancelled.push(params.id);
  }

  async answer(method, params) {
    this.requests.push([method, params]);
    if (Object.hasOwn(this.answers, method)) return this.answers[method](params);
    if (!PERMISSIONS.has(method)) return failure(-32601, 'not_found', `no method ${method}`);
    const permission = PERMISSIONS.get(method);
    if (method === 'get_user_profile') {
      const refused = (params.fields ?? []).find((field) => !this.allowsField(field));
      if (refused !== undefined) return this.#deny(method, permission, refused);
      if (!this.grants.some((grant) => grant.split('=')[0] === permission)) return this.#deny(method, permission, '');
    } else if (permission !== null) {
      const object = method === 'set_config' ? this.pluginName : scope(method, params);
      if (!this.allows(permission, object) && !this.#isOwn(method, object)) return this.#deny(method, permission, object);
    }
    try {
      const result = await this[method](params);
      return result === undefined ? failure(-31007, 'not_supported', `this host does not offer ${method}`) : result;
    } catch (error) {
      return failure(-32603, 'internal', `the fake host failed: ${error.message}`);
    }
  }

  #deny(method, permission, object) {
    const grant = object === '' ? permission : `${permission}=${object}`;
    const message = `${method} of ${object || 'anything'} is not granted; ${grant} would allow it`;
    const data = { code: 'permission_denied', layer: 'host_api', operation: method, object: object || 'unknown', grant, message };
    this.denials.push(data);
    return { error: { code: -31001, message, data } };
  }

  // ---- one method each: an answer, or undefined when the test gave no fake -----------------------------------------

  store_plugin_data({ key, value }) {
    const after = { ...this.data, [key]: value };
    if (JSON.stringify(after).length > DATA_MAX_CHARS) return failure(-31006, 'quota', 'the store is full');
    this.data = after;
    return { result: {} };
  }

  load_plugin_data({ key }) {
    const found = Object.hasOwn(this.data, key);
    return { result: { found, value: found ? this.data[key] : null } };
  }

  delete_plugin_data({ key }) {
    const deleted = Object.hasOwn(this.data, key);
    delete this.data[key];
    return { result: { deleted } };
  }

  list_plugin_data({ prefix = '', limit = 100, after }) {
    const keys = Object.keys(this.data).filter((key) => key.startsWith(prefix) && (after === undefined || key > after)).sort();
    return { result: { keys: keys.slice(0, limit), more: keys.length > limit } };
  }

  get_config() {
    return { result: { config: this.config } };
  }

  set_config({ config }) {
    this.config = config;
    return { result: {} };
  }

  post_event({ topic, payload }) {
    this.events.push([topic, payload]);
    return { result: {} };
  }

  register_hook(params) {
    this.hooks.push(params);
    return { result: {} };
  }

  get_user_profile({ fields }) {
    if (this.profile === undefined) return undefined;
    const kept = Object.entries(this.profile).filter(([key]) => (fields === undefined ? this.allowsField(key) : fields.includes(key)));
    return { result: Object.fromEntries(kept) };
  }

  async http_fetch(params) {
    if (this.http === undefined) return undefined;
    const found = typeof this.http === 'function' ? await this.http(params) : this.http[params.url];
    const { status = 200, headers = {}, body = '' } = found ?? { status: 404 };
    const result = { status, headers, url: params.url };
    if (params.stream) return this.#open(result, body);
    return { result: { ...result, ...content('body', isWhole(body) ? body : await joined(body)) } };
  }

  #open(result, body) {
    if (this.streams.size >= STREAMS_MAX) {
      return failure(-31004, 'busy', `${STREAMS_MAX} streams are open, which is the most at once`);
    }
    this.#opened += 1;
    const stream = `stream-${this.#opened}`;
    this.streams.set(stream, { pieces: buffers(body), offset: 0, held: Buffer.alloc(0) });
    return { result: { ...result, stream } };
  }

  async http_fetch_read({ stream, max_bytes: most = PIECE_MAX_BYTES }) {
    const open = this.streams.get(stream);
    if (open === undefined) return failure(-32602, 'not_found', `there is no stream ${stream}`);
    if (open.held.length === 0) open.held = (await open.pieces.next()).value ?? open.held;
    const { offset } = open;
    const piece = open.held.subarray(0, Math.min(most, PIECE_MAX_BYTES));
    open.held = open.held.subarray(piece.length);
    open.offset += piece.length;
    const done = piece.length === 0;
    if (done) this.streams.delete(stream);
    return { result: { ...content('body', text(piece)), offset, done } };
  }

  http_fetch_close({ stream }) {
    return { result: { closed: this.streams.delete(stream) } };
  }

  read_file({ path }) {
    if (this.files === undefined) return undefined;
    if (!Object.hasOwn(this.files, path)) return failure(-32602, 'not_found', `no file ${path}`);
    return { result: content('content', this.files[path]) };
  }

  write_file({ path, content: text = '', content_base64: encoded }) {
    if (this.files === undefined) return undefined;
    this.files[path] = encoded === undefined ? text : Buffer.from(encoded, 'base64');
    return { result: {} };
  }

  delete_file({ path }) {
    if (this.files === undefined) return undefined;
    const deleted = Object.hasOwn(this.files, path);
    delete this.files[path];
    return { result: { deleted } };
  }

  list_files({ path }) {
    if (this.files === undefined) return undefined;
    const folder = `${path.replace(/\/+$/, '')}/`;
    const entries = new Map();
    for (const [file, value] of Object.entries(this.files)) {
      if (!file.startsWith(folder)) continue;
      const [name, ...deeper] = file.slice(folder.length).split('/');
      const isFile = deeper.length === 0;
      entries.set(name, { name, kind: isFile ? 'file' : 'directory', size_bytes: isFile ? Buffer.byteLength(value) : 0 });
    }
    return { result: { entries: [...entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1)) } };
  }

  async run_process({ command }) {
    return this.processes === undefined ? undefined : { result: await this.processes(command) };
  }

  async query_database({ database, sql, parameters = [] }) {
    const connection = this.databases?.[database];
    return connection === undefined ? undefined : { result: { rows: (await connection.query(sql, decoded(parameters))).map((row) => mapped(row, toSql)) } };
  }

  async execute_database({ database, sql, parameters = [] }) {
    const connection = this.databases?.[database];
    return connection === undefined ? undefined : { result: { rows_affected: await connection.execute(sql, decoded(parameters)) } };
  }
}

const mapped = (row, change) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, change(value)]));
const decoded = (parameters) => (Array.isArray(parameters) ? parameters.map(fromSql) : mapped(parameters, fromSql));

function scope(method, params) {
  if (method === 'http_fetch') {
    const found = /^(https?):\/\/([^/:?#]+)(?::(\d+))?/.exec(params.url ?? '');
    return found === null ? '' : `${found[2]}:${found[3] ?? (found[1] === 'https' ? '443' : '80')}`;
  }
  if (method === 'run_process') return String(params.command?.[0] ?? '');
  return String(params.path ?? params.database ?? params.event ?? params.topic ?? '');
}

/** Whether a scope covers an object: `*` stays inside a segment, `**` crosses, `DIR/**` includes DIR. */
export function matches(pattern, text) {
  if (pattern.endsWith('/**') && matches(pattern.slice(0, -3), text)) return true;
  const segment = pattern.includes('/') ? '[^/]*' : '[^.:]*';
  const expression = pattern.split(/(\*\*|\*)/)
    .map((part) => (part === '**' ? '.*' : part === '*' ? segment : part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))).join('');
  return new RegExp(`^${expression}$`, 's').test(text);
}

function content(name, value) {
  return typeof value === 'string' ? { [name]: value } : { [`${name}_base64`]: Buffer.from(value).toString('base64') };
}

const isWhole = (body) => typeof body === 'string' || body instanceof Uint8Array;

/** The pieces of a body that are not empty. */
async function* buffers(body) {
  for await (const piece of isWhole(body) ? [body] : body) {
    if (piece.length > 0) yield Buffer.from(piece);
  }
}

async function joined(body) {
  const all = [];
  for await (const piece of buffers(body)) all.push(piece);
  return text(Buffer.concat(all));
}

/** Text when it is UTF-8. */
function text(bytes) {
  const read = bytes.toString();
  return Buffer.from(read).equals(bytes) ? read : bytes;
}

function failure(code, word, message) {
  return { error: { code, message, data: { code: word, message } } };
}
