//! What is asked of one run: the command, what it is granted, and under which limits.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use ringfence_policy::PluginPolicy;

use crate::config::{Config, ExecLimits, LimitsBackend};
use crate::error::Error;
use crate::exec::held::Pins;
use crate::exec::{RedactionSet, RunStore};
use crate::home::Home;

/// What the command reads from its standard input.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Stdin {
    /// Nothing.
    #[default]
    Close,
    /// What this process reads from its own.
    Pass,
    /// A file or named pipe, read by the host: it need not be granted. A relative path is taken from [`Exec::directory`].
    File(PathBuf),
}

/// One run to be made: a builder whose every part has a default, and [`Exec::run`] or [`Exec::spawn`] at the end.
///
/// ```no_run
/// use ringfence::exec::Exec;
///
/// let mut exec = Exec::new(["wc", "-w", "/srv/notes/today.txt"]);
/// exec.read_path("/srv/notes");
/// let outcome = exec.run_captured();
/// println!("{}", String::from_utf8_lossy(&outcome.stdout));
/// assert_eq!(outcome.report.exit_code, Some(0));
/// ```
#[derive(Clone, Debug)]
pub struct Exec {
    pub(crate) command: Vec<OsString>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) working_directory: Option<PathBuf>,
    pub(crate) read: Vec<PathBuf>,
    pub(crate) read_write: Vec<PathBuf>,
    pub(crate) grants: Vec<String>,
    pub(crate) denials: Vec<String>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) stdin: Stdin,
    pub(crate) limits: ExecLimits,
    pub(crate) backend: LimitsBackend,
    pub(crate) strict: bool,
    pub(crate) explain: bool,
    /// Show nearly everything, and let copies of it be changed: for [`Exec::learn`].
    pub(crate) wide: bool,
    /// What may be changed are copies.
    pub(crate) throw_away: bool,
    pub(crate) redaction: RedactionSet,
    pub(crate) home: Option<Home>,
    pub(crate) store: Option<RunStore>,
    /// Set for plugins, with the private data directory: they may hold permissions that only the host serves.
    pub(crate) plugin: Option<Option<PathBuf>>,
    /// The program that was judged, links followed: another one is not started, whatever the command leads to by then.
    pub(crate) judged: Option<PathBuf>,
    /// What the administrator's policy says about the plugin: it takes from the grants, and never adds to them.
    pub(crate) policy: Option<Arc<PluginPolicy>>,
    /// What the grants of a plugin opened when they were consented to; `None`: nobody asks.
    pub(crate) pins: Option<Arc<Pins>>,
}

impl Exec {
    /// A run of `command` with nothing granted, the default limits, no input, redaction with the built-in patterns, and
    /// no stored record (see [`Exec::home`]).
    #[must_use]
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            directory: None,
            working_directory: None,
            read: Vec::new(),
            read_write: Vec::new(),
            grants: Vec::new(),
            denials: Vec::new(),
            environment: Vec::new(),
            stdin: Stdin::Close,
            limits: ExecLimits::default(),
            backend: LimitsBackend::Auto,
            strict: false,
            explain: false,
            wide: false,
            throw_away: false,
            redaction: RedactionSet::built_in(),
            home: None,
            store: None,
            plugin: None,
            judged: None,
            policy: None,
            pins: None,
        }
    }

    /// Takes limits and back-end from `config`, and keeps a record of the run in `home`, which is also part of the floor.
    ///
    /// # Errors
    /// None today; a configuration that contradicts itself will be one.
    pub fn home(&mut self, home: &Home, config: &Config) -> Result<&mut Self, Error> {
        self.limits = config.exec.clone();
        self.backend = config.limits_backend;
        self.recorded_in(home, config);
        Ok(self)
    }

    /// Keeps a record of the run in `home`, which is also part of the floor; limits stay what they are.
    pub(crate) fn recorded_in(&mut self, home: &Home, config: &Config) -> &mut Self {
        self.store = Some(RunStore::new(home, config.runs));
        self.home = Some(home.clone());
        self
    }

    /// The directory from which relative paths are taken. Default: that of this process.
    pub fn directory(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.directory = Some(path.into());
        self
    }

    /// Grants reading a file, or a directory with all that it holds.
    pub fn read_path(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.read.push(path.into());
        self
    }

    /// Grants reading, writing and deleting a file, or a directory with all that it holds.
    pub fn write_path(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.read_write.push(path.into());
        self
    }

    /// Grants a permission, such as `subprocess:execute` or `file:read=/srv/notes/**`.
    pub fn grant(&mut self, permission: impl Into<String>) -> &mut Self {
        self.grants.push(permission.into());
        self
    }

    /// Denies a permission, whatever is granted.
    pub fn deny(&mut self, permission: impl Into<String>) -> &mut Self {
        self.denials.push(permission.into());
        self
    }

    /// Sets an environment variable of the command.
    pub fn variable(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> &mut Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Where the command starts. Default: the directory of [`Exec::directory`] if it is granted, else `/tmp`.
    pub fn working_directory(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.working_directory = Some(path.into());
        self
    }

    /// What the command reads. Default [`Stdin::Close`].
    pub fn stdin(&mut self, stdin: Stdin) -> &mut Self {
        self.stdin = stdin;
        self
    }

    /// The limits, to be changed in place.
    pub fn limits(&mut self) -> &mut ExecLimits {
        &mut self.limits
    }

    /// Who holds memory, tasks and CPU. Default [`LimitsBackend::Auto`].
    pub fn limits_backend(&mut self, backend: LimitsBackend) -> &mut Self {
        self.backend = backend;
        self
    }

    /// Refuses to start where only a sampler can hold the limits: nothing runs then, not for a moment. Default off.
    pub fn strict(&mut self, strict: bool) -> &mut Self {
        self.strict = strict;
        self
    }

    /// Watches every path that the command names, so that the report can say which were out of reach. Default off; it
    /// costs about 30 µs for each path.
    pub fn explain(&mut self, explain: bool) -> &mut Self {
        self.explain = explain;
        self
    }

    /// What is hidden in the output. Default [`RedactionSet::built_in`].
    pub fn redaction(&mut self, redaction: RedactionSet) -> &mut Self {
        self.redaction = redaction;
        self
    }
}
