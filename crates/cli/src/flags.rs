//! How words of the command line become values, with the sentence that a wrong one gets.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ringfence::exec::{RedactionSet, Stdin};
use ringfence::units::{self, Limit};

use crate::size::one_text;

/// The most that `--processes`, `--max-open-files` and `--cpu` can say.
const COUNT_MAX: u64 = 1 << 22;

/// A count of 1 or more, or `none`.
pub(crate) fn parse_count(text: &str) -> Result<Limit<u64>, String> {
    units::parse_count(text, COUNT_MAX).map_err(|error| one_text(&error))
}

/// `close`, `pass`, or the name of a file.
pub(crate) fn stdin(word: &OsStr) -> Stdin {
    match word.to_str() {
        Some("close") => Stdin::Close,
        Some("pass") => Stdin::Pass,
        _ => Stdin::File(PathBuf::from(word)),
    }
}

/// NAME=VALUE, in bytes: values need not be UTF-8.
pub(crate) fn variable(word: &OsStr) -> Result<(OsString, OsString), ringfence::Error> {
    let bytes = word.as_bytes();
    let Some(at) = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0) else {
        let message = format!("--env {}: there is no NAME=VALUE", word.to_string_lossy());
        let hint = "to pass a variable of yours on, grant it: --grant env:read=NAME";
        return Err(ringfence::Error::new(ringfence_api::ErrorCode::Usage, message).with_hint(hint));
    };
    let (name, value) = bytes.split_at(at);
    let value = value.strip_prefix(b"=").unwrap_or(value);
    Ok((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
}

/// `none` alone hides nothing; each other word is a pattern beside the built-in ones.
pub(crate) fn redaction(words: &[String]) -> Result<RedactionSet, ringfence::Error> {
    if words.iter().any(|word| word == "none") {
        if words.len() > 1 {
            let message = "--redact none and a pattern contradict each other";
            return Err(ringfence::Error::new(ringfence_api::ErrorCode::Usage, message)
                .with_hint("leave one of them out"));
        }
        return Ok(RedactionSet::none());
    }
    words.iter().try_fold(RedactionSet::built_in(), |set, word| set.with_pattern(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_everything_after_the_first_equals_sign() {
        assert_eq!(variable(OsStr::new("A=b=c")).unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(variable(OsStr::new("A=")).unwrap(), ("A".into(), "".into()));
        assert!(variable(OsStr::new("A")).is_err() && variable(OsStr::new("=b")).is_err());
    }

    #[test]
    fn stdin_words_and_files() {
        assert_eq!(stdin(OsStr::new("pass")), Stdin::Pass);
        assert_eq!(stdin(OsStr::new("close")), Stdin::Close);
        assert_eq!(stdin(OsStr::new("./pass")), Stdin::File("./pass".into()));
    }

    #[test]
    fn redaction_none_stands_alone() {
        assert!(redaction(&["none".to_owned()]).unwrap().is_empty());
        assert!(redaction(&["none".to_owned(), "x".to_owned()]).is_err());
        assert!(redaction(&["(".to_owned()]).is_err());
        assert!(!redaction(&[]).unwrap().is_empty());
    }
}
