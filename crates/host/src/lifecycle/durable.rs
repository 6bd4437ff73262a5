//! The durable steps of install, upgrade, rollback and uninstall: what is on the disk, in which order.
//!
//! Files come before the row that names them and go after it, and each change of rows is one transaction with its audit
//! record. So whoever is killed in between leaves the old state or the new one, and files that no row names; [`recover`]
//! removes those when the home is opened next. One lock serialises these steps between all processes; the long part, the
//! copy, needs none.
//!
//! Nothing is started, stopped or asked here: that is the engine's, which calls these steps. What still runs, in whatever
//! process, keeps its files: the engine ends it and calls [`tidy`], and what is left then is removed by a later step.

mod data_dirs;
mod install;
mod recover;
mod uninstall;
mod upgrade;

#[cfg(test)]
mod check;
#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod tests;

pub(crate) use install::{Origin, install};
pub(crate) use recover::{recover, tidy};
pub(crate) use uninstall::uninstall;
pub(crate) use upgrade::{abandon_upgrade, commit_upgrade, rollback, stage_upgrade};
