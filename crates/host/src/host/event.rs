//! Messages: one-way, to every plugin that is granted the topic.

use std::sync::Arc;
use std::time::Duration;

use ringfence_api::rpc::{RpcErrorCode, method};
use ringfence_api::{ErrorCode, PluginName};
use ringfence_policy::Name;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Host;
use crate::Error;
use crate::hooks::{
    DEPTH_MAX, Handler, HookOptions, Job, Message, ON_PLUGIN_MESSAGE, Payload, Picture, post_request,
};
use crate::rpc::{CallError, CallMeta};
use crate::store::{Outcome, Owner};

/// How long a delivery waits for room in the audit trail before it counts as failed.
const AUDIT_WAIT: Duration = Duration::from_secs(2);
/// Plugins that one message reaches at most, by name.
pub const RECEIVERS_MAX: usize = 64;

/// How a message is sent.
///
/// ```
/// assert!(!ringfence::host::EventOptions::default().wait);
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventOptions {
    /// Ties the records of one piece of work together. Default: a new one.
    pub correlation_id: Option<String>,
    /// Waits until each receiver has answered or failed. Default: false: the message is only enqueued.
    pub wait: bool,
}

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventReport {
    /// The topic.
    pub topic: String,
    /// Who gets it, by name.
    pub receivers: Vec<Receiver>,
    /// Whether more plugins are granted the topic than one message reaches ([`RECEIVERS_MAX`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// One receiver of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "EventReceiver"))]
pub struct Receiver {
    /// The plugin.
    pub plugin: PluginName,
    /// What came of it.
    pub outcome: ReceiverOutcome,
    /// Why, where there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of a message for one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReceiverOutcome {
    /// It waits in the plugin's queue.
    Queued,
    /// The plugin has answered.
    Delivered,
    /// It was dropped, or the plugin failed.
    Failed,
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Posting<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: Value,
    /// The plugin that sends it; `None` is the application.
    pub(crate) source: Option<&'a PluginName>,
    pub(crate) correlation_id: Arc<str>,
    /// How deep it is nested.
    pub(crate) depth: u32,
    pub(crate) wait: bool,
}

impl Host {
    /// Sends a message to every active plugin that is granted its topic (`event:post=TOPIC` opens a topic both ways). Each
    /// gets it in its `handle_event`, one after another, and is started if it does not run.
    ///
    /// # Errors
    /// `usage` for what cannot be a topic; `io`, `busy` of the store.
    ///
    /// # Cancel safety
    /// Dropped, it is enqueued for all receivers or for none.
    pub async fn post_event(
        &self,
        topic: &str,
        payload: Value,
        options: &EventOptions,
    ) -> Result<EventReport, Error> {
        let correlation_id: Arc<str> = match &options.correlation_id {
            Some(id) => id.as_str().into(),
            None => self.correlation_id(),
        };
        let depth = self.context().hooks.depths.of(&correlation_id) + 1;
        let posting = Posting { topic, payload, source: None, correlation_id, depth, wait: options.wait };
        self.post(posting).await
    }

    /// The same for a plugin too: guards and mutators of `onPluginMessage` see its messages first.
    ///
    /// # Errors
    /// As [`Host::post_event`]; `permission_denied` when a guard blocks it; `busy` when it is nested too deep.
    pub(crate) async fn post(&self, mut posting: Posting<'_>) -> Result<EventReport, Error> {
        let topic = topic_name(posting.topic)?;
        if posting.depth > DEPTH_MAX {
            let shown = crate::consent::shown(posting.topic);
            let message = format!("a message on {shown} is nested in {DEPTH_MAX} events that caused it");
            return Err(Error::new(ErrorCode::Busy, message)
                .with_hint("plugins answer each other's messages without end: deactivate one of them"));
        }
        let picture = self.context().hooks.picture(self.context()).await?;
        let mut heard = Vec::new();
        if let Some(source) = posting.source {
            heard = self.pass_message(&picture, source.clone(), &topic, &mut posting).await?;
        }
        let mut receivers: Vec<Owner> = picture
            .listeners
            .iter()
            .filter(|listener| !listener.held && listener.may_hear(&topic))
            .filter(|listener| Some(&listener.plugin) != posting.source && !heard.contains(&listener.plugin))
            .map(|listener| listener.owner.clone())
            .collect();
        receivers.sort_by(|a, b| a.name().cmp(b.name()));
        let truncated = receivers.len() > RECEIVERS_MAX;
        receivers.truncate(RECEIVERS_MAX);
        let receivers = self.enqueue(&posting, receivers)?;
        let mut report = EventReport { topic: posting.topic.to_owned(), receivers: Vec::new(), truncated };
        for (mut receiver, answer) in receivers {
            if let Some(answer) = answer {
                let failure = answer
                    .await
                    .map_or_else(|_| Some("the host is shutting down".to_owned()), |told| told.failure);
                receiver.outcome =
                    if failure.is_some() { ReceiverOutcome::Failed } else { ReceiverOutcome::Delivered };
                receiver.reason = failure;
            }
            report.receivers.push(receiver);
        }
        Ok(report)
    }

    /// Passes a plugin's message through `onPluginMessage`, for those alone who are granted its topic. Gives the plugins that
    /// have it from there.
    async fn pass_message(
        &self,
        picture: &Picture,
        source: PluginName,
        topic: &Name,
        posting: &mut Posting<'_>,
    ) -> Result<Vec<PluginName>, Error> {
        let Some(chain) = picture.chain(ON_PLUGIN_MESSAGE) else { return Ok(Vec::new()) };
        let hears = |plugin: &PluginName| {
            *plugin != source
                && picture.listeners.iter().any(|known| known.plugin == *plugin && known.may_hear(topic))
        };
        let takes_part = |handler: &Handler| hears(&handler.plugin);
        let payload = std::mem::take(&mut posting.payload);
        let body = json!({"topic": posting.topic, "payload": payload, "source": source.as_str()});
        let options = HookOptions {
            correlation_id: Some(posting.correlation_id.to_string()),
            wait_for_observers: posting.wait,
            ..HookOptions::default()
        };
        let passed =
            self.pass(ON_PLUGIN_MESSAGE, Payload::new(body), &options, Some(chain), &takes_part).await?;
        if passed.is_blocked() {
            let by = passed.by.map_or_else(|| "a guard".to_owned(), |by| by.to_string());
            let reason = passed.reason.unwrap_or_default();
            return Err(Error::new(
                ErrorCode::PermissionDenied,
                format!("{by} blocked the message: {reason}"),
            ));
        }
        let mut body = passed.body;
        posting.payload = body.get_mut("payload").map(Value::take).unwrap_or_default();
        let observers = chain.observers.iter().filter(|handler| takes_part(handler));
        Ok(observers.map(|handler| handler.plugin.clone()).collect())
    }

    fn enqueue(
        &self,
        posting: &Posting<'_>,
        receivers: Vec<Owner>,
    ) -> Result<Vec<(Receiver, Option<crate::hooks::Answer>)>, Error> {
        let source = posting.source.map(PluginName::as_str);
        let params = json!({"topic": posting.topic, "payload": posting.payload, "source": source});
        let params: Arc<RawValue> = serde_json::value::to_raw_value(&params)
            .map_err(|error| Error::new(ErrorCode::Usage, "the payload is no JSON").with_source(error))?
            .into();
        let topic: Arc<str> = posting.topic.into();
        let send = |owner: Owner| {
            let plugin = owner.name().clone();
            let message = Message {
                owner,
                topic: Arc::clone(&topic),
                params: Arc::clone(&params),
                correlation_id: Arc::clone(&posting.correlation_id),
                depth: posting.depth,
            };
            let sent = self.mailboxes().send(self, &plugin, Job::Message(message), posting.wait);
            let (outcome, answer, reason) = match sent {
                Ok(answer) => (ReceiverOutcome::Queued, answer, None),
                Err(reason) => (ReceiverOutcome::Failed, None, Some(reason)),
            };
            (Receiver { plugin, outcome, reason }, answer)
        };
        Ok(receivers.into_iter().map(send).collect())
    }

    /// Delivers a message, for the plugin's mailbox.
    ///
    /// # Errors
    /// What went wrong, as a sentence.
    pub(crate) async fn deliver_message(&self, plugin: &PluginName, message: &Message) -> Result<(), String> {
        let shown = |error: Error| crate::consent::shown(error.message());
        let instance = self.instance_for_hook(plugin).await.map_err(shown)?;
        let target = &instance.target;
        let topic = Name::new(&*message.topic).map_err(|error| error.to_string())?;
        if target.owner != message.owner || !target.rules.decide(&post_request(topic)).is_allowed() {
            return Err("it is not granted the topic any more".to_owned());
        }
        let meter = self.context().store.calls(&target.owner, method::HANDLE_EVENT);
        let begun = meter.act(&message.topic, &message.correlation_id, AUDIT_WAIT, Outcome::Cancelled);
        let mut record = begun.await.map_err(shown)?;
        let deadline = record.begun + target.limits.hook_timeout;
        let meta = CallMeta { correlation_id: &message.correlation_id, deadline };
        let answered = instance.connection.request(method::HANDLE_EVENT, &message.params, meta).await;
        record.outcome = super::outcome(&answered);
        match answered {
            Ok(_) => Ok(()),
            // It posts, and hears nothing.
            Err(CallError::Plugin(error)) if error.known() == Some(RpcErrorCode::MethodNotFound) => Ok(()),
            Err(CallError::Plugin(error)) => {
                Err(crate::consent::shown(&instance.target.log.redacted(&error.message)))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// # Errors
/// `usage` for what cannot be a topic.
fn topic_name(topic: &str) -> Result<Name, Error> {
    let refused = |why: String| {
        let shown = crate::consent::shown(topic);
        Error::new(ErrorCode::Usage, format!("'{shown}' cannot be a topic: {why}"))
            .with_hint("a topic is a name such as note.saved")
    };
    if !crate::hooks::is_event_name(topic) {
        return Err(refused("1 to 128 letters, digits, '_', '.', ':' and '-'".to_owned()));
    }
    Name::new(topic).map_err(|error| refused(error.to_string()))
}
