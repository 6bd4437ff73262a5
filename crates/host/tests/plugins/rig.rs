//! A home in a temporary directory, and packages to install into it.

use std::path::{Path, PathBuf};

use ringfence::plugin::Consent;
use ringfence::{Config, Home, Host, HostBuilder};

/// One of two plugins that do the same.
pub(crate) struct Both {
    pub(crate) name: String,
    pub(crate) runtime: &'static str,
}

/// A home, a host on it, and a place for packages. The host must be shut down by the test.
pub(crate) struct Rig {
    pub(crate) host: Host,
    directory: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::made(|builder| builder.config(config)).await
    }

    /// With whatever else the host shall be told.
    pub(crate) async fn made(told: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().join("home"));
        let builder = Host::builder().home(home).config(Config::default());
        Self { host: told(builder).build().await.unwrap(), directory }
    }

    /// A host that the test has made, on a home in this directory.
    pub(crate) fn of(host: Host, directory: tempfile::TempDir) -> Self {
        Self { host, directory }
    }

    /// The host and its directory, each for itself.
    pub(crate) fn apart(self) -> (Host, tempfile::TempDir) {
        (self.host, self.directory)
    }

    /// Writes a package; files whose text begins with `#!` are executable.
    pub(crate) fn package(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let package = self.path(name);
        for (path, text) in files {
            let path = package.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            if text.starts_with("#!") {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        package
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }
}

impl Rig {
    /// Installs a Python plugin whose manifest is `head` and the tools, and whose code is `code`, with all that it asks for.
    pub(crate) async fn python(&self, name: &str, head: &str, tools: &[&str], code: &str) {
        let package = self.python_package(name, "1.0.0", head, tools, code);
        self.host
            .install(&package, Consent::Requested)
            .await
            .unwrap_or_else(|error| panic!("{}", error.chain()));
    }

    /// The package of such a plugin.
    pub(crate) fn python_package(
        &self,
        name: &str,
        version: &str,
        head: &str,
        tools: &[&str],
        code: &str,
    ) -> PathBuf {
        let tools: String = tools.iter().map(|tool| format!("{{name: {tool}}}, ")).collect();
        let manifest = format!(
            "name: {name}\nversion: {version}\nruntime: python\nentry_point: main.py\n{head}tools: [{tools}]\n"
        );
        self.package(&format!("{name}-{version}"), &[("plugin.yaml", &manifest), ("main.py", code)])
    }

    /// The same, and activates it.
    pub(crate) async fn active(&self, name: &str, head: &str, tools: &[&str], code: &str) {
        self.python(name, head, tools, code).await;
        self.host.activate(name).await.unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
    }

    /// Has a plugin crash, by its tool `die`, until it is quarantined.
    pub(crate) async fn quarantine(&self, name: &str) {
        for _ in 0..40 {
            // It waits between two starts; then it is called again.
            if self.call(name, "die").await.unwrap_err().code() == ringfence_api::ErrorCode::Quarantined {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            if self.state(name).await == ringfence_api::PluginState::Quarantined {
                break;
            }
        }
        assert_eq!(self.state(name).await, ringfence_api::PluginState::Quarantined);
    }

    /// Calls a tool without arguments.
    pub(crate) async fn call(&self, name: &str, tool: &str) -> Result<serde_json::Value, ringfence::Error> {
        self.host.call(name, tool, serde_json::json!({})).await
    }

    /// Installs and activates the same plugin once in Python and once in Node.
    pub(crate) async fn both(
        &self,
        name: &str,
        head: &str,
        tools: &[&str],
        python: &str,
        node: &str,
    ) -> [Both; 2] {
        let both = [
            Both { name: format!("{name}-python"), runtime: "python" },
            Both { name: format!("{name}-node"), runtime: "node" },
        ];
        self.active(&both[0].name, head, tools, python).await;
        let listed: String = tools.iter().map(|tool| format!("  - name: {tool}\n")).collect();
        let name = &both[1].name;
        let manifest = format!(
            "name: {name}\nversion: 1.0.0\nruntime: node\nentry_point: main.mjs\n{head}tools:\n{listed}"
        );
        let package = self.package(name, &[("plugin.yaml", &manifest), ("main.mjs", node)]);
        let installed = self.host.install(&package, Consent::Requested).await;
        installed.unwrap_or_else(|error| panic!("{}", error.chain()));
        self.host.activate(name).await.unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
        both
    }

    /// Waits, at most ten seconds, until the audit trail has a record of this kind with all these texts in it.
    pub(crate) async fn recorded(&self, event: &str, texts: &[&str]) {
        let trail = rusqlite::Connection::open(self.directory.path().join("home/state.db")).unwrap();
        let bodies = || -> Vec<String> {
            let mut records = trail.prepare("SELECT body FROM audit WHERE event = ? ORDER BY seq").unwrap();
            records.query_map([event], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let has = |body: &String| texts.iter().all(|text| body.contains(text));
        let wait = async {
            while !bodies().iter().any(has) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(std::time::Duration::from_secs(10), wait).await;
        assert!(found.is_ok(), "no {event} record with {texts:?} in {:#?}", bodies());
    }

    pub(crate) async fn state(&self, name: &str) -> ringfence_api::PluginState {
        self.host.show(name).await.unwrap().state
    }

    /// Waits, at most ten seconds, until it is so.
    pub(crate) async fn until(&self, name: &str, state: ringfence_api::PluginState) {
        let wait = async {
            while self.state(name).await != state {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(std::time::Duration::from_secs(10), wait).await;
        assert!(reached.is_ok(), "{name} is {:?} and not {state:?}", self.state(name).await);
    }
}
