// The client's own daemon: how it is found and started, how it ends with the application, and what is told when it goes away.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import { Busy, Host, LimitBroken, NotFound, RingfenceError, Unavailable, Usage } from '../client/index.mjs';
import { toml } from '../client/daemon.mjs';
import { alive, below, BINARY, directory, line, makePackage, needs, raises, ROOT, script, within } from './client-support.mjs';

const APPLICATION = `
import { Host } from '${ROOT}/sdk/typescript/client/index.mjs';
const host = await Host.start();
await host.install(process.argv.at(-1), { grant: [] });
await host.activate('several');
console.log(host.pid, host.home);
await new Promise((resolve) => process.stdin.once('data', resolve));
process.stdin.pause();
`;

/** An application with a plugin that runs; its process, its daemon, the daemon's processes and its home. */
async function application(t, more, options) {
  const child = script(t, APPLICATION + more, [makePackage(directory(t))], options);
  child.ended = new Promise((resolve) => child.once('exit', resolve));
  const [pid, home] = (await line(child)).split(' ');
  t.after(() => fs.rmSync(home, { recursive: true, force: true }));
  const plugins = below(Number(pid));
  assert.ok(alive(pid) && plugins.length > 0, 'the plugin runs');
  child.stdin.write('go on\n');
  return { child, home, gone: () => within(() => ![pid, ...plugins].some(alive), 'something is left behind') };
}

test('the daemon ends with an application that is killed', needs, async (t) => {
  const { child, gone } = await application(t, 'setInterval(() => {}, 1000);');
  child.kill('SIGKILL');
  await gone();
});

test('the daemon ends with an application that forgets it, and does not keep it running', needs, async (t) => {
  for (const more of ['', 'process.exit(3);', 'throw new Error("x");']) {
    const { child, home, gone } = await application(t, more);
    await child.ended;
    await gone();
    assert.ok(!fs.existsSync(home), 'a home for its lifetime is removed');
  }
});

test('a child of the application does not hold the daemon', needs, async (t) => {
  const more = `
  const { spawn } = await import('node:child_process');
  const child = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
  console.log(child.pid);
  setInterval(() => {}, 1000);
  `;
  const { child, gone } = await application(t, more);
  const pid = Number(await line(child));
  t.after(() => process.kill(pid, 'SIGKILL'));
  child.kill('SIGKILL');
  await gone();
  assert.ok(alive(pid));
});

test('an interrupt is for the application alone', needs, async (t) => {
  const more = `
  process.on('SIGINT', async () => { console.log(await host.call('several', 'version')); process.exit(0); });
  setInterval(() => {}, 1000);
  console.log('ready');
  `;
  const { child, gone } = await application(t, more, { detached: true });
  await line(child);
  process.kill(-child.pid, 'SIGINT');
  assert.equal(await line(child), '1.0.0', 'the daemon had none of it');
  await gone();
});

test('a home that stays and its configuration', needs, async (t) => {
  const folder = directory(t);
  const home = path.join(folder, 'home');
  const config = { server: { log: 'warn' }, plugins: { directories: [folder], call_timeout: '20s' } };
  const host = await Host.start({ binary: BINARY, home, config });
  t.after(() => host.close());
  const directoryOf = makePackage(folder);
  assert.deepEqual((await host.scan()).found.map((one) => one.name), ['several']);
  await host.install(directoryOf, { grant: [] });
  await host.activate('several');
  assert.equal((await host.show('several')).limits.call_timeout_ms, 20_000);
  const second = await Host.connect({ home });
  await second.close();
  assert.equal((await host.list())[0].state, 'active', 'who only connected ended nothing');
  await raises(Busy, 'busy', Host.start({ binary: BINARY, home }));
  await host.close();
  await raises(Unavailable, 'unavailable', host.list());
  const again = await Host.start({ binary: BINARY, home });
  await within(async () => (await again.show('several')).running);
  assert.equal(await again.call('several', 'version'), '1.0.0', 'what was active is again');
  await again.close();
});

test('what cannot be started says why and leaves nothing', needs, async (t) => {
  const folder = directory(t);
  await raises(NotFound, 'not_found', Host.start({ binary: path.join(folder, 'nothing') }));
  const wrong = await raises(Usage, 'invalid_config', Host.start({ binary: BINARY, config: '[server]\nlsten = []\n' }));
  assert.match(wrong.message, /:2:1: unknown field 'lsten'/);
  await raises(Usage, 'usage', Host.start({ binary: BINARY, config: { server: { log: null } } }));
  await raises(RingfenceError, 'internal', Host.start({ binary: '/bin/true' }));
  assert.match((await raises(Usage, 'usage', Host.start({ binary: BINARY, home: path.join(folder, 'x'.repeat(100)) }))).message, /Unix socket/);
  for (const home of ['/dev/null/home', '/proc/nowhere']) await raises(RingfenceError, 'io', Host.start({ binary: BINARY, home }));
  const silent = path.join(folder, 'silent');
  fs.writeFileSync(silent, '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
  await raises(LimitBroken, 'timeout', Host.start({ binary: silent, timeoutMs: 200 }));
});

test('values are written as TOML reads them', () => {
  const told = toml({ 'a b': [1, true, 1.5, 'say "x"\\\n\x7f\u00e9\u{1f600}'], c: { d: 'e' } });
  assert.equal(told, '{"a b" = [1, true, 1.5, "say \\"x\\"\\\\\\n\\u007f\u00e9\u{1f600}"], "c" = {"d" = "e"}}');
});

/** A daemon with the plugin running. */
async function started(t) {
  const host = await Host.start({ binary: BINARY });
  t.after(() => host.close());
  await host.install(makePackage(directory(t)), { grant: [] });
  await host.activate('several');
  return host;
}

test('a daemon that is killed in the middle ends calls and streams, and leaves no plugin', needs, async (t) => {
  const host = await started(t);
  const plugins = below(host.pid);
  const run = await host.exec(['/bin/sleep', '600']);
  const stream = await host.events({ reconnectMs: 600_000 });
  const all = (async () => {
    for await (const event of stream) assert.ok(event);
  })();
  const call = host.call('several', 'sleep', { seconds: 600 });
  const results = Promise.all([
    raises(Unavailable, 'unavailable', call), raises(Unavailable, 'unavailable', all), raises(Unavailable, 'unavailable', run.wait()),
  ]);
  await within(async () => (await host.logs('several')).some((one) => one.message === 'sleeping'));
  process.kill(host.pid, 'SIGKILL');
  const [failed] = await results;
  assert.ok(failed.idempotencyKey);
  await within(() => !plugins.some(alive), 'a plugin is left behind');
  assert.match((await raises(Unavailable, 'unavailable', host.list())).message, /SIGKILL/);
});

test('a daemon that answers nothing is given up by a signal', needs, async (t) => {
  const host = await started(t);
  process.kill(host.pid, 'SIGSTOP');
  try {
    await assert.rejects(host.list({ signal: AbortSignal.timeout(200) }), { name: 'TimeoutError' });
  } finally {
    process.kill(host.pid, 'SIGCONT');
  }
  assert.equal(await host.call('several', 'version'), '1.0.0');
});

test('a stream that breaks off goes on with the next daemon of the home', needs, async (t) => {
  const home = path.join(directory(t), 'home');
  const first = await Host.start({ binary: BINARY, home });
  t.after(() => first.close());
  const host = await Host.connect({ home });
  await host.install(makePackage(directory(t)), { grant: [] });
  const stream = await host.events({ reconnectMs: 60_000 });
  await host.activate('several');
  const kinds = [];
  let second;
  for await (const { name, data } of stream) {
    kinds.push(data.kind?.event ?? name);
    // What was done before the start is told as well, a moment later.
    if (second === undefined && kinds.at(-1) === 'started') {
      await first.close();
      second = await Host.start({ binary: BINARY, home });
    }
    if (kinds.includes('missed') && kinds.at(-1) === 'started') break;
  }
  assert.ok(kinds.indexOf('started') < kinds.indexOf('missed'), kinds.join());
  await second.close();
});
