//! The life of a plugin: which states there are, what moves it, and when it is tried again.

mod restart;
mod state;

pub use restart::{
    BACKOFF_FIRST, BACKOFF_MAX, CRASH_WINDOW, CRASHES_MAX, HEALTHY_AFTER, backoff, is_crash_loop,
};
pub use state::{Move, next};
