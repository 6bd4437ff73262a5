//! A home in a temporary directory, and packages to install into it.

use std::path::{Path, PathBuf};

use ringfence::{Config, Home, Host};

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
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path().join("home"));
        let host = Host::builder().home(home).config(config).build().await.unwrap();
        Self { host, directory }
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
