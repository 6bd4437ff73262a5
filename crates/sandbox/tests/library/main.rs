//! The library from outside: every layer alone, every ending, every refusal, as root and as an ordinary user.
//!
//! Each case runs in a process of its own (see [`rig::both`]): once as whoever runs the tests and, if that is root, once
//! more as uid 65534. A denial has two twins: the same probe outside of any sandbox, and with the grant.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says where; what it shares is not itself a test function"
)]

mod attacks;
mod audited;
mod checks;
mod connect;
mod errors;
mod files;
mod layers;
mod lifecycle;
mod limits;
mod load;
mod network;
mod prepared;
mod rig;
