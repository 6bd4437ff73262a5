// Server-sent events, and on from where a stream was cut off.

import { RingfenceError, fromDocument, Unavailable } from './errors.mjs';

/** The daemon says every 15 s that it is there. */
const SILENCE_MAX_MS = 60_000;
const LINE_MAX_BYTES = 8 * 1024 * 1024;
const FIRST_WAIT_MS = 50;
const LONGEST_WAIT_MS = 2_000;

export class EventStream {
  #transport;
  #address;
  #reconnectMs;
  #sent;
  #closed = false;
  #over = false;
  #wake = () => {};

  constructor(transport, address, { lastEventId, reconnectMs = 30_000 } = {}) {
    this.#transport = transport;
    this.#address = address;
    this.#reconnectMs = reconnectMs;
    this.lastEventId = lastEventId;
  }

  /** Opens it; `signal` closes it. */
  static async open(transport, address, { signal, ...options } = {}) {
    const stream = new EventStream(transport, address, options);
    await stream.#open(signal);
    signal?.addEventListener('abort', () => stream.close(), { once: true });
    return stream;
  }

  async #open(signal) {
    const headers = { Accept: 'text/event-stream' };
    if (this.lastEventId !== undefined) headers['Last-Event-ID'] = this.lastEventId;
    const sent = await this.#transport.send('GET', this.#address, { headers, signal });
    if (sent.response.statusCode !== 200) {
      let text = '';
      try {
        for await (const block of sent.response) text += block;
      } catch {
        text = '';
      }
      sent.request.destroy();
      throw fromDocument(parsed(text), sent.response.statusCode);
    }
    sent.request.setTimeout(SILENCE_MAX_MS, () => sent.request.destroy(new Error('nothing came for too long')));
    this.#sent = sent;
    if (this.#closed) sent.request.destroy();
  }

  async* [Symbol.asyncIterator]() {
    try {
      for (;;) {
        const before = this.lastEventId;
        let cause;
        try {
          yield* this.#read();
        } catch (error) {
          cause = error;
        }
        this.#sent?.request.destroy();
        this.#sent = undefined;
        if (this.#closed || this.#over) return;
        if (!(await this.#again(this.#transport.lost(cause)))) return;
        // Nothing was seen that one could go on behind.
        if (before === undefined && this.lastEventId === undefined) yield { name: 'missed', data: { count: null } };
      }
    } finally {
      // Also when whoever iterates breaks out of the loop.
      this.close();
    }
  }

  /** Whether it goes on. */
  async #again(lost) {
    if (this.#reconnectMs <= 0) throw lost;
    const end = Date.now() + this.#reconnectMs;
    for (let wait = FIRST_WAIT_MS; !this.#closed; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if (this.#closed) return false;
      try {
        await this.#open();
        return true;
      } catch (error) {
        if (!(error instanceof RingfenceError)) throw error;
        const isPassing = error instanceof Unavailable || ['busy', 'rate_limited', 'timeout'].includes(error.code);
        if (!isPassing || Date.now() > end || this.#transport.gone() !== undefined) throw error;
      }
    }
    return false;
  }

  async* #read() {
    let rest = Buffer.alloc(0);
    let event = { name: 'message', lines: [] };
    for await (const block of this.#sent.response) {
      rest = rest.length > 0 ? Buffer.concat([rest, block]) : block;
      let from = 0;
      for (let end = rest.indexOf(10, from); end >= 0; end = rest.indexOf(10, from)) {
        const line = rest.toString('utf8', from, end).replace(/\r$/, '');
        from = end + 1;
        if (line !== '') {
          field(event, line);
          continue;
        }
        const whole = event;
        event = { name: 'message', lines: [] };
        if (whole.lines.length === 0) continue;
        if (this.#closed) return;
        if (whole.id !== undefined) this.lastEventId = whole.id;
        this.#over = whole.name === 'end';
        yield { name: whole.name, data: JSON.parse(whole.lines.join('\n')), id: whole.id };
        if (this.#over) return;
      }
      rest = rest.subarray(from);
      if (rest.length > LINE_MAX_BYTES) throw new Error(`a line of the stream is longer than ${LINE_MAX_BYTES} bytes`);
    }
  }

  close() {
    this.#closed = true;
    this.#wake();
    this.#sent?.request.destroy();
  }
}

function field(event, line) {
  const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
  if (name === 'event') event.name = value;
  else if (name === 'data') event.lines.push(value);
  else if (name === 'id') event.id = value;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
