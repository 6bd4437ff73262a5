//! What failed, as a page: what was refused or failed, by which rule, and what to do next.

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use maud::{Markup, html};
use ringfence_api::ErrorCode;

use super::layout::{self, Section};
use super::seen::Seen;
use super::text::{long, shown};
use super::view::{Page, correlation_of};
use super::{LOGIN_PATH, ROOT};
use crate::api::{Failure, Told};

/// The page of a failure for whoever is not known.
pub(crate) fn refused(failure: Failure, correlation_id: &str) -> Response<Body> {
    let told = failure.told(correlation_id);
    let way = html! {
        @if told.detail.code == ErrorCode::Unauthenticated.as_str() {
            p { a.button href=(LOGIN_PATH) { "Sign in" } }
        } @else {
            p { a href=(ROOT) { "To the dashboard" } }
        }
    };
    layout::respond_to_strangers(told.status, title(&told), body(&told, &way), told.header)
}

/// The page of an address at which there is nothing.
pub(crate) fn not_found(request: &Request) -> Response<Body> {
    refused(nothing(), &correlation_of(request.extensions()))
}

pub(super) fn nothing() -> Failure {
    Failure::new(ErrorCode::NotFound, "there is no page at this address")
}

/// The page of a failure for whoever is signed in.
pub(super) fn in_frame(seen: &Seen, failure: Failure) -> Response<Body> {
    let told = for_people(failure, &seen.caller().correlation_id);
    let name = seen.name();
    let way = html! {
        @if !name.is_empty() && told.detail.code != ErrorCode::NotFound.as_str() {
            p { a.button.quiet href={ (ROOT) "/plugins/" (name) } { "Back to the plugin" } }
        } @else {
            p { a.button.quiet href=(ROOT) { "Back to all plugins" } }
        }
    };
    let page = Page::new(title(&told), Section::None, body(&told, &way)).with_status(told.status);
    let mut response = layout::respond(seen, page);
    if let Some((name, value)) = told.header {
        response.headers_mut().insert(name, value);
    }
    response
}

/// What failed, for a page that goes on with a form.
pub(crate) fn inside(failure: Failure, seen: &Seen) -> (axum::http::StatusCode, Markup) {
    let told = for_people(failure, &seen.caller().correlation_id);
    let box_ = html! {
        div.notice.failed role="alert" {
            p { strong { (title(&told)) ": " } (long(&told.detail.message)) }
            @if let Some(hint) = &told.detail.hint { p { (long(hint)) } }
        }
    };
    (told.status, box_)
}

/// What is told of a failure to whoever looks at a page, where that is not what a program is told.
fn for_people(failure: Failure, correlation_id: &str) -> Told {
    let code = failure.error.code();
    let mut told = failure.told(correlation_id);
    if code == ErrorCode::Conflict && told.detail.hint.as_ref().is_some_and(|hint| hint.contains("If-Match"))
    {
        told.detail.hint =
            Some("look at what there is now, and send it again if you still mean it".to_owned());
    }
    // Where in a document that nobody has typed something stands helps nobody who has filled in a form.
    if let Some(message) = told.detail.message.strip_prefix("in the body: ") {
        let end = message.rfind(" at line ").filter(|_| code == ErrorCode::Usage).unwrap_or(message.len());
        told.detail.message = message.get(..end).unwrap_or(message).to_owned();
    }
    told
}

fn body(told: &Told, way: &Markup) -> Markup {
    html! {
        h1 { (title(told)) }
        div.notice.failed role="alert" {
            p { (long(&told.detail.message)) }
            @if let Some(hint) = &told.detail.hint { p { (long(hint)) } }
        }
        (way)
        p.faint {
            "Code " code { (told.detail.code) }
            @if !told.detail.correlation_id.is_empty() {
                ", request " code { (shown(&told.detail.correlation_id)) }
            }
        }
    }
}

fn title(told: &Told) -> &'static str {
    let code = told.detail.code.parse().unwrap_or(ErrorCode::Internal);
    match code {
        ErrorCode::Unauthenticated => "Sign in first",
        ErrorCode::Forbidden | ErrorCode::PermissionDenied | ErrorCode::PolicyDenied => "Not allowed",
        ErrorCode::NotFound | ErrorCode::PathNotFound => "Not found",
        ErrorCode::Conflict => "Changed meanwhile",
        ErrorCode::Busy | ErrorCode::RateLimited => "Busy",
        ErrorCode::ConsentRequired => "Waits for consent",
        ErrorCode::Internal | ErrorCode::Io => "Something is wrong here",
        _ if told.status.is_client_error() => "Not accepted",
        _ => "It did not work",
    }
}
