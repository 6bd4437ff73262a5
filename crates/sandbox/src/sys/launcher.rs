//! What of `sys` the launcher is built from.

pub(crate) mod calls;
pub(crate) mod mounts;
pub(crate) mod privileges;
mod raw;
pub(crate) mod sockets;
mod start;
