//! The acts of the demo's programs, as a hidden verb of this binary and as what its hostile plugin does.
//!
//! Every act is written to succeed, and does so without a sandbox. None of them harms anything when a sandbox fails to hold
//! it: files are the demo's own, settings are opened and not changed, and what grows is bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use clap::Args;

use crate::print;

/// More than any limit of the demo, and bounded all the same.
pub(super) const MEMORY_BYTES: usize = 512 << 20;
pub(super) const THREADS: usize = 200;
pub(super) const FLOOD_BYTES: usize = 16 << 20;
pub(super) const FILE_BYTES: usize = 8 << 20;
/// What is put where it must not be.
pub(super) const PLANTED: &str = "planted";
/// What is written at once.
const BLOCK_BYTES: usize = 64 << 10;
/// A line of the flood.
const LINE_BYTES: usize = 4 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const THREAD_STACK_BYTES: usize = 64 << 10;

#[derive(Debug, Args)]
pub(crate) struct GuestArguments {
    /// What to do, and with what
    #[arg(required = true, num_args = 1.., allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Does one act: what came of it goes to stdout, why it failed to stderr.
pub(crate) fn run(arguments: &GuestArguments) -> ExitCode {
    match perform(&arguments.words) {
        Ok(text) => print::data(&text),
        Err(error) => {
            print::talk(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The act that the first word names, with the other words.
pub(super) fn perform(words: &[String]) -> io::Result<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["count", directory] => count(Path::new(directory)),
        ["read", path] => read(path),
        ["variable", name] => std::env::var(name)
            .map(|value| format!("{name}={value}"))
            .map_err(|_| io::Error::other("it is not set")),
        ["append", path, text] => append(path, text),
        ["connect", address, text] => connect(address, text),
        ["datagram", address, text] => datagram(address, text),
        ["setting", path] => OpenOptions::new().write(true).open(path).map(|_| format!("opened {path}")),
        ["devices", ref paths @ ..] => devices(paths),
        ["memory"] => memory(),
        ["threads"] => threads(),
        ["flood"] => flood(),
        ["file", path] => file(path),
        ["set-id", path] => set_id(path),
        ["plant", directory] => plant(Path::new(directory)),
        ["abstract", name] => abstract_socket(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "no such act")),
    }
}

fn count(directory: &Path) -> io::Result<String> {
    let (mut files, mut words) = (0, 0);
    for entry in std::fs::read_dir(directory)? {
        words += std::fs::read_to_string(entry?.path())?.split_whitespace().count();
        files += 1;
    }
    Ok(format!("{words} words in {files} files"))
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BLOCK_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn append(path: &str, text: &str) -> io::Result<String> {
    OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())?;
    Ok("appended".to_owned())
}

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no address"))
}

fn connect(to: &str, text: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address(to)?, CONNECT_TIMEOUT)?;
    stream.write_all(text.as_bytes())?;
    Ok("sent".to_owned())
}

fn datagram(to: &str, text: &str) -> io::Result<String> {
    let to = address(to)?;
    UdpSocket::bind((to.ip(), 0))?.send_to(text.as_bytes(), to)?;
    Ok("sent".to_owned())
}

/// Opens the first that opens; the error of the last, if none does.
fn devices(paths: &[&str]) -> io::Result<String> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for path in paths {
        match File::open(path) {
            Ok(_) => return Ok(format!("opened {path}")),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn memory() -> io::Result<String> {
    let mut blocks = Vec::new();
    for _ in 0..MEMORY_BYTES / BLOCK_BYTES {
        let mut block = Vec::new();
        block.try_reserve_exact(BLOCK_BYTES).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // Written, so that it is there and not only promised.
        block.resize(BLOCK_BYTES, 1u8);
        blocks.push(block);
    }
    Ok(format!("took {} bytes", blocks.iter().map(Vec::len).sum::<usize>()))
}

/// Starts threads that all wait, and lets them end when it is known how many there can be.
fn threads() -> io::Result<String> {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
    let mut started = 0;
    let mut refused = None;
    while started < THREADS && refused.is_none() {
        let waits = Arc::clone(&gate);
        let sleeper = move || drop(waits.read());
        match std::thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(sleeper) {
            Ok(_) => started += 1,
            Err(error) => refused = Some(error),
        }
    }
    drop(closed);
    match refused {
        None => Ok(format!("started {started} threads")),
        Some(error) => Err(io::Error::new(error.kind(), format!("{started} started, then: {error}"))),
    }
}

/// To standard error: a plugin's log.
fn flood() -> io::Result<String> {
    let mut block = [b'x'; BLOCK_BYTES];
    for line in block.chunks_mut(LINE_BYTES) {
        line.last_mut().into_iter().for_each(|end| *end = b'\n');
    }
    let mut out = io::stderr().lock();
    for _ in 0..FLOOD_BYTES / BLOCK_BYTES {
        out.write_all(&block)?;
    }
    Ok("written".to_owned())
}

fn file(path: &str) -> io::Result<String> {
    let block = [b'x'; BLOCK_BYTES];
    let mut file = File::create(path)?;
    for _ in 0..FILE_BYTES / BLOCK_BYTES {
        file.write_all(&block)?;
    }
    Ok("written".to_owned())
}

fn set_id(path: &str) -> io::Result<String> {
    let file = File::create(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o4755))?;
    Ok(format!("mode {:o}", file.metadata()?.permissions().mode()))
}

/// Puts a file into a directory, made writable first where that takes no more than its owner's word.
fn plant(directory: &Path) -> io::Result<String> {
    let mode = directory.metadata()?.permissions().mode();
    let asked = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode | 0o200));
    std::fs::write(directory.join(PLANTED), "this runs next time")?;
    asked.map(|()| format!("made {PLANTED}"))
}

fn abstract_socket(name: &str) -> io::Result<String> {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixStream::connect_addr(&address)?.write_all(b"found")?;
    Ok("sent".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(words: &[&str]) -> io::Result<String> {
        perform(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn acts_fail_with_the_reason_and_succeed_with_what_they_did() {
        assert_eq!(act(&["read", "/nowhere"]).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(act(&["devices", "/nowhere", "/dev/null"]).unwrap(), "opened /dev/null");
        assert_eq!(act(&["devices", "/nowhere"]).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(act(&["threads"]).unwrap(), format!("started {THREADS} threads"));
        assert!(act(&["variable", "RINGFENCE_NO_SUCH_VARIABLE"]).is_err());
        assert_eq!(act(&["fly"]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
