//! How people come in and go: a token that they paste, a one-time link, and the end of a session.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{LOCATION, REFERRER_POLICY, REFRESH, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use maud::{Markup, html};
use ringfence_api::ErrorCode;

use super::form::Form;
use super::session::{Opener, Whence};
use super::view::{correlation_of, is_from_elsewhere, posted};
use super::{Dashboard, LOGIN_PATH, LOGOUT_PATH, ROOT, failure, layout};
use crate::api::Failure;
use crate::listen::Peer;

/// The longest address to which a sign-in leads back.
const THEN_MAX_BYTES: usize = 512;
/// The longest token that is looked at.
const TOKEN_MAX_BYTES: usize = 512;

/// Another page.
pub(super) fn go(to: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_str(to).unwrap_or_else(|_| HeaderValue::from_static(ROOT)));
    response
}

/// Nobody is signed in where somebody must be.
pub(super) fn no_session() -> Failure {
    Failure::new(ErrorCode::Unauthenticated, "your session has ended, or was never begun")
        .hint("nothing was changed; sign in and do it again")
}

/// The answer to whoever looks and is not signed in.
pub(super) fn outside(parts: &Parts) -> Response<Body> {
    let here = parts.uri.path_and_query().map_or(ROOT, axum::http::uri::PathAndQuery::as_str);
    if is_from_elsewhere(parts) {
        // The cookie stays at home when a page of another site leads here. Asked again from here, it comes along.
        let again = format!("0;url={}", local(here));
        let body = html! { h1 { "One moment" } p { a href=(local(here)) { "Go on to the dashboard" } } };
        let mut response = layout::respond_to_strangers(StatusCode::OK, "One moment", body, None);
        if let Ok(again) = HeaderValue::from_str(&again) {
            response.headers_mut().insert(REFRESH, again);
        }
        return response;
    }
    match local(here) {
        ROOT => go(LOGIN_PATH),
        here => {
            go(&format!("{LOGIN_PATH}?{}", serde_urlencoded::to_string([("then", here)]).unwrap_or_default()))
        }
    }
}

/// An address of ours, and of nobody else.
fn local(address: &str) -> &str {
    let plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'<' | b'>' | b'"' | b'\'' | b'#');
    let path = address.split('?').next().unwrap_or_default();
    let is_page = super::owns(path) && ![LOGIN_PATH, LOGOUT_PATH, super::LINK_PATH].contains(&path);
    let ours = is_page && address.len() <= THEN_MAX_BYTES && address.bytes().all(plain);
    if ours && !address.starts_with("//") { address } else { ROOT }
}

/// The page on which a token is pasted.
pub(super) async fn page(dashboard: Arc<Dashboard>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let query: Vec<(String, String)> =
        serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap_or_default();
    let then = query.iter().find(|(name, _)| name == "then").map_or(ROOT, |(_, then)| local(then));
    match dashboard.enter(&parts).await {
        Ok(Some(_)) => go(then),
        Ok(None) => login(StatusCode::OK, None, then),
        Err(failure) => failure::refused(failure, &correlation_of(&parts.extensions)),
    }
}

/// Takes a pasted token.
pub(super) async fn sign_in(dashboard: Arc<Dashboard>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let refused = |failure| failure::refused(failure, &correlation_of(&parts.extensions));
    let form = match posted(&dashboard, &parts.headers, body).await {
        Ok(form) => form,
        Err(failure) => return refused(failure),
    };
    let then = form.text("then").map_or(ROOT, local).to_owned();
    match opener_of(&dashboard, &parts, &form).await {
        Ok(opener) => begin(&dashboard, &parts, opener, &then).unwrap_or_else(refused),
        Err(failure) if failure.error.code() == ErrorCode::Unauthenticated => login(
            StatusCode::UNAUTHORIZED,
            Some("This token opens nothing. It may be mistyped, expired or revoked."),
            &then,
        ),
        Err(failure) => refused(failure),
    }
}

async fn opener_of(dashboard: &Dashboard, parts: &Parts, form: &Form) -> Result<Opener, Failure> {
    let token = form.text("token").unwrap_or_default().trim();
    let known = match token.len() <= TOKEN_MAX_BYTES {
        true => dashboard.api.host().check_token(token).await?,
        false => None,
    };
    match known {
        Some(known) => Ok(Opener::Token(known.id)),
        None => Err(wrong(dashboard, parts, "a wrong token")),
    }
}

/// Counts and records somebody who has shown what opens nothing.
fn wrong(dashboard: &Dashboard, parts: &Parts, what: &'static str) -> Failure {
    dashboard.api.guard.wrong(address(parts), what)
}

fn address(parts: &Parts) -> Option<IpAddr> {
    match parts.extensions.get::<Peer>() {
        Some(Peer::Tcp { address, .. }) => Some(address.ip()),
        _ => None,
    }
}

/// Begins a session under a new key, and leads to a page. Whatever sessions the browser had keys to end.
fn begin(
    dashboard: &Dashboard,
    parts: &Parts,
    opener: Opener,
    then: &str,
) -> Result<Response<Body>, Failure> {
    for before in dashboard.held(parts) {
        dashboard.sessions.end(before.id);
    }
    let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let key = dashboard.sessions.begin(opener.clone(), Whence::new(address(parts), agent))?;
    tracing::info!(?opener, "somebody signed in to the dashboard");
    let mut response = go(then);
    if let Some(peer) = parts.extensions.get::<Peer>().copied() {
        dashboard.cookie.set(response.headers_mut(), peer, key.reveal());
    }
    Ok(response)
}

/// Opens a one-time link.
pub(super) async fn open(dashboard: Arc<Dashboard>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let mut response = follow(&dashboard, &parts)
        .unwrap_or_else(|failure| failure::refused(failure, &correlation_of(&parts.extensions)));
    // Not even our own pages are told the address with the code.
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn follow(dashboard: &Dashboard, parts: &Parts) -> Result<Response<Body>, Failure> {
    // A browser that looks ahead, or something that only asks whether the address is there, uses nothing up.
    if parts.method != Method::GET || looks_ahead(&parts.headers) {
        return Err(Failure::new(ErrorCode::Busy, "a link is opened by a person"));
    }
    let query: Vec<(String, String)> =
        serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap_or_default();
    let code = query.iter().find(|(name, _)| name == "code").map_or("", |(_, code)| code.as_str());
    let Some(uid) = dashboard.api.links.take(code) else {
        let failure = wrong(dashboard, parts, "a wrong link to the dashboard");
        return Err(match failure.error.code() {
            ErrorCode::Unauthenticated => {
                let message = "this link has been used, has expired, or was never made";
                Failure::new(ErrorCode::Unauthenticated, message)
                    .hint("make another one: ringfence dashboard")
            }
            _ => failure,
        });
    };
    begin(dashboard, parts, Opener::Link { uid }, ROOT)
}

fn looks_ahead(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz"].iter().any(|name| {
        headers.get(*name).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains("prefetch"))
    })
}

/// Ends the session.
pub(super) async fn sign_out(dashboard: Arc<Dashboard>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let correlation_id = correlation_of(&parts.extensions);
    let refused = |failure| failure::refused(failure, &correlation_id);
    let entered = match dashboard.enter(&parts).await {
        Ok(Some(entered)) => entered,
        Ok(None) => return go(LOGIN_PATH),
        Err(failure) => return refused(failure),
    };
    let form = match posted(&dashboard, &parts.headers, body).await {
        Ok(form) => form,
        Err(failure) => return refused(failure),
    };
    if !form.text("csrf").is_some_and(|given| entered.held.has_made(given)) {
        let failure = Failure::new(ErrorCode::Forbidden, "this form is not one that your session has made");
        return refused(failure);
    }
    dashboard.sessions.end(entered.held.id);
    let mut response = go(LOGIN_PATH);
    if let Some(peer) = parts.extensions.get::<Peer>().copied() {
        dashboard.cookie.clear(response.headers_mut(), peer);
    }
    response
}

fn login(status: StatusCode, wrong: Option<&str>, then: &str) -> Response<Body> {
    layout::respond_to_strangers(status, "Sign in", login_body(wrong, then), None)
}

fn login_body(wrong: Option<&str>, then: &str) -> Markup {
    html! {
        h1 { "Sign in" }
        @if let Some(wrong) = wrong {
            div.notice.failed role="alert" { p { (wrong) } }
        }
        form method="post" action=(LOGIN_PATH) {
            input type="hidden" name="then" value=(then);
            label for="token" { "Token" }
            input id="token" name="token" type="password" autocomplete="off" autocapitalize="none"
                spellcheck="false" required autofocus maxlength=(TOKEN_MAX_BYTES)
                aria-describedby="token-help";
            p.faint id="token-help" {
                "You can do here what the token allows. It is not stored in the browser."
            }
            p.row { button.main type="submit" { "Sign in" } }
        }
        h2 { "No token at hand?" }
        p { "On the machine of the daemon, as its user:" }
        pre { code { "ringfence dashboard" } }
        p.faint { "prints a link that opens this page once. Or make a token:" }
        pre { code { "ringfence token create --role viewer" } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_our_own_pages_alone() {
        for ours in ["/dashboard", "/dashboard/plugins/x?q=1&page=2"] {
            assert_eq!(local(ours), ours);
        }
        for theirs in [
            "//evil.example/dashboard",
            "https://evil.example/dashboard",
            "/dashboards",
            "/dashboard/../../x\\y",
            "/dashboard/x\r\nSet-Cookie: a=b",
            "/dashboard/logout",
            "/dashboard/open?code=1",
            "javascript:alert(1)",
        ] {
            assert_eq!(local(theirs), ROOT, "{theirs}");
        }
    }
}
