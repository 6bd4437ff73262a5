//! Failures as HTTP: one document, whatever failed.

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use ringfence::Error;
use ringfence_api::ErrorCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of every answer that is no success.
///
/// ```
/// use ringfence_server::api::ErrorDocument;
///
/// let text = r#"{"error":{"code":"not_found","message":"no plugin 'x'","hint":null,"correlation_id":"4f1c-1"}}"#;
/// let document: ErrorDocument = serde_json::from_str(text)?;
/// assert_eq!(document.error.code, "not_found");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorDocument {
    /// What failed.
    pub error: ErrorDetail,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorDetail {
    /// The stable code; `docs/errors.md` has them all.
    pub code: String,
    /// What was refused or failed, and by which rule or limit.
    pub message: String,
    /// What to do next, when there is something to do.
    pub hint: Option<String>,
    /// Under which id the records and log lines of this request stand.
    pub correlation_id: String,
}

/// A failure on its way out.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// What else the answer says.
    header: Option<(axum::http::HeaderName, HeaderValue)>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let header = match error.code() {
            ErrorCode::Unauthenticated => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            ErrorCode::RateLimited => Some((RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => None,
        };
        Self { error, header }
    }
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Error::new(code, message).into()
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { error: self.error.with_hint(hint), ..self }
    }

    /// An address that exists with other methods only.
    pub(crate) fn method(allowed: &str) -> Self {
        let failure = Self::new(ErrorCode::MethodNotAllowed, format!("this address takes {allowed}"));
        Self { header: HeaderValue::from_str(allowed).ok().map(|value| (ALLOW, value)), ..failure }
    }

    /// The answer, as a document.
    pub(crate) fn answer(self, correlation_id: &str) -> Response<Body> {
        let Told { status, detail, header } = self.told(correlation_id);
        let body = serde_json::to_vec(&ErrorDocument { error: detail }).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = header {
            headers.insert(name, value);
        }
        response
    }

    /// What is said of it outside. What only the log may say stays in the log.
    pub(crate) fn told(self, correlation_id: &str) -> Told {
        let code = self.error.code();
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let is_ours = matches!(code, ErrorCode::Internal | ErrorCode::Io);
        if is_ours {
            tracing::error!(correlation_id, error = %self.error.chain(), "a request failed");
        } else {
            tracing::debug!(correlation_id, code = %code, error = %self.error.chain(), "a request was refused");
        }
        // The causes of a failure of ours name files and the machine: they are for the log.
        let message = if is_ours { code.meaning().to_owned() } else { self.error.message().to_owned() };
        let detail = ErrorDetail {
            code: code.as_str().to_owned(),
            message,
            hint: self.error.hint().map(str::to_owned).filter(|_| !is_ours),
            correlation_id: correlation_id.to_owned(),
        };
        Told { status, detail, header: self.header }
    }
}

/// A failure as it is told outside.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) detail: ErrorDetail,
    /// What else the answer says.
    pub(crate) header: Option<(axum::http::HeaderName, HeaderValue)>,
}
