//! Steps of a plugin's life: activating, deactivating, another version, the version before, and its end.

use std::sync::Arc;

use axum::body::Body;
use maud::html;
use ringfence_api::ErrorCode;
use serde_json::{Value, json};

use super::super::install::{self, Offer};
use super::super::seen::{Act, Question, Reply, Seen, done, done_but};
use super::super::text::{LONG_MAX_CHARS, plain, shown};
use super::super::view::{Next, Page};
use super::super::{ROOT, failure};
use super::Tab;
use crate::api::Failure;

fn home(seen: &Seen) -> String {
    format!("{ROOT}/plugins/{}", seen.name())
}

pub(crate) async fn activate(act: Act) -> Result<Next, Failure> {
    act.send(Question::default()).await?;
    Ok(done(home(&act.seen), format!("{} is active.", act.seen.name())))
}

pub(crate) async fn deactivate(act: Act) -> Result<Next, Failure> {
    act.send(Question::default()).await?;
    let name = act.seen.name();
    Ok(done(home(&act.seen), format!("{name} is stopped, and stays so until somebody activates it.")))
}

/// Which versions there are, and the way to them.
pub(crate) async fn versions(seen: Arc<Seen>) -> Result<Page, Failure> {
    draw_versions(&seen, None, "").await
}

async fn draw_versions(seen: &Seen, wrong: Option<maud::Markup>, path: &str) -> Result<Page, Failure> {
    // The version first: what changes in between makes it too old, not too new.
    let version = seen.ask("getGrants", Question::default()).await?.version.unwrap_or_default();
    let details = seen.host.show(seen.name()).await?;
    let name = &details.name;
    let offers: Vec<Offer> = install::offers(seen)
        .await
        .into_iter()
        .filter(|offer| offer.name == name.as_str() && offer.version != details.version)
        .collect();
    let may = seen.may("upgradePlugin");
    let body = html! {
        @if let Some(wrong) = wrong { (wrong) }
        @if let Some(pending) = &details.pending {
            div.notice.warned {
                p { "Version " (shown(&pending.version)) " waits: " (super::why_it_waits(pending)) " "
                    a href={ (ROOT) "/plugins/" (name) "/grants" } { "Look at what it asks for" } "." }
                @if seen.may("abandonUpgrade") {
                    (seen.form(&format!("/plugins/{name}/upgrade/abandon"), html! {
                        input type="hidden" name="version" value=(version);
                        button type="submit" { "Refuse, and keep version " (shown(&details.version)) }
                    }))
                }
            }
        }
        section.card aria-labelledby="now" {
            h2 id="now" { "Version " (shown(&details.version)) " is in place" }
            p.faint { code.digest { (shown(&details.digest)) } }
        }
        @if may {
            section.card aria-labelledby="other" {
                h2 id="other" { "Take another version" }
                p.faint { "If it asks for more than is allowed it waits for your consent, and this version goes on running. If it does not start, this version is put back." }
                @for offer in &offers {
                    (seen.form(&format!("/plugins/{name}/upgrade"), html! {
                        input type="hidden" name="path" value=(offer.path);
                        @if offer.is_older_than(&details.version) { input type="hidden" name="allow_downgrade" value="yes"; }
                        p.row {
                            button.main type="submit" {
                                @if offer.is_older_than(&details.version) { "Go to the older " } @else { "Upgrade to " }
                                (shown(&offer.version))
                            }
                            code { (shown(&offer.path)) }
                        }
                    }))
                }
                (seen.form_with_file(&format!("/plugins/{name}/upgrade/upload"), html! {
                    h3 { "From your computer" }
                    (older_too("upload-downgrade"))
                    (install::file_field())
                    p.row { button type="submit" { "Upload this version" } }
                }))
                h3 { "From the daemon’s machine" }
                (install::path_form(seen, &format!("/plugins/{name}/upgrade"), path, &older_too("allow-downgrade"), "Take this version"))
            }
            @if let Some(previous) = &details.previous {
                section.card aria-labelledby="before" {
                    h2 id="before" { "Go back to " (shown(&previous.version)) }
                    p.faint { "With the permissions that it had. " code.digest { (shown(&previous.digest)) } }
                    (seen.form(&format!("/plugins/{name}/rollback"), html! {
                        button type="submit" { "Roll back to " (shown(&previous.version)) }
                    }))
                }
            }
        }
    };
    Ok(super::page(seen, &details, Tab::Versions, &body))
}

fn older_too(id: &str) -> maud::Markup {
    html! {
        p.choice {
            input type="checkbox" id=(id) name="allow_downgrade" value="yes";
            label for=(id) { "Take it also if it is older" }
        }
    }
}

/// Takes another version; nobody consents to more by it.
pub(crate) async fn upgrade(act: Act) -> Result<Next, Failure> {
    let path = act.form.text("path").unwrap_or_default().to_owned();
    let body = json!({"path": path, "allow_downgrade": act.form.has("allow_downgrade")});
    let sent = act.send(Question { body: Some(&body), ..Question::default() }).await;
    upgraded(&act.seen, sent, &path).await
}

/// Takes another version that comes with the form.
pub(crate) async fn upgrade_by_upload(act: Act, file: Option<Body>) -> Result<Next, Failure> {
    let query = if act.form.has("allow_downgrade") { "allow_downgrade=true" } else { "" };
    let sent = act.send_file(query, file).await;
    upgraded(&act.seen, sent, "").await
}

async fn upgraded(seen: &Seen, sent: Result<Reply, Failure>, path: &str) -> Result<Next, Failure> {
    match sent {
        Ok(reply) => Ok(told(seen, &reply.document)),
        Err(failure) if install::is_about_the_package(&failure) => {
            let (status, wrong) = failure::inside(failure, seen);
            Ok(Next::Show(draw_versions(seen, Some(wrong), path).await?.with_status(status)))
        }
        Err(failure) => Err(failure),
    }
}

fn told(seen: &Seen, upgraded: &Value) -> Next {
    let text = |field: &str| upgraded[field].as_str().unwrap_or_default().to_owned();
    let (from, to) = (text("from_version"), text("to_version"));
    let name = seen.name();
    if let Some(why) = upgraded["rolled_back"].as_str() {
        return done_but(home(seen), format!("Version {to} did not come up, and {from} is back: {why}"));
    }
    if upgraded["done"] == json!(false) {
        let change = &upgraded["publisher_change"];
        let why = match (change["from_publisher"].as_str(), change["to_publisher"].as_str()) {
            (Some(before), Some(now)) => format!("is by another publisher, {now} instead of {before}"),
            _ => "asks for more".to_owned(),
        };
        let text = format!("Version {to} {why}. {from} goes on running until you decide.");
        return done_but(format!("{}/grants", home(seen)), text);
    }
    match from == to {
        true => done(home(seen), format!("{name} is version {to} already.")),
        false => done(home(seen), format!("{name} is version {to} now, and was {from}.")),
    }
}

/// Drops the version that waits, and no other than the one that the form was made from.
pub(crate) async fn abandon_upgrade(act: Act) -> Result<Next, Failure> {
    let reply = act.send(Question { version: act.version(), ..Question::default() }).await?;
    let installed = reply.document.get("version").and_then(Value::as_str).unwrap_or_default();
    let text =
        format!("The version that waited is refused, and nothing of it is kept. {installed} stays in place.");
    Ok(done(home(&act.seen), text))
}

pub(crate) async fn rollback(act: Act) -> Result<Next, Failure> {
    let reply = act.send(Question::default()).await?;
    Ok(told(&act.seen, &reply.document))
}

/// Asks before a plugin is removed.
pub(crate) async fn before_uninstall(seen: Arc<Seen>) -> Result<Page, Failure> {
    let details = seen.host.show(seen.name()).await?;
    let name = &details.name;
    let body = html! {
        section.card aria-labelledby="end" {
            h2 id="end" { "Uninstall " (name) "?" }
            p { "It is stopped, and its package, its permissions, its configuration and its log are removed. What it did stays in the audit trail." }
            (seen.form(&format!("/plugins/{name}/uninstall"), html! {
                p.choice {
                    input type="checkbox" id="keep-data" name="keep_data" value="yes";
                    label for="keep-data" { "Keep its private data for a later installation by the same publisher" }
                }
                div.field {
                    label for="name-again" { "Type its name to confirm" }
                    input id="name-again" name="name" autocomplete="off" autocapitalize="none" spellcheck="false" required;
                }
                p.row {
                    button.danger type="submit" { "Uninstall " (name) }
                    a.button href={ (ROOT) "/plugins/" (name) } { "Keep it" }
                }
            }))
        }
    };
    Ok(super::page(&seen, &details, Tab::Overview, &body))
}

pub(crate) async fn uninstall(act: Act) -> Result<Next, Failure> {
    let name = act.seen.name();
    let typed = act.form.text("name").unwrap_or_default().trim();
    if typed != name {
        let message = format!("'{}' is not its name: nothing was removed", plain(typed, LONG_MAX_CHARS).0);
        return Err(Failure::new(ErrorCode::Usage, message).hint(format!("go back and type {name}")));
    }
    let query = if act.form.has("keep_data") { "keep_data=true" } else { "" };
    act.send(Question { query, ..Question::default() }).await?;
    Ok(done(ROOT, format!("{name} is uninstalled.")))
}
