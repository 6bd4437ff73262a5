//! Server-sent events on their way to the client: passed on piece by piece, and read along.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::Frame;
use serde_json::{Map, Value, json};

use crate::pipeline::Pipeline;

/// Text that is remembered of a stream; what follows passes on unread.
const TEXT_MAX_BYTES: usize = 1 << 20;

/// Passes the stream on, and tells `onStreamEnd` what it was when it has ended or the client has gone.
pub(crate) fn watched(response: Response, pipeline: Pipeline, metadata: Map<String, Value>) -> Response {
    response
        .map(|inner| Body::new(Watched { inner, seen: Seen::default(), told: Some((pipeline, metadata)) }))
}

struct Watched {
    inner: Body,
    seen: Seen,
    told: Option<(Pipeline, Map<String, Value>)>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    self.seen.read(bytes);
                }
            }
            Poll::Ready(Some(Err(_))) => self.end("failed"),
            Poll::Ready(None) => self.end("complete"),
            Poll::Pending => {}
        }
        polled
    }
}

impl Watched {
    fn end(&mut self, how: &str) {
        let Some((pipeline, metadata)) = self.told.take() else { return };
        let body = self.seen.summary(how);
        // Nobody waits for what comes of it, least of all the client.
        tokio::spawn(async move { pipeline.tell("onStreamEnd", body, metadata).await });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.end("cancelled");
    }
}

/// What has passed so far.
#[derive(Debug, Default)]
struct Seen {
    line: Vec<u8>,
    text: String,
    chunks: u64,
    finish_reason: Option<String>,
    usage: Option<Value>,
}

impl Seen {
    fn read(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() <= TEXT_MAX_BYTES {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.line_of(&line);
            }
        }
    }

    /// `data: {...}`, as the API streams it.
    fn line_of(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        let Ok(chunk) = serde_json::from_slice::<Value>(data) else { return };
        self.chunks += 1;
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(usage.clone());
        }
        let choice = chunk.pointer("/choices/0");
        if let Some(text) = choice.and_then(|choice| choice.pointer("/delta/content")).and_then(Value::as_str)
            && self.text.len() + text.len() <= TEXT_MAX_BYTES
        {
            self.text.push_str(text);
        }
        let reason = choice.and_then(|choice| choice.get("finish_reason")).and_then(Value::as_str);
        self.finish_reason = reason.map(str::to_owned).or(self.finish_reason.take());
    }

    fn summary(&mut self, how: &str) -> Value {
        json!({
            "ended": how,
            "chunks": self.chunks,
            "text": std::mem::take(&mut self.text),
            "finish_reason": self.finish_reason.take(),
            "usage": self.usage.take(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_that_are_cut_anywhere_are_read() {
        let all = b"data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"lo\"},\
            \"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":7}}\n\n: a comment\ndata: [DONE]\n\n";
        for size in [1, 2, 7, 64, 1000] {
            let mut seen = Seen::default();
            all.chunks(size).for_each(|piece| seen.read(piece));
            let expected = json!({
                "ended": "complete", "chunks": 2, "text": "Hello", "finish_reason": "stop", "usage": {"total_tokens": 7}
            });
            assert_eq!(seen.summary("complete"), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_stream_without_end_is_not_remembered_without_end() {
        let mut seen = Seen::default();
        let chunk =
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n", "x".repeat(100_000));
        (0..50).for_each(|_| seen.read(chunk.as_bytes()));
        seen.read(&vec![b'y'; 5 << 20]);
        assert!(seen.text.len() <= TEXT_MAX_BYTES && seen.line.len() <= TEXT_MAX_BYTES);
    }
}
