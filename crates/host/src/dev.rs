//! Working on a plugin: it runs from its directory, is started anew when something in it changes, and every act that was
//! refused comes with the line of the manifest that would allow it.
//!
//! What the manifest asks for is granted, so what is refused is what the manifest lacks. Nothing is installed; the private
//! data lies in a directory of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringfence_api::{Denial, ErrorCode, Permission};
use ringfence_sandbox::Resolved;
use ringfence_sandbox::tree::{Dir, EntryKind};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::lifecycle::{Confinement, Instance, Source, Target, Why, places, start};
use crate::plugin::CallOptions;
use crate::store::{AuditEvent, Owner};
use crate::{Error, Host, private_file};

/// Where the private data of what is developed lies, in the home.
pub(crate) const DATA: &str = "dev";

/// Files that are looked at for changes; a larger package is watched up to here.
const WATCHED_MAX: usize = 20_000;
/// Names that are read of one directory; nothing of a larger one is watched.
const LISTED_MAX: usize = 200_000;
/// How long a directory must have been quiet before it counts as changed: editors write in several steps.
const QUIET: Duration = Duration::from_millis(150);
/// What is not watched: no plugin's source, and changed by running it.
const NOT_WATCHED: [&str; 4] = [".git", "__pycache__", "node_modules", "target"];

/// How a plugin is run while it is worked on.
///
/// ```
/// assert!(!ringfence::dev::DevOptions::default().unsandboxed);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DevOptions {
    /// Without any sandbox, for a debugger. Refused for the name of an installed plugin, and recorded in the audit trail.
    pub unsandboxed: bool,
}

/// What one start found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The plugin's name and version.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its tools.
    pub tools: Vec<String>,
    /// What it was granted, since its manifest asks for it.
    pub grants: Vec<Permission>,
    /// Warnings about the package, and what the fields of a dialect became.
    pub notes: Vec<String>,
}

/// A plugin that is worked on.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// let mut dev = ringfence::dev::Dev::open(&host, "./greeter", Default::default()).await?;
/// println!("{:?}", dev.reload().await?.tools);
/// println!("{}", dev.call("greet", serde_json::json!({"name": "Ada"})).await?);
/// dev.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Dev {
    host: Host,
    package: PathBuf,
    options: DevOptions,
    running: Option<Arc<Instance>>,
    seen: BTreeMap<PathBuf, Stamp>,
    changed_at: Option<std::time::Instant>,
}

/// What tells that a file is another one.
type Stamp = (u64, i128);

impl Dev {
    /// Takes a package; nothing runs yet. `path` is its directory or its manifest.
    ///
    /// # Errors
    /// `path_not_found`; `permission_denied` for `unsandboxed` when a plugin of that name is installed.
    ///
    /// # Cancel safety
    /// Changes nothing but the audit trail.
    pub async fn open(host: &Host, path: impl AsRef<Path>, options: DevOptions) -> Result<Self, Error> {
        let package = crate::manifest::package_of(path.as_ref())?;
        let package = ringfence_sandbox::Resolved::find(&package)
            .map_err(|error| crate::exec::translate::path_error(error, "dev"))?
            .path()
            .to_owned();
        let dev = Self {
            host: host.clone(),
            seen: stamps(&package),
            package,
            options,
            running: None,
            changed_at: None,
        };
        if options.unsandboxed {
            dev.refuse_installed().await?;
        }
        Ok(dev)
    }

    /// An installed plugin never runs without its sandbox, and whoever runs one without is on record before it starts.
    async fn refuse_installed(&self) -> Result<(), Error> {
        let (context, package) = (Arc::clone(self.host.context()), self.package.clone());
        let store = context.store.clone();
        store
            .run(move |store| {
                let manifest = crate::manifest::load(&package)?.manifest;
                if store.plugin(&manifest.name)?.is_some() {
                    let message = format!(
                        "{} is installed, and an installed plugin never runs without its sandbox",
                        manifest.name
                    );
                    return Err(Error::new(ErrorCode::PermissionDenied, message)
                        .with_hint("work on it under another name, or uninstall it first"));
                }
                let event = AuditEvent::DevUnsandboxed { package: package.display().to_string() };
                store.audit(Owner::new(manifest.name.clone(), "dev").subject(), event)
            })
            .await
    }

    /// Checks the package, starts it, and only then stops what ran before: while the new one is broken, the old one stays.
    ///
    /// # Errors
    /// `invalid_manifest` and `invalid_package` with every finding; `policy_denied`; what a start says.
    ///
    /// One that the policy refuses ends what ran before, too.
    ///
    /// # Cancel safety
    /// Dropped, the one that ran before runs on.
    pub async fn reload(&mut self) -> Result<Reloaded, Error> {
        if self.options.unsandboxed {
            self.refuse_installed().await?;
        }
        let (context, package, options) =
            (Arc::clone(self.host.context()), self.package.clone(), self.options);
        let store = context.store.clone();
        let made = store.run(move |_| target(&context, &package, options)).await;
        let started = async {
            let (target, notes) = made?;
            let target = Arc::new(target);
            let started = start(self.host.context(), Arc::clone(&target)).await?;
            Ok::<_, Error>((target, notes, started))
        };
        let (target, notes, started) = match started.await {
            Ok(started) => started,
            Err(error) => {
                // What the policy forbids does not run on because the next one is forbidden, too.
                if error.code() == ErrorCode::PolicyDenied
                    && let Some(before) = self.running.take()
                {
                    before.stop(Why::Asked).await;
                }
                return Err(error);
            }
        };
        if let Some(before) = self.running.replace(Arc::new(started)) {
            before.stop(Why::Asked).await;
        }
        let mut tools: Vec<String> = target.tools.keys().cloned().collect();
        tools.sort_unstable();
        Ok(Reloaded {
            name: target.name.to_string(),
            version: target.manifest.version.to_string(),
            tools,
            grants: target.grants.clone(),
            notes,
        })
    }

    /// Calls a tool of what runs.
    ///
    /// # Errors
    /// As for [`Host::call_with`]; `not_active` while nothing runs.
    ///
    /// # Cancel safety
    /// As for [`Host::call_with`].
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Error> {
        let running = self.running.as_ref().filter(|running| running.watched.exit().is_none());
        let Some(running) = running else {
            return Err(Error::new(ErrorCode::NotActive, "the plugin does not run")
                .with_hint("mend what was reported; it is started when a file changes"));
        };
        let arguments: Box<RawValue> = serde_json::value::to_raw_value(&arguments)
            .map_err(|error| Error::new(ErrorCode::Usage, "the arguments are no JSON").with_source(error))?;
        let (options, now) = (CallOptions::default(), std::time::Instant::now());
        let result = self.host.call_instance(running, tool, &arguments, &options, now).await?;
        serde_json::from_str(result.get())
            .map_err(|error| Error::new(ErrorCode::PluginFailed, "the result is no JSON").with_source(error))
    }

    /// How what runs has ended, if it has: in one sentence, with the last line of its log.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        let running = self.running.as_ref()?;
        let exit = running.watched.exit()?;
        let last = running.target.log.tail().last().map(|line| line.message.clone()).unwrap_or_default();
        Some(format!("{}; its last words: {}", exit.reason(), crate::consent::shown(&last)))
    }

    /// Whether something in the package has changed since the last time this was true, and has been quiet for a moment. Looks
    /// at the disk; call it a few times a second. A policy that changes what the plugin may do counts as a change.
    pub fn changed(&mut self) -> bool {
        if let Some(running) = &self.running {
            let (context, target) = (self.host.context(), &running.target);
            let generation = context.policy.now().generation;
            if target.policy_generation.swap(generation, Ordering::Relaxed) != generation
                && !target.allowed_by_now(context)
            {
                return true;
            }
        }
        let now = stamps(&self.package);
        if now != self.seen {
            self.seen = now;
            self.changed_at = Some(std::time::Instant::now());
            return false;
        }
        let quiet = self.changed_at.is_some_and(|at| at.elapsed() >= QUIET);
        if quiet {
            self.changed_at = None;
        }
        quiet
    }

    /// Stops what runs.
    ///
    /// # Cancel safety
    /// Dropped, the stop goes on by itself.
    pub async fn close(mut self) {
        if let Some(running) = self.running.take() {
            running.stop(Why::Asked).await;
        }
    }
}

/// The line of a manifest that would allow what was refused; `None` when no permission would.
///
/// ```
/// use ringfence_api::Denial;
///
/// let denial = Denial { grant: Some("file:read=/srv/a".to_owned()), ..Denial::new("mount", "read") };
/// assert_eq!(ringfence::dev::manifest_line(&denial).as_deref(), Some("permissions: [\"file:read=/srv/a\"]"));
/// ```
#[must_use]
pub fn manifest_line(denial: &Denial) -> Option<String> {
    let grant = denial.grant.as_ref()?;
    grant
        .parse::<Permission>()
        .ok()
        .map(|permission| format!("permissions: [{}]", serde_json::Value::String(permission.to_string())))
}

fn target(
    context: &Arc<crate::lifecycle::Context>,
    package: &Path,
    options: DevOptions,
) -> Result<(Target, Vec<String>), Error> {
    let checked = crate::check::check(package);
    let has_errors = checked.has_errors();
    let notes: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
    let Some(loaded) = checked.loaded.filter(|_| !has_errors) else {
        return Err(Error::new(ErrorCode::InvalidManifest, notes.join("\n"))
            .with_hint("`ringfence check PATH` lists them, too"));
    };
    let owner = Owner::new(loaded.manifest.name.clone(), "dev");
    let admitted = context.policy.admit(&ringfence_policy::Candidate {
        name: loaded.manifest.name.as_str(),
        publisher: Owner::unsigned(&loaded.manifest).publisher(),
        digest: "",
    });
    admitted.map_err(|error| {
        context.refused_by_policy(owner.subject(), "dev", package.display().to_string(), error)
    })?;
    crate::runtime::check_code(package, &loaded.manifest, &context.world(&context.config()))?;
    let requested = loaded
        .manifest
        .requested()
        .map_err(|error| Error::new(ErrorCode::InvalidManifest, "the permissions").with_source(error))?;
    let data = context.home.path().join(DATA).join(loaded.manifest.name.as_str());
    private_file::create_dir_all(&data).map_err(|error| Error::file("make", &data, error))?;
    let requested: Vec<Permission> = requested.into_iter().map(|(permission, _)| permission).collect();
    let pins = places::fresh(context, &loaded.manifest.name, &requested)?;
    let source = Source {
        package: package.to_owned(),
        data,
        owner,
        digest: "dev".to_owned(),
        pins,
        grants: requested,
        config: Value::Object(serde_json::Map::new()),
        sandbox: if options.unsandboxed { Confinement::None } else { Confinement::Observed },
        manifest: loaded.manifest,
        run: None,
    };
    Ok((Target::of(context, source)?, notes))
}

/// Every file of the package with what tells that it is another one. Links are not followed.
fn stamps(package: &Path) -> BTreeMap<PathBuf, Stamp> {
    let mut seen = BTreeMap::new();
    let Ok(root) = Resolved::find(package) else { return seen };
    let mut directories = vec![root.path().to_owned()];
    while let Some(directory) = directories.pop() {
        // The plugin may write here, if it is granted its own package.
        let Ok(opened) = Dir::open_without_links(&directory) else { continue };
        for name in opened.names(LISTED_MAX).unwrap_or_default() {
            if seen.len() >= WATCHED_MAX || NOT_WATCHED.iter().any(|skipped| name == *skipped) {
                continue;
            }
            let Ok(found) = opened.status(&name) else { continue };
            let path = directory.join(&name);
            if found.kind == EntryKind::Directory {
                directories.push(path);
            } else {
                seen.insert(path, (found.size, found.modified_ns));
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_below_and_what_running_makes_is_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("lib")).unwrap();
        std::fs::write(dir.path().join("lib/a.py"), "1").unwrap();
        let before = stamps(dir.path());
        assert_eq!(before, stamps(dir.path()));
        std::fs::create_dir_all(dir.path().join("lib/__pycache__")).unwrap();
        std::fs::write(dir.path().join("lib/__pycache__/a.pyc"), "1").unwrap();
        assert_eq!(before, stamps(dir.path()));
        std::fs::write(dir.path().join("lib/a.py"), "22").unwrap();
        assert_ne!(before, stamps(dir.path()));
    }

    #[test]
    fn what_no_permission_allows_has_no_line() {
        assert_eq!(manifest_line(&Denial::new("seccomp", "mount")), None);
    }
}
