//! The parts of `config.toml` that are about plugins: their limits, where they are found, and which interpreters run them.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::{COUNT_MAX, CPU_MAX_PERCENT, Reader};
use crate::units;

pub(super) const PLUGINS: [&str; 18] = [
    "call_timeout",
    "cpu",
    "data_keys",
    "data_size",
    "directories",
    "events_per_second",
    "hook_budget",
    "hook_timeout",
    "hooks_per_second",
    "init_timeout",
    "max_file_size",
    "max_log_size",
    "max_open_files",
    "memory",
    "ping_interval",
    "processes",
    "queued_calls",
    "requests_per_second",
];
const INTERPRETERS: [&str; 2] = ["node", "python"];
/// More plugin directories would make every scan slow.
const DIRECTORIES_MAX: usize = 64;

/// The administrator's limits for plugins. A manifest may ask for less, never for more.
///
/// ```
/// use std::time::Duration;
///
/// let limits = ringfence::config::PluginLimits::default();
/// assert_eq!((limits.call_timeout, limits.memory_bytes), (Duration::from_secs(300), Some(500_000_000)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// From the start to the answer to `initialize`; 30 s.
    pub init_timeout: Duration,
    /// One call; 300 s.
    pub call_timeout: Duration,
    /// Between two questions whether it still answers; 15 s. Three without an answer end it.
    pub ping_interval: Duration,
    /// Memory of the whole tree in bytes; 500 MB (500,000,000).
    pub memory_bytes: Option<u64>,
    /// Processor time in percent of one core; 80.
    pub cpu_percent: Option<u32>,
    /// Processes and threads; 256.
    pub processes: Option<u64>,
    /// Size of one file in bytes; 100 MB (100,000,000).
    pub file_size_bytes: Option<u64>,
    /// Open files of one process; 1024.
    pub open_files: Option<u64>,
    /// The log that is kept of a plugin in bytes; 5 MB (5,000,000).
    pub log_bytes: u64,
    /// Its private data, directory and key-value store each, in bytes; 1 GB (1,000,000,000).
    pub data_bytes: u64,
    /// Files in its data directory, and keys in its key-value store; 100,000.
    pub data_keys: u64,
    /// Calls that wait or run at the same time; 1,000.
    pub queued_calls: u64,
    /// One handler at one event; 5 s.
    pub hook_timeout: Duration,
    /// All mutators and guards of one event together; 30 s.
    pub hook_budget: Duration,
    /// Messages that a plugin may post, and hooks that it may register, in a second; 100. Twice as many at once.
    pub events_per_second: u64,
    /// How often the handlers of one plugin are asked in a second, all events together; twice as many at once. Above it they
    /// are passed over, and guards that block when they fail block. `None`, the default: as often as there are events.
    pub hooks_per_second: Option<u64>,
    /// Requests of a plugin to its host that are read in a second; 5,000. A second's worth may come at once; above it the host
    /// does not read, and the plugin waits for itself.
    pub requests_per_second: u64,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            init_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(300),
            ping_interval: Duration::from_secs(15),
            memory_bytes: Some(500_000_000),
            cpu_percent: Some(80),
            processes: Some(256),
            file_size_bytes: Some(100_000_000),
            open_files: Some(1024),
            log_bytes: 5_000_000,
            data_bytes: 1_000_000_000,
            data_keys: 100_000,
            queued_calls: 1000,
            hook_timeout: Duration::from_secs(5),
            hook_budget: Duration::from_secs(30),
            events_per_second: 100,
            hooks_per_second: None,
            requests_per_second: 5_000,
        }
    }
}

/// The interpreters that the administrator chose. `None` takes the first of a fixed list of system paths.
///
/// ```
/// assert_eq!(ringfence::config::Interpreters::default().python, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interpreters {
    /// Python 3; default the first of `/usr/bin/python3` and `/usr/local/bin/python3`.
    pub python: Option<PathBuf>,
    /// Node.js; default the first of `/usr/bin/node`, `/usr/local/bin/node` and `/usr/bin/nodejs`.
    pub node: Option<PathBuf>,
}

impl Reader<'_> {
    pub(super) fn plugins(
        &mut self,
        table: &DeTable<'_>,
        limits: &mut PluginLimits,
        directories: &mut Vec<PathBuf>,
    ) {
        for (key, value) in table {
            let count = |text: &str| units::parse_count(text, COUNT_MAX);
            match key.get_ref().as_ref() {
                "init_timeout" => self.require(value, units::parse_duration, &mut limits.init_timeout),
                "call_timeout" => self.require(value, units::parse_duration, &mut limits.call_timeout),
                "hook_timeout" => self.require(value, units::parse_duration, &mut limits.hook_timeout),
                "hook_budget" => self.require(value, units::parse_duration, &mut limits.hook_budget),
                "hooks_per_second" => self.set(value, count, &mut limits.hooks_per_second),
                "requests_per_second" => self.require(value, count, &mut limits.requests_per_second),
                "events_per_second" => self.require(value, count, &mut limits.events_per_second),
                "ping_interval" => self.require(value, units::parse_duration, &mut limits.ping_interval),
                "memory" => self.set(value, units::parse_size, &mut limits.memory_bytes),
                "max_file_size" => self.set(value, units::parse_size, &mut limits.file_size_bytes),
                "processes" => self.set(value, count, &mut limits.processes),
                "max_open_files" => self.set(value, count, &mut limits.open_files),
                "cpu" => self.percent(value, CPU_MAX_PERCENT, &mut limits.cpu_percent),
                "max_log_size" => self.require(value, units::parse_size, &mut limits.log_bytes),
                "data_size" => self.require(value, units::parse_size, &mut limits.data_bytes),
                "data_keys" => self.require(value, count, &mut limits.data_keys),
                "queued_calls" => self.require(value, count, &mut limits.queued_calls),
                "directories" => self.paths(value, DIRECTORIES_MAX, directories),
                name => self.unknown(key.span().start, name, &PLUGINS),
            }
        }
    }

    /// Reads a list of absolute paths.
    pub(super) fn paths(
        &mut self,
        value: &toml::Spanned<DeValue<'_>>,
        most: usize,
        paths: &mut Vec<PathBuf>,
    ) {
        let at = value.span().start;
        let DeValue::Array(items) = value.get_ref() else {
            return self.mistake(at, "expected a list of paths, such as [\"/srv/plugins\"]");
        };
        if items.len() > most {
            return self.mistake(at, &format!("at most {most} directories can be named"));
        }
        for item in items {
            if let Some(path) = self.absolute(item) {
                paths.push(path);
            }
        }
    }

    pub(super) fn interpreters(&mut self, table: &DeTable<'_>, interpreters: &mut Interpreters) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "python" => interpreters.python = self.absolute(value),
                "node" => interpreters.node = self.absolute(value),
                name => self.unknown(key.span().start, name, &INTERPRETERS),
            }
        }
    }

    pub(super) fn absolute(&mut self, value: &toml::Spanned<DeValue<'_>>) -> Option<PathBuf> {
        match value.get_ref() {
            DeValue::String(text) if text.starts_with('/') && !text.contains('\0') => {
                Some(PathBuf::from(text.as_ref()))
            }
            _ => {
                self.mistake(
                    value.span().start,
                    "expected an absolute path, such as \"/opt/python/bin/python3\"",
                );
                None
            }
        }
    }
}
