//! Builds the launcher: one `rustc` call for a static program of about 30 KiB that needs no library at all, embedded
//! into this crate so that an application which embeds Ringfence ships no second file.

use std::env;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/stage");
    println!("cargo::rerun-if-changed=src/sys");
    println!("cargo::rerun-if-changed=src/wire.rs");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(confined)");
    let launcher =
        PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("ringfence-launcher");
    let supported =
        env::var("CARGO_CFG_TARGET_OS")? == "linux" && env::var("CARGO_CFG_TARGET_ARCH")? == "x86_64";
    if !supported {
        // The crate still builds elsewhere and answers "not enforceable".
        return Ok(std::fs::write(launcher, [])?);
    }
    println!("cargo::rustc-cfg=confined");
    #[expect(clippy::disallowed_methods, reason = "a build script starts the compiler, not a plugin")]
    let mut rustc = std::process::Command::new(env::var_os("RUSTC").ok_or("cargo sets RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-name", "ringfence_launcher", "--crate-type", "bin"]);
    rustc.arg("--target").arg(env::var("TARGET")?);
    for option in [
        "panic=abort",
        "opt-level=s",
        "overflow-checks=off",
        "debug-assertions=off",
        "codegen-units=1",
        "relocation-model=static",
        "strip=symbols",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
        "link-arg=-no-pie",
        "link-arg=-Wl,--build-id=none",
    ] {
        rustc.arg("-C").arg(option);
    }
    rustc.arg("-o").arg(&launcher).arg("src/stage/main.rs");
    let status = rustc.status()?;
    if status.success() { Ok(()) } else { Err(format!("the launcher did not build: {status}").into()) }
}
