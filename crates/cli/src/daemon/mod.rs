//! The daemon as its clients see it: found by its socket in the home, asked over HTTP, never waited for without a limit.
//!
//! What a command asks of a daemon is what it would ask of a host of its own, and what comes back has the same types, so that
//! both ways print the same. Start reading at [`Daemon::find`].

mod client;

use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use ringfence::hooks::{HookInfo, HookOptions, HookOutcome, Payload};
use ringfence::host::EventReport;
use ringfence::lifecycle::LogLine;
use ringfence::plugin::{CallOptions, PluginSummary};
use ringfence::{Error, Home};
use ringfence_api::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use client::{Client, segment};

/// How long the daemon may take to say who it is.
const HELLO_WAIT: Duration = Duration::from_secs(5);
/// A question about what is there.
const LOOK_WAIT: Duration = Duration::from_secs(60);
/// A step of a plugin's life: its start and its end have limits of their own, which are told first.
const STEP_WAIT: Duration = Duration::from_secs(15 * 60);
/// A call, hook or message without a limit of the caller's: the plugin's and the host's own limits are told first.
const WORK_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// What an answer may take beside the work that it is about.
const SLACK: Duration = Duration::from_secs(60);

/// A daemon that holds the home.
#[derive(Debug)]
pub(crate) struct Daemon {
    client: Client,
    /// It took the connection, and said nothing for too long.
    silent: bool,
}

/// An address that opens the dashboard once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DashboardLink {
    /// The whole address.
    pub(crate) url: String,
    /// For how many seconds it can be used.
    pub(crate) expires_in_s: u64,
}

#[derive(Debug, Deserialize)]
struct Health {
    version: Option<String>,
}

#[derive(Serialize)]
struct CallRequest<'a> {
    tool: &'a str,
    arguments: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
struct CallAnswer {
    result: Box<RawValue>,
}

#[derive(Serialize)]
struct HookRequest<'a> {
    body: &'a Value,
    metadata: &'a serde_json::Map<String, Value>,
    dry_run: bool,
    trace: bool,
    wait: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

#[derive(Serialize)]
struct EventRequest<'a> {
    topic: &'a str,
    payload: &'a Value,
    wait: bool,
}

impl Daemon {
    /// The daemon of this home; `None` when nobody listens on its socket.
    ///
    /// # Errors
    /// `permission_denied` when the socket belongs to another user; `not_supported` when the daemon is of another version: what
    /// it stores and what this program stores may differ.
    pub(crate) async fn find(home: &Home) -> Result<Option<Self>, Error> {
        let Some(client) = Client::connect(socket(home)).await? else { return Ok(None) };
        let mut daemon = Self { client, silent: false };
        match daemon.look::<Health>("/health", HELLO_WAIT).await {
            Ok(Health { version: Some(version) }) if version == env!("CARGO_PKG_VERSION") => Ok(Some(daemon)),
            Ok(Health { version }) => Err(skew(version.as_deref())),
            // A home can be administered although its daemon hangs.
            Err(error) if error.code() == ErrorCode::Timeout => {
                daemon.silent = true;
                Ok(Some(daemon))
            }
            Err(error) => Err(error),
        }
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// As the host's own call; `io` when the daemon goes away.
    pub(crate) async fn call(
        &self,
        name: &str,
        tool: &str,
        arguments: &RawValue,
        options: &CallOptions,
    ) -> Result<Box<RawValue>, Error> {
        let timeout_ms = options.timeout.map(milliseconds);
        let wait = options.timeout.map_or(WORK_WAIT, |timeout| timeout.saturating_add(SLACK));
        let request = CallRequest { tool, arguments, timeout_ms };
        let path = format!("/plugins/{}/call", segment(name));
        let answer: CallAnswer = self.act(&path, &request, wait).await?;
        Ok(answer.result)
    }

    /// Passes an event through the plugins.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn hook(
        &self,
        event: &str,
        payload: &Payload,
        options: &HookOptions,
    ) -> Result<HookOutcome, Error> {
        let request = HookRequest {
            body: &payload.body,
            metadata: &payload.metadata,
            dry_run: options.dry_run,
            trace: options.changes,
            wait: options.wait_for_observers,
            timeout_ms: options.budget.map(milliseconds),
        };
        self.act(&format!("/hooks/{}", segment(event)), &request, WORK_WAIT).await
    }

    /// Who takes part in which event.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn hooks(&self) -> Result<Vec<HookInfo>, Error> {
        self.look("/hooks", LOOK_WAIT).await
    }

    /// Sends a message and waits for its receivers.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn post_event(&self, topic: &str, payload: &Value) -> Result<EventReport, Error> {
        self.act("/events", &EventRequest { topic, payload, wait: true }, WORK_WAIT).await
    }

    /// Starts a plugin and keeps it active.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn activate(&self, name: &str) -> Result<PluginSummary, Error> {
        self.act(&format!("/plugins/{}/activate", segment(name)), &Value::Null, STEP_WAIT).await
    }

    /// Stops a plugin.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn deactivate(&self, name: &str) -> Result<PluginSummary, Error> {
        self.act(&format!("/plugins/{}/deactivate", segment(name)), &Value::Null, STEP_WAIT).await
    }

    /// Removes a plugin.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn uninstall(&self, name: &str, keep_data: bool) -> Result<(), Error> {
        let path = format!("/plugins/{}?keep_data={keep_data}", segment(name));
        self.client.ask(Method::DELETE, &path, None, STEP_WAIT).await.map(drop)
    }

    /// Whether it hangs, and answers nothing.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// What is installed.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn list(&self) -> Result<Vec<PluginSummary>, Error> {
        self.look("/plugins", LOOK_WAIT).await
    }

    /// Everything about a plugin, as the document that it is.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn show(&self, name: &str) -> Result<Value, Error> {
        self.look(&format!("/plugins/{}", segment(name)), LOOK_WAIT).await
    }

    /// The last lines of a plugin's log.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn logs(&self, name: &str, lines: usize) -> Result<Vec<LogLine>, Error> {
        self.look(&format!("/plugins/{}/logs?lines={lines}", segment(name)), LOOK_WAIT).await
    }

    /// What a plugin has used lately, as the document that it is.
    ///
    /// # Errors
    /// As the host's own.
    pub(crate) async fn resources(&self, name: &str) -> Result<Value, Error> {
        self.look(&format!("/plugins/{}/resources", segment(name)), LOOK_WAIT).await
    }

    /// Has the daemon make an address that opens its dashboard once.
    ///
    /// # Errors
    /// `not_supported` when it listens on its socket alone.
    pub(crate) async fn dashboard_link(&self) -> Result<DashboardLink, Error> {
        self.act("/dashboard/links", &Value::Null, LOOK_WAIT).await
    }

    async fn look<T: serde::de::DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<T, Error> {
        self.ask(Method::GET, path, None, wait).await
    }

    async fn act<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        wait: Duration,
    ) -> Result<T, Error> {
        let body = serde_json::to_string(body).map_err(|cause| {
            Error::new(ErrorCode::Internal, "cannot write the request").with_source(cause)
        })?;
        let body = Some(body).filter(|body| body != "null");
        self.ask(Method::POST, path, body, wait).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        wait: Duration,
    ) -> Result<T, Error> {
        if self.silent {
            return Err(client::silent(HELLO_WAIT));
        }
        let answer = self.client.ask(method, path, body, wait).await?;
        serde_json::from_slice(&answer).map_err(|cause| {
            Error::new(ErrorCode::Internal, "the daemon's answer is not understood").with_source(cause)
        })
    }
}

/// Where a daemon of this home listens.
pub(crate) fn socket(home: &Home) -> PathBuf {
    home.daemon_socket()
}

/// What is said where only a daemon can help.
pub(crate) fn needed(what: &str) -> Error {
    Error::new(ErrorCode::NotSupported, format!("{what} needs the daemon, and none holds this home"))
        .with_hint("start it: ringfence serve --background")
}

fn skew(version: Option<&str>) -> Error {
    let own = env!("CARGO_PKG_VERSION");
    let message = match version {
        Some(version) => {
            let version = crate::text::one_line(version);
            format!("the daemon that holds the home is version {version}, and this command is {own}")
        }
        None => {
            format!("what listens on the daemon's socket does not say its version; this command is {own}")
        }
    };
    Error::new(ErrorCode::NotSupported, message).with_hint(
        "stop the daemon (its process is in daemon.lock of the home) and start this version: ringfence serve",
    )
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
