//! A host over HTTP: what an administrator, an application in another language and an AI client may do with it.
//!
//! [`Server`] puts a [`Host`](ringfence::Host) behind loopback addresses, a Unix socket or TLS. One table names every route
//! with the role that it takes and the bodies that it has; the router and the OpenAPI document are both made from it.
//!
//! This crate knows no SQL, no sandbox plan, no command line and no terminal.

pub mod api;
pub mod listen;
pub mod mcp;
pub mod server;

mod caller;
mod dashboard;
mod impatient;
mod time;
mod tls;

pub use caller::Caller;
pub use listen::Listen;
pub use server::{Server, ServerOptions};
