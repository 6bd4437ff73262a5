//! Kilo Code: the nine phases of the red-team report in pull request 11596.
//!
//! | phase | ours |
//! |---|---|
//! | identity, namespaces and mounts | `posture::proc_27_*` |
//! | overwrite, append, truncate, unlink, rename, replacement outside | `files::fs_02_*`, [`saving_by_a_rename_reaches_nothing_outside`] |
//! | chmod, times, extended attributes, writable mmap | `files_more::fs_18_*`, `files_more::fs_19_*` |
//! | symlinks: absolute, relative, chained, new | `files::fs_05_*`, [`links_that_lead_to_links`] |
//! | a link that is swapped while it is used | [`a_link_that_is_swapped_all_the_time`] |
//! | hard-link aliases that were there before | [`an_alias_that_was_there_before`]: a write grant over an alias is a grant over the file, said at consent |
//! | existing and future `.git` | `codex::a_denied_directory_*`, `codex::a_denied_name_that_does_not_exist` |
//! | the host's own file tools | `crates/host/src/service`: the host opens what it judged |
//! | namespaces and mounts | `syscalls::proc_09_*`, `syscalls::proc_13_each_*` |
//! | procfs aliases | `files::fs_09_roots_of_proc_*`, `files::fs_10_*` |
//! | inherited descriptors | `files::fs_12_no_descriptor_is_inherited` |
//! | descendants | [`descendants_are_held_alike`] |
//! | path-name unix sockets | `files_more::fs_20_*`, `sandlock::datagrams_to_a_named_socket` |

use ringfence_testkit::{Case, World, users};

const BOTH: &[&str] = &["--rw", "{grant}", "--rw", "{secret}"];

#[test]
fn saving_by_a_rename_reaches_nothing_outside() {
    let link = |world: &World| world.symlink("{secret}", "data/grant/dir");
    let acts: [&[&str]; 4] = [
        &["replace", "{secret}/canary.txt", "{secret}/new"],
        &["replace", "{grant}/dir/canary.txt", "{grant}/dir/new"],
        &["rename", "{grant}/file.txt", "{secret}/canary.txt"],
        &["rename", "{grant}/file.txt", "{grant}/dir/canary.txt"],
    ];
    for act in acts {
        let case = Case::new("kilo replace", act).setup(link).denied(&["--rw", "{grant}"]);
        // Across two mounts a rename is refused in any case.
        if act[0] == "rename" { case.granted(&["--rw", "{data}"]) } else { case.granted(BOTH) }.check();
    }
    // And the other way: what is saved over a link inside replaces the link, not what it leads to.
    for who in users() {
        let world = World::new(who);
        world.symlink("{secret}/canary.txt", "data/grant/link");
        let run = world.probe(&["--rw", "{grant}"], &["replace", "{grant}/link", "{grant}/new"]).run();
        assert!(run.act().ok && world.path("data/grant/link").is_file(), "as {who:?}\n{run}");
        assert!(world.text("data/secret/canary.txt").starts_with(&world.canary), "as {who:?}\n{run}");
    }
}

#[test]
fn links_that_lead_to_links() {
    let chain = |world: &World| {
        world.symlink("two", "data/grant/one");
        world.symlink("sub/three", "data/grant/two");
        world.symlink("../../secret", "data/grant/sub/three");
        world.symlink("/proc/self/root{secret}", "data/grant/proc");
    };
    let acts: [&[&str]; 5] = [
        &["read", "{grant}/one/canary.txt"],
        &["append", "{grant}/one/canary.txt"],
        &["create", "{grant}/one/new"],
        &["read", "{grant}/proc/canary.txt"],
        &["append", "{grant}/proc/canary.txt"],
    ];
    for act in acts {
        Case::new("kilo chain", act).setup(chain).denied(&["--rw", "{grant}"]).granted(BOTH).check();
    }
}

/// Somebody outside swaps a link between a file of the grant and one outside, as fast as it can.
#[test]
fn a_link_that_is_swapped_all_the_time() {
    for who in users() {
        let world = World::new(who);
        let other = World::new(who);
        let paths = ["data/grant/swapped", "data/grant/file.txt", "data/secret/canary.txt"];
        let paths = paths.map(|path| world.path(path).to_string_lossy().into_owned());
        let swapper = other.bare(&["swapper", &paths[0], &paths[1], &paths[2]]).spawn();
        swapper.wait_for("ready");
        let denied = world.probe(&["--rw", "{grant}"], &["swaprace", "{grant}/swapped"]).run();
        assert!(!world.text("data/secret/canary.txt").contains("PWNED"), "as {who:?}\n{denied}");
        assert!(denied.act().ok, "the inside half is reached meanwhile, as {who:?}\n{denied}");
        let bare = world.bare(&["swaprace", "{grant}/swapped"]).run();
        assert!(world.text("data/secret/canary.txt").contains("PWNED"), "bare, as {who:?}\n{bare}");
        drop(swapper);
    }
}

#[test]
fn an_alias_that_was_there_before() {
    for who in users() {
        let world = World::new(who);
        std::fs::hard_link(world.path("data/secret/canary.txt"), world.path("data/grant/alias")).unwrap();
        let read_only = world.probe(&["--ro", "{grant}"], &["append", "{grant}/alias"]).run();
        assert!(!read_only.act().ok, "as {who:?}\n{read_only}");
        let denied = ["--rw", "{grant}", "--deny", "file:write={grant}/alias"];
        let denied = world.probe(&denied, &["append", "{grant}/alias"]).run();
        assert!(!denied.act().ok, "as {who:?}\n{denied}");
        let granted = world.probe(&["--rw", "{grant}"], &["append", "{grant}/alias"]).run();
        assert!(granted.act().ok, "as {who:?}\n{granted}");
    }
}

#[test]
fn descendants_are_held_alike() {
    let execute: &[&str] = &["--grant", "subprocess:execute", "--ro", "{bin}", "--rw", "{grant}"];
    let granted = [execute, &["--rw", "{secret}"]].concat();
    for act in
        [["read", "{secret}/canary.txt"], ["append", "{secret}/canary.txt"], ["create", "{secret}/new"]]
    {
        let act = ["grandchild", "{probe}", act[0], act[1]];
        Case::new("kilo descendant", &act).denied(execute).granted(&granted).check();
    }
    for who in users() {
        for act in [&["mknod", "{grant}/node", "c", "1", "5"][..], &["unshare", "10000000"], &["iouring"]] {
            let act = [&["grandchild", "{probe}"][..], act].concat();
            let run = World::new(who).probe(execute, &act).run();
            assert!(!run.act().ok, "{act:?} as {who:?}\n{run}");
        }
    }
}
