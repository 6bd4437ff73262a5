//! Answers in the form that OpenAI's clients expect.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use ringfence::hooks::HookOutcome;
use serde_json::{Value, json};

/// A JSON answer.
pub(crate) fn json_answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error as the API has it: `{"error": {"message", "type", "code"}}`.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let kind = if status.is_client_error() { "invalid_request_error" } else { "server_error" };
    json_answer(status, &json!({"error": {"message": message, "type": kind, "code": code}}))
}

/// What a guard has refused: its own response, or an error with its reason. A member `status` of the response is the HTTP
/// status, 403 without one.
pub(crate) fn blocked(outcome: HookOutcome) -> Response {
    let reason = outcome.reason.unwrap_or_default();
    let asked = outcome.response.as_ref().and_then(|response| response.get("status")).and_then(Value::as_u64);
    let status = asked
        .and_then(|status| u16::try_from(status).ok())
        .and_then(|status| StatusCode::from_u16(status).ok())
        .filter(|status| status.is_client_error() || status.is_server_error() || status.is_success())
        .unwrap_or(StatusCode::FORBIDDEN);
    match outcome.response {
        Some(response) if response.is_object() => json_answer(status, &response),
        _ => error(status, "blocked_by_plugin", &reason),
    }
}
