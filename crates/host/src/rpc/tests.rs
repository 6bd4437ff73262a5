//! The connection against a peer that does what each test tells it to, over real pipes.

mod calls;
mod rig;
