//! Evidence for the whole product: one hostile program with many acts, and the harness that runs it.
//!
//! The harness drives the release binary as a stranger would, through `ringfence exec`. Every denial is judged by
//! three runs: *bare* (outside the sandbox: the act must succeed, or the case proves nothing), *denied* (must fail, and
//! nothing outside may change) and *granted* (the same act with the grant: must succeed, or the sandbox only breaks
//! things). After every run inside, the post-conditions of [`post`] are checked. Each case runs as root and as an
//! ordinary user; without root, the root half says so.
//!
//! It deliberately does not look inside the product: it links none of its crates. Start reading at [`Case`].
//!
//! Environment: `RINGFENCE_BIN` names the binary (default: `target/release/ringfence` of this workspace),
//! `RINGFENCE_TEST_DIR` is where worlds are made (default: `/var/tmp`),
//! `RINGFENCE_NEEDS` is a comma list of needs that must be there (a missing one then fails instead of being skipped).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "support code of tests: a failure here is the failure of the test that called it"
)]

mod again;
mod case;
mod job;
mod needs;
pub mod post;
mod process;
mod rig;
mod world;

pub use again::{again, place, program};
pub use case::{Case, Control};
pub use job::{Act, Job, Run, Running};
pub use needs::{have, lacks, missing, say};
pub use process::{alive_with_marker, host_uid, kill, probe_ok};
pub use rig::{Rig, rig};
pub use world::{Backend, Listener, Snapshot, Who, World, backends, hold_still, one_at_a_time, users};
