//! Plugins through the library: install, consent, activate, call, watch, revoke, upgrade, uninstall.

mod data;
mod dialects;
mod faults;
mod grants;
mod life;
mod rig;
mod upgrades;
