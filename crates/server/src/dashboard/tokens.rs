//! Tokens: who may come in, how far and until when; made, shown once, and taken back.

use std::sync::Arc;

use maud::{Markup, html};
use ringfence::token::TokenInfo;
use ringfence_api::Role;
use serde_json::{Map, Value};

use super::layout::Section;
use super::part::{self, address};
use super::seen::{Act, Question, Seen, done};
use super::text::{shown, time};
use super::view::{Next, Page};
use crate::api::Failure;

const DAY_S: u64 = 24 * 3_600;
/// How long a token may live, in seconds as a form sends them, and in words; the empty one has no end.
const LIVES: [(u64, &str); 7] = [
    (3_600, "One hour"),
    (DAY_S, "One day"),
    (7 * DAY_S, "One week"),
    (30 * DAY_S, "30 days"),
    (90 * DAY_S, "90 days"),
    (365 * DAY_S, "One year"),
    (0, "Until it is revoked"),
];
/// What is chosen unless somebody chooses.
const LIFE: u64 = 30 * DAY_S;
/// Names of plugins that are offered.
const OFFERED: usize = 200;

/// What a form holds.
#[derive(Debug)]
struct Filled {
    role: String,
    plugin: String,
    life: u64,
}

impl Default for Filled {
    fn default() -> Self {
        Self { role: Role::Viewer.to_string(), plugin: String::new(), life: LIFE }
    }
}

pub(super) async fn list(seen: Arc<Seen>) -> Result<Page, Failure> {
    page(&seen, &Filled::default(), &html! {}).await
}

async fn page(seen: &Seen, filled: &Filled, above: &Markup) -> Result<Page, Failure> {
    let tokens = seen.host.tokens().await?;
    let plugins = seen.host.list().await?;
    let names: Vec<&str> = plugins.iter().take(OFFERED).map(|plugin| plugin.name.as_str()).collect();
    let body = html! {
        h1 { "Tokens" }
        p.intro { "A token lets a program or a person in. Only the digest of it is kept: its text is shown once." }
        (above)
        @if tokens.is_empty() {
            (part::empty("No token is made yet.", &html! { p.faint { "Make one below." } }))
        } @else {
            (table(seen, &tokens))
        }
        (new(seen, filled, &names))
    };
    Ok(Page::new("Tokens", Section::Tokens, body))
}

fn table(seen: &Seen, tokens: &[TokenInfo]) -> Markup {
    html! {
        table.list {
            caption.hidden { "Tokens" }
            thead {
                tr {
                    th scope="col" { "Token" }
                    th scope="col" { "Role" }
                    th scope="col" { "For" }
                    th scope="col" { "Made" }
                    th scope="col" { "Last used" }
                    th scope="col" { "Ends" }
                    th scope="col" { "Revoke" }
                }
            }
            tbody { @for token in tokens { (row(seen, token)) } }
        }
    }
}

fn row(seen: &Seen, token: &TokenInfo) -> Markup {
    let id = token.id.as_str();
    let is_own = seen.caller().actor.ends_with(&format!("token {id}"));
    html! {
        tr {
            th scope="row" {
                code { (id) }
                @if !token.name.is_empty() { p.faint { (shown(&token.name)) } }
                @if is_own { p.faint { "You are signed in with it." } }
            }
            td data-label="Role" { (token.role.to_string()) }
            td data-label="For" {
                @match &token.plugin { Some(plugin) => { (part::plugin(plugin.as_str())) } None => { "all plugins" } }
            }
            td data-label="Made" { (time(token.created_at_ms)) p.faint { "by " (shown(&token.created_by)) } }
            td data-label="Last used" {
                @match token.last_used_at_ms { Some(at_ms) => { (time(at_ms)) } None => { "never" } }
            }
            td data-label="Ends" {
                @match &token.expires_at { Some(at) => { (shown(&at.replace('T', " "))) } None => { "when revoked" } }
                @if token.expired { " " span.badge.idle { "ended" } }
            }
            td data-label="Revoke" {
                details.confirm {
                    summary aria-label={ "Revoke " (id) } { "Revoke…" }
                    p { "Whoever uses it is shut out at once, and it does not come back." }
                    (seen.form(&format!("/tokens/{id}/revoke"), html! {
                        button.danger.small type="submit" aria-label={ "Revoke " (id) " now" } { "Revoke it" }
                    }))
                }
            }
        }
    }
}

fn new(seen: &Seen, filled: &Filled, names: &[&str]) -> Markup {
    let fields = html! {
        div.field {
            label for="role" { "Role" }
            select id="role" name="role" aria-describedby="role-help" {
                @for role in Role::ALL {
                    option value=(role.to_string()) selected[filled.role == role.to_string()] { (role.to_string()) }
                }
            }
            p.faint id="role-help" { "A viewer looks, an operator also starts, stops and calls, an admin does everything." }
        }
        div.field {
            label for="plugin" { "Only for the plugin" }
            input id="plugin" name="plugin" value=(part::value(&filled.plugin)) list="plugins" maxlength="100"
                autocomplete="off" aria-describedby="plugin-help";
            datalist id="plugins" { @for name in names { option value=(name) {} } }
            p.faint id="plugin-help" { "Leave it empty for all plugins." }
        }
        div.field {
            label for="life" { "It lives" }
            select id="life" name="life" {
                @for (life, words) in LIVES {
                    option value=(life) selected[filled.life == life] { (words) }
                }
            }
        }
        p { button.main type="submit" { "Make a token" } }
    };
    html! {
        section.card aria-labelledby="new" {
            h2 id="new" { "A new token" }
            (seen.form("/tokens", fields))
        }
    }
}

pub(super) async fn create(act: Act) -> Result<Next, Failure> {
    let text = |name| act.form.text(name).unwrap_or_default().trim().to_owned();
    // What is no number of ours is sent as it is for the route to judge: never taken for a token without an end.
    let life = text("life");
    let filled = Filled { role: text("role"), plugin: text("plugin"), life: life.parse().unwrap_or(LIFE) };
    let mut body = Map::from_iter([("role".to_owned(), Value::from(filled.role.as_str()))]);
    if !filled.plugin.is_empty() {
        body.insert("plugin".to_owned(), Value::from(filled.plugin.as_str()));
    }
    if life != "0" {
        body.insert("expires_in_s".to_owned(), life.parse::<u64>().map_or(Value::from(life), Value::from));
    }
    let body = Value::Object(body);
    match act.send(Question { body: Some(&body), ..Question::default() }).await {
        Ok(made) => Ok(Next::Show(made_page(&made.document))),
        Err(failure) => {
            let (status, above) = super::failure::inside(failure, &act.seen);
            Ok(Next::Show(page(&act.seen, &filled, &above).await?.with_status(status)))
        }
    }
}

/// The one time that a token is shown. The page is stored by nobody, and says what to do with it.
fn made_page(made: &Value) -> Page {
    let text = |field: &str| made.get(field).and_then(Value::as_str).unwrap_or_default();
    let body = html! {
        p.path { a href=(address("/tokens", &[])) { "← All tokens" } }
        h1 { "A new token" }
        div.notice.done role="status" { p { "It is made. This is the only time that it is shown: copy it now." } }
        section.card {
            h2 id="text" { "Its text" }
            pre.secret tabindex="0" aria-labelledby="text" { code id="token" { (text("token")) } }
            dl.facts {
                dt { "Role" } dd { (text("role")) }
                dt { "For" } dd { @match text("plugin") { "" => { "all plugins" } plugin => { (shown(plugin)) } } }
                dt { "Ends" } dd { @match text("expires_at") { "" => { "when revoked" } at => { (shown(at)) } } }
                dt { "Known as" } dd { code { (text("id")) } }
            }
        }
        p.faint { "A program sends it as " code { "Authorization: Bearer …" } "; a person signs in to this dashboard with it." }
        p { a.button href=(address("/tokens", &[])) { "I have copied it" } }
    };
    Page::new("A new token", Section::Tokens, body)
}

pub(super) async fn revoke(act: Act) -> Result<Next, Failure> {
    act.send(Question::default()).await?;
    let id = act.seen.part("id");
    Ok(done(address("/tokens", &[]), format!("The token {id} opens nothing any more.")))
}
