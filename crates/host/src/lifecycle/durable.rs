//! stub
use crate::Error;
use crate::store::*;
use ringfence_api::{Manifest, Permission, PluginName};
use std::path::{Path, PathBuf};
pub(crate) struct Placed {
    pub(crate) row: PluginRow,
    pub(crate) changed: bool,
    pub(crate) notes: Vec<String>,
}
pub(crate) struct Staged {
    pub(crate) row: PluginRow,
    pub(crate) wider: Vec<Permission>,
}
type Inspect<'a> = &'a dyn Fn(&Path, &Manifest) -> Result<(), Error>;
type Wider<'a> = &'a dyn Fn(&PluginRow, &Path, &Manifest) -> Result<Vec<Permission>, Error>;
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for e in std::fs::read_dir(from).unwrap() {
        let e = e.unwrap();
        if e.path().is_dir() {
            copy(&e.path(), &to.join(e.file_name()));
        } else {
            std::fs::copy(e.path(), to.join(e.file_name())).unwrap();
        }
    }
}
fn package(store: &Store, path: &Path, inspect: Inspect<'_>) -> Result<(PackageRow, PathBuf), Error> {
    let loaded = crate::manifest::load(path)?;
    let text = serde_json::to_string(&loaded.manifest).unwrap();
    inspect(path, &loaded.manifest)?;
    let digest = sha256_hex(text.as_bytes());
    let place = store.layout().package(&digest);
    if !place.exists() {
        copy(path, &place);
    }
    std::fs::create_dir_all(store.layout().data_dir(&loaded.manifest.name)).unwrap();
    Ok((
        PackageRow {
            digest,
            plugin: loaded.manifest.name.clone(),
            publisher: Owner::unsigned(&loaded.manifest).publisher().to_owned(),
            version: loaded.manifest.version.clone(),
            manifest: text,
            source: path.display().to_string(),
            stored_at_ms: 0,
        },
        place,
    ))
}
pub(crate) fn install(store: &Store, path: &Path, _by: &str, inspect: Inspect<'_>) -> Result<Placed, Error> {
    let (row, _) = package(store, path, inspect)?;
    Ok(Placed { row: store.add_plugin(row)?, changed: true, notes: vec![] })
}
pub(crate) fn stage_upgrade(
    store: &Store,
    path: &Path,
    _down: bool,
    by: &str,
    inspect: Inspect<'_>,
    wider: Wider<'_>,
) -> Result<Staged, Error> {
    let (row, place) = package(store, path, inspect)?;
    let old = store.plugin(&row.plugin)?.unwrap();
    if old.package.digest == row.digest {
        return Ok(Staged { row: old, wider: vec![] });
    }
    let w = wider(&old, &place, &row.manifest()?)?;
    let row = store.stage_upgrade(row, &old.package.digest, vec![], by)?;
    Ok(Staged { row, wider: w })
}
pub(crate) fn commit_upgrade(
    store: &Store,
    name: &PluginName,
    digest: &str,
    granted: UpgradeGrants,
    by: &str,
) -> Result<PluginRow, Error> {
    store.commit_upgrade(name, digest, granted, by)
}
pub(crate) fn rollback(store: &Store, name: &PluginName, reason: &str, by: &str) -> Result<PluginRow, Error> {
    store.rollback(name, reason, by)
}
pub(crate) fn uninstall(store: &Store, name: &PluginName, keep: KeepData, by: &str) -> Result<(), Error> {
    store.remove_plugin(name, keep, by).map(drop)
}
