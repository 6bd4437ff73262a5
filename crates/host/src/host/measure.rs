//! What is measured and listed: metrics, resources, activity, executions.

use std::collections::BTreeMap;
use std::time::Duration;

use ringfence_api::PluginState;

use super::{Host, plugin_name};
use crate::Error;
use crate::audit::{AuditFilter, AuditOrder, AuditPage};
use crate::clock::now_ms;
use crate::metrics::{AuditMetrics, ExecutionFilter, ExecutionPage, Metrics, PluginMetrics, ResourceSample};

/// How long what has just ended may take to be on the disk before it is listed.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

impl Host {
    /// What this host measures of itself and of each installed plugin. Reads the list of plugins and writes nothing, so it may
    /// be asked often.
    ///
    /// # Errors
    /// `io`, `busy` of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn metrics(&self) -> Result<Metrics, Error> {
        let store = self.context().store.clone();
        let (rows, (records, last_seq)) =
            store.run(|store| Ok((store.plugins()?, store.audit_size()?))).await?;
        let (events, counts) = self.context().events.counts();
        let mut methods = self.context().store.call_totals();
        let mut states: BTreeMap<PluginState, u64> =
            PluginState::ALL.into_iter().map(|state| (state, 0)).collect();
        let mut plugins = Vec::with_capacity(rows.len());
        for row in rows {
            *states.entry(row.state).or_default() += 1;
            let name = row.name().clone();
            let running = self.known_supervisor(name.as_str()).and_then(|supervisor| supervisor.running());
            let sample = running.as_ref().map(|instance| instance.target.last_sample());
            let counts = counts.get(&name).copied().unwrap_or_default();
            let (queued_deliveries, dropped_deliveries) = self.mailboxes().depth_and_dropped(&name);
            plugins.push(PluginMetrics {
                version: row.package.version.to_string(),
                runtime: row.package.manifest()?.runtime,
                state: row.state,
                running: running.is_some(),
                methods: methods.remove(&row.owner()).unwrap_or_default(),
                starts: counts.starts,
                stops: counts.stops,
                crashes: counts.crashes,
                violations: counts.violations,
                start_failures: counts.start_failures,
                restarts: counts.restarts,
                denials: counts.denials,
                blocked: counts.blocked,
                hook_failures: counts.hook_failures,
                queued_deliveries,
                dropped_deliveries,
                memory_bytes: sample.map(|sample| sample.memory_bytes),
                cpu_ms: sample.map(|sample| sample.cpu_ms),
                read_bytes: sample.map(|sample| sample.io.read_bytes),
                written_bytes: sample.map(|sample| sample.io.written_bytes),
                name,
            });
        }
        Ok(Metrics {
            at_ms: now_ms(),
            started_at_ms: self.inner.started_at_ms,
            states,
            running: plugins.iter().map(|plugin| u64::from(plugin.running)).sum(),
            plugins,
            events,
            queued_deliveries: self.mailboxes().waiting(),
            audit: AuditMetrics { records, last_seq, queued: self.context().store.audit_queued() },
        })
    }

    /// What a plugin used: a sample a second while it runs, the newest `limit` of them, oldest first. The last 3,600 are kept: an hour.
    ///
    /// # Errors
    /// `not_found`; `io`, `busy` of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn resources(&self, name: &str, limit: usize) -> Result<Vec<ResourceSample>, Error> {
        let (name, context) = (plugin_name(name)?, std::sync::Arc::clone(self.context()));
        let store = context.store.clone();
        store
            .run(move |store| {
                context.row(&name)?;
                store.resources(&name, limit)
            })
            .await
    }

    /// What was done to a plugin and by it, as the audit trail has it, newest first: at most `limit` records. It needs not be
    /// installed any more. [`Host::audit`] pages through more of them.
    ///
    /// # Errors
    /// `not_found` for what cannot be a name; `io`, `busy` of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn activity(&self, name: &str, limit: usize) -> Result<AuditPage, Error> {
        let filter = AuditFilter {
            plugin: Some(plugin_name(name)?.to_string()),
            order: AuditOrder::NewestFirst,
            ..AuditFilter::default()
        };
        self.audit(&filter, None, limit).await
    }

    /// Calls and events that have ended, newest first: at most `limit`, and never more than 1,000. The last 5,000 of each
    /// installed plugin are kept. What ended before the call is in it.
    ///
    /// # Errors
    /// `io`, `busy` of the store.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn executions(&self, filter: &ExecutionFilter, limit: usize) -> Result<ExecutionPage, Error> {
        let (store, filter) = (self.context().store.clone(), filter.clone());
        store
            .run(move |store| {
                store.flush(FLUSH_WAIT)?;
                store.activity(&filter, limit)
            })
            .await
    }
}
