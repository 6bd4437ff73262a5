//! Packages: what a stranger's directory may hold, its digest, and the way into the store.
//!
//! A package is walked once, by descriptor, and copied as it is walked ([`stage`]); everything after that looks at the
//! copy, which nobody else can change. The copy lies below the digest of its content ([`listing`]) and is read-only.
//! Before each start [`verify`] says whether it is still what was installed.
//!
//! What is refused: anything but files, directories and links that stay inside; set-id bits; names that hide something,
//! that are not UTF-8, or that another file system or a reader would take for one another; and anything beyond the limits
//! below. Left out are `.git`, `__pycache__`, and in a virtual environment the links to the interpreter of the machine.
//!
//! A package that comes as one file is unpacked first ([`archive`]), into a directory that nobody else reaches; from there on it
//! is a directory like any other.
//!
//! This module knows no rows and no manifests.

pub(crate) mod archive;
mod listing;
mod names;
mod stage;
mod verify;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use listing::Listing;
pub(crate) use stage::{Staged, Unpacked, remove_stale, stage, unpack};
pub(crate) use verify::{verified, verify};

use std::path::{Path, PathBuf};

use ringfence_api::ErrorCode;

use crate::Error;
use crate::manifest::text::shown;

/// The most files, directories and links of a package.
pub(crate) const ENTRIES_MAX: usize = 50_000;
/// The most bytes of a package: 1 GB.
pub(crate) const BYTES_MAX: u64 = 1_000_000_000;
/// How deep directories are nested at most.
pub(crate) const DEPTH_MAX: usize = 64;
/// The longest path within a package, in bytes.
pub(crate) const PATH_MAX_BYTES: usize = 1_024;

/// Why a directory is no package.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// One entry is not allowed.
    #[error("'{}' {why}", shown(path))]
    Entry { path: String, why: String },
    /// The whole is too much.
    #[error("it has more than {limit}")]
    TooMuch { limit: String },
    /// It is an archive, and not one that is taken.
    #[error("it {why}")]
    Archive { why: String },
    /// It could not be read or copied.
    #[error("cannot {action} '{}'", shown(path))]
    Io { action: &'static str, path: String, source: std::io::Error },
}

impl Problem {
    fn entry(path: &str, why: impl Into<String>) -> Self {
        Self::Entry { path: path.to_owned(), why: why.into() }
    }

    fn archive(why: impl Into<String>) -> Self {
        Self::Archive { why: why.into() }
    }

    fn io(action: &'static str, path: &str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// The error for callers; `package` is what they named.
    pub(crate) fn into_error(self, package: &Path) -> Error {
        let shown = shown(&package.display().to_string());
        match self {
            Self::Io { action, path, source } if path.is_empty() => Error::file(action, package, source),
            Self::Io { action, path, source } => Error::file(action, &package.join(path), source),
            problem @ Self::TooMuch { .. } => {
                Error::new(ErrorCode::TooLarge, format!("the package '{shown}' is too large: {problem}"))
                    .with_hint("leave out what the plugin does not need when it runs")
            }
            problem @ Self::Archive { .. } => {
                Error::new(ErrorCode::InvalidPackage, format!("the package '{shown}' is refused: {problem}"))
                    .with_hint(
                        "make it anew, as `tar --create --gzip --dereference` does, or install the directory",
                    )
            }
            problem @ Self::Entry { .. } => {
                Error::new(ErrorCode::InvalidPackage, format!("the package '{shown}' is refused: {problem}"))
                    .with_hint("remove or rename it, then try again")
            }
        }
    }
}

/// The directory that holds the package: the path itself, or the one directory below it that has a manifest.
///
/// # Errors
/// `path_not_found` when there is nothing; `invalid_package` when it is no directory, or several or no directories below
/// it have a manifest.
pub(crate) fn find(path: &Path) -> Result<PathBuf, Error> {
    let named = shown(&path.display().to_string());
    let found = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorCode::PathNotFound, format!("there is no directory '{named}'"))
        }
        _ => Error::file("read", path, error),
    })?;
    if !found.is_dir() {
        return Err(Error::new(ErrorCode::InvalidPackage, format!("'{named}' is not a directory"))
            .with_hint("a package is a directory with a manifest"));
    }
    if has_manifest(path) {
        return Ok(path.to_owned());
    }
    let mut packages = Vec::new();
    let dir = ringfence_sandbox::tree::Dir::open(path).map_err(|e| Error::file("read", path, e))?;
    for name in dir.names(ENTRIES_MAX).map_err(|e| Error::file("read", path, e))? {
        let is_directory =
            dir.status(&name).is_ok_and(|found| found.kind == ringfence_sandbox::tree::EntryKind::Directory);
        if is_directory && has_manifest(&path.join(&name)) {
            packages.push(path.join(&name));
        }
    }
    packages.sort();
    match packages.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::new(
            ErrorCode::InvalidPackage,
            format!("'{named}' has no manifest, and no directory below it has one"),
        )
        .with_hint("a package has plugin.json, plugin.yaml or plugin.toml at its root")),
        several => {
            let names: Vec<_> =
                several.iter().take(5).map(|path| shown(&path.display().to_string())).collect();
            Err(Error::new(
                ErrorCode::InvalidPackage,
                format!("'{named}' holds {} packages: {}", several.len(), names.join(", ")),
            )
            .with_hint("name one of them"))
        }
    }
}

fn has_manifest(dir: &Path) -> bool {
    crate::manifest::MANIFEST_NAMES.iter().any(|name| std::fs::symlink_metadata(dir.join(name)).is_ok())
}
