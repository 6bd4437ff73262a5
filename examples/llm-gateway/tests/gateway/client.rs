//! A client of the gateway.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// A stream as it came.
pub(crate) struct Streamed {
    pub(crate) first_at: Instant,
    pub(crate) whole_in: Duration,
    pub(crate) text: String,
}

async fn send(address: &str, path: &str, body: &Value) -> axum::http::Response<Body> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let method = if body.is_null() { "GET" } else { "POST" };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("authorization", "Bearer client-key")
        .header("content-type", "application/json");
    let text = if body.is_null() { String::new() } else { body.to_string() };
    client.request(request.body(Body::from(text)).unwrap()).await.unwrap().map(Body::new)
}

pub(crate) async fn ask(address: &str, path: &str, body: &Value) -> Answer {
    let response = send(address, path, body).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let headers =
        parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    Answer {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}")),
    }
}

pub(crate) async fn stream(address: &str, path: &str, body: &Value) -> Streamed {
    let begun = Instant::now();
    let mut response = send(address, path, body).await;
    let (mut first_at, mut text) = (None, String::new());
    while let Some(frame) = response.body_mut().frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            first_at.get_or_insert_with(Instant::now);
            text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
    Streamed { first_at: first_at.unwrap(), whole_in: begun.elapsed(), text }
}
