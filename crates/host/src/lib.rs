//! Ringfence as a library: run other people's code under one permission model.
//!
//! A [`Host`] works on one [`Home`]: it installs plugins, records what a person consents to, starts each plugin in a sandbox
//! of its own, calls its tools, watches it crash or hang without anyone else noticing, and takes grants back at once.
//! [`exec`] runs a single command in the same sandbox, without a store and without an async runtime. Every failure is one
//! [`Error`] with a stable code.
//!
//! This crate deliberately knows no terminal, no command line and no web server.
//!
//! # A plugin from end to end
//!
//! ```
//! # // A machine without Python or without user namespaces cannot run this; its tests say so elsewhere.
//! # if !std::path::Path::new("/usr/bin/python3").exists() { return Ok(()) }
//! use ringfence::plugin::{Consent, KeepData};
//! use ringfence::{Home, Host};
//! use serde_json::json;
//!
//! # let dir = tempfile::tempdir()?;
//! # let package = dir.path().join("greeter");
//! # std::fs::create_dir(&package)?;
//! // A package is a directory with a manifest and some code.
//! std::fs::write(
//!     package.join("plugin.yaml"),
//!     "name: greeter\nversion: 1.0.0\nruntime: python\nentry_point: greeter.py\ntools: [{name: greet}]\n\
//!      permissions: ['env:read=LANG']\n",
//! )?;
//! std::fs::write(package.join("greeter.py"), "def greet(arguments):\n    return 'hello ' + arguments['name']\n")?;
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let host = Host::builder().home(Home::at(dir.path().join("home"))).build().await?;
//! host.install(&package, Consent::Absent).await?;              // nothing runs, nothing is granted
//! println!("{}", host.consent_request("greeter").await?);      // what a person is asked
//! host.consent("greeter", Consent::Only(Vec::new())).await?;   // less than it asks for: nothing
//! host.activate("greeter").await?;
//! let answer = host.call("greeter", "greet", json!({"name": "Ada"})).await?;
//! assert_eq!(answer, "hello Ada");
//! host.uninstall("greeter", KeepData::No).await?;
//! host.shutdown().await;
//! # Ok::<(), ringfence::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod archive;
pub mod attention;
pub mod audit;
pub mod check;
pub mod config;
pub mod consent;
pub mod database;
pub mod dev;
pub mod doctor;
pub mod enforcement;
pub mod error;
pub mod event;
pub mod exec;
pub mod home;
pub mod hooks;
pub mod host;
pub mod lifecycle;
pub mod manifest;
pub mod metrics;
pub mod once;
pub mod plugin;
pub mod policy;
pub mod rpc;
pub mod runtime;
pub mod scan;
pub mod schema;
pub mod service;
pub mod token;
pub mod units;

#[cfg(test)]
#[cfg(feature = "schema")]
mod answer_schema_tests;
mod clock;
mod lock;
mod near;
mod package;
mod pin;
mod private_file;
mod store;

/// The page for applications: its examples compile, as those of this crate do.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct Embedding;

pub use ringfence_sandbox::{resident, stream};

pub use config::Config;
pub use error::{Error, ErrorKind};
pub use home::Home;
pub use host::{Host, HostBuilder};
