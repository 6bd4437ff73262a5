//! What is let in and what is not. Every refusal has a twin: the same package without the one thing.

use super::verify::Verified;
use super::*;
use crate::store::Store;
use crate::{Home, store::sha256_hex};
use ringfence_sandbox::tree::Dir;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt, symlink};

struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Home::at(dir.path().join("home"))).unwrap();
        let package = dir.path().join("package");
        fs::create_dir_all(package.join("src")).unwrap();
        fs::write(package.join("plugin.json"), "{}").unwrap();
        fs::write(package.join("src/main.py"), "print()\n").unwrap();
        fs::write(package.join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(package.join("run"), PermissionsExt::from_mode(0o755)).unwrap();
        Self { dir, store }
    }

    fn package(&self) -> PathBuf {
        self.dir.path().join("package")
    }

    fn stage(&self) -> Result<Staged, Error> {
        stage(&self.package(), self.store.layout())
    }

    fn staging_is_empty(&self) -> bool {
        fs::read_dir(self.store.layout().staging()).map_or(true, |mut left| left.next().is_none())
    }

    #[track_caller]
    fn refused(&self, code: ErrorCode, word: &str) {
        let error = self.stage().expect_err(word);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.chain().contains(word), "{word}: {}", error.chain());
        assert!(!error.message().chars().any(char::is_control), "{error:?}");
        assert!(self.staging_is_empty(), "a refusal leaves nothing");
    }

    #[track_caller]
    fn accepted(&self) -> Staged {
        self.stage().unwrap()
    }
}

/// The digest as the documentation says, made by other means.
fn documented_digest(root: &Path) -> String {
    fn lines(root: &Path, dir: &Path, out: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let found = fs::symlink_metadata(&path).unwrap();
            if found.is_dir() {
                out.push((name.clone(), format!("d {name}\n")));
                lines(root, &path, out);
            } else if found.is_symlink() {
                let target = fs::read_link(&path).unwrap().to_str().unwrap().to_owned();
                out.push((name.clone(), format!("l {} {target} {name}\n", target.len())));
            } else {
                let content = fs::read(&path).unwrap();
                let mode = if found.permissions().mode() & 0o100 == 0 { "-" } else { "x" };
                let line = format!("f {mode} {} {} {name}\n", content.len(), sha256_hex(&content));
                out.push((name, line));
            }
        }
    }
    let mut all = Vec::new();
    lines(root, root, &mut all);
    all.sort();
    let text: String = all.into_iter().map(|(_, line)| line).collect();
    sha256_hex(format!("ringfence package 1\n{text}").as_bytes())
}

#[test]
fn a_package_is_copied_read_only_below_its_digest() {
    let place = Place::new();
    symlink("src/main.py", place.package().join("entry")).unwrap();
    fs::create_dir(place.package().join("empty")).unwrap();
    let staged = place.accepted();
    let digest = staged.listing().digest();
    assert_eq!(digest, documented_digest(&place.package()));
    assert_eq!(staged.listing().entries().len(), 6);
    let staging = place.store.layout().staging();
    assert_eq!(fs::metadata(&staging).unwrap().permissions().mode() & 0o7777, 0o700);

    staged.publish(&place.store.layout().packages(), &digest).unwrap();
    assert!(place.staging_is_empty());
    let stored = place.store.layout().package(&digest);
    let mode = |path: &str| fs::symlink_metadata(stored.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode(""), mode("src"), mode("empty"), mode("run"), mode("plugin.json")),
        (0o555, 0o555, 0o555, 0o555, 0o444)
    );
    assert_eq!(fs::read_link(stored.join("entry")).unwrap(), Path::new("src/main.py"));
    assert_eq!(documented_digest(&stored), digest);
}

#[test]
fn the_digest_is_of_the_content_and_of_nothing_else() {
    let place = Place::new();
    let digest = || place.accepted().listing().digest();
    let first = digest();
    let file = place.package().join("src/main.py");
    fs::write(&file, fs::read(&file).unwrap()).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(digest(), first, "times and the modes of others do not matter");
    for change in [
        &(|| fs::write(&file, "print(1)").unwrap()) as &dyn Fn(),
        &|| fs::set_permissions(&file, PermissionsExt::from_mode(0o700)).unwrap(),
        &|| fs::create_dir(place.package().join("more")).unwrap(),
        &|| fs::rename(&file, place.package().join("src/other.py")).unwrap(),
        &|| symlink("run", place.package().join("link")).unwrap(),
    ] {
        let before = digest();
        change();
        assert_ne!(digest(), before);
    }
}

#[test]
fn links_stay_inside() {
    let place = Place::new();
    let link = place.package().join("src/link");
    for (target, word) in [
        ("/etc/passwd", "leads out"),
        ("../../package/run", "leads out"),
        ("../..", "leads out"),
        ("nowhere", "leads to nothing"),
        ("link", "leads to itself"),
        ("main.py/x", "through a file"),
        ("a\u{1b}[2Jb", "unreadable target"),
    ] {
        symlink(target, &link).unwrap();
        place.refused(ErrorCode::InvalidPackage, word);
        fs::remove_file(&link).unwrap();
    }
    for target in ["main.py", "../run", "../src/../src/main.py", "..", "."] {
        symlink(target, &link).unwrap();
        place.accepted();
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn a_chain_of_links_that_leaves_is_followed_to_its_end() {
    let place = Place::new();
    // Each looks harmless for itself: 'up' is the root, and 'out' goes up from there.
    symlink("..", place.package().join("src/up")).unwrap();
    place.accepted();
    symlink("src/up/../x", place.package().join("out")).unwrap();
    place.refused(ErrorCode::InvalidPackage, "'out' is a link that leads out");
}

#[test]
fn the_interpreter_of_a_virtual_environment_is_left_out_and_nothing_else() {
    let place = Place::new();
    let bin = place.package().join(".venv/bin");
    fs::create_dir_all(&bin).unwrap();
    symlink("/usr/bin/python3", bin.join("python3")).unwrap();
    symlink("python3", bin.join("python")).unwrap();
    for clutter in [".git", "src/__pycache__"] {
        fs::create_dir(place.package().join(clutter)).unwrap();
        fs::write(place.package().join(clutter).join("x"), "x").unwrap();
    }
    let staged = place.accepted();
    let skipped: Vec<_> = staged.skipped().iter().map(|skipped| skipped.path.as_str()).collect();
    assert_eq!(skipped, [".git", "src/__pycache__", ".venv/bin/python", ".venv/bin/python3"]);
    drop(staged);
    symlink("/usr/bin/env", bin.join("activate")).unwrap();
    place.refused(ErrorCode::InvalidPackage, "leads out");
}

#[test]
fn only_files_directories_and_links_are_let_in() {
    let place = Place::new();
    let path = place.package().join("thing");
    let remove = || fs::remove_file(&path).unwrap();

    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    place.refused(ErrorCode::InvalidPackage, "socket");
    drop(socket);
    remove();

    #[expect(clippy::disallowed_methods, reason = "a test makes what no function of the library makes")]
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    place.refused(ErrorCode::InvalidPackage, "named pipe");
    remove();

    fs::write(&path, "x").unwrap();
    for bits in [0o4755, 0o2755] {
        fs::set_permissions(&path, PermissionsExt::from_mode(bits)).unwrap();
        place.refused(ErrorCode::InvalidPackage, "set-user-id");
    }
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    place.accepted();
}

#[test]
fn a_hard_link_from_outside_is_refused_and_one_inside_is_not() {
    let place = Place::new();
    fs::hard_link(place.package().join("run"), place.package().join("src/run")).unwrap();
    place.accepted();
    fs::hard_link(place.package().join("run"), place.dir.path().join("outside")).unwrap();
    place.refused(ErrorCode::InvalidPackage, "hard link");
}

#[test]
fn names_that_mislead_are_refused() {
    let place = Place::new();
    for name in ["a\nb", "\u{1b}[31m", "gpj.\u{202e}exe", "a\u{200b}"] {
        let path = place.package().join(name);
        fs::write(&path, "").unwrap();
        place.refused(ErrorCode::InvalidPackage, "hides or reorders");
        fs::remove_file(path).unwrap();
    }
    let bytes = place.package().join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    fs::write(&bytes, "").unwrap();
    place.refused(ErrorCode::InvalidPackage, "not UTF-8");
    fs::remove_file(bytes).unwrap();

    for (one, two) in [("README", "readme"), ("caf\u{e9}", "cafe\u{301}"), ("m\u{430}in.py", "main.py")] {
        fs::write(place.package().join(one), "").unwrap();
        drop(place.accepted());
        fs::write(place.package().join(two), "").unwrap();
        place.refused(ErrorCode::InvalidPackage, "too much like");
        for name in [one, two] {
            fs::remove_file(place.package().join(name)).unwrap();
        }
    }
}

#[test]
fn size_count_depth_and_length_are_bounded() {
    let place = Place::new();
    let deep: PathBuf = std::iter::repeat_n("d", DEPTH_MAX - 1).collect();
    fs::create_dir_all(place.package().join(&deep)).unwrap();
    drop(place.accepted());
    fs::create_dir(place.package().join(&deep).join("d")).unwrap();
    place.refused(ErrorCode::InvalidPackage, "nested deeper");
    fs::remove_dir_all(place.package().join("d")).unwrap();

    let long: PathBuf = std::iter::repeat_n("n".repeat(250), 4).collect();
    fs::create_dir_all(place.package().join(&long)).unwrap();
    drop(place.accepted());
    fs::create_dir_all(place.package().join(&long).join("n".repeat(30))).unwrap();
    place.refused(ErrorCode::InvalidPackage, "longer than");
    fs::remove_dir_all(place.package().join("n".repeat(250))).unwrap();

    // A file of nothing takes no room on the disk and no time to refuse.
    let hole = fs::File::create(place.package().join("hole")).unwrap();
    hole.set_len(BYTES_MAX + 1).unwrap();
    place.refused(ErrorCode::TooLarge, "bytes");
    fs::remove_file(place.package().join("hole")).unwrap();

    fs::create_dir(place.package().join("many")).unwrap();
    for number in 0..ENTRIES_MAX {
        symlink("x", place.package().join(format!("many/{number}"))).unwrap();
    }
    place.refused(ErrorCode::TooLarge, "files, directories and links");
}

#[test]
fn an_installed_package_is_read_once_and_any_change_is_noticed() {
    let place = Place::new();
    let staged = place.accepted();
    let digest = staged.listing().digest();
    staged.publish(&place.store.layout().packages(), &digest).unwrap();
    let manifest = r#"{"name":"a","version":"1.0.0","runtime":"native","entry_point":"run"}"#;
    let row = crate::store::PackageRow {
        digest: digest.clone(),
        plugin: "a".parse().unwrap(),
        publisher: "unsigned:".to_owned(),
        version: "1.0.0".parse().unwrap(),
        manifest: manifest.to_owned(),
        source: String::new(),
        stored_at_ms: 0,
    };
    place.store.add_plugin(row, "ada").unwrap();
    let stored = place.store.layout().package(&digest);
    let check = || verify(&place.store, &digest);
    let settle = || {
        // Until the last change lies far enough back, everything is read each time.
        while check().unwrap() == Verified::Read {
            std::thread::yield_now();
        }
    };
    assert_eq!(check().unwrap(), Verified::Read);
    settle();
    assert_eq!(check().unwrap(), Verified::Unchanged);

    let file = stored.join("src/main.py");
    let writable = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let original = fs::read(&file).unwrap();
    writable(&file, 0o644);
    writable(&stored.join("src"), 0o755);
    // Same size, and the time of modification put back: the time of change tells.
    let times = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "PRINT()\n").unwrap();
    fs::File::open(&file).unwrap().set_modified(times).unwrap();
    assert_eq!(check().unwrap_err().code(), ErrorCode::InvalidPackage);
    fs::write(&file, &original).unwrap();
    settle();

    for added in [".git", "__pycache__", "more.py"] {
        fs::write(stored.join("src").join(added), "").unwrap();
        assert_eq!(check().unwrap_err().code(), ErrorCode::InvalidPackage, "{added}");
        fs::remove_file(stored.join("src").join(added)).unwrap();
        settle();
    }
    writable(&file, 0o755);
    assert_eq!(check().unwrap_err().code(), ErrorCode::InvalidPackage, "it became executable");
    fs::remove_file(&file).unwrap();
    assert_eq!(check().unwrap_err().code(), ErrorCode::InvalidPackage);
    Dir::open(&place.store.layout().packages()).unwrap().remove_tree(digest.as_ref()).unwrap();
    assert_eq!(check().unwrap_err().code(), ErrorCode::InvalidPackage);
}

#[test]
fn a_fingerprint_that_was_written_by_hand_counts_for_nothing() {
    let place = Place::new();
    let staged = place.accepted();
    let digest = staged.listing().digest();
    staged.publish(&place.store.layout().packages(), &digest).unwrap();
    place.store.set_fingerprint(&digest, Some(vec![0; 32])).unwrap();
    assert_eq!(verify(&place.store, &digest).unwrap(), Verified::Read);
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_a_living_one_fills_is_not() {
    let place = Place::new();
    let alive = place.accepted();
    let left = place.store.layout().staging().join("0123");
    fs::create_dir_all(left.join("package/x")).unwrap();
    fs::set_permissions(left.join("package"), PermissionsExt::from_mode(0o555)).unwrap();
    assert_eq!(remove_stale(&place.store.layout().staging()).unwrap(), 1);
    assert!(alive.path().join("run").exists() && !left.exists());
    drop(alive);
    assert!(place.staging_is_empty());
}

#[test]
fn a_directory_or_the_one_below_it_is_the_package() {
    let place = Place::new();
    let parent = place.dir.path();
    assert_eq!(find(&place.package()).unwrap(), place.package());
    assert_eq!(find(parent).unwrap(), place.package());
    fs::create_dir(parent.join("second")).unwrap();
    fs::write(parent.join("second/plugin.toml"), "").unwrap();
    assert!(find(parent).unwrap_err().message().contains("2 packages"));
    assert_eq!(find(&parent.join("none")).unwrap_err().code(), ErrorCode::PathNotFound);
    assert_eq!(find(&parent.join("package/run")).unwrap_err().code(), ErrorCode::InvalidPackage);
    assert!(find(&parent.join("package/src")).unwrap_err().message().contains("no manifest"));
}

#[test]
fn somebody_elses_link_in_place_of_the_staging_directory_is_refused() {
    let place = Place::new();
    let elsewhere = place.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, place.store.layout().staging()).unwrap();
    assert_eq!(place.stage().unwrap_err().code(), ErrorCode::Io);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}
