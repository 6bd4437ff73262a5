//! Ringfence as a library: run other people's code under one permission model.
//!
//! What is here today is the executor: [`exec`] runs one command in a sandbox, with limits, live output,
//! redaction and a stored record of every run. [`Home`] says where the state lives, [`Config`] holds the
//! administrator's defaults, and every failure is one [`Error`] with a stable code.
//!
//! This crate deliberately knows no terminal, no command line and no web server, and the executor needs no
//! async runtime and no database: a short command pays only for what it uses.
//!
//! ```
//! use ringfence::exec::{Facts, Stop, Wait, classify};
//!
//! // A run that Ringfence stopped because it was too slow ...
//! let facts = Facts { stopped_by: Some(Stop::Timeout), ..Facts::new(Wait::Signaled(15)) };
//! let ending = classify(&facts);
//! // ... is a proven violation, whatever the command did with the signal.
//! assert_eq!(ending.violation, Some(ringfence_api::Violation::Timeout));
//! ```

pub mod check;
pub mod config;
pub mod consent;
pub mod dev;
pub mod doctor;
pub mod error;
pub mod event;
pub mod exec;
pub mod home;
pub mod host;
pub mod lifecycle;
pub mod manifest;
pub mod plugin;
pub mod rpc;
pub mod runtime;
pub mod schema;
pub mod units;

mod lock;
mod near;
mod package;
mod private_file;
mod store;

pub use ringfence_sandbox::stream;

pub use config::Config;
pub use error::{Error, ErrorKind};
pub use home::Home;
pub use host::{Host, HostBuilder};
