//! What a handler answers: a status, a body and its schema in one type.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use hyper::body::{Bytes, Frame};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use tokio::sync::mpsc;

const JSON: &str = "application/json";

/// An answer that is a success.
pub(crate) trait Answer: Send + 'static {
    const STATUS: u16;
    const MEDIA: Option<&'static str>;
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
    fn answer(self) -> Response<Body>;
}

/// A document, with status 200.
#[derive(Debug)]
pub(crate) struct Found<T>(pub(crate) T);

/// A document about something that was made, with status 201.
#[derive(Debug)]
pub(crate) struct Made<T>(pub(crate) T);

/// A document with a version, which a change of it names in `If-Match`.
#[derive(Debug)]
pub(crate) struct Versioned<T> {
    pub(crate) document: T,
    pub(crate) version: String,
}

/// Done, with nothing to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done;

/// Text of a kind of its own, such as the one of Prometheus.
#[derive(Debug)]
pub(crate) struct Text(pub(crate) String);

/// Server-sent events.
pub(crate) struct Events(pub(crate) Body);

/// JSON that is written already.
#[derive(Debug)]
pub(crate) struct Written<T> {
    pub(crate) text: String,
    pub(crate) of: std::marker::PhantomData<fn() -> T>,
}

impl<T> Written<T> {
    pub(crate) fn new(text: String) -> Self {
        Self { text, of: std::marker::PhantomData }
    }
}

fn json(status: StatusCode, text: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

fn document(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(text) => json(status, text),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl<T: Serialize + JsonSchema + Send + 'static> Answer for Found<T> {
    const STATUS: u16 = 200;
    const MEDIA: Option<&'static str> = Some(JSON);

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }

    fn answer(self) -> Response<Body> {
        document(StatusCode::OK, &self.0)
    }
}

impl<T: Serialize + JsonSchema + Send + 'static> Answer for Made<T> {
    const STATUS: u16 = 201;
    const MEDIA: Option<&'static str> = Some(JSON);

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }

    fn answer(self) -> Response<Body> {
        document(StatusCode::CREATED, &self.0)
    }
}

impl<T: Serialize + JsonSchema + Send + 'static> Answer for Versioned<T> {
    const STATUS: u16 = 200;
    const MEDIA: Option<&'static str> = Some(JSON);

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }

    fn answer(self) -> Response<Body> {
        let mut response = document(StatusCode::OK, &self.document);
        if let Ok(version) = HeaderValue::from_str(&self.version) {
            response.headers_mut().insert(ETAG, version);
        }
        response
    }
}

impl<T: JsonSchema + Send + 'static> Answer for Written<T> {
    const STATUS: u16 = 200;
    const MEDIA: Option<&'static str> = Some(JSON);

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<T>())
    }

    fn answer(self) -> Response<Body> {
        json(StatusCode::OK, self.text.into_bytes())
    }
}

impl Answer for Done {
    const STATUS: u16 = 204;
    const MEDIA: Option<&'static str> = None;

    fn schema(_generator: &mut SchemaGenerator) -> Option<Schema> {
        None
    }

    fn answer(self) -> Response<Body> {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Answer for Text {
    const STATUS: u16 = 200;
    const MEDIA: Option<&'static str> = Some("text/plain; version=0.0.4");

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<String>())
    }

    fn answer(self) -> Response<Body> {
        let mut response = self.0.into_response();
        let media = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, media);
        response
    }
}

/// Frames of a stream that wait for a client that reads slowly; whoever makes them waits then.
const FRAMES_MAX: usize = 16;

impl Events {
    /// What `produce` sends, until it ends or the client goes away; its sends fail then.
    pub(crate) fn from<F>(produce: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(FRAMES_MAX);
        // Owned by the body: when that is dropped, the next send fails and the task ends.
        tokio::spawn(produce(sender));
        Self(Body::new(Frames { receiver }))
    }
}

struct Frames {
    receiver: mpsc::Receiver<Bytes>,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.receiver.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Answer for Events {
    const STATUS: u16 = 200;
    const MEDIA: Option<&'static str> = Some("text/event-stream");

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<String>())
    }

    fn answer(self) -> Response<Body> {
        let mut response = Response::new(self.0);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
