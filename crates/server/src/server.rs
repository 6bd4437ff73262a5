//! The server: bound first, so that whoever starts it knows the addresses, then served until it is told to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ringfence::{Error, Host};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::api::{self, Api};
use crate::dashboard::{self, Dashboard};
use crate::impatient::Impatient;
use crate::listen::{self, Accepted, Bound, Listen, Peer, Places};
use crate::mcp::{InstallFrom, Management, ManagementOptions, admin_router};

/// Connections at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Connections of the Unix sockets at once.
pub const LOCAL_CONNECTIONS_MAX: usize = 1_024;
/// How long the head of a request, or the handshake of TLS, may take.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes, and its fields.
const HEAD_MAX_BYTES: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// How long a client may leave what it is sent unread.
const UNREAD_WAIT: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the machine could not give a descriptor.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How a server behaves.
///
/// ```
/// use ringfence_server::{Listen, ServerOptions};
///
/// let listen = vec![Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), tls: None }];
/// let options = ServerOptions { listen, ..ServerOptions::default() };
/// assert_eq!(options.body_max, 4 << 20);
/// ```
#[derive(Debug)]
pub struct ServerOptions {
    /// Where requests come in.
    pub listen: Vec<Listen>,
    /// How long requests that are under way may go on after the stop. Default 10 s.
    pub drain: Duration,
    /// The largest body of a request, in bytes. Default 4 MiB.
    pub body_max: usize,
    /// Directories from which packages may be installed over HTTP. Default none.
    pub install_from: Vec<PathBuf>,
    /// Names of this server beside its addresses and `localhost`: what a Host header may say. Default none.
    pub names: Vec<String>,
    /// Requests of one token a second, twice as many at once. Default 1,000; `None` lifts it.
    pub requests_per_second: Option<u32>,
    /// How many of what lasts there may be at once.
    pub limits: ServerLimits,
}

/// How many of what lasts there may be at once; a further one is answered with `busy`.
///
/// ```
/// let limits = ringfence_server::server::ServerLimits::default();
/// assert!(limits.streams_per_token < limits.streams);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Server-sent streams. Default [`api::STREAMS_MAX`].
    pub streams: usize,
    /// Those of one token, so that no token takes all of them. Default [`api::STREAMS_PER_TOKEN_MAX`].
    pub streams_per_token: usize,
    /// Commands of `POST /exec`. Default [`api::EXECS_MAX`].
    pub execs: usize,
    /// Verifications of the audit trail and scans of the plugin directories. Default [`api::LONG_LOOKS_MAX`].
    pub long_looks: usize,
    /// Packages that come in. Default [`api::UPLOADS_MAX`].
    pub uploads: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            streams: api::STREAMS_MAX,
            streams_per_token: api::STREAMS_PER_TOKEN_MAX,
            execs: api::EXECS_MAX,
            long_looks: api::LONG_LOOKS_MAX,
            uploads: api::UPLOADS_MAX,
        }
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            drain: Duration::from_secs(10),
            body_max: 4 << 20,
            install_from: Vec::new(),
            names: Vec::new(),
            requests_per_second: Some(1_000),
            limits: ServerLimits::default(),
        }
    }
}

/// A server that has bound its addresses.
///
/// ```no_run
/// use ringfence_server::{Listen, Server, ServerOptions};
///
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// let listen = vec![Listen::Tcp { address: ([127, 0, 0, 1], 7700).into(), tls: None }];
/// let server = Server::bind(host.clone(), ServerOptions { listen, ..ServerOptions::default() }).await?;
/// println!("{:?}", server.addresses());
/// server.serve(std::future::pending()).await;
/// host.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    places: Places,
    router: Router,
    api: Arc<Api>,
    management: Management,
    dashboard: Arc<Dashboard>,
    stop: watch::Sender<bool>,
    drain: Duration,
}

impl Server {
    /// Binds every address.
    ///
    /// # Errors
    /// `io` or `busy`: an address cannot be bound; `invalid_config`: it is not loopback and has no TLS, or a certificate cannot
    /// be used.
    ///
    /// # Cancel safety
    /// Dropped, nothing stays bound.
    pub async fn bind(host: Host, mut options: ServerOptions) -> Result<Self, Error> {
        let mut places = Vec::new();
        for listen in std::mem::take(&mut options.listen) {
            places.push(Bound::bind(listen).await?);
        }
        let names = listen::names(&places, &options.names);
        let (stop, stopped) = watch::channel(false);
        let origin = listen::origin(&places, &options.names);
        let from = InstallFrom::Directories(options.install_from.clone());
        let management = Management::resident(
            host.clone(),
            ManagementOptions { install_from: from, page: origin.clone() },
        );
        let api = Arc::new(Api::new(host, &options, names, origin, stopped));
        let dashboard = Arc::new(Dashboard::new(Arc::clone(&api), &places));
        let router = api::router(&api)
            .nest("/mcp/admin", admin_router(management.clone()))
            .merge(dashboard::router(&dashboard));
        let router = router.fallback(api::not_found);
        let places = places.into_iter().map(Arc::new).collect();
        Ok(Self { places, router, api, management, dashboard, stop, drain: options.drain })
    }

    /// The addresses of its TCP sockets, in the order in which they were asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.places.iter().filter_map(|place| place.address()).collect()
    }

    /// Serves until `stop` is ready: then nothing new is accepted, what is under way is given [`ServerOptions::drain`], and
    /// streams are ended. The host is left to the caller to shut down.
    ///
    /// # Cancel safety
    /// Dropped, connections are cut; what changes something is carried to its end all the same.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let mut accepting = JoinSet::new();
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // Of their own, so that strangers who hold all others do not keep the owner out.
        let local = Arc::new(Semaphore::new(LOCAL_CONNECTIONS_MAX));
        for place in self.places {
            let connections = if place.address().is_some() { &connections } else { &local };
            let accept = Accept {
                api: Arc::clone(&self.api),
                router: self.router.clone(),
                connections: Arc::clone(connections),
                place,
                stop: self.stop.subscribe(),
            };
            accepting.spawn(accept.run());
        }
        tokio::select! {
            () = stop => {}
            () = self.api.watch_leases() => {}
            () = self.dashboard.watch_sessions() => {}
        }
        // Nobody may be left to be told.
        let _nobody = self.stop.send(true);
        self.api.runs.close();
        let (management, drain) = (self.management, self.drain);
        let connections = async { while accepting.join_next().await.is_some() {} };
        // What was begun goes on although its connection is gone.
        let drained = async { tokio::join!(connections, self.api.settle(), management.settle(drain)).2 };
        if !tokio::time::timeout(drain, drained).await.is_ok_and(|settled| settled) {
            tracing::warn!("requests were cut off: they did not end in time");
        }
    }
}

/// Accepts at one place, and owns the connections that it has accepted.
struct Accept {
    place: Arc<Bound>,
    api: Arc<Api>,
    router: Router,
    connections: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Accept {
    async fn run(mut self) {
        let mut served = JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.place.accept() => accepted,
                () = stopped(&mut self.stop) => break,
                Some(_ended) = served.join_next() => continue,
            };
            match accepted {
                Ok((accepted, peer)) => {
                    let service = Service { api: Arc::clone(&self.api), router: self.router.clone(), peer };
                    let stop = self.stop.clone();
                    served.spawn(async move {
                        connection(accepted, service, stop).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
        // Nothing more is accepted from here on.
        drop(self.place);
        while served.join_next().await.is_some() {}
    }
}

/// What answers the requests of one connection.
struct Service {
    api: Arc<Api>,
    router: Router,
    peer: Peer,
}

async fn connection(accepted: Accepted, service: Service, stop: watch::Receiver<bool>) {
    match accepted {
        Accepted::Tcp(stream) => serve_on(stream, service, stop).await,
        Accepted::Unix(stream) => serve_on(stream, service, stop).await,
        Accepted::Tls(stream, acceptor) => {
            match tokio::time::timeout(HEAD_WAIT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve_on(stream, service, stop).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

async fn serve_on<S>(stream: S, service: Service, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Service { api, router, peer } = service;
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (api, router) = (Arc::clone(&api), router.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(peer);
            let request = hyper::Request::from_parts(parts, Body::new(body));
            Ok::<_, Infallible>(api::respond(&api, router, request).await)
        }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WAIT)
            .max_buf_size(HEAD_MAX_BYTES)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(Impatient::new(stream, UNREAD_WAIT)), service)
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Waits until the server is told to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A server that is gone has stopped, too.
    let _stopped = stop.wait_for(|stop| *stop).await.is_ok();
}
