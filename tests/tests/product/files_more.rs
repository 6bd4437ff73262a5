//! FS-17 to FS-30, and the differences between reading, writing and deleting.

use crate::errno::{ABSENT, FORBIDDEN};
use ringfence_testkit::{Case, Listener, Who, World, lacks, users};
use std::os::unix::fs::MetadataExt;

fn has_set_id(world: &World) -> bool {
    ["data/grant/file.txt", "data/grant/made"]
        .iter()
        .any(|name| world.path(name).metadata().is_ok_and(|meta| meta.mode() & 0o6000 != 0))
}

#[test]
fn fs_17_set_id_bits_cannot_be_set() {
    for act in [
        vec!["chmod", "{grant}/file.txt", "4755"],
        vec!["chmod", "{grant}/file.txt", "2755"],
        vec!["fchmod", "{grant}/file.txt", "4755"],
        vec!["mkmode", "{grant}/made", "4755"],
        vec!["mkmode", "{grant}/made", "2755"],
    ] {
        for who in users() {
            let world = World::new(who);
            let bare = world.bare(&act).run();
            assert!(bare.act().ok && has_set_id(&world), "bare {act:?} as {who:?}\n{bare}");
            let world = World::new(who);
            let run = world.probe(&["--rw", "{grant}"], &act).run();
            assert!(!has_set_id(&world), "{act:?} as {who:?}: {run}");
        }
    }
    Case::new("fs_17 plain", &["chmod", "{grant}/file.txt", "0700"])
        .denied(&["--ro", "{grant}"])
        .granted(&["--rw", "{grant}"])
        .check();
    Case::new("fs_17 cap", &["setcap", "{grant}/file.txt"])
        .as_root()
        .denied(&["--rw", "{grant}"])
        .may_change_grant()
        .check();
}

#[test]
fn fs_17_a_set_id_program_gains_nothing() {
    if lacks("root") {
        return;
    }
    let world = World::new(Who::Nobody);
    world.put_probe("data/grant/suid");
    let program = world.path("data/grant/suid");
    std::os::unix::fs::chown(&program, Some(0), Some(0)).unwrap();
    assert!(ringfence_testkit::probe_ok(&["chmod", &program.to_string_lossy(), "4755"]), "chmod as root");
    let bare = world.bare_program(&["{grant}/suid", "euid"]).run();
    assert!(bare.act().data.contains("euid=0"), "bare\n{bare}");
    let flags = &["--ro", "{grant}", "--grant", "subprocess:execute"];
    for run in [
        world.exec(flags, &["{grant}/suid", "euid"]).run(),
        world.probe(flags, &["exec", "{grant}/suid", "euid"]).run(),
    ] {
        assert!(run.act().ok && !run.act().data.contains("euid=0"), "{run}");
    }
}

#[test]
fn fs_18_metadata_of_ungranted_and_read_only_paths() {
    for path in ["{secret}/canary.txt", "{secret}"] {
        let acts: [&[&str]; 4] =
            [&["chmod", path, "0700"], &["chown", path], &["utime", path], &["setxattr", path]];
        for act in acts {
            Case::new("fs_18 absent", act).denied(&["--rw", "{grant}"]).errnos(ABSENT).check();
            Case::new("fs_18 read-only", act)
                .denied(&["--ro", "{secret}"])
                .errnos(FORBIDDEN)
                .granted(&["--rw", "{secret}"])
                .check();
        }
    }
}

#[test]
fn fs_19_a_read_only_grant_cannot_be_changed() {
    let acts: [&[&str]; 13] = [
        &["write", "{grant}/file.txt"],
        &["append", "{grant}/file.txt"],
        &["truncate", "{grant}/file.txt"],
        &["mmapwrite", "{grant}/file.txt"],
        &["fallocate", "{grant}/file.txt"],
        &["otmpfile", "{grant}"],
        &["rename", "{grant}/file.txt", "{grant}/sub/inner.txt"],
        &["unlink", "{grant}/file.txt"],
        &["create", "{grant}/new"],
        &["mkdir", "{grant}/newdir"],
        &["link", "{grant}/file.txt", "{grant}/alias"],
        &["symlink", "x", "{grant}/link"],
        &["mkfifo", "{grant}/fifo"],
    ];
    for act in acts {
        Case::new("fs_19", act)
            .denied(&["--ro", "{grant}"])
            .errnos(FORBIDDEN)
            .granted(&["--rw", "{grant}"])
            .check();
    }
}

#[test]
fn fs_20_a_socket_inside_a_grant() {
    for who in users() {
        let world = World::new(who);
        let host = Listener::unix(&world.path("data/grant/host.sock"));
        let act = &["unix", "{grant}/host.sock", "{canary}"];
        let denied = world.probe(&["--ro", "{grant}"], act).run();
        assert!(!denied.act().ok && host.heard() == 0, "as {who:?}: heard {}\n{denied}", host.heard());
        let bare = world.bare(act).run();
        assert!(bare.act().ok && host.heard() > 0, "bare\n{bare}");
        // Connecting is writing: a write grant over the socket allows it.
        let before = host.heard();
        let granted = world.probe(&["--rw", "{grant}"], act).run();
        assert!(granted.act().ok && host.heard() > before, "as {who:?}\n{granted}");
    }
}

#[test]
fn fs_21_the_report_is_not_written_through_a_planted_link() {
    for who in users() {
        let world = World::new(who);
        let report = &["--rw", "{grant}", "--report", "{grant}/report.json"];
        let before = world.text("data/secret/canary.txt");
        let run =
            world.probe(report, &["symlink", "{secret}/canary.txt", "{grant}/report.json"]).no_report().run();
        assert_eq!(world.text("data/secret/canary.txt"), before, "as {who:?}\n{run}");
        // A FIFO without a reader must not hang the host; the run itself ends by its deadline otherwise.
        let world = World::new(who);
        let run = world.probe(report, &["mkfifo", "{grant}/report.json"]).no_report().run();
        assert!(run.code.is_some(), "{run}");
        let world = World::new(who);
        let run = world.probe(report, &["hello"]).no_report().run();
        assert!(world.text("data/grant/report.json").contains("\"exited\""), "as {who:?}\n{run}");
    }
}

#[test]
fn fs_22_a_write_grant_over_the_home_is_refused() {
    for who in users() {
        for flags in [
            vec!["--rw", "{home}"],
            vec!["--grant", "file:write=~/**"],
            vec!["--grant", "file:write={home}/**"],
            vec!["--rw", "{world}"],
        ] {
            let world = World::new(who);
            std::fs::remove_file(world.path("home/.bashrc")).unwrap();
            let before = ringfence_testkit::post::names(&world.path("home"));
            let run = world.probe(&flags, &["hello"]).run();
            run.expect_code(125);
            assert_eq!(run.report["error"]["code"], "floor", "{flags:?} as {who:?}\n{run}");
            assert!(
                run.err().contains(".ssh") || run.err().contains("work"),
                "names what to grant instead\n{run}"
            );
            assert_eq!(
                ringfence_testkit::post::names(&world.path("home")),
                before,
                "an empty placeholder is left\n{run}"
            );
        }
        let world = World::new(who);
        let leaf = world.probe(&["--rw", "{home}/work"], &["create", "{home}/work/new"]).run();
        assert!(leaf.act().ok, "{leaf}");
    }
}

#[test]
fn fs_23_a_wide_read_grant_does_not_hold_the_floor() {
    for who in users() {
        for flags in [&["--ro", "{home}"][..], &["--grant", "file:read=~/**"], &["--ro", "/"]] {
            let world = World::new(who);
            let plain = world.probe(flags, &["read", "{home}/work/plain.txt"]).run();
            assert!(plain.act().ok, "{flags:?} as {who:?}\n{plain}");
            for path in ["{home}/.ssh/id_ed25519", "{home}/.bashrc", "{home}/state/token"] {
                let bare = world.bare(&["read", path]).run();
                assert!(bare.out().contains(&world.canary), "bare {path}\n{bare}");
                let run = world.probe(flags, &["read", path]).run();
                assert!(
                    !run.act().ok && !run.out().contains(&world.canary),
                    "{flags:?}: {path} as {who:?}\n{run}"
                );
            }
        }
        let world = World::new(who);
        let literal =
            world.probe(&["--ro", "{home}/.ssh/id_ed25519"], &["read", "{home}/.ssh/id_ed25519"]).run();
        assert!(literal.act().ok, "a literal grant opens the floor\n{literal}");
        // The same within a wide grant: what is named, and nothing beside it.
        world.put("home/.ssh/other", &world.canary);
        let flags: &[&str] = &["--ro", "/", "--ro", "{home}/.ssh/id_ed25519"];
        for (act, goes) in [
            (&["read", "{home}/.ssh/id_ed25519"], true),
            (&["read", "{home}/.ssh/other"], false),
            (&["list", "{home}/.ssh"], false),
            (&["read", "{home}/state/token"], false),
        ] {
            let run = world.probe(flags, act).run();
            assert_eq!(run.act().ok, goes, "{act:?} as {who:?}\n{run}");
        }
        let all = world.probe(&["--ro", "{home}/.ssh"], &["list", "{home}/.ssh"]).run();
        assert!(all.act().ok, "the control: it can be listed\n{all}");
    }
}

#[test]
fn fs_25_a_grant_must_exist_and_links_are_resolved_once() {
    for who in users() {
        let world = World::new(who);
        world.symlink("{grant}", "data/link");
        world.symlink("{data}/nowhere", "data/broken");
        let through = world.probe(&["--ro", "{data}/link"], &["read", "{data}/link/file.txt"]).run();
        assert!(through.act().ok, "a link to a directory, as {who:?}\n{through}");
        let outside =
            world.probe(&["--ro", "{data}/link"], &["read", "{data}/link/../secret/canary.txt"]).run();
        assert!(!outside.act().ok, "{outside}");
        for missing in ["{data}/nowhere", "{data}/broken"] {
            let run = world.probe(&["--ro", missing], &["hello"]).run();
            run.expect_code(125);
            assert!(run.err().contains(&world.fill(missing)), "names the path\n{run}");
            assert!(!world.path("data/nowhere").exists(), "{run}");
        }
    }
}

#[test]
fn fs_26_set_up_creates_nothing_through_a_link_in_a_write_grant() {
    for who in users() {
        let world = World::new(who);
        world.symlink("{secret}", "data/grant/link");
        let before = world.still();
        let flags: [&[&str]; 3] = [
            &["--rw", "{grant}", "--ro", "{grant}/link/canary.txt"],
            &["--rw", "{grant}", "--ro", "{grant}/link/new"],
            &["--rw", "{grant}", "--cwd", "{grant}/link/newdir"],
        ];
        for flags in flags {
            let run = world.probe(flags, &["hello"]).run();
            assert_eq!(world.still(), before, "{flags:?} as {who:?}\n{run}");
        }
    }
}

#[test]
fn fs_28_kernel_settings() {
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/memory/cgroup.procs",
        "/sys/fs/cgroup/cgroup.procs",
    ] {
        let exists = std::path::Path::new(path).exists();
        if exists {
            Case::new("fs_28", &["openw", path]).as_root().denied(&[]).check();
        }
    }
    for path in ["/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/timer_list", "/proc/kmsg"] {
        for who in users() {
            let run = World::new(who).probe(&[], &["openr", path]).run();
            let act = run.act();
            assert!(!act.ok || path == "/proc/kallsyms" || path == "/proc/keys", "{path} as {who:?}\n{run}");
        }
    }
}

fn core_files(world: &World) -> usize {
    let all = ringfence_testkit::post::names(&world.path("data/grant"));
    all.iter().filter(|name| name.starts_with("core")).count()
}

#[test]
fn fs_29_no_core_file() {
    if lacks("core-file") || lacks("root") {
        return;
    }
    let world = World::new(Who::Root);
    let bare = world.bare(&["core"]).cwd("{grant}").run();
    assert!(core_files(&world) == 1, "bare\n{bare}");
    for who in users() {
        let world = World::new(who);
        let run = world.probe(&["--rw", "{grant}"], &["core"]).cwd("{grant}").run();
        assert_eq!(core_files(&world), 0, "as {who:?}\n{run}");
        assert_eq!(run.code, Some(139), "{run}");
    }
}

#[test]
fn fs_30_tmp_and_shm_are_private() {
    for who in users() {
        for dir in ["/tmp", "/dev/shm", "/var/tmp"] {
            let world = World::new(who);
            let name = format!("{dir}/meet-{}", world.marker);
            let put = world.probe(&[], &["create", &name]).run();
            assert!(put.act().ok || dir == "/var/tmp", "{dir} can be written inside, as {who:?}\n{put}");
            let met = std::path::Path::new(&name).exists();
            assert!(!met, "{name} is on the host\n{put}");
            std::fs::write(&name, "host").unwrap();
            let seen = world.probe(&[], &["read", &name]).run();
            std::fs::remove_file(&name).unwrap();
            assert!(!seen.act().ok, "{name} of the host is inside\n{seen}");
        }
    }
}

#[test]
fn a_grant_below_tmp_shows_the_object_of_the_host() {
    for who in users() {
        let dir = tempfile::Builder::new().prefix("rf").tempdir_in("/tmp").unwrap();
        let world = World::new(who);
        std::fs::write(dir.path().join("here"), "host").unwrap();
        world.own(&dir.path().join("here"));
        world.own(dir.path());
        let path = dir.path().to_string_lossy().into_owned();
        let file = format!("{path}/here");
        let without = world.probe(&[], &["read", &file]).run();
        assert!(!without.act().ok, "{without}");
        let with = world.probe(&["--rw", &path], &["read", &file]).run();
        assert_eq!(with.act().data, "host", "{with}");
        let changed = world.probe(&["--rw", &path], &["write", &file]).run();
        assert!(changed.act().ok, "{changed}");
        assert!(std::fs::read_to_string(&file).unwrap().starts_with("PWNED"), "{changed}");
    }
}

#[test]
fn a_grant_below_var_tmp_works() {
    for who in users() {
        let dir = tempfile::Builder::new().prefix("rf").tempdir_in("/var/tmp").unwrap();
        let world = World::new(who);
        std::fs::write(dir.path().join("here"), "host").unwrap();
        world.own(&dir.path().join("here"));
        world.own(dir.path());
        let path = dir.path().to_string_lossy().into_owned();
        let run = world.probe(&["--rw", &path], &["read", &format!("{path}/here")]).run();
        // /var/tmp may be a link inside; set-up must never follow it on the host.
        let followed = std::path::Path::new("/tmp").join(dir.path().file_name().unwrap());
        let created = followed.exists();
        std::fs::remove_dir_all(&followed).ok();
        assert!(!created, "set-up made {} on the host, as {who:?}\n{run}", followed.display());
        assert_eq!(run.act().data, "host", "as {who:?}\n{run}");
    }
}

#[test]
fn write_without_delete() {
    let write: &[&str] = &["--ro", "{grant}", "--grant", "file:write={grant}/**"];
    let delete: &[&str] =
        &["--ro", "{grant}", "--grant", "file:write={grant}/**", "--grant", "file:delete={grant}/**"];
    let acts: [&[&str]; 3] = [
        &["unlink", "{grant}/file.txt"],
        &["rename", "{grant}/file.txt", "{grant}/sub/inner.txt"],
        &["rmdir", "{grant}/sub/empty"],
    ];
    for act in acts {
        Case::new("write without delete", act)
            .setup(|world| world.mkdir("data/grant/sub/empty"))
            .denied(write)
            .errnos(FORBIDDEN)
            .granted(delete)
            .check();
    }
    let acts: [&[&str]; 4] = [
        &["write", "{grant}/file.txt"],
        &["create", "{grant}/new"],
        &["mkdir", "{grant}/newdir"],
        &["truncate", "{grant}/file.txt"],
    ];
    for act in acts {
        Case::new("write is still write", act).denied(&["--ro", "{grant}"]).granted(write).check();
    }
}

#[test]
fn a_grant_of_one_file_is_that_file() {
    let one: &[&str] = &["--grant", "file:read={grant}/file.txt"];
    Case::new("one file", &["read", "{grant}/file.txt"]).denied(&[]).granted(one).check();
    Case::new("its neighbour", &["read", "{grant}/sub/inner.txt"])
        .denied(one)
        .granted(&["--ro", "{grant}"])
        .check();
    Case::new("not written", &["write", "{grant}/file.txt"])
        .denied(one)
        .granted(&["--rw", "{grant}/file.txt"])
        .check();
}

#[test]
fn deny_beats_grant() {
    let denied: &[&str] = &["--rw", "{grant}", "--deny", "file:read={grant}/sub/**"];
    Case::new("deny", &["read", "{grant}/sub/inner.txt"])
        .denied(denied)
        .granted(&["--rw", "{grant}"])
        .check();
    let other_order: &[&str] =
        &["--deny", "file:read={grant}/sub/**", "--rw", "{grant}", "--ro", "{grant}/sub"];
    Case::new("deny first", &["read", "{grant}/sub/inner.txt"])
        .denied(other_order)
        .granted(&["--rw", "{grant}"])
        .check();
    Case::new("deny write", &["write", "{grant}/sub/inner.txt"])
        .denied(&["--rw", "{grant}", "--deny", "file:write={grant}/sub/**"])
        .granted(&["--rw", "{grant}"])
        .check();
    Case::new("beside it", &["read", "{grant}/file.txt"]).denied(&[]).granted(denied).check();
}

#[test]
fn proc_25_files_belong_to_the_owner_of_the_tree() {
    if lacks("root") {
        return;
    }
    for (uid, gid) in [(0, 0), (1234, 2345), (65534, 65534)] {
        let world = World::new(Who::Root);
        for name in ["data/grant", "data/grant/file.txt", "data/grant/sub"] {
            std::os::unix::fs::chown(world.path(name), Some(uid), Some(gid)).unwrap();
        }
        let run = world.probe(&["--rw", "{grant}"], &["create", "{grant}/made"]).run();
        let meta = world.path("data/grant/made").metadata().unwrap_or_else(|error| panic!("{error}\n{run}"));
        assert_eq!((meta.uid(), meta.gid()), (uid, gid), "{run}");
        let who = world.probe(&["--rw", "{grant}"], &["euid"]).run();
        assert!(!who.act().data.contains("uid=0 "), "{who}");
    }
}

/// A deeper grant is no anchor: whoever renames a directory between the two takes it along, and makes another of its name.
#[test]
fn fs_08_a_denial_below_nested_grants_holds_every_directory_above_it() {
    let deny = ["--deny", "file:write={grant}/sub/deep/secret"];
    for inner in ["--rw", "--ro"] {
        for who in users() {
            let prepared = || {
                let world = World::new(who);
                world.mkdir("data/grant/sub/deep");
                world.put("data/grant/sub/deep/secret", "canary");
                world
            };
            let grants = ["--rw", "{grant}", inner, "{grant}/sub/deep"];
            let act = ["rename", "{grant}/sub", "{grant}/moved"];
            let world = prepared();
            let run = world.probe(&[&grants[..], &deny].concat(), &act).run();
            assert!(
                !run.act().ok && world.path("data/grant/sub/deep/secret").exists(),
                "{inner} as {who:?}\n{run}"
            );
            let world = prepared();
            let granted = world.probe(&grants, &act).run();
            assert!(
                granted.act().ok && !world.path("data/grant/sub").exists(),
                "{inner} as {who:?}\n{granted}"
            );
        }
    }
}

/// A denied name that is not there yet is judged where it would be, also by way of a link outside of what may be written.
#[test]
fn fs_08_a_denied_name_by_way_of_a_link_elsewhere_that_does_not_exist_is_refused() {
    for who in users() {
        let world = World::new(who);
        world.symlink("{grant}/sub", "data/elsewhere");
        world.symlink("{grant}/sub/new", "data/dangling");
        let act = ["create", "{grant}/sub/new"];
        for denied in ["file:write={data}/elsewhere/new", "file:write={data}/dangling"] {
            let run = world.probe(&["--rw", "{grant}", "--deny", denied], &act).run();
            run.expect_code(125);
            assert!(
                run.acts().is_empty() && run.err().contains("does not exist"),
                "{denied} as {who:?}\n{run}"
            );
            assert!(!world.path("data/grant/sub/new").exists());
        }
        let granted = world.probe(&["--rw", "{grant}"], &act).run();
        assert!(granted.act().ok, "as {who:?}\n{granted}");
    }
}

/// What every sandbox shows without a grant is denied like all else.
#[test]
fn fs_01_what_is_denied_of_the_system_is_not_read() {
    let deny = ["--deny", "file:read=/usr/share/**", "--deny", "file:read=/etc/ssl/certs/**"];
    Case::new("fs_01", &["list", "/usr/share"]).denied(&deny).granted(&[]).check();
}

/// The right to read reaches down, past what hides a directory between two grants.
#[test]
fn fs_01_what_may_be_written_and_not_read_is_not_read_by_way_of_the_tree_around_it() {
    for who in users() {
        let world = World::new(who);
        let act = ["read", "{grant}/sub/deep/file"];
        world.mkdir("data/grant/sub/deep");
        world.put("data/grant/sub/deep/file", &world.canary);
        let write = ["--ro", "{grant}", "--grant", "file:write={grant}/sub/deep/**"];
        let denied = [&write[..], &["--deny", "file:read={grant}/sub/**"]].concat();
        let run = world.probe(&denied, &act).run();
        run.expect_code(125);
        assert!(run.acts().is_empty() && run.err().contains("not read"), "as {who:?}\n{run}");
        let granted = world.probe(&write, &act).run();
        assert!(granted.act().ok, "as {who:?}\n{granted}");
    }
}
