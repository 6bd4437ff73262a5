// Each function of the host, granted and not.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FakeHost, matrix } from '../testing.mjs';
import { failure, start } from './support.mjs';

const SOURCE = `
import { host, PermissionDenied, NotSupported, HostError } from "ringfence";
const acts = {
  getConfig: () => host.getConfig(), setConfig: () => host.setConfig({ a: 2 }), postEvent: () => host.postEvent("t", 1),
  getUserProfile: () => host.getUserProfile(["name"]), httpFetch: () => host.httpFetch("https://api.example.com/x"),
  readFile: () => host.readFile("/srv/a.txt"), writeFile: () => host.writeFile("/srv/b.bin", Buffer.from([255])),
  deleteFile: () => host.deleteFile("/srv/a.txt"), listFiles: () => host.listFiles("/srv"),
  runProcess: () => host.runProcess(["/bin/date"]), queryDatabase: () => host.queryDatabase("crm", "select 1"),
  executeDatabase: () => host.executeDatabase("crm", "delete"), registerHook: () => host.registerHook("onError"),
  own: () => host.request("x_crm_export", { customer: "acme" }), allFields: () => host.getUserProfile(),
  email: () => host.getUserProfile(["email"]), run: () => host.runProcess(["/bin/date"], { timeoutMs: 2000 }),
  data: async () => {
    await host.storePluginData("k", { v: 1 });
    return [await host.loadPluginData("k"), await host.loadPluginData("x", 0), await host.listPluginData(), await host.deletePluginData("k")];
  },
};
export const act = async ({ name }) => {
  try { return { result: (await acts[name]()) ?? null }; } catch (error) {
    return { kind: error.constructor.name, code: error.code, operation: error.operation, object: error.object, grant: error.grant,
      isHostError: error instanceof HostError };
  }
};
export const uncaught = () => host.readFile("/etc/shadow");
`;

const GRANTS = {
  setConfig: 'config:write=under-test', postEvent: 'event:post=t', getUserProfile: 'profile:read',
  httpFetch: 'network:request=*.example.com:443', readFile: 'file:read=/srv/**', writeFile: 'file:write=/srv/*',
  deleteFile: 'file:delete=/srv/a.txt', listFiles: 'file:read=/srv/**', runProcess: 'subprocess:execute=/bin/**',
  queryDatabase: 'database:read=crm', executeDatabase: 'database:write=crm', registerHook: 'hook:register=onError',
};

const fakes = () => ({
  config: { a: 1 }, files: { '/srv/a.txt': 'text' }, http: { 'https://api.example.com/x': { body: 'ok' } },
  profile: { name: 'Ada', secret: 1 }, processes: () => ({ exit_code: 0, stdout: 'now', stderr: '' }),
  databases: { crm: { query: () => [{ one: 1 }], execute: () => 3 } },
});

test('every function works with its grant and is denied without it', async (t) => {
  const results = {
    setConfig: null, postEvent: null, getUserProfile: { name: 'Ada' },
    httpFetch: { status: 200, headers: {}, body: 'ok', url: 'https://api.example.com/x' }, readFile: 'text', writeFile: null, deleteFile: true,
    listFiles: [{ name: 'a.txt', kind: 'file', size_bytes: 4 }], runProcess: { exit_code: 0, stdout: 'now', stderr: '' },
    queryDatabase: [{ one: 1 }], executeDatabase: 3, registerHook: null,
  };
  const denied = await start(t, SOURCE, fakes());
  for (const [name, grant] of Object.entries(GRANTS)) {
    const granted = await start(t, SOURCE, { ...fakes(), grants: [grant] });
    assert.deepEqual(await granted.call('act', { name }), { result: results[name] }, name);
    await granted.close();
    const refusal = await denied.call('act', { name });
    assert.deepEqual([refusal.kind, refusal.code, refusal.isHostError], ['PermissionDenied', 'permission_denied', true], name);
    assert.equal(refusal.grant.split('=')[0], grant.split('=')[0]);
  }
  assert.equal(denied.host.denials.length, Object.keys(GRANTS).length);
});

const STREAMS = `
import { HostError, host } from "ringfence";
const URL = "https://api.example.com/x";
const open = (options) => host.httpFetch(URL, { stream: true, ...options });
export async function lines() {
  const answer = await open();
  const seen = [];
  for await (const line of answer.lines()) seen.push(line);
  return [answer.status, answer.headers, answer.url, answer.closed, (await answer.read()).length, seen];
}
export async function pieces() {
  const seen = [];
  for await (const piece of await open()) seen.push(piece.toString("hex"));
  return seen;
}
export async function some() {
  for await (const piece of await open()) return piece.toString("hex");
}
export const whole = async () => (await host.httpFetch(URL)).body;
export async function many() {
  const opened = [];
  try {
    for (;;) opened.push(await open());
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    await opened[0].close();
    await opened[0].close();
    return [opened.length, error.code, (await open()).closed];
  }
}
export async function untilCancelled() {
  const answer = await open();
  host.progress(1);
  for await (const piece of answer) await new Promise((resolve) => host.signal.addEventListener("abort", resolve));
}
`;

test('a body is read piece by piece with its grant, and not without it', async (t) => {
  const grants = ['network:request=*.example.com:443'];
  const body = ['one\r\nt', '', 'wo\n\nth', Buffer.from([0xc3]), Buffer.from([0xa9])];
  const http = { 'https://api.example.com/x': { status: 201, headers: { a: 'b' }, body } };
  const denied = await start(t, STREAMS, { http });
  assert.equal((await failure(denied.call('lines'))).data.grant, 'network:request=api.example.com:443');
  assert.equal(denied.host.denials.length, 1);
  const plugin = await start(t, STREAMS, { http, grants });
  assert.deepEqual(await plugin.call('lines'),
    [201, { a: 'b' }, 'https://api.example.com/x', true, 0, ['one', 'two', '', 'thé']]);
  assert.deepEqual(await plugin.call('pieces'), ['6f6e650d0a74', '776f0a0a7468', 'c3', 'a9']);
  assert.equal(await plugin.call('whole'), 'one\r\ntwo\n\nthé');
  assert.equal(await plugin.call('some'), '6f6e650d0a74');
  assert.deepEqual(plugin.host.requests.at(-1), ['http_fetch_close', { stream: 'stream-3' }]);
  const begun = plugin.startCall('untilCancelled');
  while (begun.progress.length === 0) await plugin.ping();
  begun.cancel();
  assert.equal((await failure(begun.result())).code, 'cancelled');
  while (plugin.host.streams.size > 0) await plugin.ping();
  assert.deepEqual(await plugin.call('many'), [8, 'busy', false]);
  const answers = { http_fetch_read: () => ({ result: { body: 'x', offset: 1, done: false } }) };
  const other = await start(t, STREAMS, { http, grants, answers });
  assert.equal((await failure(other.call('pieces'))).data.host_code, 'incomplete');
  assert.equal(other.host.streams.size, 0);
});

test('a method of the application is requested by its name', async (t) => {
  const answers = { x_crm_export: ({ customer }) => ({ result: [customer] }) };
  assert.deepEqual(await (await start(t, SOURCE, { answers })).call('act', { name: 'own' }), { result: ['acme'] });
  assert.equal((await (await start(t, SOURCE)).call('act', { name: 'own' })).code, 'not_found');
});

test('sensitive fields of a profile need a grant by their name', async (t) => {
  const profile = { name: 'Ada', email: 'ada@example.com' };
  for (const [grants, fields, grant] of [
    [['profile:read'], { name: 'Ada' }, 'profile:read=email'], [['profile:read=*'], { name: 'Ada' }, 'profile:read=email'],
    [['profile:read=email'], { email: 'ada@example.com' }, undefined],
    [['profile:read', 'profile:read=email'], profile, undefined],
  ]) {
    const plugin = await start(t, SOURCE, { grants, profile });
    assert.deepEqual(await plugin.call('act', { name: 'allFields' }), { result: fields });
    assert.equal((await plugin.call('act', { name: 'email' })).grant, grant);
  }
});

test('output that is no text comes as bytes, and the time is the host\'s to hold', async (t) => {
  const ran = { exit_code: null, signal: 9, stdout_base64: '/w==', stderr: '', violation: 'timeout' };
  const seen = [];
  const answers = { run_process: (params) => { seen.push(params); return { result: ran }; } };
  const { result } = await (await start(t, SOURCE, { answers })).call('act', { name: 'run' });
  assert.deepEqual([result.stdout.data, result.stderr, result.violation], [[255], '', 'timeout']);
  assert.deepEqual(seen, [{ command: ['/bin/date'], timeout_s: 2 }]);
});

test('own data needs no grant, and what the host does not offer is not supported', async (t) => {
  const plugin = await start(t, SOURCE, { grants: ['file:read', 'network:request'] });
  const { result } = await plugin.call('act', { name: 'data' });
  assert.deepEqual(result, [{ v: 1 }, 0, { keys: ['k'], more: false }, true]);
  assert.deepEqual(await plugin.call('act', { name: 'getConfig' }), { result: {} });
  assert.equal((await plugin.call('act', { name: 'readFile' })).kind, 'NotSupported');
  assert.equal((await plugin.call('act', { name: 'httpFetch' })).code, 'not_supported');
});

test('a refusal that nobody catches names layer, object and grant in the answer', async (t) => {
  const plugin = await start(t, SOURCE);
  const { number, data } = await failure(plugin.call('uncaught'));
  assert.deepEqual([number, data.type, data.layer, data.object, data.grant],
    [-31008, 'PermissionDenied', 'host_api', '/etc/shadow', 'file:read=/etc/shadow']);
});

test('a matrix has all on, each one off, all off', () => {
  assert.deepEqual([...matrix(['a', 'b'])].map((one) => [one.grants.join(), one.off]),
    [['a,b', undefined], ['b', 'a'], ['a', 'b'], ['', 'all']]);
  assert.equal([...matrix(['a'])].length, 2);
});

test('scopes are matched by segments', () => {
  const host = (grant) => new FakeHost([grant], {});
  for (const [grant, permission, object, expected] of [
    ['file:read=/a/*', 'file:read', '/a/b', true], ['file:read=/a/*', 'file:read', '/a/b/c', false],
    ['file:read=/a/**', 'file:read', '/a/b/c', true], ['file:read=/a/**', 'file:read', '/a', true],
    ['file:read=/a/**', 'file:read', '/ab', false], ['file:read', 'file:read', '/x', true],
    ['file:read=/a.b', 'file:read', '/axb', false], ['file:write=/a', 'file:read', '/a', false],
    ['network:request=*.x.com:443', 'network:request', 'a.x.com:443', true],
    ['network:request=*.x.com:443', 'network:request', 'a.x.com:80', false],
  ]) assert.equal(host(grant).allows(permission, object), expected, `${grant} ${object}`);
});
