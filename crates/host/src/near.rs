//! Did-you-mean: the known word that a misspelt one is closest to. Names of permissions have their own in the shared types.

/// The known word that a misspelt one is closest to: at most a third of its letters are wrong.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    /// Longer words are nobody's slip, and the distance costs their product.
    const WORD_MAX_BYTES: usize = 40;
    if word.len() > WORD_MAX_BYTES {
        return None;
    }
    let same = |known: &&&str| known.replace('_', "") == word.to_ascii_lowercase().replace(['_', '-'], "");
    if let Some(same) = known.iter().find(same) {
        return Some(same);
    }
    let near = known.iter().map(|known| (distance(word, known), *known)).min()?;
    (near.0 * 3 <= near.1.len().max(word.len())).then_some(near.1)
}

/// How many letters must be inserted, removed, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows: [Vec<usize>; 3] = [Vec::new(), Vec::new(), (0..=b.len()).collect()];
    for (i, byte) in a.iter().enumerate() {
        rows.rotate_left(1);
        let [older, old, new] = &mut rows;
        new.clear();
        new.push(i + 1);
        for (j, other) in b.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(old, j) + usize::from(byte != other)).min(at(old, j + 1) + 1).min(at(new, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(other) && b.get(j - 1) == Some(byte);
            if swapped {
                best = best.min(at(older, j - 1) + 1);
            }
            new.push(best);
        }
    }
    rows[2].last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_different_word_is_not() {
        let known =
            ["timeout", "memory", "cpu", "processes", "max_output", "max_file_size", "max_open_files"];
        assert_eq!(nearest("tiemout", &known), Some("timeout"));
        assert_eq!(nearest("MaxOpenFiles", &known), Some("max_open_files"));
        assert_eq!(nearest("process", &known), Some("processes"));
        assert_eq!(nearest("network", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest(&"m".repeat(1_000), &known), None);
        for (a, b, far) in
            [("", "", 0), ("abc", "", 3), ("abc", "acb", 1), ("kitten", "sitting", 3), ("ab", "ba", 1)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (far, far), "{a} {b}");
        }
    }
}
