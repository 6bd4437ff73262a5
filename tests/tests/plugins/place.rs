//! A home, packages to install into it, and what must be true after every command.

use ringfence_testkit::{Job, Run, Who, World, users};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The plugin that breaks the rules.
pub(crate) const HOSTILE: &str = include_str!("hostile.py");

/// One test's own home and packages. The home is `home/state` of the world.
pub(crate) struct Place {
    pub(crate) world: World,
}

impl Place {
    /// A place for `who`; `None` where the plugin's interpreter is missing, which is said.
    pub(crate) fn new(who: Who) -> Option<Self> {
        if ringfence_testkit::lacks("python3") {
            return None;
        }
        let world = World::new(who);
        world.mkdir("packages");
        // A plugin never gets a terminal, nor a home with a file that is not Ringfence's own.
        std::fs::remove_file(world.path("home/state/token")).unwrap();
        Some(Self { world })
    }

    /// The least privileged user that this run can be: for what does not depend on the user.
    pub(crate) fn ordinary() -> Option<Self> {
        Self::new(*users().last().unwrap())
    }

    /// The entry point's name, which carries the marker: so every process of a plugin of this place is found.
    pub(crate) fn entry_point(&self) -> String {
        format!("{}.py", self.world.marker)
    }

    /// The manifest of the hostile plugin.
    pub(crate) fn manifest(&self, name: &str) -> Value {
        json!({
            "name": name, "version": "1.0.0", "runtime": "native", "entry_point": self.entry_point(),
            "tools": [{"name": "act"}, {"name": "ok"}],
        })
    }

    /// Writes a package with this manifest and the hostile plugin in `mode`; gives its directory.
    pub(crate) fn package(&self, directory: &str, manifest: &Value, mode: &str) -> String {
        self.package_with(directory, &manifest.to_string(), &[("mode", mode)])
    }

    /// Writes a package with this text as `plugin.json`, the hostile plugin, and these files.
    pub(crate) fn package_with(&self, directory: &str, manifest: &str, files: &[(&str, &str)]) -> String {
        let package = format!("packages/{directory}");
        self.world.mkdir(&package);
        self.world.put(&format!("{package}/plugin.json"), manifest);
        let program = format!("{package}/{}", self.entry_point());
        self.world.put(&program, HOSTILE);
        std::fs::set_permissions(self.world.path(&program), Permissions::from_mode(0o755)).unwrap();
        for (name, text) in files {
            self.world.put(&format!("{package}/{name}"), text);
        }
        self.world.path(&package).to_string_lossy().into_owned()
    }

    /// A package of the hostile plugin under `name`, with more members in its manifest.
    pub(crate) fn hostile(&self, name: &str, more: &Value, mode: &str) -> String {
        let mut manifest = self.manifest(name);
        for (field, value) in more.as_object().unwrap() {
            manifest[field] = value.clone();
        }
        self.package(name, &manifest, mode)
    }

    /// Installs the hostile plugin as `name` with all that it asks for, and activates it.
    pub(crate) fn active(&self, name: &str, more: &Value) {
        let package = self.hostile(name, more, "good");
        self.done(&["install", &package, "--grant-requested"]);
        self.done(&["activate", name]);
    }

    /// A command that is being prepared.
    pub(crate) fn job(&self, words: &[&str]) -> Job<'_> {
        self.world.ringfence(words)
    }

    /// Runs a command and looks whether it left something in the home.
    pub(crate) fn run(&self, words: &[&str]) -> Run {
        let run = self.job(words).run();
        self.no_litter();
        run
    }

    /// Runs what must succeed.
    pub(crate) fn done(&self, words: &[&str]) -> Run {
        let run = self.run(words);
        run.expect_code(0);
        run
    }

    /// The document of what must succeed.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        document(&self.done(&[words, &["--json"]].concat()))
    }

    /// Runs what must fail with this status and code, with exactly one document; gives the error in it.
    pub(crate) fn refused(&self, words: &[&str], status: i32, code: &str) -> Value {
        refusal(&self.run(&[words, &["--json"]].concat()), status, code)
    }

    /// Calls `act` of the plugin with these arguments.
    pub(crate) fn act(&self, name: &str, arguments: &Value) -> Value {
        self.json(&["call", name, "act", &arguments.to_string()])
    }

    /// The same, where it must fail.
    pub(crate) fn act_refused(&self, name: &str, arguments: &Value, status: i32, code: &str) -> Value {
        self.refused(&["call", name, "act", &arguments.to_string()], status, code)
    }

    /// The witness is installed once, and asked after each attack.
    pub(crate) fn with_witness(self) -> Self {
        self.active("witness", &json!({}));
        self
    }

    /// The witness still answers.
    pub(crate) fn witness(&self) {
        assert_eq!(self.json(&["call", "witness", "ok"]), "ok");
    }

    /// Nothing lies in staging when no command runs.
    pub(crate) fn no_litter(&self) {
        let staged = ringfence_testkit::post::names(&self.world.path("home/state/staging"));
        assert!(staged.is_empty(), "staging holds {staged:?}");
    }

    /// The path of something in the home.
    pub(crate) fn home(&self, below: &str) -> PathBuf {
        self.world.path("home/state").join(below)
    }

    /// Runs a Python program of the host on the database of the home; gives what it prints.
    pub(crate) fn sql(&self, statements: &str) -> Value {
        let program = "import sqlite3, sys, json\nbase = sqlite3.connect(sys.argv[1])\nrows = []\n\
                       for statement in sys.argv[2].split(';'):\n    rows = base.execute(statement).fetchall()\n\
                       base.commit()\nprint(json.dumps([[c.hex() if isinstance(c, bytes) else c for c in row] for row in rows]))";
        let base = self.home("state.db").to_string_lossy().into_owned();
        let run = self.world.bare_program(&["/usr/bin/python3", "-c", program, &base, statements]).run();
        run.expect_code(0);
        serde_json::from_slice(&run.stdout).unwrap()
    }

    /// Every file below the home whose bytes hold `word`.
    pub(crate) fn files_with(&self, word: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.home("")];
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    todo.push(path);
                } else if std::fs::read(&path)
                    .unwrap_or_default()
                    .windows(word.len())
                    .any(|part| part == word.as_bytes())
                {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// The one document that a command printed.
pub(crate) fn document(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("no one document: {error}\n{run}"))
}

/// The error of a command that had to fail, with nothing else said.
pub(crate) fn refusal(run: &Run, status: i32, code: &str) -> Value {
    let error = document(run)["error"].clone();
    assert_eq!((run.code, &error["code"]), (Some(status), &Value::from(code)), "{run}");
    assert!(run.stderr.is_empty(), "with --json nothing else is said\n{run}");
    let text = error.to_string();
    assert!(text.len() < 6_000, "an error is for people: {} bytes\n{run}", text.len());
    let shown =
        format!("{}{}", error["message"].as_str().unwrap(), error["hint"].as_str().unwrap_or_default());
    assert!(!raw_controls(&shown), "an error obeys no terminal\n{run}");
    error
}

/// Whether a text holds what a terminal would obey, other than an end of line.
pub(crate) fn raw_controls(text: &str) -> bool {
    text.chars().any(|letter| {
        letter.is_control() && letter != '\n'
            || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// What is wrong, one line each, for tests that try a whole table before they fail.
#[derive(Default)]
pub(crate) struct Wrongs(String);

impl Wrongs {
    pub(crate) fn note(&mut self, is_right: bool, what: impl std::fmt::Display) {
        if !is_right {
            writeln!(self.0, "{what}").unwrap();
        }
    }

    pub(crate) fn none(&self) {
        assert!(self.0.is_empty(), "{}", self.0);
    }
}
