//! Times for people: UTC, to the second.

/// Seconds of a day, and days of the 400 years after which the calendar repeats.
const DAY_SECONDS: u64 = 86_400;
const ERA_DAYS: u64 = 146_097;

/// The time as `2026-01-31 23:59:59`, in UTC.
pub(crate) fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    // Years are counted from March, so that the leap day is the last of its year. 0000-03-01 is 719468 days
    // before 1970-01-01.
    let shifted = days + 719_468;
    let (era, day) = (shifted / ERA_DAYS, shifted % ERA_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + carry;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02}")
}

/// The same for the signed times of the library; what is before 1970 is shown as 1970.
pub(crate) fn utc_of(unix_ms: i64) -> String {
    utc(u64::try_from(unix_ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_holds() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc_of(1_709_208_000_000), "2024-02-29 12:00:00");
        assert_eq!(utc_of(-5), "1970-01-01 00:00:00");
    }
}
