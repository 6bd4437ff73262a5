//! Where a server listens, and who is at the other end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringfence::Error;
use ringfence_api::ErrorCode;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::tls;

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
    /// without a token; anybody else needs one.
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
///
/// ```
/// let files = ringfence_server::listen::TlsFiles { certificate: "cert.pem".into(), key: "key.pem".into() };
/// assert_ne!(files.certificate, files.key);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Its private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    Tcp {
        address: SocketAddr,
        /// What is sent goes through TLS.
        secure: bool,
    },
    Unix {
        uid: u32,
        /// It is root, or the user of this process.
        trusted: bool,
    },
}

/// A place that is bound.
pub(crate) enum Bound {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Unix(UnixListener, Option<SocketFile>),
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener, _) => f.debug_tuple("Tcp").field(&listener.local_addr()).finish(),
            Self::Unix(_, file) => f.debug_tuple("Unix").field(file).finish(),
        }
    }
}

/// The file of a socket, removed at the end.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another server may have put its own there meanwhile.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

impl Bound {
    /// # Errors
    /// `invalid_config` for an address that would be open to others without TLS; `io` for one that cannot be bound.
    pub(crate) async fn bind(listen: Listen) -> Result<Self, Error> {
        match listen {
            Listen::Tcp { address, tls: None } if !address.ip().is_loopback() => Err(open(address)),
            Listen::Tcp { address, tls } => {
                let acceptor = tls.as_ref().map(tls::acceptor).transpose()?;
                let listener = TcpListener::bind(address).await;
                let listener = listener.map_err(|error| cannot_bind(&address.to_string(), error))?;
                Ok(Self::Tcp(listener, acceptor))
            }
            Listen::Unix { path } => unix(path).await,
            Listen::InheritedTcp(listener) => {
                let failed = |error| cannot_bind("an inherited socket", error);
                let address = listener.local_addr().map_err(failed)?;
                if !address.ip().is_loopback() {
                    return Err(open(address));
                }
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Self::Tcp(TcpListener::from_std(listener).map_err(failed)?, None))
            }
            Listen::InheritedUnix(listener) => {
                let failed = |error| cannot_bind("an inherited socket", error);
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Self::Unix(UnixListener::from_std(listener).map_err(failed)?, None))
            }
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// Whether it speaks TLS.
    pub(crate) const fn is_secure(&self) -> bool {
        matches!(self, Self::Tcp(_, Some(_)))
    }

    pub(crate) async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Tcp(listener, acceptor) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let accepted = match acceptor {
                    None => Accepted::Tcp(stream),
                    Some(acceptor) => Accepted::Tls(stream, acceptor.clone()),
                };
                Ok((accepted, Peer::Tcp { address, secure: acceptor.is_some() }))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // Asked of the kernel, which knows who has connected.
                let uid = stream.peer_cred()?.uid();
                let trusted = uid == 0 || own_uid().is_some_and(|own| own == uid);
                Ok((Accepted::Unix(stream), Peer::Unix { uid, trusted }))
            }
        }
    }
}

/// A connection before its first byte.
pub(crate) enum Accepted {
    Tcp(tokio::net::TcpStream),
    Tls(tokio::net::TcpStream, TlsAcceptor),
    Unix(tokio::net::UnixStream),
}

fn own_uid() -> Option<u32> {
    std::fs::metadata("/proc/self").ok().map(|process| process.uid())
}

/// Binds a socket file that only this user can open.
async fn unix(path: PathBuf) -> Result<Bound, Error> {
    let shown = path.display().to_string();
    let failed = |error| cannot_bind(&shown, error);
    remove_dead(&path).await.map_err(failed)?;
    // Made under a name of its own and with its mode, then put in place: nobody connects in between.
    let temporary = path.with_file_name(format!(".s{}", std::process::id()));
    let _left_over = std::fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).map_err(failed)?;
    let made = std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::symlink_metadata(&temporary))
        .and_then(|found| std::fs::rename(&temporary, &path).map(|()| found.ino()));
    match made {
        Ok(inode) => Ok(Bound::Unix(listener, Some(SocketFile { path, inode }))),
        Err(error) => {
            let _left_over = std::fs::remove_file(&temporary);
            Err(failed(error))
        }
    }
}

/// Removes a socket that nobody listens on.
async fn remove_dead(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"))
        }
        Ok(_) => match tokio::net::UnixStream::connect(path).await {
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            // Full, or somebody else's: not ours to remove.
            Err(error) => Err(error),
        },
    }
}

fn open(address: SocketAddr) -> Error {
    let message = format!("{address} is open to other machines, and has no TLS");
    Error::new(ErrorCode::InvalidConfig, message)
        .with_hint("listen on 127.0.0.1, or set `tls_certificate` and `tls_key` under `[server]`")
}

fn cannot_bind(what: &str, error: io::Error) -> Error {
    let code = if error.kind() == io::ErrorKind::AddrInUse { ErrorCode::Busy } else { ErrorCode::Io };
    Error::new(code, format!("cannot listen on {what}")).with_source(error)
}

/// Names by which a server that listens there may be called: loopback, and the addresses themselves.
pub(crate) fn names(bound: &[Bound], more: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        ["localhost", "127.0.0.1", "[::1]", "::1"].iter().map(|name| (*name).to_owned()).collect();
    for address in bound.iter().filter_map(Bound::address) {
        let ip = address.ip();
        names.push(if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
    }
    names.extend(more.iter().cloned());
    names
}

/// The address that a browser on this machine opens; `None` where nothing listens over TCP.
pub(crate) fn origin(bound: &[Bound], names: &[String]) -> Option<String> {
    let place = bound.iter().find(|place| place.address().is_some())?;
    let address = place.address()?;
    let scheme = if place.is_secure() { "https" } else { "http" };
    let host = match names.first() {
        // What its certificate says.
        Some(name) if place.is_secure() => name.clone(),
        _ if address.ip().is_unspecified() => "localhost".to_owned(),
        _ if address.is_ipv6() => format!("[{}]", address.ip()),
        _ => address.ip().to_string(),
    };
    Some(format!("{scheme}://{host}:{}", address.port()))
}

/// All places of a server.
pub(crate) type Places = Vec<Arc<Bound>>;
