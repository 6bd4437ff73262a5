//! The demo's temporary directory and its canaries: files, sockets, a variable. They tell what was reached, whatever the
//! hostile program says of itself.

mod sockets;

use std::fs::{self, DirBuilder};
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence::Error;
use ringfence_api::ErrorCode;

use super::guest::PLANTED;
use sockets::{listen, socket_name};

/// How many names are tried for the directory before giving up.
const NAMES_TRIED: u32 = 100;
/// Variables that a sandbox sets itself, with values of its own.
const OWN_VARIABLES: [&str; 6] = ["PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "LANG"];
/// A shorter value could stand in any output by chance.
const VALUE_MIN_BYTES: usize = 4;
/// How long a program that runs needs at most to put its mark back.
pub(super) const MARK_WAIT: Duration = Duration::from_millis(200);
/// The private directories of the hostile plugin and of its neighbour, and the mark of a child process.
const OWN: &str = "home/data/hostile";
pub(super) const NEIGHBOUR: &str = "home/data/checksum/private.txt";
const MARK: &str = "home/data/stubborn/alive";
pub(super) const CHILD: &str = "home/data/stubborn/child";
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
    unix: UnixListener,
    /// A variable of this process that is not one of a sandbox's own, if there is any.
    variable: Option<(String, String)>,
}

pub(super) fn failed(action: &str, path: &Path, source: io::Error) -> Error {
    Error::new(ErrorCode::Io, format!("cannot {action} '{}'", path.display())).with_source(source)
}

impl World {
    pub(super) fn make() -> Result<Self, Error> {
        let base = make_base()?;
        let (tcp, udp, unix) = match listen(&socket_name(&base)) {
            Ok(sockets) => sockets,
            Err(source) => {
                let _empty_and_ours = fs::remove_dir(&base);
                return Err(Error::new(ErrorCode::Io, "cannot listen on loopback").with_source(source));
            }
        };
        let world = Self { base, secret: token(), tcp, udp, unix, variable: variable(std::env::vars()) };
        world.fill().map_err(|error| failed("fill", &world.base, error))?;
        Ok(world)
    }

    fn fill(&self) -> io::Result<()> {
        for directory in ["notes", "private", "guest-book", "data"] {
            fs::create_dir(self.path(directory))?;
        }
        for (name, text) in NOTES {
            fs::write(self.path("notes").join(name), text)?;
        }
        fs::write(self.path("private/id_ed25519"), &self.secret)?;
        fs::write(self.path("guest-book/today.txt"), "Ada was here.\n")?;
        fs::write(self.path("data/numbers.txt"), "1 1 2 3 5 8\n")?;
        self.reset()
    }

    /// Puts what the acts are after beside the plugins that are installed now.
    pub(super) fn furnish(&self) -> io::Result<()> {
        fs::write(self.path(NEIGHBOUR), &self.secret)?;
        std::os::unix::fs::symlink(self.path("private/id_ed25519"), self.own("shortcut"))
    }

    /// A file in the private directory of the hostile plugin.
    pub(super) fn own(&self, name: &str) -> PathBuf {
        self.path(OWN).join(name)
    }

    /// Puts the canaries back after an act that was meant to reach them.
    pub(super) fn reset(&self) -> io::Result<()> {
        fs::write(self.path("private/ledger.txt"), LEDGER)?;
        let planted = self.path("packages/hostile").join(PLANTED);
        let left = [self.own("large"), self.own("set-id"), self.path(CHILD), planted];
        for file in left {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.tcp_reached();
        self.udp_reached();
        self.unix_reached();
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

    /// The name of the listener in the abstract namespace.
    pub(super) fn unix_name(&self) -> String {
        socket_name(&self.base)
    }

    /// Whether anybody has connected to it since the last look.
    pub(super) fn unix_reached(&self) -> bool {
        let mut reached = false;
        while self.unix.accept().is_ok() {
            reached = true;
        }
        reached
    }

    pub(super) fn ledger_changed(&self) -> bool {
        fs::read(self.path("private/ledger.txt")).map_or(true, |text| text != LEDGER.as_bytes())
    }

    /// Size and mode of a file, if it is there.
    pub(super) fn seen(path: &Path) -> Option<(u64, u32)> {
        let seen = fs::symlink_metadata(path).ok()?;
        Some((seen.len(), seen.mode()))
    }

    /// Whether the hostile plugin's package has a file more, as it came or as it is installed.
    pub(super) fn planted(&self) -> bool {
        let installed = fs::read_dir(self.path("home/store")).into_iter().flatten().flatten();
        let mut packages = installed.map(|entry| entry.path()).chain([self.path("packages/hostile")]);
        packages.any(|package| package.join(PLANTED).exists())
    }

    /// What the logs of a plugin take.
    pub(super) fn log_bytes(&self, plugin: &str) -> u64 {
        let files = fs::read_dir(self.path("home/logs")).into_iter().flatten().flatten();
        let own = files.filter(|file| file.file_name().to_string_lossy().starts_with(plugin));
        own.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// Takes the mark of the plugin that does not want to end away. While it runs, the mark comes back.
    pub(super) fn take_mark_away(&self) {
        let _absent_is_fine = fs::remove_file(self.path(MARK));
    }

    /// Whether that mark is there.
    pub(super) fn has_mark(&self) -> bool {
        self.path(MARK).exists()
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
        for directory in ["home/data/hostile", "home/data/checksum", "home/data/stubborn", "packages/hostile"]
        {
            fs::create_dir_all(world.path(directory)).unwrap();
        }
        world.furnish().unwrap();
        let reached = |world: &World| {
            [
                world.tcp_reached(),
                world.udp_reached(),
                world.unix_reached(),
                world.ledger_changed(),
                world.planted(),
            ]
        };
        assert_eq!(reached(&world), [false; 5]);
        let act = |words: &[String]| perform(words).unwrap();
        act(&["connect".into(), world.tcp_address().unwrap().to_string(), "x".into()]);
        act(&["datagram".into(), world.udp_address().unwrap().to_string(), "x".into()]);
        act(&["abstract".into(), world.unix_name()]);
        act(&["append".into(), world.path("private/ledger.txt").display().to_string(), "x".into()]);
        act(&["plant".into(), world.path("packages/hostile").display().to_string()]);
        act(&["set-id".into(), world.own("set-id").display().to_string()]);
        assert_eq!(reached(&world), [true; 5]);
        assert_eq!(World::seen(&world.own("set-id")).unwrap().1 & 0o7777, 0o4755);
        assert!(act(&["read".into(), world.own("shortcut").display().to_string()]).contains(world.secret()));
        world.reset().unwrap();
        assert_eq!(reached(&world), [false; 5]);
        assert!(World::seen(&world.own("set-id")).is_none() && !world.has_mark());
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
