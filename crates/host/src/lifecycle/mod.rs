//! The life of a plugin: which states there are, what moves it, and when it is tried again.

mod context;
mod correlation;
mod denial;
mod drift;
pub(crate) mod durable;
mod ending;
mod follow;
mod instance;
mod log;
mod log_page;
mod monitor;
pub(crate) mod places;
mod quota;
mod restart;
mod secrets;
mod state;
mod supervisor;
mod target;
mod warnings;
mod watch;

pub use instance::ORDERLY_STOP;
pub use log::{LOG_LINE_MAX_BYTES, LOG_TAIL_LINES, LogLine, LogSource};
pub use log_page::{LOG_PAGE_MAX, LOG_SEARCH_MAX_BYTES, LogFilter, LogPage, LogPlace};
pub use quota::LOOK_EVERY;
pub(crate) use quota::{Allowed, measure};
pub use restart::{BACKOFF_FIRST, BACKOFF_MAX, CRASH_WINDOW, CRASHES_MAX, HEALTHY_AFTER, backoff};
pub use state::{Move, next};
pub use supervisor::{CANCEL_GRACE, FAULTS_MAX, PING_LIMIT, PING_MISSES_MAX};

pub(crate) use context::{Context, POLICY_LAYER};
pub(crate) use ending::Why;
pub(crate) use instance::{Instance, start};
pub(crate) use log::remove as remove_log;
pub(crate) use log_page::{page as log_page, read as read_log};
pub(crate) use monitor::Command;
pub(crate) use supervisor::Supervisor;
pub(crate) use target::{
    Confinement, Occasion, Source, Target, Tool, consent_required, effective, not_active, quarantined, rules,
    with_defaults,
};
