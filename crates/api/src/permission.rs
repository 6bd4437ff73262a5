//! Permission names and the one grammar for permissions: `NAME` or `NAME=SCOPE`.
//!
//! This is the text level only: a name is checked against the list, a scope is kept as it was written. What
//! a scope means, and whether it is a good path or host pattern, is the business of `ringfence-policy`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The longest scope that is read, in bytes: a path of 4,096 bytes (`PATH_MAX`, limits.h) with each byte
/// escaped as `\xHH`.
pub const SCOPE_MAX_BYTES: usize = 16 * 1024;

/// The longest NAME and the longest VERB in `x-NAME:VERB`, in bytes each.
pub const EXTENSION_WORD_MAX_BYTES: usize = 64;

/// What kind of thing the scope of a permission bounds.
///
/// ```
/// use ringfence_api::{PermissionName, ScopeKind};
///
/// assert_eq!(PermissionName::FileRead.scope_kind(), ScopeKind::Path);
/// assert_eq!(PermissionName::EnvRead.scope_kind(), ScopeKind::Name);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScopeKind {
    /// Files and directories: `/srv/notes/**`.
    Path,
    /// Hosts with a port: `api.example.com:443`.
    Host,
    /// Programs: a path pattern, or the bare name of an installed program.
    Program,
    /// Names, such as those of environment variables, events or databases.
    Name,
}

/// Defines the built-in names once: variant, text, kind of scope, meaning.
macro_rules! permission_names {
    ($($variant:ident $text:literal $kind:ident $meaning:literal;)+) => {
        /// The name of a permission: one of the 14 built-in ones, or one that the host application adds.
        ///
        /// Names are compared byte for byte. In JSON a name is its text.
        ///
        /// ```
        /// use ringfence_api::PermissionName;
        ///
        /// assert_eq!("file:read".parse::<PermissionName>()?, PermissionName::FileRead);
        /// assert_eq!("x-crm:export".parse::<PermissionName>()?.to_string(), "x-crm:export");
        /// assert!("file:raed".parse::<PermissionName>().is_err());
        /// # Ok::<(), ringfence_api::PermissionError>(())
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum PermissionName {
            $(#[doc = $meaning] $variant,)+
            /// `x-NAME:VERB`: a permission that the host application defines and enforces.
            Extension(ExtensionName),
        }

        impl PermissionName {
            /// The built-in names, in the order of the documentation.
            pub const BUILT_IN: &[Self] = &[$(Self::$variant,)+];

            /// The name as text, such as `file:read`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Extension(name) => name.as_str(),
                }
            }

            /// What the scope of this permission bounds.
            #[must_use]
            pub const fn scope_kind(&self) -> ScopeKind {
                match self {
                    $(Self::$variant => ScopeKind::$kind,)+
                    Self::Extension(_) => ScopeKind::Name,
                }
            }
        }
    };
}

permission_names! {
    FileRead "file:read" Path "Open, list and stat files.";
    FileWrite "file:write" Path "Create, write, truncate, make directories, change modes.";
    FileDelete "file:delete" Path "Unlink, remove directories, rename away or over.";
    NetworkRequest "network:request" Host "Make requests to hosts.";
    NetworkListen "network:listen" Host "Accept connections.";
    SubprocessExecute "subprocess:execute" Program "Make processes; they share the sandbox and its limits.";
    HookRegister "hook:register" Name "Take part in an event of the host's pipeline.";
    ConfigRead "config:read" Name "Read configuration values.";
    ConfigWrite "config:write" Name "Change configuration values.";
    DatabaseRead "database:read" Name "Query a database of the host application.";
    DatabaseWrite "database:write" Name "Change a database of the host application.";
    EnvRead "env:read" Name "See environment variables.";
    EventPost "event:post" Name "Post one-way messages, and hear those of others.";
    ProfileRead "profile:read" Name "Read the profile of the user on whose behalf the call is made.";
}

impl fmt::Display for PermissionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PermissionName {
    type Err = PermissionError;

    /// # Errors
    ///
    /// [`PermissionError::UnknownName`] when it is neither built in nor begins with `x-`;
    /// [`PermissionError::BadExtension`] when it begins with `x-` and does not follow `x-NAME:VERB`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("x-") {
            return text.parse().map(Self::Extension);
        }
        Self::BUILT_IN.iter().find(|name| name.as_str() == text).cloned().ok_or_else(|| {
            PermissionError::UnknownName { name: text.to_owned(), suggestion: nearest_built_in(text) }
        })
    }
}

impl TryFrom<String> for PermissionName {
    type Error = PermissionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PermissionName> for String {
    fn from(name: PermissionName) -> Self {
        name.as_str().to_owned()
    }
}

impl JsonSchema for PermissionName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PermissionName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let built_in: Vec<_> = Self::BUILT_IN.iter().map(Self::as_str).collect();
        json_schema!({
            "description": "The name of a permission.",
            "anyOf": [
                { "enum": built_in },
                { "type": "string", "pattern": "^x-[a-z0-9][a-z0-9-]{0,63}:[a-z0-9][a-z0-9-]{0,63}$" },
            ],
        })
    }
}

/// The name of a permission that the host application adds: `x-NAME:VERB`.
///
/// NAME and VERB are 1 to [`EXTENSION_WORD_MAX_BYTES`] of `a-z`, `0-9` and `-`, and do not begin with `-`.
///
/// ```
/// use ringfence_api::ExtensionName;
///
/// let name: ExtensionName = "x-crm:export".parse()?;
/// assert_eq!((name.name(), name.verb()), ("crm", "export"));
/// assert!("x-CRM:export".parse::<ExtensionName>().is_err());
/// # Ok::<(), ringfence_api::PermissionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtensionName(String);

impl ExtensionName {
    /// The whole text, such as `x-crm:export`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part between `x-` and the colon.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts().0
    }

    /// The part after the colon.
    #[must_use]
    pub fn verb(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.strip_prefix("x-").and_then(|rest| rest.split_once(':')).unwrap_or_default()
    }
}

impl FromStr for ExtensionName {
    type Err = PermissionError;

    /// # Errors
    ///
    /// [`PermissionError::BadExtension`] when it does not follow `x-NAME:VERB`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = text
            .strip_prefix("x-")
            .and_then(|rest| rest.split_once(':'))
            .is_some_and(|(name, verb)| is_extension_word(name) && is_extension_word(verb));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(PermissionError::BadExtension { name: text.to_owned() })
        }
    }
}

fn is_extension_word(word: &str) -> bool {
    (1..=EXTENSION_WORD_MAX_BYTES).contains(&word.len())
        && !word.starts_with('-')
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A permission as text: a name, and a scope if it is bounded.
///
/// Without a scope it asks for all of the kind (never for the floor). The scope is kept as written: not
/// empty, without control characters, at most [`SCOPE_MAX_BYTES`].
///
/// ```
/// use ringfence_api::{Permission, PermissionName};
///
/// let permission: Permission = "network:request=*.example.com:443".parse()?;
/// assert_eq!(permission.name(), &PermissionName::NetworkRequest);
/// assert_eq!(permission.scope(), Some("*.example.com:443"));
/// assert_eq!(permission.to_string(), "network:request=*.example.com:443");
///
/// let all: Permission = PermissionName::EnvRead.into();
/// assert_eq!((all.scope(), all.to_string().as_str()), (None, "env:read"));
/// # Ok::<(), ringfence_api::PermissionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Permission {
    name: PermissionName,
    scope: Option<String>,
}

impl Permission {
    /// A permission with a scope.
    ///
    /// # Errors
    ///
    /// [`PermissionError::EmptyScope`], [`PermissionError::ControlInScope`] or
    /// [`PermissionError::ScopeTooLong`].
    pub fn scoped(name: PermissionName, scope: impl Into<String>) -> Result<Self, PermissionError> {
        let scope = scope.into();
        if scope.is_empty() {
            return Err(PermissionError::EmptyScope { name });
        }
        if scope.len() > SCOPE_MAX_BYTES {
            return Err(PermissionError::ScopeTooLong { name, bytes: scope.len() });
        }
        if scope.chars().any(char::is_control) {
            return Err(PermissionError::ControlInScope { name, scope });
        }
        Ok(Self { name, scope: Some(scope) })
    }

    /// The name, such as `file:read`.
    #[must_use]
    pub const fn name(&self) -> &PermissionName {
        &self.name
    }

    /// The scope as it was written; `None` asks for all of the kind.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
}

impl From<PermissionName> for Permission {
    fn from(name: PermissionName) -> Self {
        Self { name, scope: None }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Some(scope) => write!(f, "{}={scope}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl FromStr for Permission {
    type Err = PermissionError;

    /// # Errors
    ///
    /// Those of [`PermissionName::from_str`] and [`Permission::scoped`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, scope)) => Self::scoped(name.parse()?, scope),
            None => text.parse().map(|name| Self { name, scope: None }),
        }
    }
}

impl TryFrom<String> for Permission {
    type Error = PermissionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Permission> for String {
    fn from(permission: Permission) -> Self {
        permission.to_string()
    }
}

impl JsonSchema for Permission {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Permission".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A permission: NAME or NAME=SCOPE, such as file:read=/srv/notes/**.",
            "type": "string",
            "pattern": "^[a-z0-9-]+:[a-z0-9-]+(=.+)?$",
        })
    }
}

/// Why a text is not a permission.
///
/// ```
/// use ringfence_api::Permission;
///
/// let error = "file:raed=/srv".parse::<Permission>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "'file:raed' is not a permission; did you mean 'file:read'?",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PermissionError {
    /// The name is not in the list.
    #[error("{}", unknown_name_text(.name, .suggestion.as_ref()))]
    UnknownName {
        /// The name as it was given.
        name: String,
        /// The built-in name that is nearest to it, when one is near.
        suggestion: Option<PermissionName>,
    },
    /// The name begins with `x-` and does not follow the form of an added permission.
    #[error(
        "'{}' is not a permission; added ones are x-NAME:VERB with 1 to {EXTENSION_WORD_MAX_BYTES} of a-z, \
         0-9 and - in each",
        .name.escape_debug()
    )]
    BadExtension {
        /// The name as it was given.
        name: String,
    },
    /// There is an `=` with nothing behind it.
    #[error("'{name}=' has an empty scope; write '{name}' for all of the kind, or a scope after the '='")]
    EmptyScope {
        /// The name before the `=`.
        name: PermissionName,
    },
    /// The scope has a NUL, a line break or another control character.
    #[error("the scope of '{name}' has a control character: '{}'", .scope.escape_debug())]
    ControlInScope {
        /// The name before the `=`.
        name: PermissionName,
        /// The scope as it was given.
        scope: String,
    },
    /// The scope is longer than any path can be.
    #[error("the scope of '{name}' has {bytes} bytes; at most {SCOPE_MAX_BYTES} are read")]
    ScopeTooLong {
        /// The name before the `=`.
        name: PermissionName,
        /// The length as given, in bytes.
        bytes: usize,
    },
}

fn unknown_name_text(name: &str, suggestion: Option<&PermissionName>) -> String {
    let shown = shorten(name).escape_debug();
    if let Some(suggestion) = suggestion {
        return format!("'{shown}' is not a permission; did you mean '{suggestion}'?");
    }
    let choices: Vec<_> = PermissionName::BUILT_IN.iter().map(PermissionName::as_str).collect();
    format!("'{shown}' is not a permission; choose {} or x-NAME:VERB", choices.join(", "))
}

/// The longest unknown name that a message repeats, in bytes.
const SHOWN_NAME_MAX_BYTES: usize = 80;

fn shorten(name: &str) -> &str {
    name.get(..name.floor_char_boundary(SHOWN_NAME_MAX_BYTES)).unwrap_or(name)
}

/// The most edits at which a name still counts as a slip of the same name.
const NEAR_EDITS: usize = 3;

fn nearest_built_in(text: &str) -> Option<PermissionName> {
    if text.len() > SHOWN_NAME_MAX_BYTES {
        return None;
    }
    PermissionName::BUILT_IN
        .iter()
        .map(|name| (edits_between(text.as_bytes(), name.as_str().as_bytes()), name))
        .min_by_key(|(edits, _)| *edits)
        .filter(|(edits, _)| *edits <= NEAR_EDITS)
        .map(|(_, name)| name.clone())
}

/// The number of single-byte insertions, deletions and replacements that make `left` into `right`.
fn edits_between(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (done, from) in left.iter().enumerate() {
        let mut previous = done + 1;
        let mut next = vec![previous];
        for (pair, to) in row.windows(2).zip(right) {
            if let &[diagonal, above] = pair {
                previous = (diagonal + usize::from(from != to)).min(above + 1).min(previous + 1);
                next.push(previous);
            }
        }
        row = next;
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourteen_names_come_back_from_text_and_json() {
        assert_eq!(PermissionName::BUILT_IN.len(), 14);
        for name in PermissionName::BUILT_IN {
            assert_eq!(&name.as_str().parse::<PermissionName>().unwrap(), name);
            let json = serde_json::to_string(name).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(&serde_json::from_str::<PermissionName>(&json).unwrap(), name);
        }
    }

    #[test]
    fn added_names_follow_their_form() {
        for good in ["x-a:b", "x-crm-2:export-all", &format!("x-{}:v", "n".repeat(64))] {
            let name: PermissionName = good.parse().unwrap();
            assert_eq!((name.as_str(), name.scope_kind()), (good, ScopeKind::Name));
        }
        let long = format!("x-{}:v", "n".repeat(65));
        for bad in
            ["x-", "x-:", "x-a", "x-a:", "x-:b", "x-A:b", "x-a:b:c", "x--a:b", "x-a:-b", "x-é:b", &long]
        {
            assert!(
                matches!(bad.parse::<PermissionName>(), Err(PermissionError::BadExtension { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn names_are_exact() {
        for bad in ["", "File:read", "file:read ", " file:read", "file", "file:", "file:reаd", "X-a:b"] {
            assert!(
                matches!(bad.parse::<PermissionName>(), Err(PermissionError::UnknownName { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_slip_is_answered_with_the_name_and_nonsense_with_the_list() {
        let text = |input: &str| input.parse::<PermissionName>().unwrap_err().to_string();
        assert!(text("file-read").ends_with("did you mean 'file:read'?"));
        assert!(text("netwrk:request").ends_with("did you mean 'network:request'?"));
        assert!(text("everything").contains("choose file:read, file:write,"));
        assert!(text(&"é".repeat(5_000)).len() < 600);
    }

    #[test]
    fn a_scope_is_kept_as_written_and_the_first_equals_sign_counts() {
        let permission: Permission = "env:read=A=B".parse().unwrap();
        assert_eq!(permission.scope(), Some("A=B"));
        assert_eq!(permission.to_string(), "env:read=A=B");
        let json = serde_json::to_string(&permission).unwrap();
        assert_eq!(serde_json::from_str::<Permission>(&json).unwrap(), permission);
    }

    #[test]
    fn bad_scopes_are_refused() {
        let scoped = |scope: &str| Permission::scoped(PermissionName::FileRead, scope);
        assert!(matches!("file:read=".parse::<Permission>(), Err(PermissionError::EmptyScope { .. })));
        for control in ["/a\0b", "/a\nb", "/a\u{85}b", "/a\u{7f}"] {
            let error = scoped(control).unwrap_err();
            assert!(matches!(error, PermissionError::ControlInScope { .. }));
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
        assert!(scoped(&"a".repeat(SCOPE_MAX_BYTES)).is_ok());
        let error = scoped(&"a".repeat(SCOPE_MAX_BYTES + 1)).unwrap_err();
        assert!(error.to_string().contains("16385 bytes"), "{error}");
        assert!(serde_json::from_str::<Permission>("\"file:read=\"").is_err());
    }

    #[test]
    fn edits_are_counted() {
        for (left, right, edits) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edits_between(left.as_bytes(), right.as_bytes()), edits, "{left} {right}");
        }
    }

    #[test]
    fn the_schema_lists_the_names_and_the_form_of_added_ones() {
        let schema = schemars::schema_for!(PermissionName);
        let text = serde_json::to_string(&schema).unwrap();
        assert!(text.contains("profile:read") && text.contains("^x-[a-z0-9]"), "{text}");
        assert!(serde_json::to_string(&schemars::schema_for!(Permission)).unwrap().contains("NAME=SCOPE"));
    }
}
