// Says, in a run that Ringfence watches, which line of the program a file was asked for by.
//
// The watcher sees system calls, and no line of JavaScript makes one by itself. Before each act on a path this asks for a name
// that is nowhere, in which the line and the path are written; the watcher reads it. Nothing else comes of it.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { fileURLToPath } = require("node:url");

const exists = fs.existsSync;
const said = new Set();
// Parts of the system that every sandbox shows.
const shown = ["/usr/", "/lib", "/bin/", "/sbin/", "/proc/", "/dev/"];

function line() {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 30;
  const stack = new Error().stack ?? "";
  Error.stackTraceLimit = limit;
  for (const frame of stack.split("\n").slice(1)) {
    const [, place, number] = /(?:\(| )((?:file:\/\/)?\/[^()]*):(\d+):\d+\)?$/.exec(frame) ?? [];
    if (place === undefined || place === __filename) continue;
    return [place.startsWith("file:") ? fileURLToPath(place) : place, number];
  }
  return undefined;
}

function say(named) {
  if (said.size >= 4096) return;
  if (named instanceof URL) named = fileURLToPath(named);
  if (Buffer.isBuffer(named)) named = named.toString();
  if (typeof named !== "string") return;
  const whole = path.resolve(named);
  if (shown.some((prefix) => whole.startsWith(prefix))) return;
  const found = line();
  if (found === undefined) return;
  const [file, number] = found;
  const mark = `/.ringfence/at/${number}/${Buffer.byteLength(file)}/${file}${whole}`;
  if (said.has(mark)) return;
  said.add(mark);
  exists(mark);
}

function watch(from, name, paths) {
  const act = from[name];
  if (typeof act !== "function") return;
  const watched = function (...given) {
    try {
      for (const index of paths) say(given[index]);
    } catch {
      // The program's own business goes on, whatever it has made of the library.
    }
    return Reflect.apply(act, this, given);
  };
  // What hangs on it, such as the form for promisify.
  Object.defineProperties(watched, Object.getOwnPropertyDescriptors(act));
  from[name] = watched;
}

const acts =
  "access appendFile chmod chown createReadStream createWriteStream exists lchown lstat lutimes mkdir mkdtemp open openAsBlob opendir " +
  "readFile readdir readlink realpath rm rmdir stat statfs truncate unlink utimes watch writeFile";
for (const name of acts.split(" ")) {
  for (const from of [fs, fs.promises]) watch(from, name, [0]);
  watch(fs, `${name}Sync`, [0]);
}
for (const name of ["rename", "link", "copyFile", "cp"]) {
  for (const from of [fs, fs.promises]) watch(from, name, [0, 1]);
  watch(fs, `${name}Sync`, [0, 1]);
}
for (const from of [fs, fs.promises]) watch(from, "symlink", [1]);
watch(fs, "symlinkSync", [1]);
require("node:module").syncBuiltinESMExports();
