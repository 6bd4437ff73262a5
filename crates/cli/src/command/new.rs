//! `ringfence new`: the beginning of a plugin, with a tool and a test. The files are in the binary; nothing is fetched.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ringfence::Error;
use ringfence_api::{ErrorCode, PluginName};
use serde_json::json;

use crate::print;

#[derive(Debug, Args)]
#[command(
    after_help = "Makes a directory NAME with a manifest, a tool that works, a test and a README that says what to do next. \
Nothing is fetched, and nothing that exists is changed. Exit status: 0 made, 1 it cannot be written or is there already, 2 usage.

Examples:
  ringfence new --lang python translator
  ringfence new --lang rust word-counter --json"
)]
pub(crate) struct NewArguments {
    /// The language
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// The name of the plugin and of the directory that is made: a-z, 0-9 and single hyphens
    name: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// A module with a function for each tool
    Python,
    /// An ECMAScript module with a function for each tool
    Node,
    /// A program without dependencies that speaks the protocol by itself
    Rust,
}

impl Language {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Rust => "rust",
        }
    }

    /// The files, by name and content, with placeholders in both.
    const fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Python => &[
                ("plugin.yaml", include_str!("new/python/plugin.yaml")),
                ("{{module}}.py", include_str!("new/python/plugin.py.txt")),
                ("test_{{module}}.py", include_str!("new/python/test.py.txt")),
                ("README.md", include_str!("new/python/README.md.txt")),
            ],
            Self::Node => &[
                ("plugin.json", include_str!("new/node/plugin.json")),
                ("plugin.mjs", include_str!("new/node/plugin.mjs")),
                ("test/plugin.test.mjs", include_str!("new/node/plugin.test.mjs")),
                ("README.md", include_str!("new/node/README.md.txt")),
            ],
            Self::Rust => &[
                ("plugin.toml", include_str!("new/rust/plugin.toml.txt")),
                ("Cargo.toml", include_str!("new/rust/Cargo.toml.txt")),
                (".gitignore", "/target\n"),
                ("src/main.rs", include_str!("new/rust/main.rs.txt")),
                ("src/json.rs", include_str!("new/rust/json.rs.txt")),
                ("tests/protocol.rs", include_str!("new/rust/protocol.rs.txt")),
                ("README.md", include_str!("new/rust/README.md.txt")),
            ],
        }
    }
}

/// Makes the directory.
pub(crate) fn run(arguments: &NewArguments) -> ExitCode {
    match make(arguments, Path::new(".")) {
        Ok(files) if arguments.json => {
            let (name, language) = (&arguments.name, arguments.lang.as_str());
            print::data(
                &json!({ "name": name, "language": language, "directory": name, "files": files }).to_string(),
            )
        }
        Ok(files) => {
            let name = &arguments.name;
            print::talk(&format!(
                "made {name}/ with {}\nnext: ringfence check {name}; {name}/README.md says more",
                files.join(", ")
            ));
            ExitCode::SUCCESS
        }
        Err(error) => super::finish(Err(error), arguments.json),
    }
}

/// Makes the directory in another one; the names of the files in it.
fn make(arguments: &NewArguments, parent: &Path) -> Result<Vec<String>, Error> {
    let language = arguments.lang;
    let name = name(&arguments.name, language)?;
    let directory = parent.join(name.as_str());
    fs::create_dir(&directory).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(ErrorCode::Io, format!("'{name}' exists already, and nothing in it is changed"))
                .with_hint("choose another name, or remove it first")
        }
        _ => Error::new(ErrorCode::Io, format!("cannot make the directory '{name}'")).with_source(error),
    })?;
    let made = fill(&directory, language, &name);
    if made.is_err() {
        // It was made a moment ago and holds nothing of anybody.
        let _the_first_error_counts = fs::remove_dir_all(&directory);
    }
    made.map_err(|error| Error::new(ErrorCode::Io, format!("cannot write into '{name}'")).with_source(error))
}

fn fill(directory: &Path, language: Language, name: &PluginName) -> io::Result<Vec<String>> {
    let module = module(name);
    let place = |text: &str| text.replace("{{name}}", name.as_str()).replace("{{module}}", &module);
    let mut names = Vec::new();
    for (file, content) in language.files() {
        let file = place(file);
        let path: PathBuf = directory.join(&file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?
            .write_all(place(content).as_bytes())?;
        names.push(file);
    }
    Ok(names)
}

fn name(text: &str, language: Language) -> Result<PluginName, Error> {
    let usage = |message: String| Error::new(ErrorCode::Usage, message);
    let name: PluginName = text.parse().map_err(|error| {
        usage(format!("'{}': {error}", text.escape_debug())).with_hint("such as 'note-search'")
    })?;
    if language == Language::Rust && !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(usage(format!("'{name}': the name of a Rust package begins with a letter")));
    }
    if language == Language::Rust && RUST_NAMES.contains(&text) {
        return Err(usage(format!("'{name}' is taken in Rust; choose another name")));
    }
    Ok(name)
}

/// Names that cargo refuses or that hide a library: keywords, the test harness, the standard libraries.
const RUST_NAMES: [&str; 46] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "super",
    "test", "trait", "true", "type", "core", "std", "alloc", "build", "deps",
];

/// Names of modules that would hide one of Python's own, or that no `import` can name.
const PYTHON_NAMES: [&str; 84] = [
    "and",
    "array",
    "as",
    "ast",
    "assert",
    "async",
    "asyncio",
    "await",
    "base64",
    "bisect",
    "break",
    "calendar",
    "class",
    "cmd",
    "code",
    "codecs",
    "collections",
    "continue",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "def",
    "del",
    "dis",
    "elif",
    "else",
    "email",
    "enum",
    "except",
    "finally",
    "for",
    "fractions",
    "from",
    "functools",
    "global",
    "hashlib",
    "heapq",
    "html",
    "http",
    "if",
    "import",
    "in",
    "inspect",
    "io",
    "is",
    "itertools",
    "json",
    "keyword",
    "lambda",
    "locale",
    "logging",
    "math",
    "not",
    "numbers",
    "operator",
    "or",
    "os",
    "pass",
    "platform",
    "posix",
    "queue",
    "raise",
    "random",
    "re",
    "return",
    "ringfence",
    "secrets",
    "shutil",
    "site",
    "socket",
    "statistics",
    "string",
    "struct",
    "subprocess",
    "sys",
    "test",
    "time",
    "token",
    "try",
    "types",
    "typing",
];

/// The Python module of a plugin.
fn module(name: &PluginName) -> String {
    let snake = name.as_str().replace('-', "_");
    let digit = snake.starts_with(|c: char| c.is_ascii_digit());
    match snake.as_str() {
        _ if digit => format!("plugin_{snake}"),
        word if PYTHON_NAMES.contains(&word) || word.starts_with("test_") => format!("{word}_plugin"),
        "while" | "with" | "yield" | "unittest" | "uuid" | "warnings" | "weakref" | "zlib" | "threading"
        | "tempfile" | "traceback" | "urllib" | "stat" | "signal" | "select" | "pathlib" | "pickle"
        | "glob" | "gc" | "errno" | "builtins" | "abc" | "argparse" => format!("{snake}_plugin"),
        _ => snake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(lang: Language, name: &str) -> NewArguments {
        NewArguments { lang, name: name.to_owned(), json: false }
    }

    #[test]
    fn every_scaffold_passes_the_check_and_its_first_tool_takes_an_empty_object() {
        for lang in [Language::Python, Language::Node, Language::Rust] {
            let parent = tempfile::tempdir().unwrap();
            let files = make(&arguments(lang, "note-search"), parent.path()).unwrap();
            assert!(files.iter().any(|file| file.contains("test") || file.contains("protocol")), "{files:?}");
            let package = parent.path().join("note-search");
            let checked = ringfence::check::check(&package);
            assert!(!checked.has_errors(), "{}", ringfence::check::text(&checked.findings));
            let worth_a_word = checked.findings.iter().filter(|finding| finding.rule != "not-built").count();
            assert_eq!(worth_a_word, 0, "{}", ringfence::check::text(&checked.findings));
            let manifest = checked.loaded.unwrap().manifest;
            let schema = manifest.tools[0].input_schema.clone().unwrap();
            let schema = ringfence::schema::CompiledSchema::compile(&schema).unwrap();
            assert!(schema.validate(&json!({})).is_ok());
            for file in files {
                let text = fs::read_to_string(package.join(&file)).unwrap();
                assert!(!text.contains("{{"), "{file}");
            }
        }
    }

    #[test]
    fn what_exists_is_not_touched() {
        let parent = tempfile::tempdir().unwrap();
        let existing = parent.path().join("mine");
        fs::create_dir(&existing).unwrap();
        fs::write(existing.join("plugin.yaml"), "precious").unwrap();
        let error = make(&arguments(Language::Python, "mine"), parent.path()).unwrap_err();
        assert_eq!((error.code(), error.code().exit_status()), (ErrorCode::Io, 1));
        assert_eq!(fs::read_to_string(existing.join("plugin.yaml")).unwrap(), "precious");
        fs::write(parent.path().join("file"), "").unwrap();
        assert!(make(&arguments(Language::Node, "file"), parent.path()).is_err());
    }

    #[test]
    fn bad_names_are_usage_errors_and_make_nothing() {
        let parent = tempfile::tempdir().unwrap();
        for bad in ["", "A", "a_b", "../a", "/a", "a b", "-a", "a--b", "é", &"a".repeat(101)] {
            let error = make(&arguments(Language::Python, bad), parent.path()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Usage, "{bad:?}");
        }
        for bad in ["9lives", "test", "async"] {
            assert_eq!(
                make(&arguments(Language::Rust, bad), parent.path()).unwrap_err().code(),
                ErrorCode::Usage
            );
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        for (good, python) in [
            ("9lives", "plugin_9lives"),
            ("json", "json_plugin"),
            ("test-it", "test_it_plugin"),
            ("a-b", "a_b"),
        ] {
            assert_eq!(module(&good.parse().unwrap()), python);
        }
    }
}
