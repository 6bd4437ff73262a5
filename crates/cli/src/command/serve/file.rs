//! The file that a daemon in the background writes its log to: private, and at most two of a bounded size.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The size at which a new file is begun; the old one is kept under another name, the one before it is gone.
pub(crate) const LOG_FILE_MAX_BYTES: u64 = 10 << 20;
/// What is written of a name, beside the file itself.
const OLD: &str = ".1";

/// The open file.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    /// The file at `path`, made with mode 0600; what it holds is kept.
    ///
    /// # Errors
    /// When it is a link or cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_bounded(path, LOG_FILE_MAX_BYTES)
    }

    fn open_bounded(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, bytes_max })
    }

    /// Another handle on the file as it is now.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Appends one line.
    ///
    /// # Errors
    /// As write(2).
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.bytes_max {
            let mut old = self.path.clone().into_os_string();
            old.push(OLD);
            std::fs::rename(&self.path, old)?;
            self.file = open(&self.path)?;
            self.bytes = 0;
        }
        self.file.write_all(line)?;
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    // The home belongs to this user alone; a link there is a mistake of somebody's, and would be written to.
    if path.symlink_metadata().is_ok_and(|seen| !seen.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_kept_and_never_more_than_two() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.log");
        std::fs::write(&path, "before\n").unwrap();
        let mut log = LogFile::open_bounded(&path, 32).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for number in 0..20 {
            log.write(format!("line {number:02}\n").as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        let (now, old) =
            (std::fs::read(&path).unwrap(), std::fs::read(dir.path().join("daemon.log.1")).unwrap());
        assert!(now.len() <= 32 && old.len() <= 32);
        assert!(now.ends_with(b"line 19\n"));
        let both = [old, now].concat();
        assert!(both.starts_with(b"line 1"), "one after another: {}", String::from_utf8_lossy(&both));
    }

    #[test]
    fn a_link_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("daemon.log"), dir.path().join("elsewhere"));
        std::fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(LogFile::open(&path).is_err());
    }
}
