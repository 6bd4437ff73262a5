// Moves the protocol away from fd 0 and 1, so that nothing a plugin prints, in JavaScript or C, can break it.
//
// Node has no dup2. Opening /proc/self/fd/N of a pipe gives a new descriptor of the same pipe, and the lowest free number
// is taken first: so fd 1 is closed and the log opened in its place. Where that is not possible (no /proc, sockets, pipes
// that belong to another user), the protocol stays where it is and the JavaScript ways to fd 1 are turned to the log.

import fs from 'node:fs';

/** @returns {{reader: number, writer: number}} descriptors of the protocol, both blocking. */
export function moveProtocol() {
  const given = process.env.RINGFENCE_PROTOCOL_FDS;
  if (given !== undefined) {
    delete process.env.RINGFENCE_PROTOCOL_FDS;
    const [reader, writer] = given.split(',').map(Number);
    if (Number.isInteger(reader) && Number.isInteger(writer) && reader > 2 && writer > 2) return { reader, writer };
  }
  const opened = [];
  try {
    const reader = open(opened, '/proc/self/fd/0', fs.constants.O_RDONLY);
    const writer = open(opened, '/proc/self/fd/1', fs.constants.O_WRONLY | fs.constants.O_APPEND);
    // Both are opened once before anything is closed: after that, nothing can fail halfway.
    const log = open(opened, '/proc/self/fd/2', fs.constants.O_WRONLY | fs.constants.O_APPEND);
    const empty = open(opened, '/dev/null', fs.constants.O_RDONLY);
    fs.closeSync(0);
    fs.openSync('/dev/null', fs.constants.O_RDONLY);
    fs.closeSync(1);
    fs.openSync('/proc/self/fd/2', fs.constants.O_WRONLY | fs.constants.O_APPEND);
    fs.closeSync(log);
    fs.closeSync(empty);
    return { reader, writer };
  } catch {
    for (const fd of opened) fs.closeSync(fd);
    guardStandardOutput();
    return { reader: 0, writer: 1 };
  }
}

function open(opened, path, flags) {
  const fd = fs.openSync(path, flags);
  opened.push(fd);
  return fd;
}

function guardStandardOutput() {
  Object.defineProperty(process, 'stdout', { get: () => process.stderr, configurable: true });
  const writeSync = fs.writeSync;
  const write = fs.write;
  fs.writeSync = (fd, ...rest) => writeSync(fd === 1 ? 2 : fd, ...rest);
  fs.write = (fd, ...rest) => write(fd === 1 ? 2 : fd, ...rest);
  guardStandardOutput.writeSync = writeSync;
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
