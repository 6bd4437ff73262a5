//! Installing: the packages that are at hand, and the way to one that is elsewhere. Consent is asked for on the plugin's own page.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use maud::{Markup, html};
use ringfence::archive::ARCHIVE_BYTES_MAX;
use ringfence::plugin::{PluginSummary, Scan};
use ringfence_api::text::shell_word;
use ringfence_api::{ErrorCode, PluginState};
use semver::Version;
use serde_json::{Value, json};

use super::layout::Section;
use super::seen::{Act, Question, Reply, Seen, done};
use super::text::{LONG_MAX_CHARS, bytes, long, plain, shown};
use super::view::{Next, Page};
use super::{ROOT, failure, part};
use crate::api::Failure;

/// Entries of one directory that are looked at.
const ENTRIES_MAX: usize = 500;
/// Packages that are offered.
const OFFERS_MAX: usize = 200;

/// A package that can be installed from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) runtime: String,
    pub(super) description: Option<String>,
    pub(super) path: String,
}

impl Offer {
    pub(super) fn is_older_than(&self, version: &str) -> bool {
        matches!((self.version.parse::<Version>(), version.parse::<Version>()), (Ok(own), Ok(other)) if own < other)
    }
}

/// The packages in the directories that the server's configuration names.
pub(super) async fn offers(seen: &Seen) -> Vec<Offer> {
    let from = seen.api().install_from.clone();
    tokio::task::spawn_blocking(move || look(&from)).await.unwrap_or_default()
}

fn look(from: &[PathBuf]) -> Vec<Offer> {
    let mut all = Vec::new();
    for directory in from {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().take(ENTRIES_MAX).map(|entry| entry.path()).collect();
        paths.sort();
        all.extend(paths.iter().filter_map(|path| offer(path)));
    }
    all.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    all.truncate(OFFERS_MAX);
    all
}

fn offer(path: &Path) -> Option<Offer> {
    // A link is not followed: where it leads the server would not install from.
    if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return None;
    }
    let manifest = ringfence::manifest::load(path).ok()?.manifest;
    Some(Offer {
        name: manifest.name.to_string(),
        version: manifest.version.to_string(),
        runtime: manifest.runtime.to_string(),
        description: manifest.description,
        path: path.to_str()?.to_owned(),
    })
}

/// Whether a failure is about the package or where it is, so that the form is shown again.
pub(super) fn is_about_the_package(failure: &Failure) -> bool {
    matches!(
        failure.error.code(),
        ErrorCode::Usage
            | ErrorCode::Forbidden
            | ErrorCode::PathNotFound
            | ErrorCode::InvalidManifest
            | ErrorCode::InvalidPackage
            | ErrorCode::AlreadyInstalled
            | ErrorCode::TooLarge
    )
}

/// Where somebody chooses a package on their own machine.
pub(super) fn file_field() -> Markup {
    html! {
        div.field {
            label for="package" { "Package" }
            input id="package" name="package" type="file" required accept=".gz,.tgz,.tar,application/gzip,application/x-tar"
                aria-describedby="package-help";
            p.faint id="package-help" {
                "A " code { ".tar.gz" } " or " code { ".tar" } " of the plugin’s directory, up to " (bytes(ARCHIVE_BYTES_MAX)) "; "
                code { "tar czf plugin.tar.gz DIRECTORY" } " makes one."
            }
        }
    }
}

/// A form in which somebody types the path of a package, with what else belongs to it; where no path would be taken, what to do.
pub(super) fn path_form(seen: &Seen, action: &str, value: &str, more: &Markup, button: &str) -> Markup {
    let from: Vec<String> = seen.api().install_from.iter().map(|path| path.display().to_string()).collect();
    if from.is_empty() {
        let (command, then) = match action {
            "/plugins" => ("ringfence install DIRECTORY", ", and the plugin appears here"),
            _ => ("ringfence upgrade DIRECTORY", ""),
        };
        return html! {
            p.faint {
                "No directory is open for this yet. Run " code { (command) }
                " on the daemon’s machine" (then) "; or write "
                code { "install_from = [\"/srv/packages\"]" } " under " code { "[server]" }
                " of config.toml and start the daemon again."
            }
        };
    }
    seen.form(action, html! {
        div.field {
            label for="path" { "Directory of the package" }
            input id="path" name="path" required autocomplete="off" spellcheck="false" aria-describedby="path-help"
                value=(plain(value, LONG_MAX_CHARS).0) maxlength="4096";
            p.faint id="path-help" {
                "Absolute, and below " @for (number, path) in from.iter().enumerate() { @if number > 0 { " or " } code { (shown(path)) } } "."
            }
        }
        (more)
        p.row { button type="submit" { (button) } }
    })
}

pub(super) async fn page(seen: Arc<Seen>) -> Result<Page, Failure> {
    draw(&seen, None, "", None).await
}

async fn draw(seen: &Seen, wrong: Option<Markup>, path: &str, scan: Option<&Scan>) -> Result<Page, Failure> {
    let offers = offers(seen).await;
    let installed = seen.host.list().await?;
    let body = html! {
        h1 { "Install a plugin" }
        p.intro { "A package is copied and checked first. Nothing of it runs before you have seen what it asks for, and have allowed it." }
        @if let Some(wrong) = wrong { (wrong) }
        @if !offers.is_empty() { (at_hand(seen, &offers, &installed)) }
        section.card aria-labelledby="upload" {
            h2 id="upload" { "From your computer" }
            (seen.form_with_file("/install/upload", html! {
                (file_field())
                p.row { button.main type="submit" { "Upload and check" } }
            }))
        }
        section.card aria-labelledby="elsewhere" {
            h2 id="elsewhere" { "From the daemon’s machine" }
            @if offers.is_empty() && !seen.api().install_from.is_empty() {
                p.faint { "No package lies in the directories from which packages may be installed here." }
            }
            (path_form(seen, "/plugins", path, &html! {}, "Install"))
        }
        @if seen.may("scanPlugins") {
            section.card aria-labelledby="scan" {
                h2 id="scan" { "In the plugin directories" }
                @match scan {
                    None => {
                        p.faint { "Looks through the directories of plugins for packages that are not installed yet, and says what is wrong with those that are broken." }
                        (seen.form("/install/scan", html! { p.row { button type="submit" { "Scan" } } }))
                    }
                    Some(scan) => { (found(scan)) }
                }
            }
        }
    };
    Ok(Page::new("Install", Section::Install, body))
}

/// What can be installed with one button.
fn at_hand(seen: &Seen, offers: &[Offer], installed: &[PluginSummary]) -> Markup {
    let state = |name: &str| installed.iter().find(|plugin| plugin.name.as_str() == name);
    html! {
        section.card aria-labelledby="at-hand" {
            h2 id="at-hand" { "At hand" }
            table.list {
                caption.hidden { "Packages at hand" }
                thead { tr { th scope="col" { "Package" } th scope="col" { "Version" } th scope="col" { "Runtime" } th scope="col" { span.hidden { "Install" } } } }
                tbody {
                    @for offer in offers {
                        tr {
                            th scope="row" {
                                (shown(&offer.name))
                                @if let Some(description) = &offer.description { p.faint { (shown(description)) } }
                                p.faint { code { (shown(&offer.path)) } }
                            }
                            td data-label="Version" { (shown(&offer.version)) }
                            td data-label="Runtime" { (shown(&offer.runtime)) }
                            td.act {
                                @match state(&offer.name) {
                                    None => {
                                        (seen.form("/plugins", html! {
                                            input type="hidden" name="path" value=(offer.path);
                                            button.main.small type="submit" aria-label={ "Install " (offer.name) " " (plain(&offer.version, 100).0) } { "Install" }
                                        }))
                                    }
                                    Some(known) if known.version == offer.version => { span.badge.idle { "installed" } }
                                    Some(_) => { a href={ (ROOT) "/plugins/" (offer.name) "/upgrade" } { "Another version" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn found(scan: &Scan) -> Markup {
    html! {
        @if scan.found.is_empty() && scan.broken.is_empty() {
            p { "There is nothing that is not installed." }
        }
        @if !scan.found.is_empty() {
            table.list {
                caption.hidden { "Packages that were found" }
                thead { tr { th scope="col" { "Package" } th scope="col" { "Version" } th scope="col" { "How to take it" } } }
                tbody {
                    @for one in scan.found.iter().take(OFFERS_MAX) {
                        tr {
                            th scope="row" {
                                (one.name) " " @if one.state != PluginState::Discovered { (part::state(one.state)) }
                                p.faint { code { (shown(&one.path)) } }
                                @if let Some(report) = &one.scan {
                                    @for line in ringfence::scan::lines(report, 3) { p.faint { (shown(&line)) } }
                                }
                            }
                            td data-label="Version" { (shown(&one.version)) }
                            td data-label="How to take it" {
                                code { @if one.installed_version.is_some() { "ringfence upgrade " } @else { "ringfence install " } (shown(&shell_word(&one.path))) }
                            }
                        }
                    }
                }
            }
        }
        @if !scan.broken.is_empty() {
            h3 { "Broken" }
            ul { @for one in scan.broken.iter().take(OFFERS_MAX) { li { code { (shown(&one.path)) } p.faint { (long(&one.message)) } } } }
        }
    }
}

/// Installs a package. Nobody has been asked yet: what it asks for stands on the next page.
pub(super) async fn install(act: Act) -> Result<Next, Failure> {
    let path = act.form.text("path").unwrap_or_default().to_owned();
    let body = json!({"path": path});
    let sent = act.send(Question { body: Some(&body), ..Question::default() }).await;
    told(&act.seen, sent, &path).await
}

/// Installs a package that comes with the form.
pub(super) async fn upload(act: Act, file: Option<Body>) -> Result<Next, Failure> {
    let sent = act.send_file("", file).await;
    told(&act.seen, sent, "").await
}

async fn told(seen: &Seen, sent: Result<Reply, Failure>, path: &str) -> Result<Next, Failure> {
    let reply = match sent {
        Ok(reply) => reply,
        Err(failure) if is_about_the_package(&failure) => {
            let (status, wrong) = failure::inside(failure, seen);
            return Ok(Next::Show(draw(seen, Some(wrong), path, None).await?.with_status(status)));
        }
        Err(failure) => return Err(failure),
    };
    let name = reply.document.pointer("/plugin/name").and_then(Value::as_str).unwrap_or_default();
    if reply.document.get("changed") == Some(&Value::Bool(false)) {
        return Ok(done(
            format!("{ROOT}/plugins/{name}"),
            format!("This package of {name} is installed already."),
        ));
    }
    Ok(done(
        format!("{ROOT}/plugins/{name}/grants"),
        format!("{name} is installed. It has not run yet: look at what it asks for."),
    ))
}

/// Shows what lies in the plugin directories.
pub(super) async fn scan(act: Act) -> Result<Next, Failure> {
    let _one_of_few = act.seen.api().long_look()?;
    let scan = act.seen.host.scan().await?;
    Ok(Next::Show(draw(&act.seen, None, "", Some(&scan)).await?))
}
