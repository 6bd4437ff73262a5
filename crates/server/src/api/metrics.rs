//! Figures for Prometheus, in its text format. `docs/metrics.md` names each.

use std::fmt::Write as _;

use ringfence::metrics::{CallLatency, Metrics, PluginMetrics};

use super::answer::Text;
use super::asked::Asked;
use super::error::Failure;

const MICROS: f64 = 1e6;
const MILLIS: f64 = 1e3;

pub(super) async fn metrics(asked: Asked<(), ()>) -> Result<Text, Failure> {
    Ok(Text(text(&asked.host.metrics().await?)))
}

/// A page that is being written: each figure once with its kind and meaning, then its values.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn figure(&mut self, name: &str, kind: &str, meaning: &str) {
        self.line(format_args!("# HELP ringfence_{name} {meaning}"));
        self.line(format_args!("# TYPE ringfence_{name} {kind}"));
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        // A name of a plugin, a method and an outcome is plain, and is escaped all the same.
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.line(format_args!("ringfence_{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let written = writeln!(self.text, "{line}");
        debug_assert!(written.is_ok(), "writing to a string");
    }

    /// A figure with one value for each plugin that has one.
    fn of_plugins(
        &mut self,
        (name, kind, meaning): (&str, &str, &str),
        plugins: &[PluginMetrics],
        value: impl Fn(&PluginMetrics) -> Option<f64>,
    ) {
        self.figure(name, kind, meaning);
        for plugin in plugins {
            if let Some(value) = value(plugin) {
                self.value(name, &[("plugin", plugin.name.as_str())], value);
            }
        }
    }
}

fn text(metrics: &Metrics) -> String {
    let mut page = Page::default();
    of_the_host(&mut page, metrics);
    of_lives(&mut page, &metrics.plugins);
    of_work(&mut page, &metrics.plugins);
    page.text
}

#[expect(clippy::cast_precision_loss, reason = "a figure is a double by the format")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "a figure is a double by the format")]
fn seconds(at_ms: i64) -> f64 {
    at_ms as f64 / MILLIS
}

fn of_the_host(page: &mut Page, metrics: &Metrics) {
    page.figure("started_at_seconds", "gauge", "When this host was opened, in seconds since 1970.");
    page.value("started_at_seconds", &[], seconds(metrics.started_at_ms));
    page.figure("plugins", "gauge", "Installed plugins, by state.");
    for (state, count) in &metrics.states {
        page.value("plugins", &[("state", state.as_str())], number(*count));
    }
    let figures = [
        ("plugins_running", "gauge", "Plugins that run now.", metrics.running),
        ("events_total", "counter", "Messages and events that were told.", metrics.events),
        ("queued_deliveries", "gauge", "Deliveries that wait for plugins.", metrics.queued_deliveries),
        ("audit_records", "gauge", "Records of the audit trail.", metrics.audit.records),
        ("audit_queued", "gauge", "Records that are not on the disk yet.", metrics.audit.queued),
    ];
    for (name, kind, meaning, value) in figures {
        page.figure(name, kind, meaning);
        page.value(name, &[], number(value));
    }
}

fn of_lives(page: &mut Page, plugins: &[PluginMetrics]) {
    type Figure = ((&'static str, &'static str, &'static str), fn(&PluginMetrics) -> u64);
    let figures: [Figure; 10] = [
        (("plugin_running", "gauge", "Whether it runs now."), |plugin| u64::from(plugin.running)),
        (("plugin_starts_total", "counter", "Starts that came up."), |plugin| plugin.starts),
        (("plugin_start_failures_total", "counter", "Starts that did not."), |plugin| plugin.start_failures),
        (("plugin_crashes_total", "counter", "Ends that nobody wanted."), |plugin| plugin.crashes),
        (("plugin_violations_total", "counter", "Limits and rules that it broke."), |plugin| {
            plugin.violations
        }),
        (("plugin_restarts_total", "counter", "Starts after a crash."), |plugin| plugin.restarts),
        (("plugin_denials_total", "counter", "What was refused to it."), |plugin| plugin.denials),
        (("plugin_hook_failures_total", "counter", "Hooks at which it failed."), |plugin| {
            plugin.hook_failures
        }),
        (("plugin_blocked_total", "counter", "Events that it has blocked."), |plugin| plugin.blocked),
        (("plugin_dropped_deliveries_total", "counter", "Deliveries that its full queue lost."), |plugin| {
            plugin.dropped_deliveries
        }),
    ];
    for (figure, value) in figures {
        page.of_plugins(figure, plugins, |plugin| Some(number(value(plugin))));
    }
}

fn of_work(page: &mut Page, plugins: &[PluginMetrics]) {
    let memory = ("plugin_memory_bytes", "gauge", "Memory that it uses now.");
    page.of_plugins(memory, plugins, |plugin| plugin.memory_bytes.map(number));
    let cpu = ("plugin_cpu_seconds_total", "counter", "Processor time that it has used.");
    page.of_plugins(cpu, plugins, |plugin| plugin.cpu_ms.map(|ms| number(ms) / MILLIS));
    let read = ("plugin_storage_read_bytes_total", "counter", "What it has read from storage.");
    page.of_plugins(read, plugins, |plugin| plugin.read_bytes.map(number));
    let written = ("plugin_storage_written_bytes_total", "counter", "What it has written to storage.");
    page.of_plugins(written, plugins, |plugin| plugin.written_bytes.map(number));
    page.figure("plugin_requests_total", "counter", "What it was asked, by method and outcome.");
    for plugin in plugins {
        for method in &plugin.methods {
            for (outcome, count) in &method.outcomes {
                let labels = [
                    ("plugin", plugin.name.as_str()),
                    ("method", method.method.as_str()),
                    ("outcome", outcome.as_str()),
                ];
                page.value("plugin_requests_total", &labels, number(*count));
            }
        }
    }
    page.figure("plugin_request_seconds", "histogram", "How long it took, by method.");
    for plugin in plugins {
        for method in &plugin.methods {
            let labels = [("plugin", plugin.name.as_str()), ("method", method.method.as_str())];
            histogram(page, &labels, &method.latency);
        }
    }
}

fn histogram(page: &mut Page, labels: &[(&str, &str); 2], latency: &CallLatency) {
    for bucket in &latency.buckets {
        let bound = match bucket.le_us {
            Some(us) => (number(us) / MICROS).to_string(),
            None => "+Inf".to_owned(),
        };
        let [plugin, method] = *labels;
        page.value("plugin_request_seconds_bucket", &[plugin, method, ("le", &bound)], number(bucket.count));
    }
    page.value("plugin_request_seconds_sum", labels, number(latency.total_us) / MICROS);
    page.value("plugin_request_seconds_count", labels, number(latency.count));
}
