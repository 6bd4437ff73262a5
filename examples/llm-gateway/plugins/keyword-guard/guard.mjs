// Refuses prompts that hold one of the words in its configuration.

let words = [];

export function initialize(config) {
  words = (config.words ?? []).map((word) => word.toLowerCase());
}

export const configChanged = initialize;

export function onRequest({ body }) {
  const text = JSON.stringify(body?.messages ?? '').toLowerCase();
  const found = words.find((word) => text.includes(word));
  if (found === undefined) return undefined;
  return {
    blocked: true,
    reason: `the prompt holds '${found}'`,
    response: { error: { message: 'this prompt is not allowed', type: 'invalid_request_error', code: 'keyword' } },
  };
}
