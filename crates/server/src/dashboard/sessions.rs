//! Who is signed in to the dashboard: one's own sessions, of an administrator everybody's, and their end.
//!
//! Sessions are the dashboard's alone, as signing in and out are: no route of the API has them. Whoever may take tokens back may end
//! what was opened with them.

use std::sync::Arc;
use std::time::Duration;

use maud::{Markup, html};
use ringfence_api::ErrorCode;

use super::LOGIN_PATH;
use super::layout::Section;
use super::part::address;
use super::seen::{Act, Seen, done};
use super::session::{Known, Opener};
use super::text::shown;
use super::view::{Next, Page};
use crate::api::Failure;

/// Sessions of one page: more than anybody looks through. The last used are the ones that are shown.
const SHOWN_MAX: usize = 200;

/// Whether whoever asks may see and end what others have opened.
fn sees_all(seen: &Seen) -> bool {
    seen.may("listTokens") && seen.may("revokeToken")
}

pub(super) async fn list(seen: Arc<Seen>) -> Result<Page, Failure> {
    let (own, sees_all) = (seen.held().opener.clone(), sees_all(&seen));
    let all = seen.sessions().list(|opener| sees_all || *opener == own);
    let others = all.iter().any(|known| known.opener == own && known.number != seen.held().number);
    let body = html! {
        div.head {
            div {
                h1 { "Sessions" }
                p.why {
                    @if sees_all { "Everybody who is signed in to this dashboard." } @else { "Where you are signed in to this dashboard." }
                    " A session ends by itself after an hour without use, after twelve hours, and with its token."
                }
            }
            @if others {
                div.acts { (seen.form("/sessions/others", html! { button type="submit" { "End my other sessions" } })) }
            }
        }
        table.list {
            caption.hidden { "Sessions, the last used first" }
            thead { tr {
                th scope="col" { "Signed in with" } th scope="col" { "From" } th scope="col" { "Begun" }
                th scope="col" { "Last used" } th scope="col" { span.hidden { "End it" } }
            } }
            tbody { @for known in all.iter().take(SHOWN_MAX) { (row(&seen, known)) } }
        }
        @if all.len() > SHOWN_MAX { p.faint { "And " (all.len() - SHOWN_MAX) " more." } }
    };
    Ok(Page::new("Sessions", Section::None, body))
}

fn row(seen: &Seen, known: &Known) -> Markup {
    let is_this = known.number == seen.held().number;
    html! {
        tr {
            th scope="row" {
                @match &known.opener {
                    Opener::Token(id) => { "Token " code { (id) } }
                    Opener::Link { uid } => { "One-time link of uid " (uid) }
                }
                @if is_this { " " span.badge.good { "this one" } }
            }
            td data-label="From" {
                @match known.whence.address { Some(address) => { (address) } None => { "the daemon’s socket" } }
                @if !known.whence.agent.is_empty() { p.faint { (shown(&known.whence.agent)) } }
            }
            td.since data-label="Begun" { (ago(known.age)) }
            td.since data-label="Last used" { (ago(known.unused)) }
            td.act {
                (seen.form(&format!("/sessions/{}/end", known.number), html! {
                    button.danger.small type="submit" aria-label={ "End session " (known.number) } { "End it" }
                }))
            }
        }
    }
}

fn ago(since: Duration) -> String {
    match since.as_secs() {
        0..60 => "just now".to_owned(),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h {} min ago", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Ends one. Of somebody else’s it says what it says of one that is not there.
pub(super) async fn end(act: Act) -> Result<Next, Failure> {
    let seen = &act.seen;
    let number = seen.part("number").parse::<u64>().unwrap_or_default();
    let (own, sees_all) = (seen.held().opener.clone(), sees_all(seen));
    let ended = seen.sessions().end_all(|known, opener| known == number && (sees_all || *opener == own));
    if ended == 0 {
        return Err(Failure::new(ErrorCode::NotFound, "there is no such session, or it has ended already"));
    }
    tracing::info!(actor = %seen.caller().actor, session = number, "a session of the dashboard was ended");
    if number == seen.held().number {
        return Ok(done(LOGIN_PATH, ""));
    }
    Ok(done(address("/sessions", &[]), "The session is ended: whoever has it must sign in again."))
}

/// Ends all that were opened with the same token or by the same user, but for this one.
pub(super) async fn end_others(act: Act) -> Result<Next, Failure> {
    let seen = &act.seen;
    let (own, this) = (seen.held().opener.clone(), seen.held().number);
    let ended = seen.sessions().end_all(|number, opener| *opener == own && number != this);
    tracing::info!(actor = %seen.caller().actor, ended, "other sessions of the dashboard were ended");
    let text = match ended {
        1 => "One other session is ended.".to_owned(),
        ended => format!("{ended} other sessions are ended."),
    };
    Ok(done(address("/sessions", &[]), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_is_said_in_words() {
        let said = [0, 59, 60, 3_599, 3_600, 7_260].map(|seconds| ago(Duration::from_secs(seconds)));
        assert_eq!(
            said,
            ["just now", "just now", "1 min ago", "59 min ago", "1 h 0 min ago", "2 h 1 min ago"]
        );
    }
}
