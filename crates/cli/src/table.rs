//! Tables: columns as wide as they need, cut to the line on a terminal, whole in a pipe.

use std::io::IsTerminal as _;

use crate::text::cut;

/// What every terminal shows of a line, in characters.
pub(crate) const LINE_CHARS: usize = 80;
/// What a cut column keeps at least.
const LAST_MIN_CHARS: usize = 8;

/// A table with a head. Only the last column is ever cut, and that only where its end can be done without.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
    last_whole: bool,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(head: [&'static str; N]) -> Self {
        Self { head, rows: Vec::new(), last_whole: false }
    }

    /// The same, with the last column never cut: what stands there is typed again.
    pub(crate) fn last_whole(mut self) -> Self {
        self.last_whole = true;
        self
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// As stdout needs it; nothing when there is no row.
    pub(crate) fn for_stdout(&self) -> String {
        self.render(std::io::stdout().is_terminal().then_some(LINE_CHARS))
    }

    /// With lines of at most `width` characters, as far as cutting the last column reaches.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let width = width.filter(|_| !self.last_whole);
        let head = self.head.map(str::to_owned);
        let all = || std::iter::once(&head).chain(&self.rows);
        let wide = |column: usize| {
            all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..N).map(wide).collect();
        let before: usize = widths.iter().take(N.saturating_sub(1)).map(|width| width + 2).sum();
        let mut text = String::new();
        for row in all() {
            let mut line = String::new();
            for (column, (cell, wide)) in row.iter().zip(&widths).enumerate() {
                if column + 1 < N {
                    line.push_str(&format!("{cell:<wide$}  "));
                } else {
                    let left =
                        width.map_or(usize::MAX, |width| width.saturating_sub(before).max(LAST_MIN_CHARS));
                    line.push_str(&cut(cell, left));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new(["NAME", "STATE", "ABOUT"]);
        table.row(["a".into(), "quarantined".into(), "x".repeat(100)]);
        table.row(["longer-name".into(), "active".into(), String::new()]);
        table
    }

    #[test]
    fn a_terminal_gets_80_characters_and_a_pipe_everything() {
        let cut = table().render(Some(LINE_CHARS));
        assert!(cut.lines().all(|line| line.chars().count() <= LINE_CHARS), "{cut}");
        assert!(
            cut.starts_with("NAME         STATE        ABOUT\na            quarantined  xxx")
                && cut.contains('…')
        );
        assert!(cut.ends_with("\nlonger-name  active\n"), "{cut}");
        assert!(table().render(None).contains(&"x".repeat(100)));
        assert_eq!(table().last_whole().render(Some(LINE_CHARS)), table().render(None));
    }

    #[test]
    fn no_row_no_table() {
        assert_eq!(Table::new(["A"]).render(None), "");
    }
}
