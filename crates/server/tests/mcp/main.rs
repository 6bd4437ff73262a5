//! The management server over HTTP, nested into a small application that knows its callers by a header.
//!
//! Reading order: `world` (host, packages, requests), `tools` (each tool, role and scope), `wire` (headers, revisions, bounds),
//! `daemon` (what is passed on to one).
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod daemon;
mod tools;
mod wire;
mod world;

/// The cases that depend on who runs the server, once more as uid 65534. Bounds and revisions of messages know no user.
#[test]
fn what_depends_on_the_user_holds_for_an_ordinary_one_too() {
    let cases = [
        "daemon::what_needs_a_running_plugin_is_the_daemons",
        "tools::a_plugins_life_over_http",
        "tools::a_token_for_one_plugin_reaches_no_other",
        "tools::each_role_sees_and_calls_what_is_its_own",
        "tools::packages_come_from_the_directories_that_are_named",
        "wire::nobody_is_served_who_was_not_authenticated",
    ];
    ringfence_testkit::again(&cases, None);
}
