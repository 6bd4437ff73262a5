// The runner against a scripted host: order, concurrency, noise, limits, endings.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

import { failure, sleep, start } from './support.mjs';

const ECHO = `
import fs from "node:fs";
import { host } from "ringfence";
const sleep = (s) => new Promise((resolve) => setTimeout(resolve, s * 1000));
export const echo = (a) => a;
export const wait = async ({ s, n = null }) => { await sleep(s); return n; };
`;
const LIMIT = 4 * 1024 * 1024;

test('64 calls run at once and answer out of order', async (t) => {
  const plugin = await start(t, ECHO);
  const began = performance.now();
  const calls = Array.from({ length: 64 }, (_, n) => plugin.startCall('wait', { s: n % 2 === 0 ? 1 : 0.5, n }));
  assert.deepEqual(await plugin.call('echo', { late: true }), { late: true });
  await plugin.ping();
  assert.ok(performance.now() - began < 500);
  assert.deepEqual(await Promise.all(calls.map((call) => call.result())), Array.from({ length: 64 }, (_, n) => n));
});

test('cancel: a signal, a flag, a wait for the host', async (t) => {
  const plugin = await start(t, `${ECHO}
    import { Cancelled } from "ringfence";
    export const bySignal = (_, call) => new Promise((_, reject) => call.signal.addEventListener("abort", () => reject(new Cancelled())));
    export const byFlag = async () => { while (!host.cancelled()) await sleep(0.005); throw new Cancelled(); };
    export const asks = () => host.loadPluginData("never");
    export const ignores = async () => { await sleep(0.2); return "result"; };
  `, { answers: { load_plugin_data: () => undefined } });
  for (const tool of ['bySignal', 'byFlag', 'asks']) {
    const call = plugin.startCall(tool);
    await sleep(30);
    call.cancel();
    assert.equal((await failure(call.result(2000))).code, 'cancelled', tool);
  }
  const call = plugin.startCall('ignores');
  call.cancel();
  assert.equal(await call.result(), 'result');
  for (const id of [12345, 'x', null, 1.5, {}]) plugin.notify('$/cancel', { id });
  plugin.notify('$/unknown', {});
  assert.deepEqual(await plugin.call('echo', {}), {});
  assert.equal(plugin.host.cancelled.length, 1);
});

test('deadlines and progress', async (t) => {
  const plugin = await start(t, `${ECHO}
    export const left = (_, call) => [host.deadlineLeft(), call.deadlineLeft()];
    export const asks = () => host.loadPluginData("never");
    export const steps = async () => { for (let n = 0; n < 3; n += 1) { host.progress(n, 3, "step"); await sleep(0.01); } };
  `, { answers: { load_plugin_data: () => undefined } });
  for (const left of await plugin.call('left', {}, { timeoutMs: 5000 })) assert.ok(left > 4000 && left <= 5000, String(left));
  const late = plugin.begin('call', { tool: 'asks', arguments: {} }, 200);
  assert.equal((await failure(late.result(2000))).code, 'timeout');
  const call = plugin.startCall('steps');
  assert.equal(await call.result(), null);
  assert.deepEqual(call.progress[0], { id: call.id, progress: 0, total: 3, message: 'step' });
  assert.equal(call.progress.length, 3);
});

test('exceptions are errors of one call', async (t) => {
  const plugin = await start(t, `${ECHO}
    import { PluginError } from "ringfence";
    const deep = () => deep();
    const acts = {
      type: () => null.x, text: () => { throw "text"; }, nothing: () => { throw undefined; }, exit: () => process.exit(4),
      own: () => { throw new PluginError("mine", { code: 42, data: { x: 1 } }); }, recursion: deep,
      long: () => { throw new Error("x".repeat(100000)); }, surrogate: () => { throw new Error("\\ud800"); },
    };
    export const raises = ({ name }) => acts[name]();
    export const rejects = async ({ name }) => acts[name]();
  `);
  const expected = { type: 'TypeError', text: 'string', nothing: 'undefined', exit: 'PluginExit', recursion: 'RangeError',
    long: 'Error', surrogate: 'Error' };
  for (const tool of ['raises', 'rejects']) {
    for (const [name, type] of Object.entries(expected)) {
      const error = await failure(plugin.call(tool, { name }));
      assert.deepEqual([error.number, error.code, error.data.type], [-31008, 'plugin_failed', type], name);
      assert.ok(error.message.length < 5000);
    }
    const own = await failure(plugin.call(tool, { name: 'own' }));
    assert.deepEqual([own.number, own.message, own.data.data], [42, 'mine', { x: 1 }]);
  }
  assert.match(plugin.stderr, /TypeError/);
});

test('results that are no JSON, too deep or too large are errors', async (t) => {
  const plugin = await start(t, `${ECHO}
    const nest = (deep) => { let value = []; for (let n = 0; n < deep; n += 1) value = [value]; return value; };
    const circle = []; circle.push(circle);
    const results = { big: () => 1n, fn: () => () => 1, symbol: () => Symbol(), circle: () => circle, surrogate: () => "\\ud800",
      getter: () => ({ get x() { throw new Error("no"); } }) };
    export const result = ({ name, deep }) => name ? results[name]() : nest(deep);
    export const large = ({ n }) => "x".repeat(n);
    export const nothing = () => undefined;
  `);
  for (const name of ['big', 'fn', 'symbol', 'circle', 'surrogate', 'getter']) {
    const error = await failure(plugin.call('result', { name }));
    assert.equal(error.number, -31008, name);
    assert.match(error.message, /not JSON/);
  }
  await plugin.call('result', { deep: 61 });
  for (const deep of [64, 500, 20000]) assert.equal((await failure(plugin.call('result', { deep }))).number, -31008);
  assert.equal((await plugin.call('large', { n: LIMIT - 400 })).length, LIMIT - 400);
  assert.equal((await failure(plugin.call('large', { n: LIMIT }))).code, 'too_large');
  assert.equal(await plugin.call('nothing'), null);
});

test('file errors say what was tried on which file', async (t) => {
  const plugin = await start(t, `${ECHO}
    export const file = ({ how }) => ({
      read: () => fs.readFileSync("/no/such/file"), write: () => fs.promises.writeFile("/no/such/file", ""),
      writeSync: () => fs.writeFileSync("/no/such/file", ""), remove: () => fs.promises.unlink("/no/such/file"),
      mkdir: () => fs.mkdirSync("/no/such/file"), list: () => fs.promises.readdir("/no/such/file"),
    })[how]();
  `);
  const expected = { read: 'read', writeSync: 'write', remove: 'delete', mkdir: 'write', list: 'read' };
  for (const [how, operation] of Object.entries(expected)) {
    const { data } = await failure(plugin.call('file', { how }));
    assert.deepEqual([data.operation, data.object], [operation, '/no/such/file'], how);
  }
});

test('lines that are no messages are refused and the plugin runs on', async (t) => {
  const plugin = await start(t, ECHO);
  const refused = async (line) => {
    const before = plugin.unexpected.length;
    plugin.sendBytes(line);
    await plugin.ping();
    return plugin.unexpected.slice(before).map((one) => JSON.parse(one).error?.code).filter(Boolean);
  };
  for (const line of ['{bad\n', Buffer.from([0xff, 0xfe, 10]), '{} {}\n', 'Content-Length: 5\n', '{"a":NaN}\n',
    `${'{'.repeat(100000)}\n`]) {
    assert.deepEqual(await refused(line), [-32700], String(line).slice(0, 20));
  }
  for (const line of ['1\n', '[]\n', '{"id":1.5,"method":"ping"}\n', '{"id":true,"method":"ping"}\n', '{"id":900,"method":7}\n',
    '{"id":901,"method":"call","params":[]}\n']) {
    assert.deepEqual(await refused(line), [-32600], line);
  }
  assert.deepEqual(await refused('\n\r\n  \n'), []);
  const running = '{"id":904,"method":"call","params":{"tool":"wait","arguments":{"s":0.2}}}\n';
  assert.deepEqual(await refused(running + running), [-32600]);
  const line = (size) => {
    const head = '{"jsonrpc":"2.0","id":903,"method":"ping","params":{"x":"';
    return `${head}${'x'.repeat(size - head.length - 4)}"}}\n`;
  };
  assert.equal(line(LIMIT).length, LIMIT);
  plugin.sendBytes(line(LIMIT));
  await plugin.ping();
  assert.ok('result' in JSON.parse(plugin.unexpected.at(-1)));
  assert.deepEqual(await refused(line(LIMIT + 1)), [-31005]);
  assert.deepEqual(await refused(`${'y'.repeat(3 * LIMIT)}\n`), [-31005]);
  for (const answer of [{ id: 1, result: 1 }, { id: 'x', result: 1 }, { result: 1 }]) plugin.send(answer);
  const value = { 'é😀\u2028': ['\u0000\t"\\', '日本語', { '': null }], n: [0, -1, 1e100, 1.5] };
  assert.deepEqual(await plugin.call('echo', value), value);
  plugin.sendBytes('{"jsonrpc":"2.0","id":"a","method":"nope","_meta":{"correlation_id":"c-1"}}\n');
  await plugin.ping();
  const last = JSON.parse(plugin.unexpected.at(-1));
  assert.deepEqual([last.id, last.error.code, last._meta.correlation_id], ['a', -32601, 'c-1']);
});

const NOISE = `
  import { spawnSync } from "node:child_process";
  import fs from "node:fs";
  console.log("noise on import");
  export const noise = () => {
    console.log("from console"); process.stdout.write("from stdout\\n"); fs.writeSync(1, "from fs\\n");
    fs.writeFileSync("/dev/stderr", "");
    return [fs.readFileSync(0, "utf8"), process.stdout.isTTY ?? false];
  };
  export const child = () => { spawnSync("/bin/echo", ["from a child"], { stdio: "inherit" }); return "ran"; };
  export const quick = () => 1;
`;

test('nothing printed breaks the protocol', async (t) => {
  const plugin = await start(t, NOISE.replace('fs.writeFileSync("/dev/stderr", "");', ''));
  assert.deepEqual(await plugin.call('noise'), ['', false]);
  assert.equal(await plugin.call('child'), 'ran');
  assert.deepEqual(plugin.unexpected, []);
  for (const text of ['noise on import', 'from console', 'from stdout', 'from fs', 'from a child']) {
    assert.ok(plugin.stderr.includes(text), text);
  }
});

test('where the pipes cannot be opened again, what JavaScript prints still goes to the log', async (t) => {
  const source = 'import fs from "node:fs"; console.log("a"); export const noise = () => { console.log("b");'
    + ' process.stdout.write("c\\n"); fs.writeSync(1, "d\\n"); return "fine"; };';
  const plugin = await start(t, source, { sockets: true });
  assert.equal(await plugin.call('noise'), 'fine');
  assert.deepEqual(plugin.unexpected, []);
  // The log is another pipe: it may be read a moment after the answer.
  for (let n = 0; n < 200 && plugin.stderr.length < 8; n += 1) await new Promise((done) => setTimeout(done, 10));
  assert.equal(plugin.stderr, 'a\nb\nc\nd\n');
});

test('a flood on the log and of log messages', async (t) => {
  const plugin = await start(t, `${ECHO}
    export const flood = async () => {
      for (let n = 0; n < 20000; n += 1) {
        process.stderr.write("x".repeat(200) + "\\n");
        if (n % 10 === 0) { host.log("debug", "line", { n }); await null; }
      }
    };
  `);
  const call = plugin.startCall('flood');
  await plugin.ping(10000);
  await call.result();
  await plugin.ping();
  assert.equal(plugin.host.log.length, 2000);
});

test('a promise that nobody looked at is logged and ends nothing', async (t) => {
  const plugin = await start(t, 'export const stray = () => { Promise.reject(new Error("stray one")); return 1; };');
  assert.equal(await plugin.call('stray'), 1);
  assert.equal(await plugin.call('stray'), 1);
  assert.match(plugin.stderr, /stray one/);
});

test('an exception in a timer ends the process, and calls in flight fail', async (t) => {
  const plugin = await start(t, `${ECHO}
    export const later = () => { setTimeout(() => { throw new Error("in a timer"); }, 10); return sleep(30); };`);
  assert.match((await failure(plugin.call('later'))).message, /ended/);
  assert.match(plugin.stderr, /in a timer/);
});

test('the end of input ends the process within 2 s, after its shutdown', async (t) => {
  const mark = '/tmp/ringfence-sdk-stopped-' + process.pid;
  t.after(() => fs.rmSync(mark, { force: true }));
  const plugin = await start(t, `import fs from "node:fs"; setInterval(() => {}, 1000);
    export const shutdown = () => fs.writeFileSync(${JSON.stringify(mark)}, "");`);
  let began = performance.now();
  plugin.closeInput();
  await plugin.exited;
  assert.ok(performance.now() - began < 1500);
  assert.ok(fs.existsSync(mark));
  const stubborn = await start(t, `${ECHO} export const shutdown = () => new Promise(() => {});`);
  stubborn.startCall('wait', { s: 60 });
  began = performance.now();
  stubborn.closeInput();
  await stubborn.exited;
  assert.ok(performance.now() - began < 2000);
});

test('shutdown is answered while calls run', async (t) => {
  const plugin = await start(t, ECHO);
  const call = plugin.startCall('wait', { s: 0.3, n: 7 });
  assert.equal(await plugin.begin('shutdown', {}).result(200), null);
  assert.equal(await call.result(), 7);
});
