//! Packages that come as one file: [`Host::unpack`](crate::Host::unpack) takes one apart, [`look`] only reads it.

pub use crate::host::UnpackedPackage;
pub use crate::package::archive::{ARCHIVE_BYTES_MAX, Contents, look};
