// Makes `import ... from "ringfence"` and `require("ringfence")` work in a package that has no node_modules.

import fs from 'node:fs';
import module from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const SDK = new URL('../', import.meta.url);
const WANTED = new Map([['ringfence', ['index.mjs', 'index.cjs']], ['ringfence/testing', ['testing.mjs', 'testing.mjs']]]);

/** Files that are searched for an import of the SDK, and the most bytes of one. */
const FILES_MAX = 200;
const FILE_MAX_BYTES = 256 * 1024;

export async function provideSdk(packageDir, file) {
  if (resolvesAlready(file)) return;
  const resolveFilename = module._resolveFilename;
  module._resolveFilename = function resolve(request, ...rest) {
    const files = WANTED.get(request);
    return files === undefined ? resolveFilename.call(this, request, ...rest) : new URL(files[1], SDK).pathname;
  };
  if (typeof module.registerHooks === 'function') {
    module.registerHooks({
      resolve(specifier, context, next) {
        const files = WANTED.get(specifier);
        if (files === undefined) return next(specifier, context);
        return { url: new URL(files[0], SDK).href, shortCircuit: true };
      },
    });
  } else if (mentionsSdk(packageDir)) {
    // This starts a thread of its own for resolving, which costs as much as Node's start; hence only when it is needed.
    const table = JSON.stringify([...WANTED].map(([name, files]) => [name, new URL(files[0], SDK).href]));
    const source = `const t=new Map(${table});export async function resolve(s,c,n)`
      + '{const u=t.get(s);return u===undefined?n(s,c):{url:u,shortCircuit:true}}';
    if (typeof module.register === 'function') module.register(`data:text/javascript,${encodeURIComponent(source)}`);
  }
}

function resolvesAlready(file) {
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    if (fs.existsSync(path.join(folder, 'node_modules', 'ringfence', 'package.json'))) return true;
    if (folder === path.dirname(folder)) return false;
  }
}

function mentionsSdk(packageDir) {
  const folders = [packageDir];
  for (let files = 0; folders.length > 0 && files < FILES_MAX;) {
    const folder = folders.pop();
    for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
      const full = path.join(folder, entry.name);
      if (entry.isDirectory() && entry.name !== 'node_modules' && !entry.name.startsWith('.')) folders.push(full);
      if (!entry.isFile() || !/\.m?[jt]s$/.test(entry.name)) continue;
      files += 1;
      if (fs.statSync(full).size > FILE_MAX_BYTES) return true;
      if (/(?:from|import)\s*\(?\s*["']ringfence(?:\/testing)?["']/.test(fs.readFileSync(full, 'utf8'))) return true;
    }
  }
  return false;
}

export const sdkUrl = pathToFileURL(new URL('.', SDK).pathname);
