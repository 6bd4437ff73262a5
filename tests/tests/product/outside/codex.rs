//! Codex: `codex-rs/linux-sandbox/tests/suite/landlock.rs` and `managed_proxy.rs`.
//!
//! | case | ours |
//! |---|---|
//! | test_root_read | [`the_system_is_read_and_not_written`] |
//! | test_root_write | `files::fs_11_programs_and_libraries_cannot_be_changed` |
//! | test_dev_null_write | `bubblewrap::the_usual_devices` |
//! | test_writable_root | `files::fs_02_*` (its granted runs) |
//! | test_no_new_privs_is_enabled | `posture::proc_27_privileges` |
//! | test_timeout | `endings` and `ladder::proc_18_*` |
//! | sandbox_blocks_curl, wget, nc, dev_tcp_redirection | [`everyday_clients_reach_nobody`] |
//! | sandbox_blocks_ping, ssh, getent | `network::odd_socket_families` (ICMP and raw sockets); the clients need names and hosts of the internet for their bare run |
//! | sandbox_blocks_git_and_codex_writes_inside_writable_root | [`a_denied_directory_in_a_writable_tree`]; nothing is denied there by itself: a write grant over `.git` is what was asked for |
//! | sandbox_blocks_codex_symlink_replacement_attack | [`a_denied_name_that_is_a_link`] |
//! | a missing protected name cannot be made | [`a_denied_name_that_does_not_exist`] |
//! | socket(AF_UNIX) refused, socketpair works | `network::abstract_and_path_name_sockets`, `network::a_socket_pair_works`: unix sockets exist here, connecting is judged by path |
//! | managed_proxy: required or fail closed, loopback reached, 192.0.2.1 refused | none: a command has no network grant (`network::network_grants_are_refused_*`); a plugin's proxying is the host's, tested in `crates/host` |

use ringfence_testkit::{Case, Listener, World, have, users};

#[test]
fn the_system_is_read_and_not_written() {
    for who in users() {
        let run = World::new(who).probe(&[], &["list", "/bin/"]).run();
        assert!(run.act().ok && run.act().data.contains("sh "), "as {who:?}\n{run}");
        for path in ["/planted", "/usr/planted", "/etc/planted", "/bin/planted"] {
            let run = World::new(who).probe(&["--rw", "{grant}"], &["create", path]).run();
            assert!(!run.act().ok && !std::path::Path::new(path).exists(), "{path} as {who:?}\n{run}");
        }
    }
}

#[test]
fn everyday_clients_reach_nobody() {
    let clients: [(&str, &[&str]); 4] = [
        ("curl", &["curl", "-sS", "--max-time", "3", "http://127.0.0.1:PORT/"]),
        ("wget", &["wget", "-q", "-T", "3", "-t", "1", "-O", "-", "http://127.0.0.1:PORT/"]),
        ("nc", &["nc", "-w", "1", "127.0.0.1", "PORT"]),
        ("bash", &["bash", "-c", "echo hi > /dev/tcp/127.0.0.1/PORT"]),
    ];
    for (name, words) in clients.iter().filter(|(name, _)| have(name)) {
        for who in users() {
            let world = World::new(who);
            let host = Listener::tcp();
            let port = host.port.to_string();
            let words: Vec<String> = words.iter().map(|word| word.replace("PORT", &port)).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let run = world.exec(&["--grant", "subprocess:execute"], &words).run();
            assert!(run.code != Some(0) && run.code != Some(125), "{name} as {who:?}\n{run}");
            assert_eq!(host.heard(), 0, "{name} as {who:?}\n{run}");
            // Nobody answers: whether the client is content does not matter, only that it arrived.
            let mut bare = vec!["timeout", "3"];
            bare.extend(&words);
            let bare = world.bare_program(&bare).run();
            assert!(host.heard() > 0, "bare {name}\n{bare}");
        }
    }
}

const DENY_GIT: &[&str] =
    &["--rw", "{grant}", "--deny", "file:write={grant}/.git/**", "--deny", "file:delete={grant}/.git/**"];

fn git(world: &World) {
    world.mkdir("data/grant/.git");
    world.mkdir("data/grant/.git/hooks");
    world.put("data/grant/.git/config", "[core]");
}

#[test]
fn a_denied_directory_in_a_writable_tree() {
    let acts: [&[&str]; 6] = [
        &["write", "{grant}/.git/config"],
        &["create", "{grant}/.git/hooks/pre-commit"],
        &["rename", "{grant}/.git", "{grant}/moved"],
        &["rename", "{grant}/.git/hooks", "{grant}/hooks"],
        &["unlink", "{grant}/.git/config"],
        &["link", "{grant}/.git/config", "{grant}/alias"],
    ];
    for act in acts {
        Case::new("codex .git", act).setup(git).denied(DENY_GIT).granted(&["--rw", "{grant}"]).check();
    }
    Case::new("beside it", &["create", "{grant}/new"])
        .setup(git)
        .denied(&["--ro", "{grant}"])
        .granted(DENY_GIT)
        .check();
}

/// Whoever denies a name means the name: were it a link, a program that writes beside it could put a directory there.
#[test]
fn a_denied_name_that_is_a_link() {
    let replace = ["replace", "{grant}/.git", "{grant}/.git.new"];
    for who in users() {
        for target in ["{data}/decoy", "{data}/nowhere", "{grant}/sub"] {
            let world = World::new(who);
            world.mkdir("data/decoy");
            world.symlink(target, "data/grant/.git");
            let run = world.probe(DENY_GIT, &replace).run();
            run.expect_code(125);
            assert!(run.acts().is_empty() && run.err().contains("is a link"), "{target} as {who:?}\n{run}");
            assert!(world.path("data/grant/.git").is_symlink(), "as {who:?}\n{run}");
            let granted = world.probe(&["--rw", "{grant}"], &replace).run();
            assert!(granted.act().ok && world.path("data/grant/.git").is_file(), "as {who:?}\n{granted}");
        }
        // Where nothing can be put in its place, the denial stands and the command runs.
        let world = World::new(who);
        world.symlink("{grant}/sub", "data/grant/.git");
        let run = world
            .probe(&["--ro", "{grant}", DENY_GIT[2], DENY_GIT[3]], &["read", "{grant}/.git/inner.txt"])
            .run();
        assert!(run.act().ok, "as {who:?}\n{run}");
    }
}

#[test]
fn a_denied_name_that_does_not_exist() {
    for who in users() {
        let world = World::new(who);
        let run = world.probe(DENY_GIT, &["mkdir", "{grant}/.git"]).run();
        run.expect_code(125);
        assert!(run.acts().is_empty() && !world.path("data/grant/.git").exists(), "as {who:?}\n{run}");
        let granted = world.probe(&["--rw", "{grant}"], &["mkdir", "{grant}/.git"]).run();
        assert!(granted.act().ok, "as {who:?}\n{granted}");
    }
}
