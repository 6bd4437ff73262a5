const ADDRESS = /[\w.+-]+@[\w-]+\.[\w.]+/g;
let config = {};

export function initialize(given) {
  config = given;
}

export function onRequest({ body, metadata }) {
  const redacted = (value) => {
    if (typeof value === 'string') return value.replace(ADDRESS, config.replacement);
    if (Array.isArray(value)) return value.map(redacted);
    if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, redacted(one)]));
    return value;
  };
  return { body: config.mode === 'all' ? redacted(body) : { ...body, text: redacted(body.text) }, metadata };
}
