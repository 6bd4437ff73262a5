//! What depends on who runs the daemon: its sockets and who is known there, the modes and owners of its files, tokens, consent, and
//! the one record of each act. As the user who runs these tests, and where that is root once more as uid 65534.
//!
//! Not run again: `daemon_kill` (whoever is not root may attach strace to a running process only where the machine says so; the
//! commands are killed as uid 65534 in `state_kill.rs` of `tests`), `daemon_disk` and the first tests of `peers` (they mount, or are
//! two users), `pages`, `forms`, `client_types`, `api_outside`, `mcp_outside` and the units of systemd (they read files of the
//! workspace, which another user may not reach, and judge texts), `clock`, `two`, `terminal`, `statuses`, `policy`, `plugin_types`
//! and the rest of `mcp_hostile` (locks, clocks, terminals and limits of messages know no user).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::daemon::Daemon;
use crate::peers::asked_as;
use crate::world::World;

/// An ordinary user that every system has, and another one.
const NOBODY: u32 = 65534;
const STRANGER: u32 = 65533;

const CASES: &[&str] = &[
    "audit::verify_ends_with_0_for_what_was_not_touched_and_names_what_was",
    "life::a_whole_life",
    "life::what_is_revoked_is_refused_at_once_and_why_says_what_would_allow_it",
    "mcp::a_class_is_not_even_imported_before_somebody_consents",
    "mcp::each_tool_does_its_work_and_consent_stays_a_persons",
    "mcp_hostile::a_client_that_is_gone_leaves_no_half_act",
    "ordinary::every_file_of_a_home_is_its_users_alone_whatever_the_umask_says",
    "serve::a_new_configuration_is_taken_up_and_a_bad_one_is_not",
    "serve::a_second_daemon_is_told_who_holds_the_home",
    "serve::in_the_background_it_is_ready_when_the_command_returns",
    "serve::it_ends_with_whoever_started_it",
    "serve::it_says_where_it_listens_and_ends_in_order",
    "serve::sockets_that_are_handed_over_are_served",
    "serve::the_dashboard_is_opened_by_a_link_that_works_once",
    "serve::who_was_killed_holds_nothing",
    "serve::whoever_needs_no_token_installs_from_anywhere_and_a_token_does_not",
    "token::a_token_is_shown_once_and_opens_what_it_is_for_until_it_is_revoked",
    "ways::mcp_15_every_way_to_a_plugin_is_one_decision_and_one_record",
];

#[test]
fn what_depends_on_the_user_holds_for_an_ordinary_one_too() {
    ringfence_testkit::again(CASES, Some(Path::new(env!("CARGO_BIN_EXE_ringfence"))));
}

#[test]
fn every_file_of_a_home_is_its_users_alone_whatever_the_umask_says() {
    let Some(world) = World::new() else { return };
    let world = world.with_active_notes();
    let mut serve = std::process::Command::new("/bin/sh");
    let like = world.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    serve.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(like.get_program()).args(like.get_args());
    serve.env("RINGFENCE_HOME", world.path("home")).stdin(std::process::Stdio::null());
    serve.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let _daemon = Daemon::of(serve);
    world.done(&["token", "create", "--role", "viewer"]);
    assert_eq!(world.json(&["call", "notes", "echo", "{\"a\": 1}"])["a"], 1);
    let own = ringfence_testkit::host_uid();
    let home = std::fs::metadata(world.path("home")).unwrap();
    assert_eq!((home.uid(), home.mode() & 0o077), (own, 0), "the home is closed to everybody else");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(world.path("home")).unwrap() {
        let entry = entry.unwrap();
        let (name, found) = (entry.file_name().into_string().unwrap(), entry.metadata().unwrap());
        assert_eq!(found.uid(), own, "{name}");
        assert_eq!(found.permissions().mode() & 0o077, 0, "{name} is open to others");
        seen.push(name);
    }
    for name in ["state.db", "state.key", "audit.anchor", "daemon.sock", "store", "data"] {
        assert!(seen.iter().any(|found| found == name), "{name} is missing: {seen:?}");
    }
}

/// The socket of an ordinary user's daemon knows that user and root, and nobody else.
#[test]
fn at_the_socket_of_an_ordinary_user_other_ordinary_users_are_strangers() {
    if ringfence_testkit::lacks("root") {
        return;
    }
    let made = tempfile::tempdir_in("/var/tmp").unwrap();
    let (program, home) = (made.path().join("ringfence"), made.path().join("home"));
    std::fs::copy(env!("CARGO_BIN_EXE_ringfence"), &program).unwrap();
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    for (path, mode) in [(made.path(), 0o755), (&program, 0o755), (&home, 0o700)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut serve = std::process::Command::new(&program);
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--json"])
        .env("RINGFENCE_HOME", &home)
        .env("HOME", &home);
    serve.uid(NOBODY).gid(NOBODY).current_dir("/").stdin(std::process::Stdio::null());
    serve.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let daemon = Daemon::of(serve);
    let socket = home.join("daemon.sock");
    assert!(asked_as(STRANGER, &socket).contains("Permission denied"), "nobody else comes near");
    for (path, mode) in [(&home, 0o711), (&socket, 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(asked_as(STRANGER, &socket), "401");
    assert_eq!((asked_as(NOBODY, &socket), asked_as(0, &socket)), ("200".to_owned(), "200".to_owned()));
    assert_eq!(daemon.end("TERM").code, Some(0));
}

/// A home that somebody else could have prepared is not used, and not changed.
#[test]
fn an_ordinary_user_does_nothing_in_the_home_of_another() {
    if ringfence_testkit::lacks("root") {
        return;
    }
    let Some(world) = World::new() else { return };
    world.done(&["list"]);
    let program = tempfile::tempdir_in("/var/tmp").unwrap();
    let copy = program.path().join("ringfence");
    std::fs::copy(env!("CARGO_BIN_EXE_ringfence"), &copy).unwrap();
    for path in [program.path(), &copy, &world.path("")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let listed = |uid: u32| {
        let mut list = std::process::Command::new(&copy);
        list.args(["token", "create", "--role", "admin"]).env("RINGFENCE_HOME", world.path("home"));
        list.uid(uid).gid(uid).current_dir("/").output().unwrap()
    };
    let refused = listed(NOBODY);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    assert!(world.json(&["token", "list"]).as_array().unwrap().is_empty());
    assert!(listed(0).status.success(), "the twin: whose home it is");
}
