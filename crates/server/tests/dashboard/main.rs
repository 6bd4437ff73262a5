//! The dashboard as a browser sees it: pages, forms and cookies over raw HTTP.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests: a failure here is the failure of the test that called it; one edits a database as a stranger would"
)]

#[path = "../api/client.rs"]
#[allow(dead_code, reason = "shared with the tests of the API, which use all of it")]
mod client;
#[path = "../api/rig.rs"]
#[allow(dead_code, reason = "shared with the tests of the API, which use all of it")]
mod rig;

mod activity;
mod audit;
mod browser;
mod configuration;
mod doors;
mod hooks;
mod list;
mod logs;
mod overview;
mod permissions;
mod resources;
mod runs;
mod sessions;
mod strangers;
mod tokens;
mod uploads;
mod versions;
