//! A home, a plugin, and the command.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::daemon::Daemon;

/// The program under test.
pub(crate) fn ringfence() -> &'static str {
    static PROGRAM: LazyLock<String> =
        LazyLock::new(|| ringfence_testkit::program(env!("CARGO_BIN_EXE_ringfence")).display().to_string());
    &PROGRAM
}

/// One test's own place. Everything is removed at its end.
pub(crate) struct World {
    // Ended before its home is removed.
    daemon: Option<Daemon>,
    dir: tempfile::TempDir,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// A world with `data/a.txt`; `None` where the plugin's interpreter is missing, which is said.
    pub(crate) fn new() -> Option<Self> {
        if ringfence_testkit::lacks("python3") {
            return None;
        }
        let dir = tempfile::tempdir_in(ringfence_testkit::place(env!("CARGO_TARGET_TMPDIR"))).unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/a.txt"), "a note").unwrap();
        let world = Self { daemon: None, dir };
        Some(if crate::SERVED { world.served() } else { world })
    }

    /// The same with a daemon on its home.
    fn served(mut self) -> Self {
        self.daemon = Some(Daemon::start(&self));
        self
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The grant that lets the plugin read the notes.
    pub(crate) fn read_grant(&self) -> String {
        format!("file:read={}/**", self.path("data").display())
    }

    /// Writes the plugin `notes` in this version into `notes-VERSION`, asking for these permissions. Returns its directory.
    pub(crate) fn package(&self, version: &str, permissions: &Value) -> String {
        let directory = self.path(&format!("notes-{version}"));
        std::fs::create_dir_all(&directory).unwrap();
        let manifest = json!({
            "name": "notes", "version": version, "runtime": "native", "entry_point": "notes.py",
            "description": "Reads notes.", "permissions": permissions,
            "tools": [
                {"name": "echo", "input_schema": {"type": "object", "properties": {
                    "text": {"type": "string"}, "count": {"type": "integer"}
                }}},
                {"name": "version"}, {"name": "read"}, {"name": "fail"}, {"name": "die"}, {"name": "sleep"}, {"name": "pages"}
            ],
            "config_schema": {"type": "object", "additionalProperties": false, "properties": {
                "language": {"type": "string", "enum": ["de", "fr"], "default": "de"},
                "key": {"type": "string", "writeOnly": true}
            }}
        });
        std::fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
        let program = directory.join("notes.py");
        std::fs::write(&program, include_str!("notes.py").replace("@VERSION@", version)).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        directory.display().to_string()
    }

    /// The plugin that asks to read the notes and, optionally, for a variable.
    pub(crate) fn notes(&self) -> String {
        self.package("1.0.0", &self.asks())
    }

    pub(crate) fn asks(&self) -> Value {
        json!([
            {"permission": "file:read", "scope": [format!("{}/**", self.path("data").display())], "reason": "to read\nnotes"},
            {"permission": "env:read", "scope": ["LANG"], "optional": true}
        ])
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(ringfence());
        command.args(words).env("RINGFENCE_HOME", self.path("home")).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        Ran::of(&self.command(words).output().unwrap())
    }

    /// Runs what must succeed.
    pub(crate) fn done(&self, words: &[&str]) -> Ran {
        let ran = self.run(words);
        assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
        ran
    }

    /// The document of what must succeed.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        self.done(&[words, &["--json"]].concat()).json()
    }

    /// Installs the plugin, grants all it asks for, and activates it.
    pub(crate) fn with_active_notes(self) -> Self {
        let package = self.notes();
        self.done(&["install", &package, "--grant-requested"]);
        self.done(&["activate", "notes"]);
        self
    }

    /// Compares a document with the stored one: the same one with and without a daemon.
    pub(crate) fn snapshot(&self, name: &str, document: &Value) {
        let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/snapshots");
        insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => snapshots}, {
            insta::assert_snapshot!(format!("plugins__{name}"), self.stable(document));
        });
    }

    /// The text without what is different in each run.
    pub(crate) fn stable(&self, document: &Value) -> String {
        let text = serde_json::to_string_pretty(document).unwrap();
        let place = self.dir.path().display().to_string();
        let lines = text.replace(&place, "DIR");
        let stable = lines.lines().map(|line| {
            let Some((name, value)) = line.split_once(": ") else { return line.to_owned() };
            let end = if value.ends_with(',') { "," } else { "" };
            match name.trim().trim_matches('"') {
                name_ if name_.ends_with("at_ms") => format!("{name}: 0{end}"),
                // The manifest names the directory of this run, whose length differs between machines.
                "bytes" => format!("{name}: 0{end}"),
                "digest" => format!("{name}: \"DIGEST\"{end}"),
                "granted_by" => format!("{name}: \"WHO\"{end}"),
                _ => line.to_owned(),
            }
        });
        stable.collect::<Vec<_>>().join("\n")
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless the command ended so and its one document has this code.
    pub(crate) fn refused(&self, status: i32, code: &str) -> Value {
        assert_eq!(self.code, Some(status), "{self:?}");
        let error = self.json()["error"].clone();
        assert_eq!(error["code"], code, "{self:?}");
        assert!(self.err.is_empty(), "with --json nothing else is said: {self:?}");
        error
    }
}

/// A program that takes one thing away from itself and then executes another: the one of the doctor tests.
pub(crate) fn deny(place: &Path) -> PathBuf {
    let program = place.join("deny");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/deny.c");
    let output = Command::new("cc").arg("-O1").arg(source).arg("-o").arg(&program).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    program
}
