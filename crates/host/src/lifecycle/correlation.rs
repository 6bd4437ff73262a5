//! What a correlation id looks like: a number of this host, a dash, and a count, both hexadecimal.

use std::sync::Arc;

/// Digits of a `u64`.
const DIGITS: usize = 16;

/// By hand, because there is one for each call and the formatter takes longer than all else that makes it.
pub(super) fn id(seed: u64, count: u64) -> Arc<str> {
    let mut text = [b'-'; DIGITS + 1 + DIGITS];
    write_hex(seed, text.get_mut(..DIGITS).unwrap_or_default());
    let digits = DIGITS - (count | 1).leading_zeros() as usize / 4;
    let end = DIGITS + 1 + digits;
    write_hex(count, text.get_mut(DIGITS + 1..end).unwrap_or_default());
    std::str::from_utf8(text.get(..end).unwrap_or_default()).unwrap_or_default().into()
}

fn write_hex(mut number: u64, into: &mut [u8]) {
    for place in into.iter_mut().rev() {
        let digit = (number & 0xf) as u8;
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_formatter_would_make() {
        for (seed, count) in [(0, 0), (1, 15), (0xab, 16), (u64::MAX, u64::MAX), (1 << 63, 0x1234_5678_9abc)]
        {
            assert_eq!(&*id(seed, count), format!("{seed:016x}-{count:x}"));
        }
    }
}
