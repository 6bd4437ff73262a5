//! One linear look at a line before any parser sees it: no recursion, no allocation.
//!
//! It answers two questions that a lazy parser leaves open: how deep the line is nested, and whether each surrogate in it
//! has its pair. It does not say whether the line is JSON; the parser does.

use memchr::memchr2;
use ringfence_api::rpc::DEPTH_MAX;

/// Why a line is refused before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Arrays and objects are nested deeper than allowed.
    TooDeep,
    /// `\ud800` without its second half, or the other way round.
    LoneSurrogate,
}

/// Looks at `line`, which stands inside `around` arrays and objects.
pub(crate) fn check(line: &[u8], around: usize) -> Result<(), Refusal> {
    let mut depth = around;
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'"' => rest = skip_string(after)?,
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Refusal::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// What follows the end of the string whose inside begins with `text`; nothing if it does not end.
fn skip_string(mut text: &[u8]) -> Result<&[u8], Refusal> {
    loop {
        let Some(at) = memchr2(b'"', b'\\', text) else { return Ok(&[]) };
        let (found, after) = text.get(at..).and_then(<[u8]>::split_first).unwrap_or((&b'"', &[]));
        if *found == b'"' {
            return Ok(after);
        }
        text = match after.split_first() {
            Some((b'u', digits)) => skip_unit(digits)?,
            Some((_, after)) => after,
            None => after,
        };
    }
}

/// What follows the digits of `\u`, and of its other half if it is one of two.
fn skip_unit(digits: &[u8]) -> Result<&[u8], Refusal> {
    // What are no digits is for the parser to refuse.
    let Some((unit, after)) = unit(digits) else { return Ok(digits) };
    match unit {
        0xd800..=0xdbff => match after.strip_prefix(b"\\u").and_then(self::unit) {
            Some((0xdc00..=0xdfff, after)) => Ok(after),
            _ => Err(Refusal::LoneSurrogate),
        },
        0xdc00..=0xdfff => Err(Refusal::LoneSurrogate),
        _ => Ok(after),
    }
}

/// Four hexadecimal digits and what follows them.
fn unit(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, after) = text.split_at_checked(4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u16::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_counts_arrays_and_objects_and_not_what_strings_hold() {
        let nested = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
        assert_eq!(check(nested(DEPTH_MAX).as_bytes(), 0), Ok(()));
        assert_eq!(check(nested(DEPTH_MAX + 1).as_bytes(), 0), Err(Refusal::TooDeep));
        assert_eq!(check(nested(DEPTH_MAX).as_bytes(), 1), Err(Refusal::TooDeep));
        assert_eq!(check("{\"a\":".repeat(100_000).as_bytes(), 0), Err(Refusal::TooDeep));
        assert_eq!(check(format!("[\"{}\"]", "[".repeat(1000)).as_bytes(), 0), Ok(()));
        assert_eq!(check(format!("[\"\\\"{}\"]", "[".repeat(1000)).as_bytes(), 0), Ok(()));
        // Closing more than was opened buys nothing.
        assert_eq!(check(format!("{}{}", "]".repeat(1000), nested(65)).as_bytes(), 0), Err(Refusal::TooDeep));
    }

    #[test]
    fn surrogates_come_in_pairs() {
        for good in [r#""\ud83d\ude00""#, r#""\\ud800""#, r#""\uD7FF\uE000""#, r#""\u00""#, r#""\"#] {
            assert_eq!(check(good.as_bytes(), 0), Ok(()), "{good}");
        }
        for bad in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\ud83d""#, r#""\ud83dx""#, r#""\ud83d\u0041""#] {
            assert_eq!(check(bad.as_bytes(), 0), Err(Refusal::LoneSurrogate), "{bad}");
        }
    }
}
