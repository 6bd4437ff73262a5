//! What one test process sets up once: the probe, a copy of the binary that everyone may run, and a place for worlds.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;

static RIG: OnceLock<Rig> = OnceLock::new();

/// The shared set-up of a test process. Its directory goes when the process ends, however it ends: a janitor process
/// waits for the end of a pipe and removes the tree.
#[derive(Debug)]
pub struct Rig {
    base: PathBuf,
    _janitor: Child,
}

/// Gives the set-up, made at the first call.
///
/// # Panics
/// When no C compiler is there, the probe does not compile, or there is no place to work in.
#[must_use]
pub fn rig() -> &'static Rig {
    RIG.get_or_init(Rig::make)
}

impl Rig {
    fn make() -> Self {
        let base = tempfile::Builder::new()
            .prefix("ringfence-tests-")
            .tempdir_in(place())
            .expect("a place for the test run")
            .keep();
        std::fs::set_permissions(&base, Permissions::from_mode(0o755)).unwrap();
        for name in ["bin", "worlds"] {
            std::fs::create_dir(base.join(name)).unwrap();
            std::fs::set_permissions(base.join(name), Permissions::from_mode(0o755)).unwrap();
        }
        let probe = base.join("bin/probe");
        compile(&probe);
        #[expect(clippy::disallowed_methods, reason = "the harness starts its own tools on the host")]
        let janitor = std::process::Command::new(&probe)
            .arg("janitor")
            .arg(&base)
            .args(crate::world::delegated_dirs(crate::world::NOBODY))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the janitor starts");
        Self { base, _janitor: janitor }
    }

    /// The multi-call program of hostile acts.
    #[must_use]
    pub fn probe(&self) -> PathBuf {
        self.base.join("bin/probe")
    }

    /// The directory of programs that every user of this machine may read and run.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.base.join("bin")
    }

    /// Where worlds are made.
    #[must_use]
    pub fn worlds(&self) -> PathBuf {
        self.base.join("worlds")
    }

    /// The product: a copy that an ordinary user can reach too.
    ///
    /// # Panics
    /// When there is no binary: build it, or name it in `RINGFENCE_BIN`.
    #[must_use]
    pub fn ringfence(&self) -> &'static Path {
        static COPY: OnceLock<PathBuf> = OnceLock::new();
        COPY.get_or_init(|| {
            let from = std::env::var_os("RINGFENCE_BIN").map_or_else(
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/ringfence"),
                PathBuf::from,
            );
            assert!(
                from.is_file(),
                "there is no binary at {}: run `cargo build --release -p ringfence-cli`, or set RINGFENCE_BIN",
                from.display()
            );
            let to = self.base.join("bin/ringfence");
            copy_program(&from, &to);
            to
        })
    }
}

/// Copies a program and lets everyone run it.
///
/// Another process does it: a descriptor that is open for writing here would be inherited by whatever a thread beside
/// this one is just starting, and the kernel refuses to execute a file that somebody can still write (ETXTBSY).
pub(crate) fn copy_program(from: &Path, to: &Path) {
    #[expect(clippy::disallowed_methods, reason = "the harness starts its own tools on the host")]
    let status = std::process::Command::new("cp").arg(from).arg(to).status().expect("cp starts");
    assert!(status.success(), "cannot copy {} to {}", from.display(), to.display());
    std::fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
}

/// Worlds live outside /tmp, because the sandbox puts its own /tmp there and would hide what leaks.
fn place() -> PathBuf {
    if let Some(dir) = std::env::var_os("RINGFENCE_TEST_DIR") {
        return PathBuf::from(dir);
    }
    let var = PathBuf::from("/var/tmp");
    if tempfile::tempfile_in(&var).is_ok() { var } else { std::env::temp_dir() }
}

fn compile(to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
    let files: Vec<PathBuf> = ["main.c", "fs.c", "net.c", "sys.c", "proc.c", "life.c", "res.c", "each.c"]
        .iter()
        .map(|name| source.join(name))
        .collect();
    let mut words = String::new();
    for mode in [Some("-static"), None] {
        #[expect(clippy::disallowed_methods, reason = "the harness starts its own tools on the host")]
        let output = std::process::Command::new("cc")
            .args(["-O1", "-pthread"])
            .args(mode)
            .args(&files)
            .arg("-o")
            .arg(to)
            .output()
            .expect("needs a C compiler named cc");
        if output.status.success() {
            std::fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
            return;
        }
        words = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    panic!("the probe does not compile: {words}");
}
