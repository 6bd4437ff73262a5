//! What a request asks: its path, query and body, read into types that cannot be wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use ringfence::Host;
use ringfence_api::ErrorCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::Api;
use super::error::Failure;
use super::lease::{Ended, Lease};
use super::stream::Slot;
use crate::Caller;

/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// The longest `If-Match` or idempotency key.
const HEADER_MAX_BYTES: usize = 256;

/// A request that was admitted and read.
pub(crate) struct Asked<Q, B> {
    pub(crate) api: Arc<Api>,
    pub(crate) caller: Caller,
    /// The host, acting for the caller.
    pub(crate) host: Host,
    path: Vec<(String, String)>,
    headers: HeaderMap,
    lease: Lease,
    pub(crate) query: Q,
    pub(crate) body: B,
}

/// A query, or none.
pub(crate) trait Wanted: Sized + Send + 'static {
    fn read(query: Option<&str>) -> Result<Self, Failure>;
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
}

/// A body, or none.
pub(crate) trait Sent: Sized + Send + 'static {
    const MEDIA: Option<&'static str>;
    /// Other kinds of content, whose bytes are not JSON.
    const BINARY: &'static [&'static str] = &[];
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
    /// Reads at most `most` bytes, unless the kind of content has a limit of its own.
    fn read(
        body: Body,
        headers: &HeaderMap,
        most: usize,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;
}

/// A query that is this type.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// A body that is this type, as JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<Q: Wanted, B: Sent> Asked<Q, B> {
    /// # Errors
    /// `usage`, `too_large`, `unsupported_media_type`, `timeout` for what cannot be read.
    pub(super) async fn read(api: Arc<Api>, caller: Caller, request: Request<Body>) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let path = path_of(&mut parts).await;
        let query = Q::read(parts.uri.query())?;
        let body = B::read(body, &parts.headers, api.body_max).await?;
        let host = api.host_for(&caller);
        // Whoever came without one would be nobody.
        let lease = parts.extensions.remove::<Lease>().ok_or_else(super::guard::unauthenticated)?;
        Ok(Self { api, caller, host, path, headers: parts.headers, lease, query, body })
    }
}

impl<Q, B> Asked<Q, B> {
    /// The body, for what uses it up, and all else.
    pub(super) fn split(self) -> (Asked<Q, ()>, B) {
        let Self { api, caller, host, path, headers, lease, query, body } = self;
        (Asked { api, caller, host, path, headers, lease, query, body: () }, body)
    }

    /// The end of the caller's token, for a stream.
    pub(super) fn ended(&self) -> Ended {
        self.api.leases.take(&self.lease)
    }

    /// A place for one more stream of the caller.
    ///
    /// # Errors
    /// `busy` when there are too many.
    pub(super) fn stream(&self) -> Result<Slot, Failure> {
        self.api.streams.take(&self.lease)
    }

    /// The daemon's own user, if that is who asks.
    pub(super) const fn owner(&self) -> Option<u32> {
        self.lease.owner
    }

    /// What stands in the place of `{name}`.
    pub(crate) fn name(&self) -> &str {
        self.part("name")
    }

    /// What stands in the place of `{part}`.
    pub(crate) fn part(&self, part: &str) -> &str {
        self.path.iter().find(|(name, _)| name == part).map_or("", |(_, value)| value)
    }

    /// Whether the request says which version it was made from.
    pub(super) fn names_a_version(&self) -> bool {
        self.headers.contains_key("if-match")
    }

    /// A header that has a meaning for us.
    ///
    /// # Errors
    /// `usage` for one that is no text or too long.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Failure> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= HEADER_MAX_BYTES);
        text.map(Some).ok_or_else(|| {
            Failure::new(
                ErrorCode::Usage,
                format!("the header {name} has 1 to {HEADER_MAX_BYTES} printable characters"),
            )
        })
    }
}

/// What the path was filled in with.
pub(crate) async fn path_of(parts: &mut axum::http::request::Parts) -> Vec<(String, String)> {
    match RawPathParams::from_request_parts(parts, &()).await {
        Ok(params) => params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        // Not UTF-8: the name of nothing.
        Err(_) => Vec::new(),
    }
}

/// The kind of content that a request says it has, in lower case and without parameters.
pub(super) fn media(headers: &HeaderMap) -> String {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What the headers say of a body, judged before a byte of it is read.
///
/// # Errors
/// `unsupported_media_type` for one that HTTP has compressed; `too_large`.
pub(super) fn judge_head(headers: &HeaderMap, most: u64) -> Result<(), Failure> {
    if headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes() != b"identity") {
        return Err(Failure::new(ErrorCode::UnsupportedMediaType, "a compressed body is not taken"));
    }
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|told| told > most) { Err(too_large(most)) } else { Ok(()) }
}

pub(super) fn too_large(most: u64) -> Failure {
    Failure::new(ErrorCode::TooLarge, format!("the body has more than {most} bytes"))
        .hint("that is the limit for a body of this kind")
}

pub(crate) async fn collect(body: Body, headers: &HeaderMap, most: usize) -> Result<Vec<u8>, Failure> {
    judge_head(headers, most as u64)?;
    let too_large = || too_large(most as u64);
    match tokio::time::timeout(BODY_WAIT, Limited::new(body, most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().into()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(_)) => Err(Failure::new(ErrorCode::Usage, "the body broke off")),
        Err(_) => Err(Failure::new(
            ErrorCode::Timeout,
            format!("the body did not arrive within {} s", BODY_WAIT.as_secs()),
        )),
    }
}

impl Wanted for () {
    fn read(query: Option<&str>) -> Result<Self, Failure> {
        match query {
            None | Some("") => Ok(()),
            Some(_) => Err(Failure::new(ErrorCode::Usage, "this address takes no query")),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Wanted for Query<T> {
    fn read(query: Option<&str>) -> Result<Self, Failure> {
        let read = serde_urlencoded::from_str(query.unwrap_or_default());
        read.map(Self).map_err(|error| Failure::new(ErrorCode::Usage, format!("in the query: {error}")))
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.root_schema_for::<T>())
    }
}

impl Sent for () {
    const MEDIA: Option<&'static str> = None;

    fn schema(_generator: &mut SchemaGenerator) -> Option<Schema> {
        None
    }

    async fn read(body: Body, headers: &HeaderMap, most: usize) -> Result<Self, Failure> {
        let bytes = collect(body, headers, most).await?;
        let is_empty = bytes.iter().all(u8::is_ascii_whitespace) || bytes.as_slice() == b"{}";
        if is_empty { Ok(()) } else { Err(Failure::new(ErrorCode::Usage, "this address takes no body")) }
    }
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Sent for Json<T> {
    const MEDIA: Option<&'static str> = Some("application/json");

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }

    async fn read(body: Body, headers: &HeaderMap, most: usize) -> Result<Self, Failure> {
        let media = media(headers);
        // A form or plain text is what a page of a stranger can send without asking. Said before the body is waited for, which may
        // never come.
        if media != "application/json" {
            let message = format!("the body must be application/json, not '{}'", media.escape_debug());
            return Err(Failure::new(ErrorCode::UnsupportedMediaType, message));
        }
        let bytes = collect(body, headers, most).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Failure::new(ErrorCode::Usage, format!("in the body: {error}")))
    }
}
