//! The connection against a peer that does what each test tells it to, over real pipes.

mod calls;
mod faults;
mod limits;
mod random;
mod rig;
mod serving;
