//! The demo's temporary directory and its canaries: files, sockets, a variable. They tell what was reached, whatever the
//! hostile program says of itself.

use std::fs::{self, DirBuilder};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use ringfence::Error;
use ringfence_api::ErrorCode;

/// How many names are tried for the directory before giving up.
const NAMES_TRIED: u32 = 100;
/// Variables that a sandbox sets itself, with values of its own.
const OWN_VARIABLES: [&str; 6] = ["PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "LANG"];
/// A shorter value could stand in any output by chance.
const VALUE_MIN_BYTES: usize = 4;
const LEDGER: &str = "balance: 100\n";
const NOTES: [(&str, &str); 2] = [
    ("monday.txt", "Met Ada about the engine. She wants fewer gears and more cards.\n"),
    ("tuesday.txt", "Asked Grace for the manual. The bug was a moth.\n"),
];

/// What the demo happens in. Dropping it removes it.
#[derive(Debug)]
pub(super) struct World {
    base: PathBuf,
    secret: String,
    tcp: TcpListener,
    udp: UdpSocket,
    /// A variable of this process that is not one of a sandbox's own, if there is any.
    variable: Option<(String, String)>,
}

pub(super) fn failed(action: &str, path: &Path, source: io::Error) -> Error {
    Error::new(ErrorCode::Io, format!("cannot {action} '{}'", path.display())).with_source(source)
}

impl World {
    pub(super) fn make() -> Result<Self, Error> {
        let base = make_base()?;
        let sockets = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|tcp| {
            tcp.set_nonblocking(true)?;
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            udp.set_nonblocking(true)?;
            Ok((tcp, udp))
        });
        let (tcp, udp) = match sockets {
            Ok(sockets) => sockets,
            Err(source) => {
                let _empty_and_ours = fs::remove_dir(&base);
                return Err(Error::new(ErrorCode::Io, "cannot listen on loopback").with_source(source));
            }
        };
        let world = Self { base, secret: token(), tcp, udp, variable: variable(std::env::vars()) };
        world.fill().map_err(|error| failed("fill", &world.base, error))?;
        Ok(world)
    }

    fn fill(&self) -> io::Result<()> {
        for directory in ["notes", "private", "outbox"] {
            fs::create_dir(self.path(directory))?;
        }
        for (name, text) in NOTES {
            fs::write(self.path("notes").join(name), text)?;
        }
        fs::write(self.path("private/secret.txt"), &self.secret)?;
        self.reset()?;
        std::os::unix::fs::symlink(self.path("private/secret.txt"), self.path("outbox/shortcut"))
    }

    /// Puts the canaries back after an act that was meant to reach them.
    pub(super) fn reset(&self) -> io::Result<()> {
        fs::write(self.path("private/ledger.txt"), LEDGER)?;
        for name in ["child", "large", "set-id"] {
            match fs::remove_file(self.path("outbox").join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.tcp_reached();
        self.udp_reached();
        Ok(())
    }

    /// A path in the directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.base.clone() } else { self.base.join(name) }
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    pub(super) fn variable(&self) -> Option<&(String, String)> {
        self.variable.as_ref()
    }

    pub(super) fn tcp_address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    pub(super) fn udp_address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Whether anybody has connected since the last look, with or without sending anything.
    pub(super) fn tcp_reached(&self) -> bool {
        let mut reached = false;
        while let Ok((mut stream, _)) = self.tcp.accept() {
            reached = true;
            // What was sent is of no interest: the connection is the harm.
            let _drained = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0; 64]));
        }
        reached
    }

    /// Whether a datagram has come since the last look.
    pub(super) fn udp_reached(&self) -> bool {
        let mut reached = false;
        while self.udp.recv(&mut [0; 64]).is_ok() {
            reached = true;
        }
        reached
    }

    pub(super) fn ledger_changed(&self) -> bool {
        fs::read(self.path("private/ledger.txt")).map_or(true, |text| text != LEDGER.as_bytes())
    }

    /// Size and mode of a file of the outbox, if it is there.
    pub(super) fn outbox(&self, name: &str) -> Option<(u64, u32)> {
        let seen = fs::symlink_metadata(self.path("outbox").join(name)).ok()?;
        Some((seen.len(), seen.mode()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A leftover is a directory of this user's own, below the temporary directory.
        let _left = fs::remove_dir_all(&self.base);
    }
}

fn make_base() -> Result<PathBuf, Error> {
    let parent = std::env::temp_dir();
    for number in 0..NAMES_TRIED {
        let base = parent.join(format!("ringfence-demo-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&base) {
            Ok(()) => return Ok(base),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(
                    failed("make", &base, error).with_hint("set TMPDIR to a directory you can write to")
                );
            }
        }
    }
    Err(failed("make a directory in", &parent, io::ErrorKind::AlreadyExists.into()))
}

/// A text that stands nowhere else. It guards nothing, so it need not be hard to guess.
fn token() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("the-secret-{:x}-{:x}", std::process::id(), since.as_nanos())
}

/// A variable of the caller's that a sandbox must not show.
fn variable(all: impl Iterator<Item = (String, String)>) -> Option<(String, String)> {
    let mut fitting: Vec<_> = all
        .filter(|(name, value)| {
            !OWN_VARIABLES.contains(&name.as_str())
                && value.len() >= VALUE_MIN_BYTES
                && !value.contains(char::is_control)
        })
        .collect();
    // The longest says the most; the name decides between equals, so that the choice is the same each time.
    fitting.sort_by(|a, b| b.1.len().min(64).cmp(&a.1.len().min(64)).then_with(|| a.0.cmp(&b.0)));
    fitting.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::demo::guest::perform;

    #[test]
    fn canaries_see_what_reaches_them_and_are_put_back() {
        let world = World::make().unwrap();
        assert!(!world.tcp_reached() && !world.udp_reached() && !world.ledger_changed());
        let act = |words: &[String]| perform(words).unwrap();
        act(&["connect".into(), world.tcp_address().unwrap().to_string(), "x".into()]);
        act(&["datagram".into(), world.udp_address().unwrap().to_string(), "x".into()]);
        act(&["append".into(), world.path("private/ledger.txt").display().to_string(), "x".into()]);
        act(&["set-id".into(), world.path("outbox/set-id").display().to_string()]);
        assert!(world.tcp_reached() && world.udp_reached() && world.ledger_changed());
        assert_eq!(world.outbox("set-id").unwrap().1 & 0o7777, 0o4755);
        world.reset().unwrap();
        assert!(!world.tcp_reached() && !world.udp_reached() && !world.ledger_changed());
        assert!(world.outbox("set-id").is_none());
        let base = world.path("");
        drop(world);
        assert!(!base.exists());
    }

    #[test]
    fn a_variable_is_chosen_that_a_sandbox_has_not_itself() {
        let pairs = [("PATH", "/usr/local/bin"), ("A", "x"), ("B", "long enough"), ("C", "longer than it")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variable(pairs.into_iter()).unwrap().0, "C");
        assert!(variable([("PATH".to_owned(), "/usr/bin".to_owned())].into_iter()).is_none());
    }
}
