//! What is said of an installed plugin: in lists, in full, and after each act of its life.

use std::collections::BTreeMap;
use std::time::Duration;

use ringfence_api::{Denial, EnforcedLayer, Manifest, Permission, PluginName, PluginState, Runtime};
use serde::{Deserialize, Serialize};

use crate::consent::ConsentRequest;
use crate::enforcement::Enforcement;
use crate::scan::Report;

/// One line of a list.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// for plugin in host.list().await? {
///     println!("{} {} {}", plugin.name, plugin.version, plugin.state);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PluginSummary {
    /// Its name.
    pub name: PluginName,
    /// Its version.
    pub version: String,
    /// Where it stands.
    pub state: PluginState,
    /// How it runs.
    pub runtime: Runtime,
    /// Who made it, as far as that is proven.
    pub publisher: String,
    /// What it is for, in the author's words, escaped and cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Why it is in this state, where there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A grant as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GrantInfo {
    /// What is granted.
    pub permission: Permission,
    /// What that means, in words.
    pub meaning: String,
    /// How it is enforced, if by anything yet.
    pub enforced: Enforcement,
    /// When it was given, in unix milliseconds.
    pub granted_at_ms: i64,
    /// By whom.
    pub granted_by: String,
    /// What the administrator's policy takes of it; `None`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyNote>,
    /// Where it leads on this machine; `None` for what is over no files, and where it opens just what is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<GrantPlace>,
    /// What writing there reaches beyond the place, as it was found when it was granted: names of files that lie elsewhere too, and
    /// what is executed later. Said by what grants, and empty where grants are only listed: looking takes some tenths of a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Where a grant over files leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GrantPlace {
    /// The path, every link followed.
    pub path: String,
    /// Whether it is opened.
    pub state: PlaceState,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl GrantPlace {
    /// The same as a line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let path = &self.path;
        let closed = |then: &str| format!("{}; {then}", self.why.as_deref().unwrap_or("it opens nothing"));
        match self.state {
            PlaceState::Open => format!("leads to {path}"),
            PlaceState::Missing => format!("{path} is not there now"),
            PlaceState::Closed => closed("it opens nothing until somebody consents anew"),
            PlaceState::Misfit => closed("with it, nothing is started"),
        }
    }
}

/// Whether a grant over files opens its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlaceState {
    /// It does.
    Open,
    /// Nothing is there now.
    Missing,
    /// A plugin could have put there what is there, so it opens nothing until somebody consents anew.
    Closed,
    /// It is not what was consented to, and the plugin is not started.
    Misfit,
}

/// What the administrator's policy takes of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyNote {
    /// How much.
    pub effect: PolicyEffect,
    /// What is left, as permissions; empty when nothing is.
    pub kept: Vec<String>,
    /// By which rules, in words, with their lines.
    pub because: Vec<String>,
}

/// How much the administrator's policy takes of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PolicyEffect {
    /// All of it.
    Denied,
    /// Only what an allow rule has is left.
    Narrowed,
    /// It holds, but for what deny rules take out of it.
    Except,
}

/// The limits that hold for a plugin; `None` is a lifted one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(missing_docs, reason = "the fields are those of PluginLimits, with their units in their names")]
pub struct LimitsInfo {
    pub init_timeout_ms: u64,
    pub call_timeout_ms: u64,
    pub memory_bytes: Option<u64>,
    pub cpu_percent: Option<u32>,
    pub processes: Option<u64>,
    pub file_size_bytes: Option<u64>,
    pub log_bytes: u64,
    pub data_bytes: u64,
    /// Those that are lower by the administrator's policy, each with the place of its ceiling.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_policy: BTreeMap<&'static str, String>,
}

/// An upgrade that waits for consent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PendingUpgrade {
    /// The version that waits.
    pub version: String,
    /// Its package.
    pub digest: String,
    /// What it asks for beyond what is granted.
    pub wider: Vec<Permission>,
    /// Who made it, where that is somebody else than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_change: Option<PublisherChange>,
}

/// A version of a plugin by another publisher than the version before: it needs consent whatever it asks for, and what was
/// granted to the other one is not granted to it.
///
/// ```
/// use ringfence::plugin::PublisherChange;
///
/// let change = PublisherChange {
///     from_publisher: "unsigned:ada".to_owned(),
///     to_publisher: "unsigned:eve".to_owned(),
/// };
/// assert_eq!(change.to_string(), "it is by unsigned:eve, and the version before by unsigned:ada");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublisherChange {
    /// Who made the version before, as far as that is proven.
    pub from_publisher: String,
    /// Who made the new one, as far as that is proven.
    pub to_publisher: String,
}

impl std::fmt::Display for PublisherChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it is by {}, and the version before by {}", self.to_publisher, self.from_publisher)
    }
}

/// A version to which a rollback leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PreviousVersion {
    /// The version.
    pub version: String,
    /// Its package.
    pub digest: String,
}

/// Everything about one plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PluginDetails {
    /// Its name.
    pub name: PluginName,
    /// Its version.
    pub version: String,
    /// Where it stands.
    pub state: PluginState,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// How it runs.
    pub runtime: Runtime,
    /// Who made it, as far as that is proven.
    pub publisher: String,
    /// Its package.
    pub digest: String,
    /// Where it was installed from.
    pub source: String,
    /// When, in unix milliseconds.
    pub installed_at_ms: i64,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it asks for, and what of that is granted.
    pub asks: ConsentRequest,
    /// What is granted.
    pub grants: Vec<GrantInfo>,
    /// `none`, or `brokered` when a network grant opens what the host fetches.
    pub network: &'static str,
    /// What holds for it.
    pub limits: LimitsInfo,
    /// Why the administrator's policy does not let it run, or what is wrong with the policy; `None` when there is nothing to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Whether a process of it runs now, in this host.
    pub running: bool,
    /// What the sandbox of the running process enforces, layer by layer; empty while none runs.
    pub enforced: BTreeMap<String, EnforcedLayer>,
    /// Crashes of the last ten minutes.
    pub recent_crashes: usize,
    /// What was refused, with the grant that would allow it.
    pub denials: Vec<Denial>,
    /// Where a rollback leads.
    pub previous: Option<PreviousVersion>,
    /// An upgrade that waits for consent.
    pub pending: Option<PendingUpgrade>,
}

/// What is granted when a plugin is installed, consented to or upgraded.
///
/// ```
/// use ringfence::plugin::Consent;
///
/// let consent = Consent::Only(vec!["file:read=/srv/notes/**".parse()?]);
/// assert_ne!(consent, Consent::Requested);
/// # Ok::<(), ringfence_api::PermissionError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Nobody was asked. What asks for nothing may run all the same; everything else waits.
    #[default]
    Absent,
    /// Somebody acts who may not consent, such as an AI client. Everything waits for a person, also what asks for nothing, and
    /// nothing of the package is executed, not even to look at its class.
    Withheld,
    /// All that the manifest asks for, optional permissions included.
    Requested,
    /// These and nothing else; an empty list grants nothing, and that is a consent.
    Only(Vec<Permission>),
}

impl Consent {
    /// Whether anybody said anything.
    pub(crate) const fn is_given(&self) -> bool {
        matches!(self, Self::Requested | Self::Only(_))
    }
}

/// What came of an installation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Installed {
    /// The plugin as it is now.
    pub plugin: PluginSummary,
    /// Its package.
    pub digest: String,
    /// Whether anything was done; false when the same package was installed already.
    pub changed: bool,
    /// What a dialect's fields became, and what was left out of the package.
    pub notes: Vec<String>,
    /// What the scan says of its code.
    pub scan: Report,
}

/// What came of an upgrade or a rollback.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Upgraded {
    /// The plugin as it is now.
    pub plugin: PluginSummary,
    /// The version before.
    pub from_version: String,
    /// The version that is wanted.
    pub to_version: String,
    /// Whether the new version is in place. False: it waits for consent, and the old one runs on.
    pub done: bool,
    /// What the new version asks for beyond what is granted.
    pub wider: Vec<Permission>,
    /// Who made the new version, where that is somebody else than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_change: Option<PublisherChange>,
    /// Where the new one failed and the old one was put back, why.
    pub rolled_back: Option<String>,
    /// What the scan says of the code of the new version; `None` after a rollback, and where only consent was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan: Option<Report>,
}

/// What a scan of the plugin directories found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "FoundPackages"))]
pub struct Scan {
    /// Packages that can be installed.
    pub found: Vec<Discovered>,
    /// Packages that cannot, each with what is wrong.
    pub broken: Vec<Broken>,
}

/// A package that was found and is not installed in this version.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "DiscoveredPackage"))]
pub struct Discovered {
    /// Its name.
    pub name: PluginName,
    /// Its version.
    pub version: String,
    /// Always `discovered`, or the state of the installed plugin of that name.
    pub state: PluginState,
    /// How it runs.
    pub runtime: Runtime,
    /// Where it is.
    pub path: String,
    /// The installed version, when another one is.
    pub installed_version: Option<String>,
    /// What the scan says of its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan: Option<Report>,
}

/// A package that cannot be installed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "BrokenPackage"))]
pub struct Broken {
    /// Where it is.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// How a call is made. The default takes the limits of the plugin.
///
/// ```
/// use std::time::Duration;
/// use ringfence::plugin::CallOptions;
///
/// let options = CallOptions { timeout: Some(Duration::from_secs(5)), ..CallOptions::default() };
/// assert!(options.correlation_id.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// How long it may take, the start of a plugin that does not run included; the call itself never takes longer than the
    /// plugin's own limit, nor a start than its own. Default these limits.
    pub timeout: Option<Duration>,
    /// The id under which everything that belongs to the call is recorded. Default a fresh one.
    pub correlation_id: Option<String>,
}

/// What happens to private data when a plugin is uninstalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepData {
    /// It is removed.
    #[default]
    No,
    /// It waits for the same name by the same publisher.
    Yes,
}
