//! What was refused to a plugin, as far as it is known, each with the grant that would allow it.

use std::sync::Arc;

use maud::{Markup, html};

use super::super::part;
use super::super::seen::Seen;
use super::super::text::{LONG_MAX_CHARS, plain, shown};
use super::super::view::Page;
use super::Tab;
use crate::api::Failure;

/// What was refused to it.
pub(crate) async fn page(seen: Arc<Seen>) -> Result<Page, Failure> {
    let details = seen.host.show(seen.name()).await?;
    let name = &details.name;
    let may = seen.may("setGrants");
    let body = html! {
        div id="denials" data-live {
            @if details.denials.is_empty() {
                (part::empty("No denial is known.", &html! {
                    p.faint { "What is refused to " (name) " appears here, with the grant that would allow it." }
                    (not_watched())
                }))
            } @else {
                p.faint { "What it tried and may not do. Nothing of it has happened." }
                table.list {
                    caption.hidden { "What was refused" }
                    thead { tr { th scope="col" { "Tried" } th scope="col" { "Refused by" } th.number scope="col" { "Times" } th scope="col" { "What would allow it" } } }
                    tbody {
                        @for denial in &details.denials {
                            tr {
                                th scope="row" { (shown(&denial.operation)) p.faint { (shown(&denial.object)) } }
                                td data-label="Refused by" { (shown(&denial.layer)) }
                                td.number data-label="Times" { (denial.count) }
                                td data-label="What would allow it" {
                                    @match &denial.grant {
                                        None => { span.faint { "no grant" } }
                                        Some(grant) => {
                                            code { (shown(grant)) }
                                            @if may {
                                                (seen.form(&format!("/plugins/{name}/grants/ask"), html! {
                                                    input type="hidden" name="permission" value=(grant);
                                                    button.small type="submit" aria-label={ "Allow " (plain(grant, LONG_MAX_CHARS).0) " …" } { "Allow …" }
                                                }))
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                (not_watched())
            }
        }
    };
    Ok(super::page(&seen, &details, Tab::Denials, &body))
}

/// What is not known here: an installed plugin is not watched, and what is not shown in its sandbox does not exist there.
fn not_watched() -> Markup {
    html! {
        p.faint.aside {
            "A file that it was not granted does not exist for it, and need not be here. "
            code { "ringfence dev PATH" } " runs its package and names every path that it tried."
        }
    }
}
