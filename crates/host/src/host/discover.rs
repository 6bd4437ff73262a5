//! Packages that lie about: what could be installed, and what its code would do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_api::PluginState;

use super::Host;
use crate::Error;
use crate::lifecycle::Context;
use crate::plugin::{Broken, Discovered, Scan};
use crate::scan::Report;
use crate::store::PluginRow;

/// Plugin directories are read this far: more entries are not looked at, and that is said.
const SCAN_MAX: usize = 10_000;

/// How many packages of a plugin directory have their code looked at.
const CODE_MAX: usize = 100;
/// How long that may take for all of them together; one that has begun is finished.
const CODE_TIME: Duration = Duration::from_secs(60);

impl Host {
    /// Looks at the code of the package in a directory without running any of it, as an installation would. Nothing is
    /// installed.
    ///
    /// # Errors
    /// `path_not_found` and `invalid_package` when there is no package. That nothing could be scanned is in the report.
    ///
    /// # Cancel safety
    /// Changes nothing; the scan goes on to its end.
    pub async fn scan_package(&self, path: impl AsRef<Path>) -> Result<Report, Error> {
        let (context, path) = (Arc::clone(self.context()), path.as_ref().to_owned());
        let store = context.store.clone();
        store
            .run(move |_| {
                let package = crate::package::find(&path)?;
                let manifest = crate::manifest::load(&package).ok().map(|loaded| loaded.manifest);
                Ok(context.scanner.scan(&package, manifest.as_ref()))
            })
            .await
    }

    /// Looks for packages in `plugins` of the home and in the directories that the configuration names. What is installed in
    /// the same version is left out; what is broken is told, and does not stop the rest.
    ///
    /// # Errors
    /// `io` of the store. A directory that cannot be read is among the broken.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn scan(&self) -> Result<Scan, Error> {
        let context = Arc::clone(self.context());
        let store = context.store.clone();
        store
            .run(move |store| {
                let mut directories = vec![context.home.path().join("plugins")];
                directories.extend(context.config().plugin_directories.iter().cloned());
                let mut scan = Scan::default();
                for directory in directories {
                    scan_directory(&directory, &mut scan);
                }
                for row in store.plugins()? {
                    note_installed(&mut scan, &row);
                }
                scan_code(&context, &mut scan);
                scan.found
                    .sort_by(|a, b| (&a.name, &a.version, &a.path).cmp(&(&b.name, &b.version, &b.path)));
                Ok(scan)
            })
            .await
    }
}

fn scan_directory(directory: &Path, scan: &mut Scan) {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            return scan.broken.push(Broken {
                path: directory.display().to_string(),
                message: format!("it cannot be read: {error}"),
            });
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().take(SCAN_MAX).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.into_iter().filter(|path| path.is_dir()) {
        let shown = path.display().to_string();
        match crate::manifest::load(&path) {
            Ok(loaded) => scan.found.push(Discovered {
                name: loaded.manifest.name.clone(),
                version: loaded.manifest.version.to_string(),
                state: PluginState::Discovered,
                runtime: loaded.manifest.runtime,
                path: shown,
                installed_version: None,
                scan: None,
            }),
            Err(findings) => scan.broken.push(Broken { path: shown, message: findings.to_string() }),
        }
    }
}

/// Looks at the code of the packages that were found, as far as there is time.
fn scan_code(context: &Context, scan: &mut Scan) {
    let deadline = Instant::now() + CODE_TIME;
    for found in scan.found.iter_mut().take(CODE_MAX) {
        let path = Path::new(&found.path);
        if Instant::now() >= deadline {
            found.scan = Some(Report::not_run("others took all the time"));
        } else if let Ok(loaded) = crate::manifest::load(path) {
            found.scan = Some(context.scanner.scan(path, Some(&loaded.manifest)));
        }
    }
    for found in scan.found.iter_mut().skip(CODE_MAX) {
        found.scan = Some(Report::not_run(format!("only the first {CODE_MAX} packages are")));
    }
}

/// Leaves out what is installed in the same version, and marks what is installed in another one.
fn note_installed(scan: &mut Scan, row: &PluginRow) {
    let version = row.package.version.to_string();
    scan.found.retain(|found| found.name != *row.name() || found.version != version);
    for found in scan.found.iter_mut().filter(|found| found.name == *row.name()) {
        found.state = row.state;
        found.installed_version = Some(version.clone());
    }
}
