//! Where a measurement keeps its files: a directory that every user can read, with copies of the programs in it.
//!
//! The same programs are measured as root and as an ordinary user, who often cannot read the directory of the build.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::options::Options;
use crate::peers::command;

/// The directory. Dropping it removes it.
#[derive(Debug)]
pub struct Stage {
    directory: PathBuf,
    ringfence: Result<PathBuf, String>,
}

impl Stage {
    /// Makes the directory and puts the binary of `ringfence` into it, building that if it was not named.
    ///
    /// # Errors
    /// When the directory cannot be made. A binary that is missing is an error of the rows that need it.
    pub fn new(options: &Options) -> io::Result<Self> {
        let mut stage = Self { directory: make_directory()?, ringfence: Err("not looked for".to_owned()) };
        stage.ringfence = stage.take_ringfence(options).map_err(|error| error.to_string());
        Ok(stage)
    }

    /// Makes the directory for a measurement of the library, without the binary.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn without_ringfence() -> io::Result<Self> {
        Ok(Self { directory: make_directory()?, ringfence: Err("not needed here".to_owned()) })
    }

    fn take_ringfence(&self, options: &Options) -> io::Result<PathBuf> {
        let built = match &options.ringfence {
            Some(path) => path.clone(),
            None => build_ringfence()?,
        };
        self.copy(&built, "ringfence")
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The copied binary.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ringfence(&self) -> io::Result<&PathBuf> {
        self.ringfence.as_ref().map_err(|reason| io::Error::other(reason.clone()))
    }

    /// Copies a program here, for every user to execute.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn copy(&self, program: &Path, name: &str) -> io::Result<PathBuf> {
        let copy = self.directory.join(name);
        fs::copy(program, &copy).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot copy {}: {error}", program.display()))
        })?;
        fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
        Ok(copy)
    }

    /// A private home for `ringfence`, owned by `uid`.
    ///
    /// # Errors
    /// When it cannot be made or given away.
    pub fn home(&self, uid: u32) -> io::Result<PathBuf> {
        let home = self.directory.join(format!("home-{uid}"));
        fs::create_dir_all(&home)?;
        fs::set_permissions(&home, Permissions::from_mode(0o700))?;
        if crate::machine::user_id()? != uid {
            chown(&home, Some(uid), Some(uid))?;
        }
        Ok(home)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            crate::output::talk(&format!("cannot remove {}: {error}", self.directory.display()));
        }
    }
}

fn make_directory() -> io::Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("ringfence-benches-{}", std::process::id()));
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// Builds the release binary of this checkout beside this program's own, and names it.
fn build_ringfence() -> io::Result<PathBuf> {
    let missing = || io::Error::other("no ringfence binary: name one with --ringfence PATH");
    let own = std::env::current_exe()?;
    // TARGET/release/deps/NAME-HASH
    let release = own.parent().and_then(Path::parent).ok_or_else(missing)?;
    let cargo: OsString = std::env::var_os("CARGO").ok_or_else(missing)?;
    let mut build = command(cargo);
    build.args(["build", "--quiet", "--release", "--package", "ringfence-cli", "--target-dir"]);
    build.arg(release.parent().ok_or_else(missing)?);
    build.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).stdout(Stdio::null());
    if !build.status()?.success() {
        return Err(io::Error::other("ringfence-cli does not build"));
    }
    Ok(release.join("ringfence"))
}
