//! Where a server listens.

use std::net::SocketAddr;
use std::path::PathBuf;

/// One place where requests come in.
///
/// ```
/// use ringfence_server::Listen;
///
/// let listen = Listen::Tcp { address: ([127, 0, 0, 1], 7700).into(), tls: None };
/// assert!(matches!(listen, Listen::Tcp { tls: None, .. }));
/// ```
#[derive(Debug)]
pub enum Listen {
    /// An address. Anything but loopback needs `tls`.
    Tcp {
        /// Port 0 takes a free one.
        address: SocketAddr,
        /// Certificate and key; `None` speaks plain HTTP.
        tls: Option<TlsFiles>,
    },
    /// A socket file, made with mode 0600. Whoever connects as root or as the user of this process acts as an administrator
    /// without a token; anybody else is refused.
    Unix {
        /// Where the file is; one that nobody listens on is replaced.
        path: PathBuf,
    },
    /// A TCP socket that somebody else has bound, such as systemd. Must be loopback.
    InheritedTcp(std::net::TcpListener),
    /// A Unix socket that somebody else has bound.
    InheritedUnix(std::os::unix::net::UnixListener),
}

/// Certificate chain and private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Its private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}
