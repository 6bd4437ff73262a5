//! `cargo xtask tidy`: small rules about files that no lint knows.

use std::path::{Component, Path, PathBuf};

use crate::arguments::{Arguments, Grammar};
use crate::failure::Failure;
use crate::layers::{self, is_test_file};
use crate::source::{self, Keep};
use crate::workspace;

/// Most lines of a source file, tests not counted. Clippy holds the limit for functions.
const LINES_MAX: usize = 600;

/// Directories that exist on somebody's machine and not on the reader's.
const MACHINE_PATHS: &[&str] = &["/home/", "/root/", "/work/"];

pub(crate) const HELP: &str = "
cargo xtask tidy

Checks small rules about files:
  - a source file has at most 600 lines besides its tests;
  - every crate inherits the workspace lints (`[lints]`, `workspace = true`);
  - no path of somebody's machine (/home/, /root/, /work/) in crates/, outside tests and comments;
  - CHANGELOG.md has an Unreleased section;
  - links between Markdown files of the project lead somewhere.
Prints each finding as `file:line: text`. Exit status 0: none; 1: some.
";

pub(crate) fn run(given: &[String]) -> Result<(), Failure> {
    Arguments::parse(given, Grammar::default())?;
    let mut findings = Vec::new();
    for path in workspace::files("", "rs")? {
        let text = workspace::read(&path)?;
        if !is_test_file(&path) {
            findings.extend(length(&path, &text));
            // What ships: fuzz targets and chores may name what they make up or build.
            if path.starts_with("crates") {
                findings.extend(machine_paths(&path, &text));
            }
        }
    }
    for path in workspace::files("", "toml")? {
        // The root inherits nothing, and fuzz is a workspace of its own.
        let is_member = path.components().count() > 1 && !path.starts_with("fuzz");
        if path.ends_with("Cargo.toml") && is_member {
            findings.extend(lints(&path, &workspace::read(&path)?));
        }
    }
    findings.extend(changelog(&workspace::read(Path::new("CHANGELOG.md")).unwrap_or_default()));
    for path in workspace::files("", "md")? {
        findings
            .extend(links(&path, &workspace::read(&path)?, |target| workspace::root().join(target).exists()));
    }
    layers::report("tidy", &findings)
}

fn length(path: &Path, text: &str) -> Option<String> {
    // Lines that were tests are blank now, so blank lines are not counted at all.
    let kept = source::without_tests(text);
    let lines = kept.lines().filter(|line| !line.trim().is_empty()).count();
    (lines > LINES_MAX).then(|| {
        format!("{}:{LINES_MAX}: {lines} lines besides tests; split it (at most {LINES_MAX})", path.display())
    })
}

fn machine_paths(path: &Path, text: &str) -> Vec<String> {
    let kept = source::blank(&source::without_tests(text), Keep::CodeAndLiterals);
    let mut findings = Vec::new();
    for (number, line) in kept.lines().enumerate() {
        for found in MACHINE_PATHS.iter().filter(|found| starts_a_path(line, found)) {
            findings.push(format!(
                "{}:{}: names `{found}`, a place on one machine",
                path.display(),
                number + 1
            ));
        }
    }
    findings
}

/// Whether `directory` stands in `line` as the start of a path and not in the middle of one.
fn starts_a_path(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.}*~".contains(c))
    })
}

fn lints(path: &Path, text: &str) -> Option<String> {
    let mut section = "";
    let inherits = text.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        section == "[lints]" && line.replace(' ', "") == "workspace=true"
    });
    (!inherits).then(|| {
        format!(
            "{}:1: does not inherit the workspace lints; add `[lints]` and `workspace = true`",
            path.display()
        )
    })
}

fn changelog(text: &str) -> Option<String> {
    let has = text.lines().any(|line| line.starts_with("## ") && line.contains("Unreleased"));
    (!has).then(|| "CHANGELOG.md:1: has no section `## Unreleased`".to_owned())
}

/// Links of one Markdown file that lead to no file of the project. `exists` answers for paths from the root.
fn links(path: &Path, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line).filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        {
            let file = target.split('#').next().unwrap_or_default();
            // An empty name is a heading of the same file.
            let leads = file.is_empty() || resolve(path, file).is_some_and(|target| exists(&target));
            if !leads {
                findings.push(format!("{}:{}: link to `{target}` leads nowhere", path.display(), number + 1));
            }
        }
    }
    findings
}

/// The targets of `[text](target)` in one line. Code between backticks has none.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split('`')
        .step_by(2)
        .flat_map(|prose| prose.split("](").skip(1))
        .filter_map(|rest| rest.split([')', ' ']).next())
}

/// A link's target as a path from the root; `None` when it leaves the project.
fn resolve(from: &Path, link: &str) -> Option<PathBuf> {
    let mut target = PathBuf::new();
    let whole = match link.strip_prefix('/') {
        Some(link) => PathBuf::from(link),
        None => from.parent()?.join(link),
    };
    for part in whole.components() {
        match part {
            Component::ParentDir if !target.pop() => return None,
            Component::Normal(name) => target.push(name),
            _ => {}
        }
    }
    Some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_a_finding_and_its_tests_do_not_count() {
        let path = Path::new("crates/x/src/lib.rs");
        let line = "fn a() {}\n";
        assert_eq!(length(path, &line.repeat(LINES_MAX)), None);
        assert!(length(path, &line.repeat(LINES_MAX + 1)).is_some());
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(LINES_MAX), line.repeat(50));
        assert_eq!(length(path, &tested), None);
    }

    #[test]
    fn machine_paths_are_found_in_code_but_not_in_comments_tests_or_other_paths() {
        let find = |text: &str| machine_paths(Path::new("crates/x/src/lib.rs"), text).len();
        assert_eq!(find("let a = \"/home/ada/x\";"), 1);
        assert_eq!(find("let a = \"PATH=/root/bin\";"), 1);
        assert_eq!(find("// such as /home/ada/x\n"), 0);
        assert_eq!(find("let a = \"/srv/home/x\"; let b = \"~/work/x\";"), 0);
        assert_eq!(find("#[cfg(test)]\nmod t { const A: &str = \"/home/ada/x\"; }"), 0);
    }

    #[test]
    fn a_crate_inherits_the_lints_or_is_a_finding() {
        let path = Path::new("crates/x/Cargo.toml");
        assert_eq!(lints(path, "[package]\nname = \"x\"\n[lints]\nworkspace = true\n"), None);
        assert!(lints(path, "[lints]\n[dependencies]\nworkspace = true\n").is_some());
        assert!(lints(path, "[package]\nname = \"x\"\n").is_some());
    }

    #[test]
    fn the_changelog_has_its_section() {
        assert_eq!(changelog("# Changelog\n\n## [Unreleased]\n"), None);
        assert_eq!(changelog("## Unreleased\n"), None);
        assert!(changelog("# Changelog\nUnreleased\n").is_some());
    }

    #[test]
    fn links_resolve_from_their_file_and_broken_ones_name_their_line() {
        let exists = |path: &Path| path == Path::new("docs/testing.md") || path == Path::new("README.md");
        let find = |text: &str| links(Path::new("docs/a.md"), text, exists);
        for good in [
            "[a](testing.md#vm)",
            "[a](../README.md)",
            "[a](/README.md)",
            "[a](#here)",
            "[a](https://example.com)",
            "`[a](b.md)`",
            "```\n[a](b.md)\n```",
        ] {
            assert_eq!(find(good), Vec::<String>::new(), "{good}");
        }
        assert_eq!(find("x\n[a](gone.md) [b](testing.md)"), ["docs/a.md:2: link to `gone.md` leads nowhere"]);
        assert_eq!(find("[a](../../etc/passwd)").len(), 1);
    }
}
