//! Text for a model and for people: what a plugin wrote stands in it escaped and cut.

use ringfence_api::text::is_hidden;

/// The longest text of an answer, in bytes.
pub(super) const TEXT_MAX_BYTES: usize = 64 << 10;
/// The longest message or hint of an error, in characters.
pub(super) const ERROR_MAX_CHARS: usize = 4_000;

/// Text of several lines: all that misleads whoever reads it stands as escapes, and it is cut after `most` characters.
pub(super) fn lines(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (index, character) in text.chars().enumerate() {
        if index >= most {
            out.push('…');
            break;
        }
        if character != '\n' && (character.is_control() || is_hidden(character)) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// A whole answer, cut where it is too long. What it was made from is in the structured content.
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > TEXT_MAX_BYTES {
        let end = (0..=TEXT_MAX_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("\n… the rest is only in the structured content");
    }
    text
}

/// A time in UTC, to the second.
pub(super) fn time(at_ms: i64) -> String {
    let seconds = at_ms.div_euclid(1000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days of the Gregorian calendar, counted from 0000-03-01, so that a leap day ends a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_escaped_and_what_is_long_is_cut() {
        assert_eq!(lines("a\u{1b}[2J\u{202e}\nb", 100), "a\\u{1b}[2J\\u{202e}\nb");
        assert_eq!(lines("abc", 2), "ab…");
        let long = bounded("é".repeat(TEXT_MAX_BYTES));
        assert!(long.len() < TEXT_MAX_BYTES + 100 && long.ends_with("structured content"));
        assert_eq!(bounded("short".to_owned()), "short");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(time(1_785_283_199_999), "2026-07-28 23:59:59Z");
        assert_eq!(time(-1), "1969-12-31 23:59:59Z");
    }
}
