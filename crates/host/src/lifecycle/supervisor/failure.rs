//! What follows from a failure: it is recorded, and the plugin is tried again after a wait, or never.
//!
//! It fails closed. As long as the store does not take a failure, nothing of the plugin is started: it might be the one after
//! which it must not be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_api::{ErrorCode, Violation};

use super::super::ending::Exit;
use super::super::restart::{CRASHES_MAX, backoff};
use super::super::state::Move;
use super::super::target::{Occasion, Target};
use super::{Owner, Phase};
use crate::Error;
use crate::event::EventKind;

/// A plugin has failed, and this is to be recorded.
pub(super) struct Failure {
    target: Arc<Target>,
    pub(super) by: Move,
    reason: String,
    /// Whether it is not to be tried again, however seldom it failed.
    hopeless: bool,
    /// Whether it is started again by itself.
    pub(super) again: bool,
    /// How many crashes count, once this one is recorded.
    crashes: Option<u64>,
    /// How often the store did not take it.
    tries: u32,
}

impl Owner {
    pub(super) fn not_recorded(&self) -> Error {
        let message = format!("{} has failed, and that could not be recorded", self.name);
        Error::new(ErrorCode::Io, message)
            .with_hint("check the disk of the home; it is not started until its failure is recorded")
    }

    /// Records a failure; then it is tried again after a wait, or never.
    pub(super) async fn count_failure(
        &mut self,
        target: &Arc<Target>,
        by: Move,
        reason: String,
        hopeless: bool,
    ) {
        let again = by == Move::Crash || self.attempt > 0;
        let target = Arc::clone(target);
        self.unrecorded = Some(Failure { target, by, reason, hopeless, again, crashes: None, tries: 0 });
        self.record_what_is_due().await;
    }

    /// A crash that comes to light only as it is stopped. It counts like any other, and may be the one too many; nothing is tried
    /// again, and its state is that of whoever stopped it.
    pub(super) async fn count_late(&self, target: &Arc<Target>, exit: &Exit) {
        let mut failure = Failure {
            target: Arc::clone(target),
            by: Move::Deactivate,
            reason: exit.reason(),
            hopeless: exit.violation == Some(Violation::Protocol),
            again: false,
            crashes: None,
            tries: 0,
        };
        if let Err(error) = self.count(&mut failure).await {
            tracing::error!(plugin = %self.name, error = %error.chain(), "a crash could not be recorded");
        }
    }

    /// Fails closed: what the store does not take is tried again after a wait, and nothing is started before.
    pub(super) async fn record_what_is_due(&mut self) {
        let Some(mut failure) = self.unrecorded.take() else { return };
        match self.record(&mut failure).await {
            Ok(true) if failure.again => self.try_later(),
            Ok(_) => {
                self.phase.send_replace(Phase::Stopped);
            }
            Err(error) => {
                tracing::error!(plugin = %self.name, error = %error.chain(), "a failure could not be recorded");
                // Whoever asks meanwhile makes another try, and the wait no longer.
                if self.restart_at.is_none_or(|at| at <= Instant::now()) {
                    self.wait(backoff(failure.tries, self.context.random()));
                    failure.tries = failure.tries.saturating_add(1);
                }
                self.unrecorded = Some(failure);
            }
        }
    }

    /// Whether it may be tried again.
    async fn record(&self, failure: &mut Failure) -> Result<bool, Error> {
        if !self.count(failure).await? {
            return Ok(false);
        }
        let Failure { target, by, reason, .. } = failure;
        let told = (*by != Move::Deactivate).then_some(reason.as_str());
        self.context.try_move(&target.name, *by, told).await.map(|_| true)
    }

    /// Counts it. False when it was one too many: then the plugin is in quarantine.
    async fn count(&self, failure: &mut Failure) -> Result<bool, Error> {
        let Failure { target, reason, hopeless, crashes, .. } = failure;
        let count = match crashes {
            Some(count) => *count,
            None => *crashes.insert(self.context.record_crash(&target.name, reason).await?),
        };
        if !*hopeless && count <= CRASHES_MAX {
            return Ok(true);
        }
        let why = match hopeless {
            true => reason.clone(),
            false => format!("it crashed {count} times in ten minutes; the last time {reason}"),
        };
        self.context.quarantined(target, &why).await?;
        Ok(false)
    }

    fn try_later(&mut self) {
        let wait = backoff(self.attempt, self.context.random());
        self.attempt = self.attempt.saturating_add(1);
        self.wait(wait);
    }

    fn wait(&mut self, wait: Duration) {
        self.restart_at = Some(Instant::now() + wait);
        self.phase.send_replace(Phase::Waiting);
        let after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.context.events.tell(&self.name, EventKind::Restarting { after_ms });
    }

    /// A start that nobody waits for. One that failed is recorded and told; one that could not even be prepared is, too, and is
    /// tried again like a crash: what is in its way may go.
    pub(super) async fn start_again(&mut self) {
        let Err(error) = self.bring_up(Occasion::Calls).await else { return };
        let settled = self.restart_at.is_some() || !matches!(*self.phase.borrow(), Phase::Waiting);
        if settled || self.unrecorded.is_some() || error.code() == ErrorCode::Cancelled {
            return;
        }
        tracing::warn!(plugin = %self.name, error = %error.chain(), "a plugin could not be prepared for its restart");
        use ErrorCode::{ConsentRequired, NotActive, NotFound, Quarantined};
        if matches!(error.code(), ConsentRequired | NotActive | NotFound | Quarantined) {
            // A person decided so, and a person will start it.
            self.phase.send_replace(Phase::Stopped);
            return;
        }
        let reason = error.to_string();
        if let Err(error) = self.context.try_move(&self.name, Move::StartFailed, Some(&reason)).await {
            tracing::error!(plugin = %self.name, error = %error.chain(), "a plugin's state could not be recorded");
        }
        self.try_later();
    }
}
