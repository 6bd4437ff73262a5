//! Places that are executed or believed later, by the host's user or by programs that they use: whoever may write there can
//! have their code run outside any sandbox (FS-22). A grant of them is allowed, as people develop with plugins; it is said.
//!
//! The lists are short on purpose: what is met often, and what nobody thinks of. Start-up files of shells and keys are on the
//! floor, which no wildcard opens.

use std::path::Path;

/// A name in a directory, and what comes of writing there.
#[derive(Debug)]
pub(super) struct Later {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
}

/// Names that mean something in whatever directory they are.
pub(super) const NAMES: &[Later] = &[
    Later { name: ".git", what: "git runs the hooks in it, and programs that its configuration names" },
    Later { name: ".hg", what: "Mercurial runs programs that its configuration names" },
    Later { name: ".husky", what: "git runs the hooks in it" },
    Later { name: ".envrc", what: "direnv runs it in the user's shell" },
    Later { name: ".mcp.json", what: "AI clients start the servers that it names" },
    Later { name: ".claude", what: "an AI client takes commands and hooks from it" },
    Later { name: ".codex", what: "an AI client takes commands from it" },
    Later { name: ".cursor", what: "an editor starts the servers that it names" },
    Later { name: ".gemini", what: "an AI client takes commands from it" },
    Later { name: ".vscode", what: "an editor runs its tasks and believes its settings" },
    Later { name: ".idea", what: "an editor runs what its configurations name" },
    Later { name: ".devcontainer", what: "an editor runs the commands in it" },
    Later { name: ".github", what: "its workflows run where the repository is built" },
    Later { name: ".gitlab-ci.yml", what: "its jobs run where the repository is built" },
    Later { name: ".pre-commit-config.yaml", what: "git runs what it names before each commit" },
];

/// What makes a directory one in which the names above are looked for, whether they are there or not.
pub(super) const MARKS: &[&str] = &[".git", ".hg"];

/// Directories from which the system or the user's session starts programs.
pub(super) const PLACES: &[Later] = &[
    Later { name: "/bin", what: "programs are started from it" },
    Later { name: "/boot", what: "the machine starts from it" },
    Later { name: "/etc", what: "the system is configured by it, and starts what it names" },
    Later { name: "/lib", what: "programs load their code from it" },
    Later { name: "/opt", what: "programs are started from it" },
    Later { name: "/root", what: "it is the home of root" },
    Later { name: "/sbin", what: "programs are started from it" },
    Later { name: "/usr", what: "programs are started from it, and load their code from it" },
    Later { name: "/var/spool/cron", what: "the system starts what it names" },
    Later { name: "~/.cargo/bin", what: "programs are started from it" },
    Later { name: "~/.config", what: "programs of the user's session are configured by it" },
    Later { name: "~/.local/bin", what: "programs are started from it" },
    Later { name: "~/.local/share/applications", what: "the desktop starts what it names" },
    Later { name: "~/.npm-global/bin", what: "programs are started from it" },
    Later { name: "~/bin", what: "programs are started from it" },
];

/// What comes of writing an entry of this name.
pub(super) fn by_name(name: &std::ffi::OsStr) -> Option<&'static Later> {
    NAMES.iter().find(|later| name == later.name)
}

/// The listed directories that lie in `granted`, or in which it lies.
pub(super) fn by_place<'g>(
    granted: &'g Path,
    home: Option<&'g Path>,
) -> impl Iterator<Item = &'static Later> + 'g {
    PLACES.iter().filter(move |later| {
        let place = match later.name.strip_prefix("~/") {
            Some(below) => home.map(|home| home.join(below)),
            None => Some(Path::new(later.name).to_owned()),
        };
        place.is_some_and(|place| granted.starts_with(&place) || place.starts_with(granted))
    })
}
