//! One request: read, passed through the plugins, sent on, and the answer the same way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, Limited};
use ringfence::Host;
use ringfence::hooks::HookOutcome;
use serde_json::{Map, Value, json};

use crate::pipeline::Pipeline;
use crate::reply;
use crate::stream;
use crate::upstream::{Upstream, UpstreamError, is_passed_on};

/// The longest request and the longest answer that is no stream. Plugins are handed both in one message (4 MiB).
const BODY_MAX_BYTES: usize = 3 << 20;

/// The gateway. Cheap to clone.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let host = ringfence::Host::builder().start_active(true).build().await?;
/// let gateway = llm_gateway::Gateway::new(host, llm_gateway::Upstream::new("http://127.0.0.1:11434")?);
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// axum::serve(listener, gateway.router()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: Host,
    upstream: Upstream,
    requests: AtomicU64,
}

impl Gateway {
    /// A gateway to this server, with the active plugins of this host.
    #[must_use]
    pub fn new(host: Host, upstream: Upstream) -> Self {
        Self { shared: Arc::new(Shared { host, upstream, requests: AtomicU64::new(0) }) }
    }

    /// Every path, as the server has it.
    pub fn router(self) -> Router {
        Router::new().fallback(serve).with_state(self)
    }

    fn pipeline(&self) -> Pipeline {
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        Pipeline::new(self.shared.host.clone(), format!("gateway-{}-{number}", std::process::id()))
    }
}

/// A request as it was read.
struct Asked {
    method: Method,
    path: String,
    headers: HeaderMap,
    bytes: Bytes,
}

async fn serve(State(gateway): State<Gateway>, request: Request) -> Response {
    let asked = match read(request).await {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let pipeline = gateway.pipeline();
    let Ok(body) = serde_json::from_slice::<Value>(&asked.bytes) else {
        // Nothing that plugins could read: a list of models, an upload.
        return forward(&gateway, &pipeline, asked, Map::new()).await.unwrap_or_else(|refused| refused);
    };
    let metadata = metadata_of(&asked);
    let outcome = match pipeline.pass("onRequest", body, metadata).await {
        Ok(outcome) if outcome.is_blocked() => return reply::blocked(outcome),
        Ok(outcome) => outcome,
        Err(error) => return not_judged(&error),
    };
    let HookOutcome { body, mut metadata, .. } = outcome;
    // A plugin that knows the answer already, such as a cache, says so.
    if let Some(known) = metadata.remove("respond_with") {
        metadata.insert("from_plugin".to_owned(), true.into());
        return answered(&pipeline, StatusCode::OK, known, metadata, &HeaderMap::new()).await;
    }
    let changed = Asked { bytes: Bytes::from(body.to_string()), ..asked };
    forward(&gateway, &pipeline, changed, metadata).await.unwrap_or_else(|refused| refused)
}

async fn read(request: Request) -> Result<Asked, Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let bytes = Limited::new(body, BODY_MAX_BYTES).collect().await.map_err(|_| {
        let message = format!("a request has {BODY_MAX_BYTES} bytes at most");
        reply::error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message)
    })?;
    Ok(Asked { method: parts.method, path, headers: parts.headers, bytes: bytes.to_bytes() })
}

/// What plugins may know beside the body. Never the client's key.
fn metadata_of(asked: &Asked) -> Map<String, Value> {
    let user = asked.headers.get("x-user").and_then(|user| user.to_str().ok());
    let all = [
        ("method", asked.method.as_str().into()),
        ("path", asked.path.as_str().into()),
        ("user", user.into()),
    ];
    all.into_iter().map(|(key, value): (&str, Value)| (key.to_owned(), value)).collect()
}

fn not_judged(error: &ringfence::Error) -> Response {
    crate::pipeline::complain(error);
    reply::error(StatusCode::SERVICE_UNAVAILABLE, "not_judged", "the plugins could not be asked")
}

async fn forward(
    gateway: &Gateway,
    pipeline: &Pipeline,
    asked: Asked,
    mut metadata: Map<String, Value>,
) -> Result<Response, Response> {
    let begun = Instant::now();
    let sent = gateway.shared.upstream.send(asked.method, &asked.path, &asked.headers, asked.bytes).await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => return Err(failed(pipeline, &error, metadata).await),
    };
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    metadata.insert("status".to_owned(), response.status().as_u16().into());
    metadata.insert("upstream_ms".to_owned(), took.into());
    let streams = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if streams {
        return start_stream(pipeline, response, metadata).await;
    }
    let (parts, body) = response.into_parts();
    let bytes = Limited::new(body, BODY_MAX_BYTES).collect().await.map_err(|error| {
        reply::error(StatusCode::BAD_GATEWAY, "upstream_failed", &format!("the upstream's answer: {error}"))
    })?;
    let bytes = bytes.to_bytes();
    if parts.status == StatusCode::TOO_MANY_REQUESTS {
        let retry_after = parts.headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok());
        pipeline.tell("onRateLimit", json!({"retry_after": retry_after}), metadata.clone()).await;
    }
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(body) => Ok(answered(pipeline, parts.status, body, metadata, &parts.headers).await),
        Err(_) => Ok(with_headers(parts.status, &parts.headers, Body::from(bytes))),
    }
}

/// An answer that is known as a whole.
async fn answered(
    pipeline: &Pipeline,
    status: StatusCode,
    body: Value,
    metadata: Map<String, Value>,
    headers: &HeaderMap,
) -> Response {
    match pipeline.pass("onResponse", body, metadata).await {
        Ok(outcome) if outcome.is_blocked() => reply::blocked(outcome),
        Ok(outcome) => {
            let mut response = with_headers(status, headers, Body::from(outcome.body.to_string()));
            let kind = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => not_judged(&error),
    }
}

async fn start_stream(
    pipeline: &Pipeline,
    response: Response,
    metadata: Map<String, Value>,
) -> Result<Response, Response> {
    match pipeline.pass("onStreamStart", Value::Null, metadata).await {
        Ok(outcome) if outcome.is_blocked() => Err(reply::blocked(outcome)),
        Ok(outcome) => {
            let (parts, body) = response.into_parts();
            let passed = with_headers(parts.status, &parts.headers, body);
            Ok(stream::watched(passed, pipeline.clone(), outcome.metadata))
        }
        Err(error) => Err(not_judged(&error)),
    }
}

/// What the client hears when the server could not be asked; plugins may say it better.
async fn failed(pipeline: &Pipeline, error: &UpstreamError, metadata: Map<String, Value>) -> Response {
    let status = match error {
        UpstreamError::Timeout => StatusCode::GATEWAY_TIMEOUT,
        UpstreamError::Address(_) | UpstreamError::Unreachable(_) => StatusCode::BAD_GATEWAY,
    };
    let body =
        json!({"error": {"message": error.to_string(), "type": "server_error", "code": "upstream_failed"}});
    match pipeline.pass("onError", body, metadata).await {
        Ok(outcome) if outcome.is_blocked() => reply::blocked(outcome),
        Ok(outcome) => reply::json_answer(status, &outcome.body),
        Err(error) => not_judged(&error),
    }
}

/// The upstream's headers, but for those of its connection and of a body that may have changed.
fn with_headers(status: StatusCode, headers: &HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers.iter().filter(|(name, _)| is_passed_on(name, headers)) {
        response.headers_mut().append(name, value.clone());
    }
    response
}
