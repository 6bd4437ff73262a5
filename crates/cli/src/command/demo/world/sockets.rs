//! The listeners that must not be reached.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A name in the abstract namespace has no file; this one is below the 107 bytes that are allowed.
pub(super) fn socket_name(base: &Path) -> String {
    let name = base.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{name}-{:x}", std::process::id())
}

/// The three listeners, none of which waits when it is looked at.
pub(super) fn listen(name: &str) -> io::Result<(TcpListener, UdpSocket, UnixListener)> {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    tcp.set_nonblocking(true)?;
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    udp.set_nonblocking(true)?;
    let unix = UnixListener::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
    unix.set_nonblocking(true)?;
    Ok((tcp, udp, unix))
}
