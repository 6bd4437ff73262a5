// One command in a sandbox: its output as it comes, then its report.

import { made } from './errors.mjs';
import { EventStream } from './stream.mjs';
import { addressOf } from './transport.mjs';

const ACT_TIMEOUT_MS = 60_000;

export class Run {
  #transport;
  #stream;
  #over;
  #pending;

  constructor(transport, answer) {
    this.#transport = transport;
    this.id = answer.id;
    this.report = answer.report ?? undefined;
    this.stdout = answer.stdout ?? '';
    this.stderr = answer.stderr ?? '';
    this.#over = this.report !== undefined;
    this.#pending = ['stdout', 'stderr'].filter((name) => this[name]).map((stream) => ({ stream, text: this[stream], t_ms: 0 }));
  }

  async* [Symbol.asyncIterator]() {
    while (this.#pending.length > 0) yield this.#pending.shift();
    if (this.#over) return;
    const from = this.#stream?.lastEventId;
    this.#stream = await EventStream.open(this.#transport, addressOf('/runs/{id}/stream', { id: this.id }), { lastEventId: from });
    for await (const { name, data } of this.#stream) {
      if (name === 'end') {
        this.#over = true;
        this.report = data ?? undefined;
      } else if (name === 'output') {
        this[data.stream ?? 'stdout'] += data.text;
        yield data;
      }
    }
  }

  async wait() {
    // Only the end of it is of interest; what comes before is kept.
    for await (const output of this) void output;
    if (this.report === undefined && this.#over && this.id !== null) {
      this.report = (await this.#transport.ask('GET', addressOf('/runs/{id}', { id: this.id }))).document.report ?? undefined;
    }
    if (this.report === undefined) {
      throw made('cancelled', `nobody waits for run ${this.id} any more, or its report was lost`);
    }
    return this.report;
  }

  async cancel() {
    if (this.#over || this.id === null) return;
    try {
      await this.#transport.ask('POST', addressOf('/runs/{id}/cancel', { id: this.id }), { timeoutMs: ACT_TIMEOUT_MS });
    } catch (error) {
      if (error.code !== 'not_active') throw error;
    }
  }

  close() {
    this.#stream?.close();
  }
}
