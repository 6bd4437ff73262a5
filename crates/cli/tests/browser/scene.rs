//! A daemon with something to see: plugins, calls, hooks, a run, a log.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::driver::Chromium;
use crate::world::World;

/// A world, its daemon, and a browser.
pub(crate) struct Scene {
    // Ended in this order: nobody asks a daemon that has gone.
    pub(crate) chromium: Chromium,
    pub(crate) daemon: Daemon,
    pub(crate) world: World,
}

impl Scene {
    /// `None` where something is missing, which is said.
    pub(crate) fn new() -> Option<Self> {
        let world = World::new()?;
        let chromium = Chromium::start()?;
        // Packages that are written into the world can be installed by their paths.
        std::fs::create_dir_all(world.path("home")).unwrap();
        std::fs::create_dir(world.path("packages")).unwrap();
        std::fs::set_permissions(world.path("home"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        let config = format!("[server]\ninstall_from = [{:?}]\n", world.path("packages"));
        std::fs::write(world.path("home/config.toml"), config).unwrap();
        let daemon = Daemon::start(&world);
        Some(Self { chromium, daemon, world })
    }

    /// A page of the dashboard as an address.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.daemon.address())
    }

    pub(crate) fn open(&self, path: &str) {
        self.chromium.open(&self.at(path));
    }

    /// An address that signs in once, made for the daemon's own user.
    pub(crate) fn link(&self) -> String {
        let answer = self.over_socket("POST", "/dashboard/links", &Value::Null);
        answer["url"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Signs in with such a link.
    pub(crate) fn sign_in(&self) {
        self.chromium.open(&self.link());
        self.chromium.shows("Sign out");
    }

    /// Asks the API as the daemon's own user.
    pub(crate) fn over_socket(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = UnixStream::connect(self.world.path("home/daemon.sock")).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let begin = body.find(['{', '[']).unwrap_or(0);
        let end = body.rfind(['}', ']']).map_or(body.len(), |at| at + 1);
        serde_json::from_str(&body[begin..end]).unwrap_or(Value::Null)
    }

    /// Runs a command to its end; its number.
    pub(crate) fn run(&self, words: &[&str]) -> u64 {
        let body = json!({"command": words, "grant": ["subprocess:execute"], "wait": true});
        let ran = self.over_socket("POST", "/exec", &body);
        ran["id"].as_u64().unwrap_or_else(|| panic!("{ran}"))
    }

    /// A package of a Python plugin with this manifest, its name and version aside.
    pub(crate) fn package(&self, name: &str, manifest: &Value, code: &str) -> PathBuf {
        self.version(name, "1.0.0", manifest, code)
    }

    /// The same in a version.
    pub(crate) fn version(&self, name: &str, version: &str, manifest: &Value, code: &str) -> PathBuf {
        let package = self.world.path(&format!("packages/{name}-{version}"));
        std::fs::create_dir_all(&package).unwrap();
        let mut whole =
            json!({"name": name, "version": version, "runtime": "python", "entry_point": "main.py"});
        for (field, value) in manifest.as_object().unwrap() {
            whole[field] = value.clone();
        }
        std::fs::write(package.join("plugin.json"), whole.to_string()).unwrap();
        std::fs::write(package.join("main.py"), code).unwrap();
        package
    }

    /// A package as one file, which the browser may read.
    pub(crate) fn packed(&self, package: &std::path::Path) -> PathBuf {
        let file = self.world.path(&format!("{}.tar.gz", package.file_name().unwrap().display()));
        let packed =
            std::process::Command::new("tar").arg("czf").arg(&file).arg("-C").arg(package).arg(".").status();
        assert!(packed.unwrap().success());
        self.chromium.lend(&file)
    }

    /// Sends a form of this session with whatever fields, as no page offers it, and waits for the page that comes of it.
    pub(crate) fn send(&self, path: &str, fields: &[(&str, &str)]) {
        let chromium = &self.chromium;
        chromium.eval(&format!(
            "(() => {{ const form = document.createElement('form'); form.method = 'post'; form.action = {};\
             const all = [['csrf', document.querySelector('input[name=csrf]').value], ...{}];\
             for (const [name, value] of all) {{ const field = document.createElement('textarea'); field.name = name;\
             field.value = value; form.append(field); }} document.body.append(form); window.before = true; form.submit(); }})()",
            json!(path),
            json!(fields)
        ));
        chromium.until("window.before === undefined && document.readyState === 'complete'");
    }

    /// Installs such a plugin, grants all that it asks for, and activates it.
    pub(crate) fn active(&self, name: &str, manifest: &Value, code: &str) {
        let package = self.package(name, manifest, code);
        self.world.done(&["install", &package.display().to_string(), "--grant-requested"]);
        self.world.done(&["activate", name]);
    }

    /// A plugin that asks the host for files which it was not granted.
    pub(crate) fn nosy(&self) {
        let code = "from ringfence import host\n\ndef look(a):\n    try:\n        host.read_file(a.get('path', '/usr/share/secret'))\n    \
            except Exception:\n        pass\n    return 1\n";
        let manifest = json!({"description": "Looks around.", "tools": [{"name": "look"}]});
        self.active("nosy", &manifest, code);
    }

    /// What a host looks like that is used.
    pub(crate) fn furnish(&self) {
        let guard = "import sys\n\ndef onRequest(ctx):\n    if ctx['body'].get('bad'):\n        return {'blocked': True, 'reason': 'bad words'}\n\n\
            def add(a):\n    print('added a note', file=sys.stderr)\n    return 1\n\ndef fail(a):\n    raise ValueError('no such note')\n\n\
            def grow(a):\n    global kept\n    kept = b'x' * 20_000_000\n    return 1\n";
        let manifest = json!({
            "description": "Keeps notes, and stops bad words.", "author": "Ada Lovelace", "license": "MIT",
            "permissions": [{"permission": "env:read", "scope": ["LANG"], "reason": "to speak your language"}],
            "hooks": [{"event": "onRequest", "kind": "guard", "priority": 10}],
            "tools": [{"name": "add", "description": "Adds a note."}, {"name": "fail", "description": "Always fails."}, {"name": "grow"}],
            "config_schema": {"type": "object", "additionalProperties": false, "properties": {
                "language": {"type": "string", "title": "Language", "enum": ["de", "fr"], "default": "de"},
                "key": {"type": "string", "title": "Key", "writeOnly": true}
            }}
        });
        self.active("keeper", &manifest, guard);
        let quiet = json!({"description": "Does nothing, quietly.", "tools": [{"name": "hi"}]});
        self.active("quiet", &quiet, "def hi(a):\n    return 1\n");
        let asks = json!({
            "description": "Wants to read.",
            "permissions": [{"permission": "env:read", "scope": ["HOME"], "reason": "to find your notes"}],
            "tools": [{"name": "hi"}]
        });
        let waits = self.package("waits", &asks, "def hi(a):\n    return 1\n");
        let installed = self.world.run(&["install", &waits.display().to_string(), "--json"]);
        assert!(installed.out.contains("waits"), "{installed:?}");
        for tool in ["add", "add", "fail"] {
            self.world.run(&["call", "keeper", tool]);
        }
        self.over_socket("POST", "/hooks/onRequest", &json!({"body": {"bad": true}}));
        self.run(&["/bin/sh", "-c", "echo hello; cat /etc/shadow; exit 3"]);
        self.run(&["/bin/true"]);
        self.over_socket("POST", "/tokens", &json!({"role": "viewer", "expires_in_s": 86400}));
        self.over_socket("POST", "/tokens", &json!({"role": "operator", "plugin": "keeper"}));
    }
}
