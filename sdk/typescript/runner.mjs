// Starts a JavaScript plugin: moves the protocol away from fd 0 and 1, then serves it.
//
//     node runner.mjs PACKAGE ENTRY_POINT
//     node runner.mjs --describe PACKAGE ENTRY_POINT
//
// Plain JavaScript without a build step or dependencies, because the host embeds these files as they are. Start reading
// at lib/session.mjs; the pipes are lib/engine.mjs.

import { moveProtocol } from './lib/descriptors.mjs';

const [first, ...others] = process.argv.slice(2);
const describe = first === '--describe';
const [packageDir, entryPoint] = describe ? others : [first, ...others];
if (!packageDir || !entryPoint) {
  process.stderr.write('usage: runner.mjs [--describe] PACKAGE ENTRY_POINT\n');
  process.exit(2);
}
const descriptors = moveProtocol();
process.argv.splice(1, process.argv.length, entryPoint);
if (describe) {
  const { describePlugin } = await import('./lib/describe.mjs');
  await describePlugin(descriptors.writer, packageDir, entryPoint);
} else {
  const { Session } = await import('./lib/session.mjs');
  new Session(descriptors, packageDir, entryPoint).serve();
}
