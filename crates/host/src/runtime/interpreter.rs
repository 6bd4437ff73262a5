//! Which interpreter runs a Python or Node plugin: from a fixed list or from `config.toml`, never from the caller's PATH.
//!
//! A configured path may be the shim of a version manager (pyenv, asdf, nodenv), which is a shell script that could not work
//! inside a sandbox: it is resolved here to the interpreter that it would have started. An interpreter outside `/usr` needs
//! the directory that it was installed into, its prefix.

use std::path::{Path, PathBuf};

use ringfence_api::{ErrorCode, Runtime};
use ringfence_sandbox::Resolved;

use crate::Error;
use crate::config::Interpreters;

/// Where Python is looked for, in this order.
const PYTHON: [&str; 2] = ["/usr/bin/python3", "/usr/local/bin/python3"];
/// Where Node.js is looked for, in this order.
const NODE: [&str; 3] = ["/usr/bin/node", "/usr/local/bin/node", "/usr/bin/nodejs"];
/// What a version file of a version manager may hold.
const VERSION_FILE_MAX_BYTES: u64 = 4096;

/// An interpreter, and what must be shown for it to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// The program, links followed.
    pub(crate) program: PathBuf,
    /// The directory to show read-only; `None` when it is in `/usr`, which every sandbox shows.
    pub(crate) prefix: Option<PathBuf>,
}

/// The interpreter for `runtime`.
///
/// # Errors
/// `not_found` when there is none, with the field of `config.toml` that names one; `invalid_config` when the configured path
/// is not absolute, or is the shim of a version manager that has no version set.
pub(crate) fn find(runtime: Runtime, configured: &Interpreters) -> Result<Interpreter, Error> {
    let (field, given, list): (_, _, &[&str]) = match runtime {
        Runtime::Node => ("node", configured.node.as_deref(), &NODE),
        _ => ("python", configured.python.as_deref(), &PYTHON),
    };
    if let Some(given) = given {
        return configured_one(field, given);
    }
    let found = list.iter().find_map(|path| Resolved::find(Path::new(path)).ok());
    let found = found.ok_or_else(|| {
        let message = format!("no {field} interpreter at {}", list.join(" or "));
        Error::new(ErrorCode::NotFound, message)
            .with_hint(format!("install one, or name it in config.toml: [interpreters] {field} = \"/path\""))
    })?;
    Ok(shown(found.path()))
}

fn configured_one(field: &str, given: &Path) -> Result<Interpreter, Error> {
    let invalid = |why: String| {
        Error::new(ErrorCode::InvalidConfig, format!("[interpreters] {field} = '{}': {why}", given.display()))
    };
    if !given.is_absolute() {
        return Err(invalid("it is not an absolute path".to_owned()).with_hint("write the whole path"));
    }
    let path = match shim_target(given) {
        Some(Ok(target)) => target,
        Some(Err(why)) => return Err(invalid(why).with_hint("name the interpreter itself")),
        None => given.to_owned(),
    };
    let found = Resolved::find(&path).map_err(|error| {
        Error::new(ErrorCode::NotFound, format!("[interpreters] {field}: {error}"))
            .with_hint("correct the path in config.toml")
    })?;
    if found.is_directory() {
        return Err(invalid("it is a directory".to_owned()));
    }
    Ok(shown(found.path()))
}

/// `PREFIX/bin/python3` needs `PREFIX`.
fn shown(program: &Path) -> Interpreter {
    let inside_usr = program.starts_with("/usr") && !program.starts_with("/usr/local/lib/node_modules");
    let bin = program.parent();
    let prefix = bin
        .filter(|bin| bin.file_name().is_some_and(|name| name == "bin"))
        .and_then(Path::parent)
        .or(bin)
        .filter(|_| !inside_usr)
        .map(Path::to_owned);
    Interpreter { program: program.to_owned(), prefix }
}

/// Where the shim of a version manager leads: `ROOT/shims/NAME` to `ROOT/versions/VERSION/bin/NAME` (pyenv, nodenv), or to
/// `ROOT/installs/KIND/VERSION/bin/NAME` (asdf, mise). `None` for what is no shim.
fn shim_target(path: &Path) -> Option<Result<PathBuf, String>> {
    let shims = path.parent()?;
    if shims.file_name()? != "shims" {
        return None;
    }
    let root = shims.parent()?;
    let name = path.file_name()?;
    let versions = root.join("versions");
    if versions.is_dir() {
        let Some(version) = first_word(&root.join("version")) else {
            return Some(Err(format!(
                "it is a shim, and '{}' sets no version",
                root.join("version").display()
            )));
        };
        return Some(Ok(versions.join(version).join("bin").join(name)));
    }
    let kind = if name.to_string_lossy().starts_with("python") { "python" } else { "nodejs" };
    let installs = root.join("installs").join(kind);
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(&installs).ok()?.flatten().map(|entry| entry.path()).collect();
    found.sort();
    match found.as_slice() {
        [] => None,
        [only] => Some(Ok(only.join("bin").join(name))),
        _ => Some(Err(format!("it is a shim, and '{}' holds several versions", installs.display()))),
    }
}

/// The first word of a small file, if it can be one path segment.
fn first_word(path: &Path) -> Option<String> {
    let seen = std::fs::metadata(path).ok()?;
    if seen.len() > VERSION_FILE_MAX_BYTES {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let word = text.split_whitespace().next()?;
    let segment = !word.contains('/') && word != "." && word != "..";
    segment.then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\n").unwrap();
    }

    fn python(path: &Path) -> Result<Interpreter, Error> {
        find(Runtime::Python, &Interpreters { python: Some(path.to_owned()), node: None })
    }

    #[test]
    fn a_shim_leads_to_the_version_that_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let root = Resolved::find(dir.path()).unwrap().path().to_owned();
        let (shim, real) = (root.join("shims/python3"), root.join("versions/3.12.1/bin/python3"));
        place(&shim);
        place(&real);
        let error = python(&shim).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig, "{error}");

        std::fs::write(root.join("version"), "3.12.1\n").unwrap();
        let found = python(&shim).unwrap();
        assert_eq!(found, Interpreter { program: real, prefix: Some(root.join("versions/3.12.1")) });
    }

    #[test]
    fn a_version_cannot_leave_the_versions() {
        let dir = tempfile::tempdir().unwrap();
        place(&dir.path().join("shims/python3"));
        std::fs::create_dir(dir.path().join("versions")).unwrap();
        std::fs::write(dir.path().join("version"), "../../etc\n").unwrap();
        assert_eq!(python(&dir.path().join("shims/python3")).unwrap_err().code(), ErrorCode::InvalidConfig);
    }

    #[test]
    fn asdf_keeps_its_installs_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = Resolved::find(dir.path()).unwrap().path().to_owned();
        let (shim, real) = (root.join("shims/node"), root.join("installs/nodejs/20.1.0/bin/node"));
        place(&shim);
        place(&real);
        let configured = Interpreters { python: None, node: Some(shim) };
        assert_eq!(find(Runtime::Node, &configured).unwrap().program, real);
    }

    #[test]
    fn what_is_in_usr_needs_no_prefix_and_what_is_missing_says_what_to_write() {
        assert_eq!(shown(Path::new("/usr/bin/python3.11")).prefix, None);
        assert_eq!(shown(Path::new("/opt/py/bin/python3")).prefix, Some("/opt/py".into()));
        assert_eq!(shown(Path::new("/opt/node")).prefix, Some("/opt".into()));
        let error = python(Path::new("/no/such/python3")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
        assert!(error.hint().unwrap().contains("config.toml"));
        assert_eq!(python(Path::new("python3")).unwrap_err().code(), ErrorCode::InvalidConfig);
    }
}
