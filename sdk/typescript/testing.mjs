// Runs a plugin against a fake host, with each grant on or off. The types and the documentation are in testing.d.ts.
//
// The plugin runs in a process of its own with the real runner and speaks the real protocol; native plugins too. Only the host's
// functions are held to the grants: what a plugin does by itself is confined by `ringfence dev`, not here.

import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { FakeHost } from './lib/fake-host.mjs';

export { FakeHost };

const START_MS = 30_000;
const RUNNER = fileURLToPath(new URL('./runner.mjs', import.meta.url));

export class PluginFailed extends Error {
  constructor(error) {
    super(typeof error === 'object' && error !== null ? String(error.message) : String(error));
    this.name = 'PluginFailed';
    this.number = error?.code;
    this.code = error?.data?.code;
    this.data = error?.data ?? {};
  }
}

/** All grants on; then each one off; then, if there are several, all off. */
export function* matrix(grants) {
  yield { grants: [...grants], off: undefined };
  for (const one of grants) yield { grants: grants.filter((other) => other !== one), off: one };
  if (grants.length > 1) yield { grants: [], off: 'all' };
}

class PendingCall {
  #outcome;

  constructor(harness, id) {
    this.id = id;
    this.progress = [];
    this.harness = harness;
    this.#outcome = new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  async result(timeoutMs = START_MS) {
    let timer;
    const late = new Promise((_, reject) => {
      const text = `no answer within ${timeoutMs} ms; log:\n`;
      timer = setTimeout(() => reject(new Error(text + this.harness.stderr)), timeoutMs);
    });
    const message = await Promise.race([this.#outcome, late]).finally(() => clearTimeout(timer));
    if ('error' in message) throw new PluginFailed(message.error);
    return message.result;
  }

  cancel() {
    this.harness.notify('$/cancel', { id: this.id });
  }
}

export class PluginHarness {
  #process;
  #stdin;
  #calls = new Map();
  #next = 0;
  #stderr = [];
  #scratch;
  #options;

  constructor(packageDir, options = {}) {
    const { grants = [], config = {}, entryPoint, ...fakes } = options;
    this.#options = options;
    this.packageDir = path.resolve(packageDir);
    this.manifest = readManifest(this.packageDir);
    if (entryPoint !== undefined) this.manifest.entry_point = entryPoint;
    this.host = new FakeHost(grants, config, fakes);
    this.host.pluginName = this.manifest.name ?? '';
    this.unexpected = [];
    this.initialized = undefined;
  }

  static async start(packageDir, options) {
    const harness = new PluginHarness(packageDir, options);
    harness.launch();
    try {
      harness.initialized = (await harness.begin('initialize', harness.parameters()).result()) ?? {};
      harness.notify('initialized', {});
    } catch (error) {
      await harness.close();
      throw error;
    }
    return harness;
  }

  launch() {
    this.#scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'ringfence-test-'));
    this.host.dataDir = path.join(this.#scratch, 'data');
    const temporary = path.join(this.#scratch, 'tmp');
    for (const folder of [this.host.dataDir, temporary]) fs.mkdirSync(folder);
    const environment = {
      PATH: '/usr/bin:/bin', HOME: this.host.dataDir, TMPDIR: temporary, ...this.#options.environment,
      RINGFENCE_PLUGIN: this.manifest.name ?? '', RINGFENCE_DATA_DIR: this.host.dataDir,
    };
    const [program, ...args] = this.command();
    const options = { cwd: this.packageDir, env: environment };
    let output;
    if (this.#options.sockets) {
      this.#process = spawn(program, args, options);
      ({ stdin: this.#stdin, stdout: output } = this.#process);
      this.#process.stderr.on('data', (chunk) => this.#stderr.push(chunk));
    } else {
      const pipes = makePipes(this.#scratch);
      this.#process = spawn(program, args, { ...options, stdio: pipes.map((pipe) => pipe.theirs) });
      for (const pipe of pipes) fs.closeSync(pipe.theirs);
      this.#stdin = new net.Socket({ fd: pipes[0].ours, readable: false, writable: true });
      output = new net.Socket({ fd: pipes[1].ours, readable: true, writable: false });
      new net.Socket({ fd: pipes[2].ours, readable: true, writable: false }).on('data', (chunk) => this.#stderr.push(chunk));
    }
    this.exited = new Promise((resolve) => this.#process.once('exit', (code) => resolve(code)));
    this.#process.on('error', (error) => this.#stderr.push(Buffer.from(String(error))));
    this.#stdin.on('error', () => {});
    let rest = '';
    output.setEncoding('utf8').on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      for (const line of lines) this.#accept(line);
    });
    output.on('close', () => {
      for (const call of this.#calls.values()) {
        call.settle({ error: { code: -32603, message: `the plugin has ended; log:\n${this.stderr}` } });
      }
    });
  }

  command() {
    const entry = this.manifest.entry_point;
    const { runtime = 'node' } = this.manifest;
    if (runtime === 'node') return [this.#options.interpreter ?? process.execPath, RUNNER, this.packageDir, entry];
    if (runtime === 'python') {
      const runner = process.env.RINGFENCE_PYTHON_RUNNER
        ?? fileURLToPath(new URL('../python/src/ringfence_runner.py', import.meta.url));
      return [this.#options.interpreter ?? 'python3', '-I', '-S', '-B', runner, this.packageDir, entry];
    }
    return [path.join(this.packageDir, entry)];
  }

  parameters() {
    return {
      protocol_versions: ['1'],
      host: { name: 'ringfence-testing', version: '0.1.0' },
      plugin: { name: this.manifest.name, version: this.manifest.version },
      permissions: [...this.host.grants],
      config: this.host.config,
      limits: { memory_bytes: 500_000_000, call_timeout_ms: 300_000, message_bytes: 4 * 1024 * 1024 },
      data_dir: this.host.dataDir,
      entry_point: this.manifest.entry_point,
    };
  }

  get stderr() {
    return Buffer.concat(this.#stderr).toString('utf8');
  }

  closeInput() {
    this.#stdin.end();
  }

  async close() {
    if (this.#process === undefined) return;
    if (this.initialized !== undefined && this.#process.exitCode === null) {
      await this.begin('shutdown', {}).result(2000).catch(() => {});
    }
    this.closeInput();
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 3000);
    await this.exited;
    clearTimeout(timer);
    fs.rmSync(this.#scratch, { recursive: true, force: true });
    this.#process = undefined;
  }

  async [Symbol.asyncDispose ?? Symbol('asyncDispose')]() {
    await this.close();
  }

  call(tool, args = {}, { timeoutMs = START_MS } = {}) {
    return this.startCall(tool, args, { timeoutMs }).result(timeoutMs + 1000);
  }

  startCall(tool, args = {}, { timeoutMs = START_MS } = {}) {
    return this.begin('call', { tool, arguments: args }, timeoutMs);
  }

  hook(event, body = null, metadata = {}, { kind = 'mutator' } = {}) {
    return this.begin('hook', { event, kind, body, metadata }).result();
  }

  async event(topic, payload = null) {
    await this.begin('handle_event', { topic, payload }).result();
  }

  async changeConfig(config) {
    this.host.config = config;
    await this.begin('config_changed', { config }).result();
  }

  async ping(timeoutMs = 5000) {
    await this.begin('ping', {}).result(timeoutMs);
  }

  begin(method, params, deadlineMs = START_MS) {
    const id = this.#next++;
    const pending = new PendingCall(this, id);
    this.#calls.set(id, pending);
    const _meta = { protocol_version: '1', correlation_id: `test-${id}`, deadline_ms: deadlineMs };
    this.send({ jsonrpc: '2.0', id, method, params, _meta });
    return pending;
  }

  notify(method, params) {
    this.send({ jsonrpc: '2.0', method, params, _meta: { protocol_version: '1' } });
  }

  send(message) {
    this.sendBytes(`${JSON.stringify(message)}\n`);
  }

  sendBytes(data) {
    this.#stdin.write(data);
  }

  async #accept(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      this.unexpected.push(line);
      return;
    }
    if (message?.method === undefined) {
      const pending = this.#calls.get(message?.id);
      this.#calls.delete(message?.id);
      if (pending === undefined) this.unexpected.push(line);
      else pending.settle(message);
    } else if (message.method === '$/progress') {
      this.#calls.get(message.params?.id)?.progress.push(message.params);
    } else if (message.id === undefined) {
      this.host.notified(message.method, message.params ?? {});
    } else {
      const answer = await this.host.answer(message.method, message.params ?? {});
      if (answer !== undefined) this.send({ jsonrpc: '2.0', id: message.id, ...answer });
    }
  }
}

/** Three real pipes, as the host gives; what Node itself calls a pipe is a socket, which nobody can open a second time. */
function makePipes(folder) {
  const { O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = fs.constants;
  const names = ['in', 'out', 'err'].map((name) => path.join(folder, name));
  execFileSync('mkfifo', names);
  return names.map((name, index) => {
    const both = fs.openSync(name, O_RDWR); // Without it, opening either end would wait for the other.
    const [theirs, ours] = index === 0 ? [O_RDONLY, O_WRONLY] : [O_WRONLY, O_RDONLY];
    const pipe = { theirs: fs.openSync(name, theirs), ours: fs.openSync(name, ours | O_NONBLOCK) };
    fs.closeSync(both);
    return pipe;
  });
}

/** The manifest: all of plugin.json, of the other formats what starts a plugin (Node brings no YAML). */
export function readManifest(packageDir) {
  for (const name of ['plugin.json', 'plugin.yaml', 'plugin.yml', 'plugin.toml']) {
    const file = path.join(packageDir, name);
    if (!fs.existsSync(file)) continue;
    const text = fs.readFileSync(file, 'utf8');
    let manifest = {};
    if (name === 'plugin.json') manifest = JSON.parse(text);
    else {
      for (const line of text.split('\n')) {
        const found = /^["']?(name|version|runtime|entry_point|main)["']?\s*[:=]\s*["']?([^"'#]+?)["']?\s*(?:#.*)?$/.exec(line);
        if (found !== null) manifest[found[1]] = found[2].trim();
      }
    }
    if (manifest.main !== undefined) manifest.entry_point ??= manifest.main;
    return manifest;
  }
  throw new Error(`no plugin.json, plugin.yaml or plugin.toml in ${packageDir}`);
}
