//! What each tool does, through the same methods of the host that the command line and the HTTP API use.
//!
//! INVARIANT: nothing in here gives a consent or a grant, and nothing in here releases a quarantine.

use std::path::{Path, PathBuf};

use ringfence::consent::shown;
use ringfence::metrics::{Execution, ExecutionFilter, ExecutionPage};
use ringfence::plugin::{Consent, KeepData};
use ringfence::{Error, Host};
use ringfence_api::text::shell_word;
use ringfence_api::{ErrorCode, PluginState};
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{self, Call, Calls, Changed, Configuration, Installed, Plugins, Removed, Scanned, Told};
use super::arguments::{self, usage};
use super::tool::{PATH_MAX_BYTES, Tool};
use super::{InstallFrom, text};
use crate::Caller;

/// What a tool has to say.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) structured: Value,
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// One call of a tool: by whom, on what, under which rules of this server.
#[derive(Debug)]
pub(super) struct Act<'a> {
    pub(super) host: &'a Host,
    pub(super) caller: &'a Caller,
    pub(super) install_from: &'a InstallFrom,
    pub(super) page: Option<&'a str>,
}

impl Act<'_> {
    /// # Errors
    /// `usage` for arguments that break the schema; `forbidden` for a plugin that is not the caller's; what the host says.
    pub(super) async fn perform(&self, tool: Tool, arguments: Map<String, Value>) -> Result<Answer, Error> {
        match tool {
            Tool::List => self.list(arguments).await,
            Tool::Install => self.install(arguments).await,
            Tool::Activate => self.activate(arguments).await,
            Tool::Deactivate => self.deactivate(arguments).await,
            Tool::Uninstall => self.uninstall(arguments).await,
            Tool::Configure => self.configure(arguments).await,
            Tool::Executions => self.executions(arguments).await,
            Tool::Scan => self.scan(arguments).await,
        }
    }

    async fn list(&self, arguments: Map<String, Value>) -> Result<Answer, Error> {
        let arguments::Nothing {} = arguments::read(arguments)?;
        let mut all = self.host.list().await?;
        all.retain(|plugin| self.sees(plugin.name.as_str()));
        Answer::of(&Plugins::of(&all, self.page))
    }

    async fn install(&self, arguments: Map<String, Value>) -> Result<Answer, Error> {
        let arguments::Place { path } = arguments::read(arguments)?;
        if self.caller.plugin.is_some() {
            return Err(forbidden("a token for one plugin installs nothing"));
        }
        let path = self.package(path).await?;
        let done = self.host.install(&path, Consent::Withheld).await?;
        let asks = self.host.consent_request(done.plugin.name.as_str()).await?;
        Answer::of(&Installed::of(&done, &asks, self.page))
    }

    async fn activate(&self, arguments: Map<String, Value>) -> Result<Answer, Error> {
        let arguments::Named { name } = arguments::read(arguments)?;
        self.owns(&name)?;
        if self.state(&name).await? == PluginState::Installed {
            return Err(self.consent_required(&name).await?);
        }
        // The host refuses, and not a look before: what is put into quarantine in between stays there.
        let activated = self.host.activate_unless_quarantined(&name).await.map_err(|error| {
            if error.code() != ErrorCode::Quarantined {
                return error;
            }
            let name = shown(&name);
            let hint = format!(
                "ask a person to look at it with `ringfence show {name}`, and then to run `ringfence activate {name}`"
            );
            Error::new(ErrorCode::Quarantined, format!("{name} is in quarantine, and only a person releases it"))
                .with_hint(hint)
        });
        Answer::of(&Changed::of(&activated?, self.page))
    }

    async fn deactivate(&self, arguments: Map<String, Value>) -> Result<Answer, Error> {
        let arguments::Named { name } = arguments::read(arguments)?;
        self.owns(&name)?;
        Answer::of(&Changed::of(&self.host.deactivate(&name).await?, self.page))
    }

    async fn uninstall(&self, arguments: Map<String, Value>) -> Result<Answer, Error> {
        let arguments::Removed { name, keep_data } = arguments::read(arguments)?;
        self.owns(&name)?;
        let keep = if keep_data { KeepData::Yes } else { KeepData::No };
        self.host.uninstall(&name, keep).await?;
        Answer::of(&Removed { name: shown(&name), data_kept: keep_data })
    }

    async fn configure(&self, arguments: Map<String, Value>) -> Result<Answer, Error> {
        let arguments::Configured { name, set } = arguments::read(arguments)?;
        self.owns(&name)?;
        let changed = set.is_some();
        let config = match set {
            Some(set) => self.host.change_config(&name, Value::Object(set)).await?,
            None => self.host.config(&name).await?,
        };
        let Value::Object(config) = config else {
            return Err(Error::new(ErrorCode::Internal, "the configuration is no object"));
        };
        let details = self.host.show(&name).await?;
        let schema = answer::shown_schema(details.manifest.config_schema.as_ref());
        Answer::of(&Configuration { name: shown(&name), config, changed, schema })
    }

    async fn executions(&self, arguments: Map<String, Value>) -> Result<Answer, Error> {
        let wanted = arguments::read::<arguments::Listed>(arguments)?.checked()?;
        let only = match (&wanted.name, &self.caller.plugin) {
            (Some(name), _) => {
                self.owns(name)?;
                Some(name.clone())
            }
            (None, own) => own.as_ref().map(ToString::to_string),
        };
        let filter = ExecutionFilter { plugin: only, before: wanted.before, ..ExecutionFilter::default() };
        let ExecutionPage { executions, more } = self.host.executions(&filter, wanted.limit).await?;
        let calls = executions.iter().map(call).collect();
        Answer::of(&Calls { calls, more })
    }

    async fn scan(&self, arguments: Map<String, Value>) -> Result<Answer, Error> {
        let arguments::Scanned { path } = arguments::read(arguments)?;
        let Some(path) = path else {
            let scan = self.host.scan().await?;
            // A broken package has no name that could be trusted.
            return Answer::of(&Scanned::of(&scan, |name| self.sees(name), self.caller.plugin.is_none()));
        };
        if self.caller.plugin.is_some() {
            return Err(forbidden("a token for one plugin looks at no other package"));
        }
        let path = self.package(path).await?;
        let report = self.host.scan_package(&path).await?;
        Answer::of(&Scanned::code(&path.to_string_lossy(), &report))
    }

    fn sees(&self, name: &str) -> bool {
        self.caller.plugin.as_ref().is_none_or(|own| own.as_str() == name)
    }

    /// # Errors
    /// `forbidden`, whether or not there is such a plugin.
    fn owns(&self, name: &str) -> Result<(), Error> {
        if self.sees(name) { Ok(()) } else { Err(forbidden("the token is for another plugin")) }
    }

    async fn state(&self, name: &str) -> Result<PluginState, Error> {
        let all = self.host.list().await?;
        let plugin = all.iter().find(|plugin| plugin.name.as_str() == name);
        plugin.map(|plugin| plugin.state).ok_or_else(|| {
            Error::new(ErrorCode::NotFound, format!("there is no plugin '{}'", shown(name)))
                .with_hint("plugin_list names those that are installed")
        })
    }

    /// The refusal of what nobody has consented to.
    async fn consent_required(&self, name: &str) -> Result<Error, Error> {
        let asks = self.host.consent_request(name).await?;
        let wanted: Vec<String> =
            asks.all().iter().map(|permission| shown(&permission.to_string())).collect();
        let what = if wanted.is_empty() {
            format!("nobody has consented to {name} {}", shown(&asks.version))
        } else {
            format!(
                "nobody has consented to what {name} {} asks for: {}",
                shown(&asks.version),
                wanted.join(", ")
            )
        };
        let how = answer::Consent::to(name, self.page);
        Ok(Error::new(ErrorCode::ConsentRequired, what)
            .with_hint(format!("{}; an MCP client cannot consent", how.sentence())))
    }

    /// A directory from which this server takes packages, without links.
    ///
    /// # Errors
    /// `usage` for what is no absolute path; `forbidden` for a place that the configuration does not name, whether or not there
    /// is anything; `path_not_found`.
    async fn package(&self, given: String) -> Result<PathBuf, Error> {
        if given.len() > PATH_MAX_BYTES || given.contains('\0') || !given.starts_with('/') {
            return Err(usage(&format!("'path' must be an absolute path of at most {PATH_MAX_BYTES} bytes")));
        }
        let directories = match self.install_from {
            InstallFrom::Anywhere => None,
            InstallFrom::Directories(directories) => Some(directories.clone()),
        };
        let found =
            tokio::task::spawn_blocking(move || resolve(Path::new(&given), directories.as_deref())).await;
        found.map_err(|cause| {
            Error::new(ErrorCode::Internal, "the path could not be looked at").with_source(cause)
        })?
    }
}

/// The path without links. Outside of `directories`, nothing is said of what is there: neither of a path that is named so,
/// nor of one to which a link leads.
#[expect(
    clippy::disallowed_methods,
    reason = "where links lead is what is compared, and the path without them is installed"
)]
fn resolve(given: &Path, directories: Option<&[PathBuf]>) -> Result<PathBuf, Error> {
    let outside = |directories: &[PathBuf]| {
        let known: Vec<String> =
            directories.iter().map(|path| shell_word(&shown(&path.to_string_lossy()))).collect();
        let hint = if known.is_empty() {
            "the configuration names no directory for packages".to_owned()
        } else {
            format!("put the package below {}", known.join(" or "))
        };
        Error::new(ErrorCode::Forbidden, "packages are not taken from there").with_hint(hint)
    };
    let real = |path: &Path| std::fs::canonicalize(path);
    if let Some(directories) = directories {
        let plain = given.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        let named = directories.iter().any(|directory| {
            given.starts_with(directory)
                || real(directory).is_ok_and(|directory| given.starts_with(directory))
        });
        if !plain || !named {
            return Err(outside(directories));
        }
    }
    let found = real(given).map_err(|cause| {
        Error::new(ErrorCode::PathNotFound, format!("there is no '{}'", shown(&given.to_string_lossy())))
            .with_hint("name the directory that holds plugin.json, plugin.yaml or plugin.toml")
            .with_source(cause)
    })?;
    if let Some(directories) = directories {
        let inside = directories
            .iter()
            .filter_map(|directory| real(directory).ok())
            .any(|directory| found.starts_with(directory));
        if !inside {
            return Err(outside(directories));
        }
    }
    Ok(found)
}

fn forbidden(why: &str) -> Error {
    Error::new(ErrorCode::Forbidden, why)
        .with_hint("use a token that is not bound to one plugin, or name its own plugin")
}

fn call(one: &Execution) -> Call {
    Call {
        seq: one.id,
        at_ms: one.at_ms,
        plugin: shown(&one.plugin),
        method: shown(&one.method),
        tool: Some(shown(&one.tool)).filter(|tool| !tool.is_empty()),
        outcome: shown(&one.outcome),
        duration_ms: one.duration_us / 1_000,
        count: one.count,
        correlation_id: shown(&one.correlation_id),
    }
}

impl Answer {
    fn of(answer: &(impl Told + Serialize)) -> Result<Self, Error> {
        let structured = serde_json::to_value(answer)
            .map_err(|cause| Error::new(ErrorCode::Internal, "cannot write the answer").with_source(cause))?;
        Ok(Self { structured, text: text::bounded(answer.told()), is_error: false })
    }

    /// What is told of a failure.
    pub(super) fn failure(error: &Error) -> Self {
        let body = error.to_body();
        let message = text::lines(&body.message, text::ERROR_MAX_CHARS);
        let hint = body.hint.unwrap_or_else(|| body.code.remedy().to_owned());
        let hint = text::lines(&hint, text::ERROR_MAX_CHARS);
        let text = format!("{message} ({})\nhint: {hint}", body.code);
        let error = serde_json::json!({"code": body.code.as_str(), "message": message, "hint": hint});
        Self { structured: serde_json::json!({"error": error}), text, is_error: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_only_from_the_directories_that_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (good, bad) = (root.join("good"), root.join("bad"));
        for directory in [&good, &bad] {
            std::fs::create_dir_all(directory.join("p")).unwrap();
        }
        std::os::unix::fs::symlink(bad.join("p"), good.join("out")).unwrap();
        std::os::unix::fs::symlink(&good, root.join("also")).unwrap();
        let named = [root.join("also")];
        for allowed in [good.join("p"), root.join("also/p")] {
            assert_eq!(resolve(&allowed, Some(&named)).unwrap(), good.join("p"), "{}", allowed.display());
        }
        let refused =
            [bad.join("p"), good.join("out"), good.join("../bad/p"), root.join("goods"), root.join("none")];
        for path in refused {
            let code = resolve(&path, Some(&named)).unwrap_err().code();
            assert_eq!(code, ErrorCode::Forbidden, "{}", path.display());
        }
        assert_eq!(resolve(&good.join("none"), Some(&named)).unwrap_err().code(), ErrorCode::PathNotFound);
        assert_eq!(resolve(&good.join("p"), Some(&[])).unwrap_err().code(), ErrorCode::Forbidden);
        assert_eq!(resolve(&good.join("out"), None).unwrap(), bad.join("p"));
    }
}
