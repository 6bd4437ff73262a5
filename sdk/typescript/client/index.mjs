// Ringfence for host applications in JavaScript and TypeScript: `Host`, one method for each operation of the HTTP API. The types
// and the documentation of each are in index.d.ts.

import crypto from 'node:crypto';
import path from 'node:path';

import { homeOf, start } from './daemon.mjs';
import { made, RingfenceError } from './errors.mjs';
import { Run } from './run.mjs';
import { EventStream } from './stream.mjs';
import { addressOf, Transport } from './transport.mjs';

export {
  Busy, Cancelled, Conflict, LimitBroken, NotFound, PluginFailed, Refused, RingfenceError, Unavailable, Usage,
} from './errors.mjs';
export { EventStream, Run };

/** What changes something may wait for a scan, a start, and others who change the same plugin. */
const ACT_TIMEOUT_MS = 660_000;
/** A call with a limit is waited for so much longer: the answer that it took too long is the daemon's. */
const MARGIN_MS = 15_000;
const CHANGE_TRIES = 5;

export class Host {
  #transport;
  #daemon;

  constructor(transport, daemon) {
    this.#transport = transport;
    this.#daemon = daemon;
  }

  static async connect({ url, token, home, socket, tls, signal } = {}) {
    const transport = url !== undefined
      ? Transport.url(url, token, tls)
      : Transport.unix(socket ?? path.join(homeOf(home), 'daemon.sock'), token);
    const host = new Host(transport);
    await host.health({ signal });
    return host;
  }

  static async start(options) {
    const daemon = await start(options);
    const transport = Transport.unix(daemon.socket);
    transport.gone = () => daemon.gone();
    return new Host(transport, daemon);
  }

  async close() {
    await this.#daemon?.stop();
  }

  get home() {
    return this.#daemon?.home;
  }

  get pid() {
    return this.#daemon?.pid;
  }

  // ---- plugins

  list(options) {
    return this.#ask('GET', '/plugins', options);
  }

  scan(options) {
    return this.#act('POST', '/plugins/scan', options);
  }

  show(name, options) {
    return this.#ask('GET', '/plugins/{name}', { parameters: { name }, ...options });
  }

  install(directory, { grant, grantRequested, ...options } = {}) {
    return this.#once('POST', '/plugins', { body: { path: this.#path(directory), ...consent(grant, grantRequested) }, ...options });
  }

  activate(name, options) {
    return this.#act('POST', '/plugins/{name}/activate', { parameters: { name }, ...options });
  }

  deactivate(name, options) {
    return this.#act('POST', '/plugins/{name}/deactivate', { parameters: { name }, ...options });
  }

  async uninstall(name, { keepData = false, ...options } = {}) {
    await this.#act('DELETE', '/plugins/{name}', { parameters: { name }, query: { keep_data: keepData }, ...options });
  }

  upgrade(name, directory, { grant, grantRequested, allowDowngrade = false, ...options } = {}) {
    const body = { path: this.#path(directory), allow_downgrade: allowDowngrade, ...consent(grant, grantRequested) };
    return this.#act('POST', '/plugins/{name}/upgrade', { parameters: { name }, body, ...options });
  }

  abandonUpgrade(name, { version, ...options } = {}) {
    return this.#act('DELETE', '/plugins/{name}/upgrade', { parameters: { name }, headers: ifMatch(version), ...options });
  }

  rollback(name, options) {
    return this.#act('POST', '/plugins/{name}/rollback', { parameters: { name }, ...options });
  }

  // ---- grants and configuration

  async grants(name, options) {
    return versioned(await this.#answer('GET', '/plugins/{name}/grants', { parameters: { name }, ...options }));
  }

  async setGrants(name, permissions, { version, ...options } = {}) {
    const body = { permissions: [...list(permissions)] };
    const rest = { parameters: { name }, body, headers: ifMatch(version), timeoutMs: ACT_TIMEOUT_MS, ...options };
    return versioned(await this.#answer('PUT', '/plugins/{name}/grants', rest));
  }

  grant(name, ...permissions) {
    return this.#changeGrants(name, (held) => [...new Set([...held, ...permissions])]);
  }

  revoke(name, ...permissions) {
    return this.#changeGrants(name, (held) => {
      const missing = permissions.find((one) => !held.includes(one));
      if (missing !== undefined) {
        throw made('not_found', `${name} has no grant ${missing}`, { hint: `it has: ${held.join(', ') || 'none'}` });
      }
      return held.filter((one) => !permissions.includes(one));
    });
  }

  async getConfig(name, options) {
    return versioned(await this.#answer('GET', '/plugins/{name}/config', { parameters: { name }, ...options }));
  }

  async setConfig(name, config, { version, ...options } = {}) {
    const rest = { parameters: { name }, body: config, headers: ifMatch(version), timeoutMs: ACT_TIMEOUT_MS, ...options };
    return versioned(await this.#answer('PUT', '/plugins/{name}/config', rest));
  }

  // ---- work

  async call(name, tool, args = {}, { timeoutMs, ...options } = {}) {
    const body = { tool, arguments: args, timeout_ms: timeoutMs };
    return (await this.#once('POST', '/plugins/{name}/call', { parameters: { name }, body, ...patience(timeoutMs), ...options })).result;
  }

  hook(event, body = null, { metadata = {}, dryRun = false, trace = false, wait = false, timeoutMs, ...options } = {}) {
    const sent = { body, metadata, dry_run: dryRun, trace, wait, timeout_ms: timeoutMs };
    return this.#ask('POST', '/hooks/{event}', { parameters: { event }, body: sent, ...patience(timeoutMs), ...options });
  }

  hooks(options) {
    return this.#ask('GET', '/hooks', options);
  }

  postEvent(topic, payload = null, { wait = false, ...options } = {}) {
    return this.#act('POST', '/events', { body: { topic, payload, wait }, ...options });
  }

  async exec(command, { read = [], write = [], grant = [], deny = [], environment = {}, workingDirectory, limits = {}, strict = false,
    explain = false, signal } = {}) {
    const body = {
      command: list(command), read: list(read), write: list(write), grant: list(grant), deny: list(deny), environment, limits, strict, explain,
      working_directory: workingDirectory,
    };
    return new Run(this.#transport, await this.#act('POST', '/exec', { body, signal }));
  }

  // ---- looking

  events(options) {
    return EventStream.open(this.#transport, addressOf('/stream'), options);
  }

  runs({ before, limit, ...options } = {}) {
    return this.#ask('GET', '/runs', { query: { before, limit }, ...options });
  }

  run(id, options) {
    return this.#ask('GET', '/runs/{id}', { parameters: { id }, ...options });
  }

  logs(name, { lines, ...options } = {}) {
    return this.#ask('GET', '/plugins/{name}/logs', { parameters: { name }, query: { lines }, ...options });
  }

  denials(name, options) {
    return this.#ask('GET', '/plugins/{name}/denials', { parameters: { name }, ...options });
  }

  activity(name, { limit, ...options } = {}) {
    return this.#ask('GET', '/plugins/{name}/activity', { parameters: { name }, query: { limit }, ...options });
  }

  resources(name, { limit, ...options } = {}) {
    return this.#ask('GET', '/plugins/{name}/resources', { parameters: { name }, query: { limit }, ...options });
  }

  executions({ plugin, before, limit, ...options } = {}) {
    return this.#ask('GET', '/executions', { query: { plugin, before, limit }, ...options });
  }

  audit({ plugin, event, correlationId, sinceMs, after, newestFirst, limit, ...options } = {}) {
    const query = { plugin, event, correlation_id: correlationId, since_ms: sinceMs, after, newest_first: newestFirst, limit };
    return this.#ask('GET', '/audit', { query, ...options });
  }

  verifyAudit(options) {
    return this.#act('GET', '/audit/verify', options);
  }

  health(options) {
    return this.#ask('GET', '/health', options);
  }

  metrics(options) {
    return this.#ask('GET', '/metrics', options);
  }

  tokens(options) {
    return this.#ask('GET', '/tokens', options);
  }

  createToken(role, { plugin, expiresInS, ...options } = {}) {
    return this.#ask('POST', '/tokens', { body: { role, plugin, expires_in_s: expiresInS }, ...options });
  }

  async revokeToken(id, options) {
    await this.#ask('DELETE', '/tokens/{id}', { parameters: { id }, ...options });
  }

  dashboardLink(options) {
    return this.#ask('POST', '/dashboard/links', options);
  }

  // ---- how it is asked

  async #answer(method, route, { parameters, query, ...options } = {}) {
    return this.#transport.ask(method, addressOf(route, parameters, query), options);
  }

  async #ask(method, route, options) {
    return (await this.#answer(method, route, options)).document;
  }

  #act(method, route, options) {
    return this.#ask(method, route, { timeoutMs: ACT_TIMEOUT_MS, ...options });
  }

  async #once(method, route, { idempotencyKey = crypto.randomUUID(), ...options }) {
    try {
      return await this.#act(method, route, { ...options, headers: { 'Idempotency-Key': idempotencyKey } });
    } catch (error) {
      if (error instanceof RingfenceError) error.idempotencyKey = idempotencyKey;
      throw error;
    }
  }

  async #changeGrants(name, change) {
    for (let attempt = 1; ; attempt += 1) {
      const held = await this.grants(name);
      // Looked at after the version was taken: an upgrade that comes later makes that version too old.
      if ((await this.show(name)).pending !== null) {
        throw made('conflict', `an upgrade of ${name} waits for consent, which this would carry out`, {
          hint: 'say with setGrants all that the new version shall have',
        });
      }
      const wanted = change(held.value.map((one) => one.permission));
      try {
        return await this.setGrants(name, wanted, { version: held.version });
      } catch (error) {
        if (error?.code !== 'conflict' || attempt === CHANGE_TRIES) throw error;
      }
    }
  }

  /** Over a socket a relative path is this process's. */
  #path(directory) {
    return this.#transport.isLocal ? path.resolve(String(directory)) : String(directory);
  }
}

function consent(grant, requested) {
  return { ...(requested && { grant_requested: true }), ...(grant !== undefined && { grant: list(grant) }) };
}

/** A list; one text alone would be taken for its letters. */
function list(texts) {
  if (!Array.isArray(texts)) throw new TypeError(`expected a list of texts, not ${typeof texts}`);
  return texts;
}

const ifMatch = (version) => (version === undefined ? {} : { 'If-Match': version });
const patience = (timeoutMs) => ({ timeoutMs: timeoutMs === undefined ? ACT_TIMEOUT_MS : timeoutMs + MARGIN_MS });
const versioned = ({ document, headers }) => ({ value: document, version: headers.etag ?? '' });
