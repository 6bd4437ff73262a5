//! Trees walked, changed and removed by descriptor, also while somebody else moves things in them.

use super::*;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

#[test]
fn entries_are_reached_one_name_at_a_time_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/file"), "text").unwrap();
    symlink("sub", dir.path().join("link")).unwrap();
    symlink("sub/file", dir.path().join("file-link")).unwrap();
    let root = Dir::open(dir.path()).unwrap();

    let mut text = String::new();
    root.open_dir(name("sub")).unwrap().open_file(name("file")).unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
    assert!(root.open_dir(name("link")).is_err() && root.open_file(name("file-link")).is_err());
    assert_eq!(root.status(name("link")).unwrap().kind, EntryKind::Link);
    assert_eq!(root.read_link(name("link")).unwrap(), "sub");
    for path in ["sub/file", "..", ".", "", "/etc/passwd"] {
        assert_eq!(root.open_file(name(path)).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
    }
    assert!(Dir::open(&dir.path().join("link")).is_ok());
    assert!(Dir::open_no_follow(&dir.path().join("link")).is_err());
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    rustix::fs::mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let root = Dir::open(dir.path()).unwrap();
    assert_eq!(root.status(name("pipe")).unwrap().kind, EntryKind::Fifo);
    assert_eq!(root.open_file(name("pipe")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn new_entries_have_their_mode_and_never_replace_anything() {
    let dir = tempfile::tempdir().unwrap();
    let root = Dir::open(dir.path()).unwrap();
    root.create_file(name("file"), 0o666).unwrap().write_all(b"x").unwrap();
    let mode = |entry: &str| {
        std::fs::symlink_metadata(dir.path().join(entry)).unwrap().permissions().mode() & 0o7777
    };
    // The umask of a test process is hardly ever 0: 0666 stays 0666 all the same.
    assert_eq!(mode("file"), 0o666);
    drop(root.create_dir(name("dir"), 0o755).unwrap());
    assert_eq!(mode("dir"), 0o755);
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    for taken in ["file", "dir", "dangling"] {
        assert!(root.create_file(name(taken), 0o600).is_err(), "{taken}");
        assert!(root.create_dir(name(taken), 0o700).is_err(), "{taken}");
    }
    let moved = root.rename_new(name("file"), &root, name("dangling"));
    assert_eq!(moved.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    root.rename_new(name("file"), &root, name("other")).unwrap();
    assert_eq!(root.open_file(name("other")).unwrap().1.size, 1);
    root.sync().unwrap();
}

#[test]
fn a_tree_is_removed_with_its_read_only_parts_and_what_links_point_to_stays() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kept"), "x").unwrap();
    std::fs::create_dir_all(dir.path().join("tree/a/b")).unwrap();
    symlink(dir.path(), dir.path().join("tree/a/out")).unwrap();
    for path in ["tree/a/b", "tree/a"] {
        std::fs::set_permissions(dir.path().join(path), PermissionsExt::from_mode(0o555)).unwrap();
    }
    let root = Dir::open(dir.path()).unwrap();
    root.remove_tree(name("tree")).unwrap();
    root.remove_tree(name("tree")).unwrap();
    assert_eq!(root.names(10).unwrap(), ["kept"]);
}

#[test]
fn a_list_of_names_stops_at_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..5 {
        std::fs::write(dir.path().join(number.to_string()), "").unwrap();
    }
    let root = Dir::open(dir.path()).unwrap();
    assert_eq!(root.names(5).unwrap().len(), 5);
    assert_eq!(root.names(4).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
}

/// Runs `act` on a thread for which modes count, as they do for every user but root.
fn as_one_who_is_held_by_modes<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    std::thread::scope(|scope| {
        let held = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective &= !(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
            set_capabilities(None, sets).unwrap();
            act()
        });
        held.join().unwrap()
    })
}

#[test]
fn a_directory_gets_the_rights_that_are_missing_and_keeps_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let root = Dir::open(dir.path()).unwrap();
    let mode = |entry: &str| root.status(name(entry)).unwrap().mode;
    as_one_who_is_held_by_modes(|| {
        for (before, rights, after) in
            [(0, 0o700, 0o700), (0o4, 0o500, 0o504), (0o400, 0o500, 0o500), (0o755, 0o700, 0o755)]
        {
            let made = root.create_dir(name("sub"), 0o700).unwrap();
            drop(made.create_file(name("file"), 0o600).unwrap());
            made.set_mode(before).unwrap();
            drop(made);
            let opened = root.open_dir_with(name("sub"), rights).unwrap();
            assert_eq!((mode("sub"), opened.status(name("file")).unwrap().size), (after, 0), "{before:o}");
            root.remove_tree(name("sub")).unwrap();
        }
        drop(root.create_dir(name("closed"), 0).unwrap());
        assert_eq!(root.open_dir(name("closed")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        root.create_link(name("link"), name("closed")).unwrap();
        assert!(root.open_dir_with(name("link"), 0o700).is_err());
        assert_eq!(mode("closed"), 0, "not by way of a link");
    });
}

#[test]
fn both_ways_of_changing_a_mode_change_what_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let root = Dir::open(dir.path()).unwrap();
    drop(root.create_dir(name("sub"), 0).unwrap());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let found = rustix::fs::openat(&root.fd, "sub", flags, Mode::empty()).unwrap();
    root.rename_new(name("sub"), &root, name("moved")).unwrap();
    root.create_link(name("sub"), name("nowhere")).unwrap();
    for (way, mode) in [(change_mode as fn(BorrowedFd<'_>, u32) -> _, 0o500), (change_mode_by_proc, 0o700)] {
        let changed: io::Result<()> = way(found.as_fd(), mode);
        changed.unwrap();
        assert_eq!(root.status(name("moved")).unwrap().mode, mode);
    }
}

#[test]
fn a_path_without_links_is_opened_and_one_with_a_link_anywhere_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let real = std::path::absolute(dir.path()).unwrap();
    std::fs::create_dir_all(real.join("a/b")).unwrap();
    symlink("a", real.join("link")).unwrap();
    assert!(Dir::open_without_links(&real.join("a/b")).is_ok());
    assert!(Dir::open(&real.join("link/b")).is_ok(), "the twin");
    for path in ["link", "link/b"] {
        assert!(Dir::open_without_links(&real.join(path)).is_err(), "{path}");
    }
}

#[test]
fn a_directory_that_becomes_a_link_while_it_is_removed_leads_nowhere() {
    const ROUNDS: usize = 600;
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("kept"), "x").unwrap();
    std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o555)).unwrap();
    let mode = || outside.path().metadata().unwrap().permissions().mode() & 0o7777;
    let root = Dir::open(dir.path()).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    let exchanged = std::thread::scope(|scope| {
        let racing = scope.spawn(|| {
            let mut exchanged = 0_usize;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = RenameFlags::EXCHANGE;
                exchanged += usize::from(
                    rustix::fs::renameat_with(&root.fd, "tree/x", &root.fd, "tree/y", flags).is_ok(),
                );
            }
            exchanged
        });
        as_one_who_is_held_by_modes(|| {
            for _ in 0..ROUNDS {
                if mode() != 0o555 {
                    break;
                }
                let tree = root.create_dir(name("tree"), 0o700).unwrap();
                drop(tree.create_dir(name("x"), 0).unwrap());
                tree.create_link(name("y"), outside.path().as_os_str()).unwrap();
                // Whoever swaps names while they are removed may make the removal fail; the next one does it.
                while root.remove_tree(name("tree")).is_err() {}
            }
        });
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        racing.join().unwrap()
    });
    assert_eq!((mode(), outside.path().join("kept").exists()), (0o555, true));
    assert!(exchanged > ROUNDS / 10, "{exchanged} exchanges are no race");
    std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o755)).unwrap();
}

/// A directory in memory where there is one: thousands of directories take a slow disk a minute.
fn fast_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Makes `levels` directories in one another, all of the same name, each with a file beside the next; the modes of all but the
/// deepest are `mode` in the end.
fn nest(root: &Dir, start: &OsStr, each: &OsStr, levels: usize, mode: u32) {
    let mut dir = root.create_dir(start, 0o700).unwrap();
    for _ in 0..levels {
        let next = dir.create_dir(each, 0o700).unwrap();
        drop(dir.create_file(name("file"), 0o600).unwrap());
        dir.set_mode(mode).unwrap();
        dir = next;
    }
}

#[test]
fn a_tree_of_any_depth_is_removed_whatever_its_names_and_modes() {
    let dir = fast_directory();
    let root = Dir::open(dir.path()).unwrap();
    let long = "n".repeat(255);
    as_one_who_is_held_by_modes(|| {
        for (each, levels, mode) in [("d", 64, 0o700), ("d", 65, 0), ("d", 5000, 0o700), (&*long, 5000, 0)] {
            nest(&root, name("tree"), name(each), levels, mode);
            root.remove_tree(name("tree")).unwrap();
            assert_eq!(root.names(10).unwrap(), [""; 0], "{levels} levels of {} bytes", each.len());
        }
    });
}

#[test]
fn a_removal_keeps_few_descriptors_open() {
    let dir = fast_directory();
    let root = Dir::open(dir.path()).unwrap();
    nest(&root, name("tree"), name("d"), 2000, 0o700);
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let over = std::sync::atomic::AtomicBool::new(false);
    let before = open();
    let most = std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut most = open();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                most = most.max(open());
            }
            most
        });
        root.remove_tree(name("tree")).unwrap();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        counting.join().unwrap()
    });
    // Other tests of this process have some open too.
    assert!(most < before + 400, "{before} before, {most} meanwhile");
}
