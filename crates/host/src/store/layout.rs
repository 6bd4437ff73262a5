//! Where the parts of the store lie in the home. Names only; nothing here touches a file.

use std::path::{Path, PathBuf};

use ringfence_api::PluginName;

use super::key::sha256_hex;

/// How many hexadecimal digits of a publisher's digest tell kept directories apart.
const PUBLISHER_DIGITS: usize = 16;

/// The names of everything that the store keeps below the home.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    home: PathBuf,
}

impl Layout {
    /// The layout of a home whose path holds no link any more.
    pub(super) fn new(home: PathBuf) -> Self {
        Self { home }
    }

    /// The home itself.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.home.join("state.db")
    }

    /// The 32 bytes that authenticate grants, consents and audit records.
    pub(crate) fn key(&self) -> PathBuf {
        self.home.join("state.key")
    }

    /// Copies of the database from before each migration.
    pub(crate) fn backups(&self) -> PathBuf {
        self.home.join("backup")
    }

    /// How far the audit chain has come, outside the database.
    pub(crate) fn anchor(&self) -> PathBuf {
        self.home.join("audit.anchor")
    }

    /// Packages on their way in; each directory is locked by whoever fills it.
    pub(crate) fn staging(&self) -> PathBuf {
        self.home.join("staging")
    }

    /// Installed packages, each below its digest.
    pub(crate) fn packages(&self) -> PathBuf {
        self.home.join("store")
    }

    /// One installed package.
    pub(crate) fn package(&self, digest: &str) -> PathBuf {
        self.packages().join(digest)
    }

    /// The private data directories.
    pub(crate) fn data_dirs(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The private data directory of one installed plugin.
    pub(crate) fn data_dir(&self, plugin: &PluginName) -> PathBuf {
        self.data_dirs().join(plugin.as_str())
    }

    /// The locks of what runs.
    pub(crate) fn running(&self) -> PathBuf {
        self.home.join("running")
    }

    /// Data directories of plugins that were uninstalled with their data kept.
    pub(crate) fn kept_dirs(&self) -> PathBuf {
        self.home.join("kept")
    }

    /// The name below [`Layout::kept_dirs`] of one of them: another publisher has another one.
    pub(crate) fn kept_name(plugin: &str, publisher: &str) -> String {
        let digest = sha256_hex(publisher.as_bytes());
        format!("{plugin}-{}", digest.get(..PUBLISHER_DIGITS).unwrap_or_default())
    }
}
