// `--describe`: imports a plugin and prints what its code declares, as one JSON document.

import { writeAll } from './descriptors.mjs';
import { encode } from './engine.mjs';
import { load } from './plugin.mjs';

export async function describePlugin(writer, packageDir, entryPoint) {
  const empty = { tools: [], hooks: [], class_found: false, bases: [] };
  const exit = process.exit.bind(process);
  const finish = (document) => {
    let text;
    try {
      text = encode(document);
    } catch (error) {
      text = encode({ ...empty, error: `a declaration is not JSON: ${error.message}` });
    }
    writeAll(writer, `${text}\n`);
    exit(0); // Timers that the import started must not keep the process.
  };
  process.exit = (code) => finish({ ...empty, error: `the plugin called process.exit(${code ?? ''}) while it was imported` });
  try {
    const plugin = await load(packageDir, entryPoint);
    plugin.inspect();
    finish({
      tools: [...plugin.tools.values()].map(([, declaration]) => declaration),
      hooks: [...plugin.hooks.values()].map(([, declaration]) => declaration),
      class_found: plugin.found !== undefined,
      bases: plugin.found === undefined ? [] : bases(plugin.found),
    });
  } catch (error) {
    process.stderr.write(`${error?.stack ?? String(error)}\n`);
    finish({ ...empty, error: `${error?.name ?? 'Error'}: ${error?.message ?? String(error)}`.slice(0, 4000) });
  }
}

function bases(found) {
  const result = [];
  for (let base = Object.getPrototypeOf(found); typeof base?.name === 'string' && base.name !== ''; base = Object.getPrototypeOf(base)) {
    result.push(Object.hasOwn(base, Symbol.for('ringfence.plugin')) ? `ringfence.${base.name}` : base.name);
  }
  return result;
}
