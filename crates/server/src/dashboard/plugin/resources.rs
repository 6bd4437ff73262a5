//! What a plugin uses: the last hour as two charts, and as a table for those who do not see them.

use std::sync::Arc;

use maud::{Markup, html};
use ringfence::metrics::ResourceSample;

use super::super::part;
use super::super::seen::Seen;
use super::super::text::{bytes, time};
use super::super::view::Page;
use super::Tab;
use super::chart::{Chart, Point};
use crate::api::Failure;

/// What is shown, in milliseconds, and the samples that it has at most: one a second.
pub(super) const HOUR_MS: i64 = 3_600_000;
const SAMPLES_MAX: usize = 3_600;
/// What a row of the table sums up, in milliseconds.
const ROW_MS: i64 = 5 * 60_000;

pub(crate) async fn page(seen: Arc<Seen>) -> Result<Page, Failure> {
    let details = seen.host.show(seen.name()).await?;
    let mut samples = seen.host.resources(seen.name(), SAMPLES_MAX).await?;
    let now_ms = now_ms();
    samples.retain(|sample| sample.at_ms > now_ms - HOUR_MS);
    let points = |of: fn(&ResourceSample) -> f64| {
        samples.iter().map(|sample| Point { at_ms: sample.at_ms, value: of(sample) }).collect::<Vec<_>>()
    };
    #[expect(clippy::cast_precision_loss, reason = "a chart of a few hundred points shows no single byte")]
    let memory = Chart {
        id: "memory",
        title: "Memory, last hour",
        unit: |value| bytes(whole(value)),
        limit: details.limits.memory_bytes.map(|limit| limit as f64),
        points: points(|sample| sample.memory_bytes as f64),
        end_ms: now_ms,
    };
    let cpu = Chart {
        id: "cpu",
        title: "CPU of one core, last hour",
        unit: percent,
        limit: details.limits.cpu_percent.map(f64::from),
        points: points(|sample| sample.cpu_percent),
        end_ms: now_ms,
    };
    let body = html! {
        div id="resources" data-live data-every=(part::EVERY_MS) {
            @if samples.is_empty() {
                (part::empty("Nothing was measured in the last hour.", &html! {
                    p.faint { "A plugin is measured once a second while it runs." }
                }))
            } @else {
                section.card aria-labelledby="memory-title" { (memory.draw()) }
                section.card aria-labelledby="cpu-title" { (cpu.draw()) }
                (table(&samples))
            }
        }
    };
    Ok(super::page(&seen, &details, Tab::Resources, &body))
}

/// A share of a core, without digits that say nothing.
fn percent(value: f64) -> String {
    if value >= 10.0 || value.fract() == 0.0 { format!("{value:.0} %") } else { format!("{value:.1} %") }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes are positive and far below 2^63"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

fn table(samples: &[ResourceSample]) -> Markup {
    let mut rows: Vec<(i64, Vec<&ResourceSample>)> = Vec::new();
    for sample in samples.iter().rev() {
        let from = sample.at_ms.div_euclid(ROW_MS) * ROW_MS;
        match rows.last_mut() {
            Some((known, of)) if *known == from => of.push(sample),
            _ => rows.push((from, vec![sample])),
        }
    }
    html! {
        details.card id="figures" {
            summary { "The same as figures" }
            div.scroll {
                table {
                    caption.hidden { "What it used, in steps of five minutes" }
                    thead { tr { th scope="col" { "From" } th.number scope="col" { "Memory, most" } th.number scope="col" { "CPU, mean" } th.number scope="col" { "CPU, most" } th.number scope="col" { "Processes and threads, most" } th.number scope="col" { "Read from storage" } th.number scope="col" { "Written to storage" } } }
                    tbody {
                        @for (from, of) in rows {
                            tr {
                                th scope="row" { (time(from)) }
                                td.number { (bytes(of.iter().map(|one| one.memory_bytes).max().unwrap_or(0))) }
                                td.number { (format!("{:.1} %", mean(&of))) }
                                td.number { (format!("{:.1} %", of.iter().map(|one| one.cpu_percent).fold(0.0, f64::max))) }
                                td.number { (of.iter().map(|one| one.tasks).max().unwrap_or(0)) }
                                td.number { (bytes(grown(&of, |one| one.read_bytes))) }
                                td.number { (bytes(grown(&of, |one| one.written_bytes))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// By how much a count has grown in these samples, newest first. One that is smaller than before began anew with a start.
fn grown(samples: &[&ResourceSample], of: fn(&ResourceSample) -> u64) -> u64 {
    let steps = samples.iter().zip(samples.iter().skip(1));
    steps.map(|(later, earlier)| of(later).checked_sub(of(earlier)).unwrap_or_else(|| of(later))).sum()
}

#[expect(clippy::cast_precision_loss, reason = "at most 300 samples")]
fn mean(samples: &[&ResourceSample]) -> f64 {
    let sum: f64 = samples.iter().map(|one| one.cpu_percent).sum();
    if samples.is_empty() { 0.0 } else { sum / samples.len() as f64 }
}
