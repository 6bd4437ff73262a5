//! Who runs a loop: the caller, and as root also an ordinary user; each with directories of his own.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Setting;
use crate::failure::Failure;
use crate::process;
use crate::workspace;

/// The user `nobody`, who owns nothing on the machine.
pub(crate) const NOBODY: u32 = 65534;

/// Somebody who runs a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// Whoever started this chore.
    Caller,
    /// Uid 65534; only root can become that.
    Nobody,
}

/// Everybody that this process can be.
pub(crate) fn all() -> Vec<Account> {
    if workspace::is_root() { vec![Account::Caller, Account::Nobody] } else { vec![Account::Caller] }
}

impl Account {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Caller if workspace::is_root() => "root",
            Self::Caller => "user",
            Self::Nobody => "65534",
        }
    }
}

/// A home and a temporary directory for the runs of one loop; removed at the end.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: PathBuf,
    account: Account,
}

impl Scratch {
    pub(crate) fn new(name: &str, account: Account) -> Result<Self, Failure> {
        // Not below the temporary directory, whose new files are counted.
        let directory = Path::new("/var/tmp").join(format!(
            "ringfence-soak-{name}-{}-{}",
            account.name(),
            std::process::id()
        ));
        let scratch = Self { directory, account };
        for part in [scratch.directory.clone(), scratch.home(), scratch.temporary()] {
            fs::create_dir(&part).map_err(|error| Failure::of(part.display(), error))?;
            if account == Account::Nobody {
                chown(&part, Some(NOBODY), Some(NOBODY))
                    .map_err(|error| Failure::of(part.display(), error))?;
            }
        }
        Ok(scratch)
    }

    /// Ringfence's home of these runs.
    pub(crate) fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    /// The temporary directory that these runs are told to use.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    /// A file for reports.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// `ringfence exec` with `flags`, ready to start as this account with its output thrown away.
    pub(crate) fn exec(&self, setting: &Setting, flags: &[&str], program: &[&str]) -> Command {
        let mut command = self.ringfence(setting, &["exec"]);
        command.args(flags).arg("--").args(program);
        command
    }

    /// `ringfence` with these words, ready to start as this account with its output thrown away.
    pub(crate) fn ringfence(&self, setting: &Setting, words: &[&str]) -> Command {
        let mut command = process::program(&setting.binary);
        command.args(words);
        command.env("RINGFENCE_HOME", self.home()).env("TMPDIR", self.temporary()).current_dir("/");
        if self.account == Account::Nobody {
            command.uid(NOBODY).gid(NOBODY).env("HOME", self.home());
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("warning: {} was left behind: {error}", self.directory.display());
        }
    }
}
