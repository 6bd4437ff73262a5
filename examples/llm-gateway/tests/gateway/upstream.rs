//! A server that answers as an OpenAI-compatible one does, and remembers what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Between two pieces of a stream.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

type Seen = Arc<Mutex<Vec<Asked>>>;

pub(crate) struct Fake {
    pub(crate) address: String,
    seen: Seen,
    task: tokio::task::JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let seen = Seen::default();
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/limited", post(limited))
            .route("/v1/models", get(models).post(models))
            .with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, task }
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(status: u16, body: &Value) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

async fn models() -> Response {
    answer(200, &json!({"object": "list", "data": [{"id": "m", "object": "model"}]}))
}

async fn limited() -> Response {
    let error = json!({"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}});
    let mut response = answer(429, &error);
    response.headers_mut().insert("retry-after", "7".parse().unwrap());
    response
}

async fn chat(State(seen): State<Seen>, headers: HeaderMap, bytes: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    let text = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    let streams = body["stream"] == true;
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    seen.lock().unwrap().push(Asked { headers: headers.collect(), body });
    if streams {
        return stream();
    }
    answer(
        200,
        &json!({
            "object": "chat.completion", "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": format!("you said: {text}")}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        }),
    )
}

/// Three words, the usage, and the end.
fn stream() -> Response {
    let (sender, pieces) = mpsc::channel::<String>(8);
    tokio::spawn(async move {
        for word in ["one ", "two ", "three"] {
            let chunk = json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]});
            if sender.send(format!("data: {chunk}\n\n")).await.is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let last = json!({"choices": [], "usage": {"total_tokens": 9}});
        sender.send(format!("data: {last}\n\n")).await.ok();
        sender.send("data: [DONE]\n\n".to_owned()).await.ok();
    });
    let body = Pieces { pieces };
    Response::builder().header("content-type", "text/event-stream").body(Body::new(body)).unwrap()
}

struct Pieces {
    pieces: mpsc::Receiver<String>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|text| Ok(Frame::data(Bytes::from(text)))))
    }
}
