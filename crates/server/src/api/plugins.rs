//! Plugins: what there is, and each step of their lives.

use std::path::{Path, PathBuf};

use ringfence::Error;
use ringfence::audit::AuditPage;
use ringfence::host::UpgradeOptions;
use ringfence::lifecycle::LogLine;
use ringfence::metrics::ResourceSample;
use ringfence::plugin::{Consent, Installed, KeepData, PluginDetails, PluginSummary, Scan, Upgraded};
use ringfence_api::{Denial, ErrorCode, Permission, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Done, Found, Made};
use super::asked::{Asked, Query};
use super::error::Failure;
use super::idempotency::{self, Unknown};
use super::upload::{self, InstallQuery, PackageSent, UpgradeQuery};

/// Log lines of one answer at most, and unless the query says how many.
const LINES_MAX: usize = 10_000;
const LINES: usize = 100;
/// Records of one answer unless the query says how many.
const RECORDS: usize = 100;

/// What a person allows, with the request that needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsentBody {
    /// Exactly these permissions; an empty list grants nothing, and that is a consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Vec<Permission>>,
    /// All that the manifest asks for. Not together with `grant`.
    #[serde(default)]
    pub grant_requested: bool,
}

impl ConsentBody {
    /// # Errors
    /// `usage` when both are said.
    pub(super) fn consent(self) -> Result<Consent, Failure> {
        match (self.grant, self.grant_requested) {
            (None, false) => Ok(Consent::Absent),
            (None, true) => Ok(Consent::Requested),
            (Some(permissions), false) => Ok(Consent::Only(permissions)),
            (Some(_), true) => {
                Err(Failure::new(ErrorCode::Usage, "`grant` and `grant_requested` exclude each other"))
            }
        }
    }
}

/// What to install, and what is allowed to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstallBody {
    /// The package's directory or archive on the server's machine, absolute, and below one of the directories that the server's
    /// configuration names in `install_from`. Root and the daemon's own user, over its socket without a token, may name any.
    #[schemars(regex(pattern = r"^/"))]
    pub path: String,
    /// Exactly these permissions; an empty list grants nothing, and that is a consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Vec<Permission>>,
    /// All that the manifest asks for. Not together with `grant`.
    #[serde(default)]
    pub grant_requested: bool,
}

/// What to upgrade to, and what is allowed to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpgradeBody {
    /// As for an installation.
    #[schemars(regex(pattern = r"^/"))]
    pub path: String,
    /// Exactly these permissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Vec<Permission>>,
    /// All that the manifest asks for. Not together with `grant`.
    #[serde(default)]
    pub grant_requested: bool,
    /// Whether an older version is taken, too.
    #[serde(default)]
    pub allow_downgrade: bool,
}

/// How to uninstall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UninstallQuery {
    /// Keeps the private data for a later installation by the same publisher.
    #[serde(default)]
    keep_data: bool,
}

/// How much of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    /// The last so many lines; 100, at most 10,000.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000))]
    lines: Option<usize>,
}

/// How many records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitQuery {
    /// At most so many; 100, at most 1,000.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<usize>,
}

pub(super) async fn list(asked: Asked<(), ()>) -> Result<Found<Vec<PluginSummary>>, Failure> {
    let mut all = asked.host.list().await?;
    if let Some(own) = &asked.caller.plugin {
        all.retain(|plugin| plugin.name == *own);
    }
    Ok(Found(all))
}

pub(super) async fn show(asked: Asked<(), ()>) -> Result<Found<PluginDetails>, Failure> {
    Ok(Found(asked.host.show(asked.name()).await?))
}

pub(super) async fn install(
    asked: Asked<InstallQuery, PackageSent<InstallBody>>,
) -> Result<Made<Installed>, Failure> {
    // The size of a report of a scan, which is bounded; the exact number does not matter.
    let size = |installed: &Installed| installed.scan.findings.len() * 1_024 + 4_096;
    let (asked, body) = asked.split();
    match body {
        PackageSent::Document(body) => {
            asked.query.require_empty()?;
            let key = idempotency::Key::of(&asked, "install", &body, Unknown::Again)?;
            let path = package(&asked, &body.path)?;
            let (api, host) = (asked.api, asked.host);
            let consent =
                ConsentBody { grant: body.grant, grant_requested: body.grant_requested }.consent()?;
            Ok(Made(api.keys.once(key, size, async move { host.install(&path, consent).await }).await?))
        }
        PackageSent::Archive(archive) => {
            let allowed = asked.query.clone().consent()?;
            let package = upload::unpack(&asked.api, &asked.host, archive).await?;
            // The same bytes with the same consent are the same request.
            let same = (&package.contents().sha256, &allowed);
            let key = idempotency::Key::of(&asked, "install", &same, Unknown::Again)?;
            let (api, host, consent) = (asked.api, asked.host, allowed.consent()?);
            let work = async move { host.install_unpacked(package, consent).await };
            Ok(Made(api.keys.once(key, size, work).await?))
        }
    }
}

pub(super) async fn uninstall(asked: Asked<Query<UninstallQuery>, ()>) -> Result<Done, Failure> {
    let keep = if asked.query.0.keep_data { KeepData::Yes } else { KeepData::No };
    asked.host.uninstall(asked.name(), keep).await?;
    Ok(Done)
}

pub(super) async fn scan(asked: Asked<(), ()>) -> Result<Found<Scan>, Failure> {
    let _one_of_few = asked.api.long_look()?;
    Ok(Found(asked.host.scan().await?))
}

pub(super) async fn activate(asked: Asked<(), ()>) -> Result<Found<PluginSummary>, Failure> {
    let name = asked.name();
    if asked.caller.role >= Role::Admin {
        return Ok(Found(asked.host.activate(name).await?));
    }
    // The host refuses, and not a look before: what is put into quarantine in between stays there.
    match asked.host.activate_unless_quarantined(name).await {
        Ok(plugin) => Ok(Found(plugin)),
        Err(error) if error.code() == ErrorCode::Quarantined => {
            let message =
                format!("{name} is quarantined, and the role {} does not release it", Role::Operator);
            Err(Failure::new(ErrorCode::Quarantined, message)
                .hint("an administrator reads the reason and activates it"))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn deactivate(asked: Asked<(), ()>) -> Result<Found<PluginSummary>, Failure> {
    Ok(Found(asked.host.deactivate(asked.name()).await?))
}

pub(super) async fn upgrade(
    asked: Asked<UpgradeQuery, PackageSent<UpgradeBody>>,
) -> Result<Found<Upgraded>, Failure> {
    let own = asked.host.show(asked.name()).await?.name;
    let options = |allow_downgrade| UpgradeOptions { allow_downgrade, expected: Some(own) };
    let (asked, body) = asked.split();
    match body {
        PackageSent::Document(body) => {
            asked.query.require_empty()?;
            let consent =
                ConsentBody { grant: body.grant, grant_requested: body.grant_requested }.consent()?;
            let path = package(&asked, &body.path)?;
            Ok(Found(asked.host.upgrade(&path, consent, options(body.allow_downgrade)).await?))
        }
        PackageSent::Archive(archive) => {
            let consent = asked.query.grants().consent()?.consent()?;
            let package = upload::unpack(&asked.api, &asked.host, archive).await?;
            let options = options(asked.query.allow_downgrade);
            Ok(Found(asked.host.upgrade_unpacked(package, consent, options).await?))
        }
    }
}

pub(super) async fn rollback(asked: Asked<(), ()>) -> Result<Found<Upgraded>, Failure> {
    Ok(Found(asked.host.rollback(asked.name()).await?))
}

pub(super) async fn logs(asked: Asked<Query<LogQuery>, ()>) -> Result<Found<Vec<LogLine>>, Failure> {
    let lines = bounded("lines", asked.query.0.lines, LINES, LINES_MAX)?;
    Ok(Found(asked.host.logs(asked.name(), lines).await?))
}

pub(super) async fn denials(asked: Asked<(), ()>) -> Result<Found<Vec<Denial>>, Failure> {
    Ok(Found(asked.host.denials(asked.name()).await?))
}

pub(super) async fn activity(asked: Asked<Query<LimitQuery>, ()>) -> Result<Found<AuditPage>, Failure> {
    let limit = bounded("limit", asked.query.0.limit, RECORDS, ringfence::audit::AUDIT_PAGE_MAX)?;
    Ok(Found(asked.host.activity(asked.name(), limit).await?))
}

pub(super) async fn resources(
    asked: Asked<Query<LimitQuery>, ()>,
) -> Result<Found<Vec<ResourceSample>>, Failure> {
    let limit = bounded("limit", asked.query.0.limit, RECORDS, ringfence::audit::AUDIT_PAGE_MAX)?;
    Ok(Found(asked.host.resources(asked.name(), limit).await?))
}

/// A number within its bounds.
///
/// # Errors
/// `usage`, naming both.
pub(super) fn bounded(
    name: &str,
    given: Option<usize>,
    default: usize,
    most: usize,
) -> Result<usize, Failure> {
    let number = given.unwrap_or(default);
    if (1..=most).contains(&number) {
        return Ok(number);
    }
    Err(Failure::new(ErrorCode::Usage, format!("`{name}` is 1 to {most}")))
}

/// Where a package lies, if it is below a directory that packages may come from. Whoever needs no token could install from
/// anywhere with the command line.
///
/// # Errors
/// `usage` for a path that is not absolute and plain; `forbidden` for one elsewhere; `path_not_found`. Whether something is
/// there is not told of a path elsewhere.
fn package<Q, B>(asked: &Asked<Q, B>, path: &str) -> Result<PathBuf, Failure> {
    let given = plain(path)?;
    if asked.owner().is_some() {
        return given.canonicalize().map_err(|error| missing(path, error).into());
    }
    permitted(&asked.api.install_from, given, path)
}

fn plain(path: &str) -> Result<&Path, Failure> {
    let given = Path::new(path);
    let is_plain = given.is_absolute()
        && !path.contains('\0')
        && given
            .components()
            .all(|part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_)));
    if is_plain {
        return Ok(given);
    }
    Err(Failure::new(ErrorCode::Usage, "`path` must be absolute, without `.` and `..`"))
}

fn permitted(from: &[PathBuf], given: &Path, path: &str) -> Result<PathBuf, Failure> {
    let refused = || {
        let hint = match from.is_empty() {
            true => "name directories in `install_from` under `[server]` of config.toml".to_owned(),
            false => {
                let all: Vec<String> = from.iter().map(|path| path.display().to_string()).collect();
                format!("put the package below {}", all.join(" or "))
            }
        };
        Failure::new(ErrorCode::Forbidden, "packages are not installed from there over HTTP").hint(hint)
    };
    if !from.iter().any(|directory| given.starts_with(directory)) {
        return Err(refused());
    }
    // A link below a directory that is allowed may lead out of it.
    let real = given.canonicalize().map_err(|error| Failure::from(missing(path, error)))?;
    let is_below = from
        .iter()
        .filter_map(|directory| directory.canonicalize().ok())
        .any(|directory| real.starts_with(directory));
    if is_below { Ok(real) } else { Err(refused()) }
}

fn missing(path: &str, error: std::io::Error) -> Error {
    Error::new(ErrorCode::PathNotFound, format!("there is no package at {}", path.escape_debug()))
        .with_source(error)
}
