//! What the guest runs: a second, read-only disk with programs and a script named `job`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::image::{self, PAYLOAD, USER};
use crate::failure::Failure;
use crate::process;
use crate::workspace;

/// Directories of the packages whose tests run in the guest: those that meet the kernel.
const TESTED: &[&str] = &["tests", "crates/sandbox"];

/// Needs that the guest has; a test may not skip for one of them.
const NEEDS: &str = "cc,bash,python3,/usr/bin/python3,setpriv,ip,cgroup-v2";

/// Sources that the tests compile where they run. They look for them where they were built, so the guest shows them
/// at the same path.
const PROBES: &str = "crates/testkit/probes";

/// Room for metadata of the file system beside the files.
const SPARE_BYTES: u64 = 16 * 1024 * 1024;

/// Who runs the command in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    Root,
    /// The guest's ordinary user, with a cgroup of his own.
    Ordinary,
}

/// A directory that becomes the disk; removed at the end.
#[derive(Debug)]
pub(super) struct Payload {
    directory: PathBuf,
}

impl Payload {
    /// An empty payload with the release binary, if that is built.
    pub(super) fn new(directory: &Path) -> Result<Self, Failure> {
        let payload = Self { directory: directory.join(format!("payload-{}", std::process::id())) };
        for part in ["tree/bin", "tree/tests", "tree/probes"] {
            let part = payload.directory.join(part);
            fs::create_dir_all(&part).map_err(|error| Failure::of(part.display(), error))?;
        }
        if let Ok(binary) = workspace::release_binary() {
            payload.copy(&binary, "bin/ringfence")?;
        }
        Ok(payload)
    }

    /// Runs `words`.
    pub(super) fn command(&self, words: &[String], account: Account) -> Result<(), Failure> {
        let words: Vec<String> = words.iter().map(|word| process::quoted(word)).collect();
        self.job(&format!("{}{}\n", prefix(account), words.join(" ")))
    }

    /// Runs the file with bash.
    pub(super) fn shell_file(&self, file: &str, account: Account) -> Result<(), Failure> {
        self.copy(&workspace::root().join(file), "shell-file")?;
        self.job(&format!("{}bash {PAYLOAD}/shell-file\n", prefix(account)))
    }

    /// Builds the tests and runs each test program as root and as the ordinary user.
    pub(super) fn tests(&self, filter: Option<&str>) -> Result<(), Failure> {
        process::run(process::cargo().args(["build", "--release", "--package", "ringfence-cli"]))?;
        self.copy(&workspace::release_binary()?, "bin/ringfence")?;
        // The whole workspace, as in `cargo xtask test`: another choice of packages would be built once more.
        let mut build = process::cargo();
        build.args(["test", "--workspace", "--no-run", "--message-format", "json"]);
        let messages = process::text(&mut build)?;
        let programs = programs(&messages, workspace::root());
        if programs.is_empty() {
            return Err(Failure::Failed("there are no test programs to run in the guest".to_owned()));
        }
        for (name, path) in &programs {
            self.copy(path, &format!("tests/{name}"))?;
        }
        let probes = workspace::root().join(PROBES);
        let show = format!(
            "mkdir -p {0} && ln -s {PAYLOAD}/probes {1}\n",
            process::quoted(&probes.with_file_name("").to_string_lossy()),
            process::quoted(&probes.to_string_lossy()),
        );
        let cannot = |error| Failure::of(probes.display(), error);
        for entry in fs::read_dir(&probes).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            self.copy(&path, &format!("probes/{}", path.file_name().unwrap_or_default().display()))?;
        }
        // A checkout in /root is closed to the ordinary user.
        self.job(&format!("chmod a+x /root\n{show}{}", tests_script(&programs, filter)))
    }

    /// Packs the directory into a disk.
    pub(super) fn disk(&self) -> Result<PathBuf, Failure> {
        let tree = self.directory.join("tree");
        let disk = self.directory.join("payload.ext4");
        let mut bytes = SPARE_BYTES;
        for part in ["tree", "tree/bin", "tree/tests", "tree/probes"] {
            let part = self.directory.join(part);
            let cannot = |error| Failure::of(part.display(), error);
            for entry in fs::read_dir(&part).map_err(cannot)? {
                bytes += entry.and_then(|entry| entry.metadata()).map_err(cannot)?.len();
            }
        }
        // A quarter more: block sizes and the file system's own tables grow with the files.
        let size = (bytes + bytes / 4).to_string();
        process::text(process::program("truncate").args(["--size", &size]).arg(&disk))?;
        image::file_system(&tree, &disk)?;
        Ok(disk)
    }

    fn job(&self, script: &str) -> Result<(), Failure> {
        let path = self.directory.join("tree/job");
        let bin = format!(
            "export RINGFENCE_BIN={PAYLOAD}/bin/ringfence RINGFENCE_NEEDS={NEEDS} RUST_BACKTRACE=1\n"
        );
        fs::write(&path, bin + script).map_err(|error| Failure::of(path.display(), error))
    }

    fn copy(&self, from: &Path, to: &str) -> Result<(), Failure> {
        fs::copy(from, self.directory.join("tree").join(to))
            .map(|_| ())
            .map_err(|error| Failure::of(from.display(), error))
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("warning: {} was left behind: {error}", self.directory.display());
        }
    }
}

/// The words that run the rest of a line as somebody, in a unit whose cgroup is delegated to him.
fn prefix(account: Account) -> String {
    let pass = "-E RINGFENCE_BIN -E RINGFENCE_NEEDS -E RUST_BACKTRACE";
    let unit = format!("systemd-run --quiet --wait --pipe --collect -p Delegate=yes {pass}");
    match account {
        Account::Root => format!("{unit} -E HOME=/root -p WorkingDirectory=/tmp "),
        Account::Ordinary => format!("{unit} -p User={USER} -p WorkingDirectory=/home/{USER} "),
    }
}

fn tests_script(programs: &[(String, PathBuf)], filter: Option<&str>) -> String {
    let filter = filter.map(process::quoted).unwrap_or_default();
    let mut script = String::from("status=0\n");
    for (name, _) in programs {
        for (account, who) in [(Account::Root, "root"), (Account::Ordinary, "an ordinary user")] {
            script.push_str(&format!("echo '== {name} as {who}'\n"));
            script.push_str(&format!("{}{PAYLOAD}/tests/{name} {filter} || status=1\n", prefix(account)));
        }
    }
    script.push_str("exit $status\n");
    script
}

/// Names and paths of the test programs that cargo's messages list for [`TESTED`].
fn programs(messages: &str, root: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let is_test = message.pointer("/profile/test").and_then(Value::as_bool) == Some(true);
        let (Some(manifest), Some(executable), true) = (text("/manifest_path"), text("/executable"), is_test)
        else {
            continue;
        };
        let package = Path::new(manifest).parent().and_then(|path| path.strip_prefix(root).ok());
        if package.is_some_and(|package| TESTED.iter().any(|tested| package == Path::new(tested))) {
            let path = PathBuf::from(executable);
            // Cargo's file name has a hash in it, so two targets of the same name do not meet.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push((name, path));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_of_the_tested_packages_are_taken() {
        let line = |package: &str, test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/r/{package}/Cargo.toml","profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let messages = [
            line("tests", true, "\"/t/whole-1a\""),
            line("tests", false, "\"/t/other\""),
            line("crates/api", true, "\"/t/api\""),
            line("crates/sandbox", true, "null"),
            line("crates/sandbox", true, "\"/t/sandbox-2b\""),
            "not json".to_owned(),
        ]
        .join("\n");
        let names: Vec<String> =
            programs(&messages, Path::new("/r")).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["whole-1a", "sandbox-2b"]);
    }

    #[test]
    fn each_program_runs_as_root_and_as_the_user_and_one_failure_fails_all() {
        let script = tests_script(&[("a-1".to_owned(), PathBuf::from("/t/a-1"))], Some("it's"));
        assert_eq!(script.matches(r"/opt/ringfence/tests/a-1 'it'\''s' || status=1").count(), 2, "{script}");
        assert_eq!(script.matches("User=tester").count(), 1, "{script}");
        assert!(script.ends_with("exit $status\n"));
    }
}
