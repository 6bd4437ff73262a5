//! Plugins through the library: install, consent, activate, call, watch, revoke, upgrade, uninstall.

mod life;
mod rig;
