//! `cargo xtask layers`: compares the workspace with the table of who may know whom.
//!
//! Three questions: does a crate import only what its row names, does an outside dependency have only its users,
//! and do `Command::new` and `unsafe` stand only where they may. The answers come from `cargo metadata` and from
//! source text. The rules are data in [`table`].

mod table;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::arguments::{Arguments, Grammar};
use crate::failure::Failure;
use crate::source::{self, Keep};
use crate::workspace;
use table::{CRATES, CrateRow, DEVELOPMENT, TESTKIT, USERS, UserRow, WORDS, WordRow};

/// Where the table stands; each finding names it.
const TABLE: &str = "xtask/src/layers/table.rs";

pub(crate) const HELP: &str = "
cargo xtask layers

Checks who may know whom in this workspace, by the table in xtask/src/layers/table.rs:
  - a crate imports only the workspace crates that its row in CRATES names
    (every crate may use ringfence-testkit in its tests);
  - an outside dependency with a row in USERS is used only by the crates of that row;
  - `Command::new` and `unsafe` stand in product code only below the directory of their row in WORDS.
Prints each finding with the row to edit. Exit status 0: none; 1: some.
";

pub(crate) fn run(given: &[String]) -> Result<(), Failure> {
    Arguments::parse(given, Grammar::default())?;
    let packages = packages(&workspace::metadata()?)?;
    let mut findings = imports(&packages, CRATES);
    findings.extend(users(&packages, USERS));
    let mut sources = Vec::new();
    // A build script runs on the machine that builds, and is no part of what ships.
    for path in workspace::files("crates", "rs")?.into_iter().filter(|path| !path.ends_with("build.rs")) {
        let text = workspace::read(&path)?;
        sources.push((path, text));
    }
    findings.extend(words(&sources, &packages, WORDS));
    report("layers", &findings)
}

/// Prints findings, one a line.
pub(crate) fn report(chore: &str, findings: &[String]) -> Result<(), Failure> {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{chore}: {count} finding(s)"))),
    }
}

/// One package of the workspace, as far as the rules look at it.
#[derive(Debug)]
struct Package {
    name: String,
    /// Its directory from the root, with a slash at the end.
    directory: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug)]
struct Dependency {
    name: String,
    /// Whether it is a crate of this workspace.
    inside: bool,
    /// Whether only tests use it.
    only_tests: bool,
}

impl Package {
    fn is_development(&self) -> bool {
        DEVELOPMENT.contains(&self.name.as_str())
    }
}

fn packages(metadata: &Value) -> Result<Vec<Package>, Failure> {
    let strange = || Failure::Failed("cargo metadata has another form than expected".to_owned());
    let list = metadata.get("packages").and_then(Value::as_array).ok_or_else(strange)?;
    let mut found = Vec::new();
    for package in list {
        let name = package.get("name").and_then(Value::as_str).ok_or_else(strange)?;
        let manifest = package.get("manifest_path").and_then(Value::as_str).ok_or_else(strange)?;
        let directory = Path::new(manifest).parent().unwrap_or(Path::new(""));
        let directory = directory.strip_prefix(workspace::root()).unwrap_or(directory);
        let mut dependencies = Vec::new();
        for dependency in package.get("dependencies").and_then(Value::as_array).ok_or_else(strange)? {
            dependencies.push(Dependency {
                name: dependency.get("name").and_then(Value::as_str).ok_or_else(strange)?.to_owned(),
                inside: dependency.get("path").is_some_and(Value::is_string),
                only_tests: dependency.get("kind").and_then(Value::as_str) == Some("dev"),
            });
        }
        found.push(Package {
            name: name.to_owned(),
            directory: format!("{}/", directory.display()),
            dependencies,
        });
    }
    Ok(found)
}

fn imports(packages: &[Package], rows: &[CrateRow]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some(row) = rows.iter().find(|row| row.package == name) else {
            findings.push(format!(
                "{name} has no row; a new crate must earn its place by a different promise: add its row to CRATES in {TABLE}"
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.inside) {
            let target = &dependency.name;
            let for_tests = dependency.only_tests && target == TESTKIT;
            // A crate may name itself among its dev-dependencies to turn on a feature for its tests.
            let itself = dependency.only_tests && target == name;
            if !row.imports.contains(&target.as_str()) && !for_tests && !itself {
                findings.push(format!(
                    "{name} must not import {target}: it is not in the row of {name} in CRATES in {TABLE}"
                ));
            }
        }
    }
    findings
}

fn users(packages: &[Package], rows: &[UserRow]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| !package.is_development()) {
        for dependency in &package.dependencies {
            let Some(row) = rows.iter().find(|row| row.dependency == dependency.name) else { continue };
            if !row.users.contains(&package.name.as_str()) {
                findings.push(format!(
                    "{} must not use {}: only {} may, because {}; the row is {} in USERS in {TABLE}",
                    package.name,
                    row.dependency,
                    row.users.join(", "),
                    row.because,
                    row.dependency,
                ));
            }
        }
    }
    findings
}

fn words(sources: &[(PathBuf, String)], packages: &[Package], rows: &[WordRow]) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in sources {
        let owner = packages.iter().find(|package| path.starts_with(&package.directory));
        let outside_product = owner.is_none_or(Package::is_development) || is_test_file(path);
        if outside_product {
            continue;
        }
        let code = source::blank(&source::without_tests(text), Keep::Code);
        for row in rows.iter().filter(|row| !path.starts_with(row.below)) {
            for (number, _) in code.lines().enumerate().filter(|(_, line)| has_word(line, row.word)) {
                findings.push(format!(
                    "{}:{}: `{}` may stand only below {}, because {}; the row is `{}` in WORDS in {TABLE}",
                    path.display(),
                    number + 1,
                    row.word,
                    row.below,
                    row.because,
                    row.word,
                ));
            }
        }
    }
    findings
}

/// Whether the file holds only tests, benchmarks or examples, by its place or name.
pub(crate) fn is_test_file(path: &Path) -> bool {
    let named = |name: &str| path.components().any(|part| part.as_os_str() == name);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    named("tests") || named("benches") || named("examples") || stem == "tests" || stem.ends_with("_tests")
}

/// Whether `line` holds `word` with no letter, digit or underscore on either side.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(name: &str, dependencies: &str) -> Vec<Package> {
        let root = workspace::root().display();
        let text = format!(
            r#"{{"packages": [{{"name": "{name}", "manifest_path": "{root}/crates/x/Cargo.toml", "dependencies": [{dependencies}]}}]}}"#
        );
        packages(&serde_json::from_str(&text).unwrap()).unwrap()
    }

    fn inside(name: &str, kind: &str) -> String {
        format!(r#"{{"name": "{name}", "kind": {kind}, "path": "/x"}}"#)
    }

    fn outside(name: &str, kind: &str) -> String {
        format!(r#"{{"name": "{name}", "kind": {kind}, "source": "registry+x"}}"#)
    }

    #[test]
    fn an_import_in_the_row_passes_and_one_that_is_not_names_both_crates_and_the_row() {
        let good = metadata("ringfence-policy", &inside("ringfence-api", "null"));
        assert_eq!(imports(&good, CRATES), Vec::<String>::new());
        let bad = metadata("ringfence-api", &inside("ringfence-policy", "null"));
        let found = imports(&bad, CRATES);
        assert_eq!(found.len(), 1);
        let text = found.first().unwrap();
        assert!(
            text.starts_with("ringfence-api must not import ringfence-policy") && text.contains(TABLE),
            "{text}"
        );
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        let good = metadata("ringfence-sandbox", &inside("ringfence-testkit", "\"dev\""));
        assert_eq!(imports(&good, CRATES), Vec::<String>::new());
        for kind in ["null", "\"build\""] {
            let bad = metadata("ringfence-sandbox", &inside("ringfence-testkit", kind));
            assert_eq!(imports(&bad, CRATES).len(), 1, "{kind}");
        }
        // Tests may not reach across layers either, except through the testkit.
        let bad = metadata("ringfence-api", &inside("ringfence-sandbox", "\"dev\""));
        assert_eq!(imports(&bad, CRATES).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_a_finding() {
        let found = imports(&metadata("ringfence-extra", ""), CRATES);
        assert!(found.first().unwrap().starts_with("ringfence-extra has no row"), "{found:?}");
    }

    #[test]
    fn an_outside_dependency_has_only_its_users() {
        assert_eq!(users(&metadata("ringfence-cli", &outside("clap", "null")), USERS), Vec::<String>::new());
        assert_eq!(
            users(&metadata("ringfence-testkit", &outside("libc", "null")), USERS),
            Vec::<String>::new()
        );
        assert_eq!(
            users(&metadata("ringfence-policy", &outside("regex", "null")), USERS),
            Vec::<String>::new()
        );
        for (package, dependency) in [
            ("ringfence", "clap"),
            ("ringfence-policy", "tokio"),
            ("ringfence-cli", "rusqlite"),
            ("ringfence", "libc"),
        ] {
            let found = users(&metadata(package, &outside(dependency, "null")), USERS);
            let text = found.first().unwrap();
            assert!(text.starts_with(&format!("{package} must not use {dependency}: only ")), "{text}");
        }
    }

    #[test]
    fn words_are_found_in_product_code_and_nowhere_else() {
        let packages = metadata("ringfence", "");
        let find =
            |path: &str, text: &str| words(&[(PathBuf::from(path), text.to_owned())], &packages, WORDS);
        let start = "fn a() {\n    Command::new(\"x\");\n}\n";
        let found = find("crates/x/src/lib.rs", start);
        assert!(found.first().unwrap().starts_with("crates/x/src/lib.rs:2: `Command::new`"), "{found:?}");
        assert_eq!(find("crates/x/src/lib.rs", "unsafe fn a() {}").len(), 1);
        for text in [
            "// Command::new, unsafe\n",
            "\"unsafe\"",
            "#![deny(unsafe_code)]",
            "#[cfg(test)]\nmod t { fn a() { Command::new(\"x\"); } }",
        ] {
            assert_eq!(find("crates/x/src/lib.rs", text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(find("crates/x/tests/a.rs", start), Vec::<String>::new());
        assert_eq!(find("crates/x/src/a/tests.rs", start), Vec::<String>::new());
        assert_eq!(find("crates/x/src/a_tests.rs", start), Vec::<String>::new());
    }

    #[test]
    fn the_sandbox_may_start_processes_and_its_sys_may_be_unsafe() {
        let mut packages = metadata("ringfence-sandbox", "");
        packages.iter_mut().for_each(|package| package.directory = "crates/sandbox/".to_owned());
        let find =
            |path: &str, text: &str| words(&[(PathBuf::from(path), text.to_owned())], &packages, WORDS).len();
        assert_eq!(find("crates/sandbox/src/launch.rs", "Command::new(x)"), 0);
        assert_eq!(find("crates/sandbox/src/sys/clone.rs", "unsafe { x() }"), 0);
        assert_eq!(find("crates/sandbox/src/launch.rs", "unsafe { x() }"), 1);
    }
}
