//! Packages that come as one file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ringfence::audit::AuditFilter;
use ringfence::host::UpgradeOptions;
use ringfence::plugin::Consent;
use ringfence_api::{ErrorCode, PluginState};

use crate::rig::Rig;

const WHICH: &str = "def which(a):\n    return 1\n";

fn tar(package: &Path, below: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(below, package).unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn written(rig: &Rig, name: &str, bytes: &[u8]) -> PathBuf {
    let path = rig.path(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn staging_is_empty(rig: &Rig) -> bool {
    std::fs::read_dir(rig.path("home/staging")).map_or(true, |mut left| left.next().is_none())
}

#[tokio::test]
async fn an_archive_is_installed_as_its_directory_would_be() {
    let rig = Rig::new().await;
    let package = rig.python_package("p", "1.0.0", "permissions: ['env:read=LANG']\n", &["which"], WHICH);
    // In a directory of its own, as archives of releases have it.
    let path = written(&rig, "p-1.0.0.tar.gz", &gzip(&tar(&package, "p-1.0.0")));
    let installed = rig.host.install(&path, Consent::Absent).await.unwrap();
    assert_eq!(installed.plugin.state, PluginState::Installed, "it waits for a consent like any other");
    assert!(installed.changed && staging_is_empty(&rig));
    let same = rig.host.install(&package, Consent::Requested).await.unwrap();
    assert_eq!((same.digest, same.changed), (installed.digest.clone(), false));
    rig.host.activate("p").await.unwrap();
    assert_eq!(rig.call("p", "which").await.unwrap(), 1);

    let second = rig.python_package("p", "2.0.0", "", &["which"], "def which(a):\n    return 2\n");
    let unpacked = rig.host.unpack(std::io::Cursor::new(tar(&second, ".")), "upload").await.unwrap();
    assert_eq!(unpacked.contents().files, 2);
    let sha256 = unpacked.contents().sha256.clone();
    let upgraded =
        rig.host.upgrade_unpacked(unpacked, Consent::Absent, UpgradeOptions::default()).await.unwrap();
    assert!(upgraded.done && staging_is_empty(&rig));
    assert_eq!(rig.call("p", "which").await.unwrap(), 2);

    let page = rig.host.audit(&AuditFilter::default(), None, 100).await.unwrap();
    let records = serde_json::to_string(&page).unwrap();
    assert!(records.contains("p-1.0.0.tar.gz sha256:") && records.contains(&installed.digest), "{records}");
    assert!(records.contains(&format!("upload sha256:{sha256}")), "{records}");
    assert!(!records.contains("staging"), "{records}");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_in_the_callers_words_and_leaves_nothing() {
    let rig = Rig::new().await;
    let package = rig.package("empty", &[("readme", "x")]);
    let path = written(&rig, "empty.tar", &tar(&package, "."));
    let error = rig.host.install(&path, Consent::Absent).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidPackage, "{error}");
    assert!(
        error.message().contains("empty.tar' has no manifest") && !error.message().contains("staging"),
        "{error}"
    );
    let broken = rig.package("broken", &[("plugin.yaml", "name: p\nversion: 1\n")]);
    let path = written(&rig, "broken.tar.gz", &gzip(&tar(&broken, ".")));
    let error = rig.host.install(&path, Consent::Absent).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidManifest, "{error}");
    assert!(!error.chain().contains("staging"), "{}", error.chain());
    let path = written(&rig, "p.zip", b"PK\x03\x04");
    assert_eq!(rig.host.install(&path, Consent::Absent).await.unwrap_err().code(), ErrorCode::InvalidPackage);
    assert!(staging_is_empty(&rig) && rig.host.list().await.unwrap().is_empty());
    rig.host.shutdown().await;
}
