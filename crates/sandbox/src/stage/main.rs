//! The launcher: a static program without libc, allocator or threads that builds sandboxes.
//!
//! The library carries it as bytes, starts it from memory, and sends it requests over a socket (descriptor 3). It
//! decides nothing: what to mount, deny and limit is in the request. Start reading at [`stage::serve`].
#![no_std]
#![no_main]

#[path = "mod.rs"]
mod stage;
#[path = "../sys/launcher.rs"]
mod sys;
#[path = "../wire.rs"]
mod wire;

fn main() -> ! {
    stage::serve::run()
}
