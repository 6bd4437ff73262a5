//! Names that do not stand where they are used.

use super::fired;

fn all_fire(file: &str, rule: &str, sources: &[&str]) {
    let silent: Vec<&&str> = sources
        .iter()
        .filter(|source| !fired(file, source.as_bytes()).iter().any(|(id, _)| *id == rule))
        .collect();
    assert!(silent.is_empty(), "{rule} does not fire in {silent:#?}");
}

#[test]
fn python_hides_no_program_behind_a_name() {
    all_fire(
        "a.py",
        "runs-programs",
        &[
            "import os as o; o.system('x')",
            "from subprocess import run as r\nr('x')",
            "from os import *\nsystem('x')",
            "f = os.system\nf('x')",
            "import os\na = os\nb = a\nb.system('x')",
            "def f():\n    s('x')\nfrom os import system as s",
            "__import__('os').system('x')",
            "import importlib as i\ni.import_module('subprocess').Popen('x')",
            "m = __import__('subprocess')\nm.run('x')",
            "import os\ngetattr(os, 'system')('x')",
            "import os\nn = 'sys' + 'tem'\ngetattr(os, n)('x')",
            "import os\ngetattr(os, ''.join(['sys', 'tem']))('x')",
            "import os\ngetattr(os, 'metsys'[::-1])('x')",
            "import os\ngetattr(os, f\"{'sys'}tem\")('x')",
            "import os\ngetattr(os, '%stem' % 'sys')('x')",
            "import os\ngetattr(os, '{}tem'.format('sys'))('x')",
            "import os\ngetattr(os, chr(115) + 'ystem')('x')",
            "import os\ngetattr(os, '\\x73ystem')('x')",
            "import os\ngetattr(os, 'SYSTEM'.lower())('x')",
            "import os\nvars(os)['system']('x')",
            "import os\nos.__dict__['system']('x')",
            "import os\nos.__getattribute__('system')('x')",
            "import sys\nsys.modules['os'].system('x')",
            "import os\n(os.system if a else print)('x')",
            "import os\nlist(map(os.system, xs))",
            "import posix\nposix.system('x')",
            "import os\nif (s := os.system): s('x')",
            "a, b = os.system, 1\na('x')",
            "import asyncio\nasync def f(): await asyncio.create_subprocess_shell('x')",
            "x = print\nx = os.system\nx('x')",
        ],
    );
    all_fire(
        "a.py",
        "dynamic-code",
        &[
            "e = eval\ne('x')",
            "import builtins\nbuiltins.exec('x')",
            "__builtins__['eval']('x')",
            "__builtins__.__dict__['exec']('x')",
            "globals()['eval']('x')",
            "map(eval, xs)",
            "from builtins import exec as run\nrun('x')",
            "getattr(__import__('builtins'), 'ex' + 'ec')('x')",
        ],
    );
    all_fire(
        "a.py",
        "hidden-code",
        &[
            "import base64 as b\nexec(b.b64decode('eA==').decode())",
            "import zlib, base64\nc = zlib.decompress(base64.b64decode(x))\nexec(c)",
            "exec(bytes.fromhex('78'))",
            "from codecs import decode as d\neval(d('k', 'rot13'))",
        ],
    );
}

#[test]
fn scripts_hide_no_program_behind_a_name() {
    all_fire(
        "a.mjs",
        "runs-programs",
        &[
            "import cp from 'node:child_process'; cp.exec('x');",
            "import * as cp from 'child_process'; cp['exec']('x');",
            "import { exec as e } from 'child_process'; e('x');",
            "const { exec: run } = require('child_process'); run('x');",
            "const { spawn } = require('node:child_process'); spawn('x');",
            "require('child_process').execSync('x');",
            "require(`child_${'process'}`).exec('x');",
            "require('child_' + 'process').exec('x');",
            "require(['child', 'process'].join('_')).exec('x');",
            "const n = 'child_process'; require(n).exec('x');",
            "(await import('child_process')).exec('x');",
            "const cp = await import('node:child_process'); cp.default.exec('x');",
            "import { createRequire } from 'module'; const r = createRequire(import.meta.url); r('child_process').exec('x');",
            "process.mainModule.require('child_process').exec('x');",
            "globalThis.process.mainModule.require('child_process').exec('x');",
            "process.getBuiltinModule('child_process').exec('x');",
            "import cp from 'child_process'; cp.exec.call(null, 'x');",
            "import cp from 'child_process'; const f = cp?.exec; f('x');",
            "import cp from 'child_process'; Reflect.get(cp, 'exec')('x');",
            "import cp from 'child_process'; cp['\\x65xec']('x');",
            "let cp; cp = require('child_process'); cp.exec('x');",
            "function f() { cp.exec('x'); } const cp = require('child_process');",
        ],
    );
    all_fire(
        "a.js",
        "dynamic-code",
        &[
            "globalThis['eval']('x');",
            "window.eval('x');",
            "(0, eval)('x');",
            "const e = eval; e('x');",
            "Function('x')();",
            "new globalThis.Function('x');",
            "const vm = require('vm'); vm.runInNewContext('x');",
            "import { Script } from 'node:vm'; new Script('x');",
            "module._compile('x', 'y');",
            "[].map(eval);",
        ],
    );
    all_fire(
        "a.js",
        "hidden-code",
        &[
            "eval(Buffer.from('78', 'hex').toString());",
            "const c = atob(x); new Function(c)();",
            "setTimeout(atob('x'), 1);",
        ],
    );
    all_fire(
        "a.js",
        "deletes-files",
        &[
            "const { promises: { rm } } = require('fs'); rm('x');",
            "require('fs').promises.unlink('x');",
            "const fs = require('fs').promises; fs.rm('x');",
        ],
    );
    // Not followed into the function; said all the same.
    all_fire("a.js", "dynamic-import", &["import('child_process').then(m => m.exec('x'));"]);
}

#[test]
fn the_shell_hides_no_command_behind_a_name() {
    all_fire(
        "a.sh",
        "deletes-files",
        &[
            "/bin/rm x",
            "command rm x",
            "sudo -u root rm x",
            "env A=1 rm x",
            "nice -n 5 rm x",
            "timeout 5 rm x",
            "'r'm x",
            "r\\m x",
            "$'\\x72m' x",
            "X=rm; $X x",
            "X=rm; \"${X}\" x",
            "ls | xargs rm",
            "if true; then rm x; fi",
            "f() { rm x; }",
            "echo $(rm x)",
            "echo `rm x`",
            "a && rm x || b",
        ],
    );
}

#[test]
fn a_place_is_counted_in_lines_and_characters() {
    let report = super::report(&[("a.py", "import os\n'ü😀'; os.system('x')\n".as_bytes())]);
    assert_eq!((report.findings[0].line, report.findings[0].column), (2, 7));
}

#[test]
fn the_place_of_the_use_is_named_and_not_only_that_of_the_name() {
    for (file, rule, source) in [
        ("a.py", "runs-programs", "f = os.system\n\nf('x')"),
        ("a.py", "runs-programs", "a, b = os.system, 1\n\na('x')"),
        ("a.py", "dynamic-code", "e = eval\n\ne('x')"),
        ("a.js", "dynamic-code", "const e = eval;\n\ne('x');"),
    ] {
        let report = super::report(&[(file, source.as_bytes())]);
        let there = report.findings.iter().any(|one| one.rule == rule && one.line == 3);
        assert!(there, "{source}: {:?}", report.findings);
    }
}
