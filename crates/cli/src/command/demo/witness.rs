//! A plugin that is called all the time while others misbehave: what they do must not be noticed here.

use std::time::{Duration, Instant};

use ringfence::Host;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::life::TEXT;

/// Between two calls.
const PAUSE: Duration = Duration::from_millis(20);
/// One call that waits longer than this has been disturbed, on the slowest of machines.
const LONGEST: Duration = Duration::from_secs(5);

/// What came of the calls.
#[derive(Debug, Default, Serialize)]
pub(super) struct Testimony {
    /// How many there were.
    pub(super) calls: u64,
    /// How many were not answered as they should.
    pub(super) failed: u64,
    /// The longest wait, in milliseconds.
    pub(super) slowest_ms: u64,
    /// Whether it noticed nothing.
    pub(super) held: bool,
}

/// The calls, going on until they are ended.
pub(super) struct Witness {
    stop: oneshot::Sender<()>,
    calls: JoinHandle<Testimony>,
}

impl Witness {
    /// Begins to call.
    pub(super) fn begin(host: Host) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, calls: tokio::spawn(calls(host, stopped)) }
    }

    /// Ends the calls.
    pub(super) async fn end(self) -> Testimony {
        // A task that has ended already has nothing to say, and that is no good testimony.
        let _ended = self.stop.send(());
        self.calls.await.unwrap_or_default()
    }
}

async fn calls(host: Host, mut stopped: oneshot::Receiver<()>) -> Testimony {
    let mut seen = Testimony::default();
    while stopped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty) {
        let begun = Instant::now();
        let answer = host.call("checksum", "checksum", json!({ "text": TEXT })).await;
        let took = begun.elapsed();
        let right = answer.is_ok_and(|answer| answer.get("bytes") == Some(&json!(TEXT.len())));
        seen.calls += 1;
        seen.failed += u64::from(!right || took > LONGEST);
        seen.slowest_ms = seen.slowest_ms.max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        tokio::time::sleep(PAUSE).await;
    }
    seen.held = seen.failed == 0 && seen.calls > 0;
    seen
}
