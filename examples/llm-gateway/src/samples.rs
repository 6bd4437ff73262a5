//! The sample plugins of this example.

use std::path::Path;

use ringfence::plugin::Consent;
use ringfence::{Error, Host};
use ringfence_api::ErrorCode;

/// Installs and activates the sample plugins in `directory`, with all that they ask for. The native one is a program that is
/// built beside the gateway (`token-counter`), and is put into its package first.
///
/// # Errors
/// What [`Host::install`] and [`Host::activate`] say; `io` when the program cannot be copied.
pub async fn install(host: &Host, directory: &Path, names: &[&str]) -> Result<(), Error> {
    for name in names {
        let package = directory.join(name);
        if *name == "token-counter" {
            copy_program(&package)?;
        }
        host.install(&package, Consent::Requested).await?;
        host.activate(name).await?;
    }
    Ok(())
}

fn copy_program(package: &Path) -> Result<(), Error> {
    let failed = |what: &str, error: std::io::Error| {
        Error::new(ErrorCode::Io, format!("the program of token-counter cannot be {what}")).with_source(error)
    };
    let own = std::env::current_exe().map_err(|error| failed("found", error))?;
    let mut beside = own.parent().map(Path::to_owned).unwrap_or_default();
    if beside.ends_with("deps") {
        // A test: programs stand one directory higher.
        beside.pop();
    }
    let program = beside.join("token-counter");
    std::fs::copy(program, package.join("token-counter")).map(drop).map_err(|error| failed("copied", error))
}
