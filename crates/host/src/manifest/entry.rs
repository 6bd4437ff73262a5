//! The entry point: whether its text is one, and whether it is a file of the package that can be run.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use ringfence_api::{Manifest, Runtime};
use ringfence_sandbox::{Program, ResolveError, Resolved};
use sha2::{Digest as _, Sha256};

use super::Finding;
use super::text::shown;

/// The largest entry file whose integrity is checked.
const ENTRY_FILE_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Where the interpreter of a script may be: what a plugin or user can write is no interpreter.
const INTERPRETERS: [&str; 4] = ["/usr", "/bin", "/sbin", "/opt"];

/// What is run, found in the package.
///
/// ```
/// use ringfence::manifest;
///
/// let package = tempfile::tempdir()?;
/// std::fs::write(package.path().join("main.py"), "class Greeter:\n    pass\n")?;
/// let manifest: ringfence_api::Manifest = serde_json::from_str(
///     r#"{"name": "greeter", "version": "1.0.0", "runtime": "python", "entry_point": "main:Greeter"}"#,
/// )?;
/// let entry = manifest::entry_point(package.path(), &manifest).map_err(ringfence::Error::from)?;
/// assert_eq!(entry.file, std::path::Path::new("main.py"));
/// assert_eq!(entry.python.unwrap().class.as_deref(), Some("Greeter"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// The file, relative to the package, as it was written or as a module's name leads to it.
    pub file: PathBuf,
    /// The module, when a Python entry point names one; `None` for `file.py` and for every other runtime.
    pub python: Option<PythonEntry>,
}

/// A Python entry point that names a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonEntry {
    /// The module's name, such as `translator.main`.
    pub module: String,
    /// The class in it, when one is named.
    pub class: Option<String>,
}

/// Finds the entry point of a manifest in its package: links followed, it is a regular file inside.
///
/// For `native` the file must have execute permission and be a program (ELF) or a script whose interpreter is one of the
/// system's. `mcp` may name a file of the package; a container image is no file and is refused here. When the manifest has
/// `integrity`, the file's digest is compared.
///
/// # Errors
/// A [`Finding`] of the rule `entry-point` or `integrity` that says why, with the package's directory as its file.
pub fn entry_point(package: &Path, manifest: &Manifest) -> Result<EntryPoint, Finding> {
    let fail = |rule, why: String| Finding::of_file(rule, package, why);
    let entry =
        locate(package, manifest.runtime, &manifest.entry_point).map_err(|why| fail("entry-point", why))?;
    if let Some(expected) = manifest.integrity.as_deref().and_then(digest_of) {
        let file = package.join(&entry.file);
        let actual =
            digest(&file).map_err(|why| fail("integrity", format!("cannot read the entry file: {why}")))?;
        if actual != expected {
            let why = format!(
                "the entry file '{}' is not the one that 'integrity' names; its digest is sha256-{}",
                shown(&entry.file.display().to_string()),
                HEXLOWER.encode(&actual)
            );
            return Err(fail("integrity", why));
        }
    }
    Ok(entry)
}

/// Whether the text of an entry point fits its runtime; nothing is looked up.
pub(super) fn judge_text(runtime: Runtime, text: &str) -> Result<(), String> {
    match runtime {
        Runtime::Python => python(text).map(|_| ()),
        Runtime::Container => Ok(()),
        Runtime::Node => {
            relative(text)?;
            match extension(text) {
                Some("js" | "mjs" | "cjs") => Ok(()),
                _ => Err(format!("a node entry point is a .js, .mjs or .cjs file, not '{}'", shown(text))),
            }
        }
        Runtime::Native | Runtime::Mcp | Runtime::Wasm => relative(text).map(|_| ()),
    }
}

pub(super) fn extension(text: &str) -> Option<&str> {
    Path::new(text).extension().and_then(OsStr::to_str)
}

/// What a Python entry point can be.
enum Python {
    File(PathBuf),
    Module(PythonEntry),
}

fn python(text: &str) -> Result<Python, String> {
    if extension(text) == Some("py") && !text.contains(':') {
        return relative(text).map(Python::File);
    }
    let (module, class) = match text.split_once(':') {
        Some((module, class)) => (module, Some(class)),
        None => (text, None),
    };
    if module.split('.').all(is_identifier) && class.is_none_or(is_identifier) {
        let (module, class) = (module.to_owned(), class.map(str::to_owned));
        return Ok(Python::Module(PythonEntry { module, class }));
    }
    // A path says more about what is wrong with it than the grammar does.
    if text.contains(['/', '\\']) && class.is_none() {
        relative(text)?;
    }
    Err(format!(
        "a Python entry point is module:Class, module, or file.py in the package, not '{}'",
        shown(text)
    ))
}

fn is_identifier(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && word.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// A path below the package, by its text; `./` in front is left out.
fn relative(text: &str) -> Result<PathBuf, String> {
    let shown = shown(text);
    if text.starts_with('/') {
        return Err(format!("'{shown}' is absolute; an entry point is a path inside the package"));
    }
    let allowed = |c: char| c.is_alphanumeric() || "._/+@-".contains(c);
    if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
        let bad = super::text::shown(&bad.to_string());
        return Err(format!(
            "'{shown}' has the character '{bad}'; a path of an entry point has letters, digits and . _ / + @ -"
        ));
    }
    let mut path = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return Err(format!("'{shown}' has '..'; an entry point is a path inside the package")),
        }
    }
    if path.as_os_str().is_empty() || text.ends_with('/') {
        return Err(format!("'{shown}' names no file"));
    }
    if path.to_string_lossy().starts_with('-') {
        return Err(format!("'{shown}' begins with '-', which programs take for an option"));
    }
    Ok(path)
}

fn locate(package: &Path, runtime: Runtime, text: &str) -> Result<EntryPoint, String> {
    judge_text(runtime, text)?;
    match runtime {
        Runtime::Python => match python(text)? {
            Python::File(file) => found(package, file),
            Python::Module(entry) => module(package, entry),
        },
        Runtime::Container => Err("a container's entry point is no file of the package".to_owned()),
        Runtime::Native => {
            let entry = found(package, relative(text)?)?;
            executable(package, &entry.file)?;
            Ok(entry)
        }
        Runtime::Node | Runtime::Mcp | Runtime::Wasm => found(package, relative(text)?),
    }
}

/// The file of a module, looked up as Python does: a package's `__init__.py` before a file of the name.
fn module(package: &Path, entry: PythonEntry) -> Result<EntryPoint, String> {
    let base: PathBuf = entry.module.split('.').collect();
    let as_package = base.join("__init__.py");
    let mut as_file = base.clone().into_os_string();
    as_file.push(".py");
    for file in [as_package.clone(), PathBuf::from(&as_file)] {
        if std::fs::symlink_metadata(package.join(&file)).is_ok() {
            return Ok(EntryPoint { python: Some(entry), ..found(package, file)? });
        }
    }
    Err(format!(
        "module '{}' is neither '{}' nor '{}' in the package",
        entry.module,
        Path::new(&as_file).display(),
        as_package.display()
    ))
}

/// The file, if it is a regular one inside the package, links followed.
fn found(package: &Path, file: PathBuf) -> Result<EntryPoint, String> {
    let shown = shown(&file.display().to_string());
    let root = Resolved::find(package).map_err(|error| error.to_string())?;
    let target = Resolved::find(&package.join(&file)).map_err(|error| match error {
        ResolveError::Missing { .. } => format!("'{shown}' does not exist in the package"),
        ResolveError::Special { .. } => format!("'{shown}' is not a regular file"),
        ResolveError::Io { source, .. } => format!("'{shown}' cannot be looked at: {source}"),
        other => other.to_string(),
    })?;
    if !target.path().starts_with(root.path()) {
        return Err(format!("'{shown}' is a link that leaves the package"));
    }
    if target.is_directory() {
        return Err(format!("'{shown}' is a directory; name a file in it"));
    }
    Ok(EntryPoint { file, python: None })
}

/// Whether the system could execute the file, and nothing outside the system's directories with it.
fn executable(package: &Path, file: &Path) -> Result<(), String> {
    let shown = shown(&file.display().to_string());
    let path = package.join(file);
    let mode = std::fs::metadata(&path).map_err(|error| error.to_string())?.permissions().mode();
    if mode & 0o111 == 0 {
        return Err(format!("'{shown}' has no execute permission; `chmod +x {shown}` gives it"));
    }
    // A path with a slash is never searched for.
    let named = Path::new(".").join(file);
    let program = Program::find(named.as_os_str(), package).map_err(|error| match error {
        ResolveError::NotExecutable { reason, .. } => format!("'{shown}' cannot be executed: {reason}"),
        ResolveError::Missing { path } => {
            format!(
                "the interpreter of '{shown}' does not exist: {}",
                super::text::shown(&path.display().to_string())
            )
        }
        other => format!("the interpreter of '{shown}': {other}"),
    })?;
    if program.scripts().is_empty() {
        let mut head = [0; 4];
        let read = program.file().open().and_then(|mut file| file.read_exact(&mut head));
        if read.is_err() || &head != b"\x7fELF" {
            return Err(format!(
                "'{shown}' is neither a program of this system nor a script with a '#!' line"
            ));
        }
    } else if !INTERPRETERS.iter().any(|system| program.file().path().starts_with(system)) {
        let interpreter = super::text::shown(&program.file().path().display().to_string());
        return Err(format!(
            "'{shown}' is run by '{interpreter}'; an interpreter is one of the system's, below {}",
            INTERPRETERS.join(", ")
        ));
    }
    Ok(())
}

/// The digest that an `integrity` text names.
pub(super) fn digest_of(text: &str) -> Option<[u8; 32]> {
    let digest = text.strip_prefix("sha256-")?;
    if digest.len() == 64 { from_hex(digest) } else { from_base64(digest) }
}

fn digest(file: &Path) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let found = Resolved::find(file).map_err(std::io::Error::other)?;
    let mut opened = found.open()?.take(ENTRY_FILE_MAX_BYTES);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let length = opened.read(&mut chunk)?;
        if length == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(chunk.get(..length).unwrap_or_default());
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// 32 bytes in base64 (RFC 4648, section 4 or 5), with or without its `=`.
fn from_base64(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_suffix('=').unwrap_or(text);
    let encoding = if text.contains(['-', '_']) { BASE64URL_NOPAD } else { BASE64_NOPAD };
    encoding.decode(text.as_bytes()).ok()?.try_into().ok()
}
