//! Patterns over names: environment variables, events, configuration keys, databases, programs.

use std::fmt;

use crate::canonical_path::shown;
use crate::glob::{Glob, GlobError, write_escaped};
use crate::path_pattern::WILDCARDS_MAX;

/// The longest name and the longest name pattern, in bytes.
pub const NAME_MAX_BYTES: usize = 1024;

/// A name that is asked for, such as that of an environment variable: bytes, not empty, without NUL.
///
/// ```
/// use ringfence_policy::Name;
///
/// assert_eq!(Name::new("LANG")?.to_string(), "LANG");
/// assert!(Name::new("").is_err());
/// # Ok::<(), ringfence_policy::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`NameError::Empty`], [`NameError::Nul`] or [`NameError::TooLong`].
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let bytes = name.as_ref();
        match bytes {
            [] => Err(NameError::Empty),
            _ if bytes.len() > NAME_MAX_BYTES => Err(NameError::TooLong { bytes: bytes.len() }),
            _ if bytes.contains(&0) => Err(NameError::Nul { name: shown(bytes) }),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// A set of names: `LANG`, `LC_*`, `*`.
///
/// `*` is any number of bytes; everything else is itself, byte for byte. `\*`, `\\` and `\xHH` write what has
/// no other form. At most [`WILDCARDS_MAX`] stars are taken.
///
/// ```
/// use ringfence_policy::{Name, NamePattern};
///
/// let pattern: NamePattern = "LC_*".parse()?;
/// assert!(pattern.matches(&Name::new("LC_ALL")?));
/// assert!(!pattern.matches(&Name::new("lc_all")?));
/// # Ok::<(), ringfence_policy::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern(Glob);

impl NamePattern {
    /// The pattern of every name. A bare permission name means this.
    #[must_use]
    pub fn any() -> Self {
        Self(Glob::any())
    }

    /// The pattern of exactly this name.
    #[must_use]
    pub fn exact(name: &Name) -> Self {
        Self(Glob::literal(&name.0))
    }

    /// Whether the name is in the set.
    #[must_use]
    pub fn matches(&self, name: &Name) -> bool {
        self.0.matches(&name.0)
    }

    /// Whether it matches every name that `other` matches. It may say no where the answer is yes, never the
    /// reverse.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.0.includes(&other.0)
    }

    /// Whether there may be a name that both match.
    pub(crate) fn may_meet(&self, other: &Self) -> bool {
        match (self.as_exact(), other.as_exact()) {
            (Some(ours), _) => other.matches_bytes(ours),
            (_, Some(theirs)) => self.matches_bytes(theirs),
            _ => true,
        }
    }

    /// The name, when the pattern is one name.
    #[must_use]
    pub fn as_exact(&self) -> Option<&[u8]> {
        self.0.as_literal()
    }

    pub(crate) fn matches_bytes(&self, name: &[u8]) -> bool {
        self.0.matches(name)
    }
}

impl std::str::FromStr for NamePattern {
    type Err = NameError;

    /// # Errors
    ///
    /// A [`NameError`] that says what is wrong with it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let glob = Glob::parse(text.as_bytes()).map_err(|error| match error {
            GlobError::Nul => NameError::Nul { name: shown(text.as_bytes()) },
            GlobError::Escape => NameError::Escape { name: shown(text.as_bytes()) },
        })?;
        if glob.literal_bytes() > NAME_MAX_BYTES {
            return Err(NameError::TooLong { bytes: glob.literal_bytes() });
        }
        if glob.stars() > WILDCARDS_MAX {
            return Err(NameError::TooManyWildcards { name: shown(text.as_bytes()) });
        }
        Ok(Self(glob))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamePattern({self})")
    }
}

/// Why a text is not a name or a name pattern.
///
/// ```
/// use ringfence_policy::Name;
///
/// assert_eq!(Name::new("").unwrap_err().to_string(), "the name is empty");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing.
    #[error("the name is empty")]
    Empty,
    /// It has a NUL byte.
    #[error("'{name}' has a NUL byte")]
    Nul {
        /// The name, escaped.
        name: String,
    },
    /// It is longer than [`NAME_MAX_BYTES`].
    #[error("the name has {bytes} bytes; at most {NAME_MAX_BYTES} are taken")]
    TooLong {
        /// The length as given, in bytes.
        bytes: usize,
    },
    /// It has more than [`WILDCARDS_MAX`] stars.
    #[error("'{name}' has more than {WILDCARDS_MAX} wildcards; use fewer, or several grants")]
    TooManyWildcards {
        /// The pattern, escaped.
        name: String,
    },
    /// A backslash is followed by something that has no meaning.
    #[error("'{name}' has a bad escape; only \\*, \\\\ and \\xHH are known")]
    Escape {
        /// The name, escaped.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_keep_their_bounds() {
        assert_eq!(Name::new(vec![b'a'; NAME_MAX_BYTES + 1]), Err(NameError::TooLong { bytes: 1025 }));
        assert!(matches!(Name::new("a\0"), Err(NameError::Nul { .. })));
        let pattern = |text: &str| text.parse::<NamePattern>();
        assert_eq!(pattern(""), Err(NameError::Empty));
        assert!(matches!(pattern(&"a".repeat(1025)), Err(NameError::TooLong { .. })));
        assert!(matches!(pattern(&"*a".repeat(33)), Err(NameError::TooManyWildcards { .. })));
        assert!(pattern(&"*a".repeat(32)).is_ok() && pattern(&"*".repeat(500)).is_ok());
        assert!(matches!(pattern("a\\x00"), Err(NameError::Nul { .. })));
        assert!(matches!(pattern("a\\q"), Err(NameError::Escape { .. })));
        assert_eq!(
            format!("{:?} {:?}", Name::new(b"\xff").unwrap(), pattern("a*").unwrap()),
            "Name(\\xff) NamePattern(a*)"
        );
    }

    #[test]
    fn one_name_is_recognised_and_inclusion_is_by_glob() {
        let name = Name::new("A*B").unwrap();
        let exact = NamePattern::exact(&name);
        assert_eq!((exact.to_string().as_str(), exact.as_exact()), ("A\\*B", Some(&b"A*B"[..])));
        assert!(exact.matches(&name) && !exact.matches(&Name::new("AxB").unwrap()));
        assert!(NamePattern::any().includes(&exact) && !exact.includes(&NamePattern::any()));
        assert_eq!(name.as_bytes(), b"A*B");
    }
}
