//! The management server over HTTP, nested into a small application that knows its callers by a header.
//!
//! Reading order: `world` (host, packages, requests), `tools` (each tool, role and scope), `wire` (headers, revisions, bounds),
//! `daemon` (what is passed on to one).
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod daemon;
mod tools;
mod wire;
mod world;
