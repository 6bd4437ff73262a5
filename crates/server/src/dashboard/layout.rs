//! The frame of all pages: head, navigation, notice, main part.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use maud::{DOCTYPE, Markup, html};

use super::seen::Seen;
use super::session::{Notice, NoticeKind};
use super::text::long;
use super::view::Page;
use super::{LOGOUT_PATH, ROOT, asset};

/// The parts of the dashboard, as the navigation has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Plugins,
    Install,
    Hooks,
    Activity,
    Runs,
    Audit,
    Tokens,
    /// Of none.
    None,
}

/// What the navigation leads to: section, path below `/dashboard`, words, and the operation that one must be allowed.
const NAVIGATION: [(Section, &str, &str, &str); 7] = [
    (Section::Plugins, "", "Plugins", "listPlugins"),
    (Section::Install, "/install", "Install", "installPlugin"),
    (Section::Hooks, "/hooks", "Hooks", "listHooks"),
    (Section::Activity, "/activity", "Activity", "listExecutions"),
    (Section::Runs, "/runs", "Runs", "listRuns"),
    (Section::Audit, "/audit", "Audit", "listAudit"),
    (Section::Tokens, "/tokens", "Tokens", "listTokens"),
];

/// A page for whoever is signed in.
pub(super) fn respond(seen: &Seen, page: Page) -> Response<Body> {
    let notice = seen.take_notice();
    let body = html! {
        @if let Some(notice) = &notice { (notice_box(notice)) }
        (page.body)
    };
    let whole = whole(&page.title, Some((seen, &page)), &body);
    html_response(page.status, whole)
}

/// A page for whoever is not.
pub(super) fn respond_to_strangers(
    status: StatusCode,
    title: &str,
    body: Markup,
    header: Option<(HeaderName, HeaderValue)>,
) -> Response<Body> {
    let narrow = html! { div.narrow { (body) } };
    let mut response = html_response(status, whole(title, None, &narrow));
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, value);
    }
    response
}

fn html_response(status: StatusCode, page: Markup) -> Response<Body> {
    let mut response = Response::new(Body::from(page.into_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn whole(title: &str, viewer: Option<(&Seen, &Page)>, body: &Markup) -> Markup {
    let live = viewer.map(|(_, page)| format!("{ROOT}{}", page.stream));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Ringfence" }
                link rel="icon" href=(asset::ICON.path()) type="image/svg+xml";
                link rel="stylesheet" href=(asset::STYLE.path());
                script src=(asset::SCRIPT.path()) defer {}
            }
            body data-stream=[live] {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href=(ROOT) { (asset::mark()) "Ringfence" }
                    @if let Some((seen, page)) = viewer { (navigation(seen, page.section)) }
                }
                main id="main" tabindex="-1" { (body) }
            }
        }
    }
}

fn navigation(seen: &Seen, section: Section) -> Markup {
    let who = match (&seen.caller().plugin, seen.caller().role) {
        (None, role) => role.to_string(),
        (Some(plugin), role) => format!("{role}, {plugin} only"),
    };
    html! {
        nav aria-label="Main" {
            @for (known, path, words, operation) in NAVIGATION {
                @if seen.may(operation) {
                    a href={ (ROOT) (path) } aria-current=[(known == section).then_some("page")] { (words) }
                }
            }
        }
        div.who {
            a href={ (ROOT) "/sessions" } title={ "You are signed in as " (seen.caller().actor) ". Sessions" } { (who) }
            (seen.form(LOGOUT_PATH.strip_prefix(ROOT).unwrap_or_default(), html! {
                button.quiet type="submit" { "Sign out" }
            }))
        }
    }
}

fn notice_box(notice: &Notice) -> Markup {
    let (class, role) = match notice.kind {
        NoticeKind::Done => ("notice done", "status"),
        NoticeKind::Warning => ("notice warned", "alert"),
    };
    html! { div class=(class) role=(role) { p { (long(&notice.text)) } } }
}
