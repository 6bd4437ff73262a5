//! All `unsafe` code: the raw calls that the launcher is made of, and the few things the host side needs that no safe
//! wrapper offers. Porting to another system or architecture starts and ends here.

#[cfg(any(test, clippy))]
pub(crate) mod calls;
pub(crate) mod host;
mod inherited;
#[cfg(any(test, clippy))]
pub(crate) mod mounts;
#[cfg(any(test, clippy))]
pub(crate) mod privileges;
#[cfg(any(test, clippy))]
mod raw;
#[cfg(any(test, clippy))]
pub(crate) mod sockets;

pub(crate) use host::{
    act_on_files_as, can_listen, change_mode, landlock_abi, signal_descriptor, start_launcher,
};
pub(crate) use inherited::{hand_on_nothing, take_listening};
