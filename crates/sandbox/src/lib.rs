//! Linux confinement of one program.
//!
//! A [`Plan`] says what a sandbox must be, a [`Launcher`] makes it, a [`Sandbox`] is it. This crate knows nothing of
//! plugins, permissions or grants: it is told which paths to show and how, and what to deny. It is synchronous, hands back
//! owned descriptors, and reports what is enforced layer by layer; a layer that is demanded and cannot be proven stops the
//! start.
//!
//! Start reading at [`Plan`], then [`Launcher::launch`]. What happens inside is in `stage/`, which is compiled into a
//! program of its own.
//!
//! ```no_run
//! use ringfence_sandbox::{Ending, Launcher, Plan, Program, Stdio};
//!
//! let launcher = Launcher::start()?;
//! let mut plan = Plan::new(Program::find("id".as_ref(), "/".as_ref())?);
//! plan.argument("-u");
//! let mut sandbox = launcher.launch(&plan, Stdio::inherit()?)?;
//! println!("enforced: {}", sandbox.report().layers);
//! assert_eq!(sandbox.wait()?, Ending::Exited(0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod audit;
mod compile;
mod encode;
mod kernel;
mod launch;
mod layer;
mod limits;
mod plan;
mod probe;
mod process;
mod report;
pub mod resident;
mod resolve;
mod run;
mod seccomp;
pub mod stream;
#[allow(unsafe_code, reason = "the one module that may: see its documentation")]
mod sys;
pub mod tree;
#[cfg_attr(
    not(any(test, clippy)),
    allow(dead_code, reason = "half of it is the launcher's, which is built apart")
)]
mod wire;

#[cfg(any(test, clippy))]
#[allow(dead_code, reason = "compiled here only so that lints and tests see what the build script compiles")]
mod stage;

pub use compile::{CompileError, is_always_shown};
pub use launch::{Launcher, Stdio};
pub use layer::{Layer, Layers};
pub use limits::{Backend, CgroupError, Io, Usage};
pub use plan::{Access, Limits, Mount, NOTES, Network, Plan, PlanError, Processes};
pub use probe::{BackendFound, LandlockGap, Probe, Surroundings, Swap, Trial, probe};
pub use report::{Ending, LaunchError, Object, Observation, Refusal, Report};
pub use resolve::{Program, ResolveError, Resolved, SEARCH_PATH};
pub use run::{Sandbox, TERM_GRACE, TICK, Tick};
pub use seccomp::reasons as seccomp_reasons;

/// The effective user id of this process, as it was at the first call.
#[must_use]
pub fn user_id() -> u32 {
    kernel::Facts::get().uid
}

/// Whether this process is root: the sandbox then takes an unused user of its own, and grants are id-mapped.
#[must_use]
pub fn is_root() -> bool {
    kernel::Facts::get().root
}

/// Time since some moment before this process began, to about four milliseconds; it stands still while the system sleeps. For
/// what is asked at every event and must cost next to nothing: 7 ns, where `Instant::now` took 29 (`CLOCK_MONOTONIC_COARSE`,
/// clock_gettime(2); measured on Linux 6.18 with the tsc as its clock).
///
/// ```
/// let (earlier, later) = (ringfence_sandbox::coarse_now(), ringfence_sandbox::coarse_now());
/// assert!(earlier <= later);
/// ```
#[must_use]
pub fn coarse_now() -> std::time::Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    std::time::Duration::try_from(now).unwrap_or_default()
}
