//! Which packages may be installed and run: by name, digest and publisher.

use std::fmt;

use super::{Place, Placed};
use crate::name_pattern::NamePattern;

/// The length of a digest of a package: SHA-256 in hexadecimal.
pub const DIGEST_HEX_CHARS: usize = 64;

/// The digest of a package, 64 small hexadecimal digits.
///
/// ```
/// use ringfence_policy::Digest;
///
/// let digest: Digest = "AB".repeat(32).parse()?;
/// assert_eq!(digest.as_str(), "ab".repeat(32));
/// assert!("ab".parse::<Digest>().is_err());
/// # Ok::<(), ringfence_policy::DigestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Box<str>);

/// A text that is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is {DIGEST_HEX_CHARS} hexadecimal digits; `ringfence show NAME` prints that of a package")]
pub struct DigestError;

impl Digest {
    /// The digits.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Digest {
    type Err = DigestError;

    /// # Errors
    /// [`DigestError`] when it has another length or other letters.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != DIGEST_HEX_CHARS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(DigestError);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A package that somebody wants to install or run.
///
/// ```
/// let candidate = ringfence_policy::Candidate { name: "notes", publisher: "unsigned:Ada", digest: "" };
/// assert!(ringfence_policy::Policy::default().admit(&candidate).is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The plugin's name.
    pub name: &'a str,
    /// Who made it, as far as that is proven: `unsigned:` and what the manifest claims.
    pub publisher: &'a str,
    /// The digest of the package.
    pub digest: &'a str,
}

/// Which packages may be installed and run. The default admits all.
///
/// ```
/// assert!(ringfence_policy::Admission::default().publishers.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// A package must be of one of these; empty: of anybody.
    pub publishers: Vec<Placed<NamePattern>>,
    /// No plugin of such a name.
    pub blocked_names: Vec<Placed<NamePattern>>,
    /// No package with this digest.
    pub blocked_digests: Vec<Placed<Digest>>,
}

/// What refuses a package, and where it stands.
///
/// ```
/// use ringfence_policy::{Admission, Candidate, Place, Placed};
///
/// let admission = Admission {
///     blocked_names: vec![Placed { value: "evil-*".parse()?, place: Place { line: 5, column: 18 } }],
///     ..Admission::default()
/// };
/// let blocked = admission.admit(&Candidate { name: "evil-one", publisher: "unsigned:", digest: "" }).unwrap_err();
/// assert_eq!(blocked.to_string(), "the name evil-one is blocked by 'evil-*'");
/// assert_eq!(blocked.place().unwrap().line, 5);
/// # Ok::<(), ringfence_policy::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Blocked {
    /// Its name is blocked.
    #[error("the name {name} is blocked by '{pattern}'")]
    Name {
        /// The name.
        name: String,
        /// The pattern that has it.
        pattern: NamePattern,
        /// Where that stands.
        place: Place,
    },
    /// Its digest is blocked.
    #[error("the package {digest} is blocked")]
    Digest {
        /// The digest.
        digest: String,
        /// Where it stands.
        place: Place,
    },
    /// It is of somebody else than the required publishers.
    #[error("its publisher '{}' is none of the required: {}", crate::canonical_path::shown_text(.publisher), .required.join(", "))]
    Publisher {
        /// Who made it.
        publisher: String,
        /// Who may.
        required: Vec<String>,
        /// Where the first of those stands.
        place: Place,
    },
}

impl Blocked {
    /// Where that which refuses it stands.
    #[must_use]
    pub const fn place(&self) -> Option<Place> {
        match self {
            Self::Name { place, .. } | Self::Digest { place, .. } | Self::Publisher { place, .. } => {
                Some(*place)
            }
        }
    }
}

/// How many required publishers a message names.
const NAMED_MAX: usize = 5;

impl Admission {
    /// Whether a package may be installed and run.
    ///
    /// # Errors
    /// [`Blocked`]: a blocked name before a blocked digest before a missing publisher.
    pub fn admit(&self, candidate: &Candidate<'_>) -> Result<(), Blocked> {
        let has = |placed: &&Placed<NamePattern>, text: &str| placed.value.matches_bytes(text.as_bytes());
        if let Some(by) = self.blocked_names.iter().find(|placed| has(placed, candidate.name)) {
            let (name, pattern) = (candidate.name.to_owned(), by.value.clone());
            return Err(Blocked::Name { name, pattern, place: by.place });
        }
        let same = |placed: &&Placed<Digest>| placed.value.as_str().eq_ignore_ascii_case(candidate.digest);
        if let Some(by) = self.blocked_digests.iter().find(same) {
            return Err(Blocked::Digest { digest: candidate.digest.to_owned(), place: by.place });
        }
        match self.publishers.first() {
            Some(first) if !self.publishers.iter().any(|placed| has(&placed, candidate.publisher)) => {
                let required = self.publishers.iter().take(NAMED_MAX).map(|placed| placed.value.to_string());
                let publisher = candidate.publisher.to_owned();
                Err(Blocked::Publisher { publisher, required: required.collect(), place: first.place })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed<T>(value: T, line: usize) -> Placed<T> {
        Placed { value, place: Place { line, column: 1 } }
    }

    #[test]
    fn each_of_the_three_refuses_and_its_twin_passes() {
        let digest = "0a".repeat(32);
        let admission = Admission {
            publishers: vec![
                placed("unsigned:Example *".parse().unwrap(), 1),
                placed("ours:*".parse().unwrap(), 2),
            ],
            blocked_names: vec![placed("evil-*".parse().unwrap(), 3)],
            blocked_digests: vec![placed(digest.to_uppercase().parse().unwrap(), 4)],
        };
        let ask = |name, publisher, digest| admission.admit(&Candidate { name, publisher, digest });
        assert_eq!(ask("notes", "unsigned:Example Labs", "00"), Ok(()));
        assert_eq!(ask("notes", "ours:x", "00"), Ok(()));
        let line = |blocked: Result<(), Blocked>| blocked.unwrap_err().place().unwrap().line;
        assert_eq!(line(ask("evil-a", "ours:x", &digest)), 3);
        assert_eq!(line(ask("notes", "ours:x", &digest)), 4);
        let blocked = ask("notes", "unsigned:\u{1b}[2J", "00").unwrap_err();
        assert_eq!(
            blocked.to_string(),
            "its publisher 'unsigned:\u{fffd}[2J' is none of the required: unsigned:Example *, ours:*"
        );
        assert_eq!(blocked.place().unwrap().line, 1);
    }
}
