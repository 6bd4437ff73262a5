//! From an installed plugin and its grants to what the sandbox runs.
//!
//! A plugin is started by the same translation as a single command: its grants are the command's grants, and beside them it
//! sees its package (read-only), its data directory (its own to write) and, where it has one, its interpreter and the runner.

mod describe;
mod interpreter;
mod runners;
mod types;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use ringfence_api::{ErrorCode, Manifest, OnMemory, Permission, Runtime, Wire};

use crate::config::{Config, PluginLimits};
use crate::exec::Exec;
use crate::exec::held::Pins;
use crate::policy::{PluginRules, clamp};
use crate::{Error, Home};

pub(crate) use describe::check_code;
pub use describe::describe_package;
pub(crate) use runners::Runners;
pub use types::PluginType;
pub(crate) use types::{Types, completed};

/// The variable that tells a plugin its name.
pub const PLUGIN_VARIABLE: &str = "RINGFENCE_PLUGIN";
/// The variable that tells a plugin where its private data is.
pub const DATA_VARIABLE: &str = "RINGFENCE_DATA_DIR";

/// Everything that one start depends on.
#[derive(Clone, Debug)]
pub(crate) struct Spec<'a> {
    /// Where the package is.
    pub(crate) package: &'a Path,
    /// Its private data directory; `None` for a package that is only looked at.
    pub(crate) data: Option<&'a Path>,
    /// What it says of itself.
    pub(crate) manifest: &'a Manifest,
    /// What it is granted.
    pub(crate) grants: &'a [Permission],
    /// What the administrator's policy says about it; `None` where nothing is granted anyway.
    pub(crate) policy: Option<&'a PluginRules>,
    /// What the grants opened when they were consented to; `None`: they are taken as they are written.
    pub(crate) pins: Option<&'a Arc<Pins>>,
    /// Whether it runs, or only says what it offers.
    pub(crate) purpose: Purpose,
}

/// What all starts of one host have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World<'a> {
    pub(crate) home: &'a Home,
    pub(crate) config: &'a Config,
    pub(crate) runners: &'a Runners,
    pub(crate) types: &'a Types,
}

/// What a start is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To serve.
    Run,
    /// To say which tools, hooks and classes the code has, and to end.
    Describe,
}

/// Whether the files of a runner are to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// They are made if they are not.
    Made,
    /// Only their names are wanted; nothing is made, compiled or run.
    Named,
}

/// The limits that hold for a plugin: the administrator's, lowered by its manifest.
///
/// ```
/// use ringfence::runtime::effective_limits;
/// use ringfence_api::LimitsRequest;
///
/// let asked = LimitsRequest { memory_mb: Some(100), call_timeout_s: Some(9999), ..LimitsRequest::default() };
/// let limits = effective_limits(&ringfence::config::PluginLimits::default(), &asked);
/// assert_eq!((limits.memory_bytes, limits.call_timeout.as_secs()), (Some(100_000_000), 300));
/// ```
#[must_use]
pub fn effective_limits(given: &PluginLimits, asked: &ringfence_api::LimitsRequest) -> PluginLimits {
    const MB: u64 = 1_000_000;
    let lower = |given: Option<u64>, asked: Option<u64>| match (given, asked) {
        (Some(given), Some(asked)) => Some(given.min(asked)),
        (given, asked) => given.or(asked),
    };
    let sooner = |given: std::time::Duration, asked: Option<u64>| {
        asked.map_or(given, |seconds| given.min(std::time::Duration::from_secs(seconds)))
    };
    let bytes = |megabytes: Option<u64>| megabytes.map(|count| count.saturating_mul(MB));
    let cpu = lower(given.cpu_percent.map(u64::from), asked.cpu_percent.map(u64::from));
    PluginLimits {
        memory_bytes: lower(given.memory_bytes, bytes(asked.memory_mb)),
        cpu_percent: cpu.and_then(|percent| u32::try_from(percent).ok()),
        file_size_bytes: lower(given.file_size_bytes, bytes(asked.file_size_mb)),
        processes: lower(given.processes, asked.processes),
        init_timeout: sooner(given.init_timeout, asked.init_timeout_s),
        call_timeout: sooner(given.call_timeout, asked.call_timeout_s),
        log_bytes: bytes(asked.output_mb).map_or(given.log_bytes, |asked| asked.min(given.log_bytes)),
        ..given.clone()
    }
}

/// The administrator's limits under the ceilings of the policy.
pub(crate) fn given_limits(given: &PluginLimits, policy: Option<&PluginRules>) -> PluginLimits {
    policy.map_or_else(|| given.clone(), |policy| clamp(given, &policy.ceilings).0)
}

/// The memory at which a plugin is ended. One that asks to be only warned at its own limit is ended at the administrator's.
pub(crate) fn hard_memory_limit(given: &PluginLimits, manifest: &Manifest) -> Option<u64> {
    match manifest.limits.on_memory {
        Some(OnMemory::Warn) => given.memory_bytes,
        Some(OnMemory::Kill) | None => effective_limits(given, &manifest.limits).memory_bytes,
    }
}

/// The request for the sandbox.
///
/// # Errors
/// `not_supported` for a runtime that is not built yet; `not_found` and `invalid_config` for its interpreter; `io` when the
/// runner cannot be laid out.
pub(crate) fn request(spec: &Spec<'_>, world: &World<'_>) -> Result<Exec, Error> {
    let World { home, config, .. } = *world;
    let mut exec = program(spec, world, Files::Made)?;
    exec.home = Some(home.clone());
    exec.backend = config.limits_backend;
    exec.directory(spec.package).read_path(spec.package).working_directory(spec.package);
    exec.plugin = Some(spec.data.map(Path::to_owned));
    if let Some(data) = spec.data {
        exec.write_path(data).variable(DATA_VARIABLE, data);
    }
    exec.variable(PLUGIN_VARIABLE, spec.manifest.name.as_str());
    grants(&mut exec, spec);
    let given = given_limits(&config.plugins, spec.policy);
    let limits = effective_limits(&given, &spec.manifest.limits);
    let bounds = exec.limits();
    bounds.timeout = None;
    bounds.memory_bytes = hard_memory_limit(&given, spec.manifest);
    bounds.cpu_percent = limits.cpu_percent;
    bounds.processes = limits.processes;
    bounds.file_size_bytes = limits.file_size_bytes;
    bounds.open_files = limits.open_files;
    Ok(exec)
}

/// The command that a start would run, to show it. Nothing is made, compiled or run.
///
/// # Errors
/// As for [`request`], but for `io`.
pub(crate) fn command(spec: &Spec<'_>, world: &World<'_>) -> Result<Vec<OsString>, Error> {
    program(spec, world, Files::Named).map(|exec| exec.command)
}

fn program(spec: &Spec<'_>, world: &World<'_>, files: Files) -> Result<Exec, Error> {
    match spec.manifest.runtime {
        Runtime::Native => Ok(Exec::new([spec.package.join(&spec.manifest.entry_point)])),
        Runtime::Python | Runtime::Node => interpreted(spec, world, files),
        other => {
            let message = format!("the runtime '{other}' cannot be started by this version");
            Err(Error::new(ErrorCode::NotSupported, message)
                .with_hint("the runtimes of this version are native, python and node"))
        }
    }
}

/// A program that the plugin runs beside itself: with what the plugin sees, may and is limited to, and nothing more.
///
/// # Errors
/// As for [`request`].
pub(crate) fn beside(
    spec: &Spec<'_>,
    world: &World<'_>,
    command: impl IntoIterator<Item = OsString>,
) -> Result<Exec, Error> {
    let mut exec = request(spec, world)?;
    exec.command = command.into_iter().collect();
    Ok(exec)
}

/// The same grants without a program: for judging, not for starting.
pub(crate) fn grants_only(spec: &Spec<'_>, home: &Home) -> Exec {
    let mut exec = Exec::new(["/"]);
    exec.home = Some(home.clone());
    exec.directory(spec.package).read_path(spec.package);
    exec.plugin = Some(spec.data.map(Path::to_owned));
    if let Some(data) = spec.data {
        exec.write_path(data);
    }
    grants(&mut exec, spec);
    exec
}

/// What is granted, and what the policy takes of it.
fn grants(exec: &mut Exec, spec: &Spec<'_>) {
    for grant in spec.grants {
        exec.grant(grant.to_string());
    }
    exec.policy = spec.policy.and_then(|policy| policy.rules.clone());
    exec.pins = spec.pins.cloned();
}

fn interpreted(spec: &Spec<'_>, world: &World<'_>, files: Files) -> Result<Exec, Error> {
    let runtime = spec.manifest.runtime;
    let interpreter = interpreter::find(runtime, &world.config.interpreters)?;
    if spec.manifest.wire == Wire::Legacy {
        return Ok(by_itself(spec, &interpreter));
    }
    let runner = world.runners.runner(world.home, runtime, &interpreter, files)?;
    let mut command: Vec<OsString> = vec![interpreter.program.clone().into()];
    command.extend(runner.arguments.iter().map(OsString::from));
    command.push(runner.entry.into());
    if spec.purpose == Purpose::Describe {
        command.push("--describe".into());
    }
    command.push(spec.package.into());
    command.push(spec.manifest.entry_point.clone().into());
    let types = if runtime == Runtime::Python { types::file(world.home, world.types, files)? } else { None };
    if let Some((file, _)) = &types {
        command.push("--types".into());
        command.push(file.into());
    }
    let mut exec = Exec::new(command);
    exec.read_path(&runner.directory);
    for shown in types.into_iter().flat_map(|(file, paths)| paths.into_iter().chain([file])) {
        exec.read_path(shown);
    }
    if let Some(prefix) = &interpreter.prefix {
        exec.read_path(prefix);
    }
    Ok(exec)
}

/// A script of the older wire form speaks for itself: there is nothing for a runner to import.
fn by_itself(spec: &Spec<'_>, interpreter: &interpreter::Interpreter) -> Exec {
    let mut command: Vec<OsString> = vec![interpreter.program.clone().into()];
    if spec.manifest.runtime == Runtime::Python {
        // Such scripts print their answers, and few of them flush.
        command.push("-u".into());
    }
    command.push(spec.package.join(&spec.manifest.entry_point).into());
    let mut exec = Exec::new(command);
    if let Some(prefix) = &interpreter.prefix {
        exec.read_path(prefix);
    }
    exec
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_api::LimitsRequest;

    #[test]
    fn the_command_that_is_shown_is_the_one_that_runs_and_showing_it_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        let types = Types::from([("filter".to_owned(), PluginType::new("app.Filter"))]);
        let config = Config::default();
        for runtime in [Runtime::Python, Runtime::Node, Runtime::Native] {
            let runners = Runners::default();
            let world = World { home: &home, config: &config, runners: &runners, types: &types };
            let manifest: Manifest = serde_json::from_value(serde_json::json!({
                "name": "p", "version": "1.0.0", "runtime": runtime.to_string(), "entry_point": "p"
            }))
            .unwrap();
            let spec = Spec {
                package: dir.path(),
                data: None,
                manifest: &manifest,
                grants: &[],
                policy: None,
                pins: None,
                purpose: Purpose::Run,
            };
            let Ok(shown) = command(&spec, &world) else { continue };
            assert!(!home.path().exists(), "{runtime}");
            assert_eq!(request(&spec, &world).unwrap().command, shown, "{runtime}");
            // The twin: a start makes them.
            assert_eq!(home.path().join("runners").exists(), runtime != Runtime::Native, "{runtime}");
            if home.path().exists() {
                std::fs::remove_dir_all(home.path()).unwrap();
            }
        }
    }

    #[test]
    fn who_is_only_warned_at_its_own_limit_is_ended_at_the_administrators() {
        let mut manifest: Manifest = serde_json::from_value(serde_json::json!({
            "name": "p", "version": "1.0.0", "runtime": "native", "entry_point": "p", "limits": {"memory_mb": 50}
        }))
        .unwrap();
        let given = PluginLimits::default();
        assert_eq!(hard_memory_limit(&given, &manifest), Some(50_000_000));
        manifest.limits.on_memory = Some(OnMemory::Warn);
        assert_eq!(hard_memory_limit(&given, &manifest), Some(500_000_000));
    }

    #[test]
    fn a_manifest_lowers_limits_and_never_raises_them() {
        let given =
            PluginLimits { memory_bytes: Some(200_000_000), cpu_percent: None, ..PluginLimits::default() };
        let asked = LimitsRequest {
            memory_mb: Some(900),
            cpu_percent: Some(50),
            processes: Some(3),
            init_timeout_s: Some(5),
            output_mb: Some(1),
            ..LimitsRequest::default()
        };
        let limits = effective_limits(&given, &asked);
        assert_eq!((limits.memory_bytes, limits.cpu_percent), (Some(200_000_000), Some(50)));
        assert_eq!((limits.processes, limits.init_timeout.as_secs()), (Some(3), 5));
        assert_eq!((limits.log_bytes, limits.file_size_bytes), (1_000_000, Some(100_000_000)));
        assert_eq!(effective_limits(&given, &LimitsRequest::default()), given);
    }
}
