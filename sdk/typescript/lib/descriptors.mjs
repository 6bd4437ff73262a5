// Moves the protocol away from fd 0 and 1, so that nothing a plugin prints, in JavaScript or C, can break it.
//
// Node has no dup2. Opening /proc/self/fd/N of a pipe gives a new descriptor of the same pipe, and the lowest free number
// is taken first: so fd 1 is closed and the log opened in its place. Where the log cannot be opened again, fd 1 leads
// nowhere; where the protocol cannot (no /proc, sockets, pipes that belong to another user), it stays where it is. In both
// cases the JavaScript ways to fd 1 are turned to the log.

import fs from 'node:fs';

/** @returns {{reader: number, writer: number}} descriptors of the protocol. */
export function moveProtocol() {
  const given = process.env.RINGFENCE_PROTOCOL_FDS;
  if (given !== undefined) {
    delete process.env.RINGFENCE_PROTOCOL_FDS;
    const [reader, writer] = given.split(',').map(Number);
    if (reader > 2 && writer > 2) return { reader, writer };
  }
  const { O_APPEND, O_RDONLY, O_WRONLY } = fs.constants;
  const reader = open('/proc/self/fd/0', O_RDONLY);
  const writer = open('/proc/self/fd/1', O_WRONLY | O_APPEND);
  const empty = open('/dev/null', O_RDONLY);
  if (reader === undefined || writer === undefined || empty === undefined) {
    for (const fd of [reader, writer, empty]) if (fd !== undefined) fs.closeSync(fd);
    guardStandardOutput();
    return { reader: 0, writer: 1 };
  }
  fs.closeSync(0);
  fs.openSync('/dev/null', O_RDONLY);
  fs.closeSync(1);
  if (open('/proc/self/fd/2', O_WRONLY | O_APPEND) === undefined) {
    fs.openSync('/dev/null', O_WRONLY);
    guardStandardOutput();
  }
  fs.closeSync(empty);
  return { reader, writer };
}

function open(path, flags) {
  try {
    return fs.openSync(path, flags);
  } catch {
    return undefined;
  }
}

function guardStandardOutput() {
  Object.defineProperty(process, 'stdout', { get: () => process.stderr, configurable: true });
  const { write, writeSync } = fs;
  fs.writeSync = (fd, ...rest) => writeSync(fd === 1 ? 2 : fd, ...rest);
  fs.write = (fd, ...rest) => write(fd === 1 ? 2 : fd, ...rest);
}

/** Writes all of a text, whatever the plugin did to `fs`. */
export const writeAll = (() => {
  const write = fs.writeSync;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  return (fd, text) => {
    let data = Buffer.from(text, 'utf8');
    while (data.length > 0) {
      try {
        data = data.subarray(write(fd, data));
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error;
        Atomics.wait(pause, 0, 0, 1);
      }
    }
  };
})();
