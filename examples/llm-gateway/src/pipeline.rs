//! The events of the gateway. This is all that an application writes to let plugins in.

use ringfence::hooks::{HookOptions, HookOutcome, Payload};
use ringfence::{Error, Host};
use serde_json::{Map, Value};

/// One request on its way through the plugins.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    host: Host,
    /// The same for all events of one request, so that one search in the audit trail finds them.
    correlation_id: String,
}

impl Pipeline {
    pub(crate) fn new(host: Host, correlation_id: String) -> Self {
        Self { host, correlation_id }
    }

    /// Passes an event through. An error means that nobody knows whether a guard would have blocked it.
    pub(crate) async fn pass(
        &self,
        event: &str,
        body: Value,
        metadata: Map<String, Value>,
    ) -> Result<HookOutcome, Error> {
        let options =
            HookOptions { correlation_id: Some(self.correlation_id.clone()), ..HookOptions::default() };
        self.host.hook(event, Payload { body, metadata }, &options).await
    }

    /// Tells of something that cannot be changed any more.
    pub(crate) async fn tell(&self, event: &str, body: Value, metadata: Map<String, Value>) {
        if let Err(error) = self.pass(event, body, metadata).await {
            complain(&error);
        }
    }
}

/// What went wrong where nobody waits for it.
#[expect(clippy::print_stderr, reason = "the log of the gateway is its standard error")]
pub(crate) fn complain(error: &Error) {
    eprintln!("llm-gateway: {error}");
}
