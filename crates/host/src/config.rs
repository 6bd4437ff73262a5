//! The administrator's defaults: `config.toml` in the home.
//!
//! Without the file everything has its default, at the cost of one failed open. With it, all mistakes are
//! reported at once, each with line, column and what was probably meant. This module only reads; what the
//! values do is the business of who asks for them.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence_api::ErrorCode;
use toml::de::{DeTable, DeValue};

use crate::database::DatabaseOffer;
use crate::exec::StoreLimits;
use crate::near::nearest;
use crate::runtime::PluginType;
use crate::units::{self, Limit};
use crate::{Error, Home};

mod databases;
mod network;
mod plugin_types;
mod plugins;
mod server;
mod template;

pub use network::NetworkConfig;
pub use plugins::{Interpreters, PluginLimits};
pub use server::{LogLevel, ServerConfig};

/// The largest configuration file that is read, in bytes.
pub const CONFIG_MAX_BYTES: u64 = 1024 * 1024;
/// The environment variable that chooses the back-end for limits, above the file.
pub const LIMITS_BACKEND_VARIABLE: &str = "RINGFENCE_LIMITS_BACKEND";

/// What enforces the limits of memory, processor and processes.
///
/// ```
/// use ringfence::config::LimitsBackend;
///
/// assert_eq!(LimitsBackend::from_word("cgroup-v1"), Some(LimitsBackend::CgroupV1));
/// assert_eq!(LimitsBackend::Auto.as_str(), "auto");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LimitsBackend {
    /// The strongest that this machine offers to this user.
    #[default]
    Auto,
    /// The control groups of version 1.
    CgroupV1,
    /// The control groups of version 2.
    CgroupV2,
    /// Resource limits of the processes and a sampler.
    Sampler,
}

impl LimitsBackend {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::CgroupV1, Self::CgroupV2, Self::Sampler];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::CgroupV1 => "cgroup-v1",
            Self::CgroupV2 => "cgroup-v2",
            Self::Sampler => "sampler",
        }
    }

    /// The back-end of this word, if it is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.as_str() == word)
    }
}

/// The limits of one command, unless the caller says otherwise. `None` is a lifted limit.
///
/// ```
/// use ringfence::config::ExecLimits;
///
/// assert_eq!(ExecLimits::default().memory_bytes, Some(500_000_000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecLimits {
    /// Wall-clock time; 600 s.
    pub timeout: Option<Duration>,
    /// Memory of the whole tree in bytes; 500 MB (500,000,000).
    pub memory_bytes: Option<u64>,
    /// Processor time in percent of one core; 80.
    pub cpu_percent: Option<u32>,
    /// Processes and threads; 256.
    pub processes: Option<u64>,
    /// Output of both streams together in bytes; 5 MB (5,000,000).
    pub output_bytes: Option<u64>,
    /// Size of one file in bytes; 100 MB (100,000,000).
    pub file_size_bytes: Option<u64>,
    /// Open files of one process; 1024.
    pub open_files: Option<u64>,
}

impl Default for ExecLimits {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(600)),
            memory_bytes: Some(500_000_000),
            cpu_percent: Some(80),
            processes: Some(256),
            output_bytes: Some(5_000_000),
            file_size_bytes: Some(100_000_000),
            open_files: Some(1024),
        }
    }
}

/// Everything that `config.toml` can say.
///
/// ```
/// use ringfence::Config;
///
/// let config = Config::parse("[exec]\nmemory = \"1GiB\"\ntimeout = \"none\"\n")?;
/// assert_eq!((config.exec.memory_bytes, config.exec.timeout), (Some(1 << 30), None));
///
/// let error = Config::parse("[exec]\nmemroy = 1\n").unwrap_err();
/// assert_eq!(error.message(), "config.toml:2:1: unknown field 'memroy'; did you mean 'memory'?");
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What enforces limits; `auto`.
    pub limits_backend: LimitsBackend,
    /// Limits of a command.
    pub exec: ExecLimits,
    /// How much of past runs is kept.
    pub runs: StoreLimits,
    /// Limits of plugins.
    pub plugins: PluginLimits,
    /// Directories in which plugins are looked for, beside `plugins` in the home.
    pub plugin_directories: Vec<PathBuf>,
    /// What runs Python and Node plugins.
    pub interpreters: Interpreters,
    /// Kinds of Python plugins, each with its base class, by the word that stands in a manifest's `type`.
    pub plugin_types: BTreeMap<String, PluginType>,
    /// Databases that plugins may be granted, by name.
    pub databases: Vec<(String, DatabaseOffer)>,
    /// How the host reaches the network for plugins.
    pub network: NetworkConfig,
    /// Where the daemon listens, and what it lets in.
    pub server: ServerConfig,
}

impl Config {
    /// The configuration of this home, and above it what the environment says. A missing file is no error.
    ///
    /// # Errors
    ///
    /// `io` when the file cannot be read; `invalid_config` when it is larger than [`CONFIG_MAX_BYTES`], is not
    /// TOML in UTF-8, or holds a field or value that is not known (all of them are listed), or when
    /// `RINGFENCE_LIMITS_BACKEND` is not a back-end.
    pub fn load(home: &Home) -> Result<Self, Error> {
        let config = match read(&home.config_file())? {
            Some(text) => Self::parse_named(&text, &home.config_file().display().to_string())?,
            None => Self::default(),
        };
        config.with_backend_variable(std::env::var_os(LIMITS_BACKEND_VARIABLE).as_deref())
    }

    /// The configuration in `text`.
    ///
    /// # Errors
    ///
    /// `invalid_config` as for [`load`](Self::load).
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_named(text, "config.toml")
    }

    /// The file with every field, its default and what it does, as comments. It parses to the defaults.
    #[must_use]
    pub fn template() -> String {
        template::template()
    }

    fn with_backend_variable(mut self, value: Option<&std::ffi::OsStr>) -> Result<Self, Error> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(self) };
        let word = value.to_string_lossy();
        self.limits_backend = LimitsBackend::from_word(&word).ok_or_else(|| {
            let message = format!("{LIMITS_BACKEND_VARIABLE}='{}' is not a back-end", word.escape_debug());
            Error::new(ErrorCode::InvalidConfig, message).with_hint(format!("choose {}", backends()))
        })?;
        Ok(self)
    }

    fn parse_named(text: &str, name: &str) -> Result<Self, Error> {
        let mut reader = Reader::new(text);
        let mut config = Self::default();
        match DeTable::parse(text) {
            Ok(table) => reader.config(table.get_ref(), &mut config),
            Err(error) => reader.mistake(error.span().map_or(0, |span| span.start), error.message()),
        }
        reader.finish(name)?;
        Ok(config)
    }
}

fn backends() -> String {
    LimitsBackend::ALL.map(LimitsBackend::as_str).join(", ")
}

/// The text of the file; `None` when there is none.
fn read(path: &Path) -> Result<Option<String>, Error> {
    let fail = |e| Error::file("read", path, e);
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        // `config.toml` below something that is no directory is as absent as it gets.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(fail(e)),
    };
    let mut bytes = Vec::new();
    file.take(CONFIG_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    let invalid = |why: &str| Error::new(ErrorCode::InvalidConfig, format!("'{}' {why}", path.display()));
    if bytes.len() as u64 > CONFIG_MAX_BYTES {
        return Err(invalid("is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| invalid("is not UTF-8 text"))
}

/// The fields of one table, so that a mistake can be answered with what exists.
const TOP: [&str; 9] = [
    "databases",
    "exec",
    "interpreters",
    "limits_backend",
    "network",
    "plugin_types",
    "plugins",
    "runs",
    "server",
];
const EXEC: [&str; 7] =
    ["cpu", "max_file_size", "max_open_files", "max_output", "memory", "processes", "timeout"];
const RUNS: [&str; 3] = ["keep", "max_run_size", "max_total_size"];

/// The most that makes sense of anything that is counted: what a process id and a file descriptor can be.
pub(crate) const COUNT_MAX: u64 = 4_194_304;
/// 1024 cores.
pub(crate) const CPU_MAX_PERCENT: u64 = 102_400;
/// Stored runs are directories in one directory; more of them would make it slow.
const KEEP_MAX: u64 = 100_000;

/// Mistakes that are told of one file; whoever mends those sees the rest.
const MISTAKES_MAX: usize = 100;

/// Reads the tables of a file of ours, and notes every mistake with its place.
pub(crate) struct Reader<'a> {
    text: &'a str,
    /// Each with its place in the file, in bytes.
    mistakes: Vec<(usize, String)>,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, mistakes: Vec::new() }
    }
}

impl Reader<'_> {
    fn config(&mut self, table: &DeTable<'_>, config: &mut Config) {
        for (key, value) in table {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("limits_backend", DeValue::String(word)) => match LimitsBackend::from_word(word) {
                    Some(backend) => config.limits_backend = backend,
                    None => {
                        let word = word.escape_debug();
                        self.mistake(
                            value.span().start,
                            &format!("'{word}' is no back-end; choose {}", backends()),
                        );
                    }
                },
                ("limits_backend", _) => self.mistake(value.span().start, &format!("choose {}", backends())),
                ("exec", DeValue::Table(table)) => self.exec(table, &mut config.exec),
                ("runs", DeValue::Table(table)) => self.runs(table, &mut config.runs),
                ("plugins", DeValue::Table(table)) => {
                    self.plugins(table, &mut config.plugins, &mut config.plugin_directories);
                }
                ("interpreters", DeValue::Table(table)) => {
                    self.interpreters(table, &mut config.interpreters);
                }
                ("plugin_types", DeValue::Table(table)) => self.plugin_types(table, &mut config.plugin_types),
                ("databases", DeValue::Table(table)) => self.databases(table, &mut config.databases),
                ("network", DeValue::Table(table)) => self.network(table, &mut config.network),
                ("server", DeValue::Table(table)) => self.server(table, &mut config.server),
                (
                    name @ ("databases" | "exec" | "runs" | "network" | "plugin_types" | "plugins"
                    | "interpreters" | "server"),
                    _,
                ) => self.mistake(at, &format!("'{name}' is a table: write [{name}]")),
                (name, _) => self.unknown(at, name, &TOP),
            }
        }
    }

    fn exec(&mut self, table: &DeTable<'_>, limits: &mut ExecLimits) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "timeout" => self.set(value, units::parse_duration, &mut limits.timeout),
                "memory" => self.set(value, units::parse_size, &mut limits.memory_bytes),
                "max_output" => self.set(value, units::parse_size, &mut limits.output_bytes),
                "max_file_size" => self.set(value, units::parse_size, &mut limits.file_size_bytes),
                "processes" => {
                    self.set(value, |text| units::parse_count(text, COUNT_MAX), &mut limits.processes)
                }
                "max_open_files" => {
                    self.set(value, |text| units::parse_count(text, COUNT_MAX), &mut limits.open_files)
                }
                "cpu" => self.percent(value, CPU_MAX_PERCENT, &mut limits.cpu_percent),
                name => self.unknown(key.span().start, name, &EXEC),
            }
        }
    }

    fn runs(&mut self, table: &DeTable<'_>, limits: &mut StoreLimits) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "keep" => {
                    self.require(value, |text| units::parse_count(text, KEEP_MAX), &mut limits.max_runs)
                }
                "max_run_size" => self.require(value, units::parse_size, &mut limits.max_run_bytes),
                "max_total_size" => self.require(value, units::parse_size, &mut limits.max_total_bytes),
                name => self.unknown(key.span().start, name, &RUNS),
            }
        }
    }

    /// Reads a limit that `none` may lift.
    fn set<T>(
        &mut self,
        value: &toml::Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<Limit<T>, Error>,
        field: &mut Option<T>,
    ) {
        match self.limit(value, parse) {
            Some(Ok(limit)) => *field = limit.as_option(),
            Some(Err(error)) => {
                let hint = error.hint().unwrap_or_default();
                self.mistake(value.span().start, &format!("{}; {hint}", error.message()));
            }
            None => {}
        }
    }

    fn percent(&mut self, value: &toml::Spanned<DeValue<'_>>, most: u64, field: &mut Option<u32>) {
        let mut percent = field.map(u64::from);
        self.set(value, |text| units::parse_count(text, most), &mut percent);
        *field = percent.and_then(|percent| u32::try_from(percent).ok());
    }

    /// Reads a bound that cannot be lifted.
    pub(crate) fn require<T>(
        &mut self,
        value: &toml::Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<Limit<T>, Error>,
        field: &mut T,
    ) {
        match self.limit(value, parse) {
            Some(Ok(Limit::At(bound))) => *field = bound,
            Some(Ok(Limit::Lifted)) => {
                self.mistake(value.span().start, "this must be bounded: 'none' is not allowed");
            }
            Some(Err(error)) => self.mistake(value.span().start, error.message()),
            None => {}
        }
    }

    /// The limit in a value, where a number is the same as the text of that number; `None`, and a mistake is
    /// noted, when it is neither.
    fn limit<T>(
        &mut self,
        value: &toml::Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<Limit<T>, Error>,
    ) -> Option<Result<Limit<T>, Error>> {
        match value.get_ref() {
            DeValue::String(text) => Some(parse(text)),
            DeValue::Integer(number) if number.radix() == 10 => Some(parse(number.as_str())),
            DeValue::Float(number) => Some(parse(number.as_str())),
            _ => {
                self.mistake(
                    value.span().start,
                    "expected a number, or a text such as \"500MB\" or \"none\"",
                );
                None
            }
        }
    }

    pub(crate) fn unknown(&mut self, at: usize, name: &str, known: &[&str]) {
        let near = nearest(name, known);
        let name = name.escape_debug();
        let text = match near {
            Some(near) => format!("unknown field '{name}'; did you mean '{near}'?"),
            None => format!("unknown field '{name}'; here can be {}", known.join(", ")),
        };
        self.mistake(at, &text);
    }

    /// Notes a mistake at this byte of the file.
    pub(crate) fn mistake(&mut self, at: usize, text: &str) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push((at, text.trim_end().to_owned()));
        }
    }

    /// The mistakes in the order of the file, each with its line and column, both from 1.
    pub(crate) fn mistakes(mut self) -> Vec<(usize, usize, String)> {
        self.mistakes.sort_by_key(|(at, _)| *at);
        let text = self.text;
        let placed = |(at, mistake)| {
            let (line, column) = place(text, at);
            (line, column, mistake)
        };
        self.mistakes.into_iter().map(placed).collect()
    }

    fn finish(self, name: &str) -> Result<(), Error> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        let line = |(line, column, mistake)| format!("{name}:{line}:{column}: {mistake}");
        let lines: Vec<String> = self.mistakes().into_iter().map(line).collect();
        Err(Error::new(ErrorCode::InvalidConfig, lines.join("\n"))
            .with_hint("`ringfence config-file` prints all fields with their defaults"))
    }
}

/// Line and column of a byte of a text, both from 1; the column counts characters.
pub(crate) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

#[cfg(test)]
mod tests;
