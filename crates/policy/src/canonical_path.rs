//! An absolute path in its one spelling.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use crate::glob::{must_hide, write_escaped};

/// The longest path in bytes: `PATH_MAX` of Linux (limits.h) without its closing NUL.
pub const PATH_MAX_BYTES: usize = 4095;

/// An absolute path in its one spelling: no `.`, no `..`, no empty segment, no slash at the end, no NUL.
///
/// Paths are bytes, as on Linux; nothing is folded or normalised. The type says nothing about symbolic links:
/// whoever asks for a decision passes the path that was really opened.
///
/// The text form ([`Display`](fmt::Display)) writes bytes that are not printable UTF-8 as `\xHH`, and `*` as
/// `\*`, so that it can stand in a grant.
///
/// ```
/// use ringfence_policy::CanonicalPath;
///
/// let path = CanonicalPath::new("/srv/notes/a.txt")?;
/// assert!(path.is_within(&CanonicalPath::new("/srv")?));
/// assert!(!path.is_within(&CanonicalPath::new("/srv/note")?));
/// assert!(CanonicalPath::new("/srv/../etc/shadow").is_err());
/// # Ok::<(), ringfence_policy::CanonicalPathError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalPath {
    bytes: Box<[u8]>,
}

impl CanonicalPath {
    /// Checks a path from anything that is text or a file name.
    ///
    /// # Errors
    ///
    /// Those of [`CanonicalPath::from_bytes`].
    pub fn new(path: impl AsRef<OsStr>) -> Result<Self, CanonicalPathError> {
        Self::from_bytes(path.as_ref().as_encoded_bytes())
    }

    /// Checks a path from its bytes.
    ///
    /// # Errors
    ///
    /// A [`CanonicalPathError`] that says in which way it is not the one spelling.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalPathError> {
        let Some(rest) = bytes.strip_prefix(b"/") else {
            return Err(CanonicalPathError::Relative { path: shown(bytes) });
        };
        if bytes.len() > PATH_MAX_BYTES {
            return Err(CanonicalPathError::TooLong { bytes: bytes.len() });
        }
        if bytes.contains(&0) {
            return Err(CanonicalPathError::Nul { path: shown(bytes) });
        }
        if !rest.is_empty() {
            for segment in rest.split(|byte| *byte == b'/') {
                match segment {
                    b"" => return Err(CanonicalPathError::ExtraSlash { path: shown(bytes) }),
                    b"." | b".." => return Err(CanonicalPathError::Dots { path: shown(bytes) }),
                    _ => {}
                }
            }
        }
        Ok(Self { bytes: bytes.into() })
    }

    /// The root directory.
    #[must_use]
    pub fn root() -> Self {
        Self { bytes: (*b"/").into() }
    }

    /// The bytes, beginning with `/`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The path for system calls.
    #[cfg(unix)]
    #[must_use]
    pub fn as_path(&self) -> &Path {
        use std::os::unix::ffi::OsStrExt as _;
        Path::new(OsStr::from_bytes(&self.bytes))
    }

    /// The names between the slashes, from the root down; none for the root itself.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty())
    }

    /// Whether it is `ancestor` itself or lies below it.
    #[must_use]
    pub fn is_within(&self, ancestor: &Self) -> bool {
        let above = ancestor.bytes.strip_suffix(b"/").unwrap_or(&ancestor.bytes);
        self.bytes.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// The path `relative` below this one; `.` and double slashes in `relative` are dropped.
    ///
    /// # Errors
    ///
    /// [`CanonicalPathError::Dots`] when `relative` has `..`; [`CanonicalPathError::Nul`] and
    /// [`CanonicalPathError::TooLong`] as for [`CanonicalPath::from_bytes`].
    pub fn join(&self, relative: impl AsRef<OsStr>) -> Result<Self, CanonicalPathError> {
        let mut bytes = self.bytes.strip_suffix(b"/").unwrap_or(&self.bytes).to_vec();
        let relative = relative.as_ref().as_encoded_bytes();
        for segment in relative.split(|byte| *byte == b'/').filter(|segment| !matches!(*segment, b"" | b"."))
        {
            bytes.push(b'/');
            bytes.extend_from_slice(segment);
        }
        if bytes.is_empty() { Ok(Self::root()) } else { Self::from_bytes(&bytes) }
    }

    /// A path from segments that are known to be good.
    pub(crate) fn from_segments<'s>(segments: impl Iterator<Item = &'s [u8]>) -> Self {
        let mut bytes = Vec::new();
        for segment in segments {
            bytes.push(b'/');
            bytes.extend_from_slice(segment);
        }
        if bytes.is_empty() { Self::root() } else { Self { bytes: bytes.into() } }
    }
}

impl TryFrom<&Path> for CanonicalPath {
    type Error = CanonicalPathError;

    fn try_from(path: &Path) -> Result<Self, Self::Error> {
        Self::new(path)
    }
}

impl std::str::FromStr for CanonicalPath {
    type Err = CanonicalPathError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        Self::new(path)
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.bytes)
    }
}

impl fmt::Debug for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CanonicalPath({self})")
    }
}

/// The longest piece of a bad path that a message repeats, in bytes.
const SHOWN_MAX_BYTES: usize = 200;

/// Bytes as a message may show them: escaped, and not endless.
pub(crate) fn shown(bytes: &[u8]) -> String {
    struct Escaped<'b>(&'b [u8]);
    impl fmt::Display for Escaped<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_escaped(f, self.0)
        }
    }
    match bytes.get(..SHOWN_MAX_BYTES) {
        Some(start) if bytes.len() > SHOWN_MAX_BYTES => format!("{}...", Escaped(start)),
        _ => Escaped(bytes).to_string(),
    }
}

/// Text as a message may show it: without control characters, and not endless.
pub(crate) fn shown_text(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_MAX_BYTES);
    let more = if end < text.len() { "..." } else { "" };
    let clean: String = text
        .char_indices()
        .take_while(|(start, _)| *start < end)
        .map(|(_, character)| character)
        .map(|character| if must_hide(character) { char::REPLACEMENT_CHARACTER } else { character })
        .collect();
    clean + more
}

/// Why a path is not in its one spelling.
///
/// ```
/// use ringfence_policy::CanonicalPath;
///
/// let error = CanonicalPath::new("notes/a.txt").unwrap_err();
/// assert_eq!(error.to_string(), "'notes/a.txt' is relative; an absolute path is needed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalPathError {
    /// It does not begin with `/`.
    #[error("'{path}' is relative; an absolute path is needed")]
    Relative {
        /// The path, escaped.
        path: String,
    },
    /// It has a segment `.` or `..`.
    #[error("'{path}' has '.' or '..' in it; give the path that it leads to")]
    Dots {
        /// The path, escaped.
        path: String,
    },
    /// It has two slashes in a row or one at the end.
    #[error("'{path}' has a slash too many; write it without")]
    ExtraSlash {
        /// The path, escaped.
        path: String,
    },
    /// It has a NUL byte.
    #[error("'{path}' has a NUL byte; no file can have that name")]
    Nul {
        /// The path, escaped.
        path: String,
    },
    /// It is longer than [`PATH_MAX_BYTES`].
    #[error("the path has {bytes} bytes; Linux opens at most {PATH_MAX_BYTES}")]
    TooLong {
        /// The length as given, in bytes.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_spelling_is_taken() {
        for good in ["/", "/a", "/a/b", "/...", "/.a/..b", "/a b/*\\", "/é"] {
            assert_eq!(CanonicalPath::new(good).unwrap().as_bytes(), good.as_bytes());
        }
        let long = format!("/{}", "a".repeat(PATH_MAX_BYTES));
        for bad in
            ["", "a", "./a", "~/a", "//", "/a/", "/a//b", "/.", "/a/..", "/../a", "/a/./b", "/a\0", &long]
        {
            let error = CanonicalPath::new(bad).unwrap_err().to_string();
            assert!(error.len() < 2 * SHOWN_MAX_BYTES && !error.contains('\0'), "{error}");
        }
        assert!(CanonicalPath::new(&long[..PATH_MAX_BYTES]).is_ok());
    }

    #[test]
    fn bytes_that_are_not_text_survive_and_are_shown_escaped() {
        let path = CanonicalPath::from_bytes(b"/a\xff\n").unwrap();
        assert_eq!(path.as_path().as_os_str().as_encoded_bytes(), b"/a\xff\n");
        assert_eq!(path.to_string(), "/a\\xff\\x0a");
        assert_eq!(format!("{path:?}"), "CanonicalPath(/a\\xff\\x0a)");
    }

    #[test]
    fn within_goes_by_segments() {
        let path = |text: &str| CanonicalPath::new(text).unwrap();
        for (below, above) in [("/a", "/"), ("/a", "/a"), ("/a/b", "/a"), ("/", "/")] {
            assert!(path(below).is_within(&path(above)), "{below} {above}");
        }
        for (other, above) in [("/ab", "/a"), ("/", "/a"), ("/a", "/a/b")] {
            assert!(!path(other).is_within(&path(above)), "{other} {above}");
        }
    }

    #[test]
    fn join_drops_dots_and_refuses_to_climb() {
        let path = |text: &str| CanonicalPath::new(text).unwrap();
        assert_eq!(path("/a").join("./b//c/").unwrap(), path("/a/b/c"));
        assert_eq!(path("/").join(".").unwrap(), path("/"));
        assert_eq!(path("/").join("x").unwrap(), path("/x"));
        assert!(matches!(path("/a").join("../b"), Err(CanonicalPathError::Dots { .. })));
        assert_eq!(CanonicalPath::try_from(Path::new("/x")), Ok(path("/x")));
        assert_eq!("/x".parse(), Ok(path("/x")));
    }
}
