// A gateway in front of an HTTP service: each JSON request passes through the onRequest plugins before it is sent on.
//
//     node gateway.mjs UPSTREAM [--port PORT] [--plugins DIRECTORY] [--grant PLUGIN:PERMISSION]... [--config PLUGIN:JSON]...
//
// Nothing of a plugin runs in this process. What plugins made of `metadata` goes on as the header x-gateway-metadata.

import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

// In a project of its own: import { Host } from 'ringfence/client'.
import { Host, RingfenceError } from '../../sdk/typescript/client/index.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const BODY_MAX_BYTES = 1024 * 1024;
const HOOK_TIMEOUT_MS = 10_000;

/** Installs and starts every package of a directory. Taking part in onRequest is granted to all, anything else as given. */
export async function load(host, directory, grants = {}, configs = {}) {
  for (const entry of fs.readdirSync(directory).sort()) {
    const { plugin } = await host.install(path.join(directory, entry));
    // Before consent, which starts a plugin that says `enabledByDefault`.
    if (configs[entry] !== undefined) await host.setConfig(plugin.name, configs[entry]);
    await host.grant(plugin.name, 'hook:register=onRequest', ...(grants[entry] ?? []));
    await host.activate(plugin.name);
  }
}

/** The server; it listens when its caller says so. */
export function gateway(host, upstream) {
  return http.createServer((request, response) => {
    pass(host, upstream, request, response).catch((error) => {
      // What plugins cannot be asked about is not sent on.
      const status = error instanceof RingfenceError ? 503 : error.status ?? 502;
      answer(response, status, { error: error.message });
    });
  });
}

async function pass(host, upstream, request, response) {
  const body = await read(request);
  const metadata = { method: request.method, path: request.url };
  const outcome = await host.hook('onRequest', body, { metadata, timeoutMs: HOOK_TIMEOUT_MS });
  if (outcome.outcome === 'blocked') return answer(response, 403, { blocked: outcome.reason, ...outcome.response });
  const sent = await fetch(new URL(request.url, upstream), {
    method: request.method,
    headers: { 'content-type': 'application/json', 'x-gateway-metadata': JSON.stringify(outcome.metadata) },
    body: ['GET', 'HEAD'].includes(request.method) ? undefined : JSON.stringify(outcome.body),
  });
  response.writeHead(sent.status, { 'content-type': sent.headers.get('content-type') ?? 'application/octet-stream' });
  response.end(Buffer.from(await sent.arrayBuffer()));
}

async function read(request) {
  const blocks = [];
  let size = 0;
  for await (const block of request) {
    blocks.push(block);
    size += block.length;
    if (size > BODY_MAX_BYTES) throw Object.assign(new Error('the body is too large'), { status: 413 });
  }
  try {
    return size > 0 ? JSON.parse(Buffer.concat(blocks).toString()) : {};
  } catch {
    throw Object.assign(new Error('the body is no JSON'), { status: 400 });
  }
}

function answer(response, status, document) {
  if (response.headersSent) return response.destroy();
  response.writeHead(status, { 'content-type': 'application/json' });
  return response.end(JSON.stringify(document));
}

const pairs = (words = []) => words.map((word) => [word.slice(0, word.indexOf(':')), word.slice(word.indexOf(':') + 1)]);

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      port: { type: 'string', default: '8080' },
      plugins: { type: 'string', default: path.join(HERE, 'plugins') },
      grant: { type: 'string', multiple: true },
      config: { type: 'string', multiple: true },
    },
  });
  const grants = {};
  for (const [name, permission] of pairs(values.grant)) (grants[name] ??= []).push(permission);
  const configs = Object.fromEntries(pairs(values.config).map(([name, text]) => [name, JSON.parse(text)]));
  const host = await Host.start();
  await load(host, values.plugins, grants, configs);
  const server = gateway(host, positionals[0]);
  server.listen(Number(values.port), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, async () => {
      server.close();
      server.closeAllConnections();
      await host.close();
    });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
