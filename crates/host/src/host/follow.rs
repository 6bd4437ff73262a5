//! After a change is durable: what runs of the plugin follows it, in this process and in every other one, before the change
//! is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_api::{ErrorCode, PluginName};

use super::Host;
use crate::Error;
use crate::lock::Retired;

/// How long a change waits for what was started before it. Longer than an orderly stop takes.
const OTHERS_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether they are gone.
const TRY_EVERY: Duration = Duration::from_millis(5);

/// Whether a change waits for other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Until nothing of them runs as it was before.
    Awaited,
    /// They follow when it suits them: nothing was taken away.
    Told,
}

impl Host {
    /// What runs of the plugin follows a change that is on the disk.
    ///
    /// # Errors
    /// `busy` when another process does not follow in [`OTHERS_WAIT`]; what a start says, when one was needed here.
    pub(super) async fn follow(&self, name: &PluginName, others: Others) -> Result<(), Error> {
        let retired = self.retire(name).await;
        let own = match self.known_supervisor(name.as_str()) {
            Some(supervisor) => supervisor.follow().await,
            None => Ok(()),
        };
        match others {
            Others::Awaited => self.outlive(name, retired?).await?,
            Others::Told => drop(retired?),
        }
        own
    }

    /// What starts from now on starts by what is stored now; what runs here and may not go on is killed already. To be
    /// waited for is what is given back.
    pub(super) async fn retire(&self, name: &PluginName) -> Result<Retired, Error> {
        let (context, name) = (Arc::clone(self.context()), name.clone());
        let store = context.store.clone();
        store
            .run(move |_| {
                let retired = context.run_locks.retire(&name);
                context.watch.look(&context, Some(&name));
                retired
            })
            .await
    }

    /// Waits until nothing runs any more that was started before the change.
    ///
    /// # Errors
    /// `busy` when something still does after [`OTHERS_WAIT`], naming the process.
    pub(super) async fn outlive(&self, name: &PluginName, mut retired: Retired) -> Result<(), Error> {
        let end = Instant::now() + OTHERS_WAIT;
        while !retired.is_over()? {
            if Instant::now() >= end {
                let message = format!(
                    "the change is made and stays, but {name} still runs as it was before: {} has not followed in {} s",
                    retired.holders(),
                    OTHERS_WAIT.as_secs()
                );
                return Err(Error::new(ErrorCode::Busy, message).with_hint(
                    "nothing has to be repeated: it follows as soon as that process goes on; end the process if it does not",
                ));
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        Ok(())
    }
}
