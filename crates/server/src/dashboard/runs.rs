//! Runs of commands: the list, one run with its output as it comes, its report, and its end.

use std::sync::Arc;

use maud::{Markup, html};
use ringfence::exec::store::{OutputTail, RunState, RunSummary, StoredRun};
use ringfence_api::text::shell_word;
use ringfence_api::{Denial, RunReport, RunStatus};

use super::ROOT;
use super::layout::Section;
use super::part::{self, address};
use super::seen::{Act, Question, Seen, done};
use super::text::{self, bytes, long, shown, span, time};
use super::view::{Next, Page};
use crate::api::{Failure, blocking, run_id};

/// Runs of one page.
const PAGE: usize = 50;
/// The end of the output that a page shows, in bytes.
const OUTPUT_SHOWN_BYTES: u64 = 64 * 1024;
/// Denials of a run that a page shows.
const DENIALS_SHOWN: usize = 200;

pub(super) async fn list(seen: Arc<Seen>) -> Result<Page, Failure> {
    let before = seen.query("before").and_then(|before| before.parse().ok());
    let store = seen.host.runs();
    let found = blocking(move || store.list(before, PAGE)).await?;
    let newest = before.map(|_| address("/runs", &[]));
    let older = found.before.map(|id| ("Older →", address("/runs", &[("before", &id.to_string())])));
    let body = html! {
        h1 { "Runs" }
        p.intro { "Commands that ran in a sandbox of their own. The last 200 are kept." }
        div id="runs" data-live[before.is_none()] data-every=(part::EVERY_MS) {
            @if found.runs.is_empty() {
                (part::empty("No command has run yet.", &html! {
                    p.faint { "Run one: " code { "ringfence exec -- COMMAND" } ". It appears here by itself." }
                }))
            } @else {
                table.list {
                    caption.hidden { "Runs, the last first" }
                    thead {
                        tr {
                            th.number scope="col" { "No." }
                            th scope="col" { "Command" }
                            th scope="col" { "How it ended" }
                            th scope="col" { "Began" }
                            th.number scope="col" { "Took" }
                            th.number scope="col" { "Output" }
                        }
                    }
                    tbody { @for run in &found.runs { (row(run)) } }
                }
            }
            (part::older(newest, older))
        }
    };
    Ok(Page::new("Runs", Section::Runs, body))
}

fn row(run: &RunSummary) -> Markup {
    html! {
        tr {
            td.number data-label="No." { (run.id) }
            th scope="row" { a href={ (ROOT) "/runs/" (run.id) } { code { (shown(&command(run))) } } }
            td data-label="How it ended" { (ending(run)) }
            td data-label="Began" { (time(i64::try_from(run.started_at_ms).unwrap_or(i64::MAX))) }
            td.number data-label="Took" { (run.duration_ms.map_or_else(|| "—".to_owned(), span)) }
            td.number data-label="Output" { (bytes(run.stored_bytes)) }
        }
    }
}

fn command(run: &RunSummary) -> String {
    if run.command.is_empty() {
        return "(not known)".to_owned();
    }
    run.command.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

/// How it ended as a badge.
fn ending(run: &RunSummary) -> Markup {
    let (class, words) = match (run.running, run.status) {
        (true, _) => ("wait", "running".to_owned()),
        (false, None) if run.state == RunState::Unreadable => ("bad", "not readable".to_owned()),
        (false, None) => ("bad", "broken off".to_owned()),
        (false, Some(RunStatus::Exited)) => {
            let code = run.exit_code.unwrap_or_default();
            (if code == 0 { "good" } else { "bad" }, format!("exit status {code}"))
        }
        (false, Some(RunStatus::Signaled)) => ("bad", format!("signal {}", run.signal.unwrap_or_default())),
        (false, Some(RunStatus::Violation)) => {
            let limit = run.violation.map_or("", ringfence_api::Violation::as_str);
            ("bad", format!("stopped: {limit}"))
        }
        (false, Some(RunStatus::Cancelled)) => ("idle", "cancelled".to_owned()),
        (false, Some(RunStatus::NotStarted)) => ("bad", "not started".to_owned()),
    };
    html! { span class={ "badge " (class) } { (words) } }
}

pub(super) async fn one(seen: Arc<Seen>) -> Result<Page, Failure> {
    let (id, store) = (run_id(seen.part("id"))?, seen.host.runs());
    let (run, output) = blocking(move || {
        let run = store.show(id)?;
        let output = run.output_tail(OUTPUT_SHOWN_BYTES)?;
        Ok((run, output))
    })
    .await?;
    let body = html! {
        p.path { a href={ (ROOT) "/runs" } { "← All runs" } }
        div id="run" data-live {
            (head(&seen, &run))
            (written(&run, &output))
            @if let Some(report) = &run.report { (told(&run, report)) }
        }
        (granted(&run))
    };
    let page = Page::new(format!("Run {id}"), Section::Runs, body);
    Ok(if run.summary.running { page.following(format!("/runs/{id}/stream")) } else { page })
}

fn head(seen: &Seen, run: &StoredRun) -> Markup {
    let summary = &run.summary;
    html! {
        div.head {
            div {
                h1 { "Run " (summary.id) }
                p { (ending(summary)) }
            }
            @if summary.running && seen.may("cancelRun") {
                div.acts {
                    (seen.form(&format!("/runs/{}/cancel", summary.id), html! {
                        button.danger type="submit" { "Cancel the run" }
                    }))
                }
            }
        }
        section.card aria-labelledby="command" {
            h2 id="command" { "Command" }
            pre tabindex="0" aria-labelledby="command" { code { (long(&command(summary))) } }
            dl.facts {
                dt { "Began" } dd { (time(i64::try_from(summary.started_at_ms).unwrap_or(i64::MAX))) }
                @if let Some(took) = summary.duration_ms { dt { "Took" } dd { (span(took)) } }
            }
        }
    }
}

fn written(run: &StoredRun, output: &OutputTail) -> Markup {
    let text = String::from_utf8_lossy(&output.bytes);
    let (plain, _) = text::plain(&text, text.len());
    html! {
        section.card aria-labelledby="output" {
            h2 id="output" { "Output" }
            @if plain.is_empty() {
                p.faint { @if run.summary.running { "It has written nothing yet." } @else { "It wrote nothing." } }
            } @else {
                @if output.cut {
                    p.faint { "The end of it; all of it: " code { "ringfence runs replay " (run.summary.id) } }
                }
                pre.output tabindex="0" aria-labelledby="output" { bdi { (plain) } }
            }
            @if run.summary.stored_truncated && !run.summary.running {
                p.faint { "Not all that it wrote is stored." }
            }
        }
    }
}

fn told(run: &StoredRun, report: &RunReport) -> Markup {
    html! {
        @if let Some(error) = &report.error {
            div.notice.failed { p { (long(&error.message)) } @if let Some(hint) = &error.hint { p { (long(hint)) } } }
        }
        section.card aria-labelledby="report" {
            h2 id="report" { "Report" }
            dl.facts {
                @if let Some(violation) = report.violation { dt { "Broke the limit" } dd { (violation.to_string()) } }
                @if let Some(suspected) = report.suspected { dt { "Probably broke" } dd { (suspected.to_string()) } }
                @for fact in &report.evidence { dt { "Because" } dd { (long(fact)) } }
                dt { "Processor time" } dd { (span(report.cpu_ms)) }
                dt { "Most memory" } dd { (bytes(report.memory_peak_bytes)) }
                dt { "Written" } dd { (bytes(report.stdout_bytes)) " to stdout, " (bytes(report.stderr_bytes)) " to stderr" @if report.truncated { ", cut at the limit" } }
            }
        }
        (refused(report, &run.summary))
        section.card aria-labelledby="enforced" {
            h2 id="enforced" { "What was enforced" }
            @if report.enforced.is_empty() { p.faint { "Nothing was executed." } }
            dl.facts {
                @for (layer, by) in &report.enforced {
                    dt { (shown(layer)) }
                    dd { (shown(&by.by)) @if let Some(detail) = &by.detail { ", " (shown(detail)) } }
                }
            }
        }
    }
}

/// What was refused, as far as it is known: files that were merely not shown only an explained run names.
fn refused(report: &RunReport, run: &RunSummary) -> Markup {
    let denials: &[Denial] = &report.denials;
    html! {
        section.card aria-labelledby="denials" {
            h2 id="denials" { "Denials" }
            @if denials.is_empty() {
                p.faint { @match (report.status, report.is_explained()) {
                    (RunStatus::NotStarted, _) => { "It was not started, and tried nothing." }
                    (_, true) => { "Nothing was refused: every path that it named was watched." }
                    (_, false) => { "No denial is known." }
                } }
            } @else {
                table.list {
                    caption.hidden { "What was refused" }
                    thead {
                        tr {
                            th scope="col" { "What" }
                            th scope="col" { "On what" }
                            th scope="col" { "By" }
                            th.number scope="col" { "How often" }
                            th scope="col" { "What would allow it" }
                        }
                    }
                    tbody {
                        @for denial in denials.iter().take(DENIALS_SHOWN) {
                            tr {
                                th scope="row" { (shown(&denial.operation)) }
                                td data-label="On what" { code { (shown(&denial.object)) } }
                                td data-label="By" { (shown(&denial.layer)) }
                                td.number data-label="How often" { (denial.count) }
                                td data-label="What would allow it" {
                                    @match &denial.grant {
                                        Some(grant) => { code { "--grant " (shown(&shell_word(grant))) } }
                                        None => { "nothing" }
                                    }
                                }
                            }
                        }
                    }
                }
                @if denials.len() > DENIALS_SHOWN { p.faint { "And " (denials.len() - DENIALS_SHOWN) " more." } }
            }
            @if report.status != RunStatus::NotStarted && !report.is_explained() { (not_watched(run)) }
        }
    }
}

/// What is not known of a run, and how it would be.
fn not_watched(run: &RunSummary) -> Markup {
    html! {
        p.faint {
            "Which files it named was not watched: one that it was not granted did not exist for it, and that is no denial here. "
            "To be told, run it with " code { "--explain" } ", or with " code { "\"explain\": true" } " in "
            code { "POST /exec" } ":"
        }
        pre tabindex="0" aria-label="The command that would tell" {
            code { "ringfence exec --explain … -- " (long(&command(run))) }
        }
    }
}

fn granted(run: &StoredRun) -> Markup {
    html! {
        section.card aria-labelledby="grants" {
            h2 id="grants" { "What it was granted" }
            @if run.grants.is_empty() {
                p.faint { "Nothing." }
            } @else {
                ul { @for grant in &run.grants { li { code { (shown(grant)) } } } }
            }
        }
    }
}

pub(super) async fn cancel(act: Act) -> Result<Next, Failure> {
    act.send(Question::default()).await?;
    let id = act.seen.part("id");
    Ok(done(format!("{ROOT}/runs/{id}"), format!("Run {id} is being ended.")))
}
