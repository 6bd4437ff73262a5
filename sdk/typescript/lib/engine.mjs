// The protocol's two pipes: lines in, lines out.
//
// Answers gather and leave with one write per turn of the event loop. Limits are those of docs/protocol.md.

import { isUtf8 } from 'node:buffer';
import net from 'node:net';

import { writeAll } from './descriptors.mjs';

/** Longest line either side accepts, newline included. */
export const MESSAGE_MAX_BYTES = 4 * 1024 * 1024;
/** Deepest nesting of a message, the message itself being level 1. */
export const DEPTH_MAX = 64;
/** Characters of answers that may wait for a common write. */
const OUT_MAX_CHARS = 65536;

export const VERSION = '1';

const LONE_SURROGATE = /(?<!\\)(?:\\\\)*\\ud[89a-f]/;

/** A request of the host until it is answered. */
export class Call {
  constructor(id, method, params, meta) {
    this.id = id;
    this.method = method;
    this.params = params;
    this.cancelled = false;
    this.controller = undefined;
    this.waiting = new Set(); // our own requests to the host that are made for this call
    this.correlation = typeof meta?.correlation_id === 'string' ? meta.correlation_id : undefined;
    this.deadline = typeof meta?.deadline_ms === 'number' ? performance.now() + meta.deadline_ms : undefined;
  }

  /** Aborted when the call is cancelled. */
  get signal() {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.cancelled) this.controller.abort();
    }
    return this.controller.signal;
  }

  /** Milliseconds that are left, at least 0; undefined without a deadline. */
  deadlineLeft() {
    return this.deadline === undefined ? undefined : Math.max(this.deadline - performance.now(), 0);
  }

  cancel() {
    this.cancelled = true;
    this.controller?.abort();
    for (const give of this.waiting) give();
    this.waiting.clear();
  }
}

/** A value that cannot be a message: `kind` is `json` or `large`. */
export class Unsendable extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/** JSON text of a value; throws Unsendable. `undefined` is null. */
export function encode(value) {
  let text;
  try {
    text = value === undefined ? 'null' : JSON.stringify(value);
  } catch (error) {
    const deep = error instanceof RangeError;
    throw new Unsendable('json', deep ? 'it is nested too deep' : String(error?.message ?? error).split('\n')[0]);
  }
  if (text === undefined) throw new Unsendable('json', `a ${typeof value} is not JSON`);
  if (text.includes('\\ud') && LONE_SURROGATE.test(text)) {
    throw new Unsendable('json', 'a text has half a surrogate pair, which is not Unicode');
  }
  if (text.length >= 2 * DEPTH_MAX && deeper(value, DEPTH_MAX - 1)) {
    throw new Unsendable('json', `it is nested deeper than ${DEPTH_MAX - 1} levels`);
  }
  return text;
}

function deeper(value, left) {
  if (typeof value !== 'object' || value === null) return false;
  if (left === 0) return true;
  for (const member of Array.isArray(value) ? value : Object.values(value)) {
    if (typeof member === 'object' && member !== null && deeper(member, left - 1)) return true;
  }
  return false;
}

function meta(call, deadlineLeft) {
  let text = `,"_meta":{"protocol_version":"${VERSION}"`;
  if (call?.correlation !== undefined) text += `,"correlation_id":${JSON.stringify(call.correlation)}`;
  if (deadlineLeft !== undefined) text += `,"deadline_ms":${Math.floor(deadlineLeft)}`;
  return `${text}}`;
}

/** Serves one host. `handler(call)` runs plugin code and answers with `answer` or `fail`. */
export class Engine {
  #descriptors;
  #calls = new Map();
  #waiting = new Map();
  #nextId = 0;
  #out = '';
  #flushPlanned = false;
  #reading = false;
  #parts = [];
  #partsBytes = 0;
  #skipping = false;

  constructor(descriptors) {
    this.#descriptors = descriptors;
    this.messageMaxBytes = MESSAGE_MAX_BYTES;
    this.handler = () => {};
    this.atEnd = () => {};
  }

  serve() {
    const socket = new net.Socket({ fd: this.#descriptors.reader, readable: true, writable: false });
    socket.on('data', (chunk) => {
      this.#reading = true;
      this.#accept(chunk);
      this.#reading = false;
      this.flush();
    });
    socket.on('end', () => this.atEnd());
    socket.on('error', () => this.atEnd());
  }

  // ---- writing -----------------------------------------------------------------------------------------------------

  /** Answers with a value; throws Unsendable, and then the call is still open. */
  answer(call, result) {
    this.#reply(call, `"result":${encode(result)}`);
  }

  /** Answers with an error. */
  fail(call, code, message, data) {
    const error = { code, message: wellFormed(message) };
    if (data !== undefined) error.data = data;
    this.#reply(call, `"error":${encode(error)}`);
  }

  #reply(call, body) {
    const line = `{"jsonrpc":"2.0","id":${JSON.stringify(call.id)},${body}${meta(call)}}\n`;
    this.#check(line);
    if (this.#calls.get(call.id) !== call) return;
    this.#calls.delete(call.id);
    this.#put(line);
  }

  notify(method, params, call) {
    const line = `{"jsonrpc":"2.0","method":${JSON.stringify(method)},"params":${encode(params)}${meta(call)}}\n`;
    this.#check(line);
    this.#put(line);
  }

  /** Asks the host; resolves to `{result}` or `{error}`, at the latest at the deadline of `call` or after `timeoutMs`. */
  request(method, params, call, timeoutMs) {
    if (call?.cancelled) return Promise.resolve({ error: CANCELLED });
    const id = ++this.#nextId;
    const left = [call?.deadlineLeft(), timeoutMs].filter((ms) => ms !== undefined);
    const limit = left.length > 0 ? Math.min(...left) : undefined;
    const head = `{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)},"params":`;
    const line = `${head}${encode(params)}${meta(call, limit)}}\n`;
    this.#check(line);
    return new Promise((resolve) => {
      let timer;
      const settle = (outcome) => {
        clearTimeout(timer);
        call?.waiting.delete(cancel);
        this.#waiting.delete(id);
        resolve(outcome);
      };
      const giveUp = (error) => {
        settle({ error });
        this.notify('$/cancel', { id }, call);
      };
      const cancel = () => giveUp(CANCELLED);
      this.#waiting.set(id, settle);
      call?.waiting.add(cancel);
      if (limit !== undefined) {
        const error = { code: -31003, message: `the host did not answer ${method} in time`, data: { code: 'timeout' } };
        timer = setTimeout(giveUp, Math.min(limit, 2 ** 31 - 1), error);
        timer.unref();
      }
      this.#put(line);
    });
  }

  #check(line) {
    // A UTF-16 unit has at most 3 bytes in UTF-8, so most lines are judged without counting.
    if (line.length * 3 > this.messageMaxBytes && Buffer.byteLength(line) > this.messageMaxBytes) {
      throw new Unsendable('large', `the message is longer than ${this.messageMaxBytes} bytes`);
    }
  }

  #put(line) {
    this.#out += line;
    if (this.#out.length > OUT_MAX_CHARS) this.flush();
    else if (!this.#reading && !this.#flushPlanned) {
      this.#flushPlanned = true;
      setImmediate(() => {
        this.#flushPlanned = false;
        this.flush();
      });
    }
  }

  flush() {
    if (this.#out === '') return;
    const text = this.#out;
    this.#out = '';
    try {
      writeAll(this.#descriptors.writer, text);
    } catch {
      process.reallyExit(0); // The host is gone: so are all who could read an answer.
    }
  }

  // ---- reading -----------------------------------------------------------------------------------------------------

  #accept(chunk) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      let line = chunk.subarray(start, end);
      start = end + 1;
      if (this.#parts.length > 0) {
        this.#parts.push(line);
        line = Buffer.concat(this.#parts);
        this.#parts = [];
        this.#partsBytes = 0;
      }
      if (this.#skipping) this.#skipping = false;
      else if (line.length >= MESSAGE_MAX_BYTES) this.#tooLong();
      else if (line.length > 0) this.#acceptLine(line);
    }
    if (start < chunk.length && !this.#skipping) {
      this.#parts.push(chunk.subarray(start));
      this.#partsBytes += chunk.length - start;
      if (this.#partsBytes >= MESSAGE_MAX_BYTES) {
        this.#parts = [];
        this.#partsBytes = 0;
        this.#skipping = true;
        this.#tooLong();
      }
    }
  }

  #tooLong() {
    this.#refuse(null, -31005, `a line is longer than ${MESSAGE_MAX_BYTES} bytes`);
  }

  #refuse(id, code, message) {
    this.#put(`{"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":${encode({ code, message })}${meta()}}\n`);
  }

  #acceptLine(line) {
    let message;
    try {
      if (!isUtf8(line)) throw new Error('not UTF-8');
      message = JSON.parse(line.toString('utf8'));
    } catch (error) {
      const text = String(error.message).slice(0, 200);
      if (!/^\s*$/.test(line.toString('latin1'))) this.#refuse(null, -32700, wellFormed(`not a message: ${text}`));
      return;
    }
    if (typeof message !== 'object' || message === null || Array.isArray(message)) {
      this.#refuse(null, -32600, 'a message is an object');
      return;
    }
    const { id, method, params = {} } = message;
    if (method === undefined) {
      if (typeof id === 'number') this.#waiting.get(id)?.('error' in message ? message : { result: message.result });
      return; // Late or unknown: nobody waits for it.
    }
    const goodId = id === undefined || id === null || typeof id === 'string' || Number.isInteger(id);
    if (typeof method !== 'string' || typeof params !== 'object' || params === null || Array.isArray(params) || !goodId) {
      this.#refuse(goodId && id !== undefined ? id : null, -32600, 'not a request as the protocol has it');
    } else if (id === undefined || id === null) {
      if (method === '$/cancel') this.#calls.get(params.id)?.cancel();
    } else if (this.#calls.has(id)) {
      this.#refuse(id, -32600, 'a request with this id is still running');
    } else {
      const call = new Call(id, method, params, message._meta);
      this.#calls.set(id, call);
      if (method === 'ping') this.answer(call, {});
      else this.handler(call);
    }
  }
}

const CANCELLED = { code: -31002, message: 'the call was cancelled', data: { code: 'cancelled' } };

/** A text in which half surrogate pairs are replaced. */
export function wellFormed(text) {
  return Buffer.from(String(text), 'utf8').toString('utf8');
}
