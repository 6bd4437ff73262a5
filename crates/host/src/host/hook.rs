//! Events of the application's pipeline, passed through the plugins that take part.

use std::sync::Arc;
use std::time::Duration;

use ringfence_api::{ErrorCode, PluginName, PluginState};
use serde_json::json;

use super::Host;
use crate::Error;
use crate::hooks::{Chain, Handler, HookInfo, HookOptions, HookOutcome, Pass, Payload};
use crate::lifecycle::{Instance, consent_required, not_active, quarantined};

impl Host {
    /// Passes an event through the plugins that take part in it: mutators, guards, observers, each kind by priority. Plugins
    /// that do not run are started; one that fails harms none of the others. See [`hooks`](crate::hooks) for the rules.
    ///
    /// A body that is blocked comes back as an outcome, not as an error: a caller that gets an error must not let the event
    /// pass either.
    ///
    /// # Errors
    /// - `schema_violation`: the body breaks the schema of its [`HookPoint`](crate::hooks::HookPoint) before any plugin saw it.
    /// - `busy`: it is nested in [`DEPTH_MAX`](crate::hooks::DEPTH_MAX) others.
    /// - `usage`: the name cannot be that of an event.
    /// - `io`, `busy` of the store: nobody knows who takes part.
    ///
    /// # Cancel safety
    /// Dropped, the handler that is being asked is sent `$/cancel`, and those after it are not asked. None is asked twice.
    pub async fn hook(
        &self,
        event: &str,
        payload: Payload,
        options: &HookOptions,
    ) -> Result<HookOutcome, Error> {
        let hooks = &self.context().hooks;
        if hooks.concerns_nobody(event) && crate::hooks::is_event_name(event) {
            // Made once and not out of another one: it is some hundred bytes, and copying them is most of what this costs.
            let mut outcome = HookOutcome::unchanged(payload);
            outcome.dry_run = options.dry_run;
            return Ok(outcome);
        }
        // Apart, in its own place: the future of a pass is some kilobytes, which each event that concerns nobody would move.
        Box::pin(async {
            let picture = hooks.picture(self.context()).await?;
            self.pass(event, payload, options, picture.chain(event), &|_| true).await
        })
        .await
    }

    /// The same for those of the chain that take part this time.
    pub(super) async fn pass(
        &self,
        event: &str,
        payload: Payload,
        options: &HookOptions,
        chain: Option<&Arc<Chain>>,
        takes_part: &(dyn Fn(&Handler) -> bool + Sync),
    ) -> Result<HookOutcome, Error> {
        if !crate::hooks::is_event_name(event) {
            let shown = crate::consent::shown(event);
            return Err(Error::new(ErrorCode::Usage, format!("'{shown}' cannot be the name of an event"))
                .with_hint("1 to 128 letters, digits, '_', '.', ':' and '-'"));
        }
        let hooks = &self.context().hooks;
        let schema = hooks.point(event).and_then(|point| point.body_schema());
        super::judge(schema, &payload.body, &format!("the body of {event}"))?;
        let Some(chain) = chain else {
            return Ok(HookOutcome { dry_run: options.dry_run, ..HookOutcome::unchanged(payload) });
        };
        let correlation_id: Arc<str> = match &options.correlation_id {
            Some(id) => id.as_str().into(),
            None => self.correlation_id(),
        };
        // Where nobody is asked, nothing can be nested in this pass; a delivery counts itself when it is made.
        let entered = match chain.asked.is_empty() {
            true => None,
            false => Some(hooks.depths.enter(&correlation_id, 0, event)?),
        };
        let depth = match &entered {
            Some(entered) => entered.depth,
            None => hooks.depths.next(&correlation_id, event)?,
        };
        let pass = Pass { host: self, event, correlation_id: &correlation_id, depth, options };
        Ok(pass.run(chain, takes_part, payload).await)
    }

    /// Every handler that takes part in any event, in the order in which they are asked, with how it has done since this host
    /// was opened.
    ///
    /// # Errors
    /// `io`, `busy` of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn hooks(&self) -> Result<Vec<HookInfo>, Error> {
        let hooks = &self.context().hooks;
        let picture = hooks.picture(self.context()).await?;
        Ok(hooks.list(&picture))
    }

    /// Waits until every observer and every receiver of a message has got what was meant for it, at most this long. Gives
    /// whether they have.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn settle(&self, most: Duration) -> bool {
        self.mailboxes().settle(most).await
    }

    /// The running plugin of that name, started if it is active.
    pub(crate) async fn instance_for_hook(&self, name: &PluginName) -> Result<Arc<Instance>, Error> {
        if let Some(supervisor) = self.known_supervisor(name.as_str())
            && let Some(instance) = supervisor.up_to_date()
            && let Some(instance) = self.under_policy(&supervisor, instance).await?
        {
            return Ok(instance);
        }
        let row = self.row(name).await?;
        match row.state {
            PluginState::Active | PluginState::Errored => self.start_under_policy(name).await,
            PluginState::Quarantined => Err(quarantined(name, row.state_reason.as_deref())),
            PluginState::Installed | PluginState::Discovered => Err(consent_required(name)),
            PluginState::Inactive => Err(not_active(name)),
        }
    }

    /// Tells the plugins of something that is done to one of them. The plugin itself is waited for, if it is active and takes
    /// part; the others hear of it when they come to it. Whatever they say, it is done.
    pub(super) async fn tell_life(&self, event: &'static str, name: &PluginName, version: &str) {
        let hooks = &self.context().hooks;
        let picture = match hooks.picture(self.context()).await {
            Ok(picture) => picture,
            Err(error) => {
                tracing::warn!(plugin = %name, event, error = %error.chain(), "nobody was told");
                return;
            }
        };
        let Some(chain) = picture.chain(event) else { return };
        let body = json!({"plugin": name.as_str(), "version": version});
        let correlation_id = self.correlation_id();
        let (depth, options) = (1, HookOptions::default());
        let pass = Pass { host: self, event, correlation_id: &correlation_id, depth, options: &options };
        pass.announce(chain, name, Payload::new(body)).await;
    }
}
