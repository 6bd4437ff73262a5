//! The server behind the gateway.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, Method, Request, Response, Uri, header};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Headers that belong to one connection (RFC 9110, section 7.6.1) or that the client library writes itself.
const NOT_PASSED_ON: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// How long it may take until the first byte of the answer.
const FIRST_BYTE_WAIT: Duration = Duration::from_secs(300);

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Upstream {
    base: String,
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

/// Why the server did not answer.
#[derive(Debug)]
pub enum UpstreamError {
    /// The address cannot be used.
    Address(String),
    /// It could not be reached, or broke off.
    Unreachable(String),
    /// It took too long.
    Timeout,
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(why) => write!(f, "the upstream's address cannot be used: {why}"),
            Self::Unreachable(why) => write!(f, "the upstream cannot be reached: {why}"),
            Self::Timeout => write!(f, "the upstream did not answer within {} s", FIRST_BYTE_WAIT.as_secs()),
        }
    }
}

impl std::error::Error for UpstreamError {}

impl Upstream {
    /// A server by its base address, such as `https://api.example.com`. Certificates are those of Mozilla's list.
    ///
    /// # Errors
    /// [`UpstreamError::Address`].
    pub fn new(base: &str) -> Result<Self, UpstreamError> {
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|error| UpstreamError::Address(format!("{error}")))?;
        if uri.authority().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(UpstreamError::Address("it begins with http:// or https:// and a host".to_owned()));
        }
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self { base, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Sends a request on, with the client's headers but those of its connection.
    pub(crate) async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, UpstreamError> {
        let address = format!("{}{path_and_query}", self.base);
        let mut request = Request::builder().method(method).uri(address);
        for (name, value) in headers.iter().filter(|(name, _)| is_passed_on(name, headers)) {
            request = request.header(name, value);
        }
        let request =
            request.body(Body::from(body)).map_err(|error| UpstreamError::Address(error.to_string()))?;
        let answered = tokio::time::timeout(FIRST_BYTE_WAIT, self.client.request(request)).await;
        let answer = answered.map_err(|_| UpstreamError::Timeout)?;
        answer
            .map(|answer| answer.map(Body::new))
            .map_err(|error| UpstreamError::Unreachable(root_cause(&error)))
    }
}

/// Whether a header is for the other end and not for this connection. What `Connection` names is for this connection too.
pub(crate) fn is_passed_on(name: &HeaderName, all: &HeaderMap) -> bool {
    let named = all.get_all(header::CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(|one| one.trim().eq_ignore_ascii_case(name.as_str())))
    });
    // The gateway reads bodies, so they come as they are.
    !NOT_PASSED_ON.contains(name)
        && *name != header::ACCEPT_ENCODING
        && name.as_str() != "keep-alive"
        && !named
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
