//! What tests need from the machine, by name: how each need is found and which Debian package brings it.
//!
//! Tests ask for a need by its name and print `skipped: needs NAME` without it. `RINGFENCE_NEEDS` names the needs
//! that must be there: a test that would skip for one of those fails instead.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::process;
use crate::workspace;

/// One thing that tests need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// The name that tests, variables and documents use.
    pub(crate) name: &'static str,
    /// The program whose presence shows that it is there.
    pub(crate) program: &'static str,
    /// The Debian packages that bring it.
    pub(crate) packages: &'static [&'static str],
    /// What is tested with it.
    pub(crate) purpose: &'static str,
    /// Who asks for it.
    pub(crate) asked_by: AskedBy,
}

/// Which chore asks for a need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedBy {
    /// `cargo xtask test` on every machine.
    Tests,
    /// `cargo xtask vm` and `cargo xtask test --with-vm`.
    Vm,
}

const fn test(
    name: &'static str,
    program: &'static str,
    packages: &'static [&'static str],
    purpose: &'static str,
) -> Need {
    Need { name, program, packages, purpose, asked_by: AskedBy::Tests }
}

const fn vm(
    name: &'static str,
    program: &'static str,
    packages: &'static [&'static str],
    purpose: &'static str,
) -> Need {
    Need { name, program, packages, purpose, asked_by: AskedBy::Vm }
}

/// All needs. A new one is one line here and its name in the test that asks for it.
pub(crate) const NEEDS: &[Need] = &[
    test("cc", "cc", &["gcc", "libc6-dev"], "probe programs in C, and linking"),
    test("bwrap", "bwrap", &["bubblewrap"], "the peer in comparisons"),
    test("python3", "python3", &["python3"], "Python inside the sandbox"),
    test("venv", "ensurepip/__main__.py", &["python3-venv"], "MCP clients from PyPI"),
    test("npm", "npm", &["npm"], "the MCP Inspector"),
    test("node", "node", &["nodejs"], "Node.js inside the sandbox"),
    test("go", "go", &["golang-go"], "a Go program inside the sandbox"),
    test("make", "make", &["make"], "example plugins in C"),
    test("bash", "bash", &["bash"], "plugins in bash"),
    test("git", "git", &["git"], "Git inside the sandbox"),
    test("jq", "jq", &["jq"], "a program that `learn` learns"),
    test("sqlite3", "sqlite3", &["sqlite3"], "a program that `learn` learns"),
    test("perl", "perl", &["perl"], "a program that `learn` learns"),
    test("bc", "bc", &["bc"], "a program that `learn` learns"),
    test("rg", "rg", &["ripgrep"], "a program that `learn` learns"),
    test("xz", "xz", &["xz-utils"], "a program that `learn` learns"),
    test("gcc", "gcc", &["gcc", "libc6-dev"], "a program that `learn` learns"),
    test("curl", "curl", &["curl"], "a program that `learn` refuses the network"),
    test("openssl", "openssl", &["openssl"], "a program that `learn` learns"),
    test("ssh-keygen", "ssh-keygen", &["openssh-client"], "a program that `learn` learns"),
    test("java", "java", &["default-jre-headless"], "a JVM inside the sandbox"),
    test("javac", "javac", &["default-jdk-headless"], "a JVM with threads inside the sandbox"),
    test("stress-ng", "stress-ng", &["stress-ng"], "hostile load"),
    test("strace", "strace", &["strace"], "which system calls a launch makes"),
    test("faketime", "faketime", &["faketime"], "a daemon whose clock jumps"),
    test("setpriv", "setpriv", &["util-linux"], "running as an ordinary user"),
    test("unshare", "unshare", &["util-linux"], "a file system of its own that is full"),
    test("ip", "ip", &["iproute2"], "network namespaces with and without devices"),
    test(
        "chromium",
        "chromedriver",
        &["chromium", "chromium-driver", "fonts-dejavu-core"],
        "the dashboard in a browser",
    ),
    test("crun", "crun", &["crun"], "the container peer in comparisons"),
    vm("qemu", "qemu-system-x86_64", &["qemu-system-x86"], "the virtual machine"),
    vm("debootstrap", "debootstrap", &["debootstrap"], "the disk image of the virtual machine"),
    vm("mkfs", "mkfs.ext4", &["e2fsprogs"], "the disk image of the virtual machine"),
];

/// Where programs are looked for: the directories that a sandbox shows, so that a private copy in some home
/// directory does not count.
const PLACES: &[&str] = &["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// The program's path in one of the system's directories, or in the library of a Python of the system.
pub(crate) fn locate(program: &str) -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let pythons = libraries.filter(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python3."))
    });
    let places = PLACES.iter().map(PathBuf::from).chain(pythons);
    places.map(|place| place.join(program)).find(|path| path.is_file())
}

/// The needs of `asked_by` that this machine lacks.
pub(crate) fn missing(asked_by: &[AskedBy]) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| asked_by.contains(&need.asked_by) && locate(need.program).is_none()).collect()
}

/// The names of needs, joined by commas.
pub(crate) fn names(needs: &[&Need]) -> String {
    needs.iter().map(|need| need.name).collect::<Vec<_>>().join(",")
}

/// Makes sure that the needs of `asked_by` are there: as root by installing what is missing.
///
/// # Errors
/// When something is missing and cannot be installed; the text lists it with the command that would install it.
pub(crate) fn provide(asked_by: &[AskedBy]) -> Result<(), Failure> {
    let lacking = missing(asked_by);
    if lacking.is_empty() {
        return Ok(());
    }
    if !workspace::is_root() || locate("apt-get").is_none() {
        return Err(Failure::Failed(advice(&lacking)));
    }
    println!("installing with apt-get: {}", packages(&lacking).join(" "));
    install(&lacking)?;
    let lacking = missing(asked_by);
    if lacking.is_empty() { Ok(()) } else { Err(Failure::Failed(advice(&lacking))) }
}

fn install(lacking: &[&Need]) -> Result<(), Failure> {
    let once = || {
        let mut command = process::program("apt-get");
        command.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages(lacking));
        process::run(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // A fresh machine has no package lists, an old one has lists that no longer match: both are mended the same way.
    once().or_else(|_| {
        process::run(process::program("apt-get").args(["update", "--quiet"]))?;
        once()
    })
}

fn packages(needs: &[&Need]) -> Vec<&'static str> {
    let mut found: Vec<&str> = needs.iter().flat_map(|need| need.packages).copied().collect();
    found.dedup();
    found
}

/// What is missing, what for, and the command that installs it.
fn advice(lacking: &[&Need]) -> String {
    let mut text = String::from("this machine lacks:\n");
    for need in lacking {
        text.push_str(&format!("  {:<12} {} (for {})\n", need.name, need.packages.join(" "), need.purpose));
    }
    text.push_str(&format!("install with: sudo apt-get install {}\n", packages(lacking).join(" ")));
    text.push_str("or run the tests without them: cargo xtask test --allow-missing");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_each_need_has_a_package() {
        for (index, need) in NEEDS.iter().enumerate() {
            assert!(!need.packages.is_empty() && !need.purpose.is_empty(), "{}", need.name);
            assert!(NEEDS.iter().skip(index + 1).all(|other| other.name != need.name), "{} twice", need.name);
        }
    }

    #[test]
    fn a_program_is_found_in_the_systems_directories_only() {
        assert!(locate("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(locate("no-such-program-at-all"), None);
    }

    #[test]
    fn advice_names_the_need_its_package_and_the_command() {
        let lacking: Vec<&Need> = NEEDS.iter().filter(|need| matches!(need.name, "node" | "go")).collect();
        let text = advice(&lacking);
        assert!(text.contains("node") && text.contains("sudo apt-get install nodejs golang-go\n"), "{text}");
        assert_eq!(names(&lacking), "node,go");
    }
}
