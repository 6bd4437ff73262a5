// Finds the plugin behind an entry point, and in it the functions that answer tools, hooks and events.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { provideSdk } from './resolve.mjs';

/** How `tool` and `hook` mark functions. Shared by every copy of the SDK in the process. */
export const TOOL = Symbol.for('ringfence.tool');
export const HOOKS = Symbol.for('ringfence.hooks');

const RESERVED = new Set(['initialize', 'shutdown', 'config_changed', 'configChanged', 'handle_event', 'handleEvent',
  'constructor', 'default', 'toString', 'valueOf', 'hasOwnProperty']);

/** The entry point leads nowhere; the text is for the author. */
export class LoadError extends Error {
  get name() {
    return 'LoadError';
  }
}

/** Imports the plugin. Throws LoadError, or whatever the import throws. */
export async function load(packageDir, entryPoint) {
  const file = path.resolve(packageDir, entryPoint);
  if (!fs.existsSync(file)) throw new LoadError(`the package has no file ${entryPoint}`);
  await provideSdk(packageDir, file);
  const exported = await import(pathToFileURL(file).href);
  const main = exported.default;
  if (isClass(main)) return new Loaded([], main);
  const classes = Object.values(exported).filter(isPluginClass);
  if (classes.length > 1) {
    const names = classes.map((one) => one.name).join(', ');
    throw new LoadError(`several classes could be the plugin (${names}): make one the default export`);
  }
  if (classes.length === 1) return new Loaded([], classes[0]);
  // A CommonJS module's exports are its default; named exports of either form count as well.
  const objects = typeof main === 'object' && main !== null ? [main, exported] : [exported];
  const inner = typeof main === 'object' && main !== null && isClass(main.default) ? main.default : undefined;
  if (inner !== undefined) return new Loaded([], inner);
  if (typeof main === 'function') objects.push({ [main.name]: main });
  return new Loaded(objects, undefined);
}

function isClass(value) {
  return typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value));
}

function isPluginClass(value) {
  if (!isClass(value)) return false;
  for (let base = Object.getPrototypeOf(value); base; base = Object.getPrototypeOf(base)) {
    if (base[Symbol.for('ringfence.plugin')] === true) return true;
  }
  return false;
}

/** A plugin in this process: one or more objects with functions, or a class that is still to be made an object. */
export class Loaded {
  #objects;

  constructor(objects, found) {
    this.#objects = objects;
    this.found = found;
    this.tools = new Map();
    this.hooks = new Map();
    if (found === undefined) this.#collect();
  }

  /** Makes the object, when it is a class; its constructor gets the configuration. */
  construct(config) {
    if (this.found === undefined) return;
    this.#objects = [new this.found(config)];
    this.#collect();
  }

  /** What the class declares, without making an object. */
  inspect() {
    if (this.found === undefined) return;
    this.#objects = [this.found.prototype];
    this.#collect();
  }

  #collect() {
    for (const object of this.#objects) {
      for (const name of names(object)) {
        let value;
        try {
          value = object[name];
        } catch {
          continue; // a getter that wants a whole object
        }
        if (typeof value !== 'function') continue;
        const declaration = value[TOOL];
        if (declaration !== undefined) {
          const toolName = declaration.name ?? name;
          if (!this.tools.has(toolName)) this.tools.set(toolName, [value.bind(object), { ...declaration, name: toolName }]);
        }
        for (const hook of value[HOOKS] ?? []) {
          if (!this.hooks.has(hook.event)) this.hooks.set(hook.event, [value.bind(object), hook]);
        }
      }
    }
  }

  /** The public function of this name, bound to its object. */
  function(name) {
    if (typeof name !== 'string' || name === '' || name.startsWith('_')) return undefined;
    for (const object of this.#objects) {
      const own = object === Object.prototype ? undefined : object[name];
      if (typeof own === 'function' && own !== Object.prototype[name] && !isClass(own)) return own.bind(object);
    }
    return undefined;
  }

  tool(name) {
    const marked = this.tools.get(name);
    if (marked !== undefined) return marked[0];
    if (RESERVED.has(name)) return undefined;
    const found = this.function(name) ?? this.function(name.replace(/[-.]/g, '_')) ?? this.function(camel(name));
    if (found !== undefined) this.tools.set(name, [found, undefined]);
    return found;
  }

  hook(event) {
    return this.hooks.get(event)?.[0] ?? this.function(event);
  }
}

function camel(name) {
  return name.replace(/[-._]+([A-Za-z0-9])/g, (_, letter) => letter.toUpperCase());
}

function names(object) {
  const found = new Set();
  for (let one = object; one && one !== Object.prototype; one = Object.getPrototypeOf(one)) {
    for (const name of Object.getOwnPropertyNames(one)) if (name !== 'constructor') found.add(name);
  }
  return found;
}
