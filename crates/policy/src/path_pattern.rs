//! Patterns over paths: what the scope of a file permission means.

use std::fmt;

use crate::canonical_path::{CanonicalPath, PATH_MAX_BYTES, shown};
use crate::glob::{Glob, GlobError};
use crate::pieces::pieces_match;
use crate::vars::Vars;

/// The most `*` and `**` in one pattern. Real ones have one or two; the bound keeps a hostile manifest from
/// making every decision slow.
pub const WILDCARDS_MAX: usize = 32;

/// A set of paths: `/srv/notes/a.txt`, `/srv/*/a.txt`, `/srv/**`.
///
/// - `*` is any number of bytes inside one segment, also of a name that begins with a dot.
/// - `**`, alone in its segment, is any number of segments, also none: `DIR/**` includes DIR itself.
/// - Everything else is itself, byte for byte; `\*`, `\\` and `\xHH` write the bytes that have no other form.
/// - `~` (the home directory) and `${data}` (the plugin's own data) are replaced at the beginning; a
///   relative pattern is taken from the base directory of [`Vars`].
/// - `.`, double slashes and a slash at the end are dropped. `..` is refused, because what it leads to depends
///   on symbolic links.
///
/// Matching takes at most the length of the path times the length of the pattern; at most [`WILDCARDS_MAX`]
/// wildcards are taken.
///
/// ```
/// use ringfence_policy::{CanonicalPath, PathPattern, Vars};
///
/// let vars = Vars::new(CanonicalPath::new("/proj")?).with_home(CanonicalPath::new("/home/ada")?);
/// let pattern = PathPattern::parse("~/notes/**", &vars)?;
/// assert_eq!(pattern.to_string(), "/home/ada/notes/**");
/// assert!(pattern.matches(&CanonicalPath::new("/home/ada/notes")?));
/// assert!(pattern.matches(&CanonicalPath::new("/home/ada/notes/2024/may.md")?));
/// assert!(!pattern.matches(&CanonicalPath::new("/home/ada/notes-old")?));
/// assert!(pattern.is_subtree());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern {
    /// Runs of segments with `**` between them. INVARIANT: at least one run; a run in the middle is not empty.
    runs: Vec<Box<[Glob]>>,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// A [`PathPatternError`] that says what is wrong with it and what to write instead.
    pub fn parse(text: &str, vars: &Vars) -> Result<Self, PathPatternError> {
        let (base, rest) = split_base(text, vars)?;
        let mut runs = Vec::new();
        let mut run: Vec<Glob> =
            base.into_iter().flat_map(CanonicalPath::segments).map(Glob::literal).collect();
        for segment in rest.split('/').filter(|segment| !matches!(*segment, "" | ".")) {
            if segment == "**" {
                // `**/**` is `**`.
                if !run.is_empty() || runs.is_empty() {
                    runs.push(std::mem::take(&mut run).into_boxed_slice());
                }
            } else {
                run.push(parse_segment(segment, text)?);
            }
        }
        runs.push(run.into_boxed_slice());
        let pattern = Self { runs };
        let bytes = pattern.symbols().map(|symbol| 1 + symbol.map_or(0, Glob::literal_bytes)).sum();
        if bytes > PATH_MAX_BYTES {
            return Err(PathPatternError::TooLong { bytes });
        }
        if pattern.wildcards() > WILDCARDS_MAX {
            return Err(PathPatternError::TooManyWildcards { pattern: shown(text.as_bytes()) });
        }
        Ok(pattern)
    }

    /// The pattern of exactly this path.
    #[must_use]
    pub fn exact(path: &CanonicalPath) -> Self {
        Self { runs: vec![path.segments().map(Glob::literal).collect()] }
    }

    /// The pattern of this directory and everything below it: `DIR/**`.
    #[must_use]
    pub fn subtree(directory: &CanonicalPath) -> Self {
        Self { runs: vec![directory.segments().map(Glob::literal).collect(), Box::default()] }
    }

    /// The pattern of every path: `/**`. A bare permission name means this.
    #[must_use]
    pub fn everything() -> Self {
        Self::subtree(&CanonicalPath::root())
    }

    /// Whether the path is in the set.
    #[must_use]
    pub fn matches(&self, path: &CanonicalPath) -> bool {
        let segments: Vec<_> = path.segments().collect();
        self.matches_segments(&segments)
    }

    pub(crate) fn matches_segments(&self, segments: &[&[u8]]) -> bool {
        pieces_match(&self.runs, segments, |glob, segment| glob.matches(segment))
    }

    /// Whether it matches every path that `other` matches.
    ///
    /// It may say no where the answer is yes (two spellings of the same wildcards), never the reverse. The
    /// floor is not considered here.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        let symbols: Vec<_> = other.symbols().collect();
        pieces_match(&self.runs, &symbols, |ours, theirs| theirs.is_some_and(|theirs| ours.includes(theirs)))
    }

    /// Whether there may be a path that both match.
    pub(crate) fn may_meet(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.literal_prefix(), other.literal_prefix());
        match (self.is_exact(), other.is_exact()) {
            (true, _) => other.matches(&ours),
            (_, true) => self.matches(&theirs),
            // What both match is at or below both beginnings.
            _ => self.touches(&theirs) && other.touches(&ours),
        }
    }

    /// The longest path without wildcards that everything in the set is, or lies below: `/srv` of
    /// `/srv/*.txt` and of `/srv/**`, `/srv/a` of `/srv/a`.
    #[must_use]
    pub fn literal_prefix(&self) -> CanonicalPath {
        CanonicalPath::from_segments(self.literal_segments())
    }

    pub(crate) fn literal_segments(&self) -> impl Iterator<Item = &[u8]> {
        self.runs.first().into_iter().flatten().map_while(Glob::as_literal)
    }

    /// Whether it is one path, without wildcards.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.runs.as_slice(), [only] if only.iter().all(|glob| glob.as_literal().is_some()))
    }

    /// Whether it is one directory with everything below it: `DIR/**` without other wildcards.
    #[must_use]
    pub fn is_subtree(&self) -> bool {
        matches!(self.runs.as_slice(), [directory, end]
            if end.is_empty() && directory.iter().all(|glob| glob.as_literal().is_some()))
    }

    /// Whether a literal reader would say that it names `path` or something below it: an exact path or
    /// `DIR/**` at or below `path`. Only such a pattern opens a floor path.
    #[must_use]
    pub fn names(&self, path: &CanonicalPath) -> bool {
        (self.is_exact() || self.is_subtree()) && self.literal_prefix().is_within(path)
    }

    /// Whether the set has `path`, or something below it, or a directory above it.
    ///
    /// This is the question behind a mount: a directory brings with it all that lies below.
    #[must_use]
    pub fn touches(&self, path: &CanonicalPath) -> bool {
        let prefix = self.literal_prefix();
        if !prefix.is_within(path) && !path.is_within(&prefix) {
            return false;
        }
        if self.is_exact() || self.is_subtree() {
            return true;
        }
        // The places in the pattern that can be reached after the segments so far, as in any small NFA.
        let symbols: Vec<_> = self.symbols().collect();
        let mut reached = vec![false; symbols.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        skip_double_stars(&symbols, &mut reached);
        for segment in path.segments() {
            if reached.last() == Some(&true) {
                return true;
            }
            let mut next = vec![false; symbols.len() + 1];
            for (place, symbol) in symbols.iter().enumerate() {
                let here = reached.get(place) == Some(&true);
                let lands = match symbol {
                    None => place,
                    Some(glob) if glob.matches(segment) => place + 1,
                    Some(_) => continue,
                };
                if let Some(slot) = next.get_mut(lands) {
                    *slot |= here;
                }
            }
            skip_double_stars(&symbols, &mut next);
            reached = next;
        }
        // Whatever is still open can be completed by some path further down.
        reached.contains(&true)
    }

    /// The segments in order; `None` is `**`.
    fn symbols(&self) -> impl Iterator<Item = Option<&Glob>> {
        self.runs
            .iter()
            .enumerate()
            .flat_map(|(index, run)| (index > 0).then_some(None).into_iter().chain(run.iter().map(Some)))
    }

    fn wildcards(&self) -> usize {
        self.symbols().map(|symbol| symbol.map_or(1, Glob::stars)).sum()
    }
}

/// `**` may stand for nothing: whoever is before it is also behind it.
fn skip_double_stars(symbols: &[Option<&Glob>], reached: &mut [bool]) {
    for (place, symbol) in symbols.iter().enumerate() {
        if symbol.is_none()
            && reached.get(place) == Some(&true)
            && let Some(slot) = reached.get_mut(place + 1)
        {
            *slot = true;
        }
    }
}

/// The directory that a pattern starts from, and the rest of the text. `None` is the root.
fn split_base<'t, 'v>(
    text: &'t str,
    vars: &'v Vars,
) -> Result<(Option<&'v CanonicalPath>, &'t str), PathPatternError> {
    let pattern = || shown(text.as_bytes());
    if text.is_empty() {
        return Err(PathPatternError::Empty);
    }
    if text.starts_with('/') {
        return Ok((None, text));
    }
    if let Some(rest) = text.strip_prefix('~') {
        if !rest.is_empty() && !rest.starts_with('/') {
            return Err(PathPatternError::OtherHome { pattern: pattern() });
        }
        let home = vars.home().ok_or_else(|| PathPatternError::NoHome { pattern: pattern() })?;
        return Ok((Some(home), rest));
    }
    if text.starts_with("${") {
        return match text.strip_prefix("${data}") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let data = vars.data().ok_or_else(|| PathPatternError::NoData { pattern: pattern() })?;
                Ok((Some(data), rest))
            }
            _ => Err(PathPatternError::UnknownVariable { pattern: pattern() }),
        };
    }
    Ok((Some(vars.base_dir()), text))
}

fn parse_segment(segment: &str, text: &str) -> Result<Glob, PathPatternError> {
    let pattern = || shown(text.as_bytes());
    let glob = Glob::parse(segment.as_bytes()).map_err(|error| match error {
        GlobError::Escape => PathPatternError::Escape { pattern: pattern() },
        GlobError::Nul => PathPatternError::Nul { pattern: pattern() },
    })?;
    if has_double_star(segment.as_bytes()) {
        return Err(PathPatternError::DoubleStarInside { pattern: pattern() });
    }
    match glob.as_literal() {
        // Also when written with escapes: the check is on what the text means.
        Some(b"." | b"..") => Err(PathPatternError::ParentSegment { pattern: pattern() }),
        _ if glob.has_byte(b'/') => Err(PathPatternError::Escape { pattern: pattern() }),
        _ => Ok(glob),
    }
}

/// Whether two stars stand next to each other, neither of them escaped.
fn has_double_star(mut segment: &[u8]) -> bool {
    loop {
        segment = match segment {
            [b'*', b'*', ..] => return true,
            [b'\\', _, rest @ ..] | [_, rest @ ..] => rest,
            [] => return false,
        };
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut empty = true;
        for symbol in self.symbols() {
            empty = false;
            match symbol {
                Some(glob) => write!(f, "/{glob}")?,
                None => f.write_str("/**")?,
            }
        }
        if empty { f.write_str("/") } else { Ok(()) }
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathPattern({self})")
    }
}

/// Why a text is not a path pattern.
///
/// ```
/// use ringfence_policy::{CanonicalPath, PathPattern, Vars};
///
/// let vars = Vars::new(CanonicalPath::root());
/// let error = PathPattern::parse("/srv/../etc", &vars).unwrap_err();
/// assert_eq!(error.to_string(), "'/srv/../etc' has '..' in it; write the path that it leads to");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathPatternError {
    /// There is nothing.
    #[error("the path is empty; write one such as /srv/notes/** or ./data")]
    Empty,
    /// It has a segment `..`.
    #[error("'{pattern}' has '..' in it; write the path that it leads to")]
    ParentSegment {
        /// The pattern, escaped.
        pattern: String,
    },
    /// `**` shares its segment with something else.
    #[error(
        "'{pattern}' has '**' beside other characters; write '*' inside a name, or '**' alone between slashes"
    )]
    DoubleStarInside {
        /// The pattern, escaped.
        pattern: String,
    },
    /// It begins with `~NAME`.
    #[error("'{pattern}' names another user's home; only '~' and '~/...' are known, write the whole path")]
    OtherHome {
        /// The pattern, escaped.
        pattern: String,
    },
    /// It begins with `~` and there is no home directory.
    #[error("'{pattern}' needs a home directory, and there is none here; write the whole path")]
    NoHome {
        /// The pattern, escaped.
        pattern: String,
    },
    /// It begins with `${data}` and this is not about a plugin.
    #[error("'{pattern}' needs a plugin's data directory, and there is none here; write the whole path")]
    NoData {
        /// The pattern, escaped.
        pattern: String,
    },
    /// It begins with a variable that does not exist.
    #[error(
        "'{pattern}' begins with an unknown variable; only '~' and '${{data}}' are known (a name that begins so is written './$...')"
    )]
    UnknownVariable {
        /// The pattern, escaped.
        pattern: String,
    },
    /// A backslash is followed by something that has no meaning, or writes a slash.
    #[error("'{pattern}' has a bad escape; only \\*, \\\\ and \\xHH are known, and none for a slash")]
    Escape {
        /// The pattern, escaped.
        pattern: String,
    },
    /// It has a NUL byte.
    #[error("'{pattern}' has a NUL byte; no file can have that name")]
    Nul {
        /// The pattern, escaped.
        pattern: String,
    },
    /// It is longer than any path.
    #[error("the path has {bytes} bytes; Linux opens at most {PATH_MAX_BYTES}")]
    TooLong {
        /// The length of what must be literally there, with the base directory, in bytes.
        bytes: usize,
    },
    /// It has more than [`WILDCARDS_MAX`] wildcards.
    #[error("'{pattern}' has more than {WILDCARDS_MAX} wildcards; use fewer, or several grants")]
    TooManyWildcards {
        /// The pattern, escaped.
        pattern: String,
    },
}
