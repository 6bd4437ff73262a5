//! Install, upgrade, rollback and uninstall on the disk: what is left, and what another publisher finds.

use super::install::{Installed, install, verified_package};
use super::recover::{check, recover};
use super::uninstall::uninstall;
use super::upgrade::{self, Downgrade, StagedUpgrade};
use crate::store::{Consent, KeepData, Store};
use crate::{Error, Home};
use ringfence_api::{ErrorCode, PluginName};
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

    fn install(&self, version: &str, author: &str) -> Result<Installed, Error> {
        install(&self.store, &self.package(version, author, &["file:read=/srv/**"]), &|_, _| Ok(()))
    }

    fn upgrade(&self, package: &Path, downgrade: Downgrade) -> Result<StagedUpgrade, Error> {
        upgrade::stage_upgrade(&self.store, package, downgrade, &|_, _| Ok(()), "ada")
    }

    fn data(&self) -> PathBuf {
        self.store.layout().data_dir(&name())
    }

    fn consent(&self, digest: &str, granted: &str) -> Consent {
        let granted = vec![granted.parse().unwrap()];
        Consent { digest: digest.to_owned(), asked: granted.clone(), granted, by: "ada".to_owned() }
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
    let package = verified_package(&place.store, &first.plugin).unwrap();
    assert_eq!(fs::read_to_string(package.join("main.py")).unwrap(), "pass\n");
    let again = place.install("1.0.0", "Ada").unwrap();
    assert!(!again.changed);
    assert_eq!(again.plugin, first.plugin);
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
    let error = install(&place.store, &package, &|_, _| Ok(())).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    assert!(!error.chain().contains("staging"), "the caller's path is named: {error}");
    fs::write(package.join("main.py"), "pass\n").unwrap();
    let no =
        |_: &Path, _: &crate::manifest::Loaded| Err(Error::new(ErrorCode::InvalidPackage, "no such class"));
    assert_eq!(install(&place.store, &package, &no).unwrap_err().message(), "no such class");
    assert_eq!(place.store.plugins().unwrap(), []);
    place.is_clean();
}

#[test]
fn uninstalling_removes_everything_or_keeps_the_data_for_the_same_publisher() {
    let place = Place::new();
    place.install("1.0.0", "Ada").unwrap();
    fs::write(place.data().join("file"), "mine").unwrap();
    uninstall(&place.store, &name(), KeepData::Keep, "ada").unwrap();
    assert_eq!((place.packages(), place.data().exists()), (0, false));
    place.is_clean();

    place.install("1.0.0", "Eve").unwrap();
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0, "another publisher inherits nothing");
    uninstall(&place.store, &name(), KeepData::Remove, "ada").unwrap();
    place.is_clean();

    place.install("2.0.0", "Ada").unwrap();
    assert_eq!(fs::read_to_string(place.data().join("file")).unwrap(), "mine");
    place.is_clean();
    uninstall(&place.store, &name(), KeepData::Remove, "ada").unwrap();
    assert!(place.store.kept_data().unwrap().is_empty() && !place.data().exists());
    assert_eq!(
        uninstall(&place.store, &name(), KeepData::Keep, "x").unwrap_err().code(),
        ErrorCode::NotFound
    );
    place.install("2.0.0", "Ada").unwrap();
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0);
    place.is_clean();
}

#[test]
fn data_that_waits_is_kept_until_it_is_dropped() {
    let place = Place::new();
    let owner = place.install("1.0.0", "Ada").unwrap().plugin.owner();
    uninstall(&place.store, &name(), KeepData::Keep, "ada").unwrap();
    recover(&place.store).unwrap();
    assert_eq!(fs::read_dir(place.store.layout().kept_dirs()).unwrap().count(), 1);
    place.store.drop_kept_data(&owner).unwrap();
    recover(&place.store).unwrap();
    assert_eq!(fs::read_dir(place.store.layout().kept_dirs()).unwrap().count(), 0);
}

#[test]
fn an_upgrade_that_asks_for_more_waits_for_consent_and_can_be_taken_back() {
    let place = Place::new();
    let old = place.install("1.0.0", "Ada").unwrap().plugin;
    place.store.consent(&name(), place.consent(&old.package.digest, "file:read=/srv/**")).unwrap();
    fs::write(place.data().join("file"), "mine").unwrap();

    let package = place.package("1.1.0", "Ada", &["file:read=/srv/notes/**", "env:read=LANG"]);
    let staged = place.upgrade(&package, Downgrade::Refuse).unwrap();
    let added: Vec<_> = staged.diff.added.iter().map(|(permission, _)| permission.to_string()).collect();
    assert_eq!(added, ["env:read=LANG"]);
    assert!(staged.needs_consent() && !staged.publisher_changed);
    assert_eq!(staged.plugin.package, old.package, "the version before runs on");
    let refused = upgrade::commit_upgrade(&place.store, &name(), None, "ada").unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ConsentRequired);
    assert!(refused.message().contains("env:read=LANG"), "{refused}");

    let pending = staged.plugin.pending.unwrap();
    let consent = place.consent(&pending.digest, "env:read=LANG");
    let new = upgrade::commit_upgrade(&place.store, &name(), Some(consent), "ada").unwrap();
    assert_eq!((new.package.version.to_string(), place.packages()), ("1.1.0".to_owned(), 2));
    place.is_clean();

    let back = upgrade::rollback(&place.store, &name(), "not healthy", "host").unwrap();
    assert_eq!((back.package.version.to_string(), place.packages()), ("1.0.0".to_owned(), 1));
    let grants = place.store.grants(&name()).unwrap();
    assert_eq!(grants[0].permission.to_string(), "file:read=/srv/**");
    assert_eq!(fs::read_to_string(place.data().join("file")).unwrap(), "mine");
    place.is_clean();
}

#[test]
fn an_upgrade_that_asks_for_no_more_needs_nobody_and_drops_grants_it_no_longer_asks_for() {
    let place = Place::new();
    let old = place.install("1.0.0", "Ada").unwrap().plugin;
    place.store.consent(&name(), place.consent(&old.package.digest, "file:read=/srv/a/**")).unwrap();
    place.store.grant(&name(), vec!["file:read=/srv/b".parse().unwrap()], "ada").unwrap();
    let package = place.package("1.1.0", "Ada", &["file:read=/srv/a/**"]);
    assert!(!place.upgrade(&package, Downgrade::Refuse).unwrap().needs_consent());
    upgrade::commit_upgrade(&place.store, &name(), None, "ada").unwrap();
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
        let error = place.upgrade(package, Downgrade::Refuse).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AlreadyInstalled);
        assert!(error.hint().unwrap().contains("--allow-downgrade"));
        place.is_clean();
        place.upgrade(package, Downgrade::Allow).unwrap();
    }
    assert_eq!(place.packages(), 2, "the one that waited before is gone");
    place.package("1.1.0", "Ada", &["file:read=/srv/**"]);
    let this = place.dir.path().join("1.1.0-Ada");
    assert_eq!(place.upgrade(&this, Downgrade::Allow).unwrap_err().code(), ErrorCode::AlreadyInstalled);
    upgrade::abandon_upgrade(&place.store, &name(), "ada").unwrap();
    assert_eq!(place.packages(), 1);
    place.is_clean();
}

#[test]
fn another_publisher_needs_fresh_consent_and_inherits_no_grant() {
    let place = Place::new();
    let old = place.install("1.0.0", "Ada").unwrap().plugin;
    place.store.consent(&name(), place.consent(&old.package.digest, "file:read=/srv/**")).unwrap();
    let package = place.package("2.0.0", "Eve", &["file:read=/srv/**"]);
    let staged = place.upgrade(&package, Downgrade::Refuse).unwrap();
    assert!(staged.publisher_changed && staged.diff.added.is_empty() && staged.needs_consent());
    let error = upgrade::commit_upgrade(&place.store, &name(), None, "ada").unwrap_err();
    assert!(error.message().contains("another publisher"), "{error}");
    let pending = staged.plugin.pending.unwrap();
    let none = Consent { granted: Vec::new(), ..place.consent(&pending.digest, "file:read=/srv/**") };
    upgrade::commit_upgrade(&place.store, &name(), Some(none), "ada").unwrap();
    assert!(place.store.grants(&name()).unwrap().is_empty());
    place.is_clean();
}

#[test]
fn a_package_that_was_changed_in_the_store_is_not_started_committed_or_brought_back() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let old = place.install("1.0.0", "Ada").unwrap().plugin;
    place.upgrade(&place.package("1.1.0", "Ada", &[]), Downgrade::Refuse).unwrap();
    upgrade::commit_upgrade(&place.store, &name(), None, "ada").unwrap();
    let file = place.store.layout().package(&old.package.digest).join("main.py");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&file, "evil\n").unwrap();
    let error = upgrade::rollback(&place.store, &name(), "", "ada").unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidPackage);
    assert_eq!(place.store.plugin(&name()).unwrap().unwrap().package.version.to_string(), "1.1.0");
    assert!(verified_package(&place.store, &old).is_err());
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
            .map(|package| scope.spawn(|| install(&place.store, package, &|_, _| Ok(()))))
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
