//! Permissions as they are typed: relative paths are taken from the working directory, as everywhere on a command line.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ringfence::Error;
use ringfence_api::{ErrorCode, Permission, ScopeKind};

/// Reads permissions.
///
/// # Errors
/// `invalid_permission` with a did-you-mean for the first one that is none; `io` when a relative one cannot be resolved.
pub(crate) fn read(words: &[String]) -> Result<Vec<Permission>, Error> {
    read_or_known(words, &[])
}

/// The same, where a relative path that stands so among `known` means that one: what a manifest asks for is relative to
/// the package, and has to be granted and revoked by the words that are shown.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_or_known(words: &[String], known: &[Permission]) -> Result<Vec<Permission>, Error> {
    words.iter().map(|word| one(word, known)).collect()
}

/// Whether one of these words has a relative path.
pub(crate) fn any_relative(words: &[String]) -> bool {
    words.iter().any(|word| word.parse().is_ok_and(|permission: Permission| is_relative(&permission)))
}

fn one(word: &str, known: &[Permission]) -> Result<Permission, Error> {
    let permission: Permission = word.parse().map_err(|error| invalid(&error))?;
    if !is_relative(&permission) || known.contains(&permission) {
        return Ok(permission);
    }
    let here = std::env::current_dir().map_err(|cause| {
        let message = format!("cannot say where '{word}' is: the working directory cannot be read");
        Error::new(ErrorCode::Io, message).with_hint("write the whole path").with_source(cause)
    })?;
    let scope = permission.scope().unwrap_or_default();
    let scope = scope.strip_prefix("./").unwrap_or(scope);
    let whole = match scope {
        "" | "." => literal(&here),
        scope => format!("{}/{scope}", literal(&here).trim_end_matches('/')),
    };
    Permission::scoped(permission.name().clone(), whole).map_err(|error| invalid(&error))
}

fn invalid(error: &ringfence_api::PermissionError) -> Error {
    Error::new(ErrorCode::InvalidPermission, error.to_string())
        .with_hint("a permission is NAME or NAME=SCOPE, such as 'file:read=/srv/notes/**'")
}

fn is_relative(permission: &Permission) -> bool {
    let Some(scope) = permission.scope() else { return false };
    let begins_elsewhere = ["/", "~", "${"].iter().any(|base| scope.starts_with(base));
    match permission.name().scope_kind() {
        ScopeKind::Path => !begins_elsewhere,
        // A bare word is the name of an installed program.
        ScopeKind::Program => scope.contains('/') && !begins_elsewhere,
        ScopeKind::Host | ScopeKind::Name => false,
    }
}

/// A path as a pattern that means just this path.
pub(crate) fn literal(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '*' | '\\' => text.extend(['\\', character]),
                _ if character.is_control() => {
                    let mut bytes = [0; 4];
                    let encoded = character.encode_utf8(&mut bytes).bytes();
                    encoded.for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
                }
                _ => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn read_one(word: &str) -> String {
        read(&[word.to_owned()]).unwrap().remove(0).to_string()
    }

    #[test]
    fn relative_paths_are_taken_from_here_and_nothing_else_is_touched() {
        let here = literal(&std::env::current_dir().unwrap());
        assert_eq!(read_one("file:read=notes/**"), format!("file:read={here}/notes/**"));
        assert_eq!(read_one("file:read=./a"), format!("file:read={here}/a"));
        assert_eq!(read_one("file:read=."), format!("file:read={here}"));
        assert_eq!(read_one("subprocess:execute=bin/x"), format!("subprocess:execute={here}/bin/x"));
        for word in [
            "file:read=/srv/**",
            "file:read=~/notes/**",
            "file:write=${data}/x",
            "subprocess:execute=git",
            "env:read=LANG",
            "network:request=api.example.com:443",
            "file:read",
        ] {
            assert_eq!(read_one(word), word);
            assert!(!any_relative(&[word.to_owned()]), "{word}");
        }
    }

    #[test]
    fn what_is_known_by_these_words_means_that() {
        let known: Permission = "file:read=notes/**".parse().unwrap();
        let words = ["file:read=notes/**".to_owned()];
        assert!(any_relative(&words));
        assert_eq!(read_or_known(&words, std::slice::from_ref(&known)).unwrap(), [known]);
    }

    #[test]
    fn a_wrong_one_says_what_is_meant() {
        let error = read(&["file:raed=/x".to_owned()]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidPermission);
        assert!(error.message().contains("file:read"), "{error}");
    }

    #[test]
    fn a_directory_with_odd_characters_means_itself() {
        assert_eq!(literal(Path::new("/a*b\\c\n")), "/a\\*b\\\\c\\x0a");
        assert_eq!(literal(Path::new(OsStr::from_bytes(b"/\xff"))), "/\\xff");
    }
}
