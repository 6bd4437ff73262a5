//! Sizes and durations as people write them: `500MB`, `1.5GiB`, `90s`, `10m`, `none`.
//!
//! The command line, the configuration and the manifest share this grammar. A number and a unit stand
//! together, without space; decimals are taken when they come out exact; zero is refused, because it would
//! mean either nothing or everything.

use std::time::Duration;

use ringfence_api::ErrorCode;

use crate::Error;

/// A limit that may be lifted.
///
/// ```
/// use ringfence::units::{Limit, parse_size};
///
/// assert_eq!(parse_size("1.5KB")?, Limit::At(1_500));
/// assert_eq!(parse_size("none")?.as_option(), None);
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    /// The limit.
    At(T),
    /// No limit: `none`.
    Lifted,
}

impl<T> Limit<T> {
    /// The limit, or `None` when it is lifted.
    #[must_use]
    pub fn as_option(self) -> Option<T> {
        match self {
            Self::At(limit) => Some(limit),
            Self::Lifted => None,
        }
    }
}

/// The word that lifts a limit.
pub const NONE: &str = "none";

/// The longest text that is taken for a number with its unit, in bytes.
const TEXT_MAX_BYTES: usize = 40;

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// In milliseconds.
const DURATION_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// The largest size, in bytes: what a signed file offset of the kernel can hold.
pub const SIZE_MAX_BYTES: u64 = i64::MAX as u64;
/// The longest duration: 10 years of 365 days. Beyond it a clock of the kernel may overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// A size in bytes: a number with `B`, `KB`, `MB`, `GB` (powers of 1000), `KiB`, `MiB`, `GiB` (powers of
/// 1024) or no unit (bytes), or `none`.
///
/// # Errors
///
/// `limit_invalid`, with a hint, for anything else, zero, a fraction of a byte, or more than
/// [`SIZE_MAX_BYTES`].
pub fn parse_size(text: &str) -> Result<Limit<u64>, Error> {
    let grammar = Grammar {
        what: "size",
        units: SIZE_UNITS,
        bare_factor: 1,
        max: SIZE_MAX_BYTES,
        max_text: "9223372036854775807B",
        smallest: "1 byte",
        example: "500MB, 1.5GiB or 4096",
    };
    grammar.parse(text)
}

/// A duration: a number with `ms`, `s`, `m`, `h` or no unit (seconds), or `none`. Exact to a millisecond.
///
/// # Errors
///
/// `limit_invalid`, with a hint, for anything else, zero, a fraction of a millisecond, or more than
/// [`DURATION_MAX`].
pub fn parse_duration(text: &str) -> Result<Limit<Duration>, Error> {
    let grammar = Grammar {
        what: "duration",
        units: DURATION_UNITS,
        bare_factor: 1_000,
        max: DURATION_MAX.as_secs() * 1_000,
        max_text: "87600h",
        smallest: "1ms",
        example: "500ms, 90s, 1.5m or 2h",
    };
    Ok(match grammar.parse(text)? {
        Limit::At(ms) => Limit::At(Duration::from_millis(ms)),
        Limit::Lifted => Limit::Lifted,
    })
}

/// A count without a unit, from 1 to `max`, or `none`.
///
/// # Errors
///
/// `limit_invalid`, with a hint, for anything else.
pub fn parse_count(text: &str, max: u64) -> Result<Limit<u64>, Error> {
    if text == NONE {
        return Ok(Limit::Lifted);
    }
    let digits = !text.is_empty() && text.len() <= TEXT_MAX_BYTES && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u64>() {
        Ok(count) if digits && (1..=max).contains(&count) => Ok(Limit::At(count)),
        _ => Err(refuse(
            &format!("'{}' is not a number from 1 to {max}", shown(text)),
            "say 'none' to lift the limit",
        )),
    }
}

/// The size with the largest unit that leaves no fraction, such as `500MB`; the inverse of [`parse_size`].
#[must_use]
pub fn format_size(bytes: u64) -> String {
    format_with(bytes, SIZE_UNITS)
}

/// The duration with the largest unit that leaves no fraction, such as `10m`; the inverse of
/// [`parse_duration`]. Anything below a millisecond is cut off.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    format_with(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), DURATION_UNITS)
}

fn format_with(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().filter(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    // Of two that fit, the larger unit makes the shorter number.
    match fits.max_by_key(|(_, factor)| *factor).or(units.first()) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => value.to_string(),
    }
}

struct Grammar {
    what: &'static str,
    units: &'static [(&'static str, u64)],
    /// What a number without a unit is multiplied with.
    bare_factor: u64,
    max: u64,
    max_text: &'static str,
    smallest: &'static str,
    example: &'static str,
}

impl Grammar {
    fn parse(&self, text: &str) -> Result<Limit<u64>, Error> {
        if text == NONE {
            return Ok(Limit::Lifted);
        }
        let unit_at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        if text.len() > TEXT_MAX_BYTES || number.is_empty() {
            return Err(self.not_one(text));
        }
        let factor = self.factor(text, unit)?;
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() && !fraction.contains('.') => (whole, fraction),
            Some(_) => return Err(self.not_one(text)),
            None => (number, ""),
        };
        if whole.is_empty() {
            return Err(self.not_one(text));
        }
        let value = exact(whole, fraction, factor).map_err(|inexact| match inexact {
            Inexact::Fraction => refuse(
                &format!(
                    "'{text}' is not a whole number of {}",
                    if factor_is_ms(self) { "milliseconds" } else { "bytes" }
                ),
                "write it in a smaller unit",
            ),
            Inexact::TooLarge => self.too_large(text),
        })?;
        match value {
            0 => Err(refuse(
                &format!("the {} '{text}' is zero", self.what),
                &format!("the smallest is {}; say 'none' to lift the limit", self.smallest),
            )),
            value if value > self.max => Err(self.too_large(text)),
            value => Ok(Limit::At(value)),
        }
    }

    fn factor(&self, text: &str, unit: &str) -> Result<u64, Error> {
        if unit.is_empty() {
            return Ok(self.bare_factor);
        }
        if let Some((_, factor)) = self.units.iter().find(|(name, _)| *name == unit) {
            return Ok(*factor);
        }
        let names: Vec<&str> = self.units.iter().map(|(name, _)| *name).collect();
        // What people write instead: other case, a space before the unit, the unit without its B, a word.
        let meant = unit.trim_start();
        let near = self.units.iter().map(|(name, _)| *name).find(|name| {
            name.eq_ignore_ascii_case(meant)
                || name.trim_end_matches('B').eq_ignore_ascii_case(meant)
                || (meant.len() > 2
                    && meant.to_ascii_lowercase().starts_with(&name.to_ascii_lowercase())
                    && *name != "B")
        });
        let hint = match near {
            Some(name) if !meant.is_empty() => {
                let number = text.get(..text.len() - unit.len()).unwrap_or_default();
                format!("did you mean '{number}{name}'? the units are {}", names.join(", "))
            }
            _ => format!("the units are {}", names.join(", ")),
        };
        Err(refuse(
            &format!("the {} '{}' has the unknown unit '{}'", self.what, shown(text), shown(unit)),
            &hint,
        ))
    }

    fn not_one(&self, text: &str) -> Error {
        refuse(
            &format!("'{}' is not a {}", shown(text), self.what),
            &format!("write it as {}, or 'none' to lift the limit", self.example),
        )
    }

    fn too_large(&self, text: &str) -> Error {
        refuse(
            &format!("the {} '{text}' is too large", self.what),
            &format!("the largest is {}; say 'none' to lift the limit", self.max_text),
        )
    }
}

fn factor_is_ms(grammar: &Grammar) -> bool {
    grammar.what == "duration"
}

enum Inexact {
    Fraction,
    TooLarge,
}

/// `whole.fraction * factor`, if that is a whole number.
fn exact(whole: &str, fraction: &str, factor: u64) -> Result<u64, Inexact> {
    let digits = fraction.trim_end_matches('0');
    let number: u128 = format!("{whole}{digits}").parse().map_err(|_| Inexact::TooLarge)?;
    let places = u32::try_from(digits.len()).map_err(|_| Inexact::Fraction)?;
    let product = number.checked_mul(u128::from(factor)).ok_or(Inexact::TooLarge)?;
    let divisor = 10_u128.checked_pow(places).ok_or(Inexact::Fraction)?;
    if !product.is_multiple_of(divisor) {
        return Err(Inexact::Fraction);
    }
    u64::try_from(product / divisor).map_err(|_| Inexact::TooLarge)
}

/// The text as it can be printed: escaped, and cut when it is long.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(TEXT_MAX_BYTES).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

fn refuse(message: &str, hint: &str) -> Error {
    Error::new(ErrorCode::LimitInvalid, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(text: &str) -> Result<Option<u64>, String> {
        parse_size(text).map(Limit::as_option).map_err(|e| format!("{e} | {}", e.hint().unwrap_or_default()))
    }

    fn ms(text: &str) -> Result<Option<u128>, String> {
        let parsed = parse_duration(text).map(Limit::as_option);
        parsed
            .map(|d| d.map(|d| d.as_millis()))
            .map_err(|e| format!("{e} | {}", e.hint().unwrap_or_default()))
    }

    #[test]
    fn each_unit_is_known() {
        for (text, bytes) in [
            ("1", 1),
            ("007", 7),
            ("5B", 5),
            ("2KB", 2_000),
            ("500MB", 500_000_000),
            ("3GB", 3_000_000_000),
            ("2KiB", 2_048),
            ("5MiB", 5 << 20),
            ("4GiB", 4 << 30),
            ("1.5GB", 1_500_000_000),
            ("0.5KiB", 512),
            ("1.50KB", 1_500),
            ("9223372036854775807", SIZE_MAX_BYTES),
        ] {
            assert_eq!(size(text), Ok(Some(bytes)), "{text}");
        }
        for (text, want) in [
            ("90", 90_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("0.001", 1),
            ("10m", 600_000),
            ("87600h", 315_360_000_000),
        ] {
            assert_eq!(ms(text), Ok(Some(want)), "{text}");
        }
        assert_eq!((size("none"), ms("none")), (Ok(None), Ok(None)));
    }

    #[test]
    fn what_is_no_size_says_what_would_be() {
        let want = "' is not a size | write it as 500MB, 1.5GiB or 4096, or 'none' to lift the limit";
        for text in ["", "MB", "-5MB", ".5MB", "5.MB", "1.2.3MB", "+1", " 5MB", "None", "١KB"] {
            assert_eq!(size(text).unwrap_err(), format!("'{text}{want}"));
        }
        assert!(size(&"9".repeat(41)).unwrap_err().contains("…' is not a size"));
        assert!(
            size("1\nMB\u{1b}")
                .unwrap_err()
                .starts_with(r"the size '1\nMB\u{1b}' has the unknown unit '\nMB\u{1b}'")
        );
        assert!(ms("x").unwrap_err().contains("500ms, 90s, 1.5m or 2h"));
    }

    #[test]
    fn unknown_units_are_answered_with_what_was_probably_meant() {
        let units = "the units are B, KB, MB, GB, KiB, MiB, GiB";
        for (text, meant) in [
            ("5mb", "5MB"),
            ("5M", "5MB"),
            ("5 GB", "5GB"),
            ("1.5gib", "1.5GiB"),
            ("7K", "7KB"),
            ("7Ki", "7KiB"),
        ] {
            let error = size(text).unwrap_err();
            assert!(error.ends_with(&format!("did you mean '{meant}'? {units}")), "{error}");
        }
        assert!(size("5TB").unwrap_err().ends_with(&format!("has the unknown unit 'TB' | {units}")));
        assert!(size("5 ").unwrap_err().ends_with(&format!("' | {units}")));
        assert!(ms("5min").unwrap_err().contains("did you mean '5m'"));
        assert!(ms("5S").unwrap_err().contains("did you mean '5s'"));
        assert!(ms("5sec").unwrap_err().contains("did you mean '5s'"));
        assert!(ms("5d").unwrap_err().ends_with("the units are ms, s, m, h"));
    }

    #[test]
    fn zero_fractions_and_overflow_are_refused() {
        for zero in ["0", "0B", "0.0GB", "00MiB"] {
            let error = size(zero).unwrap_err();
            assert_eq!(
                error,
                format!("the size '{zero}' is zero | the smallest is 1 byte; say 'none' to lift the limit")
            );
        }
        assert!(ms("0s").unwrap_err().contains("is zero"));
        assert_eq!(
            size("0.5").unwrap_err(),
            "'0.5' is not a whole number of bytes | write it in a smaller unit"
        );
        assert!(size("1.0001KB").unwrap_err().contains("whole number"));
        assert!(ms("0.0001s").unwrap_err().contains("whole number of milliseconds"));
        assert!(size("0.00000000000000000000000000000000000001").unwrap_err().contains("whole number"));
        for large in
            ["9223372036854775808", "18446744073709551616B", "99999999999999999999999GB", "10000000000GiB"]
        {
            assert!(
                size(large).unwrap_err().contains("is too large | the largest is 9223372036854775807B"),
                "{large}"
            );
        }
        assert!(size("99999999999999999999999999999999999999GB").unwrap_err().contains("too large"));
        assert!(size("9999999999999999999999999999999999999999").unwrap_err().contains("too large"));
        assert!(ms("87601h").unwrap_err().contains("the largest is 87600h"));
    }

    #[test]
    fn counts_have_no_unit() {
        let count = |text| parse_count(text, 100).map(Limit::as_option);
        assert_eq!(count("1").unwrap(), Some(1));
        assert_eq!(count("100").unwrap(), Some(100));
        assert_eq!(count("none").unwrap(), None);
        for text in ["", "0", "101", "-1", "+1", "1.0", "99999999999999999999999999"] {
            let error = count(text).unwrap_err();
            assert_eq!(error.message(), format!("'{text}' is not a number from 1 to 100"));
            assert_eq!(error.code(), ErrorCode::LimitInvalid);
        }
    }

    #[test]
    fn limits_are_shown_with_the_largest_unit_that_fits() {
        assert_eq!(format_size(500_000_000), "500MB");
        assert_eq!(format_size(5 << 20), "5MiB");
        assert_eq!((format_size(0), format_size(1001)), ("0B".to_owned(), "1001B".to_owned()));
        assert_eq!(format_duration(Duration::from_secs(600)), "10m");
        assert_eq!(format_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(format_with(7, &[]), "7");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_understood(bytes in 1..=SIZE_MAX_BYTES, millis in 1_u64..315_360_000_000) {
            prop_assert_eq!(size(&format_size(bytes)), Ok(Some(bytes)));
            prop_assert_eq!(ms(&format_duration(Duration::from_millis(millis))), Ok(Some(u128::from(millis))));
        }

        #[test]
        fn any_text_is_an_answer_and_never_a_panic(text in "\\PC{0,50}|[0-9.]{0,45}[a-zA-Z]{0,3}") {
            for error in [parse_size(&text).err(), parse_duration(&text).err(), parse_count(&text, 9).err()] {
                prop_assert!(error.is_none_or(|e| e.hint().is_some() && e.code() == ErrorCode::LimitInvalid));
            }
        }
    }
}
