// Packages made for one test.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { PluginHarness } from '../testing.mjs';

/** A package with the files given; the entry point is the first of them. */
export function makePackage(t, files) {
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'ringfence-sdk-')));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const entry = Object.keys(files)[0];
  const manifest = { name: 'under-test', version: '1.0.0', runtime: 'node', entry_point: entry };
  for (const [name, text] of Object.entries({ 'plugin.json': JSON.stringify(manifest), ...files })) {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), text);
  }
  return folder;
}

/** A started plugin, closed when the test ends. `source` is an ES module, or an object of files. */
export async function start(t, source, options) {
  const files = typeof source === 'string' ? { 'plugin.mjs': source } : source;
  const harness = await PluginHarness.start(makePackage(t, files), options);
  t.after(() => harness.close());
  return harness;
}

/** The error that a promise is rejected with. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
