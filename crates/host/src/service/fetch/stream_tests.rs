//! Streams against servers on loopback: order, bounds, and every way in which one ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::dial;
use super::network::Network;
use super::stream::{Ask, Bounds, Piece, Source};
use super::streams::{STREAMS_MAX, Streams};
use super::url::Url;
use crate::home::Home;
use crate::rpc::RpcError;
use crate::store::{AuditFilter, Outcome, Owner, Store};
use ringfence_api::rpc::RpcErrorCode;

/// Longer than anything here takes.
const WAIT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(600);

/// A store for what is recorded, and a server that one stream reads from.
struct Rig {
    store: Store,
    _directory: tempfile::TempDir,
    listener: TcpListener,
    address: SocketAddr,
}

impl Rig {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&Home::at(directory.path().join("home"))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { store, _directory: directory, listener, address }
    }

    /// The server's end, which has read the request and sent `head`; and the stream.
    async fn source(&self, head: &str, turn: OwnedSemaphorePermit, bounds: Bounds) -> (TcpStream, Source) {
        let url = Url::parse(&format!("http://{}/", self.address)).unwrap();
        let network = Network::default();
        let serve = async {
            let (mut server, _) = self.listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(server.read(&mut request).await.unwrap() > 0);
            server.write_all(head.as_bytes()).await.unwrap();
            server
        };
        let ask = async {
            let stream = dial::connect(&network, &url, &[self.address.ip()]).await.unwrap();
            dial::send(stream, Request::new(http_body_util::Full::default())).await.unwrap()
        };
        let (server, (response, connected)) = tokio::join!(serve, ask);
        let owner = Owner::new("web".parse().unwrap(), "Ada".to_owned());
        let meter = self.store.calls(&owner, "http_fetch");
        let act = meter.act(&"it".into(), &"c".into(), WAIT, Outcome::Failed).await.unwrap();
        let object = self.address.to_string();
        (server, Source::new((response.into_body(), connected), (act, object), turn, bounds))
    }

    /// How streams ended so far, and after how many bytes.
    fn ends(&self) -> Vec<(String, u64)> {
        self.store.flush(WAIT).unwrap();
        let filter = AuditFilter { event: Some("stream_end".to_owned()), ..AuditFilter::default() };
        let page = self.store.audit_list(&filter, None, 100).unwrap();
        let told = page.records.iter().map(|record| {
            let bytes = record.body["bytes"].as_u64().unwrap();
            (record.body["how"].as_str().unwrap().to_owned(), bytes)
        });
        told.collect()
    }
}

fn turn() -> OwnedSemaphorePermit {
    Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
}

fn bounds(max_bytes: usize) -> Bounds {
    Bounds { max_bytes, unread: LONG, life: LONG }
}

/// A stream that is tended, as the plugin sees it.
struct Reader {
    asks: mpsc::Sender<Ask>,
    owner: JoinHandle<()>,
}

impl Reader {
    fn of(source: Source) -> Self {
        let (asks, asked) = mpsc::channel(1);
        Self { asks, owner: tokio::spawn(source.tend(asked)) }
    }

    async fn ask(&self, max_bytes: usize) -> oneshot::Receiver<Result<Piece, RpcError>> {
        let (reply, answered) = oneshot::channel();
        self.asks.send(Ask::Piece { max_bytes, reply }).await.unwrap();
        answered
    }

    async fn read(&self, max_bytes: usize) -> Result<Piece, RpcError> {
        let answered = self.ask(max_bytes).await;
        tokio::time::timeout(WAIT, answered).await.unwrap().unwrap()
    }

    async fn close(&self) {
        let (done, is_closed) = oneshot::channel();
        self.asks.send(Ask::Close(done)).await.unwrap();
        tokio::time::timeout(WAIT, is_closed).await.unwrap().unwrap();
    }

    async fn over(self) {
        tokio::time::timeout(WAIT, self.owner).await.unwrap().unwrap();
    }
}

/// Text, offset, and whether it is the last.
fn seen(piece: Result<Piece, RpcError>) -> (String, usize, bool) {
    let piece = piece.unwrap_or_else(|error| panic!("{error:?}"));
    (String::from_utf8(piece.bytes.to_vec()).unwrap(), piece.offset, piece.done)
}

fn code(piece: Result<Piece, RpcError>) -> Option<RpcErrorCode> {
    piece.err().and_then(|error| error.known())
}

/// Waits until the server's end hears that nobody is there.
async fn is_left(server: &mut TcpStream) {
    let left = async {
        let mut byte = [0];
        while !matches!(server.read(&mut byte).await, Ok(0) | Err(_)) {}
    };
    tokio::time::timeout(WAIT, left).await.unwrap();
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const UNTIL_CLOSED: &str = "HTTP/1.1 200 OK\r\n\r\n";

#[tokio::test]
async fn pieces_come_in_order_while_the_answer_goes_on() {
    let rig = Rig::new().await;
    let (mut server, source) = rig.source(CHUNKED, turn(), bounds(1_000)).await;
    let reader = Reader::of(source);
    server.write_all(b"5\r\nhello\r\n").await.unwrap();
    // The server has not ended: a piece of it is here all the same, and what does not fit waits.
    assert_eq!(seen(reader.read(3).await), ("hel".to_owned(), 0, false));
    assert_eq!(seen(reader.read(9).await), ("lo".to_owned(), 3, false));
    server.write_all(b"3\r\nend\r\n0\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    loop {
        let (text, _, done) = seen(reader.read(9).await);
        rest += &text;
        if done {
            break;
        }
    }
    assert_eq!(rest, "end");
    reader.over().await;
    assert_eq!(rig.ends(), [("read".to_owned(), 8)]);
}

#[tokio::test]
async fn the_last_piece_says_so_and_an_empty_body_is_one() {
    let rig = Rig::new().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (_server, source) = rig.source(head, turn(), bounds(2)).await;
    assert_eq!(seen(Reader::of(source).read(9).await), ("ok".to_owned(), 0, true));
    let (_server, source) = rig.source("HTTP/1.1 204 No\r\n\r\n", turn(), bounds(2)).await;
    assert_eq!(seen(Reader::of(source).read(9).await), (String::new(), 0, true));
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_cut_with_an_error_and_one_that_fits_is_not() {
    let rig = Rig::new().await;
    for (max_bytes, fits) in [(4, false), (5, true)] {
        let (mut server, source) = rig.source(UNTIL_CLOSED, turn(), bounds(max_bytes)).await;
        let reader = Reader::of(source);
        server.write_all(b"hello").await.unwrap();
        server.shutdown().await.unwrap();
        let first = seen(reader.read(9).await);
        assert_eq!((first.0.len(), first.2), (max_bytes, false));
        let next = reader.read(9).await;
        match fits {
            true => assert_eq!(seen(next), (String::new(), 5, true)),
            false => assert_eq!(code(next), Some(RpcErrorCode::TooLarge)),
        }
        reader.over().await;
    }
    assert_eq!(rig.ends(), [("too_large".to_owned(), 4), ("read".to_owned(), 5)]);
}

#[tokio::test]
async fn a_server_that_breaks_off_is_an_error_and_not_an_end() {
    let rig = Rig::new().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let (server, source) = rig.source(head, turn(), bounds(100)).await;
    let reader = Reader::of(source);
    assert_eq!(seen(reader.read(9).await).0, "hello");
    drop(server);
    assert_eq!(code(reader.read(9).await), Some(RpcErrorCode::Internal));
    reader.over().await;
    assert_eq!(rig.ends(), [("failed".to_owned(), 5)]);
}

#[tokio::test]
async fn a_read_that_is_given_up_takes_nothing_with_it() {
    let rig = Rig::new().await;
    let (mut server, source) = rig.source(UNTIL_CLOSED, turn(), bounds(100)).await;
    let reader = Reader::of(source);
    drop(reader.ask(9).await);
    server.write_all(b"all of it").await.unwrap();
    let mut given = reader.ask(3).await;
    tokio::time::timeout(WAIT, async {
        while reader.asks.capacity() == 0 {
            tokio::task::yield_now().await
        }
    })
    .await
    .unwrap();
    given.close();
    // It was answered just before, or not at all: either way the next read goes on where it stopped.
    let had = given.try_recv().map_or(String::new(), |piece| seen(piece).0);
    let (text, offset, _) = seen(reader.read(9).await);
    assert_eq!((had + &text, text.len() + offset), ("all of it".to_owned(), 9));
}

#[tokio::test]
async fn closing_ends_a_read_that_waits_and_the_connection() {
    let rig = Rig::new().await;
    let (mut server, source) = rig.source(UNTIL_CLOSED, turn(), bounds(100)).await;
    let reader = Reader::of(source);
    let waiting = reader.ask(9).await;
    let second = reader.ask(9).await;
    let refused = tokio::time::timeout(WAIT, second).await.unwrap().unwrap();
    assert_eq!(code(refused), Some(RpcErrorCode::Busy), "a stream has one reader");
    reader.close().await;
    assert!(tokio::time::timeout(WAIT, waiting).await.unwrap().is_err());
    is_left(&mut server).await;
    reader.over().await;
    assert_eq!(rig.ends(), [("closed".to_owned(), 0)]);
}

#[tokio::test]
async fn a_stream_is_closed_when_nobody_reads_it_or_it_was_open_too_long() {
    let rig = Rig::new().await;
    let short = Duration::from_millis(50);
    for (bounds, said, how) in [
        (Bounds { max_bytes: 100, unread: short, life: LONG }, "nobody has read", "unread"),
        (Bounds { max_bytes: 100, unread: LONG, life: short }, "it was open for", "timeout"),
    ] {
        let turns = Arc::new(Semaphore::new(1));
        let turn = Arc::clone(&turns).try_acquire_owned().unwrap();
        let (mut server, source) = rig.source(UNTIL_CLOSED, turn, bounds).await;
        let reader = Reader::of(source);
        if how == "unread" {
            is_left(&mut server).await;
            assert_eq!(turns.available_permits(), 1, "another may be opened");
        }
        let piece = reader.read(9).await;
        let error = piece.unwrap_err();
        assert_eq!(error.known(), Some(RpcErrorCode::Timeout), "{error:?}");
        assert!(error.message.contains(said), "{error:?}");
        is_left(&mut server).await;
        reader.over().await;
        assert_eq!(rig.ends().pop(), Some((how.to_owned(), 0)));
    }
}

#[tokio::test]
async fn nothing_is_read_ahead_for_a_plugin_that_does_not_read() {
    let rig = Rig::new().await;
    let (server, source) = rig.source(UNTIL_CLOSED, turn(), bounds(usize::MAX)).await;
    let (mut gone, mut server) = server.into_split();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let writing = tokio::spawn(async move {
        let piece = vec![b'x'; 64 * 1024];
        while let Ok(length) = server.write(&piece).await {
            counted.fetch_add(length, Ordering::SeqCst);
        }
    });
    let reader = Reader::of(source);
    // Once the buffers of the kernel are full the server stands still, and goes on when a piece is taken.
    let stands_still = async || {
        let mut before = usize::MAX;
        while before != sent.load(Ordering::SeqCst) {
            before = sent.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        before
    };
    let ahead = tokio::time::timeout(WAIT, stands_still()).await.unwrap();
    assert!(ahead < 32 * 1024 * 1024, "{ahead}");
    let mut read = 0;
    while read < 16 * 1024 * 1024 {
        read += seen(reader.read(64 * 1024).await).0.len();
    }
    let later = tokio::time::timeout(WAIT, stands_still()).await.unwrap();
    assert!(later > ahead && later - read < 32 * 1024 * 1024, "{ahead} {read} {later}");
    reader.close().await;
    tokio::time::timeout(WAIT, writing).await.unwrap().unwrap();
    assert_eq!(gone.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn so_many_are_open_at_once_and_none_when_the_plugin_has_ended() {
    let rig = Rig::new().await;
    let streams = Arc::new(Streams::default());
    let mut turns: Vec<_> = (0..STREAMS_MAX).map(|_| streams.turn().unwrap()).collect();
    let refused = streams.turn().unwrap_err();
    assert_eq!(refused.known(), Some(RpcErrorCode::Busy));
    let (mut server, source) = rig.source(UNTIL_CLOSED, turns.pop().unwrap(), bounds(100)).await;
    let (mut late_server, late) = rig.source(UNTIL_CLOSED, turns.pop().unwrap(), bounds(100)).await;
    let id = streams.keep(source).unwrap();
    assert_eq!(id.len(), 32);
    tokio::time::timeout(WAIT, streams.end()).await.unwrap();
    is_left(&mut server).await;
    assert_eq!(streams.keep(late).unwrap_err().known(), Some(RpcErrorCode::Cancelled));
    is_left(&mut late_server).await;
    assert!(streams.turn().is_ok());
    assert_eq!(rig.ends(), [("stopped".to_owned(), 0), ("stopped".to_owned(), 0)]);
}
