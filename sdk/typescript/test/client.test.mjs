// The client against a real daemon: everything that an application does with plugins.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test, { after, before, describe } from 'node:test';

import {
  Conflict, Host, LimitBroken, NotFound, PluginFailed, Refused, RingfenceError, Unavailable, Usage,
} from '../client/index.mjs';
import { FAMILIES, made } from '../client/errors.mjs';
import { BINARY, directory, line, makePackage, needs, raises, ROOT, within } from './client-support.mjs';

/** Operations of the document that no method reaches, each with the reason. */
const LEFT_OUT = { 'GET /openapi.json': 'the document itself is for tools; the types of this client are made from it' };

describe('with one daemon', needs, () => {
  let host;
  before(async () => {
    host = await Host.start({ binary: BINARY });
  });
  after(() => host.close());

  /** The plugin, installed, consented to and active; gone after the test. */
  async function active(t, ...grants) {
    const folder = directory(t);
    t.after(() => host.uninstall('several').catch(() => {}));
    await host.install(makePackage(folder), { grant: grants });
    await host.activate('several');
    return folder;
  }

  test('a plugin from its installation to its end', async (t) => {
    const folder = directory(t);
    const installed = await host.install(makePackage(folder));
    assert.deepEqual([installed.changed, installed.plugin.state], [true, 'installed']);
    const refused = await raises(Refused, 'consent_required', host.activate('several'));
    assert.ok(refused.status === 403 && refused.hint && refused.correlationId);
    await host.grant('several');
    assert.equal((await host.activate('several')).state, 'active');
    assert.deepEqual((await host.list()).map((plugin) => plugin.name), ['several']);
    assert.deepEqual(await host.call('several', 'echo', { a: [1, null, '\u00e9'] }), { a: [1, null, '\u00e9'] });

    const upgraded = await host.upgrade('several', makePackage(folder, { version: '1.1.0' }));
    assert.deepEqual([upgraded.done, upgraded.to_version], [true, '1.1.0']);
    assert.equal(await host.call('several', 'version'), '1.1.0');
    await host.rollback('several');
    assert.equal((await host.show('several')).version, '1.0.0');
    await raises(Usage, 'usage', host.upgrade('several', makePackage(folder), { grant: [], grantRequested: true }));

    assert.equal((await host.deactivate('several')).state, 'inactive');
    await raises(Conflict, 'not_active', host.call('several', 'version'));
    await host.uninstall('several');
    await raises(NotFound, 'not_found', host.show('several'));
    const events = (await host.activity('several')).records.map((record) => record.event);
    assert.ok(['install', 'uninstall', 'call'].every((event) => events.includes(event)), events.join());
    assert.equal((await host.verifyAudit()).first_bad, null);
  });

  test('what is not granted is denied and what is granted works', async (t) => {
    const file = path.join(await active(t), 'a.txt');
    await raises(PluginFailed, 'plugin_failed', host.call('several', 'read', { path: file }));
    const [denial] = await host.denials('several');
    assert.equal(denial.grant, `file:read=${file}`);
    assert.deepEqual((await host.grant('several', denial.grant)).value.map((one) => one.permission), [denial.grant]);
    assert.equal(await host.call('several', 'read', { path: file }), 'a note');
    await host.revoke('several', denial.grant);
    await raises(PluginFailed, 'plugin_failed', host.call('several', 'read', { path: file }));
    await raises(NotFound, 'not_found', host.revoke('several', denial.grant));
  });

  test('hooks and messages', async (t) => {
    await active(t, 'hook:register=onRequest', 'event:post=news');
    const outcome = await host.hook('onRequest', { text: 'x' }, { metadata: { user: 1 }, trace: true });
    assert.deepEqual([outcome.outcome, outcome.body, outcome.metadata], ['continue', { text: 'x', seen: true }, { user: 1 }]);
    assert.equal((await host.hooks())[0].plugin, 'several');
    assert.equal((await host.postEvent('news', { n: 7 }, { wait: true })).receivers[0].outcome, 'delivered');
    assert.deepEqual(await host.call('several', 'heard'), { n: 7 });
    assert.deepEqual((await host.postEvent('weather')).receivers, []);
  });

  test('failures and wrong requests', async (t) => {
    await active(t);
    assert.match((await raises(PluginFailed, 'plugin_failed', host.call('several', 'fail'))).message, /not today/);
    await raises(LimitBroken, 'timeout', host.call('several', 'sleep', { seconds: 30 }, { timeoutMs: 300 }));
    assert.ok((await host.logs('several', { lines: 50 })).some((one) => one.message === 'sleeping'));
    await raises(NotFound, 'not_found', host.call('several', 'nothing'));
    await raises(Usage, 'usage', host.call('several', 'echo', { x: 1n }));
    await raises(NotFound, 'not_found', host.show('..'));
    await raises(NotFound, 'not_found', host.show('a/b?c'));
    await raises(NotFound, 'path_not_found', host.install('/nothing/here'));
    await assert.rejects(host.exec('true'), TypeError);
  });

  test('a request with the same key is done once', async (t) => {
    await active(t);
    const first = await host.call('several', 'count', {}, { idempotencyKey: 'k' });
    assert.equal(await host.call('several', 'count', {}, { idempotencyKey: 'k' }), first);
    assert.equal(await host.call('several', 'count'), first + 1, 'each call has a key of its own');
    assert.ok((await raises(PluginFailed, 'plugin_failed', host.call('several', 'fail'))).idempotencyKey);
    await raises(Conflict, 'conflict', host.call('several', 'echo', {}, { idempotencyKey: 'k' }));
  });

  test('two administrators do not overwrite each other', async (t) => {
    const folder = await active(t);
    const read = await host.getConfig('several');
    const changed = await host.setConfig('several', { language: 'fr', key: 'secret' }, { version: read.version });
    assert.equal(changed.value.key, '***');
    await raises(Conflict, 'conflict', host.setConfig('several', { language: 'de' }, { version: read.version }));
    const held = await host.grants('several');
    await Promise.all(['a', 'b', 'c'].map((name) => host.grant('several', `file:read=/srv/${name}`)));
    assert.equal((await host.grants('several')).value.length, 3, 'grants of many at once are all kept');
    await raises(Conflict, 'conflict', host.setGrants('several', [], { version: held.version }));
    // A grant is no consent to an upgrade that waits.
    const next = makePackage(folder, { version: '2.0.0', more: ['env:read=LANG'] });
    assert.equal((await host.upgrade('several', next)).done, false);
    await raises(Conflict, 'conflict', host.grant('several', 'event:post=news'));
    assert.equal((await host.show('several')).version, '1.0.0');
    // It is refused, and may come again.
    await raises(Conflict, 'conflict', host.abandonUpgrade('several', { version: held.version }));
    assert.equal((await host.abandonUpgrade('several')).version, '1.0.0');
    await raises(NotFound, 'not_found', host.abandonUpgrade('several'));
    assert.equal((await host.show('several')).pending, null);
    assert.equal((await host.upgrade('several', next)).done, false);
    await host.setGrants('several', ['env:read=LANG'], { version: (await host.grants('several')).version });
    assert.equal(await host.call('several', 'version'), '2.0.0');
  });

  test('events go on behind the last one that was seen', async (t) => {
    const stream = await host.events();
    await active(t);
    let first;
    for await (const event of stream) {
      first = event;
      if (event.data.kind.event === 'started') break;
    }
    assert.deepEqual([first.name, first.data.plugin, stream.lastEventId], ['plugin', 'several', first.id]);
    await host.deactivate('several');
    const kinds = [];
    for await (const event of await host.events({ lastEventId: first.id })) {
      kinds.push(event.data.kind.event);
      if (kinds.includes('ended')) break;
    }
    assert.ok(!kinds.includes('started'), kinds.join());
    const closed = await host.events();
    const all = (async () => {
      const seen = [];
      for await (const event of closed) seen.push(event);
      return seen;
    })();
    closed.close();
    assert.deepEqual(await all, []);
  });

  test('a command: output while it runs, its report, limits, cancellation', async (t) => {
    const folder = directory(t);
    const text = `echo one; while [ ! -e ${folder}/go ]; do :; done; echo two >&2; exit 3`;
    const run = await host.exec(['/bin/sh', '-c', text], { read: [folder], limits: { timeout_ms: 60_000 } });
    const seen = [];
    for await (const output of run) {
      seen.push([output.stream, output.text]);
      if (seen.length === 1) {
        assert.equal(run.report, undefined, 'it still runs');
        fs.writeFileSync(path.join(folder, 'go'), '');
      }
    }
    assert.deepEqual(seen, [['stdout', 'one\n'], ['stderr', 'two\n']]);
    const report = await run.wait();
    assert.deepEqual([report.status, report.exit_code, run.stdout, run.stderr], ['exited', 3, 'one\n', 'two\n']);
    assert.deepEqual((await host.run(run.id)).report, report);
    assert.equal((await host.runs({ limit: 1 })).runs[0].id, run.id);

    fs.writeFileSync(path.join(folder, 'a.txt'), 'a note');
    const denied = await host.exec(['/bin/cat', `${folder}/a.txt`]);
    assert.deepEqual([(await denied.wait()).exit_code, denied.stdout], [1, '']);
    const explained = await host.exec(['/bin/cat', `${folder}/a.txt`], { explain: true });
    assert.deepEqual((await explained.wait()).denials.map((one) => one.grant), [`file:read=${folder}/a.txt`]);
    const granted = await host.exec(['/bin/cat', `${folder}/a.txt`], { read: [folder] });
    assert.deepEqual([(await granted.wait()).exit_code, granted.stdout], [0, 'a note']);

    const cancelled = await host.exec(['/bin/sleep', '600']);
    await cancelled.cancel();
    assert.equal((await cancelled.wait()).status, 'cancelled');
    const limited = await host.exec(['/bin/sleep', '600'], { limits: { timeout_ms: 200 } });
    assert.equal((await limited.wait()).violation, 'timeout');
    await raises(NotFound, 'not_found', host.exec(['no-such-program']));
    await raises(Usage, 'invalid_permission', host.exec(['true'], { grant: ['file:raed'] }));
  });

  test('a signal gives up, and its reason is what is thrown', async (t) => {
    await active(t);
    const abort = new AbortController();
    const reason = new Error('enough');
    const call = host.call('several', 'sleep', { seconds: 600 }, { signal: abort.signal });
    await within(async () => (await host.logs('several')).some((one) => one.message === 'sleeping'));
    abort.abort(reason);
    await assert.rejects(call, reason);
    await assert.rejects(host.list({ signal: abort.signal }), reason);
    const closing = new AbortController();
    const stream = await host.events({ signal: closing.signal });
    closing.abort();
    for await (const event of stream) assert.fail(event);
  });

  test('figures', async (t) => {
    await active(t);
    await host.call('several', 'version');
    assert.equal((await host.health()).status, 'ok');
    assert.match(await host.metrics(), /ringfence_/);
    assert.equal((await host.executions({ plugin: 'several', limit: 1 })).executions[0].tool, 'version');
    assert.ok(Array.isArray(await host.resources('several', { limit: 3 })));
    assert.deepEqual((await host.scan()).broken, []);
    assert.equal((await host.audit({ event: 'call', newestFirst: true, limit: 1 })).records[0].plugin, 'several');
  });
});

/** A daemon at an address, which it gives. */
async function serve(t, home) {
  const words = ['serve', '--listen', '127.0.0.1:0', '--until-stdin-closes', '--json'];
  const daemon = spawn(BINARY, words, { stdio: ['pipe', 'pipe', 'ignore'], env: { ...process.env, RINGFENCE_HOME: home } });
  const ended = new Promise((resolve) => daemon.once('exit', resolve));
  t.after(() => {
    daemon.stdin.destroy();
    return ended;
  });
  return JSON.parse(await line(daemon)).addresses[0];
}

test('a certificate', needs, async (t) => {
  const home = path.join(directory(t), 'home');
  const folder = path.join(ROOT, 'crates/host/tests/plugins/fetch/tls');
  fs.mkdirSync(home);
  fs.writeFileSync(path.join(home, 'config.toml'), `[server]\ntls_certificate = "${folder}/server.pem"\ntls_key = "${folder}/server.key"\n`);
  const url = await serve(t, home);
  const { token } = await (await Host.connect({ home })).createToken('admin');
  const tls = { ca: fs.readFileSync(path.join(folder, 'ca.pem')) };
  const host = await Host.connect({ url, token, tls });
  assert.deepEqual(await host.list(), []);
  (await host.events()).close();
  assert.match((await raises(Unavailable, 'unavailable', Host.connect({ url, token }))).hint, /trusts/);
  // Of another name, although somebody trusted has signed it.
  await raises(Unavailable, 'unavailable', Host.connect({ url: url.replace('127.0.0.1', 'localhost'), token, tls }));
});

test('an address and a token', needs, async (t) => {
  const folder = directory(t);
  const home = path.join(folder, 'home');
  const url = await serve(t, home);
  const local = await Host.connect({ home });
  await local.install(makePackage(folder), { grant: [] });
  const viewer = await local.createToken('viewer', { expiresInS: 600 });
  const host = await Host.connect({ url, token: viewer.token });
  assert.equal((await host.list()).length, 1);
  assert.match((await raises(Refused, 'forbidden', host.activate('several'))).message, /operator/);
  const admin = await Host.connect({ url, token: (await local.createToken('admin')).token });
  const elsewhere = await raises(Refused, 'forbidden', admin.install(makePackage(folder, { version: '1.1.0' })));
  assert.match(elsewhere.hint, /install_from/);
  assert.ok((await local.dashboardLink()).url.startsWith(url));
  await raises(Refused, 'forbidden', admin.dashboardLink());
  assert.equal((await local.tokens()).length, 2);
  const stream = await host.events();
  await local.revokeToken(viewer.id);
  await raises(Refused, 'unauthenticated', (async () => {
    // What was done before, its own token among it, is told a moment later; and then no more.
    for await (const { data } of stream) assert.match(data.kind.event, /^(installed|granted|token_created|token_revoked)$/);
  })());
  await raises(Refused, 'unauthenticated', host.list());
  assert.deepEqual(await (await Host.connect({ url })).health(), { status: 'ok' }, 'a stranger is told one word');
});

test('addresses that are none, and nobody there', async (t) => {
  for (const url of ['127.0.0.1:7700', 'ftp://localhost', 'http://', 'http://localhost/api', 'http://u:p@localhost']) {
    await raises(Usage, 'usage', Host.connect({ url }));
  }
  await raises(Usage, 'usage', Host.connect({ url: 'http://192.0.2.1:7700', token: 'rf_secret' }));
  const nobody = await raises(Unavailable, 'unavailable', Host.connect({ home: directory(t) }));
  assert.match(nobody.hint, /ringfence serve/);
  await raises(Unavailable, 'unavailable', Host.connect({ url: 'http://127.0.0.1:1', token: 'rf_x' }));
});

const document = JSON.parse(fs.readFileSync(path.join(ROOT, 'schema/openapi.json'), 'utf8'));

test('every operation of the document is reached, or left out for a reason', () => {
  const there = Object.entries(document.paths).flatMap(([route, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${route.slice('/api/v1'.length)}`));
  const folder = path.join(ROOT, 'sdk/typescript/client');
  const used = new Set();
  for (const name of fs.readdirSync(folder).filter((one) => one.endsWith('.mjs'))) {
    const text = fs.readFileSync(path.join(folder, name), 'utf8');
    for (const [, method, route] of text.matchAll(/'(GET|POST|PUT|DELETE)', (?:addressOf\()?'(\/[^']*)'/g)) used.add(`${method} ${route}`);
    for (const [, route] of text.matchAll(/EventStream\.open\([^']*addressOf\('(\/[^']*)'/g)) used.add(`GET ${route}`);
  }
  assert.deepEqual([...used].filter((one) => !there.includes(one)), [], 'the document does not have these');
  assert.deepEqual(there.filter((one) => !used.has(one)), Object.keys(LEFT_OUT), 'these are neither reached nor left out');
});

test('every code has a class', () => {
  const codes = document.components.schemas.ErrorCode.oneOf.map((one) => one.const);
  const known = [...FAMILIES.values()].flatMap((words) => words.split(' '));
  assert.deepEqual([...known].sort(), [...codes, 'unavailable'].sort());
  assert.equal(made('of a later version', 'x').constructor, RingfenceError);
});
