import fs from 'node:fs/promises';

let file;

export function initialize(config) {
  file = config.file;
}

export async function onRequest({ body, metadata }) {
  const flags = JSON.parse(await fs.readFile(file, 'utf8'));
  return { body, metadata: { ...metadata, flags } };
}
