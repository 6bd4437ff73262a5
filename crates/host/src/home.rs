//! Where Ringfence keeps its state: the home directory.
//!
//! Finding it costs two look-ups in the environment and touches no file. Who needs it to exist calls
//! [`Home::create`], and does so only after an operation has failed because it is missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ringfence_api::ErrorCode;

use crate::{Error, private_file};

/// The environment variable that names the home.
pub const HOME_VARIABLE: &str = "RINGFENCE_HOME";

/// The directory that holds configuration and stored runs.
///
/// It is `$RINGFENCE_HOME`, else `$XDG_DATA_HOME/ringfence`, else `~/.local/share/ringfence`.
///
/// ```
/// use ringfence::Home;
///
/// let home = Home::at("/srv/ringfence");
/// assert_eq!(home.config_file(), std::path::Path::new("/srv/ringfence/config.toml"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// The home at this path. The path is not looked at; a relative one depends on the working directory.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The home that the environment of this process names. It need not exist.
    ///
    /// An empty variable counts as unset; a relative `XDG_DATA_HOME` is ignored, as its specification asks.
    /// A relative `RINGFENCE_HOME` is taken from the working directory.
    ///
    /// # Errors
    ///
    /// `usage` when neither variable nor `HOME` is set; `io` when the working directory is needed and gone.
    pub fn from_env() -> Result<Self, Error> {
        Self::find(|name| std::env::var_os(name))
    }

    fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set(HOME_VARIABLE) {
            let absolute = std::path::absolute(&path).map_err(|e| Error::file("resolve", &path, e))?;
            return Ok(Self::at(absolute));
        }
        if let Some(data) = set("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
            return Ok(Self::at(data.join("ringfence")));
        }
        if let Some(user) = set("HOME").filter(|path| path.is_absolute()) {
            return Ok(Self::at(user.join(".local/share/ringfence")));
        }
        Err(Error::new(
            ErrorCode::Usage,
            "no home directory: RINGFENCE_HOME, XDG_DATA_HOME and HOME are not set",
        )
        .with_hint("set RINGFENCE_HOME to a directory for Ringfence's state"))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration file, `config.toml`; it need not exist.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// The administrator's policy, `policy.toml`; it need not exist.
    #[must_use]
    pub fn policy_file(&self) -> PathBuf {
        self.path.join("policy.toml")
    }

    /// The socket on which a daemon of this home listens for commands, `daemon.sock`; it exists only while one runs.
    #[must_use]
    pub fn daemon_socket(&self) -> PathBuf {
        self.path.join("daemon.sock")
    }

    /// The directory of the stored runs; it need not exist.
    #[must_use]
    pub fn runs_dir(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// Makes the directory, and what is missing above it, readable for this user alone (mode 0700). An
    /// existing directory is left as it is.
    ///
    /// # Errors
    ///
    /// `io` with the path and what to do: on a read-only file system, without permission, or when something
    /// that is not a directory has that name.
    pub fn create(&self) -> Result<(), Error> {
        private_file::create_dir_all(&self.path).map_err(|e| {
            let read_only = e.kind() == std::io::ErrorKind::ReadOnlyFilesystem;
            let error = Error::file("create the home directory", &self.path, e);
            if error.hint().is_some() && read_only {
                return error;
            }
            error.with_hint("set RINGFENCE_HOME to a directory you can write to")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn find(variables: &[(&str, &str)]) -> Result<Home, Error> {
        Home::find(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)))
    }

    #[test]
    fn the_first_variable_that_is_set_wins() {
        let all = [("RINGFENCE_HOME", "/r"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(find(&all).unwrap().path(), Path::new("/r"));
        assert_eq!(find(&all[1..]).unwrap().path(), Path::new("/x/ringfence"));
        assert_eq!(find(&all[2..]).unwrap().path(), Path::new("/h/.local/share/ringfence"));
        assert_eq!(find(&all).unwrap().runs_dir(), Path::new("/r/runs"));
    }

    #[test]
    fn empty_counts_as_unset_and_a_relative_xdg_directory_is_ignored() {
        let home = find(&[("RINGFENCE_HOME", ""), ("XDG_DATA_HOME", "data"), ("HOME", "/h")]).unwrap();
        assert_eq!(home.path(), Path::new("/h/.local/share/ringfence"));
        assert!(find(&[("RINGFENCE_HOME", "rel")]).unwrap().path().is_absolute());
    }

    #[test]
    fn without_any_variable_the_message_says_which_to_set() {
        for variables in [&[][..], &[("HOME", "relative")]] {
            let error = find(variables).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Usage);
            assert!(error.hint().unwrap().contains("RINGFENCE_HOME"));
        }
    }

    #[test]
    fn it_is_created_for_the_owner_alone_and_left_alone_when_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("a/b"));
        home.create().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(home.path()), mode(&dir.path().join("a"))), (0o700, 0o700));
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o750)).unwrap();
        home.create().unwrap();
        assert_eq!(mode(home.path()), 0o750);
    }

    #[test]
    fn a_home_that_cannot_be_made_says_what_to_set() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Home::at(file.join("home")).create().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Io);
        assert!(error.message().contains("home directory"), "{error}");
        assert!(error.hint().unwrap().contains("RINGFENCE_HOME"));
        assert!(Home::at(file).create().is_err());
    }
}
