//! A table of measured rows and the targets that hold between them.

use crate::statistics::{Summary, median_ratio};
use crate::turns::Measured;

/// By how much a target may be missed before `--check` fails: ratios of the same run have been seen to move by 13 %.
pub const TOLERANCE: f64 = 0.15;

/// What a ratio must not pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Smaller is better.
    AtMost(f64),
    /// Larger is better.
    AtLeast(f64),
}

/// A promise: the median pair-wise ratio of `row` to `base` keeps within `bound`.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The row that is promised.
    pub row: &'static str,
    /// The row beside which it stands.
    pub base: &'static str,
    /// The promise.
    pub bound: Bound,
}

/// What became of a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// The ratio, within its bound.
    Met(f64),
    /// The ratio, and by which share of the bound it is missed.
    Missed(f64, f64),
    /// One of the rows has no values.
    NotMeasured,
}

impl Verdict {
    /// Whether `--check` lets it pass.
    #[must_use]
    pub fn passes(self) -> bool {
        match self {
            Self::Met(_) => true,
            Self::Missed(_, by) => by <= TOLERANCE,
            Self::NotMeasured => false,
        }
    }
}

/// Rows that took turns with each other, and what is promised of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What was measured, and as whom.
    pub title: String,
    /// The unit of the values.
    pub unit: &'static str,
    /// The rows. Ratios are shown to the first.
    pub rows: Vec<Measured>,
    /// The promises.
    pub targets: Vec<Target>,
}

impl Table {
    fn values(&self, name: &str) -> Option<&[f64]> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        row.values.as_deref().ok()
    }

    /// The median pair-wise ratio of two rows.
    #[must_use]
    pub fn ratio(&self, row: &str, base: &str) -> Option<f64> {
        median_ratio(self.values(row)?, self.values(base)?)
    }

    /// What became of `target`.
    #[must_use]
    pub fn verdict(&self, target: &Target) -> Verdict {
        let Some(ratio) = self.ratio(target.row, target.base) else { return Verdict::NotMeasured };
        let missed_by = match target.bound {
            Bound::AtMost(bound) => ratio / bound - 1.0,
            Bound::AtLeast(bound) => 1.0 - ratio / bound,
        };
        if missed_by <= 0.0 { Verdict::Met(ratio) } else { Verdict::Missed(ratio, missed_by) }
    }

    /// For people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let first = self.rows.first().map(|row| row.name.as_str()).unwrap_or_default();
        let cell = |text: &str| text.replace('|', "\\|");
        let rounds = self.rows.iter().filter_map(|row| row.values.as_ref().ok()).map(Vec::len).max();
        let mut text = format!("### {}, n = {}\n\n", self.title, rounds.unwrap_or(0));
        let unit = self.unit;
        text += &format!(
            "| row | min, {unit} | p50, {unit} | p90, {unit} | x {} |\n|---|---|---|---|---|\n",
            cell(first),
        );
        for row in &self.rows {
            text += &match &row.values {
                Ok(values) => {
                    let ratio =
                        self.ratio(&row.name, first).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
                    let [min, p50, p90] = Summary::of(values)
                        .map_or([0.0; 3], |summary| [summary.min, summary.p50, summary.p90])
                        .map(short);
                    format!("| {} | {min} | {p50} | {p90} | {ratio} |\n", cell(&row.name))
                }
                Err(reason) => {
                    format!("| {} | not measured: {} | - | - | - |\n", cell(&row.name), cell(reason))
                }
            };
        }
        if self.targets.is_empty() {
            return text;
        }
        text += "\n| target | measured | |\n|---|---|---|\n";
        for target in &self.targets {
            let (sign, bound) = match target.bound {
                Bound::AtMost(bound) => ("at most", bound),
                Bound::AtLeast(bound) => ("at least", bound),
            };
            let (ratio, word) = match self.verdict(target) {
                Verdict::Met(ratio) => (format!("{ratio:.2}"), "met".to_owned()),
                Verdict::Missed(ratio, by) => {
                    (format!("{ratio:.2}"), format!("**missed** by {:.0} %", by * 100.0))
                }
                Verdict::NotMeasured => ("-".to_owned(), "**not measured**".to_owned()),
            };
            let (row, base) = (cell(target.row), cell(target.base));
            text += &format!("| {row} {sign} {bound} x {base} | {ratio} | {word} |\n");
        }
        text
    }

    /// For programs: `{title, unit, rows: [{name, n, min, p50, p90, ratio, skipped}], targets: [...]}`.
    #[must_use]
    pub fn json(&self) -> String {
        let first = self.rows.first().map(|row| row.name.as_str()).unwrap_or_default();
        let rows = self.rows.iter().map(|row| match &row.values {
            Ok(values) => {
                let summary = Summary::of(values);
                let number = |pick: fn(Summary) -> f64| json_number(summary.map(pick));
                format!(
                    "{{\"name\":{},\"n\":{},\"min\":{},\"p50\":{},\"p90\":{},\"ratio\":{}}}",
                    json_text(&row.name),
                    values.len(),
                    number(|summary| summary.min),
                    number(|summary| summary.p50),
                    number(|summary| summary.p90),
                    json_number(self.ratio(&row.name, first)),
                )
            }
            Err(reason) => format!("{{\"name\":{},\"skipped\":{}}}", json_text(&row.name), json_text(reason)),
        });
        let targets = self.targets.iter().map(|target| {
            let (kind, bound) = match target.bound {
                Bound::AtMost(bound) => ("at_most", bound),
                Bound::AtLeast(bound) => ("at_least", bound),
            };
            let (ratio, met) = match self.verdict(target) {
                Verdict::Met(ratio) => (Some(ratio), "true"),
                Verdict::Missed(ratio, _) => (Some(ratio), "false"),
                Verdict::NotMeasured => (None, "null"),
            };
            format!(
                "{{\"row\":{},\"base\":{},\"{kind}\":{bound},\"ratio\":{},\"met\":{met}}}",
                json_text(target.row),
                json_text(target.base),
                json_number(ratio),
            )
        });
        format!(
            "{{\"title\":{},\"unit\":{},\"rows\":[{}],\"targets\":[{}]}}",
            json_text(&self.title),
            json_text(self.unit),
            rows.collect::<Vec<_>>().join(","),
            targets.collect::<Vec<_>>().join(","),
        )
    }
}

/// Three digits that matter.
fn short(value: f64) -> String {
    let decimals = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

fn json_number(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or("null".to_owned(), |value| format!("{value:.4}"))
}

/// A JSON string (RFC 8259, section 7).
#[must_use]
pub fn json_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\0'..='\u{1f}' => quoted += &format!("\\u{:04x}", u32::from(letter)),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(bound: Bound) -> Table {
        let row =
            |name: &str, values: &[f64]| Measured { name: name.to_owned(), values: Ok(values.to_vec()) };
        Table {
            title: "start".to_owned(),
            unit: "ms",
            rows: vec![
                row("peer", &[4.0, 8.0]),
                row("ours", &[2.0, 4.0]),
                Measured { name: "gone".to_owned(), values: Err("no \"such\" program".to_owned()) },
            ],
            targets: vec![Target { row: "ours", base: "peer", bound }],
        }
    }

    fn verdict(bound: Bound) -> Verdict {
        let table = table(bound);
        table.verdict(&table.targets[0])
    }

    #[test]
    fn verdicts_in_both_directions() {
        assert_eq!(verdict(Bound::AtMost(0.5)), Verdict::Met(0.5));
        assert!(matches!(verdict(Bound::AtMost(0.4)), Verdict::Missed(_, by) if (by - 0.25).abs() < 1e-9));
        assert_eq!(verdict(Bound::AtLeast(0.5)), Verdict::Met(0.5));
        assert!(matches!(verdict(Bound::AtLeast(1.0)), Verdict::Missed(_, by) if (by - 0.5).abs() < 1e-9));
    }

    #[test]
    fn the_check_forgives_noise_and_nothing_else() {
        assert!(verdict(Bound::AtMost(0.45)).passes());
        assert!(!verdict(Bound::AtMost(0.4)).passes());
        assert!(!Verdict::NotMeasured.passes());
    }

    #[test]
    fn a_row_that_was_not_measured_is_not_met() {
        let mut table = table(Bound::AtMost(1.0));
        table.targets[0].row = "gone";
        assert_eq!(table.verdict(&table.targets[0]), Verdict::NotMeasured);
        assert!(table.markdown().contains("not measured: no \"such\" program"));
    }

    #[test]
    fn a_pipe_in_a_name_does_not_split_the_row() {
        let mut table = table(Bound::AtMost(1.0));
        table.rows[0].name = "cat | cat".to_owned();
        assert!(table.markdown().contains("| cat \\| cat | 4.00 |"), "{}", table.markdown());
    }

    #[test]
    fn the_json_is_what_it_says() {
        assert_eq!(
            table(Bound::AtMost(0.5)).json(),
            "{\"title\":\"start\",\"unit\":\"ms\",\"rows\":[\
             {\"name\":\"peer\",\"n\":2,\"min\":4.0000,\"p50\":4.0000,\"p90\":8.0000,\"ratio\":1.0000},\
             {\"name\":\"ours\",\"n\":2,\"min\":2.0000,\"p50\":2.0000,\"p90\":4.0000,\"ratio\":0.5000},\
             {\"name\":\"gone\",\"skipped\":\"no \\\"such\\\" program\"}],\
             \"targets\":[{\"row\":\"ours\",\"base\":\"peer\",\"at_most\":0.5,\"ratio\":0.5000,\"met\":true}]}"
        );
    }
}
