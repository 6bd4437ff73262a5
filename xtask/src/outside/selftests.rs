//! The kernel's own tests of what the sandbox is built from, bare: what this machine's kernel is worth, not what we are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::Failure;
use crate::needs;
use crate::process;
use crate::soak::account::Account;
use crate::soak::{Figure, Setting};
use crate::workspace;

/// Where Debian's `linux-source-*` puts the archive.
const SOURCES: &str = "/usr/src";

/// What the archive has of them.
const INSIDE: &str = "tools/testing/selftests";

/// Each test program: its directory, and the C files that it is made of. A newer kernel's files need newer headers than
/// `linux-libc-dev` of the same release has, so the two packages must be of one release.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("landlock", &["base_test.c"]),
    ("landlock", &["fs_test.c"]),
    ("landlock", &["ptrace_test.c"]),
    ("seccomp", &["seccomp_bpf.c"]),
    ("openat2", &["openat2_test.c", "helpers.c"]),
    ("openat2", &["resolve_test.c", "helpers.c"]),
    ("openat2", &["rename_attack_test.c", "helpers.c"]),
];

/// What one program may take.
const DEADLINE: Duration = Duration::from_secs(120);

pub(super) fn run(setting: &Setting, account: &Account) -> Result<Vec<Figure>, Failure> {
    if *account == Account::Nobody || !workspace::is_root() {
        // They make mounts and change users: only root's run says something.
        return Ok(Vec::new());
    }
    let (archive, cap) = (archive(), Path::new("/usr/include/sys/capability.h").is_file());
    let Some(archive) = archive.filter(|_| cap && needs::locate("gcc").is_some()) else {
        let text = "the kernel's tests are missing: sudo apt-get install linux-source-6.1 libcap-dev gcc";
        return Err(Failure::Failed(text.to_owned()));
    };
    let place = workspace::target_dir()?.join("selftests");
    unpack(&archive, &place)?;
    let mut figures = vec![Figure::information("sources", archive.display())];
    let chosen = PROGRAMS.iter().filter(|(_, files)| {
        let name = files.first().map(|file| file.trim_end_matches(".c"));
        setting.only.is_none() || setting.only.as_deref() == name
    });
    for (directory, files) in chosen {
        let name = files.first().map_or("", |file| file.trim_end_matches(".c"));
        let said = one(&place, directory, name, files)?;
        figures.push(Figure::information(format!("{directory} {name}"), said));
    }
    Ok(figures)
}

/// The newest archive of kernel sources that is there.
fn archive() -> Option<PathBuf> {
    let entries = fs::read_dir(SOURCES).ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("linux-source-") && name.ends_with(".tar.xz")
        })
        .collect();
    found.sort();
    found.pop()
}

/// Takes the tests, and nothing else, out of the archive, unless that was done before.
fn unpack(archive: &Path, place: &Path) -> Result<(), Failure> {
    let mark = place.join("of");
    let wanted = archive.display().to_string();
    if fs::read_to_string(&mark).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    let cannot = |error| Failure::of(place.display(), error);
    if place.exists() {
        fs::remove_dir_all(place).map_err(cannot)?;
    }
    fs::create_dir_all(place).map_err(cannot)?;
    let mut command = process::program("tar");
    command.args(["--strip-components=1", "--wildcards", "-xJf"]).arg(archive).arg("-C").arg(place);
    for part in ["landlock/*", "seccomp/*", "openat2/*", "clone3/*", "kselftest*.h"] {
        command.arg(format!("*/{INSIDE}/{part}"));
    }
    process::run(&mut command)?;
    fs::write(&mark, wanted).map_err(cannot)
}

/// Builds and runs one program, and gives its own last words on how many passed.
fn one(place: &Path, directory: &str, name: &str, files: &[&str]) -> Result<String, Failure> {
    let sources = place.join(INSIDE).join(directory);
    let program = sources.join(name);
    let mut build = process::program("gcc");
    build.args(["-O1", "-w", "-o"]).arg(&program).args(files).args(["-lcap", "-lpthread"]);
    process::run(build.current_dir(&sources))?;
    if directory == "landlock" {
        // Its tests of executing start this one, in directories that have no libraries.
        let mut helper = process::program("gcc");
        process::run(helper.args(["-O1", "-static", "-o", "true", "true.c"]).current_dir(&sources))?;
    }
    let mut command = process::program("timeout");
    // They take it for granted that /tmp is a file system of its own.
    let in_own_tmp = "mount -t tmpfs tmpfs /tmp && exec \"$0\"";
    command.arg(DEADLINE.as_secs().to_string()).args(["unshare", "--mount", "sh", "-c", in_own_tmp]);
    command.arg(&program).current_dir(&sources);
    let output = process::output(&mut command)?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(totals(&said).map_or_else(|| process::ending(output.status), |sums| sums + &failed(&said)))
}

/// The names of what failed, behind the sums.
fn failed(said: &str) -> String {
    let names: Vec<&str> = said
        .lines()
        .filter_map(|line| {
            line.strip_prefix("not ok ")?.split_once(' ').map(|(_, name)| name.trim_start_matches("- "))
        })
        .collect();
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}

/// `109 passed, 6 failed, 0 skipped`, from the line with which kernel tests end.
fn totals(said: &str) -> Option<String> {
    let line = said.lines().rev().find_map(|line| line.strip_prefix("# Totals: "))?;
    let count = |name: &str| {
        line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix(':')).unwrap_or("0")
    };
    Some(format!("{} passed, {} failed, {} skipped", count("pass"), count("fail"), count("skip")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_totals_is_read() {
        let said = "ok 1 x\n# Totals: pass:109 fail:6 xfail:0 xpass:0 skip:2 error:0\n";
        assert_eq!(totals(said).unwrap(), "109 passed, 6 failed, 2 skipped");
        assert_eq!(totals("Segmentation fault"), None);
        assert_eq!(failed("ok 1 a\nnot ok 2 layout1.execute\nnot ok 3 - b c\n"), ": layout1.execute, b c");
        assert_eq!(failed(said), "");
    }
}
