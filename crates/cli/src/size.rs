//! Sizes on the command line: `--memory 500MB`, `--max-output none`.
//!
//! The grammar itself is [`ringfence::units`], shared with the configuration; here it gets the form that the
//! argument parser wants: one text with what is wrong and what would be right.

use ringfence::Error;
use ringfence::units::{self, Limit};

/// A size in bytes, or no limit. A bare number is bytes; zero, fractions of a byte and unknown units are
/// refused with a text that says what to write instead.
pub(crate) fn parse_size(text: &str) -> Result<Limit<u64>, String> {
    units::parse_size(text).map_err(|error| one_text(&error))
}

/// What was wrong and what to do about it, as one text.
pub(crate) fn one_text(error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_api::ErrorCode;

    #[test]
    fn sizes_are_read_with_and_without_unit() {
        for (text, bytes) in
            [("4096", 4_096), ("1B", 1), ("2KB", 2_000), ("500MB", 500_000_000), ("1GB", 1_000_000_000)]
        {
            assert_eq!(parse_size(text), Ok(Limit::At(bytes)), "{text}");
        }
        for (text, bytes) in
            [("1KiB", 1 << 10), ("5MiB", 5 << 20), ("1.5GiB", 3 << 29), ("1.5GB", 1_500_000_000)]
        {
            assert_eq!(parse_size(text), Ok(Limit::At(bytes)), "{text}");
        }
        assert_eq!(parse_size("none"), Ok(Limit::Lifted));
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        for (text, says) in [
            ("0", "the size '0' is zero; the smallest is 1 byte; say 'none' to lift the limit"),
            ("1.0005KB", "'1.0005KB' is not a whole number of bytes; write it in a smaller unit"),
            (
                "10mb",
                "the size '10mb' has the unknown unit 'mb'; did you mean '10MB'? the units are B, KB, MB, GB, KiB, \
                 MiB, GiB",
            ),
            ("-1", "'-1' is not a size; write it as 500MB, 1.5GiB or 4096, or 'none' to lift the limit"),
            (
                "99999999999GB",
                "the size '99999999999GB' is too large; the largest is 9223372036854775807B; say 'none' to lift the \
                 limit",
            ),
        ] {
            assert_eq!(parse_size(text).unwrap_err(), says);
        }
    }

    #[test]
    fn an_error_without_a_hint_is_its_message() {
        assert_eq!(one_text(&Error::new(ErrorCode::Usage, "no")), "no");
    }
}
