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
