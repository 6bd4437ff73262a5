//! One case at least in which each rule fires in each of its languages, and one in which it does not.

use std::collections::BTreeSet;

use super::files::{elf, wasm};
use super::{fired, scripts};
use crate::kind;
use crate::rule::{Language, RULES};

/// A file, the rule, and whether it fires.
pub(super) struct Fixture {
    pub(super) rule: &'static str,
    pub(super) file: &'static str,
    pub(super) content: Vec<u8>,
    pub(super) fires: bool,
}

/// Content on which the rule fires, and content on which it does not.
pub(super) type Pair<'a> = (&'static str, &'static str, &'a str, &'a str);

fn texts(pairs: &[Pair<'_>]) -> Vec<Fixture> {
    let both = |(rule, file, yes, no): &Pair<'_>| {
        let made = |content: &str, fires| Fixture { rule, file, content: content.into(), fires };
        [made(yes, true), made(no, false)]
    };
    pairs.iter().flat_map(both).collect()
}

const CYRILLIC: (&str, &str) = ("p\u{430}ssword = 1\n", "имя = 'Ольга'; Δt = 1\n");

/// The rules of the text of a file, which are the same in all languages.
fn characters() -> Vec<Fixture> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let blob: String = (0..300_usize).map(|n| char::from(letters[(n * n * 31 % 64) ^ (n % 64)])).collect();
    let ruler = "=".repeat(400);
    let line = "x = 1; ".repeat(400);
    let token = format!("t = 'ghp_{}'\n", "a1B2c3D4e5F6".repeat(3));
    let key = format!("k = '''-----BEGIN RSA PRIVATE KEY-----\n{}\n'''\n", "MIIEpAIBAAKCAQEA".repeat(4));
    let mut made = Vec::new();
    for file in ["a.py", "a.js", "a.ts", "a.sh"] {
        made.extend(texts(&[
            ("encoded-text", file, &format!("x=\"{blob}\"\n"), &format!("x=\"{ruler}\"\n")),
            ("long-line", file, &line, "x = 1\n"),
            ("mixed-script-name", file, CYRILLIC.0, CYRILLIC.1),
        ]));
    }
    for file in ["a.py", "a.js", "a.ts", "a.sh", "a.md"] {
        made.extend(texts(&[
            ("bidirectional-text", file, "x = 'a\u{202e}b'\n", "x = 'שלום'\n"),
            ("invisible-text", file, "x = 'a\u{200b}b'\n", "x = '👩\u{200d}💻 ❤\u{fe0f} می\u{200c}خواهم'\n"),
            (
                "access-token",
                file,
                &token,
                "t = 'AKIAIOSFODNN7EXAMPLE' # https://user:${PASSWORD}@host.example\n",
            ),
            ("private-key", file, &key, "if '-----BEGIN RSA PRIVATE KEY-----' in text: pass\n"),
        ]));
    }
    made
}

fn python() -> Vec<Fixture> {
    texts(&[
        (
            "runs-programs",
            "a.py",
            "import os\nos.system('ls')\n",
            "import os\nos.getcwd()\nself.system('ls')\n",
        ),
        ("dynamic-code", "a.py", "exec(x)\n", "import re\nre.compile(x)\nself.eval(x)\n"),
        (
            "dynamic-import",
            "a.py",
            "__import__(name)\n",
            "import importlib\nimportlib.import_module('json')\n",
        ),
        (
            "assembled-name",
            "a.py",
            "import os\ngetattr(os, 'sys' + 'tem')('x')\n",
            "import os\ngetattr(os, 'getcwd')()\ngetattr(self, name)\n",
        ),
        ("reflection", "a.py", "().__class__.__bases__[0].__subclasses__()\n", "type(x).__name__\n"),
        (
            "unsafe-deserialization",
            "a.py",
            "import pickle\npickle.loads(x)\n",
            "import json\njson.loads(x)\n",
        ),
        ("deletes-files", "a.py", "from pathlib import Path\nPath('x').unlink()\n", "items.remove(1)\n"),
        (
            "network-client",
            "a.py",
            "import urllib.request\nurllib.request.urlopen(u)\n",
            "import urllib.parse\nurllib.parse.quote(u)\n",
        ),
        (
            "network-server",
            "a.py",
            "from http.server import HTTPServer\nHTTPServer(a, h)\n",
            "import http\nhttp.HTTPStatus.OK\n",
        ),
        (
            "reads-environment",
            "a.py",
            "import os\nos.environ['HOME']\n",
            "import os\nos.environ['RINGFENCE_DATA_DIR']\nos.environ.get('RINGFENCE_PLUGIN')\nos.getenv('RINGFENCE_PLUGIN')\n",
        ),
        ("native-code", "a.py", "import ctypes\nctypes.CDLL('x')\n", "import struct\nstruct.pack('i', 1)\n"),
        (
            "hidden-code",
            "a.py",
            "import base64\nexec(base64.b64decode(x))\n",
            "import base64\nprint(base64.b64decode(x))\nexec(y)\n",
        ),
        (
            "odd-encoding",
            "a.py",
            "# -*- coding: utf-7 -*-\n",
            "# -*- coding: utf-8 -*-\n# encoding is hard\n",
        ),
        (
            "install-hook",
            "setup.py",
            "from setuptools import setup\nsetup(cmdclass={'install': A})\n",
            "from setuptools import setup\nsetup(name='a')\n",
        ),
    ])
}

fn files() -> Vec<Fixture> {
    let npm =
        (r#"{"scripts": {"postinstall": "node x.js"}}"#, r#"{"scripts": {"test": "install postinstall"}}"#);
    let made = |rule, file, content: &[u8], fires| Fixture { rule, file, content: content.to_vec(), fires };
    let mut fixtures = texts(&[
        ("install-hook", "package.json", npm.0, npm.1),
        ("install-hook", "a.pth", "import os; os.system('x')\n", "/srv/lib\n"),
        (
            "install-hook",
            "pyproject.toml",
            "[build-system]\nbackend-path = ['.']\n",
            "[project]\nname = 'a'\n",
        ),
    ]);
    fixtures.extend([
        made("install-script", "install.sh", b"echo\n", true),
        made("install-script", "installed.sh", b"echo\n", false),
        made("install-script", "install.py", b"print(1)\n", true),
        made("install-script", "installer.py", b"print(1)\n", false),
        made("secret-file", ".env", b"A=1\n", true),
        made("secret-file", ".env.example", b"A=1\n", false),
        made("opaque-code", "a.pyc", b"\xcb\x0d\r\n\0\0\0\0code", true),
        made("opaque-code", "a.txt", b"\r\nMZ is a word\n", false),
        made("disguised-file", "a.py", b"PK\x03\x04\0\0zip", true),
        made("disguised-file", "a.zip", b"PK\x03\x04\0\0zip", false),
        made("disguised-file", "a.py", &elf(&["puts"], b""), true),
        made("disguised-file", "a.so", &elf(&["puts"], b""), false),
        made("not-read", "a.bin", &elf(&["puts"], b"")[..100], true),
        made("not-read", "a.bin", &elf(&["puts"], b""), false),
    ]);
    for file in ["a.py", "a.js", "a.ts", "a.sh", "a.md"] {
        let code = kind::by_name(file) != Some(kind::Kind::Text);
        let large = vec![b'\n'; 1024 * 1024 + 1];
        fixtures.push(made("not-read", file, &large, code));
        fixtures.push(made("not-read", file, &large[1..], false));
    }
    // A document is not code, whatever its size; a program without end is.
    fixtures.push(made("not-read", "a.md.so", &elf(&["puts"], b"")[..80], true));
    fixtures
}

fn binaries() -> Vec<Fixture> {
    let of_elf = |rule, symbols: &[&str], text: &[u8], fires| Fixture {
        rule,
        file: "a.so",
        content: elf(symbols, text),
        fires,
    };
    let of_wasm =
        |rule, import: (&str, &str), fires| Fixture { rule, file: "a.wasm", content: wasm(&[import]), fires };
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}", "MIIEpAIBAAKCAQEA".repeat(4));
    let mut made = vec![
        of_elf("runs-programs", &["execve"], b"", true),
        of_elf("runs-programs", &["puts"], b"/bin/sh\0", true),
        of_elf("runs-programs", &["executor"], b"", false),
        of_elf("deletes-files", &["unlink"], b"", true),
        of_elf("deletes-files", &["open64"], b"", false),
        of_elf("network-client", &["connect"], b"", true),
        of_elf("network-client", &["reconnect"], b"", false),
        of_elf("network-server", &["accept4"], b"", true),
        of_elf("network-server", &["connect"], b"", false),
        of_elf("native-code", &["dlopen"], b"", true),
        of_elf("native-code", &["getenv"], b"", false),
        of_elf("opaque-code", &[], b"", true),
        of_elf("opaque-code", &["puts"], b"UPX!", true),
        of_elf("opaque-code", &["puts"], b"", false),
        of_elf("private-key", &["puts"], key.as_bytes(), true),
        of_elf("private-key", &["puts"], b"-----BEGIN PRIVATE KEY-----", false),
        of_elf("access-token", &["puts"], b"AKIAQ3EGTZ7YH2NBVKXC", true),
        of_elf("access-token", &["puts"], b"AKIAIOSFODNN7EXAMPLE", false),
        of_wasm("runs-programs", ("wasix_32v1", "proc_spawn"), true),
        of_wasm("deletes-files", ("wasi_snapshot_preview1", "path_unlink_file"), true),
        of_wasm("network-client", ("wasi_snapshot_preview1", "sock_send"), true),
        of_wasm("network-server", ("wasi_snapshot_preview1", "sock_accept"), true),
        of_wasm("reads-environment", ("wasi:cli/environment@0.2.0", "get-environment"), true),
    ];
    for rule in ["runs-programs", "deletes-files", "network-client", "network-server", "reads-environment"] {
        made.push(of_wasm(rule, ("wasi_snapshot_preview1", "fd_write"), false));
    }
    made
}

fn all() -> Vec<Fixture> {
    [
        characters(),
        python(),
        texts(scripts::JAVASCRIPT),
        texts(scripts::TYPESCRIPT),
        texts(scripts::SHELL),
        files(),
        binaries(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_rule_fires_where_it_shall_and_only_there() {
    let mut wrong = Vec::new();
    for Fixture { rule, file, content, fires } in all() {
        let found = fired(file, &content);
        if found.iter().any(|(id, _)| *id == rule) != fires {
            let shown: String = String::from_utf8_lossy(&content).chars().take(200).collect();
            wrong.push(format!(
                "{rule} {} in {file}, fired: {found:?}\n{shown}",
                if fires { "does not fire" } else { "fires" }
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_rule_has_a_fixture_for_each_of_its_languages_and_both_ways() {
    let language = |fixture: &Fixture| {
        let begins = kind::by_head(&fixture.content).filter(|kind| !matches!(kind, kind::Kind::Code(_)));
        begins.or(kind::by_name(fixture.file)).map_or(Language::Text, kind::Kind::language)
    };
    let have: BTreeSet<(&str, Language, bool)> =
        all().iter().map(|fixture| (fixture.rule, language(fixture), fixture.fires)).collect();
    let mut missing = Vec::new();
    for rule in RULES {
        for language in rule.languages {
            // A document that is not read is said, and is no finding.
            let ways = if rule.id == "not-read" && *language == Language::Text {
                &[false][..]
            } else {
                &[true, false]
            };
            for fires in ways {
                if !have.contains(&(rule.id, *language, *fires)) {
                    missing.push(format!("{} {} {fires}", rule.id, language.as_str()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    let known: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert!(have.iter().all(|(rule, ..)| known.contains(rule)));
    assert_eq!(known.len(), RULES.len(), "a name twice");
}

#[test]
fn names_of_one_language_belong_to_one_rule_and_to_a_rule_of_that_language() {
    let mut seen = BTreeSet::new();
    for rule in RULES {
        for names in rule.names {
            assert!(rule.languages.contains(&names.language), "{} {:?}", rule.id, names.language);
            for name in names.names {
                assert!(seen.insert((names.language, names.by, *name)), "{name} twice");
                assert!(!name.trim_end_matches('*').contains('*'), "{name}");
            }
        }
    }
}
