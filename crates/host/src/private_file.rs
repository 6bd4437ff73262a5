//! Files and directories that belong to this user alone, and are never reached through a symbolic link.
//!
//! Every file of the stored runs is opened here: mode 0600 (directories 0700), and a link in the last place
//! of the path is refused, so that nobody who can write next to our files can point us elsewhere.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// `O_NOFOLLOW` of the running kernel. The number differs between processors on Linux; the C library's
/// binding is not used in this crate (the sandbox is its sole user), and a test proves the number.
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    any(target_arch = "aarch64", target_arch = "arm", target_arch = "powerpc", target_arch = "powerpc64")
))]
const NO_FOLLOW: i32 = 0o100_000;
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(any(
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "powerpc",
        target_arch = "powerpc64"
    ))
))]
const NO_FOLLOW: i32 = 0o400_000;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const NO_FOLLOW: i32 = 0x100;

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(NO_FOLLOW);
    }
    options
}

/// A fresh file for writing; one that exists, link or not, is an error.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    options().read(true).write(true).create_new(true).open(path)
}

/// The file for reading and writing, made when it is missing.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    regular(options().read(true).write(true).create(true).truncate(false).open(path), path)
}

/// An existing regular file for reading.
pub(crate) fn open_read(path: &Path) -> io::Result<File> {
    // A FIFO in the place of a file would block the open for ever; a link is refused by the open itself.
    let kind = std::fs::symlink_metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_symlink() {
        return Err(not_regular());
    }
    regular(options().read(true).open(path), path)
}

/// An existing regular file for writing.
pub(crate) fn open_write(path: &Path) -> io::Result<File> {
    regular(options().write(true).open(path), path)
}

fn regular(opened: io::Result<File>, path: &Path) -> io::Result<File> {
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(not_regular()),
        // The system says "too many levels of symbolic links", which helps nobody.
        Err(_) if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is a symbolic link, and links are not followed here",
            ))
        }
        Err(error) => Err(error),
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

/// Gives a file of ours exactly mode 0600, whatever the umask made of it.
pub(crate) fn make_private(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mut permissions = file.metadata()?.permissions();
        if permissions.mode() & 0o7777 != 0o600 {
            permissions.set_mode(0o600);
            file.set_permissions(permissions)?;
        }
    }
    Ok(())
}

/// Puts a file of these bytes and this mode in the place of `path`, whole: whoever reads it, and whoever is killed or loses power
/// at any point, has the old one or the new one. It is on the disk when this returns. Any number may do it at the same time; the
/// last one wins.
///
/// # Errors
/// When the directory cannot be written. Then nothing was changed, and nothing is left; a process that is killed in between
/// leaves a file `.NAME.new-...`.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(unique_name(&format!(".{name}.new-"))?);
    replace_by_way_of(&temporary, path, bytes, mode)
}

/// The same by way of a file of a fixed name, which the next one takes over from one that was killed. The caller holds a lock
/// against others who do the same.
pub(crate) fn replace_by_way_of(temporary: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match std::fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = create_new(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        set_mode(&file, mode)?;
        publish(temporary, &file, path)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _already_failed = std::fs::remove_file(temporary);
    }
    written
}

/// Gives a complete file, or a directory whose files are on the disk, its name: on the disk first, then named, and the name
/// on the disk too.
pub(crate) fn publish(temporary: &Path, opened: &File, path: &Path) -> io::Result<()> {
    opened.sync_all()?;
    std::fs::rename(temporary, path)?;
    sync_parent(path)
}

/// Waits until a name that was made or changed is on the disk.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// A name that no other thread, process or earlier run has.
pub(crate) fn unique_name(prefix: &str) -> io::Result<String> {
    let mut bytes = [0; 8];
    ringfence_sandbox::tree::random(&mut bytes)?;
    Ok(format!("{prefix}{:016x}", u64::from_ne_bytes(bytes)))
}

#[cfg_attr(not(unix), expect(unused_variables, reason = "only unix has modes"))]
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A fresh directory with mode 0700.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    dir_builder().create(path)
}

/// The directory and what is missing above it, each with mode 0700.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    dir_builder().recursive(true).create(path)
}

fn dir_builder() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only unix sets a mode"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn links_are_refused_and_plain_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        drop(create_new(&file).unwrap());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        symlink(&file, &link).unwrap();

        assert!(open_read(&file).is_ok() && open_or_create(&file).is_ok());
        for refused in [open_read(&link), open_or_create(&link)] {
            assert!(refused.unwrap_err().to_string().contains("symbolic link"));
        }
        assert_eq!(create_new(&link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_dangling_link_is_not_followed_to_create_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        symlink(&target, &link).unwrap();
        assert!(open_or_create(&link).is_err() && create_new(&link).is_err());
        assert!(!target.exists());
    }

    #[test]
    fn a_file_is_replaced_whole_by_many_at_once_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("file"), dir.path().join("elsewhere"));
        std::fs::write(&elsewhere, "untouched").unwrap();
        symlink(&elsewhere, &path).unwrap();
        let texts: Vec<Vec<u8>> = (0..8_u8).map(|number| vec![number; 10_000]).collect();
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| {
                    for _ in 0..5 {
                        replace(&path, text, 0o640).unwrap();
                        let seen = std::fs::read(&path).unwrap();
                        assert!(texts.contains(&seen), "{} bytes of several", seen.len());
                    }
                });
            }
        });
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode, std::fs::read_to_string(&elsewhere).unwrap().as_str()), (0o640, "untouched"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        // What cannot be named is not left under another name either.
        std::fs::create_dir_all(dir.path().join("taken/full")).unwrap();
        assert!(replace(&dir.path().join("taken"), b"x", 0o600).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open_read(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(open_read(&dir.path().join("no")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(open_or_create(Path::new("/dev/null")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
