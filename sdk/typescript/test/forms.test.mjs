// ES modules and CommonJS, functions, objects, classes: what may be a plugin, and how its functions are found and called.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { failure, makePackage, start } from './support.mjs';

const RUNNER = fileURLToPath(new URL('../runner.mjs', import.meta.url));

const FORMS = {
  'named exports': 'export function greet({ name }) { return "Hello, " + name; }\nexport const toUpper = () => "A";',
  'default object': 'export default { greet({ name }) { return this.word + name; }, word: "Hello, ", to_upper: () => "A" };',
  'default class': 'export default class { constructor(config) { this.word = config.word ?? "Hello, "; }'
    + ' greet({ name }) { return this.word + name; } toUpper() { return "A"; } }',
  'class of our base': 'import { Plugin } from "ringfence";\nexport class Mine extends Plugin {'
    + ' initialize() { this.word = "Hello, "; } greet({ name }) { return this.word + name; } toUpper() { return "A"; } }',
};

for (const [name, source] of Object.entries(FORMS)) {
  test(`form: ${name}`, async (t) => {
    const plugin = await start(t, source);
    assert.equal(await plugin.call('greet', { name: 'Ada' }), 'Hello, Ada');
    assert.equal(await plugin.call('to-upper'), 'A');
    for (const bad of ['missing', 'constructor', '__proto__', 'toString', 'hasOwnProperty', '']) {
      assert.equal((await failure(plugin.call(bad))).number, -32602, bad);
    }
  });
}

const COMMON = {
  'module.exports object': 'module.exports = { greet: ({ name }) => "Hello, " + name };',
  'exports members': 'exports.greet = async ({ name }) => "Hello, " + name;',
  'module.exports class': 'module.exports = class { greet({ name }) { return "Hello, " + name; } };',
  'compiled default': 'Object.defineProperty(exports, "__esModule", { value: true });'
    + 'exports.default = class { greet({ name }) { return "Hello, " + name; } };',
  'with the SDK': 'const { host } = require("ringfence");\nexports.greet = ({ name }) => {'
    + ' host.log("info", "greeting"); return "Hello, " + name; };',
};

for (const [name, source] of Object.entries(COMMON)) {
  test(`CommonJS: ${name}`, async (t) => {
    const plugin = await start(t, { 'main.js': source });
    assert.equal(await plugin.call('greet', { name: 'Ada' }), 'Hello, Ada');
  });
}

test('marked tools and hooks are declared, and a second file of the package may use the SDK', async (t) => {
  const plugin = await start(t, {
    'plugin.mjs': 'import { tool, hook } from "ringfence";\nexport { other } from "./lib/other.js";\n'
      + 'export const add = tool({ description: "Adds." }, ({ a, b }) => a + b);\n'
      + 'export const named = tool({ name: "a.b" }, () => 1);\n'
      + 'export const guard = hook("onRequest", { kind: "guard", priority: 7, timeoutMs: 9 }, () => ({ blocked: true }));',
    'lib/other.js': 'import { host } from "ringfence";\nexport const other = () => host.pluginName;',
    'package.json': '{"type":"module"}',
  });
  assert.deepEqual(plugin.initialized.tools.sort(), ['a.b', 'add']);
  assert.deepEqual(plugin.initialized.hooks, [{ event: 'onRequest', kind: 'guard', priority: 7, timeout_ms: 9 }]);
  assert.equal(await plugin.call('add', { a: 1, b: 2 }), 3);
  assert.equal(await plugin.call('a.b'), 1);
  assert.equal(await plugin.call('other'), 'under-test');
  assert.deepEqual(await plugin.hook('onRequest'), { blocked: true });
});

test('the SDK of the package itself is used when it has one', async (t) => {
  const plugin = await start(t, {
    'plugin.mjs': 'import { host } from "ringfence";\nexport const which = () => host;',
    'node_modules/ringfence/package.json': '{"name":"ringfence","type":"module","main":"index.js"}',
    'node_modules/ringfence/index.js': 'export const host = "its own";',
  });
  assert.equal(await plugin.call('which'), 'its own');
});

test('hooks, events, configuration and shutdown', async (t) => {
  const plugin = await start(t, `
    import { host } from "ringfence";
    let config;
    export const initialize = async (given) => { config = given; };
    export const configChanged = (given) => { config = given; };
    export const show = () => config;
    export const onRequest = (ctx) => ({ body: ctx.body + 1, metadata: { event: ctx.event, id: ctx.correlation_id } });
    export const onResponse = () => {};
    export const onError = () => [1];
    export const handle_event = (topic, payload) => host.storePluginData(topic, payload);
    export const shutdown = () => host.storePluginData("stopped", true);
  `, { config: { a: 1 } });
  assert.deepEqual(await plugin.call('show'), { a: 1 });
  await plugin.changeConfig({ a: 2 });
  assert.deepEqual(await plugin.call('show'), { a: 2 });
  const changed = await plugin.hook('onRequest', 1);
  assert.equal(changed.body, 2);
  assert.match(changed.metadata.id, /^test-/);
  assert.equal(await plugin.hook('onResponse'), null);
  assert.equal((await failure(plugin.hook('onError'))).data.type, 'TypeError');
  assert.equal((await failure(plugin.hook('onNothing'))).number, -32602);
  await plugin.event('t', { p: 1 });
  await plugin.close();
  assert.deepEqual(plugin.host.data, { t: { p: 1 }, stopped: true });
});

test('starts that fail say why', async (t) => {
  const refused = async (source, entryPoint) => (await failure(start(t, source, { entryPoint }))).message;
  assert.match(await refused('process.exit(3)'), /exit\(3\) while it started/);
  assert.match(await refused('throw new RangeError("bad")'), /RangeError: bad/);
  assert.match(await refused('export const x = ;'), /SyntaxError/);
  assert.match(await refused('export const x = 1;', 'gone.mjs'), /no file gone\.mjs/);
  assert.match(await refused('import "missing-thing"'), /missing-thing/);
  assert.match(await refused('export const initialize = async () => { throw new Error("later"); }'), /later/);
  assert.match(await refused('import { Plugin } from "ringfence";\nexport class A extends Plugin {}\n'
    + 'export class B extends Plugin {}'), /A, B/);
});

test('--describe prints what the code declares, whatever the import prints or does', (t) => {
  const describe = (files) => {
    const folder = makePackage(t, files);
    const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] };
    return JSON.parse(execFileSync(process.execPath, [RUNNER, '--describe', folder, Object.keys(files)[0]], options));
  };
  const found = describe({
    'a.mjs': 'import { tool, Plugin } from "ringfence";\nconsole.log("noise");\nsetInterval(() => {}, 1000);\n'
      + 'export default class Mine extends Plugin { constructor(c) { super(); c.x.y; }'
      + ' go() {} }\ntool({ description: "Goes.", inputSchema: { type: "object" } }, Mine.prototype.go);',
  });
  assert.equal(found.class_found, true);
  assert.deepEqual(found.bases, ['ringfence.Plugin']);
  assert.deepEqual(found.tools, [{ description: 'Goes.', input_schema: { type: 'object' }, name: 'go' }]);
  assert.match(describe({ 'b.mjs': 'process.exit(2)' }).error, /exit\(2\)/);
  assert.match(describe({ 'c.mjs': 'throw new Error("bad")' }).error, /Error: bad/);
  assert.deepEqual(describe({ 'd.js': 'exports.f = () => 1;' }).tools, []);
});
