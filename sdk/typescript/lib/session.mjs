// Serves one plugin: `initialize` loads it, then each request of the host runs one of its functions.

import { Engine, VERSION } from './engine.mjs';
import { PluginExit, report } from './failure.mjs';
import { load } from './plugin.mjs';

/** From the end of the input to the end of the process, at most; the host waits 2 s. */
const END_MS = 1500;

const REALLY_EXIT = process.exit.bind(process);

/** What is known of the host and the plugin in this process. The SDK finds it under Symbol.for('ringfence.session'). */
export class Session {
  #source;
  #plugin;
  #began = false;
  #ready = false;
  #stopped = false;
  #ending = false;
  #methods = {
    __proto__: null,
    initialize: (call) => this.#initialize(call),
    call: (call) => this.#tool(call),
    hook: (call) => this.#hook(call),
    handle_event: (call) => this.#event(call),
    config_changed: (call) => this.#configChanged(call),
    shutdown: (call) => this.#finish(call, this.#stop(), () => null),
  };

  constructor(descriptors, packageDir, entryPoint) {
    this.engine = new Engine(descriptors);
    this.parameters = {};
    this.storage = undefined; // AsyncLocalStorage, once the SDK is imported
    this.#source = [packageDir, entryPoint];
    this.engine.handler = (call) => this.handle(call);
    this.engine.atEnd = () => this.#end();
    globalThis[Symbol.for('ringfence.session')] = this;
  }

  serve() {
    process.exit = (code) => {
      throw new PluginExit(code);
    };
    process.on('unhandledRejection', (reason) => {
      process.stderr.write(`a promise was rejected and nobody looked: ${reason?.stack ?? String(reason)}\n`);
    });
    process.on('uncaughtException', (error) => {
      process.stderr.write(`${error?.stack ?? String(error)}\n`);
      this.engine.flush();
      REALLY_EXIT(error instanceof PluginExit ? Number(error.exitCode ?? 0) : 1);
    });
    this.engine.serve();
  }

  /** Runs what a request asks for and answers it. Never throws. */
  handle(call) {
    const method = this.#methods[call.method];
    if (method === undefined) {
      this.engine.fail(call, -32601, `no method ${call.method.slice(0, 100)}`, { code: 'not_found' });
    } else if (!this.#ready && call.method !== 'initialize' && call.method !== 'shutdown') {
      this.engine.fail(call, -31009, 'the plugin is not ready', { code: 'not_ready' });
    } else {
      try {
        if (this.storage === undefined) method(call);
        else this.storage.run(call, method, call);
      } catch (error) {
        report(this.engine, call, error);
      }
    }
  }

  #finish(call, value, result) {
    if (typeof value?.then === 'function') {
      Promise.resolve(value).then(
        (settled) => this.#answer(call, result, settled),
        (error) => report(this.engine, call, error),
      );
    } else {
      this.#answer(call, result, value);
    }
  }

  #answer(call, result, value) {
    try {
      this.engine.answer(call, result(value));
    } catch (error) {
      report(this.engine, call, error);
    }
  }

  // ---- one method each ---------------------------------------------------------------------------------------------

  #initialize(call) {
    if (this.#began) {
      this.engine.fail(call, -32600, 'initialize came twice', { code: 'invalid_request' });
      return;
    }
    this.#began = true;
    const versions = call.params.protocol_versions;
    if (Array.isArray(versions) && !versions.includes(VERSION)) {
      const text = `this runner speaks protocol version ${VERSION} only`;
      this.engine.fail(call, -32602, text, { code: 'invalid_params' });
      return;
    }
    this.parameters = call.params;
    const limit = call.params.limits?.message_bytes;
    if (Number.isInteger(limit) && limit > 0 && limit < this.engine.messageMaxBytes) this.engine.messageMaxBytes = limit;
    this.#finish(call, this.#start(), (result) => {
      this.#ready = true;
      return result;
    });
  }

  async #start() {
    const plugin = await load(...this.#source);
    this.#plugin = plugin;
    const config = this.parameters.config ?? {};
    plugin.construct(config);
    const tools = [...plugin.tools.keys()];
    const hooks = [...plugin.hooks.values()].map(([, declaration]) => declaration);
    await plugin.function('initialize')?.(config);
    return {
      protocol_version: VERSION,
      ...(tools.length > 0 && { tools }),
      ...(hooks.length > 0 && { hooks }),
    };
  }

  #tool(call) {
    const { tool: name, arguments: given = {} } = call.params;
    const tool = typeof name === 'string' ? this.#plugin.tool(name) : undefined;
    if (tool === undefined) {
      const text = `the plugin has no function for the tool ${String(name).slice(0, 100)}`;
      this.engine.fail(call, -32602, text, { code: 'invalid_params' });
      return;
    }
    this.#finish(call, tool(given, call), (value) => value);
  }

  #hook(call) {
    const { event, kind, body, metadata, blocked = null } = call.params;
    const handler = typeof event === 'string' ? this.#plugin.hook(event) : undefined;
    if (handler === undefined) {
      const text = `the plugin has no function for the hook ${String(event).slice(0, 100)}`;
      this.engine.fail(call, -32602, text, { code: 'invalid_params' });
      return;
    }
    const context = { event, kind, body, metadata, correlation_id: call.correlation, blocked };
    this.#finish(call, handler(context), (value) => {
      if (value !== undefined && value !== null && (typeof value !== 'object' || Array.isArray(value))) {
        throw new TypeError(`a hook returns nothing or an object, not ${Array.isArray(value) ? 'an array' : typeof value}`);
      }
      return value;
    });
  }

  #event(call) {
    const handler = this.#plugin.function('handle_event') ?? this.#plugin.function('handleEvent');
    this.#finish(call, handler?.(call.params.topic, call.params.payload), () => null);
  }

  #configChanged(call) {
    const config = call.params.config ?? {};
    this.parameters.config = config;
    const handler = this.#plugin.function('config_changed') ?? this.#plugin.function('configChanged');
    this.#finish(call, handler?.(config), () => null);
  }

  #stop() {
    if (this.#stopped || !this.#ready) return undefined;
    this.#stopped = true;
    return this.#plugin.function('shutdown')?.();
  }

  async #end() {
    if (this.#ending) return;
    this.#ending = true;
    setTimeout(() => process.reallyExit(0), END_MS).unref();
    const guard = new Promise((resolve) => setTimeout(resolve, END_MS));
    try {
      await Promise.race([this.#stop(), guard]);
    } catch (error) {
      process.stderr.write(`${error?.stack ?? String(error)}\n`);
    }
    REALLY_EXIT(0);
  }
}
