// The gateway with its plugins in front of a service that says what it was sent.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const GATEWAY = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'gateway.mjs');
const needs = { skip: process.env.RINGFENCE_BIN ? false : 'needs RINGFENCE_BIN' };

/** A service that answers with what it was sent, and counts what comes in `seen`. */
async function upstream(t, seen) {
  const server = http.createServer(async (request, response) => {
    seen.count += 1;
    let body = '';
    for await (const block of request) body += block;
    const metadata = JSON.parse(request.headers['x-gateway-metadata']);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ body: body && JSON.parse(body), metadata }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** The gateway, as a person starts it; stopped as a person stops it. */
async function start(t, ...words) {
  const seen = { count: 0 };
  const child = spawn(process.execPath, [GATEWAY, await upstream(t, seen), '--port', '0', ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGINT');
    assert.deepEqual(await ended, [0, null], 'it ends in order');
  });
  const [line] = await Promise.race([once(child.stdout, 'data'), ended.then(() => ['it ended'])]);
  const url = String(line).trim();
  const ask = async (address, body) => {
    const answer = await fetch(url + address, body === undefined ? {} : { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) });
    return { status: answer.status, ...(await answer.json()) };
  };
  return Object.assign(ask, { seen });
}

/** A folder that is gone after the test. */
function place(t) {
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'ringfence-gateway-')));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const GUARD = `export function onRequest({ body }) {
  if (body.text !== body.text?.toUpperCase()) return undefined;
  return { blocked: true, reason: 'it shouts', response: { advice: 'say it calmly' } };
}
`;

test('each request passes through the plugins in order', needs, async (t) => {
  const ask = await start(t, '--config', 'request-id:{"prefix": "gw"}');
  const first = await ask('/notes?a=1', { text: 'write to ada@example.com', author: 'bob@example.com' });
  assert.deepEqual(first.body, { text: 'write to [address]', author: 'bob@example.com' });
  assert.deepEqual(first.metadata, { method: 'POST', path: '/notes?a=1', requestId: 'gw-1' });
  assert.equal((await ask('/')).metadata.requestId, 'gw-2', 'a plugin keeps what it counts');
  assert.deepEqual(await ask('/', 'no json'), { status: 400, error: 'the body is no JSON' });
});

test('a plugin that may not read its file is left out, and one that may adds to the request', needs, async (t) => {
  const folder = place(t);
  const file = path.join(folder, 'flags.json');
  fs.writeFileSync(file, '{"dark": true}');
  const config = ['--config', `feature-flags:${JSON.stringify({ file })}`];
  const denied = await (await start(t, ...config))('/', { text: '' });
  assert.deepEqual([denied.status, denied.metadata.flags], [200, undefined]);
  const granted = await (await start(t, ...config, '--grant', `feature-flags:file:read=${file}`))('/', { text: '' });
  assert.deepEqual([granted.status, granted.metadata.flags], [200, { dark: true }]);
});

test('what a guard blocks is answered with its reason and never sent on', needs, async (t) => {
  const plugins = path.join(place(t), 'plugins');
  fs.cpSync(path.join(path.dirname(GATEWAY), 'plugins'), plugins, { recursive: true });
  const guard = path.join(plugins, 'calm');
  fs.mkdirSync(guard);
  const manifest = { name: 'calm', version: '1.0.0', runtime: 'node', entry_point: 'calm.mjs', hooks: [{ event: 'onRequest', kind: 'guard' }] };
  fs.writeFileSync(path.join(guard, 'plugin.json'), JSON.stringify(manifest));
  fs.writeFileSync(path.join(guard, 'calm.mjs'), GUARD);
  const ask = await start(t, '--plugins', plugins);
  assert.deepEqual(await ask('/', { text: 'LISTEN' }), { status: 403, blocked: 'it shouts', advice: 'say it calmly' });
  assert.equal(ask.seen.count, 0, 'the service has not heard of it');
  assert.equal((await ask('/', { text: 'listen' })).body.text, 'listen');
  assert.equal(ask.seen.count, 1, 'the twin');
});
