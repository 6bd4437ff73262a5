//! A connection to exactly an address that was judged, and one exchange on it.

use std::error::Error as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::network::Network;
use super::url::Url;
use super::{HEAD_MAX_BYTES, HEADERS_MAX, failed};
use crate::rpc::RpcError;

/// How long one address is tried before the next.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long a connection that nobody holds any more may take to say so to its server. Nothing more is read from it.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// A connection, with TLS or without.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Whether packets to this address stay on this machine: then the kernel would send them from the address itself. Nothing is
/// sent to find out. Where there is no way to the address, it is not this machine.
pub(super) async fn is_this_machine(address: IpAddr) -> bool {
    let any: SocketAddr = match address.to_canonical() {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let Ok(socket) = UdpSocket::bind(any).await else { return false };
    let from = match socket.connect((address.to_canonical(), 9)).await {
        Ok(()) => socket.local_addr().ok(),
        Err(_) => None,
    };
    from.is_some_and(|from| from.ip() == address.to_canonical())
}

/// Dials the addresses in their order until one answers.
///
/// # Errors
/// `fetch_failed` when none does, and when the server is not who it should be.
pub(super) async fn connect(network: &Network, url: &Url, addresses: &[IpAddr]) -> Result<Stream, RpcError> {
    // Before anything is dialled: whom to trust.
    let tls = if url.is_https {
        Some(network.tls().map_err(|why| {
            tracing::error!(why, "nothing can be fetched over https");
            failed(&why)
        })?)
    } else {
        None
    };
    let mut last = None;
    for &address in addresses {
        let dialled = TcpStream::connect(SocketAddr::new(address, url.port));
        let stream = match tokio::time::timeout(CONNECT_WAIT, dialled).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                last = Some(error.to_string());
                continue;
            }
            Err(_) => {
                last = Some("it does not answer".to_owned());
                continue;
            }
        };
        let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
        let name = match (url.host.name(), url.host.address()) {
            (Some(name), _) => ServerName::try_from(name.to_owned())
                .map_err(|_| failed("the host cannot be the name of a server"))?,
            (None, Some(address)) => ServerName::from(address),
            (None, None) => return Err(failed("the host cannot be the name of a server")),
        };
        let stream = TlsConnector::from(tls).connect(name, stream).await;
        let stream =
            stream.map_err(|error| failed(&format!("TLS with {} failed: {error}", url.authority())))?;
        return Ok(Stream::Tls(Box::new(stream)));
    }
    let why = last.unwrap_or_default();
    Err(failed(&format!("{} cannot be reached: {why}", url.authority())))
}

/// A connection in use. It is closed when this is dropped, in order if the server does not hold that up.
#[derive(Debug)]
pub(super) struct Connected {
    _held: oneshot::Sender<()>,
}

/// Sends the request and reads the head of the answer. The body can be read while the connection is held.
///
/// # Errors
/// `fetch_failed` for a server that does not speak HTTP/1 as it should.
pub(super) async fn send(
    stream: Stream,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Connected), RpcError> {
    let handshake = http1::Builder::new()
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = handshake.map_err(|error| failed(&told(&error)))?;
    let (held, let_go) = oneshot::channel();
    let connected = Connected { _held: held };
    // Ends when the answer was read, and a moment after nobody holds it any more at the latest.
    tokio::spawn(async move {
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            _ = let_go => tokio::time::timeout(CLOSE_WAIT, connection).await.ok(),
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(error = %error, "a connection to a server ended with an error");
        }
    });
    let response = sender.send_request(request).await.map_err(|error| failed(&told(&error)))?;
    Ok((response, connected))
}

/// What went wrong, with its cause.
pub(super) fn told(error: &hyper::Error) -> String {
    match error.source() {
        Some(cause) => format!("the server did not answer as HTTP/1 has it: {error}: {cause}"),
        None => format!("the server did not answer as HTTP/1 has it: {error}"),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
