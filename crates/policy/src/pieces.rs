//! The one matching loop: fixed pieces with anything between them.
//!
//! A glob in a path segment is bytes with `*` between them; a path pattern is globs with `**` between them.
//! Both are a list of pieces, and both are matched here. Each piece has a fixed length, so taking the leftmost
//! place for it is always right: whatever a later place would leave for the next pieces, the leftmost leaves
//! too. There is no backtracking; the work is at most the length of the text times the length of the pattern.

/// Whether `text` is the first piece, anything, the next piece, anything, ..., the last piece.
///
/// One piece must be the whole text; no piece at all matches nothing.
pub(crate) fn pieces_match<P, T, F>(pieces: &[Box<[P]>], text: &[T], same: F) -> bool
where
    F: Fn(&P, &T) -> bool + Copy,
{
    let Some((first, rest)) = pieces.split_first() else { return false };
    let Some((last, middle)) = rest.split_last() else {
        return first.len() == text.len() && all_same(first, text, same);
    };
    let Some((head, tail)) = text.split_at_checked(first.len()) else { return false };
    let Some(split) = tail.len().checked_sub(last.len()) else { return false };
    // The ends are fixed and cheap: most patterns fail here, before the loop.
    let Some((mut open, end)) = tail.split_at_checked(split) else { return false };
    if !all_same(last, end, same) || !all_same(first, head, same) {
        return false;
    }
    for piece in middle {
        match after_first(piece, open, same) {
            Some(behind) => open = behind,
            None => return false,
        }
    }
    true
}

/// What is left of `text` behind the leftmost place of `piece`.
fn after_first<'t, P, T, F>(piece: &[P], text: &'t [T], same: F) -> Option<&'t [T]>
where
    F: Fn(&P, &T) -> bool + Copy,
{
    if piece.is_empty() {
        return Some(text);
    }
    let start = text.windows(piece.len()).position(|window| all_same(piece, window, same))?;
    text.get(start + piece.len()..)
}

fn all_same<P, T, F>(piece: &[P], text: &[T], same: F) -> bool
where
    F: Fn(&P, &T) -> bool + Copy,
{
    piece.iter().zip(text).all(|(left, right)| same(left, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str) -> bool {
        let pieces: Vec<Box<[u8]>> = pattern.split('*').map(|piece| piece.as_bytes().into()).collect();
        pieces_match(&pieces, text.as_bytes(), |left, right| left == right)
    }

    #[test]
    fn pieces_are_found_in_order_without_overlap() {
        for (pattern, text) in
            [("", ""), ("a", "a"), ("*", ""), ("a*", "a"), ("a*a", "aa"), ("a*b*c", "aXbYbc")]
        {
            assert!(check(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", "aa"), ("a*a", "a"), ("a*b*c", "acb"), ("*ab*ba*", "aba")] {
            assert!(!check(pattern, text), "{pattern} {text}");
        }
        assert!(!pieces_match::<u8, u8, _>(&[], b"", |left, right| left == right));
    }
}
