//! Finds, on the host and before anything is started, the files that a plan names: grants, the program, and what a
//! script's first line asks for.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::tree::open_without_links;

/// Where a bare program name is looked up, and the `PATH` of every sandbox. The caller's own `PATH` is not used: it may
/// name directories that a plugin can write.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How many interpreters may follow one another (execve(2) allows four).
const INTERPRETERS_MAX: usize = 4;
/// How much of a script's first line counts (`BINPRM_BUF_SIZE`).
const FIRST_LINE_BYTES: usize = 256;

/// Why something cannot be found or used.
///
/// ```
/// use ringfence_sandbox::{ResolveError, Resolved};
/// assert!(matches!(Resolved::find("/dev/null".as_ref()), Err(ResolveError::Special { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Nothing is there.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// No directory of [`SEARCH_PATH`] has it.
    #[error("no program named {} in {SEARCH_PATH}", name.display())]
    NoSuchProgram {
        /// The name as given.
        name: OsString,
    },
    /// Sockets, pipes and devices are not granted: opening one acts on what is behind it.
    #[error("{} is not a regular file or directory, and only those can be granted", path.display())]
    Special {
        /// The path as resolved.
        path: PathBuf,
    },
    /// There, but no program: a directory, a file without execute permission, or an interpreter line that leads nowhere.
    #[error("{} cannot be executed: {reason}", path.display())]
    NotExecutable {
        /// The path as resolved.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The system refused to look.
    #[error("cannot look at {}", path.display())]
    Io {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A file or directory of the host, by its path without links and by its identity.
///
/// ```
/// let root = ringfence_sandbox::Resolved::find("/usr/../usr/bin".as_ref())?;
/// assert_eq!(root.path(), std::path::Path::new("/usr/bin"));
/// assert!(root.is_directory());
/// # Ok::<(), ringfence_sandbox::ResolveError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    path: PathBuf,
    device: u64,
    inode: u64,
    owner: (u32, u32),
    directory: bool,
}

impl Resolved {
    /// Follows every link of `path` and looks at what is there.
    ///
    /// # Errors
    /// [`ResolveError::Missing`] if nothing is there, [`ResolveError::Special`] if it is neither a regular file nor a
    /// directory, [`ResolveError::Io`] if the system refuses to look.
    pub fn find(path: &Path) -> Result<Self, ResolveError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place that follows links, and says what it found"
        )]
        let real = std::fs::canonicalize(path).map_err(|error| failed(path, error))?;
        let seen = std::fs::symlink_metadata(&real).map_err(|error| failed(path, error))?;
        if !seen.is_file() && !seen.is_dir() {
            return Err(ResolveError::Special { path: real });
        }
        Ok(Self::of(real, &seen))
    }

    fn of(path: PathBuf, seen: &Metadata) -> Self {
        Self {
            path,
            device: seen.dev(),
            inode: seen.ino(),
            owner: (seen.uid(), seen.gid()),
            directory: seen.is_dir(),
        }
    }

    /// The path with every link followed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for reading. No link of its path is followed, nobody is waited for, and what is there must still be what was
    /// found: in a directory that others may write, it can be something else by now.
    ///
    /// # Errors
    /// When it must not be read, is gone, is no regular file, or another one ([`io::ErrorKind::StaleNetworkFileHandle`]).
    pub fn open(&self) -> io::Result<File> {
        let file = File::from(open_without_links(&self.path, OFlags::RDONLY)?);
        let seen = file.metadata()?;
        if !seen.is_file() || (seen.dev(), seen.ino()) != self.identity() {
            return Err(io::ErrorKind::StaleNetworkFileHandle.into());
        }
        Ok(file)
    }

    /// Whether it is a directory; else it is a regular file.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// User and group that own it.
    #[must_use]
    pub fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// Device and inode number.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

fn failed(path: &Path, source: io::Error) -> ResolveError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ResolveError::Missing { path: path.to_owned() }
        }
        _ => ResolveError::Io { path: path.to_owned(), source },
    }
}

/// What will be executed: the file, and the arguments that come before the caller's own.
///
/// A script is executed by its interpreter, which is found here, so that the sandbox executes exactly one file and
/// needs no right to start processes for `#!/usr/bin/env python3`.
///
/// ```
/// let shell = ringfence_sandbox::Program::find("sh".as_ref(), "/".as_ref())?;
/// assert!(shell.file().path().starts_with("/usr"));
/// # Ok::<(), ringfence_sandbox::ResolveError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    file: Resolved,
    scripts: Vec<Resolved>,
    arguments: Vec<OsString>,
}

impl Program {
    /// Finds `command`: a path if it has a slash (relative to `directory`), else a name in [`SEARCH_PATH`].
    ///
    /// # Errors
    /// [`ResolveError::Missing`] or [`ResolveError::NoSuchProgram`] if there is none, [`ResolveError::NotExecutable`] if
    /// it or its interpreter cannot be executed, [`ResolveError::Special`] and [`ResolveError::Io`] as for
    /// [`Resolved::find`].
    pub fn find(command: &OsStr, directory: &Path) -> Result<Self, ResolveError> {
        let typed =
            if command.as_bytes().contains(&b'/') { directory.join(command) } else { search(command)? };
        let mut program =
            Self { file: Resolved::find(&typed)?, scripts: Vec::new(), arguments: vec![command.to_owned()] };
        // A script names itself by the path that its interpreter can open, so by the typed one with its directory.
        let mut name = typed;
        for _ in 0..INTERPRETERS_MAX {
            let Some(line) = first_line(&program.file)? else { return Ok(program) };
            let (file, mut arguments) = interpreter(&line, &program.file)?;
            arguments.push(name.into_os_string());
            arguments.extend(program.arguments.drain(1..));
            name = file.path.clone();
            program.scripts.push(std::mem::replace(&mut program.file, file));
            program.arguments = arguments;
        }
        Err(ResolveError::NotExecutable { path: program.file.path, reason: "too many interpreters in a row" })
    }

    /// The file that is executed.
    #[must_use]
    pub fn file(&self) -> &Resolved {
        &self.file
    }

    /// The scripts that its interpreters will open, the typed one first.
    #[must_use]
    pub fn scripts(&self) -> &[Resolved] {
        &self.scripts
    }

    /// The arguments before the caller's own, the program's name first.
    #[must_use]
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }
}

fn search(name: &OsStr) -> Result<PathBuf, ResolveError> {
    let found = SEARCH_PATH
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| std::fs::metadata(path).is_ok_and(|seen| seen.is_file() && seen.mode() & 0o111 != 0));
    if name.is_empty() { None } else { found }
        .ok_or_else(|| ResolveError::NoSuchProgram { name: name.to_owned() })
}

/// The line after `#!`, without it; `None` for what is not a script.
fn first_line(file: &Resolved) -> Result<Option<Vec<u8>>, ResolveError> {
    let not_executable = |reason| ResolveError::NotExecutable { path: file.path.clone(), reason };
    if file.directory {
        return Err(not_executable("it is a directory"));
    }
    let io = |source| ResolveError::Io { path: file.path.clone(), source };
    let seen = std::fs::symlink_metadata(&file.path).map_err(io)?;
    if seen.mode() & 0o111 == 0 {
        return Err(not_executable("nobody has execute permission on it"));
    }
    // A program that may be executed but not read is no script.
    let Ok(opened) = file.open() else { return Ok(None) };
    let mut head = Vec::with_capacity(FIRST_LINE_BYTES);
    opened.take(FIRST_LINE_BYTES as u64).read_to_end(&mut head).map_err(io)?;
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let end = line
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| not_executable("its first line is too long"))?;
    Ok(Some(line.get(..end).unwrap_or_default().trim_ascii().to_vec()))
}

/// The interpreter that a first line names, with the arguments that the line gives it. `env NAME` and `env -S NAME ARG...`
/// are understood, because `env` itself could not start the next program.
fn interpreter(line: &[u8], script: &Resolved) -> Result<(Resolved, Vec<OsString>), ResolveError> {
    let refused = |reason| ResolveError::NotExecutable { path: script.path.clone(), reason };
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (path, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    let rest = rest.trim_ascii();
    if path.first() != Some(&b'/') {
        return Err(refused("its interpreter is not an absolute path"));
    }
    let path = Path::new(OsStr::from_bytes(path));
    if path.file_name() != Some(OsStr::new("env")) {
        let file = Resolved::find(path)?;
        let mut arguments = vec![path.as_os_str().to_owned()];
        if !rest.is_empty() {
            arguments.push(OsString::from_vec(rest.to_vec()));
        }
        return Ok((file, arguments));
    }
    let (words, split) = match rest.strip_prefix(b"-S") {
        Some(words) => (words.trim_ascii(), true),
        None => (rest, false),
    };
    let mut words = words.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let name = words.next().filter(|name| !name.starts_with(b"-") && !name.contains(&b'='));
    let name = OsStr::from_bytes(name.ok_or_else(|| refused("its env line names no plain program"))?);
    let file = Resolved::find(&search(name)?)?;
    let mut arguments = vec![name.to_owned()];
    let given = words.map(|word| OsString::from_vec(word.to_vec()));
    if split {
        arguments.extend(given);
    } else if given.count() > 0 {
        return Err(refused("env takes several words only with -S"));
    }
    Ok((file, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, path)
    }

    fn arguments(text: &str) -> Result<Vec<String>, ResolveError> {
        let (_dir, path) = script(text);
        let program = Program::find(path.as_os_str(), Path::new("/"))?;
        assert_eq!(program.scripts()[0].path(), path);
        let shown =
            |argument: &OsString| argument.to_string_lossy().replace(path.to_str().unwrap(), "SCRIPT");
        Ok(program.arguments().iter().map(shown).collect())
    }

    #[test]
    fn what_is_opened_is_what_was_found() {
        let (dir, path) = script("found");
        let found = Resolved::find(&path).unwrap();
        let read = || found.open().map(|file| std::io::read_to_string(file).unwrap());
        assert_eq!(read().unwrap(), "found");
        let (kept, pipe) = (dir.path().join("kept"), dir.path().join("pipe"));
        std::fs::rename(&path, &kept).unwrap();
        assert_eq!(read().unwrap_err().kind(), io::ErrorKind::NotFound);
        std::os::unix::fs::symlink(&kept, &path).unwrap();
        assert!(read().is_err(), "a link, even to the same file");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "other").unwrap();
        assert_eq!(read().unwrap_err().kind(), io::ErrorKind::StaleNetworkFileHandle);
        // Opening a pipe waits for whoever writes, and nobody does.
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::fs::rename(&pipe, &path).unwrap();
        assert!(read().is_err());
        std::fs::rename(&kept, &path).unwrap();
        assert_eq!(read().unwrap(), "found", "the twin");
    }

    #[test]
    fn interpreters_are_found_before_the_start() {
        assert_eq!(arguments("#!/bin/sh\n").unwrap(), ["/bin/sh", "SCRIPT"]);
        assert_eq!(arguments("#! /bin/sh -e -u \n").unwrap(), ["/bin/sh", "-e -u", "SCRIPT"]);
        assert_eq!(arguments("#!/usr/bin/env sh\n").unwrap(), ["sh", "SCRIPT"]);
        assert_eq!(arguments("#!/usr/bin/env -S sh -e -u\n").unwrap(), ["sh", "-e", "-u", "SCRIPT"]);
    }

    #[test]
    fn a_line_that_leads_nowhere_is_refused() {
        let not = |text| matches!(arguments(text), Err(ResolveError::NotExecutable { .. }));
        assert!(not("#!sh\n") && not("#!/usr/bin/env\n") && not("#!/usr/bin/env sh -e\n"));
        assert!(not("#!/usr/bin/env A=b sh\n") && not("#!/bin/sh"));
        assert!(matches!(arguments("#!/nowhere/sh\n"), Err(ResolveError::Missing { .. })));
        assert!(matches!(
            arguments("#!/usr/bin/env no-such-program\n"),
            Err(ResolveError::NoSuchProgram { .. })
        ));
    }

    #[test]
    fn what_cannot_be_executed_says_why() {
        let find = |command: &str| Program::find(OsStr::new(command), Path::new("/"));
        assert!(matches!(find("/usr"), Err(ResolveError::NotExecutable { reason: "it is a directory", .. })));
        assert!(matches!(find("/etc/passwd"), Err(ResolveError::NotExecutable { .. })));
        assert!(matches!(find("/no/such"), Err(ResolveError::Missing { .. })));
        assert!(matches!(find(""), Err(ResolveError::NoSuchProgram { .. })));
        assert!(matches!(Resolved::find(Path::new("/dev/null")), Err(ResolveError::Special { .. })));
    }

    #[test]
    fn an_interpreter_that_is_a_script_is_followed_but_not_for_ever() {
        let (_dir, path) = script("#!/bin/sh\n");
        let (_outer, outer) = script(&format!("#!{}\n", path.display()));
        let program = Program::find(outer.as_os_str(), Path::new("/")).unwrap();
        assert_eq!(program.scripts().len(), 2);
        let expected = [OsString::from("/bin/sh"), path.into(), outer.into()];
        assert_eq!(program.arguments(), expected);
        let (_own, own) = script("placeholder");
        std::fs::write(&own, format!("#!{}\n", own.display())).unwrap();
        let endless = Program::find(own.as_os_str(), Path::new("/"));
        assert!(matches!(
            endless,
            Err(ResolveError::NotExecutable { reason: "too many interpreters in a row", .. })
        ));
    }
}
