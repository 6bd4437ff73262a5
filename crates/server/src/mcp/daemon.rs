//! A call that is passed on to the daemon of the home, which is the one that runs its plugins.
//!
//! The daemon serves the same tools on its socket, so what it answers is the answer. It decides by its own rules who calls.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use ringfence::Error;
use ringfence_api::ErrorCode;
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;

use super::act::Answer;
use super::message::MESSAGE_MAX_BYTES;
use super::tool::Tool;

/// Where the daemon has this server.
const PLACE: &str = "/mcp/admin";
/// How long the daemon may take to take the connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How much longer than the tool the daemon may take to answer: it has the same limit, and says so by itself.
const GRACE: Duration = Duration::from_secs(15);

/// What the daemon answers; `None` when nobody listens there.
///
/// # Errors
/// `permission_denied` when another user listens; `timeout`; `io` when the daemon goes away; `internal` for an answer that is
/// none.
pub(super) async fn ask(
    socket: &Path,
    tool: Tool,
    arguments: &Map<String, Value>,
) -> Result<Option<Answer>, Error> {
    let stream = match tokio::time::timeout(CONNECT_TIME, UnixStream::connect(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(cause)) if is_nobody(&cause) => return Ok(None),
        Ok(Err(cause)) => return Err(gone(cause)),
        Err(_) => {
            return Err(Error::new(
                ErrorCode::Timeout,
                "the daemon of the home does not take the connection",
            )
            .with_hint("its log may say why; its process is in daemon.lock of the home"));
        }
    };
    let peer = stream.peer_cred().map_err(gone)?.uid();
    // Whoever runs as root could read the home anyway.
    if peer != 0 && std::fs::metadata("/proc/self").ok().map(|process| process.uid()) != Some(peer) {
        let message = format!("user {peer} listens where the daemon of the home should be");
        return Err(Error::new(ErrorCode::PermissionDenied, message)
            .with_hint("a person must find out who could put a socket there"));
    }
    let exchange = exchange(stream, tool, arguments);
    let body =
        tokio::time::timeout(tool.deadline() + GRACE, exchange).await.unwrap_or_else(|_| Err(silent()))?;
    read(&body).map(Some).ok_or_else(|| {
        Error::new(ErrorCode::Internal, "the daemon's answer is not understood")
            .with_hint("stop the daemon, and start it in the version of this program")
    })
}

async fn exchange(stream: UnixStream, tool: Tool, arguments: &Map<String, Value>) -> Result<Bytes, Error> {
    let params = json!({"name": tool.name(), "arguments": arguments});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let request = Request::post(PLACE)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .header("mcp-protocol-version", "2025-11-25")
        .body(Full::new(Bytes::from(message.to_string())))
        .map_err(|cause| Error::new(ErrorCode::Internal, "cannot write the request").with_source(cause))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(gone)?;
        let body = Limited::new(response.into_body(), MESSAGE_MAX_BYTES).collect().await;
        body.map(http_body_util::Collected::to_bytes)
            .map_err(|cause| Error::new(ErrorCode::Io, format!("the daemon's answer broke off: {cause}")))
    };
    // Driven beside the request and gone with it, so that nothing is left that somebody must join.
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            // What came before the end can still be read.
            Ok(()) => answer.await,
            Err(cause) => Err(gone(cause)),
        },
    }
}

/// The result of the tool; `None` for whatever else it may be.
fn read(body: &[u8]) -> Option<Answer> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let result = document.get("result")?;
    let structured = result.get("structuredContent").filter(|content| content.is_object())?;
    let text = result.get("content")?.get(0)?.get("text")?.as_str()?;
    let is_error = result.get("isError")?.as_bool()?;
    Some(Answer { structured: structured.clone(), text: super::text::bounded(text.to_owned()), is_error })
}

/// Whether there is no daemon: no socket, one that a daemon has left behind, or a home that is not this user's, which then says so
/// itself.
fn is_nobody(cause: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, InvalidInput, NotADirectory, NotFound, PermissionDenied};
    matches!(cause.kind(), NotFound | ConnectionRefused | NotADirectory | InvalidInput | PermissionDenied)
}

fn silent() -> Error {
    Error::new(ErrorCode::Timeout, "the daemon of the home does not answer")
        .with_hint("its log may say why; its process is in daemon.lock of the home")
}

fn gone(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorCode::Io, "the daemon of the home has gone away")
        .with_hint("plugin_list shows whether the act was done; then try again")
        .with_source(cause)
}
