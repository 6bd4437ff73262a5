//! Plugins through the library: install, consent, activate, call, watch, revoke, upgrade, uninstall.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests: a failure here is the failure of the test that called it"
)]

mod acting;
mod archives;
mod asker;
mod cycles;
mod daemon;
mod data;
mod databases;
mod defaults;
mod denials;
mod dev;
mod dialects;
mod ends;
mod failures;
mod faults;
mod fetch;
mod files;
mod grants;
mod hook_faults;
mod hooks;
mod life;
mod measure;
mod messages;
mod offers;
mod others;
mod own;
mod places;
mod policy;
mod programs;
mod rig;
mod scans;
mod tokens;
mod trail;
mod upgrades;
