//! What `exec` and `learn` have in common: the flags of one command in a sandbox.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ringfence::exec::Exec;
use ringfence::units::Limit;
use ringfence::{Config, Error, Home};

use crate::duration::parse_duration;
use crate::flags;
use crate::size::parse_size;

#[derive(Debug, Args)]
pub(crate) struct SandboxedArguments {
    /// Grant a permission, such as file:read=/srv/notes/** or subprocess:execute
    #[arg(long, value_name = "PERMISSION")]
    grant: Vec<String>,
    /// Deny a permission, whatever is granted
    #[arg(long, value_name = "PERMISSION")]
    deny: Vec<String>,
    /// Wall-clock time, such as 30s or 5m [default: 600s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Limit<Duration>>,
    /// Memory of all processes together [default: 500MB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<Limit<u64>>,
    /// CPU time in percent of one core [default: 80]
    #[arg(long, value_name = "PERCENT", value_parser = flags::parse_count)]
    cpu: Option<Limit<u64>>,
    /// Processes and threads [default: 256]
    #[arg(long, value_name = "N", value_parser = flags::parse_count)]
    processes: Option<Limit<u64>>,
    /// What it reads: close, pass, or a file
    #[arg(long, value_name = "pass|close|FILE", default_value = "close")]
    stdin: OsString,
    /// Where it starts, as seen inside [default: here if granted, else /tmp]
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
}

impl SandboxedArguments {
    /// The command with these flags, and what the configuration says beside them.
    ///
    /// # Errors
    /// `usage` for a variable that is none; what the home and its configuration say.
    pub(crate) fn command(&self, command: &[OsString]) -> Result<Exec, Error> {
        let home = Home::from_env()?;
        let mut exec = Exec::new(command);
        exec.home(&home, &Config::load(&home)?)?;
        for text in &self.grant {
            exec.grant(text);
        }
        for text in &self.deny {
            exec.deny(text);
        }
        for word in &self.env {
            let (name, value) = flags::variable(word)?;
            exec.variable(name, value);
        }
        if let Some(directory) = &self.cwd {
            exec.working_directory(directory);
        }
        exec.stdin(flags::stdin(&self.stdin));
        let limits = exec.limits();
        if let Some(limit) = self.timeout {
            limits.timeout = limit.as_option();
        }
        if let Some(limit) = self.memory {
            limits.memory_bytes = limit.as_option();
        }
        if let Some(limit) = self.cpu {
            limits.cpu_percent = limit.as_option().and_then(|percent| u32::try_from(percent).ok());
        }
        if let Some(limit) = self.processes {
            limits.processes = limit.as_option();
        }
        Ok(exec)
    }
}
