//! Where the daemon listens: what the command line says, else what a service manager has bound, else the configuration; and its
//! Unix socket, by which the other commands find it.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ringfence::Error;
use ringfence::config::ServerConfig;
use ringfence::resident::HandedSocket;
use ringfence_api::ErrorCode;
use ringfence_server::Listen;
use ringfence_server::listen::TlsFiles;

/// The longest path of a socket (unix(7): 108 with the zero at its end).
const UNIX_PATH_MAX_BYTES: usize = 107;

/// One word of `--listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(SocketAddr),
    /// Nowhere: the Unix socket is all.
    Nowhere,
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Nowhere),
            text => text.parse().map(Self::At).map_err(|_| "expected an address and a port, or none"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Nowhere => f.write_str("none"),
        }
    }
}

/// The addresses of all words; `None` when there is no word, which leaves it to others to say.
///
/// # Errors
/// `usage` for `none` beside an address.
pub(super) fn addresses(words: &[Place]) -> Result<Option<Vec<SocketAddr>>, Error> {
    let at = |word: &Place| match word {
        Place::At(address) => Some(*address),
        Place::Nowhere => None,
    };
    let addresses: Vec<SocketAddr> = words.iter().filter_map(at).collect();
    if addresses.len() < words.len() && words.len() > 1 {
        return Err(Error::new(ErrorCode::Usage, "--listen none stands alone"));
    }
    Ok((!words.is_empty()).then_some(addresses))
}

/// What the caller says.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// `None`: nothing.
    pub(super) listen: Option<Vec<SocketAddr>>,
    pub(super) unix: Option<&'a OsStr>,
    /// Where the socket is unless the caller says otherwise.
    pub(super) own_socket: PathBuf,
}

/// All places, and the Unix socket among them that other commands connect to.
///
/// # Errors
/// `invalid_config` for an address beyond loopback without a certificate; `usage` for a path that no socket can have, and when
/// nothing is left to listen on.
pub(super) fn places(
    wanted: &Wanted<'_>,
    handed: Vec<HandedSocket>,
    config: &ServerConfig,
) -> Result<(Vec<Listen>, Option<PathBuf>), Error> {
    let tls = tls(config);
    let mut places = Vec::new();
    let mut inherited_socket = None;
    let mut inherited_tcp = false;
    for socket in handed {
        match socket {
            HandedSocket::Tcp(listener) => {
                inherited_tcp = true;
                places.push(Listen::InheritedTcp(listener));
            }
            HandedSocket::Unix(listener) => {
                let name = listener.local_addr().ok().and_then(|name| name.as_pathname().map(Path::to_owned));
                inherited_socket = inherited_socket.or(name);
                places.push(Listen::InheritedUnix(listener));
            }
        }
    }
    let addresses = match (&wanted.listen, inherited_tcp) {
        (Some(given), _) => given.as_slice(),
        (None, true) => &[],
        (None, false) => config.listen.as_slice(),
    };
    for address in addresses {
        if !address.ip().is_loopback() && tls.is_none() {
            return Err(open_to_others(*address));
        }
        places.push(Listen::Tcp { address: *address, tls: tls.clone() });
    }
    let path = match (wanted.unix, &inherited_socket) {
        (Some(word), _) if word == "none" => None,
        (Some(path), _) => Some(std::path::absolute(path).map_err(|cause| {
            Error::new(ErrorCode::Usage, "--unix: there is no such path").with_source(cause)
        })?),
        // Somebody else has bound the one that we are found by.
        (None, Some(_)) => None,
        (None, None) => Some(wanted.own_socket.clone()),
    };
    if let Some(path) = &path {
        fits(path)?;
        places.push(Listen::Unix { path: path.clone() });
    }
    if places.is_empty() {
        let message = "there is nothing to listen on: no address and no Unix socket";
        return Err(Error::new(ErrorCode::Usage, message)
            .with_hint("give --listen ADDRESS, or leave --unix none out"));
    }
    Ok((places, path.or(inherited_socket)))
}

fn tls(config: &ServerConfig) -> Option<TlsFiles> {
    let (certificate, key) = (config.tls_certificate.clone()?, config.tls_key.clone()?);
    Some(TlsFiles { certificate, key })
}

fn open_to_others(address: SocketAddr) -> Error {
    let message = format!(
        "{address} can be reached from other machines, and there is no certificate: it is not served"
    );
    Error::new(ErrorCode::InvalidConfig, message).with_hint(
        "set tls_certificate and tls_key under [server] of config.toml, or listen on 127.0.0.1 behind a proxy",
    )
}

/// The kernel would only say "invalid argument".
fn fits(path: &Path) -> Result<(), Error> {
    let bytes = path.as_os_str().len();
    if bytes <= UNIX_PATH_MAX_BYTES {
        return Ok(());
    }
    let message = format!(
        "the path of the Unix socket has {bytes} bytes, and can have {UNIX_PATH_MAX_BYTES}: '{}'",
        path.display()
    );
    Err(Error::new(ErrorCode::Usage, message)
        .with_hint("give a shorter one with --unix PATH, or --unix none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(listen: &[SocketAddr], unix: Option<&'a str>) -> Wanted<'a> {
        let listen = (!listen.is_empty()).then(|| listen.to_vec());
        Wanted { listen, unix: unix.map(OsStr::new), own_socket: "/h/daemon.sock".into() }
    }

    fn seen(places: &[Listen]) -> Vec<String> {
        let place = |place: &Listen| match place {
            Listen::Tcp { address, tls } => format!("{address}{}", if tls.is_some() { " tls" } else { "" }),
            Listen::Unix { path } => path.display().to_string(),
            Listen::InheritedTcp(_) => "tcp from outside".to_owned(),
            Listen::InheritedUnix(_) => "unix from outside".to_owned(),
        };
        places.iter().map(place).collect()
    }

    #[test]
    fn the_command_line_comes_before_the_configuration() {
        let config = ServerConfig::default();
        let own: Vec<SocketAddr> = vec!["[::1]:0".parse().unwrap()];
        let (places_, socket) = places(&wanted(&[], None), Vec::new(), &config).unwrap();
        assert_eq!(seen(&places_), ["127.0.0.1:7700", "/h/daemon.sock"]);
        assert_eq!(socket.unwrap(), Path::new("/h/daemon.sock"));
        let (places_, socket) = places(&wanted(&own, Some("none")), Vec::new(), &config).unwrap();
        assert_eq!((seen(&places_), socket), (vec!["[::1]:0".to_owned()], None));
        let (places_, _) = places(&wanted(&own, Some("/run/r.sock")), Vec::new(), &config).unwrap();
        assert_eq!(seen(&places_), ["[::1]:0", "/run/r.sock"]);
    }

    #[test]
    fn none_is_nowhere_and_stands_alone() {
        let words = |all: &[&str]| all.iter().map(|word| word.parse().unwrap()).collect::<Vec<Place>>();
        assert_eq!(addresses(&[]).unwrap(), None);
        let none = words(&["none"]);
        assert_eq!((addresses(&none).unwrap(), none[0].to_string()), (Some(Vec::new()), "none".to_owned()));
        let wanted = Wanted { listen: Some(Vec::new()), ..wanted(&[], None) };
        let (places_, _) = places(&wanted, Vec::new(), &ServerConfig::default()).unwrap();
        assert_eq!(seen(&places_), ["/h/daemon.sock"]);
        assert_eq!(addresses(&words(&["none", "[::1]:1"])).unwrap_err().code(), ErrorCode::Usage);
        assert!("localhost".parse::<Place>().is_err());
    }

    #[test]
    fn what_a_service_manager_has_bound_takes_the_place_of_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let handed = || {
            vec![
                HandedSocket::Tcp(std::net::TcpListener::bind("127.0.0.1:0").unwrap()),
                HandedSocket::Unix(std::os::unix::net::UnixListener::bind(&path).unwrap()),
            ]
        };
        let config = ServerConfig::default();
        let (places_, socket) = places(&wanted(&[], None), handed(), &config).unwrap();
        assert_eq!(seen(&places_), ["tcp from outside", "unix from outside"]);
        assert_eq!(socket.as_deref(), Some(path.as_path()));
    }

    #[test]
    fn nothing_but_loopback_without_a_certificate() {
        let outside: Vec<SocketAddr> = vec!["0.0.0.0:7700".parse().unwrap()];
        let mut config = ServerConfig::default();
        let error = places(&wanted(&outside, None), Vec::new(), &config).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        (config.tls_certificate, config.tls_key) = (Some("/c".into()), Some("/k".into()));
        let (places_, _) = places(&wanted(&outside, None), Vec::new(), &config).unwrap();
        assert_eq!(seen(&places_), ["0.0.0.0:7700 tls", "/h/daemon.sock"]);
    }

    #[test]
    fn a_place_that_cannot_be_is_said_before_anything_starts() {
        let mut config = ServerConfig::default();
        let long = format!("/{}", "x".repeat(UNIX_PATH_MAX_BYTES));
        let error = places(&wanted(&[], Some(&long)), Vec::new(), &config).unwrap_err();
        assert!(error.message().contains("108 bytes"), "{error}");
        config.listen.clear();
        let error = places(&wanted(&[], Some("none")), Vec::new(), &config).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Usage);
    }
}
