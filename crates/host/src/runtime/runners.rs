//! The runners of Python and Node: they travel inside this library and are laid out once in the home.
//!
//! A runner directory is named by the digest of what is in it and never changed afterwards: it is made beside its place and
//! renamed into it, so that a crash leaves nothing half-made under its name.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringfence_api::Runtime;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Files;
use super::interpreter::Interpreter;
use crate::exec::{Exec, RedactionSet};
use crate::{Error, Home, private_file};

/// One file of a runner.
#[derive(Debug)]
pub(super) struct RunnerFile {
    /// Its place below the runner directory.
    pub(super) path: &'static str,
    pub(super) bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/runner_files.rs"));

/// How an interpreter is told to start a plugin.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    /// What must be shown read-only.
    pub(super) directory: PathBuf,
    /// The interpreter's own arguments.
    pub(super) arguments: &'static [&'static str],
    /// The program that the interpreter runs.
    pub(super) entry: PathBuf,
}

/// Isolated from the environment and the user's site, without `site`, and writing no byte code.
const PYTHON_ARGUMENTS: &[&str] = &["-I", "-S", "-B"];
const PYTHON_ENTRY: &str = "python/ringfence_runner.py";
const NODE_ENTRY: &str = "node/runner.mjs";
/// What the compiled runner may be at most; it is about 200 KB.
const BYTE_CODE_MAX_BYTES: u64 = 8_000_000;
/// How long compiling the runner may take; it is about 0.2 s.
const BYTE_CODE_LIMIT: Duration = Duration::from_secs(20);

/// The runners, laid out when the first plugin needs them.
#[derive(Debug, Default)]
pub(crate) struct Runners {
    laid_out: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

impl Runners {
    /// The runner for `runtime`, laid out if it is to be.
    ///
    /// # Errors
    /// `io` when the home cannot be written.
    pub(super) fn runner(
        &self,
        home: &Home,
        runtime: Runtime,
        interpreter: &Interpreter,
        files: Files,
    ) -> Result<Runner, Error> {
        let (entry, arguments): (_, &[&str]) = match runtime {
            Runtime::Node => (NODE_ENTRY, &[]),
            _ => (PYTHON_ENTRY, PYTHON_ARGUMENTS),
        };
        let root = match files {
            Files::Named => directory(home, &name_for(runtime, interpreter)),
            Files::Made => self.laid_out(home, runtime, interpreter)?,
        };
        let entry = root.join(entry);
        let directory = entry.parent().map_or_else(|| root.clone(), Path::to_owned);
        Ok(Runner { directory, arguments, entry })
    }

    fn laid_out(&self, home: &Home, runtime: Runtime, interpreter: &Interpreter) -> Result<PathBuf, Error> {
        let mut laid_out = self.laid_out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = laid_out.get(&interpreter.program) {
            return Ok(root.clone());
        }
        let root = lay_out(home, &name_for(runtime, interpreter))?;
        if runtime == Runtime::Python {
            add_byte_code(&root, interpreter);
        }
        Ok(laid_out.entry(interpreter.program.clone()).or_insert(root).clone())
    }
}

/// Where the runners of this name are, or would be.
fn directory(home: &Home, name: &str) -> PathBuf {
    home.path().join("runners").join(name)
}

/// What byte code depends on besides the runner: another interpreter gets another directory.
fn name_for(runtime: Runtime, interpreter: &Interpreter) -> String {
    let mut hash = digest();
    if runtime == Runtime::Python {
        hash.update(interpreter.program.as_os_str().as_encoded_bytes());
        if let Ok(seen) = std::fs::metadata(&interpreter.program) {
            use std::os::unix::fs::MetadataExt as _;
            hash.update(seen.size().to_le_bytes());
            hash.update(seen.mtime().to_le_bytes());
        }
    }
    let digest = hash.finalize();
    data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or(&digest))
}

#[derive(Deserialize)]
struct ByteCode {
    files: BTreeMap<String, String>,
}

/// Compiles the runner once for this interpreter, in a sandbox that may read the runner and nothing else, so that no start
/// of a plugin has to. Without it plugins start all the same, only slower.
fn add_byte_code(root: &Path, interpreter: &Interpreter) {
    let python = root.join("python");
    if python.join("ringfence/__pycache__").is_dir() {
        return;
    }
    let written = compile(&python, interpreter).and_then(|code| keep_byte_code(&python, &code));
    if let Err(error) = written {
        tracing::warn!(error = %error, "the Python runner could not be compiled ahead; plugins start slower");
    }
}

fn compile(python: &Path, interpreter: &Interpreter) -> io::Result<ByteCode> {
    let mut command: Vec<std::ffi::OsString> = vec![interpreter.program.clone().into()];
    command.extend(PYTHON_ARGUMENTS.iter().map(std::ffi::OsString::from));
    command.push(python.join("ringfence_runner.py").into());
    command.push("--compile".into());
    let mut exec = Exec::new(command);
    exec.directory("/").read_path(python).redaction(RedactionSet::none());
    if let Some(prefix) = &interpreter.prefix {
        exec.read_path(prefix);
    }
    exec.limits().output_bytes = Some(BYTE_CODE_MAX_BYTES);
    exec.limits().timeout = Some(BYTE_CODE_LIMIT);
    let done = exec.run_captured();
    if done.report.exit_code != Some(0) {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(io::Error::other(format!("{:?}: {}", done.report.status, crate::consent::shown(&said))));
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// Writes the files beside their place and renames the directory into it: a start sees all of them or none.
fn keep_byte_code(python: &Path, code: &ByteCode) -> io::Result<()> {
    let package = python.join("ringfence");
    let staging = package.join(private_file::unique_name(".byte-code-")?);
    let kept = write_byte_code(&staging, code).and_then(|()| {
        private_file::publish(&staging, &std::fs::File::open(&staging)?, &package.join("__pycache__"))
    });
    match kept {
        Err(error) => {
            // The first error is the one to tell.
            let _left_over = remove(&staging);
            // Somebody else was faster, with the same files.
            if package.join("__pycache__").is_dir() { Ok(()) } else { Err(error) }
        }
        kept => kept,
    }
}

fn write_byte_code(staging: &Path, code: &ByteCode) -> io::Result<()> {
    private_file::create_dir(staging)?;
    for (path, text) in &code.files {
        let name = path.strip_prefix("ringfence/__pycache__/").unwrap_or(path);
        if name.contains('/') || !name.ends_with(".pyc") {
            return Err(io::Error::other("the runner named a file outside its place"));
        }
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).map_err(io::Error::other)?;
        write_one(&staging.join(name), &bytes)?;
    }
    Ok(())
}

fn write_one(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut made = private_file::create_new(path)?;
    made.write_all(bytes)?;
    made.set_permissions(std::fs::Permissions::from_mode(0o444))?;
    made.sync_all()
}

/// The directory of this version's runners, made if it is not there.
fn lay_out(home: &Home, name: &str) -> Result<PathBuf, Error> {
    let place = directory(home, name);
    if place.is_dir() {
        return Ok(place);
    }
    let fail = |error| Error::file("lay out the runners in", &place, error);
    let parent = home.path().join("runners");
    private_file::create_dir_all(&parent).map_err(fail)?;
    let staging = parent.join(private_file::unique_name(".runners-").map_err(fail)?);
    let made = write_all(&staging)
        .and_then(|()| private_file::publish(&staging, &std::fs::File::open(&staging)?, &place));
    let made = match made {
        // Somebody else was faster, with the same files.
        Err(_) if place.is_dir() => Ok(()),
        other => other,
    };
    // Not being able to remove what is left over harms nobody.
    let _left_over = remove(&staging);
    made.map_err(fail)?;
    Ok(place)
}

fn write_all(root: &Path) -> io::Result<()> {
    private_file::create_dir(root)?;
    let mut directories = vec![root.to_owned()];
    for file in RUNNER_FILES {
        let path = root.join(file.path);
        let parent = path.parent().unwrap_or(root).to_owned();
        private_file::create_dir_all(&parent)?;
        if !directories.contains(&parent) {
            directories.push(parent);
        }
        write_one(&path, file.bytes)?;
    }
    for directory in directories {
        std::fs::File::open(&directory)?.sync_all()?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Names of files with their contents, in their fixed order.
fn digest() -> Sha256 {
    let mut hash = Sha256::new();
    for file in RUNNER_FILES {
        hash.update((file.path.len() as u64).to_le_bytes());
        hash.update(file.path);
        hash.update((file.bytes.len() as u64).to_le_bytes());
        hash.update(file.bytes);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_are_laid_out_once_and_nothing_is_left_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        let places: Vec<PathBuf> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| lay_out(&home, "name").unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(places.iter().all(|place| *place == places[0]));
        for entry in [PYTHON_ENTRY, NODE_ENTRY] {
            assert!(places[0].join(entry).is_file(), "{entry}");
        }
        let names: Vec<_> = std::fs::read_dir(home.path().join("runners")).unwrap().flatten().collect();
        assert_eq!(names.len(), 1);
    }
}
