//! Durations on the command line: `--timeout 90s`, `--timeout none`.
//!
//! The grammar itself is [`ringfence::units`], shared with the configuration.

use std::time::Duration;

use ringfence::units::{self, Limit};

use crate::size::one_text;

/// A duration, exact to a millisecond, or no limit. A bare number is seconds; zero, fractions of a millisecond
/// and unknown units are refused with a text that says what to write instead.
pub(crate) fn parse_duration(text: &str) -> Result<Limit<Duration>, String> {
    units::parse_duration(text).map_err(|error| one_text(&error))
}

/// The same for what lasts long: also in days, such as `30d`.
pub(crate) fn parse_lifetime(text: &str) -> Result<Limit<Duration>, String> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let Some(days) = text.strip_suffix('d') else { return parse_duration(text) };
    let days = days.parse::<u32>().ok().filter(|days| *days > 0);
    let days = days.ok_or_else(|| format!("'{}' is no number of days; write 30d", text.escape_debug()))?;
    Ok(Limit::At(DAY.saturating_mul(days)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_days_and_all_else_is_as_everywhere() {
        assert_eq!(parse_lifetime("30d"), Ok(Limit::At(Duration::from_secs(2_592_000))));
        assert_eq!(parse_lifetime("12h"), Ok(Limit::At(Duration::from_secs(43_200))));
        assert_eq!(parse_lifetime("none"), Ok(Limit::Lifted));
        for wrong in ["0d", "d", "-1d", "1.5d", "30days", "4294967296d"] {
            assert!(parse_lifetime(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_with_and_without_unit() {
        for (text, ms) in [
            ("5", 5_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("0.25", 250),
            ("10m", 600_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Limit::At(Duration::from_millis(ms))), "{text}");
        }
        assert_eq!(parse_duration("none"), Ok(Limit::Lifted));
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        for (text, says) in [
            ("0s", "the duration '0s' is zero; the smallest is 1ms; say 'none' to lift the limit"),
            ("0.0001s", "'0.0001s' is not a whole number of milliseconds; write it in a smaller unit"),
            (
                "5min",
                "the duration '5min' has the unknown unit 'min'; did you mean '5m'? the units are ms, s, m, h",
            ),
            ("s", "'s' is not a duration; write it as 500ms, 90s, 1.5m or 2h, or 'none' to lift the limit"),
            (
                "9999999999h",
                "the duration '9999999999h' is too large; the largest is 87600h; say 'none' to lift the limit",
            ),
        ] {
            assert_eq!(parse_duration(text).unwrap_err(), says);
        }
    }
}
