//! The HTTP API from outside: raw requests to a server on loopback and on a socket.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests: a failure here is the failure of the test that called it"
)]

mod client;
mod doors;
mod hostile;
mod life;
mod limits;
mod ordinary;
mod rig;
mod roles;
mod runs;
mod streams;
mod uploads;
mod work;
