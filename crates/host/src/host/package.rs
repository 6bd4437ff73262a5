//! Where a package comes from: a directory, or an archive that is unpacked before anything else is done with it.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::Host;
use crate::Error;
use crate::archive::Contents;
use crate::lifecycle::durable::Origin;
use crate::package::{self, Unpacked};

/// The longest name of an archive, in bytes.
const NAME_MAX_BYTES: usize = 4_096;

/// A package that came as an archive and was unpacked where nobody else reaches it. Dropped, it is removed.
///
/// It is not installed, and not judged beyond what [`Host::unpack`] says. [`Host::install_unpacked`] and
/// [`Host::upgrade_unpacked`] take it.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), Box<dyn std::error::Error>> {
/// use ringfence::plugin::Consent;
///
/// let archive = std::fs::File::open("translator-1.2.0.tar.gz")?;
/// let package = host.unpack(archive, "translator-1.2.0.tar.gz").await?;
/// println!("sha256 {}", package.contents().sha256);
/// host.install_unpacked(package, Consent::Absent).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct UnpackedPackage {
    unpacked: Unpacked,
    name: PathBuf,
}

impl UnpackedPackage {
    /// What the archive held.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        self.unpacked.contents()
    }
}

/// A package as it was handed over.
#[derive(Debug)]
pub(super) enum Package {
    Directory(PathBuf),
    Unpacked(UnpackedPackage),
}

impl Package {
    pub(super) fn origin(&self) -> Origin<'_> {
        match self {
            Self::Directory(path) => Origin::Directory(path),
            Self::Unpacked(package) => Origin::Unpacked { package: &package.unpacked, name: &package.name },
        }
    }
}

impl Host {
    /// Unpacks an archive, tar or tar compressed with gzip, into a private directory of the home. `name` is what it is called in
    /// errors and in the audit trail. Memory does not grow with the archive.
    ///
    /// Only files and directories are taken. An archive has at most 1.1 GB, holds at most 1 GB in 50,000 files and directories,
    /// and inflates to at most 200 times its size beyond 8 MB.
    ///
    /// # Errors
    /// `invalid_package` and `too_large`, naming the entry that is refused; `io` when it cannot be read or unpacked. Nothing is
    /// left behind.
    ///
    /// # Cancel safety
    /// Dropped, reading goes on to the end or the next failure of `archive`; then what was unpacked is removed.
    pub async fn unpack(
        &self,
        archive: impl Read + Send + 'static,
        name: impl AsRef<Path>,
    ) -> Result<UnpackedPackage, Error> {
        let store = self.context().store.clone();
        let name: PathBuf = name.as_ref().to_owned();
        if name.as_os_str().len() > NAME_MAX_BYTES {
            let message = format!("the name of an archive has at most {NAME_MAX_BYTES} bytes");
            return Err(Error::new(ringfence_api::ErrorCode::Usage, message));
        }
        store
            .run(move |store| {
                let unpacked = package::unpack(archive, &name, store.layout())?;
                Ok(UnpackedPackage { unpacked, name })
            })
            .await
    }

    /// What lies at a path: an archive is unpacked first.
    pub(super) async fn package_at(&self, path: &Path) -> Result<Package, Error> {
        // Anything else, and nothing, is told where directories are looked for.
        let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
        if !is_file {
            return Ok(Package::Directory(path.to_owned()));
        }
        let archive =
            std::fs::File::open(path).map_err(|error| Error::file("read the package", path, error))?;
        let name = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.unpack(archive, name).await.map(Package::Unpacked)
    }
}
