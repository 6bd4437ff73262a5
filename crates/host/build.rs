//! Puts the files of the Python and Node runners into the library, so that an application ships no second file.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What is taken from where, under which directory, and which endings.
const SOURCES: &[(&str, &str, &[&str])] = &[
    ("../../sdk/python/src", "python", &["py", "typed"]),
    ("../../sdk/typescript", "node", &["mjs", "cjs"]),
];

/// What the runner does not need: tests, what authors test with, what host applications use, and what tools leave behind.
const NOT_TAKEN: &[&str] = &["__pycache__", "node_modules", "client", "test", "tests", "testing"];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut list = String::from("pub(super) static RUNNER_FILES: &[RunnerFile] = &[\n");
    for (source, under, endings) in SOURCES {
        let source = root.join(source);
        println!("cargo::rerun-if-changed={}", source.display());
        let mut files = Vec::new();
        collect(&source, endings, &mut files)?;
        files.sort();
        for file in files {
            let inside = file.strip_prefix(&source).map_err(io::Error::other)?;
            let line = format!(
                "    RunnerFile {{ path: {:?}, bytes: include_bytes!({:?}) }},\n",
                Path::new(under).join(inside),
                file
            );
            list.push_str(&line);
        }
    }
    list.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("runner_files.rs"), list)
}

fn collect(directory: &Path, endings: &[&str], files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !NOT_TAKEN.contains(&name.as_str()) {
            collect(&path, endings, files)?;
        } else if kind.is_file()
            && path.extension().is_some_and(|end| endings.iter().any(|known| end == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}
