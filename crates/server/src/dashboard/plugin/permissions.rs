//! What a plugin asks for and what it is allowed: consent, in the words of the question that the command line asks, and revoking.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use maud::{Markup, html};
use ringfence::consent::{Asked, ConsentRequest, FINDINGS_SHOWN_MAX};
use ringfence::plugin::{GrantInfo, PluginDetails, PolicyEffect, PolicyNote};
use ringfence_api::{ErrorCode, HookKind, OnFailure, Permission, PermissionName, PluginState};
use serde_json::json;

use super::super::form::Form;
use super::super::seen::{Act, Question, Seen, done, done_but};
use super::super::text::{LONG_MAX_CHARS, long, plain, shown, span, time};
use super::super::view::{Next, Page};
use super::super::{ROOT, failure, part};
use super::Tab;
use crate::api::Failure;

/// How long a handler may take that says nothing of it, in milliseconds.
const HOOK_TIMEOUT_MS: u64 = 5_000;

pub(crate) async fn page(seen: Arc<Seen>) -> Result<Page, Failure> {
    draw(&seen, None, None).await
}

/// What somebody has chosen in a form that was not taken.
struct Chosen {
    ticked: Vec<String>,
    more: String,
    /// Whether they want all boxes ticked, to look at that and then to send it.
    everything: bool,
}

impl Chosen {
    fn of(form: &Form) -> Self {
        let ticked = form.all("grant").map(str::to_owned).collect();
        let everything = form.text("tick") == Some("all");
        Self { ticked, more: form.text("more").unwrap_or_default().to_owned(), everything }
    }
}

/// Everything that the page is made from.
struct Drawn<'a> {
    seen: &'a Seen,
    details: &'a PluginDetails,
    version: String,
    chosen: Option<&'a Chosen>,
}

async fn draw(seen: &Seen, chosen: Option<&Chosen>, wrong: Option<Markup>) -> Result<Page, Failure> {
    // The version first: what changes in between makes it too old, not too new.
    let version = seen.ask("getGrants", Question::default()).await?.version.unwrap_or_default();
    let details = seen.host.show(seen.name()).await?;
    let drawn = Drawn { seen, details: &details, version, chosen };
    let asks_first = details.state == PluginState::Installed || details.pending.is_some();
    let body = html! {
        @if let Some(wrong) = wrong { (wrong) }
        @if asks_first || chosen.is_some() {
            (drawn.question())
            (drawn.granted())
        } @else {
            (drawn.granted())
            (drawn.question())
        }
    };
    Ok(super::page(seen, &details, Tab::Permissions, &body))
}

impl Drawn<'_> {
    fn may_change(&self) -> bool {
        self.seen.may("setGrants")
    }

    /// What it wants, what it can not do, what it starts; and the answer.
    fn question(&self) -> Markup {
        let asks = &self.details.asks;
        let title = match (&self.details.pending, self.details.state) {
            (Some(pending), _) => format!("Version {} waits for your consent", pending.version),
            (None, PluginState::Installed) => "Before it may run".to_owned(),
            (None, _) => "What it asks for".to_owned(),
        };
        let body = html! {
            h2 id="question" { (title) }
            @if self.details.pending.is_some() {
                p { "Version " (shown(&self.details.version)) " stays in place until you decide." }
            }
            @if let Some(change) = &asks.publisher_change {
                div.notice.warned {
                    p { "It is by another publisher: " (part::publisher(&change.to_publisher)) " instead of " (part::publisher(&change.from_publisher))
                        ". What was allowed to the other one is not allowed to it." }
                }
            }
            p { strong { (asks.name) " " (shown(&asks.version)) } ", by " (part::publisher(&asks.publisher)) ", "
                @if asks.is_empty() { "asks for no permission." } @else { "wants to:" } }
            @if self.may_change() { (self.form()) } @else { (self.items(false)) (self.facts()) }
        };
        html! { section.card aria-labelledby="question" { (body) } }
    }

    fn form(&self) -> Markup {
        let asks = &self.details.asks;
        let path = format!("/plugins/{}/grants", asks.name);
        let more = self.chosen.map_or_else(|| self.unasked(), |chosen| chosen.more.clone());
        let is_first = self.details.state == PluginState::Installed;
        let words = match (&self.details.pending, asks.is_empty()) {
            (Some(_), _) => "Allow selected and upgrade",
            (None, true) if is_first => "Let it run",
            (None, _) if is_first => "Allow selected",
            (None, _) => "Save what is ticked",
        };
        let fields = html! {
            input type="hidden" name="version" value=(self.version);
            (self.items(true))
            details.more id="more-permissions" open[!more.is_empty()] {
                summary { "Something else, or something narrower" }
                div.field {
                    label for="more" { "Other permissions, one a line" }
                    textarea id="more" name="more" spellcheck="false" aria-describedby="more-help" { (plain(&more, LONG_MAX_CHARS).0) }
                    p.faint id="more-help" { "As " code { "NAME" } " or " code { "NAME=SCOPE" } ", such as " code { "file:read=/srv/notes/**" } "." }
                }
            }
            (self.facts())
            p.row {
                button.main type="submit" { (words) }
                (self.instead())
                @if !asks.is_empty() && !self.everything() {
                    button.quiet type="submit" name="tick" value="all" formnovalidate { "Tick all that it asks for" }
                }
            }
            @if !is_first && self.details.pending.is_none() {
                p.faint { "What you untick is taken back at once." }
            }
            @if is_first {
                p.faint { "Until you decide, it stays installed and can not run. What you leave out you can allow later, and take back at any time." }
            }
        };
        self.seen.form(&path, fields)
    }

    /// What else can be done than to allow it: to refuse, which is an act and ends the waiting, or to decide later.
    fn instead(&self) -> Markup {
        let name = &self.details.name;
        let (seen, pending) = (self.seen, self.details.pending.is_some());
        html! {
            @if pending && seen.may("abandonUpgrade") {
                button type="submit" formaction={ (ROOT) "/plugins/" (name) "/upgrade/abandon" } formnovalidate {
                    "Refuse, and keep version " (shown(&self.details.version))
                }
            }
            @if !pending && self.details.state == PluginState::Installed && seen.may("uninstallPlugin") {
                a.button href={ (ROOT) "/plugins/" (name) "/uninstall" } { "Refuse, and uninstall …" }
            }
            @if pending || self.details.state == PluginState::Installed {
                a.button.quiet href={ (ROOT) "/plugins/" (name) } { "Decide later" }
            }
        }
    }

    fn everything(&self) -> bool {
        self.chosen.is_some_and(|chosen| chosen.everything)
    }

    /// What is granted although nobody asks for it, a line each.
    fn unasked(&self) -> String {
        let asked = self.details.asks.all();
        let others = self.details.grants.iter().filter(|grant| !asked.contains(&grant.permission));
        others.map(|grant| grant.permission.to_string()).collect::<Vec<_>>().join("\n")
    }

    /// What is asked for: what is new first when a version waits.
    fn items(&self, to_choose: bool) -> Markup {
        let asks = &self.details.asks;
        let all: Vec<(usize, &Asked)> = asks.asked.iter().enumerate().collect();
        let is_upgrade = self.details.pending.is_some();
        let (new, old): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, item)| !is_upgrade || item.new);
        let old_too = is_upgrade && !old.is_empty();
        html! {
            @if is_upgrade && !new.is_empty() { h3 { "New in this version" } }
            ul.asks { @for (number, item) in &new { (self.item(*number, item, to_choose)) } }
            @if old_too {
                h3 { "As before" }
                ul.asks { @for (number, item) in &old { (self.item(*number, item, to_choose)) } }
            }
        }
    }

    fn item(&self, number: usize, item: &Asked, to_choose: bool) -> Markup {
        let text = item.permission.to_string();
        let denied = item.policy.as_ref().is_some_and(|note| note.effect == PolicyEffect::Denied);
        let ticked = match self.chosen {
            Some(chosen) => chosen.everything || chosen.ticked.contains(&text),
            None => item.granted,
        };
        let id = format!("ask-{number}");
        let about = format!("{id}-about");
        html! {
            li.choice {
                @if to_choose {
                    input type="checkbox" id=(id) name="grant" value=(text) checked[ticked && !denied]
                        disabled[denied] aria-describedby=(about);
                }
                div {
                    label for=[to_choose.then_some(id.as_str())] {
                        (shown(&item.meaning)) (item.enforced.remark())
                    }
                    div.faint id=(about) {
                        p { code { (shown(&text)) }
                            @if item.optional { " " span.badge.idle { "optional" } }
                            @if item.granted { " " span.badge.good { "allowed" } }
                        }
                        @if let Some(reason) = &item.reason { p { "The author says: “" (shown(reason)) "”" } }
                        @if let Some(leads) = item.leads() { p { (shown(&leads)) } }
                        @for warning in &item.warnings { p.why { (long(warning)) } }
                        @if let Some(hook) = self.hook(&item.permission) { p { (hook) } }
                        @if let Some(note) = &item.policy { (policy(note)) }
                    }
                }
            }
        }
    }

    /// How it takes part in an event. Of a version that waits the manifest is not the one at hand.
    fn hook(&self, permission: &Permission) -> Option<String> {
        let is_hook = *permission.name() == PermissionName::HookRegister && self.details.pending.is_none();
        let event = permission.scope().filter(|_| is_hook)?;
        let hook = self.details.manifest.hooks.iter().find(|hook| hook.event == event)?;
        let does = match hook.kind {
            HookKind::Mutator => "may change what passes",
            HookKind::Guard => "may block what passes",
            HookKind::Observer => "sees what passes",
        };
        let blocks = match (hook.on_failure, hook.kind) {
            (Some(OnFailure::Block), _) | (None, HookKind::Guard) => "blocks when it fails",
            _ => "is passed over when it fails",
        };
        let within = span(hook.timeout_ms.unwrap_or(HOOK_TIMEOUT_MS));
        Some(format!("There it {does}, within {within}, and {blocks}."))
    }

    fn facts(&self) -> Markup {
        let asks = &self.details.asks;
        let found = ringfence::scan::lines(&asks.scan, FINDINGS_SHOWN_MAX);
        html! {
            h3 { "It can not" }
            ul.not { @for cannot in &asks.cannot { li { (shown(cannot)) } } }
            h3 { "It starts" }
            pre { code { (command(asks)) } }
            @if !found.is_empty() {
                h3 { "Its code, as far as it can be read without running it" }
                ul { @for line in &found { li { (long(line)) } } }
            }
            p.faint { "Package " code.digest { (shown(&asks.digest)) } }
        }
    }

    fn granted(&self) -> Markup {
        let grants = &self.details.grants;
        html! {
            section.card aria-labelledby="granted" id="granted-card" {
                h2 id="granted" { "Allowed now" }
                @if grants.is_empty() {
                    p.faint { "Nothing. It reaches its own data directory and nothing else." }
                } @else {
                    table.list {
                        caption.hidden { "What is allowed now" }
                        thead { tr { th scope="col" { "It may" } th scope="col" { "Since" } th scope="col" { "By" }
                            @if self.may_change() { th scope="col" { span.hidden { "Take back" } } } } }
                        tbody { @for grant in grants { (self.grant(grant)) } }
                    }
                }
            }
        }
    }

    fn grant(&self, grant: &GrantInfo) -> Markup {
        let text = grant.permission.to_string();
        let path = format!("/plugins/{}/grants/revoke", self.details.name);
        html! {
            tr {
                th scope="row" {
                    (shown(&grant.meaning)) (grant.enforced.remark())
                    p.faint { code { (shown(&text)) } }
                    @if let Some(place) = &grant.place { p.why { (long(&place.line())) } }
                    @if let Some(note) = &grant.policy { (policy(note)) }
                }
                td data-label="Since" { (time(grant.granted_at_ms)) }
                td data-label="By" { (shown(&grant.granted_by)) }
                @if self.may_change() {
                    td {
                        (self.seen.form(&path, html! {
                            input type="hidden" name="version" value=(self.version);
                            input type="hidden" name="grant" value=(text);
                            button.danger.small type="submit" aria-label={ "Revoke " (plain(&text, LONG_MAX_CHARS).0) } { "Revoke" }
                        }))
                    }
                }
            }
        }
    }
}

fn policy(note: &PolicyNote) -> Markup {
    html! {
        @for because in &note.because { p.why { (shown(because)) } }
        @if !note.kept.is_empty() { p.why { "What is left: " (shown(&note.kept.join(", "))) } }
    }
}

fn command(asks: &ConsentRequest) -> Markup {
    html! { @for (number, word) in asks.command.iter().enumerate() { @if number > 0 { " " } (long(word)) } }
}

/// Where the path leads, if elsewhere than it says. Looked at with the rights of the daemon, and followed by nobody.
async fn leads(permission: Permission) -> Option<String> {
    tokio::task::spawn_blocking(move || lead(&permission)).await.ok().flatten()
}

fn lead(permission: &Permission) -> Option<String> {
    let is_file = matches!(
        permission.name(),
        PermissionName::FileRead | PermissionName::FileWrite | PermissionName::FileDelete
    );
    let scope = permission.scope().filter(|scope| is_file && scope.starts_with('/'))?;
    let mut place = PathBuf::from("/");
    for part in Path::new(scope).components().skip(1) {
        if part.as_os_str().to_string_lossy().contains('*') {
            break;
        }
        place.push(part);
    }
    match place.canonicalize() {
        Ok(real) if real == place => None,
        Ok(real) => Some(format!("{} leads to {}", place.display(), real.display())),
        Err(_) => Some(format!("{} is not there now", place.display())),
    }
}

/// Allows exactly what was chosen.
pub(crate) async fn set(act: Act) -> Result<Next, Failure> {
    let chosen = Chosen::of(&act.form);
    if chosen.everything {
        // Nothing is allowed by it. No address does the same: a link of somebody else must not fill in a consent.
        return Ok(Next::Show(draw(&act.seen, Some(&chosen), None).await?));
    }
    let before = act.seen.host.show(act.seen.name()).await?;
    let more = chosen.more.lines().map(str::trim).filter(|line| !line.is_empty());
    let wanted: Vec<&str> = chosen.ticked.iter().map(String::as_str).chain(more).collect();
    let body = json!({"permissions": wanted});
    let sent = act.send(Question { version: act.version(), body: Some(&body), ..Question::default() }).await;
    match sent {
        Ok(_) => told(&act, &before).await,
        Err(failure) => refused(&act, failure, &chosen).await,
    }
}

/// What came of it.
async fn told(act: &Act, before: &PluginDetails) -> Result<Next, Failure> {
    let after = act.seen.host.show(act.seen.name()).await?;
    let name = &after.name;
    let to = format!("{ROOT}/plugins/{name}");
    Ok(match &before.pending {
        Some(pending) if after.version == pending.version => {
            done(to, format!("{name} is version {} now, with what you have allowed.", after.version))
        }
        Some(pending) => {
            let why = after.reason.as_deref().unwrap_or("it did not come up");
            done_but(
                to,
                format!("Version {} was not taken, and {} runs on: {why}", pending.version, after.version),
            )
        }
        None if after.state == PluginState::Inactive => {
            let count = after.grants.len();
            done(
                to,
                format!(
                    "{name} may do what you have chosen ({count}). It does not run until you activate it."
                ),
            )
        }
        None => done(format!("{to}/grants"), format!("{name} may do what you have chosen, from now on.")),
    })
}

/// The form again, with what was chosen and what is wrong.
async fn refused(act: &Act, failure: Failure, chosen: &Chosen) -> Result<Next, Failure> {
    let kept = matches!(
        failure.error.code(),
        ErrorCode::Conflict
            | ErrorCode::Usage
            | ErrorCode::InvalidPermission
            | ErrorCode::Floor
            | ErrorCode::PathNotFound
            | ErrorCode::PolicyDenied
    );
    if !kept {
        return Err(failure);
    }
    let is_stale = failure.error.code() == ErrorCode::Conflict;
    let (status, told) = failure::inside(failure, &act.seen);
    let wrong = html! {
        (told)
        @if is_stale {
            div.notice.warned { p { "Below is what is allowed now, and what you have ticked. Send it again if that is still what you want." } }
        }
    };
    Ok(Next::Show(draw(&act.seen, Some(chosen), Some(wrong)).await?.with_status(status)))
}

/// The permissions that there are, without or with one more.
fn others(
    details: &PluginDetails,
    without: Option<&Permission>,
    with: Option<&Permission>,
) -> serde_json::Value {
    let kept = details.grants.iter().map(|grant| &grant.permission).filter(|one| Some(*one) != without);
    let all: Vec<String> = kept.chain(with).map(ToString::to_string).collect();
    json!({"permissions": all})
}

/// The permission that a form is about.
fn permission(text: Option<&str>) -> Result<Permission, Failure> {
    let text = text.unwrap_or_default();
    text.parse::<Permission>().map_err(|error| {
        Failure::new(
            ErrorCode::InvalidPermission,
            format!("'{}' is no permission: {error}", plain(text, 200).0),
        )
    })
}

/// Whether consent is still to be given, to the plugin or to an upgrade of it: then all that it asks for is judged at once.
fn awaits_consent(details: &PluginDetails) -> bool {
    details.pending.is_some() || matches!(details.state, PluginState::Installed | PluginState::Discovered)
}

/// # Errors
/// `conflict` while consent is still to be given.
fn only_after_consent(details: &PluginDetails) -> Result<(), Failure> {
    if !awaits_consent(details) {
        return Ok(());
    }
    let message = format!("{} waits for consent to all that it asks for", details.name);
    Err(Failure::new(ErrorCode::Conflict, message)
        .hint("decide about that on its page Permissions; a single permission can be given afterwards"))
}

/// Takes one permission back.
pub(crate) async fn revoke(act: Act) -> Result<Next, Failure> {
    let taken = permission(act.form.text("grant"))?;
    let details = act.seen.host.show(act.seen.name()).await?;
    if details.pending.is_some() {
        // Setting all of them would be the consent that the upgrade waits for.
        act.seen.host.revoke(details.name.as_str(), std::slice::from_ref(&taken)).await?;
    } else {
        let body = others(&details, Some(&taken), None);
        act.send(Question { version: act.version(), body: Some(&body), ..Question::default() }).await?;
    }
    let name = &details.name;
    Ok(done(format!("{ROOT}/plugins/{name}/grants"), format!("{name} has lost {taken}, at once.")))
}

/// Shows one permission and asks whether it shall be given. It is the answer to a form of this session: at an address, a link of
/// somebody else could fill in what is asked.
pub(crate) async fn ask_for_one(act: Act) -> Result<Next, Failure> {
    let seen = &act.seen;
    let wanted = permission(act.form.text("permission"))?;
    let version = seen.ask("getGrants", Question::default()).await?.version.unwrap_or_default();
    let details = seen.host.show(seen.name()).await?;
    only_after_consent(&details)?;
    let asked = Asked::new(wanted.clone(), details.runtime, false, None);
    let text = wanted.to_string();
    let leads = leads(wanted).await;
    let name = &details.name;
    let body = html! {
        section.card aria-labelledby="one" {
            h2 id="one" { "Let " (name) " do more?" }
            p { "It would be allowed to:" }
            p.lead { strong { (shown(&asked.meaning)) (asked.enforced.remark()) } }
            p { code { (shown(&text)) } }
            @if let Some(leads) = leads { p.why { (shown(&leads)) } }
            @if details.grants.iter().any(|grant| grant.permission == asked.permission) {
                p.why { "This is allowed already." }
            }
            p.faint { "From the moment you allow it, and until you take it back." }
            (seen.form(&format!("/plugins/{name}/grants/add"), html! {
                input type="hidden" name="version" value=(version);
                input type="hidden" name="grant" value=(text);
                p.row {
                    button.main type="submit" { "Allow this" }
                    a.button href={ (ROOT) "/plugins/" (name) "/denials" } { "Leave it refused" }
                }
            }))
        }
    };
    Ok(Next::Show(super::page(seen, &details, Tab::Permissions, &body)))
}

/// Gives one permission more.
pub(crate) async fn add(act: Act) -> Result<Next, Failure> {
    let given = permission(act.form.text("grant"))?;
    let details = act.seen.host.show(act.seen.name()).await?;
    only_after_consent(&details)?;
    let body = others(&details, Some(&given), Some(&given));
    act.send(Question { version: act.version(), body: Some(&body), ..Question::default() }).await?;
    let name = &details.name;
    Ok(done(format!("{ROOT}/plugins/{name}/grants"), format!("{name} may use {given} from now on.")))
}
