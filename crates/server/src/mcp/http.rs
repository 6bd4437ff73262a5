//! MCP over HTTP: each message is one POST, and each answer one JSON document.
//!
//! There are no sessions and no streams. Who may come in at all is settled before: see [`admin_router`].

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use data_encoding::BASE64;
use serde_json::Value;

use super::Management;
use super::message::{
    self, HEADER_MISMATCH, INVALID_REQUEST, MESSAGE_MAX_BYTES, METHOD_NOT_FOUND, Message, ProtocolError,
    Request, Unreadable,
};
use super::revision::{self, Era};
use crate::Caller;

/// How long a client may take to send a message.
const BODY_TIME: Duration = Duration::from_secs(30);

const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const SESSION: &str = "mcp-session-id";

/// The routes of the management server, to be nested where clients look for it, such as `/mcp/admin`.
///
/// Whoever nests it has authenticated the request, has checked `Host` and `Origin`, and has put a [`Caller`] into its
/// extensions; a request without one is refused with 401. What is done is recorded under the caller's name with `mcp, ` before it.
/// Bodies must be JSON by their `Content-Type`, and at most [`MESSAGE_MAX_BYTES`] long.
pub fn admin_router(management: Management) -> Router {
    Router::new().route("/", any(serve)).with_state(management)
}

async fn serve(State(management): State<Management>, request: HttpRequest) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return refuse(StatusCode::UNAUTHORIZED, "the request was not authenticated");
    };
    if request.method() != Method::POST {
        let mut response =
            refuse(StatusCode::METHOD_NOT_ALLOWED, "send each message with POST; there are no streams");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be application/json");
    }
    if !takes_json(&head.headers) {
        return refuse(
            StatusCode::NOT_ACCEPTABLE,
            "answers are application/json, which Accept does not name",
        );
    }
    let body = match tokio::time::timeout(BODY_TIME, to_bytes(body, MESSAGE_MAX_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return unreadable(StatusCode::PAYLOAD_TOO_LARGE, message::too_long()),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the message did not come in time"),
    };
    match message::read(&body) {
        Ok(Message::Request(request)) => {
            let caller = Caller { actor: format!("mcp, {}", caller.actor), ..caller };
            answer(&management, &caller, &head.headers, request).await
        }
        // Nothing is to be done for them: what is given up is the connection that is closed.
        Ok(Message::Notification { .. } | Message::Response) => respond(StatusCode::ACCEPTED, None),
        Err(wrong) => unreadable(StatusCode::BAD_REQUEST, wrong),
    }
}

async fn answer(management: &Management, caller: &Caller, headers: &HeaderMap, request: Request) -> Response {
    let id = request.id.clone();
    let era = match era(headers, &request) {
        Ok(era) => era,
        Err((status, error)) => return respond(status, Some(&message::refusal(Some(&id), error))),
    };
    let outcome = management.answer(caller, era, request).await;
    let status = match &outcome {
        Err(error) if era == Era::Stateless && error.code == METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    respond(status, Some(&message::response(&id, outcome)))
}

/// The era of a request, whose headers must say what its body says.
fn era(headers: &HeaderMap, request: &Request) -> Result<Era, (StatusCode, ProtocolError)> {
    let bad = |error| (StatusCode::BAD_REQUEST, error);
    let version = header(headers, VERSION).map_err(bad)?;
    let stateless = version.is_some_and(|version| revision::era(version) == Era::Stateless);
    let named = revision::named(&request.params);
    let era = if request.method == "initialize" && named.is_none() {
        Era::Handshake
    } else if named.is_some() || stateless {
        let era = revision::of_meta(&request.params).map_err(bad)?;
        if version != named.and_then(Value::as_str) {
            return Err(bad(mismatch("MCP-Protocol-Version", "the version in '_meta'")));
        }
        era
    } else {
        let Some(version) = version else {
            let message = "say which revision of the protocol this is, with the header MCP-Protocol-Version";
            return Err(bad(ProtocolError::new(INVALID_REQUEST, message)));
        };
        revision::known(version).map_err(bad)?;
        Era::Handshake
    };
    match era {
        Era::Stateless => mirrored(headers, request).map_err(bad)?,
        // None was ever given out.
        Era::Handshake if headers.contains_key(SESSION) => {
            let message = "there is no such session; this server has none";
            return Err((StatusCode::NOT_FOUND, ProtocolError::new(INVALID_REQUEST, message)));
        }
        Era::Handshake => {}
    }
    Ok(era)
}

/// Headers by which others route a request must not say something else than the request itself.
fn mirrored(headers: &HeaderMap, request: &Request) -> Result<(), ProtocolError> {
    if header(headers, METHOD)? != Some(request.method.as_str()) {
        return Err(mismatch("Mcp-Method", "'method'"));
    }
    if request.method == "tools/call" {
        let name = header(headers, NAME)?.and_then(decoded);
        if name.is_none() || name.as_deref() != request.params.get("name").and_then(Value::as_str) {
            return Err(mismatch("Mcp-Name", "'params.name'"));
        }
    }
    Ok(())
}

/// A header that must not stand twice.
fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, ProtocolError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| mismatch(name, "a text that can be read"))
        }
        (Some(_), Some(_)) => Err(mismatch(name, "one value")),
    }
}

/// A value that may be written as Base64.
fn decoded(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        None => Some(value.to_owned()),
        Some(coded) => String::from_utf8(BASE64.decode(coded.as_bytes()).ok()?).ok(),
    }
}

fn mismatch(header: &str, what: &str) -> ProtocolError {
    ProtocolError::new(
        HEADER_MISMATCH,
        format!("the header {header} is missing, or does not say the same as {what}"),
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn takes_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().peekable();
    accepted.peek().is_none()
        || accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            ["application/json", "application/*", "*/*"]
                .iter()
                .any(|wanted| kind.eq_ignore_ascii_case(wanted))
        })
}

fn refuse(status: StatusCode, why: &str) -> Response {
    let error = ProtocolError::new(INVALID_REQUEST, why);
    respond(status, Some(&message::refusal(None, error)))
}

fn unreadable(status: StatusCode, wrong: Unreadable) -> Response {
    respond(status, Some(&message::refusal(wrong.id.as_ref(), wrong.error)))
}

fn respond(status: StatusCode, document: Option<&Value>) -> Response {
    let mut response =
        Response::new(document.map_or_else(Body::empty, |document| Body::from(document.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if document.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
