//! The key of the store: what proves that a row was written by Ringfence and not by an editor.
//!
//! It lies in the home with mode 0600. It keeps out whoever can change the database and cannot read the key, such as a
//! plugin that was granted a path too much, a restored copy of somebody else's database, or a hand that means well. It
//! does not keep out the owner of the home, who can read it.

use std::io::Read as _;
use std::path::Path;

use ringfence_api::ErrorCode;
use sha2::{Digest as _, Sha256};

use crate::{Error, private_file};

/// The length of the key and of everything it makes, in bytes.
pub(crate) const DIGEST_BYTES: usize = 32;
/// The block of SHA-256 in bytes (FIPS 180-4), to which HMAC pads its key.
const BLOCK_BYTES: usize = 64;

/// The key, ready for HMAC-SHA-256 (RFC 2104).
#[derive(Clone)]
pub(crate) struct Key {
    inner: Sha256,
    outer: Sha256,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

impl Key {
    fn new(bytes: [u8; DIGEST_BYTES]) -> Self {
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK_BYTES];
            block.iter_mut().zip(bytes).for_each(|(place, byte)| *place ^= byte);
            Sha256::new_with_prefix(block)
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// The authentication code of parts, each preceded by its length, so that no two lists of parts are alike.
    pub(crate) fn mac<'p>(
        &self,
        purpose: &str,
        parts: impl IntoIterator<Item = &'p [u8]>,
    ) -> [u8; DIGEST_BYTES] {
        let mut inner = self.inner.clone();
        absorb(&mut inner, purpose.as_bytes());
        for part in parts {
            absorb(&mut inner, part);
        }
        let mut outer = self.outer.clone();
        outer.update(inner.finalize());
        outer.finalize().into()
    }

    /// The key in the home, made when there is none yet.
    ///
    /// INVARIANT: the caller holds the lifecycle lock when the file may be missing, so one process makes it.
    pub(super) fn open_or_create(path: &Path) -> Result<Self, Error> {
        match private_file::open_read(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(Error::file("read the key", path, error)),
        }
    }

    /// The key of a database that exists.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        match private_file::open_read(path) {
            Ok(file) => Self::read(file, path),
            Err(error) => Err(Error::file("read the key", path, error)
                .with_hint("restore 'state.db' and 'state.key' from the same backup")),
        }
    }

    fn read(mut file: std::fs::File, path: &Path) -> Result<Self, Error> {
        let mut bytes = [0; DIGEST_BYTES];
        let read = file.read_exact(&mut bytes).and_then(|()| file.metadata());
        match read {
            Ok(found) if found.len() == DIGEST_BYTES as u64 => Ok(Self::new(bytes)),
            Ok(_) => Err(damaged(path)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(damaged(path)),
            Err(error) => Err(Error::file("read the key", path, error)),
        }
    }

    fn create(path: &Path) -> Result<Self, Error> {
        let mut bytes = [0; DIGEST_BYTES];
        // A process that was killed here leaves the temporary file; the next one takes its place.
        let temporary = path.with_extension("key-new");
        let made = ringfence_sandbox::tree::random(&mut bytes)
            .and_then(|()| private_file::replace_by_way_of(&temporary, path, &bytes, 0o600));
        made.map_err(|error| Error::file("make the key", path, error))?;
        Ok(Self::new(bytes))
    }
}

fn damaged(path: &Path) -> Error {
    Error::new(
        ErrorCode::Io,
        format!("the key '{}' is damaged: it has not {DIGEST_BYTES} bytes", path.display()),
    )
    .with_hint("restore the file from a backup of the home")
}

fn absorb(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

/// The SHA-256 digest in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Whether two authentication codes are the same, in a time that does not tell where they differ. The optimiser may not know that
/// the first difference settles it.
pub(crate) fn same(one: &[u8], two: &[u8]) -> bool {
    one.len() == two.len()
        && one.iter().zip(two).fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_code_is_hmac_sha_256() {
        // RFC 4231 test case 1 has a key of 20 bytes 0x0b: the same as one that is padded with zeros to 32.
        let mut bytes = [0; DIGEST_BYTES];
        bytes[..20].fill(0x0b);
        let key = Key::new(bytes);
        let mut inner = key.inner.clone();
        inner.update(b"Hi There");
        let mut outer = key.outer.clone();
        outer.update(inner.finalize());
        assert_eq!(
            hex(&outer.finalize()),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn parts_and_purposes_are_told_apart() {
        let key = Key::new([7; DIGEST_BYTES]);
        let mac = |purpose: &str, parts: &[&[u8]]| key.mac(purpose, parts.iter().copied());
        assert_ne!(mac("a", &[b"bc", b"d"]), mac("a", &[b"b", b"cd"]));
        assert_ne!(mac("a", &[b"b"]), mac("ab", &[]));
        assert_ne!(mac("a", &[b"b"]), Key::new([8; DIGEST_BYTES]).mac("a", [&b"b"[..]]));
        assert!(same(&mac("a", &[b"b"]), &mac("a", &[b"b"])));
        assert!(!same(b"a", b"b") && !same(b"a", b"aa"));
    }

    #[test]
    fn it_is_made_once_and_a_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.key");
        let first = Key::open_or_create(&path).unwrap().mac("x", []);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Key::open_or_create(&path).unwrap().mac("x", []), first);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        for length in [0, 31, 33] {
            std::fs::write(&path, vec![1; length]).unwrap();
            assert!(Key::open_or_create(&path).unwrap_err().message().contains("damaged"), "{length}");
        }
    }
}
