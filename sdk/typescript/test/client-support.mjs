// What the tests of the client share: the program, a plugin that does a little of everything, and a look at processes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const BINARY = process.env.RINGFENCE_BIN;
/** For `test(name, needs, ...)`. */
export const needs = { skip: BINARY ? false : 'needs RINGFENCE_BIN' };
const LONGEST_MS = 60_000;

const SOURCE = `
import { host, PluginError } from 'ringfence';
import fs from 'node:fs/promises';

export const version = () => '@VERSION@';
export const echo = (args) => args;
export async function count() {
  const number = (await host.loadPluginData('number', 0)) + 1;
  await host.storePluginData('number', number);
  return number;
}
export const read = ({ path }) => fs.readFile(path, 'utf8');
export const fail = () => { throw new PluginError('not today'); };
export async function sleep({ seconds }) {
  host.log('info', 'sleeping');
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
export const onRequest = ({ body }) => ({ body: { ...body, seen: true } });
export const handleEvent = (topic, payload) => host.storePluginData('heard', payload);
export const heard = () => host.loadPluginData('heard');
`;

/** A directory that is gone after the test. */
export function directory(t) {
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'ringfence-client-test-')));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The plugin in this version, asking for these permissions beside its own. */
export function makePackage(folder, { version = '1.0.0', more = [] } = {}) {
  const place = path.join(folder, `several-${version}`);
  fs.mkdirSync(place, { recursive: true });
  fs.writeFileSync(path.join(folder, 'a.txt'), 'a note');
  fs.writeFileSync(path.join(place, 'several.mjs'), SOURCE.replaceAll('@VERSION@', version));
  fs.writeFileSync(path.join(place, 'plugin.json'), JSON.stringify({
    name: 'several', version, runtime: 'node', entry_point: 'several.mjs', author: 'Tests',
    permissions: [{ permission: 'event:post', scope: ['news'] }, ...more],
    hooks: [{ event: 'onRequest', kind: 'mutator' }],
    tools: ['version', 'echo', 'count', 'read', 'fail', 'sleep', 'heard'].map((name) => ({ name })),
    config_schema: {
      type: 'object',
      properties: { language: { type: 'string', enum: ['de', 'fr'], default: 'de' }, key: { type: 'string', writeOnly: true } },
    },
  }));
  return place;
}

/** The error that a promise is rejected with: of this class and with this code. */
export async function raises(Kind, code, promise) {
  let caught;
  try {
    await promise;
  } catch (error) {
    caught = error;
  }
  assert.ok(caught instanceof Kind, `expected ${Kind.name}: ${caught?.stack ?? 'it did not fail'}`);
  assert.equal(caught.code, code, caught.message);
  return caught;
}

/** Whether a process runs; one that has ended and waits for its parent does not. */
export function alive(pid) {
  try {
    return !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** All descendants of a process. */
export function below(pid) {
  const parents = new Map();
  for (const number of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      parents.set(Number(number), Number(/.*\) \S (\d+)/s.exec(fs.readFileSync(`/proc/${number}/stat`, 'latin1'))[1]));
    } catch {
      // It has ended meanwhile.
    }
  }
  const found = [pid];
  for (const one of found) found.push(...[...parents].filter(([, parent]) => parent === one).map(([child]) => child));
  return found.slice(1);
}

/** Waits until something holds. */
export async function within(condition, message = 'it does not come') {
  for (const end = Date.now() + LONGEST_MS; !(await condition());) {
    assert.ok(Date.now() < end, message);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A Node process that runs this module; ended with the test. */
export function script(t, text, words = [], options = {}) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', text, '--', ...words], { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  child.errors = '';
  child.stderr.on('data', (block) => (child.errors += block));
  t.after(() => child.kill('SIGKILL'));
  return child;
}

/** The next line of what a process says. */
export async function line(child) {
  let said = '';
  for (;;) {
    const block = child.stdout.read(1);
    if (block === null) {
      if (child.stdout.readableEnded) throw new Error(`it said no more: ${said}${child.errors}`);
      await new Promise((resolve) => {
        child.stdout.once('readable', resolve);
        child.stdout.once('end', resolve);
      });
    } else if (String(block) === '\n') {
      return said;
    } else {
      said += block;
    }
  }
}
