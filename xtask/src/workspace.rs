//! Where things are: the root of the checkout, the build directory, the files that belong to the project.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::Failure;
use crate::process;

/// Directories that hold results, not sources.
const NOT_SOURCES: &[&str] = &["target", ".git", "node_modules", "corpus", "artifacts"];

/// Deepest directory that the walk enters; the project's own tree is far below it.
const DEPTH_MAX: usize = 16;

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// What cargo says about the workspace, without outside dependencies' own descriptions.
///
/// # Errors
/// When cargo cannot read the workspace.
pub(crate) fn metadata() -> Result<Value, Failure> {
    let text = process::text(process::cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    serde_json::from_str(&text).map_err(|error| Failure::of("cargo metadata", error))
}

/// The one build directory: `target`, or what `CARGO_TARGET_DIR` names.
///
/// # Errors
/// When cargo cannot read the workspace.
pub(crate) fn target_dir() -> Result<PathBuf, Failure> {
    let metadata = metadata()?;
    let path = metadata.get("target_directory").and_then(Value::as_str);
    path.map(PathBuf::from)
        .ok_or_else(|| Failure::Failed("cargo metadata names no target directory".to_owned()))
}

/// The release binary that tests and loops drive: `RINGFENCE_BIN`, else the one in the build directory.
///
/// # Errors
/// When there is no file; the text has the command that builds it.
pub(crate) fn release_binary() -> Result<PathBuf, Failure> {
    let path = match std::env::var_os("RINGFENCE_BIN") {
        Some(path) => root().join(path),
        None => target_dir()?.join("release/ringfence"),
    };
    if path.is_file() {
        return Ok(path);
    }
    let path = path.display();
    Err(Failure::Failed(format!("{path} does not exist; run `cargo build --release -p ringfence-cli` first")))
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The files of the project below `directory` whose names end with `.extension`, sorted, as paths from the root.
///
/// # Errors
/// When a directory cannot be read.
pub(crate) fn files(directory: &str, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    walk(&root().join(directory), extension, DEPTH_MAX, &mut found)?;
    found.sort();
    Ok(found.iter().filter_map(|path| path.strip_prefix(root()).ok()).map(Path::to_path_buf).collect())
}

fn walk(directory: &Path, extension: &str, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if depth == 0 || !directory.is_dir() {
        return Ok(());
    }
    let cannot = |error| Failure::of(directory.display(), error);
    for entry in fs::read_dir(directory).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let path = entry.path();
        let kind = entry.file_type().map_err(cannot)?;
        if kind.is_dir() && !NOT_SOURCES.iter().any(|name| entry.file_name() == *name) {
            walk(&path, extension, depth - 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    Ok(())
}

/// Reads a file of the project, named from the root.
///
/// # Errors
/// When it cannot be read as text.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(root().join(path)).map_err(|error| Failure::of(path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_extension_and_named_from_the_root() {
        let found = files("xtask", "rs").unwrap();
        assert!(found.contains(&PathBuf::from("xtask/src/workspace.rs")), "{found:?}");
        assert!(found.iter().all(|path| path.extension().is_some_and(|end| end == "rs")));
        assert_eq!(files("no-such-directory", "rs").unwrap(), Vec::<PathBuf>::new());
    }
}
