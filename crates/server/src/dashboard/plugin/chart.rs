//! A chart over one hour, as SVG that the server makes.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::resources::HOUR_MS;

/// The drawing, in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
/// How much higher the drawing is than the highest line.
const HEADROOM: f64 = 1.15;
/// The limit is drawn when it is at most so many times what was used; else it would press all else flat.
const LIMIT_WITHIN: f64 = 4.5;
/// Points of one line at most: a point is the most of what it stands for.
const POINTS_MAX: i64 = 240;
/// How long nothing may be measured before the line is broken, in steps.
const GAP_STEPS: i64 = 2;

/// A value at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) at_ms: i64,
    pub(super) value: f64,
}

/// What is drawn.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// A value for people.
    pub(super) unit: fn(f64) -> String,
    pub(super) limit: Option<f64>,
    /// Oldest first.
    pub(super) points: Vec<Point>,
    /// The right end.
    pub(super) end_ms: i64,
}

impl Chart {
    pub(super) fn draw(&self) -> Markup {
        let most = self.points.iter().map(|point| point.value).fold(0.0, f64::max);
        let last = self.points.last().map_or(0.0, |point| point.value);
        let shows_limit = self.limit.filter(|limit| *limit <= most * LIMIT_WITHIN);
        let top = round(most.max(shows_limit.unwrap_or(0.0)) * HEADROOM);
        let y = |value: f64| HEIGHT * (1.0 - value / top);
        let unit = self.unit;
        let said = format!(
            "Now {}, at most {}{}.",
            unit(last),
            unit(most),
            self.limit.map_or_else(String::new, |limit| format!(", limit {}", unit(limit)))
        );
        let (title, about) = (format!("{}-title", self.id), format!("{}-about", self.id));
        html! {
            h2 id=(title) { (self.title) }
            p id=(about) { (said) }
            div.plot {
                ul.scale aria-hidden="true" { @for share in [1.0, 0.5, 0.0] { li { (unit(top * share)) } } }
                svg.chart role="img" aria-labelledby=(title) aria-describedby=(about)
                    viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" {
                    @for share in [0.0, 0.5] {
                        line.grid x1="0" x2=(WIDTH) y1=(share * HEIGHT) y2=(share * HEIGHT) {}
                    }
                    line.axis x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
                    @if let Some(limit) = shows_limit {
                        line.limit x1="0" x2=(WIDTH) y1=(fixed(y(limit))) y2=(fixed(y(limit))) {}
                    }
                    @for line in self.lines(&y) {
                        path.area d={ (line.path) " L" (fixed(line.end)) " " (HEIGHT) " L" (fixed(line.begin)) " " (HEIGHT) " Z" } {}
                        path.line d=(line.path) {}
                    }
                }
                p.ticks aria-hidden="true" {
                    @for words in ["1 h ago", "45 min", "30 min", "15 min", "now"] { span { (words) } }
                }
            }
            @if let Some(limit) = shows_limit { p.faint { "The broken line is the limit, " (unit(limit)) "." } }
        }
    }

    /// Lines through what was measured, each without a gap.
    fn lines(&self, y: &dyn Fn(f64) -> f64) -> Vec<Line> {
        let (begin, step) = (self.end_ms - HOUR_MS, HOUR_MS / POINTS_MAX);
        let mut thinned: Vec<(i64, f64)> = Vec::new();
        for point in &self.points {
            let at = (point.at_ms - begin).div_euclid(step);
            match thinned.last_mut() {
                Some((known, value)) if *known == at => *value = value.max(point.value),
                _ => thinned.push((at, point.value)),
            }
        }
        let mut lines: Vec<Line> = Vec::new();
        let mut before = None;
        for (at, value) in thinned {
            #[expect(clippy::cast_precision_loss, reason = "at most 240")]
            let x = at.clamp(0, POINTS_MAX) as f64 / POINTS_MAX as f64 * WIDTH;
            let is_broken = before.is_none_or(|before| at - before > GAP_STEPS);
            before = Some(at);
            let place = format!("{} {}", fixed(x), fixed(y(value)));
            match lines.last_mut().filter(|_| !is_broken) {
                Some(line) => {
                    line.end = x;
                    let written = write!(line.path, " L{place}");
                    debug_assert!(written.is_ok(), "writing to a string");
                }
                // A line of no length, so that a single point is seen.
                None => lines.push(Line { path: format!("M{place} h.01"), begin: x, end: x }),
            }
        }
        lines
    }
}

/// A line, and from where to where it goes.
struct Line {
    path: String,
    begin: f64,
    end: f64,
}

/// The next number that is read easily: 1, 2, 5 or 10 of a power of ten. What is not above zero is drawn on a scale of one.
fn round(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(10.0 * power)
}

fn fixed(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(i64, f64)]) -> Chart {
        let points = points.iter().map(|(at_ms, value)| Point { at_ms: *at_ms, value: *value }).collect();
        Chart {
            id: "c",
            title: "C",
            unit: |value| format!("{value:.0}"),
            limit: Some(8.0),
            points,
            end_ms: HOUR_MS,
        }
    }

    #[test]
    fn a_line_is_thinned_and_broken_where_nothing_was_measured() {
        let step = HOUR_MS / POINTS_MAX;
        let drawn = chart(&[(0, 1.0), (1_000, 4.0), (step, 2.0), (10 * step, 2.0)]);
        let lines = drawn.lines(&|value| value);
        let paths: Vec<&str> = lines.iter().map(|line| line.path.as_str()).collect();
        assert_eq!(paths, ["M0.0 4.0 h.01 L3.0 2.0", "M30.0 2.0 h.01"]);
        assert!((lines[0].end - 3.0).abs() < 1e-9 && (lines[1].begin - 30.0).abs() < 1e-9);
        let hour: Vec<(i64, f64)> = (0..3_600).map(|second| (second * 1_000, 1.0)).collect();
        let lines = chart(&hour).lines(&|value| value);
        assert_eq!((lines.len(), lines[0].path.matches('L').count()), (1, 239));
    }

    #[test]
    fn a_scale_ends_with_a_number_that_is_read_easily() {
        let ends = [0.0, 0.3, 1.0, 1.1, 4.9, 6.0, 23.0, 6_210_000.0].map(round);
        assert_eq!(ends, [1.0, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, 10_000_000.0]);
    }

    #[test]
    fn what_is_drawn_is_said_too() {
        let text = chart(&[(0, 6.0), (HOUR_MS, 2.0)]).draw().into_string();
        assert!(text.contains("Now 2, at most 6, limit 8.") && text.contains("aria-describedby=\"c-about\""));
        assert!(text.contains("class=\"limit\""));
        let little = chart(&[(0, 1.0)]).draw().into_string();
        assert!(
            !little.contains("class=\"limit\"") && little.contains("limit 8."),
            "a limit far away is said, not drawn"
        );
        // All numbers are numbers, also when nothing is used.
        let idle = chart(&[(0, 0.0)]).draw().into_string();
        assert!(!idle.contains("NaN") && !idle.contains("inf"), "{idle}");
    }
}
