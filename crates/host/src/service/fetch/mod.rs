//! `http_fetch`: one HTTP exchange that the host makes for a plugin, redirects included.
//!
//! Nothing here is left to a library that could decide otherwise: the URL is taken apart once ([`url`]), its host judged; the
//! name is resolved once ([`resolve`]), every address judged; one of exactly these addresses is dialled ([`dial`]), and each
//! redirect begins anew. No proxy, no connection that is kept, no upgrade, no `Alt-Svc`, no decompression.
//!
//! A name that has an address that the plugin may not reach is refused as a whole, also when it has others: such a name is
//! either wrong or made to try.
//!
//! A body is answered whole, or as a stream that the plugin reads piece by piece ([`streams`], [`stream`]).

mod body;
mod dial;
mod headers;
mod network;
mod resolve;
mod stream;
mod streams;
mod url;

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use data_encoding::BASE64;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue, LOCATION};
use hyper::http::response::Parts;
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use ringfence_api::rpc::RpcErrorCode;
use ringfence_policy::{Effect, Host, NetworkOp, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use self::dial::Connected;
use self::stream::{Bounds, Source};
use self::url::Url;
use super::asking::{Act, Asking, answer};
use crate::rpc::RpcError;

pub(crate) use network::Network;
pub(super) use streams::{Streams, close, read};

/// Redirects that one fetch follows at most.
pub(crate) const REDIRECTS_MAX: usize = 5;
/// The largest body of an answer in bytes: as base64 it still fits into a message.
pub(crate) const BODY_MAX_BYTES: usize = 2_880 * 1024;
/// The largest head of an answer in bytes.
pub(crate) const HEAD_MAX_BYTES: usize = 64 * 1024;
/// Header lines of an answer at most.
pub(crate) const HEADERS_MAX: usize = 100;
/// What is left of the deadline for the answer.
const ENDING: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FetchParams {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_base64: Option<String>,
    #[serde(default)]
    max_bytes: Option<usize>,
    /// Whether the answer has a stream in the place of the body.
    #[serde(default)]
    stream: bool,
}

#[derive(Serialize)]
struct Fetched {
    status: u16,
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// What the body is read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    /// Where the answer comes from, after redirects.
    url: String,
}

/// One request on its way.
#[derive(Debug)]
struct Hop {
    url: Url,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

pub(super) async fn fetch(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let params: FetchParams = asking.params()?;
    let (wants_stream, max_bytes) = (params.stream, params.max_bytes);
    let hop = first_hop(params)?;
    let deadline = asking.call.deadline.checked_sub(ENDING).unwrap_or(asking.call.deadline);
    let fetched = async {
        if wants_stream {
            opened(&asking, hop, Bounds::of(max_bytes)).await
        } else {
            whole(&asking, hop, max_bytes.unwrap_or(BODY_MAX_BYTES).min(BODY_MAX_BYTES)).await
        }
    };
    let fetched = tokio::time::timeout_at(deadline.into(), fetched).await.unwrap_or_else(|_| {
        Err(RpcError::new(
            RpcErrorCode::Timeout,
            "the server has not answered completely before the deadline",
        ))
    })?;
    answer(&fetched)
}

fn first_hop(params: FetchParams) -> Result<Hop, RpcError> {
    let url = Url::parse(&params.url).map_err(|why| invalid(&why))?;
    let method = headers::method(params.method.as_deref().unwrap_or("GET"))?;
    let body = match (params.body, params.body_base64) {
        (None, None) => Bytes::new(),
        (Some(text), None) => Bytes::from(text),
        (None, Some(encoded)) => Bytes::from(BASE64.decode(encoded.as_bytes()).map_err(|_| {
            invalid("body_base64 is not base64 (no line ends, and '=' at the end where it needs them)")
        })?),
        (Some(_), Some(_)) => return Err(invalid("give body or body_base64, not both")),
    };
    if !body.is_empty() && matches!(method, Method::GET | Method::HEAD) {
        return Err(invalid("GET and HEAD have no body"));
    }
    let headers = headers::from_plugin(params.headers.unwrap_or_default())?;
    Ok(Hop { url, method, headers, body })
}

/// What a server has answered, its body unread.
#[derive(Debug)]
struct Answered {
    response: Response<Incoming>,
    connected: Connected,
    /// The exchange in the audit trail.
    act: Act,
}

/// Makes the exchange, and those that redirects ask for; gives the last of them.
async fn follow(asking: &Asking<'_>, mut hop: Hop) -> Result<(Hop, Answered), RpcError> {
    for _ in 0..=REDIRECTS_MAX {
        let mut answered = exchange(asking, &hop).await?;
        let response = &answered.response;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(failed("the server wants to switch to another protocol, which is not offered"));
        }
        let location = response.headers().get(LOCATION).filter(|_| redirects(response.status()));
        match location.cloned() {
            Some(location) => {
                let status = response.status();
                answered.act.done();
                drop(answered);
                hop = redirected(asking, hop, status, &location)?;
            }
            None => return Ok((hop, answered)),
        }
    }
    Err(failed(&format!("the server redirects more than {REDIRECTS_MAX} times")))
}

fn redirects(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// Judges, resolves, judges again, dials and asks; gives the head of the answer.
async fn exchange(asking: &Asking<'_>, hop: &Hop) -> Result<Answered, RpcError> {
    let url = &hop.url;
    let object = url.authority();
    let request = Request::Network { op: NetworkOp::Request, host: url.host.clone(), port: url.port };
    asking.permit(&request, &object)?;
    let act = asking.begin(&object).await?;
    let network = &asking.context.offers.network;
    let addresses: Vec<IpAddr> = match url.host.address() {
        Some(address) => vec![address],
        None => resolve::addresses(network, url.host.name().unwrap_or_default()).await?,
    };
    for &address in &addresses {
        let (host, port) = (url.host.clone(), url.port);
        let request = Request::Resolved { op: NetworkOp::Request, host, address, port };
        asking.permit(&request, &request.object())?;
        permit_this_machine(asking, &request, address, url.port).await?;
    }
    let stream = dial::connect(network, url, &addresses).await?;
    let (response, connected) = dial::send(stream, http_request(hop)?).await?;
    Ok(Answered { response, connected, act })
}

/// The addresses of this machine are the floor as well, whatever they look like: which they are is not for the policy to know.
async fn permit_this_machine(
    asking: &Asking<'_>,
    request: &Request,
    address: IpAddr,
    port: u16,
) -> Result<(), RpcError> {
    let host = Host::from(address);
    let is_named = asking.target.rules.rules().iter().any(|rule| {
        let named = rule.host().filter(|pattern| pattern.address().map(Host::from).as_ref() == Some(&host));
        rule.effect() == Effect::Allow && named.is_some_and(|pattern| pattern.matches(&host, port))
    });
    if is_named || !dial::is_this_machine(address).await {
        return Ok(());
    }
    let grant = request.narrowest_grant();
    let why = format!(
        "denied: {request} is this machine, and no grant names the address; this grant would: {grant}"
    );
    Err(asking.deny(&request.object(), Some(&grant), &why))
}

fn http_request(hop: &Hop) -> Result<HttpRequest<Full<Bytes>>, RpcError> {
    let mut made = HttpRequest::new(Full::new(hop.body.clone()));
    *made.method_mut() = hop.method.clone();
    *made.uri_mut() = hop.url.target.parse().map_err(|_| invalid("the path of the URL is not one"))?;
    let head = made.headers_mut();
    // The host comes first, as servers expect; what a plugin gives comes after it, and can never be a second one.
    let host = HeaderValue::from_str(&hop.url.host_header()).map_err(|_| invalid("the host is not one"))?;
    head.insert(hyper::header::HOST, host);
    head.extend(hop.headers.clone());
    head.insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
    Ok(made)
}

/// The next request: where to, as what, and with which of the headers.
fn redirected(
    asking: &Asking<'_>,
    hop: Hop,
    status: StatusCode,
    location: &HeaderValue,
) -> Result<Hop, RpcError> {
    let Hop { url, mut method, mut headers, mut body } = hop;
    let text = location.to_str().map_err(|_| failed("the server redirects to what is no URL"))?;
    let next = url.join(text).map_err(|why| failed(&format!("the server redirects wrongly: {why}")))?;
    if url.is_https && !next.is_https {
        let why = format!("{} redirects from https to http, which is never followed", url.authority());
        return Err(asking.deny(&next.authority(), None, &why));
    }
    let turns_to_get = status == StatusCode::SEE_OTHER && method != Method::HEAD
        || matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND) && method == Method::POST;
    if turns_to_get {
        method = Method::GET;
        body = Bytes::new();
        headers.remove(hyper::header::CONTENT_TYPE);
    }
    if !url.is_same_origin(&next) {
        headers::keep_harmless(&mut headers);
    }
    Ok(Hop { url: next, method, headers, body })
}

/// The whole answer.
async fn whole(asking: &Asking<'_>, hop: Hop, max_bytes: usize) -> Result<Fetched, RpcError> {
    let (hop, Answered { response, connected: _connected, mut act }) = follow(asking, hop).await?;
    let (head, body) = response.into_parts();
    let bytes = body::read(body, max_bytes).await?;
    act.done();
    let (body, body_base64) = text_or_base64(bytes);
    Ok(Fetched { body, body_base64, ..fetched(&hop, &head) })
}

/// The head of the answer, and a stream for its body.
async fn opened(asking: &Asking<'_>, hop: Hop, bounds: Bounds) -> Result<Fetched, RpcError> {
    let streams = &asking.room.streams;
    let turn = streams.turn()?;
    let (hop, Answered { response, connected, act }) = follow(asking, hop).await?;
    let (head, body) = response.into_parts();
    body::fits(&body, bounds.max_bytes)?;
    let source = Source::new((body, connected), (act, hop.url.authority()), turn, bounds);
    // Who gives the request up in this moment has a stream without its id, which ends unread.
    Ok(Fetched { stream: Some(streams.keep(source)?), ..fetched(&hop, &head) })
}

/// What is the same for every answer.
fn fetched(hop: &Hop, head: &Parts) -> Fetched {
    Fetched {
        status: head.status.as_u16(),
        headers: headers::to_plugin(&head.headers),
        body: None,
        body_base64: None,
        stream: None,
        url: hop.url.to_string(),
    }
}

/// How bytes of a body are told: as text where they are UTF-8.
fn text_or_base64(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64.encode(error.as_bytes()))),
    }
}

fn too_large(max_bytes: usize) -> RpcError {
    let message = format!("the body of the answer has more than {max_bytes} bytes");
    RpcError::new(RpcErrorCode::TooLarge, message)
}

fn invalid(why: &str) -> RpcError {
    RpcError::new(RpcErrorCode::InvalidParams, why)
}

/// The network or the server failed: nothing that a grant or another parameter would change.
fn failed(why: &str) -> RpcError {
    let made = RpcError::new(RpcErrorCode::Internal, why);
    match serde_json::value::to_raw_value(&json!({ "code": "fetch_failed", "message": why })) {
        Ok(data) => made.with_data(data),
        Err(_) => made,
    }
}
