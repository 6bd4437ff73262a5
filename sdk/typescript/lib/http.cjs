'use strict';
// A body that is read piece by piece: what `host.httpFetch(url, { stream: true })` gives. The types are in index.d.ts.

const CLOSE_WAIT_MS = 2000;

/** `ask` asks within the call in progress, `askBeside` also when that has been cancelled. */
exports.httpStream = (answer, url, { ask, askBeside, HostError }) => {
  let id = answer.stream;
  let offset = 0;

  async function read(maxBytes, { timeoutMs } = {}) {
    if (id === undefined) return Buffer.alloc(0);
    const given = await ask('http_fetch_read', { stream: id, max_bytes: maxBytes }, timeoutMs);
    const { body = '', body_base64: encoded, done } = given;
    const piece = encoded === undefined ? Buffer.from(body) : Buffer.from(encoded, 'base64');
    if (given.offset !== offset) {
      await close();
      throw new HostError('a piece was lost with a read that was given up; fetch anew', { code: 'incomplete' });
    }
    offset += piece.length;
    if (done) id = undefined;
    return piece;
  }

  async function close() {
    if (id === undefined) return;
    const stream = id;
    id = undefined;
    // Where it fails, the host closes it by itself when nobody reads.
    await askBeside('http_fetch_close', { stream }, CLOSE_WAIT_MS).catch(() => {});
  }

  async function* pieces() {
    try {
      for (let piece = await read(); piece.length > 0; piece = await read()) yield piece;
    } finally {
      await close();
    }
  }

  async function* lines() {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    const whole = (parts) => parts.join('').replace(/\r$/, '');
    let held = [];
    for await (const piece of pieces()) {
      const [first, ...others] = decoder.decode(piece, { stream: true }).split('\n');
      held.push(first);
      for (const other of others) {
        yield whole(held);
        held = [other];
      }
    }
    held.push(decoder.decode());
    if (held.some((part) => part !== '')) yield whole(held);
  }

  return {
    status: answer.status, headers: answer.headers ?? {}, url: answer.url ?? url, read, close, lines,
    get closed() {
      return id === undefined;
    },
    [Symbol.asyncIterator]: pieces,
    ...(Symbol.asyncDispose !== undefined && { [Symbol.asyncDispose]: close }),
  };
};
