//! Links the release binary without shared libraries, where the C library can be linked so.
//!
//! `ringfence exec` starts once for each command, and finding, mapping and binding shared libraries was a tenth of its whole
//! time. The result is a static position-independent executable: its addresses are as random as before.
//!
//! A compiler flag for the whole build would say the same (`crt-static`), but it would also be applied to procedural macros,
//! which cannot be built with it. So only the last step is changed: the linker is asked for a static executable, and finds,
//! in place of each shared library that the standard library names, a script that names the static one.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// The shared library that is named, and the archives in its place.
const STATIC: [(&str, &str); 7] = [
    ("libgcc_s.so", "libgcc_eh.a"),
    ("libc.so", "libc.a"),
    ("libm.so", "libm.a"),
    ("libpthread.so", "libpthread.a"),
    ("libdl.so", "libdl.a"),
    ("librt.so", "librt.a"),
    ("libutil.so", "libutil.a"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RINGFENCE_SHARED");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let gnu = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let native = env::var("HOST")? == env::var("TARGET")? && is("CARGO_CFG_TARGET_ARCH", "x86_64");
    let shared = env::var_os("RINGFENCE_SHARED").is_some();
    if !gnu || !native || shared || !is("PROFILE", "release") {
        return Ok(());
    }
    let directory = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("static");
    fs::create_dir_all(&directory)?;
    for (name, archive) in STATIC {
        let Some(path) = find(archive)? else {
            println!(
                "cargo::warning={archive} is not installed: ringfence is linked with shared libraries and starts slower"
            );
            return Ok(());
        };
        fs::write(directory.join(name), format!("INPUT({})\n", path.display()))?;
    }
    println!("cargo::rustc-link-search=native={}", directory.display());
    // What the C library's start code of such executables relies on: nothing is left to a dynamic linker, weak symbols that
    // nobody defines included.
    for argument in [
        "-static-pie",
        "-Wl,--no-dynamic-linker",
        "-Wl,-z,text",
        "-Wl,-z,nodynamic-undefined-weak",
        "-Wl,-Bstatic",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    Ok(())
}

/// Where the C compiler has `archive`.
fn find(archive: &str) -> Result<Option<PathBuf>, Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "a build script asks the compiler, it starts no plugin")]
    let asked = std::process::Command::new("cc").arg(format!("-print-file-name={archive}")).output();
    let Ok(answer) = asked else { return Ok(None) };
    let path = PathBuf::from(String::from_utf8(answer.stdout)?.trim());
    Ok(Some(path).filter(|path| path.is_absolute() && Path::exists(path)))
}
