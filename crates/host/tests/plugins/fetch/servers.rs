//! A web server that counts who comes, with and without TLS, and a name server that answers what a test wants. On loopback only.
#![expect(
    clippy::indexing_slicing,
    reason = "a helper of tests: a packet that is cut short fails the test that sent it"
)]

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What the server does with a request.
pub(crate) enum Answer {
    /// Sends this and closes.
    Whole(Vec<u8>),
    /// Sends this, then one more letter every 20 ms, for ever.
    Slow(&'static str),
    /// Sends the first, then the second again and again, for ever.
    Endless(&'static str, &'static str),
    /// Sends this, then the line `next` for each permit, and closes when the semaphore is closed.
    Held(&'static str, Arc<Semaphore>),
}

impl Answer {
    pub(crate) fn ok(body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        Self::Whole([head.as_bytes(), body].concat())
    }

    pub(crate) fn text(whole: &str) -> Self {
        Self::Whole(whole.as_bytes().to_vec())
    }

    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::text(&format!("HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
    }
}

type Respond = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// A web server. It ends with the runtime of its test.
pub(crate) struct Server {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    left: Arc<AtomicUsize>,
}

impl Server {
    /// At a free port of 127.0.0.1. `respond` gets each request as text.
    pub(crate) async fn start(respond: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), None, Arc::new(respond))
    }

    /// At an address.
    pub(crate) async fn at(address: &str, respond: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(TcpListener::bind(address).await.unwrap(), None, Arc::new(respond))
    }

    /// With TLS, as `safe.test` and 127.0.0.1.
    pub(crate) async fn tls(respond: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, Some(TlsAcceptor::from(Arc::new(config))), Arc::new(respond))
    }

    fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, respond: Respond) -> Self {
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
            requests: Arc::default(),
            left: Arc::default(),
        };
        let (connections, requests) = (Arc::clone(&server.connections), Arc::clone(&server.requests));
        let left = Arc::clone(&server.left);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (tls, respond, requests) = (tls.clone(), Arc::clone(&respond), Arc::clone(&requests));
                let left = Arc::clone(&left);
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, &respond, &requests, &left).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, &respond, &requests, &left).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    /// How often it was dialled.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many clients went away from a [`Answer::Held`] that had not ended.
    pub(crate) async fn was_left(&self, times: usize) {
        let wait = async {
            while self.left.load(Ordering::SeqCst) < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{} left, not {times}", self.left.load(Ordering::SeqCst));
    }

    /// What it was asked.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    respond: &Respond,
    requests: &Mutex<Vec<String>>,
    left: &AtomicUsize,
) {
    let mut read = Vec::new();
    while !is_whole(&read) {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8_lossy(&read).into_owned();
    let answer = respond(&request);
    requests.lock().unwrap().push(request);
    // A client that has seen enough goes away: then writing fails, and that is the end.
    let _gone = match answer {
        Answer::Whole(bytes) => {
            let _gone = stream.write_all(&bytes).await;
            stream.shutdown().await
        }
        Answer::Slow(start) => {
            let mut sent = stream.write_all(start.as_bytes()).await;
            while sent.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                sent = stream.write_all(b"x").await;
            }
            sent
        }
        Answer::Endless(start, again) => {
            let piece = again.repeat(16_384 / again.len());
            let mut sent = stream.write_all(start.as_bytes()).await;
            while sent.is_ok() {
                sent = stream.write_all(piece.as_bytes()).await;
            }
            sent
        }
        Answer::Held(start, gate) => {
            let mut sent = stream.write_all(start.as_bytes()).await;
            let mut byte = [0];
            while sent.is_ok() {
                tokio::select! {
                    // Nobody sends anything more, so this is that nobody is there.
                    _ = stream.read(&mut byte) => {
                        left.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    permit = gate.acquire() => match permit {
                        Ok(permit) => permit.forget(),
                        Err(_closed) => break,
                    },
                }
                sent = stream.write_all(b"next\n").await;
            }
            stream.shutdown().await
        }
    };
}

fn is_whole(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

type Names = Arc<dyn Fn(&str, usize) -> Vec<IpAddr> + Send + Sync>;

/// A name server that remembers what it was asked.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Dns {
    /// `names` gets a name and how often it was asked for its IPv4 addresses before; what it gives lives for 0 s.
    pub(crate) async fn start(names: impl Fn(&str, usize) -> Vec<IpAddr> + Send + Sync + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = Self { address: socket.local_addr().unwrap(), asked: Arc::default() };
        let (asked, names): (_, Names) = (Arc::clone(&dns.asked), Arc::new(names));
        tokio::spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let (name, kind, question_end) = question(&packet[..length]);
                let before = asked.lock().unwrap().iter().filter(|known| **known == name).count();
                if kind == 1 {
                    asked.lock().unwrap().push(name.clone());
                }
                let before = if kind == 1 { before } else { before.saturating_sub(1) };
                let answer = response(&packet[..question_end], kind, &names(&name, before));
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        dns
    }

    /// For which names somebody wanted IPv4 addresses.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Name, type and end of the only question.
fn question(packet: &[u8]) -> (String, u8, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while packet[at] != 0 {
        let length = usize::from(packet[at]);
        labels.push(String::from_utf8_lossy(&packet[at + 1..at + 1 + length]).to_lowercase());
        at += 1 + length;
    }
    (labels.join("."), packet[at + 2], at + 5)
}

fn response(asked: &[u8], kind: u8, addresses: &[IpAddr]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (kind, address) {
            (1, IpAddr::V4(address)) => Some(address.octets().to_vec()),
            (28, IpAddr::V6(address)) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut packet =
        vec![asked[0], asked[1], 0x81, 0x80, 0, 1, 0, u8::try_from(data.len()).unwrap(), 0, 0, 0, 0];
    packet.extend_from_slice(&asked[12..]);
    for address in data {
        // The name of the question, its type, class IN, a life of 0 s.
        packet.extend_from_slice(&[
            0xc0,
            12,
            0,
            kind,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            u8::try_from(address.len()).unwrap(),
        ]);
        packet.extend_from_slice(&address);
    }
    packet
}

/// The authority that has signed the certificate of [`Server::tls`].
pub(crate) fn authority() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/fetch/tls/ca.pem"))
}
