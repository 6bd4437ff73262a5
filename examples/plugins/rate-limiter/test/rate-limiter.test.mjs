import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

// With the SDK installed this is 'ringfence/testing'.
import { matrix, PluginHarness } from '../../../../sdk/typescript/testing.mjs';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));

async function start(t, options) {
  const plugin = await PluginHarness.start(PACKAGE, options);
  t.after(() => plugin.close());
  return plugin;
}

const request = (plugin, user) => plugin.hook('onRequest', { text: 'hi' }, { user }, { kind: 'guard' });

test('a user is blocked beyond the limit, and others are not', async (t) => {
  const plugin = await start(t, { config: { requests: 3, window_s: 600 } });
  for (let n = 0; n < 3; n += 1) assert.equal(await request(plugin, 'ada'), null);
  const refusal = await request(plugin, 'ada');
  assert.equal(refusal.blocked, true);
  assert.match(refusal.reason, /3 requests/);
  assert.equal(refusal.response.retry_after_s, 200);
  assert.equal(await request(plugin, 'bob'), null);
  assert.deepEqual(await plugin.call('usage'), { ada: 3, bob: 1 });
  assert.deepEqual(await plugin.call('usage', { user: 'bob' }), { bob: 1 });
});

test('the limit follows the configuration, and requests come back with time', async (t) => {
  const plugin = await start(t, { config: { requests: 1, window_s: 600 } });
  assert.equal(await request(plugin, 'ada'), null);
  assert.equal((await request(plugin, 'ada')).blocked, true);
  await plugin.changeConfig({ requests: 1, window_s: 0.001 });
  let blocked = true;
  for (const end = Date.now() + 5000; blocked && Date.now() < end;) blocked = (await request(plugin, 'ada')) !== null;
  assert.equal(blocked, false);
});

test('it blocks with and without the right to say so', async (t) => {
  for (const { grants, off } of matrix(['event:post=rate-limiter.blocked'])) {
    const plugin = await start(t, { grants, config: { requests: 1, window_s: 600 } });
    await request(plugin, 'ada');
    assert.equal((await request(plugin, 'ada')).blocked, true);
    assert.deepEqual(plugin.host.events, off === undefined ? [['rate-limiter.blocked', { user: 'ada' }]] : []);
    assert.equal(plugin.host.denials.length, off === undefined ? 0 : 1);
  }
});
