//! Plugins that lie, crash, hang and flood, packages that hide something, and a store that is cut off, edited and starved:
//! all through the command line of the release binary, as a stranger would.
//!
//! Names start with the case of the attack catalogue (`proto_04_...`, `pkg_09_...`, `state_01_...`). Each denial has a twin
//! that shows the same act succeeding. The fixture is one Python script without an SDK, `hostile.py`; a second plugin, the
//! witness, must notice nothing. Reading order: `place`, then `protocol_*`, `packages`, `manifests`, `installs`, `configs`,
//! `consents`, `places`, `policies`, `brokers`, `streams`, `hooks`, `processes`, `trees`, `state_*`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure of the harness is a failed test"
)]

mod place;

mod brokers;
mod configs;
mod consents;
mod dev;
mod hooks;
mod installs;
mod interpreters;
mod manifests;
mod packages;
mod places;
mod policies;
mod processes;
mod protocol_answers;
mod protocol_life;
mod protocol_lines;
mod protocol_start;
mod state_edits;
mod state_faults;
mod state_kill;
mod streams;
mod trees;
