//! Cutting bytes into lines: limits, memory, random cuts.

use proptest::prelude::*;

use crate::rpc::codec::{Line, Lines};

const READ_BYTES: usize = 64 * 1024;
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Every line, too long ones as `None`.
fn cut(lines: &mut Lines, bytes: &[u8], into: &mut Vec<Option<Vec<u8>>>) {
    for piece in bytes.chunks(READ_BYTES) {
        lines.extend(piece);
        while let Some(line) = lines.next() {
            into.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong(_) => None,
            });
        }
    }
}

#[test]
fn one_byte_decides_whether_a_line_is_too_long() {
    for (bytes, fits) in [(MESSAGE_BYTES - 2, true), (MESSAGE_BYTES - 1, true), (MESSAGE_BYTES, false)] {
        let mut lines = Lines::new(MESSAGE_BYTES);
        let mut seen = Vec::new();
        cut(&mut lines, &vec![b'x'; bytes], &mut seen);
        cut(&mut lines, b"\nnext\n", &mut seen);
        assert_eq!(seen.len(), 2, "{bytes}");
        assert_eq!(seen[0].as_ref().map(Vec::len), fits.then_some(bytes));
        // Nothing of the next line is lost, whatever came before.
        assert_eq!(seen[1].as_deref(), Some(&b"next"[..]));
        assert!(lines.held_bytes() <= MESSAGE_BYTES + READ_BYTES, "{}", lines.held_bytes());
    }
}

#[test]
fn a_hundred_megabytes_without_a_line_end_are_never_held() {
    let mut lines = Lines::new(MESSAGE_BYTES);
    let mut seen = Vec::new();
    let block = vec![b'x'; 1_000_000];
    for _ in 0..100 {
        cut(&mut lines, &block, &mut seen);
        assert!(lines.held_bytes() <= MESSAGE_BYTES + READ_BYTES, "{}", lines.held_bytes());
    }
    assert!(lines.is_within_line());
    cut(&mut lines, b"\nshort\n", &mut seen);
    assert_eq!(seen, [None, Some(b"short".to_vec())]);
    assert_eq!(lines.skipped_bytes(), 100_000_000);
    assert!(!lines.is_within_line());
}

#[test]
fn what_a_long_line_needed_is_given_back() {
    let mut lines = Lines::new(MESSAGE_BYTES);
    let mut seen = Vec::new();
    cut(&mut lines, &vec![b'x'; MESSAGE_BYTES - 1], &mut seen);
    cut(&mut lines, b"\n", &mut seen);
    assert!(lines.held_bytes() >= MESSAGE_BYTES);
    for _ in 0..100 {
        cut(&mut lines, b"small\n", &mut seen);
        lines.rest();
    }
    assert!(lines.held_bytes() <= 4 * READ_BYTES, "{}", lines.held_bytes());
    cut(&mut lines, b"and on\n", &mut seen);
    assert_eq!(seen.last().unwrap().as_deref(), Some(&b"and on"[..]));
}

#[test]
fn one_carriage_return_belongs_to_the_line_end() {
    let mut seen = Vec::new();
    cut(&mut Lines::new(100), b"a\r\nb\r\r\n\r\n\nc\rd\n", &mut seen);
    let wanted = ["a", "b\r", "", "", "c\rd"].map(|line| Some(line.as_bytes().to_vec()));
    assert_eq!(seen, wanted);
}

/// The same by the book: all bytes at once.
fn model(bytes: &[u8], max_bytes: usize) -> (Vec<Option<Vec<u8>>>, usize) {
    let mut rest = bytes;
    let mut lines = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        let whole = line.strip_suffix(b"\r").unwrap_or(line);
        lines.push((line.len() < max_bytes).then(|| whole.to_vec()));
        rest = &rest[end + 1..];
    }
    if rest.len() >= max_bytes {
        lines.push(None);
    }
    (lines, rest.len())
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        text in proptest::collection::vec(prop_oneof![4 => 97u8..=99, 1 => Just(b'\n'), 1 => Just(b'\r')], 0..400),
        cuts in proptest::collection::vec(1usize..40, 1..60),
        max_bytes in 1usize..24,
    ) {
        let (wanted, rest) = model(&text, max_bytes);
        let mut lines = Lines::new(max_bytes);
        let mut seen = Vec::new();
        let mut left = &text[..];
        for count in cuts.iter().cycle() {
            let (piece, after) = left.split_at((*count).min(left.len()));
            cut(&mut lines, piece, &mut seen);
            left = after;
            if left.is_empty() {
                break;
            }
        }
        prop_assert_eq!(seen, wanted);
        prop_assert_eq!(lines.is_within_line(), rest > 0);
    }
}
