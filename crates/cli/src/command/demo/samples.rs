//! The packages that the demo installs. Their files travel inside this binary; compiled ones are copies of it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ringfence::{Error, doctor};

use super::world::{World, failed};
use crate::permissions::literal;

/// By these names this binary knows that it is a plugin.
pub(super) const CHECKSUM: &str = "ringfence-demo-checksum";
pub(super) const HOSTILE: &str = "ringfence-demo-hostile";

const VISITORS_MANIFEST: &str = include_str!("../../../../../examples/demo/visitors/plugin.yaml");
const VISITORS_CODE: &str = include_str!("../../../../../examples/demo/visitors/visitors.py");
const CHECKSUM_MANIFEST: &str = include_str!("../../../../../examples/demo/checksum/plugin.yaml");
/// What the samples ask to read, and where that is in the demo.
const PLACES: [(&str, &str); 2] = [("/srv/guest-book", "guest-book"), ("/srv/data", "data")];

/// What the next version of the checksum plugin asks for beside.
const WIDER: &str = "permissions:
  - permission: env:read
    scope: [LANG]
    reason: to say it in your language
    optional: true
";

/// The limits are those that its acts must break within a second; what it wants is far beyond them.
const HOSTILE_MANIFEST: &str = "name: hostile
version: 1.0.0
description: Honest, fast and small. Trust me.
author: a stranger
runtime: native
entry_point: ringfence-demo-hostile
tools: [{ name: try, description: Does what it is told. }]
limits: { memory_mb: 64, processes: 32, file_size_mb: 1, output_mb: 1, call_timeout_s: 10 }
";

/// In a shell, for what a program without unsafe code cannot do: fork, and ignore signals.
const STUBBORN_MANIFEST: &str = "name: stubborn
version: 1.0.0
author: a stranger
runtime: native
entry_point: stubborn.sh
tools: [{ name: child }, { name: deaf }]
limits: { memory_mb: 64, processes: 32, call_timeout_s: 10 }
";
const STUBBORN_CODE: &str = include_str!("stubborn.sh");

/// The Python plugin of `examples/demo/visitors`.
pub(super) fn visitors(world: &World) -> Result<PathBuf, Error> {
    let manifest = placed(VISITORS_MANIFEST, world);
    package(world, "visitors", &[("plugin.yaml", &manifest), ("visitors.py", VISITORS_CODE)])
}

/// The compiled plugin of `examples/demo/checksum`.
pub(super) fn checksum(world: &World) -> Result<PathBuf, Error> {
    let made = package(world, "checksum", &[("plugin.yaml", &checksum_manifest(world))])?;
    with_this_program(made, CHECKSUM)
}

/// Its next version, which asks for more.
pub(super) fn checksum_next(world: &World) -> Result<PathBuf, Error> {
    let manifest = checksum_manifest(world).replacen("version: 1.0.0", "version: 1.1.0", 1).replacen(
        "permissions:\n",
        WIDER,
        1,
    );
    let made = package(world, "checksum-1.1.0", &[("plugin.yaml", &manifest)])?;
    with_this_program(made, CHECKSUM)
}

/// The one that tries everything.
pub(super) fn hostile(world: &World) -> Result<PathBuf, Error> {
    with_this_program(package(world, "hostile", &[("plugin.yaml", HOSTILE_MANIFEST)])?, HOSTILE)
}

/// The one that does not want to end.
pub(super) fn stubborn(world: &World) -> Result<PathBuf, Error> {
    let made =
        package(world, "stubborn", &[("plugin.yaml", STUBBORN_MANIFEST), ("stubborn.sh", STUBBORN_CODE)])?;
    let script = made.join("stubborn.sh");
    executable(&script).map_err(|error| failed("mark as a program", &script, error))?;
    Ok(made)
}

fn checksum_manifest(world: &World) -> String {
    placed(CHECKSUM_MANIFEST, world).replacen("entry_point: checksum", &format!("entry_point: {CHECKSUM}"), 1)
}

/// The manifest with scopes in the demo's directory. They stand there in double quotes.
fn placed(manifest: &str, world: &World) -> String {
    PLACES.iter().fold(manifest.to_owned(), |text, (there, here)| {
        let path = literal(&world.path(here)).replace('\\', "\\\\").replace('"', "\\\"");
        text.replace(&format!("\"{there}/"), &format!("\"{path}/"))
    })
}

fn package(world: &World, name: &str, files: &[(&str, &str)]) -> Result<PathBuf, Error> {
    let directory = world.path("packages").join(name);
    let written = fs::create_dir_all(&directory)
        .and_then(|()| files.iter().try_for_each(|(name, text)| fs::write(directory.join(name), text)));
    written.map_err(|error| failed("write", &directory, error))?;
    Ok(directory)
}

fn with_this_program(package: PathBuf, name: &str) -> Result<PathBuf, Error> {
    let (from, to) = (doctor::own_program()?, package.join(name));
    fs::copy(&from, &to)
        .and_then(|_| executable(&to))
        .map_err(|error| failed("copy this program to", &to, error))?;
    Ok(package)
}

fn executable(file: &Path) -> io::Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_whole_and_ask_for_places_of_the_demo() {
        let world = World::make().unwrap();
        for made in
            [visitors(&world), checksum(&world), checksum_next(&world), hostile(&world), stubborn(&world)]
        {
            let made = made.unwrap();
            let loaded = ringfence::manifest::load(&made).unwrap_or_else(|found| panic!("{found}"));
            assert!(
                made.join(&loaded.manifest.entry_point).exists()
                    || loaded.manifest.name.as_str() == "visitors"
            );
            for request in &loaded.manifest.permissions {
                for permission in request.permissions().unwrap() {
                    let scope = permission.scope().unwrap();
                    assert!(
                        scope == "LANG" || scope.starts_with(world.path("").to_str().unwrap()),
                        "{scope}"
                    );
                }
            }
        }
        let next = ringfence::manifest::load(&world.path("packages/checksum-1.1.0")).unwrap().manifest;
        assert_eq!((next.version.to_string().as_str(), next.permissions.len()), ("1.1.0", 2));
    }
}
