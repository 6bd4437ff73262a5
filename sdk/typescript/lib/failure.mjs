// Turns what a plugin threw into the error of one call.

import path from 'node:path';
import util from 'node:util';

import { Unsendable, wellFormed } from './engine.mjs';

/** Longest text of an exception in an answer, in characters; the log has all of it. */
const MESSAGE_MAX_CHARS = 4000;

/** Thrown where a plugin calls `process.exit`. */
export class PluginExit extends Error {
  constructor(code) {
    super(`the plugin called process.exit(${code ?? ''})`);
    this.exitCode = code;
  }
  get name() {
    return 'PluginExit';
  }
}

/** Answers `call` with what `error` means, and writes it to the log. */
export function report(engine, call, error) {
  const [code, message, data] = explain(call, error);
  if (code === -31008) log(error);
  const text = wellFormed(message).slice(0, MESSAGE_MAX_CHARS);
  try {
    engine.fail(call, code, wellFormed(text), data);
  } catch {
    engine.fail(call, code, wellFormed(text), { code: 'plugin_failed', type: 'Error' });
  }
}

function explain(call, error) {
  if (error instanceof Unsendable && error.kind === 'large') {
    return [-31005, `the result is too large: ${error.message}`, { code: 'too_large' }];
  }
  if (error instanceof Unsendable) {
    return [-31008, `the result is not JSON: ${error.message}`, { code: 'plugin_failed', type: 'TypeError' }];
  }
  const kind = error?.[Symbol.for('ringfence.error')];
  if (kind === 'cancelled' || (call.cancelled && error?.name === 'AbortError')) {
    return [-31002, 'cancelled', { code: 'cancelled' }];
  }
  if (kind === 'timeout') return [-31003, String(error.message), { code: 'timeout' }];
  if (kind === 'plugin') return [error.code, String(error.message), { type: error.name, data: error.data }];
  const data = { code: 'plugin_failed', type: String(error?.name ?? typeof error).slice(0, 200) };
  if (kind === 'permission_denied') {
    Object.assign(data, { layer: error.layer, operation: error.operation, object: error.object, grant: error.grant });
  } else if (kind !== undefined) {
    data.host_code = error.code;
  }
  if (error instanceof PluginExit) {
    return [-31008, error.message + (call.method === 'initialize' ? ' while it started' : ''), data];
  }
  if (typeof error?.path === 'string' && typeof error?.syscall === 'string') Object.assign(data, fileError(error));
  const text = describe(error);
  return [-31008, data.type === 'LoadError' ? text : `${data.type}: ${text}`, data];
}

function describe(error) {
  try {
    return String(error?.message ?? error);
  } catch {
    return 'it has no text';
  }
}

function log(error) {
  try {
    process.stderr.write(`${error?.stack ?? util.inspect(error)}\n`);
  } catch {
    // A log that cannot be written must not lose the answer.
  }
}

const SYSCALLS = new Map([
  ['unlink', 'delete'], ['rmdir', 'delete'], ['rm', 'delete'], ['rename', 'delete'], ['mkdir', 'write'],
  ['mkdtemp', 'write'], ['chmod', 'write'], ['truncate', 'write'], ['ftruncate', 'write'], ['symlink', 'write'],
  ['link', 'write'], ['utime', 'write'], ['copyfile', 'write'],
]);

function fileError(error) {
  let operation = SYSCALLS.get(error.syscall) ?? 'read';
  if (error.syscall === 'open' && /\b(?:writeFile|appendFile|WriteStream|createWriteStream)/.test(error.stack ?? '')) {
    operation = 'write';
  }
  return { operation, object: path.resolve(error.path) };
}
