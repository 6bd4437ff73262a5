// One request and its answer, over a Unix socket or TCP, each on a connection of its own.

import http from 'node:http';
import https from 'node:https';
import net from 'node:net';

import { fromDocument, made, RingfenceError } from './errors.mjs';

const ANSWER_MAX_BYTES = 64 * 1024 * 1024;
const PREFIX = '/api/v1';
const LOOK_TIMEOUT_MS = 60_000;

/** A path of the document with what it names filled in. */
export function addressOf(path, parameters = {}, query = {}) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => {
    const part = encodeURIComponent(String(parameters[name]));
    // A dot alone would be another address.
    if (/^\.*$/.test(part)) throw made('not_found', `there is no ${name} '${parameters[name]}'`);
    return part;
  });
  const words = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return PREFIX + filled + (words.length > 0 ? `?${new URLSearchParams(words.map(([name, value]) => [name, String(value)]))}` : '');
}

function isLoopback(host) {
  const bare = host.replace(/^\[|\]$/g, '');
  return bare === 'localhost' || bare === '::1' || (net.isIPv4(bare) && bare.startsWith('127.'));
}

export class Transport {
  #token;
  #options;

  constructor(where, options, token) {
    this.where = where;
    this.#options = options;
    this.#token = token;
    /** Why there is no use in asking any more, when there is none. */
    this.gone = () => undefined;
  }

  static unix(path, token) {
    return new Transport(`unix:${path}`, { module: http, socketPath: path, host: 'localhost' }, token);
  }

  static url(url, token, tls = {}) {
    let parts;
    try {
      parts = new URL(url);
    } catch {
      parts = undefined;
    }
    if (!['http:', 'https:'].includes(parts?.protocol) || !['', '/'].includes(parts.pathname) || parts.search) {
      throw made('usage', `'${url}' is no address of a daemon`, { hint: 'write it as http://127.0.0.1:7700' });
    }
    if (parts.username || parts.password) {
      throw made('usage', 'a token does not belong into an address', { hint: 'give it as `token`' });
    }
    if (parts.protocol === 'http:' && token !== undefined && !isLoopback(parts.hostname)) {
      throw made('usage', `a token is not sent to ${parts.hostname} without TLS`, { hint: 'use https://' });
    }
    const module = parts.protocol === 'https:' ? https : http;
    const host = parts.hostname.replace(/^\[|\]$/g, '');
    return new Transport(url, { module, host, port: parts.port || undefined, ...(module === https && tls) }, token);
  }

  get isLocal() {
    return this.where.startsWith('unix:');
  }

  /** Sends a request; resolves when the head of the answer has come, within `timeoutMs`. */
  send(method, address, { body, headers = {}, timeoutMs = LOOK_TIMEOUT_MS, signal } = {}) {
    const gone = this.gone();
    if (gone !== undefined) return Promise.reject(made('unavailable', gone));
    let data;
    try {
      data = body === undefined ? undefined : JSON.stringify(body);
    } catch (cause) {
      return Promise.reject(made('usage', `what was given is no JSON: ${cause.message}`, { cause }));
    }
    const sent = { Accept: 'application/json', ...headers };
    if (this.#token !== undefined) sent.Authorization = `Bearer ${this.#token}`;
    if (data !== undefined) {
      sent['Content-Type'] = 'application/json';
      sent['Content-Length'] = Buffer.byteLength(data);
    }
    const { module, ...place } = this.#options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const request = module.request({ ...place, agent: false, method, path: address, headers: sent });
      let isConnected = false;
      const timer = setTimeout(() => request.destroy(this.#late(timeoutMs)), timeoutMs);
      const abort = () => request.destroy(signal.reason);
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      signal?.addEventListener('abort', abort, { once: true });
      request.on('socket', (socket) => socket.once(module === https ? 'secureConnect' : 'connect', () => (isConnected = true)));
      // Kept for the body: an error of it comes through the response, one after that is nobody's.
      request.on('error', (error) => {
        done();
        reject(this.#failed(error, isConnected, signal));
      });
      request.on('response', (response) => {
        request.setTimeout(0);
        done();
        resolve({ request, response });
      });
      request.end(data);
    });
  }

  /** Sends a request and reads its whole answer. An answer that is no success is thrown. */
  async ask(method, address, options = {}) {
    const { timeoutMs = LOOK_TIMEOUT_MS, signal } = options;
    const begun = Date.now();
    const { request, response } = await this.send(method, address, options);
    const timer = setTimeout(() => response.destroy(this.#late(timeoutMs)), Math.max(1, timeoutMs - (Date.now() - begun)));
    const abort = () => response.destroy(signal.reason);
    signal?.addEventListener('abort', abort, { once: true });
    const blocks = [];
    let size = 0;
    try {
      for await (const block of response) {
        blocks.push(block);
        size += block.length;
        if (size > ANSWER_MAX_BYTES) throw made('too_large', `the answer has more than ${ANSWER_MAX_BYTES} bytes`);
      }
    } catch (error) {
      throw this.#failed(error, true, signal);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      request.destroy();
    }
    const text = Buffer.concat(blocks).toString();
    const isJson = String(response.headers['content-type'] ?? '').startsWith('application/json');
    let document;
    try {
      document = isJson && text !== '' ? JSON.parse(text) : text || undefined;
    } catch (cause) {
      throw made('internal', `${this.where} answered what is no JSON`, { status: response.statusCode, cause });
    }
    if (response.statusCode >= 400) throw fromDocument(document, response.statusCode);
    return { document, headers: response.headers };
  }

  /** What the break of a stream means. */
  lost(error) {
    return this.#failed(error ?? new Error('the stream ended'), true);
  }

  #late(timeoutMs) {
    const hint = 'what was asked may still be done there';
    return made('timeout', `${this.where} did not answer within ${timeoutMs} ms`, { hint });
  }

  #failed(error, isConnected, signal) {
    if (error instanceof RingfenceError || (signal?.aborted && error === signal.reason)) return error;
    if (isConnected) {
      const reason = this.gone() ?? `the daemon at ${this.where} went away: ${error.message}`;
      return made('unavailable', reason, { hint: 'what was asked may have been done or not', cause: error });
    }
    let hint = 'start it with `ringfence serve`, or with Host.start()';
    if (error.code === 'EACCES') hint = 'the socket is its owner\'s: connect as that user, or by address with a token';
    if (/CERT|VERIFY|ALTNAME/.test(error.code)) hint = 'it must be a certificate that the system or `tls.ca` trusts, for the name in the address';
    return made('unavailable', this.gone() ?? `no daemon answers at ${this.where}: ${error.message}`, { hint, cause: error });
  }
}
