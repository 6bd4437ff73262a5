//! Install, upgrade, rollback and uninstall on the disk: what is left, and what another publisher finds.

use super::check::check;
use super::install::Placed;
use super::upgrade::Staged;
use super::*;
use crate::package::verified;
use crate::store::{Consent, KeepData, PackageRow, Places, Store, UpgradeGrants};
use crate::{Error, Home};
use ringfence_api::{ErrorCode, Manifest, Permission, PluginName};
use std::fs;
use std::path::{Path, PathBuf};

struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

fn name() -> PluginName {
    "notes".parse().unwrap()
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Home::at(dir.path().join("home"))).unwrap();
        Self { dir, store }
    }

    fn package(&self, version: &str, author: &str, permissions: &[&str]) -> PathBuf {
        let path = self.dir.path().join(format!("{version}-{author}"));
        fs::create_dir_all(&path).unwrap();
        let manifest = serde_json::json!({
            "name": "notes", "version": version, "runtime": "python", "entry_point": "main.py",
            "author": author, "permissions": permissions,
        });
        fs::write(path.join("plugin.json"), manifest.to_string()).unwrap();
        fs::write(path.join("main.py"), "pass\n").unwrap();
        path
    }

    fn install(&self, version: &str, author: &str) -> Result<Placed, Error> {
        let package = self.package(version, author, &["file:read=/srv/**"]);
        install(&self.store, Origin::Directory(&package), &"ada".into(), &|_, _, _| Ok(()))
    }

    fn upgrade(&self, package: &Path, allow_downgrade: bool) -> Result<Staged, Error> {
        let asks = |_: &crate::store::PluginRow, _: &Path, manifest: &Manifest| {
            Ok(manifest.requested().unwrap().into_iter().map(|(permission, _)| permission).collect())
        };
        stage_upgrade(
            &self.store,
            Origin::Directory(package),
            allow_downgrade,
            &"ada".into(),
            &|_, _, _| Ok(()),
            &asks,
        )
    }

    fn keep(&self) -> UpgradeGrants {
        UpgradeGrants::Keep(self.store.grants(&name()).unwrap())
    }

    fn data(&self) -> PathBuf {
        self.store.layout().data_dir(&name())
    }

    fn consent(&self, digest: &str, granted: &str) -> Consent {
        let granted = vec![granted.parse().unwrap()];
        Consent {
            digest: digest.to_owned(),
            asked: granted.clone(),
            granted,
            places: Places::new(),
            by: "ada".into(),
        }
    }

    #[track_caller]
    fn is_clean(&self) {
        let report = check(&self.store).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    fn packages(&self) -> usize {
        fs::read_dir(self.store.layout().packages()).unwrap().count()
    }
}

#[test]
fn installing_again_changes_nothing_and_another_version_is_refused() {
    let place = Place::new();
    let first = place.install("1.0.0", "Ada").unwrap();
    assert!(first.changed && place.data().is_dir());
    let package = verified(&place.store, &first.row.package.digest).unwrap();
    assert_eq!(fs::read_to_string(package.join("main.py")).unwrap(), "pass\n");
    let again = place.install("1.0.0", "Ada").unwrap();
    assert!(!again.changed);
    assert_eq!(again.row, first.row);
    for (version, author) in [("1.1.0", "Ada"), ("1.0.0", "Eve")] {
        let error = place.install(version, author).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AlreadyInstalled);
        assert!(error.hint().unwrap().contains("upgrade"));
    }
    assert_eq!(place.packages(), 1);
    place.is_clean();
}

#[test]
fn a_package_that_is_refused_leaves_nothing() {
    let place = Place::new();
    let package = place.package("1.0.0", "Ada", &[]);
    fs::remove_file(package.join("main.py")).unwrap();
    let error =
        install(&place.store, Origin::Directory(&package), &"ada".into(), &|_, _, _| Ok(())).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    assert!(!error.chain().contains("staging"), "the caller's path is named: {error}");
    fs::write(package.join("main.py"), "pass\n").unwrap();
    let no =
        |_: &Path, _: &Manifest, _: &PackageRow| Err(Error::new(ErrorCode::InvalidPackage, "no such class"));
    assert_eq!(
        install(&place.store, Origin::Directory(&package), &"ada".into(), &no).unwrap_err().message(),
        "no such class"
    );
    assert_eq!(place.store.plugins().unwrap(), []);
    place.is_clean();
}

#[test]
fn uninstalling_removes_everything_or_keeps_the_data_for_the_same_publisher() {
    let place = Place::new();
    place.install("1.0.0", "Ada").unwrap();
    fs::write(place.data().join("file"), "mine").unwrap();
    uninstall(&place.store, &name(), KeepData::Keep, &"ada".into()).unwrap();
    assert_eq!((place.packages(), place.data().exists()), (0, false));
    place.is_clean();

    place.install("1.0.0", "Eve").unwrap();
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0, "another publisher inherits nothing");
    uninstall(&place.store, &name(), KeepData::Remove, &"ada".into()).unwrap();
    place.is_clean();

    place.install("2.0.0", "Ada").unwrap();
    assert_eq!(fs::read_to_string(place.data().join("file")).unwrap(), "mine");
    place.is_clean();
    uninstall(&place.store, &name(), KeepData::Remove, &"ada".into()).unwrap();
    assert!(place.store.kept_data().unwrap().is_empty() && !place.data().exists());
    assert_eq!(
        uninstall(&place.store, &name(), KeepData::Keep, &"x".into()).unwrap_err().code(),
        ErrorCode::NotFound
    );
    place.install("2.0.0", "Ada").unwrap();
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0);
    place.is_clean();
}

#[test]
fn data_that_waits_is_kept_until_it_is_dropped() {
    let place = Place::new();
    let owner = place.install("1.0.0", "Ada").unwrap().row.owner();
    uninstall(&place.store, &name(), KeepData::Keep, &"ada".into()).unwrap();
    recover(&place.store).unwrap();
    assert_eq!(fs::read_dir(place.store.layout().kept_dirs()).unwrap().count(), 1);
    place.store.drop_kept_data(&owner).unwrap();
    recover(&place.store).unwrap();
    assert_eq!(fs::read_dir(place.store.layout().kept_dirs()).unwrap().count(), 0);
}

#[test]
fn an_upgrade_waits_is_committed_and_can_be_taken_back() {
    let place = Place::new();
    let old = place.install("1.0.0", "Ada").unwrap().row;
    place.store.consent(&name(), place.consent(&old.package.digest, "file:read=/srv/**")).unwrap();
    fs::write(place.data().join("file"), "mine").unwrap();

    let package = place.package("1.1.0", "Ada", &["env:read=LANG"]);
    let staged = place.upgrade(&package, false).unwrap();
    assert_eq!(staged.wider, ["env:read=LANG".parse::<Permission>().unwrap()]);
    assert_eq!(staged.row.package, old.package, "the version before runs on");
    assert_eq!(place.packages(), 2);
    place.is_clean();

    let pending = staged.row.pending.unwrap();
    let consent = UpgradeGrants::Consented(place.consent(&pending.digest, "env:read=LANG"));
    let new = commit_upgrade(&place.store, &name(), &pending.digest, consent, &"ada".into()).unwrap();
    assert_eq!((new.package.version.to_string(), place.packages()), ("1.1.0".to_owned(), 2));
    place.is_clean();

    let back = rollback(&place.store, &name(), "not healthy", &"host".into()).unwrap();
    assert_eq!((back.package.version.to_string(), place.packages()), ("1.0.0".to_owned(), 1));
    let grants = place.store.grants(&name()).unwrap();
    assert_eq!(grants[0].permission.to_string(), "file:read=/srv/**");
    assert_eq!(fs::read_to_string(place.data().join("file")).unwrap(), "mine");
    place.is_clean();
}

#[test]
fn grants_that_are_kept_are_those_that_are_still_asked_for() {
    let place = Place::new();
    let old = place.install("1.0.0", "Ada").unwrap().row;
    place.store.consent(&name(), place.consent(&old.package.digest, "file:read=/srv/a/**")).unwrap();
    place.store.grant(&name(), vec!["env:read=LANG".parse().unwrap()], Places::new(), "ada").unwrap();
    let package = place.package("1.1.0", "Ada", &["file:read=/srv/a/**"]);
    let pending = place.upgrade(&package, false).unwrap().row.pending.unwrap();
    commit_upgrade(&place.store, &name(), &pending.digest, place.keep(), &"ada".into()).unwrap();
    let grants = place.store.grants(&name()).unwrap();
    let texts: Vec<_> = grants.iter().map(|grant| grant.permission.to_string()).collect();
    assert_eq!(texts, ["file:read=/srv/a/**"]);
    place.is_clean();
}

#[test]
fn an_older_version_and_other_bytes_of_the_same_one_need_the_flag() {
    let place = Place::new();
    place.install("1.1.0", "Ada").unwrap();
    let older = place.package("1.0.0", "Ada", &[]);
    let same = place.package("1.1.0", "Ada", &["env:read=LANG"]);
    for package in [&older, &same] {
        let error = place.upgrade(package, false).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Usage);
        assert!(error.hint().unwrap().contains("--allow-downgrade"));
        place.is_clean();
        place.upgrade(package, true).unwrap();
    }
    assert_eq!(place.packages(), 2, "the one that waited before is gone");
    let this = place.package("1.1.0", "Ada", &["file:read=/srv/**"]);
    assert_eq!(place.upgrade(&this, false).unwrap().row.pending, None, "and nothing waits any more");
    assert_eq!(place.packages(), 1);
    place.upgrade(&older, true).unwrap();
    place.store.abandon_upgrade(&name(), "ada").unwrap();
    recover(&place.store).unwrap();
    assert_eq!(place.packages(), 1);
    place.is_clean();
}

#[test]
fn another_publisher_needs_fresh_consent_and_inherits_no_grant() {
    let place = Place::new();
    let old = place.install("1.0.0", "Ada").unwrap().row;
    place.store.consent(&name(), place.consent(&old.package.digest, "file:read=/srv/**")).unwrap();
    let package = place.package("2.0.0", "Eve", &["file:read=/srv/**"]);
    let pending = place.upgrade(&package, false).unwrap().row.pending.unwrap();
    let error =
        commit_upgrade(&place.store, &name(), &pending.digest, place.keep(), &"ada".into()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ConsentRequired);
    assert!(error.message().contains("another publisher"), "{error}");
    let none = Consent { granted: Vec::new(), ..place.consent(&pending.digest, "file:read=/srv/**") };
    let none = UpgradeGrants::Consented(none);
    commit_upgrade(&place.store, &name(), &pending.digest, none, &"ada".into()).unwrap();
    assert!(place.store.grants(&name()).unwrap().is_empty());
    place.is_clean();
}

#[test]
fn a_package_that_was_changed_in_the_store_is_not_started_or_brought_back() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let old = place.install("1.0.0", "Ada").unwrap().row;
    let pending = place.upgrade(&place.package("1.1.0", "Ada", &[]), false).unwrap().row.pending.unwrap();
    commit_upgrade(&place.store, &name(), &pending.digest, place.keep(), &"ada".into()).unwrap();
    let file = place.store.layout().package(&old.package.digest).join("main.py");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&file, "evil\n").unwrap();
    let error = rollback(&place.store, &name(), "", &"ada".into()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidPackage);
    assert_eq!(place.store.plugin(&name()).unwrap().unwrap().package.version.to_string(), "1.1.0");
    assert!(verified(&place.store, &old.package.digest).is_err());
    assert_eq!(check(&place.store).unwrap().packages.len(), 1);
}

#[test]
fn at_once_one_install_wins_and_nothing_is_left_of_the_others() {
    let place = Place::new();
    let packages: Vec<_> = (0..4).map(|n| place.package(&format!("1.{n}.0"), "Ada", &[])).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = packages
            .iter()
            .chain(&packages)
            .map(|package| {
                scope.spawn(|| {
                    install(&place.store, Origin::Directory(package), &"ada".into(), &|_, _, _| Ok(()))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.as_ref().is_ok_and(|done| done.changed)).count(), 1);
    for answer in answers.into_iter().filter_map(Result::err) {
        assert_eq!(answer.code(), ErrorCode::AlreadyInstalled);
    }
    place.is_clean();
}

#[test]
fn recovery_removes_what_no_row_names() {
    let place = Place::new();
    place.install("1.0.0", "Ada").unwrap();
    let layout = place.store.layout();
    for left in [layout.package("00ff"), layout.staging().join("x"), layout.data_dirs().join("gone")] {
        fs::create_dir_all(left.join("deep")).unwrap();
    }
    fs::remove_dir(place.data()).unwrap();
    assert!(!check(&place.store).unwrap().is_clean());
    recover(&place.store).unwrap();
    place.is_clean();
    assert!(place.data().is_dir());
}

/// Prints what the steps cost on this machine; it promises nothing.
#[test]
#[ignore = "a measurement"]
fn figures() {
    use std::time::Instant;
    let timed = |what: &str, rounds: u32, work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..rounds).for_each(|_| work());
        println!("{what}: {:?}", start.elapsed() / rounds);
    };
    let place = Place::new();
    let home = Home::at(place.dir.path().join("home"));
    timed("open and close", 20, &mut || drop(Store::open(&home).unwrap()));
    timed("recover", 20, &mut || recover(&place.store).unwrap());
    let package = place.package("1.0.0", "Ada", &[]);
    let mut row = None;
    timed("install of two files", 1, &mut || {
        row = Some(
            install(&place.store, Origin::Directory(&package), &"ada".into(), &|_, _, _| Ok(())).unwrap().row,
        );
    });
    let row = row.unwrap();
    timed("the same again", 5, &mut || {
        install(&place.store, Origin::Directory(&package), &"ada".into(), &|_, _, _| Ok(())).unwrap();
    });
    timed("verify", 20, &mut || drop(verified(&place.store, &row.package.digest).unwrap()));
    timed("keep a value", 50, &mut || {
        place.store.data_put(&row.owner(), "key", vec![1; 200], 1_000, 100_000).unwrap();
    });
    timed("read a value", 50, &mut || drop(place.store.data_get(&row.owner(), "key").unwrap()));
    timed("trusted", 50, &mut || drop(place.store.trusted(&name()).unwrap()));
    let meter = place.store.calls(&row.owner(), "call");
    let (tool, id) = (std::sync::Arc::from("t"), std::sync::Arc::from("c"));
    timed("record a call, the first 1,000 of a second", 1_000, &mut || meter.begin(&tool, &id).unwrap());
    timed("record a call beyond", 100_000, &mut || meter.begin(&tool, &id).unwrap());
    timed("flush", 1, &mut || place.store.flush(std::time::Duration::from_secs(60)).unwrap());
    timed("check of the trail", 1, &mut || drop(place.store.audit_verify().unwrap()));
}
