//! The commands about plugins, from outside: the built binary, a home and a plugin of its own for each test.
//!
//! Reading order: `world` (what a test works with), `life` (install to uninstall), `policy`, `statuses` (each exit status), `forms`
//! (arguments, JSON documents, pages), `terminal` (consent at a terminal, signals), `two` (two commands at the same time).
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts the built binary, and fails by panicking"
)]

mod audit;
mod forms;
mod life;
mod policy;
mod statuses;
mod terminal;
mod two;
mod world;
