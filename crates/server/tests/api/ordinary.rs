//! The cases that depend on who runs the server, once more as uid 65534: tokens and roles at every route, names and origins, what
//! becomes of plugins, uploads and commands in sandboxes of that user.
//!
//! Not run again: `limits`, `hostile` and `streams` (counts, sizes and times, which know no user and take a minute), and of the others
//! what is the same code behind the same door.

const CASES: &[&str] = &[
    "doors::api_01_without_a_token_that_holds_every_route_says_the_same",
    "doors::api_03_a_token_is_taken_from_its_header_alone_and_is_never_shown_again",
    "doors::api_05_what_a_form_can_send_changes_nothing",
    "doors::api_06_a_name_that_is_not_ours_is_refused_with_and_without_a_token",
    "doors::api_07_other_pages_are_refused_and_nothing_is_shared_with_them",
    "doors::api_15_fields_that_nobody_asked_for_are_refused_and_failures_tell_no_paths",
    "doors::api_16_a_plugin_that_reaches_the_daemon_is_a_stranger_there",
    "doors::mcp_10_the_door_of_mcp_is_the_same_door",
    "life::a_plugin_is_installed_consented_to_called_revoked_and_removed",
    "life::an_act_stands_in_the_audit_trail_under_the_request_and_its_token",
    "life::packages_come_from_the_directories_that_were_named_and_from_nowhere_else",
    "roles::api_04_a_token_of_one_plugin_sees_that_plugin_alone",
    "roles::api_04_each_role_does_what_it_may_and_nothing_else",
    "runs::a_command_runs_in_its_sandbox_and_is_answered_or_followed",
    "uploads::an_uploaded_package_waits_for_consent_like_any_other",
    "uploads::pkg_02_hostile_archives_are_refused_and_leave_nothing",
    "work::api_14_a_call_that_is_sent_again_with_its_key_is_made_once",
];

#[test]
fn what_depends_on_the_user_holds_for_an_ordinary_one_too() {
    ringfence_testkit::again(CASES, None);
}
