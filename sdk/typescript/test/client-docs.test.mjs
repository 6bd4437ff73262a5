// Every JavaScript example of the pages runs as it stands, beside the package `hello` of the README.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import { BINARY, directory, needs, ROOT, script } from './client-support.mjs';

test('every example runs', needs, async (t) => {
  const folder = directory(t);
  const read = (page) => fs.readFileSync(path.join(ROOT, page), 'utf8');
  fs.mkdirSync(path.join(folder, 'hello'));
  for (const [, name, content] of read('README.md').matchAll(/^cat > (hello\/\S+) <<'END'\n(.*?)^END$/gms)) {
    fs.writeFileSync(path.join(folder, name), content);
  }
  // As npm puts it there.
  fs.mkdirSync(path.join(folder, 'node_modules'));
  fs.symlinkSync(path.join(ROOT, 'sdk/typescript'), path.join(folder, 'node_modules/ringfence'));
  let said = '';
  for (const page of ['README.md', 'docs/host-clients.md', 'sdk/typescript/README.md']) {
    const blocks = [...read(page).matchAll(/^```js\n(.*?)^```$/gms)].map(([, text]) => text);
    const own = blocks.filter((text) => text.includes('ringfence/client'));
    assert.ok(own.length > 0, page);
    for (const block of own) {
      const child = script(t, block, [], { cwd: folder, env: { ...process.env, RINGFENCE_BIN: path.resolve(BINARY) } });
      child.stdout.on('data', (text) => (said += text));
      const status = await new Promise((resolve) => child.once('close', resolve));
      assert.deepEqual([status, child.errors], [0, ''], `${page}:\n${block}`);
    }
  }
  for (const words of ['to read your notes', "{ greeting: 'Hello, Ada!' }", 'conflict - read it again', "[ 'file:read=/srv/notes/**' ]",
    'hello started', 'stdout one\nstderr two\n0']) {
    assert.ok(said.includes(words), `${words} in ${said}`);
  }
});
