//! One request over the Unix socket: HTTP/1.1, a connection each, everything within a limit.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use ringfence::Error;
use ringfence_api::ErrorCode;
use serde::Deserialize;
use tokio::net::UnixStream;

/// Below which all addresses of the daemon stand.
const PREFIX: &str = "/api/v1";
/// How long the kernel may take to connect: only a full queue of a daemon that accepts nothing makes it wait.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes: four times the longest message of a plugin.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// Where requests go.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

/// What stands in the place of an answer. Fields that a later daemon adds are no mistake.
#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    code: String,
    message: String,
    #[serde(default)]
    hint: Option<String>,
}

impl Client {
    /// A client of whoever listens there; `None` when nobody does.
    ///
    /// # Errors
    /// `permission_denied` when that is another user: it would be told what only the daemon of this home may know.
    pub(super) async fn connect(socket: PathBuf) -> Result<Option<Self>, Error> {
        let client = Self { socket };
        match client.open().await {
            Ok(_answers) => Ok(Some(client)),
            Err(error) if is_nobody(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks, and gives the body of an answer that is a success.
    ///
    /// # Errors
    /// What the daemon says; `timeout` after `wait`; `too_large` for an answer of more than 16 MiB; `io` when it goes away.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        wait: Duration,
    ) -> Result<Bytes, Error> {
        match tokio::time::timeout(wait, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(silent(wait)),
        }
    }

    async fn open(&self) -> Result<UnixStream, Error> {
        let connected = tokio::time::timeout(CONNECT_WAIT, UnixStream::connect(&self.socket)).await;
        let stream = connected.map_err(|_| silent(CONNECT_WAIT))?.map_err(gone)?;
        let peer = stream.peer_cred().map_err(gone)?.uid();
        // Whoever runs as root could read the home anyway.
        if peer != 0 && Some(peer) != own_user() {
            return Err(stranger(&self.socket, peer));
        }
        Ok(stream)
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<String>) -> Result<Bytes, Error> {
        let stream = self.open().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
        let has_body = body.is_some();
        let request = Request::builder()
            .method(method)
            .uri(format!("{PREFIX}{path}"))
            .header(HOST, "localhost")
            .header(ACCEPT, "application/json");
        let request = if has_body { request.header(CONTENT_TYPE, "application/json") } else { request };
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(|cause| {
            Error::new(ErrorCode::Internal, "cannot write the request").with_source(cause)
        })?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(gone)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
            let body = body.map_err(unread)?.to_bytes();
            if status.is_success() { Ok(body) } else { Err(refused(status.as_u16(), &body)) }
        };
        // The connection is driven beside the request, and goes with it: nothing is left behind that somebody must join.
        let mut answer = std::pin::pin!(answer);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                // What was received before the end can still be read.
                Ok(()) => answer.await,
                Err(cause) => Err(gone(cause)),
            },
        }
    }
}

/// A name as one part of a path.
pub(super) fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else if byte == b'.' && !matches!(name, "." | "..") {
            segment.push('.');
        } else {
            let written = write!(segment, "%{byte:02X}");
            debug_assert!(written.is_ok(), "writing to a string");
        }
    }
    segment
}

/// The failure of a daemon that says nothing.
pub(super) fn silent(after: Duration) -> Error {
    Error::new(ErrorCode::Timeout, format!("the daemon has not answered within {} s", after.as_secs()))
        .with_hint("its log may say why; its process is in daemon.lock of the home")
}

fn refused(status: u16, body: &[u8]) -> Error {
    let Ok(Refusal { error }) = serde_json::from_slice(body) else {
        return Error::new(ErrorCode::Internal, format!("the daemon answered with HTTP status {status}"));
    };
    // A code that only a later version knows is told as one that every version has.
    let code = error.code.parse().unwrap_or(ErrorCode::Internal);
    match error.hint {
        Some(hint) => Error::new(code, error.message).with_hint(hint),
        None => Error::new(code, error.message),
    }
}

fn unread(cause: Box<dyn std::error::Error + Send + Sync>) -> Error {
    if cause.is::<LengthLimitError>() {
        return Error::new(
            ErrorCode::TooLarge,
            format!("the daemon's answer has more than {} MiB", ANSWER_MAX_BYTES >> 20),
        );
    }
    Error::new(ErrorCode::Io, format!("the daemon's answer broke off: {cause}"))
}

fn gone(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorCode::Io, "the daemon has gone away")
        .with_hint("try again: without a daemon the command does the work itself")
        .with_source(cause)
}

/// Whether there is no daemon: no socket, one that nobody listens on, or a path that none can have.
fn is_nobody(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| {
        matches!(
            cause.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::PermissionDenied
        )
    })
}

fn own_user() -> Option<u32> {
    std::fs::metadata("/proc/self").ok().map(|process| process.uid())
}

fn stranger(socket: &Path, user: u32) -> Error {
    let message =
        format!("user {user} listens on '{}', which is for the daemon of this home", socket.display());
    Error::new(ErrorCode::PermissionDenied, message)
        .with_hint("run the command as that user, or find out who could put it there")
}
