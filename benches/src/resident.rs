//! A host as an application keeps one, with plugins installed for a measurement.

use std::fs;
use std::io;
use std::path::PathBuf;

use ringfence::plugin::Consent;
use ringfence::{Config, Home, Host};
use tokio::runtime::{Builder, Runtime};

use crate::native;
use crate::stage::Stage;

/// The host on a thread of its own runtime. Dropping it stops its plugins in order.
#[derive(Debug)]
pub struct Resident {
    /// What everything runs on: one thread, the caller's, or threads of its own.
    pub runtime: Runtime,
    /// `None` once it is being dropped.
    host: Option<Host>,
    packages: PathBuf,
}

impl Resident {
    /// A host with a home and a directory for packages of its own in `stage`, both named after `name`.
    ///
    /// # Errors
    /// When they cannot be made or opened.
    pub fn start(stage: &Stage, name: &str, config: Config) -> io::Result<Self> {
        Self::start_on(Builder::new_current_thread().enable_all().build()?, stage, name, config)
    }

    /// The same on this runtime, such as one whose threads go on while the caller waits for something else.
    ///
    /// # Errors
    /// As for [`Resident::start`].
    pub fn start_on(runtime: Runtime, stage: &Stage, name: &str, config: Config) -> io::Result<Self> {
        let home = Home::at(stage.directory().join(format!("{name}-home")));
        let packages = stage.directory().join(format!("{name}-packages"));
        fs::create_dir(&packages)?;
        let host = runtime.block_on(Host::builder().home(home).config(config).build());
        Ok(Self { runtime, host: Some(host.map_err(chain)?), packages })
    }

    /// The host.
    ///
    /// # Errors
    /// While it is being dropped, which nobody sees.
    pub fn host(&self) -> io::Result<&Host> {
        self.host.as_ref().ok_or_else(|| io::Error::other("the host has ended"))
    }

    /// Installs this program as the native plugin `name` with the tool `echo`; see [`native`].
    ///
    /// # Errors
    /// What an installation says.
    pub fn install_native(&self, name: &str, head: &str) -> io::Result<()> {
        let package = self.packages.join(name);
        fs::create_dir(&package)?;
        fs::copy(std::env::current_exe()?, package.join(native::NAME))?;
        let manifest = format!(
            "name: {name}\nversion: 1.0.0\nruntime: native\nentry_point: {}\ntools: [{{name: echo}}]\n{head}",
            native::NAME
        );
        self.install(package, &manifest)
    }

    /// Installs a plugin of one file with the tool `tool`. `head` is more of the manifest. A `native` one is executable.
    ///
    /// # Errors
    /// What an installation says.
    pub fn install_script(&self, script: &Script<'_>) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let Script { name, runtime, file, code, tool, head } = script;
        let package = self.packages.join(name);
        fs::create_dir(&package)?;
        let path = package.join(file);
        fs::write(&path, code)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let manifest = format!(
            "name: {name}\nversion: 1.0.0\nruntime: {runtime}\nentry_point: {file}\ntools: [{{name: {tool}}}]\n{head}"
        );
        self.install(package, &manifest)
    }

    fn install(&self, package: PathBuf, manifest: &str) -> io::Result<()> {
        fs::write(package.join("plugin.yaml"), manifest)?;
        let installed = self.runtime.block_on(self.host()?.install(package, Consent::Requested));
        installed.map(drop).map_err(chain)
    }

    /// Starts a plugin.
    ///
    /// # Errors
    /// What the start says.
    pub fn activate(&self, name: &str) -> io::Result<()> {
        self.runtime.block_on(self.host()?.activate(name)).map(drop).map_err(chain)
    }

    /// Stops a plugin.
    ///
    /// # Errors
    /// What the stop says.
    pub fn deactivate(&self, name: &str) -> io::Result<()> {
        self.runtime.block_on(self.host()?.deactivate(name)).map(drop).map_err(chain)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        if let Some(host) = self.host.take() {
            self.runtime.block_on(host.shutdown());
        }
    }
}

/// A plugin of one file.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a> {
    /// Its name.
    pub name: &'a str,
    /// `python`, `node` or `native`.
    pub runtime: &'a str,
    /// The name of the file.
    pub file: &'a str,
    /// What is in it.
    pub code: &'a str,
    /// The one tool.
    pub tool: &'a str,
    /// More lines of the manifest.
    pub head: &'a str,
}

/// An error of the library with its causes.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
#[must_use]
pub fn chain(error: ringfence::Error) -> io::Error {
    io::Error::other(error.chain().to_string().replace('\n', " "))
}
