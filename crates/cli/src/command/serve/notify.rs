//! What a service manager is told (sd_notify(3)): datagrams to the socket that `NOTIFY_SOCKET` names. Without one nobody is told.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Whom to tell.
#[derive(Debug)]
pub(crate) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says.
    pub(crate) fn from_env() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let to = std::env::var_os("NOTIFY_SOCKET").and_then(|name| open(&name));
        // Without the number it is meant for whoever reads it.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0).map(Duration::from_micros);
        Self { to, watchdog }
    }

    /// How often the service manager wants to hear that we live, halved: one that is late is still in time.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.to.is_some()).map(|interval| interval / 2)
    }

    /// Says it; `NAME=VALUE` lines. A service manager that cannot be reached is none of our business.
    pub(crate) fn say(&self, state: &str) {
        if let Some((socket, address)) = &self.to {
            let _unreachable = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

/// A name that begins with `@` is not in the file system.
fn open(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok()?,
        [b'/', ..] => SocketAddr::from_pathname(name).ok()?,
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    // Its queue may be full; we do not wait for it.
    socket.set_nonblocking(true).ok()?;
    Some((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_names_are_told_and_others_are_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("ringfence-test-{}", std::process::id());
        let (by_path, by_name) = (
            UnixDatagram::bind(&path).unwrap(),
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap(),
        );
        for (name, heard) in [(path.into_os_string(), by_path), (format!("@{abstract_name}").into(), by_name)]
        {
            let notifier = Notifier { to: open(&name), watchdog: Some(Duration::from_secs(2)) };
            notifier.say("READY=1\nSTATUS=serving");
            let mut buffer = [0; 64];
            let length = heard.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=serving");
            assert_eq!(notifier.watchdog(), Some(Duration::from_secs(1)));
        }
        let nobody = Notifier { to: open(OsStr::new("relative")), watchdog: Some(Duration::from_secs(2)) };
        nobody.say("READY=1");
        assert_eq!(nobody.watchdog(), None);
    }
}
