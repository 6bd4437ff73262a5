//! The plugin protocol over two pipes: requests with deadlines out, answers back in any order, and the other way round.
//!
//! [`Connection`] is the host's end. It knows lines, ids, deadlines and limits; it does not know what a method means, starts
//! no process and decides nothing: that is its owner's. [`Service`] answers what the plugin asks. [`codec`] is the part
//! without input and output. `docs/protocol.md` describes the protocol for those who write plugins.
//!
//! This is the low level, for programs that run plugins in a way of their own. Most use [`Host`](crate), which starts
//! plugins in a sandbox, checks each permission and restarts what fails.
//!
//! Whatever a plugin does, what it costs the host is bounded: a line (4 MiB), what waits to be written (twice that), calls in
//! flight and waiting, requests being served, waiting and a second, bad lines and notifications
//! a second. Beyond these the host does
//! not read, so the plugin waits for itself. Nothing here blocks the thread that it runs on.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, Instant};
//!
//! use ringfence::rpc::{CallMeta, Connection, NoService, Options};
//! use serde_json::value::RawValue;
//!
//! # fn main() -> std::io::Result<()> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! // The plugin's ends of the pipes would be its stdin and stdout; here another task plays the plugin.
//! let (stdin, to_plugin) = std::io::pipe()?;
//! let (from_plugin, stdout) = std::io::pipe()?;
//! let plugin = std::thread::spawn(move || {
//!     use std::io::{BufRead as _, Write as _};
//!     let mut line = String::new();
//!     std::io::BufReader::new(stdin).read_line(&mut line)?;
//!     let request: serde_json::Value = serde_json::from_str(&line)?;
//!     writeln!(&stdout, "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":\"pong\"}}", request["id"])
//! });
//!
//! let (connection, driver) =
//!     Connection::open(to_plugin.into(), from_plugin.into(), Options::default(), Arc::new(NoService))?;
//! let driver = tokio::spawn(driver);
//! let meta = CallMeta { correlation_id: "c1", deadline: Instant::now() + Duration::from_secs(5) };
//! let answer = connection.request("ping", RawValue::NULL, meta).await;
//! assert_eq!(answer.ok().map(|result| result.get().to_owned()).as_deref(), Some("\"pong\""));
//!
//! drop(connection);
//! let closed = driver.await.map_err(std::io::Error::other)?;
//! assert_eq!(closed.counters.answers, 1);
//! # drop(plugin.join());
//! # Ok(())
//! # })
//! # }
//! ```

mod allowance;
mod connection;
mod driver;
mod error;
mod fault;
mod inbox;
mod output;
mod service;
mod serving;
mod shared;
mod table;

pub mod codec;

#[cfg(test)]
mod tests;

use std::time::Duration;

use ringfence_api::Wire;
use ringfence_api::rpc::MESSAGE_MAX_BYTES;

pub use connection::{CallMeta, Connection};
pub use driver::{CloseReason, Closed};
pub use error::{CallError, RpcError};
pub use fault::{Counters, Fault, FaultKind};
pub use service::{IncomingNotification, IncomingRequest, NoService, Reply, Service};
pub use table::Calls;

/// Most calls in flight at once that [`Options::in_flight_max`] can ask for.
pub const IN_FLIGHT_MAX: usize = 65_536;

/// The limits of a connection, and the form of its messages.
///
/// ```
/// use ringfence::rpc::Options;
///
/// let options = Options { in_flight_max: 8, ..Options::default() };
/// assert_eq!((options.message_max_bytes, options.queued_max), (4 * 1024 * 1024, 1_000));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// The form of the messages. Default: JSON-RPC 2.0.
    pub wire: Wire,
    /// The longest line in either direction, its end included. Default: 4 MiB.
    pub message_max_bytes: usize,
    /// How many calls the plugin has at once; 1 to [`IN_FLIGHT_MAX`]. Default: 64. `initialize`, `ping`, `config_changed` and
    /// `shutdown` do not count, so that a plugin that is busy can still be asked whether it lives.
    pub in_flight_max: usize,
    /// How many more calls wait for their turn before callers are told `Busy`. Default: 1,000.
    pub queued_max: usize,
    /// How many requests of the plugin are served at once. Default: 16.
    pub serving_max: usize,
    /// How many more requests of the plugin wait before no more is read. Default: 256.
    pub serving_queued_max: usize,
    /// How long a request of the plugin may take if it names no shorter time. Default: 30 s.
    pub service_timeout: Duration,
    /// How many notifications and bad lines a second are read; a second's worth may come at once. Default: 2,000.
    pub notifications_per_second: u32,
    /// How many requests of the plugin are read in a second; a second's worth may come at once. Default: 5,000.
    pub requests_per_second: u32,
    /// What the correlation ids of requests that the plugin begins by itself start with. Default: `plugin`.
    pub correlation_prefix: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wire: Wire::JsonRpc,
            message_max_bytes: MESSAGE_MAX_BYTES,
            in_flight_max: 64,
            queued_max: 1_000,
            serving_max: 16,
            serving_queued_max: 256,
            service_timeout: Duration::from_secs(30),
            notifications_per_second: 2_000,
            requests_per_second: 5_000,
            correlation_prefix: "plugin".to_owned(),
        }
    }
}
