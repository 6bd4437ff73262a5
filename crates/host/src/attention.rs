//! What wants to be looked at: versions that wait, plugins that ended unasked, and those that something was refused to.

use ringfence_api::PluginName;
use serde::Serialize;

/// What wants to be looked at beside the states of plugins: what [`Host::attention`](crate::Host::attention) gives.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// let day = std::time::Duration::from_secs(24 * 60 * 60);
/// for crash in host.attention(day).await?.crashes {
///     println!("{} ended {} times, the last time: {}", crash.plugin, crash.count, crash.last);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// Versions that wait for consent, by name of the plugin. They wait whenever they came.
    pub upgrades: Vec<WaitingUpgrade>,
    /// Plugins that ended although nobody asked for it, a broken limit included, the latest first. What a person has released
    /// from quarantine since is not counted.
    pub crashes: Vec<Crashes>,
    /// Plugins that something was refused to, the latest first.
    pub denials: Vec<Refusals>,
}

/// A version that waits for consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingUpgrade {
    /// The plugin.
    pub plugin: PluginName,
    /// The version that is in place.
    pub version: String,
    /// The version that waits.
    pub waiting: String,
}

/// Unasked ends of one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crashes {
    /// The plugin.
    pub plugin: PluginName,
    /// How many; the last 50 of a plugin are known.
    pub count: u64,
    /// When the last was, in unix milliseconds.
    pub last_at_ms: i64,
    /// How it ended then, in words.
    pub last: String,
}

/// What was refused to one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// The plugin.
    pub plugin: PluginName,
    /// How many different acts, each refused once or more often; some 1,000 of a plugin are known.
    pub kinds: u64,
    /// When the last was, in unix milliseconds.
    pub last_at_ms: i64,
}
