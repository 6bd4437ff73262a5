//! Tests of a program once more, as an ordinary user.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use crate::world::NOBODY;

/// Names the copy of the built program that an ordinary user can reach.
const PROGRAM: &str = "RINGFENCE_TEST_PROGRAM";
/// Names where worlds are made.
const PLACE: &str = "RINGFENCE_TEST_DIR";

/// Runs these tests of the running test program once more as uid 65534, each named as the harness lists it: copies of the test
/// program and of `program`, in a place of that user. Does nothing where the tests are run by an ordinary user already.
///
/// # Panics
/// When one of them fails, or there is none of that name.
pub fn again(cases: &[&str], program: Option<&Path>) {
    if crate::host_uid() != 0 {
        return;
    }
    let made = tempfile::Builder::new().prefix("ringfence-again-").tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(made.path(), Permissions::from_mode(0o755)).unwrap();
    let (tests, home) = (made.path().join("tests"), made.path().join("home"));
    crate::rig::copy_program(&std::env::current_exe().unwrap(), &tests);
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the harness starts its own tools on the host")]
    let mut run = std::process::Command::new(&tests);
    run.arg("--exact").args(cases).current_dir(&home).uid(NOBODY).gid(NOBODY);
    run.env("HOME", &home).env(PLACE, &home).env("TMPDIR", "/tmp");
    run.env("RINGFENCE_NEEDS", promised_to_everybody());
    if let Some(program) = program {
        let copy = made.path().join("ringfence");
        crate::rig::copy_program(program, &copy);
        run.env(PROGRAM, copy);
    }
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let also = String::from_utf8_lossy(&output.stderr);
    also.lines().filter(|line| line.starts_with("skipped:")).for_each(crate::say);
    let passed = said.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    assert!(output.status.success() && passed == cases.len(), "as uid {NOBODY}: {said}\n{also}");
}

/// The built program: the one that cargo made for these tests, or, in [`again`], the copy of it.
#[must_use]
pub fn program(built: &'static str) -> PathBuf {
    std::env::var_os(PROGRAM).map_or_else(|| built.into(), PathBuf::from)
}

/// Where a test works: in [`again`] a place of the ordinary user.
#[must_use]
pub fn place(usual: &'static str) -> PathBuf {
    std::env::var_os(PLACE).map_or_else(|| usual.into(), PathBuf::from)
}

/// What the machine promises, without what only root has.
fn promised_to_everybody() -> String {
    let promised = std::env::var("RINGFENCE_NEEDS").unwrap_or_default();
    let all = promised.split(',').map(str::trim);
    all.filter(|need| !matches!(*need, "root" | "cap-sys-resource")).collect::<Vec<_>>().join(",")
}
