//! Finds the one manifest of a package and reads its text.

use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Finding;

/// The largest manifest that is read, in bytes.
pub const MANIFEST_MAX_BYTES: u64 = 1024 * 1024;
/// The names a manifest can have. A package has exactly one of them.
pub const MANIFEST_NAMES: [&str; 4] = ["plugin.json", "plugin.yaml", "plugin.yml", "plugin.toml"];

/// How a manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
    Toml,
}

impl Format {
    /// By the extension of the file.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()? {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// The text of a manifest.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    pub(crate) format: Format,
    pub(crate) text: String,
}

impl Source {
    /// Finds and reads the manifest of a package.
    pub(crate) fn read(package: &Path) -> Result<Self, Finding> {
        let file = find(package)?;
        let format = Format::of(&file).unwrap_or(Format::Json);
        let cannot =
            |error: &io::Error| Finding::of_file("unreadable", &file, format!("cannot be read: {error}"));
        let seen = std::fs::symlink_metadata(&file).map_err(|error| cannot(&error))?;
        if !seen.is_file() {
            let message = "is not a regular file; a manifest is one, and no link";
            return Err(Finding::of_file("unreadable", &file, message));
        }
        // Between looking and opening it may have become a pipe: opening must not wait, and must not follow.
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(OPEN_FLAGS)
            .open(&file)
            .map_err(|error| cannot(&error))?;
        let mut bytes = Vec::new();
        opened.take(MANIFEST_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
        if let Some(finding) = judge(&bytes, &file) {
            return Err(finding);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { file, format, text }),
            Err(_) => Err(Finding::of_file("syntax", &file, "is not UTF-8")),
        }
    }
}

/// `O_NONBLOCK | O_NOFOLLOW` of Linux (open(2)); the numbers are the same on every processor that Ringfence runs on but
/// for `O_NOFOLLOW` on ARM.
#[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
const OPEN_FLAGS: i32 = 0o4000 | 0o100_000;
#[cfg(not(any(target_arch = "arm", target_arch = "aarch64")))]
const OPEN_FLAGS: i32 = 0o4000 | 0o400_000;

fn find(package: &Path) -> Result<PathBuf, Finding> {
    let present: Vec<&str> = MANIFEST_NAMES
        .into_iter()
        .filter(|name| std::fs::symlink_metadata(package.join(name)).is_ok())
        .collect();
    match present.as_slice() {
        [name] => Ok(package.join(name)),
        [] => {
            let message = format!("no manifest: one of {} must be there", MANIFEST_NAMES.join(", "));
            Err(Finding::of_file("no-manifest", package, message))
        }
        several => {
            let message = format!("more than one manifest: {}; keep one", several.join(", "));
            Err(Finding::of_file("two-manifests", package, message))
        }
    }
}

/// What is wrong with the bytes of a manifest before its format matters.
pub(super) fn judge(bytes: &[u8], file: &Path) -> Option<Finding> {
    let fail = |rule, message: String| Some(Finding::of_file(rule, file, message));
    if bytes.len() as u64 > MANIFEST_MAX_BYTES {
        return fail("too-large", format!("is larger than {MANIFEST_MAX_BYTES} bytes"));
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf])
        || bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
    {
        return fail("syntax", "begins with a byte order mark; save it as plain UTF-8".to_owned());
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return fail("hidden-character", format!("holds a NUL at byte {at}"));
    }
    match std::str::from_utf8(bytes) {
        Ok(_) => None,
        Err(error) => fail("syntax", format!("is not UTF-8 at byte {}", error.valid_up_to())),
    }
}
