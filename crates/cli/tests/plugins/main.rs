//! The commands about plugins, from outside: the built binary, a home and a plugin of its own for each test.
//!
//! Reading order: `world` (what a test works with), `life` (install to uninstall), `policy`, `statuses` (each exit status), `forms`
//! (arguments, JSON documents, pages), `terminal` (consent at a terminal, signals), `two` (two commands at the same time), `ways` (one plugin by four ways), `mcp_client`, `mcp`, `mcp_hostile`
//! and `mcp_outside` (the MCP server), `serve` (the daemon; `daemon` starts it), `daemon_kill`, `daemon_disk`
//! and `clock` (it is killed, its disk is full, its clock jumps), `ordinary` (what depends on the user, as uid 65534), `token`, `pages` (what the pages tell to type),
//! `plugin_types` (kinds of plugins in the configuration), `client_types` (the clients' types).
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts the built binary, and fails by panicking"
)]

/// The tests of `served` are these with a daemon beside each.
const SERVED: bool = false;

mod api_outside;
mod audit;
mod client_types;
mod clock;
mod daemon;
mod daemon_disk;
mod daemon_kill;
mod forms;
mod life;
mod mcp;
mod mcp_client;
mod mcp_hostile;
mod mcp_outside;
mod ordinary;
mod outside;
mod pages;
mod peers;
mod plugin_types;
mod policy;
mod serve;
mod statuses;
mod terminal;
mod token;
mod two;
mod ways;
mod world;
