// A daemon of the application's own: found, started, and ended with it.
//
// The daemon follows its standard input, whose other end is here. However this process ends, the kernel closes that end, and the
// daemon stops its plugins and goes.

import { spawn } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { fromDocument, made, RingfenceError } from './errors.mjs';

const START_TIMEOUT_MS = 180_000;
/** After this long it is killed, and what it started with it. */
const STOP_TIMEOUT_MS = 30_000;
/** The end of this process waits so long for the daemon's, to remove its temporary home. */
const EXIT_WAIT_MS = 12_000;
const REMOVE_TRIES = 20;
const REMOVE_WAIT_MS = 100;
const READY_MAX_BYTES = 64 * 1024;
const LOG_MAX_BYTES = 10 * 1024 * 1024;
const LOG_SHOWN_BYTES = 2000;
/** What a service manager tells the application is not for its daemon. */
const NOT_PASSED = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES'];

const running = new Set();

/** The home that the command line would use. */
export function homeOf(home) {
  if (home) return path.resolve(home);
  if (process.env.RINGFENCE_HOME) return path.resolve(process.env.RINGFENCE_HOME);
  for (const [name, below] of [['XDG_DATA_HOME', 'ringfence'], ['HOME', '.local/share/ringfence']]) {
    const base = process.env[name] ?? '';
    if (path.isAbsolute(base)) return path.join(base, below);
  }
  throw made('usage', 'no home directory: RINGFENCE_HOME, XDG_DATA_HOME and HOME are not set');
}

/** The program: as given, else RINGFENCE_BIN, else on PATH. */
function findBinary(binary) {
  const named = binary || process.env.RINGFENCE_BIN || 'ringfence';
  const places = named.includes('/') ? [''] : (process.env.PATH ?? '').split(':').filter(Boolean);
  for (const place of places) {
    const file = path.resolve(place, named);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      if (fs.statSync(file).isFile()) return file;
    } catch {
      // Not there, or no program.
    }
  }
  throw made('not_found', `there is no program ${named === 'ringfence' ? 'ringfence on PATH' : named}`, {
    hint: 'give `binary`, or set RINGFENCE_BIN to its path',
  });
}

const text = (value) => JSON.stringify(value).replace(/\x7f/g, '\\u007f');

/** A value as TOML writes it on one line. */
export function toml(value) {
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`;
  if (typeof value === 'string') return text(value);
  if (typeof value === 'boolean' || Number.isFinite(value)) return String(value);
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value).map(([name, one]) => `${text(name)} = ${toml(one)}`).join(', ')}}`;
  }
  throw made('usage', `the configuration has texts, numbers, lists and tables, not ${value === null ? 'null' : typeof value}`);
}

/** A directory and what is missing above it. Node's own way tries for ever where the system says that there is none to make. */
function makeDirectory(place) {
  if (fs.existsSync(place)) return;
  makeDirectory(path.dirname(place));
  fs.mkdirSync(place, { mode: 0o700 });
}

/**
 * Removes a home. Installed packages are closed for writing, which only root may pass over; and what a killed daemon had started may
 * write for a moment longer.
 */
function remove(home) {
  if (!fs.existsSync(home)) return;
  const open = (folder) => {
    fs.chmodSync(folder, 0o700);
    // What a plugin left may be a link to anywhere: those are no directories here.
    for (const entry of fs.readdirSync(folder, { withFileTypes: true })) if (entry.isDirectory()) open(path.join(folder, entry.name));
  };
  for (let attempt = 1; ; attempt += 1) {
    try {
      open(home);
      fs.rmSync(home, { recursive: true });
      return;
    } catch (error) {
      if (attempt === REMOVE_TRIES) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, REMOVE_WAIT_MS);
    }
  }
}

/** Puts the configuration into the home, in one step. */
function writeConfig(home, config) {
  const lines = typeof config === 'string'
    ? config
    : Object.entries(config).map(([name, value]) => `${text(name)} = ${toml(value)}\n`).join('');
  const draft = path.join(home, `.config-${crypto.randomUUID()}`);
  fs.writeFileSync(draft, lines, { mode: 0o600, flag: 'wx' });
  fs.renameSync(draft, path.join(home, 'config.toml'));
}

export class Daemon {
  #child;
  #temporary;
  #stopping;

  constructor(child, home, temporary) {
    this.#child = child;
    this.#temporary = temporary;
    this.home = home;
    this.socket = path.join(home, 'daemon.sock');
    this.ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
    running.add(this);
  }

  get pid() {
    return this.#child.pid;
  }

  /** Why it answers no more, when it has ended. */
  gone() {
    const status = this.#child.exitCode ?? this.#child.signalCode;
    if (status === null) return undefined;
    return `the daemon has ended with status ${status}${this.#temporary ? '' : `; its log is ${path.join(this.home, 'daemon.log')}`}`;
  }

  /** Ends it in order, and waits for that. */
  stop() {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop() {
    this.#child.ref();
    this.#child.stdin.destroy();
    // Its plugins end with it within a second.
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await (this.gone() === undefined ? this.ended : undefined);
    clearTimeout(timer);
    running.delete(this);
    if (this.#temporary) remove(this.home);
  }

  kill() {
    this.#child.kill('SIGKILL');
  }

  /** The same in the last moment of this process, which cannot wait for anything to be told. */
  stopNow() {
    this.#child.stdin.destroy();
    const end = Date.now() + EXIT_WAIT_MS;
    const clock = new Int32Array(new SharedArrayBuffer(4));
    while (this.#temporary && isAlive(this.pid) && Date.now() < end) Atomics.wait(clock, 0, 0, 10);
    if (this.#temporary) remove(this.home);
  }

  async ready(timeoutMs) {
    const output = this.#child.stdout;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(made('timeout', `the daemon was not ready within ${timeoutMs} ms`, {
        hint: 'its log says what it waits for',
      })), timeoutMs);
    });
    const said = (async () => {
      let all = '';
      for await (const block of output) {
        all += block;
        if (all.includes('\n') || all.length > READY_MAX_BYTES) break;
      }
      return all;
    })();
    let document;
    try {
      document = JSON.parse(await Promise.race([said, late]));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    } finally {
      clearTimeout(timer);
      output.destroy();
    }
    if (document?.error !== undefined) throw fromDocument(document);
    if (typeof document?.pid !== 'number') throw await this.#failed();
    this.socket = document.socket;
  }

  async #failed() {
    const status = await Promise.race([this.ended, new Promise((resolve) => setTimeout(resolve, 1000, 'none yet'))]);
    let said = '';
    try {
      said = fs.readFileSync(path.join(this.home, 'daemon.log'), 'utf8').slice(-LOG_SHOWN_BYTES).trim();
    } catch {
      // It did not come so far.
    }
    return made('internal', `the daemon did not start (status ${status}): ${said || 'it said nothing'}`);
  }
}

function isAlive(pid) {
  try {
    return !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

process.on('exit', () => {
  for (const daemon of running) daemon.stopNow();
});

/** Starts a daemon and waits until it is ready. */
export async function start({ binary, home, config, environment, timeoutMs = START_TIMEOUT_MS } = {}) {
  const program = findBinary(binary);
  const isTemporary = home === undefined;
  const place = isTemporary ? fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'ringfence-')) : path.resolve(home);
  let daemon;
  try {
    makeDirectory(place);
    if (config !== undefined) writeConfig(place, config);
    daemon = new Daemon(await spawned(program, place, environment), place, isTemporary);
    await daemon.ready(timeoutMs);
    return daemon;
  } catch (error) {
    daemon?.kill();
    await daemon?.stop();
    if (isTemporary) remove(place);
    if (error instanceof RingfenceError) throw error;
    throw made('io', `cannot start ${program}: ${error.message}`, { cause: error });
  }
}

async function spawned(program, home, environment = process.env) {
  const env = { ...environment, RINGFENCE_HOME: home };
  for (const name of NOT_PASSED) delete env[name];
  const file = path.join(home, 'daemon.log');
  if ((fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0) > LOG_MAX_BYTES) fs.renameSync(file, `${file}.1`);
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = fs.constants;
  const log = fs.openSync(file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
  const words = ['serve', '--listen', 'none', '--until-stdin-closes', '--json'];
  try {
    // A session of its own: Ctrl-C is for the application, which ends the daemon in order.
    const child = spawn(program, words, { stdio: ['pipe', 'pipe', log], detached: true, cwd: '/', env });
    await new Promise((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) => reject(made('io', `cannot start ${program}: ${cause.message}`, { cause })));
    });
    // It must not keep a process whose work is done.
    child.stdin.on('error', () => {});
    child.stdin.unref();
    child.unref();
    return child;
  } finally {
    fs.closeSync(log);
  }
}
