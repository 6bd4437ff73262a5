//! An OpenAI-compatible reverse proxy whose requests and responses pass through plugins: an example of an application that
//! embeds `ringfence`.
//!
//! Start reading at [`Gateway::router`]; everything about plugins is in `pipeline.rs`, and is less than a page.

mod gateway;
mod pipeline;
mod reply;
mod samples;
mod stream;
mod upstream;

pub use gateway::Gateway;
pub use samples::install as install_samples;
pub use upstream::{Upstream, UpstreamError};
