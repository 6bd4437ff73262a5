//! The commands about plugins beside a running daemon: the tests of `plugins`, each with a daemon of its own on its home. What
//! they say and how they end must be the same.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts the built binary, and fails by panicking"
)]

/// Every world has a daemon.
const SERVED: bool = true;

#[path = "../plugins/audit.rs"]
mod audit;
#[path = "../plugins/daemon.rs"]
#[allow(dead_code, reason = "the tests of the daemon itself use more of it")]
mod daemon;
#[path = "../plugins/forms.rs"]
mod forms;
#[path = "../plugins/life.rs"]
mod life;
#[path = "../plugins/policy.rs"]
mod policy;
#[path = "../plugins/statuses.rs"]
mod statuses;
#[path = "../plugins/world.rs"]
mod world;

/// A daemon that serves the commands of its own user, once more as uid 65534. The other cases judge the same texts and documents.
#[test]
fn what_depends_on_the_user_holds_for_an_ordinary_one_too() {
    let cases = [
        "audit::verify_ends_with_0_for_what_was_not_touched_and_names_what_was",
        "life::a_plugin_that_is_granted_nothing_runs_and_reads_nothing",
        "life::a_whole_life",
        "life::what_is_revoked_is_refused_at_once_and_why_says_what_would_allow_it",
    ];
    ringfence_testkit::again(&cases, Some(std::path::Path::new(env!("CARGO_BIN_EXE_ringfence"))));
}
