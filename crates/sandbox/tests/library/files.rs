//! Grants: reading, writing, deleting, executing, nesting, the working directory, and what a run with `observe` tells.

use ringfence_sandbox::{Access, Layer, Object, Plan, Processes, Program};

use crate::rig::{self, bare, both, canary, found, has_secret, only, plan, run};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EROFS: i32 = 30;

fn path_in(place: &tempfile::TempDir, name: &str) -> String {
    place.path().join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_read_only_grant_is_not_changed() {
    both(|| {
        let (place, path) = canary();
        let new = path_in(&place, "new");
        let attempts: [&[&str]; 5] = [
            &["write", &path],
            &["write", &new],
            &["unlink", &path],
            &["rename", &path, &new],
            &["chmod", &path],
        ];
        for words in attempts {
            let mut plan = plan(words);
            plan.mount(found(place.path()), Access::READ);
            let denied = run(&plan);
            assert!(matches!(denied.errno(), Some(EROFS | EACCES)), "{words:?}: {denied:?}");
        }
        assert!(has_secret(&std::fs::read_to_string(&path).unwrap()) && !std::path::Path::new(&new).exists());
    });
}

#[test]
fn writing_without_deleting() {
    both(|| {
        // Below /tmp and elsewhere: below /tmp the grant is attached at another place.
        let elsewhere = if rig::is_root() { "/var/tmp" } else { "/tmp" };
        let place = tempfile::Builder::new().prefix("ringfence-case-").tempdir_in(elsewhere).unwrap();
        for place in [place, rig::directory(0o755)] {
            let (old, new) = (path_in(&place, "old"), path_in(&place, "new"));
            std::fs::write(&old, "kept").unwrap();
            let with = |words: &[&str], access| {
                let mut plan = plan(words);
                plan.mount(found(place.path()), access);
                run(&plan)
            };
            let save = Access { read: true, write: true, ..Access::default() };
            assert!(with(&["write", &new], save).is_ok());
            for words in [&["unlink", &old][..], &["rename", &new, &old]] {
                let denied = with(words, save);
                assert_eq!(denied.errno(), Some(EACCES), "{words:?}: {denied:?}");
            }
            assert_eq!(std::fs::read_to_string(&old).unwrap(), "kept");
            assert!(with(&["rename", &new, &old], Access::READ_WRITE).is_ok());
            assert!(with(&["unlink", &old], Access::READ_WRITE).is_ok());
            assert!(!std::path::Path::new(&old).exists());
        }
    });
}

/// What root's plugin makes in a grant belongs to the owner of the tree, and nobody else's identity appears.
#[test]
fn what_is_made_belongs_to_the_trees_owner() {
    use std::os::unix::fs::MetadataExt as _;
    both(|| {
        let place = rig::directory(0o755);
        let owner = if rig::is_root() { 12345 } else { rig::USER };
        if rig::is_root() {
            std::os::unix::fs::chown(place.path(), Some(owner), Some(owner)).unwrap();
        }
        let path = path_in(&place, "made");
        let mut plan = plan(&["write", &path]);
        plan.mount(found(place.path()), Access::READ_WRITE);
        assert!(run(&plan).is_ok());
        let made = std::fs::metadata(&path).unwrap();
        assert_eq!((made.uid(), made.gid()), (owner, owner));
    });
}

#[test]
fn a_deeper_grant_lies_on_top() {
    both(|| {
        let place = rig::directory(0o755);
        let inner = place.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let (outer_file, inner_file) =
            (path_in(&place, "file"), inner.join("file").to_str().unwrap().to_owned());
        let with = |path: &str, outer, deeper| {
            let mut plan = plan(&["write", path]);
            // In the order that would hide the deeper one.
            plan.mount(found(&inner), deeper).mount(found(place.path()), outer);
            run(&plan).is_ok()
        };
        assert!(with(&inner_file, Access::READ, Access::READ_WRITE));
        assert!(!with(&outer_file, Access::READ, Access::READ_WRITE));
        assert!(!with(&inner_file, Access::READ_WRITE, Access::READ));
        assert!(with(&outer_file, Access::READ_WRITE, Access::READ));
    });
}

#[test]
fn writable_trees_execute_only_when_asked() {
    both(|| {
        let place = rig::directory(0o755);
        let script = path_in(&place, "run.sh");
        std::fs::write(&script, format!("exec {} true\n", path_in(&place, "probe"))).unwrap();
        std::fs::copy(rig::probe(), place.path().join("probe")).unwrap();
        let with = |access| {
            let mut plan = Plan::new(Program::find("sh".as_ref(), "/".as_ref()).unwrap());
            plan.argument(&script).processes(Processes::Allowed).mount(found(place.path()), access);
            run(&plan)
        };
        assert!(with(Access::READ).is_ok());
        assert!(!with(Access::READ_WRITE).text.contains("ok"));
        assert!(with(Access { execute: true, ..Access::READ_WRITE }).is_ok());
        // The program itself may lie in a writable tree: it alone is executable, and cannot be replaced.
        let own = path_in(&place, "probe");
        let mut plan = Plan::new(Program::find(own.as_ref(), "/".as_ref()).unwrap());
        plan.argument("write").argument(&own).mount(found(place.path()), Access::READ_WRITE);
        let denied = run(&plan);
        assert!(matches!(denied.errno(), Some(EROFS | EACCES)), "{denied:?}");
    });
}

#[test]
fn tmp_is_private_and_a_link_leads_to_a_grant() {
    both(|| {
        let (place, path) = canary();
        let listed = run(&plan(&["stat", &path]));
        assert_eq!(listed.errno(), Some(ENOENT), "the host's /tmp is not there");
        assert!(run(&plan(&["write", "/tmp/own"])).is_ok() && !std::path::Path::new("/tmp/own").exists());
        assert!(run(&plan(&["write", "/dev/shm/own"])).is_ok());
        let mut plan = plan(&["read", "/data/canary"]);
        plan.mount(found(place.path()), Access::READ).link("/data", place.path());
        assert!(has_secret(&run(&plan).text));
    });
}

/// A descriptor for reading stays one: it cannot be opened again for writing by way of /proc (attacks FS-10).
#[test]
fn a_descriptor_is_not_reopened_for_writing() {
    both(|| {
        let (_place, path) = canary();
        for attempt in ["/proc/self/fd/0", "/dev/stdin", "/dev/fd/0"] {
            let (mut stdio, out, errors) = rig::files();
            stdio.stdin = std::fs::File::open(&path).unwrap().into();
            let sandbox = rig::launcher().launch(&plan(&["write", attempt]), stdio).unwrap();
            let denied = rig::finish(sandbox, &out, &errors);
            assert_eq!(denied.errno(), Some(EACCES), "{attempt}: {denied:?}");
            assert!(has_secret(&std::fs::read_to_string(&path).unwrap()));
        }
        let stdin = std::fs::File::open(&path).unwrap();
        let bare =
            rig::command(rig::probe()).args(["write", "/proc/self/fd/0"]).stdin(stdin).output().unwrap();
        assert!(bare.status.success() && !has_secret(&std::fs::read_to_string(&path).unwrap()));
    });
}

#[test]
fn devices_are_the_harmless_ones() {
    both(|| {
        for path in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
            assert!(run(&plan(&["stat", path])).is_ok(), "{path}");
        }
        assert!(run(&plan(&["write", "/dev/null"])).is_ok());
        assert!(run(&plan(&["write", "/dev/sda"])).errno().is_some());
    });
}

#[test]
fn observing_names_what_is_missing_inside() {
    both(|| {
        let (_place, path) = canary();
        let mut plan = plan(&["read", &path]);
        assert!(run(&plan).observations.is_empty(), "nothing is told unless asked for");
        let seen = run(plan.observe(true));
        assert_eq!(seen.errno(), Some(ENOENT));
        let told = seen.observations.iter().find(|told| told.object == Object::Path(path.clone().into()));
        assert_eq!(told.map(|told| told.operation), Some("openat"), "{:?}", seen.observations);
        // A relative path is told with its directory.
        let mut plan = rig::plan(&["read", "nowhere/file"]);
        let seen = run(plan.observe(true).working_directory("/usr"));
        assert!(
            seen.observations.iter().any(|told| told.object == Object::Path("/usr/nowhere/file".into())),
            "{:?}",
            seen.observations
        );
    });
}

/// PID 1 does not end before it has told how the program ended; a host that only waits must not wait for ever.
#[test]
fn more_to_tell_than_a_socket_holds() {
    both(|| {
        let many = run(&plan(&["many-denials", "400"]));
        assert!(many.is_ok(), "{many:?}");
        let told: u64 = many.refusals.iter().map(|refusal| refusal.count).sum();
        assert_eq!(told + many.lost, 400, "each is told or counted");
        assert!(told > 50);
        let mut plan = plan(&["many-denials", "400"]);
        assert!(run(plan.observe(true)).is_ok());
    });
}

#[test]
fn without_mounts_landlock_says_what_is_shown() {
    both(|| {
        let place = rig::directory(0o777);
        let path = path_in(&place, "file");
        let mut plan = only(&[Layer::Landlock], &["write", &path]);
        assert_eq!(run(&plan).errno(), Some(EACCES));
        plan.mount(found(place.path()), Access::READ_WRITE);
        assert!(run(&plan).is_ok());
        assert!(bare(&["unlink", &path]).ends_with("ok unlinked\n"));
        let refused = run(&only(&[Layer::Landlock], &["kill", "1"]));
        assert_eq!(refused.errno(), Some(EPERM));
    });
}

#[test]
fn what_is_thrown_away_reaches_nobody() {
    both(|| {
        for whole in [true, false] {
            let place = rig::directory(0o777);
            let path = path_in(&place, "file");
            std::fs::write(&path, "as it was").unwrap();
            let of_all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            std::fs::set_permissions(&path, of_all).unwrap();
            let granted = if whole { found(place.path()) } else { found(std::path::Path::new(&path)) };
            let acts = [("write", path.clone()), ("write", path_in(&place, "new")), ("unlink", path.clone())];
            for (act, on) in acts.iter().take(if whole { 3 } else { 1 }) {
                let mut plan = plan(&[act, on]);
                plan.mount(granted.clone(), Access::READ_WRITE).throw_away(true);
                let done = run(&plan);
                assert!(done.is_ok(), "{act} {on}: {done:?}");
                assert_eq!(std::fs::read_to_string(&path).unwrap(), "as it was", "{act} {on}");
                assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "{act} {on}");
            }
            let mut plan = plan(&["write", &path]);
            assert!(run(plan.mount(granted.clone(), Access::READ_WRITE)).is_ok());
            assert_ne!(std::fs::read_to_string(&path).unwrap(), "as it was", "the same act, kept");
        }
    });
}
